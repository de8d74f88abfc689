"""A TCP proxy before a KMS, which breaks in the ways that a KMS and the way to it break, and counts what comes through.

It runs in a thread of its own, on an event loop of its own, so that a suite may wait for anything without it standing still.
Requests are read whole (they are small), counted by operation, and passed on over a connection of their own; answers come back as
they are. HTTP/1.1 with Content-Length is all that it understands: what a client of a KMS sends.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
import re
import socket
import struct
import threading
import time

SLOW_SECONDS = 1.0
# Long enough for two that overlap to be seen, and far below an attempt's 400 ms.
DROP_SECONDS = 0.05
# Nobody is kept for longer, whatever the fault.
HANG_SECONDS = 60
MAX_BODY = 1 << 20
FAILED = b"HTTP/1.1 %d Made Up\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"

# What it does with a request, or with a connection that comes. REFUSE has no listener, so nothing of it can be counted; DROP takes each
# connection, counts it as a request, and resets it before it has heard anything.
PASS, REFUSE, DROP, HANG, SLOW, RESET, CUT, HALF, ANSWER = "pass", "refuse", "drop", "hang", "slow", "reset", "cut", "half", "answer"
DROPPED = "a connection"
# What ANSWER and HALF answer, unless told otherwise.
MADE_UP = (500, b'{"errors":["made up"]}')


@dataclasses.dataclass
class Seen:
    """One request: when it came (monotonic seconds), what it was, under which key, and what was done with it."""

    at: float
    method: str
    path: str
    fault: str
    # A KEK's name or id; empty where it is about none.
    key: str = ""
    # The access key id that it is signed with, where it is.
    login: str = ""
    # When it was answered or broken off, and the answer's status (0: none whole).
    until: float = float("inf")
    status: int = 0

    @property
    def operation(self) -> str:
        """The path without names of keys: `transit/decrypt`, `sys/health`; AWS: the target's last part."""
        return operation_of(self.path)


def operation_of(path: str) -> str:
    path = path.partition("?")[0].removeprefix("/v1/").strip("/")
    return re.sub(r"(?<=transit/)(\w+)/.*", r"\1", path) or "/"


def key_of(path: str, body: bytes) -> str:
    """The KEK that a request is about: after `transit/<operation>/` in OpenBao's paths, in the document of AWS's."""
    if path.startswith("/v1/"):
        found = re.match(r"/v1/transit/\w+/([^?]+)", path)
        return found[1] if found else ""
    try:
        return json.loads(body or b"{}").get("KeyId", "").rpartition("/")[2]
    except ValueError:
        return ""


def at_once(seen: list[Seen], until: float = float("inf")) -> int:
    """How many of these were under way at the same time at most, as far as they began before a moment."""
    began = [one for one in seen if one.at < until]
    return max((sum(other.at <= one.at < other.until for other in began) for one in began), default=0)


class FaultProxy:
    """Listens on one port for its whole life, also across `refuse`; everything else is passed on to `upstream`."""

    def __init__(self, upstream: int, seed: int = 0):
        self.upstream, self.fault, self.answer = upstream, PASS, MADE_UP
        self.slow_seconds = SLOW_SECONDS
        # Of the fault: requests that it is for, by their operation; all when empty.
        self.only: frozenset[str] = frozenset()
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        self.seen: list[Seen] = []
        self.connections = self.open_requests = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._call(self._listen())

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, fault: str, *, answer=None, only=(), seconds=SLOW_SECONDS):
        """From now on; connections that are open are broken where the fault means it."""
        self.slow_seconds = seconds
        self._call(self._set(fault, answer, frozenset(only)))

    def close(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def marked(self) -> int:
        """A place in what was seen, for `since`."""
        with self.lock:
            return len(self.seen)

    def since(self, mark: int, operation: str = "") -> list[Seen]:
        """What came after a mark."""
        with self.lock:
            return [one for one in self.seen[mark:] if operation in ("", one.operation)]

    def counts(self, mark: int = 0) -> dict[str, int]:
        """Requests by operation."""
        return dict(sorted(collections.Counter(one.operation for one in self.since(mark)).items()))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512, reuse_address=True)

    async def _close(self):
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            abort(writer)

    async def _end(self):
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _set(self, fault, answer, only):
        self.fault, self.only, self.answer = fault, only, answer or self.answer
        if fault == REFUSE:
            await self._close()
        elif self._server is None:
            await self._listen()
        if fault in (RESET, DROP):
            for writer in list(self._writers):
                abort(writer)

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        upstream = None
        try:
            if self.fault == DROP:
                with self._counted(Seen(time.monotonic(), "", DROPPED, DROP)):
                    await asyncio.sleep(DROP_SECONDS)
                    abort(writer)
                return
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1]) if b"ontent-" in head.lower() else 0
                body = await reader.readexactly(min(length, MAX_BODY))
                method, path = head.split(b" ", 2)[:2]
                target = re.search(rb"(?i)\r\nx-amz-target: *(\S+)", head)
                path = target[1].decode().rpartition(".")[2] if target else path.decode("latin-1")
                upstream = await self._one(reader, writer, upstream, method.decode(), path, head, body)
                if upstream is None:
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # The connection is over; cancelled is what `close` does, and nothing waits for this task.
            pass
        finally:
            self._writers.discard(writer)
            for each in (writer, upstream and upstream[1]):
                if each:
                    each.close()

    def _applies(self, path: str) -> str:
        if self.fault in (PASS, REFUSE, DROP) or (self.only and operation_of(path) not in self.only):
            return PASS
        if self.fault == HALF:
            return ANSWER if self.dice.random() < 0.5 else PASS
        return self.fault

    @contextlib.contextmanager
    def _counted(self, one: Seen):
        """Notes a request, and when it is over."""
        with self.lock:
            self.seen.append(one)
            self.open_requests += 1
        try:
            yield one
        finally:
            with self.lock:
                one.until = time.monotonic()
                self.open_requests -= 1

    async def _one(self, reader, writer, upstream, method, path, head, body):
        """Deals with a request; None when its connection is to end, else the one to the KMS."""
        fault = self._applies(path)
        signed = re.search(rb"Credential=(\w+)/", head)
        login = signed[1].decode() if signed else ""
        with self._counted(Seen(time.monotonic(), method, path, fault, key_of(path, body), login)) as one:
            if fault == HANG:
                # Until the client gives up: then it is no open request any more.
                await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=HANG_SECONDS)
                return None
            if fault == RESET:
                abort(writer)
                return None
            if fault == ANSWER:
                one.status, text = self.answer
                writer.write(FAILED % (one.status, len(text), text))
                await writer.drain()
                return upstream or await self._connect()
            upstream = upstream or await self._connect()
            upstream[1].write(head + body)
            await upstream[1].drain()
            head = await upstream[0].readuntil(b"\r\n\r\n")
            body, goes_on = await read_body(upstream[0], head, method)
            if fault == SLOW:
                await asyncio.sleep(self.slow_seconds)
            if fault == CUT:
                writer.write((head + body)[:len(head) + len(body) // 2])
                await writer.drain()
                return None
            one.status = int(head[9:12])
            writer.write(head + body)
            await writer.drain()
            return upstream if goes_on else None

    async def _connect(self):
        return await asyncio.open_connection("127.0.0.1", self.upstream)


async def read_body(reader: asyncio.StreamReader, head: bytes, method: str) -> tuple[bytes, bool]:
    """An answer's body as it is on the wire, and whether another answer may follow it."""
    if method == "HEAD" or head[9:12] in (b"204", b"304"):
        return b"", True
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return await reader.readexactly(int(length[1])), b"connection: close" not in head.lower()
    if b"transfer-encoding: chunked" not in head.lower():
        return await reader.read(-1), False
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        body += line + await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        if line.strip().startswith(b"0"):
            return body, True


def abort(writer: asyncio.StreamWriter):
    """Ends a connection with RST."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
