"""Which of the requests that a client sent are kept: one of each shape, and what must come before it to end as it did."""

import dataclasses
import re
import urllib.parse

from proxy import Exchange, element
from wire import headers_of

HOST = ".s3.localhost"
# What makes or changes an object.
MAKES = ("PutObject", "CopyObject", "CompleteMultipartUpload", "PostObject")
CHANGES = (*MAKES, "DeleteObject", "DeleteObjects", "PutObjectTagging", "DeleteObjectTagging")
GIVES = (*MAKES, "DeleteObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart", "UploadPartCopy")
# What is kept in virtual-host style too: the rest differs in nothing but the path.
BY_HOST = ("PutObject", "GetObject", "ListObjects", "ListObjectsV2", "CreateMultipartUpload")
# Headers that one request has and the next of its kind may lack.
PASSING = {"date", "x-amz-date", "authorization", "user-agent", "connection", "amz-sdk-invocation-id"}


@dataclasses.dataclass
class Seen:
    """A request that was answered, in the gateway's terms."""

    exchange: Exchange
    operation: str

    def __post_init__(self):
        self.headers = headers_of(self.exchange.head)
        self.line = self.exchange.head.split(b"\r\n", 1)[0].decode("latin-1")
        self.method, self.target, _ = self.line.split(" ")
        self.path, _, self.query = self.target.partition("?")
        host = self.headers.get("host", "").split(":")[0]
        self.virtual = host.endswith(HOST)
        self.place = urllib.parse.unquote((f"/{host[:-len(HOST)]}" if self.virtual else "") + self.path)
        # Documents only: nothing is named in an object's bytes.
        self.document = self.exchange.body if self.operation in ("CompleteMultipartUpload", "DeleteObjects") else b""
        self.ok = self.exchange.status < 300

    def gave(self) -> dict[str, str]:
        """The names that the gateway made up for it."""
        if not self.ok or self.operation not in GIVES:
            return {}
        etag = self.exchange.answer.get("etag") or element(self.exchange.document, "ETag")
        gave = {
            "etag": etag and re.sub(r'&quot;|&#34;|"', "", etag),
            "upload_id": element(self.exchange.document, "UploadId") if self.operation == "CreateMultipartUpload" else None,
            # Of several keys deleted at once the first: mc deletes one so, and asks for its marker.
            "version_id": self.exchange.answer.get("x-amz-version-id") or element(self.exchange.document, "DeleteMarkerVersionId"),
        }
        return {name: value for name, value in gave.items() if value and value != "null"}

    def mentions(self, text: str) -> bool:
        return text.encode() in self.exchange.head or text.encode() in self.document

    def names(self, place: str) -> bool:
        """Whether it changes what lies there."""
        if self.operation == "DeleteObjects":
            bucket, _, key = place[1:].partition("/")
            return self.place.strip("/") == bucket and key.encode() in self.document
        return self.operation in CHANGES and self.place == place

    def shapes(self):
        """What the front end sees of it: two that have nothing new take ways that are taken already."""
        odd = re.findall(r"%[0-9A-Fa-f]{2}|//|[^A-Za-z0-9/._-]", self.path)
        if odd and self.operation == "PutObject":
            yield frozenset(odd)
        elif not self.virtual or self.operation in BY_HOST:
            yield self._shape()

    def _shape(self) -> tuple:
        names = tuple(sorted(part.split("=")[0] for part in self.query.split("&")))
        headers = tuple(sorted(name for name in self.headers if name not in PASSING))
        mode = self.headers.get("x-amz-content-sha256", "")
        size = len(self.exchange.body)
        quoted = tuple(self.headers.get(name, "")[:1] == '"' for name in ("if-match", "if-none-match"))
        document = re.sub(rb">[^<]*<", b"><", self.document)[:600] if self.operation == "CompleteMultipartUpload" else None
        document = document and re.sub(rb"(<Part>.*</Part>)", b"", document, flags=re.S)
        return (self.operation, self.method, self.virtual, names, headers, mode if len(mode) != 64 else "hash", quoted, document,
                (size > 0) + (size > 65_536) + (size > 5 << 20), self.exchange.status, self.path.endswith("/"))


def keep(seen: list[Seen], shapes: set) -> list[int]:
    """The numbers of those that are kept, in order; `shapes` are those that are kept already, and grows."""
    kept, wanted = set(), []
    for number, one in enumerate(seen):
        new = set(one.shapes()) - shapes
        if new:
            shapes |= new
            wanted.append(number)
    givers = first_givers(seen)
    while wanted:
        number = wanted.pop()
        if number not in kept:
            kept.add(number)
            wanted += [before for before in needs(seen, number, givers) if before < number]
    return sorted(kept)


def first_givers(seen: list[Seen]) -> dict[str, int]:
    """Which request's answer was the first to tell of each name."""
    givers = {}
    for number, one in enumerate(seen):
        for value in one.gave().values():
            givers.setdefault(value, number)
    return givers


def needs(seen: list[Seen], number: int, givers: dict[str, int]):
    one = seen[number]
    yield from (giver for value, giver in givers.items() if giver < number and one.mentions(value))
    places = []
    conditional = "if-none-match" in one.headers or "if-match" in one.headers
    if one.operation not in ("DeleteObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart") and (
            one.operation not in MAKES or conditional):
        places.append(one.place)
    if source := one.headers.get("x-amz-copy-source"):
        places.append("/" + urllib.parse.unquote(source.split("?")[0]).lstrip("/"))
    for place in places:
        if place.strip("/").count("/"):
            changes = [before for before in range(number) if seen[before].ok and seen[before].names(place)]
            # From the last that made it anew; with what came after.
            made = [at for at, before in enumerate(changes) if seen[before].operation in MAKES]
            yield from changes[made[-1] if made else 0:]
