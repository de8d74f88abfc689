"""What travels beside the bytes: user metadata and content headers."""

import datetime

from cases import case, equal, raises, true

TWO_KIB = 2048


def put_and_head(t, key, **options):
    t.s3.put_object(Bucket=t.bucket, Key=key, Body=b"body", **options)
    return t.s3.head_object(Bucket=t.bucket, Key=key)


@case
def user_metadata_round_trips(t):
    metadata = {"simple": "value", "with-dash": "a b  c", "mtime": "1700000000.123456789", "empty": "", "punctuation": "=?utf-8?;,\"'"}
    equal(put_and_head(t, "user", Metadata=metadata)["Metadata"], metadata, "HEAD's metadata")
    equal(t.s3.get_object(Bucket=t.bucket, Key="user")["Metadata"], metadata, "GET's metadata")
    equal(t.s3.get_object(Bucket=t.bucket, Key="user", Range="bytes=0-1")["Metadata"], metadata, "the ranged GET's metadata")


@case
def names_come_back_in_lower_case(t):
    answer = t.raw.request("PUT", t.path("case"), headers={"X-Amz-Meta-MiXeD": "Value"}, body=b"x")
    equal(answer.status, 200, "status")
    equal(t.s3.head_object(Bucket=t.bucket, Key="case")["Metadata"], {"mixed": "Value"}, "metadata")


@case
def content_headers_round_trip(t):
    expires = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    found = put_and_head(
        t, "content", ContentType="application/x-thing; charset=utf-8", ContentEncoding="gzip", ContentLanguage="de, en",
        ContentDisposition="attachment; filename=\"täg.txt\"".encode("ascii", "ignore").decode(), CacheControl="max-age=60",
        Expires=expires,
    )
    equal(found["ContentType"], "application/x-thing; charset=utf-8", "Content-Type")
    equal(found["ContentEncoding"], "gzip", "Content-Encoding")
    equal(found["ContentLanguage"], "de, en", "Content-Language")
    equal(found["ContentDisposition"], 'attachment; filename="tg.txt"', "Content-Disposition")
    equal(found["CacheControl"], "max-age=60", "Cache-Control")
    equal(found["ExpiresString"], "Mon, 03 Feb 2031 04:05:06 GMT", "Expires")


@case
def the_default_type(t):
    answer = t.raw.request("PUT", t.path("default-type"), body=b"x")
    equal(answer.status, 200, "status")
    equal(t.s3.head_object(Bucket=t.bucket, Key="default-type")["ContentType"], "binary/octet-stream", "Content-Type")


@case
def no_internal_metadata_is_shown(t):
    t.s3.put_object(Bucket=t.bucket, Key="internal", Body=b"x", Metadata={"mine": "1"})
    for method in ("GET", "HEAD"):
        answer = t.raw.request(method, t.path("internal"))
        shown = [name for name in answer.headers if name.lower().startswith("x-amz-meta-")]
        equal([name.lower() for name in shown], ["x-amz-meta-mine"], f"metadata headers of {method}")
        true(not any("sealgate" in f"{name}{value}".lower() for name, value in answer.headers.items() if name.lower() not in ("server", "x-amz-id-2")),
             f"{method} shows the gateway's own headers: {answer.headers.items()}")


@case(gateway_only=True)
def reserved_names_are_refused(t):
    for name in ("sealgate", "sealgatemeta", "sealgate-other"):
        answer = t.raw.request("PUT", t.path("reserved"), headers={f"x-amz-meta-{name}": "forged"}, body=b"x")
        true(answer.status == 400, f"x-amz-meta-{name} was answered {answer}")
    equal(t.keys("reserved"), [], "keys")


@case
def too_much_metadata(t):
    with raises("MetadataTooLarge", status=400):
        t.s3.put_object(Bucket=t.bucket, Key="large", Body=b"x", Metadata={"large": "v" * (TWO_KIB + 1)})
    equal(t.keys("large"), [], "keys")


@case
def a_kilobyte_of_metadata_fits(t):
    # FORMAT: about 1,330 bytes of names and values are always left, even when nothing compresses.
    import base64
    import random
    metadata = {"large": base64.b64encode(random.Random(1).randbytes(900)).decode()}
    equal(put_and_head(t, "kilobyte", Metadata=metadata)["Metadata"], metadata, "metadata")
