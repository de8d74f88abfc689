//! What operators do to IKs and to whole tenants: rotation, states, cutting off, shredding.
//!
//! Each of these changes what nodes may hold, so each is pushed without waiting, and a node that acknowledges it has dropped
//! what it held.

use sealgate_envelope::{BucketId, IkId};
use sealgate_store::{Op, encode};

use super::{
    Registry, Version,
    records::{
        ActiveRecord, BucketRecord, Cut, IkEntry, IkState, TenantRecord, active_key, bucket_key, ik_key,
    },
};
use crate::Error;

/// A state that an operator gives an IK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Refused online; recovery copies may still need it.
    Retired,
    /// Refused, and counted as disclosed.
    Compromised,
    /// For reading again.
    Reinstated,
}

impl Registry {
    /// The next write to a bucket makes another IK.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a bucket, [`Error::Denied`] while the tenant's keys are cut off.
    pub(crate) fn end_active_ik(&self, name: &str) -> Result<Version, Error> {
        let mut bucket = self.bucket_by_name(name)?;
        self.tenant(bucket.tenant)?.usable()?;
        let Some(active) = self.active_ik(bucket.id)? else { return Ok(self.version()) };
        bucket.keys += 1;
        let (key, of) = (active_key(bucket.id), bucket_key(name));
        let compare = [self.unchanged(&key)?, self.unchanged(&of)?];
        let ended = ActiveRecord { ended: true, ..active };
        self.commit(&compare, vec![Op::Put(key, encode(&ended)?), Op::Put(of, encode(&bucket)?)], true)
    }

    /// Gives an IK of a bucket another state. `forced`: the operator says that nothing under it is needed online, or takes
    /// back that it counts as disclosed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown bucket or IK, [`Error::Precondition`] for what needs to be forced, and for retiring
    /// the key that the bucket writes with.
    pub(crate) fn judge_ik(
        &self,
        name: &str,
        ik: IkId,
        verdict: Verdict,
        forced: bool,
    ) -> Result<(BucketId, Version), Error> {
        let mut bucket = self.bucket_by_name(name)?;
        let entry = self.ik(bucket.id, ik)?;
        let mut entry = entry.ok_or_else(|| Error::NotFound(format!("{name:?} has no key {ik}")))?;
        let refuse = |why: String| Err(Error::Precondition(why));
        entry.state = match (verdict, entry.state) {
            (Verdict::Compromised, _) => IkState::Compromised,
            (Verdict::Retired, IkState::Active) => {
                return refuse(format!("{name:?} writes with the key {ik}: rotate it first"));
            }
            (Verdict::Retired, IkState::Compromised) => {
                return refuse(format!("the key {ik} is compromised, which is more than retired"));
            }
            (Verdict::Retired, IkState::DecryptOnly) if !forced => match self.left_under(bucket.id, ik)? {
                Some(0) => IkState::Retired,
                Some(left) => {
                    return refuse(format!(
                        "{left} objects and open uploads in {name:?} stay under the key {ik}, and would be refused: \
                         `sealgate admin rewrap show` says which, and why"
                    ));
                }
                None => {
                    return refuse(format!(
                        "objects and open uploads in {name:?} may still be sealed under the key {ik}, and would be refused: \
                         `sealgate admin rewrap start` seals their envelopes anew first"
                    ));
                }
            },
            (Verdict::Retired, IkState::DecryptOnly | IkState::Retired) => IkState::Retired,
            (Verdict::Reinstated, IkState::Compromised) if !forced => {
                return refuse(format!(
                    "the key {ik} counts as disclosed: force it, and judge it again soon"
                ));
            }
            (Verdict::Reinstated, IkState::Active) => IkState::Active,
            (Verdict::Reinstated, _) => IkState::DecryptOnly,
        };
        bucket.keys += 1;
        let (key, of) = (ik_key(bucket.id, ik), bucket_key(name));
        let compare = [self.unchanged(&key)?, self.unchanged(&of)?];
        let ops = vec![Op::Put(key, encode(&entry)?), Op::Put(of, encode(&bucket)?)];
        Ok((bucket.id, self.commit(&compare, ops, true)?))
    }

    /// Cuts a tenant's keys off, or gives them back. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] for one that was shredded.
    pub(crate) fn set_disabled(&self, name: &str, disabled: bool) -> Result<Version, Error> {
        let tenant = self.tenant_by_name(name)?;
        match &tenant.cut {
            Some(cut) if cut.shred => tenant.usable()?,
            known if known.is_some() == disabled => return Ok(self.version()),
            _ => {}
        }
        let cut = disabled.then(|| Cut { at: self.now(), shred: false, caches_empty_at: 0 });
        self.put_tenant(&TenantRecord { cut, ..TenantRecord::clone(&tenant) }, true)
    }

    /// Cuts a tenant's keys off for good. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn begin_shred(&self, name: &str) -> Result<Version, Error> {
        let tenant = self.tenant_by_name(name)?;
        let at = match &tenant.cut {
            Some(cut) if cut.shred => return Ok(self.version()),
            Some(cut) => cut.at,
            None => self.now(),
        };
        let cut = Some(Cut { at, shred: true, caches_empty_at: 0 });
        self.put_tenant(&TenantRecord { cut, ..TenantRecord::clone(&tenant) }, true)
    }

    /// Writes down when the last node is certain to hold none of a shredded tenant's IKs.
    pub(crate) fn caches_empty(&self, name: &str, at: u64) -> Result<(), Error> {
        let mut tenant = TenantRecord::clone(&*self.tenant_by_name(name)?);
        match &mut tenant.cut {
            Some(cut) if cut.caches_empty_at != at => cut.caches_empty_at = at,
            _ => return Ok(()),
        }
        self.put_tenant(&tenant, false).map(drop)
    }

    /// All IKs of a bucket, with their ids.
    pub(crate) fn keys_of(&self, name: &str) -> Result<Vec<(IkId, u64, IkEntry)>, Error> {
        let bucket = self.bucket_by_name(name)?;
        let with_ids = self.iks(bucket.id)?.into_iter().map(|entry| {
            let context = sealgate_envelope::IkRecord::parse(&entry.record)?.context;
            Ok((context.ik, context.created, entry))
        });
        with_ids.collect()
    }

    fn bucket_by_name(&self, name: &str) -> Result<BucketRecord, Error> {
        let state = self.state();
        let found = state.buckets.get(name).map(|bucket| BucketRecord::clone(bucket));
        found.ok_or_else(|| Error::NotFound(format!("no such bucket: {name:?}")))
    }
}
