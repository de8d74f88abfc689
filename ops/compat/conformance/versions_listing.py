"""ListObjectVersions: order, latest, markers, delimiters, pages."""

import urllib.parse

from cases import case, equal, refused, true, variants
from conformance.support import parsed, prefixes_of, texts


def made(t):
    """A bucket with versions and markers that no case changes, and what a listing of it shows, in order."""
    def make():
        name = t.fresh_bucket()
        t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        shown = []
        for key, bodies, deleted in (("a", (b"1", b"22", b"333"), False), ("dir/x", (b"1",), True), ("dir/y", (b"1", b"22"), False), ("z", (b"1",), True)):
            entries = []
            for body in bodies:
                entries.append((key, t.s3.put_object(Bucket=name, Key=key, Body=body)["VersionId"], len(body)))
            if deleted:
                entries.append((key, t.s3.delete_object(Bucket=name, Key=key)["VersionId"], None))
            shown += reversed(entries)
        return name, shown

    return t.shared("made", make)


def everything(root):
    """(key, version, size or None for a marker) of all entries, in the order of the document."""
    found = []
    for element in root:
        if element.tag in ("Version", "DeleteMarker"):
            size = element.findtext("Size")
            found.append((element.findtext("Key"), element.findtext("VersionId"), None if size is None else int(size)))
    return found


def apart(entries):
    """Versions and markers, each in their order, for cases that are not about how the two are mixed."""
    return [entry for entry in entries if entry[2] is not None], [entry for entry in entries if entry[2] is None]


def listed(t, query=()):
    return parsed(t.raw.request("GET", f"/{made(t)[0]}", [("versions", ""), *query]))


@case
def by_key_and_newest_first(t):
    root = listed(t)
    equal((root.tag, everything(root)), ("ListVersionsResult", made(t)[1]), "entries")


@case
def exactly_one_is_the_latest(t):
    page = t.s3.list_object_versions(Bucket=made(t)[0])
    latest = [entry["Key"] for entry in page["Versions"] + page["DeleteMarkers"] if entry["IsLatest"]]
    equal(sorted(latest), ["a", "dir/x", "dir/y", "z"], "keys of the latest")
    equal({entry["Key"] for entry in page["DeleteMarkers"] if entry["IsLatest"]}, {"dir/x", "z"}, "latest that are markers")


@case
def a_version_has_everything(t):
    entry = t.s3.list_object_versions(Bucket=made(t)[0], Prefix="dir/y")["Versions"][0]
    head = t.s3.head_object(Bucket=made(t)[0], Key="dir/y")
    equal((entry["ETag"], entry["Size"], entry["VersionId"], entry["StorageClass"]), (head["ETag"], 2, head["VersionId"], "STANDARD"), "entry")
    true(entry["Owner"]["ID"] and entry["LastModified"], f"entry {entry}")


@case
def a_marker_has_neither_etag_nor_size(t):
    entry = t.s3.list_object_versions(Bucket=made(t)[0], Prefix="z")["DeleteMarkers"][0]
    true("ETag" not in entry and "Size" not in entry and entry["Owner"]["ID"], f"marker {entry}")


@variants(directory=("dir/", 4), key=("a", 3), none=("q", 0))
def with_a_prefix(t, prefix, count):
    found = everything(listed(t, [("prefix", prefix)]))
    equal(apart(found), apart([entry for entry in made(t)[1] if entry[0].startswith(prefix)]), "entries")
    equal(len(found), count, "entries")


@case
def with_a_delimiter(t):
    page = t.s3.list_object_versions(Bucket=made(t)[0], Delimiter="/")
    equal(prefixes_of(page), ["dir/"], "common prefixes")
    equal({entry["Key"] for entry in page["Versions"]}, {"a", "z"}, "keys")


@case
def in_pages(t):
    for size in (1, 2, 3, 5):
        found, query = [], []
        for _ in range(12):
            root = listed(t, [("max-keys", str(size)), *query])
            entries = everything(root)
            true(len(entries) <= size, f"{len(entries)} entries in a page of {size}")
            found += entries
            if root.findtext("IsTruncated") != "true":
                break
            query = [("key-marker", root.findtext("NextKeyMarker")), ("version-id-marker", root.findtext("NextVersionIdMarker"))]
        equal(apart(found), apart(made(t)[1]), f"entries in pages of {size}")


@case
def a_small_first_page_is_full(t):
    # A gateway may keep what nobody sees among the versions: it makes up for that.
    wanted = min(4, len(everything(listed(t))))
    equal(len(everything(listed(t, [("max-keys", "4")]))), wanted, "entries of a page of 4")


@case
def behind_a_key(t):
    found = everything(listed(t, [("key-marker", "a")]))
    equal(apart(found), apart([entry for entry in made(t)[1] if entry[0] > "a"]), "entries")


@case
def behind_a_version(t):
    second = made(t)[1][1]
    found = everything(listed(t, [("key-marker", "a"), ("version-id-marker", second[1])]))
    equal(apart(found), apart(made(t)[1][2:]), "entries")


@case
def a_version_marker_without_a_key_marker(t):
    answer = t.raw.request("GET", f"/{made(t)[0]}", [("versions", ""), ("version-id-marker", made(t)[1][0][1])])
    refused(answer, 400, "InvalidArgument")


@case
def max_keys_zero(t):
    root = listed(t, [("max-keys", "0")])
    equal((everything(root), root.findtext("IsTruncated")), ([], "false"), "page")


@case
def max_keys_is_told_as_it_counts(t):
    equal(listed(t, [("max-keys", "5000")]).findtext("MaxKeys"), "1000", "MaxKeys")


@variants(no_number=("max-keys", "x"), negative=("max-keys", "-1"), encoding=("encoding-type", "base64"))
def refuses(t, name, value):
    refused(t.raw.request("GET", f"/{made(t)[0]}", [("versions", ""), (name, value)]), 400, "InvalidArgument")


@case
def of_a_bucket_that_was_never_versioned(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="key", Body=b"12345")
    found = t.s3.list_object_versions(Bucket=name)["Versions"]
    equal([(entry["Key"], entry["VersionId"], entry["IsLatest"], entry["Size"]) for entry in found], [("key", "null", True, 5)], "entries")


@case
def of_an_empty_bucket(t):
    page = t.s3.list_object_versions(Bucket=t.fresh_bucket())
    true("Versions" not in page and "DeleteMarkers" not in page and not page["IsTruncated"], f"page {page}")


@case
def with_encoding_type(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="ä b", Body=b"x")
    root = parsed(t.raw.request("GET", f"/{name}", [("versions", ""), ("encoding-type", "url")]))
    found = texts(root, "Version/Key")[0]
    equal((texts(root, "EncodingType"), urllib.parse.unquote_plus(found)), (["url"], "ä b"), "decoded key")
    true(found.isascii() and " " not in found, f"key {found} is not encoded")


@case
def echoes_the_request(t):
    root = listed(t, [("prefix", "dir/"), ("delimiter", "/"), ("max-keys", "7"), ("key-marker", "b")])
    found = [root.findtext(name) for name in ("Name", "Prefix", "Delimiter", "MaxKeys", "KeyMarker")]
    equal(found, [made(t)[0], "dir/", "/", "7", "b"], "echo")
