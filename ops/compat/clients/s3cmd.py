"""s3cmd, by either signature."""

import os
import re
import urllib.parse

import command_line
from command_line import same


class S3cmd(command_line.Tool):
    lacks = {
        "presigned_put": "`signurl` makes URLs for GET only",
        "versions": "no call that lists or reads versions",
    }
    # Its get has no range; --continue asks for what a file lacks, up to the end.
    spans = ((65500, None), (command_line.LARGEST - 77, None))
    tags_at_put = False

    # "v2" makes it sign everything with Signature Version 2; its URLs it signs so in any case.
    signature = "v4"

    def setup(self):
        config, host = os.path.join(self.work, "s3cfg"), urllib.parse.urlsplit(self.told["endpoint"]).netloc
        bucket_host = f"%(bucket)s.{host}" if self.told["addressing"] == "virtual" else host
        with open(config, "w") as file:
            file.write(f"[default]\naccess_key = {self.told['access_key']}\nsecret_key = {self.told['secret_key']}\nhost_base = {host}\n"
                       f"host_bucket = {bucket_host}\nbucket_location = {self.told['region']}\nuse_https = {self.secure}\n"
                       f"signurl_use_https = {self.secure}\nsignature_v2 = {self.signature == 'v2'}\n"
                       + (f"ca_certs_file = {self.told['ca']}\n" if self.told["ca"] else ""))
        os.chmod(config, 0o600)

    def s3cmd(self, *arguments, **options) -> bytes:
        install = self.told["install"]
        return self.run(os.path.join(install, "bin/s3cmd"), "--config", os.path.join(self.work, "s3cfg"), "--no-progress", *arguments, **options).stdout

    def url(self, key) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, path, key):
        self.s3cmd("put", path, self.url(key))

    def get(self, key, path):
        self.s3cmd("get", self.url(key), path)

    def info(self, key) -> str:
        return self.s3cmd("info", self.url(key)).decode()

    def head(self, key):
        said = self.info(key)
        etag = re.search(r"MD5 sum: +(\S+)", said)
        return {"size": int(re.search(r"File size: +(\d+)", said)[1]), **({"etag": etag[1]} if etag else {})}

    def delete(self, key):
        self.s3cmd("del", self.url(key))

    def lines(self, *arguments) -> list[tuple[str, str]]:
        """Size (or DIR) and key of each line of `ls`."""
        found = (re.match(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d)? *(\d+|DIR)  (s3://.*)$", line) for line in self.s3cmd("ls", *arguments).decode().split("\n"))
        return [(each[1], each[2][len(self.url("")):]) for each in found if each]

    def keys(self, prefix):
        return {key: int(size) for size, key in self.lines("--recursive", self.url(prefix))}

    def level(self, prefix):
        lines = self.lines(self.url(prefix))
        return {key for size, key in lines if size != "DIR"}, {key for size, key in lines if size == "DIR"}

    def stream(self, path, key):
        with open(path, "rb") as file:
            self.s3cmd("put", "-", self.url(key), stdin=file.read())

    def span(self, key, first, last):
        path = self.scratch()
        with open(self.body(command_line.LARGEST), "rb") as source, open(path, "wb") as file:
            file.write(source.read(first))
        self.s3cmd("get", "--continue", self.url(key), path)
        with open(path, "rb") as file:
            file.seek(first)
            return file.read()

    def server_copy(self, source, target):
        self.s3cmd("cp", self.url(source), self.url(target))

    def put_all(self, bodies):
        folder = self.scratch()
        os.mkdir(folder)
        for key, body in bodies.items():
            with open(os.path.join(folder, key.rpartition("/")[2]), "wb") as file:
                file.write(body)
        self.s3cmd("put", "--recursive", folder + "/", self.url(next(iter(bodies)).rpartition("/")[0] + "/"))

    def delete_all(self, keys):
        # One DeleteObjects request.
        self.s3cmd("del", *(self.url(key) for key in keys))

    def described_put(self, path, key, metadata, headers):
        named = {**{f"x-amz-meta-{name}": value for name, value in metadata.items()}, **headers}
        content_type = named.pop("Content-Type")
        self.s3cmd("put", f"--mime-type={content_type}", *(f"--add-header={name}:{value}" for name, value in named.items()), path, self.url(key))

    # What `info` shows of them.
    headers_shown = ("Content-Type",)

    def described(self, key):
        said = self.info(key)
        found = {name.lower(): value for name, value in re.findall(r"^ +([\w-]+): +(.*)$", said, re.M)}
        mime = re.search(r"MIME type: +(.*)", said)
        headers = {name: found.get(name.lower()) for name in command_line.HEADERS}
        return {name.removeprefix("x-amz-meta-"): value for name, value in found.items()}, {**headers, "Content-Type": mime and mime[1]}

    def set_tags(self, key, tags):
        self.s3cmd("settagging", self.url(key), "&".join(f"{name}={value}" for name, value in tags.items()))

    def tags_of(self, key):
        return dict(re.findall(r"^\s+(\S+):\s+(\S+)$", self.s3cmd("gettagging", self.url(key)).decode(), re.M))

    def remove_tags(self, key):
        self.s3cmd("deltagging", self.url(key))

    def presign(self, key):
        return self.s3cmd("signurl", self.url(key), "+300").decode().strip()

    def put_new(self, path, key):
        self.s3cmd("put", "--add-header=If-None-Match:*", path, self.url(key))

    def checksums(self):
        # Content-MD5 of each part, and the MD5 of what it downloads against the ETag.
        key = self.prefix + "checksums/one"
        self.put(self.body(5242881), key)
        self.s3cmd("get", "--check-md5", self.url(key), self.scratch())
        self.expect_file(key, self.body(5242881))

    def sync_up(self, folder, prefix):
        return self.s3cmd("sync", folder + "/", self.url(prefix)).decode().count("upload: ")

    def abort(self):
        # An upload that is cut off; then s3cmd's own list of uploads, and its abort.
        key = self.prefix + "abort/one"
        done = self.run("timeout", "--signal=KILL", "3", os.path.join(self.told["install"], "bin/s3cmd"), "--config", os.path.join(self.work, "s3cfg"),
                        "--limit-rate=8m", "--multipart-chunk-size-mb=5", "put", self.body(command_line.LARGEST), self.url(key), check=False)
        if done.returncode == 0:
            raise command_line.Failure("the upload was not cut off")
        same(self.keys(key), {}, "objects left")
        for upload in self.uploads(key):
            self.s3cmd("abortmp", self.url(key), upload)
        same(self.uploads(key), [], "uploads left")

    def uploads(self, key) -> list[str]:
        lines = (line.split("\t") for line in self.s3cmd("multipart", f"s3://{self.bucket}").decode().splitlines())
        return [line[2] for line in lines if len(line) == 3 and line[1] == self.url(key)]
