"""What a hostile storage may do to stored bytes: each row of the table, and the hidden objects of uploads."""

import layout
import storage
from cases import case, data, equal, raises, true
from layout import flipped
from s3_multipart import Upload
from tamper_rows import ROWS
from tamper_table import METRIC, Table, metric, outcome

HIDDEN = ".sealgate/v1/u/"


def table(t) -> Table:
    if not hasattr(t, "table"):
        t.table = Table(t)
    return t.table


def register(rows, module: str, table_of, **options):
    """A case for each row."""
    for row in rows:
        def run(t, row=row):
            table_of(t).attempt(row)
        run.__name__, run.__module__ = row.name, module
        case(run, **options)


register(ROWS, __name__, table)


@case
def an_older_version_as_a_whole_is_not_noticed(t):
    # The limit, so that nobody takes the table for more than it is: nothing outside the storage knows which is the newest.
    found, thing = table(t), table(t).things["single"]
    found.storage.write("single", found.older)
    try:
        equal(outcome(found.whole("single"), data(600_000, "older")), "right", "the older version")
    finally:
        found.storage.write("single", thing.genuine)
    thing.proved = False
    found.reads_back(thing)


@case
def a_deleted_object_is_not_noticed(t):
    found, thing = table(t), table(t).things["small"]
    found.storage.delete("small")
    seen = found.whole("small")
    equal((seen.status, seen.code), (404, "NoSuchKey"), "the answer")
    found.storage.write("small", thing.genuine)
    thing.proved = False
    found.reads_back(thing)


def hidden(found: storage.S3Storage, letter: str) -> list[str]:
    """Names of upload records (r), notes (n) or stashes (s)."""
    return [key for key in found.keys(HIDDEN) if key[len(HIDDEN):].split("/")[1] == letter]


def started(t, found, key: str, size: int):
    """An upload with one part, and the names of its record, note and stash."""
    before = set(found.keys(HIDDEN))
    upload = Upload(t, key)
    upload.part(1, data(size, key))
    new = [name for name in found.keys(HIDDEN) if name not in before]
    names = {name[len(HIDDEN):].split("/")[1]: name for name in new}
    return upload, names


@case(seconds=90)
def an_upload_record_that_is_another(t):
    found = storage.of(t.target, t.bucket)
    uploads = [started(t, found, f"record/{number}", 1000) for number in (1, 2)]
    (upload, names), (_, others) = uploads
    genuine, other = found.read(names["r"]), found.read(others["r"])
    done = Upload(t, "record/done")
    done.part(1, b"done")
    done.complete()
    envelope = layout.decoded(found.read("record/done").metadata["sealgate"])
    altered = {
        "another upload's": other.body,
        "an object's envelope": envelope + genuine.body[len(envelope):],
        "version 2": b"\2" + genuine.body[1:],
        "kind 1": flipped(genuine.body, 1, 3),
        "suite 2": flipped(genuine.body, 2, 3),
        "a flag": flipped(genuine.body, 4),
        "IK id": flipped(genuine.body, 10),
        "object id": flipped(genuine.body, 25),
        "wrapped DEK": flipped(genuine.body, 70),
        "commitment": flipped(genuine.body, 120),
        "gateway id": flipped(genuine.body, 150),
        "bucket id": flipped(genuine.body, 160),
        "created": flipped(genuine.body, 180),
        "checksum": flipped(genuine.body, 181 + 1),
        "upload id": flipped(genuine.body, 190),
        "key": flipped(genuine.body, -2 % len(genuine.body)),
        "cut": genuine.body[:-1],
        "empty": b"",
        "longer": genuine.body + b"\0",
    }
    # A node keeps what it opened: this one has to read the record again.
    t.target.restart()
    for what, content in altered.items():
        found.write(names["r"], genuine.replace(body=content))
        true(found.read(names["r"]).body != genuine.body, f"the record is the same: {what}")
        before = metric(t.target, METRIC)
        for request in (lambda: upload.part(2, b"never"), upload.list, lambda: upload.complete([1])):
            with raises("ObjectIntegrityError", status=422):
                request()
        counted = metric(t.target, METRIC)
        true(counted >= before + 3, f"{METRIC} did not rise: {what}")
        shown = t.s3.list_multipart_uploads(Bucket=t.bucket, Prefix="record/")["Uploads"]
        equal((sorted(entry["Key"] for entry in shown), metric(t.target, METRIC)), (["record/1", "record/2"], counted), f"uploads listed, and {METRIC}: {what}")
        equal(t.keys("record/1"), [], f"keys: {what}")
    found.write(names["r"], genuine)
    equal([part["PartNumber"] for part in upload.list()["Parts"]], [1], "parts with the genuine record")
    upload.complete([1])
    equal(t.get("record/1"), data(1000, "record/1"), "body with the genuine record")
    uploads[1][0].abort()


@case
def a_note_that_is_another(t):
    found = storage.of(t.target, t.bucket)
    (upload, names), (other, others) = (started(t, found, f"note/{number}", 1000) for number in (1, 2))
    equal([part["Size"] for part in upload.list()["Parts"]], [1000], "sizes with the genuine note")
    directory, _, text = names["n"].rpartition("/")
    sealed = layout.decoded(text)
    altered = {
        "another upload's": others["n"].rpartition("/")[2], "flipped": layout.encoded(flipped(sealed, 14)),
        "its tag": layout.encoded(flipped(sealed, len(sealed) - 1)), "cut": layout.encoded(sealed[:-1]),
    }
    found.delete(names["n"])
    for what, name in altered.items():
        planted = f"{directory}/{name}"
        found.write(planted, storage.Stored(b""))
        true(planted in found.keys(HIDDEN), f"the note is not there: {what}")
        equal(upload.list().get("Parts", []), [], f"parts: {what}")
        with raises("InvalidPart", status=400):
            upload.complete([1])
        equal(t.keys("note/1"), [], f"keys: {what}")
        found.delete(planted)
    found.write(names["n"], storage.Stored(b""))
    upload.complete([1])
    equal(t.get("note/1"), data(1000, "note/1"), "body with the genuine note")
    other.abort()


@case
def a_stash_that_is_another(t):
    found = storage.of(t.target, t.bucket)
    upload, names = started(t, found, "stash/1", LENGTH)
    genuine = found.read(names["s"])
    # The same part again, so that a stash of another attempt is at hand; the newer one counts.
    upload.part(1, data(LENGTH, "again"))
    newer, = (name for name in hidden(found, "s") if name != names["s"] and name.startswith(names["s"][:len(HIDDEN) + 64]))
    counted = found.read(newer)
    spans = layout.chunks([LENGTH])
    altered = {
        "another attempt's": genuine.body, "flipped": flipped(counted.body, spans[0].ciphertext), "cut": counted.body[:-1],
        "cut at a chunk": counted.body[:spans[1].end], "longer": counted.body + b"\0",
        "a chunk of another attempt": counted.body[:spans[1].start] + genuine.body[spans[1].start:spans[1].end] + counted.body[spans[1].end:],
    }
    for what, content in altered.items():
        found.write(newer, counted.replace(body=content))
        true(found.read(newer).body != counted.body, f"the stash is the same: {what}")
        with raises("InvalidPart", status=400):
            upload.complete([1])
        equal(t.keys("stash/1"), [], f"keys: {what}")
    found.write(newer, counted)
    upload.complete([1])
    equal(t.get("stash/1"), data(LENGTH, "again"), "body with the genuine stash")


LENGTH = 200_000
