//! HMAC-SHA1 (RFC 2104) from its two states instead of its key.
//!
//! HMAC hashes a block made of the key before the text (inner), and another before that digest (outer). What SHA-1 holds
//! after each of these blocks is all that a check needs, and does not give the key back: whoever has it can check and make
//! SigV2 signatures, and nothing else. A SigV4 signature starts from the secret's own bytes.

use sha1::block_api::compress;
use zeroize::{Zeroize as _, Zeroizing};

const BLOCK: usize = 64;

/// The two states of a credential's HMAC-SHA1: SHA-1's five words, big-endian, after the block `secret ^ ipad` and after
/// the block `secret ^ opad`.
pub struct HmacSha1 {
    inner: Zeroizing<[u8; 20]>,
    outer: Zeroizing<[u8; 20]>,
}

impl HmacSha1 {
    /// Takes both states, 20 bytes each.
    #[must_use]
    pub fn new(inner: Zeroizing<[u8; 20]>, outer: Zeroizing<[u8; 20]>) -> HmacSha1 {
        HmacSha1 { inner, outer }
    }

    /// The same states for another holder. They are no `Clone`, so that each copy is one on purpose.
    #[must_use]
    pub fn copy(&self) -> HmacSha1 {
        HmacSha1::new(Zeroizing::new(*self.inner), Zeroizing::new(*self.outer))
    }

    /// The signature of a text.
    pub(super) fn sign(&self, text: &[u8]) -> Zeroizing<[u8; 20]> {
        let inner = continued(&self.inner, text);
        continued(&self.outer, inner.as_ref())
    }
}

/// SHA-1 of one block, of which only the state is known, and the text behind it.
fn continued(state: &[u8; 20], text: &[u8]) -> Zeroizing<[u8; 20]> {
    let mut words = Zeroizing::new([0_u32; 5]);
    for (word, bytes) in words.iter_mut().zip(state.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let (whole, rest) = text.as_chunks::<BLOCK>();
    compress(&mut words, whole);
    // A one, zeros up to 8 bytes before a block's end, and the length of all in bits.
    let mut padded = [[0_u8; BLOCK]; 2];
    let used = if rest.len() + 9 <= BLOCK { 1 } else { 2 };
    let bits = (BLOCK as u64 + text.len() as u64).wrapping_mul(8);
    let flat = &mut padded.as_flattened_mut()[..used * BLOCK];
    flat[..rest.len()].copy_from_slice(rest);
    flat[rest.len()] = 0x80;
    flat[used * BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    compress(&mut words, &padded[..used]);
    padded.zeroize();
    let mut digest = Zeroizing::new([0; 20]);
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words.iter()) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use crate::auth::testing::hmac_sha1;
    use hmac::{Hmac, KeyInit, Mac};

    #[test]
    fn the_states_sign_as_the_key_does() {
        // RFC 2202, test case 2.
        let signature = hmac_sha1(b"Jefe").sign(b"what do ya want for nothing?");
        assert_eq!(hex::encode(signature.as_ref()), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        // Every place of the text's end within a block, and texts of several blocks.
        for length in 0..200 {
            let text = vec![b'x'; length];
            let mut mac =
                Hmac::<sha1::Sha1>::new_from_slice(b"a secret of 40 characters 01234567890123").unwrap();
            mac.update(&text);
            let signature = hmac_sha1(b"a secret of 40 characters 01234567890123").sign(&text);
            assert_eq!(signature.as_ref(), mac.finalize().into_bytes().as_slice(), "{length}");
        }
    }
}
