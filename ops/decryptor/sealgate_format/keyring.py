"""The local keyring (docs/keyring.md)."""

import base64
import json
import re

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from .keys import IkRecord
from .primitives import ZERO_NONCE, demand, hkdf, open_sealed

MOST_MEMORY_KIB, MOST_PASSES = 1 << 20, 16


def lp64(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def context(label: bytes, *fields: bytes) -> bytes:
    return label + b"".join(map(lp64, fields))


def unseal(key: bytes, additional: bytes, sealed: bytes) -> bytes:
    demand(len(sealed) >= 49 and sealed[0] == 1, "kms", "not sealed by this format")
    cipher = AESGCM(hkdf(key, sealed[1:33], b"sealgate/v1/sealed"))
    return open_sealed(cipher, ZERO_NONCE, sealed[33:], additional, "kms")


class Keyring:
    """An open keyring, as the KMS that unwraps IKs."""

    def __init__(self, text: str, key_file: bytes | None = None, passphrase: bytes | None = None):
        form = json.loads(text)
        demand(set(form) == {"format", "id", "lock", "check", "keks"} and form["format"] == 1, "kms", "not a keyring of format 1")
        master = master_key(form["lock"], key_file, passphrase)
        ring = form["id"].encode()
        unseal(master, context(b"sealgate/v1/keyring/check", ring), base64.b64decode(form["check"], validate=True))
        self.keks = {}
        for entry in form["keks"]:
            demand(set(entry) == {"name", "version", "created", "sealed"}, "kms", "an entry has other fields")
            name, version = entry["name"], entry["version"]
            bound = context(b"sealgate/v1/keyring/kek", ring, name.encode(), version.to_bytes(4, "big"), entry["created"].to_bytes(8, "big"))
            kek = unseal(master, bound, base64.b64decode(entry["sealed"], validate=True))
            demand(len(kek) == 32, "kms", "a KEK has 32 bytes")
            self.keks[f"local/{name}", str(version)] = kek

    def unwrap(self, record: IkRecord) -> bytes:
        kek = self.keks.get((record.kek, record.kek_version))
        demand(kek, "kms", f"no {record.kek} version {record.kek_version}")
        bound = context(b"sealgate/v1/keyring/wrap", record.kek.encode(), record.kek_version.encode(), record.context)
        ik = unseal(kek, bound, record.wrapped)
        demand(len(ik) == 32, "kms", "an IK has 32 bytes")
        return ik


def master_key(lock: dict, key_file: bytes | None, passphrase: bytes | None) -> bytes:
    if lock["kind"] == "key-file":
        demand(key_file is not None and len(key_file) == 32, "kms", "the keyring opens with a key file of 32 bytes")
        return hkdf(key_file, bytes.fromhex(lock["salt"]), b"sealgate/v1/keyring")
    demand(lock["kind"] == "passphrase" and passphrase is not None, "kms", "the keyring opens with a passphrase")
    demand(lock["memory_kib"] <= MOST_MEMORY_KIB and lock["passes"] <= MOST_PASSES, "kms", "the keyring asks for too much")
    derive = Argon2id(salt=bytes.fromhex(lock["salt"]), length=32, iterations=lock["passes"], lanes=1, memory_cost=lock["memory_kib"])
    return derive.derive(re.sub(rb"\r?\n?\Z", b"", passphrase, count=1))
