"""Objects: bytes, lengths, ranges, conditions, deletion."""

import datetime

import sigv4
from cases import case, data, equal, raises, refused, true, within

# Around the chunk (64 KiB) and the size function's step (5 MiB).
LENGTHS = (0, 1, 11, 4096, 65535, 65536, 65537, 131072, 1_000_003, 5 * 1024 * 1024 - 1, 5 * 1024 * 1024, 5 * 1024 * 1024 + 1)


def put(t, key, body, **options):
    return t.s3.put_object(Bucket=t.bucket, Key=key, Body=body, **options)


@case
def lengths_round_trip(t):
    for length in LENGTHS:
        key, body = f"length/{length}", data(length)
        put(t, key, body)
        answer = t.s3.get_object(Bucket=t.bucket, Key=key)
        equal(answer["ContentLength"], length, f"Content-Length of {length} bytes")
        true(answer["Body"].read() == body, f"{length} bytes came back changed")
        equal(t.s3.head_object(Bucket=t.bucket, Key=key)["ContentLength"], length, f"HEAD's length of {length} bytes")


@case
def listing_shows_plaintext_sizes(t):
    for length in LENGTHS:
        put(t, f"listed/{length}", data(length))
    listed = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="listed/")["Contents"]
    equal({entry["Key"]: entry["Size"] for entry in listed}, {f"listed/{length}": length for length in LENGTHS}, "sizes")


@case
def etag_is_the_same_everywhere(t):
    etag = put(t, "etag", data(1000))["ETag"]
    true(etag.startswith('"') and etag.endswith('"') and len(etag) > 2, f"ETag {etag} is not quoted")
    equal(t.s3.head_object(Bucket=t.bucket, Key="etag")["ETag"], etag, "HEAD's ETag")
    equal(t.s3.get_object(Bucket=t.bucket, Key="etag")["ETag"], etag, "GET's ETag")
    equal(t.s3.get_object(Bucket=t.bucket, Key="etag", Range="bytes=1-2")["ETag"], etag, "the ranged GET's ETag")
    equal(t.s3.list_objects_v2(Bucket=t.bucket, Prefix="etag")["Contents"][0]["ETag"], etag, "LIST's ETag")


@case
def ranges(t):
    body = data(200_000)
    put(t, "ranges", body)
    wanted = {
        "bytes=0-0": (0, 0), "bytes=0-9": (0, 9), "bytes=65535-65536": (65535, 65536), "bytes=65536-131071": (65536, 131071),
        "bytes=1-199999": (1, 199_999), "bytes=199999-": (199_999, 199_999), "bytes=100000-": (100_000, 199_999),
        "bytes=-1": (199_999, 199_999), "bytes=-70000": (130_000, 199_999), "bytes=199990-999999": (199_990, 199_999),
        "bytes=-999999": (0, 199_999),
    }
    for header, (first, last) in wanted.items():
        answer = t.s3.get_object(Bucket=t.bucket, Key="ranges", Range=header)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206, f"status of {header}")
        equal(answer["ContentRange"], f"bytes {first}-{last}/200000", f"Content-Range of {header}")
        equal(answer["ContentLength"], last - first + 1, f"Content-Length of {header}")
        true(answer["Body"].read() == body[first:last + 1], f"{header} gave other bytes")


@case
def ranges_that_cannot_be_satisfied(t):
    put(t, "short", b"0123456789")
    for header in ("bytes=10-", "bytes=10-20", "bytes=999999-", "bytes=-0"):
        answer = t.raw.request("GET", t.path("short"), headers={"range": header})
        refused(answer, 416, "InvalidRange")
        equal(answer.headers["Content-Range"], "bytes */10", f"Content-Range of {header}")


@case
def ranges_that_are_none_give_the_whole(t):
    put(t, "whole", b"0123456789")
    for header in ("bytes=", "bytes=a-b", "lines=0-1", "bytes=5-2"):
        answer = t.raw.request("GET", t.path("whole"), headers={"range": header})
        equal((answer.status, answer.body), (200, b"0123456789"), f"answer to {header}")


@case
def ranges_of_an_empty_object(t):
    put(t, "empty", b"")
    equal(t.get("empty"), b"", "body")
    for header in ("bytes=0-", "bytes=0-0"):
        answer = t.raw.request("GET", t.path("empty"), headers={"range": header})
        refused(answer, 416, "InvalidRange")


@case
def head_with_a_range(t):
    put(t, "head", data(100_000))
    answer = t.raw.request("HEAD", t.path("head"), headers={"range": "bytes=10-19"})
    equal((answer.status, answer.headers["Content-Length"]), (206, "10"), "status and length")
    equal(answer.headers["Content-Range"], "bytes 10-19/100000", "Content-Range")


@case
def if_range(t):
    etag = put(t, "if-range", b"0123456789")["ETag"]
    answer = t.raw.request("GET", t.path("if-range"), headers={"range": "bytes=0-1", "if-range": etag})
    equal((answer.status, answer.body), (206, b"01"), "answer with the right ETag")
    answer = t.raw.request("GET", t.path("if-range"), headers={"range": "bytes=0-1", "if-range": '"other"'})
    equal((answer.status, answer.body), (200, b"0123456789"), "answer with another ETag")


@case
def conditions_on_reads(t):
    etag = put(t, "conditions", b"body")["ETag"]
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    future = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    place = {"Bucket": t.bucket, "Key": "conditions"}
    for operation in (t.s3.get_object, t.s3.head_object):
        for value in (etag, etag.strip('"'), "*"):
            operation(**place, IfMatch=value)
        with raises("412", "PreconditionFailed", status=412):
            operation(**place, IfMatch='"00000000000000000000000000000000"')
        for value in (etag, etag.strip('"')):
            with raises("304", "NotModified", status=304):
                operation(**place, IfNoneMatch=value)
        operation(**place, IfNoneMatch='"00000000000000000000000000000000"')
        with raises("304", "NotModified", status=304):
            # Its own date: S3 ignores dates in the future.
            operation(**place, IfModifiedSince=t.s3.head_object(**place)["LastModified"])
        operation(**place, IfModifiedSince=past)
        with raises("412", "PreconditionFailed", status=412):
            operation(**place, IfUnmodifiedSince=past)
        operation(**place, IfUnmodifiedSince=future)


@case
def conditions_take_precedence(t):
    etag = put(t, "precedence", b"body")["ETag"]
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    future = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    place = {"Bucket": t.bucket, "Key": "precedence"}
    # If-Match true wins over If-Unmodified-Since false; If-None-Match false wins over If-Modified-Since true.
    t.s3.get_object(**place, IfMatch=etag, IfUnmodifiedSince=past)
    with raises("304", "NotModified", status=304):
        t.s3.get_object(**place, IfNoneMatch=etag, IfModifiedSince=past)
    t.s3.get_object(**place, IfNoneMatch='"other"', IfModifiedSince=future)


@case
def not_modified_carries_the_etag_and_no_body(t):
    etag = put(t, "not-modified", b"body")["ETag"]
    answer = t.raw.request("GET", t.path("not-modified"), headers={"if-none-match": etag})
    equal((answer.status, answer.body, answer.etag), (304, b"", etag), "answer")


@case
def conditional_writes(t):
    etag = put(t, "write", b"first", IfNoneMatch="*")["ETag"]
    with raises("PreconditionFailed", status=412):
        put(t, "write", b"second", IfNoneMatch="*")
    equal(t.get("write"), b"first", "body after a refused overwrite")
    with raises("PreconditionFailed", status=412):
        put(t, "write", b"third", IfMatch='"00000000000000000000000000000000"')
    equal(t.get("write"), b"first", "body after a refused If-Match")
    put(t, "write", b"fourth", IfMatch=etag)
    equal(t.get("write"), b"fourth", "body after If-Match with the right ETag")


@case
def if_match_on_nothing(t):
    with raises("NoSuchKey", "PreconditionFailed"):
        put(t, "absent-if-match", b"x", IfMatch='"00000000000000000000000000000000"')
    equal(t.keys("absent-if-match"), [], "keys")


@case
def overwriting_replaces_everything(t):
    put(t, "replaced", data(100_000), Metadata={"old": "1"}, ContentType="text/old")
    put(t, "replaced", b"new")
    answer = t.s3.get_object(Bucket=t.bucket, Key="replaced")
    equal((answer["Body"].read(), answer["Metadata"]), (b"new", {}), "body and metadata")
    true(answer["ContentType"] != "text/old", "the old content type is still there")


@case
def what_is_absent(t):
    place = {"Bucket": t.bucket, "Key": "no/such/key"}
    with raises("NoSuchKey", status=404):
        t.s3.get_object(**place)
    with raises("404", status=404):
        t.s3.head_object(**place)
    with raises("NoSuchBucket", status=404):
        t.s3.get_object(Bucket="no-such-bucket-at-all", Key="x")
    with raises("NoSuchBucket", status=404):
        t.s3.put_object(Bucket="no-such-bucket-at-all", Key="x", Body=b"x")
    with raises("NoSuchBucket", status=404):
        t.s3.list_objects_v2(Bucket="no-such-bucket-at-all")
    with raises("404", status=404):
        t.s3.head_bucket(Bucket="no-such-bucket-at-all")


@case
def deleting(t):
    put(t, "deleted", b"x")
    equal(t.s3.delete_object(Bucket=t.bucket, Key="deleted")["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    with raises("404"):
        t.s3.head_object(Bucket=t.bucket, Key="deleted")
    equal(t.s3.delete_object(Bucket=t.bucket, Key="deleted")["ResponseMetadata"]["HTTPStatusCode"], 204, "status of the second")


@case
def deleting_many(t):
    keys = [f"many/{number:03}" for number in range(50)] + ["many/ü+ &<>'\"", "many/absent"]
    for key in keys[:-1]:
        put(t, key, b"x")
    answer = t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    equal(sorted(entry["Key"] for entry in answer["Deleted"]), sorted(keys), "deleted keys")
    equal(t.keys("many/"), [], "what is left")
    put(t, "many/quiet", b"x")
    answer = t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [{"Key": "many/quiet"}], "Quiet": True})
    true("Deleted" not in answer and "Errors" not in answer, f"a quiet answer names keys: {answer}")
    equal(t.keys("many/"), [], "what is left after the quiet one")


@case
def deleting_more_than_a_thousand_is_refused(t):
    put(t, "thousand/0", b"x")
    objects = "".join(f"<Object><Key>thousand/{number}</Key></Object>" for number in range(1001))
    body = f"<Delete>{objects}</Delete>".encode()
    answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": md5(body)}, body)
    refused(answer, 400, "MalformedXML")
    equal(t.keys("thousand/"), ["thousand/0"], "keys")


def md5(body: bytes) -> str:
    import base64
    import hashlib
    return base64.b64encode(hashlib.md5(body).digest()).decode()


@case
def directory_markers(t):
    put(t, "markers/", b"", ContentType="application/x-directory")
    put(t, "markers/inside", b"x")
    equal(t.keys("markers/"), ["markers/", "markers/inside"], "keys")
    answer = t.s3.get_object(Bucket=t.bucket, Key="markers/")
    equal((answer["ContentLength"], answer["Body"].read()), (0, b""), "the marker")
    t.s3.delete_object(Bucket=t.bucket, Key="markers/")
    equal(t.keys("markers/"), ["markers/inside"], "keys without the marker")
    equal(t.get("markers/inside"), b"x", "the object below it")


@case
def a_key_may_be_a_prefix_of_another(t):
    put(t, "nest", b"leaf")
    put(t, "nest/ed", b"below")
    put(t, "nest/ed/deep", b"deeper")
    equal([t.get(key) for key in ("nest", "nest/ed", "nest/ed/deep")], [b"leaf", b"below", b"deeper"], "bodies")
    t.s3.delete_object(Bucket=t.bucket, Key="nest/ed")
    equal(t.keys("nest"), ["nest", "nest/ed/deep"], "keys")


@case
def odd_keys_round_trip(t):
    keys = [
        "odd/space and+plus", "odd/ünïcödé-日本語-🙂", "odd/%2F%41literal percent", "odd/a=b&c=d?e#f", "odd/'single' \"double\"",
        "odd/<tag>&amp;", "odd/semi;colon:at@comma,", "odd/~tilde*star(paren)!", "odd/trailing.dot.", "odd/.hidden",
        "odd/" + "long/" * 40 + "end", "odd/" + "x" * 240,
    ]
    for number, key in enumerate(keys):
        put(t, key, str(number).encode())
    equal(t.keys("odd/"), sorted(keys, key=lambda key: key.encode()), "listed keys, in order of their UTF-8 bytes")
    for number, key in enumerate(keys):
        equal(t.get(key), str(number).encode(), f"body of {key!r}")


@case
def a_backslash_is_an_ordinary_character(t):
    put(t, "backslash/a\\b", b"x")
    equal(t.keys("backslash"), ["backslash/a\\b"], "keys")
    equal(t.get("backslash/a\\b"), b"x", "body")


@case(gateway_only=True)
def a_backslash_takes_no_other_keys_place(t):
    """Where the storage makes a slash of it, it is refused: the object at the key with the slash would be lost."""
    put(t, "backslash/taken/b", b"first")
    answer = t.raw.request("PUT", t.path("backslash/taken\\b"), body=b"second")
    if t.target.backend and t.target.backend.name == "seaweedfs":
        refused(answer, 400, "InvalidArgument")
    else:
        equal(answer.status, 200, "status")
    equal(t.get("backslash/taken/b"), b"first", "the object at the key with the slash")


@case
def the_longest_key(t):
    key = ("k" * 100 + "/") * 10 + "e" * 14
    equal(len(key), 1024, "length")
    put(t, key, b"x")
    equal(t.get(key), b"x", "body")
    with raises("KeyTooLongError", status=400):
        put(t, key + "x", b"x")


@case
def response_headers_can_be_overridden(t):
    put(t, "override", b"x", ContentType="text/plain")
    answer = t.s3.get_object(
        Bucket=t.bucket, Key="override", ResponseContentType="text/css", ResponseCacheControl="no-store",
        ResponseContentDisposition='attachment; filename="a.css"', ResponseContentEncoding="identity",
        ResponseContentLanguage="de", ResponseExpires=datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc),
    )
    equal(answer["ContentType"], "text/css", "Content-Type")
    equal(answer["CacheControl"], "no-store", "Cache-Control")
    equal(answer["ContentDisposition"], 'attachment; filename="a.css"', "Content-Disposition")
    equal(answer["ContentLanguage"], "de", "Content-Language")


@case
def every_answer_names_its_request(t):
    put(t, "named", b"x")
    answer = t.raw.request("GET", t.path("named"))
    true(answer.headers.get("x-amz-request-id"), "no x-amz-request-id")
    within(answer.headers.get("accept-ranges"), ("bytes",), "Accept-Ranges")
    true(answer.headers.get("last-modified"), "no Last-Modified")
    wrong = t.raw.request("GET", t.path("named/absent"))
    refused(wrong, 404, "NoSuchKey")
    wanted = f"<RequestId>{wrong.headers['x-amz-request-id']}</RequestId>".encode()
    true(wanted in wrong.body, "the error's RequestId is not the header's")


@case
def buckets(t):
    name = f"{t.bucket}-second"
    t.create_bucket(name)
    true(name in [bucket["Name"] for bucket in t.s3.list_buckets()["Buckets"]], "ListBuckets does not show it")
    t.s3.head_bucket(Bucket=name)
    within(t.s3.get_bucket_location(Bucket=name).get("LocationConstraint"), (t.target.region, None), "location")
    t.s3.put_object(Bucket=name, Key="full", Body=b"x")
    with raises("BucketNotEmpty", status=409):
        t.s3.delete_bucket(Bucket=name)
    equal(t.s3.get_object(Bucket=name, Key="full")["Body"].read(), b"x", "body after a refused deletion")
    t.s3.delete_object(Bucket=name, Key="full")
    t.s3.delete_bucket(Bucket=name)
    with raises("404"):
        t.s3.head_bucket(Bucket=name)
    # In us-east-1 S3 answers 200 to whoever owns it already.
    if t.target.region != "us-east-1":
        with raises("BucketAlreadyOwnedByYou", status=409):
            t.create_bucket(t.bucket)


@case
def bucket_names_are_checked(t):
    for name in ("ab", "Upper-Case", "under_score", "-dash-first", "a..b", "192.168.1.1", "x" * 64):
        answer = t.raw.request("PUT", f"/{sigv4.encode(name)}")
        refused(answer, 400, "InvalidBucketName")
