"""What a running gateway stored, fetched raw from the storage and opened by `ops/decryptor`: a reader written from the documents."""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import os
import subprocess
import sys

import secrecy
import sigv4
from cases import case, data, equal, true
from s3_multipart import FIVE, Upload

DECRYPTOR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "decryptor")
sys.path.insert(0, DECRYPTOR)

from sealgate_format import filesystem, objects, records, store  # noqa: E402 (found through the line above)
from sealgate_format.keyring import Keyring  # noqa: E402
from sealgate_format.primitives import Refused  # noqa: E402

LENGTHS = (0, 1, 65535, 65536, 65537, 200_000, FIVE + 1)
SHA256, CRC32 = 5, 1


@dataclasses.dataclass(frozen=True)
class OnServer:
    """An object as an S3 server gives it."""

    client: object
    bucket: str
    key: bytes
    metadata: dict
    size: int

    @functools.cached_property
    def body(self) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=self.key.decode())["Body"].read()

    def read(self, start: int, end: int) -> bytes:
        return self.body[start:end]


def raw(t):
    """Everything in the storage's bucket that is this suite's, hidden objects included."""
    if not t.target.backend:
        (root,) = t.target.raw_roots()
        return filesystem.objects(root, backend_bucket(os.listdir(os.path.join(root, "buckets")), t.bucket))
    client = secrecy.backend_client(t.target.backend)
    bucket = backend_bucket([entry["Name"] for entry in client.list_buckets()["Buckets"]], t.bucket)
    found = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            head = client.head_object(Bucket=bucket, Key=entry["Key"])
            found.append(OnServer(client, bucket, entry["Key"].encode(), head["Metadata"], head["ContentLength"]))
    return found


def backend_bucket(names: list[str], bucket: str) -> str:
    (found,) = [name for name in names if name.endswith(bucket)]
    return found


@functools.cache
def keyring(directory: str) -> Keyring:
    with open(os.path.join(directory, "keyring.json")) as ring, open(os.path.join(directory, "keyring.key"), "rb") as key:
        return Keyring(ring.read(), key_file=key.read())


def drops_metadata_of_markers(t) -> bool:
    return t.target.backend is not None and t.target.backend.name == "seaweedfs"


def opened(t) -> store.Bucket:
    """The bucket with what an operator brings: card and keyring."""
    with open(os.path.join(t.target.data, "recovery")) as card:
        cards = [card.read()]
    return store.Bucket(raw(t), cards, keyring(os.path.join(t.target.data, "control-plane")), drops_metadata_of_markers(t))


def check(t, wanted: dict[str, bytes]) -> dict[str, objects.Object]:
    """Those keys hold those bytes, by their envelopes and, but for markers, by their recovery blocks."""
    bucket, found = opened(t), {}
    there = {stored.key.decode(): stored for stored in bucket.stored()}
    for key, body in wanted.items():
        true(key in there, f"{key} is not in the storage")
        for bare in (False, True) if there[key].size else (False,):
            whole = bucket.decrypt(there[key], without_envelope=bare)
            text = b"".join(whole.plaintext)
            equal((len(text), hashlib.sha256(text).digest()), (len(body), hashlib.sha256(body).digest()), f"{key}, bare: {bare}")
            found.setdefault(key, whole)
    return found


@case
def single_puts(t):
    wanted = {f"single/{length}": data(length) for length in LENGTHS}
    wanted |= {"single/größe 日本語+%2F": b"name", "single/.hidden": b"dot", "single/" + "k" * 200 + "/x": b"long"}
    for key, body in wanted.items():
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
    for key, found in check(t, wanted).items():
        # Known before the body, so it is in the metadata, not in the trailer.
        digest = base64.b64encode(hashlib.sha256(wanted[key]).digest())
        equal(found.metadata.get(b"x-amz-checksum-sha256"), digest, f"SHA-256 of {key}")


@case
def a_checksum_that_comes_after_the_body(t):
    body = data(100_000)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    framing = sigv4.Framing("STREAMING-UNSIGNED-PAYLOAD-TRAILER", trailers=(("x-amz-checksum-sha256", digest),))
    answer = t.raw.request("PUT", t.path("trailing"), body=body, framing=framing)
    equal(answer.status, 200, f"status of {answer}")
    found = check(t, {"trailing": body})["trailing"]
    equal(found.table.checksums, ((SHA256, False, hashlib.sha256(body).digest()),), "checksums in the trailer")


@case
def metadata(t):
    t.s3.put_object(Bucket=t.bucket, Key="metadata", Body=b"x", ContentType="text/x-mine", CacheControl="no-cache",
                    ContentDisposition='attachment; filename="a b"', Metadata={"name": "value", "long": "compressible " * 90})
    found = check(t, {"metadata": b"x"})["metadata"].metadata
    wanted = {b"content-type": b"text/x-mine", b"cache-control": b"no-cache", b"content-disposition": b'attachment; filename="a b"',
              b"x-amz-meta-name": b"value", b"x-amz-meta-long": b"compressible " * 90}
    equal({name: value.strip() for name, value in found.items() if name in wanted}, {name: value.strip() for name, value in wanted.items()}, "metadata")


@case
def multipart_uploads(t):
    plans = {
        "multipart/tiny-last": {1: FIVE, 2: FIVE + 12_345, 3: 7}, "multipart/one": {1: 100}, "multipart/empty": {1: 0},
        "multipart/gaps": {2: FIVE + 1, 70: FIVE, 10_000: 65_537}, "multipart/large-last": {4: FIVE, 9: FIVE + 65_536},
    }
    wanted, etags = {}, {}
    for key, sizes in plans.items():
        upload = Upload(t, key, Metadata={"of": key}, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
        for number, size in reversed(sizes.items()):
            upload.part(number, data(size, number), ChecksumAlgorithm="CRC32")
        upload.complete()
        wanted[key], etags[key] = upload.body(), {number: etag for number, (etag, _) in upload.parts.items()}
    for key, found in check(t, wanted).items():
        equal({part.number: part.size for part in found.table.parts}, plans[key], f"parts of {key}")
        equal({part.number: part.etag for part in found.table.parts},
              {number: records.etag_in_table(records.backend_etag(etag.strip('"'))) for number, etag in etags[key].items()}, f"ETags of {key}'s parts")
        equal([(code, composite) for code, composite, _ in found.table.checksums], [(CRC32, False)], f"checksums of {key}")
        equal(found.metadata.get(b"x-amz-meta-of"), key.encode(), f"metadata of {key}")


@case
def copies(t):
    there = f"{t.bucket}-2"
    t.create_bucket(there)
    body, upload = data(200_000, "copy"), Upload(t, "copy/parts", Metadata={"of": "parts"})
    t.s3.put_object(Bucket=t.bucket, Key="copy/source", Body=body, Metadata={"of": "source"}, ContentType="text/x-mine")
    for number, size in ((1, FIVE), (2, 777)):
        upload.part(number, data(size, number))
    upload.complete()
    bodies = {"source": body, "parts": upload.body()}
    for name in bodies:
        # Copied in its bucket, into another one, from there back and on again: the keys of its body go along.
        for place, source, target in ((t.bucket, "copy/", "copied/"), (there, "copied/", "copied/"), (t.bucket, "copied/", "returned/")):
            source = {"Bucket": t.bucket if target == "copied/" else there, "Key": source + name}
            t.s3.copy_object(Bucket=place, Key=target + name, CopySource=source)
        t.s3.copy_object(Bucket=there, Key=f"described/{name}", CopySource={"Bucket": t.bucket, "Key": f"returned/{name}"},
                         MetadataDirective="REPLACE", Metadata={"of": "nobody"})
        t.s3.delete_object(Bucket=t.bucket, Key=f"copy/{name}")
    for name, found in check(t, {f"{target}/{name}": body for target in ("copied", "returned") for name, body in bodies.items()}).items():
        equal(found.metadata.get(b"x-amz-meta-of"), name.split("/")[1].encode(), f"metadata of {name}")
    with inside(t, there):
        wanted = {f"{target}/{name}": body for target in ("copied", "described") for name, body in bodies.items()}
        for name, found in check(t, wanted).items():
            of = b"nobody" if name.startswith("described/") else name.split("/")[1].encode()
            equal(found.metadata.get(b"x-amz-meta-of"), of, f"metadata of {name}")
        (stored,) = opened(t).stored(b"copied/source")
        before = objects.parse_envelope(objects.unb64(stored.metadata[objects.ENVELOPE_HEADER], "header"))
        block = ik_of_body(stored)
        true(before.ik != block, "the body's recovery block names the IK of the bucket that it was written in")


def ik_of_body(stored) -> bytes:
    """The IK that a body's recovery block names."""
    return stored.read(stored.size - 103, stored.size - 4)[3:19]


@contextlib.contextmanager
def inside(t, bucket):
    """Another bucket in the place of the suite's own."""
    own, t.bucket = t.bucket, bucket
    try:
        yield
    finally:
        t.bucket = own


@case
def directory_markers(t):
    for key, kind in (("markers/", "application/x-directory"), ("markers/a/b/", None)):
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=b"", **({"ContentType": kind} if kind else {}))
    found = check(t, {"markers/": b"", "markers/a/b/": b""})
    kept = None if drops_metadata_of_markers(t) else b"application/x-directory"
    equal(found["markers/"].metadata.get(b"content-type"), kept, "the marker's type")


@case
def an_upload_in_progress(t):
    sizes = {1: FIVE, 2: 1234, 10_000: 65_537}
    upload = Upload(t, "in-progress")
    for number, size in sizes.items():
        upload.part(number, data(size, number))
    bucket = opened(t)
    names = {name: records.parse_name(name) for name in bucket.hidden_names()}
    found = [records.parse_upload_record(bucket.hidden_body(name)) for name, what in names.items() if what["kind"] == "upload"]
    (record,) = [record for record in found if record.key == b"in-progress"]
    own = records.record_name(record.gateway, record.bucket, record.upload, record.key)
    equal((record.bucket, record.upload), (bucket.id, upload.place["UploadId"]), "bucket and upload id")
    of_ik, ik = bucket.record_and_ik(record.envelope.ik)
    dek, envelope = record.open(of_ik.tenant, ik), record.envelope
    notes, stashes = {}, {}
    for name, what in names.items():
        if what.get("record") == own and what["kind"] == "note":
            notes[what["part"]] = records.open_note(dek, envelope.suite, envelope.object_id, record.upload, what["part"], what["etag"], bytes.fromhex(what["note"]))
        if what.get("record") == own and what["kind"] == "stash":
            stashes[what["part"]] = (bytes.fromhex(what["salt"]), bucket.hidden_body(name))
    equal({part: note.size for part, note in notes.items()}, sizes, "sizes in the notes")
    equal(sorted(stashes), [2, 10_000], "stashed parts: those below 5 MiB and the client's part 10,000")
    for number, (salt, body) in stashes.items():
        equal(salt, notes[number].salt, f"salt of stash {number}")
        part = objects.Part(number, notes[number].size, salt)
        chunks = objects.open_chunks(dek, envelope.suite, envelope.object_id, part, lambda start, end: body[start:end], 0)
        true(b"".join(chunks) == data(sizes[number], number), f"stash {number} holds other bytes")
    upload.abort()


@case
def what_was_changed_is_refused(t):
    t.s3.put_object(Bucket=t.bucket, Key="changed", Body=data(200_000))
    bucket = opened(t)
    (stored,) = bucket.stored(b"changed")
    whole = stored.read(0, stored.size)
    for stage, at in (("chunk", 70_000), ("trailer", stored.size - 300), ("recovery", stored.size - 103)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
        try:
            found = bucket.decrypt(OnHand(stored.key, stored.metadata, stored.size, changed))
            b"".join(found.plaintext)
        except Refused as refusal:
            equal(refusal.stage, stage, f"stage of byte {at}")
        else:
            true(False, f"byte {at} was changed and nobody saw it")


@case
def the_command_decrypts_a_whole_bucket(t):
    if t.target.backend:
        return
    (root,) = t.target.raw_roots()
    bucket = backend_bucket(os.listdir(os.path.join(root, "buckets")), t.bucket)
    secrets_of = os.path.join(t.target.data, "control-plane")
    command = [sys.executable, os.path.join(DECRYPTOR, "decrypt.py"), "--fs-root", root, "--bucket", bucket,
               "--recovery-card", os.path.join(t.target.data, "recovery"), "--keyring", os.path.join(secrets_of, "keyring.json"),
               "--key-file", os.path.join(secrets_of, "keyring.key")]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    equal((done.returncode, done.stderr), (0, ""), "exit status and complaints")
    printed = {line.split(maxsplit=2)[2]: line.split()[0] for line in done.stdout.splitlines()[:-1]}
    equal(sorted(printed), sorted(t.keys()), "keys")
    for key in t.keys("single/"):
        equal(printed[key], hashlib.sha256(t.get(key)).hexdigest(), f"SHA-256 of {key}")


@dataclasses.dataclass(frozen=True)
class OnHand:
    """An object whose bytes are at hand."""

    key: bytes
    metadata: dict
    size: int
    body: bytes

    def read(self, start: int, end: int) -> bytes:
        return self.body[start:end]
