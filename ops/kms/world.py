"""A control plane and nodes as an operator runs them: two programs on loopback, a filesystem behind, a KMS behind a faulty way."""

import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import cable
import raw
import servers
import sigv4

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REGION = "eu-central-1"
PROVIDER = "kms"
# How long a program may take to find its way after its clock has jumped.
JUMP_SECONDS = 15

CONTROL = """
data_dir = "{data}/control-plane"
drain_seconds = 1

[grpc]
listen = "127.0.0.1:{grpc}"

[admin]
listen = "127.0.0.1:{admin}"
token_file = "{data}/admin-token"

{kms}

[buckets]
regions = ["{region}"]
default_backend = "main"

[[backends]]
name = "main"

[keys]
rate_per_second = 100000
burst = 100000
"""
NODE = """
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{health}"
drain_wait_seconds = 0
drain_seconds = 1

[control_plane]
endpoint = "https://127.0.0.1:{grpc}"
ca = "{home}/ca.pem"
certificate = "{home}/certificate.pem"
key = "{home}/private_key.pem"

[backends.main]
kind = "filesystem"
root = "{data}/backend"
"""


def binary(name: str) -> str:
    """One of the programs, as built; SEALGATE_BIN_DIR names another place than target/debug."""
    path = os.path.join(os.path.abspath(os.environ.get("SEALGATE_BIN_DIR", os.path.join(ROOT, "target", "debug"))), name)
    if not os.access(path, os.X_OK):
        raise servers.ServerError(f"{path} is missing: cargo build -p {name}")
    return path


def many_files():
    """As many open files as the system allows: thousands of clients are meant."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Process:
    """One of the programs, which can be ended and started again over the same files."""

    def __init__(self, name: str, command: list[str], home: str, ready, environment=None):
        self.name, self.command, self.home, self.ready = name, command, home, ready
        self.environment = environment or {}
        self.log = os.path.join(home, f"{name}.log")
        self.process = None

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = servers.start_process(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.home,
                                                 env={**clean_environment(), **self.environment})
        if wait:
            servers.wait_until(self.name, self.process, self.ready, log=self.log)

    def kill(self):
        """SIGKILL, as a crash: nothing is saved, nothing is said."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def restart(self):
        self.kill()
        self.start()

    def printed(self) -> str:
        with open(self.log, errors="replace") as log:
            return log.read()


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VAULT_", "BAO_", "SEALGATE_"))}
    return {**kept, "RUST_BACKTRACE": "1", "SEALGATE_LOG": os.environ.get("SEALGATE_LOG", "info")}


class World:
    """The whole of it. `kms` is the text of the configuration's tables under `kms`; its `{data}` is this world's directory."""

    def __init__(self, kms: str, nodes: int = 1, files: dict[str, str] | None = None, environment=None, faked_clock=False, cabled=False):
        self.data = tempfile.mkdtemp(prefix="sealgate-kms-")
        self.grpc, self.admin = servers.free_port(), servers.free_port()
        self.token = secrets.token_hex(32)
        self.clock = os.path.join(self.data, "clock") if faked_clock else None
        self.offset = 0
        self.control, self.nodes, self.endpoints, self.health = None, [], [], []
        # One a node, where they are wanted: each node's way to the control plane.
        self.cabled, self.cables = cabled, []
        try:
            os.makedirs(os.path.join(self.data, "backend"))
            for name, text in {"admin-token": self.token, **(files or {})}.items():
                self.write(name, text)
            if self.clock:
                environment = {**(environment or {}), **self.faked()}
            text = CONTROL.format(data=self.data, grpc=self.grpc, admin=self.admin, region=REGION, kms=kms.replace("{data}", self.data))
            self.control = self.program("sealgate-control-plane", "control-plane", text, self.admin, "/healthz", environment)
            self.control.start()
            self.tenant = self.api("POST", "/v1/tenants", {"name": "acme"})
            self.credentials = self.credential("acme")
            for number in range(nodes):
                self.add_node(number, environment)
        except BaseException:
            self.stop()
            raise

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.data, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return path

    def program(self, program: str, name: str, text: str, port: int, path: str, environment=None) -> Process:
        file = self.write(f"{name}.toml", text)
        return Process(name, [binary(program), "--config", file], self.data, lambda: servers.answers(port, path), environment)

    def add_node(self, number: int, environment=None):
        made = self.api("POST", "/v1/nodes", {"name": f"node-{number}", "tenants": ["*"]})
        for name in ("ca", "certificate", "private_key"):
            self.write(f"node-{number}/{name}.pem", made[name])
        port, health = servers.free_port(), servers.free_port()
        if self.cabled:
            self.cables.append(cable.Cable(self.grpc))
        way = self.cables[number].port if self.cabled else self.grpc
        text = NODE.format(port=port, health=health, grpc=way, home=f"{self.data}/node-{number}", data=self.data)
        node = self.program("sealgate-data-plane", f"node-{number}", text, health, "/readyz", environment)
        self.nodes.append(node)
        self.endpoints.append(f"http://127.0.0.1:{port}")
        self.health.append(health)
        node.start()

    def faked(self) -> dict[str, str]:
        """A clock that the suite moves, for both programs (libfaketime)."""
        library = os.environ.get("SEALGATE_FAKETIME", "")
        if not os.path.exists(library):
            raise servers.ServerError("SEALGATE_FAKETIME names no library: run ops/install-tools faketime and source its env file")
        self.move_clock(0)
        return {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": self.clock, "FAKETIME_NO_CACHE": "1"}

    def move_clock(self, seconds: int):
        """Both programs' clocks, the wall's and the monotonic one, jump ahead."""
        self.offset += seconds
        temporary = self.clock + ".new"
        with open(temporary, "w") as file:
            file.write(f"+{self.offset}s\n")
        os.replace(temporary, self.clock)

    def credential(self, tenant: str) -> sigv4.Credentials:
        grants = [{"bucket": "*", "read": True, "write": True, "admin": True, "configure": True}]
        made = self.api("POST", "/v1/credentials", {"tenant": tenant, "label": "suite", "grants": grants})
        return sigv4.Credentials(made["access_key_id"], made["secret_access_key"], REGION)

    def client(self, node: int = 0, credentials=None) -> raw.RawClient:
        return raw.RawClient(self.endpoints[node], credentials or self.credentials)

    def api(self, method: str, path: str, document=None, timeout=30):
        """A request to the admin API, which must succeed."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", body, method=method, headers={
            "Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            return json.loads(self._read(request, timeout) or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def _read(self, request, timeout=30) -> bytes:
        """An answer's body. Asked again only where a clock that has just jumped makes a server give its connections up (408)."""
        end = time.monotonic() + JUMP_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                if error.code != 408 or not self.clock or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def metrics(self, port: int | None = None) -> dict[str, float]:
        """All samples of the control plane, or of a node, by name and labels as they are printed."""
        lines = self._read(f"http://127.0.0.1:{port or self.admin}/metrics").decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}

    def metric(self, name: str, port: int | None = None, **labels: str) -> float:
        """The sum of one metric's samples with these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(value for sample, value in self.metrics(port).items()
                   if re.split(r"[{ ]", sample)[0] == name and all(one in sample for one in wanted))

    def restart_planes(self):
        """All caches cold."""
        for each in [*self.nodes, self.control]:
            each.kill()
        self.control.start()
        for node in self.nodes:
            node.start()

    def restart_nodes(self):
        for node in self.nodes:
            node.restart()

    def stop(self):
        for each in [*self.nodes, self.control]:
            if each is not None and each.process is not None:
                servers.end_group(each.process, politely=False)
        for each in self.cables:
            each.close()
        if os.environ.get("SEALGATE_KEEP"):
            print(f"kept: {self.data}")
        else:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def wait(seconds: float, condition, what: str):
    """Until the condition holds (its value); fails after the time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
