//! Sealing the chunks of one attempt to write a part.

use crate::SALT;
use crate::aead::{BulkKey, ChunkCounter, ChunkNonce};
use crate::error::Error;
use crate::kdf;
use crate::keys::ObjectKeys;
use crate::size::{CHUNK, CHUNK_OVERHEAD};

/// Seals the chunks of one single PUT or one UploadPart attempt, in order.
///
/// A retry needs a new one: its salt, and thereby its key, is drawn on construction and never again.
pub struct PartSealer {
    key: BulkKey,
    salt: [u8; SALT],
    counter: ChunkCounter,
    plaintext_len: u64,
    finished: bool,
}

impl PartSealer {
    /// For a part number from 1 to 10,000, or 0 for a single PUT.
    ///
    /// # Errors
    /// [`Error::Seal`] for a higher number, [`Error::Random`].
    pub fn new(keys: &ObjectKeys, part: u16) -> Result<Self, Error> {
        let salt = kdf::random()?;
        let key = keys.part_key(part, &salt)?;
        Ok(Self { key, salt, counter: ChunkCounter::new(), plaintext_len: 0, finished: false })
    }

    /// The salt of the attempt, for note, stash and part table.
    #[must_use]
    pub fn salt(&self) -> [u8; SALT] {
        self.salt
    }

    /// Plaintext bytes sealed so far.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Bytes that the chunks sealed so far take on the backend.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.plaintext_len + self.counter.count() * CHUNK_OVERHEAD as u64
    }

    /// Whether the last chunk has been sealed. An empty part is finished without one; only its caller knows that.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Seals the next chunk where it lies. `chunk` is 12 bytes of room, the plaintext, 16 bytes of room.
    ///
    /// # Errors
    /// [`Error::Seal`] for an empty or overlong chunk, a chunk that is neither full nor last, or one after the last;
    /// the sealer can then go on with a correct one. [`Error::Exhausted`] after 2³² chunks.
    pub fn seal_in_place(&mut self, chunk: &mut [u8], last: bool) -> Result<(), Error> {
        let len = chunk.len().checked_sub(CHUNK_OVERHEAD).ok_or(Error::Seal("chunk without room"))?;
        let nonce = self.advance(len, last)?;
        let (salt, rest) = chunk.split_at_mut(SALT);
        let (body, tag) = rest.split_at_mut(len);
        salt.copy_from_slice(&self.salt);
        self.key.seal(nonce, body, tag)
    }

    /// Seals the next chunk from `plain` into `out`, which is 28 bytes longer; the plaintext is read once, not copied.
    ///
    /// # Errors
    /// As [`PartSealer::seal_in_place`].
    pub fn seal_into(&mut self, plain: &[u8], out: &mut [u8], last: bool) -> Result<(), Error> {
        if out.len() != plain.len() + CHUNK_OVERHEAD {
            return Err(Error::Seal("output is not 28 bytes longer than the chunk"));
        }
        let nonce = self.advance(plain.len(), last)?;
        let (salt, rest) = out.split_at_mut(SALT);
        let (body, tag) = rest.split_at_mut(plain.len());
        salt.copy_from_slice(&self.salt);
        self.key.seal_into(nonce, plain, body, tag)
    }

    fn advance(&mut self, len: usize, last: bool) -> Result<ChunkNonce, Error> {
        if self.finished {
            return Err(Error::Seal("chunk after the last"));
        }
        if len == 0 || len > CHUNK || (len < CHUNK && !last) {
            return Err(Error::Seal("chunk is empty, too long, or neither full nor last"));
        }
        let nonce = self.counter.advance(last)?;
        self.finished = last;
        self.plaintext_len += len as u64;
        Ok(nonce)
    }
}
