"""Real S3 servers and nginx on loopback: started on free ports over a temporary directory, and gone afterwards.

Standard library only, so that `ops/with-servers` works with any python3. The programs come from `ops/install-tools`;
one that is missing is an error, never a skip.
"""

import ctypes
import dataclasses
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

REGION = "us-east-1"
# Below the range from which Linux takes ports for outgoing connections (32768 and up): nobody else grabs them meanwhile.
PORTS = range(20000, 32000)
START_SECONDS = 60
STOP_SECONDS = 10
_taken: set[int] = set()
# Dead parents must not leave servers behind, even when killed by -9.
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """A server that is missing, does not start or died."""


def free_port() -> int:
    """A loopback port that nothing listens on, and that this process has not handed out before."""
    for port in random.SystemRandom().sample(PORTS, 200):
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise ServerError("no free port between 20000 and 32000")


def start_process(command, **options) -> subprocess.Popen:
    """Starts a child in a group of its own, which dies with this process."""

    def in_child():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=in_child, **options)


def wait_until(what, process, check, seconds=START_SECONDS, log=None):
    """Polls `check` until it is true; fails when the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        if check():
            return
        if process is not None and process.poll() is not None:
            raise ServerError(f"{what} ended with {process.returncode}{tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"{what} was not ready within {seconds} s{tail(log)}")
        time.sleep(0.05)


def tail(log, lines=15) -> str:
    """The end of a log file, for an error's text."""
    if log is None or not os.path.exists(log):
        return ""
    with open(log, errors="replace") as file:
        return "\n  " + "\n  ".join(file.read().splitlines()[-lines:])


def answers(port: int, path: str, accepted=(200,), tls=False) -> bool:
    """Whether a GET on loopback is answered with one of the accepted statuses."""
    if tls:
        # Whether it answers is asked, not who it is.
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status in accepted
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclasses.dataclass
class Server:
    """A running server: where it is, who may use it, and what its raw bytes are."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str
    directory: str
    process: subprocess.Popen
    log: str

    @property
    def data(self) -> str:
        """The directory that holds the objects' raw bytes."""
        return os.path.join(self.directory, "data")

    def environment(self) -> dict[str, str]:
        """What the Rust tests read."""
        prefix = f"SEALGATE_TEST_S3_{self.name.upper()}"
        return {
            f"{prefix}_ENDPOINT": self.endpoint,
            f"{prefix}_ACCESS_KEY": self.access_key,
            f"{prefix}_SECRET_KEY": self.secret_key,
            f"{prefix}_REGION": self.region,
        }

    def stop(self):
        """Ends the whole group and removes the data (which is why nothing is asked politely to save it first)."""
        end_group(self.process, politely=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def end_group(process: subprocess.Popen, politely=True):
    """SIGTERM to the group, SIGKILL when that was not enough or not wanted."""
    for number, seconds in (((signal.SIGTERM, STOP_SECONDS),) if politely else ()) + ((signal.SIGKILL, STOP_SECONDS),):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def program(name: str) -> str:
    """Where a tool is; its absence is a failure with the cure in its text."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise ServerError(f"{name} is missing: run ops/install-tools and source its env file")
    return path


def _environment(**extra) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MINIO_", "ROOT_"))}
    return {**kept, **extra}


def _start(name, command, port, health, environment=None, setup=None) -> Server:
    directory = tempfile.mkdtemp(prefix=f"sealgate-{name}-")
    access_key, secret_key = "TEST" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30)
    log = os.path.join(directory, "log")
    os.mkdir(os.path.join(directory, "data"))
    process = None
    try:
        if setup:
            setup(directory, access_key, secret_key)
        with open(log, "wb") as output:
            process = start_process(
                command(directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=_environment(**(environment(access_key, secret_key) if environment else {}), HOME=directory),
            )
        wait_until(name, process, lambda: answers(port, health), log=log)
    except BaseException:
        if process is not None:
            end_group(process)
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Server(name, f"http://127.0.0.1:{port}", access_key, secret_key, REGION, directory, process, log)


def seaweedfs() -> Server:
    """SeaweedFS: master, volume server, filer and S3 in one process."""
    weed = program("weed")
    port = free_port()
    ports = {
        option: free_port()
        for option in ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
                       "filer.port.grpc", "s3.port.grpc")
    }

    def setup(directory, access_key, secret_key):
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        with open(os.path.join(directory, "s3.json"), "w") as file:
            json.dump({"identities": [identity]}, file)

    def command(directory):
        return [
            weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory}/data", "-filer", "-s3",
            f"-s3.port={port}", f"-s3.config={directory}/s3.json", "-volume.max=2000", "-master.volumeSizeLimitMB=1024",
            "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            f"-filer.localSocket={directory}/filer.sock", f"-s3.localSocket={directory}/s3.sock",
            *(f"-{option}={number}" for option, number in ports.items()),
        ]

    # A bucket takes seven volumes at once by default, and the tests make many buckets.
    server = _start("seaweedfs", command, port, "/healthz", setup=setup,
                    environment=lambda *_: {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"})
    # Healthy is said before the volume server has registered with the master: wait for a volume to write to.
    try:
        wait_until("seaweedfs volume server", server.process,
                   lambda: answers(ports["master.port"], "/dir/assign"), log=server.log)
    except BaseException:
        server.stop()
        raise
    return server


def versitygw() -> Server:
    """versitygw over a POSIX directory: strict about S3's errors; needs extended attributes there."""
    gateway = program("versitygw")
    port = free_port()

    def setup(directory, _access_key, _secret_key):
        for name in ("iam", "versions"):
            os.mkdir(os.path.join(directory, name))

    def command(directory):
        return [gateway, "--port", f"127.0.0.1:{port}", "--region", REGION, "--iam-dir", f"{directory}/iam", "--quiet",
                "--health", "/health", "posix", "--versioning-dir", f"{directory}/versions", f"{directory}/data"]

    return _start("versitygw", command, port, "/health",
                  environment=lambda access, secret: {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}, setup=setup)


def minio() -> Server:
    """MinIO on one directory."""
    server = program("minio")
    port = free_port()
    return _start(
        "minio",
        lambda directory: [server, "server", "--address", f"127.0.0.1:{port}", f"{directory}/data"],
        port,
        "/minio/health/live",
        environment=lambda access, secret: {
            "MINIO_ROOT_USER": access, "MINIO_ROOT_PASSWORD": secret, "MINIO_CI_CD": "on", "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
    )


def nginx(upstreams: list[str]) -> Server:
    """nginx as a balancer before the given `host:port`s: bodies pass unbuffered, the Host header as the client sent it."""
    binary = program("nginx")
    port = free_port()

    def setup(directory, _access_key, _secret_key):
        servers = "".join(f"    server {upstream} max_fails=1 fail_timeout=1s;\n" for upstream in upstreams)
        with open(os.path.join(directory, "nginx.conf"), "w") as file:
            file.write(f"""daemon off; master_process on; worker_processes 1; pid {directory}/pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  upstream nodes {{
{servers}    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port};
    location = /-/balancer {{ return 200; }}
    location / {{
      proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 300s;
    }}
  }}
}}
""")

    return _start("nginx", lambda directory: [binary, "-p", directory, "-c", f"{directory}/nginx.conf"], port,
                  "/-/balancer", setup=setup)


S3_SERVERS = {"seaweedfs": seaweedfs, "versitygw": versitygw, "minio": minio}
