"""What only one of the two listings has: markers of V1; tokens, start-after and owners of V2."""

from cases import case, equal, refused, true
from conformance.support import filled, keys_of, parsed, prefixes_of, texts

KEYS = ("bar", "baz", "dir/one", "dir/two", "foo", "quxx")


def bucket(t):
    return t.shared("bucket", lambda: filled(t, KEYS, t.fresh_bucket()))


def v1(t, **options):
    return t.s3.list_objects(Bucket=bucket(t), **options)


def v2(t, **options):
    return t.s3.list_objects_v2(Bucket=bucket(t), **options)


@case
def v1_always_names_the_owner(t):
    true(v1(t)["Contents"][0]["Owner"]["ID"], "no owner")


@case
def v1_echoes_the_marker(t):
    equal(v1(t, Marker="baz")["Marker"], "baz", "Marker")
    root = parsed(t.raw.request("GET", f"/{bucket(t)}"))
    equal(texts(root, "Marker"), [""], "Marker that was not sent")


@case
def v1_tells_next_marker_only_with_a_delimiter(t):
    true("NextMarker" not in v1(t, MaxKeys=2), "NextMarker without a delimiter")
    equal(v1(t, MaxKeys=2, Delimiter="/")["NextMarker"], "baz", "NextMarker after a key")
    equal(v1(t, MaxKeys=3, Delimiter="/")["NextMarker"], "dir/", "NextMarker after a common prefix")


@case
def v1_tells_no_next_marker_at_the_end(t):
    page = v1(t, Delimiter="/")
    true("NextMarker" not in page and not page["IsTruncated"], "NextMarker on the last page")


@case
def v1_a_common_prefix_as_marker_skips_it(t):
    page = v1(t, Delimiter="/", Marker="dir/")
    # As NextMarker gave it: the prefix was shown on the page before.
    equal((keys_of(page), prefixes_of(page)), (["foo", "quxx"], []), "entries")


@case
def v1_knows_no_key_count(t):
    true(b"KeyCount" not in t.raw.request("GET", f"/{bucket(t)}").body, "KeyCount is in the answer")


@case
def v1_marker_empty(t):
    equal(keys_of(v1(t, Marker="")), list(KEYS), "keys")


@case
def v1_marker_non_ascii(t):
    page = v1(t, Marker="ü")
    equal((keys_of(page), page["Marker"]), ([], "ü"), "page")


@case
def v2_names_no_owner_unless_asked(t):
    true("Owner" not in v2(t)["Contents"][0], "an owner that nobody asked for")
    true("Owner" not in v2(t, FetchOwner=False)["Contents"][0], "an owner although fetch-owner is false")


@case
def v2_fetch_owner(t):
    true(v2(t, FetchOwner=True)["Contents"][0]["Owner"]["ID"], "no owner")


@case
def v2_counts_keys(t):
    equal(v2(t)["KeyCount"], 6, "KeyCount")
    equal(v2(t, MaxKeys=2)["KeyCount"], 2, "KeyCount of a page")
    equal(v2(t, Delimiter="/")["KeyCount"], 5, "KeyCount with common prefixes")


@case
def v2_echoes_start_after(t):
    equal(v2(t, StartAfter="baz")["StartAfter"], "baz", "StartAfter")


@case
def v2_echoes_the_token(t):
    token = v2(t, MaxKeys=1)["NextContinuationToken"]
    page = v2(t, ContinuationToken=token)
    equal((page["ContinuationToken"], keys_of(page)), (token, list(KEYS[1:])), "token and keys")


@case
def v2_tells_no_token_at_the_end(t):
    true("NextContinuationToken" not in v2(t), "a token on the last page")


@case
def v2_a_token_outranks_start_after(t):
    page = v2(t, MaxKeys=1, StartAfter="bar")
    equal(keys_of(page), ["baz"], "first page")
    page = v2(t, MaxKeys=2, StartAfter="bar", ContinuationToken=page["NextContinuationToken"])
    equal(keys_of(page), ["dir/one", "dir/two"], "second page")


@case
def v2_a_token_that_is_none(t):
    refused(t.raw.request("GET", f"/{bucket(t)}", [("list-type", "2"), ("continuation-token", "no token \x7f")]), 400, "InvalidArgument")


@case
def v2_a_token_with_a_delimiter(t):
    page = v2(t, MaxKeys=3, Delimiter="/")
    equal((keys_of(page), prefixes_of(page)), (["bar", "baz"], ["dir/"]), "first page")
    page = v2(t, MaxKeys=3, Delimiter="/", ContinuationToken=page["NextContinuationToken"])
    equal((keys_of(page), prefixes_of(page)), (["foo", "quxx"], []), "second page")


@case
def v2_a_token_survives_a_new_key_before_it(t):
    name = filled(t, ("b", "c", "d"), t.fresh_bucket())
    page = t.s3.list_objects_v2(Bucket=name, MaxKeys=2)
    t.s3.put_object(Bucket=name, Key="a", Body=b"x")
    equal(keys_of(t.s3.list_objects_v2(Bucket=name, ContinuationToken=page["NextContinuationToken"])), ["d"], "keys")


@case
def v2_a_token_survives_the_deletion_of_its_key(t):
    name = filled(t, ("b", "c", "d"), t.fresh_bucket())
    page = t.s3.list_objects_v2(Bucket=name, MaxKeys=2)
    t.s3.delete_object(Bucket=name, Key="c")
    equal(keys_of(t.s3.list_objects_v2(Bucket=name, ContinuationToken=page["NextContinuationToken"])), ["d"], "keys")


@case
def v2_knows_no_marker(t):
    root = parsed(t.raw.request("GET", f"/{bucket(t)}", [("list-type", "2")]))
    equal(root.findall("Marker"), [], "Marker elements")


@case
def a_list_type_that_is_none(t):
    refused(t.raw.request("GET", f"/{bucket(t)}", [("list-type", "3")]), 400, "InvalidArgument")


@case
def the_root_element_is_list_bucket_result(t):
    for query in ([], [("list-type", "2")]):
        equal(parsed(t.raw.request("GET", f"/{bucket(t)}", query)).tag, "ListBucketResult", "root element")
