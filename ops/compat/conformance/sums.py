"""Checksums: ten algorithms on objects and parts, whole and composite, and what contradicts them."""

import base64

import checksums
import sigv4
from cases import case, data, equal, raises, refused, true, variants
from conformance.support import FIVE, parsed, texts

BODY = data(10_000, "sums")
PARTS = {1: data(FIVE, "sum 1"), 2: data(3333, "sum 2")}
WHOLE = PARTS[1] + PARTS[2]
# What `checksums.value` says about bodies of 5 MiB, for the two algorithms that take it seconds each.
KNOWN = {
    ("CRC32C", PARTS[1]): "OANsOw==", ("CRC32C", WHOLE): "srQ7jA==",
    ("CRC64NVME", PARTS[1]): "gWQDkAFs6WI=", ("CRC64NVME", WHOLE): "nTU4O/ngtUs=",
}
SHORT = {name.lower(): name for name in checksums.DIGESTS}
# The algorithms that S3 combines over parts, and those that it also knows of the whole object.
COMPOSITE = tuple(name for name in checksums.DIGESTS if name != "CRC64NVME")
FULL = ("CRC32", "CRC32C", "CRC64NVME")


def value(algorithm, body) -> str:
    return KNOWN.get((algorithm, body)) or checksums.value(algorithm, body)


def put(t, key, headers, body=BODY):
    return t.raw.request("PUT", t.path(key), headers=headers, body=body)


def shown(t, key, algorithm, **options):
    answer = t.raw.request("HEAD", t.path(key), headers={"x-amz-checksum-mode": "ENABLED"}, **options)
    return answer.headers[checksums.header(algorithm)]


@variants(**SHORT)
def put_answers_the_checksum_of(t, algorithm):
    wanted = value(algorithm, BODY)
    answer = put(t, f"answered/{algorithm}", {checksums.header(algorithm): wanted})
    equal((answer.status, answer.headers[checksums.header(algorithm)]), (200, wanted), f"answer {answer}")
    equal(answer.headers["x-amz-checksum-type"], "FULL_OBJECT", "type")


@variants(**SHORT)
def head_shows_only_when_asked(t, algorithm):
    wanted, key = value(algorithm, BODY), f"asked/{algorithm}"
    put(t, key, {checksums.header(algorithm): wanted})
    equal(shown(t, key, algorithm), wanted, "checksum when asked")
    equal(t.raw.request("HEAD", t.path(key)).headers[checksums.header(algorithm)], None, "checksum when not asked")


@variants(**SHORT)
def a_malformed_value_of(t, algorithm):
    refused(put(t, "malformed", {checksums.header(algorithm): "bm9uZQ=="}), 400, "InvalidRequest", "BadDigest")
    equal(t.keys("malformed"), [], "keys")


@variants(crc32="CRC32", sha256="SHA256", crc64nvme="CRC64NVME")
def a_wrong_trailer_of(t, algorithm):
    framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=((checksums.header(algorithm), value(algorithm, b"other")),))
    refused(t.raw.request("PUT", t.path("wrong-trailer"), body=BODY, framing=framing), 400, "BadDigest")
    equal(t.keys("wrong-trailer"), [], "keys")


@case
def two_algorithms_at_once(t):
    answer = put(t, "both", {name: value(algorithm, BODY) for algorithm in ("CRC32", "SHA1") for name in [checksums.header(algorithm)]})
    refused(answer, 400, "InvalidRequest")
    equal(t.keys("both"), [], "keys")


@case
def an_algorithm_named_and_another_sent(t):
    answer = put(t, "named", {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-crc32": value("CRC32", BODY)})
    refused(answer, 400, "InvalidRequest")


@case
def an_algorithm_named_that_is_none(t):
    refused(put(t, "no-algorithm", {"x-amz-sdk-checksum-algorithm": "CRC99"}), 400, "InvalidRequest")


@case
def a_checksum_survives_an_overwrite_only_as_the_new_one(t):
    put(t, "overwritten", {"x-amz-checksum-crc32": value("CRC32", BODY)})
    put(t, "overwritten", {"x-amz-checksum-sha1": value("SHA1", b"new")}, b"new")
    equal((shown(t, "overwritten", "CRC32"), shown(t, "overwritten", "SHA1")), (None, value("SHA1", b"new")), "checksums")


@case
def an_object_sent_without_any_has_crc64nvme(t):
    # AWS, "Checking object integrity": S3 computes CRC64NVME itself where the client sent nothing.
    put(t, "by-default", {})
    equal(shown(t, "by-default", "CRC64NVME"), value("CRC64NVME", BODY), "checksum")


@case
def a_large_object_sent_without_any_has_crc64nvme(t):
    body = data(300_000, "large by default")
    put(t, "large-by-default", {}, body)
    equal(shown(t, "large-by-default", "CRC64NVME"), value("CRC64NVME", body), "checksum")


@case
def none_on_a_range(t):
    put(t, "ranged", {"x-amz-checksum-crc32": value("CRC32", BODY)})
    answer = t.raw.request("GET", t.path("ranged"), headers={"range": "bytes=0-9", "x-amz-checksum-mode": "ENABLED"})
    equal((answer.status, answer.headers["x-amz-checksum-crc32"]), (206, None), "answer")


@variants(**SHORT)
def a_part_with_a_trailer_of(t, algorithm):
    upload = RawUpload(t, f"trailed/{algorithm}", algorithm)
    answer = upload.part(1, BODY, trailer=True)
    equal((answer.status, answer.headers[checksums.header(algorithm)]), (200, value(algorithm, BODY)), f"answer {answer}")
    refused(upload.part(2, BODY, trailer=True, told=value(algorithm, b"other")), 400, "BadDigest")
    upload.abort()


class RawUpload:
    """The same as [`Upload`], for algorithms that boto3 does not know, and for what it would not send."""

    def __init__(self, t, key, algorithm=None):
        self.t, self.key, self.algorithm, self.parts = t, key, algorithm, []
        answer = t.raw.request("POST", t.path(key), [("uploads", "")], {"x-amz-checksum-algorithm": algorithm} if algorithm else {})
        (self.id,) = texts(parsed(answer), "UploadId")

    def part(self, number, body, trailer=False, told=None, algorithm=None):
        """Sent with its checksum, if the upload has an algorithm or this one is named."""
        algorithm = algorithm or self.algorithm
        told = {checksums.header(algorithm): told or value(algorithm, body)} if algorithm else {}
        framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=tuple(told.items())) if trailer else None
        answer = self.t.raw.request("PUT", self.t.path(self.key), [("partNumber", str(number)), ("uploadId", self.id)], {} if trailer else told, body,
                                    framing=framing)
        self.parts.append((number, answer.etag, algorithm and (algorithm, value(algorithm, body))))
        return answer

    def complete(self, headers=None, listed=True):
        """With the parts' checksums in the list, unless they are not to be there."""
        def sum_of(told):
            return f"<Checksum{told[0]}>{told[1]}</Checksum{told[0]}>" if told and listed else ""

        parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{sum_of(told)}</Part>" for number, etag, told in self.parts)
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return self.t.raw.request("POST", self.t.path(self.key), [("uploadId", self.id)], headers or {}, body)

    def abort(self):
        self.t.raw.request("DELETE", self.t.path(self.key), [("uploadId", self.id)])


class Upload:
    """An upload created with an algorithm; its parts are sent with theirs."""

    def __init__(self, t, key, algorithm, kind=None):
        self.t, self.algorithm, self.place = t, algorithm, {"Bucket": t.bucket, "Key": key}
        options = {"ChecksumAlgorithm": algorithm, **({"ChecksumType": kind} if kind else {})}
        self.created = t.s3.create_multipart_upload(**self.place, **options)
        self.place["UploadId"] = self.created["UploadId"]
        self.parts = []

    def part(self, number, body):
        field = f"Checksum{self.algorithm}"
        answer = self.t.s3.upload_part(**self.place, PartNumber=number, Body=body, **{field: value(self.algorithm, body)})
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
        return answer

    def complete(self, **options):
        return self.t.s3.complete_multipart_upload(**self.place, MultipartUpload={"Parts": self.parts}, **options)

    def abort(self):
        self.t.s3.abort_multipart_upload(**self.place)


def composite(algorithm) -> str:
    """The checksum of the parts' checksums, with their number."""
    digests = b"".join(base64.b64decode(value(algorithm, body)) for body in PARTS.values())
    return f"{base64.b64encode(checksums.DIGESTS[algorithm](digests)).decode()}-{len(PARTS)}"


@variants(**{name.lower(): name for name in COMPOSITE})
def composite_of_parts(t, algorithm):
    upload = RawUpload(t, f"composite/{algorithm}", algorithm)
    for number, body in PARTS.items():
        equal(upload.part(number, body).status, 200, f"status of part {number}")
    answer = parsed(upload.complete())
    equal((texts(answer, f"Checksum{algorithm}"), texts(answer, "ChecksumType")), ([composite(algorithm)], ["COMPOSITE"]), "Complete's checksum")
    equal(shown(t, f"composite/{algorithm}", algorithm), composite(algorithm), "HEAD's checksum")


@variants(**{name.lower(): name for name in FULL})
def full_object_of_parts(t, algorithm):
    upload = Upload(t, f"full/{algorithm}", algorithm, "FULL_OBJECT")
    for number, body in PARTS.items():
        upload.part(number, body)
    answer = upload.complete(ChecksumType="FULL_OBJECT")
    wanted = value(algorithm, WHOLE)
    equal((answer[f"Checksum{algorithm}"], answer.get("ChecksumType")), (wanted, "FULL_OBJECT"), "Complete's checksum")
    equal(shown(t, f"full/{algorithm}", algorithm), wanted, "HEAD's checksum")


@case
def create_answers_algorithm_and_type(t):
    upload = Upload(t, "created", "CRC32", "FULL_OBJECT")
    equal((upload.created["ChecksumAlgorithm"], upload.created["ChecksumType"]), ("CRC32", "FULL_OBJECT"), "answer")
    upload.abort()


@variants(crc32=("CRC32", "COMPOSITE"), sha256=("SHA256", "COMPOSITE"), crc64nvme=("CRC64NVME", "FULL_OBJECT"))
def the_type_by_itself_of(t, algorithm, kind):
    upload = Upload(t, "by-itself", algorithm)
    equal(upload.created.get("ChecksumType"), kind, "type")
    upload.abort()


@variants(sha1_of_the_whole=("SHA1", "FULL_OBJECT"), sha256_of_the_whole=("SHA256", "FULL_OBJECT"), crc64nvme_of_parts=("CRC64NVME", "COMPOSITE"))
def create_refuses(t, algorithm, kind):
    answer = t.raw.request("POST", t.path("refused"), [("uploads", "")], {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})
    refused(answer, 400, "InvalidRequest")


@case
def create_refuses_an_algorithm_that_is_none(t):
    refused(t.raw.request("POST", t.path("refused"), [("uploads", "")], {"x-amz-checksum-algorithm": "CRC99"}), 400, "InvalidRequest")


@case
def a_part_with_a_wrong_checksum(t):
    upload = Upload(t, "wrong-part", "SHA256")
    with raises("BadDigest", status=400):
        t.s3.upload_part(**upload.place, PartNumber=1, Body=b"x", ChecksumSHA256=value("SHA256", b"y"))
    equal(t.s3.list_parts(**upload.place).get("Parts", []), [], "parts")
    upload.abort()


@case
def a_part_of_another_algorithm(t):
    upload = Upload(t, "other-algorithm", "SHA256")
    with raises("InvalidRequest", status=400):
        t.s3.upload_part(**upload.place, PartNumber=1, Body=b"x", ChecksumCRC32=value("CRC32", b"x"))
    upload.abort()


@variants(sha256="SHA256", crc32="CRC32")
def a_part_without_one_of_a_composite(t, algorithm):
    # S3: "expected checksum Type: sha256, actual checksum Type: null".
    upload = Upload(t, "no-part-checksum", algorithm, "COMPOSITE")
    answer = t.raw.request("PUT", t.path("no-part-checksum"), [("partNumber", "1"), ("uploadId", upload.place["UploadId"])], body=b"x")
    refused(answer, 400, "InvalidRequest")
    equal(t.s3.list_parts(**upload.place).get("Parts", []), [], "parts")
    upload.abort()


@variants(a_word="AAAAAA==-smth", not_only_digits="AAAAAA==-12a", two_dashes="AAAAAA==--3")
def complete_with_a_composite_of_no_number(t, told):
    upload = Upload(t, "no-number", "CRC32", "COMPOSITE")
    upload.part(1, b"x")
    with raises("InvalidRequest", status=400):
        upload.complete(ChecksumCRC32=told)
    upload.abort()


@case
def complete_with_a_wrong_checksum_of_a_part(t):
    upload = Upload(t, "wrong-complete", "SHA256")
    upload.part(1, b"x")
    upload.parts[0]["ChecksumSHA256"] = value("SHA256", b"y")
    with raises("InvalidPart", "BadDigest", status=400):
        upload.complete()
    equal(t.keys("wrong-complete"), [], "keys")
    upload.abort()


@case
def complete_without_the_parts_checksums(t):
    # AWS: a composite upload wants them in Complete.
    upload = Upload(t, "no-sums", "SHA256")
    upload.part(1, b"x")
    del upload.parts[0]["ChecksumSHA256"]
    with raises("InvalidRequest", "InvalidPart", status=400):
        upload.complete()
    upload.abort()


@case
def complete_without_the_parts_checksums_of_a_whole(t):
    # AWS: only a composite upload wants them.
    upload = Upload(t, "no-sums-whole", "CRC32", "FULL_OBJECT")
    upload.part(1, b"x")
    del upload.parts[0]["ChecksumCRC32"]
    equal(upload.complete(ChecksumType="FULL_OBJECT")["ChecksumCRC32"], value("CRC32", b"x"), "checksum")


@case
def complete_with_a_wrong_checksum_of_the_whole(t):
    upload = Upload(t, "wrong-whole", "CRC32", "FULL_OBJECT")
    upload.part(1, b"x")
    with raises("BadDigest", "InvalidRequest", status=400):
        upload.complete(ChecksumType="FULL_OBJECT", ChecksumCRC32=value("CRC32", b"y"))
    equal(t.keys("wrong-whole"), [], "keys")
    upload.abort()


@case
def complete_with_the_checksum_of_the_whole(t):
    upload = Upload(t, "right-whole", "CRC64NVME")
    upload.part(1, b"whole")
    answer = upload.complete(ChecksumType="FULL_OBJECT", ChecksumCRC64NVME=value("CRC64NVME", b"whole"))
    equal(answer["ChecksumCRC64NVME"], value("CRC64NVME", b"whole"), "checksum")


def none_stored(t, upload, answer, *codes):
    """Refused, and no object came of it."""
    refused(answer, 400, *codes)
    equal(t.keys(upload.key), [], "keys")
    upload.abort()


@case
def complete_with_a_wrong_checksum_of_the_whole_that_nobody_announced(t):
    # AWS: an upload without an algorithm has a CRC64NVME of the whole, which S3 makes itself.
    upload = RawUpload(t, "unannounced")
    upload.part(1, b"x")
    answer = upload.complete({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA=", "x-amz-checksum-type": "FULL_OBJECT"})
    none_stored(t, upload, answer, "BadDigest", "InvalidRequest")


@case
def complete_with_a_wrong_checksum_of_parts_that_had_theirs(t):
    upload = RawUpload(t, "unannounced-parts")
    for number, body in PARTS.items():
        upload.part(number, body, algorithm="CRC64NVME")
    none_stored(t, upload, upload.complete({"x-amz-checksum-crc64nvme": value("CRC64NVME", b"other")}), "BadDigest")


@case
def complete_with_the_checksum_of_parts_that_had_theirs(t):
    upload = RawUpload(t, "unannounced-right")
    for number, body in PARTS.items():
        upload.part(number, body, algorithm="CRC64NVME")
    told = {"x-amz-checksum-crc64nvme": value("CRC64NVME", WHOLE), "x-amz-checksum-type": "FULL_OBJECT"}
    equal(texts(parsed(upload.complete(told)), "ChecksumCRC64NVME"), [value("CRC64NVME", WHOLE)], "Complete's checksum")
    equal(shown(t, upload.key, "CRC64NVME"), value("CRC64NVME", WHOLE), "HEAD's checksum")


@case
def complete_with_a_checksum_of_a_part_that_came_without(t):
    upload = RawUpload(t, "listed-only")
    upload.part(1, b"x")
    upload.parts = [(1, upload.parts[0][1], ("SHA256", value("SHA256", b"y")))]
    none_stored(t, upload, upload.complete(), "InvalidRequest", "InvalidPart", "BadDigest")


@case
def complete_with_an_algorithm_that_is_not_the_uploads(t):
    upload = RawUpload(t, "another-algorithm", "SHA256")
    upload.part(1, b"x")
    none_stored(t, upload, upload.complete({"x-amz-checksum-crc32": value("CRC32", b"x")}), "InvalidRequest", "BadDigest")


@variants(composite_of_a_whole=("CRC64NVME", "COMPOSITE"), whole_of_a_composite=("SHA256", "FULL_OBJECT"), none_that_is_known=("CRC32", "HALF"),
          composite_of_none=(None, "COMPOSITE"))
def complete_with_another_type(t, algorithm, kind):
    upload = RawUpload(t, f"another-type/{algorithm}/{kind}", algorithm)
    upload.part(1, b"x")
    none_stored(t, upload, upload.complete({"x-amz-checksum-type": kind}), "InvalidRequest")


@case
def complete_with_another_number_of_parts(t):
    # What stands behind the checksum of checksums is of how many parts it is.
    upload = RawUpload(t, "another-number", "SHA256")
    upload.part(1, b"x")
    sum_of_one = base64.b64encode(checksums.DIGESTS["SHA256"](checksums.DIGESTS["SHA256"](b"x"))).decode()
    refused(upload.complete({"x-amz-checksum-sha256": f"{sum_of_one}-2"}), 400, "BadDigest", "InvalidRequest")
    equal(parsed(upload.complete({"x-amz-checksum-sha256": f"{sum_of_one}-1"})).tag, "CompleteMultipartUploadResult", "answer")


@case
def list_parts_shows_them(t):
    upload = Upload(t, "listed", "SHA256")
    upload.part(1, b"listed part")
    page = t.s3.list_parts(**upload.place)
    equal(page["Parts"][0].get("ChecksumSHA256"), value("SHA256", b"listed part"), "checksum of the part")
    equal(page.get("ChecksumAlgorithm"), "SHA256", "algorithm")
    upload.abort()


@case
def a_part_read_by_its_number_shows_its_checksum(t):
    answer = t.raw.request("GET", by_number(t), [("partNumber", "2")], {"x-amz-checksum-mode": "ENABLED"})
    equal((answer.status, answer.headers["x-amz-checksum-sha256"]), (206, value("SHA256", PARTS[2])), "answer")
    true(answer.body == PARTS[2], "the body is another")


@case
def a_head_of_a_part_shows_its_checksum(t):
    answer = t.raw.request("HEAD", by_number(t), [("partNumber", "1")], {"x-amz-checksum-mode": "ENABLED"})
    equal((answer.status, answer.headers["x-amz-checksum-sha256"]), (206, value("SHA256", PARTS[1])), "answer")


@case
def a_part_shows_its_checksum_only_when_asked(t):
    answer = t.raw.request("GET", by_number(t), [("partNumber", "2")])
    equal((answer.status, answer.headers["x-amz-checksum-sha256"]), (206, None), "answer")


def by_number(t) -> str:
    """The path of an upload of two parts with their checksums."""
    def make():
        upload = Upload(t, "by-number", "SHA256")
        for number, body in PARTS.items():
            upload.part(number, body)
        upload.complete()
        return t.path("by-number")

    return t.shared("by number", make)


@case
def a_directory_marker_has_one(t):
    t.s3.put_object(Bucket=t.bucket, Key="marker/", Body=b"", ChecksumAlgorithm="SHA256")
    equal(shown(t, "marker/", "SHA256"), value("SHA256", b""), "checksum")
    trailed = t.raw.request("PUT", t.path("trailed/"), body=b"", framing=sigv4.Framing(
        sigv4.STREAM_UNSIGNED_TRAILER, trailers=((checksums.header("CRC32"), value("CRC32", b"")),)))
    equal((trailed.status, shown(t, "trailed/", "CRC32")), (200, value("CRC32", b"")), "answer and checksum")
    equal(put(t, "by-itself/", {}, b"").status, 200, "status")
    equal(shown(t, "by-itself/", "CRC64NVME"), value("CRC64NVME", b""), "checksum")


@case
def content_md5_with_spare_bits_is_another_digest(t):
    refused(put(t, "spare-bits", {"content-md5": "uU0nuZNNPgilLlLX2n2r+s=="}), 400, "BadDigest")
    equal(t.keys("spare-bits"), [], "keys")
