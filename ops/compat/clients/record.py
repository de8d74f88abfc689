"""Keeps results: docs/results/clients/<client>-<backend>.json, through Sealgate and the server alone beside each other.

Each scenario has the day, the commit and the environment (versions.py) of the run that it is of: a run of some scenarios says nothing of the others. Files
that are older have the first two by run, and the server's version by file: these hold where a scenario has none.
"""

import datetime
import functools
import hashlib
import json
import os
import re
import subprocess

import versions

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
RESULTS = os.path.join(ROOT, "docs", "results", "clients")
# What the gateway is built of.
PRODUCT = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "control-plane", "data-plane", "ops/cli", "policies", "proto", "store")
# The scan of the storage after a run; it is no call of a client's.
SCAN = "no_plaintext"
SIDES = ("through", "direct")


def path(folder: str, backend: str) -> str:
    return os.path.join(RESULTS, f"{folder}-{backend}.json")


def load(folder: str, backend: str) -> dict | None:
    try:
        with open(path(folder, backend)) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


@functools.cache
def commit(direct: bool = False) -> str:
    """What the gateway was built of: the file `commit` beside SEALGATE_BIN, else the checkout, with -dirty where its sources are others. Of a server alone the
    checkout's, whose drivers ran. Asked for once, before the first run: a checkout may move on meanwhile."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    if direct:
        return head
    beside = os.path.join(os.path.dirname(os.environ.get("SEALGATE_BIN") or ROOT), "commit")
    if os.environ.get("SEALGATE_BIN") and os.path.exists(beside):
        with open(beside) as file:
            said = re.fullmatch(r"([0-9a-f]{7,12})[0-9a-f]*(-dirty)?", file.read().strip())
        if not said:
            raise ValueError(f"{beside} has no commit in it")
        return said[1] + (said[2] or "")
    return head + ("-dirty" if git("status", "--porcelain", "--", *PRODUCT) else "")


def stamp(run: dict, outcome: dict) -> tuple[str, str]:
    """Day and commit of one scenario."""
    return outcome.get("date", run.get("date", "")), outcome.get("commit", run.get("commit", ""))


def environment(found: dict, outcome: dict) -> dict:
    """`server`, `runtime` and `packages` of one scenario, as far as they are recorded."""
    if "environment" in outcome:
        return found["environments"][outcome["environment"]]
    return {"server": found["server"]} if found.get("server") else {}


def keep(client, stage, addressing: str, outcomes, whole: bool, place: str):
    """Puts what became of one run in the place of what was there; of a run of some scenarios, only these."""
    found = load(client.folder, stage.backend) or {}
    if found.get("version") != client.version:
        # Another version's results say nothing of this one.
        found = {}
    found |= {"client": client.folder, "version": client.version, "backend": stage.backend}
    made = {**({"server": versions.server(stage.backend)} if stage.backend in versions.SERVERS else {}), **versions.of(client, place)}
    identity = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]
    found.setdefault("environments", {})[identity] = made
    run = found.setdefault("direct" if stage.direct else "through", {}).setdefault(f"{stage.scheme} {addressing}", {})
    if whole:
        run.clear()
    scenarios = run.setdefault("scenarios", {})
    for outcome in outcomes:
        if outcome.scenario == SCAN and not whole and outcome.result == "pass" and SCAN in scenarios:
            # What some scenarios left was scanned; a whole run's scan says more.
            continue
        scenarios[outcome.scenario] = {"result": outcome.result, **({"detail": outcome.detail} if outcome.detail else {}),
                                       "seconds": round(outcome.seconds, 1), "requests": outcome.requests,
                                       "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), "commit": commit(stage.direct),
                                       "environment": identity}
    tidy(found)
    write(found)


def write(found: dict):
    os.makedirs(RESULTS, exist_ok=True)
    with open(path(found["client"], found["backend"]), "w") as file:
        json.dump(found, file, indent=1, ensure_ascii=False)
        file.write("\n")


def tidy(found: dict):
    """Drops what no scenario refers to any more."""
    runs = [run for side in SIDES for run in found.get(side, {}).values()]
    for run in runs:
        if all("commit" in outcome for outcome in run["scenarios"].values()):
            run.pop("date", None)
            run.pop("commit", None)
    used = [outcome.get("environment") for run in runs for outcome in run["scenarios"].values()]
    found["environments"] = {identity: made for identity, made in found["environments"].items() if identity in used}
    if None not in used:
        found.pop("server", None)
