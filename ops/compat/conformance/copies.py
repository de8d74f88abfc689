"""CopyObject: bytes, metadata, tags, conditions, sources in every spelling."""

import hashlib

import checksums
import sigv4
from cases import case, data, equal, raises, refused, true, variants
from conformance.support import FIVE, OTHER_ETAG, PAST, multipart, parsed, soon, status, texts

DESCRIBED = {"ContentType": "text/source", "CacheControl": "no-store", "ContentLanguage": "de", "ContentEncoding": "gzip",
             "ContentDisposition": "inline", "Metadata": {"origin": "source", "x-y": "1"}}


def source(t):
    """An object with everything that a copy takes over; no case changes it. Its ETag."""
    return t.shared("source", lambda: t.put("source", data(100_000, "source"), **DESCRIBED)["ETag"])


def copy(t, key, origin="source", **options):
    if origin == "source":
        source(t)
    return t.s3.copy_object(Bucket=t.bucket, Key=key, CopySource={"Bucket": t.bucket, "Key": origin}, **options)


def send(t, key, origin, headers=None):
    """A copy with a source spelt as given."""
    return t.raw.request("PUT", t.path(key), headers={"x-amz-copy-source": origin, **(headers or {})})


@case
def the_bytes_are_the_same(t):
    copy(t, "bytes")
    true(t.get("bytes") == data(100_000, "source"), "other bytes")


@case
def the_answer_has_etag_and_date(t):
    source(t)
    root = parsed(send(t, "answer", f"{t.bucket}/source"))
    equal(root.tag, "CopyObjectResult", "root element")
    equal(texts(root, "ETag"), [t.s3.head_object(Bucket=t.bucket, Key="answer")["ETag"]], "ETag")
    true(texts(root, "LastModified")[0].endswith("Z"), "LastModified")


@case
def the_source_stays(t):
    etag = source(t)
    copy(t, "stays")
    equal(t.s3.head_object(Bucket=t.bucket, Key="source")["ETag"], etag, "ETag of the source")


@case
def a_copy_outlives_its_source(t):
    t.put("short-lived", b"lasting")
    copy(t, "outlives", "short-lived")
    t.s3.delete_object(Bucket=t.bucket, Key="short-lived")
    equal(t.get("outlives"), b"lasting", "body")


@case
def a_copy_does_not_follow_its_source(t):
    t.put("changing", b"before")
    copy(t, "independent", "changing")
    t.put("changing", b"after")
    equal(t.get("independent"), b"before", "body")


@variants(type=("ContentType", "text/source"), cache=("CacheControl", "no-store"), language=("ContentLanguage", "de"),
          encoding=("ContentEncoding", "gzip"), disposition=("ContentDisposition", "inline"),
          user_metadata=("Metadata", {"origin": "source", "x-y": "1"}))
def takes_over(t, name, value):
    t.shared("taken over", lambda: copy(t, "taken-over"))
    equal(t.s3.head_object(Bucket=t.bucket, Key="taken-over")[name], value, name)


@case
def copy_directive_ignores_new_metadata(t):
    copy(t, "ignores", MetadataDirective="COPY", Metadata={"other": "2"}, ContentType="text/other")
    head = t.s3.head_object(Bucket=t.bucket, Key="ignores")
    equal((head["Metadata"], head["ContentType"]), (DESCRIBED["Metadata"], "text/source"), "metadata and type")


@case
def replace_directive_takes_only_the_new(t):
    copy(t, "replaces", MetadataDirective="REPLACE", Metadata={"other": "2"}, ContentType="text/other")
    head = t.s3.head_object(Bucket=t.bucket, Key="replaces")
    equal((head["Metadata"], head["ContentType"]), ({"other": "2"}, "text/other"), "metadata and type")
    true("CacheControl" not in head and "ContentLanguage" not in head, f"headers of the source are left: {head}")


@case
def replace_directive_with_nothing(t):
    copy(t, "bare", MetadataDirective="REPLACE")
    head = t.s3.head_object(Bucket=t.bucket, Key="bare")
    equal((head["Metadata"], head["ContentType"]), ({}, "binary/octet-stream"), "metadata and type")


@case
def a_directive_that_is_none(t):
    source(t)
    refused(send(t, "directive", f"{t.bucket}/source", {"x-amz-metadata-directive": "MERGE"}), 400, "InvalidArgument")
    equal(t.keys("directive"), [], "keys")


@case
def onto_itself_unchanged_is_refused(t):
    t.put("itself", b"x")
    with raises("InvalidRequest", status=400):
        copy(t, "itself", "itself")


@case
def onto_itself_with_new_metadata(t):
    t.put("renewed", b"kept", Metadata={"old": "1"})
    copy(t, "renewed", "renewed", MetadataDirective="REPLACE", Metadata={"new": "2"})
    answer = t.s3.get_object(Bucket=t.bucket, Key="renewed")
    equal((answer["Body"].read(), answer["Metadata"]), (b"kept", {"new": "2"}), "body and metadata")


@case
def to_another_bucket(t):
    source(t)
    name = t.fresh_bucket()
    t.s3.copy_object(Bucket=name, Key="other", CopySource={"Bucket": t.bucket, "Key": "source"})
    answer = t.s3.get_object(Bucket=name, Key="other")
    equal((answer["Metadata"], answer["Body"].read() == data(100_000, "source")), (DESCRIBED["Metadata"], True), "metadata and body")


@case
def over_an_object(t):
    t.put("overwritten", data(200_000, "old"), Metadata={"old": "1"})
    copy(t, "overwritten")
    answer = t.s3.get_object(Bucket=t.bucket, Key="overwritten")
    equal((answer["Metadata"], answer["ContentLength"]), (DESCRIBED["Metadata"], 100_000), "metadata and length")


@case
def of_nothing(t):
    t.put("empty", b"", Metadata={"a": "1"})
    copy(t, "empty-copy", "empty")
    answer = t.s3.get_object(Bucket=t.bucket, Key="empty-copy")
    equal((answer["Body"].read(), answer["Metadata"]), (b"", {"a": "1"}), "body and metadata")


@case
def of_a_copy(t):
    copy(t, "second")
    copy(t, "third", "second")
    true(t.get("third") == data(100_000, "source"), "other bytes")
    equal(t.s3.head_object(Bucket=t.bucket, Key="third")["Metadata"], DESCRIBED["Metadata"], "metadata")


@case
def of_an_object_of_parts(t):
    bodies = {1: data(FIVE, "one"), 2: data(999, "two")}
    multipart(t, "parted", bodies, Metadata={"a": "1"})
    copy(t, "parted-copy", "parted")
    found = t.s3.get_object(Bucket=t.bucket, Key="parted-copy")
    equal((found["ContentLength"], found["Metadata"]), (FIVE + 999, {"a": "1"}), "length and metadata")
    equal(hashlib.sha256(found["Body"].read()).hexdigest(), hashlib.sha256(bodies[1] + bodies[2]).hexdigest(), "SHA-256")
    equal(t.get("parted-copy", Range=f"bytes={FIVE - 2}-{FIVE + 1}"), bodies[1][-2:] + bodies[2][:2], "a range over the parts' edge")


@case
def is_listed_with_its_size(t):
    copy(t, "listed-copy")
    entry = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="listed-copy")["Contents"][0]
    equal((entry["Size"], entry["ETag"]), (100_000, t.s3.head_object(Bucket=t.bucket, Key="listed-copy")["ETag"]), "size and ETag")


@variants(unicode="from/ünï-日本", space="from/a b", plus="from/a+b", percent="from/100%25", question="from/a?b", ampersand="from/a&b=c",
          quote="from/it's", hash="from/a#b", trailing_slash="from/dir/")
def a_source_key_with(t, key):
    t.put(key, key.encode())
    answer = send(t, "from-odd", sigv4.encode(f"{t.bucket}/{key}", "/"))
    equal((answer.status, t.get("from-odd")), (200, key.encode()), f"answer {answer}")


@case
def a_source_with_a_leading_slash(t):
    source(t)
    equal(send(t, "slash", f"/{t.bucket}/source").status, 200, "status")


@case
def a_source_that_is_encoded_whole(t):
    source(t)
    equal(send(t, "encoded", f"{t.bucket}%2Fsource").status, 200, "status")


@case
def a_source_key_that_is_not_there(t):
    refused(send(t, "absent", f"{t.bucket}/absent-source"), 404, "NoSuchKey")
    equal(t.keys("absent"), [], "keys")


@case
def a_source_bucket_that_is_not_there(t):
    refused(send(t, "absent", f"{t.bucket}-absent/source"), 404, "NoSuchBucket")


@case
def a_target_bucket_that_is_not_there(t):
    source(t)
    refused(t.raw.request("PUT", f"/{t.bucket}-absent/key", headers={"x-amz-copy-source": f"{t.bucket}/source"}), 404, "NoSuchBucket")


@variants(without_a_key="{}", with_an_empty_key="{}/", empty_but_for_a_slash="/")
def a_source(t, form):
    refused(send(t, "malformed", form.format(t.bucket)), 400, "InvalidArgument")
    equal(t.keys("malformed"), [], "keys")


@case
def a_version_of_the_source_that_is_not_there(t):
    source(t)
    answer = send(t, "no-version", f"{t.bucket}/source?versionId=no-such-version")
    true(answer.status in (400, 404) and answer.code in ("InvalidArgument", "NoSuchVersion"), f"answered {answer}")
    equal(t.keys("no-version"), [], "keys")


CONDITIONS = {
    "if_match_the_etag": ({"CopySourceIfMatch": "ETAG"}, True),
    "if_match_another": ({"CopySourceIfMatch": OTHER_ETAG}, False),
    "if_none_match_another": ({"CopySourceIfNoneMatch": OTHER_ETAG}, True),
    "if_none_match_the_etag": ({"CopySourceIfNoneMatch": "ETAG"}, False),
    "if_modified_since_the_past": ({"CopySourceIfModifiedSince": PAST}, True),
    "if_unmodified_since_the_past": ({"CopySourceIfUnmodifiedSince": PAST}, False),
    # AWS, CopyObject: the ETag decides where both are sent.
    "if_match_before_if_unmodified_since": ({"CopySourceIfMatch": "ETAG", "CopySourceIfUnmodifiedSince": PAST}, True),
    "if_none_match_before_if_modified_since": ({"CopySourceIfNoneMatch": "ETAG", "CopySourceIfModifiedSince": PAST}, False),
}


def conditioned(conditions, holds):
    def run(t):
        etag = source(t)
        options = {name: etag if value == "ETAG" else value for name, value in conditions.items()}
        key = f"condition/{'-'.join(conditions)}/{holds}"
        if holds:
            equal(status(copy(t, key, **options)), 200, "status")
        else:
            with raises("PreconditionFailed", status=412):
                copy(t, key, **options)
            equal(t.keys(key), [], "keys")

    return run


for _name, _arguments in CONDITIONS.items():
    _run = conditioned(*_arguments)
    _run.__name__, _run.__module__ = f"source_{_name}", __name__
    case(_run)


@case
def source_if_unmodified_since_the_future(t):
    equal(status(copy(t, "condition/future", CopySourceIfUnmodifiedSince=soon(hours=1))), 200, "status")


@case
def target_if_none_match_any(t):
    t.put("guarded", b"kept")
    with raises("PreconditionFailed", status=412):
        copy(t, "guarded", IfNoneMatch="*")
    equal(t.get("guarded"), b"kept", "body")
    equal(status(copy(t, "unguarded", IfNoneMatch="*")), 200, "status where nothing is")


@case
def target_if_match(t):
    etag = t.put("swapped", b"old")["ETag"]
    with raises("PreconditionFailed", status=412):
        copy(t, "swapped", IfMatch=OTHER_ETAG)
    equal(t.get("swapped"), b"old", "body")
    copy(t, "swapped", IfMatch=etag)
    equal(t.s3.head_object(Bucket=t.bucket, Key="swapped")["ContentLength"], 100_000, "length")


@case
def tags_are_taken_over(t):
    t.put("tagged", Tagging="a=1&b=2")
    copy(t, "tagged-copy", "tagged")
    found = t.s3.get_object_tagging(Bucket=t.bucket, Key="tagged-copy")["TagSet"]
    equal(sorted((tag["Key"], tag["Value"]) for tag in found), [("a", "1"), ("b", "2")], "tags")


@case
def tags_are_replaced(t):
    t.put("retagged", Tagging="a=1&b=2")
    copy(t, "retagged-copy", "retagged", TaggingDirective="REPLACE", Tagging="c=3")
    equal(t.s3.get_object_tagging(Bucket=t.bucket, Key="retagged-copy")["TagSet"], [{"Key": "c", "Value": "3"}], "tags")


@case
def a_checksum_is_made_when_asked_for(t):
    answer = copy(t, "summed", ChecksumAlgorithm="SHA256")
    wanted = checksums.value("SHA256", data(100_000, "source"))
    equal(answer["CopyObjectResult"]["ChecksumSHA256"], wanted, "checksum in the answer")
    head = t.s3.head_object(Bucket=t.bucket, Key="summed", ChecksumMode="ENABLED")
    equal(head["ChecksumSHA256"], wanted, "checksum in HEAD")


@case
def a_checksum_is_taken_over(t):
    wanted = t.put("with-sum", b"summed", ChecksumAlgorithm="SHA1")["ChecksumSHA1"]
    copy(t, "with-sum-copy", "with-sum")
    head = t.s3.head_object(Bucket=t.bucket, Key="with-sum-copy", ChecksumMode="ENABLED")
    equal(head.get("ChecksumSHA1"), wanted, "checksum in HEAD")


@case
def needs_a_signature(t):
    source(t)
    answer = t.raw.request("PUT", t.path("anonymous"), headers={"x-amz-copy-source": f"{t.bucket}/source"},
                           alter=lambda headers: headers.pop("authorization"))
    refused(answer, 403, "AccessDenied")
