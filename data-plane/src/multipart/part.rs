//! UploadPart: sealed under a fresh salt at every attempt; then, where it can only be the last, stashed; then noted; then
//! answered.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use sealgate_envelope::size::{MAX_TRAILER, MIN_PART, chunks_size};
use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{Note, NoteName, PartSealer};
use tokio::sync::mpsc;
use tracing::warn;

use super::notes::{self, algorithm, to_format};
use super::uploads::{OpenUpload, load};
use crate::backend::{
    Backend, BackendError, ByteStream, DeleteKey, PutOptions, PutOutcome, StreamError, Upload,
};
use crate::body::{ClientBody, Verified};
use crate::etags;
use crate::gate::Admitted;
use crate::objects::described;
use crate::objects::put::{cannot_seal, empty_upload};
use crate::pipeline::seal::{Outcome, seal};
use crate::pipeline::source::Source;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::snapshot::Bucket;

/// The largest part of plaintext, as S3 has it.
pub const MAX_PART: u64 = 5 << 30;

/// The backend's part number that belongs to the gateway. A client's own part of that number is kept in a stash only.
pub const GATEWAY_PART: u16 = 10_000;

/// Answers UploadPart.
///
/// # Errors
/// In S3's terms; nothing is stored then.
pub async fn upload(admitted: &Admitted, body: ClientBody) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    if !bucket.encrypts(key) {
        return super::plain::upload(admitted, &bucket, &backend, key, body).await;
    }
    let number = part_number(admitted)?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    let upload = load(admitted, &bucket, &backend, key, upload_id).await?;
    let mut plan = admitted.plan(MAX_PART)?;
    let length = plan.length();
    stored_len(backend.as_ref(), number, length)?;
    if let Some((code, kind)) = upload.checksum {
        let wanted = algorithm(code);
        // A composite is made of what the client computed; what combines to a whole object's is computed where it is missing.
        let missing = plan.algorithm().is_none() && kind == ChecksumType::Composite;
        if missing || plan.algorithm().is_some_and(|sent| sent != wanted) {
            let sent = plan.algorithm().map_or("null".to_owned(), |sent| sent.name().to_ascii_lowercase());
            return Err(S3Error::with(
                Code::InvalidRequest,
                format!(
                    "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {sent}",
                    wanted.name().to_ascii_lowercase(),
                ),
            ));
        }
        plan = plan.compute(wanted);
    }
    let place = Place { admitted, bucket: &bucket, backend: &backend, key, upload: &upload, number };
    let (etag, verified) = place.write(admitted.source(body, plan), length).await?;
    let mut reply = reply::empty(StatusCode::OK);
    reply::set(reply.headers_mut(), "etag", &etags::to_client_quoted(&etag));
    described::announce(upload.keys.suite(), reply.headers_mut());
    for checksum in verified.checksum().into_iter().chain(verified.computed()) {
        reply::set(reply.headers_mut(), checksum.algorithm().header(), &checksum.to_base64());
    }
    Ok(reply)
}

/// Stored bytes of a part of so much plaintext, if the storage takes them.
///
/// # Errors
/// EntityTooLarge.
pub fn stored_len(backend: &dyn Backend, number: u16, length: u64) -> Result<u64, S3Error> {
    let stored = chunks_size(length).ok_or_else(|| S3Error::entity_too_large(length, MAX_PART))?;
    let most = backend.capabilities().max_part;
    let needed = if number == GATEWAY_PART { stored.saturating_add(MAX_TRAILER) } else { stored };
    if length > MAX_PART || needed > most {
        return Err(S3Error::entity_too_large(length, MAX_PART.min(most)));
    }
    Ok(stored)
}

/// The part number of a request.
///
/// # Errors
/// InvalidArgument.
pub fn part_number(admitted: &Admitted) -> Result<u16, S3Error> {
    let text = admitted.request.query.get("partNumber").unwrap_or_default();
    text.parse().ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
        S3Error::invalid_argument(
            "partNumber",
            text,
            "Part number must be an integer between 1 and 10000, inclusive.",
        )
    })
}

/// Where a part of an encrypted upload goes.
pub struct Place<'a> {
    /// The request.
    pub admitted: &'a Admitted,
    /// The upload's bucket.
    pub bucket: &'a Arc<Bucket>,
    /// Its backend.
    pub backend: &'a Rc<dyn Backend>,
    /// The upload's key.
    pub key: &'a str,
    /// The upload.
    pub upload: &'a OpenUpload,
    /// The client's part number.
    pub number: u16,
}

impl Place<'_> {
    /// Seals and stores `length` bytes of plaintext as the part, and notes it. The backend's ETag, and what was verified.
    ///
    /// # Errors
    /// In S3's terms; nothing is stored then.
    pub async fn write(&self, source: Source, length: u64) -> Result<(String, Verified), S3Error> {
        let stored = stored_len(self.backend.as_ref(), self.number, length)?;
        self.must_be_open().await?;
        let older = self.older_notes().await?;
        let sealer = PartSealer::new(&self.upload.keys, self.number).map_err(|error| cannot_seal(&error))?;
        let salt = sealer.salt();
        let outcome = Outcome::new(&self.admitted.worker.node, self.bucket);
        let sealed = seal(source, sealer, length, None, outcome.clone());
        let part = self.store(sealed, stored, length, &salt).await?;
        let (verified, _landing) = outcome.take().ok_or_else(|| S3Error::new(Code::InternalError))?;
        let mut checksums: Vec<_> =
            verified.checksum().into_iter().chain(verified.computed()).filter_map(to_format).collect();
        checksums.sort_by_key(|checksum| checksum.code());
        checksums.dedup_by_key(|checksum| checksum.code());
        let note = Note { salt, size: length, checksums };
        self.note(&part.etag, &note).await?;
        // A part that can only be the last lies there twice, unless it goes into the stash alone.
        let twice = self.number != GATEWAY_PART && length < MIN_PART;
        let stored = if twice { stored.saturating_mul(2) } else { stored };
        self.admitted.worker.node.metrics.buckets.written(&self.bucket.label, length, stored);
        self.withdraw(&older).await;
        Ok((part.etag, verified))
    }

    /// Stores the sealed part, and a second time where it can only be the last.
    async fn store(
        &self,
        sealed: ByteStream,
        stored: u64,
        plaintext: u64,
        salt: &[u8; sealgate_envelope::SALT],
    ) -> Result<PutOutcome, S3Error> {
        let stash = self.upload.record.stash_key(self.number, salt);
        let failed = |error| self.admitted.backend_failed(error);
        if self.number == GATEWAY_PART {
            let body = Upload { length: stored, stream: sealed };
            return self
                .backend
                .put(&self.bucket.work_bucket, &stash, PutOptions::default(), body)
                .await
                .map_err(failed);
        }
        if plaintext >= MIN_PART {
            return self.put_part(Upload { length: stored, stream: sealed }).await.map_err(failed);
        }
        let (first, second) = tee(sealed);
        let part = self.put_part(Upload { length: stored, stream: first });
        let body = Upload { length: stored, stream: second };
        let stash = self.backend.put(&self.bucket.work_bucket, &stash, PutOptions::default(), body);
        match futures_util::join!(part, stash) {
            (Ok(part), Ok(_)) => Ok(part),
            // The client's own fault is told first. Else either stream ends the other, so what is not an ended stream is
            // what went wrong.
            (Err(BackendError::Upload(source)), _) if source.is::<S3Error>() => {
                Err(failed(BackendError::Upload(source)))
            }
            (Err(BackendError::Upload(_)) | Ok(_), Err(error)) | (Err(error), _) => Err(failed(error)),
        }
    }

    async fn put_part(&self, body: Upload) -> Result<PutOutcome, BackendError> {
        self.backend
            .upload_part(&self.bucket.backend_bucket, self.key, &self.upload.upload_id, self.number, body)
            .await
    }

    /// Demands that the backend still has the upload, where storing the part would not ask it: the upload's record, and what
    /// this node knows of it, may outlive a Complete or an Abort.
    async fn must_be_open(&self) -> Result<(), S3Error> {
        if self.number != GATEWAY_PART {
            return Ok(());
        }
        self.backend
            .list_parts(&self.bucket.backend_bucket, self.key, &self.upload.upload_id, 0, 1)
            .await
            .map(|_| ())
            .map_err(|error| self.admitted.backend_failed(error))
    }

    /// Notes of earlier attempts at a part that is in a stash only. What the backend keeps of other parts is the newest
    /// attempt by itself; of these it keeps all, with times that are no finer than a second.
    async fn older_notes(&self) -> Result<Vec<DeleteKey>, S3Error> {
        if self.number != GATEWAY_PART {
            return Ok(Vec::new());
        }
        notes::of_part(self.backend, &self.bucket.work_bucket, self.upload, self.number)
            .await
            .map_err(|error| self.admitted.backend_failed(error))
    }

    /// Withdraws notes of earlier attempts, once there is a newer one. Their stashes stay for a Complete that has read the
    /// notes already, and go with the upload.
    async fn withdraw(&self, older: &[DeleteKey]) {
        if older.is_empty() {
            return;
        }
        let outcome = match self.backend.delete_many(&self.bucket.work_bucket, older).await {
            Ok(outcomes) => outcomes.into_iter().find_map(Result::err),
            Err(error) => Some(error),
        };
        if let Some(error) = outcome {
            warn!(bucket = self.bucket.name, key = self.key, %error, "an older attempt at a part stays listed");
        }
    }

    async fn note(&self, etag: &str, note: &Note) -> Result<(), S3Error> {
        let name = NoteName::seal(
            &self.upload.keys,
            self.upload.record,
            &self.upload.upload_id,
            self.number,
            etag,
            note,
        )
        .map_err(|error| cannot_seal(&error))?;
        let (bucket, name) = (&self.bucket.work_bucket, name.to_key());
        let put = || self.backend.put(bucket, &name, PutOptions::default(), empty_upload());
        let put = match put().await {
            // Without its note the part has taken the place of an earlier attempt, and is none itself.
            Err(BackendError::Unavailable(_) | BackendError::S3 { status: 500..=599, .. }) => put().await,
            put => put,
        };
        put.map(|_| ()).map_err(|error| self.admitted.backend_failed(error))
    }
}

/// Two streams of the same bytes. The second follows the first piece by piece, so that nothing is buffered; either one's
/// end ends both.
fn tee(stream: ByteStream) -> (ByteStream, ByteStream) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let first = stream::try_unfold((stream, Some(sender)), |(mut stream, mut sender)| async move {
        match stream.next().await.transpose()? {
            Some(piece) => {
                let sent = match &sender {
                    Some(sender) => sender.send(piece.clone()).await.is_ok(),
                    None => false,
                };
                if !sent {
                    return Err(StreamError::Truncated(
                        "the stash of the part could not be written".to_owned(),
                    ));
                }
                Ok(Some((piece, (stream, sender))))
            }
            None => {
                sender.take();
                Ok(None)
            }
        }
    });
    // A first stream that ends early makes this one too short for its announced length, so it stores nothing either.
    let second = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok(piece), receiver))
    });
    (Box::pin(first), Box::pin(second))
}
