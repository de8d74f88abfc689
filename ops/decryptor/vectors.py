"""Holds the golden vectors against the readers of this folder: what opens, opens to that, what must not fails at its stage.

  vectors.py [DIR]                 DIR is data-plane/envelope/vectors
  vectors.py --bodies OUT [DIR]    writes every object's body to OUT, for readers that cannot seal

Prints a line for each vector that is not as it says, and `N passed, N failed`.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from sealgate_format import keyring, keys, objects, primitives, records, sizes  # noqa: E402 (found through the line above)
from sealgate_format.primitives import Refused, unb64  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VECTORS = os.path.join(ROOT, "data-plane", "envelope", "vectors")
KEYRINGS = os.path.join(ROOT, "control-plane", "kms", "tests", "golden")


class Suite:
    """Counts, and says what was not as expected."""

    def __init__(self, directory: str):
        self.directory, self.passed, self.failed, self.bodies = directory, 0, 0, {}

    def load(self, name: str) -> dict:
        with open(os.path.join(self.directory, f"{name}.json"), encoding="utf-8") as file:
            return json.load(file)

    def equal(self, what: str, found: Callable, wanted):
        try:
            found = found()
        except Refused as refusal:
            found = refusal
        self.count(found == wanted, f"{what}: {found!r:.300}, not {wanted!r:.300}")

    def refused(self, what: str, stage: str, attempt: Callable):
        try:
            attempt()
        except Refused as refusal:
            self.count(refusal.stage == stage, f"{what}: refused at {refusal}, not {stage}")
        else:
            self.count(False, f"{what}: opened, not refused at {stage}")

    def count(self, good: bool, complaint: str):
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        if not good:
            print(complaint)


def plaintext(start: int, end: int) -> bytes:
    """Bytes of SHA-256(u64 0) ‖ SHA-256(u64 1) ‖ …"""
    blocks = b"".join(hashlib.sha256(block.to_bytes(8, "big")).digest() for block in range(start // 32, -(-end // 32)))
    return blocks[start % 32:start % 32 + end - start]


def sealed(dek: str, suite: int, object_id: str, part: int, salt: str, **span: int) -> bytes:
    """All chunks of a part."""
    salt_bytes = bytes.fromhex(salt)
    info = b"sealgate/v1/part" + bytes([suite]) + bytes.fromhex(object_id) + part.to_bytes(2, "big")
    cipher = primitives.SUITES[suite](primitives.hkdf(bytes.fromhex(dek), salt_bytes, info))
    text, stored = plaintext(span["from"], span["to"]), []
    for index in range(sizes.ceil_div(len(text), sizes.CHUNK)):
        chunk = text[index * sizes.CHUNK:(index + 1) * sizes.CHUNK]
        last = (index + 1) * sizes.CHUNK >= len(text)
        stored.append(salt_bytes + cipher.encrypt(bytes(7) + index.to_bytes(4, "big") + bytes([last]), chunk, None))
    return b"".join(stored)


def body_of(suite: Suite, body: dict) -> bytes:
    """A body from its pieces; the digest tells whether it was put together right."""
    found = []
    for piece in body["pieces"]:
        match piece:
            case {"hex": text}:
                found.append(bytes.fromhex(text))
            case {"chunks": chunks}:
                found.append(sealed(**chunks))
            case {"slice": {"of": name, "from": start, "to": end}}:
                found.append(suite.bodies[name][start:end])
            case _:
                raise ValueError(f"unknown piece {piece}")
    whole = b"".join(found)
    suite.count((len(whole), hashlib.sha256(whole).hexdigest()) == (body["size"], body["sha256"]), "a body was put together wrong")
    return whole


def opened(vector: dict, body: bytes, bare: bool) -> tuple[objects.Object, bytes]:
    where = vector["place"]
    tenant, bucket, ik = (bytes.fromhex(where[name]) for name in ("tenant", "bucket", "ik"))

    def read(start, end):
        return body[start:end]

    if bare:
        found = objects.decrypt_bare(lambda _: (tenant, bucket, ik), read, len(body))
    else:
        headers = {objects.ENVELOPE_HEADER: vector["envelope"]}
        if vector["metadata_header"] is not None:
            headers[objects.METADATA_HEADER] = vector["metadata_header"]
        found = objects.decrypt(objects.Place(tenant, bucket, where["key"].encode()), lambda _: ik, headers, read, len(body))
    return found, b"".join(found.plaintext)


def described(vector: dict, body: bytes, bare: bool) -> tuple:
    found, text = opened(vector, body, bare)
    parts = [{"number": part.number, "size": part.size, "salt": part.salt.hex(), "etag": part.etag.hex(),
              "checksum": part.checksum and {"code": part.checksum[0], "composite": False, "value": part.checksum[1].hex()}}
             for part in found.table.parts if part.number]
    metadata = {name.decode(): value.decode() for name, value in found.metadata.items()}
    return len(text), hashlib.sha256(text).hexdigest(), sums(found.table.checksums), parts, {} if bare else metadata


def sums(checksums) -> list[dict]:
    return [{"code": code, "composite": composite, "value": value.hex()} for code, composite, value in checksums]


def check_objects(suite: Suite):
    stored = suite.load("objects")
    for vector in stored["objects"]:
        body = suite.bodies[vector["name"]] = body_of(suite, vector["body"])
        for bare in (False, True) if body else (False,):
            wanted = (vector["size"], vector["sha256"], vector["checksums"], vector["parts"], {} if bare else vector["metadata"])
            suite.equal(vector["name"], lambda: described(vector, body, bare), wanted)
    for vector in stored["refused"]:
        body = body_of(suite, vector["body"])
        suite.refused(vector["why"], vector["stage"], lambda: opened(vector, body, vector["envelope"] is None))


def check_copies(suite: Suite):
    """Another envelope over the body of an object of check_objects, which keeps them."""
    stored = suite.load("copies")
    objects_by_name = {vector["name"]: vector for vector in suite.load("objects")["objects"]}
    for vector in stored["copies"]:
        of, body = objects_by_name[vector["of"]], suite.bodies[vector["of"]]
        wanted = (of["size"], of["sha256"], of["checksums"], of["parts"])
        suite.equal(vector["name"], lambda: described(vector, body, False), (*wanted, of["metadata"]))
        bare = {**vector, "place": vector["recovered"]}
        suite.equal(f"{vector['name']} without envelope", lambda: described(bare, body, True), (*wanted, {}))
        suite.equal(f"IK of {vector['name']}", lambda: objects.parse_envelope(unb64(vector["envelope"], "header")).ik.hex(), vector["ik_id"])
        suite.equal(f"IK in the body of {vector['name']}", lambda: objects.parse_recovery(body[-103:-4]).ik.hex(), vector["recovery_ik_id"])
    for vector in stored["refused"]:
        suite.refused(vector["why"], vector["stage"], lambda: opened(vector, suite.bodies[vector["of"]], vector["envelope"] is None))


def check_uploads(suite: Suite):
    stored = suite.load("uploads")

    def record(vector):
        found = records.parse_upload_record(bytes.fromhex(vector["record"]))
        primitives.demand(found.upload == vector["upload_id"], "upload-record", "it is another upload's")
        return found, found.open(bytes.fromhex(vector["tenant"]), bytes.fromhex(vector["ik"]))

    def fields(vector):
        found, dek = record(vector)
        name = f"{records.PREFIX}u/{records.record_name(found.gateway, found.bucket, found.upload, found.key)}/r"
        return {**vector, "name": name, "dek": dek.hex(), "suite": found.envelope.suite, "object_id": found.envelope.object_id.hex(),
                "flags": found.envelope.flags, "gateway": found.gateway.hex(), "bucket": found.bucket.hex(), "created": found.created,
                "code": found.checksum[0], "form": found.checksum[1], "key": found.key.decode()}

    def note(vector):
        name = records.parse_name(vector["name"])
        found = records.open_note(bytes.fromhex(vector["dek"]), vector["suite"], bytes.fromhex(vector["object_id"]),
                                  vector["upload_id"], name["part"], name["etag"], bytes.fromhex(name["note"]))
        return {**vector, "part": name["part"], "etag": name["etag"], "salt": found.salt.hex(), "size": found.size,
                "checksums": sums(found.checksums)}

    for vector in stored["records"]:
        suite.equal(vector["upload_id"], lambda: fields(vector), vector)
    for vector in stored["refused"]:
        suite.refused(vector["why"], vector["stage"], lambda: record(vector))
    for vector in stored["notes"]:
        suite.equal(vector["name"], lambda: note(vector), vector)
    for vector in stored["refused_notes"]:
        suite.refused(vector["why"], vector["stage"], lambda: note({**vector, "checksums": []}))


def check_ik_records(suite: Suite):
    stored = suite.load("ik-records")

    def fields(vector):
        found = keys.parse_ik_record(bytes.fromhex(vector["record"]))
        name = f"{records.PREFIX}ik/{found.ik.hex()}/{hashlib.sha256(bytes.fromhex(vector['record'])).hexdigest()[:32]}"
        return {"record": vector["record"], "name": name, "tenant": found.tenant.hex(), "bucket": found.bucket.hex(), "ik_id": found.ik.hex(),
                "created": found.created, "kek": found.kek, "kek_version": found.kek_version, "wrapped": found.wrapped.hex(),
                "context": found.context.hex(), "context_text": found.context_text}

    def admitted(card):
        card, found = keys.parse_card(card), []
        for place, vector in enumerate(stored["records"]):
            try:
                card.admit(keys.parse_ik_record(bytes.fromhex(vector["record"])))
                found.append(place)
            except Refused:
                pass
        return found

    for vector in stored["records"]:
        suite.equal(vector["kek"], lambda: fields(vector), vector)
    for vector in stored["refused"]:
        suite.refused(vector["why"], vector["stage"], lambda: keys.parse_ik_record(bytes.fromhex(vector["bytes"])))
    for vector in stored["cards"]:
        suite.equal(vector["card"], lambda: admitted(vector["card"]), vector["admits"])
    for vector in stored["refused_cards"]:
        suite.refused(vector["why"], vector["stage"], lambda: keys.parse_card(vector["text"]))


def check_names(suite: Suite):
    stored = suite.load("names")

    def fields(name):
        found = records.parse_name(name)
        return found.pop("kind"), [str(value) for value in found.values()]

    for vector in stored["names"]:
        suite.equal(vector["name"], lambda: fields(vector["name"]), (vector["kind"], vector["fields"]))
    for vector in stored["refused"]:
        suite.refused(vector["why"], vector["stage"], lambda: records.parse_name(vector["text"]))
    for marker, bucket in stored["markers"]:
        suite.equal("marker", lambda: records.parse_marker(bytes.fromhex(marker)).hex(), bucket)
    for vector in stored["refused_markers"]:
        suite.refused(vector["why"], vector["stage"], lambda: records.parse_marker(bytes.fromhex(vector["bytes"])))


def check_keyrings(suite: Suite):
    with open(os.path.join(KEYRINGS, "records.json"), encoding="utf-8") as file:
        golden = json.load(file)
    key, passphrase = bytes.fromhex(golden["key_file"]), golden["passphrase"].encode()
    for name, secrets, wrong in (("key-file", {"key_file": key}, {"key_file": bytes(32)}),
                                 ("passphrase", {"passphrase": passphrase + b"\n"}, {"passphrase": passphrase + b"\n\n"})):
        with open(os.path.join(KEYRINGS, f"{name}.json"), encoding="utf-8") as file:
            text = file.read()
        ring = keyring.Keyring(text, **secrets)
        suite.refused(f"{name}: another secret", "kms", lambda: keyring.Keyring(text, **wrong))
        dated = text.replace('"created": 1800000001', '"created": 1800000003')
        suite.refused(f"{name}: an entry with another date", "kms", lambda: keyring.Keyring(dated, **secrets))
        for record in golden["records"]:
            parsed = keys.parse_ik_record(bytes.fromhex(record))
            suite.equal(f"{name}: IK", lambda: ring.unwrap(parsed).hex(), golden["ik"])
            moved = dataclasses.replace(parsed, context=parsed.context + b"x")
            suite.refused(f"{name}: another context", "kms", lambda: ring.unwrap(moved))


def check_the_rest(suite: Suite):
    stored = suite.load("sizes")
    for plain, body in stored["pairs"]:
        suite.equal(f"size {plain}", lambda: (sizes.sealed_size(plain), sizes.plain_size(body)), (body, plain))
    for body in stored["refused"]:
        suite.equal(f"size {body}", lambda: sizes.plain_size(body), None)
    stored = suite.load("etags")
    for backend, client in stored["pairs"]:
        suite.equal("ETag", lambda: (records.client_etag(backend), records.backend_etag(client)), (client, backend))
    for client, backend in stored["to_backend"]:
        suite.equal("ETag", lambda: records.backend_etag(client), backend)
    for etag, wanted in stored["in_tables"]:
        suite.equal("ETag in a table", lambda: records.etag_in_table(etag).hex(), wanted)
    for vector in suite.load("keys")["derivations"]:
        ikm, salt, info = (bytes.fromhex(vector[name]) for name in ("from", "salt", "info"))
        suite.equal(vector["key"], lambda: primitives.hkdf(ikm, salt, info).hex(), vector["derived"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default=VECTORS)
    parser.add_argument("--bodies", metavar="OUT")
    options = parser.parse_args()
    suite = Suite(options.directory)
    for check in (check_objects, check_copies, check_uploads, check_ik_records, check_names, check_keyrings, check_the_rest):
        check(suite)
    if options.bodies:
        os.makedirs(options.bodies, exist_ok=True)
        for name, body in suite.bodies.items():
            with open(os.path.join(options.bodies, name), "wb") as file:
                file.write(body)
    print(f"{suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
