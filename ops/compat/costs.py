"""What operations cost: requests that reach the storage, counted by a proxy before it. docs/s3-compatibility.md has the table."""

import concurrent.futures
import datetime

import checksums
import proxied
import sigv4
from cases import case, data, equal, raises
from s3_multipart import FIVE, Upload

# Above what is waited for with its trailer.
LARGE = 300_000
# The keys of a full page.
PAGE = 1000


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
def a_suffix_and_a_range_that_begins_nowhere(t):
    found = counter(t)
    single, parts = found.bodies("suffix", LARGE), found.bodies("suffix-parts", FIVE, 100_000)
    for wanted in ("bytes=-10", "bytes=299000-", "bytes=-400000"):
        equal(found.of(lambda: get(found, single, Range=wanted)), ["GET range"], f"{wanted} of a single PUT")
    cold = len(found.of(lambda: get(found, parts, Range="bytes=-10")))
    equal(cold <= 3, True, f"at most 3 requests of an upload's suffix, cold ({cold})")
    equal(found.of(lambda: get(found, parts, Range="bytes=-10")), ["GET range"], "an upload's suffix, warm")

    def beyond():
        with raises("InvalidRange", status=416):
            get(found, single, Range=f"bytes={LARGE}-")

    # The storage's 416 counts stored bytes: the size that the client is told has to be looked at.
    equal(found.of(beyond) in (["GET range"], ["GET range", "HEAD"]), True, "at most a HEAD after a 416")


@case
def conditions_cost_nothing(t):
    """The storage decides them, in its own ETags; nobody looks first."""
    found = counter(t)
    s3, bucket = found.t.s3, found.t.bucket
    for key, sizes in (("conditional", (LARGE,)), ("conditional-parts", (FIVE, 100_000))):
        found.bodies(key, *sizes)
        place = {"Bucket": bucket, "Key": key}
        head = s3.head_object(**place)
        get(found, key)
        # Servers keep parts of a second that the header does not say.
        etag, date = head["ETag"], head["LastModified"] + datetime.timedelta(seconds=2)

        def failing(status, ask, *asked):
            with raises(*asked, status=status):
                ask()

        for condition in ({"IfMatch": etag}, {"IfNoneMatch": '"other"'}, {"IfUnmodifiedSince": date}):
            equal(found.of(lambda: get(found, key, **condition)), ["GET"], f"GET of {key} with {condition}")
            equal(found.of(lambda: s3.head_object(**place, **condition)), ["HEAD"], f"HEAD of {key} with {condition}")
            ranged = found.of(lambda: get(found, key, Range="bytes=9-99", **condition))
            equal(ranged, ["GET range"], f"a range of {key} with {condition}")
        for condition, status in (({"IfMatch": '"other"'}, 412), ({"IfNoneMatch": etag}, 304)):
            code = "PreconditionFailed" if status == 412 else "304"
            equal(found.of(lambda: failing(status, lambda: get(found, key, **condition), code)), ["GET"], f"GET of {key} with a failing {condition}")
        answer = found.of(lambda: found.t.raw.request("GET", found.t.path(key), headers={"range": "bytes=9-99", "if-range": etag}))
        equal(answer, ["GET range"], f"a range of {key} with If-Range")


@case
def writes_are_one_request(t):
    found = counter(t)
    s3, place = found.t.s3, {"Bucket": found.t.bucket, "Key": "written"}
    server = found.t.target.backend.name
    body = data(LARGE, "written")
    equal(found.of(lambda: s3.put_object(**place, Body=body, IfNoneMatch="*")), ["PUT"], "PutObject if there is none")
    etag = s3.head_object(**place)["ETag"]
    equal(found.of(lambda: s3.put_object(**place, Body=body, IfMatch=etag)), ["PUT"], "PutObject over the one that was seen")
    equal(found.of(lambda: s3.put_object(**place, Body=body)), ["PUT"], "PutObject")
    etag = s3.head_object(**place)["ETag"]
    if server != "minio":
        # MinIO keeps no conditions of deletions.
        equal(found.of(lambda: s3.delete_object(**place, IfMatch=etag)), ["DELETE"], "DeleteObject if it is the one that was seen")
        s3.put_object(**place, Body=body)
    equal(found.of(lambda: s3.delete_object(**place)), ["DELETE"], "DeleteObject")
    for key in ("many/1", "many/2"):
        found.bodies(key, 10)
    many = {"Objects": [{"Key": "many/1"}, {"Key": "many/2"}]}
    equal(found.of(lambda: s3.delete_objects(Bucket=found.t.bucket, Delete=many)), ["POST"], "DeleteObjects")


@case
def checksum_mode_costs_a_request_only_where_a_checksum_came_behind_a_large_body(t):
    found = counter(t)
    s3, bucket = found.t.s3, found.t.bucket
    asked = {"ChecksumMode": "ENABLED"}

    def sent(key, size, headers=None, framing=None):
        answer = found.t.raw.request("PUT", found.t.path(key), headers=headers or {}, body=data(size, key), framing=framing)
        equal(answer.status, 200, f"PUT {key}: {answer}")

    def trailer(key, size):
        name = checksums.header("CRC32")
        sent(key, size, framing=sigv4.Framing(sigv4.STREAM_UNSIGNED_TRAILER, trailers=((name, checksums.value("CRC32", data(size, key))),)))

    def costs(key):
        return (len(found.of(lambda: get(found, key, **asked))), len(found.of(lambda: s3.head_object(Bucket=bucket, Key=key, **asked))))

    sent("sum/header", LARGE, {checksums.header("CRC32"): checksums.value("CRC32", data(LARGE, "sum/header"))})
    equal(costs("sum/header"), (1, 1), "requests of GET and HEAD where it came in a header")
    # boto3 asks of every object, also of what rclone or minio-go stored without any.
    sent("sum/none", LARGE)
    equal(costs("sum/none"), (1, 1), "requests of GET and HEAD where none came")
    sent("sum/small", 1000)
    equal(costs("sum/small"), (1, 2), "requests of GET and HEAD where none came with a small body")
    trailer("sum/trailer-small", 1000)
    equal(costs("sum/trailer-small"), (1, 2), "requests of GET and HEAD where it came behind a small body")
    trailer("sum/trailer", LARGE)
    equal(costs("sum/trailer"), (2, 2), "requests of GET and HEAD where it came behind a large body")
    parts = found.bodies("sum/parts", FIVE, 100_000)
    equal(costs(parts), (2, 1), "requests of a GET, cold, and of a HEAD, warm, of an upload")
    equal(costs(parts), (1, 1), "requests of GET and HEAD of an upload, warm")
    # A copy keeps what is known of its source, whoever copies, and with metadata of its own too.
    source = {"Bucket": bucket, "Key": "sum/none"}
    s3.copy_object(Bucket=bucket, Key="sum/copy", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="sum/described", CopySource=source, MetadataDirective="REPLACE", Metadata={"mine": "y"})
    equal((costs("sum/copy"), costs("sum/described")), ((1, 1), (1, 1)), "requests of GET and HEAD of copies of one without")


@case
def a_part_by_its_number(t):
    found = counter(t)
    single, parts = found.bodies("numbered", LARGE), found.bodies("numbered-parts", FIVE, 100_000)
    head = lambda key: found.of(lambda: found.t.s3.head_object(Bucket=found.t.bucket, Key=key, PartNumber=1))  # noqa: E731
    equal(head(single), ["HEAD"], "HEAD of the only part")
    equal(len(head(parts)), 2, "requests of a HEAD of a part, cold")
    equal(len(head(parts)), 1, "requests of a HEAD of a part, warm")
    equal(len(found.of(lambda: get(found, single, PartNumber=1))), 1, "requests of a GET of the only part")


@case(seconds=240)
def a_page_of_a_listing_is_one_request(t):
    found = counter(t)
    bucket, s3 = found.t.fresh_bucket(), found.t.s3
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: s3.put_object(Bucket=bucket, Key=f"list/{number:04}", Body=b""), range(PAGE + 1)))
    first = s3.list_objects_v2(Bucket=bucket)
    # Hidden objects are on the storage's page too: a client's may have fewer.
    equal((first["KeyCount"] > PAGE - 10, first["IsTruncated"]), (True, True), f"a full first page ({first['KeyCount']})")
    equal(found.of(lambda: s3.list_objects_v2(Bucket=bucket)), ["GET list-type"], "ListObjectsV2")
    equal(found.of(lambda: s3.list_objects(Bucket=bucket)), ["GET"], "ListObjects")
    token = first["NextContinuationToken"]
    equal(found.of(lambda: s3.list_objects_v2(Bucket=bucket, ContinuationToken=token)), ["GET list-type"], "the next page")
    equal(found.of(lambda: s3.list_objects_v2(Bucket=bucket, Delimiter="/")), ["GET list-type"], "ListObjectsV2 with a delimiter")
    equal(found.of(lambda: s3.list_object_versions(Bucket=bucket)), ["GET versions"], "ListObjectVersions")


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
