"""Server-side encryption as clients ask for it: S3's keys, a customer's key, a KMS."""

import base64
import hashlib

from cases import case, equal, refused, true, variants
from conformance.support import multipart

KEY = bytes(range(32))


def customer(**changed) -> dict[str, str]:
    headers = {"x-amz-server-side-encryption-customer-algorithm": "AES256",
               "x-amz-server-side-encryption-customer-key": base64.b64encode(KEY).decode(),
               "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(KEY).digest()).decode()}
    return {**headers, **{f"x-amz-server-side-encryption-customer-{name.replace('_', '-')}": value for name, value in changed.items()}}


@case
def s3s_own_is_answered(t):
    answer = t.raw.request("PUT", t.path("own"), headers={"x-amz-server-side-encryption": "AES256"}, body=b"x")
    equal((answer.status, answer.headers["x-amz-server-side-encryption"]), (200, "AES256"), "PUT's answer")


@variants(get="GET", head="HEAD")
def s3s_own_is_told_by(t, method):
    t.put("told", ServerSideEncryption="AES256")
    equal(t.raw.request(method, t.path("told")).headers["x-amz-server-side-encryption"], "AES256", "header")


@case
def s3s_own_is_there_unasked(t):
    # AWS, since 2023: every new object is encrypted, and every answer says so.
    answer = t.raw.request("PUT", t.path("unasked"), body=b"x")
    equal(answer.headers["x-amz-server-side-encryption"], "AES256", "header")


@case
def s3s_own_for_an_upload(t):
    answer = multipart(t, "upload", {1: b"x"}, ServerSideEncryption="AES256")
    equal(answer["ServerSideEncryption"], "AES256", "Complete's answer")
    equal(t.get("upload"), b"x", "body")


@variants(put="PUT", create="POST")
def an_algorithm_that_is_none_for(t, method):
    answer = t.raw.request(method, t.path("none"), [("uploads", "")] if method == "POST" else [], {"x-amz-server-side-encryption": "ROT13"},
                           b"x" if method == "PUT" else b"")
    refused(answer, 400, "InvalidArgument", "InvalidEncryptionAlgorithmError")
    equal(t.keys("none"), [], "keys")


@case
def asked_for_on_a_read_is_refused(t):
    t.put("read")
    refused(t.raw.request("GET", t.path("read"), headers={"x-amz-server-side-encryption": "AES256"}), 400, "InvalidArgument", "InvalidRequest")


@variants(no_key={"key": ""}, no_md5={"key_md5": ""}, a_wrong_md5={"key_md5": base64.b64encode(bytes(16)).decode()},
          an_algorithm_that_is_none={"algorithm": "AES128"}, a_short_key={"key": base64.b64encode(b"short").decode()})
def a_customers_key_with(t, changed):
    headers = {name: value for name, value in customer(**changed).items() if value}
    refused(t.raw.request("PUT", t.path("customer"), headers=headers, body=b"x"), 400)
    equal(t.keys("customer"), [], "keys")


@case
def a_customers_key_over_plain_http_is_refused(t):
    # AWS: such requests must go over TLS.
    answer = t.raw.request("PUT", t.path("plain-http"), headers=customer(), body=b"x")
    refused(answer, 400, "InvalidRequest")
    equal(t.keys("plain-http"), [], "keys")


@case
def a_customers_key_for_an_object_without_one(t):
    t.put("without")
    refused(t.raw.request("GET", t.path("without"), headers=customer()), 400, "InvalidRequest", "InvalidArgument")


@case
def a_kms_key_without_the_kms(t):
    answer = t.raw.request("PUT", t.path("kms"), headers={"x-amz-server-side-encryption-aws-kms-key-id": "abc"}, body=b"x")
    refused(answer, 400, "InvalidArgument", "InvalidRequest")
    true(t.keys("kms") == [], "an object was stored")
