"""A backend bucket with the keys that open it: IK records are found by name, admitted by the card, then unwrapped."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from . import keys, objects, records
from .keyring import Keyring
from .primitives import Refused, demand

HIDDEN = b".sealgate/"


class Stored(Protocol):
    """What a storage gives for a key: `filesystem.Stored`, or anything like it."""

    key: bytes
    metadata: dict[str, str]
    size: int

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the body; fewer when it ends before."""


class Bucket:
    """One backend bucket, its objects and IK records."""

    def __init__(self, found: Iterable[Stored], cards: list[str], keyring: Keyring, drops_metadata_of_markers=False):
        self._cards, self._keyring = [keys.parse_card(card) for card in cards], keyring
        self._bare_markers = drops_metadata_of_markers
        found = list(found)
        self._visible = [stored for stored in found if not stored.key.startswith(HIDDEN)]
        self._hidden = {stored.key.decode(): stored for stored in found if stored.key.startswith(HIDDEN)}
        self.id = records.parse_marker(self.hidden_body(f"{records.PREFIX}bucket"))

    def hidden_names(self) -> list[str]:
        """Everything that no client sees."""
        return sorted(self._hidden)

    def hidden_body(self, name: str) -> bytes:
        """One of them; empty where there is none."""
        stored = self._hidden.get(name)
        return stored.read(0, stored.size) if stored else b""

    def stored(self, key: bytes | None = None) -> Iterator[Stored]:
        """The clients' objects, or the one of that key."""
        return (stored for stored in self._visible if key in (None, stored.key))

    def record_and_ik(self, ik: bytes) -> tuple[keys.IkRecord, bytes]:
        """The first record of this IK that the card admits and the keyring opens."""
        refusal = Refused("ik-record", f"there is none for IK {ik.hex()}")
        for name in self.hidden_names():
            if not name.startswith(f"{records.PREFIX}ik/{ik.hex()}/"):
                continue
            try:
                body = self.hidden_body(name)
                demand(records.parse_name(name)["digest"] == hashlib.sha256(body).hexdigest()[:32], "ik-record", "its name is another's")
                record = keys.parse_ik_record(body)
                demand(record.ik == ik, "ik-record", "it is another IK's")
                demand(any(self._admits(card, record) for card in self._cards), "card", "no card admits the record")
                return record, self._keyring.unwrap(record)
            except Refused as error:
                refusal = error
        raise refusal

    @staticmethod
    def _admits(card: keys.Card, record: keys.IkRecord) -> bool:
        try:
            card.admit(record)
        except Refused:
            return False
        return True

    def decrypt(self, stored: Stored, without_envelope=False) -> objects.Object:
        """An object, by its envelope or by its recovery block."""
        if without_envelope:
            def find(ik):
                record, key = self.record_and_ik(ik)
                return record.tenant, record.bucket, key
            return objects.decrypt_bare(find, stored.read, stored.size)
        envelope = objects.ENVELOPE_HEADER
        if self._bare_markers and stored.key.endswith(b"/") and stored.size == 0 and envelope not in stored.metadata:
            return objects.EMPTY
        demand(envelope in stored.metadata, "header", "there is none")
        # The tenant is the bucket's owner: the record of the object's own bucket names it.
        record, key = self.record_and_ik(objects.parse_envelope(objects.unb64(stored.metadata[envelope], "header")).ik)
        place = objects.Place(record.tenant, self.id, stored.key)
        return objects.decrypt(place, lambda _: key, stored.metadata, stored.read, stored.size)
