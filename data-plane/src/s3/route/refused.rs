//! Request headers that ask for something that is not built. To ignore them would be to promise it: an object that was
//! to be locked would not be, a customer's own key not used, a condition not checked.

use super::Operation;
use super::forwarded::{ACL_HEADERS, Forwarding};
use http::{HeaderMap, HeaderValue};

/// Goes to the storage with an object or an upload.
pub const WITH_OBJECTS: &[&str] = &[
    "x-amz-acl",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
];

/// Goes to the storage with a new bucket.
pub const WITH_BUCKETS: &[&str] = &[
    "x-amz-acl",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-object-ownership",
];

/// Goes to the storage with a deletion.
pub const WITH_DELETIONS: &[&str] = &["x-amz-bypass-governance-retention", "x-amz-mfa"];

/// Refused on whatever writes an object, an upload or a bucket.
const ALWAYS: &[&str] = &[
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-write-offset-bytes",
];

/// Refused, where they do not go to the storage, unless the value is one of those that change nothing. Such a value never
/// goes there: a server that has ACLs or locks switched off would refuse it.
const UNLESS: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control", "bucket-owner-read"]),
    ("x-amz-storage-class", &["STANDARD"]),
    ("x-amz-object-lock-legal-hold", &["OFF"]),
    ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
];

/// On any request: what the signature is made of, and what is checked before a body goes on.
const OF_REQUESTS: &[&str] = &[
    "x-amz-api-version",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// The first header that the operation cannot honour, described for the error's text.
pub(super) fn header(operation: &Operation, headers: &HeaderMap) -> Option<String> {
    let named = |name: &&str| headers.contains_key(*name);
    if let Operation::Forward(entry) = operation {
        return unlisted(entry, headers).map(|name| format!("the header {name}"));
    }
    let refused: &[&str] = match operation {
        Operation::PutObject
        | Operation::CopyObject
        | Operation::PostObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CreateBucket => ALWAYS,
        // A condition, which dropped would abort whatever is there.
        Operation::AbortMultipartUpload => &["x-amz-if-match-initiated-time"],
        _ => return None,
    };
    if let Some(name) = refused.iter().find(|name| named(name)) {
        return Some(format!("the header {name}"));
    }
    if !std::ptr::eq(refused, ALWAYS) {
        return None;
    }
    let passed = match operation {
        Operation::PutObject
        | Operation::CopyObject
        | Operation::PostObject
        | Operation::CreateMultipartUpload => WITH_OBJECTS,
        Operation::CreateBucket => WITH_BUCKETS,
        _ => &[],
    };
    let misplaced = WITH_OBJECTS.iter().chain(WITH_BUCKETS).find(|name| {
        !passed.contains(name) && !UNLESS.iter().any(|(known, _)| known == *name) && named(name)
    });
    if let Some(name) = misplaced {
        return Some(format!("the header {name}"));
    }
    UNLESS.iter().filter(|(name, _)| !passed.contains(name)).find_map(|(name, harmless)| {
        let value = headers.get_all(*name).iter().find(|value| !allowed(value, harmless))?;
        let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(64).collect();
        Some(format!("{name}: {shown}"))
    })
}

/// The first header that asks for something and is not on a forwarded operation's list.
fn unlisted<'a>(entry: &Forwarding, headers: &'a HeaderMap) -> Option<&'a str> {
    headers.keys().map(http::HeaderName::as_str).find(|name| {
        let asks = name.starts_with("x-amz-") || name.starts_with("if-");
        asks && !entry.headers.contains(name)
            && !OF_REQUESTS.contains(name)
            && !name.starts_with("x-amz-checksum-")
    })
}

/// The headers of a list that a request has, as they go to the storage: not with a value that changes nothing.
#[must_use]
pub fn passed(list: &[&'static str], headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in list {
        let harmless =
            UNLESS.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, harmless)| *harmless);
        let keeps = *name == "x-amz-storage-class";
        for value in headers.get_all(*name).iter().filter(|value| keeps || !allowed(value, harmless)) {
            passed.append(*name, value.clone());
        }
    }
    passed
}

/// Whether headers ask for what is done in the gateway's own name, whatever the operation: to open an object or a bucket
/// to others on the storage, or to pass over a governance lock.
#[must_use]
pub fn needs_configure(headers: &HeaderMap) -> bool {
    // Every value counts, and all but a plain "false": who knows which one a storage goes by, and what it takes for true.
    let mut bypass = headers.get_all("x-amz-bypass-governance-retention").iter();
    !passed(ACL_HEADERS, headers).is_empty()
        || bypass.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"false"))
}

fn allowed(value: &HeaderValue, harmless: &[&str]) -> bool {
    harmless.iter().any(|text| value.as_bytes() == text.as_bytes())
}
