//! An object whose own key is known to somebody: read, proved, and sealed anew under a key of its own, in the place of the old one.
//!
//! The write is held to the ETag that was read. Its bytes are others, and so is its ETag. An object that was uploaded in parts keeps
//! their numbers, sizes and checksums, so that whoever reads it part by part finds the same parts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use sealgate_envelope::metadata::Metadata;
use sealgate_envelope::size::{self, chunks_size};
use sealgate_envelope::{
    Envelope, Kind, ObjectKeys, PartEntry, PartSealer, Recovery, Trailer, TrailerPlain, etag,
};

use super::object::{
    ARCHIVED, LOCKED, Looked, NOT_GENUINE, OLDER, Opened, TOO_LARGE, Trouble, UNCONDITIONAL, trouble,
};
use super::tally::{Done, Stored};
use super::write;
use crate::backend::{BackendError, GetOptions, PutOptions, PutOutcome, StoredRange, Upload};
use crate::body::{Algorithm, BodyPlan};
use crate::keys::NodeKey;
use crate::landings::Landing;
use crate::large::Large;
use crate::multipart::notes::from_format;
use crate::multipart::part::GATEWAY_PART;
use crate::objects::plans;
use crate::objects::put::{NewBody, NewObject, sealed_metadata};
use crate::objects::sealed::Sealed;
use crate::pipeline::open::{OpenError, open};
use crate::pipeline::seal::{Outcome, seal};
use crate::pipeline::source::{Source, Stored as Plaintext};
use crate::pipeline::tables::Table;
use crate::refusal::backend_failed;
use crate::s3::error::{Code, S3Error};

/// What a write came to.
type Written = Result<PutOutcome, BackendError>;

/// Encrypts an object anew.
///
/// # Errors
/// What keeps all of the work from going on.
pub async fn object(looked: &Looked<'_>) -> Result<Done, Trouble> {
    // Before it is opened: what cannot be replaced need not be read.
    for (holds, why) in
        [(looked.older.is_some(), OLDER), (looked.is_locked(), LOCKED), (looked.is_archived(), ARCHIVED)]
    {
        if holds {
            return Ok(looked.left(why));
        }
    }
    let Some(Opened { keys, metadata }) = looked.open().await? else { return Ok(looked.left(NOT_GENUINE)) };
    let options = match write::options(looked, &metadata, BTreeMap::new()).await? {
        Ok(options) => options,
        Err(done) => return Ok(done),
    };
    match looked.is_another_marker().await {
        Ok(false) => {}
        Ok(true) => return Ok(Done::Changed),
        Err(error) => return failed(looked, error),
    }
    let marker = looked.is_marker();
    let plaintext_len = if marker { Some(0) } else { size::plaintext_size(looked.meta.size) };
    let told = looked.envelope.plaintext_len();
    let Some(plaintext_len) = plaintext_len.filter(|found| told.is_none_or(|told| told == *found)) else {
        return Ok(looked.left(NOT_GENUINE));
    };
    let keys = Arc::new(keys);
    let trailer = match marker {
        true => None,
        false => match write::table(looked, &keys).await {
            Ok(trailer) => Some(trailer),
            Err(error) => return failed(looked, error),
        },
    };
    let sealed = Sealed {
        kind: looked.envelope.kind(),
        keys: Some(keys),
        metadata,
        plaintext_len,
        stored_len: looked.meta.size,
        header: looked.envelope.to_header(),
    };
    let anew = Anew { looked, sealed, trailer, active: looked.job.active().await? };
    let written = match anew.sealed.kind {
        Kind::Single => anew.single(options).await?,
        Kind::Multipart => anew.in_parts(options).await?,
    };
    let written = match written {
        Ok(written) => written,
        Err(done) => return Ok(done),
    };
    match written {
        Ok(written) => {
            let stored = Stored {
                moved: looked.meta.size.saturating_mul(2),
                etag_changed: written.etag != looked.meta.etag,
            };
            write::replaced(looked, &written, Done::Reencrypted(stored)).await
        }
        Err(error) => failed(looked, error),
    }
}

/// An object on its way to a new key.
struct Anew<'a> {
    looked: &'a Looked<'a>,
    sealed: Sealed,
    /// None of a marker.
    trailer: Option<Trailer>,
    active: Arc<NodeKey>,
}

impl Anew<'_> {
    async fn single(&self, mut options: PutOptions) -> Result<Result<Written, Done>, Trouble> {
        let (looked, job) = (self.looked, self.looked.job);
        let (capabilities, length) = (job.backend.capabilities(), self.sealed.plaintext_len);
        // A larger one goes as an upload of parts: MinIO locks an object that a PUT with a condition writes, also against reading.
        let large = looked.meta.size > write::AT_ONCE.min(capabilities.max_put);
        if !(if large { capabilities.conditional_complete } else { capabilities.conditional_put }) {
            return Ok(Err(looked.left(UNCONDITIONAL)));
        }
        let metadata = self.sealed.metadata.clone();
        let known = metadata.keys().any(|name| Algorithm::from_header(name).is_some());
        let wanted = self.trailer.iter().flat_map(Trailer::checksums).next();
        let wanted = wanted.and_then(|full| from_format(&full.checksum)).filter(|_| !known);
        let mut plan = BodyPlan::copied(length);
        if let Some(checksum) = wanted {
            plan = plan.compute(checksum.algorithm());
        }
        let plaintext = match self.whole().await {
            Ok(plaintext) => plaintext,
            Err(error) => return Ok(Ok(Err(error))),
        };
        let body =
            NewBody { source: Source::stored(plaintext, plan), length, metadata, known_checksum: known };
        let object = NewObject { bucket: &job.bucket, key: looked.key, ik: &self.active };
        let outcome = Outcome::new(&job.node, &job.bucket);
        let sealed = object.seal(body, job.backend.as_ref(), looked.meta.size, outcome.clone());
        let Ok((user, upload)) = sealed else { return Ok(Err(looked.left(TOO_LARGE))) };
        options.metadata = looked.beside(user);
        let Some(_write) = job.node.writes.enter(job.bucket.id) else {
            return Err(Trouble("the bucket takes no writes now".to_owned()));
        };
        let bucket = &job.bucket.backend_bucket;
        let written = match large {
            false => job.backend.put(bucket, looked.key, options, upload).await,
            true => {
                let (backend, key, size) = (job.backend.as_ref(), looked.key, looked.meta.size);
                Large { backend, bucket, key, size }.put(options, upload.stream).await
            }
        };
        // The landing is over with the storage's answer.
        drop(outcome.take());
        Ok(Ok(written))
    }

    /// All of the plaintext, each chunk when it is proved, the last when the trailer is.
    async fn whole(&self) -> Result<Plaintext, BackendError> {
        let Some((keys, trailer)) = self.sealed.keys.as_ref().zip(self.trailer.as_ref()) else {
            return Ok(Box::pin(stream::empty()));
        };
        let table =
            Table { object: keys.object_id(), etag: self.looked.meta.etag.clone(), trailer: trailer.clone() };
        let table = Some(Arc::new(table)).filter(|_| self.sealed.kind == Kind::Multipart);
        let plan = plans::whole(keys, &self.sealed, table).map_err(|error| not_genuine(&error))?;
        let mut body = self.fetch(None).await?;
        if self.looked.meta.size <= write::AT_ONCE {
            let limit = usize::try_from(self.looked.meta.size).unwrap_or(usize::MAX);
            body = crate::pipeline::upload(crate::pipeline::collect(body, limit).await?).stream;
        }
        Ok(self.told(open(body, plan, None)))
    }

    /// The stored bytes of the very object that was looked at.
    async fn fetch(&self, range: Option<(u64, u64)>) -> Result<crate::backend::ByteStream, BackendError> {
        let meta = &self.looked.meta;
        let options = GetOptions {
            range: range.map(|(first, last)| StoredRange::Inclusive(first, last)),
            conditions: crate::backend::Conditions {
                if_match: Some(format!("\"{}\"", meta.etag)),
                ..crate::backend::Conditions::default()
            },
            version_id: meta.version_id.clone(),
            ..GetOptions::default()
        };
        let job = self.looked.job;
        let answer = job.backend.get(&job.bucket.backend_bucket, self.looked.key, options).await?;
        let told = answer.range.map(|(first, last, _)| (first, last));
        let same = answer.meta.etag == meta.etag && answer.meta.metadata == meta.metadata;
        match same && told == range {
            true => Ok(answer.body),
            false => {
                Err(BackendError::s3(412, "PreconditionFailed", "another object was read than was looked at"))
            }
        }
    }

    fn told(&self, plaintext: crate::pipeline::open::Plaintext) -> Plaintext {
        let (node, label) = (Arc::clone(&self.looked.job.node), Arc::clone(&self.looked.job.bucket.label));
        Box::pin(plaintext.map(move |piece| {
            piece.map_err(|error| match error {
                OpenError::Integrity(reason) => {
                    node.metrics.integrity_failure(Some(&label));
                    S3Error::with(Code::ObjectIntegrityError, reason)
                }
                OpenError::Stream(error) => {
                    backend_failed(crate::pipeline::stream_error(error), &node.metrics, true, Some(&label))
                }
            })
        }))
    }

    /// As an upload of the storage's own, in the parts that it was uploaded in.
    async fn in_parts(&self, mut options: PutOptions) -> Result<Result<Written, Done>, Trouble> {
        let (looked, job) = (self.looked, self.looked.job);
        if !job.backend.capabilities().conditional_complete {
            return Ok(Err(looked.left(UNCONDITIONAL)));
        }
        let sealing =
            |error: sealgate_envelope::Error| Trouble(format!("an object cannot be sealed: {error}"));
        let keys = ObjectKeys::generate(job.bucket.suite).map_err(sealing)?;
        let metadata: &Metadata = &self.sealed.metadata;
        let (id, ik) = (self.active.id, &self.active.ik);
        let envelope = Envelope::seal_object(&keys, None, !metadata.is_empty(), id, ik, &looked.scope());
        let envelope = envelope.map_err(sealing)?;
        let Ok(user) = sealed_metadata(&keys, &envelope, metadata, job.backend.as_ref()) else {
            return Ok(Err(looked.left(TOO_LARGE)));
        };
        options.metadata = looked.beside(user);
        let conditions = std::mem::take(&mut options.conditions);
        let recovery = Recovery::seal(&keys, Kind::Multipart, id, ik, job.bucket.tenant, job.bucket.id);
        let recovery = recovery.map_err(sealing)?;
        let (bucket, key) = (&job.bucket.backend_bucket, looked.key);
        let upload_id = match job.backend.create_upload(bucket, key, options).await {
            Ok(id) => id,
            Err(error) => return Ok(Ok(Err(error))),
        };
        let parts = self.parts(&upload_id, &keys, &recovery).await;
        let written = match parts {
            Ok(parts) => match job.let_in() {
                Ok((_write, _landing)) => {
                    job.backend.complete_upload(bucket, key, &upload_id, &parts, conditions).await
                }
                Err(frozen) => {
                    self.abort(&upload_id).await;
                    return Err(frozen);
                }
            },
            Err(error) => Err(error),
        };
        let Err(error) = written else { return Ok(Ok(written)) };
        self.given_up(&upload_id, &envelope, error).await
    }

    /// An upload that was not completed, or of which nobody knows whether it was.
    async fn given_up(
        &self,
        upload_id: &str,
        envelope: &Envelope,
        error: BackendError,
    ) -> Result<Result<Written, Done>, Trouble> {
        let (looked, job) = (self.looked, self.looked.job);
        let (bucket, key) = (&job.bucket.backend_bucket, looked.key);
        // No other object has this envelope.
        if let Ok(meta) = job.backend.head(bucket, key, GetOptions::default()).await
            && meta.metadata.get(crate::objects::sealed::ENVELOPE_NAME) == Some(&envelope.to_header())
        {
            let (etag, version_id) = (meta.etag, meta.version_id);
            return Ok(Ok(Ok(PutOutcome { etag, version_id, headers: http::HeaderMap::new() })));
        }
        // Where the storage did not say what became of the last step, the upload is left: some delete the bytes of an object with it.
        let refused = matches!(error, BackendError::S3 { status: 400..500, .. } | BackendError::Upload(_));
        if refused {
            self.abort(upload_id).await;
        }
        Ok(Ok(Err(error)))
    }

    async fn abort(&self, upload_id: &str) {
        let (job, key) = (self.looked.job, self.looked.key);
        if let Err(stays) = job.backend.abort_upload(&job.bucket.backend_bucket, key, upload_id).await
            && !stays.is("NoSuchUpload")
        {
            tracing::warn!(bucket = job.bucket.name, key, upload = upload_id, error = %stays, "an upload of the work on envelopes stays");
        }
    }

    /// Seals and stores each part, and the gateway's own with what was too small to stand before it.
    async fn parts(
        &self,
        upload_id: &str,
        keys: &ObjectKeys,
        recovery: &Recovery,
    ) -> Result<Vec<(u16, String)>, BackendError> {
        let (looked, job) = (self.looked, self.looked.job);
        let (bucket, key) = (&job.bucket.backend_bucket, looked.key);
        let trailer = self.trailer.as_ref().ok_or_else(|| not_genuine(&"it has no trailer"))?;
        let (mut listed, mut entries) = (Vec::new(), Vec::new());
        let landings: RefCell<Vec<Landing>> = RefCell::default();
        let mut last = None;
        for (span, entry) in trailer.table().parts().iter().zip(trailer.entries()) {
            let sealer = PartSealer::new(keys, span.number).map_err(|error| not_genuine(&error))?;
            let salt = sealer.salt();
            let plaintext = self.part(span.plain.start, span.plain.end).await?;
            let mut plan = BodyPlan::copied(entry.size);
            let wanted = entry.checksum.as_ref().and_then(from_format);
            if let Some(checksum) = &wanted {
                plan = plan.compute(checksum.algorithm());
            }
            let outcome = Outcome::new(&job.node, &job.bucket);
            let body = seal(Source::stored(plaintext, plan), sealer, entry.size, None, outcome.clone());
            let length =
                chunks_size(entry.size).ok_or_else(|| not_genuine(&"a part has an impossible size"))?;
            let mut anew = PartEntry { salt, ..entry.clone() };
            if entry.size < size::MIN_PART || span.number == GATEWAY_PART {
                entries.push(anew);
                last = Some((length, body, outcome, wanted));
                break;
            }
            let part = Upload { length, stream: body };
            let stored = job.backend.upload_part(bucket, key, upload_id, span.number, part).await?;
            let (verified, landing) = outcome.take().ok_or_else(|| not_genuine(&"a part was not proved"))?;
            landings.borrow_mut().push(landing);
            if wanted.is_some_and(|wanted| verified.computed() != Some(&wanted)) {
                return Err(not_genuine(&"a part's checksum is not what it was"));
            }
            anew.etag = etag::etag16(&stored.etag);
            listed.push((span.number, stored.etag));
            entries.push(anew);
        }
        let plain = TrailerPlain {
            plaintext_len: trailer.plaintext_len(),
            parts: entries,
            checksums: trailer.checksums().to_vec(),
        };
        let sealed = bytes::Bytes::from(plain.seal(keys, recovery).map_err(|error| not_genuine(&error))?);
        let (length, before) = match last.as_mut() {
            Some((length, body, ..)) => (*length, std::mem::replace(body, Box::pin(stream::empty()))),
            None => (0, Box::pin(stream::empty()) as crate::backend::ByteStream),
        };
        let total = length + sealed.len() as u64;
        let body = Upload { length: total, stream: Box::pin(before.chain(stream::iter([Ok(sealed)]))) };
        let stored = job.backend.upload_part(bucket, key, upload_id, GATEWAY_PART, body).await?;
        if let Some((_, _, outcome, wanted)) = last {
            let (verified, landing) = outcome.take().ok_or_else(|| not_genuine(&"a part was not proved"))?;
            landings.borrow_mut().push(landing);
            if wanted.is_some_and(|wanted| verified.computed() != Some(&wanted)) {
                return Err(not_genuine(&"a part's checksum is not what it was"));
            }
        }
        listed.push((GATEWAY_PART, stored.etag));
        Ok(listed)
    }

    /// Bytes of the plaintext, `end` exclusive, each chunk when it is proved.
    async fn part(&self, start: u64, end: u64) -> Result<Plaintext, BackendError> {
        let Some((keys, trailer)) =
            self.sealed.keys.as_ref().zip(self.trailer.as_ref()).filter(|_| start < end)
        else {
            return Ok(Box::pin(stream::empty()));
        };
        let planned =
            plans::range(keys, trailer.table(), start, end - 1).map_err(|error| not_genuine(&error))?;
        let (needed, plan) = planned;
        let body = self.fetch(Some((needed.start, needed.end - 1))).await?;
        Ok(self.told(open(body, plan, None)))
    }
}

fn not_genuine(why: &dyn std::fmt::Display) -> BackendError {
    BackendError::s3(422, "ObjectIntegrityError", why.to_string())
}

/// A failure on the way: the object's own, or trouble for all.
fn failed(looked: &Looked<'_>, error: BackendError) -> Result<Done, Trouble> {
    let error = match error {
        BackendError::Upload(source) => match source.downcast::<S3Error>() {
            Ok(refused) if refused.code() == Code::ObjectIntegrityError => {
                return Ok(looked.left(NOT_GENUINE));
            }
            Ok(refused) => return Err(Trouble(refused.message().to_owned())),
            Err(source) => return Err(trouble(&BackendError::Upload(source))),
        },
        error if error.is("ObjectIntegrityError") => return Ok(looked.left(NOT_GENUINE)),
        error => error,
    };
    looked.refused(&error)
}
