//! Wrapping a DEK under an IK: AES-256-GCM by `aes-gcm`, each wrap key derived with a fresh salt and used once.
//!
//! The nonce is zero, so a salt that served twice would let envelopes be forged: [`WrapKey::fresh`] draws it itself, and
//! wrapping consumes the key.

use crate::error::Error;
use crate::kdf::{self, Secret};
use crate::keys::{Dek, Ik};
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};

/// Salt of a wrap key.
pub(crate) type WrapSalt = [u8; 16];
/// Wrapped DEK: ciphertext ‖ tag.
pub(crate) type Wrapped = [u8; 48];

/// What a wrapped DEK stands in; it enters key and additional data, so that none passes for another.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Object = 1,
    Upload = 2,
    Recovery = 3,
}

/// A wrap key that has not encrypted yet. In a box: what is moved leaves a copy on the stack.
pub(crate) struct WrapKey(Box<Aes256Gcm>);

impl WrapKey {
    pub(crate) fn fresh(ik: &Ik, purpose: Purpose) -> Result<(WrapSalt, Self), Error> {
        let salt = kdf::random()?;
        let key = boxed(ik, purpose, &salt);
        wipe_below();
        Ok((salt, Self(key?)))
    }

    pub(crate) fn wrap(self, dek: &Dek, aad: &[u8]) -> Result<Wrapped, Error> {
        let mut out = [0; 48];
        let (body, tag) = out.split_at_mut(32);
        // The plaintext DEK stands in `out` only until the next line encrypts it in place.
        body.copy_from_slice(dek.expose());
        let made = self.0.encrypt_inout_detached(&Nonce::default(), aad, body.into());
        wipe_below();
        tag.copy_from_slice(&made.map_err(|_| Error::Crypto)?);
        Ok(out)
    }
}

/// Stack that a wrap key's making and use may have taken, in words of eight bytes: more than 16 KiB in a debug build.
const BELOW: usize = if cfg!(debug_assertions) { 16_384 } else { 4_096 };

/// Writes over the stack below the caller. `aes-gcm` makes a cipher by value, each move of which leaves its round keys there, and
/// with AVX-512 it spreads them over wide registers that are spilled; the first of them are the key. `ops/compat/memory.py` found
/// them in a gateway whose requests were over.
#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "it is to be on the stack")]
pub(crate) fn wipe_below() {
    std::hint::black_box(&mut [0_u64; BELOW]);
}

/// The DEK that was wrapped under this IK, purpose, salt and additional data.
pub(crate) fn unwrap(
    ik: &Ik,
    purpose: Purpose,
    salt: &WrapSalt,
    wrapped: &Wrapped,
    aad: &[u8],
) -> Result<Dek, Error> {
    let opened = open(ik, purpose, salt, wrapped, aad);
    wipe_below();
    opened
}

#[inline(never)]
fn open(ik: &Ik, purpose: Purpose, salt: &WrapSalt, wrapped: &Wrapped, aad: &[u8]) -> Result<Dek, Error> {
    let (body, tag) = wrapped.split_at(32);
    let mut dek = Secret::zeroed();
    dek.expose_mut().copy_from_slice(body);
    let tag = Tag::try_from(tag).map_err(|_| Error::Wrap)?;
    cipher(ik, purpose, salt)?
        .decrypt_inout_detached(&Nonce::default(), aad, dek.expose_mut().as_mut_slice().into(), &tag)
        .map_err(|_| Error::Wrap)?;
    Ok(Dek::of(dek))
}

#[inline(never)]
fn boxed(ik: &Ik, purpose: Purpose, salt: &WrapSalt) -> Result<Box<Aes256Gcm>, Error> {
    cipher(ik, purpose, salt).map(Box::new)
}

/// HKDF(IK, salt, "sealgate/v1/wrap" ‖ purpose).
fn cipher(ik: &Ik, purpose: Purpose, salt: &WrapSalt) -> Result<Aes256Gcm, Error> {
    let key = kdf::derive(ik.secret(), salt, &[b"sealgate/v1/wrap", &[purpose as u8]])?;
    Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Error::Crypto)
}
