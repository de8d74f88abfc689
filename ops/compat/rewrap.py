"""`sealgate admin rewrap`: after a retired key every envelope is under another, after a compromised one every object; and nothing else of it
has changed, whatever clients do meanwhile and whoever is killed.

The storage's own bytes tell under which key an object is: the envelope's in its metadata, the body's in its last 103 bytes (docs/format.md).
"""

import base64
import concurrent.futures
import contextlib
import datetime
import hashlib
import json
import os
import re
import subprocess
import time
import urllib.request

import botocore.exceptions

import storage
from cases import case, data, equal, raises, true
from migrate import listed
from s3_multipart import FIVE

NAME = "sealgate"


class Work:
    """A bucket, and the commands on its keys."""

    def __init__(self, t, **options):
        self.t, self.bucket = t, t.fresh_bucket(**options)
        (self.backend_bucket,) = [each["backend_bucket"] for each in self.asked("GET", "/v1/buckets") if each["name"] == self.bucket]
        self.storage = storage.of(t.target, self.backend_bucket)

    def asked(self, method: str, path: str):
        """What the admin API says; `GET` has no body."""
        with open(os.path.join(self.t.target.data, "control-plane", "admin-token")) as file:
            headers = {"Authorization": f"Bearer {file.read().strip()}"}
        request = urllib.request.Request(self.t.target.welcome("Admin API") + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def admin(self, *arguments, status=0):
        """`sealgate --json admin …`: what it printed, or on stderr where it fails."""
        token = os.path.join(self.t.target.data, "control-plane", "admin-token")
        command = [self.t.target.binary, "--json", "admin", *arguments, "--admin-url", self.t.target.welcome("Admin API"), "--admin-token-file", token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        equal(done.returncode, status, f"the exit code of {arguments}; it said {done.stdout} {done.stderr}")
        lines = (done.stdout or done.stderr).splitlines()
        return json.loads(lines[0]) if lines else None

    def keys(self) -> dict[str, dict]:
        return {key["ik"]: key for key in self.admin("key", "list", self.bucket)}

    def active(self) -> str:
        (active,) = [ik for ik, key in self.keys().items() if key["state"] == "active"]
        return active

    def rotated(self) -> str:
        """The key until now; from here on the bucket writes with another."""
        old = self.active()
        self.admin("key", "rotate", self.bucket)
        self.t.s3.put_object(Bucket=self.bucket, Key="rotated", Body=b"another key")
        true(self.active() != old, "the key was not rotated")
        return old

    def start(self, *arguments):
        return self.admin("rewrap", "start", self.bucket, *arguments)

    def show(self):
        return self.admin("rewrap", "show", self.bucket)

    def until(self, what: str, holds, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            shown = self.show()
            if holds(shown):
                return shown
            true(time.monotonic() < deadline, f"waited in vain for {what}: {shown}")
            time.sleep(0.05)

    def until_done(self, seconds=240):
        return self.until("its end", lambda shown: shown["state"] == "done", seconds)

    def envelope(self, key: str) -> tuple[str, str]:
        """The key and the object id that its envelope names."""
        return ids(self.storage.read(key).metadata)

    def body_key(self, key: str) -> str:
        """The key that its body names, in its last 103 bytes."""
        return self.storage.read(key).body[-103:][3:19].hex()

    def under(self, ik: str) -> list[str]:
        """Keys of the objects whose envelopes are under a key. What clients delete meanwhile is under none."""
        found = []
        for key in self.storage.keys():
            if not key.startswith(".sealgate/"):
                with contextlib.suppress(FileNotFoundError, botocore.exceptions.ClientError):
                    found += [key] if self.envelope(key)[0] == ik else []
        return found


def ids(metadata: dict) -> tuple[str, str]:
    text = metadata[NAME]
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return raw[5:21].hex(), raw[21:37].hex()


def uploaded(t, bucket: str, key: str, parts: list[bytes], **options):
    made = t.s3.create_multipart_upload(Bucket=bucket, Key=key, **options)
    done = []
    for number, part in enumerate(parts, 1):
        more = {name: options[name] for name in ("ChecksumAlgorithm",) if name in options}
        answer = t.s3.upload_part(Bucket=bucket, Key=key, UploadId=made["UploadId"], PartNumber=number, Body=part, **more)
        sums = {f"Checksum{more[name]}": answer[f"Checksum{more[name]}"] for name in more}
        done.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    t.s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=made["UploadId"], MultipartUpload={"Parts": done})


PARTS = [data(FIVE, "one"), data(FIVE + 1, "two"), data(70_001, "three")]
WHOLE = [data(FIVE, "one"), data(FIVE, "two")]
# Whose ETags change: what is one piece, more than is read at once, and then lies in parts; SeaweedFS gives what is copied in one an ETag of one.
CHANGED = {"minio": ["copy of parts", "large"], "versitygw": ["copy of parts", "large"], "seaweedfs": ["copy of parts", "parts", "whole"]}
ABOUT = {"ContentType": "text/x-mine", "CacheControl": "no-store", "ContentDisposition": "inline", "ContentLanguage": "de", "Metadata": {"mine": "ü 1".encode().hex()}}


def filled(work: Work) -> dict[str, bytes]:
    """Objects of every kind, and what they are."""
    t, bucket = work.t, work.bucket
    wanted = {"empty": b"", "small": b"text", "chunks": data(200_000, "chunks"), "a b/ü+?&=": data(65_536, "named"),
              "sum": data(70_000, "sum"), "parts": b"".join(PARTS), "whole": b"".join(WHOLE)}
    # SeaweedFS keeps no metadata of a directory marker, and so no envelope.
    wanted |= {} if t.target.backend and t.target.backend.name == "seaweedfs" else {"marker/": b""}
    for key, body in wanted.items():
        if key == "sum":
            t.s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", **ABOUT)
        elif key not in ("parts", "whole"):
            t.s3.put_object(Bucket=bucket, Key=key, Body=body, Tagging="one=1%202&two=", **ABOUT)
    uploaded(t, bucket, "parts", PARTS, ChecksumAlgorithm="CRC32", Tagging="one=1%202&two=", **ABOUT)
    uploaded(t, bucket, "whole", WHOLE, **ABOUT)
    for key in ("chunks", "parts"):
        t.s3.copy_object(Bucket=bucket, Key=f"copy of {key}", CopySource={"Bucket": bucket, "Key": key})
        wanted[f"copy of {key}"] = wanted[key]
    return wanted


def seen(t, bucket: str, key: str) -> dict:
    """What a client sees of an object, but for its date."""
    answer = t.s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    told = {name: value for name, value in answer.items() if name in ABOUT or name.startswith("Checksum") or name in ("ETag", "ContentLength", "StorageClass")}
    told["body"] = hashlib.sha256(answer["Body"].read()).hexdigest()
    told["tags"] = sorted((tag["Key"], tag["Value"]) for tag in t.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"])
    if key.endswith("parts"):
        for number in (1, 2, 3):
            part = t.s3.get_object(Bucket=bucket, Key=key, PartNumber=number)
            told[number] = (part["PartsCount"], part["ContentRange"], hashlib.sha256(part["Body"].read()).hexdigest())
    return told


@case(seconds=300, gateway_only=True)
def after_a_retired_key_every_envelope_is_under_another_and_all_else_as_it_was(t):
    work = Work(t)
    wanted = filled(work)
    # More than is read before it is written: on storages that ignore a condition on a copy's target it is copied in parts.
    wanted["large"] = data(9 << 20, "large")
    t.s3.put_object(Bucket=work.bucket, Key="large", Body=wanted["large"], Tagging="one=1", **ABOUT)
    before = {key: seen(t, work.bucket, key) for key in wanted}
    objects = {key: work.envelope(key)[1] for key in wanted}
    bodies = {key: work.storage.read(key).body for key in wanted}
    old = work.rotated()
    equal(sorted(work.under(old)), sorted(wanted), "what is under the old key")
    told = work.admin("key", "retire", work.bucket, old, status=1)
    true("rewrap start" in told["message"], f"retired too early: {told}")
    shown = work.start("--key", old, "--wait", "--by", "a test")
    equal((shown["state"], shown["left"], shown["left_under"], shown["rewrapped"], shown["by"]), ("done", 0, {old: 0}, len(wanted), "a test"), "what it says")
    equal(work.under(old), [], "what is under the old key")
    equal({key: work.envelope(key)[1] for key in wanted}, objects, "object ids")
    etags = {key: seen(t, work.bucket, key)["ETag"] for key in wanted}
    changed = sorted(key for key in wanted if etags[key] != before[key]["ETag"])
    equal((changed, shown["etags_changed"]), (CHANGED.get(t.target.backend and t.target.backend.name, []), len(changed)), "ETags that changed, and what it says")
    for key in changed:
        before[key]["ETag"] = etags[key]
    equal({key: seen(t, work.bucket, key) for key in wanted}, before, "what clients see")
    true(all(work.storage.read(key).body == bodies[key] for key in wanted), "the ciphertext has changed")
    equal(work.keys()[old]["left"], 0, "what is left")
    work.admin("key", "retire", work.bucket, old)
    t.target.restart()
    equal({key: seen(t, work.bucket, key) for key in wanted}, before, "what clients see without the old key")
    # Once more: nothing to do, and nothing is done.
    shown = work.start("--wait")
    equal((shown["rewrapped"], shown["left"], shown["pass"]), (0, 0, 1), "a second time")


@case(seconds=120, gateway_only=True)
def what_was_retired_too_early_comes_back(t):
    work = Work(t)
    t.s3.put_object(Bucket=work.bucket, Key="object", Body=b"text", Metadata={"a": "b"})
    old = work.rotated()
    work.admin("key", "retire", work.bucket, old, "--force")
    with raises("AccessDenied", status=403):
        t.s3.get_object(Bucket=work.bucket, Key="object")
    shown = work.start("--wait")
    equal((shown["keys"], shown["left"]), ([old], 0), "the keys that nobody named, and what is left")
    answer = t.s3.get_object(Bucket=work.bucket, Key="object")
    equal((answer["Body"].read(), answer["Metadata"]), (b"text", {"a": "b"}), "the object")
    # What the node had the old key for is over: it serves nobody.
    equal(work.keys()[old]["state"], "retired", "the old key")


@case(seconds=120, gateway_only=True)
def the_key_that_is_written_with_is_refused(t):
    work = Work(t)
    t.s3.put_object(Bucket=work.bucket, Key="object", Body=b"text")
    told = work.admin("rewrap", "start", work.bucket, "--key", work.active(), status=1)
    true("rotate it first" in told["message"], f"told {told}")
    told = work.admin("rewrap", "start", work.bucket, status=1)
    true("no key that is retired or compromised" in told["message"], f"told {told}")
    told = work.admin("rewrap", "start", work.bucket, "--key", "00" * 16, status=3)
    # A bucket that nobody writes to any more: the work itself makes the next key.
    old = work.active()
    work.admin("key", "rotate", work.bucket)
    equal(work.start("--key", old, "--wait")["left"], 0, "what is left")
    true(work.active() != old and work.under(old) == [], "the work wrote with the old key")


def many(work: Work, count: int) -> dict[str, bytes]:
    bodies = {f"many/{number:04}": data(1_000 + number, number) for number in range(count)}
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: work.t.s3.put_object(Bucket=work.bucket, Key=item[0], Body=item[1]), bodies.items()))
    return bodies


@case(seconds=120, gateway_only=True)
def paused_it_does_nothing_and_resumed_the_rest(t):
    work = Work(t)
    bodies = many(work, 120)
    old = work.rotated()
    work.start("--key", old, "--rate", "20")
    work.until("some progress", lambda shown: shown["rewrapped"] > 5)
    equal(work.admin("rewrap", "pause", work.bucket)["state"], "paused", "the state")
    told = work.admin("rewrap", "start", work.bucket, "--key", old, status=1)
    true("being worked on already" in told["message"], f"told {told}")
    # What was under way comes to its end, then nothing moves.
    deadline, last = time.monotonic() + 30, None
    while (now := sorted(work.under(old))) != last:
        true(time.monotonic() < deadline, "it goes on")
        last = now
        time.sleep(0.5)
    true(0 < len(last) < len(bodies), f"{len(last)} are left of {len(bodies)}")
    shown = work.admin("rewrap", "resume", work.bucket, "--rate", "1000", "--wait")
    equal((shown["left"], shown["rate"], work.under(old)), (0, 1000, []), "what is left")
    work.admin("rewrap", "pause", work.bucket, status=3)
    again = work.rotated()
    work.start("--key", again, "--rate", "10")
    equal(work.admin("rewrap", "cancel", work.bucket)["state"], "cancelled", "the state")
    true(work.keys()[again]["left"] is None, "what was broken off says nothing")
    work.admin("key", "retire", work.bucket, again, status=1)


RUNBOOK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runbooks", "compromised-key.md")


@case(seconds=120, gateway_only=True)
def the_runbook(t):
    """Its blocks, word for word, in their order."""
    with open(RUNBOOK) as file:
        blocks = dict(re.findall(r"<!-- block: (\w+) -->\n```sh\n(.*?)```", file.read(), re.DOTALL))
    equal(list(blocks), ["list", "compromised", "encrypt", "show"], "the blocks")
    work = Work(t)
    t.s3.put_object(Bucket=work.bucket, Key="object", Body=b"text")
    key = work.active()
    environment = {**t.target.environment(), "BUCKET": work.bucket, "KEY": key, "SEALGATE_ADMIN_URL": t.target.welcome("Admin API"), "USER": "tests",
                   "SEALGATE_ADMIN_TOKEN_FILE": os.path.join(t.target.data, "control-plane", "admin-token"),
                   "PATH": f"{os.path.dirname(t.target.binary)}:{os.environ['PATH']}"}
    told = {}
    for name, block in blocks.items():
        done = subprocess.run(["sh", "-eu", "-c", block], env=environment, capture_output=True, text=True, timeout=100)
        equal(done.returncode, 0, f"the exit code of {name}, which said {done.stdout} {done.stderr}")
        told[name] = done.stdout
        if name == "compromised":
            with raises("AccessDenied", status=403):
                t.s3.get_object(Bucket=work.bucket, Key="object")
    true(key in told["list"], "the key is not listed")
    shown = json.loads(told["show"])
    equal((shown["state"], shown["reencrypted"], shown["left_under"], shown["by"]), ("done", 1, {key: 0}, "tests"), "what it says")
    equal(t.s3.get_object(Bucket=work.bucket, Key="object")["Body"].read(), b"text", "the object")


@case(seconds=120, gateway_only=True)
def open_uploads_are_counted(t):
    work = Work(t)
    made = t.s3.create_multipart_upload(Bucket=work.bucket, Key="upload")
    old = work.rotated()
    work.start("--key", old)
    shown = work.until_done()
    equal((shown["left_under"], shown["left_why"][0]["why"], shown["left_why"][0]["examples"]), ({old: 1}, "it is an open multipart upload", ["upload"]), "what is left")
    told = work.admin("key", "retire", work.bucket, old, status=1)
    true("1 objects and open uploads" in told["message"], f"told {told}")
    t.s3.abort_multipart_upload(Bucket=work.bucket, Key="upload", UploadId=made["UploadId"])
    equal(work.start("--key", old, "--wait")["left"], 0, "what is left")
    work.admin("key", "retire", work.bucket, old)


@case(seconds=300, gateway_only=True)
def after_a_compromised_key_every_object_is_under_a_key_of_its_own_again(t):
    work = Work(t)
    wanted = filled(work)
    before = {key: seen(t, work.bucket, key) for key in wanted}
    old = work.rotated()
    # Wrapped anew before anybody knew: the envelope is under another key, the object's own key is known all the same.
    t.s3.copy_object(Bucket=work.bucket, Key="small", CopySource={"Bucket": work.bucket, "Key": "small"}, MetadataDirective="REPLACE", Tagging="one=1%202&two=",
                     TaggingDirective="REPLACE", **ABOUT)
    true(work.envelope("small")[0] != old and work.body_key("small") == old, "the copy is not what it should be")
    objects = {key: work.envelope(key)[1] for key in wanted}
    work.admin("key", "compromised", work.bucket, old)
    with raises("AccessDenied", status=403):
        t.s3.get_object(Bucket=work.bucket, Key="sum")
    shown = work.start("--wait")
    equal((shown["keys"], shown["left_under"], shown["reencrypted"], shown["rewrapped"]), ([old], {old: 0}, len(wanted), 0), "what it says")
    equal(work.under(old), [], "what is under the compromised key")
    for key in wanted:
        true(work.envelope(key)[1] != objects[key], f"{key} has the key that is known")
        if key != "marker/":
            true(work.body_key(key) != old, f"the body of {key} names the compromised key")
    after = {key: seen(t, work.bucket, key) for key in wanted}
    for key in wanted:
        true(key == "marker/" or after[key]["ETag"] != before[key]["ETag"], f"the ETag of {key} is the old one, its bytes are not")
        after[key]["ETag"] = before[key]["ETag"]
    equal(after, before, "what clients see")
    equal(work.keys()[old]["state"], "compromised", "the key's state")
    equal(t.s3.get_object(Bucket=work.bucket, Key="rotated")["Body"].read(), b"another key", "what was younger")


@case(seconds=300, gateway_only=True)
def what_was_altered_is_left_and_told(t):
    work = Work(t)
    for key in ("good", "bad"):
        t.s3.put_object(Bucket=work.bucket, Key=key, Body=data(70_000, key))
    stored = work.storage.read("bad")
    work.storage.write("bad", stored.replace(body=stored.body[:100] + bytes([stored.body[100] ^ 1]) + stored.body[101:]))
    old = work.rotated()
    work.admin("key", "compromised", work.bucket, old)
    work.start()
    shown = work.until_done()
    equal((shown["left_under"], shown["left_why"][0]["examples"], shown["left_why"][0]["why"]), ({old: 1}, ["bad"], "it is not genuine"), "what is left")
    equal(t.s3.get_object(Bucket=work.bucket, Key="good")["Body"].read(), data(70_000, "good"), "what was not altered")


@case(seconds=300, gateway_only=True)
def versions(t):
    """The current version is replaced by one of another key, and goes; older ones are wrapped anew where the storage can, and listed elsewhere."""
    in_place = t.target.backend is None
    work = Work(t)
    t.s3.put_bucket_versioning(Bucket=work.bucket, VersioningConfiguration={"Status": "Enabled"})
    made = [t.s3.put_object(Bucket=work.bucket, Key="object", Body=f"{number}".encode())["VersionId"] for number in range(3)]
    t.s3.put_object(Bucket=work.bucket, Key="deleted", Body=b"gone")
    t.s3.delete_object(Bucket=work.bucket, Key="deleted")
    t.s3.put_object(Bucket=work.bucket, Key="single", Body=b"one")
    old = work.rotated()
    work.start("--key", old)
    shown = work.until_done()
    bodies = [t.s3.get_object(Bucket=work.bucket, Key="object", VersionId=version)["Body"].read() for version, _ in listed(t, work.bucket, "object")]
    equal(bodies, [b"2", b"1", b"0"], "the versions, the newest first")
    equal([marker for _, marker in listed(t, work.bucket, "deleted")], [True, False], "what was deleted")
    equal(len(listed(t, work.bucket, "single")), 1, "versions of an object that had one")
    if in_place:
        equal((shown["left"], shown["rewrapped"], [version for version, _ in listed(t, work.bucket, "object")]), (0, 5, made[::-1]), "what it says, and the version ids")
        work.admin("key", "retire", work.bucket, old)
    else:
        why = {each["why"]: each["count"] for each in shown["left_why"]}
        equal((shown["left_under"], why, shown["rewrapped"]), ({old: 3}, {"it is an older version": 3}, 2), "what it says")
        work.admin("key", "retire", work.bucket, old, status=1)
    for version, body in zip([version for version, _ in listed(t, work.bucket, "object")], (b"2", b"1", b"0")):
        equal(t.s3.get_object(Bucket=work.bucket, Key="object", VersionId=version)["Body"].read(), body, version)


@case(seconds=300, gateway_only=True)
def where_versioning_is_suspended_what_is_written_stays(t):
    """HEAD says `null` of the version before and after, writes name none: nothing must take them for two."""
    work = Work(t)
    # The current version has an id, and the one before it is the `null` one: a write would take its place.
    t.s3.put_object(Bucket=work.bucket, Key="was-null", Body=b"before")
    t.s3.put_bucket_versioning(Bucket=work.bucket, VersioningConfiguration={"Status": "Enabled"})
    t.s3.put_object(Bucket=work.bucket, Key="had-one", Body=b"older")
    later = t.s3.put_object(Bucket=work.bucket, Key="was-null", Body=b"later")["VersionId"]
    t.s3.put_bucket_versioning(Bucket=work.bucket, VersioningConfiguration={"Status": "Suspended"})
    wanted = {"had-one": b"newer", "single": data(70_000, "single"), "parts": b"".join(PARTS), "was-null": b"later"}
    for key in ("had-one", "single"):
        t.s3.put_object(Bucket=work.bucket, Key=key, Body=wanted[key])
    uploaded(t, work.bucket, "parts", PARTS)

    def read():
        return {key: t.s3.get_object(Bucket=work.bucket, Key=key)["Body"].read() for key in wanted}
    old = work.rotated()
    work.start("--key", old)
    work.until_done()
    true(read() == wanted, "wrapping anew lost a body")
    both(t, work, later)
    known = (old, work.active())
    for key in known:
        work.admin("key", "compromised", work.bucket, key)
    work.start()
    shown = work.until_done()
    why = "versioning is suspended, and a write would replace an older version"
    equal({each["why"]: each["examples"] for each in shown["left_why"]},
          {why: ["was-null"], "it is an older version": ["had-one", "was-null"]}, f"what is left: {shown}")
    for key in known:
        work.admin("key", "reinstate", work.bucket, key, "--force")
    true(read() == wanted, "encrypting anew lost a body")
    both(t, work, later)


def both(t, work, later):
    for version, body in (("null", b"before"), (later, b"later")):
        equal(t.s3.get_object(Bucket=work.bucket, Key="was-null", VersionId=version)["Body"].read(), body, f"version {version}")


@case(seconds=120, gateway_only=True)
def what_is_locked_is_left_and_told(t):
    in_place = t.target.backend is None
    work = Work(t, ObjectLockEnabledForBucket=True)
    until = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=1)
    t.s3.put_object(Bucket=work.bucket, Key="retained", Body=b"1", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    t.s3.put_object(Bucket=work.bucket, Key="held", Body=b"2", ObjectLockLegalHoldStatus="ON")
    t.s3.put_object(Bucket=work.bucket, Key="free", Body=b"3")
    ids_before = {key: t.s3.head_object(Bucket=work.bucket, Key=key)["VersionId"] for key in ("retained", "held")}
    old = work.rotated()
    work.start("--key", old)
    shown = work.until_done()
    left = 0 if in_place else 2
    equal((shown["left_under"], [each["why"] for each in shown["left_why"]]), ({old: left}, [] if in_place else ["it is locked"]), "what is left")
    # Encrypted anew it would be another object, and the lock keeps the old one.
    work.admin("key", "compromised", work.bucket, old)
    work.admin("key", "reinstate", work.bucket, old, "--force")
    for key, body in (("retained", b"1"), ("held", b"2"), ("free", b"3")):
        equal(t.s3.get_object(Bucket=work.bucket, Key=key)["Body"].read(), body, key)
    for key, version in ids_before.items():
        equal(t.s3.head_object(Bucket=work.bucket, Key=key)["VersionId"], version, f"the version of {key}")
    found = t.s3.get_object_retention(Bucket=work.bucket, Key="retained")["Retention"]
    equal((found["Mode"], found["RetainUntilDate"]), ("GOVERNANCE", until), "the retention")
    equal(t.s3.get_object_legal_hold(Bucket=work.bucket, Key="held")["LegalHold"]["Status"], "ON", "the hold")
    t.s3.put_object_legal_hold(Bucket=work.bucket, Key="held", LegalHold={"Status": "OFF"})
    work.admin("key", "compromised", work.bucket, old)
    work.start()
    shown = work.until_done()
    equal(shown["left_why"][0]["examples"] if shown["left_why"] else [], ["retained"], f"what cannot be encrypted anew: {shown}")
