"""IK records, recovery cards, and the wrapped DEK (docs/format.md, 2, 9 and 13)."""

import dataclasses
import hmac
import re
import unicodedata

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .primitives import ZERO_NONCE, Fields, Refused, b64, demand, hkdf, lp, open_sealed

ID = 16
LONGEST_REFERENCE = 1024


@dataclasses.dataclass(frozen=True)
class IkRecord:
    tenant: bytes
    bucket: bytes
    ik: bytes
    created: int
    kek: str
    kek_version: str
    wrapped: bytes
    # What the KMS gets as additional data.
    context: bytes

    @property
    def context_text(self) -> str:
        """For a KMS that takes a map of strings only."""
        return b64(self.context)


def parse_ik_record(data: bytes) -> IkRecord:
    fields = Fields(data, "ik-record")
    demand(fields.uint(1) == 1, "ik-record", "unknown format")
    tenant, bucket, ik = fields.take(ID), fields.take(ID), fields.take(ID)
    created, kek, version = fields.uint(8), fields.text(), fields.text()
    demand(1 <= len(kek.encode()) <= LONGEST_REFERENCE, "ik-record", "the KEK's reference is too short or too long")
    demand(len(version.encode()) <= LONGEST_REFERENCE, "ik-record", "the KEK's version is too long")
    context = data[:fields.at]
    wrapped = fields.prefixed()
    demand(1 <= len(wrapped) <= 8192, "ik-record", "the wrapped IK is too short or too long")
    fields.end()
    return IkRecord(tenant, bucket, ik, created, kek, version, wrapped, context)


@dataclasses.dataclass(frozen=True)
class Card:
    """Whom an offline tool believes."""

    buckets: frozenset[tuple[bytes, bytes]]
    keks: frozenset[str]

    def admit(self, record: IkRecord):
        """Refuses a record that the card does not name; before the KMS is asked."""
        demand((record.tenant, record.bucket) in self.buckets, "card", "the record's bucket is not on the card")
        demand(record.kek in self.keks, "card", "the record's KEK is not on the card")


def parse_card(text: str) -> Card:
    first, *lines = text.replace("\r\n", "\n").split("\n")
    demand(first == "sealgate-recovery-card 1", "card", "not a recovery card of version 1")
    buckets, keks = set(), set()
    for line in lines:
        if line == "" or line.startswith("#"):
            continue
        demand(not any(unicodedata.category(sign) == "Cc" for sign in line), "card", "a control character")
        if bucket := re.fullmatch(r"bucket ([0-9a-f]{32}) ([0-9a-f]{32})(?: .*)?", line):
            buckets.add((bytes.fromhex(bucket[1]), bytes.fromhex(bucket[2])))
        elif kek := re.fullmatch(r"kek (.+)", line):
            demand(len(kek[1].encode()) <= LONGEST_REFERENCE, "card", "a KEK reference that is too long")
            keks.add(kek[1])
        else:
            raise Refused("card", f"a line that means nothing: {line[:80]!r}")
    return Card(frozenset(buckets), frozenset(keks))


def unwrap(ik: bytes, purpose: int, salt: bytes, wrapped: bytes, additional: bytes, stage="wrap") -> bytes:
    """The DEK. `additional` is what stands behind "sealgate" ‖ purpose."""
    key = hkdf(ik, salt, b"sealgate/v1/wrap" + bytes([purpose]))
    return open_sealed(AESGCM(key), ZERO_NONCE, wrapped, b"sealgate" + bytes([purpose]) + additional, stage)


def bound_to(head: bytes, commitment: bytes, tenant: bytes, bucket: bytes, key: bytes, record: bytes = b"") -> bytes:
    """Additional data for purposes 1 and 2."""
    return head + commitment + tenant + bucket + lp(key) + record


def check_commitment(dek: bytes, version: int, suite: int, object_id: bytes, commitment: bytes):
    found = hkdf(dek, b"", b"sealgate/v1/commit" + bytes([version, suite]) + object_id)
    demand(hmac.compare_digest(found, commitment), "commitment", "the key is another")
