"""Scans what a storage holds for what went through: after each driver, whatever is new since the one before.

The bodies are random, so that 8 bytes of them are nowhere by chance. They are indexed at every 64th offset and looked up at
every 63rd of the storage's files: as 63 and 64 have no common divisor, every run of 4,048 bytes of a body is found, at any
place and in any file. A body is one chunk of 64 KiB at least, and clear text would be a whole one. What a job made itself
may be anything, and so may what its client made of that: the runner reads the objects back, and both are looked for by the
exact scanner (ops/compat/scan.py), in windows of 32 bytes.
"""

import mmap
import os
import re
import secrets
import urllib.parse

import numpy
import scan
import stage as stages

INDEXED, LOOKED_UP = 64, 63
RUN = INDEXED * LOOKED_UP + 16
CONFIRMED = 16
# What a run has to leave at least that can be looked for, and what is read back at most.
ENOUGH, MOST = 4096, 128 << 20
# What a storage's files say by themselves and a job's may quote.
PUBLIC = (b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">', b'<?xml version="1.0" encoding="UTF-8"?>\n<')


class Haystack:
    """One stage's raw bytes. A bad scanner would find nothing: it first has to find what is planted."""

    def __init__(self, stage, files: str):
        self.roots = stage.raw_roots()
        self.known: dict[str, tuple[int, int, int]] = {}
        self.scanned = 0
        self.bodies = {size: numpy.fromfile(os.path.join(files, str(size)), numpy.uint8) for size in stages.SIZES if size >= RUN}
        words, origins = [], []
        for size, body in self.bodies.items():
            found = words_at(body, INDEXED)
            words.append(found)
            origins += [numpy.full(len(found), size), numpy.arange(len(found)) * INDEXED]
        self.words = numpy.concatenate(words)
        self.sizes, self.places = numpy.concatenate(origins[::2]), numpy.concatenate(origins[1::2])
        order = numpy.argsort(self.words, kind="stable")
        self.words, self.sizes, self.places = self.words[order], self.sizes[order], self.places[order]
        self._try_itself()

    def _try_itself(self):
        for size, body in self.bodies.items():
            start = secrets.randbelow(size - RUN)
            planted = secrets.token_bytes(secrets.randbelow(999)) + body[start:start + RUN].tobytes() + secrets.token_bytes(999)
            if self._find(numpy.frombuffer(planted, numpy.uint8)) is None:
                raise AssertionError(f"the scanner does not find {RUN} planted bytes of the body of {size}")
        if self._find(numpy.frombuffer(secrets.token_bytes(1 << 20), numpy.uint8)) is not None:
            raise AssertionError("the scanner finds bodies in noise")

    def _find(self, text: numpy.ndarray) -> str | None:
        """The first run of a body in these bytes."""
        found = words_at(text, LOOKED_UP)
        places = numpy.minimum(numpy.searchsorted(self.words, found), len(self.words) - 1)
        for hit in numpy.flatnonzero(self.words[places] == found):
            at, size, place = int(hit) * LOOKED_UP, int(self.sizes[places[hit]]), int(self.places[places[hit]])
            if numpy.array_equal(text[at:at + CONFIRMED], self.bodies[size][place:place + CONFIRMED]):
                return f"the bytes from {place} of the body of {size} bytes lie at {at}"
        return None

    def leak(self, plain: str, names=()) -> str | None:
        """The first plaintext in what changed since the last call: of the bodies, or of files below `plain`. Keys are no secret, and a client's own lists quote
        them: what lies in one of the names is no leak."""
        exact = None
        if os.path.isdir(plain):
            paths = list(scan.files_below([plain]))
            exact = scan.Scanner((*PUBLIC, *(name.encode() for name in names), *quoted(paths)))
            for path in paths:
                exact.add(os.path.relpath(path, plain), path)
        for path in scan.files_below(self.roots):
            try:
                with open(path, "rb") as file:
                    status = os.fstat(file.fileno())
                    now = (status.st_ino, status.st_size, status.st_mtime_ns)
                    if self.known.get(path) == now or not status.st_size:
                        continue
                    self.known[path] = now
                    self.scanned += status.st_size
                    with mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_READ) as mapped:
                        found = self._find(numpy.frombuffer(mapped[:], numpy.uint8))
            except FileNotFoundError:
                # A server empties its trash.
                continue
            found = found and f"{found} in {path}"
            if not found and exact:
                found = exact.scan(path, scan.read_pieces(path))
            if found:
                return str(found)
        return None


def quoted(paths: list[str]) -> set[bytes]:
    """The names of files in Delta's log, which outlives them: nobody lists those that it has removed, and requests past the balancer are not seen."""
    found = set()
    for path in paths:
        if "_delta_log" in path and path.endswith(".json"):
            with open(path, "rb") as file:
                found |= set(re.findall(rb'"path":"([^"]+\.parquet)"', file.read()))
    return found


def words_at(text: numpy.ndarray, stride: int) -> numpy.ndarray:
    """The 8 bytes at each multiple of the stride, as numbers."""
    count = max(0, (len(text) - CONFIRMED) // stride + 1)
    return numpy.ndarray(shape=(count,), dtype="<u8", buffer=text, strides=(stride,)).copy()


def left(s3, prefix: str) -> dict[str, int]:
    """What a client left under the prefix: keys and sizes."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=stages.BUCKET, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def read_back(s3, prefix: str, folder: str) -> int:
    """Puts below the folder what a client left under the prefix, as it is read through the gateway, the large first; how many bytes that is. The bodies are indexed
    already."""
    total = 0
    os.makedirs(folder, exist_ok=True)
    for size, key in sorted(((size, key) for key, size in left(s3, prefix).items()), reverse=True)[:500]:
        if not size or total + size > MOST or (size >= RUN and size in stages.SIZES):
            continue
        body = s3.get_object(Bucket=stages.BUCKET, Key=key)["Body"].read()
        with open(os.path.join(folder, key[len(prefix):].replace("/", "|").encode()[-200:].decode(errors="ignore")), "wb") as file:
            file.write(body)
        total += len(body)
    return total


def names_in(seen) -> set[str]:
    """The keys of requests."""
    return {urllib.parse.unquote(each.target.partition("?")[0]) for each in seen}
