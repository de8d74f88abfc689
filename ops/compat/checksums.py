"""S3's ten checksums, as their base64 texts."""

import base64
import hashlib
import zlib

import xxhash


def _table(polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return table


# Reflected polynomials.
_CRC32C = _table(0x82F63B78)
_CRC64NVME = _table(0x9A6C9329AC4BC9B5)


def _crc(table: list[int], bits: int, body: bytes) -> bytes:
    value = ones = (1 << bits) - 1
    for byte in body:
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return (value ^ ones).to_bytes(bits // 8, "big")


DIGESTS = {
    "CRC32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "CRC32C": lambda body: _crc(_CRC32C, 32, body),
    "CRC64NVME": lambda body: _crc(_CRC64NVME, 64, body),
    "SHA1": lambda body: hashlib.sha1(body).digest(),
    "SHA256": lambda body: hashlib.sha256(body).digest(),
    "SHA512": lambda body: hashlib.sha512(body).digest(),
    "MD5": lambda body: hashlib.md5(body).digest(),
    "XXHASH64": lambda body: xxhash.xxh64(body).digest(),
    "XXHASH3": lambda body: xxhash.xxh3_64(body).digest(),
    "XXHASH128": lambda body: xxhash.xxh3_128(body).digest(),
}
# The check values of the CRC catalogues over "123456789".
assert DIGESTS["CRC32C"](b"123456789").hex() == "e3069283"
assert DIGESTS["CRC64NVME"](b"123456789").hex() == "ae8b14860a799888"


def header(algorithm: str) -> str:
    """The header, or the trailer, that carries a checksum."""
    return f"x-amz-checksum-{algorithm.lower()}"


def value(algorithm: str, body: bytes) -> str:
    """The checksum as S3 writes it."""
    return base64.b64encode(DIGESTS[algorithm](body)).decode()


def content_md5(body: bytes) -> str:
    """The value of Content-MD5."""
    return value("MD5", body)
