"""Multipart uploads: parts, completion, abortion, listing."""

import hashlib

from cases import case, data, equal, raises, refused, true, variants
from conformance.support import FIVE, headers, multipart, parsed, status, texts

FIRST, LAST = data(FIVE, "first"), data(1234, "last")


class Upload:
    """An upload under way."""

    def __init__(self, t, key, **options):
        self.t, self.key = t, key
        self.place = {"Bucket": t.bucket, "Key": key}
        self.id = t.s3.create_multipart_upload(**self.place, **options)["UploadId"]
        self.place["UploadId"] = self.id
        self.etags = {}

    def part(self, number, body=b"part", **options):
        answer = self.t.s3.upload_part(**self.place, PartNumber=number, Body=body, **options)
        self.etags[number] = answer["ETag"]
        return answer

    def parts(self, *numbers):
        return [{"PartNumber": number, "ETag": self.etags[number]} for number in numbers or sorted(self.etags)]

    def complete(self, parts=None, **options):
        return self.t.s3.complete_multipart_upload(**self.place, MultipartUpload={"Parts": parts or self.parts()}, **options)

    def send(self, body: bytes):
        """Complete with a document of one's own."""
        return self.t.raw.request("POST", self.t.path(self.key), [("uploadId", self.id)], body=body)

    def abort(self):
        return self.t.s3.abort_multipart_upload(**self.place)


def same(t, key, body):
    found = t.get(key)
    equal((len(found), hashlib.sha256(found).hexdigest()), (len(body), hashlib.sha256(body).hexdigest()), "length and SHA-256")


def two_parts(t):
    """An object of two parts that no case changes: Complete's answer."""
    return t.shared("two", lambda: multipart(t, "two", {1: FIRST, 2: LAST}, ContentType="text/two", Metadata={"a": "1"}, CacheControl="no-store"))


@case
def create_answers_bucket_key_and_id(t):
    answer = t.raw.request("POST", t.path("create"), [("uploads", "")])
    root = parsed(answer)
    equal((root.tag, texts(root, "Bucket"), texts(root, "Key")), ("InitiateMultipartUploadResult", [t.bucket], ["create"]), "answer")
    true(texts(root, "UploadId")[0], "no upload id")


@case
def every_upload_has_an_id_of_its_own(t):
    first, second = Upload(t, "ids"), Upload(t, "ids")
    true(first.id != second.id, "two uploads with one id")
    first.abort()
    second.abort()


@case
def complete_answers_location_bucket_key_and_etag(t):
    answer = two_parts(t)
    equal((answer["Bucket"], answer["Key"]), (t.bucket, "two"), "bucket and key")
    true(answer["Location"].endswith("/two"), f"Location {answer['Location']}")
    equal(answer["ETag"], t.s3.head_object(Bucket=t.bucket, Key="two")["ETag"], "ETag")


@case
def the_etag_ends_with_the_number_of_parts(t):
    true(two_parts(t)["ETag"].strip('"').endswith("-2"), f"ETag {two_parts(t)['ETag']}")


@case
def the_object_is_its_parts_in_order(t):
    two_parts(t)
    same(t, "two", FIRST + LAST)


@case
def size_in_head_and_list_is_the_sum(t):
    two_parts(t)
    equal(t.s3.head_object(Bucket=t.bucket, Key="two")["ContentLength"], FIVE + 1234, "HEAD's length")
    equal([entry["Size"] for entry in t.s3.list_objects_v2(Bucket=t.bucket, Prefix="two")["Contents"]], [FIVE + 1234], "LIST's size")


@case
def headers_and_metadata_are_those_of_create(t):
    two_parts(t)
    head = t.s3.head_object(Bucket=t.bucket, Key="two")
    equal((head["ContentType"], head["Metadata"], head["CacheControl"]), ("text/two", {"a": "1"}, "no-store"), "headers")


@case
def one_part_of_any_size(t):
    upload = Upload(t, "one")
    upload.part(1, b"tiny")
    true(upload.complete()["ETag"].strip('"').endswith("-1"), "the ETag is not that of one part")
    same(t, "one", b"tiny")


@variants(small_last=LAST, large_last=data(FIVE, "a large last part"))
def the_etag_counts_the_parts(t, last):
    upload = Upload(t, "counted")
    for number, body in enumerate((data(FIVE, 1), data(FIVE, 2), last), start=1):
        upload.part(number, body)
    etag = upload.complete()["ETag"].strip('"')
    true(etag.endswith("-3"), f"the ETag is not that of three parts: {etag}")


@variants(ascending=(1, 2, 3), gaps=(2, 40, 9999), last_is_10000=(1, 10_000), not_from_one=(7,))
def part_numbers(t, *numbers):
    upload, bodies = Upload(t, f"numbers/{numbers[-1]}"), {}
    for number in numbers:
        bodies[number] = data(FIVE, number) if number != numbers[-1] else LAST
        upload.part(number, bodies[number])
    upload.complete()
    same(t, upload.key, b"".join(bodies[number] for number in numbers))


@case
def parts_sent_backwards(t):
    upload = Upload(t, "backwards")
    upload.part(2, LAST)
    upload.part(1, FIRST)
    upload.complete()
    same(t, "backwards", FIRST + LAST)


@case
def parts_sent_at_the_same_time(t):
    import concurrent.futures
    upload, bodies = Upload(t, "together"), {number: data(FIVE, number) for number in (1, 2, 3)}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: upload.part(number, bodies[number]), bodies))
    upload.complete()
    same(t, "together", b"".join(bodies.values()))


@case
def a_part_sent_again_counts(t):
    upload = Upload(t, "resent")
    upload.part(1, b"old")
    upload.part(1, b"new body")
    upload.complete()
    same(t, "resent", b"new body")


@case
def a_part_sent_again_with_the_same_bytes(t):
    upload = Upload(t, "repeated")
    upload.part(1, b"same")
    upload.part(1, b"same")
    upload.complete()
    same(t, "repeated", b"same")


@case
def an_unlisted_part_is_left_out(t):
    upload = Upload(t, "unlisted")
    upload.part(1, b"one")
    upload.part(2, b"two")
    upload.complete(upload.parts(2))
    same(t, "unlisted", b"two")


@variants(zero="0", above_10000="10001", negative="-1", no_number="x")
def a_part_number_that_is(t, number):
    upload = Upload(t, "wrong-number")
    refused(t.raw.request("PUT", t.path("wrong-number"), [("partNumber", number), ("uploadId", upload.id)], body=b"x"), 400, "InvalidArgument")
    upload.abort()


@case
def a_part_answers_its_etag(t):
    upload = Upload(t, "part-etag")
    answer = t.raw.request("PUT", t.path("part-etag"), [("partNumber", "1"), ("uploadId", upload.id)], body=b"x")
    equal((answer.status, answer.body), (200, b""), "answer")
    equal(upload.t.s3.list_parts(**upload.place)["Parts"][0]["ETag"], answer.etag, "ETag in ListParts")
    upload.abort()


@variants(
    part=("PUT", [("partNumber", "1")], b"x"), list=("GET", [], b""), abort=("DELETE", [], b""),
    complete=("POST", [], b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part></CompleteMultipartUpload>"),
)
def no_such_upload_for(t, method, query, body):
    answer = t.raw.request(method, t.path("nowhere"), [*query, ("uploadId", "00000000-no-such-upload")], body=body)
    refused(answer, 404, "NoSuchUpload")


@variants(part=("PUT", [("partNumber", "1")], b"x"), list=("GET", [], b""))
def an_upload_belongs_to_its_key_for(t, method, query, body):
    upload = Upload(t, "its-key")
    refused(t.raw.request(method, t.path("another-key"), [*query, ("uploadId", upload.id)], body=body), 404, "NoSuchUpload")
    upload.abort()


@case
def complete_with_an_etag_that_was_not_given(t):
    upload = Upload(t, "wrong-etag")
    upload.part(1)
    with raises("InvalidPart", status=400):
        upload.complete([{"PartNumber": 1, "ETag": '"ffffffffffffffffffffffffffffffff"'}])
    equal(t.keys("wrong-etag"), [], "keys")
    # The upload is as it was.
    upload.complete()
    same(t, "wrong-etag", b"part")


@case
def complete_with_a_part_that_was_not_sent(t):
    upload = Upload(t, "missing-part")
    upload.part(1, FIRST)
    with raises("InvalidPart", status=400):
        upload.complete([*upload.parts(), {"PartNumber": 2, "ETag": upload.etags[1]}])
    equal(t.keys("missing-part"), [], "keys")
    upload.abort()


@case
def complete_in_descending_order(t):
    upload = Upload(t, "descending")
    for number in (1, 2):
        upload.part(number, FIRST)
    with raises("InvalidPartOrder", status=400):
        upload.complete(upload.parts(2, 1))
    equal(t.keys("descending"), [], "keys")
    upload.abort()


@case
def complete_with_a_part_listed_twice(t):
    upload = Upload(t, "listed-twice")
    upload.part(1, FIRST)
    with raises("InvalidPartOrder", status=400):
        upload.complete(upload.parts(1, 1))
    equal(t.keys("listed-twice"), [], "keys")
    upload.abort()


@case
def complete_with_a_small_part_before_the_last(t):
    upload = Upload(t, "too-small")
    upload.part(1, b"small")
    upload.part(2, LAST)
    with raises("EntityTooSmall", status=400):
        upload.complete()
    equal(t.keys("too-small"), [], "keys")
    upload.abort()


@variants(
    nothing=b"", no_xml=b"parts please", not_closed=b"<CompleteMultipartUpload><Part>",
    no_parts=b"<CompleteMultipartUpload></CompleteMultipartUpload>", another_document=b"<Delete></Delete>",
    no_etag=b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    no_number=b'<CompleteMultipartUpload><Part><ETag>"x"</ETag></Part></CompleteMultipartUpload>',
)
def complete_refuses_a_document(t, body):
    upload = Upload(t, "document")
    upload.part(1)
    answer = upload.send(body)
    refused(answer, 400, *(("MalformedXML",) if body else ("InvalidRequest", "MalformedXML")))
    equal(t.keys("document"), [], "keys")
    upload.abort()


@variants(
    etags_without_quotes="<Part><PartNumber>1</PartNumber><ETag>{bare}</ETag></Part>",
    escaped_quotes="<Part><PartNumber>1</PartNumber><ETag>&quot;{bare}&quot;</ETag></Part>",
    the_etag_first='<Part><ETag>"{bare}"</ETag><PartNumber>1</PartNumber></Part>',
    spaces_between=' \n <Part>\n  <PartNumber>1</PartNumber>\n  <ETag>"{bare}"</ETag>\n </Part>\n',
)
def complete_takes(t, form):
    upload = Upload(t, "forms")
    upload.part(1, form.encode())
    answer = upload.send(f"<CompleteMultipartUpload>{form.format(bare=upload.etags[1].strip(chr(34)))}</CompleteMultipartUpload>".encode())
    equal((answer.status, answer.code), (200, None), f"answer {answer}")
    same(t, "forms", form.encode())


@case
def complete_takes_a_document_with_a_namespace(t):
    upload = Upload(t, "namespace")
    upload.part(1, b"ns")
    answer = upload.send(f'<?xml version="1.0"?><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part>'
                         f"<PartNumber>1</PartNumber><ETag>{upload.etags[1]}</ETag></Part></CompleteMultipartUpload>".encode())
    equal((answer.status, answer.code), (200, None), f"answer {answer}")
    same(t, "namespace", b"ns")


@case
def complete_twice_answers_the_same(t):
    upload = Upload(t, "twice")
    upload.part(1)
    first, second = upload.complete(), upload.complete()
    equal((second["ETag"], second["Key"], second["Location"]), (first["ETag"], first["Key"], first["Location"]), "second answer")


@case
def complete_checks_the_objects_size(t):
    upload = Upload(t, "size")
    upload.part(1, b"12345")
    with raises("InvalidRequest", status=400):
        upload.complete(MpuObjectSize=6)
    equal(t.keys("size"), [], "keys")
    upload.complete(MpuObjectSize=5)
    same(t, "size", b"12345")


@case
def complete_replaces_an_object(t):
    t.put("replaced", b"old", Metadata={"old": "1"})
    upload = Upload(t, "replaced")
    upload.part(1, b"new")
    equal(t.get("replaced"), b"old", "body before Complete")
    upload.complete()
    answer = t.s3.get_object(Bucket=t.bucket, Key="replaced")
    equal((answer["Body"].read(), answer["Metadata"]), (b"new", {}), "body and metadata")


@case
def abort_answers_204(t):
    upload = Upload(t, "aborted")
    upload.part(1)
    answer = upload.abort()
    equal(status(answer), 204, "status")
    true("content-type" not in headers(answer) or headers(answer).get("content-length") in (None, "0"), "abort has a body")


@case
def abort_ends_everything(t):
    upload = Upload(t, "ended")
    upload.part(1)
    upload.abort()
    for act in (lambda: upload.part(2), upload.complete, lambda: t.s3.list_parts(**upload.place)):
        with raises("NoSuchUpload", status=404):
            act()
    equal(t.keys("ended"), [], "keys")


@case
def abort_keeps_an_object_of_the_same_key(t):
    t.put("kept", b"kept")
    upload = Upload(t, "kept")
    upload.part(1, b"other")
    upload.abort()
    equal(t.get("kept"), b"kept", "body")


@case
def two_uploads_of_a_key_do_not_mix(t):
    first, second = Upload(t, "mixed"), Upload(t, "mixed")
    first.part(1, b"first")
    second.part(1, b"second")
    first.complete()
    same(t, "mixed", b"first")
    second.complete()
    same(t, "mixed", b"second")


@case
def a_bucket_with_an_upload_but_no_object_can_be_deleted(t):
    name = t.fresh_bucket()
    t.s3.create_multipart_upload(Bucket=name, Key="pending")
    equal(status(t.s3.delete_bucket(Bucket=name)), 204, "status")


@case
def a_part_with_a_wrong_md5(t):
    upload = Upload(t, "md5")
    answer = t.raw.request("PUT", t.path("md5"), [("partNumber", "1"), ("uploadId", upload.id)],
                           {"content-md5": "rL0Y20zC+Fzt72VPzMSk2A=="}, b"other bytes")
    refused(answer, 400, "BadDigest")
    equal(t.s3.list_parts(**upload.place).get("Parts", []), [], "parts")
    upload.abort()


@case
def a_part_of_nothing(t):
    upload = Upload(t, "nothing")
    upload.part(1, b"")
    upload.complete()
    same(t, "nothing", b"")


@case
def metadata_on_a_part_is_not_the_objects(t):
    upload = Upload(t, "part-metadata", Metadata={"mine": "1"})
    answer = t.raw.request("PUT", t.path("part-metadata"), [("partNumber", "1"), ("uploadId", upload.id)], {"content-type": "text/part"}, b"x")
    upload.etags[1] = answer.etag
    upload.complete()
    head = t.s3.head_object(Bucket=t.bucket, Key="part-metadata")
    equal((head["Metadata"], head["ContentType"]), ({"mine": "1"}, "binary/octet-stream"), "metadata and type")


@case
def an_object_may_be_read_right_after_complete(t):
    for number in range(5):
        upload = Upload(t, f"at-once/{number}")
        upload.part(1, b"%d" % number)
        upload.complete()
        equal(t.get(f"at-once/{number}"), b"%d" % number, "body")


@case
def a_content_type_that_is_none_is_only_a_type(t):
    upload = Upload(t, "type", ContentType="nonsense")
    upload.part(1)
    upload.complete()
    equal(t.s3.head_object(Bucket=t.bucket, Key="type")["ContentType"], "nonsense", "Content-Type")


@case
def complete_names_no_version_where_versioning_is_suspended(t):
    equal(two_parts(t).get("VersionId"), None, "version in a bucket without versions")
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    equal(multipart(t, "suspended", {1: FIRST, 2: LAST}, name).get("VersionId"), None, "version")
