"""A storage whose bytes are right and whose answers are not: told by a proxy, the ETag unchanged."""

import re

import layout
import proxied
from cases import case, equal, raises, true
from tamper_table import METRIC, Table, outcome


def table(t) -> tuple[Table, object]:
    found = proxied.of(t)
    if not hasattr(t, "table"):
        t.table = Table(found.context)
    return t.table, found.proxy


def of_key(key, change, methods=("GET",), when=lambda request: True):
    """Lets `change` alter the answers about a key."""

    def act(exchange):
        answer = exchange.forward()
        if 200 <= answer.status < 300:
            change(answer)
        exchange.tell(answer)

    return lambda request: act if request.method in methods and request.path.endswith(f"/{key}") and not request.query.get("uploads") and when(request) else None


def lied(t, key, change, whole, methods=("GET",), counted=True):
    """A whole GET and ranges while the storage lies, and after."""
    found, proxy = table(t)
    thing = found.things[key]
    # Once more, so that a part table is known to the node.
    equal(outcome(found.whole(key), thing.body), "right", "the object before")
    before = found.metric()
    with proxy.lying(of_key(key, change, methods)):
        seen = found.whole(key)
        true(outcome(seen, thing.body, nonsense="503" in whole) in whole, f"whole GET of {key}: {seen}")
        ranges = [found.wire.fetch("GET", t.proxied.context.path(key), (), {"range": f"bytes={start}-{start + 99}"})
                  for start in (0, len(thing.body) // 2, len(thing.body) - 100)]
        for answer in ranges:
            true(answer.body in thing.body or not answer.ok, f"wrong bytes in a range: {answer}")
        true(proxy.touched, "the proxy told no lie")
    if counted:
        true(found.metric() > before, f"{METRIC} did not rise")
    equal(outcome(found.whole(key), thing.body), "right", "the object after")


def altered(change):
    """Alters an answer's body, whatever range it is."""

    def apply(answer):
        answer.body = change(answer.body)

    return apply


@case
def a_storage_that_looks_at_the_range_before_conditions(t):
    """RFC 9110 and S3 look at conditions first; the servers here do too."""
    found, proxy = table(t)
    context = t.proxied.context
    etag = context.s3.head_object(Bucket=context.bucket, Key="single")["ETag"]

    def unsatisfiable(exchange):
        answer = exchange.forward()
        true(answer.status in (304, 412, 416), f"the storage answers {answer.status}")
        answer.status, answer.body = 416, b"<Error><Code>InvalidRange</Code><Message>The requested range is not satisfiable</Message></Error>"
        answer.set("content-length", str(len(answer.body)))
        exchange.tell(answer)

    def rule(request):
        return unsatisfiable if request.method == "GET" and request.path.endswith("/single") and "range" in request.headers else None

    with proxy.lying(rule):
        for headers, status in (({"if-none-match": etag}, 304), ({"if-match": '"0123456789abcdef0123456789abcdef-0"'}, 412), ({"if-match": etag}, 416)):
            seen = found.wire.fetch("GET", context.path("single"), (), {"range": "bytes=99999999-", **headers})
            equal(seen.status, status, f"a range beyond the end with {headers}")
        true(len(proxy.touched) >= 3, "the proxy told no lie")


@case
def the_storage_class_of_an_upload_is_the_storages_word(t):
    """The servers here say STANDARD, or nothing, whatever an upload was created with."""
    table(t)
    context = t.proxied.context
    place = {"Bucket": context.bucket, "Key": "classed"}
    upload = context.s3.create_multipart_upload(**place)["UploadId"]

    def colder(exchange):
        answer = exchange.forward()
        answer.body = re.sub(rb"<StorageClass>[A-Z]*</StorageClass>", b"", answer.body)
        answer.body = answer.body.replace(b"</UploadId>", b"</UploadId><StorageClass>STANDARD_IA</StorageClass>")
        answer.set("content-length", str(len(answer.body)))
        exchange.tell(answer)

    with t.proxied.proxy.lying(lambda request: colder if request.method == "GET" and {"uploads", "uploadId"} & set(request.query) else None):
        found = context.s3.list_parts(**place, UploadId=upload)["StorageClass"]
        equal(found, "STANDARD_IA", "ListParts' class")
        uploads = context.s3.list_multipart_uploads(Bucket=context.bucket)["Uploads"]
        equal([entry["StorageClass"] for entry in uploads if entry["UploadId"] == upload], ["STANDARD_IA"], "ListMultipartUploads' class")
    context.s3.abort_multipart_upload(**place, UploadId=upload)


@case
def a_flip_in_an_answer_under_the_same_etag(t):
    for key in ("small", "single", "attempts", "multi"):
        for place in (0.0, 0.5, 0.999):
            lied(t, key, altered(lambda body, place=place: layout.flipped(body, int(len(body) * place))), ("422", "cut"))


@case
def chunks_of_an_answer_swapped_under_the_same_etag(t):
    size = layout.CHUNK + layout.OVERHEAD
    for key in ("single", "attempts", "multi"):
        lied(t, key, altered(lambda body: body[size:2 * size] + body[:size] + body[2 * size:]), ("422", "cut"))


@case
def parts_of_an_answer_swapped_under_the_same_etag(t):
    first, second = (table(t)[0].things["multi"].part(number) for number in (1, 2))

    def swap(body):
        return body[second] + body[first] + body[second.stop:] if len(body) > second.stop else layout.flipped(body, 0)

    lied(t, "multi", altered(swap), ("422", "cut"))


@case
def another_objects_answer(t):
    found, _ = table(t)
    for key, other in (("single", "single2"), ("multi", "multi2")):
        body = found.things[other].genuine.body
        lied(t, key, altered(lambda own, body=body: body if len(own) == len(body) else layout.flipped(own, 0)), ("422", "cut"))


def head_says(size):
    def change(answer):
        answer.set("content-length", str(size))

    return change


@case
def head_lies_about_the_size_of_a_single_put(t):
    found, proxy = table(t)
    for key in ("small", "single", "empty"):
        genuine = len(found.things[key].genuine.body)
        for size in (0, 1, genuine - 1, genuine + 1, layout.stored_size(len(found.things[key].body) + 1), layout.stored_size(0) + (key == "empty")):
            before = found.metric()
            with proxy.lying(of_key(key, head_says(size), ("HEAD",))):
                seen = found.wire.fetch("HEAD", t.proxied.context.path(key))
                true(proxy.touched, "the proxy told no lie")
            equal(seen.status, 422, f"HEAD of {key} with size {size}: {seen}")
            true(found.metric() > before, f"{METRIC} did not rise")
        seen = found.wire.fetch("HEAD", t.proxied.context.path(key))
        equal((seen.status, seen.length), (200, len(found.things[key].body)), "HEAD after")


@case
def head_lies_about_the_size_of_a_multipart_object(t):
    # Not provable without reading the trailer, and said so: what HEAD shows is the storage's word. A GET shows the truth.
    found, proxy = table(t)
    thing = found.things["multi"]
    boundary = thing.part(2).stop
    for size, shown in ((boundary, layout.plaintext_size(boundary)), (layout.stored_size(7), 7), (1, None), (len(thing.genuine.body) - 1, "inverse")):
        shown = layout.plaintext_size(size) if shown == "inverse" else shown
        with proxy.lying(of_key("multi", head_says(size), ("HEAD",))):
            seen = found.wire.fetch("HEAD", t.proxied.context.path("multi"))
            equal((seen.status, seen.length if seen.ok else None), (200, shown) if shown is not None else (422, None), f"HEAD with size {size}")
            equal(outcome(found.whole("multi"), thing.body), "right", "the GET")
            # What needs the trailer finds the lie.
            for query in ([("partNumber", "1")],):
                equal(found.wire.fetch("HEAD", t.proxied.context.path("multi"), query).status, 422, f"HEAD of a part with size {size}")
            true(proxy.touched, "the proxy told no lie")


def length_of(cut):
    """A GET of a whole object that is shorter or longer, and consistent in itself."""

    def change(answer):
        answer.body = cut(answer.body)
        answer.set("content-length", str(len(answer.body)))
        answered = re.match(r"bytes (\d+)-(\d+)/(\d+)", answer.header("content-range") or "")
        if answered:
            first = int(answered[1])
            answer.set("content-range", f"bytes {first}-{first + len(answer.body) - 1}/{answered[3]}")

    return change


@case
def get_lies_about_the_size(t):
    for key in ("small", "single", "attempts", "multi"):
        for cut in (lambda body: body[:-1], lambda body: body[:len(body) // 2], lambda body: body + b"\0",
                    lambda body: body[:min(layout.CHUNK + layout.OVERHEAD, len(body) // 3)]):
            # A range that ends beyond its own total makes no sense: 503.
            lied(t, key, length_of(cut), ("422", "cut", "503"), counted=False)


@case
def get_at_a_parts_end_with_a_size_that_is_one(t):
    thing = table(t)[0].things["multi"]
    for number in (1, 2):
        end = thing.part(number).stop
        true(layout.plaintext_size(end) is not None, "the part's end is no valid size")
        lied(t, "multi", length_of(lambda body, end=end: body[:end]), ("422", "cut"), counted=False)


@case
def the_total_of_a_range_is_a_lie(t):
    found, proxy = table(t)

    def change(answer):
        answer.set("content-range", re.sub(r"/\d+$", f"/{layout.stored_size(9_000_000)}", answer.header("content-range") or ""))

    for key in ("single", "multi"):
        with proxy.lying(of_key(key, change, when=lambda request: "range" in request.headers)):
            seen = found.wire.fetch("GET", t.proxied.context.path(key), (), {"range": "bytes=0-99"})
            true(proxy.touched, "the proxy told no lie")
        equal(seen.status, 422, f"range of {key}: {seen}")


@case
def another_range_than_was_asked_for(t):
    found, proxy = table(t)

    def later(answer):
        first, last, total = map(int, re.match(r"bytes (\d+)-(\d+)/(\d+)", answer.header("content-range")).groups())
        answer.set("content-range", f"bytes {first + 1}-{last + 1}/{total}")

    for key in ("single", "multi"):
        with proxy.lying(of_key(key, later, when=lambda request: "range" in request.headers)):
            for start in (0, 300_000):
                seen = found.wire.fetch("GET", t.proxied.context.path(key), (), {"range": f"bytes={start}-{start + 99}"})
                true(not seen.ok or seen.body == b"" and not seen.complete, f"range of {key}: {seen}")
            true(proxy.touched, "the proxy told no lie")


@case
def headers_of_an_answer_are_not_believed(t):
    def change(answer):
        answer.set("content-type", "text/html")
        answer.set("content-encoding", "gzip")
        answer.set("content-disposition", "inline")
        answer.set("set-cookie", "a=b")
        answer.set("location", "http://elsewhere/")
        answer.set("x-amz-meta-mine", "forged")
        answer.set("x-amz-website-redirect-location", "http://elsewhere/")

    found, proxy = table(t)
    for key in ("single", "bare", "attempts"):
        with proxy.lying(of_key(key, change, ("GET", "HEAD"))):
            for method in ("GET", "HEAD"):
                seen = found.wire.fetch(method, t.proxied.context.path(key))
                true(seen.ok, f"{method} of {key}: {seen}")
                found.describes(found.things[key], seen)
                for name in ("content-disposition", "set-cookie", "location", "x-amz-website-redirect-location"):
                    equal(seen.headers[name], None, f"{name} at {method} of {key}")
                equal(seen.headers["x-amz-meta-mine"], "genuine" if key == "single" else None, "the client's metadata")
            true(proxy.touched, "the proxy told no lie")


@case
def a_listing_shows_what_the_storage_says(t):
    # Sizes and absence are the storage's word, by the format: the next GET tells.
    found, proxy = table(t)
    context = t.proxied.context
    size = len(found.things["small"].genuine.body)

    def change(answer):
        answer.body = answer.body.replace(b"<Size>%d</Size>" % size, b"<Size>%d</Size>" % layout.stored_size(77))
        answer.set("content-length", str(len(answer.body)))

    def act(exchange):
        answer = exchange.forward()
        change(answer)
        exchange.tell(answer)

    with proxy.lying(lambda request: act if "list-type" in request.query else None):
        listed = context.s3.list_objects_v2(Bucket=context.bucket, Prefix="small")["Contents"]
        true(proxy.touched, "the proxy told no lie")
    equal([(entry["Key"], entry["Size"]) for entry in listed], [("small", 77)], "the listing")
    with raises("NoSuchKey", status=404), proxy.lying(lambda request: missing if request.method == "GET" else None):
        context.get("small")


def missing(exchange):
    body = b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
    exchange.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
