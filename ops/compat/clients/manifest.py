"""What a client's folder says about it, checked: drivers/<folder>/client.toml."""

import dataclasses
import functools
import hashlib
import json
import os
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = os.path.join(HERE, "drivers")
# The table of the README, in its order.
SCENARIOS = ("sizes", "multipart", "unknown_length", "ranges", "names", "delimiter", "many", "copy", "copy_large", "delete_many", "metadata", "tags",
             "presigned_get", "presigned_put", "conditional_put", "versions", "checksums", "sync", "abort")
KEYS = {"name", "version", "language", "order", "schemes", "addressing", "fast", "seconds", "scenarios", "jobs", "signature", "install", "caveats",
        "versions", "cannot_name", "system_ca"}
METHODS = ("pypi", "npm", "go", "maven", "cargo", "apt", "script")
# How long a driver may take for all that it is asked, unless it says otherwise.
SECONDS = 900


@functools.cache
def server_caveats() -> dict[str, dict[str, str]]:
    """What servers themselves do not do: by server and scenario."""
    with open(os.path.join(HERE, "servers.toml"), "rb") as file:
        return tomllib.load(file)


class ManifestError(Exception):
    """A client.toml that is not what the README says."""


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
    caveats: dict[str, str]
    # What else is pinned and worth a line on the page: the library under a tool, an extension.
    versions: dict[str, str]
    # Names of the scenario `names` that it cannot have as keys, with the reason in its caveat.
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

    def caveat(self, scenario: str, backend: str) -> str | None:
        """The reason for one scenario, the client's own or the server's."""
        return self.caveats.get(scenario) or self.caveats.get(f"{scenario}@{backend}") or server_caveats().get(backend, {}).get(scenario)

    def inputs(self) -> list[str]:
        """The files that an install is made of, relative to the folder, beside the table `install` itself."""
        if "npm" in self.install:
            return ["package.json", "package-lock.json"]
        if "script" in self.install:
            return [self.install["script"], *self.install.get("inputs", [])]
        if not {"go", "maven", "cargo"} & set(self.install):
            return []
        found = []
        for directory, folders, files in os.walk(self.path):
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
    demand(not raw.get("cannot_name") or "names" in raw.get("caveats", {}), "cannot_name needs the caveat `names`")
    unknown = {name.partition("@")[0] for name in raw.get("caveats", {})} - {*SCENARIOS, *jobs, "*", "virtual", "https"}
    demand(not unknown, f"caveats about nothing: {', '.join(sorted(unknown))}")
    return Client(folder, raw["name"], str(raw["version"]), raw["language"], raw["order"], tuple(raw["schemes"]), tuple(raw["addressing"]),
                  bool(raw.get("fast", False)), int(raw.get("seconds", SECONDS)), scenarios, jobs, raw.get("signature", "v4"), raw["install"],
                  raw.get("caveats", {}), raw.get("versions", {}), tuple(raw.get("cannot_name", ())),
                  bool(raw.get("system_ca", False)))


def all_clients() -> list[Client]:
    """Every client that has a folder, in the page's order."""
    folders = [name for name in os.listdir(DRIVERS) if os.path.exists(os.path.join(DRIVERS, name, "client.toml"))]
    return sorted((parse(folder) for folder in folders), key=lambda client: (client.order, client.folder))
