"""What all sections use: refusals that name their stage, big-endian fields, base64url, HKDF and the AEADs (docs/format.md, 1 and 2)."""

import base64
import binascii
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = 1
SINGLE, MULTIPART = 1, 2
SUITES = {1: AESGCM, 2: ChaCha20Poly1305}
OBJECT, UPLOAD_RECORD, RECOVERY = 1, 2, 3
TAG = 16
# code: bytes of a checksum's value.
CHECKSUMS = {1: 4, 2: 4, 3: 8, 4: 20, 5: 32, 6: 16, 7: 64, 8: 8, 9: 8, 10: 16}
COMPOSITE = 0x80
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """Bytes that are not what was written. `stage` is the step that found it; the vectors name the same."""

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason = stage, reason


def demand(condition, stage: str, reason: str):
    """Refuses unless the condition holds."""
    if not condition:
        raise Refused(stage, reason)


class Fields:
    """Reads fields from front to back; whatever is missing or left over is refused."""

    def __init__(self, data: bytes, stage: str):
        self.data, self.at, self.stage = data, 0, stage

    def take(self, length: int) -> bytes:
        demand(length <= len(self.data) - self.at, self.stage, "too short")
        self.at += length
        return self.data[self.at - length:self.at]

    def uint(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def prefixed(self) -> bytes:
        return self.take(self.uint(2))

    def text(self) -> str:
        try:
            return self.prefixed().decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused(self.stage, "not UTF-8") from error

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self):
        demand(self.at == len(self.data), self.stage, "bytes are left over")


def checksums(fields: Fields) -> list[tuple[int, bool, bytes]]:
    """u8 count ‖ (code ‖ value)*, ascending by algorithm: (algorithm, composite, value)."""
    stage, fields.stage, found = fields.stage, "checksum", []
    for _ in range(fields.uint(1)):
        code = fields.uint(1)
        algorithm, composite = code & ~COMPOSITE, bool(code & COMPOSITE)
        demand(algorithm in CHECKSUMS, "checksum", f"{code} is not defined")
        demand(not found or found[-1][0] < algorithm, "checksum", "not ascending")
        found.append((algorithm, composite, fields.take(CHECKSUMS[algorithm])))
    fields.stage = stage
    return found


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str, stage: str) -> bytes:
    demand(re.fullmatch(r"[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, stage, "not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise Refused(stage, "not base64url") from error
    # Encoding again shows trailing bits that are not zero.
    demand(b64(data) == text, stage, "not canonical base64url")
    return data


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def open_sealed(cipher, nonce: bytes, sealed: bytes, additional: bytes, stage: str) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, additional)
    except InvalidTag as error:
        raise Refused(stage, "does not open") from error
