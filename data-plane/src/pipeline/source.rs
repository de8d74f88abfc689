//! A client's body on its way in: decoded and hashed piece by piece, and verified at its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::{BodyPlan, BodyVerifier, ClientBody, Verified};
use crate::metrics::Metrics;
use crate::s3::error::{Code, S3Error};

/// How long a client may send nothing in the middle of a body.
const IDLE: Duration = Duration::from_secs(60);

/// A client's body. Nothing is read before the first call of [`Source::next`], so that a client which waits for
/// `100 Continue` gets it when the backend is ready.
pub struct Source {
    body: ClientBody,
    verifier: BodyVerifier,
    decoded: std::vec::IntoIter<Bytes>,
    metrics: Arc<Metrics>,
}

impl Source {
    /// A body, to be checked by its plan.
    pub fn new(body: ClientBody, plan: BodyPlan, metrics: Arc<Metrics>) -> Self {
        Self { body, verifier: BodyVerifier::new(plan), decoded: Vec::new().into_iter(), metrics }
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
            let frame = match tokio::time::timeout(IDLE, self.body.frame()).await {
                Err(_) => return Err(S3Error::new(Code::RequestTimeout)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(S3Error::new(Code::IncompleteBody)),
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(data) = frame.into_data() {
                let mut decoded = Vec::with_capacity(1);
                self.verifier.push(data, &mut decoded)?;
                self.decoded = decoded.into_iter();
            }
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
