"""The scenarios of ops/compat/clients/README.md for clients that are programs: a driver says how its tool puts, gets, lists …

A driver is a class with the tool's calls as methods; `main` reads what the runner tells, runs the scenarios and says how
they went. Standard library only. What a tool cannot do it names in `lacks`, and then the scenario is `absent`.
"""

import hashlib
import json
import os
import random
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

SIZES = (0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881)
LARGEST = 68157440
NAMES = ("plain", "with space", "plus+sign", "percent%20kept", "percent%2Fslash", "ünïcödé", "日本語", "emoji-😀", "a//b", "trailing.",
         "semi;colon", "at@amp&eq=q?hash#", "quote'\"", "<xml>&amp;", "tilde~(paren)!*", "back\\slash")
DELIMITED = ("d/a/1", "d/a/2", "d/b/1", "d/top")
LONG_VALUE = "v" * 200
# The metadata of `metadata/one`, and the headers with it.
METADATA = {"plain": "value", "long": LONG_VALUE}
HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "max-age=60, must-revalidate",
           "Content-Disposition": 'attachment; filename="one.txt"', "Content-Encoding": "gzip"}
SECONDS = 300


class Failure(Exception):
    """What a scenario found wrong."""


class Absent(Exception):
    """What the tool has no call for."""


class Refused(Failure):
    """A call of the tool that ended with an error, with what it said."""


def same(got, wanted, what):
    if got != wanted:
        shown = [repr(each) if len(repr(each)) < 300 else f"{repr(each)[:300]}… ({len(each)} long)" for each in (got, wanted)]
        raise Failure(f"{what}: got {shown[0]}, wanted {shown[1]}")


def holds(condition, what):
    if not condition:
        raise Failure(what)


def digest(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Tool:
    """A program; the methods that raise NotImplementedError are its calls, those with a scenario's name are the scenarios."""

    # scenario → what the tool has no call for
    lacks: dict[str, str] = {}
    # whether its copy carries metadata and content type by itself
    copies_metadata = True

    def __init__(self, told):
        self.told = told
        self.bucket, self.prefix, self.work = told["bucket"], told["prefix"], told["work"]
        self.secure = told["scheme"] == "https"
        self.environment = {name: value for name, value in os.environ.items()
                            if name in ("PATH", "LANG", "TMPDIR") or name.startswith("LC_")}
        self.environment.update(HOME=self.work, LC_ALL="C.UTF-8", TZ="UTC")
        self.large_is_there = False
        self.serial = 0
        self.setup()

    def setup(self):
        """Writes what the tool reads: credentials, endpoint, CA."""

    # How the tool is run.

    def run(self, *command, stdin=None, check=True, cwd=None) -> subprocess.CompletedProcess:
        """Runs the tool; `stdin` is bytes. What it printed is bytes, too."""
        done = subprocess.run([str(each) for each in command], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, env=self.environment, cwd=cwd or self.work, timeout=SECONDS)
        if check and done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise Refused(f"{os.path.basename(str(command[0]))} {' '.join(map(str, command[1:]))[:200]} ended with {done.returncode}: {said[-600:]}")
        return done

    def file(self, content: bytes) -> str:
        """A new file in the driver's own folder."""
        path = self.scratch()
        with open(path, "wb") as file:
            file.write(content)
        return path

    def scratch(self) -> str:
        """The path of a file that is not there yet."""
        self.serial += 1
        return os.path.join(self.work, f"file-{self.serial}")

    def body(self, size: int) -> str:
        return os.path.join(self.told["files"], str(size))

    # The tool's calls; keys are whole, with the prefix.

    def put(self, path, key):
        raise NotImplementedError

    def get(self, key, path):
        raise NotImplementedError

    def head(self, key) -> dict:
        """`size` and, where the tool shows it, `etag`."""
        raise NotImplementedError

    def delete(self, key):
        raise NotImplementedError

    def keys(self, prefix) -> dict[str, int]:
        """Every key under the prefix with its size."""
        raise NotImplementedError

    def level(self, prefix) -> tuple[set, set]:
        """The keys and the prefixes of one level."""
        raise NotImplementedError

    def stream(self, path, key):
        """Puts from a pipe."""
        raise NotImplementedError

    def server_copy(self, source, target):
        raise NotImplementedError

    # What `metadata` sends.
    headers = HEADERS

    def described_put(self, path, key, metadata, headers):
        raise NotImplementedError

    def described(self, key) -> tuple[dict, dict]:
        """The metadata and the headers, as the tool shows them."""
        raise NotImplementedError

    def sync_up(self, folder, prefix) -> int:
        """How many files it moved."""
        raise NotImplementedError

    def presign(self, key) -> str:
        raise NotImplementedError

    # Helpers of the scenarios.

    def content(self, key) -> bytes:
        path = self.scratch()
        self.get(key, path)
        with open(path, "rb") as file:
            content = file.read()
        os.remove(path)
        return content

    def large(self) -> str:
        key = self.prefix + "multipart/file"
        if not self.large_is_there:
            self.put(self.body(LARGEST), key)
            self.large_is_there = True
        return key

    def expect_file(self, key, wanted):
        path = self.scratch()
        self.get(key, path)
        same(digest(path), digest(wanted), f"SHA-256 of {key}")
        os.remove(path)

    def fetch(self, url) -> bytes:
        context = ssl.create_default_context(cafile=self.told["ca"]) if self.secure else None
        try:
            with urllib.request.urlopen(url, timeout=60, context=context) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Failure(f"the presigned URL answers {error.code}: {error.read()[:300]!r}") from error

    # The scenarios.

    def sizes(self):
        for size in SIZES:
            key = f"{self.prefix}sizes/{size}"
            self.put(self.body(size), key)
            seen = self.head(key)
            same(seen["size"], size, f"size of {key}")
            if "etag" in seen:
                with open(self.body(size), "rb") as file:
                    md5 = hashlib.file_digest(file, "md5").hexdigest()
                etag = seen["etag"].strip('"')
                holds(etag == md5 or "-" in etag, f"ETag of {key} is {etag}, the body's MD5 is {md5}")
            self.expect_file(key, self.body(size))
            self.delete(key)
        same(self.keys(self.prefix + "sizes/"), {}, "what is listed after the deletions")
        self.put_files({f"{self.prefix}sizes/kept-{size}": self.body(size) for size in SIZES})

    def multipart(self):
        self.large_is_there = False
        key = self.large()
        same(self.head(key)["size"], LARGEST, "size")
        self.expect_file(key, self.body(LARGEST))

    def unknown_length(self):
        key = self.prefix + "unknown/stream"
        self.stream(self.body(LARGEST), key)
        self.expect_file(key, self.body(LARGEST))

    def span(self, key, first, last) -> bytes:
        """Bytes first to last; last None: to the end; first None: the last `last` bytes."""
        raise NotImplementedError

    spans = ((0, 99), (65500, 65599), (LARGEST - 100, LARGEST - 1), (None, 100), (LARGEST - 77, None))

    def ranges(self):
        key = self.large()
        with open(self.body(LARGEST), "rb") as file:
            whole = file.read()
        for first, last in self.spans:
            wanted = whole[-last:] if first is None else whole[first:] if last is None else whole[first:last + 1]
            holds(self.span(key, first, last) == wanted, f"bytes {first}–{last} are others")

    def possible_names(self) -> list[str]:
        """All but those that neither the tool nor the server can have."""
        return [name for name in NAMES if name not in self.told.get("cannot_name", ())]

    def names(self):
        base, wanted = self.prefix + "names/", {}
        for name in self.possible_names():
            self.put(self.file(name.encode()), base + name)
            wanted[base + name] = len(name.encode())
        same(dict(sorted(self.keys(base).items())), dict(sorted(wanted.items())), "the listing")
        for key in wanted:
            same(self.content(key).decode(), key.removeprefix(base), f"body of {key}")

    def delimiter(self):
        for name in DELIMITED:
            self.put(self.file(name.encode()), self.prefix + name)
        base = self.prefix + "d/"
        same(self.level(base), ({base + "top"}, {base + "a/", base + "b/"}), "keys and prefixes")

    def listed(self) -> list[str]:
        """The keys under many/, in the order in which the tool gives them."""
        return list(self.keys("many/"))

    def many(self):
        keys = self.listed()
        same(len(keys), 1100, "number of keys")
        same(len(set(keys)), 1100, "number of different keys")
        same(keys, sorted(keys), "order of the keys")

    def copy(self):
        source, target = self.prefix + "copy/source", self.prefix + "copy/target"
        if "metadata" in self.lacks:
            self.put(self.body(65536), source)
        else:
            self.described_put(self.body(65536), source, METADATA, {"Content-Type": "text/csv"})
        self.server_copy(source, target)
        self.expect_file(target, self.body(65536))
        if "metadata" not in self.lacks and self.copies_metadata:
            metadata, headers = self.described(target)
            same({name: metadata.get(name) for name in METADATA}, METADATA, "metadata of the copy")
            same(headers.get("Content-Type"), "text/csv", "content type of the copy")

    def copy_large(self):
        target = self.prefix + "copy/large"
        self.server_copy(self.large(), target)
        same(self.head(target)["size"], LARGEST, "size of the copy")
        self.expect_file(target, self.body(LARGEST))

    def delete_all(self, keys):
        """Deletes the keys, in one request where the tool can."""
        raise NotImplementedError

    def delete_many(self):
        base = self.prefix + "many-deleted/"
        keys = [f"{base}{number:02}" for number in range(25)]
        self.put_all({key: b"deleted" for key in keys})
        self.put(self.file(b"kept"), self.prefix + "keep/one")
        self.delete_all(keys)
        same(self.keys(base), {}, "what is left")
        same(self.content(self.prefix + "keep/one"), b"kept", "the other object")

    def put_files(self, paths: dict[str, str]):
        for key, path in paths.items():
            self.put(path, key)

    def put_all(self, bodies: dict[str, bytes]):
        for key, body in bodies.items():
            self.put(self.file(body), key)

    headers_shown = tuple(HEADERS)

    def metadata(self):
        key = self.prefix + "metadata/one"
        self.described_put(self.file(b"described"), key, METADATA, self.headers)
        metadata, headers = self.described(key)
        same({name: metadata.get(name) for name in METADATA}, METADATA, "metadata")
        same({name: headers.get(name) for name in self.headers_shown}, {name: self.headers[name] for name in self.headers_shown}, "headers")

    def tagged_put(self, path, key, tags):
        raise NotImplementedError

    def set_tags(self, key, tags):
        raise NotImplementedError

    def tags_of(self, key) -> dict:
        raise NotImplementedError

    def remove_tags(self, key):
        raise NotImplementedError

    tags_at_put = True

    def tags(self):
        key, first, second = self.prefix + "tags/one", {"colour": "blue", "size": "1"}, {"owner": "nobody"}
        if self.tags_at_put:
            self.tagged_put(self.file(b"tagged"), key, first)
            same(self.tags_of(key), first, "tags of the put")
        else:
            self.put(self.file(b"tagged"), key)
        self.set_tags(key, second)
        same(self.tags_of(key), second, "tags set by themselves")
        self.remove_tags(key)
        same(self.tags_of(key), {}, "tags after they were removed")

    def presigned_get(self):
        key, path = self.prefix + "presigned/get me+1", self.body(65537)
        self.put(path, key)
        with open(path, "rb") as file:
            body = file.read()
        holds(self.fetch(self.presign(key)) == body, "the presigned GET gives another body")

    def put_new(self, path, key):
        """A put that must not replace; raises Refused when the key is taken."""
        raise NotImplementedError

    def conditional_put(self):
        key = self.prefix + "conditional/one"
        self.put_new(self.file(b"first"), key)
        try:
            self.put_new(self.file(b"second"), key)
        except Refused as error:
            holds(any(each in str(error) for each in ("PreconditionFailed", "412", "pre-conditions")), f"refused for another reason: {error}")
        else:
            raise Failure("the second put was not refused")
        same(self.content(key), b"first", "the body")

    def sync(self):
        folder, chance, wanted = os.path.join(self.work, "tree"), random.Random(2), {}
        for number in range(20):
            name = f"{number % 3}/{number // 7}/file {number}"
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(chance.randbytes(number * 997))
            # Older than what the sync makes: a tool that compares times is not asked about one second.
            os.utime(path, (1_700_000_000, 1_700_000_000))
            wanted[self.prefix + "sync/" + name] = number * 997
        moved = self.sync_up(folder, self.prefix + "sync/")
        same(moved, 20, "files that the first sync moved")
        same({key: size for key, size in self.keys(self.prefix + "sync/").items() if not key.endswith("/")}, wanted, "what the sync made")
        same(self.sync_up(folder, self.prefix + "sync/"), 0, "files that the second sync moved")


def main(tool):
    told = json.load(sys.stdin)
    driver = tool(told)
    for scenario in told["scenarios"]:
        began, detail = time.monotonic(), ""
        try:
            if scenario in driver.lacks:
                raise Absent(driver.lacks[scenario])
            detail = getattr(driver, scenario)() or ""
            result = "pass"
        except Absent as error:
            result, detail = "absent", str(error)
        except (Failure, OSError, ValueError, KeyError, IndexError, AttributeError, subprocess.SubprocessError) as error:
            result, detail = "fail", f"{type(error).__name__}: {error}"[:900]
        print(json.dumps({"scenario": scenario, "result": result, "detail": detail, "seconds": round(time.monotonic() - began, 2)},
                         ensure_ascii=False), flush=True)
