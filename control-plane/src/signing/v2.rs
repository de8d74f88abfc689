//! What nodes get of a secret that may sign with Signature Version 2: the two states of HMAC-SHA1 (RFC 2104) after the
//! blocks that are made of the key. They check such signatures and nothing else. Unlike a signing key of a day and region
//! they never age, so they go out only as long as the credential lasts.

use zeroize::Zeroizing;

use super::SigningKeys;
use crate::{
    Error,
    clock::DAY,
    registry::{
        Sealer,
        records::{CredentialRecord, credential_key},
    },
};

const BLOCK: usize = 64;
/// SHA-1's initial words (FIPS 180-4, 5.3.1).
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// SHA-1's five words, big-endian, after the block `secret ^ ipad` and after the block `secret ^ opad`.
pub struct States {
    /// What the text goes on from.
    pub inner: Zeroizing<[u8; 20]>,
    /// What the inner digest goes on from.
    pub outer: Zeroizing<[u8; 20]>,
}

/// The states of a secret.
///
/// # Errors
/// For a secret of more than 64 bytes, which HMAC would hash first: none is made so.
pub fn states(secret: &[u8]) -> Result<States, Error> {
    if secret.len() > BLOCK {
        return Err(Error::Internal("a client's secret is longer than a block of HMAC".to_owned()));
    }
    Ok(States { inner: state(secret, 0x36), outer: state(secret, 0x5c) })
}

fn state(secret: &[u8], pad: u8) -> Zeroizing<[u8; 20]> {
    let mut block = Zeroizing::new([pad; BLOCK]);
    for (place, byte) in block.iter_mut().zip(secret) {
        *place ^= byte;
    }
    let mut words = Zeroizing::new(INITIAL);
    sha1::block_api::compress(&mut words, std::slice::from_ref(&*block));
    let mut state = Zeroizing::new([0; 20]);
    for (bytes, word) in state.as_chunks_mut::<4>().0.iter_mut().zip(words.iter()) {
        *bytes = word.to_be_bytes();
    }
    state
}

impl SigningKeys {
    /// The states of a credential that may use them and has not ended before `day`; none for any other.
    ///
    /// # Errors
    /// When the secret does not open.
    pub fn sigv2_of(
        credential: &CredentialRecord,
        day: u64,
        sealer: &Sealer,
    ) -> Result<Option<States>, Error> {
        if !credential.sigv2 || credential.not_after <= day.saturating_mul(DAY) {
            return Ok(None);
        }
        let secret = sealer.open(&credential_key(&credential.access_key_id), &credential.sealed_secret)?;
        states(&secret).map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::states;

    #[test]
    fn states_match_a_separate_implementation() {
        // Python, SHA-1 written out from FIPS 180-4: its words after the one block of HMAC's key.
        let found = states(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").unwrap();
        assert_eq!(hex::encode(found.inner.as_ref()), "e8618815d60ddc018a2f9dc7436b5fedc3a5fdb3");
        assert_eq!(hex::encode(found.outer.as_ref()), "01352d7757364774cfb933107a6fbe085afd6bbb");
        assert!(states(&[0; 64]).is_ok() && states(&[0; 65]).is_err());
    }
}
