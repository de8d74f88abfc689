"""The work on envelopes, and what clients do between its look at an object and its write: the storage is held there.

The windows are milliseconds, which writers at full speed (`rewrap_load`) hardly meet. Here each write of the work waits at a proxy
before the storage until a client's own is done; then it has to fail, and the work to look again.
"""

import hashlib
import threading

import proxied
import proxy
from cases import case, data, equal, raises, true
from cuts_storage import cut_after
from rewrap import PARTS, Work, uploaded

OLD, NEW = {"which": "old"}, {"which": "new"}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Held:
    """A bucket behind the proxy, and the one request of the work that waits for `meanwhile`."""

    def __init__(self, t):
        found = proxied.of(t)
        self.t, self.proxy = found.context, found.proxy
        self.work = Work(self.t)
        self.lock, self.failure = threading.Lock(), None

    def small(self, key: str, size: int = 1_000):
        self.t.s3.put_object(Bucket=self.work.bucket, Key=key, Body=data(size, key), Metadata=OLD)

    def seen(self, key: str):
        answer = self.t.s3.get_object(Bucket=self.work.bucket, Key=key)
        return digest(answer["Body"].read()), answer["Metadata"]

    def keeps(self, old: str, key: str, meanwhile, wanted, compromised=False):
        """The work on everything under `old`, its first write of `key` held until `meanwhile` is done: what that wrote is `wanted`."""
        held = []

        def rule(request: proxy.Request):
            # What makes an object: a PUT that is no part, or a completion. The first is the work's, as clients wait for it.
            makes = request.method == "PUT" and "partNumber" not in request.query or request.method == "POST" and "uploadId" in request.query
            if not makes or not request.path.endswith(f"/{key}"):
                return None
            with self.lock:
                if held:
                    return None
                held.append(request)
            return act

        def act(exchange):
            try:
                meanwhile()
            except Exception as error:  # A thread of the proxy's: said where the case sees it.
                self.failure = error
            exchange.honest()

        if compromised:
            self.work.admin("key", "compromised", self.work.bucket, old)
        with self.proxy.lying(rule):
            self.work.start("--key", old)
            shown = self.work.until_done()
        true(held, "no write of the work was held: it was no test of anything")
        equal(self.failure, None, "what the client did meanwhile")
        equal(self.seen(key), wanted, "what the client wrote")
        equal((shown["left"], self.work.under(old)), (0, []), f"what is left; {shown}")
        true(shown["changed_meanwhile"] > 0, f"the work did not see the change: {shown}")


def put_meanwhile(t, compromised: bool):
    held = Held(t)
    held.small("one")
    old = held.work.rotated()
    body = data(2_000, "newer")
    held.keeps(old, "one", lambda: held.t.s3.put_object(Bucket=held.work.bucket, Key="one", Body=body, Metadata=NEW), (digest(body), NEW), compromised)


@case(seconds=120, gateway_only=True, only="server")
def a_put_between_look_and_write_is_kept(t):
    put_meanwhile(t, compromised=False)


@case(seconds=120, gateway_only=True, only="server")
def a_put_while_the_object_is_encrypted_anew_is_kept(t):
    put_meanwhile(t, compromised=True)


@case(seconds=120, gateway_only=True, only="server")
def other_metadata_beside_the_same_bytes_between_look_and_write_are_kept(t):
    """A copy onto itself: where the storage's ETag is of the bytes, only that they are sealed anew tells it from what was looked at."""
    held = Held(t)
    held.small("one")
    old, bucket = held.work.rotated(), held.work.bucket

    def meanwhile():
        held.t.s3.copy_object(Bucket=bucket, Key="one", CopySource={"Bucket": bucket, "Key": "one"}, MetadataDirective="REPLACE", Metadata=NEW)

    held.keeps(old, "one", meanwhile, (digest(data(1_000, "one")), NEW))


@case(seconds=180, gateway_only=True, only="server")
def a_put_before_the_completion_of_copied_parts_is_kept(t):
    held = Held(t)
    uploaded(held.t, held.work.bucket, "parts", PARTS)
    old = held.work.rotated()
    body = data(2_000, "newer")
    held.keeps(old, "parts", lambda: held.t.s3.put_object(Bucket=held.work.bucket, Key="parts", Body=body, Metadata=NEW), (digest(body), NEW))


@case(seconds=120, gateway_only=True, only="server")
def an_upload_whose_record_does_not_arrive_is_not_taken_for_none(t):
    held = Held(t)
    held.t.s3.create_multipart_upload(Bucket=held.work.bucket, Key="upload")
    old = held.work.rotated()
    with held.proxy.lying(lambda request: cut_after(0.5) if request.method == "GET" and request.path.endswith("/r") else None):
        held.work.start("--key", old)
        shown = held.work.until("a trouble that is told", lambda shown: shown["trouble"] or shown["ended"])
        true(held.proxy.touched, "the proxy told no lie")
        equal(shown["ended"], None, f"the end of work that cannot be done; {shown}")
    shown = held.work.until_done()
    equal((shown["left_under"], shown["left_why"][0]["examples"]), ({old: 1}, ["upload"]), "what is left")


@case(seconds=120, gateway_only=True, only="server")
def an_upload_that_is_completed_behind_the_pass_is_counted(t):
    """The objects are listed first, then the records of uploads: in between an open upload becomes an object, and an older version where there are versions."""
    held = Held(t)
    held.t.s3.put_bucket_versioning(Bucket=held.work.bucket, VersioningConfiguration={"Status": "Enabled"})
    client, place = held.t.s3, {"Bucket": held.work.bucket, "Key": "upload"}
    made = client.create_multipart_upload(**place)["UploadId"]
    body = data(5_000, "part")
    etag = client.upload_part(**place, UploadId=made, PartNumber=1, Body=body)["ETag"]
    old, read = held.work.rotated(), []

    def rule(request: proxy.Request):
        # The record, as the pass ends: it was read when the pass began.
        with held.lock:
            if request.method != "GET" or not request.path.endswith("/r"):
                return None
            read.append(request)
            return act if len(read) == 2 else None

    def act(exchange):
        try:
            client.complete_multipart_upload(**place, UploadId=made, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
            client.put_object(**place, Body=b"newer")
        except Exception as error:  # A thread of the proxy's: said where the case sees it.
            held.failure = error
        exchange.honest()

    with held.proxy.lying(rule):
        held.work.start("--key", old)
        shown = held.work.until_done()
    true(len(read) > 2, "there was no second pass")
    equal(held.failure, None, "the completion")
    equal((shown["left_under"], [each["why"] for each in shown["left_why"]]), ({old: 1}, ["it is an older version"]), f"what is left; {shown}")
    versions = client.list_object_versions(**{"Bucket": held.work.bucket, "Prefix": "upload"})["Versions"]
    equal([client.get_object(**place, VersionId=version["VersionId"])["Body"].read() for version in versions], [b"newer", body], "the versions")


@case(seconds=180, gateway_only=True, only="server")
def a_listing_that_is_none_is_no_empty_one(t):
    """Under the status 200, as some storages, and what stands before them, answer when they are overloaded."""
    held = Held(t)
    held.small("one")
    old = held.work.rotated()
    for body in (b"<Error><Code>InternalError</Code><Message>no</Message></Error>", b"<html><body>Please wait</body></html>", b""):

        def rule(request: proxy.Request, body=body):
            listing = request.method == "GET" and ("list-type" in request.query or "versions" in request.query)
            return (lambda exchange: answer(exchange, body)) if listing else None

        with held.proxy.lying(rule):
            with raises("SlowDown", "InternalError", "ServiceUnavailable"):
                held.t.s3.list_objects_v2(Bucket=held.work.bucket)
            held.work.start("--key", old)
            shown = held.work.until("a trouble that is told", lambda shown: shown["trouble"] or shown["ended"])
            equal(shown["ended"], None, f"the end of work that was told {body} of the bucket; {shown}")
            held.work.admin("rewrap", "cancel", held.work.bucket)
    held.work.start("--key", old)
    shown = held.work.until_done()
    equal((shown["left_under"], shown["rewrapped"], held.work.under(old)), ({old: 0}, 1, []), "what is done once the storage answers")


def answer(exchange: proxy.Exchange, body: bytes):
    exchange.drain(exchange.request.length)
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
