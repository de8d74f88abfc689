//! KEKs of tenants: rotated, replaced, and what work on the IKs that brings.
//!
//! A tenant's generation says what is new. Rotating its KEK or replacing it makes another generation in the same step as the
//! job which wraps everything of earlier ones anew. Who wraps an IK read the generation before asking the KMS, and commits
//! only in the same one: nothing slips in under what is on its way out. The order within an IK is the format's: the new
//! record is committed, nodes place it, a listing shows it, only then the old copy goes; and a KEK version is free to be
//! destroyed when all of this was seen.

use std::{collections::HashSet, sync::Arc};

use sealgate_envelope::{BucketId, IkId, IkRecord, TenantId};
use sealgate_store::{MAX_OPS, Op, decode, encode};

use super::{
    Registry, Version,
    records::{
        BucketRecord, CheckRecord, IK_PREFIX, IkEntry, JOB_PREFIX, JobRecord, KekUse, OldCopy, TenantRecord,
        bucket_key, check_key, ik_key, job_key, tenant_key,
    },
};
use crate::Error;

/// Bucket ids are looked through in so many parts, so that no look reads all IKs at once.
pub(crate) const PARTS: u32 = 256;
/// IKs wrapped anew a second, when nobody says otherwise.
pub(crate) const RATE: u32 = 20;
/// The most that may be asked for.
pub(crate) const RATE_MAX: u32 = 1_000;

/// An IK as it lies in the store.
pub(crate) struct Found {
    pub(crate) owner: BucketId,
    pub(crate) ik: IkId,
    pub(crate) entry: IkEntry,
    pub(crate) record: IkRecord,
    /// The store's, of its last change.
    pub(crate) revision: u64,
}

/// An IK that was wrapped anew.
pub(crate) struct Rewrapped {
    pub(crate) replaced: IkRecord,
    pub(crate) record: IkRecord,
    pub(crate) version: String,
}

impl Registry {
    /// A tenant by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn tenant_by_name(&self, name: &str) -> Result<Arc<TenantRecord>, Error> {
        let found = self.state().tenant_named(name).cloned();
        found.ok_or_else(|| Error::NotFound(format!("no tenant is named {name:?}")))
    }

    /// From now on `kek` wraps the tenant's IKs; all that earlier generations wrapped is wrapped anew, `rate` a second.
    /// The same KEK as before: it has a new version.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for another tenant's KEK, [`Error::Denied`] while the tenant's keys are cut off,
    /// [`Error::Precondition`] for one that is destroyed.
    pub fn begin_rewrap(&self, id: TenantId, kek: &str, rate: u32) -> Result<Version, Error> {
        let mut record = self.allowing(id, kek)?;
        record.generation += 1;
        kek.clone_into(&mut record.kek);
        let job = JobRecord {
            tenant: id,
            generation: record.generation,
            started: self.now(),
            rate: rate.clamp(1, RATE_MAX),
            part: 0,
            rewrapped: 0,
            refused: 0,
            trouble: String::new(),
            ended: 0,
        };
        let (tenant_key, job_key) = (tenant_key(id), job_key(id));
        let compare = [self.unchanged(&tenant_key)?, self.unchanged(&job_key)?];
        let ops = vec![Op::Put(tenant_key, encode(&record)?), Op::Put(job_key, encode(&job)?)];
        self.commit(&compare, ops, false)
    }

    /// Puts a KEK on the tenant's list, and so on the recovery card, before anything is wrapped by it.
    ///
    /// # Errors
    /// As [`Self::begin_rewrap`].
    pub(crate) fn allow_kek(&self, id: TenantId, kek: &str) -> Result<(), Error> {
        let record = self.allowing(id, kek)?;
        if record.keks != self.tenant(id)?.keks {
            self.put_tenant(&record, false)?;
        }
        Ok(())
    }

    fn allowing(&self, id: TenantId, kek: &str) -> Result<TenantRecord, Error> {
        let mut record = TenantRecord::clone(&*self.tenant(id)?);
        record.usable()?;
        self.kek_free(id, kek)?;
        if record.keks.iter().any(|used| used.kek == kek && used.destroyed.is_some()) {
            return Err(Error::Precondition(format!("the KEK {kek:?} was destroyed")));
        }
        if record.loses(kek) {
            return Err(Error::Precondition(format!(
                "the KEK {kek:?} is about to be destroyed: have it destroyed once more, which ends that or takes it back"
            )));
        }
        match record.keks.iter_mut().find(|used| used.kek == kek) {
            Some(used) => used.cleared = false,
            None => record.keks.push(KekUse::new(kek)),
        }
        Ok(record)
    }

    /// The work on a tenant's IKs, if there ever was any.
    pub(crate) fn job(&self, tenant: TenantId) -> Result<Option<JobRecord>, Error> {
        Ok(self.store().get(&job_key(tenant))?.map(|found| decode(&found.value)).transpose()?)
    }

    /// All that has not ended.
    pub(crate) fn open_jobs(&self) -> Result<Vec<JobRecord>, Error> {
        let found = self.store().scan(JOB_PREFIX)?;
        let jobs =
            found.iter().map(|(_, found)| decode(&found.value)).collect::<Result<Vec<JobRecord>, _>>()?;
        Ok(jobs.into_iter().filter(|job| job.ended == 0).collect())
    }

    /// A tenant's IKs in one of the [`PARTS`], those of buckets that are gone included.
    pub(crate) fn part(&self, tenant: TenantId, part: u32) -> Result<Vec<Found>, Error> {
        let mut all = Vec::new();
        for (key, found) in self.store().scan(&format!("{IK_PREFIX}{part:02x}"))? {
            let entry: IkEntry = decode(&found.value)?;
            let record = IkRecord::parse(&entry.record)?;
            if record.context.tenant != tenant {
                continue;
            }
            let (owner, ik) = (record.context.bucket, record.context.ik);
            if key != ik_key(owner, ik) {
                return Err(Error::Internal(format!("the store has another IK under {key:?}")));
            }
            all.push(Found { owner, ik, entry, record, revision: found.revision });
        }
        Ok(all)
    }

    /// Writes down how far the work is: `batch` replaces records that are still the same; how many that were.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the work is of an earlier generation by now, [`Error::Denied`] when the tenant's keys were cut
    /// off meanwhile.
    pub(crate) fn commit_rewraps(&self, job: &JobRecord, batch: &[Rewrapped]) -> Result<JobRecord, Error> {
        let tenant = self.tenant(job.tenant)?;
        tenant.usable()?;
        let key = job_key(job.tenant);
        let now = self.job(job.tenant)?.filter(|now| now.generation == job.generation && now.ended == 0);
        if now.is_none() || tenant.generation != job.generation {
            return Err(Error::Conflict("the KEK was rotated again".to_owned()));
        }
        let mut job = job.clone();
        let mut compare = vec![self.unchanged(&key)?, self.unchanged(&tenant_key(tenant.id))?];
        let mut ops = Vec::new();
        let mut noting = TenantRecord::clone(&tenant);
        for Rewrapped { replaced, record, version } in batch {
            let of = ik_key(record.context.bucket, record.context.ik);
            let Some(mut entry) = self.ik(record.context.bucket, record.context.ik)? else { continue };
            if entry.record != replaced.to_bytes()? || record.context.kek != tenant.kek {
                continue;
            }
            noting.note(&replaced.context.kek, &entry.version);
            noting.note(&record.context.kek, version);
            entry.replaced(OldCopy::of(replaced, &entry.version)?);
            (entry.record, entry.generation) = (record.to_bytes()?, job.generation);
            version.clone_into(&mut entry.version);
            compare.push(self.unchanged(&of)?);
            ops.push(Op::Put(of, encode(&entry)?));
            job.rewrapped += 1;
        }
        if noting.keks != tenant.keks {
            ops.push(Op::Put(tenant_key(tenant.id), encode(&noting)?));
        }
        ops.push(Op::Put(key, encode(&job)?));
        self.commit(&compare, ops, false)?;
        Ok(job)
    }

    /// Tells nodes to look at the key records in these buckets, those that are still there.
    pub(crate) fn want_checks(&self, buckets: &[BucketId]) -> Result<(), Error> {
        for some in buckets.chunks(MAX_OPS) {
            let (mut compare, mut ops) = (Vec::new(), Vec::new());
            for id in some {
                let Some(bucket) = self.state().bucket(*id).cloned() else { continue };
                let mut record = BucketRecord::clone(&bucket);
                record.records += 1;
                let key = bucket_key(&record.name);
                compare.push(self.unchanged(&key)?);
                ops.push(Op::Put(key, encode(&record)?));
            }
            if !ops.is_empty() {
                self.commit(&compare, ops, false)?;
            }
        }
        Ok(())
    }

    /// A node has seen, by a listing, all records of a bucket in it that it was given at `check.revision`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a bucket that is gone.
    pub(crate) fn checked(&self, bucket: BucketId, mut check: CheckRecord) -> Result<(), Error> {
        let record = self.known(bucket)?;
        let key = check_key(bucket);
        if let Some(known) = self.check_of(bucket)? {
            check.records = check.records.max(known.records);
            // A look that was slow says less, and nothing against a later one.
            if known.revision > check.revision {
                check = CheckRecord { records: check.records, ..known };
            }
        }
        check.at = self.now();
        let compare = [self.unchanged(&key)?, self.unchanged(&bucket_key(&record.name))?];
        self.commit(&compare, vec![Op::Put(key, encode(&check)?)], false)?;
        Ok(())
    }

    /// What the last look at a bucket's key records has shown.
    pub(crate) fn check_of(&self, bucket: BucketId) -> Result<Option<CheckRecord>, Error> {
        Ok(self.store().get(&check_key(bucket))?.map(|found| decode(&found.value)).transpose()?)
    }

    /// Every copy was seen: the work has ended, and the KEKs `clear` stand on no card any more.
    ///
    /// # Errors
    /// As [`Self::commit_rewraps`].
    pub(crate) fn end_rewrap(&self, job: &JobRecord, clear: &[String]) -> Result<(), Error> {
        let tenant = self.tenant(job.tenant)?;
        if tenant.generation != job.generation {
            return Err(Error::Conflict("the KEK was rotated again".to_owned()));
        }
        // A bucket that was taken over meanwhile has brought keys to wrap anew.
        if self.job(job.tenant)?.is_none_or(|stored| stored.part != job.part) {
            return Err(Error::Conflict("the work has changed".to_owned()));
        }
        let (key, of) = (job_key(job.tenant), tenant_key(job.tenant));
        let compare = [self.unchanged(&key)?, self.unchanged(&of)?];
        let ended = JobRecord { ended: self.now().max(1), trouble: String::new(), ..job.clone() };
        let mut ops = vec![Op::Put(key, encode(&ended)?)];
        let mut record = TenantRecord::clone(&tenant);
        for used in record.keks.iter_mut().filter(|used| clear.contains(&used.kek) && used.kek != tenant.kek)
        {
            used.cleared = true;
        }
        if record.keks != tenant.keks {
            ops.push(Op::Put(of, encode(&record)?));
        }
        self.commit(&compare, ops, false)?;
        Ok(())
    }

    /// A KEK of old is to be destroyed, or is not after all. While it is, nothing begins to need it: whatever did so before is seen by
    /// a report that is made afterwards. Whether it was so before.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that never was the tenant's, [`Error::Precondition`] for the one that wraps its IKs now.
    pub(crate) fn set_destroying(&self, id: TenantId, kek: &str, destroying: bool) -> Result<bool, Error> {
        let tenant = self.tenant(id)?;
        let mut record = TenantRecord::clone(&tenant);
        let used = record.keks.iter_mut().find(|used| used.kek == kek);
        let used =
            used.ok_or_else(|| Error::NotFound(format!("{kek:?} never wrapped a key of this tenant")))?;
        if destroying && kek == tenant.kek {
            return Err(Error::Precondition(format!(
                "{kek:?} wraps the tenant's keys: move it to another first"
            )));
        }
        let before = std::mem::replace(&mut used.destroying, destroying);
        if before != destroying {
            self.put_tenant(&record, false)?;
        }
        Ok(before)
    }

    /// A KEK is destroyed by the KMS at `at`, Unix seconds.
    pub(crate) fn kek_destroyed(&self, tenant: TenantId, kek: &str, at: u64) -> Result<(), Error> {
        let mut record = TenantRecord::clone(&*self.tenant(tenant)?);
        for used in record.keks.iter_mut().filter(|used| used.kek == kek) {
            (used.destroyed, used.destroying) = (Some(at), false);
        }
        self.put_tenant(&record, false).map(drop)
    }

    /// KEKs in use, of other tenants and the system's, that may be this one under another reference: the name that the KMS itself has
    /// for a key is the same then, behind another provider's name or within an ARN. With who has them, and whose context to try.
    pub(crate) fn namesakes(&self, id: TenantId, kek: &str) -> Vec<(String, TenantId, String)> {
        let name = |kek: &str| kek.rsplit('/').next().unwrap_or_default().to_owned();
        let (state, wanted) = (self.state(), name(kek));
        let mut found = Vec::new();
        for other in state.tenants.values().filter(|other| other.id != id) {
            let used = other.keks.iter().filter(|used| used.destroyed.is_none() && name(&used.kek) == wanted);
            found.extend(
                used.map(|used| (format!("the tenant {:?}", other.name), other.id, used.kek.clone())),
            );
        }
        let system = self.sealer().kek();
        if name(system) == wanted && system != kek {
            found.push(("the system".to_owned(), id, system.to_owned()));
        }
        found
    }

    /// A KEK that a KMS provider holds for a tenant, and none of these.
    pub(crate) fn kek_of(&self, provider: &str, but: &HashSet<String>) -> Option<String> {
        let state = self.state();
        let mut keks = state.tenants.values().filter(|tenant| tenant.cut.is_none()).map(|tenant| &tenant.kek);
        let of = |kek: &str| kek.split_once('/').is_some_and(|(of, _)| of == provider);
        keks.find(|kek| of(kek) && !but.contains(*kek)).cloned()
    }

    pub(super) fn put_tenant(&self, record: &TenantRecord, urgent: bool) -> Result<Version, Error> {
        let key = tenant_key(record.id);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(record)?)], urgent)
    }
}

#[cfg(test)]
mod tests;
