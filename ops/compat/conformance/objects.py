"""Objects as a whole: put, read, overwrite, delete, and what every answer carries."""

import email.utils
import time

import sigv4
from cases import case, data, equal, raises, refused, true, variants
from conformance.support import headers, multipart, status


@case
def put_answers_200_and_an_etag_without_a_body(t):
    answer = t.raw.request("PUT", t.path("put"), body=b"x")
    equal((answer.status, answer.body), (200, b""), "answer")
    true(answer.etag.startswith('"') and answer.etag.endswith('"'), f"ETag {answer.etag}")


@case
def get_carries_length_type_etag_and_date(t):
    etag = t.put("carried", b"0123456789", ContentType="text/plain")["ETag"]
    answer = t.raw.request("GET", t.path("carried"))
    equal((answer.status, answer.body, answer.etag), (200, b"0123456789", etag), "status, body and ETag")
    equal((answer.headers["Content-Length"], answer.headers["Content-Type"]), ("10", "text/plain"), "length and type")
    true(email.utils.parsedate_to_datetime(answer.headers["Last-Modified"]).tzinfo is not None, "Last-Modified is no HTTP date")


@case
def head_carries_what_get_does(t):
    t.put("same", b"0123456789", ContentType="text/plain", Metadata={"a": "1"}, CacheControl="no-cache")
    get, head = (t.raw.request(method, t.path("same")) for method in ("GET", "HEAD"))
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "x-amz-meta-a", "Cache-Control", "Accept-Ranges"):
        equal(head.headers[name], get.headers[name], name)
    equal(head.body, b"", "body of HEAD")


@case
def last_modified_is_now_and_the_same_everywhere(t):
    t.put("dated")
    head = t.s3.head_object(Bucket=t.bucket, Key="dated")["LastModified"]
    true(abs(head.timestamp() - time.time()) < 60, f"Last-Modified {head}")
    listed = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="dated")["Contents"][0]["LastModified"]
    equal(int(listed.timestamp()), int(head.timestamp()), "LIST's time")


@case
def last_modified_is_in_whole_seconds_of_gmt(t):
    t.put("gmt")
    value = t.raw.request("HEAD", t.path("gmt")).headers["Last-Modified"]
    true(value.endswith(" GMT"), f"Last-Modified {value}")


@variants(nothing=b"", a_byte=b"x", newlines=b"\r\n\r\n", zeroes=bytes(70_000), every_byte=bytes(range(256)), xml=b"<Error><Code>X</Code></Error>")
def a_body_comes_back_of(t, body):
    t.put("bodies", body)
    true(t.get("bodies") == body, "the body is another")


@case
def overwriting_changes_the_etag(t):
    first = t.put("etag", b"first")["ETag"]
    second = t.put("etag", b"second")["ETag"]
    true(first != second, "the ETag is the same")
    equal(t.s3.head_object(Bucket=t.bucket, Key="etag")["ETag"], second, "HEAD's ETag")


@case
def overwriting_with_nothing(t):
    t.put("emptied", b"something")
    t.put("emptied", b"")
    equal((t.get("emptied"), t.s3.head_object(Bucket=t.bucket, Key="emptied")["ContentLength"]), (b"", 0), "body and length")


@case
def overwriting_a_large_object_with_a_small_one(t):
    t.put("shrunk", data(1_000_000))
    t.put("shrunk", b"small")
    equal(t.get("shrunk"), b"small", "body")
    equal(t.s3.list_objects_v2(Bucket=t.bucket, Prefix="shrunk")["Contents"][0]["Size"], 5, "listed size")


@case
def a_deleted_object_is_gone(t):
    t.put("gone")
    t.s3.delete_object(Bucket=t.bucket, Key="gone")
    with raises("NoSuchKey", status=404):
        t.s3.get_object(Bucket=t.bucket, Key="gone")
    equal(t.keys("gone"), [], "keys")


@case
def deleting_what_is_not_there_succeeds(t):
    answer = t.raw.request("DELETE", t.path("never/was"))
    equal((answer.status, answer.body), (204, b""), "answer")


@case
def a_deleted_key_can_be_written_again(t):
    t.put("again", b"old", Metadata={"old": "1"})
    t.s3.delete_object(Bucket=t.bucket, Key="again")
    t.put("again", b"new")
    answer = t.s3.get_object(Bucket=t.bucket, Key="again")
    equal((answer["Body"].read(), answer["Metadata"]), (b"new", {}), "body and metadata")


@case
def get_of_nothing_is_an_xml_error(t):
    answer = t.raw.request("GET", t.path("absent/key"))
    refused(answer, 404, "NoSuchKey")
    true("xml" in answer.headers["Content-Type"], f"Content-Type {answer.headers['Content-Type']}")
    true(b"<Key>absent/key</Key>" in answer.body, f"the key is not named: {answer}")


@case
def head_of_nothing_has_no_body(t):
    answer = t.raw.request("HEAD", t.path("absent"))
    equal((answer.status, answer.body), (404, b""), "answer")


@case
def an_error_has_code_message_and_resource(t):
    answer = t.raw.request("GET", t.path("absent"))
    for element in (b"<Error>", b"<Code>", b"<Message>", b"<RequestId>", b"<HostId>"):
        true(element in answer.body, f"{element} is not in {answer.body}")
    true(answer.body.startswith(b"<?xml"), f"no XML declaration: {answer.body[:60]}")


@case
def every_answer_has_ids_of_its_own(t):
    t.put("ids")
    ids = [t.raw.request("HEAD", t.path("ids")).headers["x-amz-request-id"] for _ in range(3)]
    equal(len(set(ids)), 3, "different request ids")
    true(t.raw.request("HEAD", t.path("ids")).headers["x-amz-id-2"], "no x-amz-id-2")


@case
def every_answer_has_a_date(t):
    t.put("date")
    value = t.raw.request("GET", t.path("date")).headers["Date"]
    true(abs(email.utils.parsedate_to_datetime(value).timestamp() - time.time()) < 60, f"Date {value}")


@case
def a_get_with_a_body_is_a_get(t):
    t.put("with-body", b"stored")
    answer = t.raw.request("GET", t.path("with-body"), body=b"ignored")
    equal((answer.status, answer.body), (200, b"stored"), "answer")


@case
def storage_class_standard_is_not_shown(t):
    t.put("class", StorageClass="STANDARD")
    true("x-amz-storage-class" not in headers(t.s3.head_object(Bucket=t.bucket, Key="class")), "STANDARD is shown as a header")
    equal(t.s3.list_objects_v2(Bucket=t.bucket, Prefix="class")["Contents"][0]["StorageClass"], "STANDARD", "listed class")


@case
def a_storage_class_that_is_none(t):
    answer = t.raw.request("PUT", t.path("no-class"), headers={"x-amz-storage-class": "GOLDEN"}, body=b"x")
    refused(answer, 400, "InvalidStorageClass")
    equal(t.keys("no-class"), [], "keys")


@case
def a_form_encoded_content_type_is_only_a_type(t):
    # As a client sends it that posts forms by default: the body is not to be parsed.
    answer = t.raw.request("PUT", t.path("form"), headers={"content-type": "application/x-www-form-urlencoded"}, body=b"a=1&b=2")
    equal((answer.status, t.get("form")), (200, b"a=1&b=2"), "answer")


@case
def put_with_acl_private(t):
    equal(status(t.put("private", ACL="private")), 200, "status")


@case
def put_with_acl_that_is_none(t):
    refused(t.raw.request("PUT", t.path("acl"), headers={"x-amz-acl": "friends"}, body=b"x"), 400, "InvalidArgument")


@variants(put=("PUT", b"x"), get=("GET", b""), delete=("DELETE", b""), head=("HEAD", b""))
def an_owner_that_is_another_is_refused_on(t, method, body):
    t.put("owned")
    answer = t.raw.request(method, t.path("owned"), headers={"x-amz-expected-bucket-owner": "111122223333"}, body=body)
    equal(answer.status, 403, "status")
    equal(t.get("owned"), b"body", "body")


@case
def a_method_that_s3_does_not_know_is_405(t):
    refused(t.raw.request("PATCH", t.path("method")), 405, "MethodNotAllowed")


@case
def a_website_redirect_is_kept(t):
    t.put("redirect", WebsiteRedirectLocation="/elsewhere")
    equal(t.s3.head_object(Bucket=t.bucket, Key="redirect")["WebsiteRedirectLocation"], "/elsewhere", "redirect")
    equal(t.raw.request("GET", t.path("redirect")).headers["x-amz-website-redirect-location"], "/elsewhere", "GET's redirect")


@case
def a_copy_has_a_website_redirect_of_its_own(t):
    # AWS, CopyObject: "This value is unique to each object and is not copied when using the x-amz-metadata-directive."
    t.put("redirected", b"body", WebsiteRedirectLocation="/elsewhere", Metadata={"a": "1"})
    source = {"Bucket": t.bucket, "Key": "redirected"}
    for key, options, wanted in (("no-redirect", {}, None), ("own-redirect", {"WebsiteRedirectLocation": "/own"}, "/own"),
                                 ("new-redirect", {"WebsiteRedirectLocation": "/new", "MetadataDirective": "REPLACE", "Metadata": {"a": "1"}}, "/new")):
        t.s3.copy_object(Bucket=t.bucket, Key=key, CopySource=source, **options)
        head = t.s3.head_object(Bucket=t.bucket, Key=key)
        equal((head.get("WebsiteRedirectLocation"), head["Metadata"]), (wanted, {"a": "1"}), f"redirect and metadata of {key}")


@case
def a_website_redirect_of_an_upload_is_kept(t):
    multipart(t, "redirected-parts", {1: b"x"}, WebsiteRedirectLocation="https://elsewhere.example/")
    equal(t.s3.head_object(Bucket=t.bucket, Key="redirected-parts").get("WebsiteRedirectLocation"), "https://elsewhere.example/", "redirect")


@case
def a_header_section_of_more_than_8_KiB_is_refused(t):
    answer = t.raw.request("PUT", t.path("wide"), headers={"x-amz-custom-header": "d" * 8192}, body=b"x")
    refused(answer, 400, "RequestHeaderSectionTooLarge")
    equal(t.keys("wide"), [], "keys")


def chunked(t, body, length):
    return t.raw.request("PUT", t.path("chunked"), headers={
        "content-encoding": "aws-chunked", "x-amz-decoded-content-length": length, "x-amz-trailer": "x-amz-checksum-crc64nvme",
    }, body=body, payload_hash=sigv4.STREAM_UNSIGNED_TRAILER)


CHUNKED = b"A\r\ndummy data\r\n0\r\nx-amz-checksum-crc64nvme:dPVWc2vU1+Q=\r\n\r\n"


@variants(letters="abc", a_letter_behind="10x", a_sign="-10")
def a_decoded_length_that_is_none_with(t, length):
    refused(chunked(t, CHUNKED, length), 411, "MissingContentLength")
    equal(t.keys("chunked"), [], "keys")


@variants(
    a_bare_line_feed=CHUNKED.replace(b"A\r\n", b"A\n"), a_size_that_is_none=CHUNKED.replace(b"A\r", b"size\r"),
    a_size_too_large=CHUNKED.replace(b"A\r", b"B\r"), no_end=CHUNKED[:-2], no_line_end=CHUNKED.replace(b"data\r\n", b"data"),
)
def a_chunked_body_with(t, body):
    refused(chunked(t, body, "10"), 400, "IncompleteBody")
    equal(t.keys("chunked"), [], "keys")


@case
def many_writers_of_one_key_leave_one_of_their_bodies(t):
    import concurrent.futures
    bodies = [data(50_000, number) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda body: t.raw.request("PUT", t.path("rivals"), body=body).status, bodies))
    equal(statuses, [200] * 8, "statuses")
    true(t.get("rivals") in bodies, "the body is none of those that were written")
    equal(t.keys("rivals"), ["rivals"], "keys")
