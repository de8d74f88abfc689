"""ops/example/run as its page says: two nodes behind nginx, of which one is killed while a client uploads."""

import configparser
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import servers
from cases import case, equal, true

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIZE = 64 << 20
# What the script makes of one port.
PORTS = (0, 1, 2, 11, 12, 21, 22)


def free_ports() -> int:
    """A port from which all that the example takes are free."""
    for _ in range(100):
        first = servers.free_port()
        with_each = [socket.socket() for _ in PORTS]
        try:
            for each, further in zip(with_each, PORTS, strict=True):
                each.bind(("127.0.0.1", first + further))
            return first
        except OSError:
            continue
        finally:
            for each in with_each:
                each.close()
    raise servers.ServerError("no row of free ports")


def stored(directory: str) -> int:
    """Bytes that lie below a directory, whose files come and go."""
    found = 0
    for place, _, files in os.walk(directory):
        for name in files:
            try:
                found += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                pass
    return found


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def aws(environment, *arguments) -> str:
    done = subprocess.run([servers.program("aws"), *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    true(done.returncode == 0, f"aws {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-600:]}")
    return done.stdout


@case(seconds=120)
def a_node_is_killed_while_a_client_uploads(t):
    outer = tempfile.mkdtemp(prefix="sealgate-example-")
    data, log, port = os.path.join(outer, "data"), os.path.join(outer, "log"), free_ports()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    # The programs are those beside the gateway under test: both planes are built with it.
    programs = os.path.dirname(t.target.binary)
    command = [os.path.join(ROOT, "ops", "example", "run"), "--data", data, "--port", str(port), "--bin", programs]
    with open(log, "wb") as output:
        example = servers.start_process(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
    upload = None
    try:
        def printed() -> str:
            with open(log, errors="replace") as file:
                return file.read()

        servers.wait_until("the example", example, lambda: "Stop with Ctrl-C" in printed(), log=log)
        victim = int(re.search(r"kill -9 (\d+) \(node-1\)", printed())[1])
        # Slow enough to be met on its way.
        config = configparser.ConfigParser()
        config.read(os.path.join(data, "config"))
        config["default"]["s3"] = "\nmax_bandwidth = 24MB/s\nmax_concurrent_requests = 2\nmultipart_chunksize = 8MB"
        with open(os.path.join(outer, "config"), "w") as file:
            config.write(file)
        client = {**environment, "AWS_SHARED_CREDENTIALS_FILE": os.path.join(data, "credentials"), "AWS_CONFIG_FILE": os.path.join(outer, "config")}
        there, back = os.path.join(outer, "there"), os.path.join(outer, "back")
        with open(there, "wb") as file:
            file.write(os.urandom(SIZE))
        aws(client, "s3", "mb", "s3://demo")
        upload = servers.start_process([servers.program("aws"), "s3", "cp", "--no-progress", there, "s3://demo/large"], env=client,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # Some parts are there, by each of the nodes, and two are under way.
        servers.wait_until("the upload", upload, lambda: stored(os.path.join(data, "backend")) > SIZE * 2 // 5)
        os.kill(victim, signal.SIGKILL)
        said, _ = upload.communicate(timeout=60)
        equal(upload.returncode, 0, f"the upload: {said}")
        true(not os.path.exists(f"/proc/{victim}"), "the node lives")
        aws(client, "s3", "cp", "--no-progress", "s3://demo/large", back)
        equal(digest(back), digest(there), "what came back")
        for node in ("node-1", "node-2"):
            with open(os.path.join(data, "logs", node), errors="replace") as file:
                true("REST.PUT.PART" in file.read(), f"{node} took a part")
        # The example is one without it, too, and ends when it is told to.
        equal(example.poll(), None, f"the example: {printed()[-600:]}")
        example.send_signal(signal.SIGTERM)
        equal(example.wait(30), 143, "how the example ended")
        servers.wait_until("the end of nginx", None, lambda: not servers.answers(port, "/-/balancer"))
    finally:
        for process in (upload, example):
            if process:
                process.send_signal(signal.SIGTERM)
                try:
                    # By itself, so that its children, which are in groups of their own, go with it.
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    servers.end_group(process, politely=False)
        shutil.rmtree(outer, ignore_errors=True)
