"""Seeds for every fuzz target: the golden vectors' bytes, requests signed by AWS's rules, documents as servers write them."""

import hashlib
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VECTORS = os.path.join(ROOT, "data-plane", "envelope", "vectors")
sys.path.insert(0, os.path.join(ROOT, "ops", "compat"))

import sigv2  # noqa: E402 (found through the line above)
import sigv4  # noqa: E402

# The credential and time of AWS's published examples, which the targets know too.
CREDENTIALS = sigv4.Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
WHEN = "20130524T000000Z"
HOST = "examplebucket.s3.amazonaws.com"
BODY = bytes(at % 256 for at in range(300))
STREAM_SIGNATURES = ("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
                     "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def vectors(name: str) -> dict:
    with open(os.path.join(VECTORS, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def lp(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def small(body: dict) -> bytes | None:
    """A body that stands in the vectors literally."""
    pieces = body["pieces"]
    return bytes.fromhex(pieces[0]["hex"]) if len(pieces) == 1 and "hex" in pieces[0] else None


def of_the_format() -> dict[str, list[bytes]]:
    objects, uploads, records, names = (vectors(name) for name in ("objects", "uploads", "ik-records", "names"))
    every = [*objects["objects"], *objects["refused"]]
    metadata = {each["metadata_header"].encode() for each in every if each["metadata_header"]}
    for each in objects["objects"]:
        pairs = b"".join(lp(name.encode()) + lp(value.encode()) for name, value in sorted(each["metadata"].items()))
        stored = bytes([1, 1]) + len(pairs).to_bytes(2, "little") + (len(pairs) ^ 0xFFFF).to_bytes(2, "little") + pairs
        metadata |= {b"\0" + pairs, stored}
    trailers = set()
    for each in every:
        tail = each["body"]["pieces"][-1:]
        if tail and "hex" in tail[0] and len(tail[0]["hex"]) < 4000:
            trailers |= {bytes([how]) + bytes.fromhex(tail[0]["hex"])[-600:] for how in (0, 1)}
    for each in objects["objects"]:
        sums = b"".join(bytes([sum_of["code"] | 128 * sum_of["composite"]]) + bytes.fromhex(sum_of["value"]) for sum_of in each["checksums"])
        parts = b"".join(part["number"].to_bytes(2, "big") + part["size"].to_bytes(5, "big") + bytes([(part["checksum"] or {"code": 0})["code"]])
                         + bytes.fromhex(part["salt"] + part["etag"] + (part["checksum"] or {"value": ""})["value"]) for part in each["parts"])
        text = each["size"].to_bytes(8, "big") + len(each["parts"]).to_bytes(2, "big") + bytes([len(each["checksums"])]) + sums + parts
        trailers.add(bytes([bool(each["parts"])]) + text + bytes(40))
    note_texts = [bytes.fromhex(note["salt"]) + note["size"].to_bytes(5, "big") + bytes([len(note["checksums"])])
                  + b"".join(bytes([each["code"]]) + bytes.fromhex(each["value"]) for each in note["checksums"]) for note in uploads["notes"]]
    return {
        "envelope": [*({each["envelope"].encode() for each in every if each["envelope"]}),
                     *(bytes.fromhex(each["record"])[:141] for each in uploads["records"])],
        "metadata": list(metadata),
        "trailer": list(trailers),
        "upload-record": [bytes.fromhex(each["record"]) for each in (*uploads["records"], *uploads["refused"])],
        "note": [*(each["name"].encode() for each in (*uploads["notes"], *uploads["refused_notes"])), *note_texts],
        "name": [*(each["name"].encode() for each in (*names["names"], *uploads["records"], *records["records"])),
                 *(each["text"].encode() for each in (*names["refused"], *records["refused_cards"])),
                 *(each["card"].encode() for each in records["cards"]), *(bytes.fromhex(each[0]) for each in names["markers"]),
                 *(tag.encode() for pair in vectors("etags")["pairs"] for tag in pair)],
        "ik-record": [bytes.fromhex(each) for each in (*(each["record"] for each in records["records"]),
                                                       *(each["bytes"] for each in records["refused"]))],
        # Edits of a genuine object: what, where, how far.
        "chunks": [b"\0", b"\1", *(bytes([suite, what]) + at.to_bytes(3, "big") + far.to_bytes(3, "big") for suite in (0, 1) for what in range(6)
                                   for at, far in ((0, 1), (12, 255), (65_564, 228), (65_792, 320), (200, 65_564)))],
    }


def of_clients() -> tuple[dict[str, list[bytes]], list[str]]:
    empty = hashlib.sha256(b"").hexdigest()
    requests = []
    for method, path, query, headers, payload in (
        ("GET", "/test.txt", [], {"range": "bytes=0-9"}, empty),
        ("PUT", "/test%24file.text", [], {"x-amz-meta-a": "b", "content-type": "text/plain", "content-length": "11"}, hashlib.sha256(b"hello world").hexdigest()),
        ("GET", "/", [("lifecycle", "")], {}, empty),
        ("GET", "/", [("list-type", "2"), ("prefix", "J"), ("max-keys", "2"), ("delimiter", "/")], {}, empty),
        ("POST", "/big", [("uploads", "")], {"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "COMPOSITE"}, empty),
        ("PUT", "/big", [("partNumber", "7"), ("uploadId", "abc")], {"content-length": "5242880", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, sigv4.UNSIGNED),
        ("PUT", "/s", [], {"x-amz-decoded-content-length": "300", "content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32c"},
         sigv4.STREAM_UNSIGNED_TRAILER),
        ("PUT", "/s", [], {"x-amz-decoded-content-length": "300", "content-encoding": "aws-chunked,gzip", "if-none-match": "*"}, sigv4.STREAM_SIGNED),
        ("DELETE", "/a%20b/%C3%BC", [("versionId", "null")], {"if-match": '"0123456789abcdef0123456789abcdef-1"'}, empty),
        ("HEAD", "/a", [], {"if-modified-since": "Fri, 24 May 2013 00:00:00 GMT", "if-none-match": 'W/"a", "b"'}, empty),
    ):
        signed = sigv4.sign_headers(CREDENTIALS, method, path, query, {"host": HOST, **headers}, payload, WHEN)
        requests.append(head(method, path, query, signed))
    for method, path, query in (("GET", "/test.txt", []), ("PUT", "/up/load", [("partNumber", "1"), ("uploadId", "u")]),
                                ("GET", "/t", [("response-content-type", "text/html")])):
        requests.append(head(method, path, sigv4.presign(CREDENTIALS, method, path, query, {"host": HOST}, 86_400, WHEN), {"host": HOST}))
    signatures = re.findall(r"ignature=([0-9a-f]{64})", b"".join(requests).decode())
    for how in ("header", "query"):
        request, signature = of_version_2(how)
        requests.append(request)
        signatures.append(signature)
    crc = (("x-amz-checksum-crc32c", "sOO8/Q=="),)
    framed = [bytes([how, split]) + sigv4.Framing(mode, 128, trailers, **wrong).body(BODY, CREDENTIALS, WHEN, seed)
              for how, mode, trailers, seed in ((0, sigv4.STREAM_UNSIGNED_TRAILER, crc, ""), (0, sigv4.STREAM_UNSIGNED_TRAILER, (), ""),
                                                (1, sigv4.STREAM_SIGNED, (), STREAM_SIGNATURES[0]),
                                                (2, sigv4.STREAM_SIGNED_TRAILER, crc, STREAM_SIGNATURES[1]))
              for split in (0, 1, 100) for wrong in ({}, {"without_final_chunk": True}, {"bad_chunk": 1})]
    parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{'ab' * 16}-1&quot;</ETag></Part>" for number in (1, 2, 10_000))
    with_sums = "<Part><ChecksumCRC32C>sOO8/Q==</ChecksumCRC32C><ETag>a</ETag><PartNumber>3</PartNumber></Part>"
    objects = "<Object><Key>a &amp; b&#xE4;</Key></Object><Object><Key>c</Key><VersionId>v</VersionId><ETag>e</ETag></Object>"
    texts = {
        "delete-xml": [f"<Delete>{objects}</Delete>", f"{XML}<Delete{NAMESPACE}>{objects}<Quiet>true</Quiet></Delete>", "<Delete></Delete>",
                       "<Delete><Object><Key><![CDATA[x]]></Key><Size>1</Size></Object><!-- c --></Delete>",
                       f"<CreateBucketConfiguration{NAMESPACE}><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"],
        "complete-xml": [f"{XML}<CompleteMultipartUpload{NAMESPACE}>{parts}</CompleteMultipartUpload>",
                         f"<CompleteMultipartUpload>{with_sums}</CompleteMultipartUpload>", "<CompleteMultipartUpload/>"],
        "ranges": ["bytes=0-9", "bytes=5-", "bytes=-7", "bytes=0-0,2-3", "bytes=9-5", "lines=1-2", " Bytes = 1 - 2 ", "bytes=18446744073709551615-",
                   "bytes=0-18446744073709551615", "bytes=-18446744073709551615"],
    }
    found = {name: [text.encode() for text in each] for name, each in texts.items()}
    found["ranges"] = [size.to_bytes(8, "big") + text for size in (0, 10, 2**64 - 1) for text in found["ranges"]]
    return {**found, "request": requests, "aws-chunked": framed, "form": forms()}, signatures


def of_version_2(how: str) -> tuple[bytes, str]:
    """A request signed with Version 2, and of its signature what no spelling of a query changes."""
    at = 1_369_353_600
    for number in range(10_000):
        path, headers = f"/{number}", {"host": HOST, "content-type": "text/plain", "x-amz-meta-a": "1"}
        resource = f"/{HOST.partition('.')[0]}{path}"
        if how == "header":
            signed = sigv2.sign_headers(CREDENTIALS, "PUT", path, [("acl", "")], headers, sigv2.date(at), resource)
            request, signature = head("PUT", path, [("acl", "")], signed), signed["authorization"].partition(":")[2]
        else:
            query = sigv2.presign(CREDENTIALS, "GET", resource, [("versionId", "1"), ("prefix", "a")], headers, at + 600)
            request, signature = head("GET", path, query, headers), dict(query)["Signature"]
        if signature[:27].isalnum():
            return request, signature[:27]
    raise AssertionError("no signature of letters and digits alone")


def forms() -> list[bytes]:
    def part(disposition, value):
        return f"--b\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: text/plain\r\n\r\n{value}\r\n"
    fields = part('name="key"', "user/${filename}") + part('name="Content-Type"; filename="Content-Type"', "text/plain") + part("name=empty", "")
    files = ['name="file"; filename="C:\\dir\\a\\"b.txt"', "name=file; filename*=UTF-8''%e2%82%ac.txt"]
    bodies = [fields + part(each, "the file\r\n--c") + end for each in files
              for end in ("--b--\r\n", "--b--", part("name=submit", "Upload") + "--b--\r\n", "")]
    policy = {"expiration": "2030-01-01T00:00:00.000Z", "conditions": [{"bucket": "bucket"}, ["starts-with", "$key", ""],
                                                                   ["content-length-range", 0, "10"], ["eq", "$Content-Type", "a/b, c/d"]]}
    policies = [json.dumps(policy), json.dumps({**policy, "conditions": [{}]}), json.dumps({**policy, "expiration": "2013-05-24T00:00:00Z"})]
    tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>"
    types = ["multipart/form-data; boundary=b", 'multipart/form-data; charset=utf-8; Boundary="a b:c"', "multipart/form-data"]
    return [*(bytes([0, piece]) + each.encode() for each in bodies for piece in (1, 7, 255)), *(b"\1" + each.encode() for each in policies),
            b"\2" + tags.encode(), *(b"\3" + each.encode() for each in types)]


def head(method, path, query, headers) -> bytes:
    target = path + (f"?{sigv4.encode_query(query)}" if query else "")
    return "\n".join([f"{method} {target}", *(f"{name}:{value}" for name, value in headers.items())]).encode()


def of_storages() -> dict[str, list[bytes]]:
    entry = ("<Contents><Key>a%20b</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;0f&quot;</ETag><Size>348</Size>"
             "<StorageClass>STANDARD</StorageClass></Contents>")
    upload = ("<Upload><Key>k</Key><UploadId>u</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated><StorageClass>STANDARD</StorageClass></Upload>")
    common = "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
    page = f"{XML}<ListBucketResult{NAMESPACE}><Name>b</Name><EncodingType>url</EncodingType>{entry}{entry}{common}"
    documents = [
        (0, f"{page}<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"),
        (8, f"{page}<IsTruncated>true</IsTruncated><NextMarker>a%20b</NextMarker></ListBucketResult>"),
        (24, f"{page}<IsTruncated>false</IsTruncated></ListBucketResult>"), (0, f"<ListBucketResult{NAMESPACE}/>"),
        (1, f"<ListMultipartUploadsResult>{upload}{common}<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
            "<NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>"),
        (2, "<DeleteResult><Deleted><Key>a</Key><VersionId>v</VersionId><DeleteMarker>true</DeleteMarker></Deleted>"
            "<Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"),
        (3, f"{XML}<Error><Code>NoSuchKey</Code><Message>The key &lt;x&gt;</Message><Key>k</Key></Error>"), (3, "<html><body>502</body></html>"),
        (4, 'etag:"0123456789abcdef0123456789abcdef"\nlast-modified:Fri, 02 Jan 2026 03:04:05 GMT\ncontent-length:348\n'
            "content-range:bytes 0-9/348\nx-amz-meta-sealgate:AQEB\nx-amz-version-id:v"),
    ]
    file = bytes([1, 1]) + b"".join([
        (85).to_bytes(4, "big"), bytes(range(16)), (1_800_000_000_000).to_bytes(8, "big"), (348).to_bytes(8, "big"), (1).to_bytes(4, "big"), lp(b""),
        lp(b"key"), (1).to_bytes(2, "big") + lp(b"sealgate") + lp(b"AQ"), (0).to_bytes(2, "big")])
    file = file[:2] + (len(file) + 8).to_bytes(4, "big") + file[6:]
    row = bytes(range(16)) + (348).to_bytes(8, "big")
    files = [b"\0" + file + crc64_nvme(file) + row + crc64_nvme(row), b"\0" + file + crc64_nvme(file), b"\1Lb", b"\1Da%20b", b"\1C" + b"x" * 80, b"\1L%2F"]
    documents_kept = (
        "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
        "a=1&b=%C3%A9+2",
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>",
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
    )
    files += [b"\2" + text.encode() for text in documents_kept]
    state = b"\1Enabled"
    files += [b"\3" + state + crc64_nvme(state), b"\3" + b"0" * 15 + b"1" + b"ab" * 16]
    return {"answers": [bytes([how]) + text.encode() for how, text in documents], "files": files}


def crc64_nvme(data: bytes) -> bytes:
    crc = 2**64 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return (crc ^ 2**64 - 1).to_bytes(8, "big")


def write(directory: str) -> tuple[dict[str, int], list[str]]:
    """Writes all seeds, a directory a target; gives their numbers, and the signatures among them."""
    clients, signatures = of_clients()
    counts = {}
    for target, seeds in {**of_the_format(), **clients, **of_storages()}.items():
        place = os.path.join(directory, target)
        os.makedirs(place, exist_ok=True)
        for seed in seeds:
            with open(os.path.join(place, hashlib.sha256(seed).hexdigest()[:16]), "wb") as file:
                file.write(seed)
        counts[target] = len(set(seeds))
    return counts, signatures
