"""`sealgate dev` as somebody who makes mistakes meets it."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import servers
from cases import case, equal, true


def fails(t, *arguments) -> str:
    """What a dev that cannot start says; it must not hang."""
    command = [t.target.binary, "dev", "--admin-listen", "127.0.0.1:0", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    true(done.returncode != 0, f"{arguments} was taken: {done.stdout}")
    return done.stderr


@case
def a_second_one_over_the_same_directory(t):
    said = fails(t, "--data", t.target.data, "--listen", f"127.0.0.1:{servers.free_port()}")
    true("another `sealgate dev` runs over" in said and "--data" in said, said)


@case
def a_port_that_is_taken(t):
    directory = tempfile.mkdtemp(prefix="sealgate-second-")
    try:
        said = fails(t, "--data", directory, "--listen", f"127.0.0.1:{t.target.port}")
    finally:
        shutil.rmtree(directory)
    true(f"127.0.0.1:{t.target.port}" in said, said)


@case
def its_directories_are_its_owners_alone(t):
    for name in ("", "backend", "control-plane"):
        path = os.path.join(t.target.data, name)
        if os.path.exists(path):
            equal(oct(stat.S_IMODE(os.stat(path).st_mode)), "0o700", f"mode of DIR/{name}")


@case
def what_it_prints_can_be_typed_as_it_is(t):
    # Neither of them is a word of a shell, and the program is on nobody's PATH. (A `$` is no way to try this: AWS's tools put in
    # variables by themselves.)
    outer = tempfile.mkdtemp(prefix="sealgate it's ")
    program, data = os.path.join(outer, "sealgate"), os.path.join(outer, "data & more")
    shutil.copy(t.target.binary, program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SEALGATE_DEV_"))}
    command = [program, "dev", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    log = os.path.join(outer, "log")
    with open(log, "wb") as output:
        process = servers.start_process(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        def printed() -> str:
            with open(log, errors="replace") as file:
                return file.read()

        servers.wait_until("sealgate dev", process, lambda: "Ctrl-C" in printed(), log=log)
        lines = [line for line in printed().splitlines() if line.startswith("  ")]
        true(len(lines) >= 6 and any(" put " in line for line in lines), f"what is to be typed: {lines}")
        # boto3 is no part of every python3.
        environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
        done = subprocess.run(["sh", "-eu", "-c", "\n".join(lines)], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, f"{lines}: {done.stdout}{done.stderr}")
        true("again" in done.stdout, f"the object is listed: {done.stdout}")
    finally:
        servers.end_group(process, politely=False)
        shutil.rmtree(outer, ignore_errors=True)


PRESIGNS = """
import boto3, sys
s3 = boto3.client("s3")
print(s3.generate_presigned_url("get_object", {"Bucket": sys.argv[1], "Key": sys.argv[2]}))
"""


def url_of_boto3(t, **environment) -> str:
    """A URL as boto3 presigns it with no settings but the two files that a dev writes."""
    command = [sys.executable, "-c", PRESIGNS, t.bucket, "presigned"]
    done = subprocess.run(command, env={**t.target.environment(), **environment}, capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, f"boto3: {done.stderr}")
    return done.stdout.strip()


@case
def boto3_presigns_with_version_4_in_the_region_that_it_writes(t):
    t.put("presigned", b"presigned")
    url = url_of_boto3(t)
    true("X-Amz-Signature=" in url and f"%2F{t.target.region}%2F" in url and "AWSAccessKeyId" not in url, f"not of version 4: {url}")
    with urllib.request.urlopen(url, timeout=30) as answer:
        equal(answer.read(), b"presigned", "body")


@case
def boto3_presigns_with_version_2_in_us_east_1_and_is_told_the_cure(t):
    # Why the region is another: with this one boto3 takes an endpoint of one's own for an old one.
    url = url_of_boto3(t, AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1")
    true("AWSAccessKeyId=" in url and "X-Amz-Signature" not in url, f"boto3 has changed: {url}")
    try:
        urllib.request.urlopen(url, timeout=30)
        raise AssertionError("it was accepted")
    except urllib.error.HTTPError as error:
        told = error.read()
        equal(error.code, 400, "status")
        for text in (b"AWS4-HMAC-SHA256", b"signature_version='s3v4'", b"a region other than us-east-1"):
            true(text in told or text.replace(b"'", b"&apos;") in told or text.replace(b"'", b"&#39;") in told, f"{text} is not in {told}")
