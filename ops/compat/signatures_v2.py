"""Signature Version 2 with a credential that an operator made for it; everybody else is told the cure."""

import os
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.client

import checksums
import servers
import sigv2
import sigv4
import target
from cases import case, data, equal, raises, refused, true
from refusals import nothing_stored

BODY = data(200_003, "sigv2")
WEEK = 604_800


def make(gateway, **how):
    """A new credential, by the admin API."""
    made = gateway.admin("POST", "/v1/credentials", {
        "tenant": "dev", "label": "old-tool", "grants": [{"bucket": "*", "read": True, "write": True, "admin": True}], **how})
    return sigv4.Credentials(made["access_key_id"], made["secret_access_key"], gateway.region)


def allowed(t):
    """A credential that may sign with Version 2, for an hour."""
    return t.shared("allowed", lambda: make(t.target, sigv2=True, not_after=int(time.time()) + 3600))


def boto(t, credentials, **config):
    return boto3.client("s3", endpoint_url=t.target.endpoint, region_name=t.target.region, aws_access_key_id=credentials.access_key,
                        aws_secret_access_key=credentials.secret_key, config=botocore.client.Config(
                            signature_version="s3", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config))


def signed(t, method, path, query=(), headers=None, body=b"", credentials=None, **how):
    """A request as libs3 sends it."""
    headers = sigv2.sign_headers(credentials or allowed(t), method, path, query, headers or {}, **how)
    return sigv2.exchange(t.raw, method, path, query, headers, body)


def presigned(t, method, path, query=(), headers=None, body=b"", expires=None, alter=None, **how):
    expires = int(time.time()) + 600 if expires is None else expires
    found = sigv2.presign(allowed(t), method, path, list(query), headers or {}, expires, **how)
    return sigv2.exchange(t.raw, method, path, alter(found) if alter else found, headers, body)


@case
def boto3_signs_headers(t):
    s3 = boto(t, allowed(t))
    s3.put_object(Bucket=t.bucket, Key="boto/ä +", Body=BODY, ContentType="text/x", Metadata={"b": "2", "a": "1"})
    found = s3.get_object(Bucket=t.bucket, Key="boto/ä +")
    equal((found["ContentType"], found["Metadata"]), ("text/x", {"a": "1", "b": "2"}), "headers")
    true(found["Body"].read() == BODY, "the body is another")
    equal([each["Key"] for each in s3.list_objects_v2(Bucket=t.bucket, Prefix="boto/", MaxKeys=1)["Contents"]], ["boto/ä +"], "keys")
    upload = s3.create_multipart_upload(Bucket=t.bucket, Key="boto/parts")["UploadId"]
    part = s3.upload_part(Bucket=t.bucket, Key="boto/parts", UploadId=upload, PartNumber=1, Body=BODY)
    s3.complete_multipart_upload(Bucket=t.bucket, Key="boto/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    true(t.get("boto/parts") == BODY, "the body is another")
    s3.copy_object(Bucket=t.bucket, Key="boto/copy", CopySource={"Bucket": t.bucket, "Key": "boto/parts"})
    equal(s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [{"Key": "boto/copy"}, {"Key": "boto/parts"}]})["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
    equal(t.keys("boto/"), ["boto/ä +"], "keys")
    fresh = f"{t.bucket[:40]}-made"
    t.target.buckets.append(fresh)
    s3.create_bucket(Bucket=fresh, CreateBucketConfiguration={"LocationConstraint": t.target.region})
    true(fresh in [each["Name"] for each in s3.list_buckets()["Buckets"]], "the bucket is not listed")
    s3.delete_bucket(Bucket=fresh)


@case
def boto3_presigns(t):
    s3 = boto(t, allowed(t))
    url = s3.generate_presigned_url("put_object", {"Bucket": t.bucket, "Key": "url/ä +"}, ExpiresIn=300)
    true({"AWSAccessKeyId", "Signature", "Expires"} <= set(sigv2.parameters(url)), f"not a V2 URL: {url}")
    with urllib.request.urlopen(urllib.request.Request(url, BODY, {"content-type": ""}, method="PUT"), timeout=30) as answer:
        equal(answer.status, 200, "status of PUT")
    url = s3.generate_presigned_url("get_object", {"Bucket": t.bucket, "Key": "url/ä +", "ResponseContentType": "text/y",
                                                   "ResponseContentDisposition": 'attachment; filename="R&D ä.pdf"'}, ExpiresIn=WEEK)
    with urllib.request.urlopen(url, timeout=30) as answer:
        true(answer.read() == BODY, "the body is another")
        equal(answer.headers["Content-Type"], "text/y", "Content-Type")
    url = s3.generate_presigned_url("head_object", {"Bucket": t.bucket, "Key": "url/ä +"})
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
        equal(answer.headers["Content-Length"], str(len(BODY)), "Content-Length")
    # What boto copies into the query counts with the header that it stands for.
    url = s3.generate_presigned_url("put_object", {"Bucket": t.bucket, "Key": "url/typed", "ContentType": "text/x", "Metadata": {"a": "1"}})
    headers = {"content-type": "text/x", "x-amz-meta-a": "1"}
    with urllib.request.urlopen(urllib.request.Request(url, b"typed", headers, method="PUT"), timeout=30) as answer:
        equal(answer.status, 200, "status of PUT with headers")
    found = t.s3.get_object(Bucket=t.bucket, Key="url/typed")
    equal((found["ContentType"], found["Metadata"]), ("text/x", {"a": "1"}), "headers")
    with nothing_stored(t):
        try:
            urllib.request.urlopen(urllib.request.Request(url, b"typed", {"content-type": "text/x"}, method="PUT"), timeout=30)
            raise AssertionError("metadata that the URL names was left out")
        except urllib.error.HTTPError as error:
            true(error.code in (403, 501), f"answered {error.code}")


@case
def as_libs3_and_s3cmd_sign(t):
    headers = {"content-md5": checksums.content_md5(BODY), "content-type": "text/x", "x-amz-date": sigv2.date(), "x-amz-meta-b": "2", "x-amz-meta-a": " 1 "}
    equal(signed(t, "PUT", t.path("libs3/k"), headers=headers, body=BODY).status, 200, "status of PUT")
    mailed = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    answer = signed(t, "GET", t.path("libs3/k"), when=mailed)
    true(answer.status == 200 and answer.body == BODY, f"answer {answer.status}")
    equal((answer.headers["x-amz-meta-a"], answer.headers["content-type"]), ("1", "text/x"), "headers")
    equal(signed(t, "GET", t.path("libs3/k"), headers={"range": "bytes=0-9"}).body, BODY[:10], "a range")
    listing = signed(t, "GET", t.path(), [("prefix", "libs3/"), ("delimiter", "/"), ("max-keys", "5")])
    true(b"<Key>libs3/k</Key>" in listing.body, f"listing {listing}")
    equal(signed(t, "GET", t.path(), [("location", "")]).status, 200, "status of ?location")
    equal(signed(t, "GET", "/").status, 200, "status of ListBuckets")
    equal(signed(t, "DELETE", t.path("libs3/k")).status, 204, "status of DELETE")


@case
def a_bucket_in_the_host(t):
    t.put("hosted", b"hosted")
    host = f"{t.bucket}.localhost:{urllib.parse.urlsplit(t.target.endpoint).port}"
    for resource, status in ((t.path("hosted"), 200), ("/hosted", 403)):
        headers = sigv2.sign_headers(allowed(t), "GET", "/hosted", [], {"host": host}, resource=resource)
        answer = sigv2.exchange(t.raw, "GET", "/hosted", headers=headers)
        equal(answer.status, status, f"signed for {resource}: {answer}")


@case
def it_signs_with_version_4_too(t):
    t.put("both", b"both")
    equal(t.raw.request("GET", t.path("both"), credentials=allowed(t)).body, b"both", "body")


@case
def a_credential_that_nobody_allowed_it(t):
    with nothing_stored(t):
        for answer in (signed(t, "GET", t.path("witness"), credentials=t.credentials), signed(t, "PUT", t.path("x"), body=b"x", credentials=t.credentials),
                       signed(t, "GET", t.path("witness"), credentials=sigv4.Credentials("AKIDOESNOTEXIST0000", "x", ""))):
            refused(answer, 400, "InvalidRequest")
            for text in (b"s3v4", b"us-east-1", b"operator"):
                true(text in answer.body, f"the text does not name the cure: {answer}")
        with raises("InvalidRequest", status=400):
            boto(t, t.credentials).get_object(Bucket=t.bucket, Key="witness")


@case
def what_it_may_do_is_what_its_grants_say(t):
    end = int(time.time()) + 3600
    reader = make(t.target, sigv2=True, not_after=end, grants=[{"bucket": t.bucket, "read": True}])
    with nothing_stored(t):
        equal(signed(t, "GET", t.path("witness"), credentials=reader).status, 200, "status of GET")
        refused(signed(t, "PUT", t.path("x"), body=b"x", credentials=reader), 403, "AccessDenied")
        refused(signed(t, "PUT", t.path(".sealgate/v1/bucket"), body=b"x"), 403, "AccessDenied")
        elsewhere = make(t.target, sigv2=True, not_after=end, grants=[{"bucket": "another-bucket", "read": True}])
        refused(signed(t, "GET", t.path("witness"), credentials=elsewhere), 403, "AccessDenied")


@case
def it_is_deleted_like_any_other(t):
    passing = make(t.target, sigv2=True, not_after=int(time.time()) + 3600)
    t.put("passing", b"x")
    equal(signed(t, "GET", t.path("passing"), credentials=passing).status, 200, "status before")
    t.target.admin("DELETE", f"/v1/credentials/{passing.access_key}", {})
    refused(signed(t, "GET", t.path("passing"), credentials=passing), 400, "InvalidRequest")


@case
def without_an_end_none_is_made(t):
    for how in ({"sigv2": True}, {"sigv2": True, "not_after": 0}, {"sigv2": True, "not_after": int(time.time()) - 60}):
        try:
            make(t.target, **how)
            raise AssertionError(f"{how} was taken")
        except urllib.error.HTTPError as error:
            equal(error.code, 400, "status")
            true(b"not_after" in error.read(), "the text does not name the field")


@case
def wrong_signatures(t):
    wrong = sigv4.Credentials(allowed(t).access_key, allowed(t).secret_key[::-1], "")
    with nothing_stored(t):
        answer = signed(t, "PUT", t.path("witness"), body=b"x", credentials=wrong)
        refused(answer, 403, "SignatureDoesNotMatch")
        for element in (b"<StringToSign>PUT\n", b"<SignatureProvided>", b"<AWSAccessKeyId>"):
            true(element in answer.body, f"{element} is not in {answer}")
        true(allowed(t).secret_key.encode() not in answer.body, "the secret is in the answer")
        for value in ("", "x", "=", "A" * 27 + "=", "A" * 28, "A" * 4000):
            headers = {"date": sigv2.date(), "authorization": f"AWS {allowed(t).access_key}:{value}"}
            refused(sigv2.exchange(t.raw, "GET", t.path("witness"), headers=headers), 403, "SignatureDoesNotMatch")


@case
def what_was_altered(t):
    def sent(path, query=(), headers=None, method="PUT", **changed):
        found = sigv2.sign_headers(allowed(t), "PUT", t.path("altered"), [], {"x-amz-meta-a": "1", "content-type": "text/x"})
        return sigv2.exchange(t.raw, method, path, query, {**found, **(headers or {}), **changed}, b"x" if method == "PUT" else b"")
    with nothing_stored(t):
        for headers in ({"x-amz-meta-a": "2"}, {"x-amz-meta-b": "2"}, {"content-type": "text/html"}, {"content-md5": checksums.content_md5(b"x")},
                        {"x-amz-copy-source": f"/{t.bucket}/witness"}, {"x-amz-acl": "public-read"}, {"date": sigv2.date(time.time() - 1)}):
            refused(sent(t.path("altered"), headers=headers), 403, "SignatureDoesNotMatch")
        refused(sent(t.path("other")), 403, "SignatureDoesNotMatch")
        for method in ("GET", "DELETE", "POST"):
            refused(sent(t.path("altered"), method=method), 403, "SignatureDoesNotMatch")
        for query in ([("tagging", "")], [("acl", "")], [("uploadId", "u"), ("partNumber", "1")], [("x-amz-copy-source", f"/{t.bucket}/witness")]):
            refused(sent(t.path("altered"), query), 403, "SignatureDoesNotMatch")


@case
def a_subresource_that_is_not_signed(t):
    with nothing_stored(t):
        for method, name, value in (("GET", "acl", ""), ("GET", "versions", ""), ("GET", "location", ""), ("PUT", "versioning", ""), ("GET", "response-content-type", "a/b")):
            path = t.path("witness") if name.startswith("response") else t.path()
            for send in (signed, presigned):
                refused(send(t, method, path, [(name, value)], subresources=()), 403, "SignatureDoesNotMatch")


@case
def one_parameter_that_spells_two(t):
    # What is signed of ?partNumber=1&uploadId=u is also what is signed of one parameter with the value "1&uploadId=u".
    with nothing_stored(t):
        forged = presigned(t, "PUT", t.path("witness"), [("partNumber", "1"), ("uploadId", "u")], body=b"part",
                           alter=lambda query: [("partNumber", "1&uploadId=u"), *query[2:]])
        refused(forged, 400, "InvalidArgument")
        # Else the answer would be the current version, where the URL was made for another.
        older = presigned(t, "GET", t.path("witness"), [("response-content-type", "a/b"), ("versionId", "older")],
                          alter=lambda query: [("response-content-type", "a/b&versionId=older"), *query[2:]])
        refused(older, 400, "InvalidArgument")
        for answer in (forged, older):
            true(b"cannot be told from another parameter" in answer.body, f"refused for something else: {answer}")


@case
def urls_that_are_not_valid(t):
    now = int(time.time())
    with nothing_stored(t):
        equal(presigned(t, "GET", t.path("witness"), expires=now + 600).status, 200, "status of a valid one")
        late = presigned(t, "GET", t.path("witness"), expires=now - 1)
        refused(late, 403, "AccessDenied")
        true(b"Request has expired" in late.body and b"<Expires>" in late.body, f"answer {late}")
        refused(presigned(t, "PUT", t.path("witness"), body=b"x", expires=now - 1), 403, "AccessDenied")
        far = presigned(t, "GET", t.path("witness"), expires=now + WEEK + 60)
        refused(far, 403, "AccessDenied")
        true(b"604800" in far.body, f"the text does not say how long: {far}")
        for method in ("PUT", "DELETE", "HEAD"):
            query = sigv2.presign(allowed(t), "GET", t.path("witness"), [], {}, now + 600)
            refused(sigv2.exchange(t.raw, method, t.path("witness"), query, body=b"x" if method == "PUT" else b""), 403,
                    *(() if method == "HEAD" else ("SignatureDoesNotMatch",)))
        stretched = presigned(t, "GET", t.path("witness"), expires=now + 60, alter=lambda query: [
            (name, str(now + 600) if name == "Expires" else value) for name, value in query])
        refused(stretched, 403, "SignatureDoesNotMatch")
        for name in ("Signature", "Expires"):
            refused(presigned(t, "GET", t.path("witness"), alter=lambda query, name=name: [pair for pair in query if pair[0] != name]), 403, "AccessDenied")
        refused(presigned(t, "GET", t.path("witness"), alter=lambda query: [*query, ("Expires", str(now + 600))]), 403, "AccessDenied")


@case
def a_clock_that_is_far_off(t):
    t.put("clock", b"x")
    for minutes, status in ((-16, 403), (-14, 200), (14, 200), (16, 403)):
        at = sigv2.date(time.time() + minutes * 60)
        for answer in (signed(t, "GET", t.path("clock"), when=at), signed(t, "GET", t.path("clock"), headers={"x-amz-date": at})):
            equal(answer.status, status, f"{minutes} minutes: {answer}")
            true(status == 200 or answer.code == "RequestTimeTooSkewed", f"answer {answer}")
    for when in ("Sun, 01 Jan 1950 00:00:00 GMT", "nonsense"):
        refused(signed(t, "GET", t.path("clock"), when=when), 403, "AccessDenied")


@case
def bodies_are_verified(t):
    with nothing_stored(t):
        refused(signed(t, "PUT", t.path("bad"), headers={"content-md5": checksums.content_md5(b"other")}, body=b"x"), 400, "BadDigest")
        refused(signed(t, "PUT", t.path("bad"), headers={"x-amz-checksum-crc32": checksums.value("CRC32", b"other")}, body=b"x"), 400, "BadDigest")
        refused(signed(t, "PUT", t.path("bad"), headers={"x-amz-content-sha256": sigv4.EMPTY_SHA256}, body=b"x"), 400, "XAmzContentSHA256Mismatch")
        refused(signed(t, "PUT", t.path("bad"), headers={"x-amz-content-sha256": sigv4.STREAM_SIGNED, "x-amz-decoded-content-length": "1"}, body=b"x"),
                400, "InvalidRequest")


def form(t, credentials=None, alter=lambda fields: fields, **how):
    """Posts a form that boto3 signs with Version 2."""
    made = boto(t, credentials or allowed(t)).generate_presigned_post(t.bucket, "posted", **how)["fields"]
    true("AWSAccessKeyId" in made, f"not of version 2: {made}")
    pieces = "".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in alter(made).items())
    body = (pieces + '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nposted\r\n--b--\r\n').encode()
    return sigv2.exchange(t.raw, "POST", t.path(), headers={"content-type": "multipart/form-data; boundary=b"}, body=body)


@case
def a_form_is_signed_too(t):
    equal(form(t).status, 204, "status")
    equal(t.get("posted"), b"posted", "body")
    t.s3.delete_object(Bucket=t.bucket, Key="posted")


@case
def forms_that_are_not_signed_right_are_refused(t):
    with nothing_stored(t):
        answer = form(t, t.credentials)
        refused(answer, 400, "InvalidRequest")
        true(b"s3v4" in answer.body, f"the text does not name the cure: {answer}")
        changes = {"signature": lambda text: sigv4.flipped(text), "policy": lambda text: text + "=", "AWSAccessKeyId": lambda _: t.credentials.access_key}
        for name, change in changes.items():
            refused(form(t, alter=lambda fields, name=name, change=change: {**fields, name: change(fields[name])}), (400, 403),
                    "InvalidRequest" if name == "AWSAccessKeyId" else "SignatureDoesNotMatch")
        refused(form(t, alter=lambda fields: {**fields, "AWSAccessKeyId": "AKIDOESNOTEXIST0000"}), 403, "InvalidAccessKeyId")
        refused(form(t, ExpiresIn=WEEK + 60), 403, "AccessDenied")
        refused(form(t, alter=lambda fields: {**fields, "x-amz-meta-a": "1"}), 403, "AccessDenied")
    equal(form(t, ExpiresIn=WEEK - 60).status, 204, "status")
    t.s3.delete_object(Bucket=t.bucket, Key="posted")


@case
def it_is_counted(t):
    t.put("counted", b"x")

    def counts():
        with urllib.request.urlopen(t.target.metrics_url(), timeout=10) as answer:
            text = answer.read().decode()
        found = {name: int(value) for name, value in re.findall(r'^sealgate_node_sigv2_requests_total\{result="(\w+)"\} (\d+)', text, re.M)}
        return found.get("accepted", 0), found.get("refused", 0)
    before = counts()
    equal(signed(t, "GET", t.path("counted")).status, 200, "status")
    equal(signed(t, "GET", t.path("counted"), credentials=t.credentials).status, 400, "status")
    equal(t.raw.request("GET", t.path("counted")).status, 200, "status")
    equal((form(t).status, form(t, t.credentials).status), (204, 400), "status")
    after = counts()
    equal((after[0] - before[0], after[1] - before[1]), (2, 2), "accepted and refused")


@case
def the_access_log_says_so(t):
    kept = os.environ.get("SEALGATE_LOG")
    os.environ["SEALGATE_LOG"] = "warn,access=info"
    try:
        gateway = target.Gateway(t.target.binary, t.target.backend)
    finally:
        os.environ.pop("SEALGATE_LOG") if kept is None else os.environ.update(SEALGATE_LOG=kept)
    try:
        own = type(t)(gateway, f"log-{secrets.token_hex(4)}", t.size)
        own.create_bucket(own.bucket)
        own.put("logged", b"x")
        signed(own, "GET", own.path("logged"))
        presigned(own, "GET", own.path("logged"))

        def lines():
            with open(gateway.log, encoding="utf-8", errors="replace") as file:
                return [line for line in file if " SigV2 " in line]
        servers.wait_until("the access log", gateway.process, lambda: len(lines()) == 2, log=gateway.log)
        header, query = lines()
        true(f" {allowed(own).access_key} " in header and " AuthHeader " in header, header)
        true(" QueryString " in query and "Signature=REDACTED" in query and "AWSAccessKeyId=REDACTED" in query and "Expires=1" in query, query)
        own.s3.delete_object(Bucket=own.bucket, Key="logged")
        own.s3.delete_bucket(Bucket=own.bucket)
    finally:
        gateway.stop()
