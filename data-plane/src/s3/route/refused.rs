//! Request headers that ask for something that is not built. To ignore them would be to promise it: an object that was
//! to be locked would not be, a customer's own key not used, a condition not checked.

use super::Operation;
use http::{HeaderMap, HeaderValue};

/// Refused on whatever writes an object, an upload or a bucket.
const ALWAYS: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

/// Refused unless the value is one of those that change nothing here.
const UNLESS: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control", "bucket-owner-read"]),
    ("x-amz-storage-class", &["STANDARD"]),
    ("x-amz-server-side-encryption", &["AES256"]),
    ("x-amz-object-lock-legal-hold", &["OFF"]),
    ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
];

/// Refused on reads: a customer's own key.
const READS: &[&str] =
    &["x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key"];

/// Refused on DeleteObject: conditions that are not checked, and the lock's override.
const DELETES: &[&str] = &[
    "x-amz-mfa",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-bypass-governance-retention",
];

/// The first header that the operation cannot honour, described for the error's text.
pub(super) fn header(operation: &Operation, headers: &HeaderMap) -> Option<String> {
    let named = |name: &&str| headers.contains_key(*name);
    if named(&"x-amz-expected-bucket-owner") {
        return Some("the header x-amz-expected-bucket-owner".to_owned());
    }
    let refused: &[&str] = match operation {
        Operation::PutObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::CreateBucket => ALWAYS,
        Operation::GetObject | Operation::HeadObject | Operation::CompleteMultipartUpload => READS,
        Operation::DeleteObject | Operation::DeleteObjects => DELETES,
        _ => return None,
    };
    if let Some(name) = refused.iter().find(|name| named(name)) {
        return Some(format!("the header {name}"));
    }
    if !std::ptr::eq(refused, ALWAYS) {
        return None;
    }
    UNLESS.iter().find_map(|(name, harmless)| {
        let value = headers.get_all(*name).iter().find(|value| !allowed(value, harmless))?;
        let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(64).collect();
        Some(format!("{name}: {shown}"))
    })
}

fn allowed(value: &HeaderValue, harmless: &[&str]) -> bool {
    harmless.iter().any(|text| value.as_bytes() == text.as_bytes())
}
