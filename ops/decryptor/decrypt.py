"""Decrypts what lies in a filesystem backend, by the documents alone.

  decrypt.py --fs-root DIR --bucket BUCKET --recovery-card FILE... --keyring FILE (--key-file FILE | --passphrase-file FILE)
             [--key KEY] [--without-envelope] [--output DIR]

Proves every object of the bucket (or the one of that key) and prints its size and SHA-256; with `--output` its bytes go to
DIR under the SHA-256 of the key. Exit status 1 when one was refused. A second reader, for those who do not want to trust
the first: it is slow, and only as careful with secrets in memory as Python is.
"""

import argparse
import hashlib
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from sealgate_format import filesystem, store  # noqa: E402 (found through the line above)
from sealgate_format.keyring import Keyring  # noqa: E402
from sealgate_format.primitives import Refused  # noqa: E402


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs-root", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--recovery-card", required=True, nargs="+")
    parser.add_argument("--keyring", required=True)
    unlock = parser.add_mutually_exclusive_group(required=True)
    unlock.add_argument("--key-file")
    unlock.add_argument("--passphrase-file")
    parser.add_argument("--key")
    parser.add_argument("--without-envelope", action="store_true")
    parser.add_argument("--output")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    keyring = Keyring(read(options.keyring).decode(), options.key_file and read(options.key_file),
                      options.passphrase_file and read(options.passphrase_file))
    cards = [read(card).decode() for card in options.recovery_card]
    bucket = store.Bucket(filesystem.objects(options.fs_root, options.bucket), cards, keyring)
    passed = failed = 0
    for stored in bucket.stored(options.key and options.key.encode()):
        name = stored.key.decode("utf-8", "backslashreplace")
        digest, size = hashlib.sha256(), 0
        target = options.output and os.path.join(options.output, hashlib.sha256(stored.key).hexdigest())
        try:
            with open(f"{target}.part" if target else os.devnull, "wb") as file:
                for chunk in bucket.decrypt(stored, options.without_envelope).plaintext:
                    digest.update(chunk)
                    size += file.write(chunk)
            if target:
                os.rename(f"{target}.part", target)
        except Refused as refusal:
            failed += 1
            print(f"{name}: {refusal}", file=sys.stderr)
            if target:
                os.remove(f"{target}.part")
            continue
        passed += 1
        print(f"{digest.hexdigest()} {size:>14} {name}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
