#!/usr/bin/env python3
"""The key side under every kind of failure, against real KMS servers behind a proxy that breaks things.

  ops/kms/run.py [--size ci|full] [--only WORD...] [--results FILE] [--page FILE] [--list]

Each case starts a KMS (OpenBao; a raft cluster; moto, LocalStack), a proxy, a control plane and nodes, does something bad, and says what
clients saw. After every case, whatever it was: what was broken is mended, every object that was acknowledged is read back and
compared byte by byte, and the storage is searched for plaintext. `--only` takes parts of cases' names.

The programs are those of `cargo build` (SEALGATE_BIN_DIR: others), the servers those of ops/install-tools; run it with its python.
SEALGATE_KEEP=1 keeps the directories with the logs. SEALGATE_OPEN_MS: in how many milliseconds a 503 must come while a breaker is open
(300: for a debug build on a loaded machine; `just kms-open` measures a release build against the design's 10).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "compat")]

import scene  # noqa: E402 (found through the line above)
import servers  # noqa: E402
import world  # noqa: E402
from rows import CASES  # noqa: E402

import rows_aws  # noqa: E402, F401 (they register their cases)
import rows_cold  # noqa: E402, F401
import rows_cut  # noqa: E402, F401
import rows_down  # noqa: E402, F401
import rows_failover  # noqa: E402, F401
import rows_many  # noqa: E402, F401
import rows_memory  # noqa: E402, F401
import rows_move  # noqa: E402, F401
import rows_partition  # noqa: E402, F401
import rows_recovery  # noqa: E402, F401
import rows_refused  # noqa: E402, F401
import rows_time  # noqa: E402, F401


class TooSlow(Exception):
    """A case reached its time limit: something hung."""


def run(case, size: str) -> tuple[str | None, scene.Report, float]:
    """Why the case failed (None: it passed), what it counted, its seconds."""

    def at_limit(*_):
        raise TooSlow(f"took more than {case.seconds} s")

    stage, began, reason = scene.Scene(size), time.monotonic(), None
    signal.signal(signal.SIGALRM, at_limit)
    signal.alarm(case.seconds)
    for part in (lambda: case.run(stage), stage.close):
        try:
            part()
        except Exception as error:  # A case may die of anything; the others still run.
            reason = reason or told(error)
        signal.alarm(case.seconds)
    signal.alarm(0)
    if not reason and (stage.report.wrong or stage.report.plaintext):
        reason = "; ".join([*stage.report.wrong[:5], *(f"plaintext in {path}" for path in stage.report.plaintext[:5])])
    if not reason and not stage.report.verified:
        reason = "verified nothing"
    return reason, stage.report, time.monotonic() - began


def told(error: Exception) -> str:
    """An error with the line of a case, or of what it stands on, where it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "rows" in frame.filename or "scene" in frame.filename]
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}: " if frames else ""
    return f"{where}{'' if isinstance(error, AssertionError) else type(error).__name__ + ': '}{error}"


def shown(report: scene.Report):
    for name, value in report.figures.items():
        print(f"      {name}: {value}")
    print(f"      answers: {', '.join(f'{count} × {what}' for what, count in report.counts.items())}")
    print(f"      KMS: {', '.join(f'{count} × {what}' for what, count in report.kms.items())}")
    print(f"      {report.verified} objects verified, {len(report.wrong)} wrong, {len(report.plaintext)} files with plaintext", flush=True)


def page(results: list[dict]) -> str:
    """The results as a document."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    profile = "release" if os.path.normpath(os.environ.get("SEALGATE_BIN_DIR", "")).endswith("release") else "debug"
    lines = [
        "# The key side under failure", "",
        f"Made by `ops/kms/run.py --page` at commit `{commit or 'unknown'}` on {time.strftime('%Y-%m-%d', time.gmtime())}, {profile} builds, {os.cpu_count()} cores.",
        "Every case ends with all faults mended, every acknowledged object read back, and a search of the storage for plaintext.", "",
        "| case | | requests | by answer | to the KMS | verified | wrong | plaintext | s |", "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        cells = [one["case"], "**failed**" if one["failure"] else "passed", sum(one["counts"].values()),
                 ", ".join(f"{count} {what}" for what, count in one["counts"].items()), sum(one["kms"].values()), one["verified"],
                 len(one["wrong"]), len(one["plaintext"]), one["seconds"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## Figures", ""]
    for one in results:
        if one["failure"]:
            lines.append(f"- **{one['case']} failed**: {one['failure']}")
        if one["figures"]:
            lines.append(f"- **{one['case']}** ({one['about'].rstrip('.')}): {'; '.join(f'{name}: {value}' for name, value in one['figures'].items())}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD")
    parser.add_argument("--size", choices=("ci", "full"), default="full")
    parser.add_argument("--results", metavar="FILE")
    parser.add_argument("--page", metavar="FILE", help="the results as a document")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [case for case in CASES if any(word in case.name for word in options.only) and (case.ci or options.size == "full")]
    if options.list:
        for case in chosen:
            print(f"{case.name:<50} {case.about}")
        return 0
    if not chosen:
        print(f"no case has any of {options.only} in its name (--list)", file=sys.stderr)
        return 64
    world.many_files()
    for name in ("sealgate", "sealgate-control-plane", "sealgate-data-plane"):
        world.binary(name)
    results, failed = [], 0
    for case in chosen:
        reason, report, seconds = run(case, options.size)
        failed += bool(reason)
        print(f"{'FAIL' if reason else 'ok'}    {case.name} ({seconds:.1f} s){f': {reason}' if reason else ''}")
        shown(report)
        results.append({"case": case.name, "about": case.about, "failure": reason, "seconds": round(seconds, 1), **vars(report)})
    if options.results:
        with open(options.results, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")
    if options.page:
        with open(options.page, "w") as file:
            file.write(page(results))
    print(f"kms: {len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.ServerError as error:
        print(f"kms: {error}", file=sys.stderr)
        sys.exit(70)
    except KeyboardInterrupt:
        sys.exit(130)
