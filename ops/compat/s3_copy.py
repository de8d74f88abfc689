"""CopyObject: bytes, metadata, conditions, names, versions of the source; between buckets, and between encrypted and plain prefixes."""

import datetime

import sigv4
from cases import case, data, equal, raises, refused, true, within
from s3_multipart import FIVE, Upload
from s3_plain import plain

HEADERS = {"ContentType": "text/x-mine", "CacheControl": "no-cache", "ContentDisposition": 'attachment; filename="a b"',
           "ContentLanguage": "tlh", "ContentEncoding": "x-mine", "Metadata": {"mine": "1", "long": "compressible " * 60}}


def put(t, key, body, **options):
    return t.s3.put_object(Bucket=t.bucket, Key=key, Body=body, **options)


def copy(t, source, target, bucket=None, source_bucket=None, **options):
    return t.s3.copy_object(Bucket=bucket or t.bucket, Key=target, CopySource={"Bucket": source_bucket or t.bucket, "Key": source}, **options)


def other_bucket(t) -> str:
    """A second bucket of the suite's own."""
    name = f"{t.bucket}-2"
    if not getattr(t, "has_other", False):
        t.create_bucket(name)
        t.has_other = True
    return name


def holds(t, key, body, etag=None, bucket=None):
    """The object is these bytes, whole and in ranges, with this size and ETag everywhere."""
    place = {"Bucket": bucket or t.bucket, "Key": key}
    found = t.s3.get_object(**place)
    equal(found["ContentLength"], len(body), f"Content-Length of {key}")
    true(found["Body"].read() == body, f"{key} holds other bytes")
    etag = etag or found["ETag"]
    head = t.s3.head_object(**place)
    equal((found["ETag"], head["ETag"], head["ContentLength"]), (etag, etag, len(body)), f"ETags and length of {key}")
    listed = t.s3.list_objects_v2(Bucket=place["Bucket"], Prefix=key)["Contents"][0]
    equal((listed["Key"], listed["Size"], listed["ETag"]), (key, len(body), etag), f"LIST's entry of {key}")
    if len(body) > 10:
        middle = len(body) // 2
        ranged = t.s3.get_object(**place, Range=f"bytes={middle - 3}-{middle + 3}")
        equal((ranged["Body"].read(), ranged["ETag"]), (body[middle - 3:middle + 4], etag), f"a range of {key}")
    return head


def described(head) -> dict:
    return {name: head.get(name) for name in HEADERS}


@case
def lengths(t):
    for length in (0, 1, 4096, 65535, 65536, 65537, 1_000_003, FIVE, FIVE + 1):
        body = data(length, "copy")
        put(t, f"length/{length}", body)
        answer = copy(t, f"length/{length}", f"copied/{length}")
        holds(t, f"copied/{length}", body, answer["CopyObjectResult"]["ETag"])
        age = datetime.datetime.now(datetime.timezone.utc) - answer["CopyObjectResult"]["LastModified"]
        true(abs(age.total_seconds()) < 300, f"LastModified {answer['CopyObjectResult']['LastModified']}")


@case
def metadata_is_the_sources_or_the_requests(t):
    put(t, "described", b"text", **HEADERS)
    copy(t, "described", "kept", Metadata={"ignored": "1"}, ContentType="text/ignored")
    wanted = {**HEADERS, "Metadata": {**HEADERS["Metadata"], "long": HEADERS["Metadata"]["long"].strip()}}
    equal(described(holds(t, "kept", b"text")), wanted, "metadata and headers")
    copy(t, "described", "replaced", MetadataDirective="REPLACE", ContentType="text/new", Metadata={"new": "ü".encode().hex()})
    head = holds(t, "replaced", b"text")
    equal((head["ContentType"], head["Metadata"], head.get("CacheControl")), ("text/new", {"new": "c3bc"}, None), "what replaced them")
    copy(t, "described", "bare", MetadataDirective="REPLACE")
    head = holds(t, "bare", b"text")
    equal((head["ContentType"], head["Metadata"]), ("binary/octet-stream", {}), "nothing in their place")
    put(t, "undescribed", b"text")
    copy(t, "undescribed", "described-now", MetadataDirective="REPLACE", Metadata={"a": "b"})
    equal(holds(t, "described-now", b"text")["Metadata"], {"a": "b"}, "metadata where there was none")


@case
def onto_itself(t):
    before = put(t, "itself", data(100_000, "itself"), Metadata={"old": "1"})["ETag"]
    with raises("InvalidRequest", status=400):
        copy(t, "itself", "itself")
    equal(t.s3.head_object(Bucket=t.bucket, Key="itself")["ETag"], before, "the ETag of what was not copied")
    for round in range(3):
        copy(t, "itself", "itself", MetadataDirective="REPLACE", Metadata={"round": str(round)})
        equal(holds(t, "itself", data(100_000, "itself"))["Metadata"], {"round": str(round)}, "metadata")
    copy(t, "itself", "itself", StorageClass="STANDARD")
    equal(holds(t, "itself", data(100_000, "itself"))["Metadata"], {"round": "2"}, "metadata")


@case
def sources_that_are_gone_or_other_afterwards(t):
    first, second = data(200_000, "first"), data(1000, "second")
    put(t, "fleeting", first)
    copy(t, "fleeting", "of-fleeting")
    put(t, "fleeting", second)
    holds(t, "of-fleeting", first)
    holds(t, "fleeting", second)
    t.s3.delete_object(Bucket=t.bucket, Key="fleeting")
    holds(t, "of-fleeting", first)
    copy(t, "of-fleeting", "of-a-copy")
    t.s3.delete_object(Bucket=t.bucket, Key="of-fleeting")
    holds(t, "of-a-copy", first)


@case
def the_target_is_replaced_whole(t):
    put(t, "small", b"small", Metadata={"a": "1"})
    put(t, "target", data(300_000, "target"), Metadata={"b": "2"})
    copy(t, "small", "target")
    equal(holds(t, "target", b"small")["Metadata"], {"a": "1"}, "metadata")


@case
def odd_names(t):
    for key in ("a b", "a+b", "a%2Fb", "a%20b", "größe 日本語", "?versionId", "k?versionId=x", "&=;,:@", "a/b//c" if not t.target.backend else "a/b/c",
                " ", "_", "dots...", "quote\"'<>"):
        body = data(1000, key)
        put(t, f"odd/{key}", body)
        copy(t, f"odd/{key}", f"odd-copied/{key}")
        equal(t.get(f"odd-copied/{key}"), body, f"the copy of {key!r}")


@case
def sources_as_they_may_be_written(t):
    put(t, "written/a b", b"written")
    for source in (f"/{t.bucket}/written/a%20b", f"{t.bucket}/written/a%20b", f"{t.bucket}/written%2Fa%20b", f"%2F{t.bucket}%2Fwritten%2Fa%20b"):
        answer = t.raw.request("PUT", t.path("written/target"), headers={"x-amz-copy-source": source})
        equal((answer.status, t.get("written/target")), (200, b"written"), f"copy from {source}: {answer}")
        t.s3.delete_object(Bucket=t.bucket, Key="written/target")


@case
def sources_that_name_nothing(t):
    put(t, "there", b"x")
    for source, status, codes in (
        ("", 400, ("InvalidArgument",)), ("/", 400, ("InvalidArgument",)), (t.bucket, 400, ("InvalidArgument",)),
        (f"{t.bucket}/", 400, ("InvalidArgument",)), (f"{t.bucket}/missing", 404, ("NoSuchKey",)),
        (f"{t.bucket}-missing/there", 404, ("NoSuchBucket",)),
    ):
        answer = t.raw.request("PUT", t.path("from-nothing"), headers={"x-amz-copy-source": source})
        refused(answer, status, *codes)
    equal(t.keys("from-nothing"), [], "what was made of them")
    answer = t.raw.request("PUT", sigv4.encode_path(f"{t.bucket}-missing", "k"), headers={"x-amz-copy-source": f"{t.bucket}/there"})
    refused(answer, 404, "NoSuchBucket")


@case
def conditions_on_the_source(t):
    etag = put(t, "condition", b"condition")["ETag"]
    now = datetime.datetime.now(datetime.timezone.utc)
    before, after = now - datetime.timedelta(days=1), now + datetime.timedelta(seconds=-1)
    other = '"' + "0" * 32 + '"'
    for options in ({"CopySourceIfMatch": etag}, {"CopySourceIfMatch": etag.strip('"')}, {"CopySourceIfNoneMatch": other},
                    {"CopySourceIfModifiedSince": before}, {"CopySourceIfUnmodifiedSince": now + datetime.timedelta(days=1)},
                    {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": before}):
        copy(t, "condition", "condition-copy", **options)
        equal(t.get("condition-copy"), b"condition", f"copy with {options}")
        t.s3.delete_object(Bucket=t.bucket, Key="condition-copy")
    for options in ({"CopySourceIfMatch": other}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfUnmodifiedSince": before},
                    {"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": before}, {"CopySourceIfMatch": other, "CopySourceIfUnmodifiedSince": after}):
        with raises("PreconditionFailed", status=412):
            copy(t, "condition", "condition-copy", **options)
    equal(t.keys("condition-copy"), [], "what was made in spite of them")


@case
def conditions_on_the_target(t):
    if not t.target.is_gateway:
        return
    put(t, "for-target", b"new")
    etag = put(t, "target-there", b"old")["ETag"]
    with raises("PreconditionFailed", status=412):
        copy(t, "for-target", "target-there", IfNoneMatch="*")
    with raises("PreconditionFailed", status=412):
        copy(t, "for-target", "target-there", IfMatch='"' + "0" * 32 + '"')
    equal(t.get("target-there"), b"old", "what was there")
    copy(t, "for-target", "target-new", IfNoneMatch="*")
    copy(t, "for-target", "target-there", IfMatch=etag)
    equal((t.get("target-new"), t.get("target-there")), (b"new", b"new"), "copies whose conditions hold")
    with raises("PreconditionFailed", status=412):
        copy(t, "for-target", "target-there", IfMatch=etag)
    with raises("NoSuchKey", "PreconditionFailed"):
        copy(t, "for-target", "target-missing", IfMatch=etag)
    equal(t.keys("target-missing"), [], "what was made in place of nothing")


@case
def of_an_upload_in_parts(t):
    upload = Upload(t, "parts", Metadata={"of": "parts"}, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    for number, size in ((1, FIVE), (2, FIVE + 12_345), (7, 777)):
        upload.part(number, data(size, number), ChecksumAlgorithm="CRC32")
    checksum = upload.complete()["ChecksumCRC32"]
    copy(t, "parts", "parts-copy")
    equal(holds(t, "parts-copy", upload.body())["Metadata"], {"of": "parts"}, "metadata")
    end = t.s3.get_object(Bucket=t.bucket, Key="parts-copy", Range="bytes=-1000")["Body"].read()
    true(end == upload.body()[-1000:], "the end holds other bytes")
    over = t.s3.get_object(Bucket=t.bucket, Key="parts-copy", Range=f"bytes={FIVE - 5}-{FIVE + 5}")["Body"].read()
    equal(over, upload.body()[FIVE - 5:FIVE + 6], "a range over a part's end")
    head = t.s3.head_object(Bucket=t.bucket, Key="parts-copy", ChecksumMode="ENABLED")
    equal(head.get("ChecksumCRC32"), checksum, "the checksum of all bytes")


@case
def checksums(t):
    if not t.target.is_gateway:
        return
    body = data(70_000, "checksum")
    sent = put(t, "checksum", body, ChecksumAlgorithm="SHA256")["ChecksumSHA256"]
    result = copy(t, "checksum", "checksum-kept")["CopyObjectResult"]
    equal((result.get("ChecksumSHA256"), result.get("ChecksumType")), (sent, "FULL_OBJECT"), "the checksum that the copy's answer shows")
    copy(t, "checksum", "checksum-replaced", MetadataDirective="REPLACE", Metadata={"a": "b"})
    for key in ("checksum-kept", "checksum-replaced"):
        equal(t.s3.head_object(Bucket=t.bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256"), sent, f"checksum of {key}")
    wanted = put(t, "checksum-crc", body, ChecksumAlgorithm="CRC32")["ChecksumCRC32"]
    result = copy(t, "checksum", "checksum-other", ChecksumAlgorithm="CRC32")["CopyObjectResult"]
    equal(result.get("ChecksumCRC32"), wanted, "the checksum that was asked for")
    head = t.s3.head_object(Bucket=t.bucket, Key="checksum-other", ChecksumMode="ENABLED")
    equal((head.get("ChecksumCRC32"), head.get("ChecksumSHA256")), (wanted, None), "checksums of the copy")
    answer = t.raw.request("PUT", t.path("checksum-none"), headers={"x-amz-copy-source": f"{t.bucket}/checksum", "x-amz-checksum-algorithm": "CRC9"})
    refused(answer, 400, "InvalidRequest")


@case
def between_buckets(t):
    there = other_bucket(t)
    for length in (0, 100_000):
        body = data(length, "between")
        put(t, f"between/{length}", body, Metadata={"from": "here"}, ContentType="text/x-between")
        copy(t, f"between/{length}", f"arrived/{length}", bucket=there)
        head = holds(t, f"arrived/{length}", body, bucket=there)
        equal((head["Metadata"], head["ContentType"]), ({"from": "here"}, "text/x-between"), "metadata and type")
        copy(t, f"arrived/{length}", f"returned/{length}", source_bucket=there)
        holds(t, f"returned/{length}", body)
    upload = Upload(t, "between-parts")
    for number, size in ((1, FIVE), (2, 1000)):
        upload.part(number, data(size, number))
    upload.complete()
    copy(t, "between-parts", "arrived-parts", bucket=there)
    holds(t, "arrived-parts", upload.body(), bucket=there)


@case
def between_encrypted_and_plain(t):
    if not t.target.is_gateway:
        return
    body = data(150_000, "plain")
    put(t, "encrypted", body, **HEADERS)
    wanted = {**HEADERS, "Metadata": {**HEADERS["Metadata"], "long": HEADERS["Metadata"]["long"].strip()}}
    for source, target in (("encrypted", plain(t, "decrypted")), (plain(t, "decrypted"), plain(t, "copied")), (plain(t, "copied"), "encrypted-again")):
        copy(t, source, target)
        equal(described(holds(t, target, body)), wanted, f"metadata and headers of {target}")
    copy(t, plain(t, "copied"), plain(t, "copied"), MetadataDirective="REPLACE", Metadata={"only": "this"})
    equal(holds(t, plain(t, "copied"), body)["Metadata"], {"only": "this"}, "metadata of a plain object")
    upload = Upload(t, "encrypted-parts")
    for number, size in ((1, FIVE), (2, 1000)):
        upload.part(number, data(size, number))
    upload.complete()
    copy(t, "encrypted-parts", plain(t, "decrypted-parts"))
    equal(t.get(plain(t, "decrypted-parts")), upload.body(), "the plain copy of an upload in parts")


@case
def empty_objects_and_markers(t):
    put(t, "nothing", b"", Metadata={"a": "1"})
    put(t, "marker/", b"", ContentType="application/x-directory")
    for source, target in (("nothing", "nothing-2"), ("marker/", "marker-2/"), ("nothing", "made-marker/"), ("marker/", "no-marker")):
        copy(t, source, target)
        equal((t.get(target), t.s3.head_object(Bucket=t.bucket, Key=target)["ContentLength"]), (b"", 0), f"the copy {target} of {source}")
    equal(t.s3.head_object(Bucket=t.bucket, Key="nothing-2")["Metadata"], {"a": "1"}, "metadata of an empty copy")
    put(t, "full", b"full")
    if not t.target.backend:
        copy(t, "full", "full-marker/")
        equal(t.get("full-marker/"), b"full", "a body under a name that ends in a slash")


@case
def what_cannot_be_asked(t):
    put(t, "asked", b"x")
    source = {"x-amz-copy-source": f"{t.bucket}/asked"}
    for headers, code in (({"x-amz-metadata-directive": "MERGE"}, "InvalidArgument"), ({"x-amz-tagging-directive": "MERGE"}, "InvalidArgument")):
        refused(t.raw.request("PUT", t.path("asked-copy"), headers={**source, **headers}), 400, code)
    if t.target.is_gateway:
        for headers, status, code in (({"x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256"}, 501, "NotImplemented"),
                                      ({"x-amz-source-expected-bucket-owner": "1"}, 403, "AccessDenied")):
            refused(t.raw.request("PUT", t.path("asked-copy"), headers={**source, **headers}), status, code)
        answer = t.raw.request("PUT", t.path("asked-copy"), headers={"x-amz-copy-source": f"{t.bucket}/.sealgate/v1/bucket"})
        refused(answer, 403, "AccessDenied")
        answer = t.raw.request("PUT", t.path("asked-copy"), headers={"x-amz-copy-source": f"{t.bucket}/%2Esealgate%2Fv1%2Fbucket"})
        refused(answer, 403, "AccessDenied")
    within(t.raw.request("PUT", t.path("asked-copy"), headers={**source, "x-amz-copy-source-if-match": "x"}).status, (412,), "status")
    equal(t.keys("asked-copy"), [], "what was made in spite of it")


@case
def tags_come_along_or_are_the_requests(t):
    def tags(key, bucket=None):
        return {tag["Key"]: tag["Value"] for tag in t.s3.get_object_tagging(Bucket=bucket or t.bucket, Key=key)["TagSet"]}

    put(t, "tagged", data(1000, "tagged"), Tagging="a=1&b+c=d%2Fe%3A%40")
    wanted = {"a": "1", "b c": "d/e:@"}
    copy(t, "tagged", "tagged-too")
    copy(t, "tagged", "retagged", TaggingDirective="REPLACE", Tagging="x=y")
    copy(t, "tagged", "untagged", TaggingDirective="REPLACE")
    equal((tags("tagged-too"), tags("retagged"), tags("untagged")), (wanted, {"x": "y"}, {}), "tags of the copies")
    # Written anew, not by the storage's own copy: another checksum is asked for.
    copy(t, "tagged", "tagged-anew", ChecksumAlgorithm="SHA1")
    equal(tags("tagged-anew"), wanted, "tags of an object that was written anew")


@case
def a_moved_tree(t):
    bodies = {f"tree/{name}": data(size, name) for name, size in (("a", 10), ("b/c", 70_000), ("b/d", 0))}
    for key, body in bodies.items():
        put(t, key, body)
    for key in bodies:
        copy(t, key, f"moved/{key}")
        t.s3.delete_object(Bucket=t.bucket, Key=key)
    equal({key: t.get(key) for key in t.keys("moved/")}, {f"moved/{key}": body for key, body in bodies.items()}, "the moved tree")
    equal(t.keys("tree/"), [], "what stayed")
