//! The IK record: a wrapped IK with what the KMS binds it to. It lies in the data bucket, so that bucket, KMS and
//! recovery card are enough to read everything.

use crate::VERSION;
use crate::error::Error;
use crate::ids::{BucketId, IkId, TenantId};
use crate::kdf;
use crate::text;
use crate::wire::{Reader, put_lp};

/// Bound of the KEK reference and version, in bytes.
pub const MAX_REFERENCE: usize = 1024;
/// Bound of the wrapped IK, in bytes.
pub const MAX_WRAPPED: usize = 8192;

/// What an IK is bound to in the KMS: everything of the record before the wrapped IK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkContext {
    /// The tenant that owns the bucket.
    pub tenant: TenantId,
    /// The logical bucket.
    pub bucket: BucketId,
    /// The IK.
    pub ik: IkId,
    /// Unix seconds.
    pub created: u64,
    /// Which KEK: a reference that the KMS layer understands, 1 to 1,024 bytes.
    pub kek: String,
    /// Its version, at most 1,024 bytes; empty unless the KMS takes it as input.
    pub kek_version: String,
}

impl IkContext {
    /// format u8 ‖ tenant ‖ bucket ‖ IK id ‖ created u64 ‖ lp(KEK reference) ‖ lp(KEK version): the KMS encryption
    /// context or additional data.
    ///
    /// # Errors
    /// [`Error::IkRecord`] for a reference or version out of bounds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        if self.kek.is_empty() || self.kek.len() > MAX_REFERENCE || self.kek_version.len() > MAX_REFERENCE {
            return Err(Error::IkRecord("KEK reference or version out of bounds"));
        }
        let mut out = Vec::with_capacity(64 + self.kek.len() + self.kek_version.len());
        out.push(VERSION);
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(self.bucket.as_bytes());
        out.extend_from_slice(self.ik.as_bytes());
        out.extend_from_slice(&self.created.to_be_bytes());
        put_lp(&mut out, self.kek.as_bytes()).ok_or(Error::IkRecord("KEK reference too long"))?;
        put_lp(&mut out, self.kek_version.as_bytes()).ok_or(Error::IkRecord("KEK version too long"))?;
        Ok(out)
    }

    /// The same as base64url: the value of the one entry `sealgate` where a KMS only takes a string map.
    ///
    /// # Errors
    /// As [`IkContext::to_bytes`].
    pub fn to_text(&self) -> Result<String, Error> {
        self.to_bytes().map(|bytes| text::encode(&bytes))
    }
}

/// A wrapped IK and its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkRecord {
    /// What the KMS binds it to.
    pub context: IkContext,
    /// The IK as the KMS wrapped it, 1 to 8,192 bytes.
    pub wrapped: Vec<u8>,
}

impl IkRecord {
    /// The KMS context of this record.
    ///
    /// # Errors
    /// As [`IkContext::to_bytes`].
    pub fn context(&self) -> Result<Vec<u8>, Error> {
        self.context.to_bytes()
    }

    /// context ‖ lp(wrapped).
    ///
    /// # Errors
    /// [`Error::IkRecord`] for a field out of bounds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        if self.wrapped.is_empty() || self.wrapped.len() > MAX_WRAPPED {
            return Err(Error::IkRecord("wrapped key out of bounds"));
        }
        let mut out = self.context.to_bytes()?;
        put_lp(&mut out, &self.wrapped).ok_or(Error::IkRecord("wrapped key out of bounds"))?;
        Ok(out)
    }

    /// The inverse of [`IkRecord::to_bytes`]; nothing may follow.
    ///
    /// # Errors
    /// [`Error::IkRecord`], saying which rule is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::IkRecord("too short");
        let mut reader = Reader::new(bytes);
        if reader.u8().ok_or_else(short)? != VERSION {
            return Err(Error::IkRecord("unknown format"));
        }
        let text = |bytes: &[u8]| {
            str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| Error::IkRecord("KEK reference is not UTF-8"))
        };
        let context = IkContext {
            tenant: TenantId::from_bytes(reader.array().ok_or_else(short)?),
            bucket: BucketId::from_bytes(reader.array().ok_or_else(short)?),
            ik: IkId::from_bytes(reader.array().ok_or_else(short)?),
            created: reader.u64().ok_or_else(short)?,
            kek: text(reader.lp().ok_or_else(short)?)?,
            kek_version: text(reader.lp().ok_or_else(short)?)?,
        };
        let record = Self { context, wrapped: reader.lp().ok_or_else(short)?.to_vec() };
        if !reader.is_empty() {
            return Err(Error::IkRecord("bytes after the record"));
        }
        // Bounds are those of writing.
        record.to_bytes().map(|_| record)
    }

    /// The first 32 hex digits of H(record), the last component of its name: a re-wrap makes a new name.
    ///
    /// # Errors
    /// As [`IkRecord::to_bytes`].
    pub fn digest(&self) -> Result<[u8; 16], Error> {
        let hash = kdf::sha256(&[&self.to_bytes()?]);
        let mut out = [0; 16];
        out.copy_from_slice(&hash[..16]);
        Ok(out)
    }
}
