"""What clients are run against: two nodes before a storage and a balancer before them, or a storage alone behind the same balancer."""

import concurrent.futures
import contextlib
import os
import random
import shutil
import tempfile
import urllib.parse

import authority
import balancer
import boto3
import botocore.client
import botocore.exceptions
import planes
import servers

BACKENDS = ("filesystem", *servers.S3_SERVERS)
SIZES = (0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881, 68157440)
LARGEST = SIZES[-1]
BUCKET, VERSIONED = "clients-bucket", "clients-versioned"
MANY = [f"many/{number:04}" for number in range(1100)]
# Buckets' names stand before it in virtual-host style; it resolves in a driver's own /etc/hosts alone.
DOMAIN = "s3.sealgate.test"
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def make_files() -> str:
    """The bodies, named by their sizes: bytes without structure, so that whatever lies in a storage in clear is found."""
    directory = tempfile.mkdtemp(prefix="sealgate-files-")
    for size in SIZES:
        path = os.path.join(directory, str(size))
        with open(path, "wb") as file:
            file.write(random.Random(f"clients/{size}").randbytes(size))
        os.chmod(path, 0o444)
    return directory


class Stage:
    """One storage under one scheme; `direct` is without Sealgate."""

    def __init__(self, backend: str, scheme: str, direct: bool = False):
        self.backend, self.scheme, self.direct = backend, scheme, direct
        self.closing = contextlib.ExitStack()
        self.planes = self.storage = None
        self.credentials: dict[str, tuple[str, str]] = {}
        try:
            self._build()
        except BaseException:
            self.closing.close()
            raise

    def _build(self):
        directory = tempfile.mkdtemp(prefix="sealgate-stage-")
        self.closing.callback(shutil.rmtree, directory, ignore_errors=True)
        tls = self.scheme == "https"
        self.ca, certificate = authority.make(directory, DOMAIN) if tls else (None, None)
        if self.backend != "filesystem":
            self.storage = self.closing.enter_context(servers.S3_SERVERS[self.backend]())
        if self.direct:
            self.region, nodes = self.storage.region, [("127.0.0.1", urllib.parse.urlsplit(self.storage.endpoint).port)]
        else:
            self.planes = planes.Planes(DOMAIN, self.storage, certificate)
            self.closing.callback(self.planes.stop)
            self.region, nodes = planes.REGION, self.planes.nodes
        # A server alone has no TLS: there only the balancer does.
        self.balancer = balancer.Balancer(nodes, certificate, self.ca if tls and not self.direct else None)
        self.closing.callback(self.balancer.close)
        self.passage = None
        if tls and not self.direct:
            self.passage = balancer.Passage(nodes)
            self.closing.callback(self.passage.close)
        self.hosts = os.path.join(directory, "hosts")
        with open("/etc/hosts") as system, open(self.hosts, "w") as own:
            own.write(system.read() + f"\n127.0.0.1 {DOMAIN} {BUCKET}.{DOMAIN} {VERSIONED}.{DOMAIN}\n")
        if tls:
            self.bundle = os.path.join(directory, "bundle.pem")
            with open(SYSTEM_BUNDLE) as system, open(self.ca) as own, open(self.bundle, "w") as both:
                both.write(system.read() + own.read())
        self.s3 = self.client()
        self._fill()

    def endpoint(self, addressing: str = "path") -> str:
        """Where a client connects. Virtual-host style over TLS goes through to the nodes' own TLS."""
        port = self.passage.port if addressing == "virtual" and self.passage else self.balancer.port
        return f"{self.scheme}://{DOMAIN if addressing == 'virtual' else '127.0.0.1'}:{port}"

    def credential(self, signature: str = "v4") -> tuple[str, str]:
        """Access key and secret of one kind, made when it is first asked for."""
        if self.direct:
            return self.storage.access_key, self.storage.secret_key
        if signature not in self.credentials:
            self.credentials[signature] = self.planes.credential(sigv2=signature == "v2")
        return self.credentials[signature]

    def client(self):
        """The runner's own eyes."""
        access_key, secret_key = self.credential()
        configuration = botocore.client.Config(signature_version="s3v4", s3={"addressing_style": "path"}, read_timeout=120, max_pool_connections=16,
                                               retries={"total_max_attempts": 1})
        return boto3.client("s3", endpoint_url=self.endpoint(), region_name=self.region, aws_access_key_id=access_key, aws_secret_access_key=secret_key,
                            verify=self.ca or False, config=configuration)

    def _fill(self):
        where = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        for name in (BUCKET, VERSIONED):
            self.s3.create_bucket(Bucket=name, **where)
        servers.wait_until("the buckets at every node", None, self._known)
        self.s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode()), MANY))

    def _known(self) -> bool:
        """Whether both nodes know both buckets: on a machine that is busy the second may learn of one after the first has answered."""
        try:
            for name in (BUCKET, VERSIONED) * planes.NODES:
                self.s3.head_bucket(Bucket=name)
            for name in (VERSIONED, BUCKET) * planes.NODES:
                self.s3.head_bucket(Bucket=name)
        except botocore.exceptions.ClientError:
            return False
        return True

    def raw_roots(self) -> list[str]:
        return self.planes.raw_roots() if self.planes else [self.storage.directory]

    def empty(self, prefix: str):
        """Removes what a driver left, versions too, so that the next has the same space."""
        for bucket in (BUCKET, VERSIONED):
            for page in self.s3.get_paginator("list_object_versions" if bucket == VERSIONED else "list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                entries = [*page.get("Contents", []), *page.get("Versions", []), *page.get("DeleteMarkers", [])]
                for entry in entries:
                    version = {"VersionId": entry["VersionId"]} if "VersionId" in entry else {}
                    self.s3.delete_object(Bucket=bucket, Key=entry["Key"], **version)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.close()
