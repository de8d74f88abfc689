//! The headers that describe an object: what the client stored is told back, whatever the backend says.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sealgate_envelope::{FullChecksum, Suite, Trailer};

use super::sealed::Sealed;
use crate::backend::ObjectMeta;
use crate::etags;
use crate::gate::Admitted;
use crate::multipart::notes::from_format;
use crate::reply;
use crate::s3::error::S3Error;
use crate::s3::headers::encryption::SSE_S3;
use crate::s3::headers::metadata::SYSTEM;
use crate::s3::headers::response_overrides;

/// The type of an object that was stored without one.
pub const DEFAULT_TYPE: &str = "binary/octet-stream";

/// Headers of an object in an encrypted prefix.
///
/// # Errors
/// A `response-*` override that no header can carry.
pub fn encrypted(admitted: &Admitted, meta: &ObjectMeta, sealed: &Sealed) -> Result<HeaderMap, S3Error> {
    let mut headers = passed(meta, true);
    if let Some(keys) = &sealed.keys {
        announce(keys.suite(), &mut headers);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DEFAULT_TYPE));
    for (name, value) in &sealed.metadata {
        let shown = SYSTEM.contains(&name.as_str()) || name.starts_with("x-amz-meta-");
        if let (true, Ok(name), Ok(value)) =
            (shown, HeaderName::try_from(name), HeaderValue::from_bytes(value))
        {
            headers.insert(name, value);
        }
    }
    override_headers(admitted, &mut headers)?;
    Ok(headers)
}

/// Says of an object that it is encrypted with AES-256, as S3 says it of SSE-S3.
pub fn announce(suite: Suite, headers: &mut HeaderMap) {
    let name = HeaderName::from_static("x-amz-server-side-encryption");
    if suite == Suite::Aes256Gcm {
        headers.insert(name, HeaderValue::from_static(SSE_S3));
    }
}

/// Headers of an object in a plain prefix.
///
/// # Errors
/// A `response-*` override that no header can carry.
pub fn plain(admitted: &Admitted, meta: &ObjectMeta) -> Result<HeaderMap, S3Error> {
    let mut headers = passed(meta, false);
    for (name, value) in &meta.metadata {
        let name = HeaderName::try_from(format!("x-amz-meta-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
    override_headers(admitted, &mut headers)?;
    Ok(headers)
}

/// What a backend may say to the client of an encrypted object: nothing that a client acts on.
const FROM_BACKEND: &[&str] = &[
    "x-amz-storage-class",
    "x-amz-restore",
    "x-amz-expiration",
    "x-amz-replication-status",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-tagging-count",
    "x-amz-delete-marker",
    "x-amz-archive-status",
];

/// Beside these of a plain one. Of an encrypted one they would name a key of the operator's to tenants, who cannot ask for it.
const ENCRYPTION: &[&str] = &[
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
];

/// The headers of a backend's answer to a write that pass to the client; of an encrypted object, of a read too.
pub fn allowed(headers: &HeaderMap, encrypted: bool) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in FROM_BACKEND.iter().chain(ENCRYPTION.iter().filter(|_| !encrypted)) {
        if let Some(value) = headers.get(*name) {
            passed.insert(*name, value.clone());
        }
    }
    passed
}

fn passed(meta: &ObjectMeta, encrypted: bool) -> HeaderMap {
    let mut headers = if encrypted { allowed(&meta.headers, true) } else { meta.headers.clone() };
    reply::set(&mut headers, "etag", &etags::shown(&meta.etag, encrypted));
    reply::set(&mut headers, "last-modified", &httpdate::fmt_http_date(meta.last_modified));
    reply::set(&mut headers, "accept-ranges", "bytes");
    if let Some(version) = &meta.version_id {
        reply::set(&mut headers, "x-amz-version-id", version);
    }
    headers
}

fn override_headers(admitted: &Admitted, headers: &mut HeaderMap) -> Result<(), S3Error> {
    for (name, value) in response_overrides(&admitted.request.query)? {
        headers.insert(name, value);
    }
    Ok(())
}

/// Whether the client asked for the object's checksum.
pub fn wants_checksum(admitted: &Admitted) -> bool {
    let asked = admitted
        .header("x-amz-checksum-mode")
        .or_else(|| admitted.request.query.get_ignore_case("x-amz-checksum-mode"));
    asked.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
}

/// The checksum that was known before the body, from sealed metadata, or a marker's. Whether there was one.
pub fn set_known_checksum(sealed: &Sealed, headers: &mut HeaderMap) -> bool {
    let mut found = false;
    for (name, value) in sealed.metadata.iter().filter(|(name, _)| name.starts_with("x-amz-checksum-")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
            found = true;
        }
    }
    if let Some(checksum) = sealed.marker_checksum().filter(|_| !found) {
        reply::set(headers, checksum.algorithm().header(), &checksum.to_base64());
        found = true;
    }
    if found {
        reply::set(headers, "x-amz-checksum-type", "FULL_OBJECT");
    }
    found
}

/// The checksums that a trailer keeps: the object's, or of one that was uploaded in parts those of the part that was asked for.
pub fn set_trailer_checksums(trailer: &Trailer, part: Option<u16>, headers: &mut HeaderMap) {
    let part = part.filter(|_| !trailer.entries().is_empty());
    for full in trailer.checksums() {
        let kind = if full.composite { "COMPOSITE" } else { "FULL_OBJECT" };
        reply::set(headers, "x-amz-checksum-type", kind);
    }
    if let Some(number) = part {
        let entry = trailer.entries().iter().find(|entry| entry.number == number);
        if let Some(checksum) = entry.and_then(|entry| from_format(entry.checksum.as_ref()?)) {
            reply::set(headers, checksum.algorithm().header(), &checksum.to_base64());
        }
        return;
    }
    for full in trailer.checksums() {
        let Some((name, value)) = shown_checksum(full, trailer.entries().len()) else { continue };
        reply::set(headers, name, &value);
    }
}

/// A full-object checksum as S3 writes it: its header, and base64, with the number of parts when it is a composite.
fn shown_checksum(full: &FullChecksum, parts: usize) -> Option<(&'static str, String)> {
    let checksum = from_format(&full.checksum)?;
    let value = checksum.to_base64();
    Some((checksum.algorithm().header(), if full.composite { format!("{value}-{parts}") } else { value }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{ENCRYPTION, allowed, announce};
    use http::{HeaderMap, HeaderValue};
    use sealgate_envelope::Suite;

    #[test]
    fn the_storages_own_encryption_is_told_of_plain_objects_alone() {
        let mut told = HeaderMap::new();
        for name in ENCRYPTION {
            told.insert(*name, HeaderValue::from_static("aws:kms"));
        }
        told.insert("x-amz-storage-class", HeaderValue::from_static("STANDARD_IA"));
        assert_eq!(allowed(&told, false), told);
        let mut shown = allowed(&told, true);
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["x-amz-storage-class"]);
        announce(Suite::Aes256Gcm, &mut shown);
        assert_eq!(shown["x-amz-server-side-encryption"], "AES256");
    }
}
