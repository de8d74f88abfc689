"""Tests of what the results rest on: the balancer's alternation and faithfulness, and that a driver that lies is found out."""

import contextlib
import dataclasses
import os
import socket
import stat
import tempfile
import threading
import types

import balancer
import drive
import manifest
import page
import record
import run as runner
import stage as stages

SECONDS = 10
LIAR = """#!/usr/bin/env python3
import json, sys
for name in json.load(sys.stdin)["scenarios"]:
    print(json.dumps({"scenario": name, "result": "pass", "detail": "", "seconds": 0.1}))
"""
SLEEPER = """#!/bin/sh
exec sleep 600
"""


class Node:
    """Takes requests as bytes, keeps them, and answers as it is told."""

    def __init__(self, interim=b""):
        self.interim, self.taken = interim, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.settimeout(SECONDS)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        reader = balancer.Reader(connection)
        try:
            while True:
                head = reader.head()
                _, fields = balancer.parse(head)
                if "expect" in fields:
                    connection.sendall(self.interim)
                collected = Collected()
                balancer.copy(reader, collected, balancer.length_of(fields, 0))
                self.taken.append(head + collected.content)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (balancer.Lost, OSError):
            pass


class Collected:
    content = b""

    def sendall(self, piece):
        self.content += piece


def exchange(port: int, requests: list[bytes]) -> list[bytes]:
    """Sends requests one after the other on one connection; what came back to each."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        for request in requests:
            connection.sendall(request)
            received = b""
            while not received.endswith(b"ok"):
                piece = connection.recv(65536)
                if not piece:
                    raise AssertionError(f"the connection ended after {received!r}")
                received += piece
            answers.append(received)
    return answers


def alternates_on_one_connection():
    nodes = [Node(), Node()]
    front = balancer.Balancer([node.address for node in nodes])
    exchange(front.port, [f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for number in range(10)])
    took = [[int(request.split(b" ")[1][1:]) for request in node.taken] for node in nodes]
    front.close()
    assert sorted(took) == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]], f"the nodes took {took}"


def passes_bytes():
    """The path, headers in their case and order, and chunks with extensions and trailers arrive as they were sent."""
    node = Node()
    front = balancer.Balancer([node.address])
    sent = [b"GET /b/a//b/../%2F%20+?x=%2B&uploads= HTTP/1.1\r\nHOST: a\r\nAccept-Encoding: identity\r\nX-A:  1 \r\n\r\n",
            b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-amz-checksum: abc\r\n\r\n",
            b"PUT /d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld"]
    exchange(front.port, sent)
    front.close()
    assert node.taken == sent, f"the node took {node.taken}"


def leaves_100_continue_to_the_node():
    answers = {}
    for name, interim in (("with", b"HTTP/1.1 100 Continue\r\n\r\n"), ("without", b"")):
        node = Node(interim)
        front = balancer.Balancer([node.address])
        answers[name], = exchange(front.port, [b"PUT /d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nworld"])
        front.close()
    found = {name: b"100 Continue" in answer for name, answer in answers.items()}
    assert found == {"with": True, "without": False}, f"interim answers: {found}"


def a_caveat_excuses_no_other_failure():
    """A note and a plain text excuse nothing, a caveat only the failure that it describes, on its backend, on its side."""
    client = dataclasses.replace(manifest.all_clients()[0], notes={"ranges": "tried from two places"}, caveats=manifest.caveats_of({
        "sync": "there is none", "copy": {"why": "it sends a type of its own", "expect": "content type: got"},
        "names@seaweedfs": {"why": "no `//`", "expect": "takes keys with empty", "alone": "lists a/b"}}))

    def word(scenario, detail, backend="filesystem", direct=False):
        return runner.word_for(client, types.SimpleNamespace(backend=backend, direct=direct), drive.Outcome(scenario, "fail", detail))

    refused = "InvalidArgument: The storage behind the gateway takes keys with empty components for other keys."
    wanted = [("copy", "content type: got text/plain", "CAVEAT"), ("copy", "other bytes at 65536", "FAIL"), ("copy", "", "FAIL"), ("ranges", "other bytes", "FAIL"),
              ("sync", "two files moved again", "FAIL"), ("names", refused, "FAIL"), ("names", refused, "CAVEAT", "seaweedfs"), ("names", "500", "FAIL", "seaweedfs"),
              ("names", "lists a/b", "FAIL", "seaweedfs"), ("names", "lists a/b", "CAVEAT", "seaweedfs", True), ("no_plaintext", refused, "FAIL", "seaweedfs")]
    wrong = [(scenario, detail, where) for scenario, detail, meant, *where in wanted if word(scenario, detail, *where) != meant]
    assert not wrong, f"judged wrongly: {wrong}"
    stage = types.SimpleNamespace(backend="filesystem", direct=False)
    absent = [runner.word_for(client, stage, drive.Outcome(*told)) for told in (("tags", "absent"), ("tags", "absent", "no call for them"), ("sync", "absent"))]
    assert absent == ["FAIL", "ABSENT", "ABSENT"], f"what is absent: {absent}"
    for bad in ({"copy": {"why": "a reason", "expect": ".*"}}, {"copy": {"expect": "x"}}, {"copy": {"why": "a reason", "alone": "x"}}, {"copy": {"why": "a", "expect": "("}}):
        try:
            manifest.caveats_of(bad)
        except ValueError:
            continue
        raise AssertionError(f"taken for a caveat: {bad}")


@contextlib.contextmanager
def recording(commits):
    """Results of their own, each kept with the next of these commits."""
    before, said = (record.RESULTS, record.commit), iter(commits)
    with tempfile.TemporaryDirectory(prefix="sealgate-selftest-") as directory:
        record.RESULTS, record.commit = directory, lambda direct: next(said)
        try:
            yield directory
        finally:
            record.RESULTS, record.commit = before


def a_run_of_some_scenarios_says_nothing_of_the_others():
    """Each scenario keeps the commit and the environment of its own run, in files of before too; the page shows both, and what nobody ran."""
    some = next(client for client in manifest.all_clients() if client.folder == "boto3")
    client = dataclasses.replace(some, schemes=("http",), addressing=("path", "virtual"), scenarios=("sizes", "copy", "sync"), jobs=())
    stage = types.SimpleNamespace(backend="seaweedfs", direct=False, scheme="http")
    kept = {"client": "boto3", "version": client.version, "backend": "seaweedfs", "server": "1.0", "through": {"http path": {
        "date": "2026-01-01", "commit": "aaaaaaa", "scenarios": {"sizes": {"result": "pass"}, "copy": {"result": "pass"}, "sync": {"result": "absent"}}}}}
    with recording(["bbbbbbb", *["ccccccc"] * 3]) as place:
        record.write(kept)
        record.keep(client, stage, "path", [drive.Outcome("copy", "pass")], False, place)
        found = record.load("boto3", "seaweedfs")
        run = found["through"]["http path"]
        stamps = {name: record.stamp(run, outcome)[1] for name, outcome in run["scenarios"].items()}
        assert stamps == {"sizes": "aaaaaaa", "copy": "bbbbbbb", "sync": "aaaaaaa"}, f"{stamps}"
        servers = [record.environment(found, run["scenarios"][name]).get("server") for name in ("sizes", "copy")]
        assert servers[0] == "1.0" and servers[1] != "1.0", f"the servers' versions: {servers}"
        run["scenarios"][record.SCAN] = {"result": "fail"}
        record.write(found)
        record.keep(client, stage, "path", [drive.Outcome(record.SCAN, "pass")], False, place)
        assert record.load("boto3", "seaweedfs")["through"]["http path"]["scenarios"][record.SCAN]["result"] == "fail", "a scan of a part was taken for the whole"
        del run["scenarios"][record.SCAN]
        record.write(found)
        results = page.Results(client)
        shown = results.ran("seaweedfs", "through", "http path")
        assert shown.startswith("2026-01-01 aaaaaaa; copy: ") and shown.endswith(" bbbbbbb"), f"the page says {shown}"
        cells = [results.cell("seaweedfs", side, name) for side, name in (("through", "sizes"), ("direct", "sizes"), ("direct", "sync"), ("through", "no_plaintext"))]
        assert cells == ["yes; not run: virtual", "not run", "–", "not run"], f"the page says {cells}"
        assert (results.not_run("through", "seaweedfs"), results.not_run("direct", "seaweedfs"), results.not_run("through", "versitygw")) == (2, 2, 4)
        record.keep(client, stage, "path", [drive.Outcome(name, "pass") for name in ("sizes", "copy", "sync")], True, place)
        found = record.load("boto3", "seaweedfs")
        assert "server" not in found and len(found["environments"]) == 1 and set(found["through"]["http path"]) == {"scenarios"}, f"{found}"


def the_page_expects_what_is_asked():
    for client in manifest.all_clients():
        for where in [f"{scheme} {style}" for scheme in client.schemes for style in client.addressing]:
            scheme, style = where.split()
            asked = drive.Drive.asked(types.SimpleNamespace(client=client, addressing=style, stage=types.SimpleNamespace(scheme=scheme)), ())
            wanted = [scenario for scenario in client.asked if where in client.runs(scenario)]
            assert asked == wanted, f"{client.folder}, {where}: {asked} is asked, and {wanted} expected"


def client_of(directory: str, text: str, seconds: int) -> manifest.Client:
    """A client whose driver is that program."""
    path = os.path.join(directory, "driver")
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    some = manifest.all_clients()[0]

    class Made(manifest.Client):
        driver = path

    return Made(**{field.name: getattr(some, field.name) for field in dataclasses.fields(some)}
                | {"folder": "selftest", "seconds": seconds, "jobs": (), "scenarios": manifest.SCENARIOS, "signature": "v4"})


def a_body_in_clear_is_found(stage, files, hay, keep, directory):
    """What lies in a plain prefix is what an unencrypted object looks like."""
    place = {"Bucket": stages.BUCKET, "Key": "selftest-plain/body"}
    for rules in ([{"prefix": "selftest-plain/", "plain": True}], []):
        stage.planes.api("PUT", f"/v1/buckets/{stages.BUCKET}/rules", {"rules": rules})
        with open(os.path.join(files, "65537"), "rb") as body:
            stage.s3.put_object(**place, Body=body.read()) if rules else stage.s3.delete_object(**place)
        if rules:
            found = hay.leak("")
            assert found and "65537" in found, f"the scan says {found}"


def a_driver_that_lies_is_found_out(stage, files, hay, keep, directory):
    outcomes = drive.Drive(stage, client_of(directory, LIAR, 60), "path", directory, files, None, keep).run()
    believed = [outcome.scenario for outcome in outcomes if outcome.result == "pass"]
    assert len(outcomes) == len(manifest.SCENARIOS) and not believed, f"believed: {believed}"


def a_driver_that_hangs_is_ended(stage, files, hay, keep, directory):
    outcomes = drive.Drive(stage, client_of(directory, SLEEPER, 1), "path", directory, files, None, keep).run(["sizes"])
    assert [(outcome.result, "was ended" in outcome.detail) for outcome in outcomes] == [("fail", True)], f"{outcomes}"


ALONE = (alternates_on_one_connection, passes_bytes, leaves_100_continue_to_the_node, a_caveat_excuses_no_other_failure,
         a_run_of_some_scenarios_says_nothing_of_the_others, the_page_expects_what_is_asked)
ON_A_STAGE = (a_body_in_clear_is_found, a_driver_that_lies_is_found_out, a_driver_that_hangs_is_ended)


def run(tests, *arguments):
    """(name, why it failed or None) of each."""
    for test in tests:
        try:
            test(*arguments)
            yield test.__name__, None
        except Exception as error:  # A test may die of anything; the others still run.
            yield test.__name__, f"{type(error).__name__}: {error}"
