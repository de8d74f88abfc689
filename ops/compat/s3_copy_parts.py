"""UploadPartCopy: ranges of plaintext out of any object into a part, as if the client had sent the bytes."""

from cases import case, data, equal, raises, refused, true
from s3_copy import other_bucket
from s3_multipart import FIVE, Upload, check
from s3_plain import plain


class Copies(Upload):
    """An upload whose parts may be copies."""

    def copy(self, number, source, body, first=None, last=None, bucket=None, **options):
        """Copies a part; `body` is what it must hold."""
        ranged = {} if first is None else {"CopySourceRange": f"bytes={first}-{last}"}
        source = {"Bucket": bucket or self.t.bucket, "Key": source}
        answer = self.t.s3.upload_part_copy(**self.place, PartNumber=number, CopySource=source, **ranged, **options)
        self.parts[number] = (answer["CopyPartResult"]["ETag"], body)
        return answer["CopyPartResult"]


def single(t, key="single", size=3 * FIVE):
    body = data(size, key)
    t.s3.put_object(Bucket=t.bucket, Key=key, Body=body)
    return body


def in_parts(t, key="in-parts"):
    upload = Upload(t, key)
    for number, size in ((1, FIVE), (3, FIVE + 70_001), (4, 999)):
        upload.part(number, data(size, number))
    upload.complete()
    return upload.body()


def listed(upload):
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in upload.list()["Parts"]],
          [(number, len(body), etag) for number, (etag, body) in sorted(upload.parts.items())], "ListParts")


@case
def whole_objects(t):
    body = single(t)
    upload = Copies(t, "of-wholes")
    upload.copy(1, "single", body)
    upload.part(2, data(FIVE, "own"))
    upload.copy(3, "single", body)
    listed(upload)
    check(t, "of-wholes", upload.body(), upload.complete()["ETag"])


@case
def ranges(t):
    body = single(t)
    for first, last in ((0, FIVE - 1), (1, FIVE), (65_535, 65_535 + FIVE), (65_536, 65_536 + FIVE), (len(body) - FIVE, len(body) - 1)):
        upload = Copies(t, "of-a-range")
        upload.copy(1, "single", body[first:last + 1], first, last)
        upload.copy(2, "single", body[7:8], 7, 7)
        listed(upload)
        check(t, "of-a-range", upload.body(), upload.complete()["ETag"])


@case
def ranges_over_the_parts_of_the_source(t):
    body = in_parts(t)
    upload = Copies(t, "of-parts")
    for number, (first, last) in enumerate(((FIVE - 100, 2 * FIVE - 1), (0, FIVE), (FIVE - 1, 2 * FIVE), (len(body) - 2000, len(body) - 1)), start=1):
        upload.copy(number, "in-parts", body[first:last + 1], first, last)
    check(t, "of-parts", upload.body(), upload.complete()["ETag"])
    whole = Copies(t, "of-all-parts")
    whole.copy(1, "in-parts", body)
    check(t, "of-all-parts", body, whole.complete()["ETag"])


@case
def small_and_empty(t):
    t.s3.put_object(Bucket=t.bucket, Key="empty", Body=b"")
    single(t, "small", 5)
    for source, body in (("small", data(5, "small")), ("empty", b"")):
        upload = Copies(t, f"only-{source}")
        upload.copy(1, source, body)
        check(t, f"only-{source}", body, upload.complete()["ETag"])


@case
def ranges_that_are_none(t):
    single(t, "short", 5)
    upload = Copies(t, "refused")
    for header in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-1", "bytes=1-", "bytes=3-2"):
        answer = part(t, upload, f"{t.bucket}/short", {"x-amz-copy-source-range": header})
        refused(answer, 400, "InvalidArgument")
    for header in ("bytes=0-21", "bytes=5-5", "bytes=4-5", "bytes=100-200"):
        answer = part(t, upload, f"{t.bucket}/short", {"x-amz-copy-source-range": header})
        refused(answer, (400, 416), "InvalidRange", "InvalidArgument")
    equal(upload.list().get("Parts", []), [], "the parts")
    upload.abort()


def part(t, upload, source, headers):
    query = [("partNumber", "1"), ("uploadId", upload.place["UploadId"])]
    return t.raw.request("PUT", t.path(upload.key), query, headers={"x-amz-copy-source": source, **headers})


@case
def what_is_not_there(t):
    single(t, "there", 5)
    upload = Copies(t, "missing")
    refused(part(t, upload, f"{t.bucket}/not-there", {}), 404, "NoSuchKey")
    refused(part(t, upload, f"{t.bucket}-not-there/there", {}), 404, "NoSuchBucket")
    refused(part(t, upload, f"{t.bucket}/", {}), 400, "InvalidArgument")
    with raises("PreconditionFailed", status=412):
        upload.copy(1, "there", b"", CopySourceIfMatch='"' + "0" * 32 + '"')
    upload.abort()
    refused(part(t, upload, f"{t.bucket}/there", {}), 404, "NoSuchUpload")
    if t.target.is_gateway:
        refused(part(t, Copies(t, "hidden"), f"{t.bucket}/.sealgate/v1/bucket", {}), 403, "AccessDenied")


@case
def odd_names(t):
    for key in (" ", "_", "__", "?versionId", "a%2Fb", "größe"):
        body = single(t, f"odd/{key}", 10)
        upload = Copies(t, "odd-target")
        upload.copy(1, f"odd/{key}", body)
        upload.complete()
        equal(t.get("odd-target"), body, f"the part from {key!r}")


@case
def from_another_bucket_and_of_a_copy(t):
    there = other_bucket(t)
    body = single(t, "elsewhere", FIVE + 1)
    t.s3.copy_object(Bucket=there, Key="moved", CopySource={"Bucket": t.bucket, "Key": "elsewhere"})
    upload = Copies(t, "of-elsewhere")
    upload.copy(1, "moved", body, bucket=there)
    upload.copy(2, "moved", body[100:200], 100, 199, bucket=there)
    check(t, "of-elsewhere", upload.body(), upload.complete()["ETag"])


@case
def sent_again_and_the_sources_end(t):
    body = single(t, "again", FIVE)
    upload = Copies(t, "sent-again")
    upload.part(1, data(FIVE, "first attempt"))
    upload.copy(1, "again", body)
    upload.copy(2, "again", body[:77], 0, 76)
    t.s3.delete_object(Bucket=t.bucket, Key="again")
    check(t, "sent-again", upload.body(), upload.complete()["ETag"])


@case
def checksums_of_parts(t):
    if not t.target.is_gateway:
        return
    body = single(t, "summed", FIVE + 5)
    upload = Copies(t, "checksummed", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    shown = upload.copy(1, "summed", body[:FIVE], 0, FIVE - 1)
    true(shown.get("ChecksumCRC32"), f"no checksum in {shown}")
    upload.copy(2, "summed", body[FIVE:], FIVE, FIVE + 4)
    made = upload.complete()["ChecksumCRC32"]
    equal(t.s3.put_object(Bucket=t.bucket, Key="same", Body=body, ChecksumAlgorithm="CRC32")["ChecksumCRC32"], made, "the object's checksum")


@case
def into_and_out_of_plain_prefixes(t):
    if not t.target.is_gateway:
        return
    body = single(t, "sealed", FIVE + 100)
    t.s3.put_object(Bucket=t.bucket, Key=plain(t, "open"), Body=body)
    for source, target in (("sealed", plain(t, "of-sealed")), (plain(t, "open"), plain(t, "of-open")), (plain(t, "open"), "sealed-again")):
        upload = Copies(t, target)
        upload.copy(1, source, body)
        upload.copy(2, source, body[50:150], 50, 149)
        listed(upload)
        check(t, target, upload.body(), upload.complete()["ETag"])
