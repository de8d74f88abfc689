"""The tamper table of migrated objects: what `sealgate migrate` brought into an encrypted bucket, read through the gateway.

A migrated object of such a size is a single PUT, whatever it was before: the rows are those of single PUTs.
"""

import zlib

import cases
import migrate
import storage
import wire
from cases import data, equal, true
from tamper import register
from tamper_rows import ROWS
from tamper_table import HEADERS, Table, Thing

CI_SHARE = 4
SINGLE = ("single", "single2", "small", "empty", "bare")


class Migrated(Table):
    """The table's objects, written in plain and migrated: an older version of one in a first pass, the others in a second."""

    def __init__(self, t):
        migration = migrate.Migration(t)
        self.t = cases.Context(t.target, migration.source, t.size)
        self.storage, self.wire = storage.of(t.target, migration.copy), wire.Wire(t.target)
        self.things: dict[str, Thing] = {}
        self.plain("single", data(600_000, "older"))
        migration.run("--prepare")
        self.older = self.storage.read("single")
        bodies = {"single": data(600_000, "single"), "single2": data(600_000, "single2"), "small": data(1000, "small"), "empty": b"",
                  "bare": data(1000, "bare")}
        for name, body in bodies.items():
            self.plain(name, body, {} if name == "bare" else HEADERS)
        true(migration.run()[-1]["switched"], "the names were not switched")
        for name, body in bodies.items():
            self._keep(Thing(name, body, [len(body)]))
        elsewhere = f"{t.bucket}-2"
        t.create_bucket(elsewhere)
        t.s3.put_object(Bucket=elsewhere, Key="single", Body=data(600_000, "elsewhere"))
        self.elsewhere = storage.of(t.target, elsewhere).read("single")

    def plain(self, name: str, body: bytes, headers=HEADERS):
        with self.wire.connect() as connection:
            connection.sendall(self.wire.head("PUT", self.t.path(name), headers=headers, length=len(body))[0] + body)
            seen = wire.read(connection, "PUT")
        equal(seen.status, 200, f"PUT {name}: {seen}")

    def describes(self, thing: Thing, seen: wire.Seen):
        if thing.name == "bare":
            # Servers give what has no type one of their own, and it is migrated.
            return
        super().describes(thing, seen)


def migrated(t) -> Migrated:
    if not hasattr(t, "migrated"):
        t.migrated = Migrated(t)
    return t.migrated


def touches_singles(row) -> bool:
    """Whether a row's change is of single PUTs alone: it is made of what the table of migrated objects has."""
    return row.object in SINGLE and not any(word in row.name for word in ("multi", "copied", "copy", "upload"))


def in_ci(row) -> bool:
    """A row in so many is enough for CI: all of them are tried there on objects that were not moved."""
    return zlib.crc32(row.name.encode()) % CI_SHARE == 0


OF_SINGLES = [row for row in ROWS if touches_singles(row)]
register([row for row in OF_SINGLES if in_ci(row)], __name__, migrated)
register([row for row in OF_SINGLES if not in_ci(row)], __name__, migrated, sizes=("acceptance",))
