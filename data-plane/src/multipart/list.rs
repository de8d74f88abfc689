//! ListParts, ListMultipartUploads and AbortMultipartUpload.

use http::StatusCode;
use sealgate_envelope::hidden;

use super::notes::{self, Notes, from_format};
use super::part::GATEWAY_PART;
use super::uploads::load;
use crate::backend::UploadListOptions;
use crate::etags;
use crate::gate::{Admitted, no_content};
use crate::listing::url_encoding;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::multipart as xml;

/// Answers AbortMultipartUpload.
///
/// # Errors
/// In S3's terms.
pub async fn abort(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    // Aborting works without a record, and without its key.
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
    let marker: u16 = number(admitted, "part-number-marker", 0)?.try_into().unwrap_or(u16::MAX);
    let most = number(admitted, "max-parts", 1_000)?.min(1_000);
    let failed = |error| admitted.backend_failed(error);
    let stored =
        notes::all_parts(&backend, &bucket.backend_bucket, key, upload_id).await.map_err(failed)?;
    let upload = load(admitted, &bucket, &backend, key, upload_id).await?;
    let notes = Notes::read(&backend, &bucket.work_bucket, &upload).await.map_err(failed)?;
    let mut listed: Vec<xml::Part> = Vec::new();
    for part in stored.iter().filter(|part| part.number != GATEWAY_PART && part.number > marker) {
        if let Some(written) = notes.of(part.number, &part.etag) {
            listed.push(xml::Part {
                number: part.number,
                last_modified: part.last_modified,
                etag: etags::to_client_quoted(&part.etag),
                size: written.note.size,
                checksums: written.note.checksums.iter().filter_map(from_format).collect(),
            });
        }
    }
    if marker < GATEWAY_PART && let Some((etag, written)) = notes.newest(GATEWAY_PART) {
        listed.push(xml::Part {
            number: GATEWAY_PART,
            last_modified: written.at,
            etag: etags::to_client_quoted(etag),
            size: written.note.size,
            checksums: written.note.checksums.iter().filter_map(from_format).collect(),
        });
    }
    let truncated = listed.len() > most as usize;
    listed.truncate(most as usize);
    let document = xml::render_parts(&xml::Parts {
        bucket: admitted.request.need_bucket()?,
        key,
        upload_id,
        marker,
        next_marker: listed.last().map(|part| part.number),
        max_parts: most,
        truncated,
        checksum: upload
            .checksum
            .map(|(code, kind)| (super::notes::algorithm(code), super::create::type_name(kind))),
        parts: &listed,
        url: url_encoding(admitted)?,
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
        max_uploads: number(admitted, "max-uploads", 1_000)?.clamp(1, 1_000),
    };
    let mut page = backend
        .list_uploads(&bucket.backend_bucket, options.clone())
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    page.uploads.retain(|upload| !hidden::is_hidden(upload.key.as_bytes()));
    page.common_prefixes.retain(|prefix| !hidden::is_hidden(prefix.as_bytes()));
    let document = xml::render_uploads(&xml::Uploads {
        bucket: admitted.request.need_bucket()?,
        prefix: &options.prefix,
        delimiter: options.delimiter.as_deref(),
        key_marker: &options.key_marker,
        upload_id_marker: &options.upload_id_marker,
        next: page.next.as_ref().map(|(key, id)| (key.as_str(), id.as_str())),
        max_uploads: options.max_uploads,
        uploads: &page.uploads,
        common_prefixes: &page.common_prefixes,
        url: url_encoding(admitted)?,
    });
    Ok(reply::xml(StatusCode::OK, document))
}

fn number(admitted: &Admitted, name: &str, default: u32) -> Result<u32, S3Error> {
    match admitted.request.query.get(name) {
        None | Some("") => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            S3Error::with(Code::InvalidArgument, format!("Provided {name} not an integer or within integer range"))
        }),
    }
}
