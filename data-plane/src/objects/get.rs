//! GetObject: whole objects and ranges, in as few backend requests as the object allows, every byte proved.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use sealgate_envelope::Kind;

use super::ranges::{guess, resolve};
use super::sealed::{self, Changed, ENVELOPE_NAME, Sealed};
use super::{described, plans};
use crate::backend::{Backend, BackendError, Conditions, GetOptions, GetOutcome, ObjectMeta, StoredRange};
use crate::etags;
use crate::gate::Admitted;
use crate::pipeline::open::{OpenError, Plaintext, Plan, open};
use crate::pipeline::tables::Table;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::ByteRange;
use crate::snapshot::Bucket;

/// How often a read begins anew when the object is replaced under it.
const ATTEMPTS: usize = 2;

/// A first answer that has this many more bytes at its start than are wanted is used; beyond, the exact range is asked
/// for.
const MAX_DISCARD: u64 = 256 << 10;

/// What of an object the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// Bytes.
    Range(ByteRange),
    /// A part by its number.
    Part(u16),
}

/// Answers GetObject.
///
/// # Errors
/// In S3's terms; ObjectIntegrityError for whatever is not genuine.
pub async fn get(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let wanted = wanted(admitted)?;
    if !bucket.encrypts(key) {
        return super::plain::get(admitted, &bucket, &backend, key, wanted).await;
    }
    let conditions = etags::conditions(&admitted.headers, true)?;
    let read = Read { admitted, bucket: &bucket, backend: &backend, key, conditions };
    let if_range = admitted.header("if-range").filter(|_| matches!(wanted, Wanted::Range(_)));
    for _ in 0..ATTEMPTS {
        match read.attempt(wanted, if_range).await? {
            Ok(reply) => return Ok(reply),
            // A table that was read meanwhile is the old object's: it would only cost the next attempt.
            Err(Changed) => admitted.worker.node.tables.remove(bucket.id, key),
        }
    }
    Err(sealed::keeps_changing())
}

fn wanted(admitted: &Admitted) -> Result<Wanted, S3Error> {
    let range = ByteRange::from_headers(&admitted.headers);
    match (admitted.request.query.get("partNumber"), range) {
        (Some(_), Some(_)) => Err(S3Error::with(
            Code::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(number), None) => {
            number.parse().ok().filter(|number| (1..=10_000).contains(number)).map(Wanted::Part).ok_or_else(
                || {
                    S3Error::invalid_argument(
                        "partNumber",
                        number,
                        "Part number must be an integer between 1 and 10000, inclusive.",
                    )
                },
            )
        }
        (None, Some(range)) => Ok(Wanted::Range(range)),
        (None, None) => Ok(Wanted::Whole),
    }
}

struct Read<'a> {
    admitted: &'a Admitted,
    bucket: &'a Arc<Bucket>,
    backend: &'a Rc<dyn Backend>,
    key: &'a str,
    conditions: Conditions,
}

impl Read<'_> {
    async fn attempt(
        &self,
        wanted: Wanted,
        if_range: Option<&str>,
    ) -> Result<Result<Reply, Changed>, S3Error> {
        let known = self.known_range(wanted);
        let stored = known.or_else(|| self.guessed_range(wanted));
        let first = match self.fetch(stored, None).await {
            Err(error) if error.is("InvalidRange") => {
                if known.is_some() {
                    // The table was another object's: without it the range is asked for anew.
                    return Ok(Err(Changed));
                }
                let suffix = matches!(wanted, Wanted::Range(ByteRange::Suffix(1..)));
                if if_range.is_none() && !suffix {
                    return self.unsatisfiable(wanted).await;
                }
                // Whether the range counts at all is only known with the object's ETag; of a suffix, with its size.
                self.fetch(None, None).await
            }
            first => first,
        };
        let first = first.map_err(|error| self.admitted.backend_failed(error))?;
        etags::check_read(&self.admitted.headers, &first.meta, true)?;
        let sealed =
            sealed::open(self.admitted, self.bucket, self.backend.as_ref(), self.key, &first.meta).await?;
        let wanted = match if_range {
            Some(validator) if !still_valid(validator, &first.meta, true) => Wanted::Whole,
            _ => wanted,
        };
        let needs_table = sealed.kind == Kind::Multipart
            || (!matches!(wanted, Wanted::Range(_))
                && described::wants_checksum(self.admitted)
                && sealed.keys.is_some()
                && sealed.stored_len > 0
                && sealed.checksum_may_be_in_trailer());
        if known.is_some() && sealed.kind == Kind::Single {
            // Nothing will ask for the old object's table any more: it would misplace every range.
            self.admitted.worker.node.tables.remove(self.bucket.id, self.key);
        }
        let (first, within) = match needs_table {
            true => sealed::table_within(self.admitted, first, &sealed).await?,
            false => (first, None),
        };
        let table = if needs_table && within.is_none() {
            match sealed::table(self.admitted, self.bucket, self.backend, self.key, &first.meta, &sealed)
                .await?
            {
                Ok(table) => Some(table),
                Err(Changed) => return Ok(Err(Changed)),
            }
        } else {
            within
        };
        match self.span(wanted, &sealed, table.as_deref())? {
            None if wanted != Wanted::Whole && sealed.plaintext_len > 0 => {
                // An empty part of an object that is not: the table, which is open, is its proof.
                let mut headers = described::encrypted(self.admitted, &first.meta, &sealed)?;
                let status = self.part_headers(wanted, table.as_deref(), &sealed, None, &mut headers);
                Ok(Ok(answer(status, headers, ReplyBody::Empty, 0)))
            }
            None => self.whole(first, &sealed, table, wanted).await,
            Some((start, end)) => self.part_of(first, &sealed, table.as_deref(), wanted, start, end).await,
        }
    }

    /// The exact stored range of the first request, where the object's table is known and the range lies in it.
    fn known_range(&self, wanted: Wanted) -> Option<StoredRange> {
        let Wanted::Range(range) = wanted else { return None };
        let table = self.admitted.worker.node.tables.get(self.bucket.id, self.key)?;
        let spans = table.trailer.table();
        let (start, end) = resolve(range, spans.plaintext_len())?;
        let pieces = spans.pieces(start, end)?;
        let stored = pieces.first()?.chunks.stored.start..pieces.last()?.chunks.stored.end;
        Some(StoredRange::Inclusive(stored.start, stored.end - 1))
    }

    /// The stored range that is right for a single PUT.
    fn guessed_range(&self, wanted: Wanted) -> Option<StoredRange> {
        let Wanted::Range(range) = wanted else { return None };
        match guess(range) {
            StoredRange::Suffix(_) if !self.backend.capabilities().suffix_ranges => None,
            guess => Some(guess),
        }
    }

    async fn fetch(
        &self,
        range: Option<StoredRange>,
        same: Option<&GetOutcome>,
    ) -> Result<GetOutcome, BackendError> {
        let options = match same {
            None => GetOptions {
                range,
                conditions: self.conditions.clone(),
                version_id: self.admitted.request.query.get("versionId").map(str::to_owned),
                ..GetOptions::default()
            },
            Some(same) => GetOptions {
                range,
                conditions: Conditions {
                    if_match: Some(format!("\"{}\"", same.meta.etag)),
                    ..Conditions::default()
                },
                version_id: same.meta.version_id.clone(),
                ..GetOptions::default()
            },
        };
        self.backend.get(&self.bucket.backend_bucket, self.key, options).await
    }

    /// First and last plaintext byte; none for the whole object.
    fn span(
        &self,
        wanted: Wanted,
        sealed: &Sealed,
        table: Option<&Table>,
    ) -> Result<Option<(u64, u64)>, S3Error> {
        let size = sealed.plaintext_len;
        match wanted {
            Wanted::Whole => Ok(None),
            Wanted::Range(range) if range.is_all_of_nothing(size) => Ok(None),
            Wanted::Range(range) => match resolve(range, size) {
                Some(span) => Ok(Some(span)),
                None => Err(S3Error::invalid_range(self.admitted.header("range").unwrap_or_default(), size)),
            },
            Wanted::Part(number) => match part_span(number, table, size) {
                Some(span) if span.start < span.end => Ok(Some((span.start, span.end - 1))),
                Some(_) => Ok(None),
                None => Err(S3Error::new(Code::InvalidPartNumber)),
            },
        }
    }

    async fn whole(
        &self,
        first: GetOutcome,
        sealed: &Sealed,
        table: Option<Arc<Table>>,
        wanted: Wanted,
    ) -> Result<Result<Reply, Changed>, S3Error> {
        let first = if first.range.is_none() {
            first
        } else {
            match self.again(None, &first, sealed).await? {
                Ok(answer) => answer,
                Err(Changed) => return Ok(Err(Changed)),
            }
        };
        let mut headers = described::encrypted(self.admitted, &first.meta, sealed)?;
        let status = self.part_headers(wanted, table.as_deref(), sealed, None, &mut headers);
        let Some(keys) = &sealed.keys else { return Ok(Ok(answer(status, headers, ReplyBody::Empty, 0))) };
        if sealed.stored_len == 0 {
            // A marker: its envelope is its proof.
            return Ok(Ok(answer(status, headers, ReplyBody::Empty, 0)));
        }
        let plan = plans::whole(keys, sealed, table).map_err(|error| self.admitted.not_genuine(error))?;
        let plaintext = open(first.body, plan, Some(Arc::clone(&self.admitted.worker.node.metrics)));
        let body = self.begin(plaintext, sealed.plaintext_len).await?;
        Ok(Ok(answer(status, headers, body, sealed.plaintext_len)))
    }

    async fn part_of(
        &self,
        first: GetOutcome,
        sealed: &Sealed,
        table: Option<&Table>,
        wanted: Wanted,
        start: u64,
        end: u64,
    ) -> Result<Result<Reply, Changed>, S3Error> {
        let Some(keys) = &sealed.keys else { return Err(self.admitted.not_genuine("a marker has no bytes")) };
        let (needed, plan) = plans::Spans::of(sealed, table)
            .and_then(|spans| plans::range(keys, spans.table(), start, end))
            .map_err(|error| self.admitted.not_genuine(error))?;
        let (from, to) = match first.range {
            Some((from, to, _)) => (from, to),
            None => (0, sealed.stored_len.saturating_sub(1)),
        };
        let usable = from <= needed.start && needed.start - from <= MAX_DISCARD && to + 1 >= needed.end;
        let (source, from) = if usable {
            (first, from)
        } else {
            let exact = StoredRange::Inclusive(needed.start, needed.end - 1);
            match self.again(Some(exact), &first, sealed).await? {
                Ok(answer) => (answer, needed.start),
                Err(Changed) => return Ok(Err(Changed)),
            }
        };
        let length = end - start + 1;
        let mut headers = described::encrypted(self.admitted, &source.meta, sealed)?;
        let status = self.part_headers(wanted, table, sealed, Some((start, end)), &mut headers);
        let plan = Plan { discard: needed.start - from, ..plan };
        let plaintext = open(source.body, plan, Some(Arc::clone(&self.admitted.worker.node.metrics)));
        let body = self.begin(plaintext, length).await?;
        Ok(Ok(answer(status, headers, body, length)))
    }

    /// A second request for the same object.
    async fn again(
        &self,
        range: Option<StoredRange>,
        first: &GetOutcome,
        sealed: &Sealed,
    ) -> Result<Result<GetOutcome, Changed>, S3Error> {
        let answer = match self.fetch(range, Some(first)).await {
            Ok(answer) => answer,
            Err(error) if error.is("PreconditionFailed") => return Ok(Err(Changed)),
            Err(error) => return Err(self.admitted.backend_failed(error)),
        };
        if answer.meta.metadata.get(ENVELOPE_NAME) != Some(&sealed.header) {
            return Ok(Err(Changed));
        }
        let told = answer.range.map_or((0, answer.length.saturating_sub(1)), |(from, to, _)| (from, to));
        let asked = match range {
            Some(StoredRange::Inclusive(from, to)) => (from, to),
            _ => (0, sealed.stored_len.saturating_sub(1)),
        };
        if answer.meta.size != sealed.stored_len || told != asked {
            return Err(self
                .admitted
                .not_genuine("two answers give two sizes, or other bytes than were asked for"));
        }
        Ok(Ok(answer))
    }

    /// The first plaintext is proved before the status line goes out, so that a small object is right or an error.
    async fn begin(&self, mut plaintext: Plaintext, length: u64) -> Result<ReplyBody, S3Error> {
        match plaintext.next().await {
            None if length == 0 => Ok(ReplyBody::Empty),
            None => Err(self.admitted.not_genuine("it ends early")),
            Some(Ok(piece)) if piece.len() as u64 == length => {
                // Let the stream come to its end, so that its connection can be used again.
                match plaintext.next().await {
                    None => Ok(ReplyBody::Full(Some(piece))),
                    Some(Ok(_)) => Err(self.admitted.not_genuine("it has more bytes than it should")),
                    Some(Err(error)) => Err(self.open_failed(error)),
                }
            }
            Some(Ok(piece)) => {
                let (key, metrics) = (self.key.to_owned(), Arc::clone(&self.admitted.worker.node.metrics));
                let label = Arc::clone(&self.bucket.label);
                let rest = plaintext.map(move |item| {
                    item.map_err(|error| {
                        tracing::error!(key, %error, "a download is aborted");
                        if matches!(error, OpenError::Integrity(_)) {
                            metrics.integrity_failure(Some(&label));
                        }
                        std::io::Error::other(error.to_string()).into()
                    })
                });
                let pieces = stream::once(async move { Ok(piece) }).chain(rest);
                Ok(ReplyBody::stream(Box::pin(pieces), length))
            }
            Some(Err(error)) => Err(self.open_failed(error)),
        }
    }

    fn open_failed(&self, error: OpenError) -> S3Error {
        match error {
            OpenError::Integrity(reason) => self.admitted.not_genuine(reason),
            OpenError::Stream(error) => self.admitted.backend_failed(crate::pipeline::stream_error(error)),
        }
    }

    /// Checksums of what is answered, Content-Range and the number of parts, and the status that goes with them.
    fn part_headers(
        &self,
        wanted: Wanted,
        table: Option<&Table>,
        sealed: &Sealed,
        span: Option<(u64, u64)>,
        headers: &mut HeaderMap,
    ) -> StatusCode {
        // A checksum of the whole object beside a range of it breaks clients.
        if !matches!(wanted, Wanted::Range(_))
            && described::wants_checksum(self.admitted)
            && !described::set_known_checksum(sealed, headers)
            && let Some(table) = table
        {
            let part = if let Wanted::Part(number) = wanted { Some(number) } else { None };
            described::set_trailer_checksums(&table.trailer, part, headers);
        }
        if let (Wanted::Part(_), Some(table)) = (wanted, table) {
            reply::set(headers, "x-amz-mp-parts-count", &table.trailer.entries().len().to_string());
        }
        match span {
            Some((start, end)) => {
                let size = sealed.plaintext_len;
                reply::set(headers, "content-range", &format!("bytes {start}-{end}/{size}"));
                StatusCode::PARTIAL_CONTENT
            }
            None if matches!(wanted, Wanted::Part(_)) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::OK,
        }
    }

    /// The backend's 416 counts stored bytes: the client is told the plaintext's.
    async fn unsatisfiable(&self, wanted: Wanted) -> Result<Result<Reply, Changed>, S3Error> {
        let options = GetOptions {
            version_id: self.admitted.request.query.get("versionId").map(str::to_owned),
            ..GetOptions::default()
        };
        let meta = self
            .backend
            .head(&self.bucket.backend_bucket, self.key, options)
            .await
            .map_err(|error| self.admitted.backend_failed(error))?;
        // Not every server holds them before it looks at the range.
        etags::check_read(&self.admitted.headers, &meta, true)?;
        let sealed = sealed::open(self.admitted, self.bucket, self.backend.as_ref(), self.key, &meta).await?;
        match self.span(wanted, &sealed, None) {
            // There is such a range after all: it is another object's.
            Ok(_) => Ok(Err(Changed)),
            Err(refused) => Err(refused),
        }
    }
}

/// A part's plaintext. An object that was not uploaded in parts has one, number 1: itself.
pub fn part_span(number: u16, table: Option<&Table>, size: u64) -> Option<std::ops::Range<u64>> {
    match table.filter(|table| !table.trailer.entries().is_empty()) {
        Some(table) => table
            .trailer
            .table()
            .parts()
            .iter()
            .find(|part| part.number == number)
            .map(|part| part.plain.clone()),
        None => (number == 1).then_some(0..size),
    }
}

/// If-Range: an ETag that is still the object's, or a date that it was not modified after.
pub fn still_valid(validator: &str, seen: &ObjectMeta, encrypted: bool) -> bool {
    if validator.contains('"') {
        return validator == etags::shown(&seen.etag, encrypted);
    }
    httpdate::parse_http_date(validator).is_ok_and(|date| seen.last_modified <= date)
}

/// An answer whose body has a known length.
pub fn answer(status: StatusCode, headers: HeaderMap, body: ReplyBody, length: u64) -> Reply {
    let mut reply = reply::with(status, body);
    *reply.headers_mut() = headers;
    reply::set(reply.headers_mut(), "content-length", &length.to_string());
    reply
}
