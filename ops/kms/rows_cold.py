"""Many at once, and what the KMS gets to do: one call a key, hardly more than asked for under faults, no herd afterwards."""

import asyncio
import collections
import hashlib
import time
import urllib.parse

import aws
import faultproxy as fault
import sigv4
from rows import row, served, together, unavailable, until_open
from world import wait

# The fewer in CI, whose machine may be too slow to let 10,000 wait in the time that a node gives a silent control plane.
READERS = {"full": 10_000, "ci": 2_500}
# What a node waits for a request's head: who has connected first would be sent away.
PATIENCE_SECONDS = 30
HALF_SECONDS = {"full": 20, "ci": 12}
# A node takes its control plane for dead when it was silent for 10 s, and then for 5 s more when asked.
SILENT_SECONDS = 14


class Start:
    """Lets all go at once, when all are connected; fails all when a node's patience is over before."""

    def __init__(self, number: int, first):
        """`first` is called before any is let go."""
        self.number, self.first, self.readers = number, first, []
        self.barrier = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.too_late)

    def too_late(self):
        if not self.barrier.done():
            self.barrier.set_exception(AssertionError(f"{len(self.readers)} of {self.number} connected within {PATIENCE_SECONDS} s"))

    async def wait(self, reader: asyncio.StreamReader):
        self.readers.append(reader)
        if len(self.readers) == self.number and not self.barrier.done():
            self.first()
            self.barrier.set_result(sum(not reader.at_eof() for reader in self.readers))
        await asyncio.shield(self.barrier)


async def read(url: str, head: bytes, start: Start, connecting: asyncio.Semaphore) -> tuple[int, str]:
    """One GET on a connection of its own, sent when all are connected; its status and its body's digest."""
    parsed = urllib.parse.urlsplit(url)
    async with connecting:
        reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
    try:
        await start.wait(reader)
        writer.write(head)
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
        return status, hashlib.sha256(await reader.read()).hexdigest()
    finally:
        writer.close()


async def read_all(endpoints, credentials, path, number, when, first, then) -> tuple[list[tuple[int, str]], int]:
    """That many GETs of one object at once, spread over the nodes; and how many were connected when the first was sent.

    `first` is called before that, `then` after it, in a thread of its own.
    """
    heads = []
    for endpoint in endpoints:
        host = urllib.parse.urlsplit(endpoint).netloc
        headers = sigv4.sign_headers(credentials, "GET", path, [], {"host": host}, sigv4.EMPTY_SHA256, when)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "connection: close"]
        heads.append(("\r\n".join(lines) + "\r\n\r\n").encode())
    start, connecting = Start(number, first), asyncio.Semaphore(100)
    reads = (read(endpoints[each % len(endpoints)], heads[each % len(heads)], start, connecting) for each in range(number))

    async def beside():
        await asyncio.shield(start.barrier)
        await asyncio.to_thread(then)

    *answers, _ = await asyncio.gather(*reads, beside())
    return answers, start.barrier.result()


def waiting(scene) -> float:
    """Requests that have found no key on their node and wait for one, while the control plane stands still."""
    return sum(scene.world.metric("sealgate_node_key_lookups_total", port, result="miss") for port in scene.world.health)


@row(ci=True, seconds=240)
def ten_thousand_reads_cost_one_call(scene):
    """Cold caches, 10,000 GETs under one IK from as many connections that are open at once, over two nodes: exactly one decrypt."""
    readers = READERS[scene.size]
    book = scene.dev(nodes=2).book("one")
    scene.cold()
    mark, began = scene.mark(), time.monotonic()
    control, waited = scene.world.control, []

    def stand_still():
        """Until all wait for the key: nodes have what they need to know who asks, and no key."""
        # News that they acknowledge: they have heard of it just now.
        scene.world.credential("acme")
        control.pause()

    def all_wait():
        sent = time.monotonic()
        while waiting(scene) < readers:
            assert time.monotonic() < sent + SILENT_SECONDS, f"{waiting(scene):.0f} of {readers} wait for the key after {SILENT_SECONDS} s"
            time.sleep(0.1)
        waited.append(time.monotonic() - sent)
        control.resume()

    try:
        credentials, path = scene.world.credentials, book.path("object-0")
        reading = read_all(scene.world.endpoints, credentials, path, readers, scene.when(), stand_still, all_wait)
        answers, connected = asyncio.run(reading)
    finally:
        control.resume()
    wanted = hashlib.sha256(book.known["object-0"]).hexdigest()
    counts = collections.Counter(f"{status}{'' if digest == wanted else ' other bytes'}" for status, digest in answers)
    scene.figure("answers", dict(counts))
    scene.figure("connected when the first was sent", connected)
    scene.figure("all waited for the key after, s", waited[0])
    scene.figure("decrypts", scene.decrypts(mark))
    scene.figure("seconds for all", time.monotonic() - began)
    for what, count in counts.items():
        book.counts[f"GET {what}"] += count
    assert connected == readers, f"{connected} of {readers} connections were open when the first request was sent"
    assert counts == {"200": readers}, f"answered {dict(counts)}"
    assert scene.decrypts(mark) == 1, f"{scene.decrypts(mark)} decrypts"


@row(ci=("errors",), seconds=240, errors=False, aws=True)
def half_errors_are_not_amplified(scene, at_aws):
    """Half of all answers are 500: what is asked of the KMS stays within 1.1 of what was wanted."""
    if at_aws:
        scene.aws(aws.moto())
    else:
        scene.dev()
    pool = scene.pool(60)
    scene.cold()
    asked, answers = scene.asked(), []
    scene.proxy.set(fault.HALF, answer=aws.FAILED if at_aws else fault.MADE_UP, only=["transit/decrypt", "Decrypt"])
    end = time.monotonic() + HALF_SECONDS[scene.size]
    turn = 0
    while time.monotonic() < end and turn < 20 * len(pool):
        answer = pool[turn % len(pool)].get("object-0")
        assert answer.status in (200, 503), f"{answer}"
        answers.append(answer)
        turn += 1
    scene.figure("served / 503", f"{sum(a.status == 200 for a in answers)} / {sum(a.status == 503 for a in answers)}")
    scene.figure("amplification", scene.not_amplified(asked))
    assert scene.unwraps_asked() - asked.wanted >= 20, "too few calls to say anything"


@row(ci=("hang",), seconds=180, hang=fault.HANG, drop=fault.DROP, refuse=fault.REFUSE)
def recovery_without_a_herd(scene, way):
    """A breaker that is open probes one at a time, also while it closes, within 10 s of the KMS's return, with clients pressing."""
    scene.dev()
    pool = scene.pool(30)
    scene.cold()
    scene.proxy.set(way)
    together(16, lambda each: pool[each].get("object-0"))
    until_open(scene, pool[0])
    # What was on its way when it opened ends by its own deadline; from then on only probes come.
    wait(10, lambda: scene.proxy.open_requests == 0, "no request hangs any more")
    mark, attempts = scene.mark(), attempts_by_kind(scene)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        together(8, lambda each: unavailable(pool[each].get("object-0"), "GET while open"))
    while_open = scene.seen(mark)
    scene.figure("came in 12 s of being open", dict(collections.Counter(one.operation for one in while_open)))
    # Where nothing listens, nothing can be counted but by who tries.
    tried = attempts_by_kind(scene) - attempts
    scene.figure("attempts of the control plane meanwhile, by kind", dict(tried))
    assert set(tried) <= {"probe"}, f"callers' attempts came through an open breaker: {dict(tried)}"
    if way != fault.REFUSE:
        scene.figure("at most at a time while open", fault.at_once(while_open))
        assert while_open, "nothing came: it says nothing about how many at a time"
        assert fault.at_once(while_open) <= 1, f"{fault.at_once(while_open)} at a time while open"
    mark = scene.mark()
    scene.proxy.set(fault.PASS)
    began = time.monotonic()
    while any(together(8, lambda each: pool[each].get("object-0").status != 200)):
        assert time.monotonic() < began + 10, "not closed within 10 s"
    scene.figure("closed after, s", time.monotonic() - began)
    no_herd_before_it_closed(scene, mark)
    for book in pool:
        served(book.get("object-0"), what="GET when closed")


def attempts_by_kind(scene) -> collections.Counter:
    """How often the control plane has tried to use a key at the KMS, by why it did."""
    kinds = ("first", "retry", "hedge", "hop", "probe")
    return collections.Counter({kind: round(scene.control_metric("kms_attempts_total", kind=kind)) for kind in kinds})


def no_herd_before_it_closed(scene, mark):
    """Three probes that succeeded, one after the other, let the callers in, and until the third was answered nothing else was under way."""
    seen = scene.seen(mark)
    opened = sorted(one.until for one in seen if one.operation == "transit/decrypt" and one.status == 200)
    assert len(opened) >= 3, f"{len(opened)} decrypts"
    closing = opened[2]
    kek = scene.world.tenant["kek"].partition("/")[2]
    callers = [one.at for one in seen if one.key == kek]
    scene.figure("from its return to its closing: requests, at most at a time",
                 f"{sum(one.at < closing for one in seen)}, {fault.at_once(seen, closing)}")
    assert fault.at_once(seen, closing) <= 1, f"{fault.at_once(seen, closing)} at a time before it was closed"
    assert min(callers) >= closing, "a caller was let in before three probes had succeeded"


@row(seconds=180)
def many_keys_at_once_cost_one_call_each(scene):
    """One call for each key that is made; cold caches, reads of many buckets at once: one decrypt each, and hedges for the slowest within
    the budget of a tenth."""
    scene.dev()
    mark = scene.mark()
    pool = scene.pool(64)
    made = scene.of_tenant(mark)
    scene.figure("calls to make 64 keys", dict(made))
    # What was wrapped is opened before it is used, hedged like any decrypt; the KEK is looked at before, and again after five minutes.
    assert made.pop("transit/encrypt") == 64 and 64 <= made.pop("transit/decrypt") <= 70, f"{scene.of_tenant(mark)}"
    assert made.pop("transit/keys", 0) <= 2 and not made, f"{scene.of_tenant(mark)}"
    scene.cold()
    mark = scene.mark()
    for answer in together(64, lambda each: pool[each].get("object-0")):
        served(answer)
    together(64, lambda each: served(pool[each].get("object-0")))
    scene.figure("decrypts for 64 keys", scene.decrypts(mark))
    assert 64 <= scene.decrypts(mark) <= 70, f"{scene.decrypts(mark)} decrypts"
