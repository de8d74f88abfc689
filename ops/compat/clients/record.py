"""Keeps results: docs/results/clients/<client>-<backend>.json, through Sealgate and the server alone beside each other."""

import datetime
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
RESULTS = os.path.join(ROOT, "docs", "results", "clients")


def path(folder: str, backend: str) -> str:
    return os.path.join(RESULTS, f"{folder}-{backend}.json")


def load(folder: str, backend: str) -> dict | None:
    try:
        with open(path(folder, backend)) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def commit() -> str:
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD")


def server_version(backend: str) -> str:
    """What ops/install-tools pins."""
    with open(os.path.join(ROOT, "ops", "install-tools")) as file:
        found = re.search(rf"^  \[{backend}\]=(\S+)", file.read(), re.M)
    return found[1] if found else ""


def keep(client, stage, addressing: str, outcomes, whole: bool):
    """Puts what became of one run in the place of what was there; of a run of some scenarios, only these."""
    found = load(client.folder, stage.backend) or {}
    if found.get("version") != client.version:
        # Another version's results say nothing of this one.
        found = {}
    found |= {"client": client.folder, "version": client.version, "backend": stage.backend, "server": server_version(stage.backend)}
    side = "direct" if stage.direct else "through"
    run = found.setdefault(side, {}).setdefault(f"{stage.scheme} {addressing}", {})
    if whole:
        run.clear()
    run |= {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), "commit": commit()}
    scenarios = run.setdefault("scenarios", {})
    for outcome in outcomes:
        scenarios[outcome.scenario] = {"result": outcome.result, **({"detail": outcome.detail} if outcome.detail else {}),
                                       "seconds": round(outcome.seconds, 1), "requests": outcome.requests}
    os.makedirs(RESULTS, exist_ok=True)
    with open(path(client.folder, stage.backend), "w") as file:
        json.dump(found, file, indent=1, ensure_ascii=False)
        file.write("\n")
