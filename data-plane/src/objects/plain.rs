//! Objects of plain prefixes.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use http::StatusCode;

use super::described;
use super::get::{Wanted, answer};
use crate::access_log;
use crate::backend::{Backend, GetOptions, StoredRange};
use crate::etags;
use crate::gate::Admitted;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::S3Error;
use crate::s3::headers::ByteRange;
use crate::snapshot::Bucket;

/// Answers GetObject with the backend's bytes as they are.
///
/// # Errors
/// In S3's terms.
pub async fn get(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
    wanted: Wanted,
) -> Result<Reply, S3Error> {
    let range = match wanted {
        Wanted::Whole => None,
        Wanted::Range(ByteRange::Closed(from, to)) => Some(StoredRange::Inclusive(from, to)),
        Wanted::Range(ByteRange::From(from)) => Some(StoredRange::From(from)),
        Wanted::Range(ByteRange::Suffix(length)) => Some(StoredRange::Suffix(length)),
        Wanted::Part(_) => return Err(no_part_numbers()),
    };
    let version_id = admitted.request.query.get("versionId").map(str::to_owned);
    let options = GetOptions {
        range,
        conditions: etags::conditions(&admitted.headers, false)?,
        version_id: version_id.clone(),
    };
    let outcome = match backend.get(&bucket.backend_bucket, key, options).await {
        Ok(outcome) => outcome,
        Err(error) if error.is("InvalidRange") => {
            let meta = backend
                .head(&bucket.backend_bucket, key, GetOptions { version_id, ..GetOptions::default() })
                .await
                .map_err(|error| admitted.backend_failed(error))?;
            return Err(S3Error::invalid_range(admitted.header("range").unwrap_or_default(), meta.size));
        }
        Err(error) => return Err(admitted.backend_failed(error)),
    };
    access_log::note_sizes(outcome.meta.size, outcome.meta.size);
    etags::check_read(&admitted.headers, &outcome.meta, false)?;
    let mut headers = described::plain(admitted, &outcome.meta)?;
    let status = match outcome.range {
        Some((from, to, size)) => {
            reply::set(&mut headers, "content-range", &format!("bytes {from}-{to}/{size}"));
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    let metrics = Arc::clone(&admitted.worker.node.metrics);
    let pieces = outcome.body.map(move |item| match item {
        Ok(piece) => {
            metrics.sent(piece.len() as u64);
            Ok(piece)
        }
        Err(error) => Err(std::io::Error::other(error.to_string()).into()),
    });
    Ok(answer(status, headers, ReplyBody::stream(Box::pin(pieces), outcome.length), outcome.length))
}

/// What reads by part number are answered: whether an object has parts is not known here.
pub fn no_part_numbers() -> S3Error {
    S3Error::not_implemented("partNumber in plain prefixes")
}
