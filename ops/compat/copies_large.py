"""Bodies above the storage's largest PUT, which a gateway puts and copies in parts: here of 10 MiB, so that no 5 GiB are needed."""

import cases
import target
from cases import case, data, equal, raises, refused, true
from s3_multipart import FIVE, Upload

LIMIT = 10 << 20


def small(t) -> cases.Context:
    """A gateway before the same storage that takes it for one with a smaller largest PUT, with objects above it."""
    def make():
        gateway = target.Gateway(t.target.binary, t.target.backend, ["--largest-put", str(LIMIT)])
        t.closing.callback(gateway.stop)
        context = cases.Context(gateway, f"{t.bucket}-small", t.size)
        context.create_bucket(context.bucket)
        # What cannot be sent at once comes in parts, or in as many bytes as just fit.
        upload = Upload(context, "parted", Metadata={"of": "parts"}, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
        for number, size in ((1, FIVE + 7), (4, FIVE), (9, 100_000)):
            upload.part(number, data(size, number), ChecksumAlgorithm="CRC32")
        context.checksum, context.parted = upload.complete()["ChecksumCRC32"], upload.body()
        return context

    return t.shared("small", make)


def copy(context, key, **options) -> str:
    """The ETag of the copy."""
    options = {"Bucket": context.bucket, "CopySource": {"Bucket": context.bucket, "Key": "parted"}, **options}
    return context.s3.copy_object(Key=key, **options)["CopyObjectResult"]["ETag"]


def holds(context, key, etag, bucket=None):
    """The key has the object of parts, whole and in ranges, under that ETag, and nothing of its making is left."""
    place = {"Bucket": bucket or context.bucket, "Key": key}
    answer = context.s3.get_object(**place)
    equal((answer["ETag"], answer["ContentLength"]), (etag, len(context.parted)), "ETag and length")
    true(answer["Body"].read() == context.parted, "the copy is another")
    middle = len(context.parted) // 2
    ranged = context.s3.get_object(**place, Range=f"bytes={middle - 100_000}-{middle + 100_000}")
    true(ranged["Body"].read() == context.parted[middle - 100_000:middle + 100_001], "a range over the end of a copied part is another")
    (listed,) = context.s3.list_objects_v2(Bucket=place["Bucket"], Prefix=key)["Contents"]
    equal((listed["Size"], listed["ETag"]), (len(context.parted), etag), "LIST's entry")
    equal(context.s3.list_multipart_uploads(Bucket=place["Bucket"]).get("Uploads", []), [], "uploads that are left")


@case
def an_object_of_parts(t):
    there = small(t)
    etag = copy(there, "copied")
    true(etag.strip('"').endswith("-2"), f"the storage copied it as a whole: {etag}")
    holds(there, "copied", etag)
    head = there.s3.head_object(Bucket=there.bucket, Key="copied", ChecksumMode="ENABLED")
    equal((head["Metadata"], head["ChecksumCRC32"]), ({"of": "parts"}, there.checksum), "metadata and checksum")
    part = there.s3.get_object(Bucket=there.bucket, Key="copied", PartNumber=4)
    true(part["Body"].read() == data(FIVE, 4) and part["PartsCount"] == 3, "its own part 4 is another")


@case
def with_other_metadata_and_tags(t):
    there = small(t)
    etag = copy(there, "described", MetadataDirective="REPLACE", Metadata={"of": "the copy"}, ContentType="text/large",
                TaggingDirective="REPLACE", Tagging="a=1")
    holds(there, "described", etag)
    head = there.s3.head_object(Bucket=there.bucket, Key="described")
    equal((head["Metadata"], head["ContentType"]), ({"of": "the copy"}, "text/large"), "what describes it")
    equal(there.s3.get_object_tagging(Bucket=there.bucket, Key="described")["TagSet"], [{"Key": "a", "Value": "1"}], "tags")


@case
def into_another_bucket(t):
    there = small(t)
    bucket = there.fresh_bucket()
    holds(there, "moved", copy(there, "moved", Bucket=bucket), bucket)


@case
def with_another_checksum(t):
    there = small(t)
    etag = copy(there, "summed", ChecksumAlgorithm="SHA256")
    holds(there, "summed", etag)
    true("ChecksumSHA256" in there.s3.head_object(Bucket=there.bucket, Key="summed", ChecksumMode="ENABLED"), "no checksum")


@case
def conditions_on_the_target(t):
    there = small(t)
    etag = there.put("target", b"there")["ETag"]
    with raises("PreconditionFailed", status=412):
        copy(there, "target", IfNoneMatch="*")
    with raises("PreconditionFailed", status=412):
        copy(there, "target", IfMatch='"0123456789abcdef0123456789abcdef-1"')
    equal(there.get("target"), b"there", "what was there")
    equal(there.s3.list_multipart_uploads(Bucket=there.bucket).get("Uploads", []), [], "uploads that are left")
    holds(there, "target", copy(there, "target", IfMatch=etag))


@case
def conditions_on_the_source(t):
    there = small(t)
    with raises("PreconditionFailed", status=412):
        copy(there, "unmatched", CopySourceIfMatch='"0123456789abcdef0123456789abcdef-3"')
    equal(there.keys("unmatched"), [], "keys")


@case
def a_put_of_exactly_so_much(t):
    there, body = small(t), data(LIMIT, "exact")
    answer = there.put("exact", body, Metadata={"a": "1"})
    head = there.s3.head_object(Bucket=there.bucket, Key="exact")
    equal((head["ContentLength"], head["ETag"], head["Metadata"]), (LIMIT, answer["ETag"], {"a": "1"}), "HEAD")
    true(there.get("exact") == body, "another body")
    with raises("PreconditionFailed", status=412):
        there.put("exact", body, IfNoneMatch="*")
    equal(there.s3.list_multipart_uploads(Bucket=there.bucket).get("Uploads", []), [], "uploads that are left")
    refused(there.raw.request("PUT", there.path("exact"), body=body + b"x"), 400, "EntityTooLarge")


@case
def a_version_of_it(t):
    there = small(t)
    bucket = there.fresh_bucket()
    there.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    copy(there, "version", Bucket=bucket)
    first = there.s3.head_object(Bucket=bucket, Key="version")
    there.s3.put_object(Bucket=bucket, Key="version", Body=b"newer")
    source = {"Bucket": bucket, "Key": "version", "VersionId": first["VersionId"]}
    answer = there.s3.copy_object(Bucket=bucket, Key="of-a-version", CopySource=source)
    equal(answer["CopySourceVersionId"], first["VersionId"], "the source's version")
    holds(there, "of-a-version", answer["CopyObjectResult"]["ETag"], bucket)


@case(seconds=900, sizes=("acceptance",))
def more_than_five_gib(t):
    """Really so many: S3 refuses to copy them at once, and the storage can copy parts of them."""
    piece, count = data(64 << 20, "piece"), 81
    size = count * len(piece)
    t.put("piece", piece)
    place = {"Bucket": t.bucket, "Key": "huge"}
    upload = {**place, "UploadId": t.s3.create_multipart_upload(**place)["UploadId"]}
    etags = [t.s3.upload_part_copy(**upload, PartNumber=number, CopySource={"Bucket": t.bucket, "Key": "piece"})["CopyPartResult"]["ETag"]
             for number in range(1, count + 1)]
    t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]})
    # What is found after 20 s comes with a 200.
    made = t.s3.copy_object(Bucket=t.bucket, Key="huge-copy", CopySource=place)["CopyObjectResult"]
    head = t.s3.head_object(Bucket=t.bucket, Key="huge-copy")
    equal((head["ContentLength"], head["ETag"]), (size, made["ETag"]), "length and ETag")
    for first in (0, size // 2 - 5, (5 << 30) - 5, size - 10):
        found = t.get("huge-copy", Range=f"bytes={first}-{first + 9}")
        equal(found, b"".join(piece[(first + at) % len(piece):][:1] for at in range(10)), f"bytes from {first}")
    for key in ("huge", "huge-copy"):
        t.s3.delete_object(Bucket=t.bucket, Key=key)
