"""The way between a node and its control plane, as a cable that can be pulled: then nothing comes through, and nobody is told so."""

import asyncio
import contextlib
import socket
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
        self._call(self._drop_all())
        self.pulled = False

    def close(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=128, reuse_address=True)

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
        there = None
        if not self.pulled:
            try:
                there = await asyncio.open_connection("127.0.0.1", self.upstream)
            except OSError:
                writer.transport.abort()
                return
        pair = (writer, there[1] if there else None)
        self._pairs.add(pair)
        try:
            ways = [self._pass(reader, pair[1])]
            if there:
                ways.append(self._pass(there[0], writer))
            await asyncio.gather(*ways)
        finally:
            self._pairs.discard(pair)
            for each in filter(None, pair):
                each.close()

    async def _pass(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if writer and not self.pulled:
                    writer.write(data)
                    await writer.drain()
            # An end is news too: it does not come through either.
            if writer and not self.pulled and writer.can_write_eof():
                writer.write_eof()
