"""Requests as bytes: read from a connection, taken apart into content and framing, and put together again."""

import base64
import hashlib
import hmac
import itertools
import os
import re

# AWS's documented example pair: it opens nothing anywhere, and nobody takes it for a secret.
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# The bodies that a client is given, by their sizes, and the longest that is kept as it is.
SIZES = (0, 1, 65_535, 65_536, 65_537, 5_242_879, 5_242_880, 5_242_881, 68_157_440)
LONGEST_LITERAL = 16 << 10
# A prime: chunks and parts of any usual size differ from each other.
BLOCK = 65_537


class Unexplained(Exception):
    """A body that no rule makes."""


class Lost(Exception):
    """The connection ended within a message."""


def file_bytes(size: int) -> bytes:
    """The file of this size: a block that goes round, of SHA-256 of "sealgate kept <size> <number>" one after the other.
    data-plane/tests/kept makes the same."""
    digests = (hashlib.sha256(b"sealgate kept %d %d" % (size, number)).digest() for number in range(BLOCK // 32 + 1))
    block = b"".join(digests)[:BLOCK]
    return (block * (size // BLOCK + 1))[:size]


class Files:
    """The bodies in a folder, and where a content is in them."""

    def __init__(self, folder: str):
        os.makedirs(folder)
        self.folder, self.by_size = folder, {}
        for size in SIZES:
            self.by_size[size] = file_bytes(size)
            with open(os.path.join(folder, str(size)), "wb") as file:
                file.write(self.by_size[size])

    def describe(self, content: bytes) -> dict:
        if len(content) > 1 and self.by_size.get(len(content)) == content:
            return {"file": len(content)}
        if len(content) >= 1_024:
            for size, whole in self.by_size.items():
                at = whole.find(content[:1_024])
                if at >= 0 and whole[at:at + len(content)] == content:
                    # Of the places where the same bytes are, the one where a part would begin.
                    places = range(at, size - len(content) + 1, BLOCK)
                    return {"file": size, "from": next((place for place in places if place % 65_536 == 0), at), "length": len(content)}
        if len(content) > LONGEST_LITERAL:
            raise Unexplained(f"{len(content)} bytes that are in none of the files")
        if re.fullmatch(rb"[\t\n\r -~]*", content):
            return {"text": content.decode()}
        return {"base64": base64.b64encode(content).decode()}


class Connection:
    """Reads messages from a socket, and remembers what came too early."""

    def __init__(self, socket):
        self.socket, self.buffer = socket, b""

    def more(self):
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise Lost
        self.buffer += piece

    def until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self.more()
        at = self.buffer.index(end) + len(end)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def exactly(self, length: int) -> bytes:
        pieces = [self.buffer[:length]]
        self.buffer = self.buffer[length:]
        left = length - len(pieces[0])
        while left:
            piece = self.socket.recv(min(left, 1 << 18))
            if not piece:
                raise Lost
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def chunked(self):
        """The pieces of a chunked body with their framing."""
        while True:
            line = self.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if not size:
                while True:
                    trailer = self.until(b"\r\n")
                    line += trailer
                    if trailer == b"\r\n":
                        break
                yield line
                return
            yield line + self.exactly(size + 2)

    def body(self, headers: dict, none: bool = False):
        """The pieces of a body as they are on the wire."""
        if none:
            return
        if "chunked" in headers.get("transfer-encoding", "").lower():
            yield from self.chunked()
            return
        left = int(headers.get("content-length", 0))
        while left:
            piece = self.exactly(min(left, 1 << 20))
            left -= len(piece)
            yield piece


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.lower(): value.strip() for name, value in pairs}


def describe(raw: bytes, headers: dict[str, str], files: Files) -> dict:
    """A body as the recording has it, once it is proved that the same bytes come out of that again."""
    bytes_in_chunks, chunks = raw, None
    if "chunked" in headers.get("transfer-encoding", "").lower():
        bytes_in_chunks, chunks = dechunked(raw)
    mode = headers.get("x-amz-content-sha256", "")
    content, frames = bytes_in_chunks, None
    if mode.startswith("STREAMING-"):
        content, frames, trailers = deframed(bytes_in_chunks)
    described = files.describe(content)
    if frames is not None:
        described["frames"] = runs(frames)
        # Trailers end in LF, and a CRLF follows them, as in AWS's own example: minio-go.
        described |= {"bare": True} if any(line.endswith("\n") for line in trailers) else {}
        trailers = [line.rstrip("\n") for line in trailers]
        described |= {"trailers": trailers} if trailers else {}
        # Lengths in upper-case digits: the SDKs for C++ and for Rust.
        digits = ({}, {"upper": True})
        said = next((described | each for each in digits if framed(content, described | each, headers) == bytes_in_chunks), None)
        if said is None:
            raise Unexplained(f"aws-chunked otherwise than by its lengths: {bytes_in_chunks[:100]!r} … {bytes_in_chunks[-200:]!r}")
        described = said
    if chunks is not None:
        described["chunks"] = runs(chunks)
        if chunked(bytes_in_chunks, chunks) != raw:
            raise Unexplained(f"chunked otherwise than by its lengths: {raw[:100]!r} … {raw[-100:]!r}")
    return described | {"sha256": hashlib.sha256(raw).hexdigest()}


def raw_of(described: dict, headers: dict[str, str], files: Files) -> bytes:
    """The bytes of a body that `describe` said this of."""
    if "file" in described:
        at = described.get("from", 0)
        content = files.by_size[described["file"]][at:at + described.get("length", described["file"])]
    else:
        content = described["text"].encode() if "text" in described else base64.b64decode(described["base64"])
    if "frames" in described:
        content = framed(content, described, headers)
    return chunked(content, lengths(described["chunks"])) if "chunks" in described else content


def dechunked(raw: bytes) -> tuple[bytes, list[int]]:
    pieces, lengths, at = [], [], 0
    while True:
        end = raw.index(b"\r\n", at)
        length = int(raw[at:end].split(b";")[0], 16)
        if not length:
            return b"".join(pieces), lengths
        lengths.append(length)
        pieces.append(raw[end + 2:end + 2 + length])
        at = end + 2 + length + 2


def deframed(raw: bytes) -> tuple[bytes, list[int], list[str]]:
    pieces, lengths, at = [], [], 0
    while True:
        end = raw.index(b"\r\n", at)
        length = int(raw[at:end].split(b";")[0], 16)
        if not length:
            trailers = raw[end + 2:].decode("latin-1").split("\r\n")
            return b"".join(pieces), lengths, [line for line in trailers if line and not line.startswith("x-amz-trailer-signature:")]
        lengths.append(length)
        pieces.append(raw[end + 2:end + 2 + length])
        at = end + 2 + length + 2


def chunked(content: bytes, lengths: list[int]) -> bytes:
    out, at = [], 0
    for length in lengths:
        out += [b"%x\r\n" % length, content[at:at + length], b"\r\n"]
        at += length
    return b"".join([*out, b"0\r\n\r\n"])


def framed(content: bytes, described: dict, headers: dict[str, str]) -> bytes:
    trailers, bare, digits = described.get("trailers", []), "bare" in described, "X" if "upper" in described else "x"
    mode = headers["x-amz-content-sha256"]
    out, at, signed = [], 0, mode.startswith("STREAMING-AWS4-HMAC-SHA256")
    scope = re.search(r"Credential=[^/]+/([^,\s]+)", headers["authorization"])[1]
    previous = re.search(r"Signature=([0-9a-f]+)", headers["authorization"])[1]
    date, region, *_ = scope.split("/")
    key = f"AWS4{SECRET_KEY}".encode()
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")

    def sign(kind: str, *hashes: str) -> str:
        nonlocal previous
        text = "\n".join([kind, headers["x-amz-date"], scope, previous, *hashes])
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        return previous

    for length in [*lengths(described["frames"]), 0]:
        data = content[at:at + length]
        at += length
        digests = (hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest())
        extension = f";chunk-signature={sign('AWS4-HMAC-SHA256-PAYLOAD', *digests)}" if signed else ""
        out += [f"{length:{digits}}{extension}\r\n".encode(), data, b"\r\n" if length else b""]
    lines = [line + ("\n" if bare else "\r\n") for line in trailers] + (["\r\n"] if bare else [])
    if signed and mode.endswith("-TRAILER"):
        canonical = "".join(f"{line}\n" for line in trailers)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        lines.append(f"x-amz-trailer-signature:{sign('AWS4-HMAC-SHA256-TRAILER', digest)}\r\n")
    return b"".join(out) + "".join([*lines, "\r\n"]).encode()


def runs(lengths: list[int]) -> list[list[int]]:
    return [[length, len(list(same))] for length, same in itertools.groupby(lengths)]


def lengths(described: list[list[int]]) -> list[int]:
    return [length for length, count in described for _ in range(count)]
