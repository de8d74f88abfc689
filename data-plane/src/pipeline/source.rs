//! A body on its way in, a client's or a copy's: decoded and hashed piece by piece, and verified at its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::body::form::next_piece;
use crate::body::{BodyPlan, BodyVerifier, ClientBody, FormFile, Verified};
use crate::metrics::Metrics;
use crate::s3::error::{Code, S3Error};

/// How long a client may send nothing in the middle of a body.
const IDLE: Duration = Duration::from_secs(60);

/// How long a document may take in all.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);
/// So much of each document is its own.
const OWN: usize = 16 << 10;
/// What a worker holds of the rest of all documents that are being read, in KiB.
const DOCUMENTS_KIB: usize = 64 << 10;

thread_local! {
    static DOCUMENTS: Arc<Semaphore> = Arc::new(Semaphore::new(DOCUMENTS_KIB));
}

/// Plaintext of a stored object, proved piece by piece.
pub type Stored = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, S3Error>>>>;

/// Where an object's bytes come from.
pub enum Feed {
    /// The whole of a request's body.
    Body(ClientBody),
    /// The file in a form.
    Form(FormFile),
    /// Another object, that is copied.
    Stored(Stored),
}

impl From<ClientBody> for Feed {
    fn from(body: ClientBody) -> Self {
        Self::Body(body)
    }
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        match self {
            Self::Body(body) => next_piece(body).await,
            Self::Form(file) => file.next().await,
            Self::Stored(plaintext) => plaintext.next().await,
        }
    }
}

/// A body. Nothing is read before the first call of [`Source::next`], so that a client which waits for
/// `100 Continue` gets it when the backend is ready.
pub struct Source {
    feed: Feed,
    verifier: BodyVerifier,
    decoded: std::vec::IntoIter<Bytes>,
    /// Where what a client sends is counted.
    metrics: Option<Arc<Metrics>>,
}

impl Source {
    /// A body, to be checked by its plan.
    pub fn new(feed: impl Into<Feed>, plan: BodyPlan, metrics: Arc<Metrics>) -> Self {
        Self {
            feed: feed.into(),
            verifier: BodyVerifier::new(plan),
            decoded: Vec::new().into_iter(),
            metrics: Some(metrics),
        }
    }

    /// What a copy reads of its source: nothing that a client sends.
    pub fn stored(plaintext: Stored, plan: BodyPlan) -> Self {
        let feed = Feed::Stored(plaintext);
        Self { feed, verifier: BodyVerifier::new(plan), decoded: Vec::new().into_iter(), metrics: None }
    }

    /// The next piece of plaintext; none when all has come.
    ///
    /// # Errors
    /// What is wrong with the body, in S3's terms.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(piece) = self.decoded.next() {
                if piece.is_empty() {
                    continue;
                }
                if let Some(metrics) = &self.metrics {
                    metrics.received(piece.len() as u64);
                }
                return Ok(Some(piece));
            }
            // A storage has limits of its own, and is not the client's fault.
            let idle = if self.metrics.is_some() { IDLE } else { Duration::MAX };
            let data = match tokio::time::timeout(idle, self.feed.next()).await {
                Err(_) => return Err(S3Error::new(Code::RequestTimeout)),
                Ok(None) => return Ok(None),
                Ok(Some(data)) => data?,
            };
            let mut decoded = Vec::with_capacity(1);
            self.verifier.push(data, &mut decoded)?;
            self.decoded = decoded.into_iter();
        }
    }

    /// Checks all that the client promised of its body.
    ///
    /// # Errors
    /// What did not match, in S3's terms.
    pub fn finish(self) -> Result<Verified, S3Error> {
        self.verifier.finish()
    }

    /// Reads a small body to its end and verifies it, for XML documents.
    ///
    /// # Errors
    /// Those of the body; `MaxMessageLengthExceeded` above `limit` bytes, RequestTimeout when it takes too long, and SlowDown when
    /// other requests of this worker hold too much.
    pub async fn collect(self, limit: usize) -> Result<Vec<u8>, S3Error> {
        let slots = DOCUMENTS.with(Arc::clone);
        let collected = tokio::time::timeout(DOCUMENT_TIME, self.collect_within(limit, &slots)).await;
        collected.map_err(|_| S3Error::new(Code::RequestTimeout))?
    }

    async fn collect_within(mut self, limit: usize, slots: &Arc<Semaphore>) -> Result<Vec<u8>, S3Error> {
        let (mut bytes, mut held) = (Vec::new(), Vec::new());
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > limit {
                return Err(S3Error::new(Code::MaxMessageLengthExceeded));
            }
            // What is held by the client's pace, however many there are. A usual document needs no room that others can take.
            let held_kib = |length: usize| length.saturating_sub(OWN).div_ceil(1024);
            let kib = u32::try_from(held_kib(bytes.len() + piece.len()) - held_kib(bytes.len()));
            let slot = Arc::clone(slots).try_acquire_many_owned(kib.unwrap_or(u32::MAX));
            held.push(slot.map_err(|_| S3Error::new(Code::SlowDown).retry_after(1))?);
            bytes.extend_from_slice(&piece);
        }
        self.finish()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use futures_util::stream;

    use super::{Arc, BodyPlan, Bytes, Code, OWN, Semaphore, Source};

    /// In pieces of 700 bytes.
    fn document(length: usize) -> Source {
        let pieces: Vec<_> =
            vec![7; length].chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Source::stored(Box::pin(stream::iter(pieces)), BodyPlan::copied(length as u64))
    }

    #[actix_rt::test]
    async fn documents_share_what_a_worker_holds() {
        let slots = Arc::new(Semaphore::new(3));
        let most = OWN + 3 * 1024;
        let whole = document(most).collect_within(1 << 20, &slots).await.unwrap();
        assert_eq!((whole.len(), slots.available_permits()), (most, 3));
        let refused = document(most + 1).collect_within(1 << 20, &slots).await.unwrap_err();
        assert_eq!((refused.code(), slots.available_permits()), (Code::SlowDown, 3));
        let refused = document(most).collect_within(most - 1, &slots).await.unwrap_err();
        assert_eq!((refused.code(), slots.available_permits()), (Code::MaxMessageLengthExceeded, 3));
        let none = Arc::new(Semaphore::new(0));
        assert_eq!(document(OWN).collect_within(1 << 20, &none).await.unwrap().len(), OWN);
    }
}
