//! Conditional requests, in the order of RFC 9110, section 13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{ETAG, HeaderValue, LAST_MODIFIED};

use super::record::Head;
use crate::backend::{BackendError, Conditions};

/// Whole seconds, as HTTP dates have them.
pub(crate) fn modified(head: &Head) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(head.modified / 1000)
}

/// Whether a read may go on: else `PreconditionFailed`, or `NotModified` with the headers that a 304 carries.
pub(crate) fn check_read(conditions: &Conditions, head: &Head) -> Result<(), BackendError> {
    let (etag, modified) = (head.etag(), modified(head));
    let date = |text: &Option<String>| text.as_deref().and_then(|text| httpdate::parse_http_date(text).ok());
    let held = match (&conditions.if_match, date(&conditions.if_unmodified_since)) {
        (Some(wanted), _) => names_etag(wanted, &etag),
        (None, Some(since)) => modified <= since,
        (None, None) => true,
    };
    if !held {
        return Err(failed());
    }
    let unchanged = match (&conditions.if_none_match, date(&conditions.if_modified_since)) {
        (Some(known), _) => names_etag(known, &etag),
        (None, Some(since)) => modified <= since,
        (None, None) => false,
    };
    if !unchanged {
        return Ok(());
    }
    let mut headers = HeaderMap::new();
    for (name, value) in [(ETAG, format!("\"{etag}\"")), (LAST_MODIFIED, httpdate::fmt_http_date(modified))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Err(BackendError::S3 {
        status: 304,
        code: "NotModified".to_owned(),
        message: "the object has not changed".to_owned(),
        headers: Box::new(headers),
    })
}

/// Whether a write or a deletion may go on, given what is there now. If-Match on nothing is `NoSuchKey`, as S3 has it.
pub(crate) fn check_write(conditions: &Conditions, current: Option<&Head>) -> Result<(), BackendError> {
    if let Some(wanted) = &conditions.if_match {
        let Some(head) = current else {
            return Err(BackendError::s3(404, "NoSuchKey", "The specified key does not exist."));
        };
        if !names_etag(wanted, &head.etag()) {
            return Err(failed());
        }
    }
    match (&conditions.if_none_match, current) {
        (Some(known), Some(head)) if names_etag(known, &head.etag()) => Err(failed()),
        _ => Ok(()),
    }
}

/// Whether a copy's source is still the one that was looked at.
pub(crate) fn check_source(wanted: Option<&str>, source: &Head) -> Result<(), BackendError> {
    match wanted {
        Some(wanted) if !names_etag(wanted, &source.etag()) => Err(failed()),
        _ => Ok(()),
    }
}

pub(crate) fn failed() -> BackendError {
    BackendError::s3(412, "PreconditionFailed", "a condition of the request does not hold")
}

/// Whether a header's list names the ETag: `*`, quoted or bare, weak or strong.
pub(crate) fn names_etag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|item| {
        let item = item.strip_prefix("W/").unwrap_or(item);
        item == "*" || item.trim_matches('"') == etag
    })
}
