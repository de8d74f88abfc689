"""Checksums: each of the ten algorithms, as header and as trailer, is verified over the plaintext, kept and returned."""

import checksums
import sigv4
from cases import case, data, equal, refused, true

BODY = data(70_001, "checksums")


def stored(t, key, algorithm):
    """What HEAD says about a checksum when asked for it."""
    answer = t.raw.request("HEAD", t.path(key), headers={"x-amz-checksum-mode": "ENABLED"})
    equal(answer.status, 200, f"status of HEAD {key}")
    return answer.headers[checksums.header(algorithm)]


def by_header(algorithm):
    def run(t):
        key, value = f"header/{algorithm}", checksums.value(algorithm, BODY)
        answer = t.raw.request("PUT", t.path(key), headers={checksums.header(algorithm): value}, body=BODY)
        equal(answer.status, 200, f"answer {answer}")
        equal(stored(t, key, algorithm), value, "stored checksum")
        get = t.raw.request("GET", t.path(key), headers={"x-amz-checksum-mode": "ENABLED"})
        true(get.body == BODY, "the body is another")
        equal(get.headers[checksums.header(algorithm)], value, "GET's checksum")

    return run


def by_trailer(algorithm):
    def run(t):
        key, value = f"trailer/{algorithm}", checksums.value(algorithm, BODY)
        framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=((checksums.header(algorithm), value),))
        answer = t.raw.request("PUT", t.path(key), body=BODY, framing=framing)
        equal(answer.status, 200, f"answer {answer}")
        true(t.get(key) == BODY, "the body is another")
        equal(stored(t, key, algorithm), value, "stored checksum")

    return run


def refuses(algorithm):
    def run(t):
        wrong = checksums.value(algorithm, BODY + b"x")
        key = f"wrong/{algorithm}"
        refused(t.raw.request("PUT", t.path(key), headers={checksums.header(algorithm): wrong}, body=BODY), 400, "BadDigest")
        framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=((checksums.header(algorithm), wrong),))
        refused(t.raw.request("PUT", t.path(key), body=BODY, framing=framing), 400, "BadDigest")
        equal(t.keys(key), [], "keys")

    return run


for _algorithm in checksums.DIGESTS:
    for _make in (by_header, by_trailer, refuses):
        _run = _make(_algorithm)
        _run.__name__, _run.__module__ = f"{_make.__name__}_{_algorithm.lower()}", __name__
        case(_run)


@case
def no_checksum_of_the_whole_on_a_range(t):
    value = checksums.value("CRC32", BODY)
    t.raw.request("PUT", t.path("ranged"), headers={checksums.header("CRC32"): value}, body=BODY)
    answer = t.raw.request("GET", t.path("ranged"), headers={"range": "bytes=1-4", "x-amz-checksum-mode": "ENABLED"})
    equal((answer.status, answer.body), (206, BODY[1:5]), "answer")
    shown = [name for name in answer.headers if name.lower().startswith("x-amz-checksum-") and name.lower() != "x-amz-checksum-type"]
    equal(shown, [], "checksum headers of a range")


@case
def content_md5_is_verified(t):
    answer = t.raw.request("PUT", t.path("md5"), headers={"content-md5": checksums.content_md5(BODY)}, body=BODY)
    equal(answer.status, 200, f"answer {answer}")
    answer = t.raw.request("PUT", t.path("md5-wrong"), headers={"content-md5": checksums.content_md5(b"other")}, body=BODY)
    refused(answer, 400, "BadDigest")
    for wrong in ("no base64", "YQ=="):
        refused(t.raw.request("PUT", t.path("md5-wrong"), headers={"content-md5": wrong}, body=BODY), 400, "InvalidDigest")
    equal(t.keys("md5-wrong"), [], "keys")


@case
def a_checksum_that_is_no_checksum(t):
    for name, value in (("CRC32", "short"), ("SHA256", "YQ=="), ("CRC64NVME", "")):
        refused(t.raw.request("PUT", t.path("none"), headers={checksums.header(name): value}, body=BODY), 400, "InvalidRequest")
    equal(t.keys("none"), [], "keys")


@case
def clients_that_choose_an_algorithm(t):
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        t.s3.put_object(Bucket=t.bucket, Key=f"boto3/{algorithm}", Body=BODY, ChecksumAlgorithm=algorithm)
        answer = t.s3.get_object(Bucket=t.bucket, Key=f"boto3/{algorithm}", ChecksumMode="ENABLED")
        true(answer["Body"].read() == BODY, "the body is another")
        equal(answer[f"Checksum{algorithm}"], checksums.value(algorithm, BODY), "checksum")


@case
def multipart_with_checksums_on_its_parts(t):
    created = t.s3.create_multipart_upload(Bucket=t.bucket, Key="parts", ChecksumAlgorithm="CRC32")
    place = {"Bucket": t.bucket, "Key": "parts", "UploadId": created["UploadId"]}
    parts = []
    for number, body in ((1, data(5 * 1024 * 1024, "p1")), (2, data(1000, "p2"))):
        value = checksums.value("CRC32", body)
        answer = t.s3.upload_part(**place, PartNumber=number, Body=body, ChecksumCRC32=value)
        equal(answer["ChecksumCRC32"], value, f"checksum of part {number}")
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": value})
    refused(t.raw.request("PUT", t.path("parts"), [("partNumber", "3"), ("uploadId", created["UploadId"])],
                          {checksums.header("CRC32"): checksums.value("CRC32", b"other")}, b"body"), 400, "BadDigest")
    t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    true(t.get("parts") == data(5 * 1024 * 1024, "p1") + data(1000, "p2"), "the body is another")
