//! What a migration needs of the registry: a bucket that takes no writes for now, and two buckets that exchange their names.

use sealgate_envelope::BucketId;
use sealgate_store::{Op, encode};

use super::{
    Registry, Version,
    records::{BucketRecord, BucketState, bucket_key},
};
use crate::Error;

impl Registry {
    /// Freezes a bucket, or ends its freeze. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for a bucket that is not active.
    pub fn set_frozen(&self, name: &str, frozen: bool) -> Result<Version, Error> {
        let mut record = self.active(name)?;
        if record.frozen == frozen {
            return Ok(self.version());
        }
        record.frozen = frozen;
        self.put(&record)
    }

    /// Exchanges the names of two buckets in one step; ids, backend buckets, rules and objects stay where they are. `name` must
    /// belong to the bucket `expected` and be frozen, so that a call that is repeated does not change anything back. Both are
    /// frozen then: until all nodes know of it, one would read under the name what another does not write there any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for a bucket of another tenant; [`Error::Precondition`] when `name` is another bucket's by now,
    /// is not frozen, or one of the two is not active; [`Error::Invalid`] for one bucket twice, or two regions.
    pub fn switch(&self, name: &str, with: &str, expected: BucketId) -> Result<Version, Error> {
        let (mut one, mut other) = (self.active(name)?, self.active(with)?);
        if one.tenant != other.tenant {
            return Err(Error::NotFound(format!("no such bucket: {with:?}")));
        }
        if one.id != expected {
            return Err(Error::Precondition(format!("{name:?} is the bucket {} by now", one.id)));
        }
        if one.id == other.id || one.region != other.region {
            return Err(Error::Invalid("two different buckets of one region exchange names".to_owned()));
        }
        if !one.frozen {
            return Err(Error::Precondition(format!("{name:?} is not frozen: its writes would be lost")));
        }
        std::mem::swap(&mut one.name, &mut other.name);
        other.frozen = true;
        let (here, there) = (bucket_key(name), bucket_key(with));
        let unchanged = [self.unchanged(&here)?, self.unchanged(&there)?];
        let ops = vec![Op::Put(here, encode(&other)?), Op::Put(there, encode(&one)?)];
        self.commit(&unchanged, ops, false)
    }

    fn active(&self, name: &str) -> Result<BucketRecord, Error> {
        let state = self.state();
        let bucket = state.buckets.get(name);
        let bucket = bucket.ok_or_else(|| Error::NotFound(format!("no such bucket: {name:?}")))?;
        if bucket.state != BucketState::Active {
            return Err(Error::Precondition(format!("{name:?} is being made or deleted")));
        }
        Ok(BucketRecord::clone(bucket))
    }
}
