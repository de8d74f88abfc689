//! A body on its way in, a client's or a copy's: decoded and hashed piece by piece, and verified at its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;

use crate::body::form::next_piece;
use crate::body::{BodyPlan, BodyVerifier, ClientBody, FormFile, Verified};
use crate::metrics::Metrics;
use crate::s3::error::{Code, S3Error};

/// How long a client may send nothing in the middle of a body.
const IDLE: Duration = Duration::from_secs(60);

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
    /// Those of the body, and `MaxMessageLengthExceeded` above `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, S3Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > limit {
                return Err(S3Error::new(Code::MaxMessageLengthExceeded));
            }
            bytes.extend_from_slice(&piece);
        }
        self.finish()?;
        Ok(bytes)
    }
}
