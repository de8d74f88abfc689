"""What docs/results/parity-<backend>.json records: per case, how it ended with the storage alone and through the gateway."""

import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULTS = os.path.join(ROOT, "docs", "results")
LONGEST_REASON = 200


def path(backend: str) -> str:
    """The file of one backend."""
    return os.path.join(RESULTS, f"parity-{backend}.json")


def load(backend: str) -> dict | None:
    """The record of one backend, where there is one."""
    if not os.path.exists(path(backend)):
        return None
    with open(path(backend)) as file:
        return json.load(file)


def failures(backend: str) -> dict[str, str]:
    """The conformance cases that fail through the gateway, and why. Older suites say that in `limits.py`."""
    record = load(backend) or {"cases": {}}
    groups = {name[:-3] for name in os.listdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "conformance"))}
    return {name: outcome["through"] for name, outcome in record["cases"].items() if outcome.get("through") and name.split(".")[0] in groups}


def steady(reason: str | None) -> str | None:
    """A reason without what is another in each run: names of buckets, ids, times, ports."""
    if reason is None:
        return None
    reason = re.sub(r"\b[0-9A-Za-z-]*[0-9a-f]{8,}[0-9A-Za-z-]*\b|\b(?=[0-9A-Z]*\d)[0-9A-Z]{10,}\b", "…", reason)
    reason = re.sub(r"127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:.]+Z?|datetime\.datetime\([^)]*\)|0x[0-9a-f]+", "…", reason)
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + "…"
