"""OpenBao on loopback: one server in development mode, or three with raft; and the little of its API that a suite needs."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import cable
import servers

# What the control plane may do, and no more: never `create` on encrypt, which would make keys by accident.
POLICY = """
path "transit/keys/+" { capabilities = ["create", "read", "update", "delete"] }
path "transit/keys/+/rotate" { capabilities = ["update"] }
path "transit/keys/+/config" { capabilities = ["update"] }
path "transit/encrypt/+" { capabilities = ["update"] }
path "transit/decrypt/+" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"""


class BaoError(Exception):
    """An answer that is none of 2xx."""

    def __init__(self, status, text):
        super().__init__(f"{status} {text}")
        self.status = status


def binary() -> str:
    path = os.environ.get("SEALGATE_BAO", "")
    if not os.access(path, os.X_OK):
        raise servers.ServerError("SEALGATE_BAO names no program: run ops/install-tools openbao and source its env file")
    return path


def call(port: int, token: str, method: str, path: str, document=None, timeout=10):
    """One request to the API; the answer's document."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/{path}", None if document is None else json.dumps(document).encode(),
                                     method=method, headers={"X-Vault-Token": token})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise BaoError(error.code, error.read().decode(errors="replace")) from error


class Bao:
    """What both kinds have in common: a root token, a mount `transit`, a policy `sealgate`, an AppRole `sealgate`."""

    root: str

    def address(self) -> int:
        """A port that answers writes."""
        raise NotImplementedError

    def api(self, method, path, document=None, timeout=10):
        return call(self.address(), self.root, method, path, document, timeout)

    def prepare(self, token_ttl="1h"):
        self.api("POST", "sys/mounts/transit", {"type": "transit"})
        self.api("PUT", "sys/policies/acl/sealgate", {"policy": POLICY})
        self.api("POST", "sys/auth/approle", {"type": "approle"})
        self.role(token_ttl)

    def role(self, token_ttl, token_max_ttl="24h"):
        """(Re)defines the AppRole's tokens."""
        self.api("POST", "auth/approle/role/sealgate", {"token_policies": ["sealgate"], "token_ttl": token_ttl,
                                                        "token_max_ttl": token_max_ttl, "token_no_default_policy": True})

    def approle(self) -> tuple[str, str]:
        """Role id and a secret id."""
        role = self.api("GET", "auth/approle/role/sealgate/role-id")["data"]["role_id"]
        return role, self.api("POST", "auth/approle/role/sealgate/secret-id", {})["data"]["secret_id"]

    def revoke_tokens(self):
        """Every token that the control plane has."""
        for accessor in self.api("LIST", "auth/token/accessors")["data"]["keys"]:
            try:
                if "sealgate" in self.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["policies"]:
                    self.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
            except BaoError as error:
                # One that has ended since it was listed.
                if error.status not in (403, 404):
                    raise

    def deny(self):
        """Takes the right to use keys from the control plane's policy."""
        denied = POLICY.replace('"transit/decrypt/+" { capabilities = ["update"]', '"transit/decrypt/+" { capabilities = ["deny"]')
        denied = denied.replace('"transit/encrypt/+" { capabilities = ["update"]', '"transit/encrypt/+" { capabilities = ["deny"]')
        self.api("PUT", "sys/policies/acl/sealgate", {"policy": denied})

    def allow(self):
        self.api("PUT", "sys/policies/acl/sealgate", {"policy": POLICY})


class Dev(Bao):
    """In memory, unsealed, ready in half a second."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sealgate-bao-")
        self.port, self.root = servers.free_port(), secrets.token_hex(16)
        self.log = os.path.join(self.directory, "log")
        command = [binary(), "server", "-dev", f"-dev-root-token-id={self.root}", f"-dev-listen-address=127.0.0.1:{self.port}",
                   "-dev-no-store-token"]
        with open(self.log, "wb") as log:
            self.process = servers.start_process(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                                 cwd=self.directory, env={**os.environ, "HOME": self.directory})
        try:
            servers.wait_until("OpenBao", self.process, lambda: self.printed_key() and servers.answers(self.port, "/v1/sys/health"), log=self.log)
            self.unseal_key = self.printed_key()
        except BaseException:
            self.stop()
            raise

    def printed_key(self) -> str | None:
        """The one unseal key, which a server in development mode prints."""
        with open(self.log) as log:
            return next((line.split(":", 1)[1].strip() for line in log if line.strip().startswith("Unseal Key:")), None)

    def address(self):
        return self.port

    def seal(self):
        self.api("PUT", "sys/seal", {})

    def unseal(self):
        self.api("PUT", "sys/unseal", {"key": self.unseal_key})

    def stop(self):
        servers.end_group(self.process, politely=False)
        shutil.rmtree(self.directory, ignore_errors=True)


NODE = """
storage "raft" {{
  path = "{directory}/{number}"
  node_id = "n{number}"
  performance_multiplier = 1
{joins}
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
seal "static" {{
  current_key_id = "k1"
  current_key = "file://{directory}/unseal.key"
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{line}"
disable_standby_reads = true
"""
JOIN = """  retry_join {{
    leader_api_addr = "http://127.0.0.1:{port}"
  }}"""


class Cluster(Bao):
    """Three nodes with raft that unseal themselves. A standby answers nothing by itself: what was disabled must be so at once.

    With `lines`, what they say to each other, raft and requests that a standby passes on, goes over one to each node, and any can be cut off.
    Only then: heartbeats through a busy suite may come late, and half a second is all that a leader waits for them.
    """

    def __init__(self, lines=False):
        self.directory = tempfile.mkdtemp(prefix="sealgate-raft-")
        self.ports, cluster = [servers.free_port() for _ in range(3)], [servers.free_port() for _ in range(3)]
        self.processes: list[subprocess.Popen | None] = [None] * 3
        self.lines = [cable.Line(port, self.processes) for port in cluster] if lines else []
        # Nodes that are cut off: they may say what they like.
        self.away: set[int] = set()
        self.root = ""
        with open(os.path.join(self.directory, "unseal.key"), "wb") as key:
            key.write(secrets.token_bytes(32))
        for number in range(3):
            os.mkdir(os.path.join(self.directory, str(number)))
            joins = "\n".join(JOIN.format(port=port) for port in self.ports if port != self.ports[number])
            with open(os.path.join(self.directory, f"n{number}.hcl"), "w") as file:
                file.write(NODE.format(directory=self.directory, number=number, port=self.ports[number], cluster=cluster[number],
                                       line=self.lines[number].port if lines else cluster[number], joins=joins if number else ""))
        try:
            self.start(0)
            servers.wait_until("OpenBao", self.processes[0], lambda: servers.answers(self.ports[0], "/v1/sys/health", (501,)), log=self.log(0))
            self.root = call(self.ports[0], "", "PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1}, 30)["root_token"]
            self.wait_for_leader()
            for number in (1, 2):
                self.start(number)
            self.api("POST", "sys/storage/raft/autopilot/configuration", {"server_stabilization_time": "1s", "min_quorum": 3})
            servers.wait_until("three voters", None, self.has_three_voters, log=self.log(0))
        except BaseException:
            self.stop()
            raise

    def log(self, number):
        return os.path.join(self.directory, f"log{number}")

    def start(self, number):
        with open(self.log(number), "ab") as log:
            self.processes[number] = servers.start_process(
                [binary(), "server", f"-config={self.directory}/n{number}.hcl"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, cwd=self.directory, env={**os.environ, "HOME": self.directory})

    def leader(self) -> int | None:
        """The number of the node that says it leads, among those that are not cut off."""
        for number, port in enumerate(self.ports):
            if number in self.away:
                continue
            try:
                if call(port, "", "GET", "sys/leader", timeout=1).get("is_self"):
                    return number
            except (BaoError, OSError, ValueError):
                continue
        return None

    def wait_for_leader(self, seconds=30) -> int:
        servers.wait_until("a leader", None, lambda: self.leader() is not None, seconds)
        return self.leader()

    def has_three_voters(self) -> bool:
        try:
            state = self.api("GET", "sys/storage/raft/autopilot/state")["data"]
        except (BaoError, OSError, TypeError):
            return False
        return bool(state) and state.get("healthy", False) and len(state.get("voters", [])) == 3

    def address(self):
        return self.ports[self.wait_for_leader()]

    def kill(self, number):
        self.processes[number].kill()
        self.processes[number].wait()

    def pause(self, number):
        self.processes[number].send_signal(signal.SIGSTOP)

    def resume(self, number):
        self.processes[number].send_signal(signal.SIGCONT)

    def cut(self, number):
        """A partition: nothing comes to this node from the others, nor to them from it. Clients reach them all."""
        assert self.lines, "this cluster has no lines"
        self.away.add(number)
        for each, line in enumerate(self.lines):
            if each == number:
                line.pull()
            else:
                line.bar(number)

    def heal(self):
        """No node is cut off any more."""
        self.away.clear()
        for line in self.lines:
            line.plug()

    def stop(self):
        for process in self.processes:
            if process is not None:
                servers.end_group(process, politely=False)
        for line in self.lines:
            line.close()
        shutil.rmtree(self.directory, ignore_errors=True)
