"""The rows of the tamper table. docs/threat-model.md shows them grouped, with the stage that fails."""

import layout
from layout import flipped, with_envelope, with_metadata
from tamper_table import Row, Table

ROWS: list[Row] = []


def row(name, thing, change, whole, ranges, head, warm=None):
    ROWS.append(Row(name.replace(" ", "_").replace("'", ""), thing, change, whole, ranges, head, warm))


def body(change):
    """A change of the body's bytes: (table, thing, body) -> body."""

    def altered(table: Table, stored, name):
        return stored.replace(body=change(table, table.things[name], stored.body))

    return altered


def on(name, change):
    """The change for one object of the table."""
    return lambda table, stored: body(change)(table, stored, name)


def chunk_flips(thing, which, number, whole, ranges):
    for field in ("salt", "ciphertext", "tag"):
        def change(_, found, content, field=field):
            return flipped(content, getattr(found.chunks[number], field))
        row(f"flip {thing} {which} chunk {field}", thing, on(thing, change), whole, ranges, "right")


def swapped(content, first, second):
    """Two slices of equal length, exchanged."""
    one, two = content[first], content[second]
    assert len(one) == len(two) and first.stop <= second.start
    return content[:first.start] + two + content[first.stop:second.start] + one + content[second.stop:]


def chunk(found, number):
    return slice(found.chunks[number].start, found.chunks[number].end)


def over(content, place, other):
    """The content with other bytes of the same length in a place."""
    assert place.stop - place.start == len(other)
    return content[:place.start] + other + content[place.stop:]


def without(content, place):
    return content[:place.start] + content[place.stop:]


# Flipped bits. `single` is 10 chunks, of which 4 are proved before the status line; `small` is one.
chunk_flips("single", "first", 0, "422", "touched")
chunk_flips("single", "middle", 5, "cut", "touched")
chunk_flips("single", "last", -1, "cut", "touched")
chunk_flips("small", "only", 0, "422", "refused")
chunk_flips("multi", "first", 0, "422", "touched")
chunk_flips("multi", "second part's middle", 83, "cut", "touched")
chunk_flips("multi", "last", -1, "cut", "touched")
for field in ("salt", "sealed text", "tag", "recovery block", "recovery block's suite", "length"):
    def trailer_flip(_, found, content, field=field):
        return flipped(content, layout.trailer(content)[field])
    row(f"flip single trailer {field}", "single", on("single", trailer_flip), "cut", "right", "right")
    row(f"flip small trailer {field}", "small", on("small", trailer_flip), "422", "right", "right")
    row(f"flip empty trailer {field}", "empty", lambda table, stored, change=trailer_flip: stored.replace(
        body=change(table, None, stored.body)), "422", "none", "right")
    # Cold, nothing of a multipart object can be placed without its table; warm, the table is known, and its end disagrees.
    row(f"flip multipart trailer {field}", "attempts", on("attempts", trailer_flip), "422", "refused", "right", ("cut", "right"))
for thing in ("single", "attempts"):
    for field, (at, length) in layout.ENVELOPE.items():
        row(f"flip {thing} envelope {field}", thing, lambda table, stored, at=at + length // 2: with_envelope(
            stored, lambda envelope: flipped(envelope, at)), "422", "refused", "refused")
for place, at in (("salt", 0), ("sealed text", 14), ("tag", -1)):
    row(f"flip single metadata {place}", "single", lambda table, stored, at=at: with_metadata(
        stored, lambda sealed: flipped(sealed, at % len(sealed))), "422", "refused", "refused")

# Downgrades: other known and unknown values, each alone.
for thing, kind in (("single", 2), ("attempts", 1)):
    row(f"downgrade {thing} kind", thing, lambda table, stored, kind=kind: with_envelope(
        stored, lambda envelope: over(envelope, slice(1, 2), bytes([kind]))), "422", "refused", "refused")
for field, at, values in (("version", 0, (0, 2, 255)), ("suite", 2, (0, 2, 3, 4)), ("chunk size", 3, (12, 17)), ("flags", 4, (0, 2))):
    for value in values:
        row(f"downgrade {field} to {value}", "single", lambda table, stored, at=at, value=value: with_envelope(
            stored, lambda envelope: over(envelope, slice(at, at + 1), bytes([value]))), "422", "refused", "refused")
for thing in ("single", "attempts", "empty"):
    row(f"strip {thing} envelope", thing, lambda table, stored: stored.replace(metadata={}), "422",
        "none" if thing == "empty" else "refused", "refused")
row("strip metadata", "single", lambda table, stored: stored.replace(metadata={"sealgate": stored.metadata["sealgate"]}),
    "422", "refused", "refused")
row("strip metadata and its flag", "single", lambda table, stored: with_envelope(
    stored.replace(metadata={"sealgate": stored.metadata["sealgate"]}), lambda envelope: over(envelope, slice(4, 5), b"\0")),
    "422", "refused", "refused")

# Truncated and lengthened: the envelope knows the size of a single PUT.
for name, change in (
    ("at a chunk boundary", lambda _, found, content: content[:found.chunks[5].end]),
    ("at the last chunk's end", lambda _, found, content: content[:found.chunks[-1].end]),
    ("inside a chunk", lambda _, found, content: content[:found.chunks[5].ciphertext]),
    ("by its last byte", lambda _, found, content: content[:-1]),
    ("to nothing", lambda _, found, content: b""),
    ("at a chunk boundary, trailer kept", lambda _, found, content: content[:found.chunks[5].end] + content[found.trailer]),
    ("by its first chunk", lambda _, found, content: without(content, chunk(found, 0))),
    ("by a middle chunk", lambda _, found, content: without(content, chunk(found, 5))),
):
    row(f"truncate single {name}".replace(",", ""), "single", on("single", change), "422", "refused", "refused")
row("lengthen single by a byte", "single", on("single", lambda _, found, content: content + b"\0"), "422", "refused", "refused")
row("lengthen single by a chunk", "single", on("single", lambda _, found, content: content[:found.chunks[5].end] + content[found.chunks[5].start:]),
    "422", "refused", "refused")
row("lengthen multi by a byte", "attempts", on("attempts", lambda _, found, content: content + b"\0"), "422", "refused", "size")
row("truncate multi by its last byte", "attempts", on("attempts", lambda _, found, content: content[:-1]), "422", "refused", "size")
row("truncate multi inside a chunk", "multi", on("multi", lambda _, found, content: content[:found.chunks[120].ciphertext]), "422", "refused", "size")
row("truncate multi at a chunk boundary", "multi", on("multi", lambda _, found, content: content[:found.chunks[120].end]), "422", "refused", "size")

# Chunks at other places, the size unchanged.
row("swap two chunks", "single", on("single", lambda _, found, content: swapped(content, chunk(found, 5), chunk(found, 6))), "cut", "touched", "right")
row("swap the first chunks", "single", on("single", lambda _, found, content: swapped(content, chunk(found, 0), chunk(found, 1))), "422", "touched", "right")
row("a chunk twice and one dropped", "single", on("single", lambda _, found, content: over(content, chunk(found, 6), content[chunk(found, 5)])), "cut", "touched", "right")
row("a chunk dropped and zeros at its place", "single", on("single", lambda _, found, content: over(
    content, chunk(found, 5), bytes(layout.CHUNK + layout.OVERHEAD))), "cut", "touched", "right")
row("a chunk of another object", "single", on("single", lambda table, found, content: over(
    content, chunk(found, 5), table.things["single2"].genuine.body[chunk(found, 5)])), "cut", "touched", "right")
row("a chunk of an older version", "single", on("single", lambda table, found, content: over(
    content, chunk(found, 5), table.older.body[chunk(found, 5)])), "cut", "touched", "right")
row("the second half of an older version", "single", on("single", lambda table, found, content: content[:found.chunks[5].start]
    + table.older.body[found.chunks[5].start:]), "cut", "touched", "right")
row("swap chunks of two parts", "multi", on("multi", lambda _, found, content: swapped(content, chunk(found, 5), chunk(found, 83))), "cut", "touched", "right")

# Parts.
row("swap two parts", "multi", on("multi", lambda _, found, content: swapped(content, found.part(1), found.part(2))), "422", "touched", "right")
row("a part twice and one dropped", "multi", on("multi", lambda _, found, content: over(content, found.part(2), content[found.part(1)])), "cut", "touched", "right")
row("drop a part", "multi", on("multi", lambda _, found, content: without(content, found.part(2))), "422", "refused", "size")
row("a part of another upload", "multi", on("multi", lambda table, found, content: over(
    content, found.part(2), table.things["multi2"].genuine.body[found.part(2)])), "cut", "touched", "right")
for number in (1, 2):
    def cut(_, found, content, number=number):
        end = found.part(number).stop
        # A size that the inverse accepts: nothing but the trailer tells that something is missing.
        assert layout.plaintext_size(end) is not None
        return content[:end]
    row(f"cut multi at the end of part {number}", "multi", on("multi", cut), "422", "refused", "size")
row("cut multi at a part's end, trailer kept".replace(",", ""), "multi", on("multi", lambda _, found, content: content[:found.part(2).stop]
    + content[found.trailer]), "422", "refused", "size")

# Two attempts at a part: the first one's chunks were genuine once.
row("a chunk of another attempt", "attempts", on("attempts", lambda table, found, content: over(
    content, chunk(found, -3), table.first_attempt[layout.CHUNK + layout.OVERHEAD:2 * (layout.CHUNK + layout.OVERHEAD)])), "cut", "touched", "right")
row("all chunks of another attempt", "attempts", on("attempts", lambda table, found, content: over(
    content, found.part(2), table.first_attempt)), "cut", "touched", "right")
row("all but one chunk of another attempt", "attempts", on("attempts", lambda table, found, content: over(
    content, slice(found.chunks[-3].start, found.chunks[-1].end), table.first_attempt[layout.CHUNK + layout.OVERHEAD:])), "cut", "touched", "right")


# Genuine things at places that are not theirs.
def both(first, second, change):
    """Two objects, each with what the change makes of it and the other."""

    def altered(table, _):
        one, two = table.things[first].genuine, table.things[second].genuine
        return {first: change(one, two), second: change(two, one)}

    return altered


def from_other(name):
    return lambda own, other: own.replace(metadata={**own.metadata, name: other.metadata[name]})


row("swap two objects", "single", both("single", "single2", lambda own, other: other), "422", "refused", "refused")
row("swap two multipart objects", "multi", both("multi", "multi2", lambda own, other: other), "422", "refused", "refused")
row("swap two objects' bodies", "single", both("single", "single2", lambda own, other: own.replace(body=other.body)), "422", "refused", "right")
row("swap two multipart objects' bodies", "multi", both("multi", "multi2", lambda own, other: own.replace(body=other.body)), "422", "refused", "right")
row("swap two envelopes", "single", both("single", "single2", from_other("sealgate")), "422", "refused", "refused")
row("swap two objects' metadata", "single", both("single", "single2", from_other("sealgatemeta")), "422", "refused", "refused")
row("swap two objects' headers", "single", both("single", "single2", lambda own, other: own.replace(metadata=other.metadata)), "422", "refused", "refused")
row("the same name of another bucket", "single", lambda table, stored: table.elsewhere, "422", "refused", "refused")
row("the envelope of an older version", "single", lambda table, stored: from_other("sealgate")(stored, table.older), "422", "refused", "refused")
row("the metadata of an older version", "single", lambda table, stored: from_other("sealgatemeta")(stored, table.older), "422", "refused", "refused")
row("envelope and metadata of an older version", "single", lambda table, stored: stored.replace(metadata=table.older.metadata), "422", "refused", "right")
row("the body of an older version", "single", lambda table, stored: stored.replace(body=table.older.body), "422", "refused", "right")
row("the trailer of an older version", "single", on("single", lambda table, found, content: over(content, found.trailer, table.older.body[found.trailer])),
    "cut", "right", "right")
row("the trailer of another object", "single", on("single", lambda table, found, content: over(
    content, found.trailer, table.things["single2"].genuine.body[found.trailer])), "cut", "right", "right")
row("the trailer of another upload", "multi", on("multi", lambda table, found, content: over(
    content, found.trailer, table.things["multi2"].genuine.body[found.trailer])), "422", "refused", "right", ("cut", "right"))
row("the body of a small object", "single", lambda table, stored: stored.replace(body=table.things["small"].genuine.body), "422", "refused", "refused")
row("a single PUT over a multipart object", "multi", lambda table, stored: table.things["single"].genuine, "422", "refused", "refused")

# A copy: the stored bytes of its source, and nothing else of it.
chunk_flips("copied", "first", 0, "422", "touched")
chunk_flips("copied", "last", -1, "cut", "touched")
row("the envelope of its source", "copied", lambda table, stored: stored.replace(
    metadata={**stored.metadata, "sealgate": table.things["single"].genuine.metadata["sealgate"]}), "422", "refused", "refused")
row("envelope and metadata of its source", "copied", lambda table, stored: stored.replace(
    metadata=table.things["single"].genuine.metadata), "422", "refused", "refused")
row("the sealed metadata of its source", "copied", lambda table, stored: stored.replace(
    metadata={**stored.metadata, "sealgatemeta": table.things["single"].genuine.metadata["sealgatemeta"]}), "422", "refused", "refused")
row("envelope and metadata of a copy over its source", "single", lambda table, stored: stored.replace(
    metadata=table.things["copied"].genuine.metadata), "422", "refused", "refused")
row("the body of another object under a copy", "copied", lambda table, stored: stored.replace(
    body=table.things["single2"].genuine.body), "422", "refused", "right")
row("the trailer of another object under a copy", "copied", on("copied", lambda table, found, content: over(
    content, found.trailer, table.things["single2"].genuine.body[found.trailer])), "cut", "right", "right")

# What the storage says beside the body counts for nothing.
for thing in ("single", "attempts", "bare"):
    row(f"change content type of {thing}", thing, lambda table, stored: stored.replace(
        headers={**stored.headers, "content-type": "text/html"}), "right", "right", "right")
    row(f"change content encoding of {thing}", thing, lambda table, stored: stored.replace(
        headers={**stored.headers, "content-encoding": "deflate"}), "right", "right", "right")
    row(f"change all headers of {thing}", thing, lambda table, stored: stored.replace(headers={
        "cache-control": "max-age=1", "content-disposition": "inline", "content-encoding": "br", "content-language": "tlh",
        "content-type": "application/javascript"}), "right", "right", "right")
