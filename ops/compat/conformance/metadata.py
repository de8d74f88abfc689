"""User metadata and content headers."""

import base64
import email.header

from cases import case, data, equal, raises, true, variants


def stored(t, headers):
    """What HEAD shows after a PUT with these headers."""
    answer = t.raw.request("PUT", t.path("metadata"), headers=headers, body=b"x")
    equal(answer.status, 200, f"answer {answer}")
    return t.raw.request("HEAD", t.path("metadata")).headers


@variants(simple="value", empty="", digits="0123456789", punctuation="a=b;c,d'e\"f", inner_spaces="a b  c", long="v" * 1000,
          an_encoded_word="=?UTF-8?Q?=C3=A4?=", percent="100%25", looks_like_json='{"a": 1}', markup="<a>&amp;</a>")
def a_value_comes_back(t, value):
    equal(stored(t, {"x-amz-meta-a": value})["x-amz-meta-a"], value, "value")


@variants(upper_case="X-Amz-Meta-UPPER", underscore="x-amz-meta-a_b", digits="x-amz-meta-123", dots="x-amz-meta-a.b", dashes="x-amz-meta-a-b-c")
def a_name_comes_back(t, name):
    equal(stored(t, {name: "1"})[name], "1", "value")


@variants(latin="grün", japanese="日本")
def a_value_that_is_not_ascii_comes_back(t, value):
    # AWS, "Working with object metadata": such a value may come back encoded as RFC 2047 says.
    found = stored(t, {"x-amz-meta-a": value})["x-amz-meta-a"]
    encoded = "".join(text if isinstance(text, str) else text.decode(charset or "utf-8") for text, charset in email.header.decode_header(found))
    true(value in (encoded, found.encode("latin-1", "replace").decode("utf-8", "replace")), f"value {found!r}")


@case
def names_are_in_lower_case(t):
    stored(t, {"X-Amz-Meta-MiXeD": "1"})
    equal(t.s3.head_object(Bucket=t.bucket, Key="metadata")["Metadata"], {"mixed": "1"}, "metadata")


@case
def spaces_around_a_value_go(t):
    equal(stored(t, {"x-amz-meta-a": "  value  "})["x-amz-meta-a"], "value", "value")


@case
def many_names(t):
    wanted = {f"name{number:02}": f"value{number}" for number in range(40)}
    t.put("many", Metadata=wanted)
    equal(t.s3.head_object(Bucket=t.bucket, Key="many")["Metadata"], wanted, "metadata")


@case
def are_replaced_by_the_next_put(t):
    t.put("replaced", Metadata={"old": "1"})
    t.put("replaced", Metadata={"new": "2"})
    equal(t.s3.head_object(Bucket=t.bucket, Key="replaced")["Metadata"], {"new": "2"}, "metadata")


@case
def none_are_kept_by_a_put_without_any(t):
    t.put("dropped", Metadata={"old": "1"})
    t.put("dropped")
    equal(t.s3.head_object(Bucket=t.bucket, Key="dropped")["Metadata"], {}, "metadata")


@case
def two_kilobytes_fit(t):
    # AWS: the sum of the bytes of names and values, at most 2 KB. The prefix does not count.
    value = "v" * (2048 - len("long"))
    t.put("full", Metadata={"long": value})
    equal(t.s3.head_object(Bucket=t.bucket, Key="full")["Metadata"], {"long": value}, "metadata")


@case
def two_kilobytes_without_pattern_fit(t):
    value = base64.b64encode(data(1530)).decode()
    t.put("dense", Metadata={"long": value})
    equal(t.s3.head_object(Bucket=t.bucket, Key="dense")["Metadata"], {"long": value}, "metadata")


@case
def a_byte_more_does_not(t):
    with raises("MetadataTooLarge", status=400):
        t.put("over", Metadata={"long": "v" * (2049 - len("long"))})
    equal(t.keys("over"), [], "keys")


@variants(
    type=("content-type", "application/x-thing; charset=utf-8"), encoding=("content-encoding", "gzip"), two_encodings=("content-encoding", "br,gzip"),
    language=("content-language", "de, en"), disposition=("content-disposition", 'attachment; filename="a b.txt"'),
    cache=("cache-control", "max-age=60, public"), expires=("expires", "Mon, 03 Feb 2031 04:05:06 GMT"), expires_that_is_no_date=("expires", "never"),
)
def a_header_comes_back(t, name, value):
    equal(stored(t, {name: value})[name], value, name)


@case
def aws_chunked_is_no_encoding(t):
    found = stored(t, {"content-encoding": "aws-chunked"})["Content-Encoding"]
    true(not found, f"Content-Encoding {found}")


@case
def the_default_type(t):
    equal(stored(t, {})["Content-Type"], "binary/octet-stream", "Content-Type")


@variants(type=("response-content-type", "Content-Type", "text/css"), cache=("response-cache-control", "Cache-Control", "no-store"),
          disposition=("response-content-disposition", "Content-Disposition", "attachment; filename=a"),
          encoding=("response-content-encoding", "Content-Encoding", "br"), language=("response-content-language", "Content-Language", "fr"),
          expires=("response-expires", "Expires", "Thu, 01 Dec 2033 16:00:00 GMT"))
def an_answers_header_is_overridden(t, parameter, header, value):
    t.put("override", ContentType="text/plain", CacheControl="private")
    for method in ("GET", "HEAD"):
        answer = t.raw.request(method, t.path("override"), [(parameter, value)])
        equal((answer.status, answer.headers[header]), (200, value), method)
    # Only that answer's.
    equal(t.raw.request("HEAD", t.path("override")).headers["Content-Type"], "text/plain", "Content-Type afterwards")
