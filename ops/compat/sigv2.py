"""AWS Signature Version 2, written from its specification: in the header as libs3 and s3cmd do, and in the query."""

import base64
import email.utils
import hashlib
import hmac
import time
import urllib.parse

import sigv4

# AWS, "Signing and authenticating REST requests": the parameters that a client signs.
SUBRESOURCES = ("acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy", "requestPayment", "restore",
                "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website", "response-cache-control",
                "response-content-disposition", "response-content-encoding", "response-content-language", "response-content-type", "response-expires")


def date(at: float | None = None) -> str:
    """The time as these clients write it."""
    return email.utils.formatdate(time.time() if at is None else at, usegmt=True)


def string_to_sign(method, path, query, headers, date_line, subresources=SUBRESOURCES) -> str:
    """`headers` maps lower-case names to values; `path` is the canonical one, with its bucket."""
    amz = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers) if name.startswith("x-amz-"))
    signed = sorted((name, value) for name, value in query if name in subresources)
    resource = path + ("?" if signed else "") + "&".join(f"{name}={value}" if value else name for name, value in signed)
    return "\n".join([method, headers.get("content-md5", ""), headers.get("content-type", ""), date_line, amz + resource])


def signature(secret_key: str, text: str) -> str:
    """The signature of a string to sign."""
    return base64.b64encode(hmac.new(secret_key.encode(), text.encode(), hashlib.sha1).digest()).decode()


def sign_headers(credentials, method, path, query, headers, when=None, resource=None, **how) -> dict[str, str]:
    """`headers` with the time and Authorization added: in x-amz-date when they have one already, else in Date."""
    headers = dict(headers)
    if "x-amz-date" not in headers:
        headers["date"] = when or date()
    text = string_to_sign(method, resource or path, query, headers, headers.get("date", ""), **how)
    return {**headers, "authorization": f"AWS {credentials.access_key}:{signature(credentials.secret_key, text)}"}


def presign(credentials, method, path, query, headers, expires, **how) -> list[tuple[str, str]]:
    """The query of a presigned request that ends at `expires`, in seconds since 1970."""
    text = string_to_sign(method, path, query, headers, str(expires), **how)
    return [*query, ("AWSAccessKeyId", credentials.access_key), ("Signature", signature(credentials.secret_key, text)), ("Expires", str(expires))]


def exchange(raw, method, path, query=(), headers=None, body=b""):
    """Sends what was signed by one of the above, as it is."""
    target = path + (f"?{sigv4.encode_query(list(query))}" if query else "")
    lines = {"host": raw.host, **(headers or {}), "connection": "close"}
    if body or method in ("PUT", "POST"):
        lines["content-length"] = str(len(body))
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())]) + "\r\n\r\n"
    return raw.exchange(head.encode(), body, method)


def parameters(url: str) -> dict[str, str]:
    """The query of a URL."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query, keep_blank_values=True))
