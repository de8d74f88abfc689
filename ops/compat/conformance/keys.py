"""Keys: every spelling that S3 allows comes back as it was, in reads, lists and deletions."""

import sigv4
from cases import case, equal, refused, variants


@variants(
    space="a b", leading_space=" a", trailing_space="a ", two_spaces="a  b", plus="a+b", percent="100%", encoded_percent="a%2Fb", encoded_twice="a%252Fb",
    question="a?b", hash="a#b", ampersand="a&b=c", equals="a=b", semicolon="a;b", colon="a:b", comma="a,b", at="a@b", dollar="a$b", quote="it's",
    double_quote='say "hi"', angle_brackets="<a>", braces="{a}", brackets="[a]", parentheses="(a)", star="a*b", exclamation="a!b", tilde="~a",
    pipe="a|b", caret="a^b", backtick="a`b", backslash="a\\b", underscore="_a_", dash="-a-", dot_first=".a", dot_last="a.", three_dots="...",
    latin="grün", greek="αβγ", japanese="日本語", emoji="🙂", combining="e\u0301", right_to_left="שלום", zero_width="a\u200bb",
    newline="a\nb", tab="a\tb", carriage_return="a\rb", upper_and_lower="aA", only_digits="0123", slash_end="dir/", slash_inside="a/b/c",
    a_component_of_200="x" * 200, forty_levels="/".join("d" * 40), xml_entity="&amp;", a_name_of_windows="con.txt", json="a.json", subresource="acl",
)
def round_trips(t, name):
    key = f"key/{name}"
    equal(t.raw.request("PUT", t.path(key), body=key.encode()).status, 200, "status of PUT")
    answer = t.raw.request("GET", t.path(key))
    equal((answer.status, answer.body), (200, key.encode()), "answer of GET")
    found = [entry["Key"] for entry in t.s3.list_objects_v2(Bucket=t.bucket, Prefix=key)["Contents"]]
    equal(found, [key], "listed keys")
    equal(t.raw.request("DELETE", t.path(key)).status, 204, "status of DELETE")
    equal(t.raw.request("HEAD", t.path(key)).status, 404, "status of HEAD afterwards")


@variants(two_slashes="two//slashes", slash_first="/first", many_slashes="a///b", dot="./a", dot_inside="a/./b", two_dots="a/../b")
def looks_like_a_path(t, key):
    # Opaque bytes to S3: never resolved.
    path = f"/{t.bucket}/{sigv4.encode(key, '/')}"
    answer = t.raw.request("PUT", path, body=key.encode())
    equal(answer.status, 200, f"answer {answer}")
    equal(t.raw.request("GET", path).body, key.encode(), "body")
    equal([entry["Key"] for entry in t.s3.list_objects_v2(Bucket=t.bucket, Prefix=key)["Contents"]], [key], "listed keys")
    equal(t.raw.request("DELETE", path).status, 204, "status of DELETE")


@variants(a_bytes=1024, two_byte_characters=512)
def the_longest(t, length):
    character = "k" if length == 1024 else "ü"
    key = character * length if length == 512 else ("k" * 127 + "/") * 8
    equal(len(key.encode()), 1024, "bytes")
    t.put(key, b"longest")
    equal(t.get(key), b"longest", "body")


@variants(a_bytes="k" * 1025, two_byte_characters="ü" * 513, levels="a/" * 513)
def one_too_long(t, key):
    refused(t.raw.request("PUT", t.path(key), body=b"x"), 400, "KeyTooLongError")


@case
def case_counts(t):
    t.put("case/Key", b"upper")
    t.put("case/key", b"lower")
    equal((t.get("case/Key"), t.get("case/key")), (b"upper", b"lower"), "bodies")


@case
def normal_forms_are_different_keys(t):
    t.put("form/\u00e9", b"composed")
    t.put("form/e\u0301", b"decomposed")
    equal((t.get("form/\u00e9"), t.get("form/e\u0301")), (b"composed", b"decomposed"), "bodies")


@case
def a_key_and_a_directory_of_its_name(t):
    t.put("same", b"object")
    t.put("same/", b"marker")
    t.put("same/inside", b"inside")
    equal([t.get(key) for key in ("same", "same/", "same/inside")], [b"object", b"marker", b"inside"], "bodies")


@case
def a_marker_may_have_a_body(t):
    t.put("marker/", b"a body")
    equal(t.get("marker/"), b"a body", "body")


@case
def encoded_and_plain_spelling_are_one_key(t):
    answer = t.raw.request("PUT", t.path() + "/%6Bey%2Fone", body=b"one")
    equal((answer.status, t.get("key/one")), (200, b"one"), "answer")


@case
def lower_and_upper_case_hex_are_one_key(t):
    equal(t.raw.request("PUT", t.path() + "/hex%2fkey", body=b"hex").status, 200, "status")
    equal(t.raw.request("GET", t.path() + "/hex%2Fkey").body, b"hex", "body")


@case
def bytes_that_are_no_utf8_are_refused(t):
    answer = t.raw.request("PUT", t.path() + "/%ff", body=b"x")
    refused(answer, 400)
