"""The front end that clients are recorded against: the one that the recordings are played to (data-plane/tests/kept)."""

import json
import os
import subprocess
import threading

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


def build() -> str:
    """The test program."""
    command = ["cargo", "test", "--locked", "-p", "sealgate-data-plane", "--test", "kept", "--no-run", "--message-format", "json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in done.stdout.splitlines())
    return next(each["executable"] for each in messages if each.get("executable") and each["target"]["name"] == "kept")


class Rig:
    """One of it, empty, until it is closed. `operations` says, by request id, what it took each request for."""

    def __init__(self, program: str):
        self.operations: dict[str, str] = {}
        self.process = subprocess.Popen([program, "serve", "--exact", "--ignored", "--nocapture"], cwd=ROOT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                host, port = words[1].rsplit(":", 1)
                self.address = (host, int(port))
                break
            self._note(words)
        else:
            raise RuntimeError("the front end did not start")
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def close(self):
        """Ends it, and reads what it has still said."""
        self.process.stdin.close()
        self.reader.join()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self._note(line.split())

    def _note(self, words: list[str]):
        # The test harness writes the name of a test before the first line, without an end.
        if "request" in words:
            _, request_id, operation, *_ = words[words.index("request"):]
            self.operations[request_id] = operation
