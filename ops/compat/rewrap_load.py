"""`sealgate admin rewrap` while clients write and whoever does it is killed: nothing that was acknowledged is lost, nothing is done twice.

CI has time for the first two cases only."""

import contextlib
import hashlib
import random
import threading

from cases import case, equal, true
from rewrap import PARTS, Work, many, uploaded

WRITERS = 4
KEYS = 8
# As clients of their own that retry by themselves do.
PATIENT = {"total_max_attempts": 12, "mode": "standard"}


@case(seconds=300, gateway_only=True)
def killed_again_and_again_it_goes_on(t):
    work = Work(t)
    bodies = many(work, 300)
    uploaded(t, work.bucket, "parts", PARTS)
    old = work.rotated()
    work.start("--key", old, "--rate", "100", "--concurrent", "8")
    reached = []
    for _ in range(3):
        least = (reached[-1] if reached else 0) + 20
        shown = work.until("some progress", lambda shown: shown["rewrapped"] >= least and shown["last_key"])
        reached.append(shown["rewrapped"])
        t.target.kill()
        t.target.start()
        true(work.show()["looked_at"] >= shown["looked_at"], "it forgot how far it was")
    shown = work.until_done()
    equal((shown["left"], work.under(old)), (0, []), "what is left")
    # What was done between the last report and the kill was done all the same.
    true(reached[-1] <= shown["rewrapped"] <= len(bodies) + 1, f"{shown['rewrapped']} wrapped anew of {len(bodies) + 1}")
    work.admin("key", "retire", work.bucket, old)
    for key, body in bodies.items():
        equal(t.s3.get_object(Bucket=work.bucket, Key=key)["Body"].read(), body, key)
    equal(t.s3.get_object(Bucket=work.bucket, Key="parts")["Body"].read(), b"".join(PARTS), "the parts")
    equal(len(work.storage.keys()), len({*work.storage.keys()}), "keys")


class Writer(threading.Thread):
    """Writes, copies and deletes keys that are its own, as fast as it can; knows of each what was acknowledged last."""

    def __init__(self, work: Work, number: int, copies: bool):
        super().__init__(daemon=True)
        self.copies, self.bucket, self.random = copies, work.bucket, random.Random(f"writer/{number}")
        self.s3 = work.t.client(retries=PATIENT)
        self.states = {f"{number}/key-{index}": None for index in range(KEYS)}
        self.failures, self.writes = [], 0
        self.ending = threading.Event()

    def write(self):
        key, chance = self.random.choice(list(self.states)), self.random.random()
        state, metadata = self.states[key], {"count": str(self.writes)}
        if state and chance < 0.15:
            self.s3.delete_object(Bucket=self.bucket, Key=key)
            self.states[key] = None
        elif state and chance < 0.5 and self.copies:
            # Other metadata beside the same bytes: on a storage whose ETags are of bytes nothing else would tell.
            self.s3.copy_object(Bucket=self.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": key}, MetadataDirective="REPLACE", Metadata=metadata)
            self.states[key] = (state[0], metadata)
        else:
            body = self.random.randbytes(self.random.choice((0, 1, 100, 70_000, 300_000)))
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)
            self.states[key] = (hashlib.sha256(body).hexdigest(), metadata)
        self.writes += 1

    def run(self):
        while not self.ending.is_set():
            try:
                self.write()
            except Exception as error:  # An acknowledgement that never came proves nothing, so the case must fail.
                self.failures.append(repr(error))
                return


@contextlib.contextmanager
def writers(work: Work, copies: bool):
    all_of_them = [Writer(work, number, copies) for number in range(WRITERS)]
    for writer in all_of_them:
        for _ in range(2 * KEYS):
            writer.write()
        writer.start()
    try:
        yield all_of_them
    finally:
        for writer in all_of_them:
            writer.ending.set()
        for writer in all_of_them:
            writer.join(60)


def check_nothing_lost(work: Work, all_of_them):
    t = work.t
    equal([failure for writer in all_of_them for failure in writer.failures], [], "failures of writers")
    wanted = {key: state for writer in all_of_them for key, state in writer.states.items() if state}
    pages = t.s3.get_paginator("list_objects_v2").paginate(Bucket=work.bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    equal(sorted(keys), sorted([*wanted, "rotated"]), "the keys")
    for key, state in wanted.items():
        answer = t.s3.get_object(Bucket=work.bucket, Key=key)
        equal((hashlib.sha256(answer["Body"].read()).hexdigest(), answer["Metadata"]), state, key)


def under_load(t, *, compromised: bool, kills: int):
    work = Work(t)
    # What is cut off cannot be copied.
    with writers(work, copies=not compromised) as all_of_them:
        for round_ in range(2 if t.size == "ci" else 4):
            old = work.rotated()
            if compromised:
                work.admin("key", "compromised", work.bucket, old)
            work.start("--key", old, "--rate", "2000", "--concurrent", "16")
            if round_ < kills:
                t.target.kill()
                t.target.start()
            shown = work.until_done()
            equal((shown["left"], work.under(old)), (0, []), f"what is left; {shown}")
            true(shown["reencrypted" if compromised else "rewrapped"] > 0, f"nothing was done: {shown}")
    check_nothing_lost(work, all_of_them)
    true(sum(writer.writes for writer in all_of_them) > 100, "the writers hardly wrote")


@case(seconds=300, gateway_only=True)
def writers_on_every_key_lose_nothing(t):
    under_load(t, compromised=False, kills=0)


@case(seconds=300, gateway_only=True, sizes=("acceptance",))
def writers_lose_nothing_while_it_encrypts_anew(t):
    under_load(t, compromised=True, kills=0)


@case(seconds=300, gateway_only=True, sizes=("acceptance",))
def kills_under_load_lose_nothing(t):
    under_load(t, compromised=False, kills=2)


@case(seconds=300, gateway_only=True, sizes=("acceptance",))
def killed_while_it_encrypts_anew_it_goes_on(t):
    work = Work(t)
    bodies = many(work, 120)
    uploaded(t, work.bucket, "parts", PARTS, ChecksumAlgorithm="CRC32")
    old = work.rotated()
    work.admin("key", "compromised", work.bucket, old)
    work.start("--rate", "60")
    for least in (10, 40):
        work.until("some progress", lambda shown: shown["reencrypted"] >= least)
        t.target.kill()
        t.target.start()
    shown = work.until_done()
    equal((shown["left"], work.under(old)), (0, []), "what is left")
    for key, body in bodies.items():
        equal(t.s3.get_object(Bucket=work.bucket, Key=key)["Body"].read(), body, key)
        true(work.body_key(key) != old, f"the body of {key} names the compromised key")
    equal(t.s3.get_object(Bucket=work.bucket, Key="parts")["Body"].read(), b"".join(PARTS), "the parts")
