"""Buckets: their names, making, finding and removing them."""

import dataclasses

import raw
import sigv4
from cases import case, equal, raises, refused, true, variants, within
from conformance.support import NAMESPACE, parsed, status, texts


@variants(
    two_characters="ab", upper_case="Upper-Case", underscore="under_score", dash_first="-dash-first", dash_last="dash-last-",
    dot_first=".dot-first", dot_last="dot-last.", two_dots="two..dots", an_address="192.168.5.123", too_long="x" * 64, space="a space",
    exclamation="alpha!", non_ascii="bücket", punycode="xn--prefixed",
    alias_suffix="taken-s3alias", directory_suffix="taken--x-s3",
)
def create_refuses_a_name_with(t, name):
    refused(t.raw.request("PUT", f"/{sigv4.encode(name)}"), 400, "InvalidBucketName")


@variants(of_3=3, of_62=62, of_63=63)
def create_takes_a_name_with_a_length(t, length):
    name = (t.bucket.replace("-", "") + "0" * 63)[-length:] if length > 3 else t.bucket[-3:]
    t.create_bucket(name)
    equal(status(t.s3.head_bucket(Bucket=name)), 200, "status of HEAD")
    t.s3.delete_bucket(Bucket=name)


@variants(digits_first="0{}", a_dot="dot.{}", dash_and_dot="a-{}.b", only_digits_and_dashes="1-2-3-4-{}")
def create_takes_a_name_with(t, form):
    name = form.format(t.bucket[-8:])
    t.create_bucket(name)
    t.s3.put_object(Bucket=name, Key="key", Body=b"x")
    equal(t.s3.get_object(Bucket=name, Key="key")["Body"].read(), b"x", "body")


@case
def create_answers_its_location(t):
    name = f"{t.bucket}-loc"
    answer = t.create_bucket(name)
    true(answer["Location"].rstrip("/").endswith(name), f"Location {answer['Location']}")
    equal(status(answer), 200, "status")


@case
def create_again_is_told_as_ones_own(t):
    if t.target.region == "us-east-1":
        # The one region where S3 answers 200 to the owner.
        equal(t.raw.request("PUT", t.path()).status, 200, "status")
        return
    with raises("BucketAlreadyOwnedByYou", status=409):
        t.create_bucket(t.bucket)


@case
def create_again_keeps_what_is_in_it(t):
    t.put("kept/object")
    t.raw.request("PUT", t.path())
    equal(t.get("kept/object"), b"body", "body")


@case
def create_without_a_constraint_where_it_is_signed_for(t):
    """In us-east-1: a gateway's own first region may be another, and a client of us-east-1 gets what it believes."""
    east = raw.RawClient(t.target.endpoint, dataclasses.replace(t.credentials, region="us-east-1"))
    name = f"{t.bucket}-east"
    equal(east.request("PUT", f"/{name}").status, 200, "status")
    within(parsed(east.request("GET", f"/{name}", [("location", "")])).text, (None, ""), "region")
    equal(east.request("HEAD", f"/{name}").headers["x-amz-bucket-region"], "us-east-1", "x-amz-bucket-region")


@case
def create_in_a_region_that_is_none(t):
    with raises("InvalidLocationConstraint", "IllegalLocationConstraintException", status=400):
        t.s3.create_bucket(Bucket=f"{t.bucket}-mars", CreateBucketConfiguration={"LocationConstraint": "mars-north-1"})
    with raises("404"):
        t.s3.head_bucket(Bucket=f"{t.bucket}-mars")


@case
def create_with_tags(t):
    region = {} if t.target.region == "us-east-1" else {"LocationConstraint": t.target.region}
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": ""}]
    name = t.fresh_bucket(CreateBucketConfiguration={**region, "Tags": tags})
    found = t.s3.get_bucket_tagging(Bucket=name)["TagSet"]
    equal(sorted((tag["Key"], tag["Value"]) for tag in found), [("a", "1"), ("b c", "")], "tags")


@variants(
    twice=([("a", "1"), ("a", "2")], "InvalidTag"), too_long=([("k" * 129, "1")], "InvalidTag"), of_aws=([("aws:k", "1")], "InvalidTag"),
    too_many=([(f"k{at}", "1") for at in range(51)], "BadRequest"),
)
def create_refuses_tags(t, tags, code):
    name = f"{t.bucket}-refused-tags"
    document = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    body = f"<CreateBucketConfiguration><Tags>{document}</Tags></CreateBucketConfiguration>".encode()
    refused(t.raw.request("PUT", f"/{name}", body=body), 400, code)
    equal(t.raw.request("HEAD", f"/{name}").status, 404, "the bucket")


@case
def create_names_the_bucket_in_full(t):
    name = f"{t.bucket}-arn"
    answer = t.create_bucket(name)
    equal(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-arn"), f"arn:aws:s3:::{name}", "x-amz-bucket-arn")


@variants(
    unknown=({"x-amz-object-ownership": "mine"}, "InvalidArgument"),
    grants_ruled_out=({"x-amz-object-ownership": "BucketOwnerEnforced", "x-amz-acl": "public-read"}, "InvalidBucketAclWithObjectOwnership"),
)
def create_refuses_an_ownership_that_is(t, headers, code):
    refused(t.raw.request("PUT", f"/{t.bucket}-owned", headers=headers), 400, code)


@variants(not_closed=b"<CreateBucketConfiguration>", no_xml=b"region please", another_document=b"<Other/>")
def create_refuses_a_document(t, body):
    refused(t.raw.request("PUT", f"/{t.bucket}-xml", body=body), 400, "MalformedXML")


@case
def head_of_a_bucket(t):
    answer = t.raw.request("HEAD", t.path())
    equal((answer.status, answer.body), (200, b""), "answer")


@case
def head_names_the_region(t):
    equal(t.raw.request("HEAD", t.path()).headers["x-amz-bucket-region"], t.target.region, "x-amz-bucket-region")


@case
def head_of_no_bucket_has_no_body(t):
    answer = t.raw.request("HEAD", f"/{t.bucket}-absent")
    equal((answer.status, answer.body), (404, b""), "answer")


@case
def location_is_an_xml_document(t):
    root = parsed(t.raw.request("GET", t.path(), [("location", "")]))
    equal(root.tag, "LocationConstraint", "root element")
    # us-east-1 is told by an empty element.
    within(root.text or "us-east-1", (t.target.region,), "region")


@case
def location_of_no_bucket(t):
    with raises("NoSuchBucket", status=404):
        t.s3.get_bucket_location(Bucket=f"{t.bucket}-absent")


@variants(list=("GET", [], b""), list_v2=("GET", [("list-type", "2")], b""), versions=("GET", [("versions", "")], b""),
          uploads=("GET", [("uploads", "")], b""), delete=("DELETE", [], b""), acl=("GET", [("acl", "")], b""),
          versioning=("GET", [("versioning", "")], b""), policy=("GET", [("policy", "")], b""), tagging=("GET", [("tagging", "")], b""),
          lifecycle=("GET", [("lifecycle", "")], b""), cors=("GET", [("cors", "")], b""), encryption=("GET", [("encryption", "")], b""),
          object_lock=("GET", [("object-lock", "")], b""))
def no_such_bucket_for(t, method, query, body):
    refused(t.raw.request(method, f"/{t.bucket}-absent", query, body=body), 404, "NoSuchBucket")


@variants(get="GET", put="PUT", delete="DELETE")
def no_such_bucket_for_an_object(t, method):
    refused(t.raw.request(method, f"/{t.bucket}-absent/key"), 404, "NoSuchBucket")


@case
def a_bucket_with_an_object_is_not_deleted(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="key", Body=b"x")
    with raises("BucketNotEmpty", status=409):
        t.s3.delete_bucket(Bucket=name)
    equal(t.s3.get_object(Bucket=name, Key="key")["Body"].read(), b"x", "body")


@case
def delete_answers_204_without_a_body(t):
    answer = t.raw.request("DELETE", f"/{t.fresh_bucket()}")
    equal((answer.status, answer.body), (204, b""), "answer")


@case
def a_deleted_bucket_is_gone(t):
    name = t.fresh_bucket()
    t.s3.delete_bucket(Bucket=name)
    with raises("NoSuchBucket", status=404):
        t.s3.delete_bucket(Bucket=name)
    with raises("NoSuchBucket", status=404):
        t.s3.put_object(Bucket=name, Key="key", Body=b"x")
    true(name not in [bucket["Name"] for bucket in t.s3.list_buckets()["Buckets"]], "it is still listed")


@case
def a_name_can_be_used_again(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="old", Body=b"old")
    t.s3.delete_object(Bucket=name, Key="old")
    t.s3.delete_bucket(Bucket=name)
    t.create_bucket(name)
    equal(t.s3.list_objects_v2(Bucket=name)["KeyCount"], 0, "keys")
    t.s3.put_object(Bucket=name, Key="new", Body=b"new")
    equal(t.s3.get_object(Bucket=name, Key="new")["Body"].read(), b"new", "body")


@case
def list_shows_name_date_and_owner(t):
    answer = t.s3.list_buckets()
    mine = [bucket for bucket in answer["Buckets"] if bucket["Name"] == t.bucket]
    equal(len(mine), 1, "entries of the bucket")
    true(mine[0]["CreationDate"].tzinfo is not None, "CreationDate is no time")
    true(answer["Owner"]["ID"], "no owner")


@case
def list_is_sorted_by_name(t):
    names = [bucket["Name"] for bucket in t.s3.list_buckets()["Buckets"]]
    equal(names, sorted(names), "names")


@case
def list_has_s3s_namespace(t):
    answer = t.raw.request("GET", "/")
    true(f'<ListAllMyBucketsResult xmlns="{NAMESPACE}"'.encode() in answer.body, f"answer {answer}")
    equal(texts(parsed(answer), "Owner/ID")[0] != "", True, "owner")


@case
def list_by_prefix(t):
    name = t.fresh_bucket()
    equal([bucket["Name"] for bucket in t.s3.list_buckets(Prefix=name)["Buckets"]], [name], "names")


@case
def list_in_pages(t):
    names = sorted(t.shared("three", lambda: [t.fresh_bucket() for _ in range(3)]))
    prefix = t.bucket[:40].rstrip("-")
    wanted = [bucket["Name"] for bucket in t.s3.list_buckets(Prefix=prefix)["Buckets"]]
    true(set(names) <= set(wanted), f"{names} are not all in {wanted}")
    found, token = [], {}
    for _ in range(len(wanted) + 1):
        page = t.s3.list_buckets(Prefix=prefix, MaxBuckets=2, **token)
        true(len(page["Buckets"]) <= 2, f"{len(page['Buckets'])} buckets in a page of 2")
        found += [bucket["Name"] for bucket in page["Buckets"]]
        if not page.get("ContinuationToken"):
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    equal(found, wanted, "names over all pages")


@variants(zero="0", negative="-1", too_many="10001", no_number="many")
def list_refuses_max_buckets(t, value):
    refused(t.raw.request("GET", "/", [("max-buckets", value)]), 400, "InvalidArgument")


@case
def a_bucket_holds_only_its_own_objects(t):
    first, second = t.fresh_bucket(), t.fresh_bucket()
    for name in (first, second):
        t.s3.put_object(Bucket=name, Key="same", Body=name.encode())
    for name in (first, second):
        equal(t.s3.get_object(Bucket=name, Key="same")["Body"].read(), name.encode(), "body")
    t.s3.delete_object(Bucket=first, Key="same")
    equal(t.s3.get_object(Bucket=second, Key="same")["Body"].read(), second.encode(), "body in the other bucket")
