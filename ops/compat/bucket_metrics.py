"""Metrics by bucket: overhead, sizes that no encrypted object has, objects that do not open."""

import re
import urllib.request

import layout
import storage
from cases import case, data, equal, raises, true

SIZE = 100_003


def told(t, bucket: str) -> dict[str, int]:
    """The counters of a bucket, by what follows `sealgate_node_bucket_`."""
    with urllib.request.urlopen(t.target.metrics_url(), timeout=10) as answer:
        text = answer.read().decode()
    return {name: int(value) for name, value in re.findall(rf'^sealgate_node_bucket_(\w+)\{{bucket="{bucket}"\}} (\d+)$', text, re.M)}


@case
def what_was_written_is_counted_twice_as_it_came_and_as_it_lies_there(t):
    bucket = t.fresh_bucket()
    t.s3.put_object(Bucket=bucket, Key="single", Body=data(SIZE))
    found = told(t, bucket)
    equal((found["plaintext_written_bytes_total"], found["stored_written_bytes_total"]), (SIZE, layout.stored_size(SIZE)), "single PUT")
    upload = t.s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = t.s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=data(SIZE))
    after_part = told(t, bucket)
    chunks = SIZE + layout.OVERHEAD * -(-SIZE // layout.CHUNK)
    # A small part lies there twice, as a part and in its stash.
    equal({name: after_part[name] - found[name] for name in ("plaintext_written_bytes_total", "stored_written_bytes_total")},
          {"plaintext_written_bytes_total": SIZE, "stored_written_bytes_total": 2 * chunks}, "a part")
    t.s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    completed = told(t, bucket)
    equal(completed["plaintext_written_bytes_total"], after_part["plaintext_written_bytes_total"], "plaintext after Complete")
    true(completed["stored_written_bytes_total"] > after_part["stored_written_bytes_total"], "the trailer is not counted")


@case
def what_no_encrypted_object_can_be_is_shown_as_it_lies_there_and_counted(t):
    bucket, other = t.fresh_bucket(), t.fresh_bucket()
    for name in (bucket, other):
        t.s3.put_object(Bucket=name, Key="good", Body=b"good")
    storage.of(t.target, bucket).write("planted", storage.Stored(b"0123456789"))
    for number in (1, 2):
        listed = t.s3.list_objects_v2(Bucket=bucket)["Contents"]
        equal([(entry["Key"], entry["Size"]) for entry in listed], [("good", 4), ("planted", 10)], "listing")
        equal(told(t, bucket)["invalid_sizes_total"], number, "counted")
    with raises("ObjectIntegrityError", status=422):
        t.s3.get_object(Bucket=bucket, Key="planted")
    equal(told(t, bucket)["integrity_failures_total"], 1, "objects that did not open")
    t.s3.list_objects_v2(Bucket=other)
    true(not {"invalid_sizes_total", "integrity_failures_total"} & set(told(t, other)), "another bucket was counted")
    # A copy's source is where it failed, not where it was to go.
    with raises("ObjectIntegrityError", status=422):
        t.s3.copy_object(Bucket=other, Key="copy", CopySource={"Bucket": bucket, "Key": "planted"})
    equal((told(t, bucket)["integrity_failures_total"], told(t, other).get("integrity_failures_total")), (2, None), "after the copy")


@case
def a_bucket_that_is_gone_has_no_series(t):
    bucket = t.fresh_bucket()
    t.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    true(told(t, bucket), "nothing was counted")
    t.s3.delete_object(Bucket=bucket, Key="k")
    t.s3.delete_bucket(Bucket=bucket)
    equal(told(t, bucket), {}, "series")
