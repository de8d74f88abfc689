"""GetObjectAttributes: what was asked for, and nothing else."""

import checksums
from cases import case, data, equal, raises, refused, true, variants
from conformance.support import FIVE, multipart, parsed


def single(t):
    return t.shared("single", lambda: t.put("single", b"attributes", ChecksumAlgorithm="SHA256"))


def parted(t):
    """An object of three parts with a checksum of each."""
    def make():
        place = {"Bucket": t.bucket, "Key": "parted"}
        upload = {**place, "UploadId": t.s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]}
        parts = []
        for number, body in ((1, data(FIVE, 1)), (2, data(FIVE, 2)), (5, b"last")):
            answer = t.s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]})
        t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    t.shared("parted", make)


def ask(t, key, *names, **options):
    return t.s3.get_object_attributes(Bucket=t.bucket, Key=key, ObjectAttributes=list(names), **options)


@case
def the_etag_without_quotes(t):
    etag = single(t)["ETag"]
    equal(ask(t, "single", "ETag")["ETag"], etag.strip('"'), "ETag")


@case
def the_size(t):
    single(t)
    equal(ask(t, "single", "ObjectSize")["ObjectSize"], 10, "size")


@case
def the_storage_class(t):
    single(t)
    equal(ask(t, "single", "StorageClass")["StorageClass"], "STANDARD", "class")


@case
def the_checksum(t):
    single(t)
    found = ask(t, "single", "Checksum")["Checksum"]
    equal((found["ChecksumSHA256"], found.get("ChecksumType")), (checksums.value("SHA256", b"attributes"), "FULL_OBJECT"), "checksum")


@case
def only_what_was_asked_for(t):
    single(t)
    answer = ask(t, "single", "ObjectSize")
    equal([name for name in ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize") if name in answer], ["ObjectSize"], "attributes")


@case
def last_modified_is_a_header(t):
    single(t)
    equal(ask(t, "single", "ETag")["LastModified"], t.s3.head_object(Bucket=t.bucket, Key="single")["LastModified"], "LastModified")


@case
def the_document(t):
    single(t)
    answer = t.raw.request("GET", t.path("single"), [("attributes", "")], {"x-amz-object-attributes": "ETag,ObjectSize"})
    root = parsed(answer)
    equal((root.tag, root.findtext("ObjectSize")), ("GetObjectAttributesResponse", "10"), "document")


@case
def no_parts_of_what_was_not_uploaded_in_parts(t):
    single(t)
    true("ObjectParts" not in ask(t, "single", "ObjectParts"), "ObjectParts is in the answer")


@case
def the_parts_and_their_sizes(t):
    parted(t)
    answer = ask(t, "parted", "ObjectParts", "ObjectSize")
    equal((answer["ObjectSize"], answer["ObjectParts"]["TotalPartsCount"]), (2 * FIVE + 4, 3), "size and count")
    # Complete numbers the parts anew where the upload had gaps: sizes are what counts.
    equal([part["Size"] for part in answer["ObjectParts"]["Parts"]], [FIVE, FIVE, 4], "sizes")


@case
def the_parts_checksums(t):
    parted(t)
    found = [part["ChecksumSHA256"] for part in ask(t, "parted", "ObjectParts")["ObjectParts"]["Parts"]]
    equal(found, [checksums.value("SHA256", body) for body in (data(FIVE, 1), data(FIVE, 2), b"last")], "checksums")


@case
def the_parts_in_pages(t):
    parted(t)
    page = ask(t, "parted", "ObjectParts", MaxParts=2)["ObjectParts"]
    equal((len(page["Parts"]), page["IsTruncated"], page["MaxParts"]), (2, True, 2), "first page")
    page = ask(t, "parted", "ObjectParts", MaxParts=2, PartNumberMarker=page["NextPartNumberMarker"])["ObjectParts"]
    equal((len(page["Parts"]), page["IsTruncated"]), (1, False), "second page")


@case
def parts_without_checksums_are_counted_only(t):
    # AWS: without additional checksums the parts themselves are not listed.
    key = "unsummed"
    place = {"Bucket": t.bucket, "Key": key}
    answer = t.raw.request("POST", t.path(key), [("uploads", "")])
    upload = {**place, "UploadId": parsed(answer).findtext("UploadId")}
    etag = t.raw.request("PUT", t.path(key), [("partNumber", "1"), ("uploadId", upload["UploadId"])], body=b"x").etag
    t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    equal(ask(t, key, "ObjectParts")["ObjectParts"]["TotalPartsCount"], 1, "count")


@case
def of_an_object_of_parts_the_etag_and_size(t):
    etag = multipart(t, "both", {1: data(FIVE), 2: b"x"})["ETag"]
    answer = ask(t, "both", "ETag", "ObjectSize")
    equal((answer["ETag"], answer["ObjectSize"]), (etag.strip('"'), FIVE + 1), "ETag and size")


@case
def of_a_version_id_that_is_none(t):
    single(t)
    answer = t.raw.request("GET", t.path("single"), [("attributes", ""), ("versionId", "no version")], {"x-amz-object-attributes": "ETag"})
    true(answer.status in (400, 404) and answer.code in ("InvalidArgument", "NoSuchVersion"), f"answered {answer}")


@case
def of_a_key_that_is_not_there(t):
    with raises("NoSuchKey", status=404):
        ask(t, "absent", "ETag")


@variants(nothing=None, a_name_that_is_none="Colour", an_empty_name="")
def asked_for(t, value):
    single(t)
    options = {} if value is None else {"x-amz-object-attributes": value}
    refused(t.raw.request("GET", t.path("single"), [("attributes", "")], options), 400, "InvalidArgument", "InvalidRequest")
