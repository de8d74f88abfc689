//! What an answer's head says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED};
use http::{Method, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::request::Call;
use super::xml;
use crate::backend::{BackendError, GetOptions, ObjectMeta, PartSpan, PutOutcome};

/// Headers that the front end may pass on or look at.
fn is_kept(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
        "x-amz-delete-marker",
        "x-amz-expiration",
        "x-amz-mp-parts-count",
        "x-amz-replication-status",
        "x-amz-restore",
        "x-amz-storage-class",
        "x-amz-tagging-count",
        "x-amz-website-redirect-location",
    ];
    NAMES.contains(&name)
        || name.starts_with("x-amz-server-side-encryption")
        || name.starts_with("x-amz-object-lock-")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An ETag without its quotes.
pub(super) fn bare_etag(etag: &str) -> String {
    etag.trim().trim_matches('"').to_owned()
}

fn nonsense(what: &str) -> BackendError {
    BackendError::Protocol(format!("{what} is missing or not readable"))
}

/// A number in a header.
pub(super) fn content_length(headers: &HeaderMap) -> Result<u64, BackendError> {
    text(headers, CONTENT_LENGTH.as_str())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| nonsense("Content-Length"))
}

/// `bytes first-last/total`
pub(super) fn content_range(headers: &HeaderMap) -> Result<(u64, u64, u64), BackendError> {
    let parse = || {
        let rest = text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
        (first <= last && last < total).then_some((first, last, total))
    };
    parse().ok_or_else(|| nonsense("Content-Range"))
}

/// The object that an answer to GET or HEAD describes.
pub(super) fn object_meta(
    headers: &HeaderMap,
    size: u64,
    options: &GetOptions,
) -> Result<ObjectMeta, BackendError> {
    let mut meta = ObjectMeta {
        size,
        etag: bare_etag(text(headers, ETAG.as_str()).ok_or_else(|| nonsense("ETag"))?),
        last_modified: text(headers, LAST_MODIFIED.as_str())
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .ok_or_else(|| nonsense("Last-Modified"))?,
        version_id: text(headers, "x-amz-version-id").map(str::to_owned),
        metadata: Default::default(),
        headers: kept(headers),
        part: None,
    };
    for (name, value) in headers {
        if options.checksums && name.as_str().starts_with("x-amz-checksum-") {
            meta.headers.insert(name, value.clone());
        }
        if let Some(own) = name.as_str().strip_prefix("x-amz-meta-") {
            match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => drop(meta.metadata.insert(own.to_owned(), text.to_owned())),
                Err(_) => drop(meta.headers.insert(name, value.clone())),
            }
        }
    }
    Ok(meta)
}

/// Where a part lies that was asked for; `status` is the answer's to a read of it.
///
/// # Errors
/// `Unsupported` for a server that does not know of parts and answers with the whole object.
pub(super) fn part_span(
    status: StatusCode,
    headers: &HeaderMap,
    number: u16,
    length: u64,
) -> Result<PartSpan, BackendError> {
    if status == StatusCode::PARTIAL_CONTENT {
        let told = headers.contains_key(CONTENT_RANGE) && length > 0;
        return Ok(PartSpan { length, range: told.then(|| content_range(headers)).transpose()? });
    }
    // An object that was not uploaded in parts is its own only one.
    let in_parts = text(headers, ETAG.as_str()).is_some_and(|etag| etag.contains('-'));
    match status == StatusCode::OK && number == 1 && !in_parts {
        true => Ok(PartSpan { length, range: (length > 0).then(|| (0, length - 1, length)) }),
        false => Err(BackendError::Unsupported("partNumber on this storage")),
    }
}

/// The headers of an answer that the front end may pass on or look at.
pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A write's answer.
pub(super) fn put_outcome(headers: &HeaderMap, etag: Option<&str>) -> Result<PutOutcome, BackendError> {
    let etag = etag.or_else(|| text(headers, ETAG.as_str())).ok_or_else(|| nonsense("ETag"))?;
    let version_id = text(headers, "x-amz-version-id").map(str::to_owned);
    Ok(PutOutcome { etag: bare_etag(etag), version_id, headers: kept(headers) })
}

/// A time as S3 writes it in XML.
pub(super) fn timestamp(text: &str) -> Result<SystemTime, BackendError> {
    let time = OffsetDateTime::parse(text.trim(), &Rfc3339).map_err(|_| nonsense("a time"))?;
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| nonsense("a time"))?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The error that an answer stands for. Without a body the status says it, given what was asked for.
pub(super) fn error(call: &Call<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> BackendError {
    let (code, message) = xml::error(body).unwrap_or_default();
    let code = if code.is_empty() { code_of(call, status).to_owned() } else { code };
    if status == StatusCode::SERVICE_UNAVAILABLE || matches!(code.as_str(), "SlowDown" | "RequestTimeout") {
        return BackendError::Unavailable(format!("answered {status} {code}"));
    }
    let mut relevant = kept(headers);
    for name in [ETAG.as_str(), LAST_MODIFIED.as_str(), CONTENT_RANGE.as_str(), "x-amz-version-id"] {
        if let (Ok(name), Some(value)) = (http::HeaderName::try_from(name), headers.get(name)) {
            relevant.insert(name, value.clone());
        }
    }
    BackendError::S3 { status: status.as_u16(), code, message, headers: Box::new(relevant) }
}

/// The error that stands in the body of a success, whose status was sent before the outcome was known.
pub(super) fn error_in_body(document: &[u8]) -> Result<(), BackendError> {
    let Some((code, message)) = xml::error(document) else { return Ok(()) };
    let status = match code.as_str() {
        "NoSuchUpload" | "NoSuchKey" => 404,
        "PreconditionFailed" => 412,
        "InternalError" => 500,
        "SlowDown" | "ServiceUnavailable" => return Err(BackendError::Unavailable(message)),
        _ => 400,
    };
    Err(BackendError::s3(status, &code, message))
}

fn code_of(call: &Call<'_>, status: StatusCode) -> &'static str {
    match status.as_u16() {
        304 => "NotModified",
        400 => "BadRequest",
        403 => "AccessDenied",
        404 if call.key.is_empty() => "NoSuchBucket",
        404 => "NoSuchKey",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        501 => "NotImplemented",
        300..400 if call.method == Method::HEAD => "PermanentRedirect",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::object_meta;
    use crate::backend::GetOptions;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn metadata_that_is_no_text_stays_what_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("\"e\""));
        headers.insert("last-modified", HeaderValue::from_static("Fri, 24 May 2013 00:00:00 GMT"));
        headers.insert("x-amz-meta-text", HeaderValue::from_bytes("ü".as_bytes()).unwrap());
        headers.insert("x-amz-meta-odd", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let meta = object_meta(&headers, 1, &GetOptions::default()).unwrap();
        assert_eq!(meta.metadata.into_iter().collect::<Vec<_>>(), [("text".to_owned(), "ü".to_owned())]);
        assert_eq!(meta.headers["x-amz-meta-odd"].as_bytes(), b"caf\xe9");
    }
}
