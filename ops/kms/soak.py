#!/usr/bin/env python3
"""Minutes of mixed work while the KMS fails in every way, at random: nothing is lost, nothing hangs, nothing grows.

  ops/kms/soak.py [--minutes N] [--clients N] [--seed N] [--results FILE]

Two nodes, OpenBao behind the faulty proxy. Clients overwrite, read, list, delete and upload by multipart over keys of their own, and
make buckets and delete them, each of which needs a new key. Every few seconds something breaks: the way to the KMS, the KMS (sealed),
its tokens, the second node. The first node and the control plane run through: their memory is sampled. A request may be
refused with a 503 that says when to come again; any other refusal, a request without an answer from a node that was not killed,
or one that takes longer than a client may wait, fails the soak. At the end every acknowledged object is read back.
"""

import argparse
import ctypes
import collections
import json
import os
import random
import resource
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "compat")]

import faultproxy as fault  # noqa: E402 (found through the line above)
import scene  # noqa: E402
import servers  # noqa: E402
import world  # noqa: E402

KEYS = 8
SAMPLE_SECONDS = 2
# Past this a request is stuck: the longest way to a 503 is a node's 20 s wait for a key.
STUCK_SECONDS = 25
# An allocator's fragments, and listings that get longer: each upload that is over leaves a hidden record for a week. A leak of one KiB a
# request would be more.
ROOM_KIB = 24 << 10
SIZES = (0, 1, 4_000, 65_536, 65_537, 200_000)
REFUSED = (503,)
NOTHING = "nothing"


class Client:
    """One client: a bucket of its own, and now and then another one that comes and goes."""

    def __init__(self, stage: scene.Scene, number: int):
        self.stage, self.number, self.dice = stage, number, random.Random(number)
        self.book = stage.book(f"soak-{number:02d}", 1)
        self.wrong, self.turn = [], 0
        # Answers by what was broken when they came; what is mended may still be felt under "nothing".
        self.by_fault = collections.Counter()

    def node(self):
        return self.stage.world.client(self.dice.randrange(2))

    def work(self, over: threading.Event):
        acts = (self.put, self.put, self.get, self.get, self.get, self.delete, self.list, self.upload, self.come_and_go)
        while not over.is_set() and len(self.wrong) < 5:
            self.turn += 1
            self.book.client = self.node()
            killable = self.book.client.address[1] == int(self.stage.world.endpoints[1].rpartition(":")[2])
            try:
                act = self.dice.choice(acts)
                for answer in act(f"object-{self.dice.randrange(KEYS)}"):
                    self.look(answer, killable)
                    if act in (self.list, self.delete) and answer.status == 503 and not killable:
                        self.wrong.append(f"{act.__name__} needs no key: {answer}")
                    refused = answer.status >= 400 or not answer.status
                    self.by_fault[self.stage.broken, str(answer.status or "none") if refused else "served"] += 1
            except Exception as error:  # The other clients go on, and this is told.
                self.wrong.append(f"{type(error).__name__}: {error}")

    def look(self, answer, killable: bool):
        if not answer.status and not killable:
            self.wrong.append(f"no answer after {answer.seconds:.1f} s from a node that runs")
        elif answer.status >= 400 and answer.status != 404 and not (answer.status in REFUSED and answer.retry_after):
            self.wrong.append(str(answer))
        if answer.seconds > STUCK_SECONDS:
            self.wrong.append(f"stuck: {answer}")

    def put(self, key):
        yield self.book.put(key, self.dice.choice(SIZES))

    def get(self, key):
        yield self.book.get(key)

    def delete(self, key):
        yield self.book.delete(key)

    def list(self, _key):
        answer, found = self.book.listing()
        wanted = {key: len(body) for key, body in self.book.known.items()}
        if answer.status == 200 and not self.book.maybe and found != wanted:
            self.wrong.append(f"LIST: {found}, not {wanted}")
        yield answer

    def upload(self, key):
        created, upload = self.book.create_upload(key)
        yield created
        if created.status != 200:
            return
        parts = []
        for number, size in enumerate((5 << 20, 70_000), 1):
            body = self.book.body(size)
            stored = self.book.upload_part(key, upload, number, body)
            yield stored
            if stored.status != 200:
                return
            parts.append((stored, body))
        yield self.book.complete(key, upload, parts)

    def come_and_go(self, _key):
        """A bucket with one object: a key is made, wrapped and unwrapped."""
        book = scene.Book(self.book.client, f"come-{self.number:02d}-{self.turn}", self.turn)
        yield book.make_bucket()
        yield book.put("object")
        yield book.get("object")
        deleted = book.delete("object")
        yield deleted
        # What a node that was killed did not answer may not have been done: the bucket is not empty then.
        if deleted.status == 204:
            yield book.ask("DeleteBucket", "DELETE", book.path())
        self.book.wrong += book.wrong
        self.book.counts.update({f"new bucket: {what}": count for what, count in book.counts.items()})


class Breaker(threading.Thread):
    """Breaks something every few seconds, and mends it."""

    def __init__(self, stage: scene.Scene, seed: int):
        super().__init__(daemon=True)
        stage.broken = NOTHING
        self.stage, self.dice, self.over, self.done, self.error = stage, random.Random(seed), threading.Event(), {}, None

    def run(self):
        ways = [fault.REFUSE, fault.HANG, fault.RESET, fault.CUT, fault.SLOW, fault.HALF, "errors", "throttle", "seal", "token", "node"]
        try:
            while not self.over.wait(self.dice.uniform(2, 8)):
                way = self.dice.choice(ways)
                self.done[way] = self.done.get(way, 0) + 1
                self.stage.broken = way
                self.act(way, self.dice.uniform(2, 12))
                self.stage.broken = NOTHING
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def act(self, way: str, seconds: float):
        stage = self.stage
        if way == "node":
            stage.world.nodes[1].kill()
            self.over.wait(1)
            stage.world.nodes[1].start()
        elif way == "token":
            stage.bao.revoke_tokens()
        elif way == "seal":
            stage.bao.seal()
            self.over.wait(seconds)
            stage.bao.unseal()
        else:
            if way == "throttle":
                stage.proxy.set(fault.ANSWER, answer=(429, b'{"errors":["rate limit quota exceeded"]}'))
            elif way == "errors":
                stage.proxy.set(fault.ANSWER, answer=(500, b'{"errors":["made up"]}'))
            else:
                stage.proxy.set(way)
            self.over.wait(seconds)
            stage.proxy.set(fault.PASS)


def resident_kib(process: int) -> int:
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def grown(name: str, samples: list[int]) -> list[str]:
    """Whether the last fifth is above the second with room, by their medians: uploads under way make single samples differ by more."""
    before, after = (round(statistics.median(fifth)) for fifth in fifths(samples)[1::3])
    return [f"{name} grew from {before} to {after} KiB"] if after > before + ROOM_KIB else []


def fifths(samples: list[int]) -> list[list[int]]:
    """The samples in five parts of equal length, the last ones of a few samples."""
    length = max(1, len(samples) // 5)
    return [samples[-length:] if part == 4 else samples[part * length:(part + 1) * length] or samples for part in range(5)]


def without_locked_memory():
    """What is started from here on may not lock its memory: where that is locked, what is freed is not given back to the system, and
    the samples would show the most that there ever was."""
    PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
    if os.geteuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, most if most != resource.RLIM_INFINITY else 8 << 20))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", metavar="FILE")
    options = parser.parse_args()
    world.many_files()
    without_locked_memory()
    stage, wrong = scene.Scene(), []
    try:
        stage.dev(nodes=2, token_ttl="60s", token_max_ttl="5m")
        clients = [Client(stage, number) for number in range(options.clients)]
        over, breaker = threading.Event(), Breaker(stage, options.seed)
        threads = [threading.Thread(target=client.work, args=(over,)) for client in clients]
        watched = {"control plane": stage.world.control.process.pid, "node": stage.world.nodes[0].process.pid}
        samples = {name: [] for name in watched}
        for thread in (*threads, breaker):
            thread.start()
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end and not breaker.error:
            time.sleep(SAMPLE_SECONDS)
            for name, process in watched.items():
                samples[name].append(resident_kib(process))
        over.set()
        breaker.over.set()
        for thread in (*threads, breaker):
            thread.join(2 * STUCK_SECONDS)
            if thread.is_alive():
                wrong.append("a request is stuck at the end")
        wrong += [breaker.error] if breaker.error else []
        wrong += [complaint for client in clients for complaint in client.wrong]
        wrong += [complaint for name, seen in samples.items() for complaint in grown(name, seen)]
        stage.figure("faults", dict(sorted(breaker.done.items())))
        counts = sum((client.by_fault for client in clients), collections.Counter())
        for way in sorted({way for way, _ in counts}):
            stage.figure(f"answers during {way}", {what: count for (broken, what), count in sorted(counts.items()) if broken == way})
        stage.figure("memory, MiB: medians of five parts of the time", {name: [round(statistics.median(fifth)) >> 10 for fifth in fifths(seen)]
                                                                   for name, seen in samples.items()})
        for client in clients:
            client.book.client = stage.world.client()
    finally:
        stage.close()
    report = stage.report
    wrong += report.wrong + [f"plaintext in {path}" for path in report.plaintext]
    print(f"{options.minutes:g} minutes, {options.clients} clients: {sum(report.counts.values())} requests")
    for name, value in report.figures.items():
        print(f"  {name}: {value}")
    print(f"  answers: {', '.join(f'{count} × {what}' for what, count in report.counts.items())}")
    print(f"  slowest, ms: {report.slowest_ms}")
    print(f"  KMS: {', '.join(f'{count} × {what}' for what, count in sorted(report.kms.items()))}")
    print(f"  {report.verified} objects verified, {len(report.wrong)} wrong, {len(report.plaintext)} files with plaintext")
    for complaint in wrong[:20]:
        print(f"  {complaint}")
    if options.results:
        with open(options.results, "w") as file:
            json.dump({"minutes": options.minutes, "clients": options.clients, **vars(report), "wrong": wrong, "memory_kib": samples}, file, indent=1)
            file.write("\n")
    failed = bool(wrong) or not report.verified
    print(f"kms soak: {int(not failed)} passed, {int(failed)} failed")
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.ServerError as error:
        print(f"kms soak: {error}", file=sys.stderr)
        sys.exit(70)
    except KeyboardInterrupt:
        sys.exit(130)
