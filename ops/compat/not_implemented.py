"""Operations that are refused by decision: 501, a text that says what to do in their place, and nothing stored or changed."""

import botocore.exceptions

from cases import case, equal, refused, true
from refusals import BODY, nothing_stored

DIRECTORY = "sealgate-test--euc1-az1--x-s3"


def is_decided(call, what: str, instead: str, **arguments):
    """Fails unless the call is answered with 501 and a text that names the operation and its place-holder."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        equal((told["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]), ("NotImplemented", 501), f"answer to {what}")
        true(f"does not implement {what}." in told["Message"] and instead in told["Message"], f"the text: {told['Message']}")
        return
    raise AssertionError(f"{what} was taken")


@case
def rename_object(t):
    with nothing_stored(t):
        for source in ("witness", f"/{t.bucket}/witness"):
            is_decided(t.s3.rename_object, "RenameObject", "copy the object", Bucket=t.bucket, Key="renamed", RenameSource=source)
        # The header alone, without the parameter, is no PutObject of an empty object.
        refused(t.raw.request("PUT", t.path("renamed"), headers={"x-amz-rename-source": "witness"}), 501, "NotImplemented")
        refused(t.raw.request("PUT", t.path("witness"), [("renameObject", "")], {"x-amz-rename-source": "witness"}, b"x"), 501, "NotImplemented")
        true(t.get("witness") == BODY, "the source changed")


@case
def directory_buckets(t):
    with nothing_stored(t):
        answer = t.raw.request("GET", t.path(), [("session", "")], {"x-amz-create-session-mode": "ReadWrite"})
        refused(answer, 501, "NotImplemented")
        true(b"CreateSession." in answer.body and b"no directory buckets" in answer.body, f"the text: {answer}")
        document = (b"<CreateBucketConfiguration><Location><Name>euc1-az1</Name><Type>AvailabilityZone</Type></Location>"
                    b"<Bucket><DataRedundancy>SingleAvailabilityZone</DataRedundancy><Type>Directory</Type></Bucket></CreateBucketConfiguration>")
        for method, body in (("PUT", document), ("PUT", b""), ("GET", b""), ("DELETE", b"")):
            answer = t.raw.request(method, f"/{DIRECTORY}", body=body)
            refused(answer, 501, "NotImplemented")
            true(b"directory buckets" in answer.body, f"the text: {answer}")
        true(DIRECTORY not in [each["Name"] for each in t.s3.list_buckets()["Buckets"]], "it was made")


@case
def object_annotations(t):
    with nothing_stored(t):
        for call, verb, more in ((t.s3.put_object_annotation, "Put", {"AnnotationPayload": b"note"}), (t.s3.get_object_annotation, "Get", {}),
                                 (t.s3.delete_object_annotation, "Delete", {})):
            is_decided(call, f"{verb}ObjectAnnotation", "user metadata", Bucket=t.bucket, Key="witness", AnnotationName="note", **more)
        is_decided(t.s3.list_object_annotations, "GetObjectAnnotation", "user metadata", Bucket=t.bucket, Key="witness")
        refused(t.raw.request("PUT", t.path("new"), [("annotation", ""), ("annotationName", "note")], body=b"note"), 501, "NotImplemented")
        refused(t.raw.request("PUT", t.path("new"), [("annotationName", "note"), ("annotation", "")], body=b"note"), 501, "NotImplemented")


@case
def update_object_encryption(t):
    with nothing_stored(t):
        wanted = {"SSEKMS": {"KMSKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}}
        is_decided(t.s3.update_object_encryption, "UpdateObjectEncryption", "operator", Bucket=t.bucket, Key="witness", ObjectEncryption=wanted)
        refused(t.raw.request("PUT", t.path("new"), [("encryption", "")], body=b"<ObjectEncryption/>"), 501, "NotImplemented")
        equal(t.s3.head_object(Bucket=t.bucket, Key="witness")["ServerSideEncryption"], "AES256", "what is told of its encryption")
