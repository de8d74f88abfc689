"""What really arrives at a client's socket: no client library that hides, retries or repairs an answer."""

import dataclasses
import email.parser
import http.client
import re
import socket
import ssl

import sigv4

TIMEOUT_SECONDS = 25


@dataclasses.dataclass
class Seen:
    """The bytes of one answer, and how it ended."""

    status: int | None
    headers: http.client.HTTPMessage
    body: bytes
    # complete: as many bytes as announced; closed, reset: the connection ended before.
    ended: str

    @property
    def complete(self) -> bool:
        """Whether a client takes this for a whole answer."""
        return self.ended == "complete"

    @property
    def ok(self) -> bool:
        return self.status is not None and self.status < 300

    @property
    def code(self) -> str | None:
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found[1].decode() if found and not self.ok else None

    @property
    def length(self) -> int | None:
        text = self.headers.get("Content-Length")
        return None if text is None else int(text)

    def __str__(self):
        return f"{self.status} {self.code or ''} {len(self.body)} of {self.length} bytes, {self.ended}"


class Wire:
    """Signs for a gateway and talks to its socket, plain or over TLS."""

    def __init__(self, target, tls: ssl.SSLContext | None = None):
        self.credentials = sigv4.Credentials(target.access_key, target.secret_key, target.region)
        self.address = ("127.0.0.1", target.port)
        self.host = f"127.0.0.1:{target.port}"
        self.tls = tls

    def connect(self) -> socket.socket:
        plain = socket.create_connection(self.address, timeout=TIMEOUT_SECONDS)
        if self.tls is None:
            return plain
        # An end without close_notify is an error and not an end.
        return self.tls.wrap_socket(plain, suppress_ragged_eofs=False)

    def head(self, method, path, query=(), headers=None, payload_hash=sigv4.UNSIGNED, length=None, when=None) -> tuple[bytes, str]:
        """A signed head, and its signature."""
        query = list(query)
        headers = {"host": self.host, **(headers or {})}
        headers = sigv4.sign_headers(self.credentials, method, path, query, headers, payload_hash, when)
        if length is not None:
            headers["content-length"] = str(length)
        target = path + (f"?{sigv4.encode_query(query)}" if query else "")
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), headers["authorization"].rsplit("=", 1)[1]

    def fetch(self, method, path, query=(), headers=None) -> Seen:
        """One request without a body, and its answer to the last announced byte or the connection's end."""
        with self.connect() as connection:
            connection.sendall(self.head(method, path, query, headers)[0])
            return read(connection, method)


def read(connection: socket.socket, method: str) -> Seen:
    """Reads one answer; interim ones are skipped."""
    received, none = b"", email.parser.Parser(_class=http.client.HTTPMessage).parsestr("")
    try:
        while True:
            while b"\r\n\r\n" not in received:
                piece = connection.recv(65_536)
                if not piece:
                    return Seen(None, none, received, "closed")
                received += piece
            head, _, rest = received.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
            received = rest
    except OSError as error:
        return Seen(None, none, received, how(error))
    lines = head.decode("latin-1").split("\r\n", 1)
    headers = email.parser.Parser(_class=http.client.HTTPMessage).parsestr(lines[1] if len(lines) > 1 else "")
    length = 0 if method == "HEAD" or status in (204, 304) else int(headers.get("Content-Length", -1))
    body = bytearray(rest)
    ended = "complete"
    while len(body) < length or length < 0:
        try:
            piece = connection.recv(1 << 20)
        except OSError as error:
            ended = how(error)
            break
        if not piece:
            ended = "closed"
            break
        body += piece
    return Seen(status, headers, bytes(body), ended)


def how(error: OSError) -> str:
    """How a connection ended; a timeout is a failure of its own."""
    if isinstance(error, TimeoutError):
        raise AssertionError(f"nothing arrived for {TIMEOUT_SECONDS} s, and the connection is still open") from error
    return "closed without close_notify" if isinstance(error, ssl.SSLEOFError) else "reset"
