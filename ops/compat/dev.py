"""`sealgate dev` as somebody who makes mistakes meets it."""

import os
import shutil
import stat
import subprocess
import tempfile

import servers
from cases import case, equal, true


def fails(t, *arguments) -> str:
    """What a dev that cannot start says; it must not hang."""
    command = [t.target.binary, "dev", "--admin-listen", "127.0.0.1:0", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    true(done.returncode != 0, f"{arguments} was taken: {done.stdout}")
    return done.stderr


@case
def a_second_one_over_the_same_directory(t):
    said = fails(t, "--data", t.target.data, "--listen", f"127.0.0.1:{servers.free_port()}")
    true("another `sealgate dev` runs over" in said and "--data" in said, said)


@case
def a_port_that_is_taken(t):
    directory = tempfile.mkdtemp(prefix="sealgate-second-")
    try:
        said = fails(t, "--data", directory, "--listen", f"127.0.0.1:{t.target.port}")
    finally:
        shutil.rmtree(directory)
    true(f"127.0.0.1:{t.target.port}" in said, said)


@case
def its_directories_are_its_owners_alone(t):
    for name in ("", "backend", "control-plane"):
        path = os.path.join(t.target.data, name)
        if os.path.exists(path):
            equal(oct(stat.S_IMODE(os.stat(path).st_mode)), "0o700", f"mode of DIR/{name}")
