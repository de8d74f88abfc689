//! A client's body on its way in: decoded and hashed piece by piece, and verified at its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::form::next_piece;
use crate::body::{BodyPlan, BodyVerifier, ClientBody, FormFile, Verified};
use crate::metrics::Metrics;
use crate::s3::error::{Code, S3Error};

/// How long a client may send nothing in the middle of a body.
const IDLE: Duration = Duration::from_secs(60);

/// Where an object's bytes come from.
pub enum Feed {
    /// The whole of a request's body.
    Body(ClientBody),
    /// The file in a form.
    Form(FormFile),
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
        }
    }
}

/// A client's body. Nothing is read before the first call of [`Source::next`], so that a client which waits for
/// `100 Continue` gets it when the backend is ready.
pub struct Source {
    feed: Feed,
    verifier: BodyVerifier,
    decoded: std::vec::IntoIter<Bytes>,
    metrics: Arc<Metrics>,
}

impl Source {
    /// A body, to be checked by its plan.
    pub fn new(feed: impl Into<Feed>, plan: BodyPlan, metrics: Arc<Metrics>) -> Self {
        Self {
            feed: feed.into(),
            verifier: BodyVerifier::new(plan),
            decoded: Vec::new().into_iter(),
            metrics,
        }
    }

    /// The next piece of plaintext; none when the client has sent all.
    ///
    /// # Errors
    /// What is wrong with the body, in S3's terms.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(piece) = self.decoded.next() {
                if piece.is_empty() {
                    continue;
                }
                self.metrics.received(piece.len() as u64);
                return Ok(Some(piece));
            }
            let data = match tokio::time::timeout(IDLE, self.feed.next()).await {
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
