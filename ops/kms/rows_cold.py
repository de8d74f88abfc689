"""Many at once, and what the KMS gets to do: one call a key, hardly more than asked for under faults, no herd afterwards."""

import asyncio
import collections
import hashlib
import time
import urllib.parse

import faultproxy as fault
import sigv4
from rows import row, served, together, unavailable, until_open
from world import wait

READERS = 10_000
# Well within the 30 s that a node waits for a request's head.
CONNECT_SECONDS = 15


class Start:
    """Lets all go at once: when all are connected, or when the first would wait too long for a node's patience."""

    def __init__(self, number: int):
        self.number, self.connected, self.at_start, self.event = number, 0, 0, asyncio.Event()
        asyncio.get_running_loop().call_later(CONNECT_SECONDS, self.go)

    def go(self):
        if not self.event.is_set():
            self.at_start = self.connected
            self.event.set()

    async def wait(self):
        self.connected += 1
        if self.connected == self.number:
            self.go()
        await self.event.wait()


async def read(url: str, head: bytes, start: Start, connecting: asyncio.Semaphore) -> tuple[int, str]:
    """One GET on a connection of its own, sent when all are connected; its status and its body's digest."""
    parsed = urllib.parse.urlsplit(url)
    async with connecting:
        reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
    try:
        await start.wait()
        writer.write(head)
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
        return status, hashlib.sha256(await reader.read()).hexdigest()
    finally:
        writer.close()


async def read_all(endpoints, credentials, path, number, when) -> tuple[list[tuple[int, str]], int]:
    """That many GETs of one object at once, spread over the nodes; and how many were connected when the first was sent."""
    heads = []
    for endpoint in endpoints:
        host = urllib.parse.urlsplit(endpoint).netloc
        headers = sigv4.sign_headers(credentials, "GET", path, [], {"host": host}, sigv4.EMPTY_SHA256, when)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "connection: close"]
        heads.append(("\r\n".join(lines) + "\r\n\r\n").encode())
    start, connecting = Start(number), asyncio.Semaphore(100)
    reads = (read(endpoints[each % len(endpoints)], heads[each % len(heads)], start, connecting) for each in range(number))
    return await asyncio.gather(*reads), start.at_start


@row(ci=True, seconds=240)
def ten_thousand_reads_cost_one_call(scene):
    """Cold caches, 10,000 GETs at once under one IK, over two nodes: exactly one decrypt."""
    book = scene.dev(nodes=2).book("one")
    scene.cold()
    mark, began = scene.mark(), time.monotonic()
    # Slow, so that many are there before the key is, and faster than what would be hedged.
    scene.proxy.set(fault.SLOW, only=["transit/decrypt"], seconds=0.05)
    answers, connected = asyncio.run(read_all(scene.world.endpoints, scene.world.credentials, book.path("object-0"), READERS, scene.when()))
    wanted = hashlib.sha256(book.known["object-0"]).hexdigest()
    counts = collections.Counter(f"{status}{'' if digest == wanted else ' other bytes'}" for status, digest in answers)
    scene.figure("answers", dict(counts))
    scene.figure("connected when the first was sent", connected)
    scene.figure("decrypts", scene.decrypts(mark))
    scene.figure("seconds for all", time.monotonic() - began)
    for what, count in counts.items():
        book.counts[f"GET {what}"] += count
    assert counts == {"200": READERS}, f"answered {dict(counts)}"
    assert scene.decrypts(mark) == 1, f"{scene.decrypts(mark)} decrypts"


@row(ci=("errors",), seconds=180, errors=fault.HALF)
def half_errors_are_not_amplified(scene, way):
    """Half of all answers are 500: what is asked of the KMS stays within 1.1 of what was wanted."""
    scene.dev()
    pool = scene.pool(60)
    scene.cold()
    scene.proxy.set(way, only=["transit/decrypt"])
    mark, asked, answers = scene.mark(), scene.unwraps_asked(), []
    end = time.monotonic() + 20
    turn = 0
    while time.monotonic() < end and turn < 20 * len(pool):
        answer = pool[turn % len(pool)].get("object-0")
        assert answer.status in (200, 503), f"{answer}"
        answers.append(answer)
        turn += 1
    wanted, sent = scene.unwraps_asked() - asked, scene.decrypts(mark)
    scene.figure("decrypts that reached the KMS / unwraps wanted", f"{sent} / {wanted:.0f}")
    scene.figure("amplification", sent / max(1, wanted))
    scene.figure("served / 503", f"{sum(a.status == 200 for a in answers)} / {sum(a.status == 503 for a in answers)}")
    assert wanted >= 20, "too few calls to say anything"
    assert sent <= 1.1 * wanted + 1, f"{sent} calls for {wanted:.0f}"


@row(ci=("hang",), seconds=180, hang=fault.HANG, refuse=fault.REFUSE)
def recovery_without_a_herd(scene, way):
    """A breaker that is open probes one at a time, and is closed within 10 s of the KMS's return, with clients pressing."""
    scene.dev()
    pool = scene.pool(30)
    scene.cold()
    scene.proxy.set(way)
    together(16, lambda each: pool[each].get("object-0"))
    until_open(scene, pool[0])
    # What was on its way when it opened ends by its own deadline; from then on only probes come.
    wait(10, lambda: scene.proxy.open_requests == 0, "no request hangs any more")
    scene.proxy.most_open, mark = 0, scene.mark()
    end = time.monotonic() + 12
    while time.monotonic() < end:
        together(8, lambda each: unavailable(pool[each].get("object-0"), "GET while open"))
    scene.figure("probes in 12 s, all operations", {**fault_counts(scene, mark)})
    scene.figure("at most at a time", scene.proxy.most_open)
    assert scene.proxy.most_open <= 1, f"{scene.proxy.most_open} probes at a time"
    scene.proxy.set(fault.PASS)
    began = time.monotonic()
    while any(together(8, lambda each: pool[each].get("object-0").status != 200)):
        assert time.monotonic() < began + 10, "not closed within 10 s"
    scene.figure("closed after, s", time.monotonic() - began)
    for book in pool:
        served(book.get("object-0"), what="GET when closed")


def fault_counts(scene, mark) -> dict[str, int]:
    return dict(collections.Counter(one.operation for number, proxy in enumerate(scene.proxies) for one in proxy.since(mark[number])))


@row(seconds=180)
def many_keys_at_once_cost_one_call_each(scene):
    """Cold caches, reads of many buckets at once: one decrypt each, and hedges for the slowest within the budget of a tenth."""
    pool = scene.dev().pool(64)
    scene.cold()
    mark = scene.mark()
    for answer in together(64, lambda each: pool[each].get("object-0")):
        served(answer)
    together(64, lambda each: served(pool[each].get("object-0")))
    scene.figure("decrypts for 64 keys", scene.decrypts(mark))
    assert 64 <= scene.decrypts(mark) <= 70, f"{scene.decrypts(mark)} decrypts"
