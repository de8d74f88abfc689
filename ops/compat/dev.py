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
