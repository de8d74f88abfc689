//! Objects of plain prefixes.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use http::StatusCode;
use sealgate_envelope::etag;

use super::described;
use super::get::{Wanted, answer, still_valid};
use super::head::{described_only, range_span};
use super::sealed::{Changed, keeps_changing};
use crate::access_log;
use crate::backend::{Backend, BackendError, Conditions, GetOptions, GetOutcome, ObjectMeta, StoredRange};
use crate::etags;
use crate::gate::Admitted;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::ByteRange;
use crate::snapshot::Bucket;

/// How often a read begins anew when the object is replaced under it.
const ATTEMPTS: usize = 2;

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
    let conditions = etags::conditions(&admitted.headers, false)?;
    let read = Read { admitted, bucket, backend, key, conditions };
    if let Wanted::Part(number) = wanted {
        return read.part(number).await;
    }
    let range = match wanted {
        Wanted::Whole | Wanted::Part(_) => None,
        Wanted::Range(ByteRange::Closed(from, to)) => Some(StoredRange::Inclusive(from, to)),
        Wanted::Range(ByteRange::From(from)) => Some(StoredRange::From(from)),
        Wanted::Range(ByteRange::Suffix(length)) => Some(StoredRange::Suffix(length)),
    };
    let if_range = admitted.header("if-range").filter(|_| range.is_some());
    for _ in 0..ATTEMPTS {
        if let Ok(outcome) = read.attempt(range, if_range).await? {
            let status = match outcome.range {
                Some(_) => StatusCode::PARTIAL_CONTENT,
                None => StatusCode::OK,
            };
            return read.answer(outcome, status);
        }
    }
    Err(keeps_changing())
}

struct Read<'a> {
    admitted: &'a Admitted,
    bucket: &'a Bucket,
    backend: &'a Rc<dyn Backend>,
    key: &'a str,
    conditions: Conditions,
}

impl Read<'_> {
    /// The range, or the whole object where If-Range names another: storages ignore it, or know it in one of its forms.
    async fn attempt(
        &self,
        range: Option<StoredRange>,
        if_range: Option<&str>,
    ) -> Result<Result<GetOutcome, Changed>, S3Error> {
        let version_id = self.admitted.request.query.get("versionId").map(str::to_owned);
        let options = |range: Option<StoredRange>| GetOptions {
            range,
            conditions: self.conditions.clone(),
            version_id: version_id.clone(),
            // A checksum of the whole object beside a range of it breaks clients.
            checksums: range.is_none() && described::wants_checksum(self.admitted),
            ..GetOptions::default()
        };
        let first = match self.fetch(options(range)).await {
            Ok(outcome) => Ok(outcome),
            Err(error) if error.is("InvalidRange") => {
                // Whether the range counts, and what its client is told, takes the object's ETag and size.
                let unconditional = GetOptions { conditions: Conditions::default(), ..options(None) };
                let meta = self.backend.head(&self.bucket.backend_bucket, self.key, unconditional).await;
                Err(meta.map_err(|error| self.admitted.backend_failed(error))?)
            }
            Err(error) => return Err(self.admitted.backend_failed(error)),
        };
        let seen = first.as_ref().map_or_else(|seen| seen, |outcome| &outcome.meta);
        etags::check_read(&self.admitted.headers, seen, false)?;
        if if_range.is_some_and(|validator| !still_valid(validator, seen, false)) {
            let seen = seen.clone();
            drop(first);
            return self.whole(&seen).await;
        }
        first.map(Ok).map_err(|seen| {
            S3Error::invalid_range(self.admitted.header("range").unwrap_or_default(), seen.size)
        })
    }

    /// A part as the storage knows it.
    async fn part(&self, number: u16) -> Result<Reply, S3Error> {
        let options = GetOptions {
            conditions: self.conditions.clone(),
            version_id: self.admitted.request.query.get("versionId").map(str::to_owned),
            part: Some(number),
            ..GetOptions::default()
        };
        let outcome = self.fetch(options).await;
        let outcome = outcome.map_err(|error| failed(self.admitted, error, Some(number)))?;
        etags::check_read(&self.admitted.headers, &outcome.meta, false)?;
        self.answer(outcome, StatusCode::PARTIAL_CONTENT)
    }

    /// All of the object that was looked at, and of no other.
    async fn whole(&self, seen: &ObjectMeta) -> Result<Result<GetOutcome, Changed>, S3Error> {
        let options = GetOptions {
            conditions: Conditions {
                if_match: Some(format!("\"{}\"", etag::without_quotes(&seen.etag))),
                ..Conditions::default()
            },
            version_id: seen.version_id.clone(),
            checksums: described::wants_checksum(self.admitted),
            ..GetOptions::default()
        };
        match self.fetch(options).await {
            // Not every server keeps to the condition.
            Ok(outcome) if outcome.meta.etag == seen.etag => Ok(Ok(outcome)),
            Ok(_) => Ok(Err(Changed)),
            Err(error) if error.is("PreconditionFailed") => Ok(Err(Changed)),
            Err(error) => Err(self.admitted.backend_failed(error)),
        }
    }

    async fn fetch(&self, options: GetOptions) -> Result<GetOutcome, BackendError> {
        self.backend.get(&self.bucket.backend_bucket, self.key, options).await
    }

    fn answer(&self, outcome: GetOutcome, status: StatusCode) -> Result<Reply, S3Error> {
        access_log::note_sizes(outcome.meta.size, outcome.meta.size);
        let mut headers = described::plain(self.admitted, &outcome.meta)?;
        if let Some((from, to, size)) = outcome.range {
            reply::set(&mut headers, "content-range", &format!("bytes {from}-{to}/{size}"));
        }
        let metrics = Arc::clone(&self.admitted.worker.node.metrics);
        let pieces = outcome.body.map(move |item| match item {
            Ok(piece) => {
                metrics.sent(piece.len() as u64);
                Ok(piece)
            }
            Err(error) => Err(std::io::Error::other(error.to_string()).into()),
        });
        Ok(answer(status, headers, ReplyBody::stream(Box::pin(pieces), outcome.length), outcome.length))
    }
}

/// Answers HeadObject.
///
/// # Errors
/// In S3's terms.
pub async fn head(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
    part: Option<u16>,
) -> Result<Reply, S3Error> {
    let range = ByteRange::from_headers(&admitted.headers).filter(|_| part.is_none());
    let options = GetOptions {
        conditions: etags::conditions(&admitted.headers, false)?,
        version_id: admitted.request.query.get("versionId").map(str::to_owned),
        part,
        checksums: range.is_none() && part.is_none() && described::wants_checksum(admitted),
        ..GetOptions::default()
    };
    let meta = backend.head(&bucket.backend_bucket, key, options).await;
    let meta = meta.map_err(|error| failed(admitted, error, part))?;
    etags::check_read(&admitted.headers, &meta, false)?;
    let mut headers = described::plain(admitted, &meta)?;
    if let Some(part) = meta.part {
        if let Some((from, to, size)) = part.range {
            reply::set(&mut headers, "content-range", &format!("bytes {from}-{to}/{size}"));
        }
        return Ok(answer(StatusCode::PARTIAL_CONTENT, headers, ReplyBody::Empty, part.length));
    }
    let span = range.map(|range| range_span(admitted, range, meta.size)).transpose()?;
    Ok(described_only(headers, span, meta.size))
}

/// A storage's failure, which of a part may be that there is none of that number.
fn failed(admitted: &Admitted, error: BackendError, part: Option<u16>) -> S3Error {
    // HEAD says it by its status alone.
    let none = ["InvalidPartNumber", "InvalidRange"].iter().any(|code| error.is(code));
    match part.is_some() && none {
        true => S3Error::new(Code::InvalidPartNumber),
        false => admitted.backend_failed(error),
    }
}
