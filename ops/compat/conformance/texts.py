"""What errors say: the sentences of S3's own answers, by which people search and some programs go."""

import re
import xml.etree.ElementTree

from cases import equal, variants

LIST = "<CompleteMultipartUpload>{}</CompleteMultipartUpload>"
PART = "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>"
NO_TAG = "0" * 32


def present(t):
    t.shared("present", lambda: t.put("present", b"present"))
    return t.path("present")


def signed(change):
    """A request whose Authorization is changed before it is sent."""
    return lambda t: t.raw.request("GET", present(t), alter=lambda headers: headers.update(authorization=change(headers["authorization"])))


def presigned(**changed):
    """A presigned request with other values in its query; None takes one out."""
    def ask(t):
        def alter(query):
            values = {name: changed.get(name.removeprefix("X-Amz-"), value) for name, value in query}
            return [(name, value) for name, value in values.items() if value is not None]

        return t.raw.presigned("GET", present(t), alter_query=alter)

    return ask


def scoped(old, new):
    return presigned_scope(lambda credential: credential.replace(old, new))


def presigned_scope(change):
    return lambda t: t.raw.presigned("GET", present(t), alter_query=lambda query: [
        (name, change(value) if name == "X-Amz-Credential" else value) for name, value in query])


def put(headers):
    return lambda t: t.raw.request("PUT", t.path("refused"), headers=headers, body=b"body")


def get(query=(), headers=None, key="present"):
    return lambda t: present(t) and t.raw.request("GET", t.path(key), list(query), headers=headers)


def listing(*query):
    return lambda t: t.raw.request("GET", t.path(), list(query))


def complete(parts, *, headers=None):
    """Completes a new upload of one part with another list."""
    def ask(t):
        upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="upload")["UploadId"]
        t.s3.upload_part(Bucket=t.bucket, Key="upload", UploadId=upload, PartNumber=1, Body=b"part")
        body = LIST.format("".join(PART.format(*part) for part in parts)).encode()
        return t.raw.request("POST", t.path("upload"), [("uploadId", upload)], headers=headers, body=body)

    return ask


MALFORMED = "The authorization header is malformed; "
CREDENTIAL = "Error parsing the X-Amz-Credential parameter; "
PARAMETERS = ("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, "
              "X-Amz-SignedHeaders, and X-Amz-Expires parameters.")


@variants(
    one_space=(signed(lambda _: "nonsense"), "Authorization header is invalid -- one and only one ' ' (space) required."),
    another_scheme=(signed(lambda _: "Bearer x"), "Unsupported Authorization Type"),
    two_components=(signed(lambda text: text.rpartition(",")[0]),
                    MALFORMED + "the authorization header requires three components: Credential, SignedHeaders, and Signature."),
    a_component_without_value=(signed(lambda text: re.sub(r"SignedHeaders=[^,]+", "SignedHeaders-x", text)),
                               MALFORMED + 'the authorization component "SignedHeaders-x" is malformed.'),
    no_credential=(signed(lambda text: text.replace("Credential=", "Other=")), MALFORMED + "missing Credential."),
    no_signed_headers=(signed(lambda text: text.replace("SignedHeaders=", "Other=")), MALFORMED + "missing SignedHeaders."),
    no_signature=(signed(lambda text: text.replace("Signature=", "Other=")), MALFORMED + "missing Signature."),
    another_terminal=(signed(lambda text: text.replace("aws4_request", "aws5_request")),
                      MALFORMED + 'incorrect terminal "aws5_request". This endpoint uses "aws4_request".'),
    a_credential_too_long=(signed(lambda text: text.replace("aws4_request", "aws4_request/more")), MALFORMED +
                           'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'),
    another_service=(signed(lambda text: text.replace("/s3/", "/ec2/")),
                     MALFORMED + 'incorrect service "ec2". This endpoint belongs to "s3".'),
    another_date=(signed(lambda text: re.sub(r"/\d{8}/", "/3223423234/", text)),
                  MALFORMED + 'incorrect date format "3223423234". This date in the credential must be in the format "yyyyMMdd".'),
    presigned_terminal=(scoped("aws4_request", "aws5_request"),
                        CREDENTIAL + 'incorrect terminal "aws5_request". This endpoint uses "aws4_request".'),
    presigned_service=(scoped("/s3/", "/sns/"), CREDENTIAL + 'incorrect service "sns". This endpoint belongs to "s3".'),
    presigned_without_date=(presigned(Date=None), PARAMETERS), presigned_without_signature=(presigned(Signature=None), PARAMETERS),
    presigned_negative=(presigned(Expires="-1"), "X-Amz-Expires must be non-negative"),
    presigned_no_number=(presigned(Expires="x"), "X-Amz-Expires should be a number"),
    presigned_above_a_week=(presigned(Expires="604801"), "X-Amz-Expires must be less than a week (in seconds); that is, the given "
                            "X-Amz-Expires must be less than 604800 seconds"),
    not_signed=(lambda t: t.raw.request("GET", present(t), alter=lambda headers: headers.update({"x-amz-meta-later": "x"})),
                "There were headers present in the request which were not signed"),
    a_token=(lambda t: t.raw.request("GET", present(t), headers={"x-amz-security-token": "t"}),
             "The provided token is malformed or otherwise invalid."),
)
def of_a_signature(t, ask, text):
    says(ask(t), text)


@variants(
    no_bucket=(lambda t: t.raw.request("GET", f"/{t.bucket}-none/key"), "The specified bucket does not exist."),
    no_key=(get(key="none"), "The specified key does not exist."),
    another_owner=(get(headers={"x-amz-expected-bucket-owner": "0" * 12}), "Access Denied."),
    condition=(get(headers={"if-match": f'"{NO_TAG}"'}), "At least one of the pre-conditions you specified did not hold."),
    part_number=(get([("partNumber", "-3")]), "Part number must be an integer between 1 and 10000, inclusive."),
    part_number_and_range=(get([("partNumber", "1")], {"range": "bytes=0-1"}),
                           "Cannot specify both Range header and partNumber query parameter"),
    negative_page=(listing(("max-keys", "-5")), "Argument -5 must be an integer between 0 and 2147483647"),
    negative_page_of_versions=(listing(("versions", ""), ("max-keys", "-5")), "max-keys cannot be negative"),
    too_many_buckets=(lambda t: t.raw.request("GET", "/", [("max-buckets", "-3")]),
                      "Argument max-buckets must be an integer between 1 and 10000."),
)
def of_a_read(t, ask, text):
    says(ask(t), text)


@variants(
    legal_hold=(put({"x-amz-object-lock-legal-hold": "on"}), "Legal Hold must be either of 'ON' or 'OFF'"),
    lock_mode=(put({"x-amz-object-lock-mode": "worm", "x-amz-object-lock-retain-until-date": "2999-01-01T00:00:00Z"}),
               "Unknown wormMode directive."),
    lock_date=(put({"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "soon"}),
               "The retain until date must be provided in ISO 8601 format"),
    past_date=(put({"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2001-01-01T00:00:00Z"}),
               "The retain until date must be in the future!"),
    half_a_lock=(put({"x-amz-object-lock-mode": "GOVERNANCE"}),
                 "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied."),
    redirect=(put({"x-amz-website-redirect-location": "ftp://a/b"}),
              "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."),
    metadata=(put({"x-amz-meta-a": "x" * 2100}), "Your metadata headers exceed the maximum allowed metadata size"),
    if_none_match=(put({"if-none-match": f'"{NO_TAG}"'}), "A header you provided implies functionality that is not implemented."),
    md5=(put({"content-md5": "x"}), "The Content-Md5 you specified is not valid."),
    content_sha256=(lambda t: t.raw.request("PUT", t.path("refused"), payload_hash="nonsense"),
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, "
                    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value."),
    copy_source=(put({"x-amz-copy-source": "nowhere"}), "Copy Source must mention the source bucket and key: sourcebucket/sourcekey."),
    location=(lambda t: t.raw.request("PUT", f"/{t.bucket}-mars", body=b"<CreateBucketConfiguration><LocationConstraint>mars-north-1"
                                      b"</LocationConstraint></CreateBucketConfiguration>"), "The specified location-constraint is not valid"),
    document=(lambda t: t.raw.request("PUT", f"/{t.bucket}-document", body=b"<Other/>"),
              "The XML you provided was not well-formed or did not validate against our published schema."),
)
def of_a_write(t, ask, text):
    says(ask(t), text)


@variants(read=get([("retention", "")]), write=put({"x-amz-object-lock-legal-hold": "ON"}))
def of_a_bucket_without_locks(t, ask):
    """The storage's words, as far as it has some: SeaweedFS says no more than its code."""
    words = ("Bucket is missing Object Lock Configuration", "Bucket is missing ObjectLockConfiguration")
    says(ask(t), "Invalid Request" if t.target.backend and t.target.backend.name == "seaweedfs" else words)


@variants(
    no_upload=(lambda t: t.raw.request("GET", t.path("none"), [("uploadId", "none")]), "The specified multipart upload does not exist. The upload "
               "ID may be invalid, or the upload may have been aborted or completed."),
    another_part=(complete([(2, NO_TAG)]), "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
                  "specified entity tag may not match the part's entity tag."),
    order=(complete([(2, NO_TAG), (1, NO_TAG)]), "The list of parts was not in ascending order. Parts must be ordered by part number."),
    part_zero=(complete([(0, NO_TAG)]), "PartNumber must be >= 1"),
    negative_size=(complete([(1, NO_TAG)], headers={"x-amz-mp-object-size": "-1"}),
                   "Value for x-amz-mp-object-size header is less than zero: '-1'"),
)
def of_an_upload(t, ask, text):
    says(ask(t), text)


def says(answer, text):
    found = xml.etree.ElementTree.fromstring(answer.body).findtext("Message")
    wanted = text if isinstance(text, tuple) else (text,)
    equal(found, found if found in wanted else wanted[0], f"text of {answer.code}")
