"""Plain prefixes: multipart uploads are the storage's own, with its ETags and sizes, and the bytes lie there as they came."""

import datetime
import io

import boto3.s3.transfer
import checksums
import proxied
import proxy
from cases import case, data, equal, raises, refused, true
from s3_multipart import FIVE, Upload, check
from s3_surface import moment

PREFIX = "plain/"


def plain(t, key):
    """A key in a plain prefix of the suite's bucket. A server without a gateway knows nothing else."""
    if t.target.is_gateway and not getattr(t, "has_plain_prefix", False):
        t.target.admin("PUT", f"/v1/buckets/{t.bucket}/rules", {"rules": [{"prefix": PREFIX, "plain": True}]})
        t.has_plain_prefix = True
    return PREFIX + key


@case
def parts_come_back_as_one_object(t):
    key = plain(t, "object")
    upload = Upload(t, key, Metadata={"mine": "1"}, ContentType="text/x-plain")
    for number, size in ((2, 1000), (1, FIVE)):
        upload.part(number, data(size, number))
    parts = upload.list()["Parts"]
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in parts],
          [(number, len(body), etag) for number, (etag, body) in sorted(upload.parts.items())], "ListParts")
    check(t, key, upload.body(), upload.complete()["ETag"])
    head = t.s3.head_object(Bucket=t.bucket, Key=key)
    equal((head["Metadata"], head["ContentType"]), ({"mine": "1"}, "text/x-plain"), "metadata and type")


@case
def one_part_has_the_etag_of_one(t):
    upload = Upload(t, plain(t, "one"))
    upload.part(1, data(999))
    etag = upload.complete()["ETag"]
    true(etag.strip('"').endswith("-1"), f"ETag {etag}")
    check(t, PREFIX + "one", upload.body(), etag)


@case
def one_part_with_nothing_in_it(t):
    # As pyarrow writes an empty object.
    key = plain(t, "nothing")
    upload = Upload(t, key)
    upload.part(1, b"")
    check(t, key, b"", upload.complete()["ETag"])
    t.s3.put_object(Bucket=t.bucket, Key=key, Body=b"over it")
    equal(t.s3.get_object(Bucket=t.bucket, Key=key)["Body"].read(), b"over it", "what was written over it")


@case
def what_a_client_sends_by_itself(t):
    body, key = data(2 * FIVE + 77, "transfer"), plain(t, "transfer")
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=FIVE, multipart_chunksize=FIVE)
    t.s3.upload_fileobj(io.BytesIO(body), t.bucket, key, Config=config)
    equal(t.s3.get_object(Bucket=t.bucket, Key=key)["Body"].read(), body, "the body")
    found = t.s3.get_object(Bucket=t.bucket, Key=key, Range=f"bytes={FIVE - 2}-{FIVE + 2}")
    equal(found["Body"].read(), body[FIVE - 2:FIVE + 3], "a range over a part's end")


@case
def a_part_that_is_too_small_and_one_that_is_not_there(t):
    key = plain(t, "refused")
    upload = Upload(t, key)
    for number in (1, 2):
        upload.part(number, data(1000, number))
    with raises("EntityTooSmall", status=400):
        upload.complete()
    with raises("InvalidPart", status=400):
        upload.complete(numbers=[1], etags={1: '"' + "0" * 32 + '"'})
    with raises("404", "NoSuchKey"):
        t.s3.head_object(Bucket=t.bucket, Key=key)
    upload.abort()
    with raises("NoSuchUpload", status=404):
        upload.complete(numbers=[1])


@case
def a_wrong_checksum_stores_no_part(t):
    upload = Upload(t, plain(t, "checksum"))
    with raises("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "InvalidRequest", status=400):
        upload.part(1, b"text", ChecksumCRC32="AAAAAA==")
    equal(upload.list().get("Parts", []), [], "the parts")
    upload.abort()


@case
def an_object_that_must_not_be_there(t):
    if t.target.backend and t.target.backend.name == "seaweedfs":
        expected = ("PreconditionFailed", "NotImplemented")
    else:
        expected = ("PreconditionFailed",)
    key = plain(t, "conditional")
    t.s3.put_object(Bucket=t.bucket, Key=key, Body=b"first")
    upload = Upload(t, key)
    upload.part(1, b"second")
    with raises(*expected):
        upload.complete(IfNoneMatch="*")
    equal(t.s3.get_object(Bucket=t.bucket, Key=key)["Body"].read(), b"first", "the object before it")
    upload.abort()


@case
def if_range_with_another_objects_etag(t):
    key = plain(t, "if-range")
    old = t.put(key, b"0123456789")["ETag"]
    new = t.put(key, b"abcde")
    for byte_range in ("bytes=1-2", "bytes=5-", "bytes=-2"):
        answer = t.raw.request("GET", t.path(key), headers={"range": byte_range, "if-range": old})
        equal((answer.status, answer.body, answer.etag), (200, b"abcde", new["ETag"]), f"{byte_range} of what was replaced")
        true("Content-Range" not in answer.headers, f"{byte_range}: {answer.headers}")
    answer = t.raw.request("GET", t.path(key), headers={"range": "bytes=1-2", "if-range": new["ETag"]})
    equal((answer.status, answer.body), (206, b"bc"), "a range of what is there")
    refused(t.raw.request("GET", t.path(key), headers={"range": "bytes=5-", "if-range": new["ETag"]}), 416, "InvalidRange")
    # A condition is held against the object all the same.
    answer = t.raw.request("GET", t.path(key), headers={"range": "bytes=5-", "if-range": old, "if-none-match": new["ETag"]})
    equal(answer.status, 304, "an object that the client has")


@case
def if_range_with_a_date(t):
    key = plain(t, "if-range-date")
    t.put(key, b"0123456789")
    modified = t.s3.head_object(Bucket=t.bucket, Key=key)["LastModified"]
    for seconds, wanted in ((0, (206, b"12")), (-60, (200, b"0123456789"))):
        date = moment(modified + datetime.timedelta(seconds=seconds))
        answer = t.raw.request("GET", t.path(key), headers={"range": "bytes=1-2", "if-range": date})
        equal((answer.status, answer.body), wanted, f"If-Range: {date}")


def told(headers: dict[str, str], body: bytes = b""):
    """An act of the proxy that answers in the storage's place, which is not asked."""

    def act(exchange):
        exchange.swallow(exchange.request.length)
        all_headers = {"etag": '"' + "0" * 32 + '"', "content-length": str(len(body)), **headers}
        exchange.tell(proxy.Answer(200, list(all_headers.items()), body))

    return act


@case(gateway_only=True, only="server")
def the_storage_is_asked_to_encrypt_and_its_answer_given_back(t):
    p = proxied.of(t)
    key, path = plain(p.context, "encrypted"), p.context.path(PREFIX + "encrypted")
    asked, answered = {"x-amz-server-side-encryption": "AES256"}, {"x-amz-server-side-encryption": "AES256"}
    p.context.put(key + "-source")
    source = {"x-amz-copy-source": p.context.path(key + "-source")}
    copied = b"<CopyObjectResult><ETag>e</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></CopyObjectResult>"
    created = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    for method, query, headers, body, answer in (("PUT", [], {}, b"x", b""), ("PUT", [], source, b"", copied), ("POST", [("uploads", "")], {}, b"", created)):
        with p.proxy.lying(lambda request, method=method: told(answered, answer) if request.method == method else None):
            found = p.context.raw.request(method, path, query, {**asked, **headers}, body)
            equal((found.status, found.headers["x-amz-server-side-encryption"]), (200, "AES256"), f"answer to {method}: {found}")
            equal([request.headers.get("x-amz-server-side-encryption") for request in p.proxy.touched], ["AES256"], f"what the storage was asked: {method}")
            found = p.context.raw.request(method, path, query, headers, body)
            equal(found.status, 200, f"answer {found}")
            true("x-amz-server-side-encryption" not in p.proxy.touched[-1].headers, "asked for it unasked")


@case(gateway_only=True, only="server")
def metadata_that_is_no_text_is_told_as_it_is_and_copied_so_or_not_at_all(t):
    p = proxied.of(t)
    key = plain(p.context, "odd")
    p.context.put(key, b"body")

    def odd(exchange):
        answer = exchange.forward()
        # On the wire one byte, that of Latin-1: no UTF-8.
        answer.set("x-amz-meta-odd", "caf\xe9")
        exchange.tell(answer)

    def copied(to):
        headers = {"x-amz-copy-source": p.context.path(key)}
        return p.context.raw.request("PUT", p.context.path(to), headers=headers)

    with p.proxy.lying(lambda request: odd if request.method in ("GET", "HEAD") and request.path.endswith(key) else None):
        for method in ("GET", "HEAD"):
            found = p.context.raw.request(method, p.context.path(key))
            equal((found.status, found.headers["x-amz-meta-odd"]), (200, "caf\xe9"), f"answer to {method}")
        refused(found := copied(key + "-copy"), 400, "InvalidRequest")
        true(b"x-amz-meta-odd" in found.body and key.encode() in found.body, f"what it names: {found}")
        equal(copied("sealed-copy").status, 200, "a copy whose metadata is sealed")
    equal(p.context.raw.request("HEAD", p.context.path("sealed-copy")).headers["x-amz-meta-odd"], "caf\xe9", "what was sealed")
    equal(p.context.keys(key), [key], "keys in the plain prefix")


@case
def an_upload_takes_no_checksum_that_s3_does_not_have(t):
    path = t.path(plain(t, "unknown-checksum"))
    for headers in ({"x-amz-checksum-algorithm": "CRC16"}, {"x-amz-checksum-type": "COMPOSITE"},
                    {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
                    {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"}):
        refused(t.raw.request("POST", path, [("uploads", "")], headers), 400, "InvalidRequest", "InvalidArgument")
    equal(t.raw.request("POST", path, [("uploads", "")], {"x-amz-checksum-algorithm": "CRC32"}).status, 200, "one that it has")


@case(gateway_only=True, only="filesystem")
def a_storage_that_encrypts_nothing_does_not_say_so(t):
    key = plain(t, "unencrypted")
    refused(t.raw.request("PUT", t.path(key), headers={"x-amz-server-side-encryption": "AES256"}, body=b"x"), 501, "NotImplemented")
    equal(t.keys(key), [], "keys")


@case
def parts_by_their_number(t):
    key = plain(t, "numbered")
    upload = Upload(t, key)
    for number, size in ((1, FIVE), (2, 1000)):
        upload.part(number, data(size, number))
    upload.complete()
    at = 0
    for number in (1, 2):
        body = upload.parts[number][1]
        wanted = f"bytes {at}-{at + len(body) - 1}/{FIVE + 1000}"
        get = t.raw.request("GET", t.path(key), [("partNumber", str(number))])
        equal((get.status, get.headers["Content-Range"], get.body), (206, wanted, body), f"GET of part {number}")
        head = t.raw.request("HEAD", t.path(key), [("partNumber", str(number))])
        equal((head.status, int(head.headers["Content-Length"])), (206, len(body)), f"HEAD of part {number}")
        for answer in (get, head):
            equal(answer.headers.get("x-amz-mp-parts-count", "2"), "2", "the number of parts")
        at += len(body)
    equal(t.raw.request("GET", t.path(key), [("partNumber", "3")]).status, 416, "a part that is not there")
    equal(t.raw.request("HEAD", t.path(key), [("partNumber", "3")]).status, 416, "HEAD of it")


@case
def an_object_is_its_own_only_part(t):
    key = plain(t, "only")
    t.put(key, b"0123456789")
    get = t.raw.request("GET", t.path(key), [("partNumber", "1")])
    equal((get.status, get.body), (206, b"0123456789"), "GET")
    equal(t.raw.request("GET", t.path(key), [("partNumber", "2")]).status, 416, "a second part")
    refused(t.raw.request("GET", t.path(key), [("partNumber", "1")], {"range": "bytes=0-1"}), 400, "InvalidRequest")


@case(only="server")
def the_storages_checksum_in_checksum_mode(t):
    key, body = plain(t, "sum"), b"0123456789"
    t.put(key, body)
    names = [checksums.header(name).lower() for name in checksums.DIGESTS]

    def found(method, **headers):
        answer = t.raw.request(method, t.path(key), headers={"x-amz-checksum-mode": "ENABLED", **headers})
        return {name.lower(): value for name, value in answer.headers.items() if name.lower() in names}

    for method in ("GET", "HEAD"):
        equal(found(method), {checksums.header(name).lower(): checksums.value(name, body) for name in checksums.DIGESTS
                              if checksums.header(name).lower() in found(method)}, f"{method}'s checksums")
        true(len(found(method)) == 1, f"{method} told {found(method)}")
        equal(found(method, range="bytes=0-3"), {}, f"{method} of a range")
    equal({name: value for name, value in t.raw.request("HEAD", t.path(key)).headers.items() if name.lower() in names}, {}, "unasked")
    whole = t.s3.get_object_attributes(Bucket=t.bucket, Key=key, ObjectAttributes=["Checksum"]).get("Checksum", {})
    true(checksums.value("CRC64NVME", body) in whole.values() or checksums.value("CRC32C", body) in whole.values()
         or checksums.value("CRC32", body) in whole.values(), f"attributes {whole}")
