"""The control plane and its store are gone: the bucket, the recovery card and the KMS are enough."""

import os
import pathlib
import shutil
import subprocess

import faultproxy as fault
import servers
import world
from rows import row, served

# The command's exit codes (docs/cli.md).
DENIED, UNAVAILABLE = 5, 6


def sealgate(scene, *arguments: str, card: str = "") -> subprocess.CompletedProcess:
    """The offline tool, with the recovery card and the control plane's own configuration."""
    home = scene.world.data
    keys = ["--fs-root", f"{home}/backend", "--recovery-card", card or f"{home}/card", "--kms", f"{home}/control-plane.toml"]
    return subprocess.run([world.binary("sealgate"), arguments[0], *keys, *arguments[1:]], cwd=home, env=world.clean_environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


@row(ci=True, seconds=180)
def a_bucket_without_its_control_plane(scene):
    """Store and control plane deleted: the offline tool decrypts every object with bucket, card and KMS alone, and says what is missing."""
    book = scene.dev().book("lost", 6)
    upload = book.create_upload("big")[1]
    parts = [book.body(5 << 20), book.body(70_000)]
    stored = [served(book.upload_part("big", upload, number, part)) for number, part in enumerate(parts, 1)]
    served(book.complete("big", upload, list(zip(stored, parts))))
    book.verify()
    home = scene.world.data
    card = f"{home}/control-plane/recovery-card"
    # It is written a second after a change.
    servers.wait_until("the bucket on the card", None, lambda: book.bucket in pathlib.Path(card).read_text(), seconds=30)
    shutil.copy(card, f"{home}/card")
    for each in [*scene.world.nodes, scene.world.control]:
        each.kill()
    shutil.rmtree(f"{home}/control-plane")
    mark = scene.mark()
    for key, body in book.known.items():
        done = sealgate(scene, "decrypt", f"s3://{book.bucket}/{key}", "-o", f"{home}/out")
        assert done.returncode == 0, f"{key}: {done.stderr.decode()}"
        with open(f"{home}/out", "rb") as file:
            assert file.read() == body, f"{key} came back as other bytes"
        os.remove(f"{home}/out")
    scene.figure("objects decrypted offline", len(book.known))
    scene.figure("decrypts", scene.decrypts(mark))
    done = sealgate(scene, "verify")
    assert done.returncode == 0, f"verify: {done.stderr.decode()}"
    for act, undo, wanted in ((lambda: scene.proxy.set(fault.REFUSE), lambda: scene.proxy.set(fault.PASS), UNAVAILABLE),
                              (scene.bao.deny, scene.bao.allow, DENIED)):
        act()
        done = sealgate(scene, "decrypt", f"s3://{book.bucket}/object-0", "-o", f"{home}/out")
        assert done.returncode == wanted and not os.path.exists(f"{home}/out"), f"{done.returncode}, not {wanted}: {done.stderr.decode()}"
        undo()
    # The planes are gone for good: what was acknowledged has been read back above, byte by byte.
    scene.report.verified += len(book.known)
    scene.report.counts.update(book.counts)
    scene.report.plaintext += book.plaintext_in(f"{home}/backend")
    scene.books.clear()
