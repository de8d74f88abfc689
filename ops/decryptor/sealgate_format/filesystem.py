"""Objects as the filesystem backend keeps them (docs/filesystem-backend.md): metadata files below `tree/`, bodies beside them."""

import dataclasses
import os
from collections.abc import Iterator

from .primitives import Fields, demand

STAGE = "filesystem"


@dataclasses.dataclass(frozen=True)
class Stored:
    """What lies under a key."""

    key: bytes
    metadata: dict[str, str]
    headers: dict[str, str]
    size: int
    segments: tuple[tuple[str, int], ...]

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the body; fewer when it ends before."""
        found = []
        for path, length in self.segments:
            if start < length and end > 0:
                with open(path, "rb") as file:
                    file.seek(max(start, 0))
                    found.append(file.read(min(end, length) - max(start, 0)))
            start, end = start - length, end - length
        return b"".join(found)


def crc64_nvme(data: bytes) -> int:
    crc = 2**64 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 2**64 - 1


def checked(data: bytes) -> bytes:
    demand(len(data) >= 8 and crc64_nvme(data[:-8]) == int.from_bytes(data[-8:], "big"), STAGE, "a checksum is wrong")
    return data[:-8]


def text_map(fields: Fields) -> dict[str, str]:
    return {fields.prefixed().decode(): fields.prefixed().decode() for _ in range(fields.uint(2))}


def parse(bucket: str, data: bytes) -> Stored:
    """One object's metadata file."""
    demand(data[:2] == b"\1\1", STAGE, "not an object's metadata")
    length = int.from_bytes(data[2:6], "big")
    demand(50 <= length <= min(16_384, len(data)), STAGE, "no such length")
    fields = Fields(checked(data[:length]), STAGE)
    fields.take(6)
    fields.take(16), fields.uint(8)
    size, count = fields.uint(8), fields.uint(4)
    fields.prefixed()
    key, metadata, headers = fields.prefixed(), text_map(fields), text_map(fields)
    fields.end()
    rows = Fields(checked(data[length:]) if count else b"", STAGE)
    demand(count or len(data) == length, STAGE, "bytes are left over")
    segments = []
    for _ in range(count):
        name, bytes_of_it = rows.take(16).hex(), rows.uint(8)
        segments.append((os.path.join(bucket, "bodies", name[0], f"{name}.body"), bytes_of_it))
    rows.end()
    demand(sum(bytes_of_it for _, bytes_of_it in segments) == size, STAGE, "the segments do not add up")
    return Stored(key, metadata, headers, size, tuple(segments))


def objects(root: str, bucket: str) -> Iterator[Stored]:
    """Everything that is visible in a bucket, hidden names included."""
    with open(os.path.join(root, "sealgate-filesystem"), "rb") as file:
        demand(file.read() == b"1\n", STAGE, "another layout")
    place = os.path.join(root, "buckets", bucket)
    for directory, _, names in os.walk(os.path.join(place, "tree")):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                yield parse(place, file.read())
