"""What `sealgate put`, `sealgate export` and `sealgate migrate` do when an answer is lost, or is one that they cannot pass on: seen by a proxy on their way."""

import contextlib
import json
import os
import subprocess
import tempfile

import proxy
import s3_forward
from backend_sse import refuse
from cases import case, data, equal, true
from export import Export, SECONDS, body_of, bucket, lose, versioned, versions_of
from migrate import Migration


@case(seconds=SECONDS, only="server")
def a_complete_whose_answer_was_lost_leaves_the_object_once(t):
    lying = proxy.Proxy(t.target.backend.endpoint)

    with bucket(t) as directory, contextlib.closing(lying), contextlib.suppress(s3_forward.Lacking):
        body = data(70 << 20, "large")
        with versioned(t, directory, lying.endpoint) as (export, server, there):
            for _ in range(2):
                # One like the other: which of them is there tells its id alone.
                t.put("large", body, Metadata={"of": "parts"})
            with lying.lying(lambda request: lose if request.method == "POST" and "uploadId" in request.query else None):
                export.run(*((0, 1) if t.target.backend.name == "versitygw" else ()))
            true(lying.touched, "no answer was lost")
            aborted = [request.path for request in lying.requests if request.method == "DELETE"]
            equal(aborted, [], "uploads that were aborted although they had become the object")
            equal(versions_of(server, there), {"large": [70 << 20, 70 << 20]}, "versions there")
            true(server.get_object(Bucket=there, Key="large")["Body"].read() == body, "the body")


@case(seconds=SECONDS, only="server")
def a_marker_whose_answer_was_lost_is_there_once(t):
    lying = proxy.Proxy(t.target.backend.endpoint)
    lost = []

    def rule(request):
        if request.method != "DELETE":
            return None
        lost.append(request.path)
        return lose if len(lost) % 3 else None

    with bucket(t) as directory, contextlib.closing(lying), contextlib.suppress(s3_forward.Lacking):
        if t.target.backend.name == "versitygw":
            # It lists delete markers apart: nothing is exported.
            return
        with versioned(t, directory, lying.endpoint) as (export, server, there), lying.lying(rule):
            for length in (1000, 1001):
                t.put("key", body_of("key", length))
                t.s3.delete_object(Bucket=t.bucket, Key="key")
            export.run()
            true(lying.touched, "no answer was lost")
            equal(versions_of(server, there), {"key": [1000, 1001], "key (deleted)": [0, 0]}, "versions and markers there")


@case(seconds=SECONDS, only="server")
def an_export_to_where_nobody_may_look_says_that_it_is_not_checked(t):
    lying = proxy.Proxy(t.target.backend.endpoint)
    bodies = {"small": body_of("small", 1000), "large": data(70 << 20, "unseen")}

    with bucket(t) as directory, contextlib.closing(lying), contextlib.suppress(s3_forward.Lacking):
        with versioned(t, directory, lying.endpoint) as (export, server, there), lying.lying(lambda request: refuse if request.method == "HEAD" else None):
            for key, body in bodies.items():
                t.put(key, body)
            _, failed = export.run(1)
            equal(sorted(failed), sorted(bodies), "objects that are told to have failed")
            true(all(line["error"] == "access-denied" and "could not be checked" in (line["help"] or "") for line in failed.values()), f"what is said: {failed}")
            equal([request.path for request in lying.requests if request.method == "DELETE"], [], "what was aborted or deleted")
            for key, body in bodies.items():
                true(server.get_object(Bucket=there, Key=key)["Body"].read() == body, f"{key} there")


@case(seconds=SECONDS)
def metadata_that_is_no_text_is_named_and_not_exported(t):
    lying = proxy.Proxy(t.target.endpoint)

    def odd(exchange):
        answer = exchange.forward()
        answer.set("x-amz-meta-odd", "caf\xe9")
        exchange.tell(answer)

    with bucket(t) as directory, contextlib.closing(lying):
        t.put("odd", b"odd")
        t.put("other", b"other")
        export = Export(t, directory, "out")
        command = export.command()
        at = command.index("--data")
        command[at:at + 2] = ["--endpoint-url", lying.endpoint, "--region", t.target.region]
        environment = export.environment() | {"AWS_ACCESS_KEY_ID": t.target.access_key, "AWS_SECRET_ACCESS_KEY": t.target.secret_key}
        with lying.lying(lambda request: odd if request.path.endswith("/odd") else None):
            done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
        equal(done.returncode, 1, f"exit status: {done.stderr}")
        failed = [line["message"] for line in map(json.loads, done.stdout.splitlines()) if line.get("failed") == "odd"]
        true(len(failed) == 1 and "x-amz-meta-odd" in failed[0], f"what failed: {done.stdout}")
        equal((sorted(export.written()), os.listdir(f"{directory}/out/objects")), (["other"], ["other"]), "what was exported")


def prepared(migration: Migration, endpoint: str) -> subprocess.CompletedProcess:
    """One pass by another way to the gateway."""
    t, command = migration.t, migration.command("--prepare", "--passes", "1")
    at = command.index("--data")
    command[at:at + 2] = ["--endpoint-url", endpoint, "--region", t.target.region]
    environment = os.environ | {"AWS_ACCESS_KEY_ID": t.target.access_key, "AWS_SECRET_ACCESS_KEY": t.target.secret_key}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)


@case(seconds=120, gateway_only=True)
def metadata_that_is_no_text_is_named_and_not_migrated(t):
    migration, lying = Migration(t), proxy.Proxy(t.target.endpoint)
    t.closing.callback(lying.close)
    t.s3.put_object(Bucket=migration.source, Key="odd", Body=b"odd")

    def odd(exchange):
        answer = exchange.forward()
        answer.set("x-amz-meta-odd", "caf\xe9")
        exchange.tell(answer)

    with lying.lying(lambda request: odd if request.method == "GET" and request.path == f"/{migration.source}/odd" else None):
        done = prepared(migration, lying.endpoint)
    true(done.returncode == 1 and "/odd" in done.stderr and "x-amz-meta-odd" in done.stderr, f"it ended with {done.returncode} and said {done.stderr}")
    equal(t.s3.list_objects_v2(Bucket=migration.copy)["KeyCount"], 0, "copies")


@case(seconds=600, gateway_only=True, sizes=("acceptance",))
def a_complete_of_a_migration_whose_answer_was_lost_makes_one_copy(t):
    migration, lying = Migration(t, versioned=True), proxy.Proxy(t.target.endpoint)
    t.closing.callback(lying.close)
    block, blocks = data(1 << 20, "lost"), 300
    upload = t.s3.create_multipart_upload(Bucket=migration.source, Key="large")
    parts = []
    for number in range(1, blocks // 50 + 1):
        etag = t.s3.upload_part(Bucket=migration.source, Key="large", UploadId=upload["UploadId"], PartNumber=number, Body=block * 50)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    t.s3.complete_multipart_upload(Bucket=migration.source, Key="large", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})

    with lying.lying(lambda request: lose if request.method == "POST" and "uploadId" in request.query else None):
        done = prepared(migration, lying.endpoint)
    equal(done.returncode, 0, f"the exit code; it said {done.stdout} {done.stderr}")
    true(lying.touched, "no answer was lost")
    equal(sum("uploads" in request.query for request in lying.requests if request.method == "POST"), 1, "uploads that were begun")
    equal([request.path for request in lying.requests if request.method == "DELETE"], [], "what was aborted or deleted")
    equal(len(t.s3.list_object_versions(Bucket=migration.copy)["Versions"]), 1, "versions of the copy")


@case(seconds=SECONDS, gateway_only=True)
def a_put_whose_complete_was_lost_leaves_the_object(t):
    lying, body = proxy.Proxy(t.target.endpoint), data(70 << 20, "lost")
    t.closing.callback(lying.close)
    with tempfile.NamedTemporaryFile(prefix="sealgate-put-") as file:
        file.write(body)
        file.flush()
        command = [t.target.binary, "put", "--data", t.target.data, "--endpoint-url", lying.endpoint, file.name, f"s3://{t.bucket}/lost"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with lying.lying(lambda request: lose if request.method == "POST" and "uploadId" in request.query else None):
            done = subprocess.run(command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
    true(lying.touched, "no answer was lost")
    true(done.returncode != 0 and "it is not known whether the server made the object" in done.stderr, f"it ended with {done.returncode} and said {done.stderr}")
    equal([request.path for request in lying.requests if request.method == "DELETE"], [], "uploads that were aborted although they had become the object")
    equal(t.get("lost"), body, "the object")
