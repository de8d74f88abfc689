"""Object lock: configuration, retention, legal hold, and what they forbid."""

import checksums
from cases import case, equal, raises, refused, true, variants
from conformance.support import multipart, soon, status


def locked(t) -> str:
    """A bucket with object lock, which the cases share with keys of their own."""
    return t.shared("locked", lambda: t.fresh_bucket(ObjectLockEnabledForBucket=True))


def plain(t) -> str:
    """A bucket without it."""
    return t.shared("plain", t.fresh_bucket)


def put(t, key, **options) -> dict:
    version = t.s3.put_object(Bucket=locked(t), Key=key, Body=b"locked", **options)["VersionId"]
    return {"Bucket": locked(t), "Key": key, "VersionId": version}


def retain(t, place, mode, until, **options):
    return t.s3.put_object_retention(**place, Retention={"Mode": mode, "RetainUntilDate": until}, **options)


def held(t, key):
    """A version under governance, which only its bypass deletes."""
    place = put(t, key)
    retain(t, place, "GOVERNANCE", soon(hours=1))
    return place


def rule(mode="GOVERNANCE", **period):
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **period}}}


def document(mode, date) -> bytes:
    return f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{date}</RetainUntilDate></Retention>".encode()


def send(t, bucket, query, body, key=""):
    path = f"/{bucket}/{key}" if key else f"/{bucket}"
    return t.raw.request("PUT", path, [(query, "")], {"content-md5": checksums.content_md5(body)}, body)


@case
def a_bucket_made_with_it_is_versioned(t):
    equal(t.s3.get_bucket_versioning(Bucket=locked(t))["Status"], "Enabled", "versioning")
    found = t.s3.get_object_lock_configuration(Bucket=locked(t))["ObjectLockConfiguration"]
    equal(found, {"ObjectLockEnabled": "Enabled"}, "configuration")


@case
def a_bucket_without_it_has_no_configuration(t):
    with raises("ObjectLockConfigurationNotFoundError", status=404):
        t.s3.get_object_lock_configuration(Bucket=plain(t))


@case
def versioning_cannot_be_suspended(t):
    with raises("InvalidBucketState", status=409):
        t.s3.put_bucket_versioning(Bucket=locked(t), VersioningConfiguration={"Status": "Suspended"})


@variants(days={"Days": 1}, years={"Years": 2})
def a_default_rule_in(t, period):
    name = t.fresh_bucket(ObjectLockEnabledForBucket=True)
    t.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule("COMPLIANCE", **period))
    found = t.s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    equal(found, rule("COMPLIANCE", **period), "configuration")


@case
def a_default_rule_holds_for_new_versions(t):
    name = t.fresh_bucket(ObjectLockEnabledForBucket=True)
    t.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule("GOVERNANCE", Days=1))
    version = t.s3.put_object(Bucket=name, Key="key", Body=b"x")["VersionId"]
    found = t.s3.get_object_retention(Bucket=name, Key="key")["Retention"]
    equal(found["Mode"], "GOVERNANCE", "mode")
    true(soon(hours=23) < found["RetainUntilDate"] < soon(hours=25), f"until {found['RetainUntilDate']}")
    with raises("AccessDenied", status=403):
        t.s3.delete_object(Bucket=name, Key="key", VersionId=version)


@case
def a_configuration_on_a_bucket_that_is_not_versioned(t):
    with raises("InvalidBucketState", status=409):
        t.s3.put_object_lock_configuration(Bucket=plain(t), ObjectLockConfiguration=rule(Days=1))


def default_rule(rest: str) -> bytes:
    return (f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>{rest}"
            "</DefaultRetention></Rule></ObjectLockConfiguration>").encode()


@variants(
    days_zero=(default_rule("<Mode>GOVERNANCE</Mode><Days>0</Days>"), ("InvalidArgument", "InvalidRetentionPeriod")),
    years_negative=(default_rule("<Mode>GOVERNANCE</Mode><Years>-1</Years>"), ("InvalidArgument", "InvalidRetentionPeriod")),
    days_and_years=(default_rule("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"), ("MalformedXML",)),
    a_mode_that_is_none=(default_rule("<Mode>abc</Mode><Years>1</Years>"), ("MalformedXML",)),
    a_mode_in_lower_case=(default_rule("<Mode>governance</Mode><Years>1</Years>"), ("MalformedXML",)),
    disabled=(b"<ObjectLockConfiguration><ObjectLockEnabled>Disabled</ObjectLockEnabled></ObjectLockConfiguration>", ("MalformedXML",)),
    no_xml=(b"lock", ("MalformedXML",)),
)
def a_configuration_with(t, body, codes):
    refused(send(t, locked(t), "object-lock", body), 400, *codes)


@variants(governance="GOVERNANCE", compliance="COMPLIANCE")
def retention_is_set_and_told(t, mode):
    place, until = put(t, f"retention/{mode}"), soon(minutes=30)
    equal(status(retain(t, place, mode, until)), 200, "status")
    found = t.s3.get_object_retention(**place)["Retention"]
    equal((found["Mode"], found["RetainUntilDate"]), (mode, until), "retention")
    head = t.s3.head_object(**place)
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]), (mode, until), "HEAD's headers")


@case
def retention_in_the_headers_of_put(t):
    until = soon(minutes=30)
    place = put(t, "headers", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="ON")
    head = t.s3.get_object(**place)
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]), ("GOVERNANCE", until, "ON"), "headers")
    t.s3.put_object_legal_hold(**place, LegalHold={"Status": "OFF"})


@case
def retention_in_the_headers_of_an_upload(t):
    until = soon(minutes=30)
    multipart(t, "upload", {1: b"x"}, locked(t), ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    found = t.s3.get_object_retention(Bucket=locked(t), Key="upload")["Retention"]
    equal((found["Mode"], found["RetainUntilDate"]), ("GOVERNANCE", until), "retention")


@case
def a_version_under_governance_is_not_deleted(t):
    place = held(t, "governed")
    with raises("AccessDenied", status=403):
        t.s3.delete_object(**place)
    equal(t.s3.get_object(**place)["Body"].read(), b"locked", "body")


@case
def a_bypass_deletes_it(t):
    place = held(t, "bypassed")
    equal(status(t.s3.delete_object(**place, BypassGovernanceRetention=True)), 204, "status")
    refused(t.raw.request("GET", f"/{locked(t)}/bypassed", [("versionId", place["VersionId"])]), 404, "NoSuchVersion")


@case
def a_version_under_compliance_is_not_deleted_by_a_bypass(t):
    place = put(t, "complied")
    retain(t, place, "COMPLIANCE", soon(minutes=10))
    with raises("AccessDenied", status=403):
        t.s3.delete_object(**place, BypassGovernanceRetention=True)
    equal(t.s3.get_object(**place)["Body"].read(), b"locked", "body")


@case
def a_delete_without_a_version_leaves_a_marker(t):
    place = held(t, "marked")
    equal(t.s3.delete_object(Bucket=locked(t), Key="marked")["DeleteMarker"], True, "DeleteMarker")
    equal(t.s3.get_object(**place)["Body"].read(), b"locked", "body of the version")


@case
def a_marker_is_not_locked(t):
    held(t, "marker")
    marker = t.s3.delete_object(Bucket=locked(t), Key="marker")["VersionId"]
    equal(status(t.s3.delete_object(Bucket=locked(t), Key="marker", VersionId=marker)), 204, "status")


@case
def overwriting_makes_a_version(t):
    place = held(t, "overwritten")
    t.s3.put_object(Bucket=locked(t), Key="overwritten", Body=b"new")
    equal(t.s3.get_object(**place)["Body"].read(), b"locked", "body of the version")


@case
def deleting_many_tells_each_refusal(t):
    kept, free = held(t, "many/kept"), put(t, "many/free")
    objects = [{"Key": place["Key"], "VersionId": place["VersionId"]} for place in (kept, free)]
    answer = t.s3.delete_objects(Bucket=locked(t), Delete={"Objects": objects})
    equal([entry["Key"] for entry in answer["Deleted"]], ["many/free"], "deleted")
    equal([(entry["Key"], entry["Code"]) for entry in answer["Errors"]], [("many/kept", "AccessDenied")], "errors")


@case
def deleting_many_with_a_bypass(t):
    place = held(t, "many/bypassed")
    answer = t.s3.delete_objects(Bucket=locked(t), BypassGovernanceRetention=True,
                                 Delete={"Objects": [{"Key": place["Key"], "VersionId": place["VersionId"]}]})
    true("Errors" not in answer and len(answer["Deleted"]) == 1, f"answer {answer}")


@case
def governance_can_be_prolonged(t):
    place, until = held(t, "prolonged"), soon(hours=2)
    retain(t, place, "GOVERNANCE", until)
    equal(t.s3.get_object_retention(**place)["Retention"]["RetainUntilDate"], until, "until")


@case
def governance_is_shortened_only_by_a_bypass(t):
    place, until = held(t, "shortened"), soon(minutes=5)
    with raises("AccessDenied", status=403):
        retain(t, place, "GOVERNANCE", until)
    retain(t, place, "GOVERNANCE", until, BypassGovernanceRetention=True)
    equal(t.s3.get_object_retention(**place)["Retention"]["RetainUntilDate"], until, "until")


@case
def governance_is_removed_only_by_a_bypass(t):
    place = held(t, "removed")
    body = b"<Retention></Retention>"
    path, query = f"/{locked(t)}/removed", [("retention", ""), ("versionId", place["VersionId"])]
    options = {"content-md5": checksums.content_md5(body)}
    refused(t.raw.request("PUT", path, query, options, body), 403, "AccessDenied")
    answer = t.raw.request("PUT", path, query, {**options, "x-amz-bypass-governance-retention": "true"}, body)
    equal(answer.status, 200, f"answer {answer}")
    equal(status(t.s3.delete_object(**place)), 204, "status of the deletion")


@case
def compliance_can_be_prolonged_and_not_shortened(t):
    place = put(t, "compliance")
    retain(t, place, "COMPLIANCE", soon(minutes=5))
    retain(t, place, "COMPLIANCE", soon(minutes=10))
    for options in ({}, {"BypassGovernanceRetention": True}):
        with raises("AccessDenied", status=403):
            retain(t, place, "COMPLIANCE", soon(minutes=1), **options)


@case
def compliance_does_not_become_governance(t):
    place = put(t, "mode")
    retain(t, place, "COMPLIANCE", soon(minutes=5))
    with raises("AccessDenied", status=403):
        retain(t, place, "GOVERNANCE", soon(minutes=10), BypassGovernanceRetention=True)


@case
def retention_in_the_past(t):
    place = put(t, "past")
    refused(send(t, locked(t), "retention", document("GOVERNANCE", "2020-01-01T00:00:00Z"), "past"), 400, "InvalidArgument")
    equal(status(t.s3.delete_object(**place)), 204, "status of the deletion")


@variants(a_mode_that_is_none=document("abc", "2099-01-01T00:00:00Z"), mode_in_lower_case=document("governance", "2099-01-01T00:00:00Z"),
          no_date=b"<Retention><Mode>GOVERNANCE</Mode></Retention>", no_xml=b"retain")
def a_retention_with(t, body):
    put(t, "malformed")
    refused(send(t, locked(t), "retention", body, "malformed"), 400, "MalformedXML")


@case
def retention_on_a_bucket_without_lock(t):
    t.s3.put_object(Bucket=plain(t), Key="key", Body=b"x")
    refused(send(t, plain(t), "retention", document("GOVERNANCE", "2099-01-01T00:00:00Z"), "key"), 400, "InvalidRequest")
    with raises("InvalidRequest", status=400):
        t.s3.get_object_retention(Bucket=plain(t), Key="key")


@case
def retention_that_was_never_set(t):
    place = put(t, "never")
    with raises("NoSuchObjectLockConfiguration", status=404):
        t.s3.get_object_retention(**place)


@case
def lock_headers_on_a_bucket_without_lock(t):
    with raises("InvalidRequest", status=400):
        t.s3.put_object(Bucket=plain(t), Key="headers", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=soon(hours=1))


@variants(mode_alone={"x-amz-object-lock-mode": "GOVERNANCE"}, date_alone={"x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z"})
def lock_headers_by_halves(t, options):
    answer = t.raw.request("PUT", f"/{locked(t)}/halves", headers={**options, "content-md5": checksums.content_md5(b"x")}, body=b"x")
    refused(answer, 400, "InvalidArgument")


@case
def a_legal_hold_forbids_deletion_until_it_is_off(t):
    place = put(t, "hold")
    t.s3.put_object_legal_hold(**place, LegalHold={"Status": "ON"})
    equal(t.s3.get_object_legal_hold(**place)["LegalHold"]["Status"], "ON", "status")
    for options in ({}, {"BypassGovernanceRetention": True}):
        with raises("AccessDenied", status=403):
            t.s3.delete_object(**place, **options)
    t.s3.put_object_legal_hold(**place, LegalHold={"Status": "OFF"})
    equal(status(t.s3.delete_object(**place)), 204, "status of the deletion")


@case
def a_legal_hold_that_was_never_set(t):
    place = put(t, "no-hold")
    with raises("NoSuchObjectLockConfiguration", status=404):
        t.s3.get_object_legal_hold(**place)


@variants(a_state_that_is_none=b"<LegalHold><Status>abc</Status></LegalHold>", no_xml=b"hold", nothing=b"")
def a_legal_hold_with(t, body):
    put(t, "malformed-hold")
    refused(send(t, locked(t), "legal-hold", body, "malformed-hold"), 400, "MalformedXML")


@case
def a_legal_hold_on_a_bucket_without_lock(t):
    t.s3.put_object(Bucket=plain(t), Key="hold", Body=b"x")
    with raises("InvalidRequest", status=400):
        t.s3.put_object_legal_hold(Bucket=plain(t), Key="hold", LegalHold={"Status": "ON"})


@case
def lock_on_a_versioned_bucket_later(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    t.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule(Days=1))
    equal(t.s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"], rule(Days=1), "configuration")


@variants(governance="GOVERNANCE", compliance="COMPLIANCE")
def an_empty_bucket_with_a_default_rule_is_deleted(t, mode):
    name = t.fresh_bucket(ObjectLockEnabledForBucket=True)
    t.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=rule(mode, Days=3))
    t.s3.delete_bucket(Bucket=name)
    with raises("404"):
        t.s3.head_bucket(Bucket=name)
