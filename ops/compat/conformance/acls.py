"""Access control lists: what every owner sees, canned and explicit grants, what is malformed."""

import checksums
from cases import case, equal, refused, true, variants
from conformance.support import parsed, status, texts, unblocked

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def owner(t):
    return t.s3.list_buckets()["Owner"]["ID"]


def fresh_with_acls(t) -> str:
    """A bucket in which ACLs count: since 2023 S3 disables them, and blocks public ones, unless the owner asks for them."""
    name = t.fresh_bucket(ObjectOwnership="BucketOwnerPreferred")
    unblocked(t, name)
    return name


def with_acls(t) -> str:
    """One that several cases share with keys of their own."""
    return t.shared("with acls", lambda: fresh_with_acls(t))


def grants(t, **place):
    found = (t.s3.get_object_acl if "Key" in place else t.s3.get_bucket_acl)(**place)["Grants"]
    return sorted((grant["Grantee"].get("URI") or grant["Grantee"].get("ID"), grant["Permission"]) for grant in found)


@case
def a_bucket_is_its_owners_alone(t):
    answer = t.s3.get_bucket_acl(Bucket=t.bucket)
    equal([(grant["Grantee"]["ID"], grant["Permission"]) for grant in answer["Grants"]], [(answer["Owner"]["ID"], "FULL_CONTROL")], "grants")


@case
def an_object_is_its_owners_alone(t):
    t.put("own")
    answer = t.s3.get_object_acl(Bucket=t.bucket, Key="own")
    equal([(grant["Grantee"]["ID"], grant["Permission"]) for grant in answer["Grants"]], [(answer["Owner"]["ID"], "FULL_CONTROL")], "grants")


@case
def the_owner_is_the_one_of_list_buckets(t):
    equal(t.s3.get_bucket_acl(Bucket=t.bucket)["Owner"]["ID"], owner(t), "owner")


@case
def the_document_is_an_access_control_policy(t):
    root = parsed(t.raw.request("GET", t.path(), [("acl", "")]))
    equal((root.tag, texts(root, "AccessControlList/Grant/Permission")), ("AccessControlPolicy", ["FULL_CONTROL"]), "document")


@variants(bucket="", object="set-private")
def private_can_always_be_set_on_a(t, key):
    name = with_acls(t)
    if key:
        t.s3.put_object(Bucket=name, Key=key, Body=b"x")
    path = f"/{name}/{key}" if key else f"/{name}"
    equal(t.raw.request("PUT", path, [("acl", "")], {"x-amz-acl": "private"}).status, 200, "status")


@variants(public_read=("public-read", [(ALL_USERS, "READ")]), public_read_write=("public-read-write", [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")]),
          authenticated_read=("authenticated-read", [("http://acs.amazonaws.com/groups/global/AuthenticatedUsers", "READ")]))
def a_canned_acl_on_a_bucket(t, canned, wanted):
    name = fresh_with_acls(t)
    t.s3.put_bucket_acl(Bucket=name, ACL=canned)
    equal([grant for grant in grants(t, Bucket=name) if grant[1] != "FULL_CONTROL"], wanted, "grants beside the owner's")


@variants(public_read=("public-read", [(ALL_USERS, "READ")]),
          authenticated_read=("authenticated-read", [("http://acs.amazonaws.com/groups/global/AuthenticatedUsers", "READ")]))
def a_canned_acl_on_an_object(t, canned, wanted):
    name, key = with_acls(t), f"canned/{canned}"
    t.s3.put_object(Bucket=name, Key=key, Body=b"x", ACL=canned)
    equal([grant for grant in grants(t, Bucket=name, Key=key) if grant[1] != "FULL_CONTROL"], wanted, "grants beside the owner's")
    t.s3.put_object_acl(Bucket=name, Key=key, ACL="private")
    equal([grant for grant in grants(t, Bucket=name, Key=key) if grant[1] != "FULL_CONTROL"], [], "grants after private")


@case
def an_acl_document_is_kept(t):
    name = with_acls(t)
    t.s3.put_object(Bucket=name, Key="document", Body=b"x")
    policy = t.s3.get_object_acl(Bucket=name, Key="document")
    document = {"Owner": policy["Owner"], "Grants": [*policy["Grants"], {"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ_ACP"}]}
    t.s3.put_object_acl(Bucket=name, Key="document", AccessControlPolicy=document)
    true((ALL_USERS, "READ_ACP") in grants(t, Bucket=name, Key="document"), "the grant is not there")


@case
def grants_in_headers(t):
    name = with_acls(t)
    t.s3.put_object(Bucket=name, Key="headers", Body=b"x", GrantRead=f'uri="{ALL_USERS}"')
    true((ALL_USERS, "READ") in grants(t, Bucket=name, Key="headers"), "the grant is not there")


@case
def a_new_version_of_an_object_is_private_again(t):
    name = with_acls(t)
    t.s3.put_object(Bucket=name, Key="again", Body=b"x", ACL="public-read")
    t.s3.put_object(Bucket=name, Key="again", Body=b"y")
    equal([grant for grant in grants(t, Bucket=name, Key="again") if grant[1] != "FULL_CONTROL"], [], "grants beside the owner's")


@case
def acls_are_off_where_the_bucket_owner_enforces(t):
    name = t.fresh_bucket(ObjectOwnership="BucketOwnerEnforced")
    t.s3.put_object(Bucket=name, Key="key", Body=b"x")
    for path in (f"/{name}", f"/{name}/key"):
        refused(t.raw.request("PUT", path, [("acl", "")], {"x-amz-acl": "public-read"}), 400, "AccessControlListNotSupported")
    refused(t.raw.request("PUT", f"/{name}/other", headers={"x-amz-acl": "public-read"}, body=b"x"), 400, "AccessControlListNotSupported")


@variants(no_xml=b"everyone", not_closed=b"<AccessControlPolicy>", another_document=b"<Delete/>")
def a_document_that_is_none(t, body):
    refused(t.raw.request("PUT", f"/{with_acls(t)}", [("acl", "")], body=body), 400, "MalformedACLError", "MalformedXML")


@case
def a_canned_acl_that_is_none(t):
    refused(t.raw.request("PUT", f"/{with_acls(t)}", [("acl", "")], {"x-amz-acl": "friends"}), 400, "InvalidArgument")


@variants(get="GET", put="PUT")
def of_a_key_that_is_not_there(t, method):
    options = {"x-amz-acl": "private"} if method == "PUT" else {}
    refused(t.raw.request(method, f"/{with_acls(t)}/absent", [("acl", "")], options), 404, "NoSuchKey")


@case
def an_acl_changes_neither_body_nor_metadata(t):
    name = with_acls(t)
    etag = t.s3.put_object(Bucket=name, Key="untouched", Body=b"untouched", Metadata={"a": "1"})["ETag"]
    equal(status(t.s3.put_object_acl(Bucket=name, Key="untouched", ACL="private")), 200, "status")
    answer = t.s3.get_object(Bucket=name, Key="untouched")
    equal((answer["Body"].read(), answer["ETag"], answer["Metadata"]), (b"untouched", etag, {"a": "1"}), "object")


@variants(canned={"x-amz-acl": "private"}, a_grant={"x-amz-grant-read": 'id="abc"'})
def in_headers_and_in_a_document(t, headers):
    body = t.raw.request("GET", t.path(), [("acl", "")]).body
    answer = t.raw.request("PUT", t.path(), [("acl", "")], {"content-md5": checksums.content_md5(body), **headers}, body)
    refused(answer, 400, "UnexpectedContent")
