"""Browser uploads: POST with a form and a signed policy."""

import base64
import datetime
import hmac
import json
import urllib.parse

import checksums
import sigv4
from cases import case, data, equal, refused, true, variants
from conformance.support import parsed, texts

BOUNDARY = "----conformance-boundary"


class Form:
    """A form with a policy that allows it, both to be changed before it is sent."""

    def __init__(self, t, key, body=b"form body"):
        self.t, self.body = t, body
        self.when = sigv4.timestamp()
        self.credentials = t.credentials
        self.fields = {"key": key}
        self.conditions = [{"bucket": t.bucket}, ["starts-with", "$key", ""]]
        self.expiration = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        self.filename, self.file_type = "a.bin", "application/octet-stream"
        # Changes the policy's document; None sends no policy at all.
        self.policy = lambda document: json.dumps(document).encode()
        self.alter = lambda fields: fields

    def signed(self) -> dict[str, str]:
        """The fields, with the policy and its signature."""
        auth = {"x-amz-algorithm": sigv4.ALGORITHM, "x-amz-date": self.when,
                "x-amz-credential": f"{self.credentials.access_key}/{sigv4.scope(self.credentials, self.when)}"}
        document = {"expiration": self.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "conditions": [*self.conditions, *({name: value} for name, value in auth.items())]}
        policy = base64.b64encode(self.policy(document)).decode()
        signature = hmac.new(sigv4.signing_key(self.credentials, self.when[:8]), policy.encode(), "sha256").hexdigest()
        return {**self.fields, **auth, "policy": policy, "x-amz-signature": signature}

    def send(self, bucket=None):
        parts = []
        for name, value in self.alter(self.signed()).items():
            parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{self.filename}"\r\n'
                     f"Content-Type: {self.file_type}\r\n\r\n".encode() + self.body + b"\r\n")
        body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
        head = (f"POST /{bucket or self.t.bucket} HTTP/1.1\r\nhost: {self.t.raw.host}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
                f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n").encode()
        return self.t.raw.exchange(head, body, "POST")

    def allow(self, fields: dict[str, str]):
        """Adds fields, with a condition each that allows exactly them."""
        for name, value in fields.items():
            self.fields[name] = value
            self.conditions.append({name: value})
        return self


def is_refused(t, form, status, *codes):
    answer = form.send()
    refused(answer, status, *codes)
    equal(t.keys(form.fields.get("key", "refused")), [], "keys")


@case
def is_answered_204_without_a_body(t):
    answer = Form(t, "plain").send()
    equal((answer.status, answer.body), (204, b""), f"answer {answer}")
    equal(t.get("plain"), b"form body", "body")


@case
def names_etag_and_location(t):
    answer = Form(t, "named").send()
    equal(answer.etag, t.s3.head_object(Bucket=t.bucket, Key="named")["ETag"], "ETag")
    true(answer.headers["Location"].endswith(f"{t.bucket}/named") or answer.headers["Location"].endswith("/named"), f"Location {answer.headers['Location']}")


@variants(nothing=b"", a_byte=b"x", line_ends=b"\r\n--\r\n", the_boundary_almost=f"\r\n--{BOUNDARY[:-1]}".encode(), large=data(300_000))
def a_file_of(t, body):
    answer = Form(t, "files", body).send()
    equal(answer.status, 204, f"answer {answer}")
    true(t.get("files") == body, "the body is another")


@variants(of_200=("200", 200), of_201=("201", 201), of_204=("204", 204), that_is_none=("404", 204), of_letters=("ok", 204))
def a_success_status(t, value, wanted):
    answer = Form(t, "status").allow({"success_action_status": value}).send()
    equal(answer.status, wanted, f"answer {answer}")
    if wanted == 201:
        root = parsed(answer)
        equal((root.tag, texts(root, "Bucket"), texts(root, "Key")), ("PostResponse", [t.bucket], ["status"]), "document")
        equal(texts(root, "ETag"), [answer.etag or t.s3.head_object(Bucket=t.bucket, Key="status")["ETag"]], "ETag")


@case
def a_success_redirect(t):
    answer = Form(t, "redirect").allow({"success_action_redirect": "https://example.com/done"}).send()
    equal(answer.status, 303, f"answer {answer}")
    url = urllib.parse.urlsplit(answer.headers["Location"])
    equal(f"{url.scheme}://{url.netloc}{url.path}", "https://example.com/done", "address")
    found = dict(urllib.parse.parse_qsl(url.query))
    equal((found["bucket"], found["key"]), (t.bucket, "redirect"), "query")
    equal(found["etag"], t.s3.head_object(Bucket=t.bucket, Key="redirect")["ETag"], "ETag in the query")


@case
def the_files_name_goes_into_the_key(t):
    form = Form(t, "uploads/${filename}")
    form.filename = "photo one.jpg"
    equal(form.send().status, 204, "status")
    equal(t.keys("uploads/"), ["uploads/photo one.jpg"], "keys")


@case
def metadata_and_headers(t):
    form = Form(t, "described").allow({"Content-Type": "text/plain", "Cache-Control": "no-store", "x-amz-meta-a": "1"})
    equal(form.send().status, 204, "status")
    head = t.s3.head_object(Bucket=t.bucket, Key="described")
    equal((head["ContentType"], head["CacheControl"], head["Metadata"]), ("text/plain", "no-store", {"a": "1"}), "headers")


@case
def tags(t):
    tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    equal(Form(t, "tagged").allow({"tagging": tagging}).send().status, 204, "status")
    equal(t.s3.get_object_tagging(Bucket=t.bucket, Key="tagged")["TagSet"], [{"Key": "a", "Value": "1"}], "tags")


@case
def a_field_to_be_ignored(t):
    form = Form(t, "ignored")
    form.fields["x-ignore-me"] = "anything"
    equal(form.send().status, 204, "status")


@case
def field_names_in_any_case(t):
    form = Form(t, "any-case")
    form.alter = lambda fields: {name.title() if name != "x-amz-meta-a" else name: value for name, value in fields.items()}
    equal(form.send().status, 204, "status")


@case
def condition_names_in_any_case(t):
    form = Form(t, "any-case-condition")
    form.fields["Content-Type"] = "text/plain"
    form.conditions.append(["starts-with", "$CONTENT-TYPE", "text/"])
    equal(form.send().status, 204, "status")


@variants(matching=("text/plain", 204), not_matching=("image/png", 403))
def starts_with(t, value, wanted):
    form = Form(t, "starts-with")
    form.fields["Content-Type"] = value
    form.conditions.append(["starts-with", "$Content-Type", "text/"])
    answer = form.send()
    equal(answer.status, wanted, f"answer {answer}")


@variants(matching=("right", 204), not_matching=("wrong", 403))
def eq(t, value, wanted):
    form = Form(t, "eq")
    form.fields["x-amz-meta-a"] = value
    form.conditions.append(["eq", "$x-amz-meta-a", "right"])
    answer = form.send()
    equal(answer.status, wanted, f"answer {answer}")


@variants(inside=(1, 100, 204, None), at_the_least=(9, 100, 204, None), at_the_most=(1, 9, 204, None), too_large=(1, 8, 400, "EntityTooLarge"),
          too_small=(10, 100, 400, "EntityTooSmall"))
def content_length_range(t, least, most, status, code):
    form = Form(t, f"range/{least}-{most}")
    form.conditions.append(["content-length-range", least, most])
    answer = form.send()
    equal((answer.status, answer.code), (status, code), f"answer {answer}")
    equal(len(t.keys(form.fields["key"])), int(status == 204), "keys")


@variants(negative=(-1, 100), one_number=(1,), backwards=(100, 1))
def a_content_length_range_that_is(t, *numbers):
    form = Form(t, "bad-range", b"x" * 50)
    form.conditions.append(["content-length-range", *numbers])
    is_refused(t, form, 400)


@case
def a_field_without_a_condition(t):
    form = Form(t, "uncovered")
    form.fields["x-amz-meta-a"] = "1"
    is_refused(t, form, 403, "AccessDenied")


@case
def a_condition_without_its_field(t):
    form = Form(t, "missing-field")
    form.conditions.append({"x-amz-meta-a": "1"})
    is_refused(t, form, 403, "AccessDenied")


@case
def a_key_that_the_policy_forbids(t):
    form = Form(t, "forbidden/key")
    form.conditions[1] = ["starts-with", "$key", "allowed/"]
    is_refused(t, form, 403, "AccessDenied")


@case
def a_bucket_that_the_policy_does_not_name(t):
    form = Form(t, "other-bucket")
    form.conditions[0] = {"bucket": "another-bucket"}
    is_refused(t, form, 403, "AccessDenied")


@case
def no_condition_on_the_bucket(t):
    form = Form(t, "no-bucket")
    del form.conditions[0]
    is_refused(t, form, 403, "AccessDenied")


@case
def an_expired_policy(t):
    form = Form(t, "expired")
    form.expiration = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)
    is_refused(t, form, 403, "AccessDenied")


POLICIES = {
    "no_expiration": lambda document: {"conditions": document["conditions"]},
    "no_conditions": lambda document: {"expiration": document["expiration"]},
    "expiration_in_upper_case": lambda document: {"EXPIRATION": document["expiration"], "conditions": document["conditions"]},
    "conditions_in_upper_case": lambda document: {"expiration": document["expiration"], "CONDITIONS": document["conditions"]},
    "a_date_that_is_none": lambda document: {**document, "expiration": "tomorrow"},
    "an_expiration_that_is_no_text": lambda document: {**document, "expiration": True},
    "a_length_that_is_no_number": lambda document: {**document, "conditions": [*document["conditions"], ["content-length-range", 0, False]]},
    "an_empty_condition": lambda document: {**document, "conditions": [*document["conditions"], []]},
    "an_operator_that_is_none": lambda document: {**document, "conditions": [*document["conditions"], ["like", "$key", "a"]]},
}


@variants(**POLICIES)
def a_policy_with(t, change):
    form = Form(t, "malformed-policy")
    form.policy = lambda document: json.dumps(change(document)).encode()
    is_refused(t, form, 400)


@case
def a_policy_that_is_no_json(t):
    form = Form(t, "no-json")
    form.policy = lambda _: b"allow everything"
    is_refused(t, form, 400, "InvalidPolicyDocument")


@case
def a_signature_that_is_wrong(t):
    form = Form(t, "forged")
    form.alter = lambda fields: {**fields, "x-amz-signature": sigv4.flipped(fields["x-amz-signature"])}
    is_refused(t, form, 403, "SignatureDoesNotMatch")


@case
def a_policy_changed_after_signing(t):
    form = Form(t, "changed")
    form.alter = lambda fields: {**fields, "policy": base64.b64encode(base64.b64decode(fields["policy"]) + b" ").decode()}
    is_refused(t, form, 403, "SignatureDoesNotMatch")


@case
def an_access_key_that_is_unknown(t):
    form = Form(t, "unknown")
    form.credentials = sigv4.Credentials("AKIDOESNOTEXIST0000", "secret", t.credentials.region)
    is_refused(t, form, 403, "InvalidAccessKeyId")


@variants(signature="x-amz-signature", credential="x-amz-credential", date="x-amz-date", policy="policy")
def a_form_without(t, name):
    form = Form(t, "incomplete")
    form.alter = lambda fields: {each: value for each, value in fields.items() if each != name}
    is_refused(t, form, (400, 403))


@case
def an_anonymous_form(t):
    form = Form(t, "anonymous")
    form.alter = lambda fields: {"key": fields["key"]}
    is_refused(t, form, 403, "AccessDenied")


@case
def a_form_without_a_key(t):
    form = Form(t, "no-key")
    form.alter = lambda fields: {name: value for name, value in fields.items() if name != "key"}
    refused(form.send(), 400, "InvalidArgument")


@case
def a_form_with_an_empty_key(t):
    form = Form(t, "")
    answer = form.send()
    equal(answer.status, 400, f"answer {answer}")


@case
def a_bucket_that_is_not_there(t):
    form = Form(t, "nowhere")
    form.conditions[0] = {"bucket": f"{t.bucket}-absent"}
    refused(form.send(f"{t.bucket}-absent"), 404, "NoSuchBucket")


@case
def a_file_with_a_checksum(t):
    value = checksums.value("CRC32", b"form body")
    equal(Form(t, "summed").allow({"x-amz-checksum-crc32": value}).send().status, 204, "status")
    head = t.s3.head_object(Bucket=t.bucket, Key="summed", ChecksumMode="ENABLED")
    equal(head.get("ChecksumCRC32"), value, "checksum")


@case
def a_file_with_a_wrong_checksum(t):
    is_refused(t, Form(t, "wrong-sum").allow({"x-amz-checksum-crc32": checksums.value("CRC32", b"other")}), 400, "BadDigest")


@case
def a_body_that_is_no_form(t):
    head = (f"POST /{t.bucket} HTTP/1.1\r\nhost: {t.raw.host}\r\nconnection: close\r\ncontent-length: 4\r\n"
            f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n").encode()
    refused(t.raw.exchange(head, b"none", "POST"), (400, 403))


@case
def what_is_no_form_is_told_so(t):
    # Unsigned, as a form is that a page sends in another way than it should.
    head = f"POST /{t.bucket} HTTP/1.1\r\nhost: {t.raw.host}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
    answer = t.raw.exchange(head.encode(), b"a=b", method="POST")
    refused(answer, 412, "PreconditionFailed")
    true(b"multipart/form-data" in answer.body, f"the condition is not told: {answer}")
