"""A tree of real files there and back with awscli, boto3 and rclone: the same bytes, plaintext sizes, nothing moved twice.

The clients know nothing but the two files that `sealgate dev` wrote (rclone: and the endpoint from them).
"""

import concurrent.futures
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

import corpus
import servers
from cases import case, equal, true

# For the whole tree, in either direction.
CI_SECONDS, ACCEPTANCE_SECONDS = 240, 3600


def run(t, *command, **options) -> subprocess.CompletedProcess:
    """A client's command; a failing one shows the end of what it said."""
    seconds = CI_SECONDS if t.size == "ci" else ACCEPTANCE_SECONDS
    environment = {**t.target.environment(), **options.pop("environment", {})}
    done = subprocess.run([servers.program(command[0]), *command[1:]], env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=seconds, **options)
    true(done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-600:]}{done.stdout[-200:]}")
    return done


@contextlib.contextmanager
def empty_directory():
    directory = tempfile.mkdtemp(prefix="sealgate-roundtrip-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def compare(directory, wanted):
    """The tree that came back is the tree that went."""
    found = corpus.contents(directory)
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    true(not missing and not extra, f"{len(missing)} files are missing {missing[:3]}, {len(extra)} too many {extra[:3]}")
    changed = [name for name in wanted if found[name] != wanted[name]]
    true(not changed, f"{len(changed)} files changed: {changed[:3]}")


def check_listing(t, prefix, wanted):
    """Listings show the plaintext's sizes."""
    pages = t.s3.get_paginator("list_objects_v2").paginate(Bucket=t.bucket, Prefix=prefix)
    listed = {entry["Key"].removeprefix(prefix): entry["Size"] for page in pages for entry in page.get("Contents", [])}
    wrong = [name for name in wanted if listed.get(name) != wanted[name][0]]
    true(not wrong, f"sizes of {len(wrong)} files: {[(name, listed.get(name), wanted[name][0]) for name in wrong[:3]]}")
    equal(len(listed), len(wanted), "number of keys")


def remove(t, prefix):
    """Takes a tree away again: what stays for the scan of the storage is rclone's."""
    keys = t.keys(prefix)
    for at in range(0, len(keys), 1000):
        objects = [{"Key": key} for key in keys[at:at + 1000]]
        answer = t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": objects, "Quiet": True})
        equal(answer.get("Errors", []), [], "errors of DeleteObjects")
    equal(t.keys(prefix), [], f"keys under {prefix} after deleting them")


def all_clients(t) -> bool:
    """CI takes all three on the filesystem, and rclone everywhere."""
    return t.size == "acceptance" or getattr(t.target, "backend", None) is None


def rclone(t, *arguments):
    environment = {
        "RCLONE_CONFIG": "", "RCLONE_CONFIG_GATE_TYPE": "s3", "RCLONE_CONFIG_GATE_PROVIDER": "Other", "RCLONE_CONFIG_GATE_ENV_AUTH": "true",
        "RCLONE_CONFIG_GATE_ENDPOINT": t.target.endpoint, "RCLONE_CONFIG_GATE_REGION": t.target.region,
        "RCLONE_CONFIG_GATE_UPLOAD_CUTOFF": "16M", "RCLONE_CONFIG_GATE_CHUNK_SIZE": "8M",
    }
    return run(t, "rclone", *arguments, "--use-json-log", "--log-level", "INFO", "--stats-log-level", "NOTICE", "--retries", "1",
               "--low-level-retries", "1", "--transfers", "8", environment=environment)


def rclone_stats(done) -> dict:
    """The last statistics in rclone's log."""
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    stats = [record["stats"] for record in records if "stats" in record]
    true(stats, f"rclone gave no statistics: {done.stderr[-300:]}")
    return stats[-1]


@case(seconds=ACCEPTANCE_SECONDS)
def rclone_copies_checks_and_syncs(t):
    directory, wanted = corpus.shared(t.size)
    there = f"gate:{t.bucket}/rclone"
    first = rclone_stats(rclone(t, "copy", directory, there))
    equal(first["transfers"], len(wanted), "files transferred by the copy")
    check_listing(t, "rclone/", wanted)
    rclone(t, "check", "--download", directory, there)
    for attempt in ("first", "second"):
        stats = rclone_stats(rclone(t, "sync", directory, there))
        equal((stats["transfers"], stats["bytes"], stats["deletes"]), (0, 0, 0), f"transfers, bytes and deletes of the {attempt} sync")
    with empty_directory() as back:
        rclone(t, "copy", there, back)
        compare(back, wanted)


@case(seconds=ACCEPTANCE_SECONDS)
def awscli_copies_and_syncs(t):
    if not all_clients(t):
        return
    directory, wanted = corpus.shared(t.size)
    there = f"s3://{t.bucket}/awscli"
    run(t, "aws", "s3", "cp", "--recursive", "--only-show-errors", directory, there)
    check_listing(t, "awscli/", wanted)
    second = run(t, "aws", "s3", "sync", directory, there)
    equal(second.stdout.strip(), "", "what the sync after the copy moved")
    with empty_directory() as back:
        run(t, "aws", "s3", "cp", "--recursive", "--only-show-errors", there, back)
        compare(back, wanted)
        again = run(t, "aws", "s3", "sync", there, back, "--size-only")
        equal(again.stdout.strip(), "", "what a sync back moved")
    remove(t, "awscli/")


@case(seconds=ACCEPTANCE_SECONDS)
def awscli_mixes_empty_files_with_parts(t):
    """Three connections that carry empty files and parts in turn: see `Expect` in the gate."""
    with empty_directory() as directory:
        for name in [f"{place}{number}" for place in "ac" for number in range(6)]:
            open(os.path.join(directory, name), "w").close()
        with open(os.path.join(directory, "b"), "wb") as file:
            file.write(os.urandom(40_000_000))
        config = os.path.join(directory, "config")
        with open(t.target.environment()["AWS_CONFIG_FILE"]) as known, open(config, "w") as file:
            file.write(f"{known.read().rstrip()}\ns3 =\n  max_concurrent_requests = 3\n")
        run(t, "aws", "s3", "cp", "--recursive", "--only-show-errors", "--exclude", "config", directory, f"s3://{t.bucket}/mixed",
            environment={"AWS_CONFIG_FILE": config})
        equal(t.s3.head_object(Bucket=t.bucket, Key="mixed/b")["ContentLength"], 40_000_000, "size")
    remove(t, "mixed/")


@case(seconds=ACCEPTANCE_SECONDS)
def boto3_uploads_and_downloads(t):
    if not all_clients(t):
        return
    directory, wanted = corpus.shared(t.size)
    # As an application would: nothing but the two files.
    import boto3
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(t.target.environment())
    try:
        client = boto3.Session().client("s3")
    finally:
        os.environ.clear()
        os.environ.update(saved)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.upload_file(os.path.join(directory, name), t.bucket, f"boto3/{name}"), wanted))
    check_listing(t, "boto3/", wanted)
    with empty_directory() as back:
        for name in wanted:
            os.makedirs(os.path.dirname(os.path.join(back, name)), exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: client.download_file(t.bucket, f"boto3/{name}", os.path.join(back, name)), wanted))
        compare(back, wanted)
    remove(t, "boto3/")


@case(seconds=300)
def s5cmd_copies_the_odd_names(t):
    directory, wanted = corpus.shared(t.size)
    odd = {name.removeprefix("odd/"): entry for name, entry in wanted.items() if name.startswith("odd/")}
    endpoint = ("--endpoint-url", t.target.endpoint)
    run(t, "s5cmd", *endpoint, "cp", f"{directory}/odd/", f"s3://{t.bucket}/s5cmd/")
    check_listing(t, "s5cmd/", odd)
    with empty_directory() as back:
        run(t, "s5cmd", *endpoint, "cp", f"s3://{t.bucket}/s5cmd/*", f"{back}/")
        compare(back, odd)
