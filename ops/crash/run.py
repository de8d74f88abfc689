#!/usr/bin/env python3
"""Breaks `sealgate dev` over the filesystem backend, and holds what is there afterwards against what clients were told.

  ops/crash/run.py [--rounds N] [--only kill|power|full|sync...] [--json FILE]

  kill    SIGKILL in the middle of 200 clients that write, and of 200 that complete uploads, both over old objects too
  power   the same with the page cache lost (ext4 in a loop device, shut down without a flush), sled's files included
  full    a disk without space left: refused cleanly, nothing lost, works again when there is space
  sync    fsync and fdatasync that fail with EIO (strace), for objects and for sled

`power` and `full` need root. Run with the python of ops/install-tools; SEALGATE_BIN names the binary.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "ops", "compat")]

import cases  # noqa: E402 (found through the line above)
import disks  # noqa: E402
import servers  # noqa: E402
import storm  # noqa: E402
import target  # noqa: E402

CLIENTS = 200
ANSWER_SECONDS = 120
BREAKS = {}


def breaks(function):
    """Registers a way to break things."""
    BREAKS[function.__name__] = function
    return function


@contextlib.contextmanager
def gateway(data=None):
    binary = os.environ.get("SEALGATE_BIN", os.path.join(ROOT, "target/debug/sealgate"))
    running = target.Gateway(os.path.abspath(binary), data=data)
    try:
        yield running
    finally:
        running.stop()


def bucket_of(running, name: str) -> str:
    cases.Context(running, name, "ci").create_bucket(name)
    return name


def leftovers(running) -> list[str]:
    """What a crash left that opening the storage should have removed."""
    found = []
    for directory, _, names in os.walk(os.path.join(running.data, "backend")):
        if os.path.basename(directory) == "new" or "/new/" in directory:
            found += [os.path.join(directory, name) for name in names]
    return found


def settled(running, counts: storm.Counts):
    left = leftovers(running)
    counts.losses += [f"left behind: {path}" for path in left[:5]]


@breaks
def kill(rounds: int, dice: random.Random) -> storm.Counts:
    total = storm.Counts()
    with gateway() as running:
        bucket = bucket_of(running, "storms")
        for number in range(rounds):
            writers = storm.Storm(running, bucket, CLIENTS, f"put-{number}")
            writers.start()
            writers.tally.reach(dice.randrange(CLIENTS // 2, CLIENTS * 3), ANSWER_SECONDS)
            total.add(killed(running, writers))
            completes = storm.Completes(running, bucket, CLIENTS, f"complete-{number}")
            completes.prepare()
            completes.start()
            completes.tally.reach(dice.randrange(1, CLIENTS), ANSWER_SECONDS)
            total.add(killed(running, completes))
    return total


def killed(running, clients) -> storm.Counts:
    """Kills, starts again, and looks."""
    running.kill()
    clients.finish()
    running.start()
    counts = clients.verify()
    counts.kills = 1
    settled(running, counts)
    return counts


@breaks
def power(rounds: int, dice: random.Random) -> storm.Counts:
    total = storm.Counts()
    for number in range(rounds):
        with disks.Disk(1_024) as disk, gateway(os.path.join(disk.root, "data")) as running:
            bucket = bucket_of(running, "storms")
            completes = storm.Completes(running, bucket, CLIENTS // 4, "complete")
            completes.prepare()
            writers = storm.Storm(running, bucket, CLIENTS // 2, "put")
            writers.start()
            completes.start()
            writers.tally.reach(dice.randrange(CLIENTS // 2, CLIENTS * 2), ANSWER_SECONDS)
            # The last thing that the control plane was asked: sled must not forget it.
            late = bucket_of(running, f"late-{number}")
            planted = os.path.join(disk.root, "planted")
            with open(planted, "w") as file:
                file.write("not synced")
            disk.cut_power()
            running.kill()
            writers.finish()
            completes.finish()
            disk.unmount()
            disk.mount()
            if os.path.exists(planted) and os.path.getsize(planted):
                raise storm.Lost("the power cut lost nothing: a file that was never synced is still there")
            running.start()
            counts = writers.verify()
            counts.add(completes.verify())
            counts.kills = 1
            settled(running, counts)
            answer = writers.raw.request("HEAD", f"/{late}")
            if answer.status != 200:
                counts.losses.append(f"bucket {late} was created, and is not there: {answer.status}")
            total.add(counts)
            running.interrupt()
    return total


@breaks
def full(_rounds: int, _dice: random.Random) -> storm.Counts:
    with disks.Disk(96) as disk, gateway(os.path.join(disk.root, "data")) as running:
        bucket = bucket_of(running, "storms")
        writers = storm.Storm(running, bucket, 20, "put")
        writers.start()
        writers.tally.reach(100, ANSWER_SECONDS)
        writers.finish()
        filling, number = b"\0" * (1 << 20), 0
        while (answer := writers.raw.request("PUT", f"/{bucket}/filling/{number:04d}", body=filling)).status == 200:
            number += 1
        print(f"  full after {number} MiB: {answer}")
        counts = storm.Counts(refused=1)
        if answer.code != "SlowDown" or b"is full" not in answer.body:
            counts.losses.append(f"a full disk is answered with {answer}")
        # Small writes fill what is left; nothing of them may show either.
        small = storm.Storm(running, bucket, 20, "small", largest=70_000)
        small.start()
        deadline = time.monotonic() + ANSWER_SECONDS
        while not all(small.refused) and time.monotonic() < deadline:
            time.sleep(0.05)
        small.finish()
        if not all(small.refused):
            counts.losses.append("not every writer came to the end of the disk")
        refused_bucket = writers.raw.request("PUT", "/no-space-left")
        print(f"  a new bucket then: {refused_bucket}")
        if running.process.poll() is not None:
            counts.losses.append(f"the gateway ended on a full disk{servers.tail(running.log)}")
            return counts
        counts.add(writers.verify())
        counts.add(small.verify())
        for freed in range(number):
            deleted = writers.raw.request("DELETE", f"/{bucket}/filling/{freed:04d}")
            if deleted.status != 204:
                counts.losses.append(f"deleting on a full disk: {deleted}")
                break
        again = writers.raw.request("PUT", f"/{bucket}/again", body=filling)
        if again.status != 200:
            counts.losses.append(f"with space again: {again}")
        answer = writers.raw.request("PUT", "/space-again")
        if answer.status != 200:
            counts.losses.append(f"a bucket, with space again: {answer}")
        running.restart()
        counts.add(writers.verify())
        counts.add(small.verify())
        settled(running, counts)
        for name, before in (("no-space-left", refused_bucket), ("space-again", answer)):
            after = writers.raw.request("HEAD", f"/{name}").status
            if before.status == 200 and after != 200:
                counts.losses.append(f"bucket {name} was created, and is not there after a restart: {after}")
        return counts


@breaks
def sync(_rounds: int, _dice: random.Random) -> storm.Counts:
    counts = storm.Counts()
    with gateway() as running:
        bucket = bucket_of(running, "storms")
        writers = storm.Storm(running, bucket, 20, "put")
        writers.start()
        writers.tally.reach(40, ANSWER_SECONDS)
        created = {}
        with failing_syncs(running.process.pid):
            deadline = time.monotonic() + ANSWER_SECONDS
            while not all(writers.refused) and time.monotonic() < deadline:
                time.sleep(0.05)
            for number in range(8):
                created[f"eio-{number}"] = writers.raw.request("PUT", f"/eio-{number}")
        writers.finish()
        if not all(writers.refused):
            counts.losses.append("not every writer was refused while syncs failed")
        print(f"  refused with: {writers.refusals[0]}" if writers.refusals else "  nothing refused")
        print(f"  buckets meanwhile: {[answer.status for answer in created.values()]}")
        counts.add(writers.verify())
        running.kill()
        running.start()
        counts.kills = 1
        counts.add(writers.verify())
        settled(running, counts)
        for name, answer in created.items():
            after = writers.raw.request("HEAD", f"/{name}").status
            if answer.status == 200 and after != 200:
                counts.losses.append(f"bucket {name} was created, and is not there after a crash: {after}")
        late = writers.raw.request("PUT", "/after-the-errors")
        if late.status != 200:
            counts.losses.append(f"a bucket after the restart: {late}")
    return counts


@contextlib.contextmanager
def failing_syncs(process: int):
    """Every third sync fails with EIO."""
    tracer = servers.start_process(
        ["strace", "-f", "-qq", "-p", str(process), "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o", "/dev/null",
         "-e", "inject=fsync,fdatasync,sync_file_range,msync:error=EIO:when=3+3"], stderr=subprocess.PIPE)
    try:
        status = f"/proc/{process}/status"
        servers.wait_until("strace", tracer, lambda: "TracerPid:\t0\n" not in open(status).read())
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=sorted(BREAKS), default=list(BREAKS))
    parser.add_argument("--seed", default=str(time.time_ns()))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    results, failed = {}, 0
    for name in options.only:
        started = time.monotonic()
        try:
            counts = BREAKS[name](options.rounds, random.Random(f"{options.seed}/{name}"))
        except (storm.Lost, servers.ServerError, target.TargetError, subprocess.SubprocessError) as error:
            counts = storm.Counts(losses=[str(error)])
        failed += bool(counts.losses)
        results[name] = vars(counts)
        print(f"{'FAIL' if counts.losses else 'PASS'} {name}: {counts} ({time.monotonic() - started:.0f} s, seed {options.seed})", flush=True)
        for loss in counts.losses[:10]:
            print(f"  {loss}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    print(f"crashes: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
