//! Randomness, hashing and key derivation.
//!
//! HKDF and SHA-256 come from aws-lc-rs rather than from the `hkdf` and `sha2` crates: its pseudorandom key is zeroized
//! on drop, which `hkdf` does not do, and the library is linked for the chunks anyway. A differential test holds it
//! against `hkdf`.

use crate::error::Error;
use aws_lc_rs::{digest, hkdf};
use zeroize::Zeroizing;

/// 32 secret bytes at one place on the heap: moving the value leaves no copies behind on the stack.
pub(crate) struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    pub(crate) fn zeroed() -> Self {
        Self(Box::default())
    }

    pub(crate) fn random() -> Result<Self, Error> {
        let mut secret = Self::zeroed();
        fill(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    pub(crate) fn copy_of(bytes: &Zeroizing<[u8; 32]>) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes.as_slice());
        secret
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Fresh bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// From the operating system; `vectors` injects its own in this crate's unit tests, the only builds that have the way in.
fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    #[cfg(test)]
    if crate::vectors::random::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes).map_err(|_| Error::Random)
}

/// H: SHA-256 of the concatenation.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HKDF-SHA256 with 32 bytes of output; no salt is an empty one, `info` the concatenation of its parts.
pub(crate) fn derive(ikm: &Secret, salt: &[u8], info: &[&[u8]]) -> Result<Secret, Error> {
    let mut out = Secret(Box::default());
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(ikm.expose())
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out.0.as_mut_slice()))
        .map_err(|_| Error::Crypto)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::{Secret, derive, sha256};
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use sha2::{Digest, Sha256};
    use zeroize::Zeroizing;

    #[test]
    fn a_secret_is_zeroized_where_it_lies() {
        fn zeroizes<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let Secret(place) = Secret::random().unwrap();
        zeroizes(&*place);
    }

    proptest! {
        #[test]
        fn derives_what_the_hkdf_crate_derives(
            ikm in any::<[u8; 32]>(), salt in any::<Vec<u8>>(), a in any::<Vec<u8>>(), b in any::<[u8; 16]>(),
        ) {
            let ours = derive(&Secret::copy_of(&Zeroizing::new(ikm)), &salt, &[&a, &b]).unwrap();
            let mut theirs = [0; 32];
            ::hkdf::Hkdf::<Sha256>::new(Some(&salt), &ikm).expand_multi_info(&[&a, &b], &mut theirs).unwrap();
            prop_assert_eq!(ours.expose(), &theirs);
        }

        #[test]
        fn hashes_what_the_sha2_crate_hashes(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let theirs: [u8; 32] = Sha256::new().chain_update(&a).chain_update(&b).finalize().into();
            prop_assert_eq!(sha256(&[&a, &b]), theirs);
        }
    }
}
