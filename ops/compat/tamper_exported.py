"""What `sealgate export --decrypt` makes of altered objects: each row of the tamper table, and an export of all of its objects.

An export has neither status nor cut answer, but a file that is there or not: an altered object is named and leaves none, whatever a client would have
seen of it, and the others come out as they were written.
"""

import os
import tempfile
import zlib

from cases import equal, true
from export import SECONDS, Export
from tamper import register
from tamper_rows import ROWS
from tamper_table import Table

# A row in so many is enough for CI, where each has an export of its own.
CI_SHARE = 6


class Exported(Table):
    """The table, exported once as it is; then again for each row."""

    def __init__(self, t):
        super().__init__(t)
        # What came out last, by key.
        self.found: dict[str, bytes] = {}
        summary, failed = self.export()
        equal((summary["objects"], failed), (len(self.things), {}), "the export of what is genuine")
        for thing in self.things.values():
            true(self.found[thing.name] == thing.body, f"the exported {thing.name} is another")

    def export(self, status=0):
        with tempfile.TemporaryDirectory(prefix="sealgate-tamper-export-") as directory:
            told = Export(self.t, directory, "out").run(status)
            objects, self.found = os.path.join(directory, "out", "objects"), {}
            for name in os.listdir(objects):
                with open(os.path.join(objects, name), "rb") as file:
                    self.found[name] = file.read()
        return told

    def attempt(self, row):
        thing = self.things[row.object]
        changed = row.change(self, thing.genuine)
        changed = changed if isinstance(changed, dict) else {row.object: changed}
        try:
            for name, stored in changed.items():
                self.storage.write(name, stored)
                true(self.storage.read(name) != self.things[name].genuine, f"the stored {name} is the same as before")
            # Where only the trailer is another, a download that was cut goes on with a range, and every byte of it is proved.
            lost = {} if row.whole == "right" or (row.whole, row.ranges) == ("cut", "right") else changed
            summary, failed = self.export(4 if lost else 0)
            equal({name: line["error"] for name, line in failed.items()}, dict.fromkeys(lost, "integrity"), "what failed")
            equal(summary["objects"], len(self.things) - len(lost), "objects that came out")
            equal(sorted(self.found), sorted(set(self.things) - set(lost)), "files in the export")
            true(all(self.found[name] == self.things[name].body for name in self.found), "an exported object is another")
        finally:
            for name in changed:
                self.storage.write(name, self.things[name].genuine)


def exported(t) -> Exported:
    if not hasattr(t, "exported"):
        t.exported = Exported(t)
    return t.exported


def in_ci(row) -> bool:
    return zlib.crc32(row.name.encode()) % CI_SHARE == 0


register([row for row in ROWS if in_ci(row)], __name__, exported, seconds=SECONDS)
register([row for row in ROWS if not in_ci(row)], __name__, exported, seconds=SECONDS, sizes=("acceptance",))
