"""Upload records, notes, hidden names and ETags (docs/format.md, 10 to 12)."""

import dataclasses
import hashlib
import re

from .objects import Envelope, Place, open_envelope, parse_envelope
from .primitives import (CHECKSUMS, MULTIPART, SUITES, TAG, UPLOAD_RECORD, ZERO_NONCE, Fields, Refused, b64, checksums, demand, hkdf, lp, open_sealed,
                         unb64)

ENVELOPE = 141
PREFIX = ".sealgate/v1/"
LONGEST_ETAG = 255


@dataclasses.dataclass(frozen=True)
class UploadRecord:
    envelope: Envelope
    gateway: bytes
    bucket: bytes
    created: int
    checksum: tuple[int, int]
    upload: str
    key: bytes
    rest: bytes

    def open(self, tenant: bytes, ik: bytes) -> bytes:
        """The upload's DEK."""
        return open_envelope(self.envelope, Place(tenant, self.bucket, self.key), ik, UPLOAD_RECORD, self.rest)


def parse_upload_record(data: bytes) -> UploadRecord:
    stage = "upload-record"
    fields = Fields(data, stage)
    envelope = parse_envelope(fields.take(ENVELOPE))
    demand(envelope.kind == MULTIPART, stage, "not a multipart upload's")
    gateway, bucket, created = fields.take(16), fields.take(16), fields.uint(8)
    code, form = fields.uint(1), fields.uint(1)
    demand((code, form) == (0, 0) or code in CHECKSUMS and form in (1, 2), stage, "no such checksum")
    upload, key = fields.text(), fields.prefixed()
    fields.end()
    return UploadRecord(envelope, gateway, bucket, created, (code, form), upload, key, data[ENVELOPE:])


def record_name(gateway: bytes, bucket: bytes, upload: str, key: bytes) -> str:
    """`<record>` of an upload."""
    return hashlib.sha256(b"sealgate/v1/upload" + gateway + bucket + lp(upload.encode()) + lp(key)).hexdigest()


@dataclasses.dataclass(frozen=True)
class Note:
    salt: bytes
    size: int
    checksums: tuple


def open_note(dek: bytes, suite: int, object_id: bytes, upload: str, part: int, etag: str, note: bytes) -> Note:
    demand(len(note) >= 12 + TAG, "note", "too short")
    key = hkdf(dek, note[:12], b"sealgate/v1/note" + bytes([suite]) + object_id)
    additional = b"sealgate" + lp(upload.encode()) + part.to_bytes(2, "big") + lp(etag.encode())
    fields = Fields(open_sealed(SUITES[suite](key), ZERO_NONCE, note[12:], additional, "note"), "note")
    salt, size = fields.take(12), fields.uint(5)
    found = checksums(fields)
    demand(not any(composite for _, composite, _ in found), "note", "a composite checksum")
    fields.end()
    return Note(salt, size, tuple(found))


def etag_form(etag: str) -> str:
    """How a backend's ETag (without quotes) stands in a note's name."""
    return etag if re.fullmatch(r"[0-9a-f]{32}", etag) else "_" + b64(etag.encode())


def etag_of(form: str) -> str:
    """The reverse; an ETag has one form only."""
    if not form.startswith("_"):
        demand(re.fullmatch(r"[0-9a-f]{32}", form), "note", "not a form of an ETag")
        return form
    try:
        etag = unb64(form[1:], "note").decode()
    except UnicodeDecodeError as error:
        raise Refused("note", "the ETag is not UTF-8") from error
    demand(etag_form(etag) == form and len(etag.encode()) <= LONGEST_ETAG, "note", "another form of this ETag, or too long")
    return etag


def parse_name(name: str) -> dict:
    """A hidden name's meaning, as a dictionary with its `kind`."""
    demand(name.startswith(PREFIX), "name", "not a hidden name of version 1")
    match name[len(PREFIX):].split("/"):
        case ["bucket"]:
            return {"kind": "bucket"}
        case ["ik", ik, digest] if is_hex(ik, 32) and is_hex(digest, 32):
            return {"kind": "ik", "ik": ik, "digest": digest}
        case ["u", record, "r"] if is_hex(record, 64):
            return {"kind": "upload", "record": record}
        case ["u", record, "n", part, etag, note] if is_hex(record, 64):
            number, tag = part_number(part, "note"), etag_of(etag)
            return {"kind": "note", "record": record, "part": number, "etag": tag, "note": unb64(note, "note").hex()}
        case ["u", record, "s", part, salt] if is_hex(record, 64):
            salt = unb64(salt, "name")
            demand(len(salt) == 12, "name", "not a salt")
            return {"kind": "stash", "record": record, "part": part_number(part, "name"), "salt": salt.hex()}
        case ["u", record, "gone", at] if is_hex(record, 64) and re.fullmatch(r"[0-9]{12}", at):
            return {"kind": "gone", "record": record, "at": int(at)}
    raise Refused("name", "no hidden name has this form")


def parse_marker(data: bytes) -> bytes:
    """The logical bucket id of `.sealgate/v1/bucket`."""
    demand(len(data) == 17 and data[0] == 1, "name", "not a bucket marker")
    return data[1:]


def is_hex(text: str, length: int) -> bool:
    return bool(re.fullmatch(rf"[0-9a-f]{{{length}}}", text))


def part_number(text: str, stage: str) -> int:
    demand(re.fullmatch(r"[0-9]{5}", text) and 1 <= int(text) <= 10_000, stage, "no such part")
    return int(text)


def client_etag(backend: str) -> str:
    """What a client is told (section 12); both without quotes."""
    if re.fullmatch(r"[0-9a-fA-F]{32}", backend):
        return backend + "-0"
    if re.fullmatch(r"[0-9a-fA-F]{32}-0+", backend):
        return backend + "0"
    return backend


def backend_etag(client: str) -> str:
    """The reverse, with which conditions are forwarded."""
    if re.fullmatch(r"[0-9a-fA-F]{32}", client):
        return client + "-0"
    if re.fullmatch(r"[0-9a-fA-F]{32}-0", client):
        return client[:32]
    if re.fullmatch(r"[0-9a-fA-F]{32}-00+", client):
        return client[:-1]
    return client


def etag_in_table(etag: str) -> bytes:
    """How a part's entry holds the client's ETag, without quotes."""
    return bytes.fromhex(etag) if re.fullmatch(r"[0-9a-fA-F]{32}", etag) else hashlib.sha256(etag.encode()).digest()[:16]
