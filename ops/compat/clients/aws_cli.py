"""The AWS CLI, whichever age: `aws s3` where it has the call, `aws s3api` for the rest."""

import json
import os

import command_line
from command_line import Refused, holds, same


class AwsCli(command_line.Tool):
    """One age's CLI."""

    # The algorithms of --checksum-algorithm that this age has.
    algorithms = ("CRC32C", "SHA256")

    def program(self) -> str:
        return os.path.join(self.told["install"], "bin/aws")

    def setup(self):
        config = os.path.join(self.work, "aws-config")
        with open(config, "w") as file:
            file.write(f"[default]\nregion = {self.told['region']}\ns3 =\n    addressing_style = {self.told['addressing']}\n")
        self.environment.update(AWS_CONFIG_FILE=config, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true", AWS_PAGER="",
                                AWS_ACCESS_KEY_ID=self.told["access_key"], AWS_SECRET_ACCESS_KEY=self.told["secret_key"])
        if self.told["ca"]:
            self.environment["AWS_CA_BUNDLE"] = self.told["ca"]

    def s3(self, *arguments, **options) -> str:
        done = self.run(self.program(), "--endpoint-url", self.told["endpoint"], "s3", *arguments, **options)
        return done.stdout.decode()

    def api(self, operation, key=None, *arguments, bucket=None):
        where = ["--bucket", bucket or self.bucket]
        # With `=`: a key may begin with anything.
        where += [f"--key={key}"] if key else []
        done = self.run(self.program(), "--endpoint-url", self.told["endpoint"], "--output", "json", "s3api", operation, *where, *arguments)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def url(self, key) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, path, key):
        self.s3("cp", path, self.url(key), "--only-show-errors")

    def get(self, key, path):
        self.s3("cp", self.url(key), path, "--only-show-errors")

    def head(self, key):
        answer = self.api("head-object", key)
        return {"size": answer["ContentLength"], "etag": answer["ETag"]}

    def delete(self, key):
        self.s3("rm", self.url(key))

    def keys(self, prefix):
        return {each["Key"]: each["Size"] for each in self.api("list-objects-v2", None, f"--prefix={prefix}").get("Contents", [])}

    def listed(self):
        # As `aws s3 ls` writes it: date, time, size, key.
        return [line.split(None, 3)[3] for line in self.s3("ls", f"s3://{self.bucket}/many/", "--recursive").splitlines()]

    def level(self, prefix):
        answer = self.api("list-objects-v2", None, f"--prefix={prefix}", "--delimiter=/")
        return {each["Key"] for each in answer["Contents"]}, {each["Prefix"] for each in answer["CommonPrefixes"]}

    def stream(self, path, key):
        with open(path, "rb") as file:
            self.s3("cp", "-", self.url(key), stdin=file.read())

    def span(self, key, first, last):
        path = self.scratch()
        text = f"bytes=-{last}" if first is None else f"bytes={first}-" if last is None else f"bytes={first}-{last}"
        self.api("get-object", key, f"--range={text}", path)
        with open(path, "rb") as file:
            return file.read()

    def names(self):
        # `aws s3 cp` takes the name of the local file for a key that ends with a slash only; still, s3api says keys as they are.
        base, wanted = self.prefix + "names/", {}
        names = self.possible_names()
        for name in names:
            self.api("put-object", base + name, "--body", self.file(name.encode()))
            wanted[base + name] = len(name.encode())
        same(self.keys(base), wanted, "the listing")
        for name in names:
            path = self.scratch()
            self.api("get-object", base + name, path)
            with open(path, "rb") as file:
                same(file.read().decode(), name, f"body of {name}")

    def server_copy(self, source, target):
        self.s3("cp", self.url(source), self.url(target), "--only-show-errors")

    def delete_all(self, keys):
        document = json.dumps({"Objects": [{"Key": key} for key in keys]})
        same(len(self.api("delete-objects", None, "--delete", document)["Deleted"]), len(keys), "deleted keys")

    def put_all(self, bodies):
        # In one call of the tool, which starts slowly.
        folder = self.scratch()
        os.mkdir(folder)
        for key, body in bodies.items():
            with open(os.path.join(folder, key.rpartition("/")[2]), "wb") as file:
                file.write(body)
        self.s3("cp", folder, self.url(next(iter(bodies)).rpartition("/")[0]), "--recursive", "--only-show-errors")

    def put_files(self, paths):
        folder = self.scratch()
        os.mkdir(folder)
        for key, path in paths.items():
            os.symlink(path, os.path.join(folder, key.rpartition("/")[2]))
        self.s3("cp", folder, self.url(next(iter(paths)).rpartition("/")[0]), "--recursive", "--only-show-errors")

    def described_put(self, path, key, metadata, headers):
        self.api("put-object", key, "--body", path, "--metadata", json.dumps(metadata),
                 *(f"--{name.lower()}={value}" for name, value in headers.items()))

    def described(self, key):
        answer = self.api("head-object", key)
        return answer["Metadata"], {name: answer.get(name.replace("-", "")) for name in command_line.HEADERS}

    def tagged_put(self, path, key, tags):
        self.api("put-object", key, "--body", path, "--tagging", "&".join(f"{name}={value}" for name, value in tags.items()))

    def set_tags(self, key, tags):
        self.api("put-object-tagging", key, "--tagging", json.dumps({"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}))

    def tags_of(self, key):
        return {each["Key"]: each["Value"] for each in self.api("get-object-tagging", key)["TagSet"]}

    def remove_tags(self, key):
        self.api("delete-object-tagging", key)

    def presign(self, key):
        return self.s3("presign", self.url(key), "--expires-in", "300").strip()

    lacks = {"presigned_put": "`aws s3 presign` makes URLs for GET only"}

    def put_new(self, path, key):
        self.api("put-object", key, "--body", path, "--if-none-match", "*")

    def versions(self):
        bucket, key, ids = self.told["versioned_bucket"], self.prefix + "versions/one", []
        for body in (b"first", b"second, longer"):
            ids.append(self.api("put-object", key, "--body", self.file(body), bucket=bucket)["VersionId"])
        listed = self.api("list-object-versions", None, f"--prefix={key}", bucket=bucket)
        same([each["VersionId"] for each in listed["Versions"]], ids[::-1], "versions")
        for version, body in zip(ids, (b"first", b"second, longer")):
            path = self.scratch()
            self.api("get-object", key, "--version-id", version, path, bucket=bucket)
            with open(path, "rb") as file:
                same(file.read(), body, f"body of version {version}")
        marker = self.api("delete-object", key, bucket=bucket)
        same(marker.get("DeleteMarker"), True, "delete marker")
        try:
            self.api("head-object", key, bucket=bucket)
        except Refused:
            pass
        else:
            raise command_line.Failure("the object is there after its deletion")
        self.api("delete-object", key, "--version-id", ids[0], bucket=bucket)
        self.api("delete-object", key, "--version-id", marker["VersionId"], bucket=bucket)
        listed = self.api("list-object-versions", None, f"--prefix={key}", bucket=bucket)
        same(([each["VersionId"] for each in listed["Versions"]], listed.get("DeleteMarkers", [])), ([ids[1]], []), "versions left")

    def checksums(self):
        for algorithm in (None, *self.algorithms):
            key, path = f"{self.prefix}checksums/{algorithm or 'default'}", self.scratch()
            put = self.api("put-object", key, "--body", self.body(65537), *(["--checksum-algorithm", algorithm] if algorithm else []))
            got = self.api("get-object", key, "--checksum-mode", "ENABLED", path)
            same(command_line.digest(path), command_line.digest(self.body(65537)), f"SHA-256 of {key}")
            if algorithm:
                name = f"Checksum{algorithm}"
                holds(put.get(name) and put[name] == got.get(name), f"{name} of the put is {put.get(name)}, of the get {got.get(name)}")

    def sync_up(self, folder, prefix):
        return len([line for line in self.s3("sync", folder, self.url(prefix), "--no-progress").splitlines() if line.startswith("upload:")])

    def abort(self):
        key = self.prefix + "abort/one"
        upload = self.api("create-multipart-upload", key)["UploadId"]
        self.api("upload-part", key, "--upload-id", upload, "--part-number", "1", "--body", self.body(5242880))
        same(len(self.api("list-parts", key, "--upload-id", upload)["Parts"]), 1, "parts")
        self.api("abort-multipart-upload", key, "--upload-id", upload)
        uploads = self.api("list-multipart-uploads", None, f"--prefix={key}").get("Uploads", [])
        same([each["UploadId"] for each in uploads if each["Key"] == key], [], "uploads left")
        same(self.keys(key), {}, "objects left")
