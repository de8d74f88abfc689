"""Who asks: signatures in headers and queries, what is missing, malformed, late or anonymous."""

import datetime
import urllib.request

import sigv4
from cases import case, data, equal, refused, true, variants


def present(t):
    """An object that no case changes: its path."""
    t.shared("present", lambda: t.put("present", b"present"))
    return t.path("present")


def earlier(**ago) -> str:
    return sigv4.timestamp(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**ago))


def without(name):
    return lambda headers: headers.pop(name)


def setting(**values):
    return lambda headers: headers.update({name.replace("_", "-"): value for name, value in values.items()})


@variants(get=("GET", "present"), head=("HEAD", "present"), put=("PUT", "anonymous-put"), delete=("DELETE", "present"), list=("GET", ""),
          list_buckets=("GET", None), head_bucket=("HEAD", ""), create_bucket=("PUT", "/new"), delete_bucket=("DELETE", ""), post=("POST", "present?uploads"))
def anonymous_is_refused_for(t, method, key):
    present(t)
    key, _, query = (key or "").partition("?") if key is not None else (None, "", "")
    path = "/" if key is None else f"/{t.bucket}-anonymous" if key == "/new" else t.path(key)
    answer = t.raw.request(method, path, [(query, "")] if query else [], alter=without("authorization"))
    equal(answer.status, 403, "status")
    if method != "HEAD":
        equal(answer.code, "AccessDenied", "code")
    equal(t.get("present"), b"present", "the object")


@variants(
    empty=("", (400, 403)), no_scheme=("nonsense", (400, 403)), basic=("Basic YTpi", (400, 403)), bearer=("Bearer x", (400, 403)),
    nothing_behind_the_scheme=("AWS4-HMAC-SHA256", 400), no_signature=("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host", 400),
    no_signed_headers=("AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request, Signature=c", 400),
    a_credential_too_short=("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c", 400),
)
def an_authorization_that_is(t, value, status):
    refused(t.raw.request("GET", present(t), alter=setting(authorization=value)), status, "AuthorizationHeaderMalformed", "InvalidArgument",
            "AccessDenied", "InvalidRequest")


@case
def a_secret_that_is_wrong(t):
    wrong = sigv4.Credentials(t.credentials.access_key, "wrong" * 8, t.credentials.region)
    answer = t.raw.request("GET", present(t), credentials=wrong)
    refused(answer, 403, "SignatureDoesNotMatch")
    for element in (b"<StringToSign>", b"<CanonicalRequest>", b"<SignatureProvided>", b"<AWSAccessKeyId>"):
        true(element in answer.body, f"{element} is not in the answer")


@case
def an_access_key_that_is_unknown(t):
    unknown = sigv4.Credentials("AKIDOESNOTEXIST0000", "secret", t.credentials.region)
    answer = t.raw.request("GET", present(t), credentials=unknown)
    refused(answer, 403, "InvalidAccessKeyId")
    true(b"<AWSAccessKeyId>AKIDOESNOTEXIST0000</AWSAccessKeyId>" in answer.body, f"the key is not named: {answer}")


@case
def another_region(t):
    answer = t.raw.request("GET", present(t), credentials=sigv4.Credentials(t.credentials.access_key, t.credentials.secret_key, "mars-north-1"))
    refused(answer, 400, "AuthorizationHeaderMalformed")
    true(f"<Region>{t.target.region}</Region>".encode() in answer.body, f"the right region is not named: {answer}")


@variants(service=("/s3/", "/ec2/"), terminator=("aws4_request", "aws5_request"))
def another_scope_by_its(t, old, new):
    answer = t.raw.request("GET", present(t), alter=lambda headers: headers.update(authorization=headers["authorization"].replace(old, new)))
    refused(answer, (400, 403), "AuthorizationHeaderMalformed", "SignatureDoesNotMatch")


@variants(too_early=-20, too_late=20)
def a_clock_that_is(t, minutes):
    refused(t.raw.request("GET", present(t), when=earlier(minutes=minutes)), 403, "RequestTimeTooSkewed")


@variants(a_little_early=-10, a_little_late=10)
def a_clock_that_may_be(t, minutes):
    equal(t.raw.request("GET", present(t), when=earlier(minutes=minutes)).status, 200, "status")


@variants(none="", no_date="yesterday", another_form="2026-01-01T00:00:00Z")
def a_date_that_is(t, value):
    alter = setting(x_amz_date=value) if value else without("x-amz-date")
    refused(t.raw.request("GET", present(t), alter=alter), (400, 403), "AccessDenied", "AuthorizationHeaderMalformed", "InvalidArgument",
            "SignatureDoesNotMatch", "RequestTimeTooSkewed", "MissingSecurityHeader", "InvalidRequest")


@case
def a_missing_content_sha256(t):
    refused(t.raw.request("GET", present(t), alter=without("x-amz-content-sha256")), 400, "InvalidRequest", "MissingSecurityHeader")


@case
def a_content_sha256_of_another_body(t):
    answer = t.raw.request("PUT", t.path("sha256"), body=b"other", payload_hash=sigv4.EMPTY_SHA256)
    refused(answer, 400, "XAmzContentSHA256Mismatch")
    for element in (b"<ClientComputedContentSHA256>", b"<S3ComputedContentSHA256>"):
        true(element in answer.body, f"{element} is not in {answer}")
    equal(t.keys("sha256"), [], "keys")


@case
def a_header_changed_after_signing(t):
    answer = t.raw.request("PUT", t.path("changed"), headers={"x-amz-meta-a": "1"}, body=b"x", alter=setting(x_amz_meta_a="2"))
    refused(answer, 403, "SignatureDoesNotMatch")
    equal(t.keys("changed"), [], "keys")


@case
def an_amz_header_that_is_not_signed(t):
    answer = t.raw.request("PUT", t.path("smuggled"), headers={}, body=b"x", alter=setting(x_amz_meta_a="1"))
    refused(answer, 403, "AccessDenied", "SignatureDoesNotMatch")
    equal(t.keys("smuggled"), [], "keys")


@case
def an_unsigned_header_that_is_not_amz(t):
    equal(t.raw.request("GET", present(t), alter=setting(x_custom="1", accept="*/*", user_agent="a b")).status, 200, "status")


@variants(md5_of_nothing=("content-md5", "", "InvalidDigest"), md5_that_is_none=("content-md5", "YWJyYWNhZGFicmE=", "InvalidDigest"),
          md5_too_short=("content-md5", "YQ==", "InvalidDigest"), md5_of_another_body=("content-md5", "rL0Y20zC+Fzt72VPzMSk2A==", "BadDigest"))
def a_put_with(t, name, value, code):
    refused(t.raw.request("PUT", t.path("bad-md5"), headers={name: value}, body=b"bar"), 400, code)
    equal(t.keys("bad-md5"), [], "keys")


@case
def a_put_without_a_length(t):
    refused(t.raw.request("PUT", t.path("lengthless"), alter=without("content-length")), 411, "MissingContentLength")


@variants(negative="-1", letters="x")
def a_put_with_a_length_that_is(t, value):
    answer = t.raw.request("PUT", t.path("bad-length"), alter=setting(content_length=value))
    equal(answer.status, 400, f"answer {answer}")


@case
def a_put_of_unsigned_payload(t):
    equal(t.raw.request("PUT", t.path("unsigned"), body=b"unsigned", payload_hash=sigv4.UNSIGNED).status, 200, "status")
    equal(t.get("unsigned"), b"unsigned", "body")


@case
def expect_is_answered_with_100(t):
    answer = t.raw.request("PUT", t.path("expect"), body=b"expected", await_continue=True)
    equal((answer.status, answer.continued, t.get("expect")), (200, True, b"expected"), "answer")


@case
def expect_that_is_none(t):
    answer = t.raw.request("PUT", t.path("expect-200"), body=b"bar", alter=setting(expect="200"))
    true(answer.status in (200, 417), f"answered {answer}")


@variants(get=("get_object", "GET", 200), head=("head_object", "HEAD", 200), delete=("delete_object", "DELETE", 204))
def presigned_by_boto3(t, operation, method, status):
    t.put("presigned", b"presigned")
    url = t.s3.generate_presigned_url(operation, {"Bucket": t.bucket, "Key": "presigned"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        equal(answer.status, status, "status")


@case
def presigned_put_with_metadata_and_type(t):
    url = t.s3.generate_presigned_url("put_object", {"Bucket": t.bucket, "Key": "put-url", "ContentType": "text/x", "Metadata": {"a": "1"}})
    request = urllib.request.Request(url, b"by url", {"content-type": "text/x", "x-amz-meta-a": "1"}, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        equal(answer.status, 200, "status")
    found = t.s3.get_object(Bucket=t.bucket, Key="put-url")
    equal((found["Body"].read(), found["ContentType"], found["Metadata"]), (b"by url", "text/x", {"a": "1"}), "object")


@case
def presigned_put_of_a_large_body(t):
    body = data(400_000, "url")
    equal(t.raw.presigned("PUT", t.path("large-url"), body=body).status, 200, "status")
    true(t.get("large-url") == body, "the body is another")


@case
def presigned_with_a_range(t):
    present(t)
    answer = t.raw.presigned("GET", t.path("present"), headers={"range": "bytes=0-2"})
    equal((answer.status, answer.body), (206, b"pre"), "answer")


@case
def presigned_with_a_response_header(t):
    present(t)
    answer = t.raw.presigned("GET", t.path("present"), [("response-content-type", "text/x"), ("response-content-disposition", 'attachment; filename="ä b"')])
    equal((answer.status, answer.headers["Content-Type"]), (200, "text/x"), "answer")


@variants(list=("GET", [("list-type", "2"), ("prefix", "pre")]), location=("GET", [("location", "")]), uploads=("GET", [("uploads", "")]))
def presigned_on_a_bucket(t, method, query):
    equal(t.raw.presigned(method, t.path(), query).status, 200, "status")


@case
def presigned_for_another_method(t):
    query = sigv4.presign(t.credentials, "GET", present(t), [], {"host": t.raw.host})
    head = f"DELETE {present(t)}?{sigv4.encode_query(query)} HTTP/1.1\r\nhost: {t.raw.host}\r\nconnection: close\r\n\r\n".encode()
    refused(t.raw.exchange(head, method="DELETE"), 403, "SignatureDoesNotMatch")


@case
def presigned_and_expired(t):
    answer = t.raw.presigned("GET", present(t), expires=60, when=earlier(minutes=5))
    refused(answer, 403, "AccessDenied")
    for element in (b"<Message>Request has expired", b"<Expires>", b"<ServerTime>"):
        true(element in answer.body, f"{element} is not in {answer}")


@variants(a_second=1, a_week=604_800)
def presigned_for(t, seconds):
    equal(t.raw.presigned("GET", present(t), expires=seconds).status, 200, "status")


@variants(zero=0, negative=-1, above_a_week=604_801, no_number="x")
def presigned_for_a_time_that_is(t, seconds):
    refused(t.raw.presigned("GET", present(t), expires=seconds), (400, 403), "AuthorizationQueryParametersError", "AccessDenied")


@variants(algorithm="X-Amz-Algorithm", credential="X-Amz-Credential", date="X-Amz-Date", expires="X-Amz-Expires",
          signed_headers="X-Amz-SignedHeaders", signature="X-Amz-Signature")
def presigned_without_its(t, name):
    answer = t.raw.presigned("GET", present(t), alter_query=lambda query: [pair for pair in query if pair[0] != name])
    refused(answer, (400, 403), "AuthorizationQueryParametersError", "AccessDenied")


@case
def presigned_with_a_wrong_signature(t):
    answer = t.raw.presigned("GET", present(t), alter_query=lambda query: [
        (name, sigv4.flipped(value) if name == "X-Amz-Signature" else value) for name, value in query])
    refused(answer, 403, "SignatureDoesNotMatch")


@case
def presigned_with_a_parameter_added(t):
    answer = t.raw.presigned("GET", present(t), alter_query=lambda query: [*query, ("response-content-type", "text/html")])
    refused(answer, 403, "SignatureDoesNotMatch")


@case
def signed_twice(t):
    query = sigv4.presign(t.credentials, "GET", present(t), [], {"host": t.raw.host})
    refused(t.raw.request("GET", present(t), query), 400, "InvalidArgument", "InvalidRequest")


@case
def an_anonymous_answers_header_is_not_overridden(t):
    # AWS, GetObject: response-* only on signed requests.
    answer = t.raw.request("GET", present(t), [("response-content-type", "text/html")], alter=without("authorization"))
    refused(answer, (400, 403), "InvalidRequest", "AccessDenied")
