#!/usr/bin/env python3
"""Runs the clients that people use, pinned, through Sealgate and against servers alone. README.md beside this says how a client is added.

  run.py --list                                     the clients, and which of them are installed
  run.py --client boto3 mc --backend filesystem seaweedfs versitygw --scheme http https
  run.py --client boto3 --direct seaweedfs          the server alone, for the page's other column
  run.py --client boto3 --record                    before every storage and against the servers alone, and the page
  run.py --fast                                     the fast set, with tests of the runner; CI runs it, and some of it at each change (ops/test)
  run.py --guides                                   the code of docs/clients, as it stands there
  run.py --install                                  only installs

Without --client all of them, without --backend and --direct the filesystem, without --scheme both. `--only` names scenarios, `--addressing` path or
virtual. `--record` keeps the results in docs/results/clients and makes docs/compatibility.md of them (page.py), whatever failed; without --backend and
--direct it is the page's whole grid. A file `commit` beside SEALGATE_BIN says what that was built of; the checkout's commit otherwise. Exits with 0 only if no scenario failed
in a way that no caveat of its client.toml or of servers.toml describes. SEALGATE_BIN names the gateway's binary; the others lie beside it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
CACHE = os.environ.get("SEALGATE_TOOLS", os.path.expanduser("~/.cache/sealgate-tools"))


def use_tools():
    """Goes on under the python and the PATH of ops/install-tools."""
    env = os.path.join(CACHE, "env")
    if os.environ.get("SEALGATE_CLIENTS_READY"):
        return
    if not os.path.exists(env):
        sys.exit(f"{env} is missing: run ops/install-tools")
    os.execvp("bash", ["bash", "-c", f'. "{env}"; export SEALGATE_CLIENTS_READY=1; exec "${{SEALGATE_PYTHON:?the clients are missing: run ops/install-tools clients}}" "$@"', "bash", os.path.abspath(__file__), *sys.argv[1:]])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--backend", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--direct", nargs="+", default=[], metavar="SERVER")
    parser.add_argument("--scheme", nargs="+", default=["http", "https"], choices=("http", "https"))
    parser.add_argument("--addressing", nargs="+", default=["path", "virtual"], choices=("path", "virtual"))
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENARIO")
    parser.add_argument("--keep", metavar="DIR", help="where drivers' standard error goes; a temporary directory otherwise")
    for flag in ("--list", "--fast", "--guides", "--install", "--record"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    import installer
    import manifest
    try:
        clients = manifest.all_clients()
    except manifest.ManifestError as error:
        print(f"FAIL manifest: {error}")
        return 1
    known = {client.folder for client in clients}
    unknown = [name for name in options.client if name not in known]
    if unknown:
        print(f"no client is called {', '.join(unknown)}: --list names them", file=sys.stderr)
        return 64
    if options.list:
        for client in clients:
            there = os.path.exists(os.path.join(installer.folder_of(client), installer.DONE))
            print(f"{client.folder:<22} {client.name:<28} {client.version:<14} {'fast ' if client.fast else '     '}{'installed' if there else ''}")
        return 0
    clients = [client for client in clients if (not options.client or client.folder in options.client) and (client.fast or not options.fast or options.client)]
    use_tools()
    return run(options, clients)


def run(options, clients) -> int:
    """Installs, then runs what is asked for."""
    import guides
    import page
    import record
    import selftest
    import stage as stages
    os.environ.pop("AWS_CA_BUNDLE", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, tally = time.monotonic(), Tally()
    unknown = {*options.backend, *options.direct} - set(stages.BACKENDS)
    if unknown or "filesystem" in options.direct:
        print(f"{', '.join(sorted(unknown)) or 'filesystem'}: no such storage; they are {', '.join(stages.BACKENDS)}, the servers alone too", file=sys.stderr)
        return 64
    if options.record:
        # The checkout may move on while clients run.
        record.commit()
        record.commit(direct=True)
    if options.guides:
        clients = guides.with_guides(clients)
    places = install_all(clients, tally)
    if not options.install:
        keep = options.keep or tempfile.mkdtemp(prefix="sealgate-clients-logs-")
        os.makedirs(keep, exist_ok=True)
        files = stages.make_files()
        try:
            if options.fast:
                tally.tests(selftest.run(selftest.ALONE))
            if options.guides:
                run_guides(clients, places, keep, tally)
            else:
                run_drivers(options, [client for client in clients if client.folder in places], places, files, keep, tally)
        finally:
            shutil.rmtree(files, ignore_errors=True)
            if options.record:
                # Of whatever was kept, failures and what was run before an interruption too.
                page.write()
        if tally.failed:
            print(f"what the drivers wrote to standard error: {keep}")
        elif not options.keep:
            shutil.rmtree(keep, ignore_errors=True)
    print(f"clients: {tally.passed} passed, {tally.failed} failed, {tally.excused} not, with a caveat, {tally.absent} absent in {time.monotonic() - began:.0f} s")
    return 1 if tally.failed or not (tally.passed or options.install) else 0


def run_drivers(options, clients, places, files: str, keep: str, tally):
    """One stage a storage and scheme, with one client after the other."""
    import botocore.exceptions
    import drive
    import guides
    import haystack
    import manifest
    import record
    import selftest
    import servers
    import stage as stages
    failures = (servers.ServerError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
    if options.record and not (options.backend or options.direct):
        options.backend, options.direct = manifest.BACKENDS, manifest.ALONE
    targets = [(name, False) for name in options.backend] + [(name, True) for name in options.direct] or [("filesystem", False)]
    tests = selftest.ON_A_STAGE if options.fast else ()
    for backend, direct, scheme in ((*target, scheme) for target in targets for scheme in options.scheme):
        mine = [client for client in clients if scheme in client.schemes]
        if not mine:
            continue
        try:
            with stages.Stage(backend, scheme, direct) as stage:
                hay = None if direct else haystack.Haystack(stage, files)
                with tempfile.TemporaryDirectory(prefix="sealgate-selftest-") as scratch:
                    tally.tests(selftest.run(tests, stage, files, hay, keep, scratch))
                tests = ()
                for client, addressing in ((client, addressing) for client in mine for addressing in client.addressing):
                    if addressing not in options.addressing or (direct and addressing == "virtual"):
                        continue
                    try:
                        outcomes = drive.Drive(stage, client, addressing, places[client.folder], files, hay, keep).run(options.only, options.fast)
                    except failures as error:
                        tally.broken(f"{client.folder} {backend} {scheme} {addressing}", f"what it left could not be read or removed: {error}")
                        continue
                    tally.add(client, stage, addressing, outcomes)
                    if options.record:
                        record.keep(client, stage, addressing, outcomes, whole=not options.only, place=places[client.folder])
                if options.fast and scheme == "https":
                    tally.tests(guides.results(stage, mine, places, keep))
        except failures as error:
            tally.broken(f"{backend} {scheme}", str(error))


def run_guides(clients, places, keep: str, tally):
    """Each guide on one stage with TLS, before the filesystem."""
    import guides
    import stage as stages
    with stages.Stage("filesystem", "https") as stage:
        tally.tests(guides.results(stage, clients, places, keep))


def install_all(clients, tally) -> dict[str, str]:
    """Where each client is that could be installed."""
    import installer
    places = {}
    for client in clients:
        try:
            places[client.folder], seconds = installer.install(client)
        except installer.InstallError as error:
            tally.broken(f"install {client.folder}", str(error))
            continue
        if seconds is not None:
            print(f"installed {client.name} {client.version} ({seconds:.0f} s)", flush=True)
    return places


def word_for(client, stage, outcome) -> str:
    """What became of a scenario, with the caveats: one excuses the failure that it describes, no other. What is absent without a word is a failure."""
    if outcome.result == "absent" and not outcome.detail and not client.about(outcome.scenario, stage.backend):
        return "FAIL"
    excused = outcome.result == "fail" and client.excuse(outcome.scenario, stage.backend, outcome.detail, stage.direct)
    return {"pass": "PASS", "absent": "ABSENT", "fail": "CAVEAT" if excused else "FAIL"}[outcome.result]


class Tally:
    """Prints and counts."""

    def __init__(self):
        self.passed = self.failed = self.excused = self.absent = 0

    def broken(self, what: str, why: str):
        self.failed += 1
        print(f"FAIL {what}: {why}", flush=True)

    def tests(self, results):
        """Tests by name, with why they failed."""
        for name, wrong in results:
            self.passed, self.failed = self.passed + (not wrong), self.failed + bool(wrong)
            print(f"{'FAIL' if wrong else 'PASS'} {name.replace('_', ' ')}{f': {wrong}' if wrong else ''}", flush=True)

    def add(self, client, stage, addressing: str, outcomes):
        where = f"{stage.backend}{' alone' if stage.direct else ''} {stage.scheme} {addressing}"
        for outcome in outcomes:
            word = word_for(client, stage, outcome)
            self.passed += word == "PASS"
            self.failed += word == "FAIL"
            self.excused += word == "CAVEAT"
            self.absent += word == "ABSENT"
            told = f": {' '.join(outcome.detail.split())}" if outcome.detail and word != "PASS" else ""
            print(f"{word} {client.folder} {where}: {outcome.scenario} ({outcome.seconds:.1f} s, {outcome.requests} requests){told}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
