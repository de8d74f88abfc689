"""Tags of objects and buckets: sets, limits, headers."""

from cases import case, equal, raises, refused, true, variants
from conformance.support import headers, multipart, parsed, status, texts


def tags(**pairs):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in pairs.items()]}


def found(t, key, **options):
    tag_set = t.s3.get_object_tagging(Bucket=t.bucket, Key=key, **options)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in tag_set}


def document(*pairs) -> bytes:
    return ("<Tagging><TagSet>" + "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
            + "</TagSet></Tagging>").encode()


@case
def an_object_without_tags(t):
    t.put("none")
    equal(found(t, "none"), {}, "tags")
    root = parsed(t.raw.request("GET", t.path("none"), [("tagging", "")]))
    equal((root.tag, len(root.findall("TagSet"))), ("Tagging", 1), "document")


@case
def set_and_get(t):
    t.put("set")
    equal(status(t.s3.put_object_tagging(Bucket=t.bucket, Key="set", Tagging=tags(a="1", b="2"))), 200, "status")
    equal(found(t, "set"), {"a": "1", "b": "2"}, "tags")


@case
def setting_replaces_all(t):
    t.put("replaced", Tagging="a=1&b=2")
    t.s3.put_object_tagging(Bucket=t.bucket, Key="replaced", Tagging=tags(c="3"))
    equal(found(t, "replaced"), {"c": "3"}, "tags")


@case
def setting_none_removes_all(t):
    t.put("emptied", Tagging="a=1")
    t.s3.put_object_tagging(Bucket=t.bucket, Key="emptied", Tagging=tags())
    equal(found(t, "emptied"), {}, "tags")


@case
def deleting(t):
    t.put("deleted", Tagging="a=1")
    equal(status(t.s3.delete_object_tagging(Bucket=t.bucket, Key="deleted")), 204, "status")
    equal(found(t, "deleted"), {}, "tags")


@case
def deleting_twice(t):
    t.put("deleted-twice")
    for _ in range(2):
        equal(status(t.s3.delete_object_tagging(Bucket=t.bucket, Key="deleted-twice")), 204, "status")


@case
def they_change_neither_body_nor_etag_nor_metadata(t):
    etag = t.put("untouched", b"untouched", Metadata={"a": "1"})["ETag"]
    t.s3.put_object_tagging(Bucket=t.bucket, Key="untouched", Tagging=tags(a="1"))
    answer = t.s3.get_object(Bucket=t.bucket, Key="untouched")
    equal((answer["Body"].read(), answer["ETag"], answer["Metadata"]), (b"untouched", etag, {"a": "1"}), "object")


@variants(one=("a=1", {"a": "1"}), two=("a=1&b=2", {"a": "1", "b": "2"}), encoded=("a%20b=c%2Bd%3D", {"a b": "c+d="}), 
          empty_value=("a=", {"a": ""}), non_ascii=("k=%C3%A4", {"k": "ä"}))
def in_the_header_of_put(t, value, wanted):
    t.put("header", Tagging=value)
    equal(found(t, "header"), wanted, "tags")


@case
def in_the_header_of_an_upload(t):
    multipart(t, "upload", {1: b"x"}, Tagging="a=1&b=2")
    equal(found(t, "upload"), {"a": "1", "b": "2"}, "tags")


@variants(get="get_object", head="head_object")
def the_count_is_in_an_answer_to(t, operation):
    t.put("counted", Tagging="a=1&b=2&c=3")
    equal(headers(getattr(t.s3, operation)(Bucket=t.bucket, Key="counted")).get("x-amz-tagging-count"), "3", "x-amz-tagging-count")


@case
def no_count_without_tags(t):
    t.put("uncounted")
    equal(headers(t.s3.get_object(Bucket=t.bucket, Key="uncounted")).get("x-amz-tagging-count"), None, "x-amz-tagging-count")


@case
def overwriting_drops_them(t):
    t.put("overwritten", Tagging="a=1")
    t.put("overwritten")
    equal(found(t, "overwritten"), {}, "tags")


@case
def ten_fit(t):
    t.put("ten")
    pairs = {f"key{number}": f"value{number}" for number in range(10)}
    t.s3.put_object_tagging(Bucket=t.bucket, Key="ten", Tagging=tags(**pairs))
    equal(found(t, "ten"), pairs, "tags")


@case
def eleven_do_not(t):
    t.put("eleven")
    # AWS says BadRequest, its reference InvalidTag.
    with raises("BadRequest", "InvalidTag", status=400):
        t.s3.put_object_tagging(Bucket=t.bucket, Key="eleven", Tagging=tags(**{f"key{number}": "x" for number in range(11)}))
    equal(found(t, "eleven"), {}, "tags")


@case
def eleven_in_a_header_do_not(t):
    with raises("BadRequest", "InvalidTag", status=400):
        t.put("eleven-header", Tagging="&".join(f"key{number}=x" for number in range(11)))
    equal(t.keys("eleven-header"), [], "keys")


@case
def eleven_in_a_header_do_not_for_an_upload(t):
    with raises("BadRequest", "InvalidTag", status=400):
        t.s3.create_multipart_upload(Bucket=t.bucket, Key="eleven-upload", Tagging="&".join(f"key{number}=x" for number in range(11)))
    equal(t.s3.list_multipart_uploads(Bucket=t.bucket, Prefix="eleven-upload").get("Uploads", []), [], "uploads")


@case
def eleven_in_a_header_do_not_for_a_copy(t):
    t.put("eleven-source")
    with raises("BadRequest", "InvalidTag", status=400):
        t.s3.copy_object(Bucket=t.bucket, Key="eleven-copy", CopySource=f"{t.bucket}/eleven-source", TaggingDirective="REPLACE",
                         Tagging="&".join(f"key{number}=x" for number in range(11)))
    equal(t.keys("eleven-copy"), [], "keys")


@variants(a_key_of_129=f"{'k' * 129}=v", a_value_of_257=f"k={'v' * 257}", a_key_twice="a=1&a=2", a_key_of_the_systems="aws:mine=v")
def in_a_header_does_not_fit(t, value):
    with raises("InvalidTag", "InvalidArgument", status=400):
        t.put("header-unfit", Tagging=value)
    equal(t.keys("header-unfit"), [], "keys")


@case
def a_document_of_a_bucket_needs_a_checksum(t):
    # What AWS's documentation demands of PutBucketTagging, and not of PutObjectTagging.
    refused(t.raw.request("PUT", f"/{t.bucket}", [("tagging", "")], body=document(("a", "1"))), 400, "InvalidRequest", "MissingContentMD5")


@variants(key_of_128=("k" * 128, "v"), value_of_256=("k", "v" * 256), every_sign=("a+-=._:/@", "a b+-=._:/@"))
def fits(t, key, value):
    t.put("fits")
    t.s3.put_object_tagging(Bucket=t.bucket, Key="fits", Tagging={"TagSet": [{"Key": key, "Value": value}]})
    equal(found(t, "fits"), {key: value}, "tags")


@variants(key_of_129=("k" * 129, "v"), value_of_257=("k", "v" * 257), empty_key=("", "v"), aws_prefix=("aws:mine", "v"))
def does_not_fit(t, key, value):
    t.put("too-long")
    refused(t.raw.request("PUT", t.path("too-long"), [("tagging", "")], body=document((key, value))), 400, "InvalidTag")
    equal(found(t, "too-long"), {}, "tags")


@variants(nothing_on_either_side="=", no_key="=v", no_key_among_others="a=1&=2")
def in_the_header_without_a_key(t, value):
    refused(t.raw.request("PUT", t.path("no-key"), headers={"x-amz-tagging": value}, body=b"x"), 400, "InvalidArgument")
    with raises("404"):
        t.s3.head_object(Bucket=t.bucket, Key="no-key")


@case
def a_key_twice_is_refused(t):
    t.put("twice")
    refused(t.raw.request("PUT", t.path("twice"), [("tagging", "")], body=document(("a", "1"), ("a", "2"))), 400, "InvalidTag")
    equal(found(t, "twice"), {}, "tags")


@variants(no_xml=b"tags please", not_closed=b"<Tagging><TagSet>", another_document=b"<Delete/>", nothing=b"",
          no_tag_set=b"<Tagging></Tagging>", no_value=b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>")
def a_document_that_is_none(t, body):
    t.put("malformed")
    refused(t.raw.request("PUT", t.path("malformed"), [("tagging", "")], body=body), 400, "MalformedXML", "MissingRequestBodyError")
    equal(found(t, "malformed"), {}, "tags")


@variants(get="GET", delete="DELETE")
def of_a_key_that_is_not_there(t, method):
    refused(t.raw.request(method, t.path("absent"), [("tagging", "")]), 404, "NoSuchKey")


@case
def setting_on_a_key_that_is_not_there(t):
    refused(t.raw.request("PUT", t.path("absent"), [("tagging", "")], body=document(("a", "1"))), 404, "NoSuchKey")
    equal(t.keys("absent"), [], "keys")


@case
def a_body_of_tags_is_never_an_object(t):
    t.put("guarded", b"object")
    t.raw.request("PUT", t.path("guarded"), [("tagging", "")], body=document(("a", "1")))
    equal(t.get("guarded"), b"object", "body")


@case
def a_bucket_without_tags(t):
    refused(t.raw.request("GET", f"/{t.fresh_bucket()}", [("tagging", "")]), 404, "NoSuchTagSet")


@case
def a_buckets_tags(t):
    name = t.fresh_bucket()
    equal(status(t.s3.put_bucket_tagging(Bucket=name, Tagging=tags(a="1", b="2"))) in (200, 204), True, "status")
    root = parsed(t.raw.request("GET", f"/{name}", [("tagging", "")]))
    equal(sorted(zip(texts(root, "TagSet/Tag/Key"), texts(root, "TagSet/Tag/Value"))), [("a", "1"), ("b", "2")], "tags")
    equal(status(t.s3.delete_bucket_tagging(Bucket=name)), 204, "status of deletion")
    with raises("NoSuchTagSet", status=404):
        t.s3.get_bucket_tagging(Bucket=name)


@case
def a_buckets_tags_are_replaced(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_tagging(Bucket=name, Tagging=tags(a="1"))
    t.s3.put_bucket_tagging(Bucket=name, Tagging=tags(b="2"))
    equal(t.s3.get_bucket_tagging(Bucket=name)["TagSet"], [{"Key": "b", "Value": "2"}], "tags")


@case
def a_bucket_takes_more_than_ten(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_tagging(Bucket=name, Tagging=tags(**{f"key{number:02}": "x" for number in range(50)}))
    equal(len(t.s3.get_bucket_tagging(Bucket=name)["TagSet"]), 50, "tags")


@case
def anonymous_tagging_is_refused(t):
    t.put("anonymous")
    for method, body in (("GET", b""), ("PUT", document(("a", "1"))), ("DELETE", b"")):
        refused(t.raw.request(method, t.path("anonymous"), [("tagging", "")], body=body, alter=lambda headers: headers.pop("authorization")), 403, "AccessDenied")
    true(found(t, "anonymous") == {}, "tags were set")
