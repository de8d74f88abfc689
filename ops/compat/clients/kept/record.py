#!/usr/bin/env python3
"""Records what a client sends, for the replay in data-plane/tests/kept. docs/howto/record-a-client.md says more.

  record.py boto3 mc                        by their drivers, over each of their schemes
  record.py boto3 --addressing path virtual in virtual-host style too
  record.py boto3 --scenario sizes names    only these scenarios
  record.py aws-sdk-rust --second sizes     of what the second scheme adds only this
  record.py s3fs --unlike boto3             what it sends that the recording of boto3 has not
  record.py boto3 --add --addressing virtual   a session more, of what its recording has not
  record.py --as restic --version 0.18.0 -- ops/compat/clients/kept/scripts/restic
                                            by a script of its own instead, which finds what it needs in its environment
"""

import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib

import choice
import proxy
import rig
from wire import ACCESS_KEY, SECRET_KEY, Files, Unexplained, describe, headers_of, raw_of

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import installer  # noqa: E402 - of the runner, beside this folder
import manifest  # noqa: E402

RECORDINGS = os.path.join(rig.ROOT, "data-plane", "tests", "clients")
# In this order: what a client does with what it made follows from what it did before. Listing a thousand keys is left to
# the suites: a page is a page.
SCENARIOS = ("sizes", "multipart", "unknown_length", "ranges", "names", "delimiter", "copy", "copy_large", "delete_many", "metadata",
             "tags", "presigned_get", "presigned_put", "conditional_put", "versions", "checksums", "sync", "abort")
BUCKET, VERSIONED, REGION = "kept-requests", "kept-versions", "eu-central-1"
SECONDS = 900


def by_driver(client: manifest.Client, scenarios, order: dict):
    """Runs a client's driver as run.py does; with its jobs, as small as it can make them, where it has nothing else or they are named."""
    place, _ = installer.install(client)
    order = order | {"install": place, "small": True, "cannot_name": client.cannot_name,
                     "scenarios": [name for name in scenarios if name in client.asked] or list(client.jobs)}
    kept = installer.environment(client, place) | {"HOME": order["work"], "TMPDIR": order["work"]}
    done = subprocess.run([*hosts(order), client.driver], input=json.dumps(order) + "\n", stdout=subprocess.PIPE, text=True, cwd=order["work"],
                          timeout=client.seconds, env=kept)
    for line in done.stdout.splitlines():
        said = json.loads(line)
        print(f"  {said['scenario']:<16} {said['result']:<7} {(said.get('detail') or '')[:200]}", flush=True)
    if done.returncode:
        print(f"  the driver ended with {done.returncode}")


def by_script(command: list[str], order: dict):
    """Runs a script with the order in its environment."""
    told = {f"KEPT_{name.upper()}": str(value) for name, value in order.items() if value is not None}
    subprocess.run([*hosts(order), *command], check=True, cwd=order["work"], timeout=SECONDS, env=environment(order) | told)


def hosts(order: dict) -> list[str]:
    """A command's beginning: in virtual-host style it, and nobody else, finds the buckets' hosts here."""
    if order["addressing"] == "path":
        return []
    path = os.path.join(order["work"], "hosts")
    with open(path, "w") as file:
        file.write(f"127.0.0.1 localhost s3.localhost {BUCKET}.s3.localhost {VERSIONED}.s3.localhost\n")
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c",
            f'mount --bind "{path}" /etc/hosts && exec "$@"', "sh"]


def environment(order: dict) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_", "MC_", "SEALGATE_"))}
    return kept | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
                   "AWS_EC2_METADATA_DISABLED": "true", "HOME": order["work"], "TMPDIR": order["work"]}


def session(program: str, name: str, scheme: str, addressing: str, files: Files, act) -> list[choice.Seen]:
    """What the client sent in one run over an empty front end."""
    with tempfile.TemporaryDirectory(prefix="sealgate-kept-") as folder, contextlib.ExitStack() as closing:
        # pgBackRest's driver becomes another user, who has to come through.
        os.chmod(folder, 0o711)
        work = os.path.join(folder, "work")
        os.mkdir(work)
        ca, pair = proxy.certificate(folder) if scheme == "https" else (None, None)
        front_end = rig.Rig(program)
        closing.callback(front_end.close)
        between = proxy.Proxy(front_end.address, pair)
        closing.callback(between.close)
        host = "s3.localhost" if addressing == "virtual" else "127.0.0.1"
        act({"endpoint": f"{scheme}://{host}:{between.port}", "scheme": scheme, "region": REGION, "addressing": addressing,
             "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "ca": ca, "bucket": BUCKET, "versioned_bucket": VERSIONED,
             "prefix": f"{name}/", "files": files.folder, "work": work})
        exchanges = between.answered()
        closing.close()
        ids = [each.answer.get("x-amz-request-id") for each in exchanges]
        return [choice.Seen(each, front_end.operations[id_]) for each, id_ in zip(exchanges, ids) if id_ in front_end.operations]


def lines_of(seen: list[choice.Seen], kept: list[int], files: Files):
    """The kept ones as the recording has them."""
    for number in kept:
        one = seen[number]
        exchange = one.exchange
        line = {"at": exchange.at, "operation": one.operation, "status": exchange.status,
                "head": exchange.head.decode("latin-1").rstrip("\r\n").split("\r\n")}
        if exchange.body:
            line["body"] = describe(exchange.body, one.headers, files)
        later = [seen[after] for after in kept if after > number]
        gave = {name: value for name, value in one.gave().items() if any(after.mentions(value) for after in later)}
        if gave:
            line["gave"] = gave
        if one.operation == "GetObject" and one.ok:
            line["answer"] = {"length": exchange.length, "sha256": exchange.sha256}
        yield line


def shapes_of(name: str, files: Files) -> set:
    """The shapes that a recording has."""
    shapes = set()
    with open(os.path.join(RECORDINGS, f"{name}.jsonl")) as file:
        for line in filter(lambda line: "head" in line, map(json.loads, file)):
            exchange = proxy.Exchange(line["at"], "\r\n".join([*line["head"], "\r\n"]).encode("latin-1"), status=line["status"])
            if "body" in line:
                exchange.body = raw_of(line["body"], headers_of(exchange.head), files)
            shapes |= set(choice.Seen(exchange, line["operation"]).shapes())
    return shapes


def record(program: str, name: str, version: str, sessions, unlike: list[str], files: Files, act, add: bool = False):
    shapes = set().union(*(shapes_of(other, files) for other in [*unlike, *([name] if add else [])]))
    out, sent, unexplained = [{"client": name, "version": version}], 0, []
    path = os.path.join(RECORDINGS, f"{name}.jsonl")
    if add:
        with open(path) as file:
            there = [json.loads(line) for line in file]
        if there[0] != out[0]:
            raise SystemExit(f"the recording is of {there[0]}: record all of it anew")
        out = there
    before = sum("head" in line for line in out)
    os.makedirs(RECORDINGS, exist_ok=True)
    for scheme, addressing in sessions:
        print(f"{name} {version} over {scheme}, {addressing} style", flush=True)
        seen = session(program, name, scheme, addressing, files, act)
        sent += len(seen)
        kept = keepable(seen, choice.keep(seen, shapes), files, unexplained)
        if kept:
            out += [{"scheme": scheme}, *lines_of(seen, kept, files)]
            with open(path, "w") as file:
                file.writelines(json.dumps(line) + "\n" for line in out)
    for each in unexplained:
        print(f"  left out: {each}")
    count = sum("head" in line for line in out) - before
    if not count:
        raise SystemExit(f"{name} sent nothing that is kept: is its driver asked for what it can do?")
    print(f"{count} of {sent} requests kept: {os.path.relpath(path, rig.ROOT)}, {os.path.getsize(path) / 1024:.0f} KiB")


def keepable(seen, kept: list[int], files: Files, unexplained: list[str]) -> list[int]:
    """Without those whose bodies no rule makes, and without what then has nothing to follow."""
    bad = set()
    for number in kept:
        try:
            if seen[number].exchange.body:
                describe(seen[number].exchange.body, seen[number].headers, files)
        except Unexplained as error:
            bad.add(number)
            unexplained.append(f"{seen[number].line}: {error}")
    givers = choice.first_givers(seen)
    for number in kept:
        if bad & set(choice.needs(seen, number, givers)):
            bad.add(number)
    return [number for number in kept if number not in bad]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*")
    parser.add_argument("--scheme", nargs="+", choices=("http", "https"))
    parser.add_argument("--addressing", nargs="+", choices=("path", "virtual"))
    parser.add_argument("--scenario", nargs="+", default=SCENARIOS)
    parser.add_argument("--second", nargs="+", metavar="SCENARIO", help="only these where it was recorded over another scheme before")
    parser.add_argument("--unlike", nargs="+", default=[], help="recordings of its kin: what they have is not kept again")
    parser.add_argument("--add", action="store_true", help="further sessions to the recording that is there: what it has not")
    parser.add_argument("--as", dest="name")
    parser.add_argument("--version")
    parser.add_argument("--front-end", help="the test program, where it is built already")
    own, after = sys.argv[1:], []
    if "--" in own:
        own, after = own[:own.index("--")], own[own.index("--") + 1:]
    asked = parser.parse_args(own)
    if bool(after) != bool(asked.name and asked.version) or bool(after) == bool(asked.clients):
        parser.error("names of clients, or --as NAME --version VERSION -- COMMAND")
    program = asked.front_end or rig.build()
    with tempfile.TemporaryDirectory(prefix="sealgate-kept-files-") as folder:
        os.chmod(folder, 0o711)
        files = Files(os.path.join(folder, "files"))
        if after:
            command = [os.path.abspath(after[0]), *after[1:]]
            sessions = [(scheme, addressing) for addressing in asked.addressing or ["path"] for scheme in asked.scheme or ["http", "https"]]
            record(program, asked.name, asked.version, sessions, asked.unlike, files, lambda order: by_script(command, order), asked.add)
        for client in map(manifest.parse, asked.clients):
            sessions = [(scheme, addressing) for addressing in asked.addressing or ["path"]
                        for scheme in asked.scheme or client.schemes]
            scenarios = collections.defaultdict(lambda: asked.second or asked.scenario, {sessions[0]: asked.scenario})
            record(program, client.folder, client.version, sessions, asked.unlike, files,
                   lambda order, client=client, of=scenarios: by_driver(client, of[order["scheme"], order["addressing"]], order), asked.add)


if __name__ == "__main__":
    main()
