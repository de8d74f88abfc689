"""rclone with a tree of many files: sync, check --download, a second sync that moves nothing, bisync in both directions."""

import os
import random
import re

import whole_jobs
from whole_jobs import Failure, same


class RcloneTree(whole_jobs.Job):
    def rclone(self, *arguments) -> str:
        """What it wrote to standard error, where its log goes."""
        environment = {**self.environment, "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other", "RCLONE_CONFIG_S_ENV_AUTH": "true",
                       "RCLONE_CONFIG_S_REGION": self.told["region"], "RCLONE_CONFIG_S_ENDPOINT": self.told["endpoint"],
                       "RCLONE_CONFIG": self.path("rclone.conf")}
        log = self.path("rclone.log")
        options = ["--retries", "1", "--log-file", log, "-v", "--stats", "0", "--transfers", "16", "--checkers", "16"]
        options += ["--ca-cert", self.told["ca"]] if self.told["ca"] else []
        if os.path.exists(log):
            os.remove(log)
        self.run(os.path.join(self.install, "bin/rclone"), *options, *arguments, env=environment)
        with open(log) as file:
            return file.read()

    def tree(self, count: int) -> str:
        source, remote = self.plain, f"s:{self.told['bucket']}/{self.told['prefix']}tree-{count}"
        whole_jobs.make_tree(source, count, 5)
        said = self.rclone("sync", source, remote)
        same(said.count(": Copied (new)"), count, "files that the first sync moved")
        said = self.rclone("sync", source, remote)
        same(said.count(": Copied ("), 0, "files that the second sync moved")
        said = self.rclone("check", "--download", source, remote)
        matching = re.search(r"(\d+) matching files", said)
        if not matching or int(matching[1]) != count or "0 differences found" not in said:
            raise Failure(f"check --download: {said[-300:]}")
        self.both_ways(source, remote, count)
        return f"{count} files: sync, sync that moves nothing, check --download, bisync both ways"

    def both_ways(self, source, remote, count):
        work = ["--workdir", self.path("bisync")]
        self.rclone("bisync", source, remote, "--resync", *work)
        changed, removed = os.path.join(source, "00/0/file 00000"), os.path.join(source, "01/0/file 00001")
        with open(changed, "wb") as file:
            file.write(random.Random(6).randbytes(777))
        os.remove(removed)
        with open(self.path("other side"), "wb") as file:
            file.write(random.Random(7).randbytes(4321))
        self.rclone("copyto", self.path("other side"), f"{remote}/from/the other side")
        self.rclone("bisync", source, remote, *work)
        same(whole_jobs.digest(os.path.join(source, "from/the other side")), whole_jobs.digest(self.path("other side")), "what came from the other side")
        said = self.rclone("check", "--download", source, remote)
        if f"{count} matching files" not in said:
            raise Failure(f"check after bisync: {said[-300:]}")
