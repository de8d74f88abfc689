//! GetObjectAttributes: what HeadObject knows, and the part table, as a document.

use http::StatusCode;
use sealgate_envelope::{Kind, Trailer};

use super::sealed;
use crate::backend::{GetOptions, ObjectMeta};
use crate::body::checksum::{Algorithm, Checksum};
use crate::etags;
use crate::gate::Admitted;
use crate::multipart::notes::from_format;
use crate::reply::{self, Reply};
use crate::s3::error::S3Error;
use crate::s3::headers::attributes::Attributes;
use crate::s3::xml::attributes::{
    AttributesList, Part, Parts, PartsPage, WholeChecksum, attributes as document,
};

/// The class of what a backend names none of.
const DEFAULT_CLASS: &str = "STANDARD";

/// Answers GetObjectAttributes: one backend request, one more where the answer is in the trailer.
///
/// # Errors
/// In S3's terms; ObjectIntegrityError for whatever is not genuine.
pub async fn attributes(admitted: &Admitted) -> Result<Reply, S3Error> {
    let asked = Attributes::from_headers(&admitted.headers)?;
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let encrypted = bucket.encrypts(key);
    let options = GetOptions {
        conditions: etags::conditions(&admitted.headers, encrypted)?,
        version_id: admitted.request.query.get("versionId").map(str::to_owned),
        checksums: asked.checksum && !encrypted,
        ..GetOptions::default()
    };
    let meta = backend
        .head(&bucket.backend_bucket, key, options)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    etags::check_read(&admitted.headers, &meta, encrypted)?;
    let etag = etags::shown(&meta.etag, encrypted);
    let class = meta.headers.get("x-amz-storage-class").and_then(|class| class.to_str().ok());
    let mut list = AttributesList {
        etag: asked.etag.then(|| etag.trim_matches('"')),
        storage_class: asked.storage_class.then(|| class.unwrap_or(DEFAULT_CLASS)),
        ..AttributesList::default()
    };
    if encrypted {
        let sealed = sealed::open(admitted, &bucket, backend.as_ref(), key, &meta).await?;
        list.size = asked.size.then_some(sealed.plaintext_len);
        let of_marker =
            || sealed.marker_checksum().map(|checksum| WholeChecksum { checksum, composite: false });
        list.checksum = known_checksum(&sealed.metadata).or_else(of_marker).filter(|_| asked.checksum);
        let in_trailer = (asked.checksum && sealed.checksum_may_be_in_trailer())
            || (asked.parts && sealed.kind == Kind::Multipart);
        if in_trailer && sealed.keys.is_some() && sealed.stored_len > 0 {
            let table = sealed::table(admitted, &bucket, &backend, key, &meta, &sealed).await?;
            let table = table.map_err(|sealed::Changed| sealed::keeps_changing())?;
            if asked.checksum {
                list.checksum = list.checksum.or_else(|| trailer_checksum(&table.trailer));
            }
            list.parts = parts(&table.trailer, &asked).filter(|_| asked.parts);
        }
    } else {
        list.size = asked.size.then_some(meta.size);
        list.checksum = kept_checksum(&meta).filter(|_| asked.checksum);
        list.parts = counted(&meta).filter(|_| asked.parts);
    }
    let mut reply = reply::xml(StatusCode::OK, document(&list));
    reply::set(reply.headers_mut(), "last-modified", &httpdate::fmt_http_date(meta.last_modified));
    if let Some(version) = &meta.version_id {
        reply::set(reply.headers_mut(), "x-amz-version-id", version);
    }
    Ok(reply)
}

/// The checksum that came in a header, from sealed metadata.
fn known_checksum(metadata: &sealgate_envelope::metadata::Metadata) -> Option<WholeChecksum> {
    let (algorithm, value) = metadata
        .iter()
        .find_map(|(name, value)| Algorithm::from_header(name).map(|algorithm| (algorithm, value)))?;
    let checksum = Checksum::from_base64(algorithm, std::str::from_utf8(value).ok()?)?;
    Some(WholeChecksum { checksum, composite: false })
}

/// The checksum that the storage has of a plain object.
fn kept_checksum(meta: &ObjectMeta) -> Option<WholeChecksum> {
    let (algorithm, value) = meta.headers.iter().find_map(|(name, value)| {
        Algorithm::from_header(name.as_str()).and_then(|algorithm| Some((algorithm, value.to_str().ok()?)))
    })?;
    let composite = meta.headers.get("x-amz-checksum-type").is_some_and(|kind| kind == "COMPOSITE");
    // A composite one has the number of parts behind it.
    let (value, counted) = value.split_once('-').map_or((value, false), |(value, _)| (value, true));
    Some(WholeChecksum {
        checksum: Checksum::from_base64(algorithm, value)?,
        composite: composite || counted,
    })
}

fn trailer_checksum(trailer: &Trailer) -> Option<WholeChecksum> {
    let full = trailer.checksums().first()?;
    Some(WholeChecksum { checksum: from_format(&full.checksum)?, composite: full.composite })
}

/// The parts that the trailer names; none for an object that was not uploaded in parts.
fn parts(trailer: &Trailer, asked: &Attributes) -> Option<Parts> {
    let entries = trailer.entries();
    if entries.is_empty() {
        return None;
    }
    let after = entries.iter().filter(|entry| entry.number > asked.part_marker);
    let most = asked.max_parts as usize;
    let truncated = after.clone().count() > most;
    let parts = after
        .take(most)
        .map(|entry| Part {
            number: entry.number,
            size: entry.size,
            checksum: entry.checksum.as_ref().and_then(from_format),
        })
        .collect();
    let page = PartsPage { marker: asked.part_marker, max_parts: asked.max_parts, truncated, parts };
    Some(Parts { total: entries.len(), page: Some(page) })
}

/// What an ETag says of a plain object's parts: their number.
fn counted(meta: &ObjectMeta) -> Option<Parts> {
    let (digest, count) = meta.etag.split_once('-')?;
    let total = count.parse().ok().filter(|_| digest.len() == 32)?;
    Some(Parts { total, page: None })
}
