"""Requests written byte by byte to a socket: what no SDK would send, and what SDKs hide when they do."""

import dataclasses
import hashlib
import http.client
import re
import socket
import urllib.parse

import sigv4

TIMEOUT_SECONDS = 30


@dataclasses.dataclass
class Answer:
    """An answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    # Whether `100 Continue` came before it.
    continued: bool = False

    @property
    def code(self) -> str | None:
        """S3's error code, from the XML."""
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found[1].decode() if found else None

    @property
    def etag(self) -> str | None:
        return self.headers.get("ETag")

    def __str__(self):
        return f"{self.status} {self.code or ''} {self.body[:200]!r}"


class _Reader(http.client.HTTPResponse):
    """http.client skips `100 Continue` silently: notes that it came."""

    continued = False

    def _read_status(self):
        version, status, reason = super()._read_status()
        self.continued = self.continued or status == 100
        return version, status, reason


class RawClient:
    """Signs with its credentials and sends to its endpoint, one connection a request."""

    def __init__(self, endpoint: str, credentials: sigv4.Credentials):
        url = urllib.parse.urlsplit(endpoint)
        self.address = (url.hostname, url.port or 80)
        self.host = url.netloc
        self.credentials = credentials

    def exchange(self, head: bytes, body: bytes = b"", method="GET", await_continue=False) -> Answer:
        """Sends bytes as they are. With `await_continue` the body follows only a `100 Continue`."""
        with socket.create_connection(self.address, timeout=TIMEOUT_SECONDS) as connection:
            if await_continue:
                connection.sendall(head)
                first = _peek_status(connection)
                if first == 100:
                    _send(connection, body)
            else:
                # A server that refuses early may close its side: what it said still counts.
                _send(connection, head + body)
            reader = _Reader(connection, method=method)
            reader.begin()
            return Answer(reader.status, reader.headers, reader.read(), reader.continued)

    def request(self, method, path, query=(), headers=None, body=b"", *, payload_hash=None, credentials=None, when=None,
                framing: sigv4.Framing | None = None, alter=None, unsigned_names=(), await_continue=False,
                http_chunked=False, host=None, declared_length=None, decoded_length=None) -> Answer:
        """A signed request.

        `alter` may change the signed headers before they are sent; `declared_length` replaces Content-Length, and
        `decoded_length` x-amz-decoded-content-length; `http_chunked` uses chunked transfer coding without a length.
        """
        credentials, query, when = credentials or self.credentials, list(query), when or sigv4.timestamp()
        headers = {"host": host or self.host, **{name.lower(): value for name, value in (headers or {}).items()}}
        if framing:
            payload_hash = framing.mode
            headers.setdefault("content-encoding", "aws-chunked")
            headers["x-amz-decoded-content-length"] = str(len(body) if decoded_length is None else decoded_length)
            if framing.trailers:
                headers["x-amz-trailer"] = ",".join(name for name, _ in framing.trailers)
        elif payload_hash is None:
            payload_hash = hashlib.sha256(body).hexdigest()
        headers = sigv4.sign_headers(credentials, method, path, query, headers, payload_hash, when, unsigned_names)
        if framing:
            body = framing.body(body, credentials, when, headers["authorization"].rsplit("=", 1)[1])
        if await_continue:
            headers["expect"] = "100-continue"
        return self._send(method, path, query, headers, body, alter, await_continue, http_chunked, declared_length)

    def presigned(self, method, path, query=(), headers=None, body=b"", *, expires=900, when=None, credentials=None,
                  alter=None, alter_query=None) -> Answer:
        """A request signed in its query."""
        headers = {"host": self.host, **(headers or {})}
        query = sigv4.presign(credentials or self.credentials, method, path, list(query), headers, expires, when)
        if alter_query:
            query = alter_query(query)
        return self._send(method, path, query, headers, body, alter, False, False, None)

    def _send(self, method, path, query, headers, body, alter, await_continue, http_chunked, declared_length) -> Answer:
        if http_chunked:
            headers["transfer-encoding"] = "chunked"
            pieces = [body[at:at + 50_000] for at in range(0, len(body), 50_000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif declared_length is not None:
            headers["content-length"] = str(declared_length)
        elif body or method in ("PUT", "POST"):
            headers["content-length"] = str(len(body))
        headers["connection"] = "close"
        if alter:
            alter(headers)
        target = path + (f"?{sigv4.encode_query(query)}" if query else "")
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
        return self.exchange(head, body, method, await_continue)


def _send(connection, data):
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def _peek_status(connection) -> int:
    """The status of the next answer, left unread."""
    line = b""
    while len(line) < 12:
        line = connection.recv(12, socket.MSG_PEEK)
        if not line:
            raise ConnectionError("closed without an answer")
    return int(line.split()[1])
