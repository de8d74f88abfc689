//! IK records in buckets that are not theirs. A copy within a tenant moves no data, so its recovery block goes on naming the IK
//! and the bucket of the object that it was made from: that record has to lie beside the copy, and the card has to allow it.

use sealgate_envelope::{BucketId, IkId};
use sealgate_store::{Op, decode, encode};

use super::{
    Registry,
    records::{IkEntry, IkState, LENT_PREFIX, LentRecord, SOURCE_PREFIX, SourceRecord, lent_key, source_key},
};
use crate::Error;

impl Registry {
    /// Lends an IK that is `bucket`'s, or was lent to it, to `target`; gives its record. Written down before it is given out: no
    /// copy may exist that neither the card nor the check of records knows of. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown IK or bucket, or one of another tenant, [`Error::Denied`] for a compromised IK.
    pub(crate) fn lend(&self, bucket: BucketId, ik: IkId, target: BucketId) -> Result<Vec<u8>, Error> {
        let unknown = || Error::NotFound("no such key".to_owned());
        let state = self.state();
        let (from, to) = state.bucket(bucket).zip(state.bucket(target)).ok_or_else(unknown)?;
        if from.tenant != to.tenant {
            return Err(unknown());
        }
        let owner = match self.ik(bucket, ik)? {
            Some(_) => bucket,
            None => self.lent(bucket, ik)?.ok_or_else(unknown)?.owner,
        };
        let entry = self.ik(owner, ik)?.filter(|entry| entry.confirmed).ok_or_else(unknown)?;
        if entry.state == IkState::Compromised {
            return Err(Error::Denied("the key is compromised".to_owned()));
        }
        if owner == target || self.lent(target, ik)?.is_some() {
            return Ok(entry.record);
        }
        let (lent, source) = (lent_key(target, ik), source_key(target, owner));
        // The bucket must still be there: what is lent to it goes with it.
        let mut compare =
            vec![self.unchanged(&super::records::bucket_key(&to.name))?, self.unchanged(&lent)?];
        let mut ops = vec![Op::Put(lent, encode(&LentRecord { owner })?)];
        // Once for two buckets: nodes are told of each change of what they may be told of.
        if !state.sources.contains_key(source.trim_start_matches(SOURCE_PREFIX)) {
            compare.push(self.unchanged(&source)?);
            ops.push(Op::Put(source, encode(&SourceRecord { tenant: to.tenant, owner })?));
        }
        self.commit(&compare, ops, false)?;
        Ok(entry.record)
    }

    /// Entries of the IKs that were lent to a bucket.
    pub(crate) fn borrowed(&self, target: BucketId) -> Result<Vec<IkEntry>, Error> {
        let prefix = format!("{LENT_PREFIX}{target}/");
        let mut entries = Vec::new();
        for (key, found) in self.store().scan(&prefix)? {
            let ik = key.trim_start_matches(&prefix).parse();
            let ik = ik.map_err(|_| Error::Internal("a lent key's name is no id".to_owned()))?;
            entries.extend(self.ik(decode::<LentRecord>(&found.value)?.owner, ik)?);
        }
        Ok(entries)
    }

    /// The keys of all that was lent to a bucket.
    pub(crate) fn ends_of_loans(&self, target: BucketId) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        for prefix in [LENT_PREFIX, SOURCE_PREFIX] {
            let found = self.store().scan(&format!("{prefix}{target}/"))?;
            keys.extend(found.into_iter().map(|(key, _)| key));
        }
        Ok(keys)
    }

    pub(super) fn lent(&self, target: BucketId, ik: IkId) -> Result<Option<LentRecord>, Error> {
        Ok(self.store().get(&lent_key(target, ik))?.map(|found| decode(&found.value)).transpose()?)
    }
}
