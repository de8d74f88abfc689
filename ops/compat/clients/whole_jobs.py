"""What the whole jobs share: trees of files, their comparison, processes that run beside a job, and how a job is told.

A job is a driver as ops/compat/clients/README.md has them, whose client.toml names `jobs`. What it is to find nowhere in the
storage it keeps below `work/plain`: the runner scans for it.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.parse

MIB = 1 << 20
SECONDS = 600


class Failure(Exception):
    """What a job found wrong."""


def same(got, wanted, what):
    if got != wanted:
        raise Failure(f"{what}: got {str(got)[:300]}, wanted {str(wanted)[:300]}")


class Job:
    """One driver's run: what it was told, and where it works."""

    def __init__(self, told):
        self.told, self.work, self.install = told, told["work"], told["install"]
        self.secure = told["scheme"] == "https"
        self.plain = os.path.join(self.work, "plain")
        os.makedirs(self.plain, exist_ok=True)
        where = urllib.parse.urlsplit(told["endpoint"])
        self.host, self.port = where.hostname, where.port
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.work, "TMPDIR": self.work, "LC_ALL": "C.UTF-8", "TZ": "UTC",
                            "AWS_ACCESS_KEY_ID": told["access_key"], "AWS_SECRET_ACCESS_KEY": told["secret_key"],
                            "AWS_REGION": told["region"], "AWS_DEFAULT_REGION": told["region"], "AWS_EC2_METADATA_DISABLED": "true"}
        if told["ca"]:
            # Each of them is read by some: Go and Rust programs, curl, Python's SDK.
            self.environment |= dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"), told["ca"])

    def recorded(self) -> bytes | None:
        """While its requests are recorded (kept/record.py): the bytes that bodies must be cut from to be kept, whatever their size."""
        if not self.told.get("small"):
            return None
        with open(os.path.join(self.told["files"], "68157440"), "rb") as file:
            return file.read()

    def path(self, *parts) -> str:
        return os.path.join(self.work, *parts)

    def run(self, *command, check=True, **options) -> str:
        """Runs a program; what it printed."""
        options.setdefault("env", self.environment)
        done = subprocess.run([str(each) for each in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd=options.pop("cwd", self.work), timeout=SECONDS, **options)
        if check and done.returncode:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise Failure(f"{os.path.basename(str(command[0]))} {' '.join(map(str, command[1:]))[:160]} ended with {done.returncode}: {said[-600:]}")
        return done.stdout.decode(errors="replace")

    def start(self, *command, **options) -> subprocess.Popen:
        """A program that runs beside the job; its words go to a file in `work`."""
        options.setdefault("env", self.environment)
        with open(self.path(f"{os.path.basename(str(command[0]))}.log"), "ab") as log:
            return subprocess.Popen([str(each) for each in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.work, **options)

    def words(self, program: str) -> str:
        """The end of what a program beside the job wrote."""
        with open(self.path(f"{program}.log"), errors="replace") as file:
            return file.read()[-600:]


def wait_until(what, condition, seconds=60, process=None):
    """Polls a condition; the end of a process that should be running ends the wait."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise Failure(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def end(process, number=signal.SIGTERM, seconds=60):
    """Ends a program that the job started, and waits for it."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_tree(folder: str, count: int, seed: int, largest: int = 3000):
    """Files of random bytes in folders, old enough that no tool doubts their times."""
    chance = random.Random(seed)
    for number in range(count):
        path = os.path.join(folder, f"{number % 10:02}", f"{number // 10 % 10}", f"file {number:05}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(chance.randbytes(chance.randrange(largest)))
        os.utime(path, (1_700_000_000, 1_700_000_000))


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(folder: str) -> dict[str, str]:
    """Every file below a folder, with the SHA-256 of its bytes."""
    return {os.path.relpath(os.path.join(directory, name), folder): digest(os.path.join(directory, name))
            for directory, _, names in os.walk(folder) for name in names}


def same_trees(one: str, other: str):
    """Byte by byte the same files."""
    first, second = contents(one), contents(other)
    same(sorted(set(first) ^ set(second))[:5], [], "files that only one side has")
    same([name for name in first if first[name] != second[name]][:5], [], "files with other bytes")


def main(job):
    """Runs what is asked for: methods of the class by their names."""
    told = json.load(sys.stdin)
    for scenario in told["scenarios"]:
        began, detail, result = time.monotonic(), "", "pass"
        try:
            detail = getattr(job(told), scenario)() or ""
        except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            result, detail = "fail", f"{type(error).__name__}: {error}"[:900]
        print(json.dumps({"scenario": scenario, "result": result, "detail": detail, "seconds": round(time.monotonic() - began, 2)}), flush=True)
