"""What else is configured on a bucket: policy, public access block, ownership, encryption, website, logging, notification and the rest."""

import json

import checksums
from cases import case, equal, raises, refused, true, variants
from conformance.support import parsed, status, texts, unblocked


def policy(name, effect="Allow", action="s3:GetObject", principal="*"):
    return {"Version": "2012-10-17", "Statement": [{"Sid": "one", "Effect": effect, "Principal": principal, "Action": action,
                                                    "Resource": f"arn:aws:s3:::{name}/*"}]}


def unset(t) -> str:
    """A bucket on which nothing was ever configured."""
    return t.shared("unset", t.fresh_bucket)


def open_bucket(t) -> str:
    """A new bucket whose block against public policies is lifted, where there is one."""
    return unblocked(t, t.fresh_bucket())


@variants(
    policy=("policy", "NoSuchBucketPolicy"), public_access_block=("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    website=("website", "NoSuchWebsiteConfiguration"), replication=("replication", "ReplicationConfigurationNotFoundError"),
    lifecycle=("lifecycle", "NoSuchLifecycleConfiguration"), cors=("cors", "NoSuchCORSConfiguration"), tagging=("tagging", "NoSuchTagSet"),
    object_lock=("object-lock", "ObjectLockConfigurationNotFoundError"), policy_status=("policyStatus", "NoSuchBucketPolicy"),
)
def unset_is_404_for(t, name, code):
    refused(t.raw.request("GET", f"/{t.shared('open', lambda: open_bucket(t))}", [(name, "")]), 404, code)


@variants(
    notification=("notification", "NotificationConfiguration"), logging=("logging", "BucketLoggingStatus"),
    accelerate=("accelerate", "AccelerateConfiguration"), versioning=("versioning", "VersioningConfiguration"),
)
def unset_is_an_empty_document_for(t, name, root):
    found = parsed(t.raw.request("GET", f"/{unset(t)}", [(name, "")]))
    equal((found.tag, list(found)), (root, []), "document")


@case
def the_owner_pays_for_requests(t):
    root = parsed(t.raw.request("GET", f"/{unset(t)}", [("requestPayment", "")]))
    equal((root.tag, texts(root, "Payer")), ("RequestPaymentConfiguration", ["BucketOwner"]), "document")


@case
def payment_by_the_requester_is_kept(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_request_payment(Bucket=name, RequestPaymentConfiguration={"Payer": "Requester"})
    equal(t.s3.get_bucket_request_payment(Bucket=name)["Payer"], "Requester", "payer")


@case
def encryption_is_on_by_itself(t):
    rules = t.s3.get_bucket_encryption(Bucket=unset(t))["ServerSideEncryptionConfiguration"]["Rules"]
    equal(rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256", "algorithm")


@case
def encryption_is_kept(t):
    name = t.fresh_bucket()
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    t.s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    found = t.s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    equal(found["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256", "algorithm")
    equal(status(t.s3.delete_bucket_encryption(Bucket=name)), 204, "status of deletion")


@case
def ownership_is_the_buckets_by_itself(t):
    found = t.s3.get_bucket_ownership_controls(Bucket=unset(t))["OwnershipControls"]["Rules"]
    equal(found, [{"ObjectOwnership": "BucketOwnerEnforced"}], "rules")


@variants(preferred="BucketOwnerPreferred", writer="ObjectWriter", enforced="BucketOwnerEnforced")
def ownership_is_kept(t, value):
    name = t.fresh_bucket()
    t.s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": value}]})
    equal(t.s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"], [{"ObjectOwnership": value}], "rules")


@case
def ownership_of_creation_is_kept(t):
    name = t.fresh_bucket(ObjectOwnership="ObjectWriter")
    equal(t.s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"], [{"ObjectOwnership": "ObjectWriter"}], "rules")


@case
def ownership_that_was_deleted(t):
    name = t.fresh_bucket(ObjectOwnership="ObjectWriter")
    t.s3.delete_bucket_ownership_controls(Bucket=name)
    with raises("OwnershipControlsNotFoundError", status=404):
        t.s3.get_bucket_ownership_controls(Bucket=name)


@case
def a_public_access_block_is_kept_and_deleted(t):
    name = t.fresh_bucket()
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": False, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
    t.s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    equal(t.s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"], block, "block")
    equal(status(t.s3.delete_public_access_block(Bucket=name)), 204, "status")
    with raises("NoSuchPublicAccessBlockConfiguration", status=404):
        t.s3.get_public_access_block(Bucket=name)


@case
def a_block_refuses_a_public_policy(t):
    name = t.fresh_bucket()
    t.s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration={"BlockPublicPolicy": True})
    with raises("AccessDenied", status=403):
        t.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(name)))


@case
def a_policy_is_kept_and_deleted(t):
    name = open_bucket(t)
    answer = t.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(name)))
    true(status(answer) in (200, 204), f"status {status(answer)}")
    equal(json.loads(t.s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"][0]["Effect"], "Allow", "effect")
    equal(status(t.s3.delete_bucket_policy(Bucket=name)), 204, "status of deletion")
    with raises("NoSuchBucketPolicy", status=404):
        t.s3.get_bucket_policy(Bucket=name)


@variants(no_json=b"allow all", nothing=b"", no_statement=b'{"Version":"2012-10-17"}')
def a_policy_that_is(t, body):
    refused(t.raw.request("PUT", f"/{unset(t)}", [("policy", "")], body=body), 400, "MalformedPolicy", "MissingRequestBodyError", "InvalidPolicyDocument")


@case
def a_policy_of_another_bucket(t):
    name = open_bucket(t)
    with raises("MalformedPolicy", status=400):
        t.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy("another-bucket-altogether")))


@variants(public=("*", True), one_account=({"AWS": "arn:aws:iam::111122223333:root"}, False))
def policy_status_tells(t, principal, public):
    name = open_bucket(t)
    t.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(name, principal=principal)))
    equal(t.s3.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"], public, "IsPublic")


@case
def a_website_is_kept_and_deleted(t):
    name = t.fresh_bucket()
    site = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}}
    t.s3.put_bucket_website(Bucket=name, WebsiteConfiguration=site)
    found = t.s3.get_bucket_website(Bucket=name)
    equal((found["IndexDocument"], found["ErrorDocument"]), (site["IndexDocument"], site["ErrorDocument"]), "documents")
    t.s3.delete_bucket_website(Bucket=name)
    with raises("NoSuchWebsiteConfiguration", status=404):
        t.s3.get_bucket_website(Bucket=name)


@case
def logging_is_kept(t):
    name, target = t.fresh_bucket(), t.fresh_bucket()
    t.s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "log/"}})
    found = t.s3.get_bucket_logging(Bucket=name)["LoggingEnabled"]
    equal((found["TargetBucket"], found["TargetPrefix"]), (target, "log/"), "target")


@case
def a_notification_without_targets_is_kept(t):
    name = t.fresh_bucket()
    equal(status(t.s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={})), 200, "status")


@variants(accelerate="accelerate", payment="requestPayment", website="website", encryption="encryption", ownership="ownershipControls",
          block="publicAccessBlock", logging="logging", notification="notification", replication="replication")
def refuses_no_xml_for(t, name):
    body = b"this is no xml"
    answer = t.raw.request("PUT", f"/{unset(t)}", [(name, "")], {"content-md5": checksums.content_md5(body)}, body)
    refused(answer, 400, "MalformedXML")


@variants(policy="policy", lifecycle="lifecycle", cors="cors", tagging="tagging", website="website", encryption="encryption",
          replication="replication")
def deleting_what_is_not_set_succeeds(t, name):
    bucket = t.fresh_bucket()
    equal(t.raw.request("DELETE", f"/{bucket}", [(name, "")]).status, 204, "status")
    equal(t.raw.request("HEAD", f"/{bucket}").status, 200, "status of the bucket itself afterwards")


@variants(inventory="inventory", metrics="metrics", analytics="analytics", tiering="intelligent-tiering")
def a_configuration_by_id_that_is_not_there(t, name):
    refused(t.raw.request("GET", f"/{unset(t)}", [(name, ""), ("id", "absent")]), 404, "NoSuchConfiguration")


@variants(inventory=("inventory", "ListInventoryConfigurationsResult"), metrics=("metrics", "ListMetricsConfigurationsResult"))
def configurations_of_a_bucket_without_any(t, name, root):
    found = parsed(t.raw.request("GET", f"/{unset(t)}", [(name, "")]))
    equal((found.tag, texts(found, "IsTruncated")), (root, ["false"]), "document")


@variants(acl="acl", policy="policy", lifecycle="lifecycle", cors="cors", versioning="versioning", tagging="tagging", encryption="encryption")
def anonymous_may_not_read(t, name):
    answer = t.raw.request("GET", f"/{unset(t)}", [(name, "")], alter=lambda headers: headers.pop("authorization"))
    refused(answer, 403, "AccessDenied")


@variants(policy="policy", lifecycle="lifecycle", cors="cors", tagging="tagging", website="website")
def anonymous_may_not_delete(t, name):
    answer = t.raw.request("DELETE", f"/{unset(t)}", [(name, "")], alter=lambda headers: headers.pop("authorization"))
    refused(answer, 403, "AccessDenied")
