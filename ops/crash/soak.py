#!/usr/bin/env python3
"""Hours of mixed work on one `sealgate dev`: nothing may be lost, and nothing may grow.

  ops/crash/soak.py [--minutes N] [--clients N] [--backend filesystem|seaweedfs|versitygw|minio] [--json FILE]

Clients overwrite, read whole and in ranges, delete, list and upload by multipart, each over keys of its own, and hold every
answer against what they wrote. In the middle of it the gateway is restarted gracefully. Memory, threads and file descriptors
are sampled; at the end they may not be above what they were in the second fifth, with the room that is named below. The
allocator settles for some minutes: runs below half an hour say little about memory.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "ops", "compat")]

import cases  # noqa: E402 (found through the line above)
import raw  # noqa: E402
import servers  # noqa: E402
import sigv4  # noqa: E402
import storm  # noqa: E402
import target  # noqa: E402

KEYS = 8
SAMPLE_SECONDS = 5
# An allocator's fragments; a leak of one buffer a request is hundreds of these in an hour.
ROOM_KIB = 24 << 10
ROOM_COUNT = 16


class Client:
    """One client and its keys."""

    def __init__(self, running, bucket: str, number: int):
        self.raw = raw.RawClient(running.endpoint, sigv4.Credentials(running.access_key, running.secret_key, running.region))
        self.bucket, self.prefix, self.dice = bucket, f"client-{number:03d}/", random.Random(number)
        # What each key holds; None is nothing.
        self.known: dict[str, bytes | None] = {f"{self.prefix}{key}": None for key in range(KEYS)}
        self.done, self.wrong = 0, []

    def path(self, key: str = "") -> str:
        return sigv4.encode_path(self.bucket, key)

    def work(self, over: threading.Event):
        while not over.is_set() and len(self.wrong) < 5:
            act = self.dice.choice((self.put, self.put, self.get, self.get, self.get_range, self.delete, self.upload, self.list))
            try:
                act(self.dice.choice(list(self.known)))
                self.done += 1
            except storm.BROKEN as error:
                self.wrong.append(f"{act.__name__}: {error!r}")

    def expect(self, what: str, good: bool, answer):
        if not good:
            self.wrong.append(f"{what}: {answer}")

    def put(self, key):
        body = self.dice.randbytes(self.dice.choice(storm.SIZES))
        answer = self.raw.request("PUT", self.path(key), body=body)
        self.expect(f"PUT {key}", answer.status == 200, answer)
        self.known[key] = body

    def get(self, key):
        answer, wanted = self.raw.request("GET", self.path(key)), self.known[key]
        good = answer.status == 404 if wanted is None else (answer.status, answer.body) == (200, wanted)
        self.expect(f"GET {key}", good, answer)

    def get_range(self, key):
        wanted = self.known[key]
        if not wanted:
            return
        first = self.dice.randrange(len(wanted))
        last = self.dice.randrange(first, len(wanted))
        answer = self.raw.request("GET", self.path(key), headers={"range": f"bytes={first}-{last}"})
        self.expect(f"GET {key} {first}-{last}", (answer.status, answer.body) == (206, wanted[first:last + 1]), answer)

    def delete(self, key):
        answer = self.raw.request("DELETE", self.path(key))
        self.expect(f"DELETE {key}", answer.status == 204, answer)
        self.known[key] = None

    def upload(self, key):
        created = self.raw.request("POST", self.path(key), [("uploads", "")])
        upload = ElementTree.fromstring(created.body).findtext(f"{storm.SPACE}UploadId")
        body = self.dice.randbytes(storm.MIN_PART + self.dice.randrange(200_000))
        parts = ""
        for number, part in enumerate((body[:storm.MIN_PART], body[storm.MIN_PART:]), 1):
            if part:
                stored = self.raw.request("PUT", self.path(key), [("partNumber", str(number)), ("uploadId", upload)], body=part)
                parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{stored.etag}</ETag></Part>"
        if self.dice.random() < 0.2:
            answer = self.raw.request("DELETE", self.path(key), [("uploadId", upload)])
            self.expect(f"Abort {key}", answer.status == 204, answer)
            return
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self.raw.request("POST", self.path(key), [("uploadId", upload)], body=document)
        self.expect(f"Complete {key}", b"<CompleteMultipartUploadResult" in answer.body, answer)
        self.known[key] = body

    def list(self, _key):
        answer = self.raw.request("GET", self.path(), [("list-type", "2"), ("prefix", self.prefix)])
        entries = ElementTree.fromstring(answer.body).findall(f"{storm.SPACE}Contents")
        found = {entry.findtext(f"{storm.SPACE}Key"): int(entry.findtext(f"{storm.SPACE}Size")) for entry in entries}
        wanted = {key: len(body) for key, body in self.known.items() if body is not None}
        self.expect(f"LIST {self.prefix}", found == wanted, f"{found}, not {wanted}")

    def verify(self):
        for key in self.known:
            self.get(key)


def sample(process: int) -> dict[str, int]:
    """Resident KiB, threads and open files of a process."""
    with open(f"/proc/{process}/status") as file:
        status = dict(line.split(":", 1) for line in file if ":" in line)
    return {"rss_kib": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]), "files": len(os.listdir(f"/proc/{process}/fd"))}


def grown(samples: list[dict]) -> list[str]:
    """What is above the second fifth's highest at the end, by the lowest of the last fifth."""
    fifth = max(1, len(samples) // 5)
    complaints = []
    for name, room in (("rss_kib", ROOM_KIB), ("threads", ROOM_COUNT), ("files", ROOM_COUNT)):
        first, last = max(one[name] for one in samples[fifth:2 * fifth] or samples), min(one[name] for one in samples[-fifth:])
        if last > first + room:
            complaints.append(f"{name} grew from {first} to {last}")
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--backend", choices=("filesystem", *servers.S3_SERVERS), default="filesystem")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    binary = os.environ.get("SEALGATE_BIN", os.path.join(ROOT, "target/debug/sealgate"))
    with contextlib.ExitStack() as stack:
        server = None if options.backend == "filesystem" else stack.enter_context(servers.S3_SERVERS[options.backend]())
        running = target.Gateway(os.path.abspath(binary), server)
        stack.callback(running.stop)
        cases.Context(running, "soak", "ci").create_bucket("soak")
        clients = [Client(running, "soak", number) for number in range(options.clients)]
        halves, wrong = [], []
        for half in range(2):
            over = threading.Event()
            threads = [threading.Thread(target=client.work, args=(over,)) for client in clients]
            for thread in threads:
                thread.start()
            samples, end = [], time.monotonic() + options.minutes * 30
            while time.monotonic() < end:
                time.sleep(SAMPLE_SECONDS)
                samples.append(sample(running.process.pid))
            over.set()
            for thread in threads:
                thread.join()
            halves.append(samples)
            wrong += [f"half {half + 1}: {complaint}" for complaint in grown(samples)]
            running.restart()
            for client in clients:
                client.verify()
    wrong += [complaint for client in clients for complaint in client.wrong]
    done = sum(client.done for client in clients)
    last = halves[-1][-1]
    print(f"{options.backend}, {options.minutes:g} minutes: {done} operations, highest RSS "
          f"{max(one['rss_kib'] for half in halves for one in half) >> 10} MiB, at the end {last['threads']} threads, {last['files']} files")
    for complaint in wrong[:20]:
        print(f"  {complaint}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"operations": done, "samples": halves, "wrong": wrong}, file, indent=1)
    print(f"soak: {int(not wrong)} passed, {int(bool(wrong))} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
