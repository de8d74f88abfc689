"""AWS Signature Version 4 for S3, written from its specification, so that requests can also be signed wrongly.

Header and query (presigned) signatures, and the three aws-chunked framings: signed chunks, signed chunks with a signed
trailer, unsigned chunks with a trailer.
"""

import dataclasses
import datetime
import hashlib
import hmac
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAM_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAM_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAM_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclasses.dataclass(frozen=True)
class Credentials:
    """An access key, its secret and the region that goes into the scope."""

    access_key: str
    secret_key: str
    region: str


def timestamp(moment: datetime.datetime | None = None) -> str:
    """The time as `20260131T235959Z`; now by default."""
    return (moment or datetime.datetime.now(datetime.timezone.utc)).strftime("%Y%m%dT%H%M%SZ")


def encode(text: str, safe: str = "") -> str:
    """Percent-encoding as the specification wants it: only unreserved characters stay."""
    return urllib.parse.quote(text.encode("utf-8", "surrogateescape"), safe=safe + "-_.~")


def encode_path(bucket: str, key: str = "") -> str:
    """The path of an object in path style."""
    return f"/{bucket}" + (f"/{encode(key, '/')}" if key else "")


def canonical_path(path: str) -> str:
    """What S3 signs for a path as sent: decoded once, encoded once, never normalised."""
    return encode(urllib.parse.unquote_to_bytes(path).decode("utf-8", "surrogateescape"), "/")


def encode_query(query: list[tuple[str, str]]) -> str:
    """A query string as it goes on the wire, in the given order."""
    return "&".join(f"{encode(name)}={encode(value)}" for name, value in query)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(credentials: Credentials, date: str) -> bytes:
    """The key of one day, region and service."""
    key = _hmac(b"AWS4" + credentials.secret_key.encode(), date)
    return _hmac(_hmac(_hmac(key, credentials.region), "s3"), "aws4_request")


def scope(credentials: Credentials, when: str) -> str:
    """The credential scope of a time stamp."""
    return f"{when[:8]}/{credentials.region}/s3/aws4_request"


def canonical_request(method, path, query, headers, signed, payload_hash) -> str:
    """The canonical request; `headers` maps lower-case names to values."""
    pairs = sorted((encode(name), encode(value)) for name, value in query)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in signed)
    return "\n".join([
        method, canonical_path(path), "&".join(f"{name}={value}" for name, value in pairs), lines, ";".join(signed),
        payload_hash,
    ])


def signature(credentials: Credentials, when: str, canonical: str) -> str:
    """The signature of a canonical request."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([ALGORITHM, when, scope(credentials, when), digest])
    return _hmac(signing_key(credentials, when[:8]), text).hex()


def sign_headers(credentials, method, path, query, headers, payload_hash, when=None, unsigned_names=()) -> dict[str, str]:
    """`headers` (lower-case names, with `host`) with date, payload hash and Authorization added; all but `unsigned_names` are signed."""
    when = when or timestamp()
    headers = {**headers, "x-amz-date": when, "x-amz-content-sha256": payload_hash}
    signed = sorted(name for name in headers if name not in unsigned_names and name not in ("expect", "connection"))
    value = signature(credentials, when, canonical_request(method, path, query, headers, signed, payload_hash))
    headers["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope(credentials, when)}, "
        f"SignedHeaders={';'.join(signed)}, Signature={value}"
    )
    return headers


def presign(credentials, method, path, query, headers, expires=900, when=None) -> list[tuple[str, str]]:
    """The query of a presigned request; `headers` are the signed ones and contain `host`."""
    when = when or timestamp()
    signed = sorted(headers)
    query = [
        *query,
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{credentials.access_key}/{scope(credentials, when)}"),
        ("X-Amz-Date", when),
        ("X-Amz-Expires", str(expires)),
        ("X-Amz-SignedHeaders", ";".join(signed)),
    ]
    value = signature(credentials, when, canonical_request(method, path, query, headers, signed, UNSIGNED))
    return [*query, ("X-Amz-Signature", value)]


@dataclasses.dataclass
class Framing:
    """How a body is framed as aws-chunked, and what is to be wrong with it."""

    mode: str
    chunk_bytes: int = 65536
    trailers: tuple[tuple[str, str], ...] = ()
    # The number of the chunk whose signature is altered; -1 is the final, empty one.
    bad_chunk: int | None = None
    bad_trailer_signature: bool = False
    # Ends the body before its final chunk.
    without_final_chunk: bool = False

    def body(self, data: bytes, credentials: Credentials, when: str, seed_signature: str) -> bytes:
        """The framed body; the chain of signatures starts with the request's own."""
        signed = self.mode in (STREAM_SIGNED, STREAM_SIGNED_TRAILER)
        key, previous = signing_key(credentials, when[:8]), seed_signature
        chunks = [data[at:at + self.chunk_bytes] for at in range(0, len(data), self.chunk_bytes)]
        framed = []
        for number, chunk in enumerate([*chunks, b""]):
            if not chunk and self.without_final_chunk:
                return b"".join(framed)
            extension = ""
            if signed:
                text = "\n".join([
                    f"{ALGORITHM}-PAYLOAD", when, scope(credentials, when), previous, EMPTY_SHA256,
                    hashlib.sha256(chunk).hexdigest(),
                ])
                previous = _hmac(key, text).hex()
                wrong = self.bad_chunk == number or (self.bad_chunk == -1 and not chunk)
                extension = f";chunk-signature={flipped(previous) if wrong else previous}"
            framed.append(f"{len(chunk):x}{extension}\r\n".encode())
            framed.append(chunk + b"\r\n" if chunk else b"")
        framed.append("".join(f"{name}:{value}\r\n" for name, value in self.trailers).encode())
        if self.mode == STREAM_SIGNED_TRAILER:
            lines = "".join(f"{name}:{value}\n" for name, value in self.trailers)
            text = "\n".join([
                f"{ALGORITHM}-TRAILER", when, scope(credentials, when), previous, hashlib.sha256(lines.encode()).hexdigest(),
            ])
            value = _hmac(key, text).hex()
            framed.append(f"x-amz-trailer-signature:{flipped(value) if self.bad_trailer_signature else value}\r\n".encode())
        return b"".join([*framed, b"\r\n"])


def flipped(hexadecimal: str) -> str:
    """The same text with its first digit changed."""
    return ("1" if hexadecimal[0] == "0" else "0") + hexadecimal[1:]
