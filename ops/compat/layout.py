"""Where what lies in a stored object, by docs/format.md: sizes, chunks, trailer, envelope."""

import base64
import dataclasses

import storage

CHUNK = 65_536
OVERHEAD = 28
SALT = 12
TAG = 16
RECOVERY = 99
MIB = 1024 * 1024
UNIT = 5 * MIB
STORED_UNIT = 80 * (CHUNK + OVERHEAD) + 128
MOST = 50 * MIB * MIB

# The envelope's fields: offset and length.
ENVELOPE = {
    "version": (0, 1), "kind": (1, 1), "suite": (2, 1), "chunk size": (3, 1), "flags": (4, 1), "IK id": (5, 16), "object id": (21, 16),
    "size": (37, 8), "wrap salt": (45, 16), "wrapped DEK": (61, 48), "commitment": (109, 32),
}


def stored_size(size: int) -> int:
    """T(P), section 3."""
    return 320 + 128 * min(size // UNIT, 9999) + size + OVERHEAD * -(-size // CHUNK)


def plaintext_size(stored: int) -> int | None:
    """The inverse of T; None where the size is no object's."""
    rest = stored - 320
    if rest < 0:
        return None
    units = min(rest // STORED_UNIT, 9999)
    left = rest - units * STORED_UNIT
    size = units * UNIT + left - OVERHEAD * -(-left // (CHUNK + OVERHEAD))
    return size if 0 <= size <= MOST and stored_size(size) == stored else None


def listed_size(stored: int) -> int:
    """What a listing shows: sizes that are no object's as they are stored."""
    size = plaintext_size(stored)
    return stored if size is None else size


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A sealed chunk's place in the body."""

    part: int
    start: int
    end: int

    @property
    def salt(self) -> int:
        return self.start

    @property
    def ciphertext(self) -> int:
        return (self.start + SALT + self.end - TAG) // 2

    @property
    def tag(self) -> int:
        return self.end - TAG


def chunks(sizes: list[int]) -> list[Chunk]:
    """The chunks of an object whose parts have these plaintext sizes; the trailer follows the last."""
    found, at = [], 0
    for part, size in enumerate(sizes):
        while size:
            length = min(size, CHUNK)
            found.append(Chunk(part, at, at + length + OVERHEAD))
            at, size = found[-1].end, size - length
    return found


def trailer(body: bytes) -> dict[str, int]:
    """A byte in each of the trailer's fields."""
    start = len(body) - int.from_bytes(body[-4:], "big")
    recovery = len(body) - 4 - RECOVERY
    return {"salt": start, "sealed text": start + SALT + 4, "tag": recovery - TAG, "recovery block": recovery + 60,
            "recovery block's suite": recovery + 2, "length": len(body) - 1}


def flipped(content: bytes, at: int, bit=1) -> bytes:
    """The same bytes with one bit changed."""
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1:]


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_envelope(stored: storage.Stored, change) -> storage.Stored:
    """The same object with its envelope's bytes changed."""
    return stored.replace(metadata={**stored.metadata, "sealgate": encoded(change(decoded(stored.metadata["sealgate"])))})


def with_metadata(stored: storage.Stored, change) -> storage.Stored:
    """The same object with its sealed metadata changed."""
    return stored.replace(metadata={**stored.metadata, "sealgatemeta": encoded(change(decoded(stored.metadata["sealgatemeta"])))})
