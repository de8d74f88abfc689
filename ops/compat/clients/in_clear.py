#!/usr/bin/env python3
"""Shows that the scan of the storage would find what a client uploads: the clients named, before a storage where everything of theirs lies in clear.

  in_clear.py polars deltalake duckdb docker-registry restic-debian13

The gateway is told to leave each client's prefix as it is (a rule with `plain`), and `no_plaintext` has to fail with the bytes that lie there.
"""

import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run as runner  # noqa: E402 (found through the line above)


def main(folders: list[str]) -> int:
    import drive
    import haystack
    import installer
    import manifest
    import servers
    import stage as stages
    files, failed = stages.make_files(), 0
    keep = tempfile.mkdtemp(prefix="sealgate-clients-logs-")
    try:
        for client in map(manifest.parse, folders):
            place, _ = installer.install(client)
            with stages.Stage("filesystem", client.schemes[0]) as stage:
                rules = {"rules": [{"prefix": f"{client.folder}/", "plain": True}]}
                servers.wait_until("the rule at both nodes", None, lambda: stage.planes.api("PUT", f"/v1/buckets/{stages.BUCKET}/rules", rules)["pending"] == [])
                outcomes = drive.Drive(stage, client, "path", place, files, haystack.Haystack(stage, files), keep).run()
                found = next((outcome for outcome in outcomes if outcome.scenario == "no_plaintext"), None)
                good = found is not None and found.result == "fail" and " lie " in found.detail
                failed += not good
                print(f"{'PASS' if good else 'FAIL'} {client.folder} in clear: {found and found.detail}", flush=True)
                for outcome in outcomes:
                    if outcome.result == "fail" and outcome is not found:
                        print(f"     {outcome.scenario}: {outcome.detail}", flush=True)
    finally:
        shutil.rmtree(files, ignore_errors=True)
        shutil.rmtree(keep, ignore_errors=True)
    return 1 if failed or not folders else 0


if __name__ == "__main__":
    if not os.environ.get("SEALGATE_CLIENTS_READY"):
        goes_on = '. "$0"; export SEALGATE_CLIENTS_READY=1; exec "$SEALGATE_PYTHON" "$@"'
        os.execvp("bash", ["bash", "-c", goes_on, os.path.join(runner.CACHE, "env"), os.path.abspath(__file__), *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))
