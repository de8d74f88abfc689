"""What the suites talk to: a gateway that they start themselves, or any S3 endpoint."""

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request

import servers

DRAIN_SECONDS = 30
PROFILE = "default"


class TargetError(Exception):
    """The target did not start, or did not stop as it should."""


class Target:
    """An S3 endpoint with credentials, and the files that make any AWS tool use it."""

    def __init__(self, directory: str):
        # DIR/credentials and DIR/config, in AWS's own formats.
        self.directory = directory
        # What the cases made there.
        self.buckets = []
        credentials, config = (configparser.ConfigParser(interpolation=None) for _ in range(2))
        if not credentials.read(os.path.join(directory, "credentials")) or not config.read(os.path.join(directory, "config")):
            raise TargetError(f"{directory} has no credentials and config files")
        try:
            self.access_key = credentials[PROFILE]["aws_access_key_id"]
            self.secret_key = credentials[PROFILE]["aws_secret_access_key"]
            self.region = config[PROFILE]["region"]
            self.endpoint = config[PROFILE]["endpoint_url"].rstrip("/")
        except KeyError as error:
            raise TargetError(f"{directory}/credentials and config lack {error} under [{PROFILE}]") from error

    def environment(self) -> dict[str, str]:
        """The environment of a client that knows nothing but the two files."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        return {
            **kept,
            "AWS_SHARED_CREDENTIALS_FILE": os.path.join(self.directory, "credentials"),
            "AWS_CONFIG_FILE": os.path.join(self.directory, "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }

    # What only a gateway has.
    is_gateway = False
    backend = None


class Direct(Target):
    """A server as it is, to see whether an expectation is S3's or only ours."""

    def __init__(self, endpoint, access_key, secret_key, region):
        directory = tempfile.mkdtemp(prefix="sealgate-direct-")
        with open(os.path.join(directory, "credentials"), "w") as file:
            file.write(f"[{PROFILE}]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")
        with open(os.path.join(directory, "config"), "w") as file:
            file.write(f"[{PROFILE}]\nregion = {region}\nendpoint_url = {endpoint}\n")
        super().__init__(directory)

    def stop(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Gateway(Target):
    """`sealgate dev` over a temporary directory, on the filesystem or before one of the S3 servers.

    Everything lies in `outer`; the data directory is one of its entries, so that anything that escapes it is seen.
    """

    is_gateway = True

    def __init__(self, binary: str, backend: servers.Server | None = None, arguments=(), data=None):
        self.binary, self.backend, self.arguments = binary, backend, list(arguments)
        self.outer = tempfile.mkdtemp(prefix="sealgate-gateway-")
        self.data = data or os.path.join(self.outer, "data")
        self.log = os.path.join(self.outer, "log")
        self.port = servers.free_port()
        try:
            self.start()
            super().__init__(self.data)
        except BaseException:
            if getattr(self, "process", None):
                servers.end_group(self.process, politely=False)
            shutil.rmtree(self.outer, ignore_errors=True)
            raise

    def start(self):
        """Starts the gateway and waits until it answers and has written its credentials."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        if self.backend:
            environment.update({
                "SEALGATE_DEV_S3_ENDPOINT": self.backend.endpoint,
                "SEALGATE_DEV_S3_REGION": self.backend.region,
                "SEALGATE_DEV_S3_ACCESS_KEY": self.backend.access_key,
                "SEALGATE_DEV_S3_SECRET_KEY": self.backend.secret_key,
                "SEALGATE_DEV_S3_SERVER": self.backend.name,
            })
        command = [self.binary, "dev", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--admin-listen", "127.0.0.1:0", *self.arguments]
        if not os.access(self.binary, os.X_OK):
            raise TargetError(f"{self.binary} is missing: cargo build -p sealgate")
        self.log_before = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as output:
            self.process = servers.start_process(command, stdin=subprocess.DEVNULL, stdout=output,
                                                 stderr=subprocess.STDOUT, env=environment, cwd=self.outer)
        files = [os.path.join(self.data, name) for name in ("credentials", "config")]
        tls = "--tls-certificate" in self.arguments
        servers.wait_until(
            "sealgate dev", self.process,
            lambda: all(map(os.path.exists, files)) and servers.answers(self.port, "/", range(200, 500), tls) and "Ctrl-C" in self.printed(),
            log=self.log,
        )

    def admin(self, method: str, path: str, document: dict):
        """A request to the gateway's admin API that must succeed, by the address and the token that it tells whoever starts it."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            told = re.findall(r"^Admin API +(http://\S+)", file.read(), re.MULTILINE)
        with open(os.path.join(self.data, "control-plane", "admin-token")) as file:
            token = file.read().strip()
        request = urllib.request.Request(told[-1] + path, json.dumps(document).encode(), method=method, headers={
            "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def interrupt(self):
        """Ctrl-C: it must drain and end with 0."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TargetError(f"did not drain within {DRAIN_SECONDS} s of Ctrl-C{servers.tail(self.log)}") from error
        if status != 0:
            raise TargetError(f"ended with {status} after Ctrl-C{servers.tail(self.log)}")

    def kill(self):
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Stops and starts it over the same data; also after a stop that failed, so that only one case suffers."""
        try:
            self.interrupt()
        except TargetError:
            servers.end_group(self.process, politely=False)
            self.start()
            raise
        self.start()

    def printed(self) -> str:
        """What it printed and logged since its last start."""
        with open(self.log, errors="replace") as file:
            file.seek(self.log_before)
            return file.read()

    def welcome(self, what: str) -> str:
        """What it printed after a word at its last start."""
        return re.findall(rf"^{what} +(\S+)", self.printed(), re.M)[0]

    def metrics_url(self) -> str:
        """Where its node's metrics are."""
        return self.welcome("Health, metrics").replace("/healthz", "/metrics")

    def raw_roots(self) -> list[str]:
        """Directories with everything that was stored, as raw bytes."""
        return [self.backend.data] if self.backend else [os.path.join(self.data, "backend")]

    def stop(self):
        servers.end_group(self.process, politely=False)
        shutil.rmtree(self.outer, ignore_errors=True)
