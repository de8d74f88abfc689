//! IK records in the store: commit → placed in the bucket → confirmed → used.

use sealgate_envelope::{BucketId, IkId, IkRecord};
use sealgate_store::{Compare, Op, decode, encode};
use sha2::{Digest as _, Sha256};

use super::{
    Registry,
    records::{ActiveRecord, IkEntry, IkState, active_key, ik_key},
};
use crate::Error;

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
    /// [`Error::Unavailable`] when somebody else made one in between.
    pub(crate) fn commit_ik(&self, record: &IkRecord, replaces: Option<IkId>) -> Result<(), Error> {
        let context = &record.context;
        let (entry, active) = (ik_key(context.bucket, context.ik), active_key(context.bucket));
        let now = self.active_ik(context.bucket)?.map(|active| active.ik);
        if now != replaces {
            return Err(Error::Unavailable("another key was made at the same time".to_owned()));
        }
        let compare = [self.unchanged(&active)?, Compare::Absent(entry.clone())];
        let stored = IkEntry { record: record.to_bytes()?, state: IkState::Active, confirmed: false };
        let previous = replaces.map_or_else(String::new, |ik| ik.to_string());
        let newest = ActiveRecord { ik: context.ik, created: context.created, previous };
        self.commit(
            &compare,
            vec![Op::Put(entry, encode(&stored)?), Op::Put(active, encode(&newest)?)],
            false,
        )?;
        Ok(())
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
        let active = self.active_ik(bucket)?;
        if let Some(previous) =
            active.filter(|active| active.ik == ik).and_then(|active| active.previous.parse().ok())
            && let Some(mut old) = self.ik(bucket, previous)?
            && old.state == IkState::Active
        {
            old.state = IkState::DecryptOnly;
            let key = ik_key(bucket, previous);
            compare.push(self.unchanged(&key)?);
            ops.push(Op::Put(key, encode(&old)?));
        }
        self.commit(&compare, ops, false)?;
        Ok(entry)
    }
}
