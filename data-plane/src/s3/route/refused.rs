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

/// Refused, where they do not go to the storage, unless the value is one of those that change nothing. Such a value never
/// goes there: a server that has ACLs or locks switched off would refuse it.
const UNLESS: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control", "bucket-owner-read"]),
    ("x-amz-storage-class", &["STANDARD"]),
    ("x-amz-object-lock-legal-hold", &["OFF"]),
    ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
];

/// On any request: what the signature is made of, what is checked before a body goes on, who pays (with the storage it is
/// the gateway, whatever clients say), and what a CDN adds.
const OF_REQUESTS: &[&str] = &[
    "x-amz-api-version",
    "x-amz-cf-id",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Beside these: what a write of one kind or another is read for.
const OF_WRITES: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-source-expected-bucket-owner",
    "x-amz-tagging-directive",
];

/// Of S3's answers. Clients that make an object of what they were told of another send all of it (AWS SDK for Java v1,
/// s3cmd): it asks for nothing, and S3 ignores it.
const OF_ANSWERS: &[&str] = &[
    "x-amz-abort-date",
    "x-amz-abort-rule-id",
    "x-amz-access-point-alias",
    "x-amz-archive-status",
    "x-amz-bucket-arn",
    "x-amz-bucket-location-name",
    "x-amz-bucket-location-type",
    "x-amz-bucket-region",
    "x-amz-cf-pop",
    "x-amz-copy-source-version-id",
    "x-amz-delete-marker",
    "x-amz-error-code",
    "x-amz-error-message",
    "x-amz-expiration",
    "x-amz-id-2",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-size",
    "x-amz-replication-status",
    "x-amz-request-charged",
    "x-amz-request-id",
    "x-amz-restore",
    "x-amz-restore-output-path",
    "x-amz-tagging-count",
    "x-amz-version-id",
];

/// What checks of their own read, whatever follows: those of bodies, of metadata and of encryption.
const FAMILIES: &[&str] = &["x-amz-checksum-", "x-amz-meta-", "x-amz-server-side-encryption"];

/// The first header that the operation cannot honour, described for the error's text.
pub(super) fn header(operation: &Operation, headers: &HeaderMap) -> Option<String> {
    let named = |name: &&str| headers.contains_key(*name);
    if let Operation::Forward(entry) = operation {
        return unlisted(entry, headers).map(|name| format!("the header {name}"));
    }
    let stores = match operation {
        Operation::PutObject
        | Operation::CopyObject
        | Operation::PostObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CreateBucket => true,
        Operation::CompleteMultipartUpload
        | Operation::AbortMultipartUpload
        | Operation::DeleteObject
        | Operation::DeleteObjects
        | Operation::DeleteBucket => false,
        // Reads change nothing: what is not known asks for nothing here. Listings asked for RestoreStatus have none, as S3's
        // have none of objects that were never restored.
        _ => return None,
    };
    if let Some(name) = headers.keys().map(http::HeaderName::as_str).find(|name| unknown(name)) {
        return Some(format!("the header {name}"));
    }
    if !stores {
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

/// Whether no write here knows the header: what it asks to be stored, guarded or held against would not be.
fn unknown(name: &str) -> bool {
    let lists = [OF_REQUESTS, OF_WRITES, OF_ANSWERS, WITH_OBJECTS, WITH_BUCKETS, WITH_DELETIONS];
    name.starts_with("x-amz-")
        && !lists.iter().any(|list| list.contains(&name))
        && !FAMILIES.iter().any(|family| name.starts_with(family))
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
