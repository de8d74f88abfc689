"""The scenarios of ../../README.md in terms of a client's own calls, for drivers in Python.

A driver is a class that says how its client does each call, and `run(Class)`. What it does not override it has not got: the
scenario is then absent, with what is missing as the reason. Standard library only: each client lives in its own environment.
"""

import hashlib
import io
import json
import os
import ssl
import sys
import time
import traceback
import urllib.request

SIZES = (0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881)
LARGEST = 68157440
NAMES = ("plain", "with space", "plus+sign", "percent%20kept", "percent%2Fslash", "ünïcödé", "日本語", "emoji-😀", "a//b", "trailing.", "semi;colon",
         "at@amp&eq=q?hash#", "quote'\"", "<xml>&amp;", "tilde~(paren)!*", "back\\slash")
PIECE = 1 << 20


class Absent(Exception):
    """The client has no such call; the text says what it lacks."""


class Wrong(Exception):
    """What came back is not what went in."""


def demand(condition, text: str):
    """Fails with the text unless the condition holds."""
    if not condition:
        raise Wrong(text)


def same(found, wanted, what: str):
    """Fails with both values where they differ, bodies by their digests."""
    if found != wanted:
        raise Wrong(f"{what} is {short(found)}, not {short(wanted)}")


def short(value) -> str:
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:12]}"
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def missing(what: str):
    """A method that a client has not got."""

    def method(self, *_, **__):
        raise Absent(what)

    return method


class Scenarios:
    """One run: what the driver was told, and the scenarios by the client's calls."""

    def __init__(self, told: dict):
        self.told = told
        self.endpoint, self.scheme, self.region, self.ca = told["endpoint"], told["scheme"], told["region"], told["ca"]
        self.access_key, self.secret_key, self.bucket = told["access_key"], told["secret_key"], told["bucket"]
        self.versioned, self.prefix, self.work = told["versioned_bucket"], told["prefix"], told["work"]
        self.virtual = told["addressing"] == "virtual"
        self.connect()

    def connect(self):
        """Makes the client."""

    # What a driver gives: keys are whole, bodies bytes.
    put = missing("it writes no objects")
    get = missing("it reads no objects")
    get_range = missing("it has no ranged reads")
    size = missing("it has no HEAD")
    delete = missing("it deletes nothing")
    # {key: size} of all below a prefix.
    listed = missing("it lists nothing")
    # (keys, prefixes) of one level.
    level = missing("it has no delimiter")
    upload = missing("it has no upload of files")
    upload_stream = missing("it writes no streams of unknown length")
    # From key to key, in the bucket.
    copied = missing("it has no copy")
    delete_keys = missing("it deletes one object a call")
    presign = missing("it presigns no URLs")
    put_new = missing("it has no conditional put")

    def etag(self, key: str) -> str | None:
        """As the client gives it; None where it shows none."""
        return None

    def copied_large(self, source: str, target: str):
        return self.copied(source, target)

    def path(self, size: int) -> str:
        return os.path.join(self.told["files"], str(size))

    def body(self, size: int) -> bytes:
        with open(self.path(size), "rb") as file:
            return file.read()

    def key(self, name: str) -> str:
        return self.prefix + name

    def gone(self, key: str) -> bool:
        """Whether a read says that there is nothing."""
        try:
            self.get(key)
        except Absent:
            raise
        except Exception:
            return True
        return False

    # The scenarios.

    def sizes(self):
        for size in SIZES:
            body, key = self.body(size), self.key(f"sizes/{size}")
            self.put(key, body)
            same(self.get(key), body, f"the body of {size} bytes")
            try:
                same(self.size(key), size, f"HEAD's size of {size} bytes")
                etag = self.etag(key)
                demand(etag is None or len(etag.strip('"')) >= 32, f"the ETag of {size} bytes is {etag}")
            except Absent:
                pass
            self.delete(key)
            demand(self.gone(key), f"{size} bytes are there after the deletion")
            self.put(self.key(f"sizes/kept-{size}"), body)

    def multipart(self):
        self.upload(self.key("multipart/file"), self.path(LARGEST))
        same(self.get(self.key("multipart/file")), self.body(LARGEST), "what was uploaded")

    def unknown_length(self):
        with open(self.path(LARGEST), "rb") as file:
            self.upload_stream(self.key("unknown/stream"), Unseekable(file))
        same(self.get(self.key("unknown/stream")), self.body(LARGEST), "what was streamed")

    def ranges(self):
        """From, to (exclusive); None is open, a negative start counts from the end."""
        key, body = self.key("multipart/file"), self.body(LARGEST)
        for start, end in ((0, 10), (65_530, 65_550), (5_242_870, 5_242_890), (LARGEST - 7, LARGEST), (-9, None), (LARGEST - 100_000, None)):
            try:
                found = self.get_range(key, start, end)
            except Absent as absent:
                if (start, end) == (0, 10):
                    raise
                # No suffix or open range of its own, but ranges.
                self.lacks = str(absent)
                continue
            same(found, body[start:end], f"the range {start}:{end}")

    def names(self):
        wanted = {}
        for name in NAMES:
            if name in self.told.get("cannot_name", ()):
                continue
            body = f"the body of {name}".encode()
            self.put(self.key(f"names/{name}"), body)
            wanted[self.key(f"names/{name}")] = len(body)
            same(self.get(self.key(f"names/{name}")), body, f"the body of {name}")
        found = self.listed(self.key("names/"))
        same(sorted(set(wanted) - set(found)), [], "what the listing misses")
        same(sorted(set(found) - set(wanted)), [], "what it lists beside them")
        same(found, wanted, "their sizes")

    def delimiter(self):
        for name in ("d/a/1", "d/a/2", "d/b/1", "d/top"):
            self.put(self.key(name), b"x")
        keys, prefixes = self.level(self.key("d/"))
        same((sorted(keys), sorted(prefixes)), ([self.key("d/top")], [self.key("d/a/"), self.key("d/b/")]), "the level d/")

    def many(self):
        wanted = [f"many/{number:04}" for number in range(1100)]
        same(list(self.listed("many/")), wanted, "the 1,100 keys in order")

    def copy(self):
        self.put(self.key("copy/source"), self.body(65536))
        self.copied(self.key("copy/source"), self.key("copy/target"))
        same(self.get(self.key("copy/target")), self.body(65536), "the copy")

    def copy_large(self):
        self.copied_large(self.key("multipart/file"), self.key("copy/large"))
        same(self.get(self.key("copy/large")), self.body(LARGEST), "the large copy")

    def delete_many(self):
        keys = [self.key(f"doomed/{number}") for number in range(25)]
        for key in keys:
            self.put(key, b"x")
        self.put(self.key("keep/one"), b"kept")
        self.delete_keys(keys)
        same(list(self.listed(self.key("doomed/"))), [], "what is left of 25 keys")
        same(self.get(self.key("keep/one")), b"kept", "what was not deleted")

    metadata = missing("it sets no metadata")
    tags = missing("it has no tags")

    def presigned_get(self):
        url = self.presign("GET", self.key("presigned/get"))
        self.put(self.key("presigned/get"), self.body(65537))
        same(self.fetch(url).read(), self.body(65537), "what the URL gives")

    def presigned_put(self):
        url = self.presign("PUT", self.key("presigned/put"))
        self.fetch(url, self.body(65537))
        same(self.get(self.key("presigned/put")), self.body(65537), "what was put by URL")

    def fetch(self, url: str, body: bytes | None = None):
        """Plain HTTP, without the client."""
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        # No Content-Type of urllib's own: not every client signs for one.
        headers = {} if body is None else {"Content-Type": ""}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method="GET" if body is None else "PUT"), timeout=60, context=context)

    def conditional_put(self):
        key = self.key("conditional/one")
        self.put_new(key, b"the first")
        try:
            self.put_new(key, b"the second")
        except Absent:
            raise
        except Exception as refusal:
            self.refused(refusal)
        else:
            raise Wrong("the second put was taken")
        same(self.get(key), b"the first", "what is there after the refusal")

    def refused(self, refusal: Exception):
        """Whether it is the refusal that is meant."""
        text = f"{type(refusal).__name__} {refusal}".lower()
        demand(any(word in text for word in ("precondition", "412", "exist", "condition")), f"another error: {refusal}")

    versions = missing("it knows no versions")
    checksums = missing("it has no checksums of its own")
    sync = missing("it has no sync")
    abort = missing("it aborts no uploads by itself")


class Unseekable:
    """A stream that tells neither its length nor its place."""

    def __init__(self, file):
        self.file = file

    def read(self, size=-1):
        return self.file.read(size)

    def readable(self):
        return True

    def seekable(self):
        return False


class Failing(Unseekable):
    """A stream that breaks after some bytes; `first` is called just before."""

    def __init__(self, body: bytes, after: int, first=lambda: None):
        super().__init__(io.BytesIO(body))
        self.after, self.first = after, first

    def read(self, size=-1):
        if self.file.tell() >= self.after:
            self.first()
            raise OSError("the stream breaks, as it is meant to")
        return super().read(min(size, PIECE) if size > 0 else PIECE)


def fails(call):
    """Demands that a call ends with the error of the stream that breaks, whatever the client makes of it."""
    try:
        call()
    except Exception as error:
        demand("as it is meant to" in str(error), f"another error: {error}")
        return
    raise Wrong("the upload was taken though its stream broke")


def tree(directory: str) -> dict[str, bytes]:
    """The 20 files of the scenario `sync`, by their relative names."""
    made = {f"{'abcd'[number % 4]}/file-{number:02}": f"{number} ".encode() * (50 * number + 1) for number in range(20)}
    for name, body in made.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)
    return made


def metadata_of(content_type="text/x-clients; charset=utf-8"):
    """What the scenario `metadata` sets: user metadata and the four headers."""
    return ({"short": "a value", "long": "v" * 200},
            {"ContentType": content_type, "CacheControl": "max-age=31, private", "ContentDisposition": 'attachment; filename="a b.txt"', "ContentEncoding": "gzip"})


def say(scenario: str, result: str, detail: str, began: float, output):
    output.write(json.dumps({"scenario": scenario, "result": result, "detail": detail, "seconds": round(time.monotonic() - began, 2)}) + "\n")
    output.flush()


def run(driver):
    """Reads what is asked, does it, and says what became of each."""
    told = json.load(sys.stdin)
    # Whatever a client prints is not for the runner.
    output, sys.stdout = sys.stdout, sys.stderr
    scenarios = None
    for name in told["scenarios"]:
        began = time.monotonic()
        try:
            if scenarios is None:
                scenarios = driver(told)
            scenarios.lacks = ""
            getattr(scenarios, name)()
            say(name, "pass", scenarios.lacks, began, output)
        except Absent as absent:
            say(name, "absent", str(absent), began, output)
        except Exception as error:
            traceback.print_exc()
            say(name, "fail", str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}", began, output)
    # Threads that a client has left must not keep the process.
    output.flush()
    os._exit(0)
