"""Clients that write as fast as they can while something breaks, and that remember what they were told.

Every key has one writer, which waits for an answer before it writes again. So afterwards a key holds what was acknowledged
last, or the one write that was never answered: whole. A write that was refused must never show.
"""

import dataclasses
import http.client
import random
import threading
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import raw
import sigv4

# Around the borders of chunks; a gateway that is killed has some of each in its hands.
SIZES = (0, 1, 4_000, 65_535, 65_536, 65_537, 200_000, 700_000)
MIN_PART = 5 << 20
BROKEN = (OSError, http.client.HTTPException, ValueError)
# S3's namespace in answers.
SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Lost(AssertionError):
    """The gateway broke its promise."""


@dataclasses.dataclass
class Counts:
    """What happened, over all rounds."""

    kills: int = 0
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    verified: int = 0
    shown_unanswered: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Counts"):
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __str__(self):
        return (f"{self.kills} kills, {self.acknowledged} writes acknowledged, {self.refused} refused, {self.unanswered} unanswered "
                f"({self.shown_unanswered} of them there, whole), {self.verified} objects verified, {len(self.losses)} losses")


class Tally:
    """Counts up from many threads; one waits for a number."""

    def __init__(self):
        self._count, self._over, self._changed = 0, False, threading.Condition()

    def add(self):
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def finish(self):
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def reach(self, number: int, seconds: float):
        """Waits until so many were counted, or none will be any more."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count >= number or self._over, seconds):
                raise Lost(f"only {self._count} of {number} answers within {seconds} s")


class Storm:
    """`writers` clients, each writing its own key again and again."""

    def __init__(self, target, bucket: str, writers: int, seed: str, largest: int = SIZES[-1]):
        self.bucket, self.seed = bucket, seed
        self.sizes = [size for size in SIZES if size <= largest]
        self.raw = raw.RawClient(target.endpoint, sigv4.Credentials(target.access_key, target.secret_key, target.region))
        self.acknowledged = [0] * writers
        self.refusals: list[str] = []
        self.refused = [0] * writers
        # The attempt that has no answer, 0 when there is none.
        self.open = [0] * writers
        self.tally, self.over = Tally(), threading.Event()
        self.pool, self.running = None, []

    def path(self, writer: int) -> str:
        return sigv4.encode_path(self.bucket, f"{self.seed}/{writer:04d}")

    def body(self, writer: int, attempt: int) -> bytes:
        source = random.Random(f"{self.seed}/{writer}/{attempt}")
        return source.randbytes(source.choice(self.sizes))

    def start(self):
        self.pool = ThreadPoolExecutor(len(self.open))
        self.running = [self.pool.submit(self._write, writer) for writer in range(len(self.open))]

    def _write(self, writer: int):
        attempt = 0
        while not self.over.is_set():
            attempt += 1
            body = self.body(writer, attempt)
            self.open[writer] = attempt
            try:
                answer = self.raw.request("PUT", self.path(writer), body=body)
            except BROKEN:
                return
            self.open[writer] = 0
            if answer.status == 200:
                self.acknowledged[writer] = attempt
                self.tally.add()
            else:
                self.refused[writer] += 1
                self.refusals.append(str(answer))

    def finish(self):
        """Lets every writer end its last request."""
        self.over.set()
        for writer in self.running:
            writer.result()
        self.pool.shutdown()

    def verify(self) -> Counts:
        """Reads every key back."""
        with ThreadPoolExecutor(16) as pool:
            counts = Counts(acknowledged=self.tally._count, refused=sum(self.refused), unanswered=sum(map(bool, self.open)))
            for one in pool.map(self._verify, range(len(self.open))):
                counts.add(one)
        return counts

    def _verify(self, writer: int) -> Counts:
        answer = self.raw.request("GET", self.path(writer))
        last, unanswered = self.acknowledged[writer], self.open[writer]
        if answer.status == 404 and last == 0:
            return Counts()
        if answer.status == 200 and unanswered and answer.body == self.body(writer, unanswered):
            return Counts(verified=1, shown_unanswered=1)
        if answer.status == 200 and last and answer.body == self.body(writer, last):
            return Counts(verified=1)
        return Counts(losses=[f"{self.path(writer)}: attempt {last} was acknowledged, {unanswered or 'none'} open; read {answer.status} "
                              f"{answer.code or ''} {len(answer.body)} bytes"])


class Completes:
    """Uploads with all parts there, completed all at once. Every second one replaces an object."""

    def __init__(self, target, bucket: str, uploads: int, seed: str):
        self.bucket, self.seed = bucket, seed
        self.raw = raw.RawClient(target.endpoint, sigv4.Credentials(target.access_key, target.secret_key, target.region))
        self.tally = Tally()
        self.acknowledged = [False] * uploads
        self.ids, self.etags = [""] * uploads, [[] for _ in range(uploads)]

    def path(self, upload: int) -> str:
        return sigv4.encode_path(self.bucket, f"{self.seed}/{upload:04d}")

    def parts(self, upload: int) -> list[bytes]:
        """One part; every 25th upload has a large one before it."""
        source = random.Random(f"{self.seed}/{upload}")
        last = [source.randbytes(source.choice(SIZES[1:]))]
        return [source.randbytes(MIN_PART), *last] if upload % 25 == 0 else last

    def old(self, upload: int) -> bytes | None:
        return random.Random(f"{self.seed}/{upload}/old").randbytes(10_000) if upload % 2 else None

    def _expect(self, answer):
        if answer.status != 200:
            raise Lost(f"before the crash: {answer}")
        return answer

    def _prepare(self, upload: int):
        path = self.path(upload)
        if old := self.old(upload):
            self._expect(self.raw.request("PUT", path, body=old))
        created = self._expect(self.raw.request("POST", path, [("uploads", "")]))
        self.ids[upload] = ElementTree.fromstring(created.body).findtext(f"{SPACE}UploadId")
        for number, part in enumerate(self.parts(upload), 1):
            query = [("partNumber", str(number)), ("uploadId", self.ids[upload])]
            self.etags[upload].append(self._expect(self.raw.request("PUT", path, query, body=part)).etag)

    def prepare(self):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self._prepare, range(len(self.ids))))

    def _complete(self, upload: int) -> raw.Answer:
        parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
                        for number, etag in enumerate(self.etags[upload], 1))
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return self.raw.request("POST", self.path(upload), [("uploadId", self.ids[upload])], body=document)

    def _race(self, upload: int):
        try:
            answer = self._complete(upload)
        except BROKEN:
            return
        # The status of a Complete comes before its end is known: only the document says that it worked.
        if answer.status == 200 and b"<CompleteMultipartUploadResult" in answer.body:
            self.acknowledged[upload] = True
            self.tally.add()

    def start(self):
        self.pool = ThreadPoolExecutor(len(self.ids))
        self.running = [self.pool.submit(self._race, upload) for upload in range(len(self.ids))]
        threading.Thread(target=self.finish, daemon=True).start()

    def finish(self):
        for one in self.running:
            one.result()
        self.pool.shutdown()
        self.tally.finish()

    def verify(self) -> Counts:
        """Every object is the whole new one, or as before; then a client that heard nothing asks again."""
        with ThreadPoolExecutor(16) as pool:
            counts = Counts(acknowledged=sum(self.acknowledged), unanswered=self.acknowledged.count(False))
            for one in pool.map(self._verify, range(len(self.ids))):
                counts.add(one)
        return counts

    def _verify(self, upload: int) -> Counts:
        path, new, old, counts = self.path(upload), b"".join(self.parts(upload)), self.old(upload), Counts()
        answer = self.raw.request("GET", path)
        seen = answer.body if answer.status == 200 else None
        if answer.status not in (200, 404):
            counts.losses.append(f"{path}: {answer}")
        elif self.acknowledged[upload] and seen != new:
            counts.losses.append(f"{path}: acknowledged, and read {answer.status} {len(answer.body)} bytes of {len(new)}")
        elif seen not in (new, old):
            counts.losses.append(f"{path}: neither new nor old: {answer.status} {len(answer.body)} bytes")
        elif self.acknowledged[upload]:
            counts.verified += 1
        else:
            counts.shown_unanswered += seen == new
            again = self._complete(upload)
            settled = again.status == 200 and b"<CompleteMultipartUploadResult" in again.body or again.code == "NoSuchUpload" and seen == new
            if settled and self.raw.request("GET", path).body == new:
                counts.verified += 1
            else:
                counts.losses.append(f"{path}: completed again: {again}")
        return counts
