//! How single fields of a line are written.

use std::fmt::Write as _;

use http::{Method, Uri};

/// The longest quoted field, in bytes.
const MAX_QUOTED: usize = 2_048;

/// Parameters that sign, or are part of what a signature is made with.
const SIGNING: &[&str] =
    &["x-amz-signature", "x-amz-credential", "x-amz-security-token", "signature", "awsaccesskeyid"];

/// Beginnings of headers that stand in a presigned query and that no log has when they are headers: metadata is sealed, a
/// code of MFA and a lock's token are secrets.
const SECRET: &[&str] = &["x-amz-meta-", "x-amz-mfa", "x-amz-bucket-object-lock-token"];

/// Parameters that say nothing of the operation.
const COMMON: &[&str] = &["x-id", "versionid", "prefix", "delimiter", "max-keys", "encoding-type"];

/// S3's name of an operation by its resource: `REST.<method>.<resource>`.
pub(super) fn operation(name: &str, method: &Method, query: &str, has_key: bool) -> String {
    let (verb, resource) = match name {
        "ListBuckets" => (method.as_str(), "SERVICE"),
        "GetBucketLocation" => (method.as_str(), "LOCATION"),
        "ListObjects" | "ListObjectsV2" | "CreateBucket" | "HeadBucket" | "DeleteBucket" => {
            (method.as_str(), "BUCKET")
        }
        "ListObjectVersions" => (method.as_str(), "BUCKETVERSIONS"),
        "PutObject" | "PostObject" | "GetObject" | "HeadObject" | "DeleteObject" => {
            (method.as_str(), "OBJECT")
        }
        "DeleteObjects" => (method.as_str(), "MULTI_OBJECT_DELETE"),
        "CopyObject" => ("COPY", "OBJECT"),
        "UploadPartCopy" => ("COPY", "PART"),
        "UploadPart" => (method.as_str(), "PART"),
        "CreateMultipartUpload" | "ListMultipartUploads" => (method.as_str(), "UPLOADS"),
        "CompleteMultipartUpload" | "AbortMultipartUpload" | "ListParts" => (method.as_str(), "UPLOAD"),
        "Preflight" => (method.as_str(), "PREFLIGHT"),
        _ => {
            let plain = |name: &&str| {
                let known = COMMON.iter().any(|common| name.eq_ignore_ascii_case(common));
                !known && !name.to_ascii_lowercase().starts_with("x-amz-")
            };
            let subresource = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
            let named = subresource.filter(plain).find(|name| {
                (1..=40).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
            let fallback = if has_key { "OBJECT" } else { "BUCKET" };
            let resource = named.unwrap_or(fallback).to_ascii_uppercase().replace('-', "_");
            return format!("REST.{method}.{resource}");
        }
    };
    format!("REST.{verb}.{resource}")
}

/// Path and query as sent, without what signs or is secret.
pub(super) fn uri(uri: &Uri) -> String {
    let mut out = uri.path().to_owned();
    for (at, pair) in uri.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // A name may be escaped to pass for another one.
        let plain = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
        let secret = SECRET.iter().any(|start| plain.starts_with(start));
        if secret || SIGNING.contains(&plain.as_str()) || plain.contains("customer-key") {
            out.push_str(name);
            out.push_str("=REDACTED");
        } else {
            out.push_str(pair);
        }
    }
    out
}

/// A Referer as sent, but for a query in which anything signs: a page opened by a presigned URL tells it with all that it loads.
pub(super) fn referrer(text: &[u8]) -> Vec<u8> {
    let place = text.iter().position(|byte| *byte == b'?');
    let (path, query) = text.split_at(place.unwrap_or(text.len()));
    let plain = percent_encoding::percent_decode(query).decode_utf8_lossy().to_ascii_lowercase();
    let signs =
        SIGNING.iter().chain(SECRET).any(|name| plain.contains(name)) || plain.contains("customer-key");
    [path, if signs { b"?REDACTED" } else { query }].concat()
}

/// A field in quotes, in which neither a quote nor the end of the line can stand; `"-"` for none.
pub(super) fn quoted(text: Option<&[u8]>) -> String {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return "\"-\"".to_owned() };
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.iter().take(MAX_QUOTED) {
        match byte {
            b' '..=b'~' if *byte != b'"' => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out.push('"');
    out
}

/// `[06/Feb/2019:00:00:38 +0000]`
pub(super) fn moment(at: time::OffsetDateTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.get(usize::from(u8::from(at.month())) - 1).copied().unwrap_or("-");
    format!(
        "[{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000]",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{operation, quoted, referrer, uri};
    use http::Method;

    #[test]
    fn a_referrer_loses_a_query_that_signs() {
        let shown = |text: &str| String::from_utf8(referrer(text.as_bytes())).unwrap();
        assert_eq!(shown("https://h/b/k?a=1&X-Amz-Sign%61ture=abc"), "https://h/b/k?REDACTED");
        assert_eq!(shown("https://h/b/k?X-Amz-Meta-a=Jo"), "https://h/b/k?REDACTED");
        assert_eq!(shown("https://h/page?tab=2"), "https://h/page?tab=2");
        assert_eq!(shown("https://h/page"), "https://h/page");
    }

    #[test]
    fn what_signs_is_blotted_out() {
        let shown = uri(&"/b/k?X-Amz-Signature=abc&prefix=a%20b&x%2Damz%2Dsecurity-token=t&X-Amz-Credential=AKID%2Fx&versionId=1&Signature=z"
            .parse()
            .unwrap());
        assert_eq!(
            shown,
            "/b/k?X-Amz-Signature=REDACTED&prefix=a%20b&x%2Damz%2Dsecurity-token=REDACTED&X-Amz-Credential=REDACTED&versionId=1&Signature=REDACTED"
        );
        assert_eq!(uri(&"/".parse().unwrap()), "/");
        let shown = uri(
            &"/b/k?x-amz-meta-Name=Jo&X-Amz-M%66a=1%202&x-amz-bucket-object-lock-token=t&x-amz-acl=private"
                .parse()
                .unwrap(),
        );
        assert_eq!(
            shown,
            "/b/k?x-amz-meta-Name=REDACTED&X-Amz-M%66a=REDACTED&x-amz-bucket-object-lock-token=REDACTED&x-amz-acl=private"
        );
    }

    #[test]
    fn a_field_stays_within_its_quotes() {
        assert_eq!(quoted(Some(b"a \"b\"\n\xfc")), "\"a %22b%22%0A%FC\"");
        assert_eq!(quoted(Some(b"")), "\"-\"");
        assert!(quoted(Some(&[b'x'; 10_000])).len() < 3_000);
    }

    #[test]
    fn operations_by_s3s_names() {
        for (name, method, query, key, shown) in [
            ("ListObjectsV2", Method::GET, "list-type=2", false, "REST.GET.BUCKET"),
            ("UploadPart", Method::PUT, "partNumber=1", true, "REST.PUT.PART"),
            ("CopyObject", Method::PUT, "", true, "REST.COPY.OBJECT"),
            ("PutBucketVersioning", Method::PUT, "versioning=", false, "REST.PUT.VERSIONING"),
            ("GetObjectTagging", Method::GET, "x-id=GetObjectTagging&tagging", true, "REST.GET.TAGGING"),
            ("PutObjectLegalHold", Method::PUT, "versionId=1&legal-hold", true, "REST.PUT.LEGAL_HOLD"),
            ("Unknown", Method::GET, "a%22b=1&X-Amz-Date=1", true, "REST.GET.OBJECT"),
        ] {
            assert_eq!(operation(name, &method, query, key), shown);
        }
    }
}
