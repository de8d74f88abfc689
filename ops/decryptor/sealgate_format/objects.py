"""Objects: envelope, metadata, trailer, chunks, and the whole way of section 14 (docs/format.md, 4 to 8 and 14)."""

import dataclasses
import re
import zlib
from collections.abc import Callable, Iterator

from . import keys
from .primitives import (CHECKSUMS, MULTIPART, OBJECT, RECOVERY, SINGLE, SUITES, TAG, VERSION, ZERO_NONCE, Fields, Refused, checksums, demand,
                         hkdf, open_sealed, unb64)
from .sizes import CHUNK, LARGEST, LEAST_TRAILER, ceil_div, chunks_size, plain_size, steps

ENVELOPE_HEADER, METADATA_HEADER = "sealgate", "sealgatemeta"
RECOVERY_BLOCK = 99
LEAST_PART = 5 * 1024 * 1024
MOST_PARTS = 10_000
LONGEST_METADATA = 64 * 1024
NO_SIZE = 2**64 - 1
# bucket, key and the IK by its id: what a reader knows besides the stored bytes.
FindIk = Callable[[bytes], bytes]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an object is: what its envelope is bound to."""

    tenant: bytes
    bucket: bytes
    key: bytes


@dataclasses.dataclass(frozen=True)
class Envelope:
    raw: bytes
    kind: int
    suite: int
    flags: int
    ik: bytes
    object_id: bytes
    size: int
    salt: bytes
    wrapped: bytes
    commitment: bytes


def parse_envelope(raw: bytes, stage="header") -> Envelope:
    fields = Fields(raw, stage)
    version, kind, suite, log2, flags = fields.take(5)
    demand(version == VERSION, stage, "unknown version")
    demand(kind in (SINGLE, MULTIPART), stage, "unknown kind")
    demand(suite in SUITES, stage, "unknown suite")
    demand(log2 == 16, stage, "unknown chunk size")
    demand(flags in (0, 1), stage, "unknown flags")
    ik, object_id, size = fields.take(16), fields.take(16), fields.uint(8)
    demand(size == NO_SIZE if kind == MULTIPART else size <= LARGEST, stage, "no such size")
    salt, wrapped, commitment = fields.take(16), fields.take(48), fields.take(32)
    fields.end()
    return Envelope(raw, kind, suite, flags, ik, object_id, size, salt, wrapped, commitment)


def open_envelope(envelope: Envelope, place: Place, ik: bytes, purpose=OBJECT, record=b"") -> bytes:
    """The DEK, its commitment compared."""
    bound = keys.bound_to(envelope.raw[:61], envelope.commitment, place.tenant, place.bucket, place.key, record)
    dek = keys.unwrap(ik, purpose, envelope.salt, envelope.wrapped, bound)
    keys.check_commitment(dek, VERSION, envelope.suite, envelope.object_id, envelope.commitment)
    return dek


def open_metadata(dek: bytes, envelope: Envelope, header: str | None) -> dict[bytes, bytes]:
    demand((header is not None) == (envelope.flags == 1), "metadata", "the header and its flag disagree")
    if header is None:
        return {}
    sealed = unb64(header, "metadata")
    demand(len(sealed) >= 12 + TAG, "metadata", "too short")
    key = hkdf(dek, sealed[:12], b"sealgate/v1/meta" + bytes([envelope.suite]) + envelope.object_id)
    text = open_sealed(SUITES[envelope.suite](key), ZERO_NONCE, sealed[12:], envelope.raw, "metadata")
    demand(text and text[0] in (0, 1), "metadata", "unknown coding")
    content = text[1:]
    if text[0] == 1:
        inflate = zlib.decompressobj(-15)
        try:
            content = inflate.decompress(content, LONGEST_METADATA + 1)
        except zlib.error as error:
            raise Refused("metadata", "not deflate") from error
        demand(len(content) <= LONGEST_METADATA, "metadata", "too long")
        demand(inflate.eof and not inflate.unused_data, "metadata", "the deflate stream does not end at the end")
    demand(len(content) <= LONGEST_METADATA, "metadata", "too long")
    fields, found = Fields(content, "metadata"), {}
    while fields.at < len(content):
        name, value = fields.prefixed(), fields.prefixed()
        demand(re.fullmatch(rb"[a-z0-9!#$%&'*+.^_`|~-]+", name), "metadata", "not a header's name")
        demand(not re.search(rb"[\r\n\0]", value), "metadata", "not a header's value")
        demand(not found or list(found)[-1] < name, "metadata", "names are not ascending")
        found[name] = value
    return found


@dataclasses.dataclass(frozen=True)
class Recovery:
    raw: bytes
    kind: int
    suite: int
    ik: bytes
    object_id: bytes
    salt: bytes
    wrapped: bytes


def parse_recovery(raw: bytes) -> Recovery:
    stage = "recovery"
    fields = Fields(raw, stage)
    version, kind, suite = fields.take(3)
    demand(version == VERSION, stage, "the recovery block's version is unknown")
    demand(kind in (SINGLE, MULTIPART) and suite in SUITES, stage, "the recovery block's kind or suite is unknown")
    found = Recovery(raw, kind, suite, fields.take(16), fields.take(16), fields.take(16), fields.take(48))
    fields.end()
    return found


@dataclasses.dataclass(frozen=True)
class Part:
    number: int
    size: int
    # None in a single PUT: its chunks tell.
    salt: bytes | None = None
    checksum: tuple[int, bytes] | None = None
    etag: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    size: int
    parts: tuple[Part, ...]
    checksums: tuple
    trailer_length: int


def open_trailer(dek: bytes, kind: int, suite: int, object_id: bytes, total: int, tail: bytes) -> Table:
    """Opens the trailer at the end of `tail` (the last 320 + 128·q bytes, or more) and checks every rule of section 5."""
    plain = plain_size(total)
    demand(plain is not None, "size", f"no object has {total} bytes")
    length = int.from_bytes(tail[-4:], "big")
    most = LEAST_TRAILER + 128 * steps(plain)
    least = most if kind == SINGLE else LEAST_TRAILER + 100 * steps(plain)
    demand(least <= length <= min(most, len(tail)), "trailer", "no such length")
    trailer = tail[-length:]
    recovery = parse_recovery(trailer[-103:-4])
    demand((recovery.kind, recovery.suite, recovery.object_id) == (kind, suite, object_id), "recovery", "the block is another's")
    key = hkdf(dek, trailer[:12], b"sealgate/v1/trailer" + bytes([suite]) + object_id)
    additional = (b"sealgate" + bytes([VERSION, kind, suite]) + object_id + total.to_bytes(8, "big") + length.to_bytes(4, "big")
                  + recovery.raw)
    text = open_sealed(SUITES[suite](key), ZERO_NONCE, trailer[12:-103], additional, "trailer")
    return parse_table(text, kind, plain, total, length)


def parse_table(text: bytes, kind: int, plain: int, total: int, length: int) -> Table:
    fields = Fields(text, "table")
    demand(fields.uint(8) == plain, "table", "the size is another")
    count = fields.uint(2)
    demand(count == 0 if kind == SINGLE else 1 <= count <= MOST_PARTS, "table", "no such number of parts")
    before = fields.at + 1
    found = checksums(fields)
    demand(kind == MULTIPART or not any(composite for _, composite, _ in found), "checksum", "a composite one of a single PUT")
    room = 78 if kind == MULTIPART else 178 + 128 * steps(plain)
    demand(fields.at - before <= room, "checksum", "the list is too long")
    parts = [Part(0, plain)] if kind == SINGLE else [part_entry(fields) for _ in range(count)]
    demand(not any(fields.rest()), "table", "the padding is not zero")
    numbers = [part.number for part in parts]
    demand(kind == SINGLE or numbers == sorted(set(numbers)) and 1 <= numbers[0] and numbers[-1] <= MOST_PARTS,
           "table", "the parts' numbers are not ascending")
    demand(all(part.size >= LEAST_PART for part in parts[:-1]), "table", "a part is too small")
    demand(sum(part.size for part in parts) == plain, "table", "the parts' sizes do not add up")
    demand(length == total - sum(chunks_size(part.size) for part in parts), "table", "the chunks do not end at the trailer")
    return Table(plain, tuple(parts), tuple(found), length)


def part_entry(fields: Fields) -> Part:
    number, size, code, salt, etag = fields.uint(2), fields.uint(5), fields.uint(1), fields.take(12), fields.take(16)
    demand(code == 0 or code in CHECKSUMS, "checksum", f"{code} is not defined")
    return Part(number, size, salt, (code, fields.take(CHECKSUMS[code])) if code else None, etag)


def open_chunks(dek: bytes, suite: int, object_id: bytes, part: Part, body: Callable[[int, int], bytes], start: int) -> Iterator[bytes]:
    """A part's plaintext, a chunk at a time; `body(from, to)` gives stored bytes."""
    cipher = salt = None
    count = ceil_div(part.size, CHUNK)
    for index in range(count):
        last = index == count - 1
        plain = part.size - index * CHUNK if last else CHUNK
        chunk = body(start, start + plain + 28)
        start += plain + 28
        demand(len(chunk) == plain + 28, "chunk", "the body ends too early")
        if salt is None:
            salt = part.salt or chunk[:12]
            key = hkdf(dek, salt, b"sealgate/v1/part" + bytes([suite]) + object_id + part.number.to_bytes(2, "big"))
            cipher = SUITES[suite](key)
        demand(chunk[:12] == salt, "chunk", "another attempt's chunk")
        nonce = bytes(7) + index.to_bytes(4, "big") + bytes([last])
        yield open_sealed(cipher, nonce, chunk[12:], None, "chunk")


@dataclasses.dataclass(frozen=True)
class Object:
    """An opened object. The plaintext is proved as it is read; the table was proved before."""

    metadata: dict[bytes, bytes]
    table: Table
    plaintext: Iterator[bytes]


# A directory marker whose metadata the storage drops: nothing of it is proved.
EMPTY = Object({}, Table(0, (), (), 0), iter(()))


def decrypt(place: Place, find_ik: FindIk, headers: dict[str, str], body: Callable[[int, int], bytes], total: int) -> Object:
    """With envelope. `headers` are the user metadata without `x-amz-meta-`; `total` is the body's size."""
    demand(ENVELOPE_HEADER in headers, "header", "there is none")
    envelope = parse_envelope(unb64(headers[ENVELOPE_HEADER], "header"))
    dek = open_envelope(envelope, place, find_ik(envelope.ik))
    metadata = open_metadata(dek, envelope, headers.get(METADATA_HEADER))
    if total == 0:
        demand(place.key.endswith(b"/") and envelope.kind == SINGLE and envelope.size == 0, "size", "an empty body is no directory marker")
        return Object(metadata, Table(0, (), (), 0), iter(()))
    plain = plain_size(total)
    demand(plain is not None, "size", f"no object has {total} bytes")
    demand(envelope.kind == MULTIPART or plain == envelope.size, "size", "the body's size is not the envelope's")
    return opened(dek, envelope.kind, envelope.suite, envelope.object_id, metadata, body, total, plain)


def decrypt_bare(find_ik: Callable[[bytes], tuple[bytes, bytes, bytes]], body: Callable[[int, int], bytes], total: int) -> Object:
    """Without envelope. `find_ik` gives tenant, bucket and IK as the record, admitted by the card, has them."""
    plain = plain_size(total)
    demand(plain is not None, "size", f"no object has {total} bytes")
    block = parse_recovery(body(total - 103, total - 4))
    tenant, bucket, ik = find_ik(block.ik)
    dek = keys.unwrap(ik, RECOVERY, block.salt, block.wrapped, block.raw[:51] + tenant + bucket, "recovery")
    return opened(dek, block.kind, block.suite, block.object_id, {}, body, total, plain)


def opened(dek, kind, suite, object_id, metadata, body, total, plain) -> Object:
    tail = body(total - (LEAST_TRAILER + 128 * steps(plain)), total)
    table = open_trailer(dek, kind, suite, object_id, total, tail)

    def plaintext():
        start = 0
        for part in table.parts:
            yield from open_chunks(dek, suite, object_id, part, body, start)
            start += chunks_size(part.size)

    return Object(metadata, table, plaintext())
