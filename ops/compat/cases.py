"""The harness: cases are functions with `@case`; each gets a context and passes unless it raises."""

import contextlib
import dataclasses
import random
import secrets
import signal
import time
import traceback
from collections.abc import Callable

import boto3
import botocore.client
import botocore.exceptions

import raw
import sigv4

CASE_SECONDS = 60
SIZES = ("ci", "acceptance")


@dataclasses.dataclass(frozen=True)
class Case:
    """One expectation, named after its function."""

    module: str
    name: str
    run: Callable
    seconds: int
    # Which sizes of a run it belongs to.
    sizes: tuple[str, ...]
    # About what only a gateway has: no part of what S3 servers are compared by.
    gateway_only: bool = False
    # Where it makes sense: before a "server", on the "filesystem", or empty for both.
    only: str = ""


CASES: list[Case] = []


def case(function=None, *, seconds=CASE_SECONDS, sizes=SIZES, gateway_only=False, only=""):
    """Registers a case; it fails when it takes longer than `seconds`."""

    def register(function):
        module = function.__module__.rpartition(".")[2]
        assert not any(other.module == module and other.name == function.__name__ for other in CASES), function.__name__
        CASES.append(Case(module, function.__name__, function, seconds, sizes, gateway_only, only))
        return function

    return register(function) if function else register


def variants(**arguments):
    """Registers a case for each keyword, called `function_keyword`; its value (a tuple: its values) follows the context."""

    def register(function):
        for name, values in arguments.items():
            values = values if isinstance(values, tuple) else (values,)

            def run(t, values=values):
                function(t, *values)

            run.__name__, run.__module__ = f"{function.__name__}_{name}", function.__module__
            case(run)
        return function

    return register


class Context:
    """What a case works with: a running target, clients for it, and a bucket of its module's own."""

    def __init__(self, target, bucket: str, size: str):
        self.target, self.bucket, self.size = target, bucket, size
        # What a suite starts for itself, ended after the last case.
        self.closing = contextlib.ExitStack()
        self._shared = {}
        self.credentials = sigv4.Credentials(target.access_key, target.secret_key, target.region)
        self.raw = raw.RawClient(target.endpoint, self.credentials)
        self.s3 = self.client()

    def client(self, **options):
        """A boto3 client that retries nothing unless told to, so that every error is seen."""
        configuration = botocore.client.Config(
            retries=options.pop("retries", {"total_max_attempts": 1}), connect_timeout=10, read_timeout=120, signature_version="s3v4",
            s3={"addressing_style": options.pop("addressing_style", "path")}, **options.pop("config", {}),
        )
        return boto3.client("s3", **{
            "endpoint_url": self.target.endpoint, "region_name": self.target.region, "config": configuration,
            "aws_access_key_id": self.target.access_key, "aws_secret_access_key": self.target.secret_key, **options,
        })

    def create_bucket(self, name: str):
        """Creates a bucket, naming the region where S3 demands it."""
        region = self.target.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.target.buckets.append(name)
        return self.s3.create_bucket(Bucket=name, **where)

    def fresh_bucket(self, **options) -> str:
        """A bucket of the case's own, for what would disturb others."""
        name = f"{self.bucket[:40].rstrip('-')}-{secrets.token_hex(4)}"
        region = self.target.region
        if region != "us-east-1":
            options.setdefault("CreateBucketConfiguration", {"LocationConstraint": region})
        self.target.buckets.append(name)
        self.s3.create_bucket(Bucket=name, **options)
        return name

    def shared(self, name: str, make):
        """What several cases of the suite look at and none changes: made by the first that asks, its failure told to each."""
        if name not in self._shared:
            try:
                self._shared[name] = make()
            except Exception as error:  # Every case that needs it then fails for this reason.
                self._shared[name] = error
        if isinstance(self._shared[name], Exception):
            raise self._shared[name]
        return self._shared[name]

    def put(self, key: str, body=b"body", **options):
        """An object in this module's bucket."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def path(self, key: str = "") -> str:
        """The path of a key in this module's bucket."""
        return sigv4.encode_path(self.bucket, key)

    def keys(self, prefix="") -> list[str]:
        """All visible keys under a prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def get(self, key: str, **options) -> bytes:
        """A whole object."""
        return self.s3.get_object(Bucket=self.bucket, Key=key, **options)["Body"].read()


def data(length: int, seed: object = 0) -> bytes:
    """Reproducible bytes without structure."""
    return random.Random(f"{seed}/{length}").randbytes(length)


def equal(found, wanted, what="value"):
    """Fails with both values when they differ."""
    if found != wanted:
        raise AssertionError(f"{what} is {short(found)}, not {short(wanted)}")


def within(found, wanted, what="value"):
    """Fails unless the value is one of those."""
    if found not in wanted:
        raise AssertionError(f"{what} is {short(found)}, none of {wanted}")


def true(condition, text: str):
    """Fails with the text unless the condition holds."""
    if not condition:
        raise AssertionError(text)


def short(value) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}… ({len(text)} characters)"


def refused(answer: raw.Answer, status, *codes: str):
    """Fails unless the answer has that status (or one of them) and, for methods with a body, one of those codes."""
    statuses = status if isinstance(status, tuple) else (status,)
    if answer.status not in statuses or (codes and answer.code not in codes):
        raise AssertionError(f"answered {answer}, not {status} {' or '.join(codes)}")


@contextlib.contextmanager
def raises(*codes: str, status: int | None = None):
    """Fails unless the block is answered with one of S3's error codes (for HEAD: the status as text)."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code, found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code not in codes or status not in (None, found):
            raise AssertionError(f"answered {found} {code}, not {status or ''} {' or '.join(codes)}") from error
    else:
        raise AssertionError(f"succeeded, not refused with {' or '.join(codes)}")


class TooSlow(Exception):
    """A case reached its time limit."""


def run_case(each: Case, context: Context) -> tuple[str | None, float]:
    """Why the case failed (None: it passed), and its seconds."""

    def at_limit(*_):
        raise TooSlow(f"took more than {each.seconds} s")

    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, at_limit)
    signal.alarm(each.seconds)
    try:
        each.run(context)
        return None, time.monotonic() - began
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(where) if frame.filename.endswith(f"{each.module}.py")), 0)
        return f"line {line}: {error}", time.monotonic() - began
    except Exception as error:  # A case may die of anything; the others still run.
        where = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(where) if frame.filename.endswith(f"{each.module}.py")), 0)
        return f"line {line}: {type(error).__name__}: {short(str(error))}", time.monotonic() - began
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
