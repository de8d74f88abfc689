"""What operators copy out of runbooks does what the runbooks say: the marked blocks, word for word and in their order, by a shell.

Here are those on the life of keys, on a tenant of the case's own; `raw_copies` and `rewrap` have theirs.
"""

import contextlib
import json
import os
import re
import secrets
import subprocess
import tempfile
import time
import urllib.request

from cases import case, equal, raises, true

RUNBOOKS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runbooks")


class Operator:
    """Somebody at a shell with a runbook, a tenant's bucket with an object in it, and a client of that tenant."""

    def __init__(self, t, page: str, directory: str):
        self.t, self.directory, self.helpers = t, directory, ""
        with open(os.path.join(RUNBOOKS, page)) as file:
            self.blocks = dict(re.findall(r"^<!-- block: (\w+) -->\n```sh\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL))
        self.tenant = f"runbook-{secrets.token_hex(4)}"
        self.kek = t.target.admin("POST", "/v1/tenants", {"name": self.tenant})["kek"]
        self.access_key, self.s3 = self.client()
        self.bucket = self.tenant
        where = {} if t.target.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": t.target.region}}
        self.s3.create_bucket(Bucket=self.bucket, **where)
        self.s3.put_object(Bucket=self.bucket, Key="object", Body=b"text")
        self.environment = {
            **t.target.environment(), "TENANT": self.tenant, "BUCKET": self.bucket, "SEALGATE_ADMIN_URL": t.target.welcome("Admin API"), "USER": "tests",
            "SEALGATE_ADMIN_TOKEN_FILE": os.path.join(t.target.data, "control-plane", "admin-token"),
            "PATH": f"{os.path.dirname(t.target.binary)}:{os.environ['PATH']}",
        }

    def client(self):
        """A new credential of the tenant, and a client with it."""
        grants = [{"bucket": "*", "read": True, "write": True, "admin": True}]
        made = self.t.target.admin("POST", "/v1/credentials", {"tenant": self.tenant, "label": "tests", "grants": grants})
        return made["access_key_id"], self.t.client(aws_access_key_id=made["access_key_id"], aws_secret_access_key=made["secret_access_key"])

    def run(self, name: str, **variables) -> str:
        """The next block of the runbook, which must be this one and succeed; gives what it printed."""
        true(self.blocks, f"the runbook has no block {name}")
        following = next(iter(self.blocks))
        equal(following, name, "the next block")
        return self.repeated(name, self.blocks.pop(following), **variables)

    def repeated(self, name: str, block: str, **variables) -> str:
        done = subprocess.run(["sh", "-eu", "-c", self.helpers + block], cwd=self.directory, env=self.environment | variables, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=200)
        equal(done.returncode, 0, f"the exit status of {name}, which said {done.stdout[-600:]} {done.stderr[-600:]}")
        # A function lasts as long as the operator's shell.
        self.helpers += "".join(re.findall(r"^\w+\(\) \{.*\}\n", block, re.MULTILINE))
        return done.stdout

    def reads(self):
        equal(self.s3.get_object(Bucket=self.bucket, Key="object")["Body"].read(), b"text", "the object")

    def is_refused(self):
        with raises("AccessDenied", status=403):
            self.s3.get_object(Bucket=self.bucket, Key="object")

    def asked(self, path: str):
        """What the admin API says."""
        with open(self.environment["SEALGATE_ADMIN_TOKEN_FILE"]) as file:
            request = urllib.request.Request(self.environment["SEALGATE_ADMIN_URL"] + path, headers={"Authorization": f"Bearer {file.read().strip()}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def keyring(self) -> set[str]:
        """The KEKs in the file, by their references."""
        with open(os.path.join(self.t.target.data, "control-plane", "keyring.json")) as file:
            return {f"local/{kek['name']}" for kek in json.load(file)["keks"]}


@contextlib.contextmanager
def operator(t, page: str):
    with tempfile.TemporaryDirectory(prefix="sealgate-runbooks-") as directory:
        at = Operator(t, page, directory)
        yield at
        equal(list(at.blocks), [], "blocks that nobody ran")


@case(seconds=240)
def a_kek_is_rotated_moved_and_destroyed(t):
    with operator(t, "rotate-kek.md") as at:
        at.run("rotate")
        at.run("rewrap")
        at.run("move", KMS="local")
        at.run("card")
        shown = json.loads(at.run("show"))
        old = [version for version in shown["versions"] if version["kek"] == at.kek]
        true(shown["kek"] != at.kek and old, f"the KEK is {shown['kek']} after {old}")
        equal((shown["work"]["state"], {version["destroyable"] for version in old}), ("done", {True}), "the work, and whether the old one may go")
        with open(os.path.join(at.directory, "recovery-card")) as file:
            true(f"kek {shown['kek']}\n" in file.read(), "the card does not name the new KEK")
        true({at.kek, shown["kek"]} <= at.keyring(), "the keyring lacks a KEK")
        at.reads()
        at.run("destroy", OLD_KEK=at.kek)
        true(at.kek not in at.keyring(), "the old KEK is still there")
        at.reads()


@case(seconds=120)
def a_tenant_is_disabled_enabled_and_shredded(t):
    with operator(t, "shred-a-tenant.md") as at:
        equal(json.loads(at.run("disable"))["pending"], [], "nodes that have not confirmed")
        at.is_refused()
        equal([entry["Key"] for entry in at.s3.list_objects_v2(Bucket=at.bucket)["Contents"]], ["object"], "the listing")
        at.run("enable")
        at.reads()
        at.run("shred")
        at.is_refused()
        report, deadline = at.blocks["report"], time.monotonic() + 60
        told = json.loads(at.run("report"))
        while told["destroyed_at"] is None:
            true(time.monotonic() < deadline, f"nothing is destroyed: {told}")
            time.sleep(0.5)
            told = json.loads(at.repeated("report", report))
        equal((told["pending"], told["copies_in_other_tenants"], [kek["kek"] for kek in told["keks"]]), ([], 0, [at.kek]), "the report")
        true(at.kek not in at.keyring(), "the KEK is still there")
        at.is_refused()


@case(seconds=120)
def a_stolen_node_is_shut_out_and_what_it_had_replaced(t):
    """The thief's node is a certificate alone: nothing of it runs."""
    with operator(t, "stolen-node.md") as at:
        node = f"stolen-{secrets.token_hex(4)}"
        t.target.admin("POST", "/v1/nodes", {"name": node, "tenants": [at.tenant]})
        at.run("revoke", NODE=node)
        equal([each["issued"] for each in at.asked("/v1/nodes") if each["name"] == node], [[]], "certificates that hold")
        true(node in at.run("disable"), "the stolen node is not named")
        at.is_refused()
        at.run("compromised")
        equal({key["state"] for key in at.asked(f"/v1/buckets/{at.bucket}/keys")}, {"compromised"}, "states of the keys")
        old, old_client = at.access_key, at.s3
        at.access_key, at.s3 = at.client()
        true(old in at.run("credentials", ACCESS_KEY_ID=old), "the old credential is not listed")
        with raises("InvalidAccessKeyId", status=403):
            old_client.get_object(Bucket=at.bucket, Key="object")
        at.run("enable")
        at.is_refused()
        done = json.loads(at.run("encrypt").splitlines()[-1])
        equal((done["state"], done["reencrypted"], done["left"]), ("done", 1, 0), "what was encrypted again")
        at.reads()
