"""Runs the code of docs/clients as it stands there, each guide with its client, over TLS through both nodes.

Only what a reader replaces too is replaced: the endpoint `s3.example.com`, the bucket `photos`, the key pair `AKIAEXAMPLE` and
`example-secret-key`, and the CA's file `/etc/sealgate/ca.pem`. A block with `file=NAME` behind its language is written to that
file of the home directory; the others are run, in their order. A guide has to write and to read.
"""

import os
import re
import shutil
import subprocess
import tempfile
import urllib.parse

import drive
import installer
import manifest
import record
import servers
import stage as stages

DIRECTORY = os.path.join(record.ROOT, "docs", "clients")
SECONDS = 300
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.M | re.S)
# How a language is run, in a folder of its own that has the block as a file of that name.
LANGUAGES = {
    "python": ("guide.py", "python3 guide.py"),
    "sh": ("guide.sh", "bash -eu -o pipefail guide.sh"),
    "javascript": ("guide.cjs", "node guide.cjs"),
    "ruby": ("guide.rb", '"$SEALGATE_FOLDER"/ruby guide.rb'),
    "java": ("Guide.java", 'java -cp "$SEALGATE_CLIENT/lib/*" Guide.java'),
    "go": ("guide.go", 'cd "$SEALGATE_FOLDER" && go run "$OLDPWD/guide.go"'),
    # With the crates that the driver was built of: cargo sees the same versions and profile, and compiles the guide alone.
    "rust": ("guide.rs", 'mkdir src && mv guide.rs src/main.rs && cp "$SEALGATE_FOLDER"/Cargo.* . && '
                         'cargo run --offline --locked --quiet --target-dir "$SEALGATE_CLIENT/target"'),
    "sql": ("guide.sql", "python3 \"$SEALGATE_FOLDER\"/guide guide.sql"),
}

# The machine's own caches of modules and toolchains, which a home of its own would hide.
CACHES = {"GOPATH": "~/go", "GOCACHE": "~/.cache/go-build", "CARGO_HOME": "~/.cargo", "RUSTUP_HOME": "~/.rustup"}


def blocks(folder: str) -> list[tuple[str, str | None, str]]:
    """(language, file, text) of each block of a guide that is code."""
    with open(os.path.join(DIRECTORY, f"{folder}.md"), encoding="utf-8") as file:
        return [(language, name or None, text) for language, name, text in BLOCK.findall(file.read()) if name or language in LANGUAGES]


def run(stage, client: manifest.Client, place: str, keep: str) -> str | None:
    """Why the guide failed; None when it works."""
    work = tempfile.mkdtemp(prefix=f"sealgate-guide-{client.folder}-")
    try:
        before = len(stage.balancer.seen)
        found = blocks(client.folder)
        if not any(name is None for _, name, _ in found):
            return "it has no code that could be run"
        for number, (language, name, text) in enumerate(found):
            failure = step(stage, client, place, work, keep, number, language, name, replaced(stage, client, text))
            if failure:
                return failure
        seen = stage.balancer.seen[before:]
        done = {each.method for each in seen if each.status < 300}
        if not done & {"PUT", "POST"} or "GET" not in done:
            return f"it does not write and read: the balancer saw {len(seen)} requests, and of those that succeeded only {sorted(done)}"
        return None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        stage.empty("guide")


def step(stage, client, place, work, keep, number, language, name, text) -> str | None:
    if name:
        path = os.path.join(work, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return None
    file, command = LANGUAGES[language]
    folder = os.path.join(work, f"block-{number}")
    os.makedirs(folder)
    with open(os.path.join(folder, file), "w") as source:
        source.write(text)
    environment = {**installer.environment(client, place), "HOME": work, "TMPDIR": work, "SEALGATE_FOLDER": client.path}
    environment |= {name: os.environ.get(name, os.path.expanduser(usual)) for name, usual in CACHES.items()}
    log = os.path.join(keep, f"guide-{client.folder}.log")
    with open(log, "a") as output:
        process = servers.start_process([*drive.private_files(stage, client), "bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return f"its {language} block was not done within {SECONDS} s"
        finally:
            servers.end_group(process, politely=False)
    return f"its {language} block ended with {status}{servers.tail(log, 8)}" if status else None


def replaced(stage, client: manifest.Client, text: str) -> str:
    access_key, secret_key = stage.credential(client.signature)
    port = urllib.parse.urlsplit(stage.endpoint("path")).port
    for written, meant in (("s3.example.com", f"{stages.DOMAIN}:{port}"), ("photos", stages.BUCKET), ("AKIAEXAMPLE", access_key),
                           ("example-secret-key", secret_key), ("/etc/sealgate/ca.pem", stage.ca or "")):
        text = text.replace(written, meant)
    return text


def results(stage, clients, places: dict[str, str], keep: str):
    """(name, why it failed or None) of each guide that there is of these clients."""
    for client in with_guides(clients):
        if client.folder in places:
            yield f"the guide docs/clients/{client.folder}.md", run(stage, client, places[client.folder], keep)


def with_guides(clients: list[manifest.Client]) -> list[manifest.Client]:
    return [client for client in clients if os.path.exists(os.path.join(DIRECTORY, f"{client.folder}.md"))]
