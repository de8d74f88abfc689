"""What many conformance cases need: answers as XML, statuses, times."""

import datetime
import xml.etree.ElementTree

import botocore.exceptions
from cases import Context, true
from raw import Answer

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
# The digest of nothing that is stored anywhere.
OTHER_ETAG = '"0123456789abcdef0123456789abcdef"'
MIB = 1024 * 1024
FIVE = 5 * MIB
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def soon(**ahead) -> datetime.datetime:
    """A moment from now, in whole seconds."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**ahead)).replace(microsecond=0)


def status(answer: dict) -> int:
    """The HTTP status of a boto3 answer."""
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def headers(answer: dict) -> dict[str, str]:
    """The HTTP headers of a boto3 answer, in lower case."""
    return answer["ResponseMetadata"]["HTTPHeaders"]


def parsed(answer: Answer) -> xml.etree.ElementTree.Element:
    """The body as XML without its namespace, so that it is found by its plain names."""
    true(answer.status < 300, f"answered {answer}")
    root = xml.etree.ElementTree.fromstring(answer.body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def texts(root, path: str) -> list[str]:
    """The texts of all elements on a path."""
    return [element.text or "" for element in root.findall(path)]


def unblocked(t: Context, bucket: str) -> str:
    """Lifts a bucket's block against public access, where the server has one."""
    try:
        t.s3.delete_public_access_block(Bucket=bucket)
    except botocore.exceptions.ClientError:
        # A server without the block has nothing to lift.
        pass
    return bucket


def filled(t: Context, keys, bucket: str | None = None) -> str:
    """Puts small objects with these keys, and names their bucket."""
    for key in keys:
        t.s3.put_object(Bucket=bucket or t.bucket, Key=key, Body=key.encode())
    return bucket or t.bucket


def keys_of(page: dict) -> list[str]:
    """The keys of a page of a listing."""
    return [entry["Key"] for entry in page.get("Contents", [])]


def prefixes_of(page: dict) -> list[str]:
    """The common prefixes of a page of a listing."""
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


def multipart(t: Context, key: str, bodies: dict[int, bytes], bucket: str | None = None, **options):
    """A completed upload of these parts: Complete's answer."""
    place = {"Bucket": bucket or t.bucket, "Key": key}
    upload = {**place, "UploadId": t.s3.create_multipart_upload(**place, **options)["UploadId"]}
    parts = [{"PartNumber": number, "ETag": t.s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
             for number, body in sorted(bodies.items())]
    return t.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
