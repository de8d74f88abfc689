"""What the README promises when all else is lost: bodies, key records, keyring and recovery card are enough.

The gateway stores, the storage then loses all metadata, or the control plane its store, and `sealgate decrypt` must give every byte.
"""

import contextlib
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile

import decryptor
import secrecy
from cases import case, data, equal, true
from s3_multipart import FIVE, Upload

KEPT_BY_DEV = ("keyring.json", "keyring.key")


def stored(t, prefix: str) -> dict[str, bytes]:
    """Objects of every kind that has a body of its own."""
    wanted = {f"{prefix}/{length}": data(length, prefix) for length in (0, 1, 65_536, 65_537, 300_000)}
    wanted[f"{prefix}/größe 日本語"] = data(1_000, "name")
    for key, body in wanted.items():
        t.s3.put_object(Bucket=t.bucket, Key=key, Body=body, Metadata={"of": "recovery"}, ContentType="text/x-mine")
    upload = Upload(t, f"{prefix}/multipart", Metadata={"of": "recovery"})
    for number, size in ((2, FIVE), (3, FIVE + 70_000), (9, 12)):
        upload.part(number, data(size, number))
    upload.complete()
    return wanted | {f"{prefix}/multipart": upload.body()}


@contextlib.contextmanager
def by_hand(t):
    """A directory with what an operator has: card, keyring and its key."""
    with tempfile.TemporaryDirectory(prefix="sealgate-recovery-") as directory:
        shutil.copy(os.path.join(t.target.data, "recovery"), os.path.join(directory, "card"))
        for name in KEPT_BY_DEV:
            shutil.copy(os.path.join(t.target.data, "control-plane", name), os.path.join(directory, name))
        yield directory


def decrypt(t, directory: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if t.target.backend:
        server = t.target.backend
        environment |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key, "AWS_REGION": server.region}
    command = [t.target.binary, "decrypt", "--recovery-card", f"{directory}/card", "--keyring", f"{directory}/keyring.json",
               "--key-file", f"{directory}/keyring.key", "-o", f"{directory}/out", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def gives(t, directory: str, body: bytes, *arguments: str):
    """The command succeeds and writes exactly these bytes."""
    done = decrypt(t, directory, *arguments)
    equal(done.returncode, 0, f"exit status of decrypt {' '.join(arguments)}: {done.stderr}")
    with open(f"{directory}/out", "rb") as file:
        found = file.read()
    os.remove(f"{directory}/out")
    equal((len(found), hashlib.sha256(found).digest()), (len(body), hashlib.sha256(body).digest()), f"what decrypt {' '.join(arguments)} gives")


def place(t) -> tuple[list[str], str]:
    """Options that name the storage, and its own name of the bucket."""
    if t.target.backend:
        names = [entry["Name"] for entry in secrecy.backend_client(t.target.backend).list_buckets()["Buckets"]]
        return ["--endpoint-url", t.target.backend.endpoint], decryptor.backend_bucket(names, t.bucket)
    (root,) = t.target.raw_roots()
    return ["--fs-root", root], decryptor.backend_bucket(os.listdir(os.path.join(root, "buckets")), t.bucket)


@case(seconds=300)
def the_bare_bodies_are_enough(t):
    """As files, with the bucket's key records beside them and no name or metadata at all."""
    wanted = stored(t, "bare")
    there = {found.key: found for found in decryptor.raw(t)}
    with by_hand(t) as directory:
        records = os.path.join(directory, "records")
        os.mkdir(records)
        for number, (_, found) in enumerate((key, found) for key, found in there.items() if key.startswith(b".sealgate/v1/ik/")):
            with open(f"{records}/{number}", "wb") as file:
                file.write(found.read(0, found.size))
        for key, body in wanted.items():
            found = there[key.encode()]
            with open(f"{directory}/body", "wb") as file:
                file.write(found.read(0, found.size))
            gives(t, directory, body, "--body", f"{directory}/body", "--ik-record", records)
        # Without a record of its key nothing opens: the bodies alone tell nobody anything.
        shutil.rmtree(records)
        os.mkdir(records)
        done = decrypt(t, directory, "--body", f"{directory}/body", "--ik-record", records)
        true(done.returncode != 0 and not os.path.exists(f"{directory}/out"), f"decrypt without a record: {done}")


@case(seconds=300)
def a_bucket_that_lost_all_metadata(t):
    """The gateway refuses what it can no longer prove; the offline tool reads every byte from the bodies."""
    if not t.target.backend:
        # There body and metadata are two files of one object: the bare body is the case above.
        return
    wanted = stored(t, "stripped")
    options, bucket = place(t)
    client = secrecy.backend_client(t.target.backend)
    for key in wanted:
        client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key}, MetadataDirective="REPLACE", Metadata={})
        equal(client.head_object(Bucket=bucket, Key=key)["Metadata"], {}, f"metadata left at {key}")
        answer = t.raw.request("GET", t.path(key))
        equal((answer.status, answer.code), (422, "ObjectIntegrityError"), f"GET of {key} through the gateway")
    with by_hand(t) as directory:
        for key, body in wanted.items():
            gives(t, directory, body, *options, "--without-envelope", f"s3://{bucket}/{key}")
    t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [{"Key": key} for key in wanted]})


@case(seconds=300)
def the_store_of_the_control_plane_is_gone(t):
    wanted = stored(t, "storeless")
    options, bucket = place(t)
    control = os.path.join(t.target.data, "control-plane")
    with by_hand(t) as directory:
        t.target.interrupt()
        aside = tempfile.mkdtemp(prefix="control-plane-", dir=t.target.outer)
        os.rename(control, f"{aside}/control-plane")
        try:
            equal(glob.glob(f"{control}*"), [], "what is left of the control plane")
            for key, body in wanted.items():
                gives(t, directory, body, *options, f"s3://{bucket}/{key}")
        finally:
            os.rename(f"{aside}/control-plane", control)
            t.target.start()
    for key, body in wanted.items():
        true(t.get(key) == body, f"{key} after the control plane is back")
