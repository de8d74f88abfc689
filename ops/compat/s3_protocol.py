"""The protocol around the operations: signatures in every place, framings, presigned URLs, hosts, Expect, what is 501."""

import datetime
import urllib.parse
import urllib.request

import checksums
import sigv4
from cases import case, data, equal, refused, true, within

BODY = data(200_003, "protocol")


def check(t, key, answer):
    equal(answer.status, 200, f"answer {answer}")
    true(t.get(key) == BODY, "the body is another")
    head = t.s3.head_object(Bucket=t.bucket, Key=key)
    true("aws-chunked" not in head.get("ContentEncoding", ""), "aws-chunked was stored as Content-Encoding")


@case
def unsigned_payload(t):
    check(t, "unsigned", t.raw.request("PUT", t.path("unsigned"), body=BODY, payload_hash=sigv4.UNSIGNED))


@case
def chunked_without_a_length(t):
    # Plain chunked transfer coding, whose length nobody knows in advance: S3 wants a length.
    answer = t.raw.request("PUT", t.path("no-length"), body=BODY, payload_hash=sigv4.UNSIGNED, http_chunked=True)
    refused(answer, 411, "MissingContentLength")
    equal(t.keys("no-length"), [], "keys")


@case
def no_length_at_all(t):
    answer = t.raw.request("PUT", t.path("lengthless"), alter=lambda headers: headers.pop("content-length"))
    refused(answer, 411, "MissingContentLength")
    equal(t.keys("lengthless"), [], "keys")
    upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="lengthless")["UploadId"]
    query = [("partNumber", "1"), ("uploadId", upload)]
    answer = t.raw.request("PUT", t.path("lengthless"), query, alter=lambda headers: headers.pop("content-length"))
    refused(answer, 411, "MissingContentLength")
    equal(t.s3.list_parts(Bucket=t.bucket, Key="lengthless", UploadId=upload).get("Parts", []), [], "parts")
    t.s3.abort_multipart_upload(Bucket=t.bucket, Key="lengthless", UploadId=upload)


@case
def signed_chunks(t):
    for size in (8192, 65536, 65537, 1_000_000):
        framing = sigv4.Framing(sigv4.STREAM_SIGNED, chunk_bytes=size)
        check(t, f"signed/{size}", t.raw.request("PUT", t.path(f"signed/{size}"), body=BODY, framing=framing))


@case
def signed_chunks_with_a_trailer(t):
    trailer = ((checksums.header("CRC32"), checksums.value("CRC32", BODY)),)
    framing = sigv4.Framing(sigv4.STREAM_SIGNED_TRAILER, trailers=trailer)
    check(t, "signed-trailer", t.raw.request("PUT", t.path("signed-trailer"), body=BODY, framing=framing))


@case
def unsigned_chunks_with_a_trailer(t):
    trailer = ((checksums.header("CRC64NVME"), checksums.value("CRC64NVME", BODY)),)
    for http_chunked in (False, True):
        key = f"unsigned-trailer/{http_chunked}"
        framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=trailer)
        check(t, key, t.raw.request("PUT", t.path(key), body=BODY, framing=framing, http_chunked=http_chunked))


@case
def signed_chunks_without_a_content_length(t):
    framing = sigv4.Framing(sigv4.STREAM_SIGNED)
    check(t, "signed-te", t.raw.request("PUT", t.path("signed-te"), body=BODY, framing=framing, http_chunked=True))


@case
def an_empty_body_in_every_framing(t):
    for mode in (sigv4.STREAM_SIGNED, sigv4.STREAM_SIGNED_TRAILER, sigv4.STREAM_UNSIGNED_TRAILER):
        trailers = () if mode == sigv4.STREAM_SIGNED else ((checksums.header("CRC32"), checksums.value("CRC32", b"")),)
        key = f"empty/{mode}"
        answer = t.raw.request("PUT", t.path(key), framing=sigv4.Framing(mode, trailers=trailers))
        equal((answer.status, t.get(key)), (200, b""), f"{mode}: {answer}")


@case
def framing_is_known_by_its_hash_not_by_content_encoding(t):
    # minio-go sends no Content-Encoding; others send one of their own besides.
    framing = sigv4.Framing(sigv4.STREAM_SIGNED)
    answer = t.raw.request("PUT", t.path("no-encoding"), headers={"content-encoding": ""}, body=BODY, framing=framing)
    check(t, "no-encoding", answer)
    answer = t.raw.request("PUT", t.path("gzip"), headers={"content-encoding": "aws-chunked,gzip"}, body=BODY, framing=framing)
    check(t, "gzip", answer)
    equal(t.s3.head_object(Bucket=t.bucket, Key="gzip")["ContentEncoding"], "gzip", "Content-Encoding")


@case
def expect_continue_comes_after_the_signature_check(t):
    answer = t.raw.request("PUT", t.path("expect"), body=BODY, await_continue=True)
    true(answer.continued, "the body was never asked for")
    check(t, "expect", answer)
    wrong = sigv4.Credentials(t.credentials.access_key, "not the secret", t.credentials.region)
    answer = t.raw.request("PUT", t.path("expect-wrong"), body=BODY, credentials=wrong, await_continue=True)
    refused(answer, 403, "SignatureDoesNotMatch")
    true(not answer.continued, "100 Continue before the signature was checked")


@case
def expect_continue_comes_after_the_bucket_check(t):
    answer = t.raw.request("PUT", "/no-such-bucket-at-all/key", body=BODY, await_continue=True)
    refused(answer, 404, "NoSuchBucket")
    true(not answer.continued, "100 Continue for a bucket that is not there")


@case
def presigned_get_and_put(t):
    url = t.s3.generate_presigned_url("put_object", {"Bucket": t.bucket, "Key": "presigned/ä +"}, ExpiresIn=300)
    true("X-Amz-Signature" in url, f"not a V4 URL: {url}")
    with urllib.request.urlopen(urllib.request.Request(url, BODY, method="PUT"), timeout=30) as answer:
        equal(answer.status, 200, "status of PUT")
    url = t.s3.generate_presigned_url("get_object", {"Bucket": t.bucket, "Key": "presigned/ä +"}, ExpiresIn=604_800)
    with urllib.request.urlopen(url, timeout=30) as answer:
        true(answer.read() == BODY, "the body is another")
    url = t.s3.generate_presigned_url("head_object", {"Bucket": t.bucket, "Key": "presigned/ä +"})
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
        equal(answer.headers["Content-Length"], str(len(BODY)), "Content-Length")


@case(gateway_only=True)
def presigned_by_default_settings_is_v4(t):
    import boto3
    session = boto3.Session(aws_access_key_id=t.target.access_key, aws_secret_access_key=t.target.secret_key, region_name=t.target.region)
    url = session.client("s3", endpoint_url=t.target.endpoint).generate_presigned_url("get_object", {"Bucket": t.bucket, "Key": "x"})
    true("X-Amz-Signature" in url, f"boto3 presigns with V2 in the region {t.target.region}: {url}")


@case
def a_presigned_url_outlives_the_clock_skew(t):
    t.s3.put_object(Bucket=t.bucket, Key="old-url", Body=b"x")
    day_before = sigv4.timestamp(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=30))
    answer = t.raw.presigned("GET", t.path("old-url"), expires=604_800, when=day_before)
    equal((answer.status, answer.body), (200, b"x"), f"answer {answer}")


@case
def virtual_host_style(t):
    host = f"{t.bucket}.localhost:{urllib.parse.urlsplit(t.target.endpoint).port}"
    answer = t.raw.request("PUT", "/virtual/key", body=b"virtual", host=host)
    equal(answer.status, 200, f"answer {answer}")
    equal(t.get("virtual/key"), b"virtual", "body in path style")
    answer = t.raw.request("GET", "/virtual/key", host=host)
    equal((answer.status, answer.body), (200, b"virtual"), f"answer {answer}")
    answer = t.raw.request("GET", "/", [("list-type", "2"), ("prefix", "virtual/")], host=host)
    true(b"<Key>virtual/key</Key>" in answer.body, f"listing {answer}")


@case
def query_order_and_empty_values(t):
    t.s3.put_object(Bucket=t.bucket, Key="query", Body=b"x")
    answer = t.raw.request("GET", t.path(), [("prefix", "query"), ("list-type", "2"), ("delimiter", "")])
    true(b"<Key>query</Key>" in answer.body, f"answer {answer}")
    within(t.raw.request("GET", t.path(), [("location", "")]).status, (200,), "status of ?location=")


@case
def headers_with_odd_spaces_are_signed_as_they_are(t):
    t.s3.put_object(Bucket=t.bucket, Key="spaces", Body=b"x")
    answer = t.raw.request("GET", t.path("spaces"), headers={"x-amz-meta-note": "  two   inner  ", "referer": "http://a/b?c=d"})
    equal(answer.status, 200, f"answer {answer}")


@case
def an_unsigned_content_type_is_tolerated(t):
    answer = t.raw.request("PUT", t.path("unsigned-type"), headers={"content-type": "text/x"}, body=b"x", unsigned_names=("content-type",))
    equal(answer.status, 200, f"answer {answer}")


@case
def x_amz_te_is_not_passed_on(t):
    t.s3.put_object(Bucket=t.bucket, Key="append-md5", Body=BODY)
    headers = {"x-amz-te": "append-md5", "x-amz-checksum-crc32": "AAAAAA=="}
    answer = t.raw.request("GET", t.path("append-md5"), headers=headers)
    true(answer.status == 200 and answer.body == BODY, f"answer of {len(answer.body)} bytes")


@case(gateway_only=True)
def what_is_not_done_is_501(t):
    t.s3.put_object(Bucket=t.bucket, Key="501", Body=b"x")
    for method, path, subresource in (
        ("GET", t.path("501"), "torrent"), ("POST", t.path("501"), "select"), ("PUT", t.path("501"), "renameObject"),
        ("GET", t.path(), "session"), ("GET", t.path(), "a-subresource-that-nobody-knows"), ("PUT", t.path("501"), "append"),
    ):
        answer = t.raw.request(method, path, [(subresource, ""), *([("select-type", "2")] if subresource == "select" else [])])
        refused(answer, 501, "NotImplemented")
        true(b"<Message>" in answer.body and b"<Message></Message>" not in answer.body, f"no text: {answer}")
    equal(t.get("501"), b"x", "body afterwards")


@case
def a_method_that_is_none(t):
    for method in ("PATCH", "TRACE", "BREW"):
        answer = t.raw.request(method, t.path("method"))
        within(answer.status, (400, 403, 405, 501), f"status of {method}")
    equal(t.keys("method"), [], "keys")


@case
def the_clock_may_be_a_little_off(t):
    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes in (-10, 10):
        answer = t.raw.request("GET", t.path(), when=sigv4.timestamp(now + datetime.timedelta(minutes=minutes)))
        equal(answer.status, 200, f"{minutes} minutes: {answer}")


@case
def many_requests_on_one_connection(t):
    import http.client
    connection = http.client.HTTPConnection(*t.raw.address, timeout=30)
    for number in range(20):
        path = t.path(f"kept/{number % 3}")
        method, body = ("PUT", BODY[:number * 1000]) if number % 2 == 0 else ("HEAD", b"")
        import hashlib
        headers = sigv4.sign_headers(t.credentials, method, path, [], {"host": t.raw.host}, hashlib.sha256(body).hexdigest())
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        answer.read()
        within(answer.status, (200, 404), f"status of request {number}")
    connection.close()
