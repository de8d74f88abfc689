"""Stands between a client and the front end under record, changes nothing, and keeps every byte that the client sends."""

import dataclasses
import hashlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time

from wire import Connection, Lost, headers_of

SECONDS = 120
# Of an answer, as much as any document has that names something.
DOCUMENT = 1 << 16


@dataclasses.dataclass
class Exchange:
    """A request as it was sent, and what was answered."""

    at: int
    head: bytes
    body: bytes = b""
    status: int = 0
    answer: dict = dataclasses.field(default_factory=dict)
    document: bytes = b""
    length: int = 0
    sha256: str = ""


class Proxy:
    """Listens on a free port until it is closed; `exchanges` are those that were answered, in the order of their heads."""

    def __init__(self, upstream: tuple[str, int], tls: tuple[str, str] | None = None):
        self.upstream, self.lock, self.exchanges = upstream, threading.Lock(), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def answered(self) -> list[Exchange]:
        with self.lock:
            return [exchange for exchange in self.exchanges if exchange.status]

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket):
        server = None
        try:
            client.settimeout(SECONDS)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.upstream, timeout=SECONDS)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asking, answering = Connection(client), Connection(server)
            while self._exchange(asking, answering):
                pass
        except (Lost, OSError):
            pass
        finally:
            for each in (client, server):
                if each:
                    each.close()

    def _exchange(self, asking: Connection, answering: Connection) -> bool:
        head = asking.until(b"\r\n\r\n")
        exchange, headers = Exchange(int(time.time()), head), headers_of(head)
        with self.lock:
            self.exchanges.append(exchange)
        answering.socket.sendall(head)
        answer = None
        if headers.get("expect", "").lower() == "100-continue":
            answer = answering.until(b"\r\n\r\n")
            if answer.split(b" ")[1] == b"100":
                asking.socket.sendall(answer)
                answer = None
        if answer is None:
            exchange.body = self._body(asking, answering, headers)
            answer = answering.until(b"\r\n\r\n")
        told = headers_of(answer)
        status = int(answer.split(b" ")[1])
        asking.socket.sendall(answer)
        digest, document = hashlib.sha256(), b""
        none = head.startswith(b"HEAD ") or status in (204, 304)
        length = 0
        for piece in answering.body(told, none):
            asking.socket.sendall(piece)
            digest.update(piece)
            length += len(piece)
            document = (document + piece)[:DOCUMENT]
        exchange.answer, exchange.document, exchange.length, exchange.sha256 = told, document, length, digest.hexdigest()
        exchange.status = status
        return told.get("connection", "").lower() != "close"

    @staticmethod
    def _body(asking: Connection, answering: Connection, headers: dict[str, str]) -> bytes:
        pieces, taken = [], True
        for piece in asking.body(headers):
            pieces.append(piece)
            if taken:
                try:
                    answering.socket.sendall(piece)
                except OSError:
                    # It has answered already, and takes no more: the client still sends.
                    taken = False
        return b"".join(pieces)


def certificate(folder: str) -> tuple[str, tuple[str, str]]:
    """An authority of this run's own, and what it signed for the proxy."""
    def path(name):
        return os.path.join(folder, name)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    with open(path("ext"), "w") as file:
        file.write("subjectAltName=DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
                   "extendedKeyUsage=serverAuth\n")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=kept requests",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", *new, "-keyout", "proxy.key", "-out", "proxy.csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "proxy.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "proxy.pem",
            "-days", "2", "-extfile", "ext")
    return path("ca.pem"), (path("proxy.pem"), path("proxy.key"))


def element(document: bytes, name: str) -> str | None:
    found = re.search(rb"<%b>([^<]*)</" % name.encode(), document)
    return found and found[1].decode("latin-1")
