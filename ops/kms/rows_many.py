"""Keys are of buckets, not of objects: what a hundred thousand requests cost the KMS."""

import asyncio
import math
import random
import time
import urllib.parse

import sigv4
from rows import row, served
from world import wait

REQUESTS = {"full": 100_000, "ci": 2_000}
CLIENTS = 32
SIZE = 1024
HOUR = 3600


class Client:
    """One connection and keys that nobody else writes: an object is written, then read, again and again."""

    def __init__(self, scene, book, number: int):
        self.book, self.number, self.when = book, number, scene.when
        endpoints = scene.world.endpoints
        self.where = urllib.parse.urlsplit(endpoints[number % len(endpoints)])
        self.dice = random.Random(number)
        self.credentials = scene.world.credentials

    async def work(self, turns: int):
        reader, writer = await asyncio.open_connection(self.where.hostname, self.where.port)
        try:
            for turn in range(turns):
                key = f"many-{self.number}-{turn % 20}"
                body = self.book.marker + self.dice.randbytes(SIZE - len(self.book.marker))
                await self._ask(reader, writer, "PUT", key, body)
                self.book.known[key] = body
                read = await self._ask(reader, writer, "GET", key)
                assert read == body, f"{key}: other bytes than were written"
        finally:
            writer.close()

    async def _ask(self, reader, writer, method: str, key: str, body: bytes = b"") -> bytes:
        path = self.book.path(key)
        payload = sigv4.UNSIGNED if body else sigv4.EMPTY_SHA256
        headers = sigv4.sign_headers(self.credentials, method, path, [], {"host": self.where.netloc}, payload, self.when())
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), f"content-length: {len(body)}"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
        answer = await reader.readexactly(length)
        status = head.split(" ", 2)[1]
        self.book.counts[f"{method} {status}"] += 1
        assert status == "200", f"{method} {key}: {head} {answer[:300]!r}"
        return answer


async def all_at_work(scene, book, requests: int):
    turns = math.ceil(requests / 2 / CLIENTS)
    await asyncio.gather(*(Client(scene, book, number).work(turns) for number in range(CLIENTS)))


@row(ci=True, seconds=3000)
def a_hundred_thousand_requests_cost_one_call(scene):
    """PUTs and GETs on one bucket over two nodes, as fast as they go, from cold caches: one decrypt."""
    requests = REQUESTS[scene.size]
    book = scene.dev(nodes=2).book("one")
    scene.cold()
    mark, began = scene.mark(), time.monotonic()
    asyncio.run(all_at_work(scene, book, requests))
    took, calls = time.monotonic() - began, scene.of_tenant(mark)
    scene.figure("requests", sum(book.counts[what] for what in ("PUT 200", "GET 200")) - 2)
    scene.figure("seconds, requests a second", f"{took:.1f}, {requests / took:.0f}")
    scene.figure("calls under the tenant's KEK", calls)
    # They take less than the 50 minutes after which the KEK is proved again, once for all keys under it.
    assert took < HOUR, f"{took:.0f} s: a proof came into it"
    assert calls == {"transit/decrypt": 1}, f"{calls}"


@row(seconds=600)
def an_hour_of_requests_costs_one_call_and_one_proof(scene):
    """PUTs and GETs on one bucket through a whole hour of the planes' clock: one decrypt, and one more that proves the KEK."""
    book = scene.dev(nodes=2, faked_clock=True).book("one")
    scene.cold()
    mark, step = scene.mark(), 240
    for minute in range(0, HOUR, step):
        for turn in range(20):
            key = f"at-{minute}-{turn}"
            client = scene.world.client(turn % 2)
            wait(30, lambda key=key, client=client: book.put(key, SIZE, client=client).status == 200, "PUT after the jump")
            served(book.get(key, client=client))
        scene.world.move_clock(step)
    wait(30, lambda: scene.of_tenant(mark) == {"transit/decrypt": 2}, f"the proof, {scene.of_tenant(mark)}")
    scene.figure("requests", book.counts["PUT 200"] + book.counts["GET 200"])
    scene.figure("calls under the tenant's KEK", scene.of_tenant(mark))
