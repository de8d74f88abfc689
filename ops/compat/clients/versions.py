"""What a client and a server really were when they ran: the runtime, the packages that no lock file of ours pins, the server's own answer."""

import functools
import glob
import os
import re
import shutil
import subprocess

# How a server says its version.
SERVERS = {"seaweedfs": ("weed", "version"), "versitygw": ("versitygw", "--version"), "minio": ("minio", "--version")}
# Where Python packages lie in an install: a virtual environment, packages of Debian's unpacked, a tree of Debian's.
PACKAGES = ("lib/python*/site-packages", "usr/lib/python3/dist-packages", "root/usr/lib/python3/dist-packages")
SECONDS = 60


def said(command, **extra: str) -> str:
    """What a program prints; nothing, where it cannot be asked."""
    try:
        done = subprocess.run(command, env={**os.environ, **extra}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def found(pattern: str, text: str, name: str = "") -> str:
    match = re.search(pattern, text)
    return f"{name} {match[1]}".strip() if match else ""


@functools.cache
def server(backend: str) -> str:
    """A server's version, by the program that the stage starts."""
    return found(r"(?<![\d.])(\d+\.\d+(?:\.\d+)*|RELEASE\.[\w-]+)", said(SERVERS[backend])) if backend in SERVERS else ""


def of(client, place: str) -> dict:
    """`runtime` and `packages` of an installed client, as far as it has them. Go, npm, Maven and cargo pin all that they install, in the client's folder."""
    packages = python_packages(place)
    made = {"runtime": runtime(client, place, packages), "packages": packages}
    return {name: value for name, value in made.items() if value}


def python_packages(place: str) -> dict[str, str]:
    """Of each distribution its version."""
    names = [os.path.basename(path) for where in PACKAGES for kind in ("dist-info", "egg-info") for path in glob.glob(os.path.join(place, where, f"*.{kind}"))]
    split = [name.rpartition(".")[0].rpartition("-") for name in names]
    return {name.replace("_", "-").lower(): version for name, _, version in sorted(split) if name}


def runtime(client, place: str, packages) -> str:
    """What it runs on. A program that came as a wheel has no Python under it."""
    install = client.install
    if "pypi" in install:
        return found(r"Python (\S+)", said([f"{place}/bin/python", "-V"]), "Python") if client.language == "Python" or len(packages) > 1 else ""
    if "npm" in install:
        return found(r"v(\S+)", said(["node", "--version"]), "Node.js")
    if "maven" in install:
        return found(r'version "([^"]+)"', said(["java", "-version"]), "Java")
    if "go" in install:
        return found(r"\bgo(\d\S*)", said([shutil.which("go") or "/usr/local/go/bin/go", "version", f"{place}/bin/driver"]).rpartition(": ")[2], "Go")
    if "cargo" in install:
        # What cargo wrote down when it built.
        try:
            with open(f"{place}/target/.rustc_info.json") as file:
                return found(r"rustc (\d\S*)", file.read(), "Rust")
        except OSError:
            return ""
    if os.path.exists(os.path.join(client.path, "ruby")):
        return found(r"ruby (\d[\d.]*)", said([os.path.join(client.path, "ruby"), "--version"], SEALGATE_CLIENT=place), "Ruby")
    return found(r"Python (\S+)", said([f"{place}/run", "python3", "-V"]), "Python") if packages else ""
