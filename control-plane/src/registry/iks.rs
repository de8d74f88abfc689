//! IK records in the store: commit → placed in the bucket → confirmed → used.

use std::sync::Arc;

use sealgate_envelope::{BucketId, IkId, IkRecord, TenantId};
use sealgate_store::{Compare, Op, decode, encode};
use sha2::{Digest as _, Sha256};

use super::{
    Registry,
    records::{ActiveRecord, IkEntry, IkState, TenantRecord, active_key, ik_key, tenant_key},
};
use crate::Error;

/// An IK record that was just wrapped.
pub(crate) struct Made {
    pub(crate) record: IkRecord,
    /// The KEK version that wrapped it, as far as the KMS tells.
    pub(crate) version: String,
    /// The tenant's generation from before its KEK was asked.
    pub(crate) generation: u64,
}

/// The write that takes down the use of a KEK version, unless it is known.
pub(super) fn noted(tenant: &TenantRecord, kek: &str, version: &str) -> Result<Option<Op>, Error> {
    let mut record = tenant.clone();
    let new = record.note(kek, version);
    Ok(if new { Some(Op::Put(tenant_key(tenant.id), encode(&record)?)) } else { None })
}

impl Registry {
    /// The entry of one IK; `None` when it was never made for this bucket.
    pub(crate) fn ik(&self, bucket: BucketId, ik: IkId) -> Result<Option<IkEntry>, Error> {
        Ok(self.store().get(&ik_key(bucket, ik))?.map(|found| decode(&found.value)).transpose()?)
    }

    /// All entries of a bucket.
    pub(crate) fn iks(&self, bucket: BucketId) -> Result<Vec<IkEntry>, Error> {
        let found = self.store().scan(&format!("{}{bucket}/", super::records::IK_PREFIX))?;
        Ok(found.iter().map(|(_, found)| decode(&found.value)).collect::<Result<_, _>>()?)
    }

    /// The newest IK of a bucket.
    pub(crate) fn active_ik(&self, bucket: BucketId) -> Result<Option<ActiveRecord>, Error> {
        Ok(self.store().get(&active_key(bucket))?.map(|found| decode(&found.value)).transpose()?)
    }

    /// Commits a new, unconfirmed IK as the bucket's newest; `replaces` is the one that was the newest before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when somebody else made one in between; [`Error::Conflict`] when the tenant's KEK was rotated or
    /// replaced: it would be wrapped by what is on its way out. [`Error::Denied`] when the tenant's keys were cut off.
    pub(crate) fn commit_ik(&self, made: &Made, replaces: Option<IkId>) -> Result<(), Error> {
        let Made { record, version, generation } = made;
        let context = &record.context;
        let tenant = self.tenant(context.tenant)?;
        tenant.usable()?;
        if tenant.generation != *generation || tenant.kek != context.kek {
            return Err(Error::Conflict("the KEK was rotated at the same time".to_owned()));
        }
        let (entry, active) = (ik_key(context.bucket, context.ik), active_key(context.bucket));
        let now = self.active_ik(context.bucket)?.map(|active| active.ik);
        if now != replaces {
            return Err(Error::Unavailable("another key was made at the same time".to_owned()));
        }
        let mut compare = vec![self.unchanged(&active)?, Compare::Absent(entry.clone())];
        compare.push(self.unchanged(&tenant_key(tenant.id))?);
        let stored = IkEntry {
            record: record.to_bytes()?,
            state: IkState::Active,
            confirmed: false,
            generation: *generation,
            version: version.clone(),
            old: Vec::new(),
        };
        let previous = replaces.map_or_else(String::new, |ik| ik.to_string());
        let newest = ActiveRecord { ik: context.ik, created: context.created, previous, ended: false };
        let mut ops = vec![Op::Put(entry, encode(&stored)?), Op::Put(active, encode(&newest)?)];
        // With the IK, not after it: what shredding destroys and the card allows has no gap.
        ops.extend(noted(&tenant, &context.kek, version)?);
        self.commit(&compare, ops, false)?;
        Ok(())
    }

    /// A tenant as it is now.
    pub(crate) fn tenant(&self, id: TenantId) -> Result<Arc<TenantRecord>, Error> {
        let found = self.state().tenants.get(&id).cloned();
        found.ok_or_else(|| Error::NotFound("no such tenant".to_owned()))
    }

    /// The record lies in the bucket, byte for byte: from now on the key is given out, and the one before it only
    /// decrypts. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown IK, [`Error::Precondition`] when another record was written.
    pub(crate) fn confirm_ik(&self, bucket: BucketId, ik: IkId, digest: &[u8]) -> Result<IkEntry, Error> {
        let mut entry = self.ik(bucket, ik)?.ok_or_else(|| Error::NotFound("no such key".to_owned()))?;
        if Sha256::digest(&entry.record)[..] != *digest {
            return Err(Error::Precondition("the record in the bucket is not the one to place".to_owned()));
        }
        if entry.confirmed {
            return Ok(entry);
        }
        entry.confirmed = true;
        let key = ik_key(bucket, ik);
        let mut compare = vec![self.unchanged(&key)?];
        let mut ops = vec![Op::Put(key, encode(&entry)?)];
        if self.active_ik(bucket)?.is_some_and(|active| active.ik == ik) {
            for mut old in self.iks(bucket)?.into_iter().filter(|entry| entry.state == IkState::Active) {
                let other = IkRecord::parse(&old.record)?.context.ik;
                if other != ik {
                    old.state = IkState::DecryptOnly;
                    let key = ik_key(bucket, other);
                    compare.push(self.unchanged(&key)?);
                    ops.push(Op::Put(key, encode(&old)?));
                }
            }
        }
        self.commit(&compare, ops, false)?;
        Ok(entry)
    }
}
