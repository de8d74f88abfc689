//! Stored bodies that are larger than one PUT of the storage, as one step all the same: an upload of the storage's own, whose
//! parts it copies or is sent, and whose completion makes the object. So a body of 5 GiB can be put and copied on storage that
//! takes 5 GiB at once, although its ciphertext is longer.
//!
//! The upload is nobody's but this request's: it has no upload record, so clients can list and abort it and nothing else. A
//! part that fails aborts it, and so does a completion that the storage refuses. **A completion whose outcome is unknown never
//! does**: it may have made the object or make it yet, and some servers delete an aborted upload's bytes although an object
//! consists of them. Such an upload, or one that a dying node leaves, is ended by the bucket's rule for incomplete uploads, or
//! with the bucket.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tracing::warn;

use crate::backend::{
    Backend, BackendError, ByteStream, Capabilities, Conditions, CopySource, GetOptions, LengthMismatch,
    PutOptions, PutOutcome, StreamError, Upload,
};
use crate::objects::sealed::ENVELOPE_NAME;

/// The most that one request copies: it has to be answered within [`crate::backend::s3::S3Config::complete_timeout`].
const MOST: u64 = 1 << 30;

/// Codes of a storage that has made no object of an upload, and will make none by this request.
const REFUSED: &[&str] = &[
    "AccessDenied",
    "EntityTooLarge",
    "EntityTooSmall",
    "InvalidArgument",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRequest",
    "MalformedXML",
    "MethodNotAllowed",
    "NoSuchBucket",
    "NoSuchKey",
    "NotImplemented",
];

/// Whether a storage has refused to complete an upload, so that no object was made of it, nor will be. Of anything else that is
/// no success it is not known: the answer may have been lost, or be that of a second attempt. Such an upload is never aborted.
#[must_use]
pub fn is_refusal(failed: &BackendError) -> bool {
    REFUSED.iter().any(|code| failed.is(code)) || matches!(failed, BackendError::Unsupported(_))
}

/// A body of `size` stored bytes, more than [`crate::backend::Capabilities::max_put`], and where it goes.
pub struct Large<'a> {
    /// The target's backend.
    pub backend: &'a dyn Backend,
    /// Its own name of the bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Stored bytes.
    pub size: u64,
}

impl Large<'_> {
    /// The storage copies the parts of `source`, as [`Backend::copy`] would all of it.
    ///
    /// # Errors
    /// The backend's. What was at the target is there then, or, where the storage did not say what became of the last step,
    /// the whole object.
    pub async fn copy(&self, source: &CopySource, options: PutOptions) -> Result<PutOutcome, BackendError> {
        self.copy_in(source, self.spans(), options).await
    }

    /// The same in given parts, each a number, its first and its last byte: those of the source's own upload, where the storage's
    /// ETag of it is to stay.
    ///
    /// # Errors
    /// Those of [`Self::copy`].
    pub async fn copy_in(
        &self,
        source: &CopySource,
        parts: Vec<(u16, u64, u64)>,
        options: PutOptions,
    ) -> Result<PutOutcome, BackendError> {
        self.make(options, parts, async |id: &str, number, first, last| {
            let range = Some((first, last));
            let made =
                self.backend.copy_part(source.clone(), range, self.bucket, self.key, id, number).await?;
            Ok(made.etag)
        })
        .await
    }

    /// Sends the parts of a body, as [`Backend::put`] would all of it.
    ///
    /// # Errors
    /// Those of [`Self::copy`], and of the body's stream.
    pub async fn put(&self, options: PutOptions, body: ByteStream) -> Result<PutOutcome, BackendError> {
        let rest = Rc::new(RefCell::new(Some(Rest { body, pending: Bytes::new() })));
        self.make(options, self.spans(), async |id: &str, number, first, last| {
            let length = last - first + 1;
            let part = Upload { length, stream: cut(Rc::clone(&rest), length) };
            Ok(self.backend.upload_part(self.bucket, self.key, id, number, part).await?.etag)
        })
        .await
    }

    /// Parts of one length.
    fn spans(&self) -> Vec<(u16, u64, u64)> {
        let most = longest(self.size, self.backend.capabilities());
        (1..).zip(spans(self.size, most)).map(|(number, (first, last))| (number, first, last)).collect()
    }

    async fn make(
        &self,
        mut options: PutOptions,
        spans: Vec<(u16, u64, u64)>,
        mut part: impl AsyncFnMut(&str, u16, u64, u64) -> Result<String, BackendError>,
    ) -> Result<PutOutcome, BackendError> {
        // They are about the object, which only the last step makes.
        let conditions = std::mem::take(&mut options.conditions);
        let envelope = options.metadata.get(ENVELOPE_NAME).cloned();
        let id = self.backend.create_upload(self.bucket, self.key, options).await?;
        let parts = async {
            let mut parts = Vec::new();
            for (number, first, last) in spans {
                parts.push((number, part(&id, number, first, last).await?));
            }
            Ok(parts)
        };
        match parts.await {
            Ok(parts) => self.complete(&id, &parts, conditions, envelope.as_deref()).await,
            Err(failed) => {
                self.abort(&id).await;
                Err(ours(failed))
            }
        }
    }

    /// The last step. What fails may have been done all the same: its answer was lost, or a second attempt found it done.
    async fn complete(
        &self,
        id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
        envelope: Option<&str>,
    ) -> Result<PutOutcome, BackendError> {
        let made = self.backend.complete_upload(self.bucket, self.key, id, parts, conditions).await;
        let Err(failed) = made else { return made };
        // No other object has this envelope, which is wrapped under a salt of its own. A plain object proves nothing.
        let another = match self.backend.head(self.bucket, self.key, GetOptions::default()).await {
            Ok(meta) => {
                let there = meta.metadata.get(ENVELOPE_NAME).map(String::as_str);
                if envelope.is_some() && there == envelope {
                    let (etag, version_id) = (meta.etag, meta.version_id);
                    return Ok(PutOutcome { etag, version_id, headers: http::HeaderMap::new() });
                }
                envelope.is_some()
            }
            Err(error) => error.is("NoSuchKey") || error.is("NotFound"),
        };
        if is_refusal(&failed) || (another && failed.is("PreconditionFailed")) {
            self.abort(id).await;
        } else if !failed.is("NoSuchUpload") {
            let (bucket, key) = (self.bucket, self.key);
            warn!(bucket, key, upload = id, error = %failed, "an upload stays, since it may have become an object");
        }
        Err(ours(failed))
    }

    async fn abort(&self, id: &str) {
        if let Err(error) = self.backend.abort_upload(self.bucket, self.key, id).await
            && !error.is("NoSuchUpload")
        {
            let (bucket, key) = (self.bucket, self.key);
            warn!(bucket, key, upload = id, %error, "an upload that was made for one object stays");
        }
    }
}

/// The most stored bytes that can be made in one step: in one request, or in parts.
#[must_use]
pub fn most(capabilities: &Capabilities) -> u64 {
    let parts = capabilities.max_part.saturating_mul(capabilities.max_part_number.into());
    capabilities.max_object.min(parts).max(capabilities.max_put)
}

/// The longest part of a body of so many bytes: no longer than it has to be for the parts to have numbers.
fn longest(size: u64, capabilities: &Capabilities) -> u64 {
    let needed = size.div_ceil(capabilities.max_part_number.max(1).into());
    capabilities.max_part.min(capabilities.max_put.min(MOST).max(needed))
}

/// An error in terms of the client's request: the upload is not the client's, so somebody aborted it, or deletes the bucket.
fn ours(failed: BackendError) -> BackendError {
    match failed.is("NoSuchUpload") {
        true => BackendError::s3(409, "OperationAborted", "the upload that makes the object was aborted"),
        false => failed,
    }
}

/// First and last byte of each part: as few as can be, and all but the last of one length, as some storages demand.
fn spans(size: u64, most: u64) -> impl Iterator<Item = (u64, u64)> {
    let length = size.div_ceil(size.div_ceil(most.max(1)).max(1)).max(1);
    (0..size.div_ceil(length)).map(move |at| (at * length, ((at + 1) * length).min(size) - 1))
}

/// What is left of a body that is sent in parts.
struct Rest {
    body: ByteStream,
    pending: Bytes,
}

/// The next `length` bytes of a body.
fn cut(rest: Rc<RefCell<Option<Rest>>>, length: u64) -> ByteStream {
    Box::pin(stream::try_unfold((rest, length), move |(rest, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let ended = || StreamError::Source(Box::new(LengthMismatch { declared: length }));
        // One part at a time has it; of a part that was broken off nothing is left to go on with.
        let mut whole = rest.borrow_mut().take().ok_or_else(ended)?;
        while whole.pending.is_empty() {
            whole.pending = whole.body.next().await.ok_or_else(ended)??;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(whole.pending.len());
        let piece = whole.pending.split_to(take);
        *rest.borrow_mut() = Some(whole);
        let left = left - piece.len() as u64;
        Ok(Some((piece, (rest, left))))
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Rest, cut, longest, most, spans};
    use crate::backend::s3::ServerKind;
    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use std::cell::RefCell;
    use std::rc::Rc;

    const MIB: u64 = 1 << 20;

    #[test]
    fn parts_are_few_equal_and_cover_everything() {
        for (size, most, count) in [
            (5 << 30, 5 << 30, 1),
            ((5 << 30) + 1, 5 << 30, 2),
            ((5 << 30) + 1, 1 << 30, 6),
            (10 * MIB + 1, 10 * MIB, 2),
            (25 * MIB, 10 * MIB, 3),
            (30 * MIB, 10 * MIB, 3),
            (1, 10 * MIB, 1),
            (0, 10 * MIB, 0),
        ] {
            let spans: Vec<_> = spans(size, most).collect();
            assert_eq!(spans.len(), count, "{size} in parts of {most}");
            let mut next = 0;
            for (at, (first, last)) in spans.iter().enumerate() {
                assert_eq!((*first, *last >= *first), (next, true));
                assert!(last - first < most);
                assert!(at + 1 == spans.len() || last - first == spans[0].1, "another length");
                // S3's least part; the limit is never below twice that.
                assert!(count == 1 || at + 1 == spans.len() || last - first + 1 >= 5 * MIB);
                next = last + 1;
            }
            assert_eq!(next, size);
        }
    }

    /// S3 itself copies 5 GiB at once; beyond it is only a matter of more parts, up to its largest object.
    #[test]
    fn what_can_be_an_object_can_be_copied() {
        for server in [ServerKind::Aws, ServerKind::SeaweedFs, ServerKind::VersityGw, ServerKind::Minio] {
            let capabilities = server.capabilities();
            for size in [(5 << 30) + 1, 6 << 30, 1 << 40, 5 << 40, most(&capabilities)] {
                assert!(size <= most(&capabilities), "{server:?} {size}");
                let spans: Vec<_> = spans(size, longest(size, &capabilities)).collect();
                assert!(spans.len() <= usize::from(capabilities.max_part_number), "{server:?} {size}");
                assert!(
                    spans.iter().all(|(first, last)| last - first < capabilities.max_part),
                    "{server:?} {size}"
                );
            }
            assert!(most(&capabilities) <= capabilities.max_object, "{server:?}");
        }
    }

    #[test]
    fn a_body_is_cut_wherever_its_pieces_end() {
        let pieces = [&b"abc"[..], b"", b"d", b"efghij"].map(|piece| Ok(Bytes::from_static(piece)));
        let body = Box::pin(stream::iter(pieces));
        let rest = Rc::new(RefCell::new(Some(Rest { body, pending: Bytes::new() })));
        let read = |length: u64| {
            let cut = cut(Rc::clone(&rest), length).map(|piece| piece.map(|piece| piece.to_vec()));
            cut.collect::<Vec<_>>().now_or_never().unwrap().into_iter().collect::<Result<Vec<_>, _>>()
        };
        for wanted in ["ab", "cde", "fghi"] {
            assert_eq!(read(wanted.len() as u64).unwrap().concat(), wanted.as_bytes());
        }
        assert!(read(2).is_err(), "one byte is left");
    }
}
