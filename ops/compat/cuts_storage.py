"""A storage whose answers don't arrive: cut, reset, slow, replaced by a 500, in the middle of a body, for every operation.

The client gets an error or the right bytes, never wrong ones and never an end that looks like one; what was stored before
stays; and a connection on which something went wrong is used for no further request.
"""

import contextlib
import os
import socket
import time

import proxied
import proxy
import sigv4
import wire
from cases import case, data, equal, true, within
from s3_multipart import FIVE, Upload
from tamper_table import metric

LARGE, SMALL = 600_000, 1_000
# Connections go to a gateway's workers in turn, one a core, and each has its own to the storage.
ROUNDS = 2 * (os.cpu_count() or 1) + 2


class Bench:
    """Objects behind a proxy, and the socket of their gateway."""

    def __init__(self, t):
        found = proxied.of(t)
        self.t, self.proxy = found.context, found.proxy
        self.wire = wire.Wire(self.t.target)
        self.bodies = {"large": data(LARGE, "large"), "small": data(SMALL, "small"), "empty": b""}
        for key, body in self.bodies.items():
            self.t.s3.put_object(Bucket=self.t.bucket, Key=key, Body=body)
        upload = Upload(self.t, "parts")
        for number, size in ((1, FIVE), (2, 100_000)):
            upload.part(number, data(size, number))
        upload.complete()
        self.bodies["parts"] = upload.body()

    def get(self, key, headers=None) -> wire.Seen:
        return self.wire.fetch("GET", self.t.path(key), headers=headers)

    def put(self, key, body, query=()) -> wire.Seen:
        with self.wire.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(self.wire.head("PUT", self.t.path(key), query, payload_hash=sigv4.UNSIGNED, length=len(body))[0] + body)
            return wire.read(connection, "PUT")

    def reads_back(self, *keys):
        """The objects come back; twice each, so that every worker's connections are used."""
        for key in keys or self.bodies:
            for _ in range(2):
                seen = self.get(key)
                true(seen.ok and seen.complete and seen.body == self.bodies[key], f"{key} does not read back: {seen}")

    def reuses(self):
        """That connections are used again at all: else that some are not would prove nothing."""
        before = len(self.proxy.requests)
        for _ in range(ROUNDS):
            equal(self.get("small").body, self.bodies["small"], "the body")
        used = [request.connection for request in self.proxy.requests[before:]]
        true(len(set(used)) < len(used), f"no connection to the storage was used twice: {used}")

    def lie(self, act, wanted, ask, clean=False):
        """Asks ROUNDS times while requests that `wanted` names get the act; then none of their connections may be used again.

        Unless the exchange was `clean`: the request had gone out whole, and the answer, a refusal, came whole.
        """
        with self.proxy.lying(lambda request: act if wanted(request) else None):
            answers = [ask() for _ in range(ROUNDS)]
        bad = {request.connection for request in self.proxy.touched}
        true(bad, "the proxy told no lie")
        after = len(self.proxy.requests)
        self.reuses()
        again = [(request.method, request.path) for request in self.proxy.requests[after:] if request.connection in bad]
        true(clean or not again, f"used again after it failed: {again[:2]}")
        return answers


def bench(t) -> Bench:
    if not hasattr(t, "bench"):
        t.bench = Bench(t)
    return t.bench


def cut_after(fraction, reset=False):
    """Passes some of the answer's body on, and ends the connection."""

    def act(exchange):
        answer = exchange.forward()
        exchange.send(answer.head() + answer.body[:min(int(len(answer.body) * fraction), len(answer.body) - 1)])
        if reset:
            exchange.reset()
        exchange.hang_up()

    return act


def cut_head(exchange):
    answer = exchange.forward()
    exchange.send(answer.head()[:-7])
    exchange.hang_up()


def nothing(exchange):
    exchange.forward()
    exchange.hang_up()


def nonsense(exchange):
    exchange.forward()
    exchange.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    exchange.hang_up()


def five_hundred(exchange):
    """A 500 in place of the answer, and the connection stays open."""
    exchange.forward()
    exchange.send(proxy.FAILED % (len(proxy.INTERNAL_ERROR), proxy.INTERNAL_ERROR))


def five_hundred_midway(exchange):
    """The text of a 500 in the middle of a body that began well."""
    answer = exchange.forward()
    exchange.send(answer.head() + answer.body[:len(answer.body) // 2] + proxy.FAILED % (len(proxy.INTERNAL_ERROR), proxy.INTERNAL_ERROR))
    exchange.hang_up()


def stall(exchange):
    """Half of the answer, and then nothing for as long as the other side waits."""
    answer = exchange.forward()
    exchange.send(answer.head() + answer.body[:len(answer.body) // 2])
    with contextlib.suppress(OSError):
        exchange.client.recv(1, socket.MSG_PEEK)
    exchange.hang_up()


def dribble(exchange):
    """All of it, a little at a time."""
    answer = exchange.forward()
    exchange.send(answer.head())
    step = max(1, len(answer.body) // 40)
    for at in range(0, len(answer.body), step):
        exchange.send(answer.body[at:at + step])
        # The slowness is what is tried.
        time.sleep(0.002)


BROKEN = {
    "cut after the head": cut_after(0), "cut after a tenth": cut_after(0.1), "cut in the middle": cut_after(0.5), "cut before the last byte": cut_after(1),
    "reset in the middle": cut_after(0.5, reset=True), "cut inside the head": cut_head, "no answer": nothing, "no HTTP": nonsense,
    "500": five_hundred, "500 in the middle": five_hundred_midway,
}


def fails(seen: wire.Seen, body: bytes, what: str):
    """An error, or fewer bytes than announced, and all of them right."""
    if seen.ok:
        true(body.startswith(seen.body) and not seen.complete and seen.length == len(body), f"{what}: {seen}")
    elif seen.status is None:
        true(not seen.body, f"{what}: half a head: {seen}")
    else:
        # Cut where a chunk ends early, it cannot be told from a cut object.
        within((seen.status, seen.code), ((503, "SlowDown"), (422, "ObjectIntegrityError")), what)


@case(seconds=120)
def get(t):
    found = bench(t)
    found.reads_back()
    for key, body in found.bodies.items():
        for what, act in BROKEN.items():
            if key in ("parts", "empty") and what not in ("cut in the middle", "reset in the middle", "500 in the middle", "500"):
                continue
            before = metric(found.t.target, "sealgate_node_connections")
            for seen in asked_for(found, key, act):
                fails(seen, body, f"{key}, {what}")
            true(metric(found.t.target, "sealgate_node_connections") <= before + 1, f"{key}, {what}: connections stay open")
    found.reads_back()


def asked_for(found, key, act):
    return found.lie(act, lambda request: request.method == "GET" and request.path.endswith(f"/{key}"), lambda: found.get(key),
                     act is five_hundred)


@case
def get_that_is_slow(t):
    found = bench(t)
    with found.proxy.lying(lambda request: dribble if request.method == "GET" else None):
        for key, body in found.bodies.items():
            seen = found.get(key)
            true(seen.ok and seen.complete and seen.body == body, f"{key}: {seen}")
        true(found.proxy.touched, "the proxy was not slow")


@case(seconds=180, sizes=("acceptance",))
def get_that_stalls(t):
    # 30 s without a byte are what the gateway waits: for the long form.
    found = bench(t)
    with found.proxy.lying(lambda request: stall if request.method == "GET" else None):
        for key in ("small", "large"):
            began = time.monotonic()
            with found.wire.connect() as connection:
                connection.settimeout(60)
                connection.sendall(found.wire.head("GET", found.t.path(key))[0])
                fails(wire.read(connection, "GET"), found.bodies[key], key)
            true(25 < time.monotonic() - began < 45, "it did not take the gateway's 30 s")
    found.reads_back()


@case
def ranges(t):
    found = bench(t)
    for what in ("cut in the middle", "500", "500 in the middle", "no answer"):
        for key in ("large", "parts"):
            body = found.bodies[key]
            asked = lambda: found.get(key, {"range": "bytes=70000-599999"})  # noqa: B023, E731 (used before the next round)
            for seen in found.lie(BROKEN[what], lambda request: request.method == "GET" and "range" in request.headers, asked,
                                   BROKEN[what] is five_hundred):
                fails(seen, body[70_000:600_000], f"{key}, {what}")


@case
def head_and_listings(t):
    found = bench(t)
    for what in ("cut in the middle", "cut before the last byte", "cut inside the head", "no answer", "no HTTP", "500", "500 in the middle"):
        act = BROKEN[what]
        for seen in found.lie(act, lambda request: "list-type" in request.query, lambda: found.wire.fetch("GET", found.t.path(), [("list-type", "2")]),
                               act is five_hundred):
            equal((seen.status, seen.code), (503, "SlowDown"), f"a listing, {what}")
        if what in ("cut inside the head", "no answer", "no HTTP", "500"):
            for seen in found.lie(act, lambda request: request.method == "HEAD", lambda: found.wire.fetch("HEAD", found.t.path("small")),
                                   act is five_hundred):
                equal(seen.status, 503, f"HEAD, {what}")


def refuse_midway(exchange):
    """A 500 when half of the request's body is there; the rest may still come on this connection."""
    exchange.swallow(exchange.request.length // 2)
    exchange.send(proxy.FAILED % (len(proxy.INTERNAL_ERROR), proxy.INTERNAL_ERROR))
    exchange.drain(exchange.request.length - exchange.request.length // 2)


def drop_midway(reset):
    def act(exchange):
        exchange.forward(exchange.request.length // 2)
        if reset:
            exchange.reset()
        exchange.hang_up()

    return act


def refuse_at_once(exchange):
    """A 500 before the body is asked for."""
    exchange.send(proxy.FAILED % (len(proxy.INTERNAL_ERROR), proxy.INTERNAL_ERROR))
    exchange.drain(exchange.request.length)


def unheard(exchange):
    """Ends the connection before the storage learns of the request."""
    exchange.hang_up()


# A small body goes out at once: then a 500 is an answer like any other.
UPLOADS = {"500 at once": refuse_at_once, "500 midway": refuse_midway, "cut midway": drop_midway(False), "reset midway": drop_midway(True)}


@case(seconds=120)
def put(t):
    # What never reached the storage whole is not there; the old object stays.
    found = bench(t)
    for key, body in (("large", data(LARGE, "other")), ("small", data(SMALL, "other")), ("new/large", data(LARGE, "other")), ("new/small", data(SMALL, "other"))):
        for what, act in UPLOADS.items():
            asked = lambda: found.put(key, body)  # noqa: B023, E731 (used before the next round)
            for seen in found.lie(act, lambda request: request.method == "PUT" and request.path.endswith(f"/{key}"), asked,  # noqa: B023
                                   len(body) == SMALL and what.startswith("500")):
                true((seen.status, seen.code) == (503, "SlowDown"), f"{key}, {what}: answered {seen}")
    found.reads_back("large", "small")
    equal(found.t.keys("new/"), [], "keys")


@case
def put_whose_answer_is_lost(t):
    # The storage has it, and the client cannot know: an error, and the object is the old or the new one, whole.
    found = bench(t)
    for key, size in (("lost/large", LARGE), ("lost/small", SMALL)):
        old, new = data(size, "old"), data(size, "new")
        found.t.s3.put_object(Bucket=found.t.bucket, Key=key, Body=old)
        for what in ("no answer", "cut inside the head", "500", "no HTTP"):
            asked = lambda: found.put(key, new)  # noqa: B023, E731 (used before the next round)
            for seen in found.lie(BROKEN[what], lambda request: request.method == "PUT" and request.path.endswith(f"/{key}"), asked,  # noqa: B023
                                   BROKEN[what] is five_hundred):
                equal((seen.status, seen.code), (503, "SlowDown"), f"{key}, {what}")
            within(found.t.get(key), (old, new), f"{key} after {what}")


@case(seconds=120)
def upload_part(t):
    found = bench(t)
    for size in (LARGE, FIVE + 1):
        upload = Upload(found.t, f"upload/{size}")
        query = [("partNumber", "1"), ("uploadId", upload.place["UploadId"])]
        upload.part(1, data(size, "old"))
        for what, act in UPLOADS.items():
            if size > FIVE and what not in ("500 midway", "cut midway"):
                continue
            asked = lambda: found.put(upload.key, data(size, "new"), query)  # noqa: B023, E731 (used before the next round)
            for seen in found.lie(act, lambda request: "partNumber" in request.query, asked):
                equal((seen.status, seen.code), (503, "SlowDown"), f"{size} bytes, {what}")
        listed = [(part["PartNumber"], part["Size"], part["ETag"]) for part in upload.list()["Parts"]]
        equal(listed, [(1, size, upload.parts[1][0])], "parts")
        upload.complete()
        true(found.t.get(upload.key) == data(size, "old"), "the completed object is another")


@case
def stash_and_note(t):
    # The part arrives, what belongs to it does not: an error, and the part cannot be used.
    found = bench(t)
    for number, place in enumerate(("/s/", "/n/"), start=1):
        upload = Upload(found.t, f"beside/{number}")
        query = [("partNumber", "1"), ("uploadId", upload.place["UploadId"])]
        # A note has no body to be cut in.
        cut = drop_midway(False) if place == "/s/" else unheard
        for what, act in (("500 at once", refuse_at_once), ("cut midway", cut)):
            asked = lambda: found.put(upload.key, data(LARGE, "part"), query)  # noqa: B023, E731 (used before the next round)
            for seen in found.lie(act, lambda request: request.method == "PUT" and "/.sealgate/v1/u/" in request.path and place in request.path, asked,  # noqa: B023
                                   place == "/n/" and act is refuse_at_once):
                equal((seen.status, seen.code), (503, "SlowDown"), f"{place}, {what}")
        equal(upload.list().get("Parts", []), [], "parts")
        upload.part(1, data(LARGE, "at last"))
        upload.complete()
        true(found.t.get(upload.key) == data(LARGE, "at last"), "the completed object is another")


@case
def complete(t):
    # Lost on the way there: nothing is visible, and Complete may come again. Lost on the way back: it may too.
    found = bench(t)
    for number, act in enumerate((refuse_at_once, drop_midway(False), five_hundred, cut_after(0.5), nothing), start=1):
        upload = Upload(found.t, f"complete/{number}")
        upload.part(1, data(LARGE, number))
        with found.proxy.lying(lambda request: act if request.method == "POST" and "uploadId" in request.query else None):  # noqa: B023
            answer = found.t.raw.request("POST", found.t.path(upload.key), [("uploadId", upload.place["UploadId"])],
                                         body=document(upload))
            true(found.proxy.touched, "the proxy told no lie")
        within((answer.status, answer.code), ((503, "SlowDown"),), f"Complete {number}")
        if number <= 2:
            equal(found.t.keys(upload.key), [], "keys")
        upload.complete()
        true(found.t.get(upload.key) == data(LARGE, number), "the completed object is another")


def document(upload: Upload) -> bytes:
    parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, (etag, _) in upload.parts.items())
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
