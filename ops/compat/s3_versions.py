"""Versions: of objects that are written over, deleted, read and deleted by their ids, and their listing."""

import contextlib
import secrets

import botocore.exceptions

from cases import case, data, equal, raises, true, within
from s3_forward import Lacking, answered

PART = 5 << 20


def versioned(t, status="Enabled"):
    """A bucket with versions."""
    name = f"versions-{secrets.token_hex(6)}"
    t.create_bucket(name)
    answered(lambda: t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status}))
    return name


def with_versions(function):
    """A case that gets a bucket with versions, where the target has such."""

    def run(t):
        with contextlib.suppress(Lacking):
            function(t, versioned(t))

    run.__name__, run.__module__, run.__doc__ = function.__name__, function.__module__, function.__doc__
    return case(run)


def put(t, name, key, body):
    return t.s3.put_object(Bucket=name, Key=key, Body=body)["VersionId"]


def read(t, name, key, **which):
    return t.s3.get_object(Bucket=name, Key=key, **which)["Body"].read()


def listed(t, name, **options):
    """All versions and delete markers: key, version id, whether it is a marker, whether it is the latest."""
    found = []
    for page in t.s3.get_paginator("list_object_versions").paginate(Bucket=name, **options):
        found += [(each["Key"], each["VersionId"], False, each["IsLatest"]) for each in page.get("Versions", [])]
        found += [(each["Key"], each["VersionId"], True, each["IsLatest"]) for each in page.get("DeleteMarkers", [])]
    return found


@with_versions
def each_write_makes_a_version_that_stays_readable(t, name):
    equal(t.s3.get_bucket_versioning(Bucket=name).get("Status"), "Enabled", "status")
    bodies = [data(10, "a"), data(70_000, "b"), b""]
    versions = [put(t, name, "key", body) for body in bodies]
    equal(len(set(versions)), 3, "version ids")
    equal(read(t, name, "key"), b"", "the latest")
    for version, body in zip(versions, bodies):
        equal(read(t, name, "key", VersionId=version), body, "a version")
        head = t.s3.head_object(Bucket=name, Key="key", VersionId=version)
        equal((head["ContentLength"], head["VersionId"]), (len(body), version), "HEAD of a version")
    part = t.s3.get_object(Bucket=name, Key="key", VersionId=versions[1], Range="bytes=65530-65549")["Body"].read()
    equal(part, bodies[1][65530:65550], "a range of a version")


@with_versions
def a_listing_of_versions_shows_sizes_and_etags_of_clients(t, name):
    first = t.s3.put_object(Bucket=name, Key="key", Body=data(1000, 1))
    second = t.s3.put_object(Bucket=name, Key="key", Body=data(2000, 2))
    answer = t.s3.list_object_versions(Bucket=name)
    found = {each["VersionId"]: each for each in answer["Versions"]}
    equal(len(found), 2, "versions")
    for stored, size, latest in ((first, 1000, False), (second, 2000, True)):
        entry = found[stored["VersionId"]]
        equal((entry["Size"], entry["ETag"], entry["IsLatest"], entry["Key"]), (size, stored["ETag"], latest, "key"), "entry")
    equal([each["VersionId"] for each in answer["Versions"]], [second["VersionId"], first["VersionId"]], "order: the newest first")
    equal((answer["IsTruncated"], answer["Name"]), (False, name), "answer")


@with_versions
def a_deletion_covers_and_a_deleted_marker_uncovers(t, name):
    version = put(t, name, "key", b"kept")
    gone = t.s3.delete_object(Bucket=name, Key="key")
    equal(gone.get("DeleteMarker"), True, "x-amz-delete-marker")
    marker = gone["VersionId"]
    with raises("NoSuchKey", status=404):
        read(t, name, "key")
    with raises("MethodNotAllowed", status=405):
        read(t, name, "key", VersionId=marker)
    equal(sorted(listed(t, name)), sorted([("key", marker, True, True), ("key", version, False, False)]), "listing")
    equal(t.s3.list_objects_v2(Bucket=name)["KeyCount"], 0, "visible keys")
    back = t.s3.delete_object(Bucket=name, Key="key", VersionId=marker)
    equal((back.get("DeleteMarker"), back["VersionId"]), (True, marker), "deletion of a marker")
    equal(read(t, name, "key"), b"kept", "what was covered")


@with_versions
def a_get_of_a_deleted_key_says_that_a_marker_covers_it(t, name):
    put(t, name, "key", b"x")
    marker = t.s3.delete_object(Bucket=name, Key="key")["VersionId"]
    for call in (t.s3.get_object, t.s3.head_object):
        try:
            call(Bucket=name, Key="key")
            raise AssertionError("a covered key was read")
        except botocore.exceptions.ClientError as error:
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 404, "status")
            equal((headers.get("x-amz-delete-marker"), headers.get("x-amz-version-id")), ("true", marker), "headers")


@with_versions
def a_version_is_deleted_for_good(t, name):
    first, second = put(t, name, "key", b"1"), put(t, name, "key", b"2")
    equal(t.s3.delete_object(Bucket=name, Key="key", VersionId=second).get("VersionId"), second, "x-amz-version-id")
    equal(read(t, name, "key"), b"1", "the one before")
    with raises("NoSuchVersion", status=404):
        read(t, name, "key", VersionId=second)
    t.s3.delete_object(Bucket=name, Key="key", VersionId=first)
    equal(listed(t, name), [], "versions")


@with_versions
def several_versions_are_deleted_at_once(t, name):
    versions = [put(t, name, f"key{number}", b"x") for number in range(3)]
    put(t, name, "covered", b"y")
    answer = t.s3.delete_objects(Bucket=name, Delete={"Objects": [
        *({"Key": f"key{number}", "VersionId": version} for number, version in enumerate(versions)), {"Key": "covered"}]})
    equal(answer.get("Errors", []), [], "errors")
    done = {each["Key"]: each for each in answer["Deleted"]}
    equal([done[f"key{number}"]["VersionId"] for number in range(3)], versions, "version ids")
    equal(done["covered"].get("DeleteMarker"), True, "marker")
    markers = [entry for entry in listed(t, name) if entry[2]]
    equal([(key, version) for key, version, *_ in markers], [("covered", done["covered"]["DeleteMarkerVersionId"])], "markers")
    answer = t.s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "covered", "VersionId": markers[0][1]}]})
    equal((answer["Deleted"][0].get("DeleteMarker"), answer["Deleted"][0].get("VersionId")), (True, markers[0][1]), "a marker's deletion")
    equal(read(t, name, "covered"), b"y", "what was covered")


@with_versions
def what_was_written_without_versions_is_the_version_null(t, _):
    name = f"versions-{secrets.token_hex(6)}"
    t.create_bucket(name)
    true("VersionId" not in t.s3.put_object(Bucket=name, Key="key", Body=b"before"), "a version id without versioning")
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, name, "key", b"after")
    equal(read(t, name, "key", VersionId="null"), b"before", "null")
    equal(sorted(each[1] for each in listed(t, name)), sorted(["null", version]), "versions")
    t.s3.delete_object(Bucket=name, Key="key", VersionId="null")
    equal([each[1] for each in listed(t, name)], [version], "versions")


@with_versions
def suspended_versioning_writes_over_the_version_null(t, name):
    version = put(t, name, "key", b"versioned")
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    equal(t.s3.get_bucket_versioning(Bucket=name)["Status"], "Suspended", "status")
    for body in (b"null 1", b"null 2"):
        within(t.s3.put_object(Bucket=name, Key="key", Body=body).get("VersionId"), (None, "null"), "version id")
    equal(read(t, name, "key"), b"null 2", "the latest")
    equal(read(t, name, "key", VersionId=version), b"versioned", "the version")
    equal(sorted(each[1] for each in listed(t, name)), sorted([version, "null"]), "versions")
    t.s3.delete_object(Bucket=name, Key="key")
    with raises("NoSuchKey", status=404):
        read(t, name, "key")
    equal(read(t, name, "key", VersionId=version), b"versioned", "the version")


@with_versions
def a_version_that_never_was(t, name):
    version = put(t, name, "key", b"x")
    other = put(t, name, "other", b"y")
    t.s3.delete_object(Bucket=name, Key="other", VersionId=other)
    with raises("NoSuchVersion", status=404):
        read(t, name, "key", VersionId=other)
    with raises("InvalidArgument", "NoSuchVersion", "NoSuchKey"):
        read(t, name, "key", VersionId="no-such-version")
    equal(read(t, name, "key", VersionId=version), b"x", "the version")


@with_versions
def tags_belong_to_a_version(t, name):
    first, second = put(t, name, "key", b"1"), put(t, name, "key", b"2")
    for version, value in ((first, "old"), (second, "new")):
        t.s3.put_object_tagging(Bucket=name, Key="key", VersionId=version, Tagging={"TagSet": [{"Key": "k", "Value": value}]})
    equal(t.s3.get_object_tagging(Bucket=name, Key="key", VersionId=first)["TagSet"][0]["Value"], "old", "the first's")
    equal(t.s3.get_object_tagging(Bucket=name, Key="key")["TagSet"][0]["Value"], "new", "the latest's")


@with_versions
def pages_of_versions_join(t, name):
    wanted = []
    for key in ("a", "b/1", "b/2", "c"):
        wanted += [(key, put(t, name, key, body)) for body in (b"1", b"2")]
    wanted.append(("b/1", t.s3.delete_object(Bucket=name, Key="b/1")["VersionId"]))
    for size in (1, 2, 3, 1000):
        found, options = [], {}
        for _ in range(40):
            page = t.s3.list_object_versions(Bucket=name, MaxKeys=size, **options)
            entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
            true(len(entries) <= size, f"{len(entries)} entries on a page of {size}")
            found += [(each["Key"], each["VersionId"]) for each in entries]
            if not page["IsTruncated"]:
                break
            options = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                options["VersionIdMarker"] = page["NextVersionIdMarker"]
        equal(sorted(found), sorted(wanted), f"all pages of {size}")
    prefixed = t.s3.list_object_versions(Bucket=name, Prefix="b/")
    equal(len(prefixed["Versions"]) + len(prefixed["DeleteMarkers"]), 5, "entries under b/")
    rolled = t.s3.list_object_versions(Bucket=name, Delimiter="/")
    equal([each["Prefix"] for each in rolled["CommonPrefixes"]], ["b/"], "common prefixes")
    equal(sorted({each["Key"] for each in rolled["Versions"]}), ["a", "c"], "keys beside them")
    after = t.s3.list_object_versions(Bucket=name, KeyMarker="b/2")
    equal(sorted({each["Key"] for each in after["Versions"]}), ["c"], "after a key marker")
    equal(t.s3.list_object_versions(Bucket=name, MaxKeys=0).get("Versions", []), [], "max-keys=0")


@with_versions
def odd_keys_come_back_from_a_listing_of_versions(t, name):
    keys = ["a b+c", "ü/€", "x&<y>", "q?%2F"]
    for key in keys:
        put(t, name, key, b"x")
    equal(sorted(each[0] for each in listed(t, name)), sorted(keys), "keys")


@case
def a_version_marker_needs_a_key_marker(t):
    with raises("InvalidArgument", status=400):
        t.s3.list_object_versions(Bucket=t.bucket, VersionIdMarker="v")


@case
def without_versioning_every_object_is_the_version_null(t):
    t.s3.put_object(Bucket=t.bucket, Key="plain", Body=b"abc")
    try:
        page = answered(lambda: t.s3.list_object_versions(Bucket=t.bucket, Prefix="plain"))
    except Lacking:
        return
    equal([(each["Key"], each["VersionId"], each["IsLatest"], each["Size"]) for each in page["Versions"]],
          [("plain", "null", True, 3)], "versions")
    equal(t.get("plain", VersionId="null"), b"abc", "body")


@with_versions
def an_upload_becomes_a_version_and_leaves_nothing_behind(t, name):
    before = put(t, name, "big", b"small before")
    upload = t.s3.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    bodies, parts = [data(PART, 1), data(1000, 2)], []
    for number, body in enumerate((bodies[0], data(5, 3), bodies[1]), 1):
        # The second part is uploaded twice: what is withdrawn must not stay as a version.
        number = min(number, 2)
        etag = t.s3.upload_part(Bucket=name, Key="big", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        parts = [*parts[:number - 1], {"PartNumber": number, "ETag": etag}]
    done = t.s3.complete_multipart_upload(Bucket=name, Key="big", UploadId=upload, MultipartUpload={"Parts": parts})
    equal(read(t, name, "big", VersionId=done["VersionId"]), b"".join(bodies), "the upload")
    equal(read(t, name, "big", VersionId=before), b"small before", "the version before")
    equal(sorted(each[1] for each in listed(t, name)), sorted([before, done["VersionId"]]), "versions")
    if t.target.is_gateway and t.target.backend:
        hidden = stored_versions(t, name, ".sealgate/v1/u/")
        equal(len(hidden), 1, f"the record and nothing else is left: {hidden}")


@with_versions
def an_aborted_upload_leaves_no_versions(t, name):
    upload = t.s3.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    t.s3.upload_part(Bucket=name, Key="big", UploadId=upload, PartNumber=1, Body=b"part")
    t.s3.abort_multipart_upload(Bucket=name, Key="big", UploadId=upload)
    equal(listed(t, name), [], "versions")
    if t.target.is_gateway and t.target.backend:
        hidden = stored_versions(t, name, ".sealgate/v1/u/")
        true(len(hidden) <= 1, f"notes or stashes are left: {hidden}")


@with_versions
def a_bucket_with_versions_left_is_not_deleted(t, name):
    version = put(t, name, "key", b"x")
    marker = t.s3.delete_object(Bucket=name, Key="key")["VersionId"]
    with raises("BucketNotEmpty", status=409):
        t.s3.delete_bucket(Bucket=name)
    t.s3.delete_object(Bucket=name, Key="key", VersionId=version)
    with raises("BucketNotEmpty", status=409):
        t.s3.delete_bucket(Bucket=name)
    t.s3.delete_object(Bucket=name, Key="key", VersionId=marker)
    t.s3.delete_bucket(Bucket=name)
    with raises("404"):
        t.s3.head_bucket(Bucket=name)
    # With the hidden objects' versions: the name is free again.
    t.create_bucket(name)
    put_again = t.s3.put_object(Bucket=name, Key="key", Body=b"anew")
    true("VersionId" not in put_again, "a new bucket has versions")
    equal(read(t, name, "key"), b"anew", "body")


@with_versions
def hidden_objects_are_in_no_listing_of_versions(t, name):
    if not t.target.is_gateway:
        return
    for key in ("!before", ".sealed", "zz"):
        put(t, name, key, b"x")
    for options in ({}, {"Prefix": ".sealgate/"}, {"Prefix": ".seal"}, {"Delimiter": "/"}, {"MaxKeys": 1}, {"KeyMarker": ".sealgate/v1/a"}):
        page = t.s3.list_object_versions(Bucket=name, **options)
        text = str({name: page.get(name) for name in ("Versions", "DeleteMarkers", "CommonPrefixes", "NextKeyMarker")})
        true(".sealgate" not in text, f"{options}: {text}")
    # Where versitygw ends a page of versions it begins the next: small ones never end.
    size = 1000 if t.target.backend and t.target.backend.name == "versitygw" else 2
    equal(sorted({each[0] for each in listed(t, name, PaginationConfig={"PageSize": size})}), ["!before", ".sealed", "zz"], "keys")


def stored_versions(t, name, prefix):
    """Versions and delete markers on the storage itself, under a hidden prefix."""
    import boto3
    import botocore.client

    server = t.target.backend
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=server.access_key,
                          aws_secret_access_key=server.secret_key, config=botocore.client.Config(s3={"addressing_style": "path"}))
    page = client.list_object_versions(Bucket=name, Prefix=prefix)
    return [(each["Key"], each["VersionId"]) for each in page.get("Versions", []) + page.get("DeleteMarkers", [])]
