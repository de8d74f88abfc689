//! The bulk AEAD over aws-lc-rs. Nonces are types: nothing outside this file can make one from bytes.

use crate::error::Error;
use crate::kdf::Secret;
use crate::suite::Suite;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// A key of the object's suite. AWS-LC wipes its context when it is freed.
pub(crate) struct BulkKey(LessSafeKey);

/// A nonce that has not been used under its key: only [`ChunkCounter`] gives it, and sealing consumes it.
pub(crate) struct ChunkNonce(Nonce);

/// Counts the chunks of one attempt to write a part. It has no way back.
pub(crate) struct ChunkCounter {
    next: u64,
}

/// 0⁷ ‖ u32 index ‖ u8 last.
fn chunk_nonce(index: u32, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[7..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

impl ChunkCounter {
    pub(crate) fn new() -> Self {
        Self { next: 0 }
    }

    /// Chunks counted so far.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }

    pub(crate) fn advance(&mut self, last: bool) -> Result<ChunkNonce, Error> {
        let index = u32::try_from(self.next).map_err(|_| Error::Exhausted)?;
        self.next += 1;
        Ok(ChunkNonce(chunk_nonce(index, last)))
    }
}

impl BulkKey {
    pub(crate) fn new(suite: Suite, key: &Secret) -> Result<Self, Error> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, key.expose())
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| Error::Crypto)
    }

    pub(crate) fn seal(&self, nonce: ChunkNonce, in_out: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        self.0.seal_in_place_scatter(nonce.0, Aad::empty(), in_out, &[], tag).map_err(|_| Error::Crypto)
    }

    pub(crate) fn seal_into(
        &self,
        nonce: ChunkNonce,
        plain: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), Error> {
        self.0
            .seal_out_of_place_scatter(nonce.0, Aad::empty(), plain, out, &[], tag)
            .map_err(|_| Error::Crypto)
    }

    /// Decrypts `sealed` (ciphertext ‖ tag) where it lies; on failure the ciphertext is wiped, never half decrypted.
    pub(crate) fn open<'a>(&self, index: u32, last: bool, sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0.open_in_place(chunk_nonce(index, last), Aad::empty(), sealed).ok()
    }

    /// Decrypts into `out`, which must be as long as the ciphertext; on failure `out` is wiped.
    pub(crate) fn open_into(
        &self,
        index: u32,
        last: bool,
        sealed: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Option<()> {
        self.0.open_separate_gather(chunk_nonce(index, last), Aad::empty(), sealed, tag, out).ok()
    }
}

/// A key that encrypts once, under nonce 0¹²: sealing consumes it.
pub(crate) struct OneShotKey(BulkKey);

impl OneShotKey {
    pub(crate) fn new(key: BulkKey) -> Self {
        Self(key)
    }

    /// Ciphertext ‖ tag.
    pub(crate) fn seal(self, aad: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.0
            .0
            .seal_in_place_append_tag(zero_nonce(), Aad::from(aad), &mut plain)
            .map_err(|_| Error::Crypto)?;
        Ok(plain)
    }

    /// The inverse of [`OneShotKey::seal`]; `None` when the tag does not verify.
    pub(crate) fn open(self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (ciphertext, tag) = sealed.split_at_checked(sealed.len().checked_sub(crate::TAG)?)?;
        let mut plain = vec![0; ciphertext.len()];
        self.0.0.open_separate_gather(zero_nonce(), Aad::from(aad), ciphertext, tag, &mut plain).ok()?;
        Some(plain)
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::{ChunkCounter, chunk_nonce};
    use crate::error::Error;

    #[test]
    fn running_out_of_nonces_is_an_error() {
        let mut counter = ChunkCounter { next: u64::from(u32::MAX) };
        assert!(counter.advance(false).is_ok());
        assert_eq!(counter.advance(false).err(), Some(Error::Exhausted));
        assert_eq!(counter.advance(true).err(), Some(Error::Exhausted));
    }

    #[test]
    fn the_nonce_is_index_and_last() {
        let bytes = *chunk_nonce(0x0102_0304, true).as_ref();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 1]);
    }
}
