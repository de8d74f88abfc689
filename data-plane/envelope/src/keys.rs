//! Key types. None is Clone, Copy, Debug or Serialize; all are zeroized on drop.

use crate::aead::{BulkKey, OneShotKey};
use crate::error::Error;
use crate::ids::{BucketId, ObjectId, TenantId};
use crate::kdf::{self, Secret};
use crate::size::MAX_PARTS;
use crate::suite::Suite;
use crate::{SALT, VERSION};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// An intermediate key: 256 random bits, per bucket, wrapped by a KEK in the KMS; it wraps DEKs and nothing else.
pub struct Ik(Secret);

impl Ik {
    /// A fresh one.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        Secret::random().map(Self)
    }

    /// The key that a KMS unwrapped. By reference: one that is moved leaves a copy on the stack.
    #[must_use]
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(Secret::copy_of(bytes))
    }

    /// The raw key: for wrapping by a KMS and for the key channel between the planes only.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn of(secret: Secret) -> Self {
        Self(secret)
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Where an object belongs: what a wrapped DEK is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The tenant that owns the bucket, whoever writes.
    pub tenant: TenantId,
    /// The logical bucket.
    pub bucket: BucketId,
    /// The key as given to the backend: after percent-decoding and prefix mapping, before a filesystem's escaping,
    /// without Unicode normalisation. At most 65,535 bytes.
    pub key: &'a [u8],
}

/// The DEK of one object: 256 random bits.
pub(crate) struct Dek(Secret);

impl Dek {
    pub(crate) fn of(secret: Secret) -> Self {
        Self(secret)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// A DEK that was freshly made or has been proved, with what every key derived from it is bound to.
///
/// Having one is the proof that the commitment was checked (after [`crate::Recovery::open`], which knows none, it is the
/// trailer that proves the DEK). Share it in an `Arc`; it is Sync and never changes.
pub struct ObjectKeys {
    dek: Dek,
    suite: Suite,
    object: ObjectId,
}

impl ObjectKeys {
    /// A new DEK and object id, for one new object.
    ///
    /// # Errors
    /// [`Error::Random`] when the operating system gives no randomness.
    pub fn generate(suite: Suite) -> Result<Self, Error> {
        Ok(Self { dek: Dek(Secret::random()?), suite, object: ObjectId::random()? })
    }

    pub(crate) fn new(dek: Dek, suite: Suite, object: ObjectId) -> Self {
        Self { dek, suite, object }
    }

    /// The suite of everything sealed under this DEK.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The object that the DEK belongs to.
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.object
    }

    pub(crate) fn dek(&self) -> &Dek {
        &self.dek
    }

    /// HKDF(DEK, no salt, "sealgate/v1/commit" ‖ version ‖ suite ‖ object id).
    pub(crate) fn commitment(&self) -> Result<[u8; 32], Error> {
        let info: [&[u8]; 3] = [b"sealgate/v1/commit", &[VERSION, self.suite.code()], self.object.as_bytes()];
        kdf::derive(&self.dek.0, &[], &info).map(|out| *out.expose())
    }

    /// In constant time, so that guessing a commitment byte by byte is no way in.
    pub(crate) fn proves(&self, commitment: &[u8; 32]) -> Result<bool, Error> {
        Ok(self.commitment()?.ct_eq(commitment).into())
    }

    /// The key of all chunks of one attempt to write a part; number 0 is a single PUT.
    pub(crate) fn part_key(&self, part: u16, salt: &[u8; SALT]) -> Result<BulkKey, Error> {
        if part > MAX_PARTS {
            return Err(Error::Seal("part number above 10,000"));
        }
        let info: [&[u8]; 4] =
            [b"sealgate/v1/part", &[self.suite.code()], self.object.as_bytes(), &part.to_be_bytes()];
        BulkKey::new(self.suite, &kdf::derive(&self.dek.0, salt, &info)?)
    }

    /// A key that encrypts once; `label` is one of "sealgate/v1/trailer", "…/meta", "…/note".
    pub(crate) fn one_shot(&self, label: &'static str, salt: &[u8; SALT]) -> Result<OneShotKey, Error> {
        let info: [&[u8]; 3] = [label.as_bytes(), &[self.suite.code()], self.object.as_bytes()];
        Ok(OneShotKey::new(BulkKey::new(self.suite, &kdf::derive(&self.dek.0, salt, &info)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Dek, Ik, ObjectKeys};
    use crate::kdf::Secret;
    use std::fmt::Debug;

    /// Compiles only while the type does not implement the trait: with it, `check` would be ambiguous.
    macro_rules! assert_not {
        ($type:ty: $($bound:path),+) => {$({
            trait Ambiguous<A> { fn check() {} }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Marker;
            impl<T: ?Sized + $bound> Ambiguous<Marker> for T {}
            <$type as Ambiguous<_>>::check();
        })+};
    }

    #[test]
    fn keys_cannot_be_copied_or_printed() {
        assert_not!(Secret: Clone, Copy, Debug);
        assert_not!(Ik: Clone, Copy, Debug);
        assert_not!(Dek: Clone, Copy, Debug);
        assert_not!(ObjectKeys: Clone, Copy, Debug);
    }

    #[test]
    fn the_pipeline_may_share_them() {
        fn shared<T: Send + Sync>() {}
        shared::<ObjectKeys>();
        shared::<crate::PartSealer>();
        shared::<crate::PartReader>();
    }

    #[test]
    fn keys_are_zeroized_on_drop() {
        // What a Secret is, `kdf` tests. These hold no key material but in one.
        assert_eq!(size_of::<Ik>(), size_of::<Secret>());
        assert_eq!(size_of::<Dek>(), size_of::<Secret>());
    }

    #[test]
    #[ignore = "statistics: `just timing`"]
    fn timing_of_the_commitment() {
        let keys = ObjectKeys::generate(crate::Suite::Aes256Gcm).unwrap();
        let commitment = keys.commitment().unwrap();
        crate::timing::tells_nothing("the commitment", &commitment, |given| {
            keys.proves(given.try_into().unwrap()).unwrap()
        });
    }
}
