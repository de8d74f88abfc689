"""Scans what a storage holds for the bodies that went through: after each driver, what is new since the one before."""

import os

import scan
import secrets
import stage as stages

# What a storage's files say by themselves and a driver's may quote.
PUBLIC = (b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">', b'<?xml version="1.0" encoding="UTF-8"?>\n<')
# More than a window: where a scan of what was appended begins again.
OVERLAP = 64


class Haystack:
    """One stage's raw bytes. A bad scanner would find nothing: it first has to find what is planted."""

    def __init__(self, stage, files: str):
        self.roots, self.files = stage.raw_roots(), files
        self.known: dict[str, tuple[int, int, int]] = {}
        self.scanned = 0
        self.scanner = self._scanner(())
        with open(os.path.join(files, "65537"), "rb") as file:
            file.seek(30_001)
            planted = secrets.token_bytes(1001) + file.read(scan.WINDOW) + secrets.token_bytes(999)
        if not self.scanner.scan("planted", [planted]):
            raise AssertionError("the scanner does not find 32 planted bytes")

    def _scanner(self, more) -> scan.Scanner:
        found = scan.Scanner(PUBLIC)
        for size in stages.SIZES:
            if size >= scan.WINDOW:
                found.add(f"the body of {size} bytes", os.path.join(self.files, str(size)))
        for path in more:
            if os.path.getsize(path) >= scan.WINDOW:
                found.add(os.path.basename(path), path)
        return found

    def leak(self, plain: str) -> str | None:
        """The first plaintext in what changed since the last call: the bodies', or that of files below `plain`."""
        more = scan.files_below([plain]) if os.path.isdir(plain) else []
        scanner = self._scanner(more) if more else self.scanner
        for path in scan.files_below(self.roots):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            before, now = self.known.get(path), (status.st_ino, status.st_size, status.st_mtime_ns)
            if before == now:
                continue
            self.known[path] = now
            # SeaweedFS appends to its volumes; everything else is read whole.
            begin = max(0, before[1] - OVERLAP) if before and path.endswith(".dat") and before[0] == now[0] and before[1] <= now[1] else 0
            self.scanned += status.st_size - begin
            found = scanner.scan(path, pieces(path, begin))
            if found:
                return str(found)
        return None


def pieces(path: str, begin: int):
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(begin)
        while piece := file.read(4 << 20):
            yield piece
