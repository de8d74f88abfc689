"""Compares what works through Sealgate with what works against each server alone, and writes docs/s3-parity.md and the figures in
docs/s3-compatibility.md.

  parity.py [filesystem|seaweedfs|versitygw|minio...]   runs the cases, records them in docs/results, writes the page
  parity.py --through [BACKEND...], --alone [SERVER...] only that half, beside what is recorded of the other
  parity.py --again [BACKEND...]                        what failed through the gateway, after mending it
  parity.py --only TEXT,... [BACKEND...]                cases whose `group.case` contains a TEXT, both halves, beside the rest: new ones
  parity.py --page                                      writes the page from what is recorded
  parity.py --check                                     fails when the page is another, or a difference has no explanation

Parity of a server = (cases passing alone AND through) / (cases passing alone). SEALGATE_BIN names the gateway's binary.
"""

import datetime
import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import recorded  # noqa: E402 (found through the line above)

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(recorded.ROOT, "docs", "s3-parity.md")
OVERVIEW = os.path.join(recorded.ROOT, "docs", "s3-compatibility.md")
BETWEEN = re.compile(r"(?<=<!-- made by ops/compat/parity.py -->\n).*?(?=<!-- /made -->)", re.S)
SERVERS = {"seaweedfs": "SeaweedFS", "versitygw": "versitygw", "minio": "MinIO"}
BACKENDS = ("filesystem", *SERVERS)
# A run that takes longer hangs.
LIMIT_SECONDS = 1800


class Difference:
    """Cases that fail through the gateway, with the reason."""

    def __init__(self, entry: dict):
        self.cases, self.why = entry["cases"], entry["why"]
        self.on = entry.get("on", list(BACKENDS))
        # What the reason of the failure must match, beside the name.
        self.reason = re.compile(entry.get("reason", ""))
        # Counted apart, by name: what an encrypting gateway cannot have, whatever it does.
        self.apart = entry.get("apart", False)

    def explains(self, backend: str, case: str, reason: str) -> bool:
        """Whether it is about that case there, failing for that reason."""
        return backend in self.on and bool(self.reason.search(reason)) and any(fnmatch.fnmatchcase(case, pattern) for pattern in self.cases)


def differences() -> list[Difference]:
    """The explanations, in the order of their file: the first that fits counts."""
    with open(os.path.join(HERE, "differences.toml"), "rb") as file:
        return [Difference(entry) for entry in tomllib.load(file)["difference"]]


def run(*options: str) -> dict[str, str | None]:
    """Every case of one run: why it failed, or None."""
    with tempfile.TemporaryDirectory(prefix="sealgate-parity-") as scratch:
        result = os.path.join(scratch, "result")
        command = [sys.executable, os.path.join(HERE, "run.py"), "--s3", *options, "--json", result]
        with open(os.path.join(scratch, "log"), "w+") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS)
            if not os.path.exists(result):
                log.seek(0)
                raise SystemExit(f"{' '.join(command)} made no result:\n{log.read()[-3000:]}")
        with open(result) as file:
            cases = json.load(file)["cases"]
    return {f"{case['suite']}.{case['case']}": recorded.steady(case["reason"]) for case in cases}


def again(backend: str):
    """Runs what is recorded as failing through the gateway once more."""
    found = recorded.load(backend)
    failing = [name for name, outcome in found["cases"].items() if outcome.get("through")]
    if not failing:
        return
    outcomes = run("--backend", backend, "--only", *failing)
    for name in failing:
        if name in outcomes:
            found["cases"][name]["through"] = outcomes[name]
    print(f"{backend} again: {sum(not outcomes.get(name, 'gone') for name in failing)} of {len(failing)} pass now", flush=True)
    write(backend, {**found, "again": commit()})


def some(backend: str, text: str):
    """Runs some cases, alone and through, and keeps their outcomes beside the others'."""
    found = recorded.load(backend)
    for half in ("alone", "through") if backend in SERVERS else ("through",):
        outcomes = run("--direct" if half == "alone" else "--backend", backend, "--only", *text.split(","))
        for name, reason in outcomes.items():
            found["cases"].setdefault(name, {})[half] = reason
        print(f"{backend} {half}: {sum(not reason for reason in outcomes.values())} of {len(outcomes)} with {text} pass", flush=True)
    found["cases"] = dict(sorted(found["cases"].items()))
    write(backend, {**found, "again": commit()})


def commit() -> str:
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=recorded.ROOT, check=True, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ":!docs") else "")


def record(backend: str, halves: tuple[str, ...]):
    """Runs one backend, alone and through the gateway or only one of these, and keeps the outcome."""
    found = recorded.load(backend) or {"backend": backend, "cases": {}}
    for half in halves:
        outcomes = run("--direct" if half == "alone" else "--backend", backend)
        # A case that is no more is forgotten with its other half.
        found["cases"] = {name: {**found["cases"].get(name, {}), half: reason} for name, reason in sorted(outcomes.items())}
        print(f"{backend} {half}: {sum(not reason for reason in outcomes.values())} of {len(outcomes)} pass", flush=True)
    if "through" in halves:
        found.update(commit=commit(), date=datetime.datetime.now(datetime.timezone.utc).date().isoformat())
        found.pop("again", None)
    write(backend, found)


def write(backend: str, found: dict):
    """Keeps a record."""
    cases = found.pop("cases")
    os.makedirs(recorded.RESULTS, exist_ok=True)
    with open(recorded.path(backend), "w") as file:
        # A line a case: a change of one is a change of one line.
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(outcome, ensure_ascii=False)}" for name, outcome in cases.items())
        file.write(f'{json.dumps(found)[:-1]}, "cases": {{\n{lines}\n}}}}\n')


class Comparison:
    """What one backend's record says."""

    def __init__(self, backend: str, explanations: list[Difference]):
        self.backend, self.record = backend, recorded.load(backend)
        self.cases = self.record["cases"] if self.record else {}
        self.through = {name for name, outcome in self.cases.items() if not outcome.get("through", "did not run")}
        self.alone = {name for name, outcome in self.cases.items() if not outcome.get("alone", "did not run")} if backend in SERVERS else set(self.cases)
        self.lost = sorted(self.alone - self.through)
        self.reasons = {name: next((each for each in explanations if each.explains(backend, name, self.cases[name].get("through", ""))), None)
                        for name in self.lost}
        self.apart = {name for name, each in self.reasons.items() if each and each.apart}
        self.unexplained = [name for name in self.lost if not self.reasons[name]]

    def group(self, suite: str) -> str:
        """The cell of one group of cases."""
        mine = [name for name in self.cases if name.split(".")[0] == suite]
        through = len(self.through.intersection(mine))
        if self.backend not in SERVERS:
            return str(through)
        alone = self.alone.intersection(mine)
        return f"{len(alone & self.through)} / {len(alone)}"

    def parity(self) -> str:
        """Cases passing alone and through, of those passing alone; those counted apart are left out."""
        counted = self.alone - self.apart
        both = counted & self.through
        # Rounded down: 100 % is said of all only.
        return f"{int(1000 * len(both) / max(1, len(counted))) / 10:.1f} %"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def named(names) -> str:
    """Cases in a sentence, by group."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        suite, _, case = name.partition(".")
        groups.setdefault(suite, []).append(case)
    return "; ".join(f"{suite}: " + ", ".join(f"`{case}`" for case in found) for suite, found in groups.items())


def page() -> str:
    """docs/s3-parity.md."""
    explanations = differences()
    found = {backend: Comparison(backend, explanations) for backend in BACKENDS}
    # A server that ran alone only is not compared yet.
    found = {backend: each for backend, each in found.items() if each.record and "commit" in each.record}
    servers = [backend for backend in SERVERS if backend in found]
    every = sorted({name for each in found.values() for name in each.cases})
    lines = [
        "# S3 parity", "",
        "Made by `ops/compat/parity.py` (`just parity`) from `docs/results/parity-*.json`: not to be edited. Every case says what AWS's documentation",
        "says; it runs against each server alone and through Sealgate before the same server, and through Sealgate on the filesystem.", "",
        "A cell is the number of cases that pass alone AND through, of those that pass alone; on the filesystem, of all cases, how many pass.", "",
    ]
    suites = sorted({name.split(".")[0] for name in every})
    rows = [[suite, str(sum(name.split(".")[0] == suite for name in every)), *(each.group(suite) for each in found.values())] for suite in suites]
    rows.append(["**all**", f"**{len(every)}**", *(
        f"**{len(each.through & each.alone)} / {len(each.alone)}**" if backend in SERVERS else f"**{len(each.through)}**" for backend, each in found.items())])
    rows.append(["**parity**", "", *(f"**{each.parity()}**" if backend in SERVERS else "" for backend, each in found.items())])
    rows.append(["only through", "", *(str(len(each.through - each.alone)) if backend in SERVERS else "" for backend, each in found.items())])
    rows.append(["counted apart", "", *(str(len(each.apart)) for each in found.values())])
    rows.append(["of the commit", "", *(f"`{each.record['commit']}`, {each.record['date']}" for each in found.values())])
    rows.append(["differences again at", "", *(f"`{each.record['again']}`" if "again" in each.record else "" for each in found.values())])
    lines += table(["group", "cases", *(SERVERS.get(backend, backend) for backend in found)], rows)
    lines += ["", "“Only through” are cases that the server alone fails and Sealgate before it passes: it decides them itself.", "",
              "## Differences", "", "What passes alone and fails through Sealgate, and on the filesystem whatever fails."]
    for each in explanations:
        cases = {backend: [name for name in comparison.lost if comparison.reasons[name] is each] for backend, comparison in found.items()}
        if any(cases.values()):
            lines += ["", f"**{each.why}**" + (" Counted apart." if each.apart else "")]
            lines += [f"- {SERVERS.get(backend, backend)}: {named(names)}" for backend, names in cases.items() if names]
    if any(each.unexplained for each in found.values()):
        lines += ["", "**Not explained yet:**"]
        lines += [f"- {SERVERS.get(backend, backend)}: {named(each.unexplained)}" for backend, each in found.items() if each.unexplained]
    lines += ["", "## What the servers get wrong", "",
              "Cases that fail against a server alone (`×`; `·` where Sealgate before it passes). The reasons are in the results.", ""]
    wrong = [name for name in every if any(name in found[server].cases and name not in found[server].alone for server in servers)]
    rows = [[f"`{name}`", *("" if name in found[server].alone else "·" if name in found[server].through else "×" for server in servers)] for name in wrong]
    lines += table(["case", *(SERVERS[server] for server in servers)], rows)
    return "\n".join(lines) + "\n"


def overview() -> str:
    """docs/s3-compatibility.md with today's figures in their place."""
    explanations = differences()
    found = {server: Comparison(server, explanations) for server in SERVERS}
    rows = [[SERVERS[server], str(len(each.alone)), str(len(each.through & each.alone)), each.parity(), str(len(each.through - each.alone)), str(len(each.apart))]
            for server, each in found.items()]
    lines = table(["server", "cases that pass alone", "of these through Sealgate", "parity", "pass through only", "counted apart"], rows)
    lines += ["", "What passes alone and not through:", ""]
    for each in explanations:
        cases = sorted({name for comparison in found.values() for name in comparison.lost if comparison.reasons[name] is each})
        if cases:
            lines.append(f"- {each.why}{' Counted apart.' if each.apart else ''} ({named(cases)})")
    with open(OVERVIEW) as file:
        return BETWEEN.sub(lambda _: "\n".join(lines) + "\n", file.read(), count=1)


def check() -> int:
    """Whether the pages are what is recorded, and everything is explained."""
    wrong, explanations = [], differences()
    for path, text in ((PAGE, page()), (OVERVIEW, overview())):
        with open(path) as file:
            if file.read() != text:
                wrong.append(f"{os.path.relpath(path, recorded.ROOT)} is not what is recorded: run `just parity --page`")
    for backend in BACKENDS:
        unexplained = Comparison(backend, explanations).unexplained
        wrong += [f"{backend}: {name} fails through only, and differences.toml does not say why" for name in unexplained]
    print("\n".join(wrong) or "the pages are what is recorded, and every difference is explained")
    return 1 if wrong else 0


def main() -> int:
    arguments = sys.argv[1:]
    if arguments == ["--check"]:
        return check()
    halves, repeat, text = ("alone", "through"), arguments[:1] == ["--again"], ""
    if repeat:
        arguments.pop(0)
    elif arguments[:1] == ["--only"] and len(arguments) > 1:
        text, arguments = arguments[1], arguments[2:]
    elif arguments[:1] in (["--through"], ["--alone"]):
        halves = (arguments.pop(0)[2:],)
    unknown = [name for name in arguments if name not in BACKENDS]
    if unknown and arguments != ["--page"]:
        print(__doc__, file=sys.stderr)
        return 64
    for backend in () if unknown else arguments or BACKENDS:
        if repeat:
            again(backend)
        elif text:
            some(backend, text)
        elif mine := tuple(half for half in halves if half == "through" or backend in SERVERS):
            record(backend, mine)
    for path, text in ((PAGE, page()), (OVERVIEW, overview())):
        with open(path, "w") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
