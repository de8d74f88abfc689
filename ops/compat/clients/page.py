#!/usr/bin/env python3
"""Writes docs/compatibility.md from what is recorded in docs/results/clients and from each client.toml.

  page.py           writes it
  page.py --check   fails when the page is another, or when what a client can do with the server alone fails through Sealgate without a reason

Standard library only: ops/house-rules runs it.
"""

import os
import sys
import tomllib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import manifest  # noqa: E402 (found through the line above)
import record  # noqa: E402

PAGE = os.path.join(record.ROOT, "docs", "compatibility.md")
BACKENDS = {"filesystem": "the filesystem", "seaweedfs": "SeaweedFS", "versitygw": "versitygw", "minio": "MinIO"}
# What the storage holds is looked at after every run; it is no call of a client's.
SCAN = "no_plaintext"
INTRODUCTION = """# Compatibility

Which clients work with Sealgate, shown by running them: each one pinned, installed as its users install it, with its own defaults, by a driver in its own
language. `ops/compat/clients/run.py` wrote the results ([docs/results/clients](results/clients)), `page.py` this page out of them; [the README there](../ops/compat/clients/README.md)
says what each scenario is and how a client is added. Settings that work, a page a client: [docs/clients](clients/README.md).

- **Through**: two nodes with one control plane before the storage, and a balancer that sends every request to the other node than the last. **Direct**: the
  server alone behind the same balancer. Path style and, where the client can, virtual-host style; HTTP and TLS.
- What a driver says is not believed: afterwards a client of the runner's own reads what should be there, byte by byte, and the balancer has counted requests.
- After each run everything that the storage holds is scanned for the bodies: none was found in clear wherever a row says so.
- A scenario that a client has no call for is `–`. **no** has its reason below its table.
"""


class Results:
    """What is recorded of one client."""

    def __init__(self, client: manifest.Client):
        self.client = client
        self.found = {backend: found for backend in BACKENDS if (found := record.load(client.folder, backend)) and found.get("version") == client.version}

    def runs(self, backend: str, side: str) -> dict[str, dict]:
        """Scenario results by `scheme addressing`."""
        return {where: run["scenarios"] for where, run in self.found.get(backend, {}).get(side, {}).items()}

    def columns(self) -> list[tuple[str, str]]:
        return [(backend, side) for backend in BACKENDS for side in ("through", "direct") if self.runs(backend, side)]

    def scenarios(self) -> list[str]:
        """In the table's order, without those that are absent everywhere."""
        said = {}
        for backend, side in self.columns():
            for run in self.runs(backend, side).values():
                for name, outcome in run.items():
                    said.setdefault(name, set()).add(outcome["result"])
        return [name for name in (*self.client.asked, SCAN) if said.get(name)]

    def cell(self, backend: str, side: str, scenario: str) -> str:
        """One word where all runs agree, else each run that does not pass."""
        outcomes = {where: run[scenario]["result"] for where, run in self.runs(backend, side).items() if scenario in run}
        if not outcomes:
            return ""
        if set(outcomes.values()) == {"pass"}:
            return "yes"
        if set(outcomes.values()) == {"absent"}:
            return "–"
        failed = [where for where, result in outcomes.items() if result == "fail"]
        return "**no**" if len(failed) == len(outcomes) else f"**no** ({', '.join(failed)})" if failed else "yes"

    def pairs(self, backend: str):
        """(run, scenario, through, direct) of what both sides say."""
        direct = self.runs(backend, "direct")
        for where, run in self.runs(backend, "through").items():
            for name, outcome in run.items():
                alone = direct.get(where, {}).get(name)
                if alone:
                    yield where, name, outcome, alone

    def kept(self, backend: str) -> tuple[int, int]:
        """Of what passes alone: how much passes through, and how much that is."""
        alone = [outcome for _, name, outcome, direct in self.pairs(backend) if direct["result"] == "pass" and name != SCAN]
        return sum(outcome["result"] == "pass" for outcome in alone), len(alone)

    def passing(self, backend: str) -> tuple[int, int]:
        """Of all runs of scenarios that the client has: what passes through."""
        said = [outcome["result"] for run in self.runs(backend, "through").values() for name, outcome in run.items() if name != SCAN]
        return said.count("pass"), len(said) - said.count("absent")

    def unexplained(self):
        """What fails through Sealgate in a way that no caveat describes, neither as it is nor as the same failure of the server alone in the same run."""
        for backend in self.found:
            for where, run in self.runs(backend, "through").items():
                for name, outcome in run.items():
                    alone, detail = self.runs(backend, "direct").get(where, {}).get(name, {}), outcome.get("detail", "")
                    if outcome["result"] != "fail" or self.client.excuse(name, backend, detail):
                        continue
                    if alone.get("result") != "fail" or not self.client.same_alone(name, backend, detail, alone.get("detail", "")):
                        yield f"{self.client.folder} on {backend}, {where}: {name} fails, and no caveat describes it: {detail[:160]}"


def words(name: str) -> str:
    return name.replace("_", " ")


def summary(results: list[Results], signature: str) -> list[str]:
    """A row a client: how much passes through, and how much of what passes alone is kept."""
    shown = [backend for backend in BACKENDS if any(each.found.get(backend) for each in results)]
    lines = [f"| client | version | language |{''.join(f' {BACKENDS[backend]} |' for backend in shown)}", f"|---|---|---|{'---|' * len(shown)}"]
    for each in results:
        cells = []
        for backend in shown:
            passed, asked = each.passing(backend)
            kept, alone = each.kept(backend)
            cells.append(f"{passed} of {asked}{f'; {kept} of {alone}' if alone else ''}" if asked else "not run")
        lines.append(f"| [{each.client.name}](#{anchor(each.client.name)}) | {each.client.version} | {each.client.language} | {' | '.join(cells)} |")
    return lines


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return "".join(character for character in heading.lower() if character.isalnum() or character in "-_ ").replace(" ", "-")


def section(each: Results) -> list[str]:
    """A client's own table, its caveats and its runs."""
    client, columns = each.client, each.columns()
    more = "".join(f", {name} {version}" for name, version in client.versions.items())
    lines = ["", f"### {client.name}", "", f"{client.version}{more} · {client.language}{guide(client)}", ""]
    # A note says how a scenario is tried, a caveat why it fails or is not there.
    said = {**client.notes, **{name: caveat.why for name, caveat in client.caveats.items()}}
    if "*" in said:
        lines += [f"{said['*']}.", ""]
    if not columns:
        return [*lines, "Not run."]
    lines += [f"| |{''.join(f' {BACKENDS[backend]}, {side} |' for backend, side in columns)}", f"|---|{'---|' * len(columns)}"]
    for name in each.scenarios():
        lines.append(f"| {words(name)} |{''.join(f' {each.cell(backend, side, name)} |' for backend, side in columns)}")
    notes = []
    for name, text in said.items():
        about, _, backend = name.partition("@")
        if name != "*":
            notes.append(f"- {words(about)}{f' on {BACKENDS[backend]}' if backend else ''}: {text}.")
    notes += [f"- {words(name)}: {detail}." for name, detail in lacking(each).items() if name not in said]
    notes += [f"- {words(name)} on {BACKENDS[backend]}: {caveat.why}." for backend in each.found for name, caveat in manifest.server_caveats().get(backend, {}).items()
              if any(run.get(name, {}).get("result") == "fail" for run in each.runs(backend, "through").values())]
    told: dict[tuple[str, str, str], list[str]] = {}
    for backend, where, name, text in failures(each):
        told.setdefault((backend, name, text), []).append(where)
    notes += [f"- **{words(name)}**, {BACKENDS[backend]}, {', '.join(runs)}: {text}" for (backend, name, text), runs in told.items()]
    runs = sorted({(run["date"], run["commit"]) for found in each.found.values() for side in ("through", "direct") for run in found.get(side, {}).values()})
    return [*lines, *(["", *notes] if notes else []), "", f"Run {', '.join(f'{date} at {commit}' for date, commit in runs)}."]


def guide(client: manifest.Client) -> str:
    """A link, where there is a guide."""
    path = os.path.join(record.ROOT, "docs", "clients", f"{client.folder}.md")
    return f" · [settings](clients/{client.folder}.md)" if os.path.exists(path) else ""


def lacking(each: Results) -> dict[str, str]:
    """What the client lacks, in its driver's words."""
    found = {}
    for backend, side in each.columns():
        for run in each.runs(backend, side).values():
            for name, outcome in run.items():
                if outcome["result"] != "fail" and outcome.get("detail"):
                    found.setdefault(name, outcome["detail"].rstrip("."))
    return found


def failures(each: Results):
    """Each failure in the driver's words, and what the server alone says to the same."""
    for backend in each.found:
        direct = each.runs(backend, "direct")
        for where, run in each.runs(backend, "through").items():
            for name, outcome in run.items():
                alone = direct.get(where, {}).get(name, {})
                if outcome["result"] == "fail":
                    yield backend, where, name, quoted(outcome) + {"fail": " The server alone fails too.", "pass": " The server alone passes."}.get(alone.get("result"), "")
                elif alone.get("result") == "fail":
                    why = manifest.only_alone(backend, name)
                    yield backend, where, name, f"passes through Sealgate, not against the server alone: {f'{why}.' if why else quoted(alone)}"


def quoted(outcome: dict) -> str:
    """A driver's words, short and harmless."""
    return "`" + " ".join(outcome.get("detail", "").split())[:220].replace("|", "/").replace("`", "'") + "`"


def total(results: list[Results]) -> list[str]:
    """The figures over all clients."""
    lines = []
    for backend in BACKENDS:
        passed, asked = map(sum, zip(*(each.passing(backend) for each in results)))
        kept, alone = map(sum, zip(*(each.kept(backend) for each in results)))
        if asked:
            share = f"; of {alone} that pass against the server alone {kept} pass through it: **{100 * kept / alone:.1f} %**" if alone else ""
            lines.append(f"- {BACKENDS[backend]}: {passed} of {asked} scenario runs pass through Sealgate{share}")
    return lines


def versions(results: list[Results]) -> str:
    """Of everything that is not a client."""
    with open(os.path.join(record.ROOT, "Cargo.toml"), "rb") as file:
        own = tomllib.load(file)["workspace"]["package"]["version"]
    servers = ", ".join(f"{BACKENDS[backend]} {record.server_version(backend)}" for backend in BACKENDS if record.server_version(backend) and any(each.found.get(backend) for each in results))
    return f"Sealgate {own}{', ' if servers else ''}{servers}. The clients' versions are in the tables; each run names its date and the commit that it ran."


def render() -> str:
    everybody = [Results(client) for client in manifest.all_clients()]
    groups = [("Signature Version 4", [each for each in everybody if each.client.signature == "v4"]),
              ("Signature Version 2", [each for each in everybody if each.client.signature == "v2"])]
    lines = [INTRODUCTION, versions(everybody), ""]
    for title, results in groups:
        if not results:
            continue
        about = ("With a [credential that allows it](s3-compatibility.md#version-2), and counted apart." if title.endswith("2") else
                 "Each cell: scenario runs that pass through Sealgate, of those that the client has a call for; after the semicolon: of what passes against the server "
                 "alone, how much passes through Sealgate.")
        lines += [f"## {title}", "", about, "", *total(results), "", *summary(results, title), ""]
    lines += ["## Each client"]
    for each in everybody:
        lines += section(each)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    text = render()
    if sys.argv[1:] == ["--check"]:
        with open(PAGE, encoding="utf-8") as file:
            same = file.read() == text
        unexplained = [reason for client in manifest.all_clients() for reason in Results(client).unexplained()]
        for reason in unexplained:
            print(reason)
        if not same:
            print("docs/compatibility.md is not what is recorded: ops/compat/clients/page.py writes it")
        return 1 if unexplained or not same else 0
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
