"""TLS over a socket for one thread that reads and one that writes at the same time, which `ssl.SSLSocket` is not made for."""

import socket
import ssl
import threading

PIECE = 1 << 18


class Tls:
    """As much of a socket as the balancer needs."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, server_hostname: str | None = None):
        self.socket, self.incoming, self.outgoing = connection, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=server_hostname is None, server_hostname=server_hostname)
        # `state` is held for no longer than the cipher takes; `order` keeps records in the order of their numbers.
        self.state, self.order = threading.Lock(), threading.Lock()
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                self._feed()
                continue
            finally:
                # A refusal too is told to the other side.
                if self.outgoing.pending:
                    self.socket.sendall(self.outgoing.read())
            return

    def _feed(self):
        raw = self.socket.recv(PIECE)
        with self.state:
            self.incoming.write(raw) if raw else self.incoming.write_eof()

    def recv(self, most: int) -> bytes:
        while True:
            with self.state:
                try:
                    return self.object.read(most)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
            self._feed()

    def sendall(self, content: bytes):
        with self.order:
            with self.state:
                self.object.write(content)
                records = self.outgoing.read()
            self.socket.sendall(records)

    def shutdown(self, how):
        """Says the end before it makes it."""
        with self.order:
            with self.state:
                try:
                    self.object.unwrap()
                except ssl.SSLError:
                    pass
                records = self.outgoing.read()
            self.socket.sendall(records)
        self.socket.shutdown(how)

    def settimeout(self, seconds):
        self.socket.settimeout(seconds)

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()
