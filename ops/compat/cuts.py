"""Bodies that don't arrive, or not as they were announced: nothing is stored, and what was there stays.

Each case sends many bodies, one a connection, and then looks: no request was answered with success; no key, part, note,
stash or file is there that was not before; old objects and parts are the old ones.
"""

import contextlib
import dataclasses
import hashlib
import socket
import struct
import time

import checksums
import sigv4
import storage
import wire
from cases import case, data, equal, true
from s3_multipart import FIVE, Upload
from tamper_table import metric

# Above what is collected before it is sent to an S3 server, and below: two ways through the gateway.
LARGE, SMALL = 400_000, 1_000
CHUNK = 65_536
GONE_SECONDS = 20


@dataclasses.dataclass
class Sending:
    """A body as it goes out: what is announced, and what follows."""

    what: str
    size: int
    headers: dict[str, str]
    payload_hash: str
    # The body's bytes on the wire, made when the seed of its signatures is known.
    body: object
    # How many of them are sent; all when none.
    cut: int | None = None
    reset: bool = False
    refused: tuple[str, ...] = ()


def plain(size, seed="plain", payload_hash=sigv4.UNSIGNED, headers=None, **options):
    content = data(size, seed)
    return Sending(options.pop("what", ""), size, headers or {}, payload_hash, lambda *_: content, **options)


def framed(size, framing: sigv4.Framing, seed="framed", decoded=None, **options):
    content = data(size, seed)
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(size if decoded is None else decoded)}
    if framing.trailers:
        headers["x-amz-trailer"] = ",".join(name for name, _ in framing.trailers)
    return Sending(options.pop("what", ""), size, headers, framing.mode, lambda *seed: framing.body(content, *seed), **options)


def trailer(size, seed="framed", content=None):
    return ((checksums.header("CRC32"), checksums.value("CRC32", data(size, seed) if content is None else content)),)


def cut_points(size: int):
    """Where a plain body of that size is cut."""
    points = {"nothing": 0, "one byte": 1, "all but one byte": size - 1, "the middle": size // 2}
    if size > CHUNK:
        points |= {"inside the first chunk": 30_000, "at a chunk's end": CHUNK, "a byte after it": CHUNK + 1, "inside a chunk": 3 * CHUNK + 7,
                   "before the last chunk": size // CHUNK * CHUNK, "inside the last chunk": size // CHUNK * CHUNK + 5}
    return points


def framed_points(size: int):
    """Where a signed, framed body with a signed trailer is cut: bytes from its start, or from its end when negative."""
    head = len(f"{CHUNK:x};chunk-signature=") + 64 + 2
    end = len("x-amz-trailer-signature:") + 64 + 2 + 2
    line = len(f"{trailer(size)[0][0]}:{trailer(size)[0][1]}\r\n")
    last = len("0;chunk-signature=") + 64 + 2
    return {
        "nothing": 0, "inside the first chunk's length": 3, "inside its signature": 40, "after its head": head, "inside its data": head + 30_000,
        "before its line end": head + CHUNK, "inside its line end": head + CHUNK + 1, "after a chunk": head + CHUNK + 2,
        "before the final chunk": -(last + line + end), "inside the final chunk's signature": -(line + end + 20), "before the trailer": -(line + end),
        "inside the trailer's name": -(line + end) + 9, "inside the trailer's value": -(end + 4), "before the trailer's signature": -end,
        "inside the trailer's signature": -40, "before the last line end": -2, "inside the last line end": -1,
    }


def all_cuts():
    """Every way a body ends too early, by the end of the stream and by a reset."""
    for reset in (False, True):
        for size in (LARGE, SMALL):
            for what, cut in cut_points(size).items():
                yield plain(size, what=f"{size} bytes: {what}", cut=cut, reset=reset)
        for what, cut in framed_points(LARGE).items():
            framing = sigv4.Framing(sigv4.STREAM_SIGNED_TRAILER, trailers=trailer(LARGE))
            yield framed(LARGE, framing, what=f"framed: {what}", cut=cut, reset=reset)


def all_lies():
    """Bodies that come whole, and are not what was announced; the codes that may answer them."""
    signature, digest, hashed, short = (("SignatureDoesNotMatch",), ("BadDigest",), ("XAmzContentSHA256Mismatch",), ("IncompleteBody", "InvalidRequest"))
    for size in (LARGE, SMALL):
        yield plain(size, payload_hash=hashlib.sha256(b"other").hexdigest(), what="another hash", refused=hashed)
        yield plain(size, headers={"content-md5": checksums.content_md5(b"other")}, what="another MD5", refused=digest)
        for name in checksums.DIGESTS:
            headers = {checksums.header(name): checksums.value(name, b"other")}
            yield plain(size, headers=headers, what=f"another {name}", refused=digest)
        for bad in (0, 1, -1):
            yield framed(size, sigv4.Framing(sigv4.STREAM_SIGNED, bad_chunk=bad, chunk_bytes=size // 4), what=f"signature of chunk {bad}", refused=signature)
        for mode in (sigv4.STREAM_SIGNED_TRAILER, sigv4.STREAM_UNSIGNED_TRAILER):
            yield framed(size, sigv4.Framing(mode, trailers=trailer(size, content=b"other")), what=f"{mode}: another checksum", refused=digest)
        signed = sigv4.Framing(sigv4.STREAM_SIGNED_TRAILER, trailers=trailer(size), bad_trailer_signature=True)
        yield framed(size, signed, what="the trailer's signature", refused=signature)
        for more in (-1, 1):
            yield framed(size, sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=trailer(size)), decoded=size + more,
                         what=f"{more} bytes more announced", refused=short)
        yield framed(size, sigv4.Framing(sigv4.STREAM_SIGNED, without_final_chunk=True), what="no final chunk", refused=short)


def send(to: wire.Wire, path, query, sending: Sending) -> wire.Seen | None:
    """Sends a body as far as it goes; the answer, if there is one to wait for."""
    when = sigv4.timestamp()
    wanted, seed = to.head("PUT", path, query, sending.headers, sending.payload_hash, when=when)
    body = sending.body(to.credentials, when, seed)
    announced = b"content-length: %d\r\n\r\n" % len(body)
    with to.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(wanted[:-2] + announced + (body if sending.cut is None else body[:sending.cut]))
            if sending.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return None
            if sending.cut is not None:
                connection.shutdown(socket.SHUT_WR)
        return wire.read(connection, "PUT")


@contextlib.contextmanager
def nothing_changes(t, uploads=()):
    """Fails when the block leaves anything in the storage, or changes an object or a part that is there."""
    if not getattr(t, "warm", False):
        # The first object makes the bucket's key, the first part the storage's directories.
        t.s3.put_object(Bucket=t.bucket, Key="old", Body=data(LARGE, "old"))
        t.warm = True
    found = storage.of(t.target, t.bucket)

    def visible():
        return {key: hashlib.sha256(t.get(key)).hexdigest() for key in t.keys()}

    def parts():
        listed = [upload.list().get("Parts", []) for upload in uploads]
        return [[(part["PartNumber"], part["ETag"], part["Size"]) for part in each] for each in listed]

    def raw():
        return [found.parts(upload.key, upload.place["UploadId"]) for upload in uploads], found.leftovers()

    before = visible(), parts(), raw()
    connections = metric(t.target, "sealgate_node_connections")
    yield
    settle(lambda: metric(t.target, "sealgate_node_connections") <= connections, "the gateway to see the connections' ends")
    equal(visible(), before[0], "visible objects")
    equal(parts(), before[1], "listed parts")
    # What was begun is removed behind the connection's end.
    settle(lambda: raw() == before[2], lambda: f"the storage to be as before: {difference(before[2], raw())}")


def difference(before, after):
    return [entry for entry in after[1] if entry not in before[1]] or after[0], [entry for entry in before[1] if entry not in after[1]]


def settle(condition, what):
    """Waits until a condition holds, at most GONE_SECONDS."""
    deadline = time.monotonic() + GONE_SECONDS
    while not condition():
        true(time.monotonic() < deadline, f"waited {GONE_SECONDS} s for {what() if callable(what) else what}")
        time.sleep(0.02)


def send_all(t, sendings, path_of, query=()):
    """Sends all bodies; none of them may be answered with success."""
    to, count, answered = wire.Wire(t.target), 0, 0
    for count, sending in enumerate(sendings, start=1):
        seen = send(to, path_of(count), query, sending)
        if seen is None:
            continue
        true(not seen.ok, f"{sending.what}: answered {seen}")
        answered += seen.status is not None
        if sending.refused:
            true(seen.code in sending.refused, f"{sending.what}: answered {seen}, not {sending.refused}")
    true(count >= 10, f"only {count} bodies were sent")
    return count, answered


def large_part():
    """Parts that go without a stash."""
    size = FIVE + 100_000
    for what, cut in (("nothing", 0), ("the middle", size // 2), ("before the last chunk", size // CHUNK * CHUNK), ("all but one byte", size - 1)):
        yield plain(size, what=f"{size} bytes: {what}", cut=cut)
        yield plain(size, what=f"{size} bytes: {what}, reset", cut=cut, reset=True)
    yield plain(size, payload_hash=hashlib.sha256(b"other").hexdigest(), what="another hash", refused=("XAmzContentSHA256Mismatch",))
    yield framed(size, sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=trailer(size, content=b"other")), what="another checksum", refused=("BadDigest",))


@case
def a_whole_body_is_stored(t):
    # What the cases below send, uncut: else they would prove nothing.
    to = wire.Wire(t.target)
    for number, sending in enumerate((plain(LARGE), plain(SMALL), framed(LARGE, sigv4.Framing(sigv4.STREAM_SIGNED_TRAILER, trailers=trailer(LARGE))))):
        seen = send(to, t.path(f"whole/{number}"), (), sending)
        equal(seen.status, 200, f"answer {seen}")
        true(t.get(f"whole/{number}") == data(sending.size, "framed" if number == 2 else "plain"), "another body")


@case
def cuts_of_a_new_object(t):
    with nothing_changes(t):
        send_all(t, all_cuts(), lambda number: t.path(f"new/{number}"))
    equal(t.keys("new/"), [], "keys")
    equal(t.raw.request("GET", t.path("new/1")).status, 404, "GET of a cut object")


@case
def cuts_over_an_old_object(t):
    with nothing_changes(t):
        send_all(t, all_cuts(), lambda _: t.path("old"))
    true(t.get("old") == data(LARGE, "old"), "the old object is another")


@case
def lies_of_a_new_object(t):
    with nothing_changes(t):
        send_all(t, all_lies(), lambda number: t.path(f"lie/{number}"))
    equal(t.keys("lie/"), [], "keys")


@case
def lies_over_an_old_object(t):
    with nothing_changes(t):
        send_all(t, all_lies(), lambda _: t.path("old"))
    true(t.get("old") == data(LARGE, "old"), "the old object is another")


def with_upload(t, sendings, key, number, old=None):
    upload = Upload(t, key)
    if old is not None:
        upload.part(number, old)
    query = [("partNumber", str(number)), ("uploadId", upload.place["UploadId"])]
    with nothing_changes(t, [upload]):
        send_all(t, sendings, lambda _: t.path(key), query)
    equal([part["PartNumber"] for part in upload.list().get("Parts", [])], [] if old is None else [number], "parts")
    if old is None:
        upload.part(number, b"at last")
    upload.complete()
    true(t.get(key) == (b"at last" if old is None else old), "the completed object is another")


@case
def cuts_of_a_new_part(t):
    with_upload(t, all_cuts(), "part/new", 3)


@case
def cuts_over_an_old_part(t):
    with_upload(t, all_cuts(), "part/old", 3, data(LARGE, "old part"))


@case
def lies_of_a_new_part(t):
    with_upload(t, all_lies(), "part/lie", 2)


@case
def lies_over_an_old_part(t):
    with_upload(t, all_lies(), "part/old-lie", 2, data(LARGE, "old part"))


@case
def large_parts_that_do_not_arrive(t):
    with_upload(t, large_part(), "part/large", 1)
    with_upload(t, large_part(), "part/large-old", 1, data(FIVE, "old large part"))


@case
def the_gateways_own_number(t):
    # A client's part 10,000 lies in a stash only.
    with_upload(t, all_lies(), "part/own", 10_000)
