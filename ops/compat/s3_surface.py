"""The rest of the surface: attributes, conditions of deletions, arguments of listings, anonymous requests, headers."""

import os
import re
import secrets

import checksums
import servers
import sigv4
import target
from cases import case, data, equal, raises, refused, true
from s3_multipart import FIVE, Upload

EVERY = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def attributes(t, key, *names, **options):
    return t.s3.get_object_attributes(Bucket=t.bucket, Key=key, ObjectAttributes=list(names or EVERY), **options)


@case
def attributes_of_a_single_put(t):
    body = data(70_001, "attributes")
    put = t.s3.put_object(Bucket=t.bucket, Key="single", Body=body, ChecksumSHA256=checksums.value("SHA256", body))
    found = attributes(t, "single")
    equal(found["ETag"], put["ETag"].strip('"'), "ETag without quotes")
    equal(found["ObjectSize"], len(body), "ObjectSize")
    equal(found["StorageClass"], "STANDARD", "StorageClass")
    equal(found["Checksum"]["ChecksumSHA256"], checksums.value("SHA256", body), "checksum")
    true("ObjectParts" not in found, f"parts of a single PUT: {found}")
    head = t.s3.head_object(Bucket=t.bucket, Key="single")
    equal(found["LastModified"], head["LastModified"], "LastModified")


@case
def attributes_are_those_asked_for(t):
    t.s3.put_object(Bucket=t.bucket, Key="asked", Body=b"0123456789")
    for asked in ("ObjectSize", "ETag", "StorageClass"):
        found = attributes(t, "asked", asked)
        equal(sorted(name for name in found if name in (*EVERY, "VersionId")), [asked], "attributes")
    equal(attributes(t, "asked", "ObjectSize")["ObjectSize"], 10, "ObjectSize")


@case
def attributes_with_a_trailing_checksum(t):
    body = data(1000, "trailing")
    trailers = ((checksums.header("CRC64NVME"), checksums.value("CRC64NVME", body)),)
    answer = t.raw.request("PUT", t.path("trailing"), body=body, framing=sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=trailers))
    equal(answer.status, 200, f"answer {answer}")
    found = attributes(t, "trailing", "Checksum")["Checksum"]
    equal(found["ChecksumCRC64NVME"], checksums.value("CRC64NVME", body), "checksum")
    equal(found.get("ChecksumType", "FULL_OBJECT"), "FULL_OBJECT", "type")


@case
def attributes_of_a_multipart_upload(t):
    upload = Upload(t, "parts", ChecksumAlgorithm="CRC32")
    bodies = {1: data(FIVE, 1), 2: data(FIVE + 1, 2), 7: data(99, 7)}
    parts = []
    for number, body in bodies.items():
        sent = t.s3.upload_part(**upload.place, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]})
    done = t.s3.complete_multipart_upload(**upload.place, MultipartUpload={"Parts": parts})
    found = attributes(t, "parts")
    equal(found["ObjectSize"], sum(map(len, bodies.values())), "ObjectSize")
    equal(found["ETag"], done["ETag"].strip('"'), "ETag")
    equal(found["Checksum"]["ChecksumCRC32"].split("-")[0], done["ChecksumCRC32"].split("-")[0], "checksum")
    equal(found["ObjectParts"]["TotalPartsCount"], 3, "TotalPartsCount")
    equal([(part["PartNumber"], part["Size"], part["ChecksumCRC32"]) for part in found["ObjectParts"]["Parts"]],
          [(number, len(body), checksums.value("CRC32", body)) for number, body in bodies.items()], "parts")
    page = attributes(t, "parts", "ObjectParts", MaxParts=1, PartNumberMarker=1)["ObjectParts"]
    equal((page["TotalPartsCount"], page["PartNumberMarker"], page["NextPartNumberMarker"], page["MaxParts"], page["IsTruncated"]),
          (3, 1, 2, 1, True), "a page")
    equal([part["PartNumber"] for part in page["Parts"]], [2], "the page's parts")
    last = attributes(t, "parts", "ObjectParts", MaxParts=9, PartNumberMarker=2)["ObjectParts"]
    equal(([part["PartNumber"] for part in last["Parts"]], last["IsTruncated"]), ([7], False), "the last page")


@case
def attributes_that_are_none(t):
    t.s3.put_object(Bucket=t.bucket, Key="none", Body=b"x")
    refused(t.raw.request("GET", t.path("none"), [("attributes", "")]), 400, "InvalidArgument", "InvalidRequest")
    refused(t.raw.request("GET", t.path("none"), [("attributes", "")], {"x-amz-object-attributes": "Owner"}), 400, "InvalidArgument")
    refused(t.raw.request("GET", t.path("not-there"), [("attributes", "")], {"x-amz-object-attributes": "ETag"}), 404, "NoSuchKey")
    bad = {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "many"}
    refused(t.raw.request("GET", t.path("none"), [("attributes", "")], bad), 400, "InvalidArgument")


def moment(at) -> str:
    return at.strftime("%a, %d %b %Y %H:%M:%S GMT")


@case
def deletions_are_bound_to_size_and_time(t):
    key, body = "bound", b"0123456789"
    for header, right, wrong in (("size", lambda head: str(head["ContentLength"]), "11"),
                                 ("last-modified-time", lambda head: moment(head["LastModified"]), "Thu, 01 Jan 2015 00:00:00 GMT")):
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=body)
        name = f"x-amz-if-match-{header}"
        refused(t.raw.request("DELETE", t.path(key), headers={name: wrong}), 412, "PreconditionFailed")
        equal(t.get(key), body, "the object")
        refused(t.raw.request("DELETE", t.path(key), headers={name: "soon"}), 400, "InvalidArgument")
        head = t.s3.head_object(Bucket=t.bucket, Key=key)
        answer = t.raw.request("DELETE", t.path(key), headers={name: right(head), "if-match": head["ETag"]})
        equal(answer.status, 204, f"answer {answer}")
        refused(t.raw.request("DELETE", t.path(key), headers={name: right(head)}), 404, "NoSuchKey")


@case
def deletions_of_many_are_bound_each(t):
    for name in ("a", "b", "c"):
        t.s3.put_object(Bucket=t.bucket, Key=f"many/{name}", Body=b"0123456789")
    head = t.s3.head_object(Bucket=t.bucket, Key="many/b")
    answer = t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [
        {"Key": "many/a", "Size": 9}, {"Key": "many/b", "Size": 10, "LastModifiedTime": head["LastModified"], "ETag": head["ETag"]},
        {"Key": "many/c"}, {"Key": "many/none", "Size": 1}]})
    equal([each["Key"] for each in answer["Deleted"]], ["many/b", "many/c"], "deleted")
    equal([(each["Key"], each["Code"]) for each in answer["Errors"]], [("many/a", "PreconditionFailed"), ("many/none", "NoSuchKey")], "errors")
    equal(t.keys("many/"), ["many/a"], "left")


@case
def a_list_of_deletions_needs_a_digest(t):
    t.s3.put_object(Bucket=t.bucket, Key="digest", Body=b"x")
    body = b"<Delete><Object><Key>digest</Key></Object></Delete>"
    refused(t.raw.request("POST", t.path(), [("delete", "")], body=body), 400, "InvalidRequest", "MissingContentMD5")
    equal(t.get("digest"), b"x", "the object")
    for header, value in (("content-md5", checksums.content_md5(body)), (checksums.header("CRC32"), checksums.value("CRC32", body))):
        answer = t.raw.request("POST", t.path(), [("delete", "")], {header: value}, body)
        equal(answer.status, 200, f"answer {answer}")


@case
def buckets_come_in_pages(t):
    names = sorted(f"{t.bucket}-page-{number}" for number in range(3))
    for name in names:
        t.create_bucket(name)
    found, token = [], None
    while True:
        page = t.s3.list_buckets(Prefix=f"{t.bucket}-page-", MaxBuckets=2, **({"ContinuationToken": token} if token else {}))
        found += [bucket["Name"] for bucket in page["Buckets"]]
        token = page.get("ContinuationToken")
        if not token:
            break
        equal(len(page["Buckets"]), 2, "buckets on a page")
    equal(found, names, "buckets")
    equal([bucket["Name"] for bucket in t.s3.list_buckets(BucketRegion="mars-north-1")["Buckets"]], [], "buckets in another region")
    for bad in ("0", "10001", "x", "-1"):
        refused(t.raw.request("GET", "/", [("max-buckets", bad)]), 400, "InvalidArgument")
    refused(t.raw.request("GET", "/", [("continuation-token", "no token")]), 400, "InvalidArgument")


@case
def arguments_of_listings_are_checked(t):
    for name, query in (("max-keys", []), ("max-uploads", [("uploads", "")])):
        for bad in ("x", "-1", "99999999999"):
            refused(t.raw.request("GET", t.path(), [*query, (name, bad)]), 400, "InvalidArgument")
    refused(t.raw.request("GET", t.path(), [("encoding-type", "xml")]), 400, "InvalidArgument")
    t.s3.put_object(Bucket=t.bucket, Key="args/a", Body=b"x")
    none = t.s3.list_objects_v2(Bucket=t.bucket, MaxKeys=0)
    equal((none["KeyCount"], none["IsTruncated"], "Contents" in none), (0, False, False), "a page of none")
    equal(t.s3.list_objects_v2(Bucket=t.bucket, Prefix="args/", MaxKeys=5000)["MaxKeys"], 1000, "MaxKeys")
    first = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="args/", ContinuationToken="", Delimiter="")
    equal(([each["Key"] for each in first["Contents"]], first["ContinuationToken"], "Delimiter" in first), (["args/a"], "", False), "the first page")
    true("Owner" not in first["Contents"][0], "an owner nobody asked for")
    true("Owner" in t.s3.list_objects_v2(Bucket=t.bucket, Prefix="args/", FetchOwner=True)["Contents"][0], "no owner")
    true("Owner" in t.s3.list_objects(Bucket=t.bucket, Prefix="args/")["Contents"][0], "no owner in version 1")


def bare(t, method, path, headers=(), body=b""):
    """A request without a signature."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {t.raw.host}", f"Content-Length: {len(body)}", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
    return t.raw.exchange(("\r\n".join(lines) + "\r\n\r\n").encode(), body, method)


@case
def anonymous_requests(t):
    t.s3.put_object(Bucket=t.bucket, Key="private", Body=b"x")
    for method, path in (("GET", t.path("private")), ("GET", t.path()), ("PUT", t.path("anonymous")), ("DELETE", t.path("private"))):
        refused(bare(t, method, path), 403, "AccessDenied")
    equal(bare(t, "HEAD", t.path("private")).status, 403, "HEAD")
    refused(bare(t, "GET", "/no-such-bucket-anywhere/key"), 404, "NoSuchBucket")
    refused(bare(t, "GET", t.path("private"), [("Authorization", "")]), 403, "AccessDenied")
    refused(bare(t, "GET", t.path("private") + "?response-content-type=text/html"), (400, 403), "InvalidRequest", "AccessDenied")
    equal(t.get("private"), b"x", "the object")


@case
def authorization_headers_that_are_none(t):
    if not t.target.is_gateway:
        return  # Each server has codes of its own here; these are S3's.
    for value, status, code in (("AWS4-HMAC-SHA256", 400, "InvalidArgument"), ("AWS4-HMAC-SHA256 Credential=a", 400, "AuthorizationHeaderMalformed"),
                                ("Bearer token", 400, "InvalidArgument"), ("AWS key:signature", 400, "InvalidRequest")):
        refused(bare(t, "GET", t.path(), [("Authorization", value)]), status, code)
    scope = f"{t.credentials.access_key}/{sigv4.scope(t.credentials, sigv4.timestamp())}"
    dateless = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    refused(bare(t, "GET", t.path(), [("Authorization", dateless)]), 403, "AccessDenied")
    refused(bare(t, "GET", t.path(), [("Authorization", dateless), ("x-amz-date", "yesterday")]), 403, "AccessDenied")


@case
def what_was_told_of_another_object_is_ignored(t):
    """AWS SDK for Java v1 and s3cmd send back all that they were told; Trino asks every listing for RestoreStatus."""
    told = {"x-amz-version-id": "null", "x-amz-request-id": "1", "x-amz-id-2": "2", "x-amz-expiration": 'expiry-date="x"', "x-amz-restore": 'ongoing-request="false"',
            "x-amz-replication-status": "COMPLETED", "x-amz-tagging-count": "2", "x-amz-mp-parts-count": "3", "x-amz-server-side-encryption": "AES256"}
    if not t.target.is_gateway:
        del told["x-amz-server-side-encryption"]
    equal(t.raw.request("PUT", t.path("echoed"), headers=told, body=b"x").status, 200, "status")
    equal(t.get("echoed"), b"x", "body")
    for query in ([], [("list-type", "2")]):
        found = t.raw.request("GET", f"/{t.bucket}", [*query, ("prefix", "echoed")], {"x-amz-optional-object-attributes": "RestoreStatus"})
        true(found.status == 200 and b"<Key>echoed</Key>" in found.body and b"RestoreStatus" not in found.body, f"listing {query}: {found}")


@case
def what_asks_for_encryption(t):
    put = t.s3.put_object(Bucket=t.bucket, Key="sse", Body=b"x", ServerSideEncryption="AES256")
    if t.target.is_gateway:
        equal(put.get("ServerSideEncryption"), "AES256", "the answer to PUT")
        equal(t.s3.head_object(Bucket=t.bucket, Key="sse").get("ServerSideEncryption"), "AES256", "HEAD")
        created = t.s3.create_multipart_upload(Bucket=t.bucket, Key="sse-parts", ServerSideEncryption="AES256")
        equal(created.get("ServerSideEncryption"), "AES256", "the answer to CreateMultipartUpload")
        refused(t.raw.request("PUT", t.path("kms"), headers={"x-amz-server-side-encryption": "aws:kms"}, body=b"x"), 501, "NotImplemented")
        key = b"k" * 32
        own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        # Over TLS it is NotImplemented; in clear S3 takes no key at all.
        with raises("InvalidRequest", status=400):
            t.s3.put_object(Bucket=t.bucket, Key="own", Body=b"x", **own)
        with raises("InvalidRequest", status=400):
            t.s3.get_object(Bucket=t.bucket, Key="sse", **own)
    refused(t.raw.request("PUT", t.path("bad"), headers={"x-amz-server-side-encryption": "aes:kms"}, body=b"x"), 400, "InvalidArgument", "InvalidEncryptionAlgorithmError", "InvalidEncryptionMethod")
    head = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
    answer = t.raw.request("PUT", t.path("keyless"), headers=head, body=b"x")
    equal((answer.status, t.keys("keyless")), (400, []), f"SSE-C without a key: {answer}")


def cors(t, **rule):
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.example"], **rule}
    t.s3.put_bucket_cors(Bucket=t.bucket, CORSConfiguration={"CORSRules": [rule, {"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"]}]})


def no_cors(t) -> bool:
    """Whether the storage keeps no CORS configuration at all."""
    name = t.target.backend.name if t.target.is_gateway and t.target.backend else ""
    return name == "minio"


@case
def preflights_are_answered_by_the_buckets_rules(t):
    path, page = t.path("cors"), [("Origin", "https://a.example")]
    ask = [*page, ("Access-Control-Request-Method", "GET")]
    refused(bare(t, "OPTIONS", path), 400, "BadRequest", "InvalidRequest")
    refused(bare(t, "OPTIONS", path, page), 400, "BadRequest", "InvalidRequest")
    if t.target.is_gateway:
        refused(bare(t, "OPTIONS", path, ask), 403, "AccessForbidden")
    if no_cors(t):
        return
    cors(t, AllowedHeaders=["x-amz-*"], ExposeHeaders=["ETag"], MaxAgeSeconds=60)
    answer = bare(t, "OPTIONS", path, [*ask, ("Access-Control-Request-Headers", "X-Amz-Date, x-amz-meta-a")])
    equal(answer.status, 200, f"answer {answer}")
    told = {name.lower(): value for name, value in answer.headers.items()}
    equal((told["access-control-allow-origin"], told["access-control-allow-methods"], told["access-control-max-age"], told["access-control-expose-headers"]),
          ("https://a.example", "GET", "60", "ETag"), "headers")
    equal(told["access-control-allow-headers"].lower().replace(" ", ""), "x-amz-date,x-amz-meta-a", "allowed headers")
    refused(bare(t, "OPTIONS", path, [*ask, ("Access-Control-Request-Headers", "x-other")]), 403, "AccessForbidden")
    refused(bare(t, "OPTIONS", path, [*page, ("Access-Control-Request-Method", "DELETE")]), 403, "AccessForbidden")
    other = bare(t, "OPTIONS", path, [("Origin", "https://elsewhere"), ("Access-Control-Request-Method", "PUT")])
    equal((other.status, other.headers["Access-Control-Allow-Origin"], other.headers["Access-Control-Allow-Methods"]), (200, "*", "PUT"), "the second rule")


@case
def answers_to_pages_carry_cors(t):
    if no_cors(t):
        return
    cors(t)
    t.s3.put_object(Bucket=t.bucket, Key="page", Body=b"for a page")
    def told(answer):
        return answer.headers.get("Access-Control-Allow-Origin")
    url = t.raw.presigned
    equal(told(url("GET", t.path("page"))), None, "without an origin")
    found = url("GET", t.path("page"), alter=lambda headers: headers.update({"origin": "https://a.example"}))
    equal((found.status, found.body, told(found)), (200, b"for a page", "https://a.example"), "a page's GET")
    denied = bare(t, "GET", t.path("page"), [("Origin", "https://a.example")])
    equal((denied.status, told(denied)), (403, "https://a.example"), "a refusal that a page can read")
    equal(told(url("GET", t.path("page"), alter=lambda headers: headers.update({"origin": "https://elsewhere"}))), None, "another page")
    t.s3.delete_bucket_cors(Bucket=t.bucket)
    gone = url("GET", t.path("page"), alter=lambda headers: headers.update({"origin": "https://a.example"}))
    equal((gone.status, told(gone)), (200, None), "after the rules are deleted")


@case(gateway_only=True)
def the_access_log_is_in_s3s_format(t):
    kept = os.environ.get("SEALGATE_LOG")
    os.environ["SEALGATE_LOG"] = "warn,access=info"
    try:
        gateway = target.Gateway(t.target.binary, t.target.backend)
    finally:
        os.environ.pop("SEALGATE_LOG") if kept is None else os.environ.update(SEALGATE_LOG=kept)
    try:
        own = type(t)(gateway, f"log-{secrets.token_hex(4)}", t.size)
        own.create_bucket(own.bucket)
        own.raw.request("PUT", own.path("a b"), body=data(70_000))
        own.raw.presigned("GET", own.path("a b"), headers={"user-agent": 'say "x"'})
        bare(own, "GET", own.path("a b"))
        own.s3.delete_object(Bucket=own.bucket, Key="a b")
        own.s3.delete_bucket(Bucket=own.bucket)
        lines = servers.wait_until("the access log", gateway.process, lambda: logged(gateway, own.bucket, 6), log=gateway.log)
        lines = logged(gateway, own.bucket, 6)
    finally:
        gateway.stop()
    # S3's own fields, then three of the gateway's.
    shape = re.compile(r'(\S+) (\S+) \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000)\] (\S+) (\S+) (\S+) (\S+) (\S+) "([^"]*)" (\d{3}) (\S+) (\S+) (\S+) (\d+) (\d+) '
                       r'"([^"]*)" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)')
    found = [shape.fullmatch(line) for line in lines]
    true(all(found), f"not S3's format: {lines}")
    equal([each[7] for each in found], ["REST.PUT.BUCKET", "REST.PUT.OBJECT", "REST.GET.OBJECT", "REST.GET.OBJECT", "REST.DELETE.OBJECT", "REST.DELETE.BUCKET"],
          "operations")
    put, get, denied = found[1:4]
    equal((put[5], put[8], put[10], put[13], put[20], put[22]), (own.target.access_key, "a%20b", "200", "70000", "SigV4", "AuthHeader"), "the PUT")
    equal((get[12], get[13], get[17], get[22], get[27]), ("70000", "70000", "say %22x%22", "QueryString", put[27]), "the GET")
    true(int(get[27]) > 70_000, f"the stored size is {get[27]}")
    true("X-Amz-Signature=REDACTED" in get[9] and "X-Amz-Expires=900" in get[9], f"the presigned URL: {get[9]}")
    equal((denied[5], denied[10], denied[11], denied[20]), ("-", "403", "AccessDenied", "-"), "the anonymous GET")
    if t.target.backend:
        true(get[28] != "-", "no request id of the storage")


def logged(gateway, bucket, least) -> list[str]:
    """The access lines about a bucket, when there are so many."""
    with open(gateway.log, encoding="utf-8", errors="replace") as file:
        lines = [line.rstrip("\n").split(" access: ", 1)[1] for line in file if " access: " in line]
    lines = [line for line in lines if f" {bucket} " in line]
    return lines if len(lines) >= least else []
