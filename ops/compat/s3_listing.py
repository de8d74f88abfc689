"""Listings, V1 and V2: nothing skipped, nothing repeated, sizes and order as S3's."""

import concurrent.futures
import re
import urllib.parse

from cases import case, equal, raises, refused, true

KEYS = sorted(
    [f"list/{number:03}" for number in range(25)] + [f"list/sub/{number}" for number in range(5)]
    + ["list/sub/deep/er", "list/v-w", "list/z", "list/Ä", "list/a b+c"],
    key=lambda key: key.encode(),
)


def fill(t):
    if not getattr(t, "filled", False):
        for key in KEYS:
            t.s3.put_object(Bucket=t.bucket, Key=key, Body=key.encode())
        t.filled = True


def under(delimiter="/", prefix="list/"):
    """What S3 answers for a delimiter: (keys, common prefixes)."""
    keys, prefixes = [], []
    for key in KEYS:
        if key.startswith(prefix):
            rest = key[len(prefix):]
            if delimiter in rest:
                common = prefix + rest.split(delimiter)[0] + delimiter
                if common not in prefixes:
                    prefixes.append(common)
            else:
                keys.append(key)
    return keys, prefixes


def entries(page):
    return ([entry["Key"] for entry in page.get("Contents", [])], [entry["Prefix"] for entry in page.get("CommonPrefixes", [])])


@case
def everything_in_order(t):
    fill(t)
    for listing in (t.s3.list_objects, t.s3.list_objects_v2):
        page = listing(Bucket=t.bucket, Prefix="list/")
        equal(entries(page), (KEYS, []), "keys")
        equal(page["IsTruncated"], False, "IsTruncated")
        for entry in page["Contents"]:
            equal(entry["Size"], len(entry["Key"].encode()), f"size of {entry['Key']}")


@case
def a_dot_as_delimiter(t):
    bucket = t.fresh_bucket()
    for key in ("a.b", "a.c", "plain", "z.z"):
        t.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for listing in (t.s3.list_objects, t.s3.list_objects_v2):
        equal(entries(listing(Bucket=bucket, Delimiter=".")), (["plain"], ["a.", "z."]), listing.__name__)


@case
def delimiters(t):
    fill(t)
    for delimiter in ("/", "-", "0"):
        for listing in (t.s3.list_objects, t.s3.list_objects_v2):
            page = listing(Bucket=t.bucket, Prefix="list/", Delimiter=delimiter)
            equal(entries(page), under(delimiter), f"entries for delimiter {delimiter}")
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", Delimiter="/")
    equal(page["KeyCount"], sum(map(len, under())), "KeyCount")


@case
def pages_v2(t):
    fill(t)
    for delimiter in (None, "/"):
        for size in (1, 2, 7):
            keys, prefixes, token, calls = [], [], None, 0
            while True:
                options = {**({"ContinuationToken": token} if token else {}), **({"Delimiter": delimiter} if delimiter else {})}
                page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", MaxKeys=size, **options)
                more_keys, more_prefixes = entries(page)
                count = len(more_keys) + len(more_prefixes)
                true(count <= size, f"{count} entries in a page of {size}")
                equal(page["KeyCount"], count, "KeyCount")
                keys, prefixes, calls = keys + more_keys, prefixes + more_prefixes, calls + 1
                true(calls < 100, "pages without end")
                if not page["IsTruncated"]:
                    break
                token = page["NextContinuationToken"]
            equal((keys, prefixes), under() if delimiter else (KEYS, []), f"entries in pages of {size}, delimiter {delimiter}")


@case
def pages_v1(t):
    fill(t)
    for delimiter in (None, "/"):
        keys, prefixes, marker, calls = [], [], "", 0
        while True:
            options = {"Delimiter": delimiter} if delimiter else {}
            page = t.s3.list_objects(Bucket=t.bucket, Prefix="list/", MaxKeys=3, Marker=marker, **options)
            more_keys, more_prefixes = entries(page)
            keys, prefixes, calls = keys + more_keys, prefixes + more_prefixes, calls + 1
            true(calls < 100, "pages without end")
            if not page["IsTruncated"]:
                break
            # S3 gives NextMarker only with a delimiter; else the last key is the marker.
            marker = page["NextMarker"] if delimiter else more_keys[-1]
        equal((keys, prefixes), under() if delimiter else (KEYS, []), f"entries, delimiter {delimiter}")


@case
def start_after_and_marker(t):
    fill(t)
    after = "list/010"
    wanted = [key for key in KEYS if key.encode() > after.encode()]
    equal(entries(t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", StartAfter=after))[0], wanted, "V2 keys")
    equal(entries(t.s3.list_objects(Bucket=t.bucket, Prefix="list/", Marker=after))[0], wanted, "V1 keys")
    # A name that is no key, between two.
    between = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", StartAfter="list/010x")
    equal(entries(between)[0], [key for key in KEYS if key.encode() > b"list/010x"], "keys after a name between two")


@case
def max_keys_zero_and_one(t):
    fill(t)
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", MaxKeys=0)
    equal((entries(page), page["IsTruncated"], page["KeyCount"]), (([], []), False, 0), "page of 0")
    page = t.s3.list_objects(Bucket=t.bucket, Prefix="list/", MaxKeys=0)
    equal((entries(page), page["IsTruncated"]), (([], []), False), "V1 page of 0")
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/z", MaxKeys=1)
    equal((entries(page), page["IsTruncated"]), ((["list/z"], []), False), "page of 1 with 1 key")


@case
def max_keys_out_of_range(t):
    fill(t)
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/", MaxKeys=100_000)
    true(page["MaxKeys"] <= 100_000 and len(entries(page)[0]) == len(KEYS), "a large max-keys is capped, not refused")
    for wrong in ("-1", "x"):
        refused(t.raw.request("GET", t.path(), [("list-type", "2"), ("max-keys", wrong)]), 400, "InvalidArgument")


@case
def encoding_type_url(t):
    fill(t)
    for query in ([("list-type", "2")], []):
        answer = t.raw.request("GET", t.path(), [*query, ("encoding-type", "url"), ("prefix", "list/")])
        equal(answer.status, 200, "status")
        found = [urllib.parse.unquote_plus(key) for key in re.findall("<Key>([^<]*)</Key>", answer.body.decode())]
        equal(found, KEYS, "decoded keys")
        true(b"<EncodingType>url</EncodingType>" in answer.body, "EncodingType is not in the answer")
        true("Ä" not in answer.body.decode(), "a key is not encoded")
    refused(t.raw.request("GET", t.path(), [("encoding-type", "base64")]), 400, "InvalidArgument")


@case
def nothing_under_a_prefix(t):
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="absent/")
    equal((entries(page), page["KeyCount"], page["IsTruncated"]), (([], []), 0, False), "page")


@case
def a_wrong_token_is_refused(t):
    fill(t)
    with raises("InvalidArgument", status=400):
        t.s3.list_objects_v2(Bucket=t.bucket, ContinuationToken="no token of this server \x7f")


@case
def the_order_is_that_of_the_bytes_not_of_directories(t):
    # `-` and `.` come before `/`, `0` after it: a walk over directories gets this wrong.
    keys = ["order/a-b", "order/a.b", "order/a/b", "order/a/c", "order/a0b"]
    for key in reversed(keys):
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=b"x")
    equal(t.keys("order/"), keys, "keys")
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="order/", Delimiter="/", MaxKeys=3)
    equal(entries(page), (["order/a-b", "order/a.b"], ["order/a/"]), "the first three entries")
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="order/", StartAfter="order/a.b")
    equal(entries(page)[0], keys[2:], "keys after a.b")


@case
def fetch_owner(t):
    fill(t)
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/z", FetchOwner=True)
    true("Owner" in page["Contents"][0], "no owner although asked for")
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="list/z")
    true("Owner" not in page["Contents"][0], "an owner that nobody asked for")


@case
def a_listing_needs_no_trailing_slash(t):
    fill(t)
    for path in (t.path(), t.path() + "/"):
        answer = t.raw.request("GET", path, [("prefix", "list/z")])
        true(b"<Key>list/z</Key>" in answer.body, f"GET {path}: {answer}")


@case(seconds=120)
def more_than_a_page_of_a_thousand(t):
    keys = [f"thousand/{number:04}" for number in range(1005)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: t.s3.put_object(Bucket=t.bucket, Key=key, Body=b""), keys))
    page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="thousand/")
    equal((len(page["Contents"]), page["IsTruncated"]), (1000, True), "first page")
    equal(t.keys("thousand/"), keys, "all keys")
