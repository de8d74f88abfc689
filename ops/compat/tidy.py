"""Removes what the cases made at an endpoint that is not theirs."""

import boto3
import botocore.client
import botocore.exceptions


def remove(target):
    """Removes every bucket that was made, with all versions and uploads; says which one could not be."""
    s3 = boto3.client("s3", endpoint_url=target.endpoint, region_name=target.region, aws_access_key_id=target.access_key,
                      aws_secret_access_key=target.secret_key, config=botocore.client.Config(s3={"addressing_style": "path"}))
    for bucket in target.buckets:
        try:
            _remove_bucket(s3, bucket)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                print(f"{bucket} is left behind: {error}")


def _remove_bucket(s3, bucket):
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                place = {"Bucket": bucket, "Key": entry["Key"], "VersionId": entry["VersionId"]}
                _lift_hold(s3, place)
                s3.delete_object(**place, BypassGovernanceRetention=True)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NotImplemented":
            raise
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=entry["Key"])
    s3.delete_bucket(Bucket=bucket)


def _lift_hold(s3, place):
    try:
        if s3.get_object_legal_hold(**place)["LegalHold"]["Status"] == "ON":
            s3.put_object_legal_hold(**place, LegalHold={"Status": "OFF"})
    except botocore.exceptions.ClientError:
        # Most versions have none, and most buckets no lock.
        pass
