//! Objects of plain prefixes.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use http::StatusCode;
use sealgate_envelope::etag;

use super::described;
use super::get::{Wanted, answer, still_valid};
use super::sealed::{Changed, keeps_changing};
use crate::access_log;
use crate::backend::{Backend, BackendError, Conditions, GetOptions, GetOutcome, ObjectMeta, StoredRange};
use crate::etags;
use crate::gate::Admitted;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::S3Error;
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
    let range = match wanted {
        Wanted::Whole => None,
        Wanted::Range(ByteRange::Closed(from, to)) => Some(StoredRange::Inclusive(from, to)),
        Wanted::Range(ByteRange::From(from)) => Some(StoredRange::From(from)),
        Wanted::Range(ByteRange::Suffix(length)) => Some(StoredRange::Suffix(length)),
        Wanted::Part(_) => return Err(no_part_numbers()),
    };
    let conditions = etags::conditions(&admitted.headers, false)?;
    let read = Read { admitted, bucket, backend, key, conditions };
    let if_range = admitted.header("if-range").filter(|_| range.is_some());
    for _ in 0..ATTEMPTS {
        if let Ok(outcome) = read.attempt(range, if_range).await? {
            return read.answer(outcome);
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
        let options = |range| GetOptions {
            range,
            conditions: self.conditions.clone(),
            version_id: version_id.clone(),
        };
        let first = match self.fetch(options(range)).await {
            Ok(outcome) => Ok(outcome),
            Err(error) if error.is("InvalidRange") => {
                // Nothing of its conditions is left to check: they come before the range.
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

    /// All of the object that was looked at, and of no other.
    async fn whole(&self, seen: &ObjectMeta) -> Result<Result<GetOutcome, Changed>, S3Error> {
        let options = GetOptions {
            range: None,
            conditions: Conditions {
                if_match: Some(format!("\"{}\"", etag::without_quotes(&seen.etag))),
                ..Conditions::default()
            },
            version_id: seen.version_id.clone(),
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

    fn answer(&self, outcome: GetOutcome) -> Result<Reply, S3Error> {
        access_log::note_sizes(outcome.meta.size, outcome.meta.size);
        let mut headers = described::plain(self.admitted, &outcome.meta)?;
        let status = match outcome.range {
            Some((from, to, size)) => {
                reply::set(&mut headers, "content-range", &format!("bytes {from}-{to}/{size}"));
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
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

/// What reads by part number are answered: whether an object has parts is not known here.
pub fn no_part_numbers() -> S3Error {
    S3Error::not_implemented("partNumber in plain prefixes")
}
