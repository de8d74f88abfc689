"""`sealgate migrate` under load: what was acknowledged before, during and after it is in the copy, once and with its own bytes."""

import concurrent.futures
import contextlib
import datetime
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from xml.etree import ElementTree

import sigv4
import storage
from cases import case, data, equal, raises, true
from s3_multipart import FIVE

WRITERS = 4
KEYS = 12
# As clients of their own that retry by themselves do, for as long as a freeze may take.
PATIENT = {"total_max_attempts": 12, "mode": "standard"}


class Migration:
    """Two buckets, the first of them plain, and the command between them."""

    def __init__(self, t, versioned=False, **options):
        self.t, self.source, self.copy = t, t.fresh_bucket(**options), t.fresh_bucket(**options)
        self.versioned = versioned
        self.directory = tempfile.mkdtemp(prefix="sealgate-migrate-")
        t.closing.callback(shutil.rmtree, self.directory, ignore_errors=True)
        t.target.admin("PUT", f"/v1/buckets/{self.source}/rules", {"rules": [{"prefix": "", "plain": True}]})
        for bucket in (self.source, self.copy) if versioned else ():
            t.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def command(self, *arguments, admin=None) -> list[str]:
        return [self.t.target.binary, "--json", "migrate", "--from", f"s3://{self.source}", "--to", f"s3://{self.copy}",
                "--admin-url", admin or self.t.target.welcome("Admin API"), "--admin-token-file", os.path.join(self.t.target.data, "control-plane", "admin-token"),
                "--data", self.t.target.data, "--state", os.path.join(self.directory, "state"), *arguments]

    def start(self, *arguments) -> subprocess.Popen:
        return subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments, status=0, admin=None) -> list[dict]:
        """Runs it to its end; what it told on stdout, and on stderr where it fails."""
        done = subprocess.run(self.command(*arguments, admin=admin), capture_output=True, text=True, timeout=300)
        equal(done.returncode, status, f"the exit code; it said {done.stdout} {done.stderr}")
        return [json.loads(line) for line in (done.stderr if status else done.stdout).splitlines()]

    def killed(self, process: subprocess.Popen):
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def bucket(self, name: str) -> dict:
        with open(os.path.join(self.t.target.data, "control-plane", "admin-token")) as file:
            request = urllib.request.Request(self.t.target.welcome("Admin API") + "/v1/buckets",
                                             headers={"Authorization": f"Bearer {file.read().strip()}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return next(bucket for bucket in json.load(answer) if bucket["name"] == name)

    def until_frozen(self):
        deadline = time.monotonic() + 60
        while not self.bucket(self.source).get("frozen"):
            true(time.monotonic() < deadline, "the bucket was never frozen")
            time.sleep(0.02)


class Writer(threading.Thread):
    """Writes and deletes keys that are its own, as fast as it can; knows of each what was acknowledged last."""

    def __init__(self, migration: Migration, number: int):
        super().__init__(daemon=True)
        self.bucket, self.random = migration.source, random.Random(f"writer/{number}")
        self.s3 = migration.t.client(retries=PATIENT)
        self.keys = [f"{number}/key-{index}" for index in range(KEYS)]
        # Of each key all that was acknowledged, in order: digest and metadata, None for a deletion.
        self.history = {key: [] for key in self.keys}
        self.failures, self.writes = [], 0
        self.ending = threading.Event()

    def write(self):
        key = self.random.choice(self.keys)
        history = self.history[key]
        # MinIO makes no second delete marker after a first.
        if history and history[-1] and self.random.random() < 0.2:
            self.s3.delete_object(Bucket=self.bucket, Key=key)
            history.append(None)
        else:
            body = self.random.randbytes(self.random.choice((0, 1, 100, 70_000, 300_000)))
            metadata = {"count": str(self.writes)}
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)
            history.append((hashlib.sha256(body).hexdigest(), metadata))
        self.writes += 1

    def run(self):
        while not self.ending.is_set():
            try:
                self.write()
            except Exception as error:  # An acknowledgement that never came proves nothing, so the case must fail.
                self.failures.append(repr(error))
                return


@contextlib.contextmanager
def writers(migration: Migration):
    """Writers that have written every key before the block, and go on until its end."""
    # Every version is read at the end.
    all_of_them = [Writer(migration, number) for number in range(1 if migration.versioned else WRITERS)]
    for writer in all_of_them:
        for _ in range(2 * KEYS):
            writer.write()
        writer.start()
    try:
        yield all_of_them
    finally:
        for writer in all_of_them:
            writer.ending.set()
        for writer in all_of_them:
            writer.join(60)


def more_from(all_of_them, count=10):
    """Waits until each writer has written so often again."""
    wanted = [writer.writes + count for writer in all_of_them]
    deadline = time.monotonic() + 120
    while any(writer.writes < least and not writer.failures for writer, least in zip(all_of_them, wanted)):
        true(time.monotonic() < deadline, "the writers do not get on")
        time.sleep(0.02)


def read(t, bucket: str, key: str, version=None):
    """Digest and metadata of an object, or of a version of it."""
    which = {"VersionId": version} if version else {}
    answer = t.s3.get_object(Bucket=bucket, Key=key, **which)
    return hashlib.sha256(answer["Body"].read()).hexdigest(), answer["Metadata"]


def listed(t, bucket: str, key: str) -> list[tuple[str, bool]]:
    """Version ids as the server lists them, the newest first, and which are delete markers: boto3 parts the two, and loses their order."""
    found, markers = [], []
    while True:
        query = [("versions", ""), ("prefix", key), ("encoding-type", "url"), *markers]
        document = ElementTree.fromstring(t.raw.request("GET", sigv4.encode_path(bucket), query).body)
        ends = {}
        for entry in document:
            tag = entry.tag.rpartition("}")[2]
            ends[tag] = entry.text
            fields = {field.tag.rpartition("}")[2]: field.text for field in entry}
            if tag in ("Version", "DeleteMarker") and urllib.parse.unquote_plus(fields["Key"]) == key:
                found.append((fields["VersionId"], tag == "DeleteMarker"))
        if ends.get("IsTruncated") != "true":
            # versitygw lists delete markers apart; its ids begin with the time.
            apart = t.target.backend and t.target.backend.name == "versitygw"
            return sorted(found, reverse=True) if apart else found
        markers = [("key-marker", urllib.parse.unquote_plus(ends["NextKeyMarker"])), ("version-id-marker", ends["NextVersionIdMarker"])]


def versions(t, bucket: str, key: str) -> list[str | None]:
    """A key's version ids, oldest first; None for each delete marker."""
    return [None if marker else version for version, marker in reversed(listed(t, bucket, key))]


def check_nothing_lost(migration: Migration, all_of_them):
    t = migration.t
    equal([failure for writer in all_of_them for failure in writer.failures], [], "failures of writers")
    histories = {key: history for writer in all_of_them for key, history in writer.history.items()}
    wanted = {key: history[-1] for key, history in histories.items() if history and history[-1]}
    pages = t.s3.get_paginator("list_objects_v2").paginate(Bucket=migration.source)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    equal(sorted(keys), sorted(wanted), "the keys")
    for key, state in wanted.items():
        equal(read(t, migration.source, key), state, key)
    if migration.versioned:
        for key, history in histories.items():
            found = [None if version is None else read(t, migration.source, key, version) for version in versions(t, migration.source, key)]
            equal(found, history, f"the versions of {key}")
    backend_bucket = migration.bucket(migration.source)["backend_bucket"]
    equal(backend_bucket, migration.copy, "the backend bucket under the clients' name")
    if migration.versioned:
        return
    some = next(iter(wanted))
    true("sealgate" in storage.of(t.target, backend_bucket).read(some).metadata, "the copy is not encrypted")


@case(seconds=300, gateway_only=True)
def writers_on_every_key_lose_nothing(t):
    migration = Migration(t)
    with writers(migration) as all_of_them:
        told = migration.run()
        more_from(all_of_them)
    check_nothing_lost(migration, all_of_them)
    true(told[-1]["switched"], f"told {told}")
    passes = [line for line in told if "pass" in line]
    true(passes[-1]["frozen"] and not passes[0]["frozen"], f"the passes: {passes}")
    with raises("SlowDown", status=503):
        t.s3.put_object(Bucket=migration.copy, Key="late", Body=b"text")


@case(seconds=300, gateway_only=True)
def every_version_is_kept_once_and_in_its_place(t):
    migration = Migration(t, versioned=True)
    with writers(migration) as all_of_them:
        process = migration.start("--prepare")
        time.sleep(0.3)
        migration.killed(process)
        migration.run()
        more_from(all_of_them)
    check_nothing_lost(migration, all_of_them)


@case(seconds=120, gateway_only=True)
def a_history_that_was_changed_is_copied_as_it_is_by_then(t):
    migration = Migration(t, versioned=True)
    made = {}
    for key in ("shortened", "tagged", "gone"):
        made[key] = [t.s3.put_object(Bucket=migration.source, Key=key, Body=f"{key} {number}".encode(), Tagging="old=1")["VersionId"] for number in range(3)]
        t.s3.delete_object(Bucket=migration.source, Key=key)
    migration.run("--prepare")
    t.s3.delete_object(Bucket=migration.source, Key="shortened", VersionId=made["shortened"][1])
    tags = {"TagSet": [{"Key": "new", "Value": "2"}]}
    t.s3.put_object_tagging(Bucket=migration.source, Key="tagged", VersionId=made["tagged"][0], Tagging=tags)
    for version, _ in listed(t, migration.source, "gone"):
        t.s3.delete_object(Bucket=migration.source, Key="gone", VersionId=version)
    migration.run()
    for key, bodies in (("shortened", [b"shortened 0", b"shortened 2"]), ("tagged", [b"tagged 0", b"tagged 1", b"tagged 2"])):
        found = versions(t, migration.source, key)
        equal(found[-1], None, f"the delete marker of {key}")
        equal([t.s3.get_object(Bucket=migration.source, Key=key, VersionId=version)["Body"].read() for version in found[:-1]], bodies, key)
    equal(versions(t, migration.source, "gone"), [], "what was deleted for good")
    first, second = versions(t, migration.source, "tagged")[:2]
    found = [t.s3.get_object_tagging(Bucket=migration.source, Key="tagged", VersionId=version)["TagSet"] for version in (first, second)]
    equal(found, [tags["TagSet"], [{"Key": "old", "Value": "1"}]], "tags")


@case(seconds=120, gateway_only=True)
def locks_are_kept(t):
    migration = Migration(t, ObjectLockEnabledForBucket=True)
    until = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=1)
    t.s3.put_object(Bucket=migration.source, Key="retained", Body=b"1", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    t.s3.put_object(Bucket=migration.source, Key="held", Body=b"2", ObjectLockLegalHoldStatus="ON")
    t.s3.put_object(Bucket=migration.source, Key="later", Body=b"3")
    migration.run("--prepare")
    t.s3.put_object_legal_hold(Bucket=migration.source, Key="later", LegalHold={"Status": "ON"})
    migration.run()
    found = t.s3.get_object_retention(Bucket=migration.source, Key="retained")["Retention"]
    equal((found["Mode"], found["RetainUntilDate"]), ("GOVERNANCE", until), "the retention")
    for key in ("held", "later"):
        equal(t.s3.get_object_legal_hold(Bucket=migration.source, Key=key)["LegalHold"]["Status"], "ON", f"the hold on {key}")


@case(seconds=300, gateway_only=True)
def killed_again_and_again_and_nothing_lost(t):
    migration = Migration(t)
    with writers(migration) as all_of_them:
        for wait in (0.1, 0.3, 0.6):
            process = migration.start("--prepare")
            time.sleep(wait)
            migration.killed(process)
        killed_in_the_freeze(migration)
        true(migration.bucket(migration.source)["frozen"], "the freeze ended by itself")
        migration.run()
        more_from(all_of_them)
    equal(t.s3.get_object(Bucket=migration.source, Key="slow")["Body"].read(), SLOW, "the slow write")
    t.s3.delete_object(Bucket=migration.source, Key="slow")
    check_nothing_lost(migration, all_of_them)


def killed_in_the_freeze(migration: Migration):
    """A write that does not end holds it there."""
    with slow_put(migration) as finish:
        process = migration.start()
        migration.until_frozen()
        migration.killed(process)
        finish()


@case(seconds=120, gateway_only=True)
def a_freeze_that_a_kill_left_ends_with_the_next_run(t):
    migration = Migration(t)
    for arguments, status in ((("--prepare",), 0), ((), 2)):
        killed_in_the_freeze(migration)
        true(migration.bucket(migration.source)["frozen"], "the freeze ended by itself")
        if status:
            # It ends before the switch begins: the two do not fit any more.
            t.s3.put_bucket_versioning(Bucket=migration.copy, VersioningConfiguration={"Status": "Enabled"})
        told = migration.run(*arguments, status=status)
        true(status or sum("pass" in line for line in told) > 0, f"no pass: {told}")
        true(not migration.bucket(migration.source).get("frozen"), f"frozen after {arguments}")
        t.client(retries=PATIENT).put_object(Bucket=migration.source, Key="afterwards", Body=b"text")


class Cut(http.server.BaseHTTPRequestHandler):
    """In front of the admin API: passes requests on, but keeps the answer to the exchange of names, and answers nothing from then on."""

    def pass_on(self):
        if self.server.cut:
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = urllib.request.Request(self.server.admin + self.path, body or None, dict(self.headers), method=self.command)
        with urllib.request.urlopen(request, timeout=30) as answer:
            document = answer.read()
        self.server.cut = self.path.endswith("/switch")
        if not self.server.cut:
            self.send_response(200)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

    do_GET = do_PUT = do_POST = pass_on

    def log_message(self, *_):
        pass


@case(seconds=120, gateway_only=True)
def a_freeze_that_the_switch_left_is_named(t):
    migration = Migration(t)
    t.s3.put_object(Bucket=migration.source, Key="key", Body=b"body")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut) as server:
        server.cut, server.admin = False, t.target.welcome("Admin API")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told = migration.run(admin=f"http://127.0.0.1:{server.server_address[1]}", status=6)
        server.shutdown()
        true(server.cut, "the names were never exchanged")
    true(f"s3://{migration.source} is still frozen" in told[-1]["message"] and "--unfreeze" in told[-1]["help"], f"told {told}")
    migration.run()
    true(not migration.bucket(migration.source).get("frozen"), "the freeze did not end")
    equal(migration.bucket(migration.source)["backend_bucket"], migration.copy, "the backend bucket under the clients' name")


SLOW = data(200_000, "slow")


@contextlib.contextmanager
def slow_put(migration: Migration):
    """A PUT of which half has come; the block's argument sends the rest and demands its success."""
    t = migration.t
    url = t.s3.generate_presigned_url("put_object", {"Bucket": migration.source, "Key": "slow"})
    host, _, path = url.removeprefix("http://").partition("/")
    address, _, port = host.partition(":")
    with socket.create_connection((address, int(port)), timeout=60) as connection:
        connection.sendall(f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(SLOW)}\r\nConnection: close\r\n\r\n".encode() + SLOW[:100_000])

        def finish():
            connection.sendall(SLOW[100_000:])
            answer = connection.makefile("rb").readline()
            true(b" 200 " in answer, f"the slow write was answered {answer}")

        yield finish


@case(seconds=120, gateway_only=True)
def a_write_that_does_not_end_gives_the_bucket_back(t):
    migration = Migration(t)
    with slow_put(migration) as finish:
        told = migration.run("--drain", "0", status=6)
        true("1 writes in flight" in told[-1]["message"], f"told {told}")
        t.s3.put_object(Bucket=migration.source, Key="after", Body=b"text")
        finish()
    equal(migration.bucket(migration.source)["backend_bucket"], migration.source, "the backend bucket")


@case(seconds=120, gateway_only=True)
def a_state_that_was_lost_is_compared(t):
    migration = Migration(t)
    for key in ("same", "other", "gone", "bytes", "about"):
        t.s3.put_object(Bucket=migration.source, Key=key, Body=key.encode() * 1000, ContentType="text/x-mine", Tagging="a=b")
    migration.run("--prepare")
    shutil.rmtree(os.path.join(migration.directory, "state"))
    t.s3.delete_object(Bucket=migration.source, Key="gone")
    t.s3.put_object(Bucket=migration.source, Key="other", Body=b"new")
    # In the copy: other bytes of the same length, and another type.
    t.s3.put_object(Bucket=migration.copy, Key="bytes", Body=b"BYTES" * 1000, ContentType="text/x-mine", Tagging="a=b")
    t.s3.put_object(Bucket=migration.copy, Key="about", Body=b"about" * 1000, ContentType="text/x-other", Tagging="a=b")
    told = migration.run(status=1)
    true("is not empty" in told[-1]["message"], f"told {told}")
    told = migration.run("--overwrite")
    equal([(line["counts"]["copied"], line["counts"]["deleted"]) for line in told if "pass" in line][0], (3, 1), "copied and deleted")
    equal(t.s3.get_object(Bucket=migration.source, Key="bytes")["Body"].read(), b"bytes" * 1000, "the object with other bytes")
    equal(t.s3.head_object(Bucket=migration.source, Key="about")["ContentType"], "text/x-mine", "the type")
    equal(t.s3.get_object(Bucket=migration.source, Key="other")["Body"].read(), b"new", "the object")
    entries = t.s3.list_objects_v2(Bucket=migration.source)["Contents"]
    equal(sorted(entry["Key"] for entry in entries), ["about", "bytes", "other", "same"], "the keys")


@case(seconds=120, gateway_only=True)
def uploads_in_progress_are_not_lost_unasked(t):
    migration = Migration(t)
    made = t.s3.create_multipart_upload(Bucket=migration.source, Key="upload")
    told = migration.run(status=1)
    true("1 uploads are in progress" in told[-1]["message"], f"told {told}")
    t.s3.upload_part(Bucket=migration.source, Key="upload", UploadId=made["UploadId"], PartNumber=1, Body=b"part")
    migration.run("--abort-uploads")
    with raises("NoSuchUpload", status=404):
        t.s3.list_parts(Bucket=migration.source, Key="upload", UploadId=made["UploadId"])


@case(seconds=300, gateway_only=True, sizes=("acceptance",))
def more_uploads_than_a_page_of_their_listing_has(t):
    migration = Migration(t)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: t.s3.create_multipart_upload(Bucket=migration.source, Key=f"{number}"), range(1_001)))
    migration.run("--abort-uploads")
    equal(t.s3.list_multipart_uploads(Bucket=migration.copy).get("Uploads", []), [], "uploads in the old bucket")


@case(seconds=120, gateway_only=True)
def what_goes_with_an_object_goes_with_its_copy(t):
    migration = Migration(t)
    headers = {"ContentType": "text/x-mine", "CacheControl": "no-store", "ContentDisposition": "inline", "ContentLanguage": "de",
               "Metadata": {"mine": "1"}}
    if not t.target.backend:
        # Not every server keeps one of a plain object.
        headers["WebsiteRedirectLocation"] = "/elsewhere"
    body = data(70_000, "about")
    t.s3.put_object(Bucket=migration.source, Key="a b/ü+?&=", Body=body, Tagging="one=1%202&two=", **headers)
    upload = t.s3.create_multipart_upload(Bucket=migration.source, Key="parts", **headers)
    parts = []
    for number, part in ((1, data(FIVE, 1)), (2, data(999, 2))):
        etag = t.s3.upload_part(Bucket=migration.source, Key="parts", UploadId=upload["UploadId"], PartNumber=number, Body=part)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    t.s3.complete_multipart_upload(Bucket=migration.source, Key="parts", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})
    migration.run("--prepare")
    # No listing shows this.
    t.s3.put_object_tagging(Bucket=migration.source, Key="parts", Tagging={"TagSet": [{"Key": "late", "Value": "1"}]})
    migration.run()
    for key, wanted, tags in (("a b/ü+?&=", body, {"one": "1 2", "two": ""}), ("parts", data(FIVE, 1) + data(999, 2), {"late": "1"})):
        answer = t.s3.get_object(Bucket=migration.source, Key=key)
        equal({name: answer[name] for name in headers}, headers, f"what goes with {key}")
        equal(answer["Body"].read(), wanted, key)
        found = t.s3.get_object_tagging(Bucket=migration.source, Key=key)["TagSet"]
        equal({tag["Key"]: tag["Value"] for tag in found}, tags, f"tags of {key}")
    equal(os.stat(os.path.join(migration.directory, "state")).st_mode & 0o077, 0, "what others may do in the state")


@case(seconds=600, gateway_only=True, sizes=("acceptance",))
def an_object_that_is_too_large_for_one_put(t):
    migration = Migration(t)
    block, blocks = data(1 << 20, "large"), 300
    upload = t.s3.create_multipart_upload(Bucket=migration.source, Key="large", ContentType="text/x-mine")
    parts = []
    for number in range(1, blocks // 50 + 1):
        etag = t.s3.upload_part(Bucket=migration.source, Key="large", UploadId=upload["UploadId"], PartNumber=number, Body=block * 50)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    t.s3.complete_multipart_upload(Bucket=migration.source, Key="large", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})
    migration.run()
    answer = t.s3.get_object(Bucket=migration.source, Key="large")
    equal((answer["ContentLength"], answer["ContentType"]), (blocks << 20, "text/x-mine"), "size and type")
    true(all(answer["Body"].read(1 << 20) == block for _ in range(blocks)), "the body differs")
