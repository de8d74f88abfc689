"""The tamper table over TLS, where a cut answer must not look like an ended one either.

In CI only rows whose answer begins before the storage's bytes are found out: a refusal is the same bytes inside TLS.
"""

import os
import ssl
import tempfile
import warnings

import cases
import target
import urllib3.exceptions
from tamper import register
from tamper_rows import ROWS
from tamper_table import Table


def certificate(t, directory: str) -> list[str]:
    """Options for a gateway with a certificate; whose it is, is not the question here, so that a node's will do."""
    issued = t.target.admin("POST", "/v1/nodes", {"name": "tls", "tenants": ["*"]})
    # It never connects, and a write freeze waits for all nodes that may be there.
    t.target.admin("DELETE", "/v1/nodes/tls", {})
    options = []
    for name, field in (("--tls-certificate", "certificate"), ("--tls-key", "private_key")):
        options += [name, os.path.join(directory, field)]
        with open(options[-1], "w") as file:
            file.write(issued[field])
    return options


def table(t) -> Table:
    if not hasattr(t, "table"):
        directory = t.closing.enter_context(tempfile.TemporaryDirectory(prefix="sealgate-tls-"))
        gateway = target.Gateway(t.target.binary, arguments=certificate(t, directory))
        t.closing.callback(gateway.stop)
        over_tls = cases.Context(gateway, t.bucket, t.size)
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        over_tls.s3 = over_tls.client(verify=False)
        over_tls.create_bucket(t.bucket)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        t.table = Table(over_tls, context)
    return t.table


@cases.case
def complete_tells_where_the_object_is(t):
    over_tls = table(t).t
    place = {"Bucket": t.bucket, "Key": "located"}
    upload = {**place, "UploadId": over_tls.s3.create_multipart_upload(**place)["UploadId"]}
    etag = over_tls.s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    made = over_tls.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    cases.equal(made["Location"], f"{over_tls.target.endpoint}/{t.bucket}/located", "Location")
    cases.true(made["Location"].startswith("https://"), f"no TLS in {made['Location']}")


def begins(row) -> bool:
    """Whether an answer to a whole GET has a status line, whatever follows."""
    return "422" != row.whole or row.warm is not None


register([row for row in ROWS if begins(row)], __name__, table)
register([row for row in ROWS if not begins(row)], __name__, table, sizes=("acceptance",))
