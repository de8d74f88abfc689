"""The tamper table's machinery: genuine objects, the storage behind them, and what clients may see of altered ones.

For each row: the object reads back; the storage's bytes are altered, and differ; a whole GET ends in an error or in fewer
bytes than it announced, all of them right; ranges are right or refused; the metric rises; HEAD and LIST show what the row
says; and with the genuine bytes back the object reads back again.
"""

import dataclasses
import re
import urllib.request
from collections.abc import Callable

import layout
import storage
import wire
from cases import data, equal, true

# Two parts whose ends are valid sizes of objects, and a last one that goes through a stash.
PART = layout.UNIT + 100_000
LAST_PART = 200_000
HEADERS = {"content-type": "text/x-genuine", "content-encoding": "x-genuine", "x-amz-meta-mine": "genuine"}
METRIC = "sealgate_node_integrity_failures_total"


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to tamper, and what must come of it."""

    name: str
    # Which of the table's objects.
    object: str
    # Gives the altered object, or several by their names.
    change: Callable
    # Of a whole GET: 422, cut (the connection ends before its last byte, or before all) or right.
    whole: str
    # Of ranges: refused (all), touched (some: they need altered bytes), right (all) or none (there is no byte to ask for).
    ranges: str
    # Of HEAD: refused, right, or size (the one that the stored size stands for; refused if for none).
    head: str
    # whole and ranges when the node has the part table already and the ETag is the same.
    warm: tuple[str, str] | None = None


@dataclasses.dataclass
class Thing:
    """An object of the table."""

    name: str
    body: bytes
    sizes: list[int]
    genuine: storage.Stored | None = None
    # Whether it read back since it was written last.
    proved: bool = False

    @property
    def chunks(self) -> list[layout.Chunk]:
        return layout.chunks(self.sizes)

    def part(self, number: int) -> slice:
        """Where a part lies in the stored body."""
        own = [chunk for chunk in self.chunks if chunk.part == number - 1]
        return slice(own[0].start, own[-1].end)

    @property
    def trailer(self) -> slice:
        """Where the trailer lies."""
        return slice(self.chunks[-1].end if self.chunks else 0, len(self.genuine.body))


class Table:
    """Objects written through a gateway, and the storage where they lie."""

    def __init__(self, t, tls=None):
        self.t = t
        self.storage = storage.of(t.target, t.bucket)
        self.wire = wire.Wire(t.target, tls)
        self.things: dict[str, Thing] = {}
        single = data(600_000, "single")
        # An older genuine version of the same key and size, before the one that counts.
        self._put("single", data(600_000, "older"))
        self.older = self.storage.read("single")
        self._put("single", single)
        self._put("single2", data(600_000, "single2"))
        self._put("small", data(1000, "small"))
        self._put("empty", b"")
        self._put("bare", data(1000, "bare"), headers={})
        for name in ("multi", "multi2"):
            self._upload(name, [(1, data(PART, f"{name} 1")), (2, data(PART, f"{name} 2")), (3, data(LAST_PART, f"{name} 3"))])
        # The same stored bytes as its source's, under an envelope of its own.
        t.s3.copy_object(Bucket=t.bucket, Key="copied", CopySource={"Bucket": t.bucket, "Key": "single"})
        self._keep(Thing("copied", single, [len(single)]))
        true(self.things["copied"].genuine.body == self.things["single"].genuine.body, "the copy's stored bytes are not its source's")
        # The same part sent twice, and the first attempt's chunks kept.
        self.first_attempt = self._upload("attempts", [(1, data(PART, "one")), (2, data(LAST_PART, "first")), (2, data(LAST_PART, "second"))])
        elsewhere = f"{t.bucket}-2"
        t.create_bucket(elsewhere)
        t.s3.put_object(Bucket=elsewhere, Key="single", Body=data(600_000, "elsewhere"))
        self.elsewhere = storage.of(t.target, elsewhere).read("single")

    def _put(self, name, body, headers=None):
        with self.wire.connect() as connection:
            headers = HEADERS if headers is None else headers
            connection.sendall(self.wire.head("PUT", self.t.path(name), headers=headers, length=len(body))[0] + body)
            seen = wire.read(connection, "PUT")
        equal(seen.status, 200, f"PUT {name}: {seen}")
        self._keep(Thing(name, body, [len(body)]))

    def _upload(self, name, parts) -> bytes:
        """Uploads in parts; the stash of the first attempt at the last part."""
        client, kept = self.t.s3, {}
        place = {"Bucket": self.t.bucket, "Key": name}
        place["UploadId"] = client.create_multipart_upload(**place, ContentType="text/x-genuine", ContentEncoding="x-genuine")["UploadId"]
        stash = b""
        for number, body in parts:
            kept[number] = (client.upload_part(**place, PartNumber=number, Body=body)["ETag"], body)
            if not stash:
                # Stashes of other uploads are gone with their Complete.
                stash = b"".join(self.storage.read(key).body for key in self.storage.keys(".sealgate/v1/u/") if "/s/" in key)
        etags = [{"PartNumber": number, "ETag": etag} for number, (etag, _) in sorted(kept.items())]
        client.complete_multipart_upload(**place, MultipartUpload={"Parts": etags})
        bodies = [body for _, (_, body) in sorted(kept.items())]
        self._keep(Thing(name, b"".join(bodies), [len(body) for body in bodies]))
        return stash

    def _keep(self, thing: Thing):
        self.things[thing.name] = thing
        thing.genuine = self.storage.read(thing.name)
        if not self.storage.keeps_identity:
            # Written back once, so that every later state of the object came the same way.
            self.storage.write(thing.name, thing.genuine)
        if len(thing.sizes) == 1:
            equal(len(thing.genuine.body), layout.stored_size(len(thing.body)), f"stored size of {thing.name}")
        true(layout.plaintext_size(len(thing.genuine.body)) == len(thing.body), f"the stored size of {thing.name} is not the format's")

    def metric(self) -> float:
        return metric(self.t.target, METRIC)

    def whole(self, name, headers=None) -> wire.Seen:
        return self.wire.fetch("GET", self.t.path(name), headers=headers)

    def reads_back(self, thing: Thing):
        """The genuine object comes back; asked once for each time that it was written."""
        if thing.proved:
            return
        seen = self.whole(thing.name)
        true(seen.ok and seen.complete and seen.body == thing.body, f"the genuine {thing.name} does not read back: {seen}")
        self.describes(thing, seen)
        thing.proved = True

    def describes(self, thing: Thing, seen: wire.Seen):
        """The headers are the client's, whatever the storage says."""
        wanted = ("binary/octet-stream", None) if thing.name == "bare" else ("text/x-genuine", "x-genuine")
        equal((seen.headers["Content-Type"], seen.headers["Content-Encoding"]), wanted, f"type and encoding of {thing.name}")

    def attempt(self, row: Row):
        """Does what a row says, and checks what comes of it."""
        thing = self.things[row.object]
        multipart, keeps = len(thing.sizes) > 1, self.storage.keeps_identity
        for warm in ((False, True) if multipart and keeps else (keeps,)):
            self.reads_back(thing)
            changed = row.change(self, thing.genuine)
            changed = changed if isinstance(changed, dict) else {row.object: changed}
            try:
                sizes = {}
                for name, stored in changed.items():
                    self.things[name].proved = False
                    self.storage.write(name, stored, same_identity=warm)
                    found = self.storage.read(name)
                    true(found != self.things[name].genuine, f"the stored {name} is the same as before")
                    sizes[name] = len(found.body)
                for name, size in sizes.items():
                    self.judge(row, self.things[name], size, warm and multipart)
            finally:
                for name in changed:
                    self.storage.write(name, self.things[name].genuine)
            for name in changed:
                self.reads_back(self.things[name])

    def judge(self, row: Row, thing: Thing, stored: int, warm: bool):
        """What clients see of an altered object whose stored size is now `stored`."""
        whole, ranges = row.warm if warm and row.warm else (row.whole, row.ranges)
        where = f"{thing.name}{', its table known' if warm else ''}"
        before = self.metric()
        seen = self.whole(thing.name)
        equal(outcome(seen, thing.body), whole, f"whole GET of {where}: {seen}; it")
        if whole == "right":
            self.describes(thing, seen)
        else:
            true(self.metric() > before, f"{METRIC} did not rise at a GET of {where}")
            if len(thing.sizes) == 1:
                # Its trailer is read before the body then.
                seen = self.whole(thing.name, {"x-amz-checksum-mode": "ENABLED"})
                true(outcome(seen, thing.body) != "right", f"whole GET of {where} with checksum: {seen}")
        shown = layout.plaintext_size(stored) if row.head == "size" else None
        outcomes = {text: self.range(thing, shown, *what) for text, *what in spans(thing)}
        found = set(outcomes.values())
        wanted = {"refused": {"refused"}, "right": {"right"}, "touched": {"refused", "right"}, "none": set()}[ranges]
        true(found == wanted, f"ranges of {where} are not {ranges}: {outcomes}")
        size = {"refused": None, "right": len(thing.body), "size": shown}[row.head]
        seen = self.wire.fetch("HEAD", self.t.path(thing.name))
        equal((seen.status, seen.length if seen.ok else None), (200, size) if size is not None else (422, None), f"HEAD of {where}")
        if seen.ok:
            self.describes(thing, seen)
        listed = self.t.s3.list_objects_v2(Bucket=self.t.bucket, Prefix=thing.name)["Contents"]
        sizes = {entry["Key"]: entry["Size"] for entry in listed}
        equal(sizes[thing.name], layout.listed_size(stored), f"size of {where} in LIST")

    def range(self, thing: Thing, shown: int | None, query, headers, start, end) -> str:
        """What a ranged GET gives: right or refused; anything else is a failure."""
        seen = self.wire.fetch("GET", self.t.path(thing.name), query, headers)
        if seen.status == 416 and shown is not None and start >= shown and seen.complete:
            # Beyond the size that HEAD shows of a multipart object, too: not provable there, and no byte.
            return "refused"
        found = outcome(seen, thing.body[start:end], 206)
        if found == "right":
            equal(seen.headers["Content-Range"], f"bytes {start}-{end - 1}/{len(thing.body)}", "Content-Range")
        return "right" if found == "right" else "refused"


def outcome(seen: wire.Seen, body: bytes, status=200, nonsense=False) -> str:
    """422, cut or right; fails when a byte is wrong, or a whole answer has too few or too many.

    503 where the storage's answer may be `nonsense` in itself.
    """
    if seen.status is None:
        # The storage's bytes came so fast that the head had not left yet: nothing of the answer did.
        true(not seen.body and not seen.complete, f"half a head: {seen}")
        return "cut"
    if nonsense and (seen.status, seen.code) == (503, "SlowDown"):
        return "503"
    if not seen.ok:
        true(seen.status == 422 and seen.complete and seen.code == "ObjectIntegrityError", f"answered {seen}")
        true(body[:64] not in seen.body or len(body) < 16, "plaintext stands in an error")
        return "422"
    equal(seen.status, status, f"status of {seen}")
    true(body.startswith(seen.body), f"wrong bytes arrived: {seen}")
    equal(seen.length, len(body), "Content-Length")
    return "right" if seen.complete and len(seen.body) == len(body) else "cut"


def spans(thing: Thing):
    """Ranges: text, query, headers, first byte and the one after the last."""
    size = len(thing.body)
    wanted = [(0, 100), (size // 2, size // 2 + 100), (layout.CHUNK - 50, layout.CHUNK + 50), (size - 100, size)]
    for start, end in wanted:
        if 0 <= start < end <= size:
            yield f"{start}-{end - 1}", (), {"range": f"bytes={start}-{end - 1}"}, start, end
    if size:
        if len(thing.sizes) == 1:
            yield "0-", (), {"range": "bytes=0-"}, 0, size
        yield "-77", (), {"range": "bytes=-77"}, size - 77, size
    at = 0
    for number, length in enumerate(thing.sizes, start=1):
        if len(thing.sizes) > 1 and length <= LAST_PART:
            yield f"part {number}", [("partNumber", str(number))], {}, at, at + length
        at += length


def metric(target, name: str) -> float:
    """A counter of the gateway's node, all labels together; 0 before it was first counted."""
    with urllib.request.urlopen(target.metrics_url(), timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))
