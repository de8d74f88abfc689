"""What the storage itself answers: subresources that the gateway sends on, and headers that go to the storage with an
object. A server that lacks one answers so, directly and through the gateway alike."""

import base64
import datetime
import hashlib
import json
import secrets

import botocore.exceptions

from cases import case, data, equal, raises, refused, true, within

# How servers say that they do not have something; through the gateway it must be the same answer.
LACKING = ("NotImplemented", "MethodNotAllowed", "XNotImplemented")


class Lacking(Exception):
    """The server has no such thing: nothing is expected of the gateway either but to say so."""


def answered(call, *missing):
    """A call's answer; an empty one where one of these codes says that nothing is set."""
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in LACKING or error.response["ResponseMetadata"]["HTTPStatusCode"] == 501:
            within(error.response["ResponseMetadata"]["HTTPStatusCode"], (400, 405, 501), "status of something that is lacking")
            raise Lacking from error
        if code in missing:
            return {}
        raise


def forwarded(function=None, **options):
    """A case that ends where the server says that it has no such thing: with S3's own answer for that."""

    def register(function):
        def run(t):
            try:
                function(t)
            except Lacking:
                pass

        run.__name__, run.__module__, run.__doc__ = function.__name__, function.__module__, function.__doc__
        return case(run, **options)

    return register(function) if function else register


def bucket(t, lock=False):
    """A bucket of a case's own."""
    name = f"forward-{secrets.token_hex(6)}"
    t.s3.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
    return name


def locked(t):
    """A bucket with object lock."""
    return answered(lambda: {"name": bucket(t, lock=True)})["name"]


def soon(**more):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(**more)


@forwarded
def object_tags_are_put_read_and_deleted(t):
    t.s3.put_object(Bucket=t.bucket, Key="tags", Body=b"x")
    tags = [{"Key": "a", "Value": "1 +/="}, {"Key": "b", "Value": ""}]
    answered(lambda: t.s3.put_object_tagging(Bucket=t.bucket, Key="tags", Tagging={"TagSet": tags}))
    found = t.s3.get_object_tagging(Bucket=t.bucket, Key="tags")["TagSet"]
    equal(sorted(found, key=str), sorted(tags, key=str), "tags")
    equal(t.get("tags"), b"x", "body of a tagged object")
    t.s3.delete_object_tagging(Bucket=t.bucket, Key="tags")
    equal(answered(lambda: t.s3.get_object_tagging(Bucket=t.bucket, Key="tags"), "NoSuchTagSet").get("TagSet", []), [], "tags after deletion")


@forwarded
def tags_in_a_header_are_stored_and_counted(t):
    answered(lambda: t.s3.put_object(Bucket=t.bucket, Key="header-tags", Body=data(1000), Tagging="one=1&two=b%20c"))
    found = answered(lambda: t.s3.get_object_tagging(Bucket=t.bucket, Key="header-tags"))["TagSet"]
    equal(sorted((tag["Key"], tag["Value"]) for tag in found), [("one", "1"), ("two", "b c")], "tags")
    equal(t.s3.get_object(Bucket=t.bucket, Key="header-tags").get("TagCount"), 2, "x-amz-tagging-count")


@forwarded
def tags_of_an_upload_are_the_objects(t):
    upload = answered(lambda: t.s3.create_multipart_upload(Bucket=t.bucket, Key="upload-tags", Tagging="u=1"))["UploadId"]
    part = t.s3.upload_part(Bucket=t.bucket, Key="upload-tags", UploadId=upload, PartNumber=1, Body=b"p")
    t.s3.complete_multipart_upload(Bucket=t.bucket, Key="upload-tags", UploadId=upload,
                                   MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    found = answered(lambda: t.s3.get_object_tagging(Bucket=t.bucket, Key="upload-tags"))["TagSet"]
    equal(found, [{"Key": "u", "Value": "1"}], "tags")


@forwarded
def too_many_tags_are_the_storages_error(t):
    t.s3.put_object(Bucket=t.bucket, Key="many", Body=b"x")
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(11)]
    with raises("BadRequest", "InvalidTag", "InvalidTagError", status=400):
        answered(lambda: t.s3.put_object_tagging(Bucket=t.bucket, Key="many", Tagging={"TagSet": tags}))


@forwarded
def tags_of_a_key_that_is_not_there_are_nosuchkey(t):
    with raises("NoSuchKey", status=404):
        answered(lambda: t.s3.get_object_tagging(Bucket=t.bucket, Key="not-there"))


@forwarded
def bucket_tags(t):
    name = bucket(t)
    with raises("NoSuchTagSet", status=404):
        answered(lambda: t.s3.get_bucket_tagging(Bucket=name))
    tags = [{"Key": "team", "Value": "blue"}]
    answered(lambda: t.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags}))
    equal(t.s3.get_bucket_tagging(Bucket=name)["TagSet"], tags, "tags")
    t.s3.delete_bucket_tagging(Bucket=name)
    t.s3.delete_bucket(Bucket=name)


@forwarded
def lifecycle_is_kept_by_the_storage(t):
    name = bucket(t)
    with raises("NoSuchLifecycleConfiguration", status=404):
        answered(lambda: t.s3.get_bucket_lifecycle_configuration(Bucket=name))
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 30}}
    answered(lambda: t.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]}))
    found = t.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    equal((len(found), found[0]["Status"], found[0]["Expiration"]["Days"]), (1, "Enabled", 30), "rules")
    t.s3.delete_bucket_lifecycle(Bucket=name)
    with raises("NoSuchLifecycleConfiguration"):
        t.s3.get_bucket_lifecycle_configuration(Bucket=name)


@forwarded
def cors_is_kept_by_the_storage(t):
    name = bucket(t)
    with raises("NoSuchCORSConfiguration", status=404):
        answered(lambda: t.s3.get_bucket_cors(Bucket=name))
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"]}
    answered(lambda: t.s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]}))
    found = t.s3.get_bucket_cors(Bucket=name)["CORSRules"]
    equal((found[0]["AllowedMethods"], found[0]["AllowedOrigins"]), (["GET"], ["https://example.com"]), "rule")
    t.s3.delete_bucket_cors(Bucket=name)


@forwarded
def a_policy_names_the_clients_bucket(t):
    name = bucket(t)
    with raises("NoSuchBucketPolicy", status=404):
        answered(lambda: t.s3.get_bucket_policy(Bucket=name))
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": {"AWS": ["*"]}, "Action": ["s3:DeleteBucketWebsite"], "Resource": [f"arn:aws:s3:::{name}"]}]}
    answered(lambda: t.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy)))
    found = json.loads(t.s3.get_bucket_policy(Bucket=name)["Policy"])
    within(found["Statement"][0]["Resource"], ([f"arn:aws:s3:::{name}"], f"arn:aws:s3:::{name}"), "resource")
    t.s3.delete_bucket_policy(Bucket=name)
    with raises("NoSuchBucketPolicy"):
        t.s3.get_bucket_policy(Bucket=name)


@forwarded
def acls_name_the_owner_that_listbuckets_names(t):
    t.s3.put_object(Bucket=t.bucket, Key="acl", Body=b"x")
    owner = t.s3.list_buckets()["Owner"]["ID"]
    for acl in (lambda: t.s3.get_bucket_acl(Bucket=t.bucket), lambda: t.s3.get_object_acl(Bucket=t.bucket, Key="acl")):
        found = answered(acl)
        if t.target.is_gateway:
            # A storage may leave it empty; it is never the gateway's own there.
            within(found["Owner"].get("ID", ""), (owner, ""), "owner of the ACL")
        within("FULL_CONTROL", [grant["Permission"] for grant in found["Grants"]], "the owner's permission")


@forwarded
def an_acl_that_was_read_can_be_put_back(t):
    name = bucket(t)
    found = answered(lambda: t.s3.get_bucket_acl(Bucket=name))
    policy = {"Owner": found["Owner"], "Grants": found["Grants"]}
    try:
        answered(lambda: t.s3.put_bucket_acl(Bucket=name, AccessControlPolicy=policy))
    except botocore.exceptions.ClientError as error:
        # With ownership enforced, as on S3 by default.
        within(error.response["Error"]["Code"], ("AccessControlListNotSupported",), "code")
        return
    equal(t.s3.get_bucket_acl(Bucket=name)["Grants"], found["Grants"], "grants")


@forwarded
def other_bucket_configurations_answer_as_the_storage_does(t):
    name = bucket(t)
    for call, *missing in (
        (t.s3.get_bucket_versioning,), (t.s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
        (t.s3.get_bucket_website, "NoSuchWebsiteConfiguration"), (t.s3.get_bucket_logging,), (t.s3.get_bucket_notification_configuration,),
        (t.s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"), (t.s3.get_bucket_request_payment,),
        (t.s3.get_bucket_accelerate_configuration,), (t.s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
        (t.s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"), (t.s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
        (t.s3.list_bucket_inventory_configurations,), (t.s3.list_bucket_metrics_configurations,), (t.s3.list_bucket_analytics_configurations,),
        (t.s3.list_bucket_intelligent_tiering_configurations,), (t.s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ):
        try:
            answered(lambda: call(Bucket=name), *missing)
        except Lacking:
            pass
        except botocore.exceptions.ClientError as error:
            # Some servers have codes of their own for these; none is the gateway's.
            true(error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403, 404, 405), f"{call.__name__}: {error.response}")


@forwarded
def a_subresource_of_a_bucket_that_is_not_there_is_nosuchbucket(t):
    name = f"not-there-{secrets.token_hex(6)}"
    for call in (t.s3.get_bucket_tagging, t.s3.get_bucket_versioning, t.s3.get_bucket_lifecycle_configuration):
        with raises("NoSuchBucket", status=404):
            call(Bucket=name)


@forwarded
def retention_and_legal_hold_guard_a_version(t):
    name = locked(t)
    version = t.s3.put_object(Bucket=name, Key="kept", Body=data(3000))["VersionId"]
    until = soon(days=1)
    t.s3.put_object_retention(Bucket=name, Key="kept", VersionId=version, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
    found = t.s3.get_object_retention(Bucket=name, Key="kept", VersionId=version)["Retention"]
    equal((found["Mode"], found["RetainUntilDate"]), ("GOVERNANCE", until), "retention")
    head = t.s3.head_object(Bucket=name, Key="kept")
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]), ("GOVERNANCE", until), "lock headers")
    try:
        t.s3.delete_object(Bucket=name, Key="kept", VersionId=version)
        raise AssertionError("a locked version was deleted")
    except botocore.exceptions.ClientError as error:
        within(error.response["ResponseMetadata"]["HTTPStatusCode"], (400, 403, 409), "status")
        within(error.response["Error"]["Code"], ("AccessDenied", "InvalidRequest", "ObjectLocked"), "code")
    equal(t.s3.get_object(Bucket=name, Key="kept", VersionId=version)["Body"].read(), data(3000), "the version")
    t.s3.delete_object(Bucket=name, Key="kept", VersionId=version, BypassGovernanceRetention=True)
    with raises("NoSuchVersion", "NoSuchKey", status=404):
        t.s3.get_object(Bucket=name, Key="kept", VersionId=version)
    version = t.s3.put_object(Bucket=name, Key="held", Body=b"h")["VersionId"]
    t.s3.put_object_legal_hold(Bucket=name, Key="held", LegalHold={"Status": "ON"})
    equal(t.s3.get_object_legal_hold(Bucket=name, Key="held")["LegalHold"]["Status"], "ON", "legal hold")
    t.s3.put_object_legal_hold(Bucket=name, Key="held", LegalHold={"Status": "OFF"})
    t.s3.delete_object(Bucket=name, Key="held", VersionId=version)


@forwarded
def lock_headers_lock_the_object_that_they_come_with(t):
    name, until = locked(t), soon(days=1)
    t.s3.put_object(Bucket=name, Key="put", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="ON")
    head = t.s3.head_object(Bucket=name, Key="put")
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]), ("GOVERNANCE", until, "ON"), "lock")
    t.s3.put_object_legal_hold(Bucket=name, Key="put", LegalHold={"Status": "OFF"})
    answer = t.s3.delete_objects(Bucket=name, BypassGovernanceRetention=True, Delete={"Objects": [{"Key": "put", "VersionId": head["VersionId"]}]})
    equal((len(answer.get("Deleted", [])), answer.get("Errors", [])), (1, []), "deletion past the lock")


@forwarded
def a_lock_on_a_bucket_without_lock_is_refused(t):
    name = bucket(t)
    try:
        t.s3.put_object(Bucket=name, Key="k", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=soon(days=1))
    except botocore.exceptions.ClientError as error:
        within(error.response["ResponseMetadata"]["HTTPStatusCode"], (400, 404, 501), "status")
        return
    # What the storage takes is its own affair; the header was not lost on the way.
    true("ObjectLockMode" in t.s3.head_object(Bucket=name, Key="k"), "the lock was dropped silently")


@forwarded
def a_default_retention_locks_new_objects(t):
    name = locked(t)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    t.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    equal(t.s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]["Rule"], rule, "rule")
    t.s3.put_object(Bucket=name, Key="k", Body=data(5000))
    head = t.s3.head_object(Bucket=name, Key="k")
    equal(head.get("ObjectLockMode"), "GOVERNANCE", "mode")
    equal(t.s3.get_object(Bucket=name, Key="k")["Body"].read(), data(5000), "body")
    if t.target.is_gateway and t.target.backend:
        # Its helper objects would be locked.
        with raises("NotImplemented", status=501):
            t.s3.create_multipart_upload(Bucket=name, Key="upload")
    elif t.target.is_gateway:
        # On the filesystem they have no versions, and no locks.
        upload = t.s3.create_multipart_upload(Bucket=name, Key="upload")["UploadId"]
        of = {"Bucket": name, "Key": "upload", "UploadId": upload}
        part = {"PartNumber": 1, "ETag": t.s3.upload_part(**of, PartNumber=1, Body=data(5000))["ETag"]}
        t.s3.complete_multipart_upload(**of, MultipartUpload={"Parts": [part]})
        equal(t.s3.head_object(Bucket=name, Key="upload").get("ObjectLockMode"), "GOVERNANCE", "mode of an upload")


@case(gateway_only=True)
def the_expected_owner_is_the_one_that_listbuckets_names(t):
    owner = t.s3.list_buckets()["Owner"]["ID"]
    t.s3.put_object(Bucket=t.bucket, Key="owned", Body=b"x", ExpectedBucketOwner=owner)
    for call in (
        lambda other: t.s3.put_object(Bucket=t.bucket, Key="other", Body=b"x", ExpectedBucketOwner=other),
        lambda other: t.s3.get_object(Bucket=t.bucket, Key="owned", ExpectedBucketOwner=other),
        lambda other: t.s3.list_objects_v2(Bucket=t.bucket, ExpectedBucketOwner=other),
        lambda other: t.s3.get_bucket_location(Bucket=t.bucket, ExpectedBucketOwner=other),
    ):
        with raises("AccessDenied", status=403):
            call("111122223333")
        call(owner)
    equal(t.get("owned"), b"x", "body")


@case
def a_document_that_is_not_what_was_hashed_is_not_sent_on(t):
    t.s3.put_object(Bucket=t.bucket, Key="hashed", Body=b"x")
    document = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    answer = t.raw.request("PUT", t.path("hashed"), [("tagging", "")], {"content-md5": wrong}, document)
    refused(answer, 400, "BadDigest")
    answer = t.raw.request("PUT", t.path("hashed"), [("tagging", "")], {}, document, payload_hash=hashlib.sha256(b"other").hexdigest())
    refused(answer, 400, "XAmzContentSHA256Mismatch")
    try:
        found = answered(lambda: t.s3.get_object_tagging(Bucket=t.bucket, Key="hashed"), "NoSuchTagSet").get("TagSet", [])
    except Lacking:
        return
    equal(found, [], "tags")


@case(gateway_only=True)
def what_is_not_on_the_list_is_501_and_stores_nothing(t):
    t.s3.put_object(Bucket=t.bucket, Key="listed", Body=b"x")
    for method, key, query, headers in (
        ("PUT", "listed", [("append", "")], {}),
        ("PUT", "listed", [("annotation", "")], {}),
        ("PUT", "listed", [("encryption", "")], {}),
        ("PUT", "", [("brand-new", "")], {}),
        ("PUT", "listed", [("tagging", ""), ("position", "3")], {}),
        ("PUT", "listed", [("tagging", "")], {"x-amz-write-offset-bytes": "3"}),
        ("PUT", "listed", [("tagging", "")], {"x-amz-meta-a": "b"}),
        ("PUT", "listed", [("tagging", "")], {"if-match": "\"etag\""}),
        ("POST", "listed", [("tagging", "")], {}),
        ("HEAD", "listed", [("acl", "")], {}),
        ("POST", "", [("versioning", "")], {}),
        ("DELETE", "", [("versioning", "")], {}),
    ):
        answer = t.raw.request(method, t.path(key), query, headers, b"" if method in ("HEAD", "DELETE") else b"<x/>")
        refused(answer, 501, *(() if method == "HEAD" else ("NotImplemented",)))
    equal(t.get("listed"), b"x", "body")


@case(gateway_only=True)
def a_hidden_key_has_no_subresources(t):
    for method, query in (("GET", "tagging"), ("PUT", "tagging"), ("DELETE", "tagging"), ("GET", "acl"), ("PUT", "retention"), ("POST", "restore")):
        answer = t.raw.request(method, t.path(".sealgate/v1/bucket"), [(query, "")], {}, b"<x/>" if method == "PUT" else b"")
        refused(answer, 403, "AccessDenied")
