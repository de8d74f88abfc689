"""A control plane and two nodes before one storage, as an operator runs them: separate programs on loopback."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import servers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
# Clients presign with Version 2 in us-east-1.
REGION = "eu-central-1"
TENANT = "clients"
NODES = 2

CONTROL = """
data_dir = "{data}/control-plane"
drain_seconds = 1
[grpc]
listen = "127.0.0.1:{grpc}"
[admin]
listen = "127.0.0.1:{admin}"
token_file = "{data}/admin-token"
[kms.local]
keyring = "{data}/keyring.json"
key_file = "{data}/keyring.key"
[buckets]
regions = ["{region}"]
default_backend = "main"
[[backends]]
name = "main"
[keys]
rate_per_second = 10000
burst = 10000
"""
NODE = """
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{health}"
domains = ["{domain}", "localhost"]
drain_wait_seconds = 0
drain_seconds = 1
{tls}
[control_plane]
endpoint = "https://127.0.0.1:{grpc}"
ca = "{home}/ca.pem"
certificate = "{home}/certificate.pem"
key = "{home}/private_key.pem"
[backends.main]
{backend}
"""
TLS = """
[tls]
certificate = "{certificate}"
key = "{key}"
"""
SERVER = """
kind = "s3"
endpoint = "{endpoint}"
region = "{region}"
server = "{name}"
access_key_env = "BACKEND_ACCESS_KEY"
secret_key_env = "BACKEND_SECRET_KEY"
"""


def binary(name: str) -> str:
    """One of the programs: beside SEALGATE_BIN, or as cargo built it."""
    beside = os.environ.get("SEALGATE_BIN")
    path = os.path.join(os.path.dirname(os.path.abspath(beside)) if beside else os.path.join(ROOT, "target", "debug"), name)
    if not os.access(path, os.X_OK):
        raise servers.ServerError(f"{path} is missing: cargo build --locked -p {name}")
    return path


class Planes:
    """Everything lies in `data`; `storage` is one of the real servers, or None for the filesystem."""

    def __init__(self, domain: str, storage: servers.Server | None, certificate: tuple[str, str] | None):
        self.data = tempfile.mkdtemp(prefix="sealgate-clients-")
        self.storage, self.certificate, self.domain = storage, certificate, domain
        self.grpc, self.admin, self.token = servers.free_port(), servers.free_port(), secrets.token_hex(32)
        self.processes, self.nodes = [], []
        try:
            os.mkdir(os.path.join(self.data, "backend"))
            self.write("admin-token", self.token)
            self.write("keyring.key", secrets.token_bytes(32))
            text = CONTROL.format(data=self.data, grpc=self.grpc, admin=self.admin, region=REGION)
            self.start("sealgate-control-plane", "control-plane", text, self.admin, "/healthz")
            self.api("POST", "/v1/tenants", {"name": TENANT})
            for number in range(1, NODES + 1):
                self.add_node(number)
        except BaseException:
            self.stop()
            raise

    def write(self, name: str, content: str | bytes) -> str:
        path = os.path.join(self.data, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def start(self, program: str, name: str, text: str, port: int, path: str):
        config, log = self.write(f"{name}.toml", text), os.path.join(self.data, f"{name}.log")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SEALGATE_"))}
        kept |= {"RUST_BACKTRACE": "1", "SEALGATE_LOG": os.environ.get("SEALGATE_LOG", "warn")}
        if self.storage:
            kept |= {"BACKEND_ACCESS_KEY": self.storage.access_key, "BACKEND_SECRET_KEY": self.storage.secret_key}
        with open(log, "ab") as output:
            process = servers.start_process([binary(program), "--config", config], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            cwd=self.data, env=kept)
        self.processes.append(process)
        servers.wait_until(name, process, lambda: servers.answers(port, path), log=log)

    def add_node(self, number: int):
        made = self.api("POST", "/v1/nodes", {"name": f"node-{number}", "tenants": [TENANT]})
        home = os.path.join(self.data, f"node-{number}")
        for name in ("ca", "certificate", "private_key"):
            self.write(f"node-{number}/{name}.pem", made[name])
        port, health = servers.free_port(), servers.free_port()
        backend = (SERVER.format(endpoint=self.storage.endpoint, region=self.storage.region, name=self.storage.name) if self.storage
                   else f'kind = "filesystem"\nroot = "{self.data}/backend"')
        tls = TLS.format(certificate=self.certificate[0], key=self.certificate[1]) if self.certificate else ""
        text = NODE.format(port=port, health=health, domain=self.domain, grpc=self.grpc, home=home, backend=backend, tls=tls)
        self.start("sealgate-data-plane", f"node-{number}", text, health, "/readyz")
        self.nodes.append(("127.0.0.1", port))

    def credential(self, sigv2: bool = False) -> tuple[str, str]:
        """A new credential that may do everything but configure buckets for others."""
        grants = [{"bucket": "*", "read": True, "write": True, "admin": True, "configure": True}]
        document = {"tenant": TENANT, "label": "clients", "grants": grants}
        made = self.api("POST", "/v1/credentials", {**document, "sigv2": True, "not_after": 4102444800} if sigv2 else document)
        return made["access_key_id"], made["secret_access_key"]

    def api(self, method: str, path: str, document=None):
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", body, method=method, headers={
            "Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise servers.ServerError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def raw_roots(self) -> list[str]:
        """Where everything that was stored lies, as raw bytes."""
        return [self.storage.directory] if self.storage else [os.path.join(self.data, "backend")]

    def logs(self) -> str:
        """The end of what each said."""
        names = sorted(name for name in os.listdir(self.data) if name.endswith(".log"))
        return "".join(f"\n--- {name}{servers.tail(os.path.join(self.data, name), 8)}" for name in names)

    def stop(self):
        for process in reversed(self.processes):
            servers.end_group(process, politely=False)
        shutil.rmtree(self.data, ignore_errors=True)
