"""ops/install-tools when one of them cannot be had: the others are, and what needs the missing one fails."""

import os
import shutil
import subprocess
import tempfile

from cases import case, equal, true

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("SEALGATE_TOOLS", os.path.expanduser("~/.cache/sealgate-tools"))
MISSING = "versitygw"


@case
def a_tool_that_cannot_be_installed_takes_no_other_with_it(t):
    outer = tempfile.mkdtemp(prefix="sealgate-tools-")
    try:
        # The same tools, but for one, and no way to its source.
        cache = os.path.join(outer, "cache")
        os.mkdir(cache)
        for name in os.listdir(CACHE):
            if not name.startswith((".", MISSING)) and name != "env":
                os.symlink(os.path.join(CACHE, name), os.path.join(cache, name))
        own = [part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(CACHE)]
        environment = {**os.environ, "PATH": os.pathsep.join(own), "SEALGATE_TOOLS": cache, "GOPROXY": "off", "GOMODCACHE": os.path.join(outer, "modules")}
        environment.pop("SEALGATE_PYTHON", None)

        def run(*command):
            return subprocess.run(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50)

        done = run("ops/install-tools", MISSING, "minio", "clients")
        equal(done.returncode, 1, f"install-tools: {done.stdout}{done.stderr}")
        true(f"not installed: {MISSING};" in done.stderr, f"it names what is missing: {done.stderr}")
        found = run("bash", "-c", f'. "{cache}/env"; "$SEALGATE_PYTHON" -c "import boto3"; command -v minio; command -v aws; command -v {MISSING}')
        equal([os.path.basename(line) for line in found.stdout.splitlines()], ["minio", "aws"], f"what there is: {found.stderr}")
        true(all(line.startswith(cache) for line in found.stdout.splitlines()), found.stdout)
        equal(run("ops/with-servers", "minio", "--", "true").returncode, 0, "a server that is there")
        absent = run("ops/with-servers", MISSING, "--", "true")
        true(absent.returncode == 70 and f"{MISSING} is missing" in absent.stderr, f"a server that is not: {absent.returncode} {absent.stderr}")
    finally:
        subprocess.run(["chmod", "-R", "u+w", outer], check=False)
        shutil.rmtree(outer, ignore_errors=True)
