"""What a client was told, held against what is there: every answer counted, every acknowledged object checked, byte by byte."""

import collections
import dataclasses
import http.client
import os
import random
import secrets
import threading
import time
import xml.etree.ElementTree as ElementTree

import raw
import sigv4

BROKEN = (OSError, http.client.HTTPException)
SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MIN_PART = 5 << 20


@dataclasses.dataclass
class Timed:
    """An answer and how long it took, in seconds."""

    answer: raw.Answer | None
    seconds: float

    @property
    def status(self) -> int:
        return self.answer.status if self.answer else 0

    @property
    def code(self) -> str | None:
        return self.answer.code if self.answer else None

    @property
    def body(self) -> bytes:
        return self.answer.body if self.answer else b""

    @property
    def retry_after(self) -> str | None:
        return self.answer.headers.get("Retry-After") if self.answer else None

    def __str__(self):
        return f"{self.answer or 'no answer'} after {self.seconds * 1000:.1f} ms"


class Book:
    """The objects of one bucket, and every answer about them.

    Each body carries a marker of this book that no cipher would make by chance: `plaintext_in` looks for it. A key has one
    writer at a time. A write that was refused may never show; one that got no answer may, as itself and whole.
    """

    def __init__(self, client: raw.RawClient, bucket: str, seed: int = 0, when=sigv4.timestamp):
        # What is signed for; another where the gateway's clock is another.
        self.when = when
        self.client, self.bucket = client, bucket
        self.marker = secrets.token_bytes(24)
        self.dice, self.lock = random.Random(seed), threading.Lock()
        self.known: dict[str, bytes] = {}
        # What a key may hold besides, since a write (None: a deletion) got no answer.
        self.maybe: dict[str, list[bytes | None]] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest: collections.Counter[str] = collections.Counter()
        self.verified, self.wrong = 0, []

    def body(self, size: int) -> bytes:
        """Random bytes with the marker in them, again and again."""
        with self.lock:
            filling = self.dice.randbytes(max(0, size))
        pieces = [filling[at:at + 4_000] for at in range(0, len(filling), 4_000)] or [b""]
        return b"".join(self.marker + piece[len(self.marker):] for piece in pieces)

    def path(self, key: str = "") -> str:
        return sigv4.encode_path(self.bucket, key)

    def ask(self, what: str, method: str, path: str, query=(), body=b"", headers=None, client=None) -> Timed:
        """Any request, timed and counted."""
        began = time.monotonic()
        try:
            answer = (client or self.client).request(method, path, query, headers, body, when=self.when())
        except BROKEN:
            answer = None
        timed = Timed(answer, time.monotonic() - began)
        with self.lock:
            self.counts[f"{what} {timed.status or 'no answer'}{f' {timed.code}' if timed.code else ''}"] += 1
            self.slowest[what] = max(self.slowest[what], round(timed.seconds * 1000))
        return timed

    def make_bucket(self) -> Timed:
        document = b"<CreateBucketConfiguration><LocationConstraint>%b</LocationConstraint></CreateBucketConfiguration>"
        return self.ask("CreateBucket", "PUT", self.path(), body=document % self.client.credentials.region.encode())

    def put(self, key: str, size: int = 10_000, client=None) -> Timed:
        body = self.body(size)
        timed = self.ask("PUT", "PUT", self.path(key), body=body, client=client)
        self._written(key, body, timed, timed.status == 200)
        return timed

    def _written(self, key: str, body: bytes | None, timed: Timed, done: bool):
        with self.lock:
            if done:
                self.maybe.pop(key, None)
                self.known.pop(key, None)
                if body is not None:
                    self.known[key] = body
            elif not timed.status:
                self.maybe.setdefault(key, []).append(body)

    def get(self, key: str, client=None) -> Timed:
        """A read; a 200 with anything but what was acknowledged is wrong."""
        timed = self.ask("GET", "GET", self.path(key), client=client)
        with self.lock:
            self._hold(key, timed)
        return timed

    def _hold(self, key: str, timed: Timed):
        allowed = [self.known.get(key), *self.maybe.get(key, [])]
        if timed.status == 200 and timed.body not in allowed:
            self.wrong.append(f"GET {key}: {len(timed.body)} bytes that were never acknowledged")
        elif timed.status == 404 and None not in allowed:
            self.wrong.append(f"GET {key}: 404, and it was acknowledged")

    def head(self, key: str) -> Timed:
        return self.ask("HEAD", "HEAD", self.path(key))

    def delete(self, key: str) -> Timed:
        timed = self.ask("DELETE", "DELETE", self.path(key))
        self._written(key, None, timed, timed.status == 204)
        return timed

    def listing(self, prefix: str = "") -> tuple[Timed, dict[str, int]]:
        """A listing, all pages of it; with its keys and sizes, which must be those that were acknowledged."""
        found, more = {}, []
        while True:
            timed = self.ask("LIST", "GET", self.path(), [("list-type", "2"), ("prefix", prefix), *more])
            if timed.status != 200:
                return timed, found
            page = ElementTree.fromstring(timed.body)
            found |= {entry.findtext(f"{SPACE}Key"): int(entry.findtext(f"{SPACE}Size")) for entry in page.findall(f"{SPACE}Contents")}
            # What is hidden counts on a page: after a thousand uploads one is not all.
            following = page.findtext(f"{SPACE}NextContinuationToken")
            if not following:
                return timed, found
            more = [("continuation-token", following)]

    def create_upload(self, key: str) -> tuple[Timed, str]:
        timed = self.ask("CreateMultipartUpload", "POST", self.path(key), [("uploads", "")])
        return timed, (ElementTree.fromstring(timed.body).findtext(f"{SPACE}UploadId") or "") if timed.status == 200 else ""

    def upload_part(self, key: str, upload: str, number: int, body: bytes) -> Timed:
        return self.ask("UploadPart", "PUT", self.path(key), [("partNumber", str(number)), ("uploadId", upload)], body)

    def complete(self, key: str, upload: str, parts: list[tuple[Timed, bytes]]) -> Timed:
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{part.answer.etag}</ETag></Part>" for number, (part, _) in enumerate(parts, 1))
        body = b"".join(part for _, part in parts)
        timed = self.ask("Complete", "POST", self.path(key), [("uploadId", upload)], f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode())
        self._written(key, body, timed, timed.status == 200 and b"<CompleteMultipartUploadResult" in timed.body)
        return timed

    def verify(self, client=None) -> int:
        """Reads back everything that was acknowledged; how many objects were right. What is not is in `wrong`."""
        for key, body in list(self.known.items()):
            answer = (client or self.client).request("GET", self.path(key), when=self.when())
            found = answer.body if answer.status == 200 else None if answer.status == 404 else answer
            if found in (body, *self.maybe.get(key, [])):
                self.verified += 1
            else:
                self.wrong.append(f"{key} was acknowledged, and is {answer}")
        return self.verified

    def plaintext_in(self, directory: str) -> list[str]:
        """Files that hold a marker: plaintext that reached the storage."""
        found = []
        for folder, _, names in os.walk(directory):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    if self.marker in file.read():
                        found.append(os.path.join(folder, name))
        return found
