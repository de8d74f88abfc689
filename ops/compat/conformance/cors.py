"""Cross-origin requests: the configuration, preflights, and the headers on answers."""

import checksums
from cases import case, equal, raises, refused, true, variants
from conformance.support import status

RULES = [
    {"AllowedOrigins": ["https://exact.example"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*", "content-type"],
     "ExposeHeaders": ["ETag", "x-amz-meta-a"], "MaxAgeSeconds": 300},
    {"AllowedOrigins": ["https://*.wild.example"], "AllowedMethods": ["GET"]},
    {"AllowedOrigins": ["*"], "AllowedMethods": ["DELETE"]},
]


def shared(t):
    """A bucket with RULES and an object, which no case changes."""
    def make():
        name = t.fresh_bucket()
        t.s3.put_object(Bucket=name, Key="key", Body=b"body", Metadata={"a": "1"})
        t.s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": RULES})
        return name

    return t.shared("bucket", make)


def preflight(t, origin, method, headers=None, bucket=None):
    lines = [f"OPTIONS /{bucket or shared(t)}/key HTTP/1.1", f"host: {t.raw.host}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (("origin", origin), ("access-control-request-method", method),
                                                     ("access-control-request-headers", headers)) if value is not None]
    return t.raw.exchange(("\r\n".join(lines) + "\r\n\r\n").encode(), method="OPTIONS")


@case
def none_by_itself(t):
    with raises("NoSuchCORSConfiguration", status=404):
        t.s3.get_bucket_cors(Bucket=t.fresh_bucket())


@case
def is_kept(t):
    found = t.s3.get_bucket_cors(Bucket=shared(t))["CORSRules"]
    equal(len(found), 3, "rules")
    for rule, wanted in zip(found, RULES):
        for name, value in wanted.items():
            equal(sorted(rule[name]) if isinstance(value, list) else rule[name], sorted(value) if isinstance(value, list) else value, name)


@case
def a_document_needs_a_checksum(t):
    body = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    refused(t.raw.request("PUT", f"/{t.fresh_bucket()}", [("cors", "")], body=body), 400, "InvalidRequest", "MissingContentMD5")


@case
def is_deleted(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": RULES})
    equal(status(t.s3.delete_bucket_cors(Bucket=name)), 204, "status")
    with raises("NoSuchCORSConfiguration", status=404):
        t.s3.get_bucket_cors(Bucket=name)


@variants(
    no_rule=b"<CORSConfiguration></CORSConfiguration>", no_xml=b"cors",
    no_origin=b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
    no_method=b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
)
def refuses_a_document_with(t, body):
    name = t.shared("never set", t.fresh_bucket)
    refused(t.raw.request("PUT", f"/{name}", [("cors", "")], {"content-md5": checksums.content_md5(body)}, body), 400, "MalformedXML")


@case
def refuses_a_method_that_is_none(t):
    with raises("InvalidRequest", status=400):
        t.s3.put_bucket_cors(Bucket=t.fresh_bucket(), CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}]})


@case
def refuses_an_origin_with_two_stars(t):
    with raises("InvalidRequest", status=400):
        t.s3.put_bucket_cors(Bucket=t.fresh_bucket(), CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["*.*"], "AllowedMethods": ["GET"]}]})


@case
def a_preflight_that_is_allowed(t):
    answer = preflight(t, "https://exact.example", "PUT", "x-amz-date,content-type")
    equal((answer.status, answer.body), (200, b""), f"answer {answer}")
    equal(answer.headers["Access-Control-Allow-Origin"], "https://exact.example", "origin")
    true("PUT" in answer.headers["Access-Control-Allow-Methods"], "methods")
    equal(answer.headers["Access-Control-Max-Age"], "300", "age")
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    equal(allowed, {"x-amz-date", "content-type"}, "headers")


@case
def a_preflight_needs_no_signature_and_names_what_is_exposed(t):
    answer = preflight(t, "https://exact.example", "GET")
    equal(answer.status, 200, "status")
    exposed = {name.strip().lower() for name in (answer.headers["Access-Control-Expose-Headers"] or "").split(",")}
    equal(exposed, {"etag", "x-amz-meta-a"}, "exposed headers")


@case
def a_preflight_says_that_it_varies(t):
    answer = preflight(t, "https://exact.example", "GET")
    varies = {name.strip().lower() for name in (answer.headers["Vary"] or "").split(",")}
    true({"origin", "access-control-request-method", "access-control-request-headers"} <= varies, f"Vary {varies}")


@variants(one_level="https://a.wild.example", two_levels="https://a.b.wild.example")
def a_preflight_matching_a_star_with(t, origin):
    answer = preflight(t, origin, "GET")
    equal((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, origin), "answer")


@case
def a_preflight_for_any_origin(t):
    answer = preflight(t, "https://whoever.example", "DELETE")
    equal((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, "*"), "answer")


@variants(
    another_origin=("https://other.example", "GET", None), another_method=("https://exact.example", "POST", None),
    another_header=("https://exact.example", "GET", "x-other"), the_stars_bare_domain=("https://wild.example", "GET", None),
    another_scheme=("http://exact.example", "GET", None),
)
def a_preflight_is_forbidden_for(t, origin, method, headers):
    answer = preflight(t, origin, method, headers)
    refused(answer, 403, "AccessForbidden", "CORSForbidden")
    equal(answer.headers["Access-Control-Allow-Origin"], None, "Access-Control-Allow-Origin")


@case
def a_preflight_without_an_origin(t):
    refused(preflight(t, None, "GET"), 400, "BadRequest")


@case
def a_preflight_without_a_method(t):
    refused(preflight(t, "https://exact.example", None), (400, 403), "BadRequest", "AccessForbidden")


@variants(a_space="content-type,a header", a_colon="x:a", a_bracket="x(a)", an_at="date,x@a", a_letter_of_another_alphabet="x-\u0141")
def a_preflight_for_a_header_that_is_none_with(t, headers):
    answer = preflight(t, "https://exact.example", "PUT", headers)
    refused(answer, 400, "BadRequest")
    true(b"contains invalid character" in answer.body, f"text of {answer}")


@case
def a_preflight_in_a_bucket_without_rules(t):
    name = t.shared("never set", t.fresh_bucket)
    refused(preflight(t, "https://exact.example", "GET", bucket=name), 403, "AccessForbidden", "CORSForbidden")


@case
def an_answer_to_an_origin_that_is_allowed(t):
    answer = t.raw.request("GET", f"/{shared(t)}/key", headers={"origin": "https://exact.example"})
    equal((answer.status, answer.body), (200, b"body"), "answer")
    equal(answer.headers["Access-Control-Allow-Origin"], "https://exact.example", "origin")
    equal(answer.headers["Access-Control-Allow-Credentials"], "true", "credentials")
    true("ETag" in (answer.headers["Access-Control-Expose-Headers"] or ""), "exposed headers")


@case
def an_answer_to_an_origin_that_is_not(t):
    answer = t.raw.request("GET", f"/{shared(t)}/key", headers={"origin": "https://other.example"})
    equal((answer.status, answer.body), (200, b"body"), "answer")
    equal(answer.headers["Access-Control-Allow-Origin"], None, "Access-Control-Allow-Origin")


@case
def an_answer_without_an_origin(t):
    answer = t.raw.request("GET", f"/{shared(t)}/key")
    equal((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, None), "answer")


@case
def an_error_to_an_origin_that_is_allowed(t):
    answer = t.raw.request("GET", f"/{shared(t)}/absent", headers={"origin": "https://exact.example"})
    equal((answer.status, answer.headers["Access-Control-Allow-Origin"]), (404, "https://exact.example"), "answer")
