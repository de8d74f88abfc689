"""The storage's raw bytes, read and altered behind the gateway's back: files, or objects by a server's own credentials.

The files are read and written by docs/filesystem-backend.md, not by the gateway's code.
"""

import dataclasses
import hashlib
import os
import re
import secrets
import struct
import time

import boto3
import botocore.client

import checksums

# The headers that a storage keeps with an object, as S3 and boto3 call them.
HEADERS = {
    "cache-control": "CacheControl", "content-disposition": "ContentDisposition", "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage", "content-type": "ContentType",
}
SPLIT = 80


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object as the storage has it: ciphertext, user metadata without `x-amz-meta-`, headers."""

    body: bytes
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    def replace(self, **changes) -> "Stored":
        return dataclasses.replace(self, **changes)


def of(target, bucket: str):
    """The storage behind a gateway, for one of its buckets."""
    if target.backend is None:
        return FilesystemStorage(target.raw_roots()[0], bucket)
    return S3Storage(target.backend, bucket)


class S3Storage:
    """A bucket of an S3 server, with the server's own credentials."""

    # An object that is written again is another one to the gateway: its ETag is the bytes'.
    keeps_identity = False

    def __init__(self, server, bucket: str):
        self.bucket = bucket
        configuration = botocore.client.Config(
            retries={"total_max_attempts": 1}, signature_version="s3v4", s3={"addressing_style": "path"},
            request_checksum_calculation="when_required", response_checksum_validation="when_required")
        self.client = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key, config=configuration)

    def read(self, key: str) -> Stored:
        answer = self.client.get_object(Bucket=self.bucket, Key=key)
        headers = {name: answer[field] for name, field in HEADERS.items() if field in answer}
        # How the gateway's request was framed is no property of the object.
        if headers.get("content-encoding") in ("", "aws-chunked"):
            del headers["content-encoding"]
        return Stored(answer["Body"].read(), {name.lower(): value for name, value in answer["Metadata"].items()}, headers)

    def write(self, key: str, stored: Stored, same_identity=False):
        assert not same_identity
        fields = {HEADERS[name]: value for name, value in stored.headers.items()}
        self.client.put_object(Bucket=self.bucket, Key=key, Body=stored.body, Metadata=stored.metadata, **fields)

    def delete(self, key: str):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix="") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def parts(self, key: str, upload_id: str) -> list[int]:
        """Numbers of an upload's parts."""
        listed = self.client.list_parts(Bucket=self.bucket, Key=key, UploadId=upload_id)
        return sorted({part["PartNumber"] for part in listed.get("Parts", [])})

    def leftovers(self) -> list[str]:
        """Everything that lies in the bucket."""
        return self.keys()


@dataclasses.dataclass
class _Record:
    """A metadata file of kind object."""

    identity: bytes
    modified: int
    upload_id: bytes
    key: bytes
    metadata: dict[str, str]
    headers: dict[str, str]
    segments: list[tuple[bytes, int]]
    # Sequence and flags, where the bucket has versions.
    versioned: bytes = b""

    @property
    def version(self) -> str:
        return self.versioned[:8].hex() + self.identity.hex()


class FilesystemStorage:
    """A bucket of the filesystem backend."""

    # Files can be altered without a trace in the ETag, which is the metadata file's id.
    keeps_identity = True

    def __init__(self, root: str, bucket: str):
        self.base = os.path.join(root, "buckets", bucket)
        self.tree = os.path.join(self.base, "tree")

    def read(self, key: str, version: str | None = None) -> Stored:
        record = self._record(key, version)
        body = b"".join(_read(self._body(identity)) for identity, length in record.segments if length)
        return Stored(body, record.metadata, record.headers)

    def write(self, key: str, stored: Stored, same_identity=False, version: str | None = None):
        """Writes over the files of the object, or of a version; with `same_identity` under the same ETag and version id."""
        if os.path.exists(self._path(key, version)):
            record = self._record(key, version)
        else:
            record = _Record(b"", int(time.time() * 1000), b"", key.encode(), {}, {}, [])
        identity = record.identity if same_identity and record.identity else secrets.token_bytes(16)
        segments, left = [], stored.body
        for at, (name, length) in enumerate(record.segments or [(secrets.token_bytes(16), len(stored.body))]):
            last = at + 1 >= len(record.segments)
            piece, left = (left, b"") if last else (left[:length], left[length:])
            if piece or last and not segments:
                segments.append((name, len(piece)))
                if piece:
                    _write(self._body(name), piece)
        record = dataclasses.replace(record, identity=identity, metadata=stored.metadata, headers=stored.headers,
                                     segments=[] if not stored.body else segments)
        _write(self._path(key, version), _encode(record))

    def delete(self, key: str):
        os.remove(self._path(key))

    def keys(self, prefix="") -> list[str]:
        found = []
        for directory, _, files in os.walk(self.tree):
            for name in files:
                found.append(_key(os.path.relpath(os.path.join(directory, name), self.tree)))
        return sorted(key for key in found if key.startswith(prefix))

    def parts(self, key: str, upload_id: str) -> list[int]:
        names = os.listdir(os.path.join(self.base, "uploads", upload_id))
        return sorted(int(name[:5]) for name in names if re.fullmatch(r"\d{5}\.meta", name))

    def leftovers(self) -> list[str]:
        """Every file of the bucket but locks: bodies without an object too."""
        found = []
        for directory, _, files in os.walk(self.base):
            found += [os.path.relpath(os.path.join(directory, name), self.base) for name in files]
        return sorted(name for name in found if not name.startswith("lock"))

    def _path(self, key: str, version: str | None = None) -> str:
        newest = os.path.join(self.tree, *_names(key))
        if version is None or _decode(_read(newest)).version == version:
            return newest
        name = hashlib.sha256(key.encode()).hexdigest()
        return os.path.join(self.base, "versions", name[:2], name, f"{version}.meta")

    def _body(self, identity: bytes) -> str:
        return os.path.join(self.base, "bodies", identity.hex()[0], f"{identity.hex()}.body")

    def _record(self, key: str, version: str | None = None) -> _Record:
        return _decode(_read(self._path(key, version)))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes):
    """Makes the file hold the content, in place: nobody reads while the storage is altered."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
        if file.read() != content:
            file.seek(0)
            file.write(content)
            file.truncate()


def _names(key: str) -> list[str]:
    """The path of a key: its components escaped, long ones split, each tagged."""
    names = []
    *directories, leaf = key.encode().split(b"/")
    for tag, component in [*(("D", each) for each in directories), ("L", leaf)]:
        while len(component) >= SPLIT:
            names.append("C" + _escape(component[:SPLIT]))
            component = component[SPLIT:]
        names.append(tag + _escape(component))
    return names


def _escape(component: bytes) -> str:
    return "".join(chr(byte) if re.match(rb"[A-Za-z0-9._-]", bytes([byte])) else f"%{byte:02X}" for byte in component)


def _key(path: str) -> str:
    key = b""
    for name in path.split(os.sep):
        key += re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), name[1:].encode())
        key += b"/" if name[0] == "D" else b""
    return key.decode()


def _lp(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _map(values: dict[str, str]) -> bytes:
    pairs = sorted((name.encode(), value.encode()) for name, value in values.items())
    return struct.pack(">H", len(pairs)) + b"".join(_lp(name) + _lp(value) for name, value in pairs)


def _crc(content: bytes) -> bytes:
    return checksums.DIGESTS["CRC64NVME"](content)


def _encode(record: _Record) -> bytes:
    rest = _lp(record.upload_id) + _lp(record.key) + _map(record.metadata) + _map(record.headers) + record.versioned
    size = sum(length for _, length in record.segments)
    head = struct.pack(">BBI16sQQI", 2 if record.versioned else 1, 1, 42 + len(rest) + 8, record.identity, record.modified, size, len(record.segments)) + rest
    table = b"".join(name + struct.pack(">Q", length) for name, length in record.segments)
    return head + _crc(head) + (table + _crc(table) if table else b"")


def _decode(content: bytes) -> _Record:
    version, kind, length, identity, modified, size, count = struct.unpack_from(">BBI16sQQI", content)
    assert version in (1, 2) and kind == 1 and _crc(content[:length - 8]) == content[length - 8:length], "not an object's metadata file"
    at = 42

    def number() -> int:
        nonlocal at
        at += 2
        return struct.unpack_from(">H", content, at - 2)[0]

    def text() -> bytes:
        nonlocal at
        length = number()
        at += length
        return content[at - length:at]

    upload_id, key = text(), text()
    metadata, headers = ({text().decode(): text().decode() for _ in range(number())} for _ in range(2))
    at, versioned = (at + 9, content[at:at + 9]) if version == 2 else (at, b"")
    rows = [struct.unpack_from(">16sQ", content, length + 24 * row) for row in range(count)]
    assert at == length - 8 and sum(row[1] for row in rows) == size, "the metadata file is longer than it says"
    return _Record(identity, modified, upload_id, key, metadata, headers, rows, versioned)
