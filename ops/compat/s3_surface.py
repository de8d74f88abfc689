"""The rest of the surface: attributes, conditions of deletions, arguments of listings, anonymous requests, headers."""

import checksums
import sigv4
from cases import case, data, equal, refused, true
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
    found = attributes(t, "asked", "ObjectSize")
    equal(sorted(name for name in found if name in (*EVERY, "VersionId")), ["ObjectSize"], "attributes")
    equal(found["ObjectSize"], 10, "ObjectSize")


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
