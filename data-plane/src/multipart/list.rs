//! ListParts, ListMultipartUploads and AbortMultipartUpload.

use std::time::SystemTime;

use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{ChecksumCode, Note, hidden};

use super::notes::{self, Notes, from_format};
use super::part::GATEWAY_PART;
use super::plain;
use super::uploads::{Peeks, load};
use crate::backend::{PartEntry as BackendPart, UploadEntry as BackendUpload, UploadListOptions};
use crate::body::Algorithm;
use crate::gate::{Admitted, no_content};
use crate::listing::{owner, page_size};
use crate::reply::{self, Reply};
use crate::s3::error::S3Error;
use crate::s3::timestamp::unix_millis;
use crate::s3::xml::uploads::{PartEntry, PartList, UploadEntry, UploadList, list_parts, list_uploads};
use crate::s3::xml::writer::KeyEncoding;

/// Upload records that one listing reads at a time.
const RECORDS_AT_ONCE: usize = 16;

/// Answers AbortMultipartUpload.
///
/// # Errors
/// In S3's terms.
pub async fn abort(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    // Aborting works without a record, and without its key. One that was begun before the prefix became plain has one too.
    let upload = load(admitted, &bucket, &backend, key, upload_id).await.ok();
    backend
        .abort_upload(&bucket.backend_bucket, key, upload_id)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    if let Some(upload) = upload {
        admitted.worker.node.uploads.remove(bucket.id, key, upload_id);
        if let Err(error) = notes::remove(&backend, &bucket.work_bucket, &upload).await {
            tracing::warn!(bucket = bucket.name, key, %error, "notes of an aborted upload stay until the sweep");
        }
    }
    Ok(no_content())
}

/// Answers ListParts: the backend's list, with plaintext sizes and checksums from the notes. A part without a note that
/// opens is not listed: it cannot be completed.
///
/// # Errors
/// In S3's terms.
pub async fn parts(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let query = &admitted.request.query;
    let upload_id = query.get("uploadId").unwrap_or_default();
    let marker: u16 = page_size(query, "part-number-marker", 0)?.try_into().unwrap_or(u16::MAX);
    let most = page_size(query, "max-parts", 1_000)?.min(1_000);
    let failed = |error| admitted.backend_failed(error);
    let stored = notes::all_listed(&backend, &bucket.backend_bucket, key, upload_id).await.map_err(failed)?;
    let (stored, storage_class) = (stored.parts, stored.storage_class);
    let (mut listed, checksum) = if bucket.encrypts(key) {
        let upload = load(admitted, &bucket, &backend, key, upload_id).await?;
        let notes = Notes::read(&backend, &bucket.work_bucket, &upload, &stored).await.map_err(failed)?;
        (noted(&stored, &notes, marker), upload.checksum)
    } else {
        (plain::listed(&stored, marker), None)
    };
    let truncated = listed.len() > most as usize;
    listed.truncate(most as usize);
    let document = list_parts(&PartList {
        bucket: admitted.request.need_bucket()?,
        key,
        upload_id,
        encoding: KeyEncoding::parse(query.get("encoding-type"))?,
        owner: &owner(admitted),
        storage_class: storage_class.as_deref().unwrap_or("STANDARD"),
        marker,
        next_marker: listed.last().filter(|_| truncated).map(|part| part.number),
        max_parts: most.into(),
        checksum: checksum.map(shown),
        parts: listed,
    });
    Ok(reply::xml(StatusCode::OK, document))
}

/// Answers ListMultipartUploads.
///
/// # Errors
/// In S3's terms.
pub async fn uploads(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let query = &admitted.request.query;
    let options = UploadListOptions {
        prefix: query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: query.get("delimiter").filter(|delimiter| !delimiter.is_empty()).map(str::to_owned),
        key_marker: query.get("key-marker").unwrap_or_default().to_owned(),
        upload_id_marker: query.get("upload-id-marker").unwrap_or_default().to_owned(),
        max_uploads: page_size(query, "max-uploads", 1_000)?.clamp(1, 1_000),
    };
    let mut page = backend
        .list_uploads(&bucket.backend_bucket, options.clone())
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    page.uploads.retain(|upload| !hidden::is_hidden(upload.key.as_bytes()));
    page.common_prefixes.retain(|prefix| !hidden::is_hidden(prefix.as_bytes()));
    let peeks = Peeks::new(admitted, &bucket, backend.as_ref());
    let uploads =
        stream::iter(page.uploads).map(|upload| entry_of(&peeks, bucket.encrypts(&upload.key), upload));
    let uploads: Vec<_> = uploads.buffered(RECORDS_AT_ONCE).collect().await;
    let document = list_uploads(&UploadList {
        bucket: admitted.request.need_bucket()?,
        prefix: &options.prefix,
        delimiter: options.delimiter.as_deref(),
        key_marker: &options.key_marker,
        upload_id_marker: &options.upload_id_marker,
        next: page.next.as_ref().map(|(key, id)| (key.as_str(), id.as_str())),
        max_uploads: options.max_uploads.into(),
        encoding: KeyEncoding::parse(query.get("encoding-type"))?,
        owner: &owner(admitted),
        uploads,
        common_prefixes: page.common_prefixes,
    });
    Ok(reply::xml(StatusCode::OK, document))
}

/// An upload as it is listed: what its checksum is to be only its record tells.
async fn entry_of(peeks: &Peeks<'_>, encrypted: bool, upload: BackendUpload) -> UploadEntry {
    let checksum = match encrypted {
        true => peeks.checksum(&upload.key, &upload.upload_id).await,
        false => None,
    };
    UploadEntry {
        initiated: unix_millis(upload.initiated),
        storage_class: upload.storage_class,
        checksum: checksum.map(shown),
        key: upload.key,
        upload_id: upload.upload_id,
    }
}

/// An upload's algorithm, and whether it is for the full object.
fn shown((code, kind): (ChecksumCode, ChecksumType)) -> (Algorithm, bool) {
    (notes::algorithm(code), kind == ChecksumType::FullObject)
}

/// The parts that have a note, after a marker; of several attempts at one, the newest that has.
fn noted(stored: &[BackendPart], notes: &Notes, marker: u16) -> Vec<PartEntry> {
    let mut listed = Vec::new();
    let wanted = stored.iter().filter(|part| part.number != GATEWAY_PART && part.number > marker);
    for part in plain::newest_attempts(wanted.filter(|part| notes.of(part.number, &part.etag).is_some())) {
        if let Some(written) = notes.of(part.number, &part.etag) {
            listed.push(entry(part.number, &part.etag, part.last_modified, &written.note));
        }
    }
    if marker < GATEWAY_PART
        && let Some((etag, written)) = notes.newest(GATEWAY_PART)
    {
        listed.push(entry(GATEWAY_PART, etag, written.at, &written.note));
    }
    listed
}

fn entry(number: u16, etag: &str, at: SystemTime, note: &Note) -> PartEntry {
    PartEntry {
        number,
        modified: unix_millis(at),
        etag: sealgate_envelope::etag::to_client(etag),
        size: note.size,
        checksum: note.checksums.first().and_then(from_format),
    }
}
