"""AWS's KMS as others imitate it, on loopback: moto (quick), LocalStack (right about states of keys), and faults in front."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request

import boto3
import botocore.client

import servers
import world

ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# As AWS says that it does not work.
FAILED = (500, b'{"__type":"KMSInternalException","message":"made up"}')
CREDENTIALS = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
# Somebody has renewed them.
NEW_ACCESS_KEY = "AKIAI44QH8DHBEXAMPLE"
RENEWED = CREDENTIALS.replace(ACCESS_KEY, NEW_ACCESS_KEY)


def program(variable: str, tool: str) -> str:
    path = os.environ.get(variable, "")
    if not os.access(path, os.X_OK):
        raise servers.ServerError(f"{variable} names no program: run ops/install-tools {tool} and source its env file")
    return path


class Imitation:
    """A server that answers as AWS KMS does."""

    def __init__(self, name: str, command, health: str, environment=None, seconds=60):
        self.directory = tempfile.mkdtemp(prefix=f"sealgate-{name}-")
        self.port = servers.free_port()
        self.log = os.path.join(self.directory, "log")
        variables = {name.format(**vars(self)): value.format(**vars(self)) for name, value in (environment or {}).items()}
        with open(self.log, "wb") as log:
            self.process = servers.start_process([part.format(**vars(self)) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                                                 stderr=subprocess.STDOUT, cwd=self.directory, env={**world.clean_environment(), **variables})
        try:
            servers.wait_until(name, self.process, lambda: servers.answers(self.port, health), seconds, self.log)
        except BaseException:
            self.stop()
            raise

    def client(self):
        """For what an administrator of the account does."""
        return boto3.client("kms", endpoint_url=f"http://127.0.0.1:{self.port}", region_name=world.REGION, aws_access_key_id=ACCESS_KEY,
                            aws_secret_access_key=SECRET_KEY, config=botocore.client.Config(retries={"total_max_attempts": 1}, read_timeout=120))

    def stop(self):
        servers.end_group(self.process, politely=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def warmed(imitation: Imitation) -> Imitation:
    """It loads what answers a call at the first call; that is none of the suite's."""
    try:
        key = imitation.client().create_key()["KeyMetadata"]["KeyId"]
        client = imitation.client()
        wrapped = client.encrypt(KeyId=key, Plaintext=b"warm")["CiphertextBlob"]
        client.decrypt(KeyId=key, CiphertextBlob=wrapped)
        client.describe_key(KeyId=key)
        client.list_aliases()
    except BaseException:
        imitation.stop()
        raise
    return imitation


def moto() -> Imitation:
    """In memory, in a second. Wrong: what is disabled still works; no signature is checked."""
    return warmed(Imitation("moto", [program("SEALGATE_MOTO", "moto"), "-H", "127.0.0.1", "-p", "{port}"], "/moto-api/"))


def localstack() -> Imitation:
    """Slow, and right about keys that are disabled or pending deletion."""
    environment = {
        "GATEWAY_SERVER": "hypercorn", "GATEWAY_LISTEN": "127.0.0.1:{port}", "SERVICES": "kms,sts", "EAGER_SERVICE_LOADING": "0",
        "SKIP_SSL_CERT_DOWNLOAD": "1", "DISABLE_EVENTS": "1", "DNS_ADDRESS": "0", "ACTIVATE_PRO": "0", "FILESYSTEM_ROOT": "{directory}",
        "LOCALSTACK_VOLUME_DIR": "{directory}/var", "HOME": "{directory}",
    }
    return warmed(Imitation("localstack", [program("SEALGATE_LOCALSTACK_PYTHON", "localstack"), "-m", "localstack.runtime.main"],
                     "/_localstack/health", environment, seconds=120))


class Microburst:
    """Faults in AWS's own words before one of them."""

    def __init__(self, upstream: int):
        self.imitation = Imitation("microburst", [program("SEALGATE_MICROBURST", "microburst"), "-u", f"http://127.0.0.1:{upstream}",
                                                  "--host", "127.0.0.1", "--port", "{port}"], "/_microburst/rules")
        self.port = self.imitation.port
        # Its first call takes many seconds, in which it reads AWS's descriptions of all services.
        warmed(self.imitation)

    def _call(self, method, document=None):
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_microburst/rules", body, method=method,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def fail(self, operation: str, code: str, status=400, times=1_000_000):
        """So many calls of an operation are answered with this error, until `heal`."""
        self._call("POST", [{"service": "kms", "operation": operation, "times": times, "error": {"code": code, "status": status}}])

    def heal(self):
        self._call("DELETE", [])

    def stop(self):
        self.imitation.stop()


def table(port: int) -> str:
    """The configuration's tables for one of them."""
    return f"""
[kms]
default = "{world.PROVIDER}"

[kms.aws.{world.PROVIDER}]
region = "{world.REGION}"
endpoint = "http://127.0.0.1:{port}"
credentials_file = "{{data}}/aws-credentials"
deletion_window_days = 7
"""
