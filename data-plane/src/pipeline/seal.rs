//! Plaintext in, chunks out. The last chunk, and a trailer, leave only after the client's body was verified.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use sealgate_envelope::PartSealer;
use sealgate_envelope::size::{CHUNK, CHUNK_OVERHEAD, STORED_CHUNK, chunk_count};
use zeroize::Zeroize as _;

use super::pool::Buffer;
use super::source::Source;
use crate::backend::{ByteStream, StreamError};
use crate::body::Verified;
use crate::landings::Landing;
use crate::node::Node;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::Bucket;

/// What comes after the chunks of a single PUT, made when the body is verified.
pub type Trailer = Box<dyn FnOnce(&Verified) -> Result<Vec<u8>, S3Error>>;

/// Where a finished body leaves what was learned from it, and what keeps it counted until the storage has answered.
#[derive(Clone)]
pub struct Outcome(Rc<End>);

struct End {
    node: Arc<Node>,
    bucket: Arc<Bucket>,
    reached: RefCell<Option<(Verified, Landing)>>,
}

impl Outcome {
    /// Of a body that goes into a bucket.
    pub fn new(node: &Arc<Node>, bucket: &Arc<Bucket>) -> Self {
        Self(Rc::new(End { node: Arc::clone(node), bucket: Arc::clone(bucket), reached: RefCell::default() }))
    }

    /// What the verification gave; none while the body has not ended well. The write is on its last step as long as the
    /// landing is kept: until the last that it stores is stored.
    pub fn take(&self) -> Option<(Verified, Landing)> {
        self.0.reached.borrow_mut().take()
    }

    /// The body is what was announced: the storage may have the rest, if its bucket is still there.
    fn reach(&self, verified: Verified) -> Result<(), S3Error> {
        let landing = Landing::begin(&self.0.node, &self.0.bucket)?;
        *self.0.reached.borrow_mut() = Some((verified, landing));
        Ok(())
    }
}

/// Seals a body of exactly `plaintext_len` bytes.
pub fn seal(
    source: Source,
    sealer: PartSealer,
    plaintext_len: u64,
    trailer: Option<Trailer>,
    outcome: Outcome,
) -> ByteStream {
    let sealing = Sealing {
        source: Some(source),
        sealer,
        chunks_left: chunk_count(plaintext_len),
        plaintext_left: plaintext_len,
        pending: Bytes::new(),
        chunk: Vec::new(),
        batch: None,
        ready: VecDeque::new(),
        trailer,
        outcome,
    };
    Box::pin(stream::try_unfold(Box::new(sealing), |mut sealing| async move {
        match sealing.step().await {
            Ok(Some(piece)) => Ok(Some((piece, sealing))),
            Ok(None) => Ok(None),
            Err(error) => Err(StreamError::Source(Box::new(error))),
        }
    }))
}

struct Sealing {
    /// None when the body has ended.
    source: Option<Source>,
    sealer: PartSealer,
    chunks_left: u64,
    plaintext_left: u64,
    pending: Bytes,
    /// Plaintext that waits for its chunk to be full, or for the body to be verified.
    chunk: Vec<u8>,
    /// Sealed chunks.
    batch: Option<Buffer>,
    ready: VecDeque<Bytes>,
    trailer: Option<Trailer>,
    outcome: Outcome,
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.chunk.zeroize();
    }
}

impl Sealing {
    async fn step(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if !self.pending.is_empty() {
                self.absorb()?;
                continue;
            }
            let Some(source) = &mut self.source else { return Ok(None) };
            match source.next().await? {
                Some(piece) => {
                    self.plaintext_left = self
                        .plaintext_left
                        .checked_sub(piece.len() as u64)
                        .ok_or_else(|| S3Error::new(Code::IncompleteBody))?;
                    self.pending = piece;
                }
                None => self.finish()?,
            }
        }
    }

    /// Seals what is full of the pending plaintext, straight from it where a whole chunk lies there; stops when a batch is
    /// ready.
    fn absorb(&mut self) -> Result<(), S3Error> {
        while !self.pending.is_empty() && self.ready.is_empty() {
            if self.chunk.is_empty() && self.pending.len() >= CHUNK && self.chunks_left > 1 {
                let plain = self.pending.split_to(CHUNK);
                self.seal_chunk(&plain, false)?;
                continue;
            }
            let take = (CHUNK - self.chunk.len()).min(self.pending.len());
            if self.chunk.capacity() == 0 {
                let whole = self.plaintext_left + self.pending.len() as u64;
                self.chunk.reserve_exact(usize::try_from(whole).unwrap_or(CHUNK).min(CHUNK));
            }
            self.chunk.extend_from_slice(&self.pending.split_to(take));
            if self.chunk.len() == CHUNK && self.chunks_left > 1 {
                let plain = std::mem::take(&mut self.chunk);
                let sealed = self.seal_chunk(&plain, false);
                self.chunk = plain;
                self.chunk.clear();
                sealed?;
            }
        }
        Ok(())
    }

    fn seal_chunk(&mut self, plain: &[u8], last: bool) -> Result<(), S3Error> {
        let failed = |_| S3Error::with(Code::InternalError, "The body could not be sealed.");
        let stored = plain.len() + CHUNK_OVERHEAD;
        self.chunks_left -= 1;
        if last && self.batch.is_none() {
            // A body of one chunk takes what it needs, not a whole buffer.
            let mut sealed = vec![0; stored];
            self.sealer.seal_into(plain, &mut sealed, true).map_err(failed)?;
            self.ready.push_back(sealed.into());
            return Ok(());
        }
        let batch = self.batch.get_or_insert_with(Buffer::take);
        self.sealer.seal_into(plain, batch.next(stored), last).map_err(failed)?;
        batch.advance(stored);
        if last || batch.room() < STORED_CHUNK {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        if let Some(batch) = self.batch.take() {
            let length = batch.len();
            self.ready.push_back(batch.freeze(0..length));
        }
    }

    /// The client has sent all: verify, then let the last chunk and the trailer go.
    fn finish(&mut self) -> Result<(), S3Error> {
        let verified = match self.source.take() {
            Some(source) => source.finish()?,
            None => return Err(S3Error::new(Code::InternalError)),
        };
        if self.plaintext_left != 0 {
            return Err(S3Error::new(Code::IncompleteBody));
        }
        if self.chunks_left > 0 {
            let mut plain = std::mem::take(&mut self.chunk);
            let sealed = self.seal_chunk(&plain, true);
            plain.zeroize();
            sealed?;
        }
        if let Some(trailer) = self.trailer.take() {
            let trailer = trailer(&verified)?;
            // A small body leaves in one piece.
            match self.ready.pop_back() {
                Some(piece) if piece.len() <= CHUNK => {
                    let mut whole = BytesMut::with_capacity(piece.len() + trailer.len());
                    whole.extend_from_slice(&piece);
                    whole.extend_from_slice(&trailer);
                    self.ready.push_back(whole.freeze());
                }
                before => {
                    self.ready.extend(before);
                    self.ready.push_back(trailer.into());
                }
            }
        }
        // Before anything of what was made ready here leaves.
        self.outcome.reach(verified)
    }
}

/// Passes a body of a plain bucket on as it is, its last piece only when the body is verified.
pub fn pass(source: Source, length: u64, outcome: Outcome) -> ByteStream {
    struct Passing {
        source: Option<Source>,
        held: Bytes,
        left: u64,
        outcome: Outcome,
    }
    let passing = Passing { source: Some(source), held: Bytes::new(), left: length, outcome };
    Box::pin(stream::try_unfold(passing, |mut passing| async move {
        let failed = |error: S3Error| StreamError::Source(Box::new(error));
        loop {
            let Some(source) = &mut passing.source else { return Ok(None) };
            match source.next().await.map_err(failed)? {
                Some(piece) => {
                    passing.left = passing
                        .left
                        .checked_sub(piece.len() as u64)
                        .ok_or_else(|| failed(S3Error::new(Code::IncompleteBody)))?;
                    let ready = std::mem::replace(&mut passing.held, piece);
                    if !ready.is_empty() {
                        return Ok(Some((ready, passing)));
                    }
                }
                None => {
                    if passing.left != 0 {
                        return Err(failed(S3Error::new(Code::IncompleteBody)));
                    }
                    if let Some(source) = passing.source.take() {
                        let verified = source.finish().map_err(failed)?;
                        passing.outcome.reach(verified).map_err(failed)?;
                    }
                    let ready = std::mem::take(&mut passing.held);
                    return if ready.is_empty() { Ok(None) } else { Ok(Some((ready, passing))) };
                }
            }
        }
    }))
}
