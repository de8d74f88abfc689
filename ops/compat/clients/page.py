#!/usr/bin/env python3
"""Writes docs/compatibility.md from what is recorded in docs/results/clients and from each client.toml.

  page.py           writes it
  page.py --check   fails when the page is another, or when what a client can do with the server alone fails through Sealgate without a reason

Standard library only: ops/house-rules runs it.
"""

import collections
import os
import sys
import tomllib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import manifest  # noqa: E402 (found through the line above)
import record  # noqa: E402

PAGE = os.path.join(record.ROOT, "docs", "compatibility.md")
BACKENDS = {"filesystem": "the filesystem", "seaweedfs": "SeaweedFS", "versitygw": "versitygw", "minio": "MinIO"}
# Packages that decide what a client does on the wire: shown where they are recorded.
KEY_PACKAGES = ("boto3", "botocore", "aiobotocore", "s3transfer", "awscrt", "fsspec", "aiohttp", "urllib3", "requests", "pyarrow", "python-dateutil")
INTRODUCTION = """# Compatibility

Which clients work with Sealgate, shown by running them: each one pinned, installed as its users install it, with its own defaults, by a driver in its own
language. `ops/compat/clients/run.py` wrote the results ([docs/results/clients](results/clients)), `page.py` this page out of them; [the README there](../ops/compat/clients/README.md)
says what each scenario is and how a client is added. Settings that work, a page a client: [docs/clients](clients/README.md).

- **Through**: two nodes with one control plane before the storage, and a balancer that sends every request to the other node than the last. **Direct**: the
  server alone behind the same balancer. Path style and, where the client can, virtual-host style; HTTP and TLS.
- What a driver says is not believed where something is left to be seen: afterwards a client of the runner's own reads bodies byte by byte, and keys, headers and
  open uploads; [what exactly, by scenario](../ops/compat/clients/README.md#what-is-checked-afterwards). Where a scenario leaves nothing, the driver's own comparison
  counts, and that the balancer has seen requests of it.
- Virtual-host style over TLS goes through to the nodes' own TLS: there every connection goes to the other node than the last, and no request is counted.
- After each run everything that the storage holds is scanned for the bodies: none was found in clear wherever a row says so.
- A scenario that a client has no call for is `–`. **no** has its reason below its table. **not run** is what the client can be told to do, and nobody has recorded:
  each storage, HTTP and TLS, path and virtual-host style; of a server alone path style, and TLS where it was tried. **So the percentages are over about half of the runs**: those that have one against the server alone beside them.
- Virtual-host style is tried with what has the bucket elsewhere in path, signature or URL (sizes, multipart, ranges, names, delimiter, many, copy, delete_many, presigned_get, presigned_put), and with the jobs of clients that are asked nothing else; of all other scenarios a `yes` is path style.
- Runs are of the commit that stands at them, and not made again for each change of Sealgate.
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
        """What is expected, and what there is beyond it."""
        wanted = [*((backend, "through") for backend in manifest.BACKENDS), *((backend, "direct") for backend in manifest.ALONE)]
        return [(backend, side) for backend in BACKENDS for side in record.SIDES if (backend, side) in wanted or self.runs(backend, side)]

    def expected(self, backend: str, side: str, scenario: str) -> list[str]:
        """The runs that there should be of a scenario, each as `scheme style`."""
        if scenario == record.SCAN:
            asked = [] if side == "direct" else [where for name in self.client.asked if name not in manifest.READS for where in self.client.runs(name)]
            return list(dict.fromkeys(asked))
        there = self.runs(backend, side)
        return [where for where in self.client.runs(scenario)
                if side == "through" or where == "http path" or (where == "https path" and (where in there or "http" not in self.client.schemes))]

    def lacks(self, scenario: str) -> bool:
        """Whether the client has no call for it, wherever it was asked."""
        return self.said(scenario) == {"absent"}

    def said(self, scenario: str) -> set[str]:
        """All results that there are of it."""
        return {run[scenario]["result"] for backend, side in self.columns() for run in self.runs(backend, side).values() if scenario in run}

    def missing(self, backend: str, side: str, scenario: str) -> list[str]:
        """The runs that nobody has recorded."""
        there = self.runs(backend, side)
        return [] if self.lacks(scenario) else [where for where in self.expected(backend, side, scenario) if scenario not in there.get(where, {})]

    def not_run(self, side: str, backend: str) -> int:
        if (backend, side) not in self.columns():
            return 0
        return sum(len(self.missing(backend, side, scenario)) for scenario in self.client.asked)

    def scenarios(self) -> list[str]:
        """In the table's order."""
        return [*self.client.asked, record.SCAN]

    def cell(self, backend: str, side: str, scenario: str) -> str:
        """One word where all runs agree, else each run that does not pass, and those that are missing."""
        outcomes = {where: run[scenario]["result"] for where, run in self.runs(backend, side).items() if scenario in run}
        missing = self.missing(backend, side, scenario)
        if not outcomes:
            return "not run" if missing else "–" if self.lacks(scenario) else ""
        failed, absent = ([where for where, result in outcomes.items() if result == wanted] for wanted in ("fail", "absent"))
        if failed:
            text = "**no**" if len(failed) == len(outcomes) else f"**no** ({', '.join(failed)})"
        elif absent:
            text = "–" if len(absent) == len(outcomes) else f"yes, – ({', '.join(absent)})"
        else:
            text = "yes"
        return f"{text}; not run: {', '.join(shorter(missing, self.expected(backend, side, scenario)))}" if missing else text

    def ran(self, backend: str, side: str, where: str) -> str:
        """Day and commit of a run; of scenarios that are of another run, theirs."""
        run = self.found.get(backend, {}).get(side, {}).get(where)
        if not run or not run["scenarios"]:
            return "not run" if any(where in self.expected(backend, side, name) for name in self.client.asked) else ""
        stamps: dict[tuple[str, str], list[str]] = {}
        for name, outcome in run["scenarios"].items():
            stamps.setdefault(record.stamp(run, outcome), []).append(words(name))
        (most, _), *others = sorted(stamps.items(), key=lambda item: -len(item[1]))
        return "; ".join([" ".join(most), *(f"{', '.join(names)}: {' '.join(stamp)}" for stamp, names in others)])

    def environments(self, backend: str | None = None) -> list[dict]:
        """What is recorded of all that ran, or of all before one storage."""
        return [record.environment(found, outcome) for each, found in self.found.items() if backend in (None, each)
                for side in record.SIDES for run in found.get(side, {}).values() for outcome in run["scenarios"].values()]

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
        alone = [outcome for _, name, outcome, direct in self.pairs(backend) if direct["result"] == "pass" and name != record.SCAN]
        return sum(outcome["result"] == "pass" for outcome in alone), len(alone)

    def passing(self, backend: str) -> tuple[int, int]:
        """Of all runs of scenarios that the client has: what passes through."""
        said = [outcome["result"] for run in self.runs(backend, "through").values() for name, outcome in run.items() if name != record.SCAN]
        return said.count("pass"), len(said) - said.count("absent")

    def unexplained(self):
        """What fails through Sealgate in a way that no caveat describes, neither as it is nor as the same failure of the server alone in the same run; and
        what is absent only sometimes."""
        for scenario in self.client.asked:
            if {"absent"} < self.said(scenario):
                yield f"{self.client.folder}: {scenario} is absent in one run and tried in another"
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


def shorter(runs: list[str], among: list[str]) -> list[str]:
    """A scheme's or a style's name for all of its runs."""
    for style in ("path", "virtual"):
        if runs == [run for run in among if run.endswith(f" {style}")] != among:
            return [style]
    said = collections.defaultdict(list)
    for run in runs:
        said[run.partition(" ")[0]].append(run)
    return [each for scheme, mine in said.items() for each in ([scheme] if len(mine) == sum(run.startswith(f"{scheme} ") for run in among) else mine)]


def summary(results: list[Results], signature: str) -> list[str]:
    """A row a client: how much passes through, how much of what passes alone is kept, and how much nobody has tried."""
    shown = [backend for backend in BACKENDS if any((backend, "through") in each.columns() for each in results)]
    lines = [f"| client | version | language |{''.join(f' {BACKENDS[backend]} |' for backend in shown)}", f"|---|---|---|{'---|' * len(shown)}"]
    for each in results:
        cells = []
        for backend in shown:
            passed, asked = each.passing(backend)
            kept, alone = each.kept(backend)
            missing = not_run(each.not_run("through", backend), each.not_run("direct", backend))
            cells.append(f"{passed} of {asked}{f'; {kept} of {alone}' if alone else ''}{f' ({missing})' if missing else ''}" if asked else "not run")
        lines.append(f"| [{each.client.name}](#{anchor(each.client.name)}) | {each.client.version} | {each.client.language} | {' | '.join(cells)} |")
    return lines


def not_run(through: int, alone: int) -> str:
    """How many scenario runs are missing, in words."""
    said = [str(through)] if through else []
    return f"not run: {', '.join([*said, *([f'alone {alone}'] if alone else [])])}" if through or alone else ""


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return "".join(character for character in heading.lower() if character.isalnum() or character in "-_ ").replace(" ", "-")


def section(each: Results) -> list[str]:
    """A client's own table, its caveats and its runs."""
    client, columns = each.client, each.columns()
    more = "".join(f", {name} {version}" for name, version in client.versions.items())
    lines = ["", f"### {client.name}", "", f"{client.version}{more} · {made_of(each)}{guide(client)}", ""]
    # A note says how a scenario is tried, a caveat why it fails or is not there.
    said = {**client.notes, **{name: caveat.why for name, caveat in client.caveats.items()}}
    if "*" in said:
        lines += [f"{said['*']}.", ""]
    if not each.found:
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
    notes += [f"- names on {BACKENDS[backend]}: not asked for there are {', '.join(f'`{name}`' for name in names)}, which the server cannot have as keys."
              for backend, names in manifest.server_caveats().get("cannot_name", {}).items() if backend in each.found and "names" in client.asked]
    notes += [f"- {words(name)} on {BACKENDS[backend]}: {caveat.why}." for backend in each.found for name, caveat in manifest.of_server(backend).items()
              if any(run.get(name, {}).get("result") == "fail" for run in each.runs(backend, "through").values())]
    told: dict[tuple[str, str, str], list[str]] = {}
    for backend, where, name, text in failures(each):
        told.setdefault((backend, name, text), []).append(where)
    notes += [f"- **{words(name)}**, {BACKENDS[backend]}, {', '.join(runs)}: {text}" for (backend, name, text), runs in told.items()]
    return [*lines, *(["", *notes] if notes else []), "", *ran(each, columns)]


def ran(each: Results, columns) -> list[str]:
    """The client's runs: when, and of which commit."""
    wheres = [f"{scheme} {style}" for scheme in ("http", "https") for style in ("path", "virtual")]
    rows = [(where, [each.ran(backend, side, where) for backend, side in columns]) for where in wheres]
    lines = [f"| run |{''.join(f' {column(each, backend, side)} |' for backend, side in columns)}", f"|---|{'---|' * len(columns)}"]
    return [*lines, *(f"| {where} | {' | '.join(cells)} |" for where, cells in rows if any(cells))]


def column(each: Results, backend: str, side: str) -> str:
    servers = " / ".join(unique(environment.get("server") for environment in each.environments(backend)))
    return f"{' '.join(filter(None, [BACKENDS[backend], servers]))}, {side}"


def unique(values) -> list[str]:
    return sorted({value for value in values if value})


def made_of(each: Results) -> str:
    """The language, the runtime and what else decides, as far as it is recorded."""
    environments = each.environments()
    own = {each.client.name, each.client.folder, *each.client.versions}
    told = [" / ".join(unique(environment.get("runtime") for environment in environments))]
    for name in KEY_PACKAGES:
        versions = unique(environment.get("packages", {}).get(name) for environment in environments)
        told.append(f"{name} {' / '.join(versions)}" if versions and name not in own else "")
    return ", ".join(filter(None, ["" if told[0].startswith(each.client.language) else each.client.language, *told]))


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
                    said = {"fail": f" The server alone fails too: {quoted(alone)}", "pass": " The server alone passes.", None: " The server alone was not asked so."}
                    yield backend, where, name, quoted(outcome) + ("" if backend == "filesystem" else said.get(alone.get("result"), ""))
                elif alone.get("result") == "fail":
                    why = manifest.only_alone(backend, name, alone.get("detail", ""))
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
            share = f"; of the {alone} that the server alone was asked too, and passes, {kept} pass through it: **{100 * kept / alone:.1f} %**" if alone else ""
            missing = not_run(*(sum(each.not_run(side, backend) for each in results) for side in record.SIDES))
            lines.append(f"- {BACKENDS[backend]}: {passed} of {asked} scenario runs pass through Sealgate{share}{f'; {missing}' if missing else ''}")
    return lines


def versions(results: list[Results]) -> str:
    """Of everything that is not a client."""
    with open(os.path.join(record.ROOT, "Cargo.toml"), "rb") as file:
        own = tomllib.load(file)["workspace"]["package"]["version"]
    servers = [f"{BACKENDS[backend]} {' / '.join(said)}" for backend in BACKENDS
               if (said := unique(environment.get("server") for each in results for environment in each.environments(backend)))]
    return f"{', '.join([f'Sealgate {own}', *servers])}. Each client's versions, and the day and the commit of each of its runs, are at its tables."


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
                 "alone, how much passes through Sealgate; in brackets the scenario runs that nobody has recorded, through Sealgate and against the server alone.")
        lines += [f"## {title}", "", about, "", *total(results), "", *summary(results, title), ""]
    lines += ["## Each client"]
    for each in everybody:
        lines += section(each)
    return "\n".join(lines).rstrip() + "\n"


def write():
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(render())


def main() -> int:
    if sys.argv[1:] != ["--check"]:
        write()
        return 0
    with open(PAGE, encoding="utf-8") as file:
        same = file.read() == render()
    unexplained = [reason for client in manifest.all_clients() for reason in Results(client).unexplained()]
    for reason in unexplained:
        print(reason)
    if not same:
        print("docs/compatibility.md is not what is recorded: ops/compat/clients/page.py writes it")
    return 1 if unexplained or not same else 0


if __name__ == "__main__":
    sys.exit(main())
