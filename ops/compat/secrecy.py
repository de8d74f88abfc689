"""The storage holds ciphertext only, and what was stored is there again after a restart."""

import concurrent.futures
import hashlib
import os
import secrets
import socket
import threading
import time

import boto3

import corpus
import scan
import servers
import sigv4
from cases import case, data, equal, true

# Uniform bytes give 7.9972 ± 0.0003 bits a byte in blocks of 64 KiB.
LEAST_ENTROPY = 7.99
# S3's and XML's own names, which servers keep in their settings and crates have in their sources.
PUBLIC = (b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><', b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"',
          b'<?xml version="1.0" encoding="UTF-8"?>\n<', b"x-amz-object-lock-retain-until-date",
          b"STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
          # The digests of nothing: ETags and hashes of empty objects, which servers write down and tests of digests quote.
          *(f'"{hashlib.new(name).hexdigest()}"'.encode() for name in ("md5", "sha256")))
METADATA = {"patient": "Wilhelmina-Featherstonehaugh", "ward": "a-ward-that-is-nowhere-else-7c3d"}
HEADERS = {
    "ContentType": "application/x-very-secret-type", "ContentDisposition": 'attachment; filename="unmistakable-name.bin"',
    "CacheControl": "private, max-age=271828182", "ContentLanguage": "tlh-secret", "ContentEncoding": "x-secret-coding",
}


def backend_client(server: servers.Server):
    """The storage itself, with its own credentials."""
    return boto3.client("s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=server.access_key,
                        aws_secret_access_key=server.secret_key)


def haystacks(t):
    """Everything stored, as (name, stream): the raw files, and the objects as the storage gives them (it may compress on its disk)."""
    for path in scan.files_below(t.target.raw_roots()):
        yield path, scan.read_pieces(path)
    if t.target.backend:
        client = backend_client(t.target.backend)
        for bucket in client.list_buckets()["Buckets"]:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                for entry in page.get("Contents", []):
                    yield f"s3://{bucket['Name']}/{entry['Key']}", object_pieces(client, bucket["Name"], entry["Key"])


def object_pieces(client, bucket: str, key: str):
    """An object's bytes, asked for when the first are."""
    yield from client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1024 * 1024)


def scanner(t) -> scan.Scanner:
    """Knows every file of the corpus; the large one by its tile and the tile's seam."""
    directory, wanted = corpus.shared(t.size)
    # Key names lie in clear by design, and files quote the names of others.
    # In a stored name a slash may stand before one, and a zero behind it, as in the symbols of an object file that has the name too;
    # in a server's log a space before its last component.
    found = scan.Scanner((*PUBLIC, "".join(f"\n{name}\0/{name} {os.path.basename(name)}" for name in wanted).encode()))
    for name in wanted:
        if name != corpus.LARGE:
            found.add(name, os.path.join(directory, name))
    tile = corpus.tile()
    found.add(corpus.LARGE, tile + tile[:scan.WINDOW])
    return found


@case(seconds=7200)
def no_plaintext_in_the_storage(t):
    directory, wanted = corpus.shared(t.size)
    names = [name for name in wanted if name != corpus.LARGE][:40]
    for name in names:
        t.s3.upload_file(os.path.join(directory, name), t.bucket, name)
    t.s3.put_object(Bucket=t.bucket, Key="tile", Body=corpus.tile()[:1_000_000])
    index = scanner(t)
    # First a plaintext that is there: 32 bytes in the middle of others. A scanner that does not find it proves nothing.
    planted = secrets.token_bytes(1001) + corpus.tile()[5001:5033] + secrets.token_bytes(999)
    if t.target.backend:
        client = backend_client(t.target.backend)
        client.create_bucket(Bucket="planted")
        client.put_object(Bucket="planted", Key="planted", Body=planted)
    else:
        path = os.path.join(t.target.raw_roots()[0], "planted")
        with open(path, "wb") as file:
            file.write(planted)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        leaks = [leak for leak in pool.map(lambda haystack: index.scan(*haystack), haystacks(t)) if leak]
    true(any("planted" in leak.haystack for leak in leaks) and leaks, "the scanner did not find the planted plaintext")
    if t.target.backend:
        client.delete_object(Bucket="planted", Key="planted")
        client.delete_bucket(Bucket="planted")
        # Deleting leaves the bytes on its disk (volumes, deleted lazily): only leaks of other plaintexts count there.
        leaks = [leak for leak in leaks if "planted" not in leak.haystack and not leak_is_of(leak, planted)]
    else:
        os.remove(path)
        leaks = [leak for leak in leaks if leak.haystack != path]
    true(not leaks, f"{len(leaks)} leaks: {'; '.join(map(str, leaks[:3]))}")


def leak_is_of(leak: scan.Leak, planted: bytes) -> bool:
    """Whether a leak in a raw file is nothing but the planted window."""
    if leak.haystack.startswith("s3://"):
        return False
    with open(leak.haystack, "rb") as file:
        file.seek(max(0, leak.offset - 2048))
        around = file.read(4096 + scan.WINDOW)
    return planted[990:1050] in around


@case(seconds=3600)
def no_metadata_in_the_storage(t):
    t.s3.put_object(Bucket=t.bucket, Key="with-metadata", Body=data(1000), Metadata=METADATA, **HEADERS)
    upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="multipart-with-metadata", Metadata=METADATA, **HEADERS)
    place = {"Bucket": t.bucket, "Key": "multipart-with-metadata", "UploadId": upload["UploadId"]}
    etag = t.s3.upload_part(**place, PartNumber=1, Body=b"part")["ETag"]
    values = [*METADATA.values(), *HEADERS.values()]
    for attempt in ("while the upload is open", "after it"):
        for name, pieces in haystacks(t):
            found = scan.find_values(name, pieces, values)
            true(not found, f"{attempt}: {found}")
        if t.target.backend:
            client = backend_client(t.target.backend)
            for bucket in client.list_buckets()["Buckets"]:
                for entry in client.list_objects_v2(Bucket=bucket["Name"], Prefix="").get("Contents", [])[-50:]:
                    head = str(client.head_object(Bucket=bucket["Name"], Key=entry["Key"]))
                    true(not any(value in head for value in values), f"{attempt}: the headers of {entry['Key']} hold a value: {head[:400]}")
        if attempt == "while the upload is open":
            t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    head = t.s3.head_object(Bucket=t.bucket, Key="multipart-with-metadata")
    equal((head["Metadata"], head["ContentType"]), (METADATA, HEADERS["ContentType"]), "what the client sees")


@case(seconds=7200)
def chunks_have_high_entropy(t):
    # The most regular plaintext there is.
    t.s3.put_object(Bucket=t.bucket, Key="zeros", Body=bytes(4 * 1024 * 1024))
    measured, lowest = 0, 8.0
    for name, pieces in haystacks(t):
        # Servers' own files, and what was exported in plain.
        if t.target.backend and (not name.startswith("s3://") or name.startswith("s3://plain-")):
            continue
        entropy = scan.lowest_entropy(pieces)
        if entropy is not None:
            measured, lowest = measured + 1, min(lowest, entropy)
            true(entropy >= LEAST_ENTROPY, f"{name} has a block of {entropy:.4f} bits a byte")
    true(measured >= 1, "nothing stored is as long as a chunk")
    print(f"     lowest entropy {lowest:.4f} bits a byte over {measured} stored bodies")


@case
def two_puts_of_one_plaintext_share_nothing(t):
    body = data(300_000, "twice")
    # Other cases' copies are their originals' bytes, as they are meant to be.
    known = set() if t.target.backend else set(scan.files_below(t.target.raw_roots()))
    for key in ("same/1", "same/2", "same/1"):
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=body)
    if t.target.backend:
        return
    found = {}
    for path in scan.files_below(t.target.raw_roots()):
        if path not in known and 300_000 < os.path.getsize(path) < 310_000:
            with open(path, "rb") as file:
                found[path] = file.read(64)
    true(len(set(found.values())) == len(found) >= 2, f"bodies share their first bytes: {list(found)}")


@case(seconds=120)
def a_restart_finds_everything(t):
    t.s3.put_object(Bucket=t.bucket, Key="before", Body=data(200_000, "restart"), Metadata={"a": "b"})
    upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="across")
    place = {"Bucket": t.bucket, "Key": "across", "UploadId": upload["UploadId"]}
    first = t.s3.upload_part(**place, PartNumber=1, Body=data(5 * 1024 * 1024, "one"))["ETag"]
    files = {}
    for name in ("credentials", "config"):
        with open(os.path.join(t.target.data, name)) as file:
            files[name] = file.read()
    t.target.restart()
    for name, text in files.items():
        with open(os.path.join(t.target.data, name)) as file:
            # The admin API of these gateways takes whatever port is free.
            same = [[line for line in each.splitlines() if not line.startswith("sealgate_admin_url")] for each in (file.read(), text)]
            equal(same[0], same[1], name)
    answer = t.s3.get_object(Bucket=t.bucket, Key="before")
    true(answer["Body"].read() == data(200_000, "restart") and answer["Metadata"] == {"a": "b"}, "the object is another")
    second = t.s3.upload_part(**place, PartNumber=2, Body=b"two")["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    t.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    true(t.get("across") == data(5 * 1024 * 1024, "one") + b"two", "the upload across the restart is another")


@case(seconds=120)
def ctrl_c_drains(t):
    body = data(2_000_000, "drain")
    results = []

    def slowly():
        try:
            send()
        except OSError as error:
            results.append(repr(error).encode())
        finally:
            started.set()

    def send():
        headers = sigv4.sign_headers(t.credentials, "PUT", t.path("drained"), [], {"host": t.raw.host}, sigv4.UNSIGNED)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"PUT {t.path('drained')} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(t.raw.address, timeout=30) as connection:
            connection.sendall(head + body[:1_000_000])
            started.set()
            interrupted.wait(20)
            connection.sendall(body[1_000_000:])
            results.append(connection.recv(200))

    started, interrupted = threading.Event(), threading.Event()
    sender = threading.Thread(target=slowly, daemon=True)
    sender.start()
    true(started.wait(20), "the upload did not start")
    # The head has to be read before the signal: a request that was accepted is finished.
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not _is_read(t):
        time.sleep(0.02)
    threading.Timer(0.5, interrupted.set).start()
    try:
        t.target.interrupt()
    finally:
        servers.end_group(t.target.process, politely=False)
        sender.join(10)
        t.target.start()
    answered = bool(results) and b" 200 " in results[0]
    true(answered, f"the running upload was not finished but answered {results}")
    true(t.get("drained") == body, "the drained object is another")


def _is_read(t) -> bool:
    """Whether the gateway has read what was sent: nothing waits in its receive queues."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    port = f":{t.raw.address[1]:04X}"
    queues = [int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(port) and row[3] == "01"]
    return bool(queues) and sum(queues) < 1_000_000
