"""A balancer that sends every request to the other node than the last, and passes bytes.

A proxy made for production terminates HTTP: nginx answers `Expect: 100-continue` by itself, merges framing and picks a node
by connection where it can. Here heads and bodies go on as they came, interim answers too; only where a request ends is read.
So what a client meets is the node's own protocol, and a node never sees two requests in a row of one client.

TLS, where asked for, ends here and begins anew to the nodes. `Passage` is the other kind: TCP alone, every connection to
the other node than the last, so that TLS ends at the node with the node's own stack.
"""

import dataclasses
import itertools
import select
import socket
import ssl
import threading
import time

import tls

SECONDS = 300
PIECE = 1 << 18
MOST_HEAD = 1 << 16
WITHOUT_BODY = (204, 304)


class Lost(Exception):
    """A side is gone; the connection ends."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """One request that went through: when its answer began, what it asked, which node it met, what that said."""

    when: float
    method: str
    target: str
    node: int
    status: int
    # The kind of payload by x-amz-content-sha256, and the client's own name.
    payload: str
    agent: str
    # Whether it asked for a range, and how long the answer's body was said to be.
    ranged: bool
    answered: int


class Listener:
    """Accepts on a free port, a thread a connection, until it is closed."""

    def __init__(self, nodes: list[tuple[str, int]]):
        self.nodes = nodes
        self.turns = itertools.cycle(range(len(nodes)))
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        # Wakes the accept, which a close alone does not.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def turn(self) -> int:
        with self.lock:
            return next(self.turns)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(SECONDS)
            threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client):
        try:
            self.serve(client)
        except (Lost, OSError, ValueError):
            pass
        finally:
            client.close()

    def serve(self, client):
        raise NotImplementedError

    def connect(self, node: int) -> socket.socket:
        upstream = socket.create_connection(self.nodes[node], timeout=SECONDS)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return upstream


class Passage(Listener):
    """TCP alone: every connection to the other node than the last."""

    def serve(self, client):
        upstream = self.connect(self.turn())
        try:
            threading.Thread(target=self._pump, args=(upstream, client), daemon=True).start()
            self._pump(client, upstream)
        finally:
            upstream.close()

    @staticmethod
    def _pump(source, sink):
        try:
            while piece := source.recv(PIECE):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, sink):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Balancer(Listener):
    """HTTP: every request to the other node than the last. `certificate` and `upstream_ca` make both sides TLS."""

    def __init__(self, nodes, certificate: tuple[str, str] | None = None, upstream_ca: str | None = None):
        self.server_side = self.client_side = None
        if certificate:
            self.server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.server_side.load_cert_chain(*certificate)
            self.server_side.set_alpn_protocols(["http/1.1"])
        if upstream_ca:
            self.client_side = ssl.create_default_context(cafile=upstream_ca)
        self.seen: list[Seen] = []
        super().__init__(nodes)

    def connect(self, node):
        upstream = super().connect(node)
        return tls.Tls(upstream, self.client_side, "127.0.0.1") if self.client_side else upstream

    def serve(self, client):
        if self.server_side:
            client = tls.Tls(client, self.server_side)
        reader, upstreams = Reader(client), {}
        try:
            while True:
                try:
                    head = reader.head()
                except Lost:
                    return
                node = self.turn()
                exchange = Exchange(reader, head, self._upstream(upstreams, node), node, self.seen)
                exchange.run()
                if exchange.ends:
                    linger(client)
                    return
                if exchange.upstream_ends:
                    upstreams.pop(node).close()
        finally:
            for upstream in upstreams.values():
                upstream.close()
            client.close()

    def _upstream(self, upstreams, node) -> socket.socket:
        """This client connection's own connection to the node; one that the node has closed meanwhile is replaced."""
        kept = upstreams.get(node)
        if kept is not None and select.select([kept], [], [], 0)[0]:
            upstreams.pop(node).close()
            kept = None
        if kept is None:
            upstreams[node] = kept = self.connect(node)
        return kept


class Exchange:
    """One request and its answer."""

    def __init__(self, client: "Reader", head: bytes, upstream: socket.socket, node: int, seen: list[Seen]):
        self.client, self.head, self.upstream, self.node, self.seen = client, head, upstream, node, seen
        first, self.fields = parse(head)
        self.method, self.target = first.split(" ", 2)[:2]
        self.ends = self.upstream_ends = False
        self.sent_all = threading.Event()

    def run(self):
        self.upstream.sendall(self.head)
        framing = length_of(self.fields, 0)
        if framing == 0:
            self.sent_all.set()
        else:
            threading.Thread(target=self._send, args=(framing,), daemon=True).start()
        answers = Reader(self.upstream)
        while True:
            head = answers.head()
            first, fields = parse(head)
            status = int(first.split(" ", 2)[1])
            if status >= 200:
                break
            self.client.socket.sendall(head)
        framing = 0 if self.method == "HEAD" or status in WITHOUT_BODY else length_of(fields, None)
        # Before the client has its answer: what it says next is then said of a request that is here.
        self.seen.append(Seen(time.monotonic(), self.method, self.target, self.node, status, self.fields.get("x-amz-content-sha256", "none"),
                              self.fields.get("user-agent", ""), "range" in self.fields, framing if isinstance(framing, int) else 0))
        self.client.socket.sendall(head)
        if framing != 0:
            copy(answers, self.client.socket, framing)
            self.upstream_ends = framing is None
        said = fields.get("connection", "").lower()
        self.upstream_ends = self.upstream_ends or said == "close"
        # An answer before the end of the body: whether the client sends the rest is its choice, so no request can follow here.
        # One whose last bytes are on their way while the answer already is has ended in the next moment.
        self.ends = self.upstream_ends or self.fields.get("connection", "").lower() == "close" or not self.sent_all.wait(0.5)

    def _send(self, framing):
        try:
            copy(self.client, self.upstream, framing)
            self.sent_all.set()
        except (Lost, OSError, ValueError):
            # The node's answer, if there is one, is still read; a client that is gone takes the upload with it.
            try:
                self.upstream.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def linger(client):
    """Ends a connection so that the last answer is read: a close with unread bytes would reset it."""
    try:
        client.shutdown(socket.SHUT_WR)
        client.settimeout(2)
        until = time.monotonic() + 5
        while client.recv(PIECE) and time.monotonic() < until:
            pass
    except (OSError, ValueError):
        pass


class Reader:
    """A connection with what was read ahead of it."""

    def __init__(self, connection):
        self.socket, self.held = connection, b""

    def some(self, most: int = PIECE) -> bytes:
        if self.held:
            piece, self.held = self.held[:most], self.held[most:]
            return piece
        piece = self.socket.recv(min(most, PIECE))
        if not piece:
            raise Lost
        return piece

    def until(self, end: bytes) -> bytes:
        """Up to and with the first occurrence of `end`."""
        while (at := self.held.find(end)) < 0:
            if len(self.held) > MOST_HEAD:
                raise ValueError("a head without an end")
            piece = self.socket.recv(PIECE)
            if not piece:
                raise Lost
            self.held += piece
        found, self.held = self.held[:at + len(end)], self.held[at + len(end):]
        return found

    def head(self) -> bytes:
        return self.until(b"\r\n\r\n")


def parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    return first, {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def length_of(fields, otherwise):
    """A length in bytes, "chunked", or `otherwise` where the head names neither."""
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return "chunked"
    return int(fields["content-length"]) if "content-length" in fields else otherwise


def copy(source: Reader, sink, framing):
    """A body as it comes: so many bytes, chunks with their framing, or (None) all that there is."""
    if framing == "chunked":
        while True:
            line = source.until(b"\r\n")
            sink.sendall(line)
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            exactly(source, sink, size + 2)
        while True:
            line = source.until(b"\r\n")
            sink.sendall(line)
            if line == b"\r\n":
                return
    elif framing is None:
        try:
            while True:
                sink.sendall(source.some())
        except Lost:
            return
    else:
        exactly(source, sink, framing)


def exactly(source: Reader, sink, left: int):
    while left:
        piece = source.some(left)
        sink.sendall(piece)
        left -= len(piece)
