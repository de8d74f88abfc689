//! Small secrets under a long-lived 32-byte key: AES-256-GCM under a key that is derived freshly for every sealing.
//!
//! With a random 32-byte salt a derived key encrypts once, so the nonce is constant and no count of sealings has to be
//! kept, however often the long-lived key is used (NIST SP 800-38D limits random nonces to 2³² a key).
//! Sealed = version (1) ‖ salt[32] ‖ ciphertext ‖ tag[16].

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::KmsError;

const VERSION: u8 = 1;
const SALT: usize = 32;
const INFO: &[u8] = b"sealgate/v1/sealed";

/// Bytes that sealing adds to a secret.
pub const SEAL_OVERHEAD: usize = 1 + SALT + 16;

fn cipher(key: &[u8; 32], salt: &[u8]) -> Result<Aes256Gcm, KmsError> {
    let mut derived = Zeroizing::new([0_u8; 32]);
    Hkdf::<Sha256>::new(Some(salt), key)
        .expand(INFO, derived.as_mut())
        .map_err(|_| KmsError::BadCiphertext)?;
    Aes256Gcm::new_from_slice(derived.as_ref()).map_err(|_| KmsError::BadCiphertext)
}

/// Seals `secret`; `context` is authenticated with it and not stored.
///
/// # Errors
/// [`KmsError::Unavailable`] when the operating system gives no randomness.
pub fn seal(key: &[u8; 32], context: &[u8], secret: &[u8]) -> Result<Vec<u8>, KmsError> {
    let mut salt = [0_u8; SALT];
    getrandom::fill(&mut salt).map_err(|_| KmsError::local("no randomness".to_owned()))?;
    let payload = Payload { msg: secret, aad: context };
    let ciphertext =
        cipher(key, &salt)?.encrypt(&Default::default(), payload).map_err(|_| KmsError::BadCiphertext)?;
    Ok([&[VERSION][..], &salt, &ciphertext].concat())
}

/// Opens what [`seal`] made with the same key and context.
///
/// # Errors
/// [`KmsError::BadCiphertext`] for anything else.
pub fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let (&version, rest) = sealed.split_first().ok_or(KmsError::BadCiphertext)?;
    if version != VERSION || sealed.len() < SEAL_OVERHEAD {
        return Err(KmsError::BadCiphertext);
    }
    let (salt, ciphertext) = rest.split_at(SALT);
    let payload = Payload { msg: ciphertext, aad: context };
    let opened = cipher(key, salt)?.decrypt(&Default::default(), payload);
    opened.map(Zeroizing::new).map_err(|_| KmsError::BadCiphertext)
}
