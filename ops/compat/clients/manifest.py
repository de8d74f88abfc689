"""What a client's folder says about it, checked: drivers/<folder>/client.toml."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = os.path.join(HERE, "drivers")
# The table of the README, in its order.
SCENARIOS = ("sizes", "multipart", "unknown_length", "ranges", "names", "delimiter", "many", "copy", "copy_large", "delete_many", "metadata", "tags",
             "presigned_get", "presigned_put", "conditional_put", "versions", "checksums", "sync", "abort")
KEYS = {"name", "version", "language", "order", "schemes", "addressing", "fast", "seconds", "scenarios", "jobs", "signature", "install", "notes", "caveats",
        "versions", "cannot_name", "system_ca"}
# What of it is asked once more in virtual-host style, where the bucket stands elsewhere in path, signature and presigned URLs; of a client that is asked nothing of it, the jobs.
VIRTUAL = ("sizes", "multipart", "ranges", "names", "delimiter", "many", "copy", "delete_many", "presigned_get", "presigned_put")
# What leaves nothing in the storage that could be scanned for.
READS = ("many", "ranges", "parquet_read")
# The storages of the page: through Sealgate, and those of them that stand alone too.
BACKENDS, ALONE = ("filesystem", "seaweedfs", "versitygw"), ("seaweedfs", "versitygw")
METHODS = ("pypi", "npm", "go", "maven", "cargo", "apt", "script")
# How long a driver may take for all that it is asked, unless it says otherwise.
SECONDS = 900


class ManifestError(Exception):
    """A client.toml that is not what the README says."""


@dataclasses.dataclass(frozen=True)
class Caveat:
    """Why a scenario is not there, or fails. It excuses a failure only where it says what that looks like, and only that one."""

    why: str
    # What a failure through Sealgate says, and what it says before the server alone (the same, where nothing is said). None: it excuses nothing.
    expect: re.Pattern | None = None
    alone: re.Pattern | None = None

    def excuses(self, detail: str, direct: bool = False) -> bool:
        pattern = (self.alone or self.expect) if direct else self.expect
        return bool(pattern and pattern.search(detail))


def caveats_of(table: dict) -> dict[str, Caveat]:
    """Of a table of caveats: a plain text, or one with regular expressions. ValueError says what is wrong."""
    made = {}
    for name, value in table.items():
        given = {"why": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or set(given) - {"why", "expect", "alone"} or not all(isinstance(each, str) and each for each in given.values()):
            raise ValueError(f"the caveat {name} is a text, or {{ why, expect, alone }}")
        if "why" not in given or ("alone" in given and "expect" not in given):
            raise ValueError(f"the caveat {name} lacks {'expect' if 'why' in given else 'why'}")
        try:
            patterns = {key: re.compile(given[key], re.S) for key in ("expect", "alone") if key in given}
        except re.error as error:
            raise ValueError(f"the caveat {name}: {error}") from error
        if any(pattern.search("") for pattern in patterns.values()):
            raise ValueError(f"the caveat {name} excuses a failure that says nothing")
        made[name] = Caveat(given["why"], **patterns)
    return made


@functools.cache
def server_caveats() -> dict[str, dict]:
    """servers.toml as it stands: what servers themselves do not do, by server and scenario."""
    with open(os.path.join(HERE, "servers.toml"), "rb") as file:
        return tomllib.load(file)


@functools.cache
def of_server(backend: str) -> dict[str, Caveat]:
    """Its caveats by scenario."""
    try:
        return caveats_of({name: value for name, value in server_caveats().get(backend, {}).items() if name != "alone"})
    except ValueError as error:
        raise ManifestError(f"servers.toml, {backend}: {error}") from error


def only_alone(backend: str, scenario: str, detail: str) -> str | None:
    """What only that server alone does wrong, and Sealgate before it does not: where the failure says that it is this."""
    known = server_caveats().get(backend, {}).get("alone", {}).get(scenario)
    return known["why"] if known and re.search(known["alone"], detail, re.S) else None


@dataclasses.dataclass(frozen=True)
class Client:
    """One client. `folder` is its name on the command line, `name` the page's."""

    folder: str
    name: str
    version: str
    language: str
    order: int
    schemes: tuple[str, ...]
    addressing: tuple[str, ...]
    fast: bool
    seconds: int
    # What it is asked: of the table, and jobs of its own after that.
    scenarios: tuple[str, ...]
    jobs: tuple[str, ...]
    # "v2": it signs with Signature Version 2 and gets a credential for that.
    signature: str
    install: dict
    # How a scenario is tried: for the page, no excuse for anything.
    notes: dict[str, str]
    caveats: dict[str, Caveat]
    # What else is pinned and worth a line on the page: the library under a tool, an extension.
    versions: dict[str, str]
    # Names of the scenario `names` that it cannot have as keys, with the reason in its note.
    cannot_name: tuple[str, ...]
    # It has no setting for a CA: in TLS runs the run's is among the system's.
    system_ca: bool

    @property
    def path(self) -> str:
        return os.path.join(DRIVERS, self.folder)

    @property
    def driver(self) -> str:
        return os.path.join(self.path, "driver")

    @property
    def asked(self) -> tuple[str, ...]:
        return (*self.scenarios, *self.jobs)

    def runs(self, scenario: str) -> list[str]:
        """The runs that ask for it, each as `scheme style`."""
        again = VIRTUAL if self.scenarios else self.jobs
        return [f"{scheme} {style}" for scheme in self.schemes for style in self.addressing if style == "path" or scenario in again]

    def excuse(self, scenario: str, backend: str, detail: str, direct: bool = False) -> str | None:
        """Why that failure is the client's own or the server's; None when it is another one."""
        return next((caveat.why for caveat in self.about(scenario, backend) if caveat.excuses(detail, direct)), None)

    def same_alone(self, scenario: str, backend: str, detail: str, alone: str) -> bool:
        """Whether a caveat knows both for one failure of the server's: the one through Sealgate and the one without."""
        return any(caveat.excuses(detail, True) and caveat.excuses(alone, True) for caveat in self.about(scenario, backend))

    def about(self, scenario: str, backend: str) -> list[Caveat]:
        """What is said of one scenario before one storage, by the client's folder and of the server."""
        server = of_server(backend)
        return [*(self.caveats[name] for name in (scenario, f"{scenario}@{backend}") if name in self.caveats), *([server[scenario]] if scenario in server else [])]

    def inputs(self) -> list[str]:
        """The files that an install is made of, relative to the folder, beside the table `install` itself."""
        if "npm" in self.install:
            return ["package.json", "package-lock.json"]
        if "script" in self.install:
            return [self.install["script"], *self.install.get("inputs", [])]
        if not {"go", "maven", "cargo"} & set(self.install):
            return []
        found = []
        # `shared` is a folder beside this one, with what several clients of a language have in common.
        for root in (self.path, *(os.path.join(DRIVERS, name) for name in self.install.get("shared", []))):
            for directory, folders, files in os.walk(root):
                folders[:] = [name for name in folders if name not in ("target", "node_modules")]
                found += [os.path.relpath(os.path.join(directory, name), self.path) for name in files]
        return sorted(name for name in found if name not in ("client.toml", "driver"))

    def digest(self) -> str:
        """Changes with whatever the install is made of."""
        content = hashlib.sha256(json.dumps(self.install, sort_keys=True).encode())
        for name in self.inputs():
            with open(os.path.join(self.path, name), "rb") as file:
                content.update(f"\0{name}\0".encode() + file.read())
        return content.hexdigest()[:12]


def parse(folder: str) -> Client:
    """A folder's manifest; an error names the file and the key."""
    path = os.path.join(DRIVERS, folder, "client.toml")
    try:
        with open(path, "rb") as file:
            raw = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from error

    def demand(condition, text: str):
        if not condition:
            raise ManifestError(f"{path}: {text}")

    demand(not set(raw) - KEYS, f"unknown keys: {', '.join(sorted(set(raw) - KEYS))}")
    for key in ("name", "version", "language", "order", "schemes", "addressing"):
        demand(key in raw, f"{key} is missing")
    demand(set(raw["schemes"]) <= {"http", "https"} and raw["schemes"], "schemes are http and https")
    demand(set(raw["addressing"]) <= {"path", "virtual"} and raw["addressing"], "addressing is path and virtual")
    demand(raw.get("signature", "v4") in ("v4", "v2"), "signature is v4 or v2")
    demand(any(method in raw.get("install", {}) for method in METHODS), f"[install] has none of {', '.join(METHODS)}")
    scenarios, jobs = tuple(raw.get("scenarios", SCENARIOS)), tuple(raw.get("jobs", ()))
    demand(set(scenarios) <= set(SCENARIOS), f"unknown scenarios: {', '.join(sorted(set(scenarios) - set(SCENARIOS)))}")
    demand(not set(jobs) & set(SCENARIOS), "a job has the name of a scenario")
    notes = raw.get("notes", {})
    demand(all(isinstance(text, str) for text in notes.values()), "a note is a text")
    try:
        caveats = caveats_of(raw.get("caveats", {}))
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from error
    demand(not raw.get("cannot_name") or "names" in {**notes, **caveats}, "cannot_name needs the note `names`")
    unknown = {name.partition("@")[0] for name in (*notes, *caveats)} - {*SCENARIOS, *jobs, "*", "virtual", "https"}
    demand(not unknown, f"notes and caveats about nothing: {', '.join(sorted(unknown))}")
    demand(not set(notes) & set(caveats), f"both a note and a caveat: {', '.join(sorted(set(notes) & set(caveats)))}")
    return Client(folder, raw["name"], str(raw["version"]), raw["language"], raw["order"], tuple(raw["schemes"]), tuple(raw["addressing"]),
                  bool(raw.get("fast", False)), int(raw.get("seconds", SECONDS)), scenarios, jobs, raw.get("signature", "v4"), raw["install"],
                  notes, caveats, raw.get("versions", {}), tuple(raw.get("cannot_name", ())),
                  bool(raw.get("system_ca", False)))


def all_clients() -> list[Client]:
    """Every client that has a folder, in the page's order."""
    folders = [name for name in os.listdir(DRIVERS) if os.path.exists(os.path.join(DRIVERS, name, "client.toml"))]
    return sorted((parse(folder) for folder in folders), key=lambda client: (client.order, client.folder))
