"""Range requests: each form, on objects of one chunk, of many, of none and of parts."""

import datetime
import email.utils

from cases import case, data, equal, refused, true, variants
from conformance.support import FIVE, multipart

LENGTH = 200_000
BODY = data(LENGTH, "ranges")
PARTS = {1: data(FIVE, "part 1"), 2: data(70_001, "part 2")}


def single(t):
    t.shared("single", lambda: t.put("single", BODY))
    return t.path("single")


def parted(t):
    t.shared("parted", lambda: multipart(t, "parted", PARTS))
    return t.path("parted")


def exactly(t, path, whole, header, first, last):
    answer = t.raw.request("GET", path, headers={"range": header})
    equal(answer.status, 206, "status")
    equal(answer.headers["Content-Range"], f"bytes {first}-{last}/{len(whole)}", "Content-Range")
    equal(answer.headers["Content-Length"], str(last - first + 1), "Content-Length")
    true(answer.body == whole[first:last + 1], "other bytes")


@variants(
    first_byte=("bytes=0-0", 0, 0), last_byte=("bytes=199999-199999", 199_999, 199_999), first_ten=("bytes=0-9", 0, 9),
    middle=("bytes=1000-1999", 1000, 1999), over_64_kib=("bytes=65535-65536", 65_535, 65_536),
    exactly_64_kib=("bytes=65536-131071", 65_536, 131_071), all_but_the_ends=("bytes=1-199998", 1, 199_998),
    whole=("bytes=0-199999", 0, 199_999), open=("bytes=100000-", 100_000, 199_999), open_from_zero=("bytes=0-", 0, 199_999),
    open_at_the_last=("bytes=199999-", 199_999, 199_999), suffix_of_one=("bytes=-1", 199_999, 199_999),
    suffix=("bytes=-70000", 130_000, 199_999), suffix_of_all=("bytes=-200000", 0, 199_999),
    suffix_beyond_the_start=("bytes=-999999", 0, 199_999), end_beyond_the_end=("bytes=199990-999999", 199_990, 199_999),
    end_at_the_length=("bytes=0-200000", 0, 199_999), end_far_beyond=("bytes=5-9223372036854775807", 5, 199_999),
)
def a_range(t, header, first, last):
    exactly(t, single(t), BODY, header, first, last)


@variants(start_at_the_length="bytes=200000-", start_beyond="bytes=999999-", both_beyond="bytes=200000-200010", suffix_of_zero="bytes=-0")
def not_satisfiable(t, header):
    answer = t.raw.request("GET", single(t), headers={"range": header})
    refused(answer, 416, "InvalidRange")
    equal(answer.headers["Content-Range"], f"bytes */{LENGTH}", "Content-Range")


@case
def a_416_says_what_was_asked_and_what_is_there(t):
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=200000-"})
    for element in (b"<RangeRequested>bytes=200000-</RangeRequested>", b"<ActualObjectSize>200000</ActualObjectSize>"):
        true(element in answer.body, f"{element} is not in {answer}")


@variants(no_numbers="bytes=", letters="bytes=a-b", another_unit="lines=0-1", end_before_start="bytes=5-2", no_unit="0-4", only_a_dash="bytes=-", a_space_first="bytes= -1",
          a_space_within="bytes=0 -1", two_dashes="bytes=0--1", only_a_comma="bytes=,")
def ignored(t, header):
    answer = t.raw.request("GET", single(t), headers={"range": header})
    equal((answer.status, len(answer.body)), (200, LENGTH), "status and length")


@case
def several_ranges_give_the_whole(t):
    # AWS, GetObject: "Amazon S3 doesn't support retrieving multiple ranges of data per GET request."
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=0-1,5-6"})
    equal((answer.status, len(answer.body)), (200, LENGTH), "status and length")


@variants(open="bytes=0-", first="bytes=0-0", suffix_of_none="bytes=-0")
def of_nothing(t, header):
    t.put("empty", b"")
    refused(t.raw.request("GET", t.path("empty"), headers={"range": header}), 416, "InvalidRange")


@variants(get="GET", head="HEAD")
def a_suffix_of_nothing_is_all_of_it(t, method):
    # RFC 9110, section 14.1.3: a suffix that is longer than what there is names the whole of it.
    for key in ("empty", "marker/"):
        t.put(key, b"")
        answer = t.raw.request(method, t.path(key), headers={"range": "bytes=-1"})
        equal((answer.status, answer.headers["Content-Length"], answer.headers.get("Content-Range")), (200, "0", None), key)


@variants(range=("bytes=10-19", 206, "10", "bytes 10-19/200000"), suffix=("bytes=-5", 206, "5", "bytes 199995-199999/200000"),
          open=("bytes=199000-", 206, "1000", "bytes 199000-199999/200000"))
def head_with(t, header, status, length, content_range):
    answer = t.raw.request("HEAD", single(t), headers={"range": header})
    equal((answer.status, answer.headers["Content-Length"], answer.headers["Content-Range"]), (status, length, content_range), "answer")


@case
def head_with_a_range_not_satisfiable(t):
    answer = t.raw.request("HEAD", single(t), headers={"range": "bytes=200000-"})
    equal((answer.status, answer.body), (416, b""), "answer")


@variants(
    over_the_parts_edge=(FIVE - 1, FIVE), last_part=(FIVE, FIVE + 70_000), last_of_the_first=(FIVE - 1, FIVE - 1),
    first_of_the_last=(FIVE, FIVE), around_the_edge=(FIVE - 70_000, FIVE + 65_536), all=(0, FIVE + 70_000),
)
def of_parts(t, first, last):
    exactly(t, parted(t), PARTS[1] + PARTS[2], f"bytes={first}-{last}", first, last)


@case
def of_parts_as_suffix(t):
    whole = PARTS[1] + PARTS[2]
    exactly(t, parted(t), whole, "bytes=-80000", len(whole) - 80_000, len(whole) - 1)


@case
def part_number_of_parts(t):
    whole = len(PARTS[1]) + len(PARTS[2])
    answer = t.raw.request("GET", parted(t), [("partNumber", "2")])
    equal((answer.status, answer.headers["Content-Range"]), (206, f"bytes {FIVE}-{whole - 1}/{whole}"), "status and range")
    equal(answer.headers["x-amz-mp-parts-count"], "2", "parts")
    true(answer.body == PARTS[2], "other bytes")


@case
def head_of_a_part_number(t):
    answer = t.raw.request("HEAD", parted(t), [("partNumber", "1")])
    equal((answer.status, answer.headers["Content-Length"], answer.headers["x-amz-mp-parts-count"]), (206, str(FIVE), "2"), "answer")


@case
def part_number_beyond_the_last(t):
    refused(t.raw.request("GET", parted(t), [("partNumber", "3")]), 416, "InvalidPartNumber")


@case
def part_number_one_of_a_single_put(t):
    answer = t.raw.request("GET", single(t), [("partNumber", "1")])
    equal((answer.status, len(answer.body)), (206, LENGTH), "status and length")
    equal(answer.headers["x-amz-mp-parts-count"], None, "parts of what was not uploaded in parts")


@case
def part_number_two_of_a_single_put(t):
    refused(t.raw.request("GET", single(t), [("partNumber", "2")]), 416, "InvalidPartNumber")


@variants(zero="0", too_large="10001", negative="-1", no_number="x")
def part_number_that_is(t, value):
    refused(t.raw.request("GET", single(t), [("partNumber", value)]), 400, "InvalidArgument")


@case
def part_number_and_range_together(t):
    refused(t.raw.request("GET", parted(t), [("partNumber", "1")], {"range": "bytes=0-1"}), 400, "InvalidRequest")


@variants(the_etag=("ETAG", 206), another=('"0123456789abcdef0123456789abcdef"', 200))
def if_range(t, value, wanted):
    etag = t.raw.request("HEAD", single(t)).etag
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=0-9", "if-range": etag if value == "ETAG" else value})
    equal((answer.status, len(answer.body)), (wanted, {206: 10, 200: LENGTH}[wanted]), "status and length")


@variants(not_modified_since=(0, 206), modified_since=(-86_400, 200))
def if_range_a_date(t, seconds, wanted):
    head = t.s3.head_object(Bucket=t.bucket, Key=single(t).rpartition("/")[2])
    date = email.utils.format_datetime((head["LastModified"] + datetime.timedelta(seconds=seconds)).astimezone(datetime.timezone.utc), usegmt=True)
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=0-9", "if-range": date})
    equal((answer.status, len(answer.body)), (wanted, {206: 10, 200: LENGTH}[wanted]), "status and length")


@variants(not_changed=("if-none-match", 304), changed=("if-match", 412))
def a_condition_before_a_range_beyond_the_end(t, name, wanted):
    # RFC 9110: conditions come first, and a range counts only in what they let through.
    etag = t.raw.request("HEAD", single(t)).etag
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=99999999-", name: etag if wanted == 304 else '"0123456789abcdef0123456789abcdef-0"'})
    equal(answer.status, wanted, "status")


@case
def if_range_of_a_range_beyond_the_end(t):
    # RFC 9110: a validator that does not match makes the range none, so that nothing is unsatisfiable.
    answer = t.raw.request("GET", single(t), headers={"range": "bytes=200000-", "if-range": '"0123456789abcdef0123456789abcdef"'})
    equal((answer.status, len(answer.body)), (200, LENGTH), "status and length")


@case
def etag_and_metadata_on_a_range(t):
    etag = t.put("described", BODY, Metadata={"a": "1"}, ContentType="text/plain")["ETag"]
    answer = t.raw.request("GET", t.path("described"), headers={"range": "bytes=0-0"})
    equal((answer.etag, answer.headers["x-amz-meta-a"], answer.headers["Content-Type"]), (etag, "1", "text/plain"), "headers")


@case
def pieces_make_up_the_whole(t):
    path, found = single(t), b""
    for first in range(0, LENGTH, 33_333):
        found += t.raw.request("GET", path, headers={"range": f"bytes={first}-{first + 33_332}"}).body
    true(found == BODY, "the pieces are not the whole")
