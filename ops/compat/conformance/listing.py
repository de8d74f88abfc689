"""ListObjects and ListObjectsV2 alike: each behaviour for both versions, over sets of keys made once."""

import re
import urllib.parse

from cases import case, equal, refused, true
from conformance.support import filled, keys_of, parsed, prefixes_of, texts

PLAIN = ("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla")
SETS = {
    "plain": PLAIN,
    "flat": ("bar", "baz", "foo", "quxx"),
    "delimited": ("bar", "b/az", "b.az", "b az", "quux/thud", "under_score/a_b"),
    # A key that is a directory to others: not every storage can hold it.
    "nested": ("foo", "foo/bar", "foo/baz/xyzzy", "goo"),
    "odd": ("a b/c d", "a+b", "ä/ö", "percent%25/x", "amp&ersand/<tag>", "quote'\"", "semi;colon", "~tilde", "(paren)", "日本/語"),
    "numbers": tuple(f"n/{number:03}" for number in range(12)),
}


class Listing:
    """One version of the operation."""

    def __init__(self, t, version: int):
        self.t, self.version = t, version

    def bucket(self, name: str) -> str:
        """The bucket of a set of keys."""
        return self.t.shared(name, lambda: filled(self.t, SETS[name], self.t.fresh_bucket()))

    def page(self, name: str, **options) -> dict:
        operation = self.t.s3.list_objects if self.version == 1 else self.t.s3.list_objects_v2
        return operation(Bucket=self.bucket(name), **options)

    def raw(self, name: str, query=()):
        return self.t.raw.request("GET", f"/{self.bucket(name)}", [*([("list-type", "2")] if self.version == 2 else []), *query])

    def after(self, page: dict, delimiter=False) -> dict:
        """The options that ask for the next page."""
        if self.version == 2:
            return {"ContinuationToken": page["NextContinuationToken"]}
        # V1 tells the marker only with a delimiter; else it is the last key.
        return {"Marker": page["NextMarker"] if delimiter else page["Contents"][-1]["Key"]}


def both(function):
    """A case for each version of the operation."""
    for version in (1, 2):
        def run(t, version=version):
            function(Listing(t, version))

        run.__name__, run.__module__ = f"v{version}_{function.__name__}", function.__module__
        case(run)
    return function


def ordered(keys) -> list[str]:
    return sorted(keys, key=lambda key: key.encode())


def entries(page) -> tuple[list[str], list[str]]:
    return keys_of(page), prefixes_of(page)


# name: (set of keys, options, keys, common prefixes)
SHOWN = {
    "everything_in_order": ("flat", {}, ["bar", "baz", "foo", "quxx"], []),
    "delimiter_slash": ("plain", {"Delimiter": "/"}, ["asdf"], ["boo/", "cquux/"]),
    "delimiter_slash_and_prefix": ("plain", {"Delimiter": "/", "Prefix": "boo/"}, ["boo/bar"], ["boo/baz/"]),
    "delimiter_slash_and_prefix_without_slash": ("plain", {"Delimiter": "/", "Prefix": "boo"}, [], ["boo/"]),
    "delimiter_letter": ("flat", {"Delimiter": "a"}, ["foo", "quxx"], ["ba"]),
    "delimiter_dot": ("delimited", {"Delimiter": ".", "Prefix": "b"}, ["b az", "b/az", "bar"], ["b."]),
    "delimiter_space": ("delimited", {"Delimiter": " ", "Prefix": "b"}, ["b.az", "b/az", "bar"], ["b "]),
    "delimiter_underscore": ("delimited", {"Delimiter": "_", "Prefix": "under"}, [], ["under_"]),
    "delimiter_percent": ("odd", {"Delimiter": "%", "Prefix": "percent"}, [], ["percent%"]),
    "delimiter_of_two_characters": ("nested", {"Delimiter": "oo", "Prefix": "f"}, [], ["foo"]),
    "delimiter_that_is_in_no_key": ("flat", {"Delimiter": "!"}, ["bar", "baz", "foo", "quxx"], []),
    "delimiter_empty": ("plain", {"Delimiter": ""}, ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud"], []),
    "delimiter_that_is_only_in_the_prefix": ("nested", {"Delimiter": "f", "Prefix": "f"}, ["foo", "foo/bar", "foo/baz/xyzzy"], []),
    "prefix": ("plain", {"Prefix": "boo/"}, ["boo/bar", "boo/baz/xyzzy"], []),
    "prefix_of_part_of_a_name": ("flat", {"Prefix": "ba"}, ["bar", "baz"], []),
    "prefix_that_is_a_key": ("flat", {"Prefix": "bar"}, ["bar"], []),
    "prefix_empty": ("flat", {"Prefix": ""}, ["bar", "baz", "foo", "quxx"], []),
    "prefix_of_no_key": ("flat", {"Prefix": "d"}, [], []),
    "prefix_of_no_key_and_delimiter": ("plain", {"Prefix": "z/", "Delimiter": "/"}, [], []),
    "prefix_longer_than_a_key": ("flat", {"Prefix": "bar/"}, [], []),
    "prefix_of_a_directory_and_another_delimiter": ("plain", {"Prefix": "boo/", "Delimiter": "z"}, ["boo/bar"], ["boo/baz"]),
    "prefix_non_ascii": ("odd", {"Prefix": "ä"}, ["ä/ö"], []),
    "prefix_with_markup": ("odd", {"Prefix": "amp&", "Delimiter": "/"}, [], ["amp&ersand/"]),
    "prefix_with_a_plus": ("odd", {"Prefix": "a+"}, ["a+b"], []),
    "odd_keys_in_order": ("odd", {}, ordered(SETS["odd"]), []),
    "odd_keys_with_a_delimiter": ("odd", {"Delimiter": "/"}, ["(paren)", "a+b", "quote'\"", "semi;colon", "~tilde"],
                                  ["a b/", "amp&ersand/", "percent%25/", "ä/", "日本/"]),
    "a_key_and_a_prefix_of_the_same_name": ("nested", {"Prefix": "foo", "Delimiter": "/"}, ["foo"], ["foo/"]),
}


def shown(name, options, keys, prefixes):
    def run(l):
        page = l.page(name, **options)
        equal(entries(page), (keys, prefixes), "keys and common prefixes")
        equal(page["IsTruncated"], False, "IsTruncated")
        if l.version == 2:
            equal(page["KeyCount"], len(keys) + len(prefixes), "KeyCount")

    return run


for _name, _arguments in SHOWN.items():
    _run = shown(*_arguments)
    _run.__name__, _run.__module__ = _name, __name__
    both(_run)


@both
def an_empty_bucket(l):
    bucket = l.t.shared("empty", l.t.fresh_bucket)
    page = (l.t.s3.list_objects if l.version == 1 else l.t.s3.list_objects_v2)(Bucket=bucket)
    equal((entries(page), page["IsTruncated"], page["Name"]), (([], []), False, bucket), "page")


@both
def a_bucket_that_is_not_there(l):
    query = [("list-type", "2")] if l.version == 2 else []
    refused(l.t.raw.request("GET", f"/{l.t.bucket}-absent", query), 404, "NoSuchBucket")


@both
def an_entry_has_everything(l):
    entry = l.page("flat", Prefix="bar")["Contents"][0]
    head = l.t.s3.head_object(Bucket=l.bucket("flat"), Key="bar")
    equal((entry["Key"], entry["Size"], entry["ETag"], entry["StorageClass"]), ("bar", 3, head["ETag"], "STANDARD"), "entry")
    equal(int(entry["LastModified"].timestamp()), int(head["LastModified"].timestamp()), "LastModified")


@both
def times_are_iso_8601_with_milliseconds(l):
    value = texts(parsed(l.raw("flat")), "Contents/LastModified")[0]
    true(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), f"LastModified {value}")


@both
def the_request_is_echoed(l):
    page = l.page("plain", Prefix="boo/", Delimiter="/", MaxKeys=7)
    equal((page["Name"], page["Prefix"], page["Delimiter"], page["MaxKeys"]), (l.bucket("plain"), "boo/", "/", 7), "echo")


@both
def max_keys_is_1000_unless_said(l):
    equal(l.page("flat")["MaxKeys"], 1000, "MaxKeys")


@both
def a_delimiter_that_was_not_sent_is_not_echoed(l):
    true("Delimiter" not in l.page("flat"), "Delimiter is in the answer")


@both
def max_keys_one(l):
    page = l.page("flat", MaxKeys=1)
    equal((entries(page), page["IsTruncated"]), ((["bar"], []), True), "first page")
    page = l.page("flat", **l.after(page))
    equal((entries(page), page["IsTruncated"]), ((["baz", "foo", "quxx"], []), False), "the rest")


@both
def max_keys_zero(l):
    page = l.page("flat", MaxKeys=0)
    equal((entries(page), page["IsTruncated"]), (([], []), False), "page")


@both
def max_keys_as_many_as_there_are(l):
    page = l.page("flat", MaxKeys=4)
    equal((len(keys_of(page)), page["IsTruncated"]), (4, False), "page")


@both
def max_keys_above_a_thousand_is_cut(l):
    page = l.page("flat", MaxKeys=5000)
    equal((len(keys_of(page)), page["MaxKeys"]), (4, 1000), "keys and MaxKeys")


@both
def max_keys_that_is_no_number(l):
    refused(l.raw("flat", [("max-keys", "blah")]), 400, "InvalidArgument")


@both
def max_keys_negative(l):
    refused(l.raw("flat", [("max-keys", "-1")]), 400, "InvalidArgument")


@both
def common_prefixes_count_as_keys(l):
    page = l.page("plain", Delimiter="/", MaxKeys=2)
    equal((entries(page), page["IsTruncated"]), ((["asdf"], ["boo/"]), True), "first page")
    page = l.page("plain", Delimiter="/", MaxKeys=2, **l.after(page, delimiter=True))
    equal((entries(page), page["IsTruncated"]), (([], ["cquux/"]), False), "second page")


@both
def pages_of_one_with_a_delimiter(l):
    found, options = [], {}
    for _ in range(10):
        page = l.page("plain", Delimiter="/", MaxKeys=1, **options)
        found += keys_of(page) + prefixes_of(page)
        if not page["IsTruncated"]:
            break
        options = l.after(page, delimiter=True)
    equal(found, ["asdf", "boo/", "cquux/"], "entries over all pages")


@both
def pages_with_prefix_and_delimiter(l):
    found, options = [], {}
    for _ in range(10):
        page = l.page("nested", Prefix="foo", Delimiter="/", MaxKeys=1, **options)
        found += keys_of(page) + prefixes_of(page)
        if not page["IsTruncated"]:
            break
        options = l.after(page, delimiter=True)
    equal(found, ["foo", "foo/"], "entries over all pages")


@both
def pages_of_every_size_show_every_key_once(l):
    for size in (1, 2, 3, 5, 11, 12, 13):
        found, options = [], {}
        for _ in range(15):
            page = l.page("numbers", Prefix="n/", MaxKeys=size, **options)
            true(len(keys_of(page)) <= size, f"{len(keys_of(page))} keys in a page of {size}")
            found += keys_of(page)
            if not page["IsTruncated"]:
                break
            options = l.after(page)
        equal(found, list(SETS["numbers"]), f"keys in pages of {size}")


@both
def odd_keys_in_pages_of_one(l):
    found, options = [], {}
    for _ in range(15):
        page = l.page("odd", MaxKeys=1, **options)
        found += keys_of(page)
        if not page["IsTruncated"]:
            break
        options = l.after(page)
    equal(found, ordered(SETS["odd"]), "keys over all pages")


@both
def encoding_type_url_encodes_keys_and_prefixes(l):
    answer = l.raw("odd", [("encoding-type", "url")])
    root = parsed(answer)
    equal(texts(root, "EncodingType"), ["url"], "EncodingType")
    found = texts(root, "Contents/Key")
    equal([urllib.parse.unquote_plus(key) for key in found], ordered(SETS["odd"]), "decoded keys")
    true("日本/語" not in found and "%E6%97%A5%E6%9C%AC/%E8%AA%9E" in found, f"keys {found}")
    root = parsed(l.raw("odd", [("encoding-type", "url"), ("delimiter", "/"), ("prefix", "ä")]))
    equal(texts(root, "CommonPrefixes/Prefix"), ["%C3%A4/"], "common prefixes")
    equal(texts(root, "Prefix"), ["%C3%A4"], "echoed prefix")


@both
def encoding_type_that_is_none(l):
    refused(l.raw("flat", [("encoding-type", "base64")]), 400, "InvalidArgument")


@both
def without_encoding_type_keys_are_xml(l):
    answer = l.raw("odd", [("prefix", "amp")])
    true(b"<Key>amp&amp;ersand/&lt;tag&gt;</Key>" in answer.body or b"<Key>amp&#38;ersand/&#60;tag&#62;</Key>" in answer.body, f"answer {answer}")
    true(b"EncodingType" not in answer.body, "EncodingType is in the answer")


@both
def a_deleted_key_is_not_listed(l):
    l.t.put(f"deleted/{l.version}/a")
    l.t.put(f"deleted/{l.version}/b")
    l.t.s3.delete_object(Bucket=l.t.bucket, Key=f"deleted/{l.version}/a")
    equal(l.t.keys(f"deleted/{l.version}/"), [f"deleted/{l.version}/b"], "keys")


@both
def uploads_in_progress_are_not_listed(l):
    place = {"Bucket": l.t.bucket, "Key": f"progress/{l.version}"}
    upload = l.t.s3.create_multipart_upload(**place)["UploadId"]
    l.t.s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x")
    operation = l.t.s3.list_objects if l.version == 1 else l.t.s3.list_objects_v2
    equal(keys_of(operation(Bucket=l.t.bucket, Prefix="progress/")), [], "keys")
    l.t.s3.abort_multipart_upload(**place, UploadId=upload)


@both
def a_marker_beyond_the_last_key(l):
    options = {"Marker": "zzz"} if l.version == 1 else {"StartAfter": "zzz"}
    page = l.page("flat", **options)
    equal((entries(page), page["IsTruncated"]), (([], []), False), "page")


@both
def a_marker_that_is_no_key(l):
    options = {"Marker": "blah"} if l.version == 1 else {"StartAfter": "blah"}
    equal(keys_of(l.page("flat", **options)), ["foo", "quxx"], "keys")


@both
def a_marker_that_is_a_key(l):
    options = {"Marker": "baz"} if l.version == 1 else {"StartAfter": "baz"}
    equal(keys_of(l.page("flat", **options)), ["foo", "quxx"], "keys")


@both
def a_marker_before_the_prefix(l):
    options = {"Marker": "a"} if l.version == 1 else {"StartAfter": "a"}
    equal(keys_of(l.page("plain", Prefix="boo/", **options)), ["boo/bar", "boo/baz/xyzzy"], "keys")


@both
def a_marker_behind_the_prefix(l):
    options = {"Marker": "c"} if l.version == 1 else {"StartAfter": "c"}
    equal(keys_of(l.page("plain", Prefix="boo/", **options)), [], "keys")


@both
def anonymous_is_refused(l):
    answer = l.t.raw.request("GET", f"/{l.bucket('flat')}", [("list-type", "2")] if l.version == 2 else [],
                             alter=lambda headers: headers.pop("authorization"))
    refused(answer, 403, "AccessDenied")
