"""DeleteObjects: many keys in one request, each with its own outcome."""

import checksums
from cases import case, equal, refused, true, variants
from conformance.support import OTHER_ETAG, filled, parsed, texts


def delete(t, body: bytes, **options):
    return t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(body), **options}, body)


def document(*keys, extra="") -> bytes:
    return f"<Delete>{extra}{''.join(f'<Object><Key>{key}</Key></Object>' for key in keys)}</Delete>".encode()


@case
def names_each_deleted_key(t):
    filled(t, ("named/a", "named/b"))
    root = parsed(delete(t, document("named/a", "named/b")))
    equal((root.tag, sorted(texts(root, "Deleted/Key"))), ("DeleteResult", ["named/a", "named/b"]), "answer")
    equal(t.keys("named/"), [], "keys")


@case
def an_absent_key_counts_as_deleted(t):
    equal(texts(parsed(delete(t, document("never/was"))), "Deleted/Key"), ["never/was"], "deleted")


@case
def quiet_names_only_errors(t):
    filled(t, ("quiet/a",))
    root = parsed(delete(t, document("quiet/a", extra="<Quiet>true</Quiet>")))
    equal(list(root), [], "elements")
    equal(t.keys("quiet/"), [], "keys")


@case
def not_quiet_said_so(t):
    filled(t, ("loud/a",))
    equal(texts(parsed(delete(t, document("loud/a", extra="<Quiet>false</Quiet>"))), "Deleted/Key"), ["loud/a"], "deleted")


@case
def leaves_the_others(t):
    filled(t, ("others/a", "others/b", "others/c"))
    delete(t, document("others/b"))
    equal(t.keys("others/"), ["others/a", "others/c"], "keys")


@case
def the_same_key_twice(t):
    filled(t, ("twice/a",))
    root = parsed(delete(t, document("twice/a", "twice/a")))
    true(set(texts(root, "Deleted/Key")) == {"twice/a"} and not root.findall("Error"), "answer")


@case
def a_thousand_keys(t):
    filled(t, ("thousand/0", "thousand/999"))
    root = parsed(delete(t, document(*(f"thousand/{number}" for number in range(1000)), extra="<Quiet>true</Quiet>")))
    equal((list(root), t.keys("thousand/")), ([], []), "answer and keys")


@case
def a_thousand_and_one_keys(t):
    filled(t, ("more/0",))
    refused(delete(t, document(*(f"more/{number}" for number in range(1001)))), 400, "MalformedXML")
    equal(t.keys("more/"), ["more/0"], "keys")


@variants(markup="a&lt;b&gt;&amp;c", unicode="日本/ä", space="a b", quote="it's &quot;it&quot;", percent="100%25", plus="a+b", slash_end="dir/")
def a_key_with(t, escaped):
    key = "odd/" + escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    filled(t, (key,))
    root = parsed(delete(t, f"<Delete><Object><Key>odd/{escaped}</Key></Object></Delete>".encode()))
    equal((texts(root, "Deleted/Key"), t.keys("odd/")), ([key], []), "answer and keys")


@variants(no_xml=b"delete a", not_closed=b"<Delete><Object>", no_object=b"<Delete></Delete>", another_document=b"<Tagging/>",
          no_key=b"<Delete><Object></Object></Delete>", an_empty_key=b"<Delete><Object><Key></Key></Object></Delete>")
def a_document_that_is_none(t, body):
    refused(delete(t, body), 400, "MalformedXML", "UserKeyMustBeSpecified")


@case
def needs_a_checksum(t):
    filled(t, ("unsummed",))
    refused(t.raw.request("POST", t.path(), [("delete", "")], body=document("unsummed")), 400, "InvalidRequest", "MissingContentMD5")
    equal(t.keys("unsummed"), ["unsummed"], "keys")


@case
def a_wrong_md5_deletes_nothing(t):
    filled(t, ("md5",))
    answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(b"x")}, document("md5"))
    refused(answer, 400, "BadDigest")
    equal(t.keys("md5"), ["md5"], "keys")


@variants(crc32="CRC32", crc32c="CRC32C", sha1="SHA1", sha256="SHA256", crc64nvme="CRC64NVME")
def takes_a_checksum_instead_of_md5(t, algorithm):
    filled(t, ("summed",))
    body = document("summed")
    answer = t.raw.request("POST", t.path(), [("delete", "")], {checksums.header(algorithm): checksums.value(algorithm, body)}, body)
    equal((answer.status, t.keys("summed")), (200, []), f"answer {answer}")


@case
def a_wrong_checksum_deletes_nothing(t):
    filled(t, ("wrong-sum",))
    answer = t.raw.request("POST", t.path(), [("delete", "")], {"x-amz-checksum-crc32": checksums.value("CRC32", b"x")}, document("wrong-sum"))
    refused(answer, 400, "BadDigest")
    equal(t.keys("wrong-sum"), ["wrong-sum"], "keys")


@case
def an_etag_that_matches(t):
    etag = t.put("etag/right")["ETag"]
    body = f"<Delete><Object><Key>etag/right</Key><ETag>{etag}</ETag></Object></Delete>".encode()
    root = parsed(delete(t, body))
    equal((texts(root, "Deleted/Key"), t.keys("etag/right")), (["etag/right"], []), "answer and keys")


@case
def an_etag_that_does_not(t):
    filled(t, ("etag/wrong", "etag/other"))
    body = (f"<Delete><Object><Key>etag/wrong</Key><ETag>{OTHER_ETAG}</ETag></Object><Object><Key>etag/other</Key></Object></Delete>").encode()
    root = parsed(delete(t, body))
    equal(texts(root, "Error/Code"), ["PreconditionFailed"], "errors")
    equal((texts(root, "Deleted/Key"), t.keys("etag/")), (["etag/other"], ["etag/wrong"]), "deleted and left")


@variants(empty="<ETag></ETag>", quotes='<ETag>""</ETag>', closed="<ETag/>")
def an_etag_that_names_none(t, etag):
    filled(t, ("etag/none", "etag/rest"))
    body = f"<Delete><Object><Key>etag/none</Key>{etag}</Object><Object><Key>etag/rest</Key></Object></Delete>".encode()
    root = parsed(delete(t, body))
    equal(texts(root, "Error/Code"), ["PreconditionFailed"], "errors")
    equal((texts(root, "Deleted/Key"), "etag/none" in t.keys("etag/")), (["etag/rest"], True), "deleted and left")


@case
def in_a_bucket_that_is_not_there(t):
    body = document("x")
    answer = t.raw.request("POST", f"/{t.bucket}-absent", [("delete", "")], {"content-md5": checksums.content_md5(body)}, body)
    refused(answer, 404, "NoSuchBucket")


@case
def anonymous_is_refused(t):
    filled(t, ("anonymous",))
    body = document("anonymous")
    answer = t.raw.request("POST", t.path(), [("delete", "")], {"content-md5": checksums.content_md5(body)}, body,
                           alter=lambda headers: headers.pop("authorization"))
    refused(answer, 403, "AccessDenied")
    equal(t.keys("anonymous"), ["anonymous"], "keys")


@case
def a_namespace_is_taken(t):
    filled(t, ("namespace",))
    body = b'<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>namespace</Key></Object></Delete>'
    equal(texts(parsed(delete(t, body)), "Deleted/Key"), ["namespace"], "deleted")
