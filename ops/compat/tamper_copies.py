"""The tamper table of copies in another bucket: the stored bytes are their source's, and nothing else of them is.

The copies of the table itself lie beside their source.
"""

import cases
import layout
import storage
import wire
from cases import data, equal
from layout import flipped
from tamper import register
from tamper_rows import chunk, on, over, swapped
from tamper_table import LAST_PART, PART, Row, Table, Thing

ROWS: list[Row] = []


class Copies(Table):
    """Sources in the suite's bucket, copies and objects of its own in another."""

    def __init__(self, t):
        self.things: dict[str, Thing] = {}
        self._in(t)
        parts = [(1, data(PART, "source 1")), (2, data(LAST_PART, "source 2"))]
        self._put("source", data(600_000, "source"))
        self._upload("source-multi", parts)
        self.sources, self.things = self.things, {}
        elsewhere = cases.Context(t.target, f"{t.bucket}-2", t.size)
        elsewhere.create_bucket(elsewhere.bucket)
        self._in(elsewhere)
        self._put("own", data(600_000, "own"))
        self._upload("own-multi", [(number, data(len(body), f"own {number}")) for number, body in parts])
        for key, source in (("copy", "source"), ("sibling", "source"), ("copy-multi", "source-multi")):
            thing = self.sources[source]
            t.s3.copy_object(Bucket=elsewhere.bucket, Key=key, CopySource={"Bucket": t.bucket, "Key": source})
            self._keep(Thing(key, thing.body, thing.sizes))
            equal(self.things[key].genuine.body == thing.genuine.body, True, f"that {key} has its source's stored bytes")

    def _in(self, t):
        self.t, self.storage, self.wire = t, storage.of(t.target, t.bucket), wire.Wire(t.target)


def table(t) -> Copies:
    if not hasattr(t, "copies"):
        t.copies = Copies(t)
    return t.copies


def row(name, thing, change, whole, ranges, head, warm=None):
    ROWS.append(Row(name.replace(" ", "_").replace("-", "_").replace("'", ""), thing, change, whole, ranges, head, warm))


def of_source(*names):
    """The source's user metadata of these names over the copy's."""

    def change(table, stored):
        source = table.sources["source-multi" if len(table.things["copy-multi"].genuine.body) == len(stored.body) else "source"]
        return stored.replace(metadata={**stored.metadata, **{name: source.genuine.metadata[name] for name in names}})

    return change


for thing in ("copy", "copy-multi"):
    size = "right" if thing == "copy" else "size"
    for which, number, whole in (("first", 0, "422"), ("last", -1, "cut")):
        row(f"flip {thing} {which} chunk", thing, on(thing, lambda _, found, content, number=number: flipped(
            content, found.chunks[number].ciphertext)), whole, "touched", "right")
    row(f"the envelope of {thing}'s source", thing, of_source("sealgate"), "422", "refused", "refused")
    row(f"envelope and metadata of {thing}'s source", thing, of_source("sealgate", "sealgatemeta"), "422", "refused", "refused")
    row(f"cut {thing} by its last byte", thing, on(thing, lambda _, found, content: content[:-1]), "422", "refused",
        "refused" if thing == "copy" else size)
row("the sealed metadata of copy's source", "copy", of_source("sealgatemeta"), "422", "refused", "refused")
row("the envelope of another copy of one source", "copy", lambda table, stored: stored.replace(
    metadata=table.things["sibling"].genuine.metadata), "422", "refused", "refused")
row("a copy over an object", "own", lambda table, stored: table.things["copy"].genuine, "422", "refused", "refused")
row("the body of an object under a copy", "copy", lambda table, stored: stored.replace(body=table.things["own"].genuine.body), "422", "refused", "right")
row("the trailer of an object under a copy", "copy", on("copy", lambda table, found, content: over(
    content, found.trailer, table.things["own"].genuine.body[found.trailer])), "cut", "right", "right")
row("a chunk of an object in a copy", "copy", on("copy", lambda table, found, content: over(
    content, chunk(found, 5), table.things["own"].genuine.body[chunk(found, 5)])), "cut", "touched", "right")
for field in ("sealed text", "recovery block"):
    # Of what a copy carries of its source: which key opens it without metadata.
    row(f"flip copy trailer {field}", "copy", on("copy", lambda _, found, content, field=field: flipped(
        content, layout.trailer(content)[field])), "cut", "right", "right")
    row(f"flip copy-multi trailer {field}", "copy-multi", on("copy-multi", lambda _, found, content, field=field: flipped(
        content, layout.trailer(content)[field])), "422", "refused", "right", ("cut", "right"))
row("swap two chunks of a copied upload", "copy-multi", on("copy-multi", lambda _, found, content: swapped(
    content, chunk(found, 0), chunk(found, 1))), "422", "touched", "right")
row("a part of an upload in a copied one", "copy-multi", on("copy-multi", lambda table, found, content: over(
    content, found.part(2), table.things["own-multi"].genuine.body[found.part(2)])), "cut", "touched", "right")
row("the body of an upload under a copied one", "copy-multi", lambda table, stored: stored.replace(
    body=table.things["own-multi"].genuine.body), "422", "refused", "right")
row("cut a copied upload at a part's end", "copy-multi", on("copy-multi", lambda _, found, content: content[:found.part(1).stop]),
    "422", "refused", "size")
row("change content type of copy", "copy", lambda table, stored: stored.replace(
    headers={**stored.headers, "content-type": "text/html"}), "right", "right", "right")

register(ROWS, __name__, table)
