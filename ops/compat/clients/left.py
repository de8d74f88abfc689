"""Reads what a driver says that it left, by a client of the runner's own: a driver that only says "pass" is found out."""

import os

import botocore.exceptions

import stage as stages

NAMES = ("plain", "with space", "plus+sign", "percent%20kept", "percent%2Fslash", "ünïcödé", "日本語", "emoji-😀", "a//b", "trailing.", "semi;colon",
         "at@amp&eq=q?hash#", "quote'\"", "<xml>&amp;", "tilde~(paren)!*", "back\\slash")
PIECE = 1 << 20
# How a driver begins the detail of `metadata`, where its client can set a part only.
NOT_TAKEN = "not taken: "


class Left:
    """One driver's leftovers."""

    def __init__(self, stage, prefix: str, files: str, cannot_name=()):
        self.s3, self.prefix, self.files, self.cannot_name = stage.s3, prefix, files, cannot_name

    def wrong(self, scenario: str, detail: str = "") -> str | None:
        """What is not there as the README's table says; None when all is. The driver's detail may name metadata that its client has no way to set."""
        check = getattr(self, scenario, None)
        self.not_taken = detail.removeprefix(NOT_TAKEN).split(", ") if detail.startswith(NOT_TAKEN) else []
        if check is None:
            return None
        try:
            return check()
        except botocore.exceptions.ClientError as error:
            return f"the runner finds: {error}"
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            return f"the runner cannot read what was left: {error!r}"

    def body_is(self, key: str, size: int) -> str | None:
        """Whether an object is one of the files, byte by byte."""
        answer = self.s3.get_object(Bucket=stages.BUCKET, Key=self.prefix + key)
        if answer["ContentLength"] != size:
            return f"the runner finds {answer['ContentLength']} bytes at {key}, not {size}"
        with open(os.path.join(self.files, str(size)), "rb") as file:
            for piece in answer["Body"].iter_chunks(PIECE):
                if piece != file.read(len(piece)):
                    return f"the runner finds other bytes at {key}"
        return None

    def keys(self, below: str) -> dict[str, int]:
        """Keys without the prefix, with their sizes."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=stages.BUCKET, Prefix=self.prefix + below)
        return {entry["Key"][len(self.prefix):]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def is_one_of(self, key: str, sizes) -> str | None:
        """Whether an object is the body of one of these sizes: drivers choose."""
        size = self.s3.head_object(Bucket=stages.BUCKET, Key=self.prefix + key)["ContentLength"]
        return self.body_is(key, size) if size in sizes else f"the runner finds {size} bytes at {key}"

    def sizes(self):
        return next(filter(None, (self.body_is(f"sizes/kept-{size}", size) for size in stages.SIZES[:-1])), None)

    def multipart(self):
        return self.body_is("multipart/file", stages.LARGEST)

    def unknown_length(self):
        return self.body_is("unknown/stream", stages.LARGEST)

    def names(self):
        wanted, found = {f"names/{name}" for name in NAMES if name not in self.cannot_name}, self.keys("names/")
        if set(found) != wanted:
            return f"the runner misses {sorted(wanted - set(found))} and finds {sorted(set(found) - wanted)}"
        return next((f"the runner finds nothing in {key}" for key, size in found.items() if not size), None)

    def not_refused(self, names) -> str | None:
        """The first of the names that the server behind Sealgate cannot have, and that Sealgate does not refuse."""
        for name in names:
            key = f"{self.prefix}names/{name}"
            for what, call in (("put", lambda: self.s3.put_object(Bucket=stages.BUCKET, Key=key, Body=b"x")), ("get", lambda: self.s3.get_object(Bucket=stages.BUCKET, Key=key))):
                try:
                    call()
                    said = "200"
                except botocore.exceptions.ClientError as error:
                    answer = error.response
                    said = f"{answer['ResponseMetadata']['HTTPStatusCode']} {answer['Error'].get('Code')}"
                if said != "400 InvalidArgument":
                    return f"the server cannot have the name {name}, and the runner's {what} is answered with {said}, not with 400 InvalidArgument"
        return None

    def delimiter(self):
        wanted, found = {"d/a/1", "d/a/2", "d/b/1", "d/top"}, set(self.keys("d/"))
        return None if found == wanted else f"the runner finds {sorted(found)} below d/"

    def copy(self):
        return self.body_is("copy/target", 65536)

    def copy_large(self):
        return self.body_is("copy/large", stages.LARGEST)

    def delete_many(self):
        answer = self.s3.get_object(Bucket=stages.BUCKET, Key=f"{self.prefix}keep/one")["Body"].read()
        if not answer:
            return "the runner finds nothing in keep/one"
        # Drivers put the doomed below one of these, and some servers keep a folder's own marker.
        found = [key for below in ("doomed", "many-deleted", "keep") for key in self.keys(f"{below}/") if not key.endswith("/") and key != "keep/one"]
        return f"the runner finds {found[:3]}, {len(found)} keys that were to be deleted" if found else None

    def metadata(self):
        head = self.s3.head_object(Bucket=stages.BUCKET, Key=f"{self.prefix}metadata/one")
        if "user metadata" not in self.not_taken and not any(len(value) == 200 for value in head["Metadata"].values()):
            return f"the runner finds no value of 200 characters in {head['Metadata']}"
        if head.get("ContentEncoding") != "gzip":
            return f"the runner finds Content-Encoding {head.get('ContentEncoding')}, not gzip"
        missing = [name for name in ("CacheControl", "ContentDisposition", "ContentType") if name not in self.not_taken and not head.get(name)]
        return f"the runner misses {', '.join(missing)}" if missing else None

    def tags(self):
        try:
            found = self.s3.get_object_tagging(Bucket=stages.BUCKET, Key=f"{self.prefix}tags/one")["TagSet"]
        except botocore.exceptions.ClientError as error:
            # How some servers say that there are none.
            if error.response["Error"]["Code"] != "NoSuchTagSet":
                raise
            found = []
        return f"the runner finds the tags {found}, which were to be removed" if found else None

    def presigned_put(self):
        return self.is_one_of("presigned/put", (65536, 65537))

    def conditional_put(self):
        body = self.s3.get_object(Bucket=stages.BUCKET, Key=f"{self.prefix}conditional/one")["Body"].read()
        return None if b"first" in body and b"second" not in body else f"the runner finds {body[:40]!r} at conditional/one, not the first body"

    def versions(self):
        """Of two versions one was deleted, and the other is there; a delete marker may be."""
        found = self.s3.list_object_versions(Bucket=stages.VERSIONED, Prefix=f"{self.prefix}versions/").get("Versions", [])
        if len(found) != 1:
            return f"the runner finds {len(found)} versions of versions/one, not 1"
        body = self.s3.get_object(Bucket=stages.VERSIONED, Key=found[0]["Key"], VersionId=found[0]["VersionId"])["Body"].read()
        return None if b"first" in body or b"second" in body else f"the runner finds {body[:40]!r} in the version that is left"

    def sync(self):
        found = self.keys("sync/")
        return None if len(found) == 20 else f"the runner finds {len(found)} files below sync/, not 20"

    def abort(self):
        uploads = self.s3.list_multipart_uploads(Bucket=stages.BUCKET, Prefix=self.prefix).get("Uploads", [])
        if uploads:
            return f"the runner finds unfinished uploads: {[upload['Key'] for upload in uploads]}"
        found = [key for key in self.keys("abort/") if not key.endswith("/")]
        return f"the runner finds {found}, of an upload that was aborted" if found else None
