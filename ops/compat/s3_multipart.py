"""Multipart uploads: any order, any numbers, tiny last part, and what must be refused."""

import hashlib

from cases import case, data, equal, raises, refused, true

MIB = 1024 * 1024
FIVE = 5 * MIB


class Upload:
    """An upload with the parts that were sent."""

    def __init__(self, t, key, **options):
        self.t, self.key, self.parts = t, key, {}
        answer = t.s3.create_multipart_upload(Bucket=t.bucket, Key=key, **options)
        self.place = {"Bucket": t.bucket, "Key": key, "UploadId": answer["UploadId"]}

    def part(self, number, body, **options):
        answer = self.t.s3.upload_part(**self.place, PartNumber=number, Body=body, **options)
        self.parts[number] = (answer["ETag"], body)
        return answer

    def list(self):
        return self.t.s3.list_parts(**self.place)

    def complete(self, numbers=None, etags=None, **options):
        numbers = sorted(self.parts) if numbers is None else numbers
        parts = [{"PartNumber": number, "ETag": (etags or {}).get(number) or self.parts[number][0]} for number in numbers]
        return self.t.s3.complete_multipart_upload(**self.place, MultipartUpload={"Parts": parts}, **options)

    def body(self):
        return b"".join(body for _, (_, body) in sorted(self.parts.items()))

    def abort(self):
        return self.t.s3.abort_multipart_upload(**self.place)


def check(t, key, body, etag):
    found = t.s3.get_object(Bucket=t.bucket, Key=key)
    equal((found["ContentLength"], found["ETag"]), (len(body), etag), "GET's length and ETag")
    equal(hashlib.sha256(found["Body"].read()).hexdigest(), hashlib.sha256(body).hexdigest(), "SHA-256")
    head = t.s3.head_object(Bucket=t.bucket, Key=key)
    equal((head["ContentLength"], head["ETag"]), (len(body), etag), "HEAD's length and ETag")
    listed = t.s3.list_objects_v2(Bucket=t.bucket, Prefix=key)["Contents"]
    equal([(entry["Key"], entry["Size"], entry["ETag"]) for entry in listed], [(key, len(body), etag)], "LIST's entry")


@case
def three_parts_with_a_tiny_last(t):
    upload = Upload(t, "three", Metadata={"mine": "1"}, ContentType="text/x-three")
    for number, size in ((1, FIVE), (2, FIVE + 12_345), (3, 7)):
        upload.part(number, data(size, number))
    answer = upload.complete()
    true(answer["ETag"].strip('"').endswith("-3") or not t.target.is_gateway, f"ETag {answer['ETag']} has not the form of three parts")
    check(t, "three", upload.body(), answer["ETag"])
    head = t.s3.head_object(Bucket=t.bucket, Key="three")
    equal((head["Metadata"], head["ContentType"]), ({"mine": "1"}, "text/x-three"), "metadata and type")


@case
def parts_in_any_order(t):
    upload = Upload(t, "order")
    for number in (3, 1, 2):
        upload.part(number, data(FIVE if number < 3 else 1000, number))
    check(t, "order", upload.body(), upload.complete()["ETag"])


@case
def a_part_sent_again_replaces_the_first(t):
    upload = Upload(t, "again")
    upload.part(1, data(FIVE, "old"))
    upload.part(2, data(999, "old"))
    upload.part(2, data(1234, "new"))
    upload.part(1, data(FIVE + 1, "new"))
    check(t, "again", upload.body(), upload.complete()["ETag"])


@case
def list_parts_shows_the_last_attempt_only(t):
    upload = Upload(t, "attempts")
    upload.part(1, data(999, "old"))
    upload.part(1, data(1234, "new"))
    equal([part["Size"] for part in upload.list()["Parts"]], [1234], "sizes in ListParts")
    upload.abort()


@case
def a_replaced_attempt_is_refused_or_is_what_is_made(t):
    upload, body = Upload(t, "replaced"), data(FIVE, "old")
    old = upload.part(1, body)["ETag"]
    upload.part(1, data(FIVE, "new"))
    try:
        etag = upload.complete(etags={1: old})["ETag"]
    except t.s3.exceptions.ClientError as error:
        equal((error.response["Error"]["Code"], t.keys("replaced")), ("InvalidPart", []), "code and keys")
        return
    # Some servers keep every attempt. Then it is the one that was named, and never another under its ETag.
    check(t, "replaced", body, etag)


@case
def sparse_numbers(t):
    upload = Upload(t, "sparse")
    for number in (5, 2, 9000):
        upload.part(number, data(FIVE if number < 9000 else 77, number))
    check(t, "sparse", upload.body(), upload.complete()["ETag"])


@case
def a_lone_part_may_have_any_number(t):
    upload = Upload(t, "lone")
    upload.part(2, data(100))
    check(t, "lone", upload.body(), upload.complete()["ETag"])


@case(gateway_only=True)
def an_empty_last_part_is_read_as_nothing(t):
    upload = Upload(t, "empty-last")
    upload.part(1, data(FIVE))
    upload.part(2, b"")
    check(t, "empty-last", upload.body(), upload.complete()["ETag"])
    for method in ("GET", "HEAD"):
        answer = t.raw.request(method, t.path("empty-last"), [("partNumber", "2")])
        equal((answer.status, answer.headers["Content-Length"], answer.body, answer.headers["x-amz-mp-parts-count"]), (206, "0", b"", "2"), method)


@case(sizes=("acceptance",), seconds=1800, gateway_only=True)
def more_than_a_thousand_parts(t):
    # Backends list parts and notes by the thousand; 10,000 parts would be 49 GiB (ops/cli/tests/planes/many_parts.rs has them).
    upload, count, full = Upload(t, "thousand"), 1005, data(FIVE, "thousand")
    body = [memoryview(full)[:-8].tobytes() + number.to_bytes(8, "big") for number in range(1, 3)]
    for number in range(1, count + 1):
        upload.part(number, body[number % 2])
    found, marker = [], 0
    while True:
        page = t.s3.list_parts(**upload.place, PartNumberMarker=marker)
        found += [part["PartNumber"] for part in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    equal(found, list(range(1, count + 1)), "parts in ListParts")
    etag = upload.complete()["ETag"]
    head = t.s3.head_object(Bucket=t.bucket, Key="thousand")
    equal((head["ContentLength"], head["ETag"]), (count * FIVE, etag), "HEAD's length and ETag")
    for number in (1, 1000, 1001, count):
        answer = t.s3.get_object(Bucket=t.bucket, Key="thousand", PartNumber=number)
        true(answer["Body"].read() == body[number % 2] and answer["PartsCount"] == count, f"part {number} is another")
    middle = 1000 * FIVE
    answer = t.s3.get_object(Bucket=t.bucket, Key="thousand", Range=f"bytes={middle - 8}-{middle + 7}")
    equal(answer["Body"].read(), body[0][-8:] + body[1][:8], "bytes over the end of the thousandth part")
    t.s3.delete_object(Bucket=t.bucket, Key="thousand")


@case
def part_ten_thousand(t):
    upload = Upload(t, "ten-thousand")
    upload.part(1, data(FIVE))
    upload.part(10_000, data(4321))
    equal([(part["PartNumber"], part["Size"]) for part in upload.list()["Parts"]], [(1, FIVE), (10_000, 4321)], "ListParts")
    check(t, "ten-thousand", upload.body(), upload.complete()["ETag"])


@case
def part_numbers_are_checked(t):
    upload = Upload(t, "numbers")
    for number in ("0", "10001", "-1", "x"):
        answer = t.raw.request("PUT", t.path("numbers"), [("partNumber", number), ("uploadId", upload.place["UploadId"])], body=b"x")
        refused(answer, 400, "InvalidArgument")
    upload.abort()


@case
def parts_that_were_left_out_are_dropped(t):
    upload = Upload(t, "left-out")
    for number in (1, 2, 3):
        upload.part(number, data(FIVE, number))
    etag = upload.complete([1, 3])["ETag"]
    check(t, "left-out", data(FIVE, 1) + data(FIVE, 3), etag)


@case
def ranges_across_parts(t):
    upload = Upload(t, "ranges")
    for number, size in ((1, FIVE + 1), (2, FIVE + 70_000), (3, 100)):
        upload.part(number, data(size, number))
    upload.complete()
    body, edge = upload.body(), FIVE + 1
    for first, last in ((0, 0), (edge - 1, edge), (edge, edge), (edge - 70_000, edge + 70_000), (2 * FIVE, len(body) - 1),
                        (len(body) - 101, len(body) - 99), (1, len(body) - 2)):
        answer = t.s3.get_object(Bucket=t.bucket, Key="ranges", Range=f"bytes={first}-{last}")
        equal(answer["ContentRange"], f"bytes {first}-{last}/{len(body)}", "Content-Range")
        true(answer["Body"].read() == body[first:last + 1], f"bytes {first}-{last} are others")
    true(t.get("ranges", Range="bytes=-150") == body[-150:], "the suffix is another")
    true(t.get("ranges", Range=f"bytes={edge + 5}-") == body[edge + 5:], "the open range is another")


@case
def get_by_part_number(t):
    upload = Upload(t, "by-number")
    upload.part(1, data(FIVE, 1))
    upload.part(2, data(500, 2))
    upload.complete()
    answer = t.s3.get_object(Bucket=t.bucket, Key="by-number", PartNumber=2)
    equal((answer["ResponseMetadata"]["HTTPStatusCode"], answer["PartsCount"]), (206, 2), "status and parts")
    true(answer["Body"].read() == data(500, 2), "part 2 is another")
    head = t.s3.head_object(Bucket=t.bucket, Key="by-number", PartNumber=1)
    equal((head["ResponseMetadata"]["HTTPStatusCode"], head["ContentLength"], head["PartsCount"]), (206, FIVE, 2), "HEAD")
    refused(t.raw.request("GET", t.path("by-number"), [("partNumber", "3")]), 416, "InvalidPartNumber", "InvalidRange")


@case
def list_parts_shows_plaintext(t):
    upload = Upload(t, "listed")
    etags = {number: upload.part(number, data(size, number))["ETag"] for number, size in ((1, FIVE), (2, FIVE + 9), (7, 3))}
    parts = upload.list()["Parts"]
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in parts],
          [(1, FIVE, etags[1]), (2, FIVE + 9, etags[2]), (7, 3, etags[7])], "parts")
    page = t.s3.list_parts(**upload.place, MaxParts=2)
    equal(([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"]), ([1, 2], True), "the first page")
    page = t.s3.list_parts(**upload.place, PartNumberMarker=page["NextPartNumberMarker"])
    equal(([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"]), ([7], False), "the second page")
    upload.abort()


@case
def uploads_are_listed_and_nothing_else_is(t):
    upload = Upload(t, "pending/one")
    upload.part(1, data(100))
    found = t.s3.list_multipart_uploads(Bucket=t.bucket, Prefix="pending/")
    equal([(entry["Key"], entry["UploadId"]) for entry in found.get("Uploads", [])], [("pending/one", upload.place["UploadId"])], "uploads")
    true(not [key for key in t.keys() if key.startswith((".sealgate", "pending/"))], "the listing shows what belongs to an upload")
    upload.abort()
    equal(t.s3.list_multipart_uploads(Bucket=t.bucket, Prefix="pending/").get("Uploads", []), [], "uploads after the abort")


@case
def nothing_is_there_before_complete(t):
    t.s3.put_object(Bucket=t.bucket, Key="before", Body=b"old")
    upload = Upload(t, "before")
    upload.part(1, data(1000))
    equal(t.get("before"), b"old", "body before Complete")
    upload.complete()
    equal(t.get("before"), data(1000), "body after Complete")


@case
def abort_ends_an_upload(t):
    upload = Upload(t, "aborted")
    upload.part(1, data(1000))
    equal(upload.abort()["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    with raises("NoSuchUpload", status=404):
        upload.part(2, b"x")
    with raises("NoSuchUpload", status=404):
        upload.list()
    with raises("NoSuchUpload", status=404):
        upload.complete([1])
    equal(t.keys("aborted"), [], "keys")


@case
def complete_twice_answers_the_same(t):
    upload = Upload(t, "twice")
    upload.part(1, data(FIVE))
    upload.part(2, data(10))
    first = upload.complete()
    second = upload.complete()
    equal((second["ETag"], second["Key"]), (first["ETag"], first["Key"]), "the second answer")
    check(t, "twice", upload.body(), first["ETag"])


@case
def complete_refuses(t):
    upload = Upload(t, "refused")
    upload.part(1, data(FIVE, 1))
    upload.part(2, data(FIVE, 2))
    wrong = '"00000000000000000000000000000000"'
    with raises("InvalidPart", status=400):
        upload.complete(etags={1: wrong})
    with raises("InvalidPart", status=400):
        upload.complete([1, 2, 3], etags={3: wrong})
    with raises("InvalidPartOrder", status=400):
        upload.complete([2, 1])
    for body in (b"<CompleteMultipartUpload></CompleteMultipartUpload>", b"no xml", b"<CompleteMultipartUpload><Part>"):
        refused(t.raw.request("POST", t.path("refused"), [("uploadId", upload.place["UploadId"])], body=body), 400, "MalformedXML")
    equal(t.keys("refused"), [], "keys")
    # Nothing was used up: the same upload still completes.
    check(t, "refused", upload.body(), upload.complete()["ETag"])


@case
def a_small_part_may_only_be_the_last(t):
    upload = Upload(t, "small")
    upload.part(1, data(FIVE - 1))
    upload.part(2, data(FIVE))
    with raises("EntityTooSmall", status=400):
        upload.complete()
    equal(t.keys("small"), [], "keys")
    upload.abort()


@case
def etags_in_every_form(t):
    bare = Upload(t, "forms")
    bare.part(1, data(FIVE, 1))
    bare.part(2, data(5, 2))
    one, two = (bare.parts[number][0].strip('"') for number in (1, 2))
    xml = (f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;{one}&quot;</ETag><Unknown>x</Unknown></Part>"
           f"<Part><ETag>{two}</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>").encode()
    answer = t.raw.request("POST", t.path("forms"), [("uploadId", bare.place["UploadId"])], body=xml)
    equal((answer.status, answer.code), (200, None), f"answer {answer}")
    equal(t.get("forms"), bare.body(), "body")


@case
def complete_with_if_none_match(t):
    t.s3.put_object(Bucket=t.bucket, Key="guarded", Body=b"old")
    upload = Upload(t, "guarded")
    upload.part(1, data(10))
    with raises("PreconditionFailed", status=412):
        upload.complete(IfNoneMatch="*")
    equal(t.get("guarded"), b"old", "body")
    free = Upload(t, "unguarded")
    free.part(1, data(10))
    free.complete(IfNoneMatch="*")
    equal(t.get("unguarded"), data(10), "body")


@case
def a_wrong_upload_id(t):
    for upload_id in ("no-such-upload", "../../etc/passwd", "a" * 2000):
        answer = t.raw.request("PUT", t.path("nowhere"), [("partNumber", "1"), ("uploadId", upload_id)], body=b"x")
        refused(answer, 404, "NoSuchUpload")
    upload = Upload(t, "one-key")
    answer = t.raw.request("PUT", t.path("another-key"), [("partNumber", "1"), ("uploadId", upload.place["UploadId"])], body=b"x")
    refused(answer, 404, "NoSuchUpload")
    upload.abort()


@case
def an_empty_part(t):
    upload = Upload(t, "empty-part")
    upload.part(1, b"")
    answer = upload.complete()
    check(t, "empty-part", b"", answer["ETag"])


@case
def two_uploads_of_one_key(t):
    first, second = Upload(t, "rivals"), Upload(t, "rivals")
    first.part(1, data(100, "first"))
    second.part(1, data(200, "second"))
    first.complete()
    equal(t.get("rivals"), data(100, "first"), "body after the first")
    second.complete()
    equal(t.get("rivals"), data(200, "second"), "body after the second")


@case(seconds=120)
def uneven_parts_of_many_sizes(t):
    upload = Upload(t, "uneven")
    for number, size in enumerate((FIVE, 2 * FIVE + 3, FIVE + 65_536, FIVE + 65_535, 65_537), start=1):
        upload.part(number, data(size, number))
    check(t, "uneven", upload.body(), upload.complete()["ETag"])
