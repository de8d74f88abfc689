"""Conditions on reads, writes, deletions and completions, each alone and in each pair that RFC 9110 orders."""

import email.utils

from cases import case, equal, raises, refused, true, variants
from conformance.support import OTHER_ETAG, soon

PAST_TEXT = "Wed, 01 Jan 2020 00:00:00 GMT"


def held(t):
    """An object that no case changes, and its ETag."""
    return t.shared("held", lambda: t.put("held", b"held")["ETag"])


def read(t, method, conditions):
    etag = held(t)
    values = {"ETAG": etag, "BARE": etag.strip('"'), "OTHER": OTHER_ETAG, "PAST": PAST_TEXT,
              "ITS": t.shared("date", lambda: t.raw.request("HEAD", t.path("held")).headers["Last-Modified"])}
    return t.raw.request(method, t.path("held"), headers={name: values.get(value, value) for name, value in conditions.items()})


READS = {
    "if_match_the_etag": ({"if-match": "ETAG"}, 200),
    "if_match_the_etag_without_quotes": ({"if-match": "BARE"}, 200),
    "if_match_another": ({"if-match": "OTHER"}, 412),
    "if_match_any": ({"if-match": "*"}, 200),
    "if_none_match_the_etag": ({"if-none-match": "ETAG"}, 304),
    "if_none_match_the_etag_without_quotes": ({"if-none-match": "BARE"}, 304),
    "if_none_match_another": ({"if-none-match": "OTHER"}, 200),
    "if_none_match_any": ({"if-none-match": "*"}, 304),
    "if_modified_since_the_past": ({"if-modified-since": "PAST"}, 200),
    "if_modified_since_its_own": ({"if-modified-since": "ITS"}, 304),
    "if_unmodified_since_the_past": ({"if-unmodified-since": "PAST"}, 412),
    "if_unmodified_since_its_own": ({"if-unmodified-since": "ITS"}, 200),
    "if_modified_since_no_date": ({"if-modified-since": "yesterday"}, 200),
    "if_unmodified_since_no_date": ({"if-unmodified-since": "yesterday"}, 200),
    # RFC 9110, 13.2.2: the ETag decides before the date.
    "if_match_before_if_unmodified_since": ({"if-match": "ETAG", "if-unmodified-since": "PAST"}, 200),
    "if_match_failing_before_if_unmodified_since": ({"if-match": "OTHER", "if-unmodified-since": "ITS"}, 412),
    "if_none_match_before_if_modified_since": ({"if-none-match": "ETAG", "if-modified-since": "PAST"}, 304),
    "if_none_match_holding_before_if_modified_since": ({"if-none-match": "OTHER", "if-modified-since": "ITS"}, 200),
    "if_match_and_if_none_match": ({"if-match": "ETAG", "if-none-match": "ETAG"}, 304),
    "if_match_failing_and_if_none_match": ({"if-match": "OTHER", "if-none-match": "ETAG"}, 412),
}


def register(method, name, conditions, wanted):
    def run(t):
        answer = read(t, method, conditions)
        equal(answer.status, wanted, f"status with {conditions}")
        if method == "GET":
            equal(answer.body if wanted != 412 else answer.code, {200: b"held", 304: b"", 412: "PreconditionFailed"}[wanted], "body")

    run.__name__, run.__module__ = f"{method.lower()}_{name}", __name__
    case(run)


for _name, (_conditions, _wanted) in READS.items():
    for _method in ("GET", "HEAD"):
        register(_method, _name, _conditions, _wanted)


@case
def a_412_names_the_condition(t):
    answer = read(t, "GET", {"if-match": "OTHER"})
    true(b"<Condition>If-Match</Condition>" in answer.body, f"answer {answer}")


@case
def a_304_carries_etag_and_no_length_of_a_body(t):
    answer = read(t, "GET", {"if-none-match": "ETAG"})
    equal((answer.status, answer.body, answer.etag), (304, b"", held(t)), "answer")


@case
def a_condition_on_nothing_is_404(t):
    refused(t.raw.request("GET", t.path("nothing"), headers={"if-match": OTHER_ETAG}), 404, "NoSuchKey")
    refused(t.raw.request("GET", t.path("nothing"), headers={"if-none-match": "*"}), 404, "NoSuchKey")


@case
def a_range_and_a_condition_together(t):
    answer = t.raw.request("GET", t.path("held"), headers={"if-match": held(t), "range": "bytes=1-2"})
    equal((answer.status, answer.body), (206, b"el"), "answer")
    refused(t.raw.request("GET", t.path("held"), headers={"if-match": OTHER_ETAG, "range": "bytes=1-2"}), 412, "PreconditionFailed")
    # The condition is decided before the range.
    refused(t.raw.request("GET", t.path("held"), headers={"if-match": OTHER_ETAG, "range": "bytes=100-"}), 412, "PreconditionFailed")


@case
def put_if_none_match_any_on_nothing(t):
    t.put("create/new", b"first", IfNoneMatch="*")
    equal(t.get("create/new"), b"first", "body")


@case
def put_if_none_match_any_on_something(t):
    t.put("create/old", b"first")
    with raises("PreconditionFailed", status=412):
        t.put("create/old", b"second", IfNoneMatch="*")
    equal(t.get("create/old"), b"first", "body")


@case
def put_if_none_match_any_after_a_deletion(t):
    t.put("create/deleted", b"first")
    t.s3.delete_object(Bucket=t.bucket, Key="create/deleted")
    t.put("create/deleted", b"second", IfNoneMatch="*")
    equal(t.get("create/deleted"), b"second", "body")


@case
def put_if_none_match_an_etag_is_not_implemented(t):
    # AWS, "Conditional writes": If-None-Match on writes takes only `*`.
    t.put("create/etag", b"first")
    answer = t.raw.request("PUT", t.path("create/etag"), headers={"if-none-match": OTHER_ETAG}, body=b"second")
    refused(answer, 501, "NotImplemented")
    equal(t.get("create/etag"), b"first", "body")


@case
def put_if_match_the_etag(t):
    etag = t.put("swap/right", b"first")["ETag"]
    t.put("swap/right", b"second", IfMatch=etag)
    equal(t.get("swap/right"), b"second", "body")


@case
def put_if_match_another(t):
    t.put("swap/wrong", b"first")
    with raises("PreconditionFailed", status=412):
        t.put("swap/wrong", b"second", IfMatch=OTHER_ETAG)
    equal(t.get("swap/wrong"), b"first", "body")


@case
def put_if_match_an_etag_that_was_overwritten(t):
    etag = t.put("swap/stale", b"first")["ETag"]
    t.put("swap/stale", b"second")
    with raises("PreconditionFailed", status=412):
        t.put("swap/stale", b"third", IfMatch=etag)
    equal(t.get("swap/stale"), b"second", "body")


@case
def put_if_match_on_nothing(t):
    with raises("NoSuchKey", status=404):
        t.put("swap/nothing", b"x", IfMatch=OTHER_ETAG)
    equal(t.keys("swap/nothing"), [], "keys")


@variants(empty="", quotes='""')
def put_if_match_no_etag(t, none):
    t.put("none/put", b"first")
    refused(t.raw.request("PUT", t.path("none/put"), headers={"if-match": none}, body=b"second"), 412, "PreconditionFailed")
    equal(t.get("none/put"), b"first", "body")


@variants(empty="", quotes='""')
def put_if_match_no_etag_on_nothing(t, none):
    refused(t.raw.request("PUT", t.path("none/nothing"), headers={"if-match": none}, body=b"second"), 404, "NoSuchKey")
    equal(t.keys("none/nothing"), [], "keys")


@variants(empty="", quotes='""')
def delete_if_match_no_etag(t, none):
    t.put("none/delete")
    refused(t.raw.request("DELETE", t.path("none/delete"), headers={"if-match": none}), 412, "PreconditionFailed")
    equal(t.get("none/delete"), b"body", "body")


@variants(empty="", quotes='""')
def copy_if_match_no_etag(t, none):
    t.put("none/copied", b"first")
    copy = {"x-amz-copy-source": t.path("held").lstrip("/"), "if-match": none}
    held(t)
    refused(t.raw.request("PUT", t.path("none/copied"), headers=copy), 412, "PreconditionFailed")
    equal(t.get("none/copied"), b"first", "body")


@variants(empty="", quotes='""')
def read_if_match_no_etag(t, none):
    held(t)
    for method in ("GET", "HEAD"):
        equal(t.raw.request(method, t.path("held"), headers={"if-match": none}).status, 412, f"status of {method}")


@case
def one_of_many_creators_wins(t):
    import concurrent.futures

    def create(number):
        return t.raw.request("PUT", t.path("create/race"), headers={"if-none-match": "*"}, body=b"%d" % number).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(8)))
    equal(statuses.count(200), 1, f"winners of {statuses}")
    # 409 is S3's answer to writers that were under way at the same time.
    true(all(status in (200, 409, 412) for status in statuses), f"statuses {statuses}")
    equal(t.get("create/race"), b"%d" % statuses.index(200), "body")


@case
def one_of_many_completers_wins(t):
    import concurrent.futures

    place = {"Bucket": t.bucket, "Key": "complete/race"}

    def made(number):
        upload = {**place, "UploadId": t.s3.create_multipart_upload(**place)["UploadId"]}
        etag = t.s3.upload_part(**upload, PartNumber=1, Body=b"%d" % number)["ETag"]
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        return upload["UploadId"], f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()

    def complete(upload):
        answer = t.raw.request("POST", t.path("complete/race"), [("uploadId", upload[0])], {"if-none-match": "*"}, upload[1])
        # An error may stand in a 200.
        return answer.code or answer.status

    # Several rounds: what looks first and acts then lets two in only when they come close together.
    for attempt in range(8):
        uploads = [made(number) for number in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(complete, uploads))
        equal(found.count(200), 1, f"winners of {found} in round {attempt}")
        true(all(each in (200, "PreconditionFailed", "ConditionalRequestConflict") for each in found), f"answers {found}")
        equal(t.get("complete/race"), b"%d" % found.index(200), "body")
        t.s3.delete_object(**place)


@case
def delete_if_match_the_etag(t):
    etag = t.put("delete/right")["ETag"]
    equal(t.raw.request("DELETE", t.path("delete/right"), headers={"if-match": etag}).status, 204, "status")
    equal(t.keys("delete/right"), [], "keys")


@case
def delete_if_match_another(t):
    t.put("delete/wrong")
    refused(t.raw.request("DELETE", t.path("delete/wrong"), headers={"if-match": OTHER_ETAG}), 412, "PreconditionFailed")
    equal(t.get("delete/wrong"), b"body", "body")


@case
def delete_if_match_any(t):
    t.put("delete/any")
    equal(t.raw.request("DELETE", t.path("delete/any"), headers={"if-match": "*"}).status, 204, "status")
    equal(t.keys("delete/any"), [], "keys")


@case
def delete_if_match_on_nothing(t):
    refused(t.raw.request("DELETE", t.path("delete/nothing"), headers={"if-match": OTHER_ETAG}), 404, "NoSuchKey")


@variants(get="GET", head="HEAD")
def if_modified_since_in_the_future_is_ignored(t, method):
    held(t)
    text = email.utils.format_datetime(soon(hours=5), usegmt=True)
    answer = t.raw.request(method, t.path("held"), headers={"if-modified-since": text})
    equal(answer.status, 200, "status")


@variants(get="GET", head="HEAD")
def if_unmodified_since_the_future_holds(t, method):
    held(t)
    text = email.utils.format_datetime(soon(hours=5), usegmt=True)
    equal(t.raw.request(method, t.path("held"), headers={"if-unmodified-since": text}).status, 200, "status")


@case
def complete_if_none_match_any_on_something(t):
    t.put("complete/old", b"old")
    place = {"Bucket": t.bucket, "Key": "complete/old"}
    upload = {**place, "UploadId": t.s3.create_multipart_upload(**place)["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": t.s3.upload_part(**upload, PartNumber=1, Body=b"new")["ETag"]}]
    with raises("PreconditionFailed", status=412):
        t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    equal(t.get("complete/old"), b"old", "body")


@variants(empty="", quotes='""')
def complete_if_match_no_etag(t, none):
    t.put("none/complete", b"old")
    place = {"Bucket": t.bucket, "Key": "none/complete"}
    upload = {**place, "UploadId": t.s3.create_multipart_upload(**place)["UploadId"]}
    etag = t.s3.upload_part(**upload, PartNumber=1, Body=b"new")["ETag"]
    body = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>".encode()
    answer = t.raw.request("POST", t.path("none/complete"), [("uploadId", upload["UploadId"])], {"if-match": none}, body)
    refused(answer, 412, "PreconditionFailed")
    equal(t.get("none/complete"), b"old", "body")


@case
def complete_if_match_the_etag(t):
    etag = t.put("complete/swap", b"old")["ETag"]
    place = {"Bucket": t.bucket, "Key": "complete/swap"}
    upload = {**place, "UploadId": t.s3.create_multipart_upload(**place)["UploadId"]}
    parts = [{"PartNumber": 1, "ETag": t.s3.upload_part(**upload, PartNumber=1, Body=b"new")["ETag"]}]
    with raises("PreconditionFailed", status=412):
        t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfMatch=OTHER_ETAG)
    t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfMatch=etag)
    equal(t.get("complete/swap"), b"new", "body")
