"""Requests that must be refused: with S3's own code and status, and nothing stored."""

import contextlib
import datetime
import os

import checksums
import sigv4
from cases import case, data, equal, refused, true

BODY = data(150_000, "refusals")


def tree(root: str) -> list[tuple]:
    """Everything below a directory: name, kind and size, and the time of its last change."""
    found = []
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            size = None if name in directories else (status.st_size, status.st_mtime_ns)
            found.append((os.path.relpath(path, root), size))
    return sorted(found)


@contextlib.contextmanager
def nothing_stored(t):
    """Fails when the block changes a listing, the filesystem backend's tree, or anything outside the data directory."""
    if not getattr(t, "warm", False):
        # The first object makes the bucket's key: not a trace of what follows.
        t.s3.put_object(Bucket=t.bucket, Key="witness", Body=BODY)
        t.warm = True

    def state():
        found = {"visible": sorted((key, len(t.get(key))) for key in t.keys())}
        if t.target.is_gateway:
            if t.target.backend is None:
                found["backend"] = tree(t.target.raw_roots()[0])
            found["outside"] = [entry for entry in tree(t.target.outer) if entry[0].split(os.sep)[0] not in ("data", "log")]
        return found

    before = state()
    yield
    after = state()
    for what, entries in before.items():
        new = [entry for entry in after[what] if entry not in entries]
        gone = [entry for entry in entries if entry not in after[what]]
        true(not new and not gone, f"{what} changed: new {new[:5]}, gone {gone[:5]}")


def put(t, **options):
    return t.raw.request("PUT", t.path(options.pop("key", "refused")), body=options.pop("body", BODY), **options)


@case
def a_wrong_secret(t):
    wrong = sigv4.Credentials(t.credentials.access_key, t.credentials.secret_key[::-1], t.credentials.region)
    with nothing_stored(t):
        answer = put(t, credentials=wrong)
        refused(answer, 403, "SignatureDoesNotMatch")
        for method in ("GET", "DELETE"):
            refused(t.raw.request(method, t.path("witness"), credentials=wrong), 403, "SignatureDoesNotMatch")
        presigned = t.raw.presigned("GET", t.path("witness"), credentials=wrong)
        refused(presigned, 403, "SignatureDoesNotMatch")
    for told in (answer, presigned) if t.target.is_gateway else (answer,):
        for text in (b"<CanonicalRequest>", b"<StringToSign>AWS4-HMAC-SHA256\n"):
            true(text in told.body, f"{text} is not in {told}")
    true(t.credentials.secret_key.encode() not in answer.body, "the secret is in the answer")


@case
def an_unknown_access_key(t):
    with nothing_stored(t):
        for name in ("AKIDOESNOTEXIST0000", "x"):
            refused(put(t, credentials=sigv4.Credentials(name, "secret", t.credentials.region)), 403, "InvalidAccessKeyId")


@case
def no_signature_at_all(t):
    with nothing_stored(t):
        for method, path, body in (("PUT", t.path("refused"), BODY), ("GET", t.path("witness"), b""), ("GET", t.path(), b""),
                                   ("DELETE", t.path("witness"), b""), ("GET", "/", b"")):
            answer = t.raw.request(method, path, body=body, alter=lambda headers: headers.pop("authorization"))
            refused(answer, 403, "AccessDenied")


@case
def a_broken_authorization_header(t):
    broken = {
        "AWS4-HMAC-SHA256": 400, "AWS4-HMAC-SHA256 Credential=": 400, "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host": 400,
        "Bearer token": 400, "Basic YTpi": 400, "AWS4-HMAC-SHA512 Credential=a, SignedHeaders=b, Signature=c": 400,
    }
    with nothing_stored(t):
        for value, status in broken.items():
            answer = put(t, alter=lambda headers, value=value: headers.update(authorization=value))
            refused(answer, (status, 403))
            true(answer.code in ("AuthorizationHeaderMalformed", "InvalidArgument", "InvalidRequest", "AccessDenied"), f"{value}: {answer}")


@case
def another_region_or_service(t):
    with nothing_stored(t):
        elsewhere = sigv4.Credentials(t.credentials.access_key, t.credentials.secret_key, "mars-north-1")
        refused(put(t, credentials=elsewhere), 400, "AuthorizationHeaderMalformed")
        answer = put(t, alter=lambda headers: headers.update(authorization=headers["authorization"].replace("/s3/", "/ec2/")))
        refused(answer, (400, 403), "AuthorizationHeaderMalformed", "SignatureDoesNotMatch")


@case
def an_altered_header(t):
    def change(headers):
        headers["x-amz-meta-a"] = "2"

    def smuggle(headers):
        headers["x-amz-meta-b"] = "unsigned"

    def drop(headers):
        del headers["x-amz-meta-a"]

    with nothing_stored(t):
        for alter in (change, drop):
            refused(put(t, headers={"x-amz-meta-a": "1"}, alter=alter), 403, "SignatureDoesNotMatch")
        # An x-amz- header that nobody signed.
        refused(put(t, headers={"x-amz-meta-a": "1"}, alter=smuggle), 403, "AccessDenied", "SignatureDoesNotMatch")


@case
def an_altered_method_path_or_query(t):
    with nothing_stored(t):
        query = sigv4.presign(t.credentials, "GET", t.path("witness"), [], {"host": t.raw.host})
        text = sigv4.encode_query(query)
        for method, path, suffix in (("DELETE", t.path("witness"), ""), ("GET", t.path("other"), ""), ("GET", t.path("witness"), "&versionId=1")):
            head = f"{method} {path}?{text}{suffix} HTTP/1.1\r\nhost: {t.raw.host}\r\nconnection: close\r\n\r\n".encode()
            refused(t.raw.exchange(head, method=method), 403, "SignatureDoesNotMatch")


@case
def presigned_urls_that_are_not_valid(t):
    now = datetime.datetime.now(datetime.timezone.utc)
    hour_ago = sigv4.timestamp(now - datetime.timedelta(hours=1))
    tomorrow = sigv4.timestamp(now + datetime.timedelta(hours=24))

    def without(name):
        return lambda query: [pair for pair in query if pair[0] != name]

    with nothing_stored(t):
        refused(t.raw.presigned("PUT", t.path("refused"), body=BODY, expires=600, when=hour_ago), 403, "AccessDenied")
        refused(t.raw.presigned("GET", t.path("witness"), expires=600, when=hour_ago), 403, "AccessDenied")
        refused(t.raw.presigned("GET", t.path("witness"), when=tomorrow), 403, "AccessDenied")
        for expires in (604_801, 0, -1):
            refused(t.raw.presigned("GET", t.path("witness"), expires=expires), (400, 403), "AuthorizationQueryParametersError", "AccessDenied")
        for name in ("X-Amz-Signature", "X-Amz-Expires", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Date"):
            refused(t.raw.presigned("GET", t.path("witness"), alter_query=without(name)), (400, 403),
                    "AuthorizationQueryParametersError", "AccessDenied")
        stretched = t.raw.presigned("GET", t.path("witness"), expires=60, alter_query=lambda query: [
            (name, "600" if name == "X-Amz-Expires" else value) for name, value in query])
        refused(stretched, 403, "SignatureDoesNotMatch")


@case
def a_clock_that_is_far_off(t):
    now = datetime.datetime.now(datetime.timezone.utc)
    with nothing_stored(t):
        for minutes in (-16, 16):
            refused(put(t, when=sigv4.timestamp(now + datetime.timedelta(minutes=minutes))), 403, "RequestTimeTooSkewed")


@case
def a_body_that_is_not_the_signed_one(t):
    with nothing_stored(t):
        refused(put(t, payload_hash=sigv4.EMPTY_SHA256), 400, "XAmzContentSHA256Mismatch")
        refused(put(t, payload_hash="nonsense"), 400, "InvalidArgument", "InvalidRequest", "XAmzContentSHA256Mismatch")
        answer = put(t, alter=lambda headers: headers.pop("x-amz-content-sha256"))
        refused(answer, (400, 403), "InvalidRequest", "SignatureDoesNotMatch", "MissingSecurityHeader")


@case
def a_body_over_an_old_object(t):
    with nothing_stored(t):
        refused(put(t, key="witness", body=BODY[::-1], payload_hash=sigv4.EMPTY_SHA256), 400, "XAmzContentSHA256Mismatch")
        refused(put(t, key="witness", body=BODY[::-1], headers={"content-md5": checksums.content_md5(b"")}), 400, "BadDigest")
        true(t.get("witness") == BODY, "the old object changed")


@case
def a_wrong_chunk_signature(t):
    with nothing_stored(t):
        for bad in (0, 1, 2, -1):
            framing = sigv4.Framing(sigv4.STREAM_SIGNED, bad_chunk=bad)
            refused(put(t, framing=framing), 403, "SignatureDoesNotMatch")


@case
def a_wrong_trailer(t):
    right = ((checksums.header("CRC32"), checksums.value("CRC32", BODY)),)
    wrong = ((checksums.header("CRC32"), checksums.value("CRC32", b"other")),)
    with nothing_stored(t):
        refused(put(t, framing=sigv4.Framing(sigv4.STREAM_SIGNED_TRAILER, trailers=right, bad_trailer_signature=True)), 403, "SignatureDoesNotMatch")
        for mode in (sigv4.STREAM_SIGNED_TRAILER, sigv4.STREAM_UNSIGNED_TRAILER):
            refused(put(t, framing=sigv4.Framing(mode, trailers=wrong)), 400, "BadDigest")


@case
def a_trailer_that_is_malformed_or_missing(t):
    with nothing_stored(t):
        for trailers in ((("x-amz-checksum-crc32", "no base64"),), (("x-amz-checksum-crc32", ""),)):
            refused(put(t, framing=sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=trailers)), 400)
        # Announced, but not there.
        answer = put(t, framing=sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER), headers={"x-amz-trailer": "x-amz-checksum-crc32"})
        refused(answer, 400)
        # There, but another than the announced one.
        framing = sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=((checksums.header("SHA1"), checksums.value("SHA1", BODY)),))

        answer = put(t, framing=_Announcing(framing, "x-amz-checksum-crc32"))
        refused(answer, 400)


class _Announcing:
    """A framing whose x-amz-trailer names something else than it sends."""

    def __init__(self, framing, name):
        self.mode, self.trailers, self._framing = framing.mode, ((name, ""),), framing

    def body(self, *arguments):
        return self._framing.body(*arguments)


@case
def a_wrong_decoded_length(t):
    with nothing_stored(t):
        for length in (len(BODY) - 1, len(BODY) + 1, 0):
            for mode in (sigv4.STREAM_SIGNED, sigv4.STREAM_UNSIGNED_TRAILER):
                trailers = () if mode == sigv4.STREAM_SIGNED else ((checksums.header("CRC32"), checksums.value("CRC32", BODY)),)
                answer = put(t, framing=sigv4.Framing(mode, trailers=trailers), decoded_length=length)
                refused(answer, 400, "IncompleteBody", "InvalidRequest")
        for length in ("x", "-1"):
            refused(put(t, framing=sigv4.Framing(sigv4.STREAM_SIGNED), decoded_length=length), 411, "MissingContentLength")


@case
def a_body_without_its_final_chunk(t):
    with nothing_stored(t):
        framing = sigv4.Framing(sigv4.STREAM_SIGNED, without_final_chunk=True)
        refused(put(t, framing=framing), (400, 403), "IncompleteBody", "InvalidRequest")


@case
def broken_chunk_framing(t):
    bodies = (b"zz\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloXX0\r\n\r\n", b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"5" * 70_000)

    class Broken:
        mode, trailers = sigv4.STREAM_UNSIGNED_TRAILER, ()

        def __init__(self, body):
            self._body = body

        def body(self, *_):
            return self._body

    with nothing_stored(t):
        for body in bodies:
            refused(put(t, body=b"hello", framing=Broken(body)), 400)


@case
def oversized_headers(t):
    with nothing_stored(t):
        refused(put(t, headers={"x-amz-meta-large": "x" * 3000}), 400, "MetadataTooLarge")
        # So large that no server reads it: an error or a closed connection, never a success.
        try:
            answer = put(t, headers={"x-amz-meta-huge": "x" * 300_000})
            true(answer.status in (400, 413, 414, 431), f"answered {answer}")
        except ConnectionError:
            pass


@case
def bad_xml(t):
    bombs = (b"<Delete>", b"", b"{}", b"<Other></Other>", b"<Delete><Object><Key>a</Key></Object>" + b"\xff\xfe", b"<Delete></Delete>",
             b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>')
    with nothing_stored(t):
        for body in bombs:
            answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(body)}, body)
            refused(answer, 400, "MalformedXML", "MissingRequestBodyError")
        refused(t.raw.request("PUT", f"/{t.bucket}-xml", body=b"<CreateBucketConfiguration>"), 400, "MalformedXML")


@case
def an_xml_body_without_end_is_not_read(t):
    with nothing_stored(t):
        body = b"<Delete>" + b"<Object><Key>x</Key></Object>" * 100_000
        answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(body)}, body)
        refused(answer, (400, 413), "MalformedXML", "EntityTooLarge", "MaxMessageLengthExceeded")


@case
def signature_version_2(t):
    with nothing_stored(t):
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        head = (f"GET {t.path('witness')} HTTP/1.1\r\nhost: {t.raw.host}\r\ndate: {date}\r\n"
                f"authorization: AWS {t.credentials.access_key}:c2lnbmF0dXJl\r\nconnection: close\r\n\r\n").encode()
        query = f"AWSAccessKeyId={t.credentials.access_key}&Signature=c2lnbmF0dXJl&Expires=4000000000"
        presigned = f"GET {t.path('witness')}?{query} HTTP/1.1\r\nhost: {t.raw.host}\r\nconnection: close\r\n\r\n".encode()
        for request in (head, presigned):
            answer = t.raw.exchange(request)
            refused(answer, (400, 403), "InvalidRequest", "AccessDenied", "SignatureDoesNotMatch")
            if t.target.is_gateway:
                true(b"s3v4" in answer.body or b"AWS4-HMAC-SHA256" in answer.body, f"the text does not name the cure: {answer}")


@case
def a_body_cut_short(t):
    import socket
    with nothing_stored(t):
        for fraction in (0, 0.1, 0.5, 0.999):
            headers = sigv4.sign_headers(t.credentials, "PUT", t.path("witness"), [], {"host": t.raw.host}, sigv4.UNSIGNED)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"PUT {t.path('witness')} HTTP/1.1\r\n{lines}content-length: {len(BODY)}\r\n\r\n".encode()
            with socket.create_connection(t.raw.address, timeout=30) as connection:
                connection.sendall(head + BODY[:int(len(BODY) * fraction)])
                connection.shutdown(socket.SHUT_WR)
                # Its end, or an error: what matters is what lies there afterwards.
                try:
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
    equal(t.get("witness") == BODY, True, "the old object is whole")
