"""Versions of one key, exchanged, mixed and replayed by the storage: in its files, or in a server's answers.

Each version is proved for itself, so no two can be mixed. Which one an id names, and which is the newest, is the storage's word:
a whole genuine version under another's id is served, and docs/threat-model.md says so.
"""

import contextlib
import dataclasses
import re

import layout
import proxied
import storage
import wire
from cases import case, data, equal, true
from s3_multipart import Upload
from tamper_rows import over
from tamper_table import METRIC, PART, Thing, metric, outcome

KEY = "versions"
UPLOAD = "uploads"


class Filesystem:
    """Alters the versions' files."""

    def __init__(self, context):
        self.context, self.storage = context, storage.of(context.target, context.bucket)

    def read(self, key: str, version: str) -> storage.Stored:
        return self.storage.read(key, version)

    @contextlib.contextmanager
    def telling(self, key: str, altered: dict[str, storage.Stored]):
        genuine = {version: self.read(key, version) for version in altered}
        try:
            for version, stored in altered.items():
                self.storage.write(key, stored, same_identity=True, version=version)
                true(self.read(key, version) != genuine[version], "the stored version is the same as before")
            yield
        finally:
            for version, stored in genuine.items():
                self.storage.write(key, stored, same_identity=True, version=version)


class Server:
    """Alters what a server says of its versions."""

    def __init__(self, found: proxied.Proxied):
        self.context, self.proxy = found.context, found.proxy
        self.storage = storage.of(found.storage_target, found.context.bucket)

    def read(self, key: str, version: str) -> storage.Stored:
        answer = self.storage.client.get_object(Bucket=self.context.bucket, Key=key, VersionId=version)
        return storage.Stored(answer["Body"].read(), {name.lower(): value for name, value in answer["Metadata"].items()})

    @contextlib.contextmanager
    def telling(self, key: str, altered: dict[str, storage.Stored]):
        def rule(request):
            stored = altered.get(request.query.get("versionId", self.newest(key)))
            wanted = request.method in ("GET", "HEAD") and request.path.endswith(f"/{key}") and stored
            return (lambda exchange: self.tell(exchange, stored)) if wanted else None

        with self.proxy.lying(rule):
            yield
            true(self.proxy.touched, "the proxy told no lie")

    def newest(self, key: str) -> str:
        return self.kept[key][-1].version

    def tell(self, exchange, stored: storage.Stored):
        answer = exchange.forward()
        if 200 <= answer.status < 300:
            for name, value in stored.metadata.items():
                answer.set(f"x-amz-meta-{name}", value)
            answered = re.match(r"bytes (\d+)-(\d+)/", answer.header("content-range") or "")
            if answer.body:
                answer.body = stored.body[int(answered[1]):int(answered[2]) + 1] if answered else stored.body
        exchange.tell(answer)


@dataclasses.dataclass
class Version:
    """One of a key's versions, the oldest first."""

    version: str
    thing: Thing
    genuine: storage.Stored


class Kept:
    """A bucket with two versions of a single PUT and two of an upload, of the same sizes."""

    def __init__(self, t):
        server = t.target.backend is not None
        self.storage = Server(proxied.of(t)) if server else Filesystem(t)
        self.t = self.storage.context
        self.wire = wire.Wire(self.t.target)
        self.t.s3.put_bucket_versioning(Bucket=self.t.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.keys: dict[str, list[Version]] = {KEY: [], UPLOAD: []}
        for number in (1, 2):
            body = data(600_000, f"version {number}")
            written = self.t.put(KEY, body, Metadata={"mine": f"version {number}"})
            self.keep(KEY, written["VersionId"], [body])
        for number in (1, 2):
            parts = [data(PART, f"part 1 of {number}"), data(200_000, f"part 2 of {number}")]
            upload = Upload(self.t, UPLOAD)
            for place, body in enumerate(parts, start=1):
                upload.part(place, body)
            self.keep(UPLOAD, upload.complete()["VersionId"], parts)
        if server:
            self.storage.kept = self.keys
        for key in self.keys:
            equal(len({len(version.genuine.body) for version in self.keys[key]}), 1, "sizes")
            self.read_back(key)

    def keep(self, key: str, version: str, parts: list[bytes]):
        genuine = self.storage.read(key, version)
        self.keys[key].append(Version(version, Thing(key, b"".join(parts), [len(part) for part in parts], genuine), genuine))

    def fetch(self, method: str, key: str, version: str | None, headers=None) -> wire.Seen:
        return self.wire.fetch(method, self.t.path(key), [("versionId", version)] if version else [], headers)

    def read_back(self, key: str):
        for version in self.keys[key]:
            equal(outcome(self.fetch("GET", key, version.version), version.thing.body), "right", f"the genuine {key}")

    def attempt(self, key: str, change, head: int):
        """Both versions with what `change` makes of each and the other: no wrong byte, no whole body, and HEAD as it says."""
        one, two = self.keys[key]
        altered = {one.version: change(one, two), two.version: change(two, one)}
        with self.storage.telling(key, altered):
            for version, asked in ((one, one.version), (two, two.version), (two, None)):
                before = metric(self.t.target, METRIC)
                seen = self.fetch("GET", key, asked)
                true(outcome(seen, version.thing.body) in ("422", "cut"), f"GET of {asked or 'the newest'}: {seen}")
                true(metric(self.t.target, METRIC) > before, f"{METRIC} did not rise")
                equal(self.fetch("HEAD", key, asked).status, head, f"HEAD of {asked or 'the newest'}")
                body = version.thing.body
                for start in (0, len(body) // 2, len(body) - 100):
                    seen = self.fetch("GET", key, asked, {"range": f"bytes={start}-{start + 99}"})
                    true(not seen.ok or body[start:start + 100].startswith(seen.body), f"wrong bytes in a range: {seen}")
        self.read_back(key)


def kept(t) -> Kept:
    if not hasattr(t, "kept"):
        t.kept = Kept(t)
    return t.kept


def named(own: Version, other: Version, *names: str) -> storage.Stored:
    """A version with metadata of the other's."""
    return own.genuine.replace(metadata={**own.genuine.metadata, **{name: other.genuine.metadata[name] for name in names}})


@case
def two_versions_with_each_others_bodies(t):
    for key in (KEY, UPLOAD):
        kept(t).attempt(key, lambda own, other: own.genuine.replace(body=other.genuine.body), 200)


@case
def two_versions_with_each_others_envelopes(t):
    # The sealed metadata is bound to its envelope; an upload of this table has none.
    kept(t).attempt(KEY, lambda own, other: named(own, other, "sealgate"), 422)
    kept(t).attempt(UPLOAD, lambda own, other: named(own, other, "sealgate"), 200)


@case
def two_versions_with_each_others_sealed_metadata(t):
    kept(t).attempt(KEY, lambda own, other: named(own, other, "sealgatemeta"), 422)


@case
def two_versions_with_each_others_envelopes_and_metadata(t):
    # What HEAD shows then is another genuine version's, as when all of it is replayed.
    kept(t).attempt(KEY, lambda own, other: named(own, other, "sealgate", "sealgatemeta"), 200)


@case
def two_versions_with_each_others_trailers(t):
    for key in (KEY, UPLOAD):
        kept(t).attempt(key, lambda own, other: own.genuine.replace(
            body=over(own.genuine.body, own.thing.trailer, other.genuine.body[own.thing.trailer])), 200)


@case
def two_versions_with_chunks_of_each_other(t):
    def change(own, other):
        # Of the first half, of the last part, and the last one of all.
        body = own.genuine.body
        for number in (2, len(own.thing.chunks) - 2, len(own.thing.chunks) - 1):
            place = slice(own.thing.chunks[number].start, own.thing.chunks[number].end)
            body = over(body, place, other.genuine.body[place])
        return own.genuine.replace(body=body)

    for key in (KEY, UPLOAD):
        kept(t).attempt(key, change, 200)


@case
def two_versions_with_each_others_last_parts(t):
    kept(t).attempt(UPLOAD, lambda own, other: own.genuine.replace(
        body=over(own.genuine.body, own.thing.part(2), other.genuine.body[own.thing.part(2)])), 200)


@case
def a_flip_in_each_version(t):
    for key in (KEY, UPLOAD):
        for place in (0.1, 0.5, 0.9):
            kept(t).attempt(key, lambda own, _, place=place: own.genuine.replace(
                body=layout.flipped(own.genuine.body, int(len(own.genuine.body) * place))), 200)


@case
def a_whole_version_under_another_ones_id_is_not_noticed(t):
    # The limit: nothing outside the storage knows which id is whose, nor which version is the newest.
    found = kept(t)
    for key in (KEY, UPLOAD):
        older, newest = found.keys[key]
        with found.storage.telling(key, {newest.version: older.genuine}):
            for asked in (newest.version, None):
                equal(outcome(found.fetch("GET", key, asked), older.thing.body), "right", "the older version")
        found.read_back(key)
