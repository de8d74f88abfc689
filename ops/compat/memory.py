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
from sealgate_format import keyring, keys, objects, primitives, store

PIECE = 1 << 20
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
                for match in pattern.finditer(kept + piece):
                    if match.end() > len(kept):
                        found[names[match[0]]] += 1
                kept, at = piece[-OVERLAP:], at + len(piece)
    return found


def keys_of(t, key: str, body: bytes) -> dict[str, bytes]:
    """The IK, the DEK and everything derived from them, as the second reader meets them."""
    met = {}

    def watched_hkdf(secret, salt, info):
        made = primitives.hkdf(secret, salt, info)
        purpose = re.match(rb"sealgate/v1/([a-z]+)", info)[1].decode()
        met[f"secret of {purpose}"], met[f"made for {purpose}"] = secret, made
        return made

    with unittest.mock.patch.object(keys, "hkdf", watched_hkdf), unittest.mock.patch.object(objects, "hkdf", watched_hkdf):
        bucket = decryptor.opened(t)
        (stored,) = bucket.stored(key.encode())
        true(b"".join(bucket.decrypt(stored).plaintext) == body, "the second reader reads something else")
    # What is made for the commitment is no secret: it is in every envelope.
    del met["made for commit"]
    return met


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
