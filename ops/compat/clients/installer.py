"""Installs clients, pinned, outside the checkout: each in a folder of its own, whole or not at all."""

import fcntl
import os
import shutil
import subprocess
import time

import manifest

CACHE = os.environ.get("SEALGATE_TOOLS", os.path.expanduser("~/.cache/sealgate-tools"))
# Building the largest (a Rust SDK, a Java one with everything under it) on a machine that does other things too.
LIMIT_SECONDS = 2400
# The last thing to be written: a folder without it is done again.
DONE = "installed"


class InstallError(Exception):
    """A client that could not be installed, with the end of what was said."""


def folder_of(client: manifest.Client) -> str:
    return os.path.join(CACHE, f"client-{client.folder}-{client.version}-{client.digest()}")


def install(client: manifest.Client) -> tuple[str, float | None]:
    """The client's folder, and the seconds that it took to make (None: it was there). Two at once are safe."""
    os.makedirs(CACHE, exist_ok=True)
    place = folder_of(client)
    with open(os.path.join(CACHE, f".client-{client.folder}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(place, DONE)):
            return place, None
        began = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        for method, act in METHODS.items():
            if method in client.install:
                act(client, place)
        with open(os.path.join(place, DONE), "w") as file:
            file.write(f"{client.name} {client.version}\n")
        return place, time.monotonic() - began


def environment(client: manifest.Client, place: str) -> dict[str, str]:
    """What a driver is started with: no credentials of the machine's, and the installed programs first on PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_", "RESTIC_", "MINIO_", "MC_", "S3_", "SEALGATE_"))}
    path = [os.path.join(place, "bin"), os.path.join(place, "usr", "bin"), os.path.join(place, "node_modules", ".bin")]
    kept |= {"PATH": ":".join([*filter(os.path.isdir, path), kept["PATH"]]), "SEALGATE_CLIENT": place, "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.path.join(manifest.DRIVERS, "_python"), "NODE_PATH": os.path.join(place, "node_modules"),
             "AWS_EC2_METADATA_DISABLED": "true"}
    return kept


def run(client: manifest.Client, command: list[str], cwd: str, **extra: str):
    """A step of an install."""
    variables = {name: value for name, value in os.environ.items() if name not in ("AWS_CA_BUNDLE", "CARGO_TARGET_DIR")}
    try:
        done = subprocess.run(command, cwd=cwd, env={**variables, **extra}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LIMIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{client.folder}: {' '.join(command)}: {error}") from error
    if done.returncode:
        raise InstallError(f"{client.folder}: {' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def uv() -> str:
    """uv as ops/install-tools has it."""
    found = [os.path.join(CACHE, name, "bin", "uv") for name in sorted(os.listdir(CACHE)) if name.startswith("uv-")]
    if not found:
        raise InstallError("uv is missing: run ops/install-tools uv")
    return found[-1]


def pypi(client, place):
    """A virtual environment of its own, on the interpreter that `python` names or the machine's."""
    version = client.install.get("python")
    if version:
        run(client, [uv(), "--quiet", "venv", "--allow-existing", "--python", version, place], place)
    else:
        run(client, ["python3", "-m", "venv", "--without-pip", place], place)
    run(client, [uv(), "--quiet", "pip", "install", "--no-compile", "--python", f"{place}/bin/python", *client.install["pypi"]], place)


def npm(client, place):
    for name in client.inputs():
        shutil.copy(os.path.join(client.path, name), place)
    run(client, ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], place)


def sources(client, place) -> str:
    """A copy of the folder, to build in, with those that it shares beside it."""
    build = os.path.join(place, "build", client.folder)
    for name in client.inputs():
        copy = os.path.normpath(os.path.join(build, name))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(os.path.join(client.path, name), copy)
    return build


def go(client, place):
    """`bin/driver` of the folder's main package."""
    build = sources(client, place)
    compiler = shutil.which("go") or "/usr/local/go/bin/go"
    run(client, [compiler, "build", "-trimpath", "-o", f"{place}/bin/driver", "."], build, GOTOOLCHAIN="local", GOFLAGS="-buildvcs=false -mod=readonly",
        CGO_ENABLED="0")
    shutil.rmtree(os.path.dirname(build))


def maven(client, place):
    """`lib/*.jar`: the driver's own and everything that it needs."""
    build = sources(client, place)
    run(client, ["mvn", "-q", "-B", "package", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={place}/lib"], build)
    target = os.path.join(build, "target")
    for name in os.listdir(target):
        if name.endswith(".jar"):
            shutil.copy(os.path.join(target, name), os.path.join(place, "lib"))
    shutil.rmtree(os.path.dirname(build))


def cargo(client, place):
    """`bin/driver` of a crate of its own, in the profile that its Cargo.toml sets. What it was built of stays in `target`: guides.py builds the
    guide of it."""
    build = sources(client, place)
    run(client, ["cargo", "build", "--locked", "--quiet", "--bin", "driver", "--target-dir", f"{place}/target"], build)
    os.makedirs(f"{place}/bin")
    shutil.copy(f"{place}/target/debug/driver", f"{place}/bin/driver")
    shutil.rmtree(os.path.dirname(build))


def apt(client, place):
    """Debian packages of the machine's release, unpacked into the folder: nothing of the system's changes. Dependencies that are
    missing have to be named too."""
    with open(os.path.join(CACHE, ".apt.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        downloads = os.path.join(place, "downloads")
        os.makedirs(downloads)
        try:
            run(client, ["apt-get", "-qq", "download", *client.install["apt"]], downloads)
        except InstallError:
            # The lists are missing, or older than the archive.
            as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
            run(client, [*as_root, "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"], downloads)
            run(client, ["apt-get", "-qq", "download", *client.install["apt"]], downloads)
    for name in sorted(os.listdir(downloads)):
        run(client, ["dpkg-deb", "-x", os.path.join(downloads, name), place], place)
    shutil.rmtree(downloads)


def script(client, place):
    run(client, [os.path.join(client.path, client.install["script"]), place], client.path, SEALGATE_TOOLS=CACHE, SEALGATE_UV=uv())


METHODS = {"pypi": pypi, "npm": npm, "go": go, "maven": maven, "cargo": cargo, "apt": apt, "script": script}
