//! What may be stored beside the bytes, within which bounds.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::record::{Head, Id, Kind};
use super::{lock, settings, tags};
use crate::backend::{BackendError, PutOptions};

/// Names and values of user metadata, as in S3.
pub(crate) const MAX_METADATA: usize = 2048;
/// Names and values of headers.
const MAX_HEADERS: usize = 8192;
/// A little over the 50 TiB of plaintext that the object format allows.
pub(crate) const MAX_SIZE: u64 = 51 << 40;
/// Headers that are kept and given back.
const KEPT: [&str; 10] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
    lock::MODE,
    lock::UNTIL,
    lock::HOLD,
];

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The head of a new record; its id comes with the commit.
pub(crate) fn head(kind: Kind, key: &str, options: &PutOptions, size: u64) -> Result<Head, BackendError> {
    if size > MAX_SIZE {
        return Err(BackendError::s3(400, "EntityTooLarge", "the body is larger than any object"));
    }
    check_metadata(&options.metadata)?;
    Ok(Head {
        kind,
        id: Id([0; 16]),
        modified: now(),
        size,
        segments: 0,
        upload: String::new(),
        key: key.to_owned(),
        metadata: options.metadata.clone(),
        headers: kept_headers(&options.headers)?,
        sequence: 0,
        has_version_id: false,
        revised: false,
    })
}

/// Whether user metadata is within the bounds.
pub(crate) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), BackendError> {
    let used: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    match used > MAX_METADATA {
        true => Err(BackendError::s3(400, "MetadataTooLarge", "user metadata exceeds 2,048 bytes")),
        false => Ok(()),
    }
}

fn kept_headers(headers: &HeaderMap) -> Result<BTreeMap<String, String>, BackendError> {
    let mut kept = BTreeMap::new();
    let mut used = 0;
    for (name, value) in headers {
        let name = name.as_str();
        if name == "x-amz-storage-class" && value == "STANDARD" {
            continue;
        }
        if name == "x-amz-acl" {
            // Everything belongs to the bucket's owner, as under BucketOwnerEnforced: these say no more than that.
            settings::check_canned(value)?;
            continue;
        }
        if name.starts_with("x-amz-grant-") {
            return Err(settings::no_acls());
        }
        if name == tags::TAGGING {
            let text = std::str::from_utf8(value.as_bytes()).unwrap_or("%");
            let tags = tags::from_header(text)?;
            if !tags.is_empty() {
                kept.insert(name.to_owned(), tags::to_header(&tags));
            }
            continue;
        }
        if !KEPT.contains(&name) {
            return Err(BackendError::Unsupported(match name {
                "x-amz-storage-class" => "this storage class",
                name if name.starts_with("x-amz-server-side-encryption") => {
                    "server-side encryption of its own"
                }
                _ => "one of the request's headers",
            }));
        }
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| BackendError::s3(400, "InvalidArgument", "a header is not UTF-8"))?;
        used += name.len() + value.len();
        if used > MAX_HEADERS {
            return Err(BackendError::s3(400, "MetadataTooLarge", "headers exceed 8,192 bytes"));
        }
        kept.insert(name.to_owned(), value.to_owned());
    }
    lock::check_headers(&mut kept)?;
    Ok(kept)
}

/// The headers of a stored object.
pub(crate) fn stored_headers(head: &Head) -> Result<HeaderMap, BackendError> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "metadata file holds an impossible header");
    let mut headers = HeaderMap::new();
    for (name, value) in &head.headers {
        if name == tags::TAGGING {
            let count = value.split('&').count();
            headers.insert("x-amz-tagging-count", HeaderValue::from(count));
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(()))?;
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid(()))?);
    }
    Ok(headers)
}
