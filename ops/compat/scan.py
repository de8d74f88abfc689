"""Finds plaintext in raw bytes, exactly.

A leak is a window of 32 bytes, with at least 12 distinct values, that occurs in a plaintext and in the haystack. Each such
window contains a whole 16-byte block at a multiple of 16 in the plaintexts' concatenation: these blocks are indexed by a
hash, every offset of the haystack is looked up, and each hit is compared byte by byte. So nothing is missed, and a
collision is no hit. Memory: about 16 bytes a 16-byte block, plus the map: 64 to 128 bytes a block, 1 GiB at most. Scans may run in
threads: numpy works without the interpreter's lock.
"""

import base64
import dataclasses
import os
import secrets
import threading

import numpy

WINDOW = 32
BLOCK = 16
DISTINCT = 12
_PIECE = 1024 * 1024
_ODD_1, _ODD_2 = numpy.uint64(0x9E3779B97F4A7C15), numpy.uint64(0xC2B2AE3D27D4EB4F)


@dataclasses.dataclass(frozen=True)
class Leak:
    """Where a window of a plaintext lies in the haystack."""

    haystack: str
    offset: int
    plaintext: str

    def __str__(self):
        return f"32 bytes of {self.plaintext} lie at {self.offset} in {self.haystack}"


def _hash(words: numpy.ndarray) -> numpy.ndarray:
    """Of each 16 bytes, as pairs of words. The high bits depend on all of them."""
    mixed = words[::2] * _ODD_1
    mixed ^= words[1::2] * _ODD_2
    return mixed


def _changes(text: numpy.ndarray) -> numpy.ndarray:
    """How often a byte differs from the one before it, up to each place: where that is rare, as in runs of zeros, no window can
    have enough distinct values."""
    changes = numpy.zeros(len(text), numpy.int32)
    numpy.cumsum(text[1:] != text[:-1], out=changes[1:], dtype=numpy.int32)
    return changes


class Scanner:
    """An index over plaintexts, added as files or bytes.

    `public` are texts that a storage writes by itself and that source files quote: a window inside one is no leak.
    """

    def __init__(self, public: tuple[bytes, ...] = ()):
        self._public = public
        self._public_windows: dict[bytes, bool] = {}
        self._pieces: list[numpy.ndarray] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._length = 0
        self._ready = False
        self._indexing = threading.Lock()

    def add(self, name: str, body: bytes | str):
        """A plaintext: bytes, or the path of a file."""
        assert not self._ready, "add before the first scan"
        content = numpy.fromfile(body, dtype=numpy.uint8) if isinstance(body, str) else numpy.frombuffer(body, dtype=numpy.uint8)
        # Random bytes between two plaintexts, so that no window spans both.
        padding = numpy.frombuffer(secrets.token_bytes(WINDOW + -len(content) % BLOCK), dtype=numpy.uint8)
        self._names.append(name)
        self._starts.append(self._length)
        self._pieces += [content, padding]
        self._length += len(content) + len(padding)

    def _index(self):
        self._text = numpy.concatenate(self._pieces) if self._pieces else numpy.zeros(0, numpy.uint8)
        self._pieces = []
        hashes = _hash(self._text[:len(self._text) // BLOCK * BLOCK].view(numpy.uint64))
        self._order = numpy.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        # A flag for each value of this many high bits: almost every lookup ends here.
        self._bits = max(16, min(30, int(len(hashes)).bit_length() + 6))
        self._map = numpy.zeros(1 << self._bits, bool)
        self._map[self._slot(hashes)] = True

    def _slot(self, hashes):
        return (hashes >> numpy.uint64(64 - self._bits)).view(numpy.int64)

    def scan(self, name: str, pieces) -> Leak | None:
        """The first leak in a stream of byte strings."""
        with self._indexing:
            if not self._ready:
                self._index()
                self._ready = True
        before, offset = b"", 0
        for piece in pieces:
            held = before + piece
            leak = self._scan_piece(name, held, offset - len(before))
            if leak:
                return leak
            before = held[-(2 * WINDOW):]
            offset += len(piece)
        return None

    def _scan_piece(self, name, held, base) -> Leak | None:
        text = numpy.frombuffer(held, dtype=numpy.uint8)
        changes = None
        for shift in range(BLOCK):
            count = (len(text) - shift) // BLOCK
            if count <= 0:
                break
            hashes = _hash(text[shift:shift + count * BLOCK].view(numpy.uint64))
            candidates = numpy.flatnonzero(numpy.take(self._map, self._slot(hashes), mode="clip"))
            # The map has false positives: ask the index itself, still for all at once.
            places = numpy.minimum(numpy.searchsorted(self._hashes, hashes[candidates]), len(self._hashes) - 1)
            candidates = candidates[self._hashes[places] == hashes[candidates]]
            if not len(candidates):
                continue
            if changes is None:
                changes = _changes(text)
            at = shift + candidates * BLOCK
            around = changes[numpy.minimum(at + WINDOW, len(text)) - 1] - changes[numpy.maximum(at - BLOCK, 0)]
            for candidate in candidates[around >= DISTINCT - 1]:
                at = shift + int(candidate) * BLOCK
                found = self._confirm(text, at, hashes[candidate])
                if found is not None:
                    return Leak(name, base + at, found)
        return None

    def _confirm(self, text, at, value) -> str | None:
        low, high = max(0, at - (WINDOW - BLOCK)), min(len(text), at + WINDOW)
        around = text[low:high]
        # No window here has enough distinct values: runs of zeros, tables.
        if high - low < WINDOW or len(numpy.unique(around)) < DISTINCT:
            return None
        first = numpy.searchsorted(self._hashes, value, "left")
        last = numpy.searchsorted(self._hashes, value, "right")
        positions = self._order[first:last] * BLOCK
        block = self._take(positions, numpy.arange(BLOCK)) == text[at:at + BLOCK]
        positions = positions[block.all(axis=1)]
        # How far each occurrence agrees to the left and to the right of the block.
        before, after = text[low:at][::-1], text[at + BLOCK:high]
        left = self._agreeing(positions, -1 - numpy.arange(len(before)), before)
        right = self._agreeing(positions, BLOCK + numpy.arange(len(after)), after)
        # Each window that holds the block, and the occurrences that agree over all of it.
        for window in range(max(low, at - (WINDOW - BLOCK)), at + 1):
            whole = (left >= at - window) & (right >= window + WINDOW - (at + BLOCK))
            found = text[window:window + WINDOW]
            if whole.any() and len(numpy.unique(found)) >= DISTINCT and not self._is_public(found.tobytes()):
                return self._names[int(numpy.searchsorted(self._starts, positions[whole][0], "right")) - 1]
        return None

    def _is_public(self, window: bytes) -> bool:
        # What is public is searched once for a window: a server's files name the same keys again and again.
        found = self._public_windows.get(window)
        if found is None:
            found = self._public_windows[window] = any(window in known for known in self._public)
        return found

    def _take(self, positions, offsets):
        places = positions[:, None] + offsets[None, :]
        return self._text[numpy.clip(places, 0, len(self._text) - 1)]

    def _agreeing(self, positions, offsets, wanted):
        equal = self._take(positions, offsets) == wanted
        return numpy.cumprod(equal, axis=1, dtype=numpy.int64).sum(axis=1) if len(offsets) else numpy.zeros(len(positions), numpy.int64)


def read_pieces(path: str):
    """A file in pieces; one that is gone meanwhile (a server empties its trash) holds nothing any more."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        while piece := file.read(_PIECE):
            yield piece


def files_below(roots: list[str]) -> list[str]:
    """All regular files, but no sockets or devices."""
    found = []
    for root in roots:
        for directory, _, files in os.walk(root):
            found += [path for path in (os.path.join(directory, name) for name in files) if os.path.isfile(path)]
    return sorted(found)


def forms(value: str) -> list[bytes]:
    """How a text value may lie somewhere in clear: as it is, as hex, as base64 at each of the three offsets."""
    raw = value.encode()
    found = [raw, raw.hex().encode(), raw.hex().upper().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        # Without the characters that depend on what stands before and after.
        found.append(coded[(0, 2, 3)[shift]:len(coded) - 4])
    return [form for form in found if len(form) >= 8]


def find_values(name: str, pieces, values: list[str]) -> str | None:
    """The first of the values that lies in a stream in any of its forms."""
    wanted = [(value, form) for value in values for form in forms(value)]
    longest = max(len(form) for _, form in wanted)
    before = b""
    for piece in pieces:
        held = before + piece
        for value, form in wanted:
            if form in held:
                return f"{value!r} lies in {name} as {form!r}"
        before = held[-longest:]
    return None


def lowest_entropy(pieces, block=65536) -> float | None:
    """The lowest Shannon entropy, in bits a byte, of the whole blocks of a stream; uniform bytes give about 7.997."""
    lowest, held = None, b""
    for piece in pieces:
        held += piece
        while len(held) >= block:
            counts = numpy.bincount(numpy.frombuffer(held[:block], dtype=numpy.uint8), minlength=256)
            shares = counts[counts > 0] / block
            entropy = float(-(shares * numpy.log2(shares)).sum())
            lowest = entropy if lowest is None else min(lowest, entropy)
            held = held[block:]
    return lowest
