//! The recovery block: 99 bytes in every body that find the DEK when the envelope was lost.
//!
//! Tools that move bodies lose metadata. The block binds the DEK to tenant, bucket and object id, not to the key name,
//! which is lost then too. Only the offline tools accept it, and only for pairs on the operator's recovery card.

use crate::VERSION;
use crate::error::Error;
use crate::ids::{BucketId, IkId, ObjectId, TenantId};
use crate::keys::{Ik, ObjectKeys};
use crate::suite::{Kind, Suite};
use crate::wire::Reader;
use crate::wrap::{self, Purpose, WrapKey, WrapSalt, Wrapped};

/// Length in bytes.
pub const LEN: usize = 99;
const CLEAR: usize = 51;

/// A parsed recovery block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    kind: Kind,
    suite: Suite,
    ik: IkId,
    object: ObjectId,
    salt: WrapSalt,
    wrapped: Wrapped,
}

impl Recovery {
    /// Wraps the DEK once more, under the IK that is active when the trailer is written.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal(
        keys: &ObjectKeys,
        kind: Kind,
        ik_id: IkId,
        ik: &Ik,
        tenant: TenantId,
        bucket: BucketId,
    ) -> Result<Self, Error> {
        let (salt, key) = WrapKey::fresh(ik, Purpose::Recovery)?;
        let mut this =
            Self { kind, suite: keys.suite(), ik: ik_id, object: keys.object_id(), salt, wrapped: [0; 48] };
        this.wrapped = key.wrap(keys.dek(), &this.aad(tenant, bucket))?;
        Ok(this)
    }

    /// Unwraps the DEK. It is proved when the trailer that holds this block opens with it, not before.
    ///
    /// # Errors
    /// [`Error::Recovery`] for another IK, tenant, bucket or altered bytes.
    pub fn open(&self, ik: &Ik, tenant: TenantId, bucket: BucketId) -> Result<ObjectKeys, Error> {
        let aad = self.aad(tenant, bucket);
        let dek =
            wrap::unwrap(ik, Purpose::Recovery, &self.salt, &self.wrapped, &aad).map_err(|e| match e {
                Error::Wrap => Error::Recovery("does not open"),
                other => other,
            })?;
        Ok(ObjectKeys::new(dek, self.suite, self.object))
    }

    /// From its 99 bytes.
    ///
    /// # Errors
    /// [`Error::Recovery`], saying which rule is broken.
    pub fn parse(bytes: &[u8; LEN]) -> Result<Self, Error> {
        let short = || Error::Recovery("too short");
        let mut reader = Reader::new(bytes);
        let [version, kind, suite] = reader.array().ok_or_else(short)?;
        if version != VERSION {
            return Err(Error::Recovery("unknown version"));
        }
        Ok(Self {
            kind: Kind::from_code(kind).ok_or(Error::Recovery("unknown kind"))?,
            suite: Suite::from_code(suite).ok_or(Error::Recovery("unknown suite"))?,
            ik: IkId::from_bytes(reader.array().ok_or_else(short)?),
            object: ObjectId::from_bytes(reader.array().ok_or_else(short)?),
            salt: reader.array().ok_or_else(short)?,
            wrapped: reader.array().ok_or_else(short)?,
        })
    }

    /// Its 99 bytes: version, kind, suite, IK id, object id, wrap salt, wrapped DEK.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..CLEAR].copy_from_slice(&self.clear());
        out[CLEAR..].copy_from_slice(&self.wrapped);
        out
    }

    /// Single PUT or multipart upload.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The suite of the body.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The IK whose record must be found.
    #[must_use]
    pub fn ik_id(&self) -> IkId {
        self.ik
    }

    /// The object.
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.object
    }

    fn clear(&self) -> [u8; CLEAR] {
        let mut out = [0; CLEAR];
        out[..3].copy_from_slice(&[VERSION, self.kind.code(), self.suite.code()]);
        out[3..19].copy_from_slice(self.ik.as_bytes());
        out[19..35].copy_from_slice(self.object.as_bytes());
        out[35..].copy_from_slice(&self.salt);
        out
    }

    /// "sealgate" ‖ purpose ‖ clear fields ‖ tenant id ‖ bucket id: what a body and an IK record give.
    fn aad(&self, tenant: TenantId, bucket: BucketId) -> Vec<u8> {
        let clear = self.clear();
        [b"sealgate", &[Purpose::Recovery as u8][..], &clear, tenant.as_bytes(), bucket.as_bytes()].concat()
    }
}
