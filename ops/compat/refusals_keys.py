"""Keys that try to leave the bucket, and the gateway's own hidden names."""

import os

import checksums
import sigv4
from cases import case, equal, refused, true
from refusals import nothing_stored, tree

# As they go on the wire. S3 refuses what climbs above the bucket; where a server takes such a key as opaque bytes, it must
# come back as exactly that key, and nothing may appear outside the data directory.
TRAVERSALS = (
    "/../escaped", "/../../escaped", "/a/../../escaped", "/a/../../../../../../../../tmp/escaped", "/%2e%2e/%2e%2e/escaped",
    "/..%2f..%2fescaped", "/%2e%2e%2fescaped", "/a/%2e%2e/%2e%2e/escaped", "/./escaped", "/a/./b", "/a/../b", "/..", "/.", "/a/..",
    "/..%5c..%5cescaped", "//escaped", "///etc/escaped", "/a//b", "/%2Fetc%2Fescaped", "/~/escaped", "/..%00/escaped",
    "/%c0%ae%c0%ae/escaped", "/%e0%80%af", "/con", "/a%0ab", "/%7f", "/a%0d%0ax-injected:%201",
)
REFUSALS = ("InvalidURI", "InvalidArgument", "InvalidRequest", "KeyTooLongError", "SignatureDoesNotMatch", "NoSuchBucket", "AccessDenied",
            "InvalidBucketName", "MethodNotAllowed")
HIDDEN = (".sealgate/v1/bucket", ".sealgate/v1/ik/00000000000000000000000000000000/00000000000000000000000000000000", ".sealgate/v1/",
          ".sealgate/v1/u/x/r", ".sealgate/v1/u/x/n/00001/etag/x",
          # Spellings that servers fold into the same name.
          "/.sealgate/v1/bucket", "x/../.sealgate/v1/bucket", "./.sealgate//v1/bucket")


@case
def traversal(t):
    outside = tree(t.target.outer) if t.target.is_gateway else []
    outside = [entry for entry in outside if entry[0].split(os.sep)[0] not in ("data", "log")]
    for number, suffix in enumerate(TRAVERSALS):
        body = f"traversal {number}".encode()
        before = set(t.keys())
        answer = t.raw.request("PUT", t.path() + suffix, body=body)
        added = set(t.keys()) - before
        if answer.status == 200:
            equal(len(added), 1, f"new keys after {suffix}")
            got = t.raw.request("GET", t.path() + suffix)
            equal((got.status, got.body), (200, body), f"GET of {suffix}")
            true("x-injected" not in {name.lower() for name in answer.headers}, "a header was injected")
            equal(t.raw.request("DELETE", t.path() + suffix).status, 204, f"status of DELETE of {suffix}")
        else:
            true(400 <= answer.status < 500 and answer.code in REFUSALS, f"{suffix} was answered {answer}")
        equal(set(t.keys()), before, f"keys after {suffix}")
    if t.target.is_gateway:
        now = [entry for entry in tree(t.target.outer) if entry[0].split(os.sep)[0] not in ("data", "log")]
        equal(now, outside, "what lies outside the data directory")
        inside = {name for name in os.listdir(t.target.data)}
        true("escaped" not in inside, f"the data directory holds {inside}")
    true(not os.path.exists("/tmp/escaped") and not os.path.exists("/etc/escaped"), "a file escaped to /tmp or /etc")


@case
def reading_outside_the_bucket(t):
    with nothing_stored(t):
        for suffix in ("/../../../../../../etc/passwd", "/..%2f..%2f..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/credentials", "/../credentials",
                       "/..%2f..%2fcredentials", "//etc/passwd"):
            answer = t.raw.request("GET", t.path() + suffix)
            true(400 <= answer.status < 500, f"{suffix} was answered {answer.status}")
            true(b"root:" not in answer.body and t.target.secret_key.encode() not in answer.body, f"{suffix} was read")


@case
def a_nul_in_a_key(t):
    with nothing_stored(t):
        for suffix in ("/%00", "/a%00b", "/a%00.txt", "/%00/../escaped"):
            answer = t.raw.request("PUT", t.path() + suffix, body=b"x")
            refused(answer, 400)
            true(answer.code in REFUSALS, f"{suffix} was answered {answer}")


@case
def keys_that_are_too_long(t):
    with nothing_stored(t):
        for key in ("x" * 1025, "a/" * 600, "ü" * 600, "x" * 8000):
            refused(t.raw.request("PUT", t.path(key), body=b"x"), 400, "KeyTooLongError")


@case
def bytes_that_are_no_utf8(t):
    with nothing_stored(t):
        answer = t.raw.request("PUT", t.path() + "/%ff%fe", body=b"x")
        # 403 where the server decodes before it checks the signature.
        refused(answer, (400, 403))


@case
def a_key_with_an_encoded_percent(t):
    answer = t.raw.request("PUT", t.path() + "/percent%252Fslash", body=b"x")
    equal(answer.status, 200, f"answer {answer}")
    equal(t.keys("percent"), ["percent%2Fslash"], "keys")


@case
def unicode_is_not_normalised(t):
    for key in ("norm/\u00e9", "norm/e\u0301"):
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=key.encode())
    equal(t.keys("norm/"), ["norm/e\u0301", "norm/\u00e9"], "keys")
    equal(t.get("norm/\u00e9"), "norm/\u00e9".encode(), "body")


@case
def buckets_that_try_to_leave(t):
    with nothing_stored(t):
        for path in ("/..", "/../x", "/%2e%2e/x", "/..%2fx", "/.%2e/credentials", "/%2e/x", "/.sealgate"):
            for method in ("PUT", "GET"):
                answer = t.raw.request(method, path, body=b"x" if method == "PUT" else b"")
                true(400 <= answer.status < 500, f"{method} {path} was answered {answer}")


@case(gateway_only=True)
def hidden_names_cannot_be_written(t):
    with nothing_stored(t):
        for name in HIDDEN:
            for path in (t.path(name), t.path() + "/%2esealgate%2fv1" + name.removeprefix(".sealgate/v1")):
                answer = t.raw.request("PUT", path, body=b"forged")
                true(400 <= answer.status < 500, f"PUT {path} was answered {answer}")
                answer = t.raw.request("POST", path, [("uploads", "")])
                true(400 <= answer.status < 500, f"CreateMultipartUpload {path} was answered {answer}")


@case(gateway_only=True)
def hidden_names_cannot_be_read(t):
    with nothing_stored(t):
        for name in HIDDEN:
            for method in ("GET", "HEAD"):
                answer = t.raw.request(method, t.path(name))
                true(400 <= answer.status < 500, f"{method} {name} was answered {answer}")
            true(t.raw.presigned("GET", t.path(name)).status in range(400, 500), f"presigned GET {name}")


@case(gateway_only=True)
def hidden_names_cannot_be_deleted(t):
    with nothing_stored(t):
        for name in HIDDEN:
            t.raw.request("DELETE", t.path(name))
        objects = "".join(f"<Object><Key>{name}</Key></Object>" for name in HIDDEN)
        body = f"<Delete>{objects}</Delete>".encode()
        answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(body)}, body)
        if answer.status == 200:
            equal(answer.body.count(b"<Error>"), len(HIDDEN), f"errors in {answer}")
    # The key that protects what was stored before is still there.
    t.target.restart()
    equal(len(t.get("witness")), 150_000, "length of an old object after a restart")


@case(gateway_only=True)
def hidden_names_are_in_no_listing(t):
    upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="listing/upload")
    t.s3.upload_part(Bucket=t.bucket, Key="listing/upload", UploadId=upload["UploadId"], PartNumber=1, Body=b"small")
    t.s3.put_object(Bucket=t.bucket, Key="listing/x", Body=b"x")
    for options in ({}, {"Prefix": ".s"}, {"Delimiter": "s"}, {"Prefix": ".sealgate/v1/"}, {"Prefix": ".seal"}, {"Delimiter": "/"}, {"MaxKeys": 1}):
        for listing in (t.s3.list_objects, t.s3.list_objects_v2):
            page = listing(Bucket=t.bucket, **options)
            names = [entry["Key"] for entry in page.get("Contents", [])] + [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
            true(not any(name.startswith(".sealgate") for name in names), f"{options}: {names}")
    page = t.s3.list_objects_v2(Bucket=t.bucket, MaxKeys=1)
    equal((len(page["Contents"]), page["KeyCount"]), (1, 1), "a page of one is not broken by what is hidden")
    t.s3.abort_multipart_upload(Bucket=t.bucket, Key="listing/upload", UploadId=upload["UploadId"])


@case(gateway_only=True)
def a_copy_from_a_hidden_name(t):
    with nothing_stored(t):
        for source in (f"/{t.bucket}/.sealgate/v1/bucket", sigv4.encode(f"{t.bucket}/.sealgate/v1/bucket")):
            answer = t.raw.request("PUT", t.path("copied"), headers={"x-amz-copy-source": source})
            true(400 <= answer.status < 500 or answer.status == 501, f"copy from {source} was answered {answer}")
