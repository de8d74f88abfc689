"""ListParts and ListMultipartUploads: what they show, in which order and pages."""

import urllib.parse

from cases import case, equal, refused, true, variants
from conformance.support import parsed, texts


def start(t, key, bucket=None):
    return t.s3.create_multipart_upload(Bucket=bucket or t.bucket, Key=key)["UploadId"]


def parts(t):
    """An upload of five small parts that no case changes: its place."""
    def make():
        place = {"Bucket": t.bucket, "Key": "parts", "UploadId": start(t, "parts")}
        for number in (1, 2, 5, 7, 10_000):
            t.s3.upload_part(**place, PartNumber=number, Body=b"x" * number)
        return place

    return t.shared("parts", make)


KEYS = ("a/one", "a/two", "b/one", "c")


def uploads(t):
    """A bucket with an upload for each of KEYS, and a second one for the last."""
    def make():
        name = t.fresh_bucket()
        for key in (*KEYS, "c"):
            start(t, key, name)
        return name

    return t.shared("uploads", make)


def keys(page):
    return [upload["Key"] for upload in page.get("Uploads", [])]


@case
def parts_with_number_size_etag_and_date(t):
    found = t.s3.list_parts(**parts(t))["Parts"]
    equal([(part["PartNumber"], part["Size"]) for part in found], [(number, number) for number in (1, 2, 5, 7, 10_000)], "numbers and sizes")
    for part in found:
        true(part["ETag"].startswith('"') and part["LastModified"], f"part {part}")


@case
def parts_answer_names_the_upload(t):
    page, place = t.s3.list_parts(**parts(t)), parts(t)
    equal((page["Bucket"], page["Key"], page["UploadId"]), (place["Bucket"], place["Key"], place["UploadId"]), "place")
    equal((page["StorageClass"], page["IsTruncated"], page["MaxParts"]), ("STANDARD", False, 1000), "class, IsTruncated and MaxParts")
    true(page["Initiator"]["ID"] and page["Owner"]["ID"], "no initiator or owner")


@case
def parts_in_pages(t):
    found, marker = [], {}
    for _ in range(5):
        page = t.s3.list_parts(**parts(t), MaxParts=2, **marker)
        equal(page["MaxParts"], 2, "MaxParts")
        found.append([part["PartNumber"] for part in page["Parts"]])
        if not page["IsTruncated"]:
            break
        marker = {"PartNumberMarker": page["NextPartNumberMarker"]}
    equal(found, [[1, 2], [5, 7], [10_000]], "pages")


@case
def parts_behind_a_marker_between_two(t):
    page = t.s3.list_parts(**parts(t), PartNumberMarker=3)
    equal([part["PartNumber"] for part in page["Parts"]], [5, 7, 10_000], "numbers")


@case
def parts_behind_the_last(t):
    page = t.s3.list_parts(**parts(t), PartNumberMarker=10_000)
    equal((page.get("Parts", []), page["IsTruncated"]), ([], False), "page")


@variants(no_number=("max-parts", "x"), negative=("max-parts", "-1"), marker_no_number=("part-number-marker", "x"))
def parts_refuses(t, name, value):
    answer = t.raw.request("GET", t.path("parts"), [("uploadId", parts(t)["UploadId"]), (name, value)])
    refused(answer, 400, "InvalidArgument")


@case
def parts_of_an_upload_without_any(t):
    place = {"Bucket": t.bucket, "Key": "none", "UploadId": start(t, "none")}
    page = t.s3.list_parts(**place)
    equal((page.get("Parts", []), page["IsTruncated"]), ([], False), "page")
    t.s3.abort_multipart_upload(**place)


@case
def parts_show_the_last_attempt(t):
    place = {"Bucket": t.bucket, "Key": "attempts", "UploadId": start(t, "attempts")}
    t.s3.upload_part(**place, PartNumber=1, Body=b"first")
    etag = t.s3.upload_part(**place, PartNumber=1, Body=b"second one")["ETag"]
    equal([(part["Size"], part["ETag"]) for part in t.s3.list_parts(**place)["Parts"]], [(10, etag)], "parts")
    t.s3.abort_multipart_upload(**place)


@case
def uploads_by_key_then_age(t):
    page = t.s3.list_multipart_uploads(Bucket=uploads(t))
    equal((keys(page), page["IsTruncated"]), ([*KEYS, "c"], False), "keys")
    times = [upload["Initiated"] for upload in page["Uploads"] if upload["Key"] == "c"]
    true(times == sorted(times), f"times {times}")


@case
def uploads_have_id_class_owner_and_initiator(t):
    upload = t.s3.list_multipart_uploads(Bucket=uploads(t))["Uploads"][0]
    true(upload["UploadId"] and upload["Owner"]["ID"] and upload["Initiator"]["ID"], f"upload {upload}")
    equal(upload["StorageClass"], "STANDARD", "class")


@variants(composite=("SHA256", "COMPOSITE"), whole=("CRC64NVME", "FULL_OBJECT"))
def uploads_have_algorithm_and_type(t, algorithm, kind):
    name = t.fresh_bucket()
    place = {"Bucket": name, "Key": "sums"}
    upload = t.s3.create_multipart_upload(**place, ChecksumAlgorithm=algorithm)["UploadId"]
    found = t.s3.list_multipart_uploads(Bucket=name)["Uploads"][0]
    equal((found.get("ChecksumAlgorithm"), found.get("ChecksumType")), (algorithm, kind), "algorithm and type")
    t.s3.abort_multipart_upload(**place, UploadId=upload)


@case
def uploads_of_a_bucket_without_any(t):
    page = t.s3.list_multipart_uploads(Bucket=t.fresh_bucket())
    equal((keys(page), page["IsTruncated"], page["MaxUploads"]), ([], False, 1000), "page")


@variants(directory=("a/", ["a/one", "a/two"]), key=("c", ["c", "c"]), none=("z", []), part_of_a_name=("a/t", ["a/two"]))
def uploads_with_a_prefix(t, prefix, wanted):
    equal(keys(t.s3.list_multipart_uploads(Bucket=uploads(t), Prefix=prefix)), wanted, "keys")


@case
def uploads_with_a_delimiter(t):
    page = t.s3.list_multipart_uploads(Bucket=uploads(t), Delimiter="/")
    equal((keys(page), [entry["Prefix"] for entry in page["CommonPrefixes"]]), (["c", "c"], ["a/", "b/"]), "entries")


@case
def uploads_behind_a_key(t):
    equal(keys(t.s3.list_multipart_uploads(Bucket=uploads(t), KeyMarker="a/two")), ["b/one", "c", "c"], "keys")


@case
def uploads_in_pages(t):
    found, options = [], {}
    for _ in range(8):
        page = t.s3.list_multipart_uploads(Bucket=uploads(t), MaxUploads=2, **options)
        true(len(keys(page)) <= 2, f"{len(keys(page))} uploads in a page of 2")
        found += [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]
        if not page["IsTruncated"]:
            break
        options = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    equal([key for key, _ in found], [*KEYS, "c"], "keys over all pages")
    equal(len(set(found)), 5, "different uploads")


@case
def uploads_answer_echoes_the_request(t):
    page = t.s3.list_multipart_uploads(Bucket=uploads(t), Prefix="a/", Delimiter="/", MaxUploads=3)
    equal((page["Bucket"], page["Prefix"], page["Delimiter"], page["MaxUploads"]), (uploads(t), "a/", "/", 3), "echo")


@case
def uploads_with_encoding_type(t):
    name = t.fresh_bucket()
    start(t, "ä b", name)
    root = parsed(t.raw.request("GET", f"/{name}", [("uploads", ""), ("encoding-type", "url")]))
    found = texts(root, "Upload/Key")[0]
    equal((texts(root, "EncodingType"), urllib.parse.unquote_plus(found)), (["url"], "ä b"), "decoded key")
    true(found.isascii() and " " not in found, f"key {found} is not encoded")


@variants(no_number=("max-uploads", "x"), negative=("max-uploads", "-1"), encoding=("encoding-type", "base64"))
def uploads_refuses(t, name, value):
    refused(t.raw.request("GET", f"/{uploads(t)}", [("uploads", ""), (name, value)]), 400, "InvalidArgument")


@case
def completed_and_aborted_uploads_are_not_shown(t):
    name = t.fresh_bucket()
    for key, end in (("completed", True), ("aborted", False)):
        place = {"Bucket": name, "Key": key, "UploadId": start(t, key, name)}
        etag = t.s3.upload_part(**place, PartNumber=1, Body=b"x")["ETag"]
        if end:
            t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        else:
            t.s3.abort_multipart_upload(**place)
    equal(keys(t.s3.list_multipart_uploads(Bucket=name)), [], "keys")
