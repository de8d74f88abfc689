//! Stored bytes in, proved plaintext out. A whole download's last chunk leaves only after the trailer was checked.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};
use sealgate_envelope::PartReader;
use sealgate_envelope::size::{CHUNK, CHUNK_OVERHEAD};

use super::pool::{BATCH, Buffer};
use crate::backend::{ByteStream, StreamError};
use crate::metrics::Metrics;

/// Plaintext that is handed on at a time, in bytes: what a buffer has room for. A connection's write gathers several.
const FRAME: usize = BATCH * CHUNK;

/// An object that is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that do not prove themselves.
    #[error("the stored object is not genuine: {0}")]
    Integrity(String),
    /// The backend stopped sending.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Proved plaintext on its way to a client.
pub type Plaintext = std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, OpenError>>>>;

/// Checks what follows the last chunk of a whole object: the trailer, byte for byte where it is known.
pub type TrailerCheck = Box<dyn FnOnce(&[u8]) -> Result<(), sealgate_envelope::Error>>;

/// Which stored bytes come, and what of them the client gets.
pub struct Plan {
    /// Stored bytes at the start of the body that belong to nothing wanted.
    pub discard: u64,
    /// Readers of the parts that are touched, in order, each placed at its first chunk.
    pub parts: VecDeque<PartReader>,
    /// Plaintext bytes at the start of the first chunk that the client did not ask for.
    pub skip: u64,
    /// Plaintext bytes that the client gets.
    pub take: u64,
    /// For a whole object: how its trailer is checked, and how long it may be.
    pub trailer: Option<(TrailerCheck, usize)>,
}

/// Opens a stored body by a plan. What does not open is counted by whoever answers the client: before the status line it is
/// an error, after it an aborted download. `sent` counts what a client gets; a copy's plaintext goes to nobody.
pub fn open(body: ByteStream, plan: Plan, sent: Option<Arc<Metrics>>) -> Plaintext {
    let opening = Opening {
        body,
        plan,
        pending: Bytes::new(),
        chunk: Vec::new(),
        batch: Batch::default(),
        ended: false,
        sent,
    };
    Box::pin(stream::try_unfold(Box::new(opening), |mut opening| async move {
        let Some(piece) = opening.step().await? else { return Ok(None) };
        if let Some(metrics) = &opening.sent {
            metrics.sent(piece.len() as u64);
        }
        Ok(Some((piece, opening)))
    }))
}

struct Opening {
    body: ByteStream,
    plan: Plan,
    pending: Bytes,
    /// A stored chunk that came in pieces.
    chunk: Vec<u8>,
    batch: Batch,
    ended: bool,
    sent: Option<Arc<Metrics>>,
}

/// Plaintext that is proved, and not yet handed on.
#[derive(Default)]
struct Batch {
    buffer: Option<Buffer>,
    /// Bytes at the start that the client did not ask for.
    skip: usize,
    /// Bytes at the end that the client did not ask for.
    cut: usize,
}

impl Batch {
    fn take(&mut self) -> Option<Bytes> {
        let buffer = self.buffer.take()?;
        let (from, to) = (self.skip, buffer.len() - self.cut);
        (self.skip, self.cut) = (0, 0);
        (from < to).then(|| buffer.freeze(from..to))
    }

    fn is_full(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.len() + CHUNK > FRAME)
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_none()
    }
}

impl Opening {
    async fn step(&mut self) -> Result<Option<Bytes>, OpenError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let Some(stored_len) = self.next_chunk() else {
                self.ended = true;
                return self.finish().await;
            };
            if self.batch.is_full()
                && let Some(batch) = self.batch.take()
            {
                return Ok(Some(batch));
            }
            if self.chunk.len() + self.pending.len() >= stored_len {
                self.open_chunk(stored_len)?;
                continue;
            }
            self.chunk.extend_from_slice(&std::mem::take(&mut self.pending));
            // Before waiting for more, what is proved goes on its way.
            if !self.batch.is_empty()
                && let Some(batch) = self.batch.take()
            {
                return Ok(Some(batch));
            }
            self.receive().await?;
        }
    }

    /// Stored bytes of the next chunk that is wanted.
    fn next_chunk(&mut self) -> Option<usize> {
        // Of a whole object every part is passed, an empty one at its end included.
        if self.plan.trailer.is_none() && self.plan.take == 0 {
            return None;
        }
        while let Some(part) = self.plan.parts.front() {
            if let Some(length) = part.next_stored_len() {
                return Some(length);
            }
            self.plan.parts.pop_front();
        }
        None
    }

    async fn receive(&mut self) -> Result<(), OpenError> {
        loop {
            let Some(mut piece) = self.body.next().await.transpose()? else {
                return Err(OpenError::Integrity("it ends in the middle of a chunk".to_owned()));
            };
            let drop = usize::try_from(self.plan.discard).unwrap_or(usize::MAX).min(piece.len());
            piece.advance(drop);
            self.plan.discard -= drop as u64;
            if !piece.is_empty() {
                self.pending = piece;
                return Ok(());
            }
        }
    }

    /// Opens a chunk that is all there, straight from where it lies if it came in one piece.
    fn open_chunk(&mut self, stored_len: usize) -> Result<(), OpenError> {
        let Some(part) = self.plan.parts.front_mut() else { return Ok(()) };
        let buffer = self.batch.buffer.get_or_insert_with(Buffer::take);
        let length = stored_len.saturating_sub(CHUNK_OVERHEAD);
        let out = buffer.next(length);
        let opened = if self.chunk.is_empty() {
            part.open_next_into(&self.pending.split_to(stored_len), out)
        } else {
            let rest = stored_len - self.chunk.len();
            self.chunk.extend_from_slice(&self.pending.split_to(rest));
            let opened = part.open_next_into(&self.chunk, out);
            self.chunk.clear();
            opened
        };
        let length = opened.map_err(|error| OpenError::Integrity(error.to_string()))?;
        buffer.advance(length);
        let skip = usize::try_from(self.plan.skip).unwrap_or(usize::MAX).min(length);
        self.plan.skip -= skip as u64;
        self.batch.skip += skip;
        let wanted = usize::try_from(self.plan.take).unwrap_or(usize::MAX).min(length - skip);
        self.plan.take -= wanted as u64;
        self.batch.cut += length - skip - wanted;
        Ok(())
    }

    /// After the last chunk: the trailer of a whole object; for a range, the connection is left clean where little is
    /// left on it.
    async fn finish(&mut self) -> Result<Option<Bytes>, OpenError> {
        let Some((check, limit)) = self.plan.trailer.take() else {
            // More than this is cheaper to drop with its connection than to read.
            let mut left = 64 << 10;
            while left > 0 {
                match self.body.next().await {
                    Some(Ok(piece)) => left -= piece.len().min(left),
                    _ => break,
                }
            }
            return Ok(self.batch.take());
        };
        let mut trailer = std::mem::take(&mut self.chunk);
        trailer.extend_from_slice(&std::mem::take(&mut self.pending));
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if trailer.len() + piece.len() > limit {
                return Err(OpenError::Integrity("it has more bytes than it should".to_owned()));
            }
            trailer.extend_from_slice(&piece);
        }
        check(&trailer).map_err(|error| OpenError::Integrity(error.to_string()))?;
        Ok(self.batch.take())
    }
}
