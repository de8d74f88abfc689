"""UploadPartCopy: parts of an upload that come out of other objects."""

import hashlib

from cases import case, data, equal, raises, refused, true, variants
from conformance.support import FIVE, OTHER_ETAG, PAST, multipart, parsed, texts

LARGE = {1: data(FIVE, "large one"), 2: data(FIVE + 77, "large two")}
WHOLE = LARGE[1] + LARGE[2]


def large(t):
    """An object of two parts, some 10 MiB, that no case changes."""
    t.shared("large", lambda: multipart(t, "large", LARGE))
    return {"Bucket": t.bucket, "Key": "large"}


def small(t):
    """A small object that no case changes: its ETag."""
    return t.shared("small", lambda: t.put("small", b"0123456789")["ETag"])


class Upload:
    """An upload whose parts are copied."""

    def __init__(self, t, key):
        self.t, self.place = t, {"Bucket": t.bucket, "Key": key}
        self.place["UploadId"] = t.s3.create_multipart_upload(**self.place)["UploadId"]
        self.parts = []

    def copy(self, number, origin, **options):
        result = self.t.s3.upload_part_copy(**self.place, PartNumber=number, CopySource=origin, **options)["CopyPartResult"]
        self.parts.append({"PartNumber": number, "ETag": result["ETag"]})
        return result

    def send(self, origin, headers=None):
        """Part 1, from a source spelt as given."""
        return self.t.raw.request("PUT", self.t.path(self.place["Key"]), [("partNumber", "1"), ("uploadId", self.place["UploadId"])],
                                  {"x-amz-copy-source": origin, **(headers or {})})

    def complete(self):
        self.t.s3.complete_multipart_upload(**self.place, MultipartUpload={"Parts": self.parts})
        return self.t.get(self.place["Key"])

    def abort(self):
        self.t.s3.abort_multipart_upload(**self.place)


def refuse(t, origin, status, *codes, headers=None):
    upload = Upload(t, "refused")
    refused(upload.send(origin, headers), status, *codes)
    equal(t.s3.list_parts(**upload.place).get("Parts", []), [], "parts")
    upload.abort()


@case
def a_small_object_whole(t):
    small(t)
    upload = Upload(t, "whole")
    upload.copy(1, {"Bucket": t.bucket, "Key": "small"})
    equal(upload.complete(), b"0123456789", "body")


@case
def the_answer_is_a_copy_part_result(t):
    small(t)
    upload = Upload(t, "answer")
    root = parsed(upload.send(f"{t.bucket}/small"))
    equal(root.tag, "CopyPartResult", "root element")
    equal(texts(root, "ETag"), [t.s3.list_parts(**upload.place)["Parts"][0]["ETag"]], "ETag as ListParts shows it")
    true(texts(root, "LastModified")[0].endswith("Z"), "LastModified")
    upload.abort()


@variants(first_byte=(0, 0), last_byte=(9, 9), middle=(3, 6), all=(0, 9))
def a_range(t, first, last):
    small(t)
    upload = Upload(t, f"range/{first}-{last}")
    upload.copy(1, {"Bucket": t.bucket, "Key": "small"}, CopySourceRange=f"bytes={first}-{last}")
    equal(upload.complete(), b"0123456789"[first:last + 1], "body")


@case
def ranges_over_the_parts_of_the_source(t):
    origin, upload = large(t), Upload(t, "over-parts")
    upload.copy(1, origin, CopySourceRange=f"bytes=100-{FIVE + 5000}")
    upload.copy(2, origin, CopySourceRange=f"bytes={FIVE - 1}-{FIVE + 70_000}")
    wanted = WHOLE[100:FIVE + 5001] + WHOLE[FIVE - 1:FIVE + 70_001]
    equal(hashlib.sha256(upload.complete()).hexdigest(), hashlib.sha256(wanted).hexdigest(), "SHA-256")


@case
def copied_and_sent_parts_together(t):
    origin, upload = large(t), Upload(t, "together")
    upload.copy(1, origin, CopySourceRange=f"bytes=0-{FIVE - 1}")
    etag = t.s3.upload_part(**upload.place, PartNumber=2, Body=b"sent")["ETag"]
    upload.parts.append({"PartNumber": 2, "ETag": etag})
    true(upload.complete() == LARGE[1] + b"sent", "other bytes")


@case
def a_copied_part_is_listed_with_its_size(t):
    small(t)
    upload = Upload(t, "listed")
    result = upload.copy(4, {"Bucket": t.bucket, "Key": "small"}, CopySourceRange="bytes=2-5")
    found = t.s3.list_parts(**upload.place)["Parts"]
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in found], [(4, 4, result["ETag"])], "parts")
    upload.abort()


@case
def from_another_bucket(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="there", Body=b"from there")
    upload = Upload(t, "another-bucket")
    upload.copy(1, {"Bucket": name, "Key": "there"})
    equal(upload.complete(), b"from there", "body")


@variants(space="odd/a b", unicode="odd/ü-日本", plus="odd/a+b", percent="odd/%25", question="odd/a?versionId=b")
def from_a_key_with(t, key):
    t.put(key, key.encode())
    upload = Upload(t, "odd-source")
    upload.copy(1, {"Bucket": t.bucket, "Key": key})
    equal(upload.complete(), key.encode(), "body")


@case
def onto_the_source_itself(t):
    t.put("self", b"itself")
    upload = Upload(t, "self")
    upload.copy(1, {"Bucket": t.bucket, "Key": "self"})
    equal(upload.complete(), b"itself", "body")


@case
def a_source_key_that_is_not_there(t):
    refuse(t, f"{t.bucket}/absent", 404, "NoSuchKey")


@case
def a_source_bucket_that_is_not_there(t):
    refuse(t, f"{t.bucket}-absent/small", 404, "NoSuchBucket")


@case
def an_upload_that_is_not_there(t):
    small(t)
    answer = t.raw.request("PUT", t.path("x"), [("partNumber", "1"), ("uploadId", "no-such-upload")], {"x-amz-copy-source": f"{t.bucket}/small"})
    refused(answer, 404, "NoSuchUpload")


@variants(open="bytes=0-", suffix="bytes=-5", no_unit="0-4", backwards="bytes=5-2", letters="bytes=a-b", empty="bytes=")
def a_range_that_is_none(t, value):
    # AWS, UploadPartCopy: only `bytes=first-last`.
    small(t)
    refuse(t, f"{t.bucket}/small", 400, "InvalidArgument", headers={"x-amz-copy-source-range": value})


@variants(start=("bytes=10-20"), end=("bytes=5-10"))
def a_range_beyond_the_end_by_its(t, value):
    small(t)
    refuse(t, f"{t.bucket}/small", (400, 416), "InvalidArgument", "InvalidRange", headers={"x-amz-copy-source-range": value})


@case
def source_if_match(t):
    etag = small(t)
    upload = Upload(t, "if-match")
    origin = {"Bucket": t.bucket, "Key": "small"}
    with raises("PreconditionFailed", status=412):
        upload.copy(1, origin, CopySourceIfMatch=OTHER_ETAG)
    upload.copy(1, origin, CopySourceIfMatch=etag)
    equal(upload.complete(), b"0123456789", "body")


@case
def source_if_none_match(t):
    etag = small(t)
    upload = Upload(t, "if-none-match")
    origin = {"Bucket": t.bucket, "Key": "small"}
    with raises("PreconditionFailed", status=412):
        upload.copy(1, origin, CopySourceIfNoneMatch=etag)
    upload.copy(1, origin, CopySourceIfNoneMatch=OTHER_ETAG)
    equal(upload.complete(), b"0123456789", "body")


@case
def source_if_unmodified_since(t):
    small(t)
    upload = Upload(t, "if-unmodified")
    with raises("PreconditionFailed", status=412):
        upload.copy(1, {"Bucket": t.bucket, "Key": "small"}, CopySourceIfUnmodifiedSince=PAST)
    upload.abort()
