"""The files that go through: real source files of mixed size, odd names, and one large file."""

import functools
import glob
import hashlib
import os
import random
import shutil

MIB = 1024 * 1024
# How many files, and how large the one for multipart is.
SIZES = {"ci": (300, 64 * MIB), "acceptance": (10_500, 5 * 1024 * MIB)}
# The large file repeats one tile of random bytes: the scanner then needs the tile, and its seam, to know every window of it.
TILE_BYTES = 16 * MIB + 4093
LARGE = "large.bin"
ODD = {
    "odd/empty": b"", "odd/space and+plus.txt": b"a", "odd/ümläut-日本語.txt": "日本語".encode(), "odd/percent%2Fname": b"b",
    "odd/one-chunk": b"c" * 65536, "odd/one-chunk-and-a-byte": b"d" * 65537, "odd/.hidden": b"e",
    "odd/[brackets]&'quotes'": b"f",
    # A storage that lists directory by directory gives these two in the wrong order.
    "odd/order-a": b"g", "odd/order/a": b"h",
}


def sources() -> list[str]:
    """Regular files of the local crate registry, in an order that mixes sizes."""
    root = os.path.join(os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), "registry", "src")
    found = [path for path in glob.iglob(os.path.join(root, "**"), recursive=True) if os.path.isfile(path) and not os.path.islink(path)]
    random.Random(20260101).shuffle(found)
    return found


def tile() -> bytes:
    """What the large file repeats."""
    return random.Random("tile").randbytes(TILE_BYTES)


def build(directory: str, size: str) -> None:
    """Fills a directory with the corpus of a size."""
    count, large = SIZES[size]
    chosen = sources()[:count - len(ODD) - 1]
    if len(chosen) < count - len(ODD) - 1:
        raise RuntimeError(f"the crate registry has only {len(chosen)} files: run cargo fetch")
    root = os.path.commonpath(chosen)
    for path in chosen:
        place = os.path.join(directory, "crates", os.path.relpath(path, root))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copyfile(path, place)
    for name, body in ODD.items():
        place = os.path.join(directory, name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(body)
    block = tile()
    with open(os.path.join(directory, LARGE), "wb") as file:
        while file.tell() < large:
            file.write(block[:large - file.tell()])


def digest(path: str) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(directory: str) -> dict[str, tuple[int, str]]:
    """Relative name → (size, SHA-256) of every file below."""
    found = {}
    for at, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(at, name)
            found[os.path.relpath(path, directory)] = (os.path.getsize(path), digest(path))
    return found


@functools.cache
def shared(size: str) -> tuple[str, dict[str, tuple[int, str]]]:
    """The corpus of this run: its directory, and its contents. Removed when the process ends."""
    import atexit
    import tempfile
    directory = tempfile.mkdtemp(prefix="sealgate-corpus-")
    atexit.register(shutil.rmtree, directory, True)
    build(directory, size)
    return directory, contents(directory)
