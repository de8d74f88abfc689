//! The upload record: what any node needs to take part in a multipart upload. It opens nothing but part operations.

use crate::checksum::ChecksumCode;
use crate::envelope::{self, Envelope, Use};
use crate::error::Error;
use crate::hidden::RecordName;
use crate::ids::{BucketId, GatewayId, IkId, TenantId};
use crate::keys::{Ik, ObjectKeys, Scope};
use crate::suite::Kind;
use crate::wire::{Reader, put_lp};
use crate::wrap::Purpose;

/// What tells an upload from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadName {
    /// The gateway that created it.
    pub gateway: GatewayId,
    /// The logical bucket.
    pub bucket: BucketId,
    /// The backend's upload id, which is the client's too.
    pub upload_id: String,
    /// The key as given to the backend.
    pub key: Vec<u8>,
}

impl UploadName {
    /// The component that stands for the upload in hidden names.
    ///
    /// # Errors
    /// As [`RecordName::new`].
    pub fn record_name(&self) -> Result<RecordName, Error> {
        RecordName::new(self.gateway, self.bucket, &self.upload_id, &self.key)
    }
}

/// What kind of full-object checksum the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumType {
    /// Over the object's bytes.
    FullObject,
    /// Over the parts' checksums.
    Composite,
}

/// A parsed upload record. [`UploadRecord::open`] proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    envelope: Envelope,
    name: UploadName,
    created: u64,
    checksum: Option<(ChecksumCode, ChecksumType)>,
}

impl UploadRecord {
    /// Seals the record of an upload whose object has these keys. `metadata` is the flag of the object's own envelope,
    /// `created` in Unix seconds, `owner` the bucket's tenant.
    ///
    /// # Errors
    /// [`Error::Seal`] for an upload id or key above 65,535 bytes.
    pub fn seal(
        keys: &ObjectKeys,
        metadata: bool,
        (ik_id, ik): (IkId, &Ik),
        owner: TenantId,
        name: UploadName,
        created: u64,
        checksum: Option<(ChecksumCode, ChecksumType)>,
    ) -> Result<Self, Error> {
        let after = after(&name, created, checksum).ok_or(Error::Seal("upload id or key too long"))?;
        let scope = Scope { tenant: owner, bucket: name.bucket, key: &name.key };
        let usage = Use { purpose: Purpose::Upload, scope: &scope, after: &after };
        let envelope = Envelope::seal(keys, None, metadata, ik_id, ik, &usage)?;
        Ok(Self { envelope, name, created, checksum })
    }

    /// Opens the record that was found under the name of `expected`.
    ///
    /// # Errors
    /// [`Error::UploadRecord`] when it is another upload's; [`Error::Wrap`] and [`Error::Commitment`] as for envelopes.
    pub fn open(&self, ik: &Ik, owner: TenantId, expected: &UploadName) -> Result<ObjectKeys, Error> {
        if self.name != *expected {
            return Err(Error::UploadRecord("belongs to another upload"));
        }
        let after = after(&self.name, self.created, self.checksum).ok_or(Error::UploadRecord("too long"))?;
        let scope = Scope { tenant: owner, bucket: self.name.bucket, key: &self.name.key };
        self.envelope.open_for(ik, &Use { purpose: Purpose::Upload, scope: &scope, after: &after })
    }

    /// From its bytes; nothing may follow.
    ///
    /// # Errors
    /// [`Error::UploadRecord`] or [`Error::Header`], saying which rule is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::UploadRecord("too short");
        let mut reader = Reader::new(bytes);
        let envelope = Envelope::parse(reader.take(envelope::LEN).ok_or_else(short)?)?;
        if envelope.kind() != Kind::Multipart {
            return Err(Error::UploadRecord("envelope of a single PUT"));
        }
        let gateway = GatewayId::from_bytes(reader.array().ok_or_else(short)?);
        let bucket = BucketId::from_bytes(reader.array().ok_or_else(short)?);
        let created = reader.u64().ok_or_else(short)?;
        let checksum = match reader.array().ok_or_else(short)? {
            [0, 0] => None,
            [code, kind] => {
                let unknown = || Error::UploadRecord("unknown checksum");
                let kind = match kind {
                    1 => ChecksumType::FullObject,
                    2 => ChecksumType::Composite,
                    _ => return Err(unknown()),
                };
                Some((ChecksumCode::from_code(code).ok_or_else(unknown)?, kind))
            }
        };
        let upload_id = str::from_utf8(reader.lp().ok_or_else(short)?)
            .map_err(|_| Error::UploadRecord("upload id is not UTF-8"))?
            .to_owned();
        let key = reader.lp().ok_or_else(short)?.to_vec();
        if !reader.is_empty() {
            return Err(Error::UploadRecord("bytes after the record"));
        }
        Ok(Self { envelope, name: UploadName { gateway, bucket, upload_id, key }, created, checksum })
    }

    /// 141 bytes of envelope ‖ gateway id ‖ bucket id ‖ created u64 ‖ code u8 ‖ type u8 ‖ lp(upload id) ‖ lp(key).
    ///
    /// # Errors
    /// None for a record that was sealed or parsed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let after = after(&self.name, self.created, self.checksum).ok_or(Error::UploadRecord("too long"))?;
        Ok([&self.envelope.to_bytes()[..], &after].concat())
    }

    /// The IK to open it with.
    #[must_use]
    pub fn ik_id(&self) -> IkId {
        self.envelope.ik_id()
    }

    /// Its first 141 bytes: ids, suite and flags. It opens as nobody's object.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The upload that it claims to be of: for the sweep, which touches only its own gateway's.
    #[must_use]
    pub fn name(&self) -> &UploadName {
        &self.name
    }

    /// Unix seconds.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The checksum that the client asked for.
    #[must_use]
    pub fn checksum(&self) -> Option<(ChecksumCode, ChecksumType)> {
        self.checksum
    }
}

/// Everything after the first 141 bytes.
fn after(name: &UploadName, created: u64, checksum: Option<(ChecksumCode, ChecksumType)>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64 + name.upload_id.len() + name.key.len());
    out.extend_from_slice(name.gateway.as_bytes());
    out.extend_from_slice(name.bucket.as_bytes());
    out.extend_from_slice(&created.to_be_bytes());
    out.extend_from_slice(&match checksum {
        None => [0, 0],
        Some((code, ChecksumType::FullObject)) => [code.code(), 1],
        Some((code, ChecksumType::Composite)) => [code.code(), 2],
    });
    put_lp(&mut out, name.upload_id.as_bytes())?;
    put_lp(&mut out, &name.key)?;
    Some(out)
}
