"""What is known of the format's mutants: docs/results/mutants.json, the page made of it, and the explanations."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = "sealgate-envelope"
SOURCE = "data-plane/envelope/src"
RESULTS, PAGE = "docs/results/mutants.json", "docs/results/mutants.md"
EXPLAINED = "ops/mutants/equivalent.json"
# What can come of a mutant.
KINDS = ("CaughtMutant", "Unviable", "Timeout", "MissedMutant")
# Unit tests lie at the end of a file, and changing them changes no mutant.
TESTS = "\n#[cfg(test)]\nmod tests {"


def path(name: str) -> str:
    return f"{SOURCE}/{name}"


def git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def cargo(*arguments: str) -> str:
    """What it prints. Ends the program when it fails: without cargo-mutants (ops/install-tools mutants) there is nothing to do here."""
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cargo {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def head() -> str:
    return (git("rev-parse", "HEAD") or "0").strip()


def uncommitted() -> bool:
    return bool(git("status", "--porcelain", "--", "data-plane/envelope"))


@functools.cache
def files() -> tuple[str, ...]:
    """The files that cargo-mutants looks at."""
    listed = cargo("mutants", "--package", PACKAGE, "--list-files").splitlines()
    return tuple(name.removeprefix(f"{SOURCE}/") for name in listed)


def product(text: str) -> str:
    return text.split(TESTS)[0].rstrip("\n") + "\n"


def code(name: str) -> str:
    """What is mutated of the file as it is now."""
    with open(os.path.join(ROOT, path(name)), encoding="utf-8") as file:
        return product(file.read())


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_current(name: str, entry: dict) -> bool:
    return digest(code(name)) == entry["code"]


def code_as_run(name: str, entry: dict | None) -> str:
    """What was mutated when the file was run. Empty, so that all of it counts as changed, where that cannot be known: the file was never
    run, or this clone has not the commit (it is shallow, or history was rewritten)."""
    if entry is None:
        return ""
    if is_current(name, entry):
        return code(name)
    before = git("show", f"{entry['commit']}:{path(name)}")
    return product(before) if before and digest(product(before)) == entry["code"] else ""


def split(mutant: str) -> tuple[str, str]:
    """data-plane/envelope/src/size.rs:36:12: replace / with % in steps → its file, and the rest."""
    where, what = mutant.removeprefix(f"{SOURCE}/").split(":", 1)
    return where, what


def entry(name: str, outcomes: dict, not_run: int) -> dict:
    of = {kind: [split(mutant)[1] for mutant, outcome in outcomes.items() if outcome == kind]
          for kind in KINDS}
    return {"commit": head()[:12], "code": digest(code(name)), "caught": len(of["CaughtMutant"]), "unviable": len(of["Unviable"]),
            "timeout": of["Timeout"], "missed": of["MissedMutant"], "not_run": not_run}


def revise(entry: dict, mutant: str, outcome: str):
    """Takes over what a second run of one mutant found."""
    for kind in ("timeout", "missed"):
        entry[kind] = [each for each in entry[kind] if each != mutant]
    if outcome == "CaughtMutant":
        entry["caught"] += 1
    else:
        entry["timeout" if outcome == "Timeout" else "missed"].append(mutant)
    entry["commit"] = head()[:12]


def explanations() -> dict:
    with open(os.path.join(ROOT, EXPLAINED), encoding="utf-8") as file:
        return json.load(file)


def nameless(mutant: str) -> str:
    """Without its position, which moves with every line above it."""
    return re.sub(r"^\d+:\d+: ", "", mutant)


def explanation(name: str, mutant: str) -> str | None:
    return explanations().get(name, {}).get(nameless(mutant))


def unexplained(name: str, entry: dict) -> list[str]:
    return [mutant for mutant in entry["missed"] if not explanation(name, mutant)]


def stale(results: dict) -> list[str]:
    """Explanations of mutants that do not survive, or are gone, as far as their file was run."""
    missed = {(name, nameless(mutant)) for name, entry in results.items() for mutant in entry["missed"]}
    return [f"{EXPLAINED}: {name}: {mutant}: does not survive" for name, each in explanations().items() for mutant in each
            if name in results and not results[name]["not_run"] and (name, mutant) not in missed]


def summary(entry: dict) -> str:
    return (f"{entry['caught']} caught, {len(entry['timeout'])} timed out, {entry['unviable']} do not compile, "
            f"{len(entry['missed'])} missed, {entry['not_run']} not run")


def read() -> dict:
    try:
        with open(os.path.join(ROOT, RESULTS), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def write(results: dict):
    with open(os.path.join(ROOT, RESULTS), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1, sort_keys=True)
        file.write("\n")
    with open(os.path.join(ROOT, PAGE), "w", encoding="utf-8") as file:
        file.write(page(results))


def page(results: dict) -> str:
    rows, total = [], [0] * 6
    for name, entry in sorted(results.items()):
        counts = [entry["caught"], len(entry["timeout"]), entry["unviable"], len(entry["missed"]), entry["not_run"]]
        counts = [sum(counts), *counts]
        total = [sum(pair) for pair in zip(total, counts)]
        rows.append(f"| `{name}` | `{entry['commit']}` | {' | '.join(map(str, counts))} |")
    why = [f"- `{name}`, `{mutant}`: {explanation(name, mutant) or '**not explained**'}"
           for name, entry in sorted(results.items()) for mutant in entry["missed"]]
    late = [f"- `{name}`, `{mutant}`" for name, entry in sorted(results.items()) for mutant in entry["timeout"]]
    lines = [
        "# Mutants of the object format", "",
        "Made by `just mutants` (`ops/mutants/run`). Each mutant is the crate with one thing altered; it is caught when a test fails. One that",
        "does not compile shows nothing. CI runs those on lines that changed since; what was not run, `just mutants` begins with.", "",
        "| file | commit | mutants | caught | timed out | do not compile | missed | not run |", "|---|---|---|---|---|---|---|---|",
        *rows, f"| all | | {' | '.join(map(str, total))} |", "",
    ]
    if why:
        lines += ["## Missed, and why", "", *why, ""]
    if late:
        lines += ["## Timed out", "", "With these a loop does not end, which the tests' time limit notices.", "", *late, ""]
    return "\n".join(lines)
