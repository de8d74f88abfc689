"""What operations cost: requests that reach the storage, counted by a proxy before it. docs/s3-compatibility.md has the table."""

import proxied
from cases import case, data, equal
from s3_multipart import FIVE, Upload

# Above what is waited for with its trailer.
LARGE = 300_000


class Counter:
    """A gateway behind a counting proxy, and its objects."""

    def __init__(self, t):
        found = proxied.of(t)
        self.t, self.proxy = found.context, found.proxy
        # Without asking for checksums, which SDKs do of themselves.
        required = {f"{kind}_checksum_{what}": "when_required" for kind, what in (("request", "calculation"), ("response", "validation"))}
        self.t.s3 = self.t.client(config=required)
        self.elsewhere = f"{self.t.bucket}-2"
        self.t.create_bucket(self.elsewhere)
        self.t.s3.put_object(Bucket=self.elsewhere, Key="own", Body=b"own")

    def bodies(self, name: str, *sizes: int) -> str:
        """An object of so many parts, of which this node has read nothing."""
        if len(sizes) == 1:
            self.t.put(name, data(sizes[0], name), Metadata={"mine": "x"})
        else:
            upload = Upload(self.t, name)
            for number, size in enumerate(sizes, start=1):
                upload.part(number, data(size, (name, number)))
            upload.complete()
            # A node that had to look at what it completed, as over SeaweedFS, knows the table already.
            self.t.target.restart()
        return name

    def of(self, ask) -> list[str]:
        """The requests about objects and listings while `ask` runs; what the gateway does by itself is not among them."""
        before = len(self.proxy.requests)
        ask()
        return [told(request) for request in self.proxy.requests[before:] if is_meant(request)]


def is_meant(request) -> bool:
    """Not what runs in the background at its own times: looks at hidden objects, at buckets."""
    return "/.sealgate/" not in request.path and not request.query.get("prefix", "").startswith(".sealgate/")


def told(request) -> str:
    words = [request.method]
    words += ["range"] if "range" in request.headers else []
    words += ["from"] if "x-amz-copy-source" in request.headers else []
    words += [name for name in ("tagging", "versions", "list-type", "partNumber") if name in request.query]
    return " ".join(words)


def counter(t) -> Counter:
    if not hasattr(t, "counter"):
        t.counter = Counter(t)
    return t.counter


def get(found, key, **options):
    found.t.s3.get_object(Bucket=found.t.bucket, Key=key, **options)["Body"].read()


@case
def a_single_put_is_read_with_one_request(t):
    found = counter(t)
    for size in (0, 1000, LARGE, 3_000_000):
        key = found.bodies(f"single{size}", size)
        equal(found.of(lambda: get(found, key)), ["GET"], f"GET of {size} bytes")
        equal(found.of(lambda: found.t.s3.head_object(Bucket=found.t.bucket, Key=key)), ["HEAD"], f"HEAD of {size} bytes")
        if size:
            equal(found.of(lambda: get(found, key, Range="bytes=0-9")), ["GET range"], f"range of {size} bytes")


@case
def an_upload_is_read_with_two_requests_and_then_with_one(t):
    found = counter(t)
    whole, ranged = (found.bodies(name, FIVE, 100_000) for name in ("whole", "ranged"))
    equal(len(found.of(lambda: get(found, whole))), 2, "requests of a whole GET, cold")
    equal(found.of(lambda: get(found, whole)), ["GET"], "a whole GET, warm")
    equal(found.of(lambda: found.t.s3.head_object(Bucket=found.t.bucket, Key=whole)), ["HEAD"], "HEAD")
    cold = len(found.of(lambda: get(found, ranged, Range="bytes=5242000-5243999")))
    equal(cold <= 3, True, f"at most 3 requests of a range, cold ({cold})")
    equal(found.of(lambda: get(found, ranged, Range="bytes=5242000-5243999")), ["GET range"], "a range, warm")


@case
def a_page_of_a_listing_is_one_request(t):
    found = counter(t)
    for number in range(3):
        found.bodies(f"list/{number}", 10)
    bucket = found.t.bucket
    equal(found.of(lambda: found.t.s3.list_objects_v2(Bucket=bucket, Prefix="list/")), ["GET list-type"], "ListObjectsV2")
    equal(found.of(lambda: found.t.s3.list_objects(Bucket=bucket, Prefix="list/")), ["GET"], "ListObjects")


@case
def a_copy_costs_a_look_at_its_source_and_the_storages_own_copy(t):
    found = counter(t)
    for name, sizes in (("from", (LARGE,)), ("from-parts", (FIVE, 100_000))):
        key = found.bodies(name, *sizes)
        source = {"Bucket": found.t.bucket, "Key": key}
        copy = lambda bucket, target: found.t.s3.copy_object(Bucket=bucket, Key=target, CopySource=source)  # noqa: E731
        equal(found.of(lambda: copy(found.t.bucket, f"{key}-copy")), ["HEAD", "PUT from"], f"copy of {key}")
        # Its trailer names the key whose record has to lie there; of an upload the table is known from then on.
        first = found.of(lambda: copy(found.elsewhere, f"{key}-copy"))
        equal(first, ["HEAD", "GET range", "PUT from"], f"copy of {key} to another bucket")
        again = found.of(lambda: copy(found.elsewhere, f"{key}-again"))
        equal(again, first if len(sizes) == 1 else ["HEAD", "PUT from"], f"another copy of {key} to that bucket")
        # A copy is read as its source is.
        equal(len(found.of(lambda: get(found, f"{key}-copy"))), len(sizes), f"GET of the copy of {key}")
        equal(found.of(lambda: get(found, f"{key}-copy")), ["GET"], f"GET of the copy of {key}, warm")


@case
def a_part_that_is_copied_is_read_and_written(t):
    found = counter(t)
    single, parts = found.bodies("part-from", LARGE), found.bodies("parts-from", FIVE, 100_000)
    upload = Upload(found.t, "parts-of-copies")

    def copy(number, key, size):
        found.t.s3.upload_part_copy(**upload.place, PartNumber=number, CopySource={"Bucket": found.t.bucket, "Key": key},
                                    CopySourceRange=f"bytes=0-{size - 1}")

    # The range of a single PUT, of an upload cold (its table first) and warm; the parts' notes are hidden objects.
    equal(sorted(found.of(lambda: copy(1, single, LARGE))), ["GET range", "HEAD", "PUT partNumber"], "a part of a single PUT")
    cold = found.of(lambda: copy(2, parts, FIVE))
    equal(sorted(cold), ["GET range", "GET range", "HEAD", "PUT partNumber"], "a part of an upload, cold")
    equal(sorted(found.of(lambda: copy(3, parts, FIVE))), ["GET range", "HEAD", "PUT partNumber"], "a part of an upload, warm")
    upload.abort()


@case
def attributes_cost_the_trailer_where_they_are_in_it(t):
    found = counter(t)
    single, parts = found.bodies("described", LARGE), found.bodies("described-parts", FIVE, 100_000)

    def ask(key, *names):
        return found.of(lambda: found.t.s3.get_object_attributes(Bucket=found.t.bucket, Key=key, ObjectAttributes=list(names)))

    equal(ask(single, "ETag", "ObjectSize"), ["HEAD"], "size")
    equal(ask(parts, "ETag", "ObjectSize"), ["HEAD"], "size of an upload")
    equal(ask(parts, "ObjectParts"), ["HEAD", "GET range"], "parts, cold")
    equal(ask(parts, "ObjectParts"), ["HEAD"], "parts, warm")


@case
def a_version_costs_what_an_object_costs(t):
    found = counter(t)
    bucket = found.t.fresh_bucket()
    s3 = found.t.s3
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    older, newer = (s3.put_object(Bucket=bucket, Key="k", Body=data(LARGE, number))["VersionId"] for number in (1, 2))
    for version in (older, newer):
        named = {"Bucket": bucket, "Key": "k", "VersionId": version}
        equal(found.of(lambda: s3.get_object(**named)["Body"].read()), ["GET"], "GET")
        equal(found.of(lambda: s3.get_object(**named, Range="bytes=9-99")["Body"].read()), ["GET range"], "range")
        equal(found.of(lambda: s3.head_object(**named)), ["HEAD"], "HEAD")
    equal(found.of(lambda: s3.list_object_versions(Bucket=bucket)), ["GET versions"], "ListObjectVersions")
    source = {"Bucket": bucket, "Key": "k", "VersionId": older}
    equal(found.of(lambda: s3.copy_object(Bucket=bucket, Key="k", CopySource=source)), ["HEAD", "PUT from"], "a copy of a version")
