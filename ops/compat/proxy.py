"""A proxy between gateway and storage that tells everything as it is, until a case gives it a lie.

It forwards requests byte by byte, Host included, so that signatures stay right. Answers are read whole before they are
passed on, so that a lie can be told at any byte.
"""

import contextlib
import dataclasses
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable

SECONDS = 60
FAILED = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/xml\r\ncontent-length: %d\r\n\r\n%b"
INTERNAL_ERROR = b"<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>none of yours</Message></Error>"


@dataclasses.dataclass(frozen=True)
class Request:
    """The head of a request, and the number of the connection that it came on."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))


@dataclasses.dataclass
class Answer:
    """A storage's answer, its body without framing."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name), None)

    def set(self, name: str, value: str):
        self.headers = [(found, kept) for found, kept in self.headers if found.lower() != name] + [(name, value)]

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Altered", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Lost(Exception):
    """The connection is to end here."""


class Proxy:
    """Listens on a free port until it is closed.

    `rule` looks at each request and may give an act that takes the place of `Exchange.honest`; requests that got one are in
    `touched`, all of them in `requests`.
    """

    def __init__(self, upstream: str):
        url = urllib.parse.urlsplit(upstream)
        self.upstream = (url.hostname, url.port)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.rule: Callable[[Request], Callable | None] = lambda request: None
        self.requests: list[Request] = []
        self.touched: list[Request] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    @contextlib.contextmanager
    def lying(self, rule):
        """Within the block, a request for which `rule` gives an act gets that act instead of its answer."""
        with self.lock:
            self.touched = []
        self.rule = rule
        try:
            yield self
        finally:
            self.rule = lambda request: None

    def _accept(self):
        number = 0
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._serve, args=(client, number), daemon=True).start()

    def _serve(self, client: socket.socket, number: int):
        client.settimeout(SECONDS)
        storage = None
        try:
            while True:
                head = read_head(client)
                request = parse(head, number)
                act = self.rule(request)
                with self.lock:
                    self.requests.append(request)
                    if act:
                        self.touched.append(request)
                exchange = Exchange(client, request, head)
                if storage is None:
                    storage = socket.create_connection(self.upstream, timeout=SECONDS)
                exchange.storage = storage
                (act or Exchange.honest)(exchange)
                if exchange.ends:
                    return
                if exchange.storage_ends:
                    storage.close()
                    storage = None
        except (Lost, OSError):
            pass
        finally:
            for each in (client, storage):
                if each:
                    each.close()


class Exchange:
    """One request on its way, and what can be done with it."""

    def __init__(self, client, request: Request, head: bytes):
        self.client, self.request, self.head, self.storage = client, request, head, None
        self.ends = self.storage_ends = False

    def honest(self):
        self.tell(self.forward())

    def forward(self, most: int | None = None) -> Answer:
        """Gives the request to the storage, at most so many bytes of its body, and takes the answer."""
        self.storage.sendall(self.head)
        if self.request.headers.get("expect", "").lower() == "100-continue":
            answer = self._answer()
            if answer.status != 100:
                self.ends = True
                return answer
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.copy(self.request.length if most is None else most)
        return self._answer() if most is None else Answer(0, [], b"")

    def copy(self, left: int):
        while left:
            piece = self.client.recv(min(left, 1 << 18))
            if not piece:
                raise Lost
            self.storage.sendall(piece)
            left -= len(piece)

    def swallow(self, left: int):
        """Takes bytes of the request's body and gives them to nobody."""
        if self.request.headers.get("expect", "").lower() == "100-continue":
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.drain(left)

    def drain(self, left: int):
        """Takes what still comes of the request's body; ends the exchange when the other side hangs up."""
        while left:
            piece = self.client.recv(min(left, 1 << 18))
            if not piece:
                raise Lost
            left -= len(piece)

    def _answer(self) -> Answer:
        head = read_head(self.storage)
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        status = int(first.split(" ", 2)[1])
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        answer = Answer(status, headers, b"")
        if status == 100:
            return answer
        if self.request.method == "HEAD" or status in (204, 304):
            return answer
        if (answer.header("transfer-encoding") or "").lower() == "chunked":
            answer.body = read_chunked(self.storage)
            answer.headers = [(name, value) for name, value in headers if name.lower() != "transfer-encoding"]
            answer.set("content-length", str(len(answer.body)))
        else:
            answer.body = read_exact(self.storage, int(answer.header("content-length") or 0))
        if (answer.header("connection") or "").lower() == "close":
            # Between proxy and storage only: the gateway's connection may go on.
            answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "connection"]
            self.storage_ends = True
        return answer

    def tell(self, answer: Answer):
        self.client.sendall(answer.head() + answer.body)

    def send(self, content: bytes):
        self.client.sendall(content)

    def hang_up(self):
        self.ends = True

    def reset(self):
        """Ends the connection as a crashed host does."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ends = True


def parse(head: bytes, number: int) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return Request(method, urllib.parse.unquote(path), dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), headers, number)


def read_head(connection) -> bytes:
    """A head, byte by byte where that is needed to leave the body unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        seen = connection.recv(65_536, socket.MSG_PEEK)
        if not seen:
            raise Lost
        end = (head[-3:] + seen).find(b"\r\n\r\n")
        take = len(seen) if end < 0 else end + 4 - len(head[-3:])
        head += connection.recv(take)
    return head


def read_exact(connection, length: int) -> bytes:
    pieces, left = [], length
    while left:
        piece = connection.recv(min(left, 1 << 20))
        if not piece:
            raise Lost
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_chunked(connection) -> bytes:
    body = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += read_exact(connection, 1)
        size = int(line.split(b";")[0], 16)
        piece = read_exact(connection, size + 2)
        if not size:
            return body
        body += piece[:-2]
