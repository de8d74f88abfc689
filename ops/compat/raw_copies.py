"""Buckets that were moved on the storage, past the gateway: what still reads, how, and that the runbook says so.

The commands are the blocks of ops/runbooks/raw-copies.md, taken from there and run by a shell: what an operator copies is what is tested.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile

import decryptor
import recovery
import secrecy
import servers
import target
from cases import case, data, equal, true
from s3_multipart import FIVE, Upload

RUNBOOK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runbooks", "raw-copies.md")
SECONDS = 300
# CI has no time for awscli beside rclone, nor for tar beside cp.
LONG = ("acceptance",)


def block(name: str) -> str:
    """One block of the runbook."""
    with open(RUNBOOK) as file:
        found = re.search(rf"^<!-- block: {name} -->\n```sh\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    true(found is not None, f"the runbook has no block {name}")
    return found[1]


class Operator:
    """Somebody at a shell, in a directory of their own, with what the runbook tells them to have."""

    def __init__(self, t, directory: str, name: str):
        self.t, self.directory, self.name = t, directory, name
        binaries = os.path.join(directory, "bin")
        os.mkdir(binaries)
        os.symlink(t.target.binary, os.path.join(binaries, "sealgate"))
        self.copy = f"copy-{secrets.token_hex(6)}"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))} | {
            "PATH": f"{binaries}:{os.environ['PATH']}", "NAME": name, "COPY": self.copy, "AWS_CONFIG_FILE": os.path.join(directory, "aws-config"), "WHERE": " ".join(recovery.place(t)[0]),
            "KEYRING": os.path.join(t.target.data, "control-plane", "keyring.json"),
            "KEY_FILE": os.path.join(t.target.data, "control-plane", "keyring.key"),
            "SEALGATE_ADMIN_URL": t.target.welcome("Admin API"),
            "SEALGATE_ADMIN_TOKEN_FILE": os.path.join(t.target.data, "control-plane", "admin-token"),
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "",
        }
        self.environment["ORIGINAL"] = self.original()
        if t.target.backend:
            server = t.target.backend
            self.environment |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key,
                                 "AWS_REGION": server.region, "AWS_ENDPOINT_URL": server.endpoint}

    def run(self, script: str, **variables) -> str:
        """Runs commands that must succeed; gives what they printed."""
        done = subprocess.run(["sh", "-e", "-c", script], cwd=self.directory, env=self.environment | variables, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=240)
        equal(done.returncode, 0, f"exit status of {script.strip()[:200]}: {done.stderr[-600:]}")
        return done.stdout

    def original(self) -> str:
        """The backend's name of the bucket."""
        if self.t.target.backend:
            return self.name
        return decryptor.backend_bucket(os.listdir(os.path.join(self.t.target.raw_roots()[0], "buckets")), self.name)

    def take_over(self):
        """The copy in the original's place."""
        self.run(block("release"))
        self.run(block("adopt"))


@contextlib.contextmanager
def operator(t):
    """An operator, and a bucket with objects of every kind."""
    name = t.fresh_bucket()
    with tempfile.TemporaryDirectory(prefix="sealgate-raw-copies-") as directory, decryptor.inside(t, name):
        wanted = recovery.stored(t, "copied")
        t.s3.put_object(Bucket=name, Key="copied/described", Body=b"described", ContentType="text/x-mine", Metadata={"of": "a copy"})
        yield Operator(t, directory, name), wanted | {"copied/described": b"described"}


def reads(t, wanted):
    """Everything through the gateway, and what is written next."""
    for key, body in wanted.items():
        true(t.get(key) == body, f"{key} in the copy")
    head = t.s3.head_object(Bucket=t.bucket, Key="copied/described")
    equal((head["ContentType"], head["Metadata"]), ("text/x-mine", {"of": "a copy"}), "what the copy says of an object")
    t.put("copied/later", b"later")
    equal(t.get("copied/later"), b"later", "what was written into the copy")


def rclone(at: Operator, *arguments: str):
    """rclone on the storage itself."""
    server = at.t.target.backend
    remote = {"RCLONE_CONFIG_STORE_TYPE": "s3", "RCLONE_CONFIG_STORE_PROVIDER": "Other", "RCLONE_CONFIG_STORE_ENDPOINT": server.endpoint,
              "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": server.access_key, "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": server.secret_key,
              "RCLONE_CONFIG_STORE_REGION": server.region, "RCLONE_CONFIG": os.path.join(at.directory, "rclone.conf")}
    done = subprocess.run([servers.program("rclone"), *arguments], env=at.environment | remote, cwd=at.directory, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=240)
    equal(done.returncode, 0, f"exit status of rclone {' '.join(arguments)}: {done.stderr[-600:]}")


def made(at: Operator):
    """The copy's bucket on the storage."""
    secrecy.backend_client(at.t.target.backend).create_bucket(Bucket=at.copy)


def by_rclone(t, *options: str):
    with operator(t) as (at, wanted):
        made(at)
        rclone(at, "copy", *options, f"store:{at.original()}", f"store:{at.copy}")
        at.take_over()
        reads(t, wanted)
        at.run(block("verify"))


@case(seconds=SECONDS, only="server")
def rclone_from_bucket_to_bucket_keeps_all(t):
    by_rclone(t)


@case(seconds=SECONDS, only="server")
def rclone_from_bucket_to_bucket_with_metadata_keeps_all(t):
    by_rclone(t, "--metadata")


@case(seconds=SECONDS, sizes=LONG, only="server")
def aws_s3_sync_from_bucket_to_bucket_keeps_all(t):
    with operator(t) as (at, wanted):
        made(at)
        at.run(block("sync"))
        at.take_over()
        reads(t, wanted)


@case(seconds=SECONDS, sizes=LONG, only="server")
def awscli_1_loses_metadata_of_what_it_copies_in_parts(t):
    """Above its `multipart_threshold`, 8 MB unless it is told otherwise. Copied again in one piece such an object is whole."""
    with operator(t) as (at, wanted):
        made(at)
        at.run(f"aws s3 sync s3://{at.original()} s3://{at.copy}")
        at.take_over()
        for key, body in wanted.items():
            answer = t.raw.request("GET", t.path(key))
            lost = len(body) > 8 << 20
            equal((answer.status, answer.code if lost else None), (422, "ObjectIntegrityError") if lost else (200, None), f"GET of {key} in the copy")
        true(any(len(body) > 8 << 20 for body in wanted.values()), "one of the objects is copied in parts")
        at.run(block("copy-again"), KEY="copied/multipart")
        reads(t, wanted)


@case(seconds=SECONDS, sizes=LONG, only="server")
def aws_s3_sync_through_a_directory_loses_metadata(t):
    """The gateway refuses what it cannot prove, `inspect` says why and what to do, and doing it gives every byte."""
    with operator(t) as (at, wanted):
        made(at)
        at.run(f"aws s3 sync s3://{at.original()} tree && aws s3 sync tree s3://{at.copy}")
        at.take_over()
        for key in wanted:
            answer = t.raw.request("GET", t.path(key))
            equal((answer.status, answer.code), (422, "ObjectIntegrityError"), f"GET of {key} in the copy")
        told(at, "copied/300000", wanted["copied/300000"])
        at.run(block("decrypt-one"), KEY="copied/multipart")
        with open(f"{at.directory}/out", "rb") as file:
            true(file.read() == wanted["copied/multipart"], "what decrypt-one gives")
        at.run(block("decrypt-all"))
        with open(f"{at.directory}/names") as file:
            names = dict(reversed(json.loads(line)) for line in file)
        equal(sorted(names), sorted(wanted), "names of what was decrypted")
        for key, number in names.items():
            with open(f"{at.directory}/plain/{number}", "rb") as file:
                true(file.read() == wanted[key], f"{key}, decrypted with all others")


def told(at: Operator, key: str, body: bytes):
    """What `inspect` says about an object without its envelope, and that its command works once the files are named."""
    text = at.run(block("look"), KEY=key)
    true("envelope lost" in text and "422" in text, f"inspect says {text}")
    command = re.search(r"^next: (.*)$", text, re.MULTILINE)[1]
    for word, file in (("CARD", "card"), ("KEYRING", at.environment["KEYRING"]), ("KEY-FILE", at.environment["KEY_FILE"]), ("OUTPUT", "told")):
        command = command.replace(word, file)
    at.run(command)
    with open(f"{at.directory}/told", "rb") as file:
        true(file.read() == body, f"what {command} gives")


def bucket_directories(at: Operator) -> tuple[str, str]:
    buckets = os.path.join(at.t.target.raw_roots()[0], "buckets")
    return os.path.join(buckets, at.original()), os.path.join(buckets, at.copy)


@case(seconds=SECONDS, only="filesystem")
def a_plain_file_copy_keeps_all(t):
    with operator(t) as (at, wanted):
        original, copy = bucket_directories(at)
        at.run(f"cp -a '{original}' '{copy}'")
        at.take_over()
        reads(t, wanted)
        at.run(block("verify"))


@case(seconds=SECONDS, sizes=LONG, only="filesystem")
def tar_without_attributes_keeps_all(t):
    """Neither owner nor times nor extended attributes mean anything: all is in the files."""
    with operator(t) as (at, wanted):
        original, copy = bucket_directories(at)
        os.mkdir(copy)
        at.run(f"tar -C '{original}' --no-acls --no-xattrs --numeric-owner --mtime=@0 -cf moved.tar . && tar -C '{copy}' --no-same-owner -m -xf moved.tar")
        at.take_over()
        reads(t, wanted)


@case(seconds=SECONDS, only="filesystem")
def an_object_whose_metadata_file_is_lost_is_not_there(t):
    """On the filesystem body and metadata are two files: without the second there is no object, and the first opens as a bare body."""
    with operator(t) as (at, _):
        key, body = "alone", data(200_000, "alone")
        t.put(key, body)
        original, copy = bucket_directories(at)
        known = {entry.path for entry in bodies(original)}
        t.put(key, body + b"x")
        (new,) = [entry.path for entry in bodies(original) if entry.path not in known]
        shutil.copy(new, f"{at.directory}/body")
        at.run(f"cp -a '{original}' '{copy}' && rm '{copy}/tree/Lalone'")
        at.take_over()
        equal(t.raw.request("GET", t.path(key)).status, 404, "status of what has no metadata")
        records = os.path.join(at.directory, "records")
        os.mkdir(records)
        for number, found in enumerate(found for found in decryptor.raw(t) if found.key.startswith(b".sealgate/v1/ik/")):
            with open(f"{records}/{number}", "wb") as file:
                file.write(found.read(0, found.size))
        at.run('sealgate decrypt --body body --ik-record records --recovery-card card --keyring "$KEYRING" --key-file "$KEY_FILE" -o out')
        with open(f"{at.directory}/out", "rb") as file:
            true(file.read() == body + b"x", "the bare body, decrypted")


def bodies(bucket: str):
    """The files of bodies in a bucket's directory."""
    return [entry for shelf in os.scandir(os.path.join(bucket, "bodies")) for entry in os.scandir(shelf.path)]


@case(seconds=SECONDS)
def another_gateway_takes_over_what_a_lost_one_left(t):
    """A new control plane with nothing but the old keyring, the card and the storage: everything reads through it again."""
    with operator(t) as (at, wanted):
        upload = Upload(t, "copied/again")
        for number, size in ((1, FIVE), (2, 99)):
            upload.part(number, data(size, number))
        upload.complete()
        wanted["copied/again"] = upload.body()
        with open(os.path.join(t.target.data, "recovery")) as file:
            card = file.read()
        (line,) = [line for line in card.splitlines() if line.endswith(f" {t.bucket}")]
        with tempfile.TemporaryDirectory(prefix="sealgate-successor-") as outer:
            successor = os.path.join(outer, "data")
            os.makedirs(os.path.join(successor, "control-plane"), mode=0o700)
            for name in recovery.KEPT_BY_DEV:
                shutil.copy(os.path.join(t.target.data, "control-plane", name), os.path.join(successor, "control-plane", name))
            with open(f"{outer}/card", "w") as file:
                file.write(card)
            if not t.target.backend:
                shutil.copytree(t.target.raw_roots()[0], os.path.join(successor, "backend"), symlinks=True)
            after = target.Gateway(t.target.binary, t.target.backend, data=successor)
            try:
                command = ["bucket", "adopt", t.bucket, "--data", successor, "--backend-bucket", at.original(), "--recovery-card", f"{outer}/card",
                           "--id", line.split()[2]]
                refused = subprocess.run([t.target.binary, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
                equal(refused.returncode, 2, f"exit status for a tenant that nobody named: {refused.stderr}")
                true("--tenant" in refused.stderr, refused.stderr)
                done = subprocess.run([t.target.binary, "--json", *command, "--tenant", "of-old"], capture_output=True, text=True,
                                      stdin=subprocess.DEVNULL)
                equal(done.returncode, 0, f"exit status of the adoption: {done.stderr}")
                equal(json.loads(done.stdout)["state"], "active", "state of the bucket")
                grants = [{"bucket": "*", "read": True, "write": True, "admin": True}]
                made = after.admin("POST", "/v1/credentials", {"tenant": "of-old", "label": "after", "grants": grants})
                client = t.client(endpoint_url=after.endpoint, aws_access_key_id=made["access_key_id"], aws_secret_access_key=made["secret_access_key"])
                for key, body in wanted.items():
                    true(client.get_object(Bucket=t.bucket, Key=key)["Body"].read() == body, f"{key} through the new gateway")
                client.put_object(Bucket=t.bucket, Key="copied/after", Body=b"after")
                equal(client.get_object(Bucket=t.bucket, Key="copied/after")["Body"].read(), b"after", "what the new gateway stored")
            finally:
                after.stop()
