"""Headers that stand in a presigned URL's query, where SDKs move them: they count as if they had been sent."""

from cases import case, equal, refused, true, variants

BODY = b"presigned"


def put(t, key, query, headers=None, body=BODY, **options):
    return t.raw.presigned("PUT", t.path(key), query, headers, body, **options)


@variants(lower_case=str, as_go_writes_them=str.title)
def metadata(t, spelled):
    key = f"metadata/{spelled.__name__}"
    equal(put(t, key, [(spelled("x-amz-meta-one"), "1 and = & +"), (spelled("x-amz-meta-two"), "2")]).status, 200, "status")
    equal(t.s3.head_object(Bucket=t.bucket, Key=key)["Metadata"], {"one": "1 and = & +", "two": "2"}, "metadata")
    equal(t.get(key), BODY, "body")


@case
def all_that_js_moves(t):
    # What `getSignedUrl(new PutObjectCommand(…))` of JS v3 makes of Metadata, ACL, Tagging and StorageClass.
    query = [("x-amz-acl", "private"), ("x-amz-meta-a", "1"), ("x-amz-storage-class", "STANDARD"), ("x-amz-tagging", "a=1&b=2"), ("x-id", "PutObject"),
             ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")]
    equal(put(t, "js", query).status, 200, "status")
    equal(t.s3.head_object(Bucket=t.bucket, Key="js")["Metadata"], {"a": "1"}, "metadata")
    tags = t.s3.get_object_tagging(Bucket=t.bucket, Key="js")["TagSet"]
    equal(sorted((tag["Key"], tag["Value"]) for tag in tags), [("a", "1"), ("b", "2")], "tags")


@case
def tags_that_are_none(t):
    refused(put(t, "no-tags", [("x-amz-tagging", "&".join(f"{number}=x" for number in range(11)))]), 400, "BadRequest", "InvalidTag", "InvalidArgument")
    equal(t.keys("no-tags"), [], "keys")


@case
def an_owner_that_is_another(t):
    refused(put(t, "no-owner", [("x-amz-expected-bucket-owner", "123456789012")]), 403, "AccessDenied")
    equal(t.keys("no-owner"), [], "keys")


@case
def the_checksum_of_the_body_that_was_not_there(t):
    # JS v3, from 3.729 on: it presigns without a body, and makes a CRC32 of that.
    answer = put(t, "js-checksum", [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "CRC32")])
    equal(answer.status, 200, f"answer {answer}")
    equal(t.get("js-checksum"), BODY, "body")


@case
def checksum_mode(t):
    t.s3.put_object(Bucket=t.bucket, Key="summed", Body=BODY, ChecksumAlgorithm="SHA256")
    answer = t.raw.presigned("GET", t.path("summed"), [("x-amz-checksum-mode", "ENABLED")])
    true(answer.status == 200 and answer.headers["x-amz-checksum-sha256"], f"no checksum: {answer}")


@case
def a_copy(t):
    t.put("source", b"source", Metadata={"of": "the source"})
    answer = put(t, "copied", [("x-amz-copy-source", f"/{t.bucket}/source"), ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-of", "the copy")], body=b"")
    equal(answer.status, 200, f"answer {answer}")
    equal((t.get("copied"), t.s3.head_object(Bucket=t.bucket, Key="copied")["Metadata"]), (b"source", {"of": "the copy"}), "the copy")


@case
def an_upload(t):
    answer = t.raw.presigned("POST", t.path("upload"), [("uploads", ""), ("x-amz-meta-of", "the upload")])
    equal(answer.status, 200, f"answer {answer}")
    upload = answer.body.split(b"<UploadId>")[1].split(b"<")[0].decode()
    place = {"Bucket": t.bucket, "Key": "upload", "UploadId": upload}
    etag = t.s3.upload_part(**place, PartNumber=1, Body=BODY)["ETag"]
    t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    equal(t.s3.head_object(Bucket=t.bucket, Key="upload")["Metadata"], {"of": "the upload"}, "metadata")


@variants(metadata=("x-amz-meta-a", "1"), acl=("x-amz-acl", "public-read"), copy=("x-amz-copy-source", "/elsewhere/key"))
def what_is_added_to_a_url_is_not_signed(t, name, value):
    refused(put(t, "added", [], alter_query=lambda query: [*query, (name, value)]), 403, "SignatureDoesNotMatch")
    equal(t.keys("added"), [], "keys")


@variants(another=("2", 400), the_same=("1", 200))
def the_header_as_well(t, sent, status):
    key = f"both/{sent}"
    answer = put(t, key, [("x-amz-meta-a", "1")], {"x-amz-meta-a": sent})
    equal(answer.status, status, f"status of {answer}")
    equal(t.keys(key), [key] if status == 200 else [], "keys")


@case
def a_line_that_would_be_another_header(t):
    answer = put(t, "lines", [("x-amz-meta-a", "1\r\nx-amz-acl: public-read")])
    refused(answer, 400, "InvalidArgument", "InvalidRequest")
    equal(t.keys("lines"), [], "keys")


# S3 is not known to hold a checksum in the query against the body. Whoever signs one means it.
@case(gateway_only=True)
def a_checksum_that_is_wrong(t):
    refused(put(t, "wrong", [("x-amz-checksum-crc32", "y/Q5Jg==")]), 400, "BadDigest")
    equal(t.keys("wrong"), [], "keys")


@case(gateway_only=True)
def what_is_not_known(t):
    refused(put(t, "unknown", [("x-amz-brand-new", "1")]), 501, "NotImplemented")
    refused(t.raw.request("PUT", t.path("unknown"), [("x-amz-meta-a", "1")], body=BODY), 501, "NotImplemented")
    equal(t.keys("unknown"), [], "keys")
