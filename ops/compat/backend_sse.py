"""Buckets whose storage demands encryption of its own: a policy that refuses every write without the headers. The proxy is the policy."""

import proxied
import proxy
from cases import case, data, equal, raises, true
from s3_multipart import FIVE, Upload

ALGORITHM, KMS_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DENIED = b"<Error><Code>AccessDenied</Code><Message>explicit deny in a resource-based policy</Message></Error>"


def stores(request) -> bool:
    """Whether a request makes an object or an upload: what AWS takes the headers on."""
    object_of = request.path.strip("/").count("/") > 0
    if request.method == "PUT":
        return object_of and not ({"partNumber", "tagging", "acl", "retention", "legal-hold"} & set(request.query))
    return request.method == "POST" and object_of and "uploads" in request.query


def refuse(exchange):
    exchange.swallow(exchange.request.length)
    headers = [("content-type", "application/xml"), ("content-length", str(len(DENIED)))]
    exchange.tell(proxy.Answer(403, headers, DENIED))


def demands(**headers):
    """A policy, as a rule of the proxy."""
    return lambda request: refuse if stores(request) and any(request.headers.get(name) != value for name, value in headers.items()) else None


def set_rule(p, document):
    target = p.context.target
    return target.admin("PUT" if document else "DELETE", f"/v1/buckets/{p.context.bucket}/backend-sse", document or None)


def writes_of_every_kind(t, at: str):
    """What clients store: whole, in parts, copied, and what the gateway hides beside it."""
    small, large = data(1000, at), data(FIVE + 999, at)
    t.put(f"{at}/small", small)
    t.put(f"{at}/large", large)
    t.s3.copy_object(Bucket=t.bucket, Key=f"{at}/copy", CopySource={"Bucket": t.bucket, "Key": f"{at}/small"})
    upload = Upload(t, f"{at}/parts")
    upload.part(1, large)
    upload.part(2, small)
    upload.complete()
    for key, body in (("small", small), ("large", large), ("copy", small), ("parts", large + small)):
        true(t.get(f"{at}/{key}") == body, f"{key} is not what was written")


@case
def every_write_has_what_the_policy_demands(t):
    p = proxied.of(t)
    set_rule(p, {"algorithm": "AES256"})
    with p.proxy.lying(demands(**{ALGORITHM: "AES256"})):
        p.proxy.requests.clear()
        writes_of_every_kind(p.context, "aes")
        equal([request.path for request in p.proxy.touched], [], "what was refused")
        stored = [request for request in p.proxy.requests if stores(request)]
        true(len(stored) >= 6 and any("/.sealgate/" in request.path for request in stored), f"hidden objects are not among {stored}")
        # Servers take the headers where an upload begins, and refuse them with its parts.
        wrong = [request for request in p.proxy.requests if not stores(request) and ALGORITHM in request.headers]
        equal(wrong, [], "asked where nothing is made")


@case
def a_kms_key_is_named(t):
    p = proxied.of(t)
    set_rule(p, {"algorithm": "aws:kms", "kms_key_id": KEY})
    with p.proxy.lying(demands(**{ALGORITHM: "aws:kms", KMS_KEY: KEY})):
        writes_of_every_kind(p.context, "kms")
        equal([request.path for request in p.proxy.touched], [], "what was refused")


@case
def clients_are_not_told_the_storages_key(t):
    p = proxied.of(t)
    context = p.context

    def encrypted(exchange):
        answer = exchange.forward()
        answer.set(ALGORITHM, "aws:kms")
        answer.set(KMS_KEY, KEY)
        exchange.tell(answer)

    with p.proxy.lying(lambda request: encrypted if stores(request) or request.method in ("HEAD", "GET") else None):
        answers = {"PUT": context.s3.put_object(Bucket=context.bucket, Key="told", Body=b"x")}
        source = {"Bucket": context.bucket, "Key": "told"}
        answers["copy"] = context.s3.copy_object(Bucket=context.bucket, Key="told-copy", CopySource=source)
        answers["HEAD"] = context.s3.head_object(**source)
        answers["GET"] = context.s3.get_object(**source)
        answers["create"] = context.s3.create_multipart_upload(Bucket=context.bucket, Key="told-upload")
        true(len(p.proxy.touched) >= 5, "the storage told less")
    for what, answer in answers.items():
        equal((answer.get("ServerSideEncryption"), answer.get("SSEKMSKeyId")), ("AES256", None), f"the answer to {what}")


@case
def without_the_rule_the_policy_refuses(t):
    p = proxied.of(t)
    p.context.put("before")
    set_rule(p, None)
    with p.proxy.lying(demands(**{ALGORITHM: "AES256"})):
        with raises("AccessDenied", "InternalError", "SlowDown", "ServiceUnavailable"):
            p.context.put("refused")
        equal(len(p.proxy.touched), 1, "refusals")


@case
def a_rule_that_is_none(t):
    p = proxied.of(t)
    for document in ({"algorithm": "DES"}, {"algorithm": "AES256", "kms_key_id": KEY}, {"algorithm": "aws:kms", "kms_key_id": ""},
                     {"algorithm": "aws:kms", "kms_key_id": "a\nb"}, {"algorithm": "AES256", "more": 1}):
        try:
            set_rule(p, document)
        except Exception as error:
            true("400" in str(error) or getattr(error, "code", 0) == 400, f"{document}: {error}")
        else:
            raise AssertionError(f"{document} was taken")
