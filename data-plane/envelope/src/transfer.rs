//! An IK on its way from the control plane to a node, sealed to the request that asked for it. Not stored anywhere.
//!
//! TLS protects the wire. This protects what lies at its two ends: TLS, HTTP/2 and gRPC copy every message through buffers
//! that they give back without clearing, and an IK in clear would outlive its eviction there.
//!
//! sealed = E\[32\] ‖ ciphertext\[32\] ‖ tag\[16\], where E is an X25519 public key made for this one answer, as the
//! recipient R is for one request. key = HKDF(ikm X25519 shared secret, salt = E ‖ R, info = "sealgate/v1/ik-transfer" ‖
//! logical bucket id ‖ IK id); AES-256-GCM, nonce 0¹², no additional data: all is in the key, which encrypts once.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::ids::{BucketId, IkId};
use crate::kdf::{self, Secret};
use crate::keys::Ik;
use crate::wrap::wipe_below;

/// Bytes of an X25519 public key.
const PUBLIC: usize = 32;
/// Bytes of a sealed IK.
const SEALED: usize = PUBLIC + 32 + crate::TAG;

/// Whom an IK is sealed to. Good for one answer.
pub struct Recipient {
    private: EphemeralPrivateKey,
    public: [u8; PUBLIC],
}

impl Recipient {
    /// A fresh one.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let private =
            EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| Error::Random)?;
        let made = private.compute_public_key().map_err(|_| Error::Crypto)?;
        let public = made.as_ref().try_into().map_err(|_| Error::Crypto)?;
        Ok(Self { private, public })
    }

    /// The X25519 public key that goes into the request.
    #[must_use]
    pub fn public(&self) -> &[u8; PUBLIC] {
        &self.public
    }

    /// The IK of the answer.
    ///
    /// # Errors
    /// [`Error::Wrap`] unless it was sealed to this recipient, for this bucket, under this id.
    pub fn open(self, sealed: &[u8], bucket: BucketId, id: IkId) -> Result<Ik, Error> {
        let opened = self.opened(sealed, bucket, id);
        wipe_below();
        opened
    }

    #[inline(never)]
    fn opened(self, sealed: &[u8], bucket: BucketId, id: IkId) -> Result<Ik, Error> {
        if sealed.len() != SEALED {
            return Err(Error::Wrap);
        }
        let (sender, rest) = sealed.split_at(PUBLIC);
        let (body, tag) = rest.split_at(32);
        let cipher =
            agreed(self.private, sender, [sender, &self.public], bucket, id).map_err(|_| Error::Wrap)?;
        // On the heap at once: an IK that is moved leaves a copy on the stack.
        let mut ik = Secret::zeroed();
        ik.expose_mut().copy_from_slice(body);
        let tag = Tag::try_from(tag).map_err(|_| Error::Wrap)?;
        cipher
            .decrypt_inout_detached(&Nonce::default(), &[], ik.expose_mut().as_mut_slice().into(), &tag)
            .map_err(|_| Error::Wrap)?;
        Ok(Ik::of(ik))
    }
}

/// Seals an IK to a request's [`Recipient::public`].
///
/// # Errors
/// [`Error::Wrap`] when the recipient is no X25519 public key, or one of small order; [`Error::Random`] without randomness.
pub fn seal(ik: &Ik, bucket: BucketId, id: IkId, recipient: &[u8]) -> Result<Vec<u8>, Error> {
    let made = sealed(ik, bucket, id, recipient);
    wipe_below();
    made
}

#[inline(never)]
fn sealed(ik: &Ik, bucket: BucketId, id: IkId, recipient: &[u8]) -> Result<Vec<u8>, Error> {
    if recipient.len() != PUBLIC {
        return Err(Error::Wrap);
    }
    let sender = Recipient::generate()?;
    let cipher = agreed(sender.private, recipient, [&sender.public, recipient], bucket, id)?;
    let mut out = Vec::with_capacity(SEALED);
    out.extend_from_slice(&sender.public);
    // The IK stands in `out` only until the next statement encrypts it in place.
    out.extend_from_slice(ik.expose());
    let body = out.get_mut(PUBLIC..).unwrap_or_default();
    let tag =
        cipher.encrypt_inout_detached(&Nonce::default(), &[], body.into()).map_err(|_| Error::Crypto)?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// The cipher that both ends come to: its key is bound to both public keys, the bucket and the IK.
fn agreed(
    mine: EphemeralPrivateKey,
    theirs: &[u8],
    [sender, recipient]: [&[u8]; 2],
    bucket: BucketId,
    id: IkId,
) -> Result<Aes256Gcm, Error> {
    let salt = [sender, recipient].concat();
    agree_ephemeral(mine, UnparsedPublicKey::new(&X25519, theirs), Error::Wrap, |shared| {
        let mut secret = Zeroizing::new([0; 32]);
        if shared.len() != secret.len() {
            return Err(Error::Crypto);
        }
        secret.copy_from_slice(shared);
        let info: [&[u8]; 3] = [b"sealgate/v1/ik-transfer", bucket.as_bytes(), id.as_bytes()];
        let key = kdf::derive(&Secret::copy_of(&secret), &salt, &info)?;
        Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Error::Crypto)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Recipient, SEALED, seal};
    use crate::error::Error;
    use crate::ids::{BucketId, IkId};
    use crate::keys::Ik;
    use zeroize::Zeroizing;

    const BUCKET: BucketId = BucketId::from_bytes([1; 16]);
    const ID: IkId = IkId::from_bytes([2; 16]);

    fn ik() -> Ik {
        Ik::from_bytes(&Zeroizing::new([3; 32]))
    }

    #[test]
    fn opens_for_its_recipient() {
        let recipient = Recipient::generate().unwrap();
        let sealed = seal(&ik(), BUCKET, ID, recipient.public()).unwrap();
        assert_eq!(sealed.len(), SEALED);
        assert_ne!(seal(&ik(), BUCKET, ID, recipient.public()).unwrap(), sealed, "fresh each time");
        assert_eq!(recipient.open(&sealed, BUCKET, ID).unwrap().expose(), &[3; 32]);
    }

    #[test]
    fn opens_for_nobody_else_and_nothing_else() {
        let sealed_to = |recipient: &Recipient| seal(&ik(), BUCKET, ID, recipient.public()).unwrap();
        let refused = |open: &dyn Fn(Recipient, Vec<u8>) -> Result<Ik, Error>, what: &str| {
            let recipient = Recipient::generate().unwrap();
            let sealed = sealed_to(&recipient);
            assert_eq!(open(recipient, sealed).err(), Some(Error::Wrap), "{what}");
        };
        refused(&|_, sealed| Recipient::generate()?.open(&sealed, BUCKET, ID), "another recipient");
        refused(&|it, sealed| it.open(&sealed, BucketId::from_bytes([2; 16]), ID), "another bucket");
        refused(&|it, sealed| it.open(&sealed, BUCKET, IkId::from_bytes([1; 16])), "another id");
        refused(&|it, sealed| it.open(sealed.get(1..).unwrap(), BUCKET, ID), "cut short");
        for place in [0, 31, 32, 63, 64, 79] {
            let flipped = |it: Recipient, mut sealed: Vec<u8>| {
                *sealed.get_mut(place).unwrap() ^= 1;
                it.open(&sealed, BUCKET, ID)
            };
            refused(&flipped, &format!("byte {place} altered"));
        }
    }

    #[test]
    fn refuses_what_is_no_public_key() {
        // All zeros is a point of small order: everybody knows the secret that comes out.
        for recipient in [&[][..], &[9; 31], &[9; 33], &[0; 32]] {
            assert_eq!(seal(&ik(), BUCKET, ID, recipient).err(), Some(Error::Wrap), "{recipient:?}");
        }
    }
}
