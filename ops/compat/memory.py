"""What lies in the gateway's memory, that of both planes, when a key's time is over: no IK, no DEK, nor anything derived from one.

The keys come from the second reader (`ops/decryptor`), which opens what the gateway stored; the memory from /proc. The IK is
first found where it must be, in a node that uses it: a search that finds nothing proves nothing.
"""

import contextlib
import re
import secrets
import socket
import unittest.mock

import decryptor
import servers
import sigv4
from cases import case, data, equal, true
from s3_multipart import FIVE, Upload
from sealgate_format import keys, objects, primitives, records

PIECE = 1 << 20
ZEROS = bytes(PIECE)
OVERLAP = 64
# More than sockets take in for a client that reads nothing.
LARGE = 32 << 20


def count(process: int, needles: dict[str, bytes]) -> dict[str, int]:
    """How often each needle lies in what the process can write to."""
    pattern = re.compile(b"|".join(re.escape(needle) for needle in needles.values()))
    names, found = {needle: name for name, needle in needles.items()}, dict.fromkeys(needles, 0)
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in maps:
            where, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            at, end = (int(number, 16) for number in where.split("-"))
            kept = b""
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, end - at))
                except (OSError, OverflowError, ValueError):
                    break
                if not piece:
                    break
                # Allocators reserve gigabytes that nobody has used.
                if piece == ZEROS:
                    kept, at = b"", at + PIECE
                    continue
                for match in pattern.finditer(kept + piece):
                    if match.end() > len(kept):
                        found[names[match[0]]] += 1
                kept, at = piece[-OVERLAP:], at + len(piece)
    return found


@contextlib.contextmanager
def met_by_the_reader():
    """The IK, the DEK and everything derived from them, as the second reader meets them."""
    met = {}

    def watched_hkdf(secret, salt, info):
        made = primitives.hkdf(secret, salt, info)
        purpose = re.match(rb"sealgate/v1/([a-z]+)", info)[1].decode()
        met[f"secret of {purpose}"], met[f"made for {purpose}"] = secret, made
        return made

    with contextlib.ExitStack() as stack:
        for module in (keys, objects, records):
            stack.enter_context(unittest.mock.patch.object(module, "hkdf", watched_hkdf))
        yield met
    # What is made for the commitment is no secret: it is in every envelope.
    del met["made for commit"]


def keys_of(t, key: str, body: bytes) -> dict[str, bytes]:
    """An object's."""
    with met_by_the_reader() as met:
        bucket = decryptor.opened(t)
        (stored,) = bucket.stored(key.encode())
        true(b"".join(bucket.decrypt(stored).plaintext) == body, "the second reader reads something else")
    return met


def keys_of_upload(t, key: str) -> tuple[str, dict[str, bytes]]:
    """The id of the IK of the bucket's one open upload, and the upload's keys."""
    with met_by_the_reader() as met:
        bucket = decryptor.opened(t)
        (name,) = [name for name in bucket.hidden_names() if records.parse_name(name)["kind"] == "upload"]
        record = records.parse_upload_record(bucket.hidden_body(name))
        equal(record.key, key.encode(), "the upload's key")
        of_ik, ik = bucket.record_and_ik(record.envelope.ik)
        record.open(of_ik.tenant, ik)
    return record.envelope.ik.hex(), met


@contextlib.contextmanager
def stalled_get(t, path: str):
    """A download whose client reads the head and then nothing."""
    url = t.s3.generate_presigned_url("get_object", {"Bucket": path.split("/")[1], "Key": "object"})
    with socket.create_connection(t.raw.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(f"GET {url.split(t.raw.host, 1)[1]} HTTP/1.1\r\nhost: {t.raw.host}\r\n\r\n".encode())
        head = connection.recv(1_000)
        true(head.startswith(b"HTTP/1.1 200"), f"{head}")
        yield


def wait_for_the_end_of(t, process: int, met: dict[str, bytes]):
    """Until the gateway has noticed that the client is gone."""
    servers.wait_until("the end of a download", t.target.process, lambda: not any(count(process, met).values()), seconds=150)


@case(seconds=400)
def keys_that_are_over_are_nowhere(t):
    """A bucket of its own: what deletes it ends its keys."""
    name, body = f"memory-{secrets.token_hex(4)}", data(LARGE, "memory")
    t.create_bucket(name)
    there = sigv4.encode_path(name, "object")
    for _ in range(2):
        equal(t.raw.request("PUT", there, body=body).status, 200, "PUT")
        true(t.raw.request("GET", there).body == body, "GET")
    with unittest.mock.patch.object(t, "bucket", name):
        met = keys_of(t, "object", body)
    ik = met.pop("secret of wrap")
    process = t.target.process.pid
    true(count(process, {"IK": ik})["IK"] > 0, "the search does not find the IK that is in use")
    with stalled_get(t, there):
        in_use = count(process, met)
    true(in_use["made for part"] > 0, f"the search does not find the key of an answer that is under way: {in_use}")
    wait_for_the_end_of(t, process, met)
    # Requests are over, so what was made for them is, while the IK is still in the cache.
    equal(count(process, met), dict.fromkeys(met, 0), "DEK and derived keys in memory after the requests")
    equal(t.raw.request("DELETE", there).status, 204, "DELETE")
    equal(t.raw.request("DELETE", f"/{name}").status, 204, "DeleteBucket")
    over = met | {"IK": ik}
    equal(count(process, over), dict.fromkeys(over, 0), "keys in memory after the bucket's end")


@contextlib.contextmanager
def open_upload(t):
    """A bucket of its own with an upload that goes on, and with it the IK's id and the keys that are held for it."""
    process = t.target.process.pid
    with decryptor.inside(t, t.fresh_bucket()):
        upload = Upload(t, "upload")
        upload.part(1, data(FIVE, "one"))
        ik, met = keys_of_upload(t, "upload")
        held = {"IK": met["secret of wrap"], "DEK": met["secret of commit"]}
        found = count(process, held)
        true(all(found.values()), f"the search does not find what an open upload is held with: {found}")
        yield upload, ik, met


@case(seconds=120)
def keys_that_are_compromised_are_nowhere(t):
    """The answer says that all nodes have dropped them: no time passes before the look."""
    with open_upload(t) as (_, ik, met):
        answer = t.target.admin("POST", f"/v1/buckets/{t.bucket}/keys/{ik}/compromised", {})
        equal(answer["pending"], [], "nodes that have not confirmed")
        equal(count(t.target.process.pid, met), dict.fromkeys(met, 0), "keys in memory after the IK was called compromised")


@case(seconds=120)
def keys_of_a_tenant_that_is_cut_off_are_nowhere(t):
    """And the upload goes on when the tenant has its keys again."""
    with open_upload(t) as (upload, _, met):
        try:
            answer = t.target.admin("POST", "/v1/tenants/dev/disable", {})
            equal(answer["pending"], [], "nodes that have not confirmed")
            equal(count(t.target.process.pid, met), dict.fromkeys(met, 0), "keys in memory after the tenant's were cut off")
        finally:
            t.target.admin("POST", "/v1/tenants/dev/enable", {})
        upload.part(2, b"the last")
        upload.complete()
        true(t.get("upload") == upload.body(), "the object is not what was uploaded")
