"""restic, whichever age: a repository made, filled, checked to the last byte, pruned and restored."""

import json
import os
import random
import shutil

import whole_jobs
from whole_jobs import same


class Restic(whole_jobs.Job):
    def restic(self, *arguments) -> str:
        options = ["--option", f"s3.bucket-lookup={'dns' if self.told['addressing'] == 'virtual' else 'path'}"]
        options += ["--cacert", self.told["ca"]] if self.told["ca"] else []
        environment = {**self.environment, "RESTIC_PASSWORD": "not the storage's", "RESTIC_CACHE_DIR": self.path("cache"),
                       "RESTIC_REPOSITORY": f"s3:{self.told['endpoint']}/{self.told['bucket']}/{self.told['prefix']}repository"}
        return self.run(os.path.join(self.install, "bin/restic"), *options, *arguments, env=environment)

    def backup(self):
        source = self.plain
        whole_jobs.make_tree(source, 300, 1, largest=60_000)
        with open(os.path.join(source, "large"), "wb") as file:
            file.write(random.Random(2).randbytes(40 * whole_jobs.MIB))
        self.restic("init")
        self.restic("backup", source)
        # The second snapshot: some files are gone, some new, the large one changed in its middle.
        shutil.rmtree(os.path.join(source, "03"))
        whole_jobs.make_tree(os.path.join(source, "new"), 50, 3)
        with open(os.path.join(source, "large"), "r+b") as file:
            file.seek(20 * whole_jobs.MIB)
            file.write(random.Random(4).randbytes(whole_jobs.MIB))
        self.restic("backup", source)
        same(len(json.loads(self.restic("snapshots", "--json"))), 2, "snapshots")
        self.restic("check", "--read-data")
        self.restic("forget", "--keep-last", "1", "--prune")
        same(len(json.loads(self.restic("snapshots", "--json"))), 1, "snapshots after forget --prune")
        # Without what it keeps locally: everything comes from the storage.
        shutil.rmtree(self.path("cache"))
        self.restic("check", "--read-data")
        self.restic("restore", "latest", "--target", self.path("restored"))
        whole_jobs.same_trees(source, self.path("restored") + source)
        return "init, two backups, check --read-data, forget --prune, check --read-data, restore: byte by byte the same"
