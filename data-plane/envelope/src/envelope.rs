//! The envelope: 141 bytes beside the object that bind its DEK to tenant, bucket and key.

use crate::VERSION;
use crate::error::Error;
use crate::ids::{IkId, ObjectId};
use crate::keys::{Ik, ObjectKeys, Scope};
use crate::size::MAX_PLAINTEXT;
use crate::suite::{Kind, Suite};
use crate::text;
use crate::wire::{Reader, put_lp};
use crate::wrap::{self, Purpose, WrapKey, WrapSalt, Wrapped};

/// Length in bytes.
pub const LEN: usize = 141;
/// Length of the header value.
pub const HEADER_LEN: usize = 188;
/// The metadata header that carries it. Without `-` or `_` after the prefix, for Azure and nginx.
pub const HEADER: &str = "x-amz-meta-sealgate";

const CLEAR: usize = 61;
const CHUNK_LOG2: u8 = 16;

/// A parsed envelope. That it parses proves nothing: [`Envelope::open`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    clear: Clear,
    wrapped: Wrapped,
    commitment: [u8; 32],
}

/// The fields before the wrapped DEK.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clear {
    suite: Suite,
    metadata: bool,
    ik: IkId,
    object: ObjectId,
    /// `None` is kind 2.
    plaintext_len: Option<u64>,
    salt: WrapSalt,
}

impl Clear {
    fn kind(&self) -> Kind {
        if self.plaintext_len.is_some() { Kind::Single } else { Kind::Multipart }
    }

    fn bytes(&self) -> [u8; CLEAR] {
        let mut out = [0; CLEAR];
        out[..5].copy_from_slice(&[
            VERSION,
            self.kind().code(),
            self.suite.code(),
            CHUNK_LOG2,
            self.metadata.into(),
        ]);
        out[5..21].copy_from_slice(self.ik.as_bytes());
        out[21..37].copy_from_slice(self.object.as_bytes());
        out[37..45].copy_from_slice(&self.plaintext_len.unwrap_or(u64::MAX).to_be_bytes());
        out[45..].copy_from_slice(&self.salt);
        out
    }

    /// "sealgate" ‖ purpose ‖ clear fields ‖ commitment ‖ tenant id ‖ bucket id ‖ lp(key) ‖ what follows the envelope.
    fn aad(
        &self,
        purpose: Purpose,
        commitment: &[u8; 32],
        scope: &Scope<'_>,
        after: &[u8],
    ) -> Option<Vec<u8>> {
        let mut aad = Vec::with_capacity(160 + scope.key.len() + after.len());
        aad.extend_from_slice(b"sealgate");
        aad.push(purpose as u8);
        aad.extend_from_slice(&self.bytes());
        aad.extend_from_slice(commitment);
        aad.extend_from_slice(scope.tenant.as_bytes());
        aad.extend_from_slice(scope.bucket.as_bytes());
        put_lp(&mut aad, scope.key)?;
        aad.extend_from_slice(after);
        Some(aad)
    }
}

impl Envelope {
    /// Seals the envelope of an object under a fresh wrap salt.
    ///
    /// `plaintext_len` is P of a single PUT (kind 1); `None` makes kind 2, a multipart upload. `metadata` says that the
    /// metadata header goes with it.
    ///
    /// # Errors
    /// [`Error::Seal`] when P exceeds 50 TiB or the key 65,535 bytes.
    pub fn seal_object(
        keys: &ObjectKeys,
        plaintext_len: Option<u64>,
        metadata: bool,
        ik_id: IkId,
        ik: &Ik,
        scope: &Scope<'_>,
    ) -> Result<Self, Error> {
        Self::seal(
            keys,
            plaintext_len,
            metadata,
            ik_id,
            ik,
            &Use { purpose: Purpose::Object, scope, after: &[] },
        )
    }

    pub(crate) fn seal(
        keys: &ObjectKeys,
        plaintext_len: Option<u64>,
        metadata: bool,
        ik_id: IkId,
        ik: &Ik,
        usage: &Use<'_>,
    ) -> Result<Self, Error> {
        if plaintext_len.is_some_and(|len| len > MAX_PLAINTEXT) {
            return Err(Error::Seal("plaintext above 50 TiB"));
        }
        let (salt, key) = WrapKey::fresh(ik, usage.purpose)?;
        let clear =
            Clear { suite: keys.suite(), metadata, ik: ik_id, object: keys.object_id(), plaintext_len, salt };
        let commitment = keys.commitment()?;
        let aad = clear
            .aad(usage.purpose, &commitment, usage.scope, usage.after)
            .ok_or(Error::Seal("key above 65,535 bytes"))?;
        let wrapped = key.wrap(keys.dek(), &aad)?;
        Ok(Self { clear, wrapped, commitment })
    }

    /// Unwraps the DEK for this place and proves it by the commitment, before anything is derived from it.
    ///
    /// # Errors
    /// [`Error::Wrap`] for another IK, tenant, bucket, key or altered bytes; [`Error::Commitment`].
    pub fn open(&self, ik: &Ik, scope: &Scope<'_>) -> Result<ObjectKeys, Error> {
        self.open_for(ik, &Use { purpose: Purpose::Object, scope, after: &[] })
    }

    pub(crate) fn open_for(&self, ik: &Ik, usage: &Use<'_>) -> Result<ObjectKeys, Error> {
        let clear = &self.clear;
        let aad = clear.aad(usage.purpose, &self.commitment, usage.scope, usage.after).ok_or(Error::Wrap)?;
        let dek = wrap::unwrap(ik, usage.purpose, &clear.salt, &self.wrapped, &aad)?;
        let keys = ObjectKeys::new(dek, clear.suite, clear.object);
        if keys.proves(&self.commitment)? { Ok(keys) } else { Err(Error::Commitment) }
    }

    /// Opens the envelope and seals it for another place or IK, with the same DEK, length and flags.
    ///
    /// The metadata header must be sealed again with the keys and envelope that this gives: its additional data is the
    /// whole envelope.
    ///
    /// # Errors
    /// As [`Envelope::open`] and [`Envelope::seal_object`].
    pub fn rewrap(
        &self,
        old_ik: &Ik,
        old_scope: &Scope<'_>,
        new_ik_id: IkId,
        new_ik: &Ik,
        new_scope: &Scope<'_>,
    ) -> Result<(Self, ObjectKeys), Error> {
        let keys = self.open(old_ik, old_scope)?;
        let new = Self::seal_object(
            &keys,
            self.clear.plaintext_len,
            self.clear.metadata,
            new_ik_id,
            new_ik,
            new_scope,
        )?;
        Ok((new, keys))
    }

    /// From the header value: canonical base64url without padding, 188 characters.
    ///
    /// # Errors
    /// [`Error::Header`], saying which rule is broken.
    pub fn parse_header(value: &str) -> Result<Self, Error> {
        if value.len() != HEADER_LEN {
            return Err(Error::Header("not 188 characters"));
        }
        Self::parse(&text::decode(value).ok_or(Error::Header("not canonical base64url"))?)
    }

    /// The header value.
    #[must_use]
    pub fn to_header(&self) -> String {
        text::encode(&self.to_bytes())
    }

    /// From its 141 bytes.
    ///
    /// # Errors
    /// [`Error::Header`], saying which rule is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != LEN {
            return Err(Error::Header("not 141 bytes"));
        }
        let mut reader = Reader::new(bytes);
        let short = || Error::Header("too short");
        let [version, kind, suite, log2, flags] = reader.array().ok_or_else(short)?;
        if version != VERSION {
            return Err(Error::Header("unknown version"));
        }
        let kind = Kind::from_code(kind).ok_or(Error::Header("unknown kind"))?;
        let suite = Suite::from_code(suite).ok_or(Error::Header("unknown suite"))?;
        if log2 != CHUNK_LOG2 {
            return Err(Error::Header("chunk size is not 64 KiB"));
        }
        let metadata = match flags {
            0 => false,
            1 => true,
            _ => return Err(Error::Header("unknown flags")),
        };
        let ik = IkId::from_bytes(reader.array().ok_or_else(short)?);
        let object = ObjectId::from_bytes(reader.array().ok_or_else(short)?);
        let plaintext_len = match (kind, reader.u64().ok_or_else(short)?) {
            (Kind::Single, len) if len <= MAX_PLAINTEXT => Some(len),
            (Kind::Multipart, u64::MAX) => None,
            _ => return Err(Error::Header("impossible plaintext length")),
        };
        let salt = reader.array().ok_or_else(short)?;
        let wrapped = reader.array().ok_or_else(short)?;
        let commitment = reader.array().ok_or_else(short)?;
        Ok(Self { clear: Clear { suite, metadata, ik, object, plaintext_len, salt }, wrapped, commitment })
    }

    /// Its 141 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..CLEAR].copy_from_slice(&self.clear.bytes());
        out[CLEAR..CLEAR + 48].copy_from_slice(&self.wrapped);
        out[CLEAR + 48..].copy_from_slice(&self.commitment);
        out
    }

    /// Single PUT or multipart upload.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.clear.kind()
    }

    /// The suite of body, metadata and notes.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.clear.suite
    }

    /// Whether the metadata header belongs to the object.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.clear.metadata
    }

    /// The IK that the DEK is wrapped under.
    #[must_use]
    pub fn ik_id(&self) -> IkId {
        self.clear.ik
    }

    /// The object.
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.clear.object
    }

    /// P of a single PUT; `None` for a multipart upload, whose trailer has it.
    #[must_use]
    pub fn plaintext_len(&self) -> Option<u64> {
        self.clear.plaintext_len
    }
}

/// What an envelope is sealed for: the place, and the bytes that follow it in an upload record.
pub(crate) struct Use<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) after: &'a [u8],
}
