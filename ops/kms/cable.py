"""The way between a node and its control plane, or between servers of a KMS, as a cable that can be pulled: then nothing comes through,
and nobody is told so."""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading


class Cable:
    """Listens on one port and passes everything on to `upstream`, until it is pulled; connections from before stay dead."""

    def __init__(self, upstream: int):
        self.upstream, self.pulled = upstream, False
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._server = self._call(self._listen())

    def pull(self):
        """From now on bytes are taken and thrown away, in both directions; new connections are accepted and hear nothing."""
        self.pulled = True

    def plug(self):
        """It is whole again. What was sent meanwhile is lost, so connections that have missed something end."""
        self._call(self._whole())

    def close(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=128, reuse_address=True)

    def _source(self, port: int):
        """Who a connection from this port comes from, where it matters."""

    def _passes(self, source) -> bool:
        return not self.pulled

    async def _whole(self):
        self.pulled = False
        await self._drop_all()

    async def _drop_all(self):
        for pair in list(self._pairs):
            for writer in filter(None, pair):
                writer.transport.abort()

    async def _end(self):
        self._server.close()
        await self._drop_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader, writer):
        there, source = None, self._source(writer.get_extra_info("peername")[1])
        if self._passes(source):
            try:
                there = await asyncio.open_connection("127.0.0.1", self.upstream)
            except OSError:
                writer.transport.abort()
                return
        pair = (writer, there[1] if there else None)
        self._pairs.add(pair)
        try:
            ways = [self._pass(reader, pair[1], source)]
            if there:
                ways.append(self._pass(there[0], writer, source))
            await asyncio.gather(*ways)
        except asyncio.CancelledError:
            # It is what `close` does, and nothing waits for this task.
            pass
        finally:
            self._pairs.discard(pair)
            for each in filter(None, pair):
                each.close()

    async def _pass(self, reader, writer, source):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if writer and self._passes(source):
                    writer.write(data)
                    await writer.drain()
            # An end is news too: it does not come through either.
            if writer and self._passes(source) and writer.can_write_eof():
                writer.write_eof()


class Line(Cable):
    """The cable to one of several servers, which tells the others apart: it can be cut for one of them alone."""

    def __init__(self, upstream: int, servers: list[subprocess.Popen | None]):
        """`servers` is looked at when a connection comes: a server that was started again is still the same number."""
        self.servers, self.barred = servers, set()
        super().__init__(upstream)

    def bar(self, number: int):
        """As `pull`, for what this server has begun."""
        self.barred.add(number)

    def _source(self, port):
        name = socket_of(port, self.port)
        return next((number for number, server in enumerate(self.servers) if server and name and has_open(server.pid, name)), None)

    def _passes(self, source):
        # What is of nobody, its maker being gone already, might be of one that is cut off.
        return super()._passes(source) and (not self.barred or source is not None and source not in self.barred)

    async def _whole(self):
        self.barred.clear()
        await super()._whole()


def socket_of(port: int, to: int) -> str | None:
    """The socket on loopback that is connected from a port to another, as /proc names it in its owner's files."""
    ends = [f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}:{each:04X}" for each in (port, to)]
    with open("/proc/net/tcp") as table:
        return next((f"socket:[{fields[9]}]" for fields in map(str.split, table) if fields[1:3] == ends), None)


def has_open(pid: int, name: str) -> bool:
    """Whether a process has a file open."""
    with contextlib.suppress(FileNotFoundError):
        for file in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{file}") == name:
                    return True
    return False
