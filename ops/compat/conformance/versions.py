"""Versioning: states, versions and markers, reading and deleting by version."""

import checksums
from cases import case, equal, raises, refused, true, variants
from conformance.support import headers, multipart, parsed, status, texts


def versioned(t) -> str:
    """A bucket with versioning on, which the cases share with keys of their own."""
    def make():
        name = t.fresh_bucket()
        t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    return t.shared("versioned", make)


def suspend(t, name):
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})


def put(t, key, body=b"body", bucket=None, **options) -> str:
    """The version id of a new version."""
    return t.s3.put_object(Bucket=bucket or versioned(t), Key=key, Body=body, **options)["VersionId"]


def read(t, key, version=None, bucket=None) -> bytes:
    options = {"VersionId": version} if version else {}
    return t.s3.get_object(Bucket=bucket or versioned(t), Key=key, **options)["Body"].read()


def three(t, key):
    """The version ids of three versions with the bodies 0, 1 and 2."""
    return [put(t, key, b"%d" % number) for number in range(3)]


@case
def a_bucket_is_not_versioned_by_itself(t):
    name = t.fresh_bucket()
    true("Status" not in t.s3.get_bucket_versioning(Bucket=name), "a Status although versioning was never on")
    true("VersionId" not in t.s3.put_object(Bucket=name, Key="key", Body=b"x"), "a version id")
    true("x-amz-version-id" not in headers(t.s3.get_object(Bucket=name, Key="key")), "x-amz-version-id on GET")


@case
def on_and_suspended_are_told(t):
    name = t.fresh_bucket()
    for state in ("Enabled", "Suspended", "Enabled"):
        t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": state})
        equal(t.s3.get_bucket_versioning(Bucket=name)["Status"], state, "Status")


@variants(no_state=b"<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", no_xml=b"on", nothing=b"",
          not_closed=b"<VersioningConfiguration><Status>Enabled")
def a_document_that_is_none(t, body):
    name = t.shared("never versioned", t.fresh_bucket)
    refused(t.raw.request("PUT", f"/{name}", [("versioning", "")], body=body), 400, "MalformedXML", "IllegalVersioningConfigurationException",
            "MissingRequestBodyError")
    true("Status" not in t.s3.get_bucket_versioning(Bucket=name), "versioning is on")


@case
def each_put_has_a_version_of_its_own(t):
    ids = three(t, "own")
    equal(len(set(ids)), 3, "different version ids")
    true("null" not in ids, f"version ids {ids}")


@case
def get_answers_the_newest_and_its_id(t):
    ids = three(t, "newest")
    answer = t.s3.get_object(Bucket=versioned(t), Key="newest")
    equal((answer["Body"].read(), answer["VersionId"]), (b"2", ids[2]), "body and version")


@case
def get_by_version(t):
    ids = three(t, "by-version")
    equal([read(t, "by-version", version) for version in ids], [b"0", b"1", b"2"], "bodies")


@case
def head_by_version(t):
    ids = [put(t, "head", b"x" * length) for length in (1, 20, 300)]
    for version, length in zip(ids, (1, 20, 300)):
        answer = t.s3.head_object(Bucket=versioned(t), Key="head", VersionId=version)
        equal((answer["ContentLength"], answer["VersionId"]), (length, version), "length and version")


@case
def range_by_version(t):
    ids = [put(t, "range", body) for body in (b"0123456789", b"abcdefghij")]
    answer = t.s3.get_object(Bucket=versioned(t), Key="range", VersionId=ids[0], Range="bytes=2-4")
    equal((answer["Body"].read(), answer["ContentRange"]), (b"234", "bytes 2-4/10"), "range")


@case
def each_version_keeps_its_metadata_and_etag(t):
    found = []
    for number in range(2):
        answer = t.s3.put_object(Bucket=versioned(t), Key="metadata", Body=b"%d" % number, Metadata={"n": str(number)})
        found.append((answer["VersionId"], answer["ETag"]))
    for number, (version, etag) in enumerate(found):
        head = t.s3.head_object(Bucket=versioned(t), Key="metadata", VersionId=version)
        equal((head["Metadata"], head["ETag"]), ({"n": str(number)}, etag), "metadata and ETag")


@case
def delete_leaves_a_marker(t):
    version = put(t, "marked")
    answer = t.s3.delete_object(Bucket=versioned(t), Key="marked")
    equal((status(answer), answer["DeleteMarker"]), (204, True), "status and marker")
    true(answer["VersionId"] not in (version, "null"), "the marker has no version of its own")
    refused(t.raw.request("GET", f"/{versioned(t)}/marked"), 404, "NoSuchKey")
    equal(read(t, "marked", version), b"body", "body of the version")


@case
def a_404_by_a_marker_says_so(t):
    put(t, "said")
    marker = t.s3.delete_object(Bucket=versioned(t), Key="said")["VersionId"]
    for method in ("GET", "HEAD"):
        answer = t.raw.request(method, f"/{versioned(t)}/said")
        equal((answer.status, answer.headers["x-amz-delete-marker"], answer.headers["x-amz-version-id"]), (404, "true", marker), method)


@variants(get="GET", head="HEAD")
def a_marker_by_its_version_is_405(t, method):
    put(t, "marker-read")
    marker = t.s3.delete_object(Bucket=versioned(t), Key="marker-read")["VersionId"]
    answer = t.raw.request(method, f"/{versioned(t)}/marker-read", [("versionId", marker)])
    equal((answer.status, answer.headers["x-amz-delete-marker"]), (405, "true"), "answer")
    if method == "GET":
        equal((answer.code, answer.headers["Allow"]), ("MethodNotAllowed", "DELETE"), "code and Allow")


@case
def deleting_a_marker_brings_the_object_back(t):
    put(t, "back", b"back")
    marker = t.s3.delete_object(Bucket=versioned(t), Key="back")["VersionId"]
    answer = t.s3.delete_object(Bucket=versioned(t), Key="back", VersionId=marker)
    equal((status(answer), answer["DeleteMarker"], answer["VersionId"]), (204, True, marker), "answer")
    equal(read(t, "back"), b"back", "body")


@case
def deleting_what_was_never_there_leaves_a_marker(t):
    answer = t.s3.delete_object(Bucket=versioned(t), Key="never-there")
    equal((status(answer), answer["DeleteMarker"]), (204, True), "answer")
    found = t.s3.list_object_versions(Bucket=versioned(t), Prefix="never-there")
    equal([marker["VersionId"] for marker in found["DeleteMarkers"]], [answer["VersionId"]], "markers")


@case
def deleting_a_version_makes_the_one_before_it_the_newest(t):
    ids = three(t, "peeled")
    answer = t.s3.delete_object(Bucket=versioned(t), Key="peeled", VersionId=ids[2])
    equal((status(answer), answer["VersionId"], answer.get("DeleteMarker", False)), (204, ids[2], False), "answer")
    equal(read(t, "peeled"), b"1", "body")
    t.s3.delete_object(Bucket=versioned(t), Key="peeled", VersionId=ids[0])
    equal(read(t, "peeled"), b"1", "body after an older one went")
    t.s3.delete_object(Bucket=versioned(t), Key="peeled", VersionId=ids[1])
    refused(t.raw.request("GET", f"/{versioned(t)}/peeled"), 404, "NoSuchKey")


@case
def a_deleted_version_is_no_such_version(t):
    ids = three(t, "gone")
    t.s3.delete_object(Bucket=versioned(t), Key="gone", VersionId=ids[1])
    refused(t.raw.request("GET", f"/{versioned(t)}/gone", [("versionId", ids[1])]), 404, "NoSuchVersion")


@case
def a_version_of_another_key_is_no_such_version(t):
    put(t, "key-a")
    other = put(t, "key-b")
    refused(t.raw.request("GET", f"/{versioned(t)}/key-a", [("versionId", other)]), 404, "NoSuchVersion")


@variants(get="GET", delete="DELETE")
def a_version_id_that_is_none_on(t, method):
    put(t, "invalid")
    answer = t.raw.request(method, f"/{versioned(t)}/invalid", [("versionId", "no version")])
    refused(answer, 400, "InvalidArgument")


@case
def an_empty_version_id(t):
    put(t, "empty-id")
    refused(t.raw.request("GET", f"/{versioned(t)}/empty-id", [("versionId", "")]), 400, "InvalidArgument")


@variants(plain={}, size={"x-amz-if-match-size": "1"})
def an_empty_version_id_deletes_nothing(t, conditions):
    # To take it for no version at all leaves a marker, or deletes what was written since.
    put(t, "empty-delete", b"1")
    refused(t.raw.request("DELETE", f"/{versioned(t)}/empty-delete", [("versionId", "")], conditions), 400, "InvalidArgument")
    equal(read(t, "empty-delete"), b"1", "body")


@case
def an_empty_version_id_in_a_list_deletes_nothing(t):
    put(t, "empty-listed", b"1")
    body = b"<Delete><Object><Key>empty-listed</Key><VersionId></VersionId></Object></Delete>"
    answer = t.raw.request("POST", f"/{versioned(t)}", [("delete", "")], {"content-md5": checksums.content_md5(body)}, body)
    equal(answer.status, 200, "status")
    true(b"<Code>InvalidArgument</Code>" in answer.body, f"the error of the key: {answer.body}")
    equal(read(t, "empty-listed"), b"1", "body")


@variants(get="GET", delete="DELETE")
def an_empty_version_id_of_tags(t, method):
    put(t, "empty-tags")
    refused(t.raw.request(method, f"/{versioned(t)}/empty-tags", [("tagging", ""), ("versionId", "")]), 400, "InvalidArgument")


@case
def what_was_there_before_is_null(t):
    name = t.fresh_bucket()
    t.s3.put_object(Bucket=name, Key="old", Body=b"before")
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, "old", b"after", name)
    equal((read(t, "old", "null", name), read(t, "old", version, name), read(t, "old", None, name)), (b"before", b"after", b"after"), "bodies")
    found = [(entry["VersionId"], entry["IsLatest"]) for entry in t.s3.list_object_versions(Bucket=name)["Versions"]]
    equal(found, [(version, True), ("null", False)], "versions")


@case
def suspended_writes_null_and_keeps_the_rest(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, "key", b"versioned", name)
    suspend(t, name)
    for body in (b"null 1", b"null 2"):
        t.s3.put_object(Bucket=name, Key="key", Body=body)
    equal((read(t, "key", None, name), read(t, "key", "null", name), read(t, "key", version, name)), (b"null 2", b"null 2", b"versioned"), "bodies")
    found = [entry["VersionId"] for entry in t.s3.list_object_versions(Bucket=name)["Versions"]]
    equal(found, ["null", version], "versions")


@case
def suspended_deletes_by_a_null_marker(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, "key", b"versioned", name)
    suspend(t, name)
    t.s3.put_object(Bucket=name, Key="key", Body=b"null")
    answer = t.s3.delete_object(Bucket=name, Key="key")
    equal((answer["DeleteMarker"], answer["VersionId"]), (True, "null"), "answer")
    page = t.s3.list_object_versions(Bucket=name)
    equal([entry["VersionId"] for entry in page["Versions"]], [version], "versions")
    equal([entry["VersionId"] for entry in page["DeleteMarkers"]], ["null"], "markers")


@case
def on_again_after_suspended(t):
    name = t.fresh_bucket()
    for state in ("Enabled", "Suspended"):
        t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": state})
    t.s3.put_object(Bucket=name, Key="key", Body=b"null")
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, "key", b"new", name)
    equal((read(t, "key", "null", name), read(t, "key", version, name)), (b"null", b"new"), "bodies")


@case
def an_upload_makes_a_version(t):
    before = put(t, "upload", b"before")
    answer = multipart(t, "upload", {1: b"parts"}, versioned(t))
    true(answer["VersionId"] not in (before, "null"), "Complete names no version of its own")
    equal((read(t, "upload", before), read(t, "upload", answer["VersionId"])), (b"before", b"parts"), "bodies")


@case
def a_copy_makes_a_version(t):
    before = put(t, "copy", b"before")
    put(t, "origin", b"origin")
    answer = t.s3.copy_object(Bucket=versioned(t), Key="copy", CopySource={"Bucket": versioned(t), "Key": "origin"})
    true(answer["VersionId"] not in (before, "null"), "the copy names no version of its own")
    equal((read(t, "copy", before), read(t, "copy")), (b"before", b"origin"), "bodies")


@case
def a_copy_of_a_version(t):
    ids = three(t, "old-versions")
    answer = t.s3.copy_object(Bucket=versioned(t), Key="copied-version",
                              CopySource={"Bucket": versioned(t), "Key": "old-versions", "VersionId": ids[1]})
    equal((read(t, "copied-version"), answer["CopySourceVersionId"]), (b"1", ids[1]), "body and source's version")


@case
def an_old_version_is_restored_by_a_copy_onto_itself(t):
    ids = three(t, "restored")
    t.s3.copy_object(Bucket=versioned(t), Key="restored", CopySource={"Bucket": versioned(t), "Key": "restored", "VersionId": ids[0]})
    equal(read(t, "restored"), b"0", "body")


@case
def a_part_copied_from_a_version(t):
    ids = three(t, "part-origin")
    place = {"Bucket": versioned(t), "Key": "part-copied"}
    place["UploadId"] = t.s3.create_multipart_upload(**place)["UploadId"]
    part = t.s3.upload_part_copy(**place, PartNumber=1, CopySource={"Bucket": versioned(t), "Key": "part-origin", "VersionId": ids[1]})
    t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
    equal(read(t, "part-copied"), b"1", "body")


@case
def deleting_many_by_version(t):
    ids = three(t, "many")
    objects = [{"Key": "many", "VersionId": version} for version in ids[:2]]
    answer = t.s3.delete_objects(Bucket=versioned(t), Delete={"Objects": objects})
    equal(sorted(entry["VersionId"] for entry in answer["Deleted"]), sorted(ids[:2]), "deleted versions")
    found = t.s3.list_object_versions(Bucket=versioned(t), Prefix="many")
    equal([entry["VersionId"] for entry in found["Versions"]], [ids[2]], "what is left")


@case
def deleting_many_leaves_markers(t):
    put(t, "many-marked")
    answer = t.s3.delete_objects(Bucket=versioned(t), Delete={"Objects": [{"Key": "many-marked"}]})["Deleted"][0]
    equal(answer["DeleteMarker"], True, "DeleteMarker")
    found = t.s3.list_object_versions(Bucket=versioned(t), Prefix="many-marked")["DeleteMarkers"]
    equal([entry["VersionId"] for entry in found], [answer["DeleteMarkerVersionId"]], "markers")


@case
def deleting_many_deletes_markers(t):
    put(t, "many-back", b"back")
    marker = t.s3.delete_object(Bucket=versioned(t), Key="many-back")["VersionId"]
    answer = t.s3.delete_objects(Bucket=versioned(t), Delete={"Objects": [{"Key": "many-back", "VersionId": marker}]})["Deleted"][0]
    equal((answer["DeleteMarker"], answer["DeleteMarkerVersionId"]), (True, marker), "answer")
    equal(read(t, "many-back"), b"back", "body")


@case
def a_bucket_with_versions_says_so_when_it_is_not_deleted(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    put(t, "key", b"x", name)
    answer = t.raw.request("DELETE", f"/{name}")
    refused(answer, 409, "BucketNotEmpty")
    true(b"You must delete all versions in the bucket." in answer.body, f"text of {answer}")


@case
def a_bucket_with_versions_only_is_not_deleted(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = put(t, "key", b"x", name)
    marker = t.s3.delete_object(Bucket=name, Key="key")["VersionId"]
    with raises("BucketNotEmpty", status=409):
        t.s3.delete_bucket(Bucket=name)
    for each in (version, marker):
        t.s3.delete_object(Bucket=name, Key="key", VersionId=each)
    equal(status(t.s3.delete_bucket(Bucket=name)), 204, "status")


@case
def a_version_is_deleted_if_its_etag_matches(t):
    ids = three(t, "if-match")
    # AWS: with a version id the condition is about that version.
    etag = t.s3.head_object(Bucket=versioned(t), Key="if-match", VersionId=ids[1])["ETag"]
    path = f"/{versioned(t)}/if-match"
    for version, wanted in ((ids[0], 412), (ids[2], 412), (ids[1], 204)):
        equal(t.raw.request("DELETE", path, [("versionId", version)], {"if-match": etag}).status, wanted, "status")
    equal((read(t, "if-match"), read(t, "if-match", ids[0])), (b"2", b"0"), "what is left")
    refused(t.raw.request("GET", path, [("versionId", ids[1])]), 404, "NoSuchVersion")


@case
def several_versions_are_deleted_if_their_etags_match(t):
    ids = three(t, "many-if-match")
    place = {"Bucket": versioned(t), "Key": "many-if-match"}
    etags = [t.s3.head_object(**place, VersionId=version)["ETag"] for version in ids]
    answer = t.s3.delete_objects(Bucket=versioned(t), Delete={"Objects": [
        {"Key": "many-if-match", "VersionId": ids[0], "ETag": etags[0]}, {"Key": "many-if-match", "VersionId": ids[1], "ETag": etags[2]}]})
    equal([each["VersionId"] for each in answer.get("Deleted", [])], [ids[0]], "deleted")
    equal([(each["VersionId"], each["Code"]) for each in answer.get("Errors", [])], [(ids[1], "PreconditionFailed")], "errors")
    equal((read(t, "many-if-match"), read(t, "many-if-match", ids[1])), (b"2", b"1"), "what is left")


@case
def a_plain_listing_shows_the_newest_only(t):
    name = t.fresh_bucket()
    t.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"22"):
        put(t, "kept", body, name)
    put(t, "deleted", b"x", name)
    t.s3.delete_object(Bucket=name, Key="deleted")
    entries = t.s3.list_objects_v2(Bucket=name)["Contents"]
    equal([(entry["Key"], entry["Size"]) for entry in entries], [("kept", 2)], "entries")


@case
def tags_belong_to_a_version(t):
    ids = three(t, "tagged")
    place = {"Bucket": versioned(t), "Key": "tagged"}
    t.s3.put_object_tagging(**place, VersionId=ids[0], Tagging={"TagSet": [{"Key": "a", "Value": "0"}]})
    answer = t.s3.get_object_tagging(**place, VersionId=ids[0])
    equal((answer["TagSet"], answer["VersionId"]), ([{"Key": "a", "Value": "0"}], ids[0]), "tags of the version")
    equal(t.s3.get_object_tagging(**place)["TagSet"], [], "tags of the newest")


@case
def if_none_match_any_counts_a_marker_as_nothing(t):
    put(t, "conditional")
    with raises("PreconditionFailed", status=412):
        t.s3.put_object(Bucket=versioned(t), Key="conditional", Body=b"no", IfNoneMatch="*")
    t.s3.delete_object(Bucket=versioned(t), Key="conditional")
    put(t, "conditional", b"yes", IfNoneMatch="*")
    equal(read(t, "conditional"), b"yes", "body")


@case
def the_answer_is_a_versioning_configuration(t):
    root = parsed(t.raw.request("GET", f"/{versioned(t)}", [("versioning", "")]))
    equal((root.tag, texts(root, "Status")), ("VersioningConfiguration", ["Enabled"]), "document")
