"""`sealgate export --decrypt`: a bucket written out in plain, into a directory and to an S3 server."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import subprocess
import tempfile
import threading
import time

import decryptor
import raw_copies
import recovery
import s3_forward
import secrecy
import servers
import proxy
from cases import case, data, equal, true, within

SECONDS = 300


class Export:
    """An export from a bucket of the case's own."""

    def __init__(self, t, directory: str, to: str, *options: str):
        self.t, self.directory, self.to, self.options = t, directory, to, options
        self.manifest = f"{directory}/out/manifest.jsonl" if not options else f"{directory}/manifest"

    def command(self) -> list[str]:
        return [self.t.target.binary, "--json", "export", "--decrypt", "--data", self.t.target.data, f"s3://{self.t.bucket}", self.to, *self.options]

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        server = self.t.target.backend
        return kept | ({"SEALGATE_TO_ACCESS_KEY_ID": server.access_key, "SEALGATE_TO_SECRET_ACCESS_KEY": server.secret_key} if server else {})

    def run(self, *statuses) -> tuple[dict, dict]:
        """Runs it to one of these exit statuses, 0 by default; gives its summary, and what failed by key."""
        done = subprocess.run(self.command(), cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=240)
        within(done.returncode, statuses or (0,), f"exit status of the export: {done.stderr}{done.stdout[-500:]}")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return lines[-1], {line["failed"]: line for line in lines if "error" in line}

    def written_so_far(self) -> int:
        """Objects in the manifest of an export that runs: its last line may be half written."""
        with open(self.manifest) as file:
            return sum('"key":' in line and line.endswith("\n") for line in file)

    def written(self) -> dict[str, dict]:
        """The manifest's last line about each key."""
        with open(self.manifest) as file:
            lines = [json.loads(line) for line in file]
        return {line["key"]: line for line in lines[1:] if "key" in line}


@contextlib.contextmanager
def bucket(t):
    """A bucket of the case's own in the place of the suite's, and a directory."""
    with tempfile.TemporaryDirectory(prefix="sealgate-export-") as directory, decryptor.inside(t, t.fresh_bucket()):
        yield directory


def described(t):
    """An object with all that goes along."""
    t.s3.put_object(Bucket=t.bucket, Key="described", Body=b"described", ContentType="text/x-mine", CacheControl="max-age=7",
                    ContentDisposition='attachment; filename="x"', Metadata={"of": "the export", "more": "ü".encode().hex()},
                    Tagging="a%20b=c%3Ad&e=", **({} if t.target.backend else {"WebsiteRedirectLocation": "/elsewhere"}))


def lose(exchange):
    """It is done, and nobody hears so."""
    exchange.forward()
    exchange.reset()


@case(seconds=SECONDS)
def into_a_directory_and_again(t):
    with bucket(t) as directory:
        wanted = recovery.stored(t, "exported") | {"described": b"described"}
        described(t)
        export = Export(t, directory, "out")
        summary, failed = export.run()
        equal((summary["objects"], summary["bytes"], failed), (len(wanted), sum(map(len, wanted.values())), {}), "the summary")
        lines = export.written()
        equal(sorted(lines), sorted(wanted), "keys in the manifest")
        for key, body in wanted.items():
            with open(f"{directory}/out/objects/{key}", "rb") as file:
                true(file.read() == body, f"{key} in the directory")
            equal((lines[key]["size"], lines[key]["sha256"]), (len(body), hashlib.sha256(body).hexdigest()), f"what the manifest says of {key}")
        line = lines["described"]
        equal((line["headers"]["content-type"], line["headers"]["cache-control"], line["metadata"]["of"], line["tags"]),
              ("text/x-mine", "max-age=7", "the export", {"a b": "c:d", "e": ""}), "what goes along")
        if not t.target.backend:
            equal(line["headers"]["x-amz-website-redirect-location"], "/elsewhere", "the redirect")
        for place, _, files in os.walk(f"{directory}/out"):
            modes = {name: os.stat(os.path.join(place, name)).st_mode & 0o077 for name in [*files, "."]}
            equal({name: mode for name, mode in modes.items() if mode}, {}, f"what others may do in {place}")
        equal(export.run()[0] | {"bytes": 0}, {"objects": 0, "bytes": 0, "there": len(wanted), "failed": 0}, "the summary of the second run")
        # What changed comes again, and so does what is missing; nothing else.
        t.put("exported/1", b"changed")
        os.remove(f"{directory}/out/objects/exported/65536")
        equal(export.run()[0]["objects"], 2, "objects of the third run")
        with open(f"{directory}/out/objects/exported/1", "rb") as file:
            equal(file.read(), b"changed", "what changed")
        # Killed between an object's file and its line: that file is the key's own. One that the manifest does not know is nobody's.
        with open(export.manifest) as file:
            lines = [json.loads(line) for line in file]
        for lost, summary in (("key",), (1, 0)), (("key", "begins"), (0, 1)):
            with open(export.manifest, "w") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines if not any(line.get(name) == "described" for name in lost))
            found, _ = export.run(summary[1])
            equal((found["objects"], found["failed"]), summary, f"what became of an object without {lost} in the manifest")
        with open(f"{directory}/out/objects/described", "rb") as file:
            equal(file.read(), b"described", "what was there before")
        # A manifest of another export is not gone on with.
        other = Export(t, directory, "elsewhere", "--manifest", "out/manifest.jsonl")
        done = subprocess.run(other.command(), cwd=directory, env=other.environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        true(done.returncode == 2 and "another export" in done.stderr, f"another export's manifest: {done.returncode} {done.stderr}")


# These servers refuse such keys, or list by directories.
@case(seconds=SECONDS, only="filesystem")
def keys_that_are_no_file_names_are_named_and_leave_nothing(t):
    """Two keys for one file, and those that lead elsewhere: the others are exported all the same."""
    with bucket(t) as directory:
        outside = ("../escaped", "a/../../escaped", "/absolute", "double//slash", "./dot", "x" * 300)
        for key in ("fine", "fine/below", "Fine", "folder/", "folder/in", *outside):
            t.put(key, b"" if key.endswith("/") else key.encode())
        summary, failed = Export(t, directory, "out").run(1)
        # `fine` and `fine/below` cannot both be: which of the two is there is a matter of order.
        lost = set(failed) - set(outside)
        true(lost in ({"fine"}, {"fine/below"}), f"refused beside those: {lost}")
        equal(set(failed) & set(outside), set(outside), "keys that lead elsewhere")
        equal((summary["objects"], summary["failed"]), (4, 7), "the summary")
        equal(sorted(os.listdir(directory)), ["out"], "what lies beside the export")
        equal(sorted(os.listdir(f"{directory}/out")), ["manifest.jsonl", "objects"], "what lies in the export")
        true(os.path.isdir(f"{directory}/out/objects/folder") and not os.path.exists("/absolute"), "the marker is a directory")
        with open(f"{directory}/out/objects/folder/in", "rb") as file:
            equal(file.read(), b"folder/in", "what lies in it")


@case(seconds=SECONDS, only="filesystem")
def what_is_damaged_is_named_and_not_written(t):
    with bucket(t) as directory:
        (root,) = t.target.raw_roots()
        place = os.path.join(root, "buckets", decryptor.backend_bucket(os.listdir(os.path.join(root, "buckets")), t.bucket))
        t.put("first", data(200_000, "first"))
        known = {entry.path for entry in raw_copies.bodies(place)}
        t.put("second", data(200_000, "second"))
        (new,) = [entry.path for entry in raw_copies.bodies(place) if entry.path not in known]
        with open(new, "r+b") as file:
            file.seek(100_000)
            byte = file.read(1)[0]
            file.seek(100_000)
            file.write(bytes([byte ^ 1]))
        summary, failed = Export(t, directory, "out").run(4)
        equal((summary["objects"], list(failed), failed["second"]["error"]), (1, ["second"], "integrity"), "what failed")
        equal(sorted(os.listdir(f"{directory}/out/objects")), ["first"], "what is there: nothing of the damaged one")


@case(seconds=SECONDS, only="filesystem")
def what_the_gateway_cannot_read_is_named_and_the_others_go_on(t):
    with bucket(t) as directory:
        (root,) = t.target.raw_roots()
        place = os.path.join(root, "buckets", decryptor.backend_bucket(os.listdir(os.path.join(root, "buckets")), t.bucket))
        for key in ("b", "c"):
            t.put(key, key.encode())
        known = {entry.path for entry in raw_copies.bodies(place)}
        t.put("a", data(200_000, "a"))
        (new,) = [entry.path for entry in raw_copies.bodies(place) if entry.path not in known]
        os.remove(new)
        os.mkdir(new)
        summary, failed = Export(t, directory, "out").run(1)
        equal((summary["objects"], {key: line["error"] for key, line in failed.items()}), (2, {"a": "unavailable"}), "what failed")
        # All of them: the run does not try a whole bucket in vain.
        known = {entry.path for entry in raw_copies.bodies(place)}
        for number in range(30):
            t.put(f"more/{number}", data(100_000, number))
        for entry in raw_copies.bodies(place):
            if entry.path not in known:
                os.remove(entry.path)
                os.mkdir(entry.path)
        summary, failed = Export(t, directory, "out").run(6)
        true(20 <= len(failed) < 31 and summary["failed"] == len(failed), f"what failed before it ended: {summary} {sorted(failed)}")


@case(seconds=SECONDS)
def an_export_that_was_killed_goes_on(t):
    with bucket(t) as directory:
        wanted = {f"object-{number:02}": data(3_000_000, number) for number in range(12)}
        for key, body in wanted.items():
            t.put(key, body)
        export = Export(t, directory, "out")
        process = subprocess.Popen(export.command(), cwd=directory, env=export.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if os.path.exists(export.manifest) and export.written_so_far():
                process.kill()
                break
            time.sleep(0.01)
        process.wait()
        before = len(export.written())
        with open(f"{directory}/out/objects/.sealgate-{secrets.token_hex(8)}.partial", "wb") as file:
            file.write(b"half written")
        summary, _ = export.run()
        true(summary["there"] >= before >= 1 and summary["there"] + summary["objects"] == len(wanted), f"{before} were there: {summary}")
        equal(sorted(os.listdir(f"{directory}/out/objects")), sorted(wanted), "files: nothing that the kill left half written")
        for key, body in wanted.items():
            with open(f"{directory}/out/objects/{key}", "rb") as file:
                true(file.read() == body, f"{key} after both runs")


@case(seconds=SECONDS, only="server")
def to_an_s3_server(t):
    with bucket(t) as directory:
        server, there = secrecy.backend_client(t.target.backend), f"plain-{secrets.token_hex(6)}"
        server.create_bucket(Bucket=there)
        wanted = recovery.stored(t, "exported") | {"described": b"described", "large": data(70 << 20, "large")}
        described(t)
        t.put("large", wanted["large"], Metadata={"of": "parts"}, ContentType="text/x-large")
        export = Export(t, directory, f"s3://{there}/copy/", "--to-endpoint-url", t.target.backend.endpoint, "--to-region", t.target.backend.region,
                        "--manifest", "manifest")
        equal(export.run()[0]["objects"], len(wanted), "objects exported")
        for key, body in wanted.items():
            true(server.get_object(Bucket=there, Key=f"copy/{key}")["Body"].read() == body, f"{key} on the server")
        found = server.head_object(Bucket=there, Key="copy/described")
        equal((found["ContentType"], found["CacheControl"], found["Metadata"]["of"]), ("text/x-mine", "max-age=7", "the export"), "what goes along")
        tags = server.get_object_tagging(Bucket=there, Key="copy/described")["TagSet"]
        equal(sorted((tag["Key"], tag["Value"]) for tag in tags), [("a b", "c:d"), ("e", "")], "tags")
        large = server.head_object(Bucket=there, Key="copy/large")
        equal((large["ContentType"], large["Metadata"]), ("text/x-large", {"of": "parts"}), "what goes along with parts")
        equal(export.run()[0]["there"], len(wanted), "objects of the second run that were there")


@case(seconds=SECONDS, only="server")
def all_versions_to_an_s3_server(t):
    """Each key's versions in their order, deletions where a marker lay, and the current ones current."""
    with bucket(t) as directory, contextlib.suppress(s3_forward.Lacking):
        server, there = secrecy.backend_client(t.target.backend), f"plain-{secrets.token_hex(6)}"
        server.create_bucket(Bucket=there)
        export = Export(t, directory, f"s3://{there}", "--to-endpoint-url", t.target.backend.endpoint, "--to-region", t.target.backend.region,
                        "--manifest", "manifest", "--all-versions")
        enabled = {"VersioningConfiguration": {"Status": "Enabled"}}
        s3_forward.answered(lambda: t.s3.put_bucket_versioning(Bucket=t.bucket, **enabled))
        t.put("kept", b"first", Metadata={"number": "1"})
        t.put("kept", b"second", Metadata={"number": "2"})
        t.put("gone", b"before")
        t.s3.delete_object(Bucket=t.bucket, Key="gone")
        t.put("again", b"one")
        t.s3.delete_object(Bucket=t.bucket, Key="again")
        t.put("again", b"two")
        export.run(2)
        server.put_bucket_versioning(Bucket=there, **enabled)
        if t.target.backend.name == "versitygw":
            # It lists delete markers behind all versions of a page. Nothing is exported rather than something in a wrong order.
            equal(export.run(1)[0]["objects"], 0, "objects exported in an order that nobody knows")
            return
        equal(export.run()[0]["objects"], 7, "versions and markers exported")
        t.put("kept", b"third")
        equal(export.run()[0] | {"bytes": 0}, {"objects": 1, "bytes": 0, "there": 7, "failed": 0}, "the second run")
        found = server.list_object_versions(Bucket=there)
        bodies = {}
        for version in found["Versions"]:
            body = server.get_object(Bucket=there, Key=version["Key"], VersionId=version["VersionId"])["Body"].read()
            bodies.setdefault(version["Key"], []).append(body)
        equal(bodies, {"kept": [b"third", b"second", b"first"], "gone": [b"before"], "again": [b"two", b"one"]}, "versions, the newest first")
        equal([marker["Key"] for marker in found["DeleteMarkers"] if marker["IsLatest"]], ["gone"], "what is deleted there")
        equal(current(server, there), ["again", "kept"], "what is current there")


@case(seconds=SECONDS, only="server")
def a_null_version_that_was_written_again_comes_again(t):
    """Where a bucket never had versions, or has them no more, each write takes the place of the `null` version: its id tells nothing."""
    if t.target.backend.name == "versitygw":
        # It lists a `null` version in a bucket without versions, and gives 404 for it.
        return
    with bucket(t) as directory, contextlib.suppress(s3_forward.Lacking):
        server, there = secrecy.backend_client(t.target.backend), f"plain-{secrets.token_hex(6)}"
        server.create_bucket(Bucket=there)
        server.put_bucket_versioning(Bucket=there, VersioningConfiguration={"Status": "Enabled"})
        export = Export(t, directory, f"s3://{there}", "--to-endpoint-url", t.target.backend.endpoint, "--to-region", t.target.backend.region,
                        "--manifest", "manifest", "--all-versions")
        for body in (b"one", b"other"):
            t.put("again", body)
            t.put(f"by {body.decode()}", b"new")
            first = export.run()[0]
            equal(first["objects"], 2, f"exported with {body}: {first}")
            equal(server.get_object(Bucket=there, Key="again")["Body"].read(), body, "what is current there")
            equal(export.run()[0]["objects"], 0, "exported when nothing was written")
        for status in ("Enabled", "Suspended"):
            s3_forward.answered(lambda: t.s3.put_bucket_versioning(Bucket=t.bucket, VersioningConfiguration={"Status": status}))
        t.s3.delete_object(Bucket=t.bucket, Key="again")
        equal(export.run()[0]["objects"], 1, "a deletion exported")
        equal(current(server, there), ["by one", "by other"], "what is current there")
        # At once, within the second of the marker: the kind tells them apart.
        t.put("again", b"third")
        equal(export.run()[0]["objects"], 1, "the next write exported")
        equal(server.get_object(Bucket=there, Key="again")["Body"].read(), b"third", "what is current there")


def current(server, there):
    return sorted(entry["Key"] for entry in server.list_objects_v2(Bucket=there).get("Contents", []))


@contextlib.contextmanager
def writers(t, keys, deletes=False):
    """Overwrites these keys by turns while the block runs; gives the lengths of what each got, in order. No two bodies are of one length."""
    ends, lengths, written = threading.Event(), itertools.count(1), {key: [] for key in keys}

    def write(mine):
        client = t.client()
        for number in itertools.count():
            for key in mine:
                if ends.is_set():
                    return
                if deletes and number % 3 == 2:
                    client.delete_object(Bucket=t.bucket, Key=key)
                    continue
                length = next(lengths)
                # Noted before: the export may see it before its writer is answered.
                written[key].append(length)
                client.put_object(Bucket=t.bucket, Key=key, Body=body_of(key, length))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(write, keys[first::4]) for first in range(4)]
        try:
            yield written
        finally:
            ends.set()
        for each in running:
            each.result()


def body_of(key, length) -> bytes:
    """Tells whose it is, and how long."""
    return (f"{key} {length} ".encode() * (length // 8 + 1))[:length]


@case(seconds=SECONDS)
def into_a_directory_beside_writers_on_every_key(t):
    """What is exported is what somebody wrote, whole; what was overwritten under it is named; another run brings the rest."""
    with bucket(t) as directory:
        still = {f"still/{number}": data(100_000, number) for number in range(30)}
        hot = [f"hot/{number}" for number in range(30)]
        for key, body in still.items():
            t.put(key, body)
        before = 500_000
        for key in hot:
            t.put(key, body_of(key, before))
        export = Export(t, directory, "out")
        with writers(t, hot) as written:
            summary, failed = export.run(0, 1)
        true(sum(map(len, written.values())) > 0, "the writers wrote nothing beside it")
        true(set(failed) <= set(hot), f"failed: {sorted(failed)}")
        equal(summary["objects"] + summary["failed"], len(still) + len(hot), "objects of the first run: each once, or named")
        found = export.written()
        equal(set(found) | set(failed), set(still) | set(hot), "keys that were there before it began")
        for key in set(hot) & set(found):
            with open(f"{directory}/out/objects/{key}", "rb") as file:
                there = file.read()
            true(len(there) in (before, *written[key]) and there == body_of(key, len(there)), f"{key} is nothing that anybody wrote")
        changed = {key for key in hot if key in failed or found[key]["size"] != (written[key] or [before])[-1]}
        equal(export.run()[0]["objects"], len(changed), "objects of the second run")
        equal(export.run()[0]["objects"], 0, "objects of the third run")
        wanted = still | {key: body_of(key, (written[key] or [before])[-1]) for key in hot}
        for key, body in wanted.items():
            with open(f"{directory}/out/objects/{key}", "rb") as file:
                true(file.read() == body, f"{key} after the last run")


def versions_of(client, name) -> dict[str, list[int]]:
    """The lengths of each key's versions, the oldest first; and under `key (deleted)` how many markers it has."""
    found = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        for version in page.get("Versions", []):
            found.setdefault(version["Key"], []).insert(0, version["Size"])
        for marker in page.get("DeleteMarkers", []):
            found.setdefault(f"{marker['Key']} (deleted)", []).append(0)
    return found


@contextlib.contextmanager
def versioned(t, directory, through=None):
    """An export of all versions from the case's bucket to one on the server, maybe through a proxy, a client there, and the bucket's name."""
    server, there = secrecy.backend_client(t.target.backend), f"plain-{secrets.token_hex(6)}"
    enabled = {"VersioningConfiguration": {"Status": "Enabled"}}
    s3_forward.answered(lambda: t.s3.put_bucket_versioning(Bucket=t.bucket, **enabled))
    server.create_bucket(Bucket=there)
    server.put_bucket_versioning(Bucket=there, **enabled)
    yield Export(t, directory, f"s3://{there}", "--to-endpoint-url", through or t.target.backend.endpoint, "--to-region", t.target.backend.region,
                 "--manifest", "manifest", "--all-versions"), server, there


@case(seconds=SECONDS, only="server")
def all_versions_beside_writers_on_every_key(t):
    """Every version that was there before is exported once, and so is, by the next run, every one that came meanwhile, in their order."""
    with bucket(t) as directory, contextlib.suppress(s3_forward.Lacking), versioned(t, directory) as (export, server, there):
        keys = [f"key-{number}" for number in range(12)]
        for key in keys:
            for length in (100_000, 100_001, 100_002):
                t.put(key, body_of(key, length))
        # versitygw lists delete markers apart from versions.
        with writers(t, keys, deletes=t.target.backend.name != "versitygw") as written:
            summary, failed = export.run()
        true(sum(map(len, written.values())) > 0, "the writers wrote nothing beside it")
        first = versions_of(server, there)
        for key in keys:
            equal(first[key][:3], [100_000, 100_001, 100_002], f"versions of {key} that were there before")
            equal(first[key][3:], written[key][:len(first[key]) - 3], f"versions of {key} that came meanwhile")
        wanted = versions_of(t.s3, t.bucket)
        equal({key: wanted[key][3:] for key in keys}, written, "what the writers wrote, in the source")
        entries = sum(map(len, wanted.values()))
        equal(export.run()[0] | {"bytes": 0}, {"objects": entries - summary["objects"], "bytes": 0, "there": summary["objects"], "failed": 0}, "the second run")
        equal(versions_of(server, there), wanted, "versions and markers there")
        equal(export.run()[0]["objects"], 0, "objects of the third run")


@case(seconds=SECONDS)
def what_keeps_its_etag_and_was_written_again_comes_again(t):
    with bucket(t) as directory:
        t.put("same", b"body", Metadata={"of": "first"})
        export = Export(t, directory, "out")
        equal(export.run()[0]["objects"], 1, "objects of the first run")
        seen = [t.s3.head_object(Bucket=t.bucket, Key="same")]
        # Dates are in whole seconds.
        servers.wait_until("another second", None, lambda: int(time.time()) > seen[0]["LastModified"].timestamp())
        t.s3.copy_object(Bucket=t.bucket, Key="same", CopySource={"Bucket": t.bucket, "Key": "same"}, MetadataDirective="REPLACE",
                         Metadata={"of": "second"})
        t.put("other", b"another")
        seen.append(t.s3.head_object(Bucket=t.bucket, Key="same"))
        if t.target.backend and t.target.backend.name == "versitygw":
            # Its copy of an object onto itself changes neither ETag nor date: no listing shows it.
            equal(*[(found["ETag"], found["LastModified"]) for found in seen], "ETag and date before and after")
            return
        # On the filesystem a copy has an ETag of its own.
        if t.target.backend:
            equal(*[found["ETag"] for found in seen], "the ETag, before and after")
        equal(export.run()[0]["objects"], 2, "objects of the second run")
        equal(export.written()["same"]["metadata"], {"of": "second"}, "what the manifest says")


@case(seconds=SECONDS, only="server")
def a_version_whose_answer_was_lost_is_there_once(t):
    lying = proxy.Proxy(t.target.backend.endpoint)
    lost = []

    def rule(request):
        # Each is stored; two answers in three are lost. The second version is like the first.
        if request.method != "PUT":
            return None
        lost.append(request.path)
        return lose if len(lost) % 3 else None

    with bucket(t) as directory, contextlib.closing(lying), contextlib.suppress(s3_forward.Lacking):
        with versioned(t, directory, lying.endpoint) as (export, server, there), lying.lying(rule):
            # Up to 256 KiB the client of the storage itself may send a body again.
            for length in (300_000, 300_000, 300_001):
                t.put("key", body_of("key", length))
            summary, _ = export.run()
            true(lying.touched, "no answer was lost")
            equal(summary["objects"], 3, "versions exported")
            equal(versions_of(server, there), {"key": [300_000, 300_000, 300_001]}, "versions there")
