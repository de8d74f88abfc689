"""Runs the suites against one backend, a line a case; exits with 0 only if every case passed, or is known to fail.

  run.py --backend filesystem|seaweedfs|versitygw|minio [--size ci|acceptance] [--only TEXT...]
  run.py --direct seaweedfs|versitygw|minio ...      the server alone, to see which expectations are S3's
  run.py --target DIR ...                            whatever endpoint DIR/credentials and DIR/config (AWS's own files) name

`--s3` runs only what says how S3 behaves: the cases by which endpoints are compared (parity.py).
A conformance case that fails as docs/results/parity-<backend>.json says is KNOWN and no failure; one that passes against it is a failure.

SEALGATE_BIN names the gateway's binary; target/debug/sealgate by default. `--json FILE` also writes the results there.
"""

import argparse
import contextlib
import importlib
import json
import os
import secrets
import signal
import sys
import time
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases  # noqa: E402 (found through the line above)
import limits  # noqa: E402
import recorded  # noqa: E402
import servers  # noqa: E402
import target  # noqa: E402
import tidy  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = ("s3_objects", "s3_metadata", "s3_listing", "s3_multipart", "s3_plain", "s3_copy", "s3_copy_parts",
          "s3_checksums", "s3_protocol", "s3_surface", "s3_post",
          "s3_forward", "s3_versions", "copies_large", "dev", "example", "tools", "refusals", "refusals_keys", "signatures_v2", "bucket_metrics", "backend_sse", "not_implemented", "decryptor", "recovery", "raw_copies", "export", "lost_answers",
          "roundtrip", "scanner", "secrecy",
          "tamper", "tamper_tls", "tamper_answers", "tamper_copies", "tamper_versions", "costs", "migrate", "rewrap", "rewrap_held", "rewrap_load", "runbooks",
          "tamper_migrated", "tamper_exported", "cuts", "cuts_storage", "memory")
# What S3 does, against whatever endpoint: every module of ./conformance.
CONFORMANCE = tuple(sorted(f"conformance.{name[:-3]}" for name in os.listdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "conformance"))
                           if name.endswith(".py") and name not in ("__init__.py", "support.py")))
# The suites about S3 itself, by how their names begin.
S3_SUITES = ("s3_", "conformance.")
# What makes no sense without a gateway, or needs one kind of storage behind it: an S3 server to lie in the place of.
GATEWAY_ONLY = ("copies_large", "dev", "example", "tools", "signatures_v2", "bucket_metrics", "backend_sse", "not_implemented", "raw_copies", "export", "lost_answers", "memory", "secrecy", "decryptor", "recovery",
                "tamper", "tamper_tls", "tamper_answers", "tamper_copies", "tamper_versions", "costs", "migrate", "rewrap", "rewrap_held", "rewrap_load", "runbooks",
                "tamper_migrated", "tamper_exported", "cuts", "cuts_storage")
FILESYSTEM_ONLY = ("dev", "example", "tools", "memory", "runbooks", "tamper_tls")
SERVER_ONLY = ("copies_large", "backend_sse", "tamper_answers", "costs", "rewrap_held", "cuts_storage")
# CI's time: what is hardly the server's to change runs before one of them, and on the filesystem; `ops/acceptance` runs all before each.
ONE_SERVER_IN_CI = {"migrate": "versitygw", "rewrap": "seaweedfs", "rewrap_held": "versitygw", "rewrap_load": "minio", "tamper_versions": "versitygw", "not_implemented": "versitygw", "raw_copies": "minio", "export": "minio", "lost_answers": "minio",
                    "costs": "minio", "signatures_v2": "minio", "bucket_metrics": "seaweedfs", "copies_large": "seaweedfs", "tamper_copies": "seaweedfs",
                    "tamper": "versitygw", "tamper_answers": "minio", "secrecy": "versitygw", "scanner": "minio",
                    "tamper_migrated": "versitygw", "tamper_exported": "seaweedfs"}
# It takes these headers without a KMS behind it; the others refuse them.
ONE_SERVER = {"backend_sse": "versitygw"}
# And these before that one server only.
NOT_ON_FILESYSTEM_IN_CI = ("signatures_v2", "raw_copies", "not_implemented")


def applies(suite: str, options) -> bool:
    """Whether a suite is for this target."""
    if options.size == "ci" and not options.only and options.backend == "filesystem" and suite in NOT_ON_FILESYSTEM_IN_CI:
        return False
    if options.size == "ci" and not options.only and options.backend in servers.S3_SERVERS and ONE_SERVER_IN_CI.get(suite, options.backend) != options.backend:
        return False
    if ONE_SERVER.get(suite, options.backend) != options.backend:
        return False
    if options.s3 and not suite.startswith(S3_SUITES):
        return False
    if not options.backend:
        return suite not in GATEWAY_ONLY
    return suite not in (SERVER_ONLY if options.backend == "filesystem" else FILESYSTEM_ONLY)


def wanted(case: cases.Case, options) -> bool:
    """Whether a case is to run."""
    name = f"{case.module}.{case.name}"
    if options.size not in case.sizes or (case.gateway_only and (options.s3 or not options.backend)):
        return False
    if case.only and case.only != ("filesystem" if options.backend == "filesystem" else "server"):
        return False
    if options.only:
        return any(text in name for text in options.only)
    # CI's time: every third conformance case on the filesystem, every twentieth before a server. `just parity` runs all.
    sampled = options.size == "ci" and not options.s3 and options.backend and case.run.__module__.startswith("conformance.")
    return not sampled or zlib.crc32(name.encode()) % (20 if options.backend in servers.S3_SERVERS else 3) == 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--backend", choices=("filesystem", *servers.S3_SERVERS))
    where.add_argument("--direct", choices=tuple(servers.S3_SERVERS))
    where.add_argument("--target", metavar="DIR")
    parser.add_argument("--size", choices=cases.SIZES, default="ci")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose `suite.name` contains one of these")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def start(options, stack):
    """The target, with everything it needs."""
    if options.target:
        endpoint = target.Target(options.target)
        # Somebody's own server: nothing of ours stays there.
        stack.callback(tidy.remove, endpoint)
        return endpoint
    if options.direct:
        server = stack.enter_context(servers.S3_SERVERS[options.direct]())
        direct = target.Direct(server.endpoint, server.access_key, server.secret_key, server.region)
        stack.callback(direct.stop)
        return direct
    server = None
    if options.backend != "filesystem":
        server = stack.enter_context(servers.S3_SERVERS[options.backend]())
    binary = os.environ.get("SEALGATE_BIN", os.path.join(ROOT, "target/debug/sealgate"))
    gateway = target.Gateway(os.path.abspath(binary), server)
    stack.callback(gateway.stop)
    return gateway


def main() -> int:
    options, began = arguments(), time.monotonic()
    # Ends as after Ctrl-C: what was started is stopped and removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.pop("AWS_CA_BUNDLE", None)
    # A suite that another one imports for its helpers brings its cases along: they run where their own suite does.
    elsewhere = set()
    for name in SUITES + CONFORMANCE:
        if applies(name, options):
            importlib.import_module(name)
        else:
            elsewhere.add(name.rpartition(".")[2])
    chosen = [each for each in cases.CASES if each.module not in elsewhere and wanted(each, options)]
    if options.size == "acceptance":
        # In the order of the suites, whichever imports which: the scan is to find what the round trips left. CI has no time for it.
        order = {name.rpartition(".")[2]: place for place, name in enumerate(SUITES + CONFORMANCE)}
        chosen.sort(key=lambda each: order[each.module])
    name, results = options.backend or (f"{options.direct} alone" if options.direct else "target"), []
    known = {} if options.s3 or not options.backend else recorded.failures(options.backend)
    with contextlib.ExitStack() as stack:
        try:
            under_test = start(options, stack)
        except (servers.ServerError, target.TargetError) as error:
            print(f"FAIL start: {error}")
            print(f"{name}, {options.size}: 0 passed, {len(chosen)} failed in {time.monotonic() - began:.0f} s")
            return 1
        contexts = {}
        for each in chosen:
            reason = None
            if each.module not in contexts:
                context = cases.Context(under_test, f"{each.module.replace('_', '-')}-{secrets.token_hex(4)}", options.size)
                stack.enter_context(context.closing)
                try:
                    context.create_bucket(context.bucket)
                except Exception as error:  # Every case of the suite then fails for this reason.
                    context = error
                contexts[each.module] = context
            context = contexts[each.module]
            if isinstance(context, Exception):
                reason, seconds = f"no bucket: {context}", 0.0
            else:
                reason, seconds = cases.run_case(each, context)
            limit = reason and limits.explains(options.backend, each, under_test)
            expected = f"{each.module}.{each.name}" in known and not limit
            if expected and not reason:
                reason, expected = "passes, though it is recorded as failing: run `just parity`", False
            results.append({"suite": each.module, "case": each.name, "passed": not reason or bool(limit), "reason": reason,
                            "limit": limit, "expected": expected, "seconds": round(seconds, 2)})
            outcome = "PASS" if not reason else f"PASS (the storage's limit: {limit})" if limit else "KNOWN" if expected else "FAIL"
            print(f"{outcome} {name}: {each.module}.{each.name} ({seconds:.1f} s){': ' + reason if reason else ''}", flush=True)
        if failed_log(results, under_test):
            print(f"--- the gateway's last words{servers.tail(under_test.log, 30)}")
    passed, known = sum(result["passed"] for result in results), sum(result["expected"] for result in results)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"backend": name, "size": options.size, "seconds": round(time.monotonic() - began), "cases": results}, file, indent=1)
    print(f"{name}, {options.size}: {passed} passed, {len(results) - passed - known} failed, {known} known to fail in {time.monotonic() - began:.0f} s")
    return 0 if results and passed + known == len(results) else 1


def failed_log(results, under_test) -> bool:
    return under_test.is_gateway and any(not result["passed"] and not result["expected"] for result in results)


if __name__ == "__main__":
    sys.exit(main())
