"""`sealgate export --decrypt`: a bucket written out in plain, into a directory and to an S3 server."""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
import time

import decryptor
import raw_copies
import recovery
import s3_forward
import secrecy
from cases import case, data, equal, true

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

    def run(self, status=0) -> tuple[dict, dict]:
        """Runs it to this exit status; gives its summary, and what failed by key."""
        done = subprocess.run(self.command(), cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=240)
        equal(done.returncode, status, f"exit status of the export: {done.stderr}{done.stdout[-500:]}")
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
            found, _ = export.run(status=summary[1])
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
        summary, failed = Export(t, directory, "out").run(status=1)
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
        summary, failed = Export(t, directory, "out").run(status=4)
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
        summary, failed = Export(t, directory, "out").run(status=1)
        equal((summary["objects"], {key: line["error"] for key, line in failed.items()}), (2, {"a": "unavailable"}), "what failed")
        # All of them: the run does not try a whole bucket in vain.
        known = {entry.path for entry in raw_copies.bodies(place)}
        for number in range(30):
            t.put(f"more/{number}", data(100_000, number))
        for entry in raw_copies.bodies(place):
            if entry.path not in known:
                os.remove(entry.path)
                os.mkdir(entry.path)
        summary, failed = Export(t, directory, "out").run(status=6)
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
        export.run(status=2)
        server.put_bucket_versioning(Bucket=there, **enabled)
        if t.target.backend.name == "versitygw":
            # It lists delete markers behind all versions of a page. Nothing is exported rather than something in a wrong order.
            equal(export.run(status=1)[0]["objects"], 0, "objects exported in an order that nobody knows")
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
        equal(sorted(entry["Key"] for entry in server.list_objects_v2(Bucket=there)["Contents"]), ["again", "kept"], "what is current there")
