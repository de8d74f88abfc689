"""Starts one driver, reads what it says, and checks it."""

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

import haystack
import installer
import left
import manifest
import servers
import stage as stages

# What leaves bodies that the scan knows.
BODIES = {"sizes", "multipart", "unknown_length", "copy", "copy_large", "presigned_put"}
# CI's time: everything once, over HTTP in path style; of the rest what differs there, framing, checksums and signatures.
FAST = {("https", "path"): ("sizes", "multipart", "ranges", "conditional_put", "checksums", "presigned_get", "presigned_put"),
        ("https", "virtual"): ("sizes", "names", "many", "presigned_get"), ("http", "virtual"): ()}
RESULTS = ("pass", "fail", "absent")
MOST_DETAIL = 600


@dataclasses.dataclass
class Outcome:
    """What became of one scenario."""

    scenario: str
    result: str
    detail: str = ""
    seconds: float = 0.0
    # How many requests it sent, as the balancer counted them, and what it read by ranges and by whole objects.
    requests: int = 0
    ranges: int = 0
    read_bytes: int = 0
    # How many uploads it aborted.
    aborts: int = 0


def pushed_down(outcome: Outcome, total: int) -> str | None:
    """Whether a predicate that leaves one row group of forty read a small part, by ranges; says how much it was."""
    outcome.detail = f"{outcome.ranges} ranges, {outcome.read_bytes:,} of {total:,} bytes"
    return None if outcome.ranges and outcome.read_bytes < total / 4 else f"it read {outcome.detail}"


def private_files(stage, client: manifest.Client) -> list[str]:
    """A command's beginning: it sees the stage's hosts as /etc/hosts, and nobody else does; where the client has no setting for a CA, the stage's is among
    the system's too."""
    mounts = [f'mount --bind "{stage.hosts}" /etc/hosts']
    if client.system_ca and stage.ca:
        mounts.append(f'mount --bind "{stage.bundle}" {stages.SYSTEM_BUNDLE}')
    script = " && ".join([*mounts, 'exec "$@"'])
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c", script, "sh"]


class Drive:
    """One client against one stage in one addressing."""

    def __init__(self, stage, client: manifest.Client, addressing: str, place: str, files: str, hay: haystack.Haystack | None, keep: str):
        self.stage, self.client, self.addressing, self.place, self.files, self.hay = stage, client, addressing, place, files, hay
        self.prefix = f"{client.folder}/{stage.scheme}-{addressing}/"
        self.server_cannot_name = manifest.server_caveats().get("cannot_name", {}).get(stage.backend, [])
        # What the client or the server cannot have as a key, through Sealgate and alone.
        self.cannot_name = [*client.cannot_name, *(name for name in self.server_cannot_name if name not in client.cannot_name)]
        # Where what it wrote to standard error stays.
        self.log = os.path.join(keep, f"{client.folder}-{stage.backend}{'-direct' if stage.direct else ''}-{stage.scheme}-{addressing}.log")

    def asked(self, only, fast: bool = False) -> list[str]:
        """The scenarios of this run: in virtual-host style fewer, jobs of clients that are asked nothing else."""
        again = manifest.VIRTUAL if self.client.scenarios else self.client.jobs
        wanted = [name for name in self.client.asked if self.addressing == "path" or name in again]
        if fast:
            wanted = [name for name in wanted if name in FAST.get((self.stage.scheme, self.addressing), wanted)]
        return [name for name in wanted if not only or name in only]

    def request(self, scenarios: list[str], work: str) -> dict:
        access_key, secret_key = self.stage.credential(self.client.signature)
        return {"endpoint": self.stage.endpoint(self.addressing), "scheme": self.stage.scheme, "region": self.stage.region, "addressing": self.addressing,
                "access_key": access_key, "secret_key": secret_key, "ca": self.stage.ca, "bucket": stages.BUCKET, "versioned_bucket": stages.VERSIONED,
                "prefix": self.prefix, "files": self.files, "work": work, "install": self.place, "scenarios": scenarios, "cannot_name": self.cannot_name}

    def run(self, only=(), fast: bool = False) -> list[Outcome]:
        """What became of each scenario that it was asked for, in that order."""
        scenarios = self.asked(only, fast)
        if not scenarios:
            return []
        work = tempfile.mkdtemp(prefix=f"sealgate-{self.client.folder}-")
        try:
            self.before = len(self.stage.balancer.seen)
            said, ending = self._start(scenarios, work)
            outcomes = [said.get(name) or Outcome(name, "fail", ending) for name in scenarios]
            self._check(outcomes, os.path.join(work, "plain"), only)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        secret = self.stage.credential(self.client.signature)[1]
        for outcome in outcomes:
            outcome.detail = outcome.detail.replace(secret, "…")[:MOST_DETAIL]
        return outcomes

    def _start(self, scenarios, work) -> tuple[dict[str, Outcome], str]:
        """What it said of each, and why it said nothing of the others."""
        private = self.addressing == "virtual" or self.client.system_ca
        command = [*(private_files(self.stage, self.client) if private else []), self.client.driver]
        environment = {**installer.environment(self.client, self.place), "HOME": work, "TMPDIR": work}
        said, problems, marks = {}, [], [len(self.stage.balancer.seen)]

        def listen(output):
            for line in output:
                try:
                    told = json.loads(line)
                    outcome = Outcome(told["scenario"], told["result"], str(told.get("detail") or ""), float(told.get("seconds") or 0))
                except (ValueError, KeyError, TypeError, AttributeError):
                    problems.append(f"it printed no JSON line: {line.strip()[:200]!r}")
                    continue
                marks.append(len(self.stage.balancer.seen))
                seen = self.stage.balancer.seen[marks[-2]:marks[-1]]
                reads = [each for each in seen if each.method == "GET" and each.status in (200, 206)]
                outcome.requests, outcome.ranges = len(seen), sum(each.ranged for each in reads)
                outcome.read_bytes = sum(each.answered for each in reads)
                outcome.aborts = sum(each.method == "DELETE" and "uploadId=" in each.target for each in seen)
                if outcome.scenario not in scenarios or outcome.scenario in said or outcome.result not in RESULTS:
                    problems.append(f"it said {line.strip()[:200]!r}, which nobody asked")
                    continue
                said[outcome.scenario] = outcome

        with open(self.log, "w") as errors:
            process = servers.start_process(command, cwd=work, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        listener = threading.Thread(target=listen, args=(process.stdout,), daemon=True)
        listener.start()
        began, late = time.monotonic(), False
        try:
            try:
                process.stdin.write(json.dumps(self.request(scenarios, work)) + "\n")
                process.stdin.close()
            except BrokenPipeError:
                pass
            try:
                process.wait(self.client.seconds)
            except subprocess.TimeoutExpired:
                late = True
        finally:
            # Whatever it has started goes with it.
            servers.end_group(process, politely=False)
        listener.join(10)
        if late:
            ending = f"the driver was not done within {self.client.seconds} s and was ended"
        elif process.returncode or problems:
            ending = f"the driver ended with {process.returncode} after {time.monotonic() - began:.0f} s{servers.tail(self.log, 6)}; {'; '.join(problems[:3])}"
        else:
            ending = "the driver said nothing about it"
        return said, ending

    def _check(self, outcomes: list[Outcome], plain: str, only=()):
        """Holds against the storage what the driver says."""
        eyes = left.Left(self.stage, self.prefix, self.files, self.cannot_name)
        for outcome in outcomes:
            if outcome.result != "pass":
                continue
            wrong = eyes.wrong(outcome.scenario, outcome.detail)
            if outcome.scenario == "parquet_read":
                wrong = pushed_down(outcome, sum(eyes.keys("parquet/").values()))
            if not wrong and outcome.scenario == "names" and not self.stage.direct:
                wrong = eyes.not_refused(self.server_cannot_name)
            if not wrong and outcome.scenario == "abort" and not outcome.aborts and not self._unseen():
                wrong = "the balancer saw no AbortMultipartUpload"
            if not wrong and not outcome.requests and not self._unseen():
                wrong = "the balancer saw no request of it"
            if wrong:
                outcome.result, outcome.detail = "fail", f"it said pass, but {wrong}"
        if self.hay:
            outcomes += self._scanned(outcomes, plain, only)
        self.stage.empty(self.prefix)

    def _scanned(self, outcomes: list[Outcome], plain: str, only) -> list[Outcome]:
        """Whether the storage holds any of it in clear. A scan that has nothing to look for says nothing: the run fails then, unless it was told to do so little."""
        known = any(outcome.scenario in BODIES and outcome.result == "pass" for outcome in outcomes)
        if self.client.jobs or not known:
            known |= haystack.read_back(self.stage.s3, self.prefix, os.path.join(plain, "read back")) >= haystack.ENOUGH
        # Of what goes past the balancer only the keys that are left are known.
        names = haystack.names_in(self.stage.balancer.seen[self.before:]) | set(haystack.left(self.stage.s3, self.prefix))
        leak = self.hay.leak(plain, names)
        if not leak and not known:
            if only or all(outcome.scenario in manifest.READS for outcome in outcomes):
                return []
            leak = "the run left nothing that the scan could look for"
        return [Outcome("no_plaintext", "fail" if leak else "pass", leak or "")]

    def _unseen(self) -> bool:
        """Whether its requests go past the balancer that counts."""
        return self.addressing == "virtual" and self.stage.passage is not None
