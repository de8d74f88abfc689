//! Buckets: intent, act on the backend, commit. Every step may be repeated; an intent that was left over stays visible
//! in its state until someone repeats or aborts it.

use std::sync::Arc;

use sealgate_envelope::{BucketId, TenantId};
use sealgate_policies::check_bucket_name;
use sealgate_store::{Compare, Op, encode};

use super::{
    Registry, Version,
    records::{BackendSse, BucketRecord, BucketState, RuleRecord, SseAlgorithm, bucket_key},
};
use crate::Error;

/// The most encryption rules that a bucket has.
const MAX_RULES: usize = 100;
/// Loans that go in one step; three records go with the last of them.
const LOANS_AT_ONCE: usize = sealgate_store::MAX_OPS - 3;

/// The longest name of a key of a backend's KMS: that of an ARN, in bytes.
const MAX_KMS_KEY: usize = 2048;

impl Registry {
    /// Records the intent to make a bucket. The same tenant asking again while it is being made gets the same intent.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] with `owned` or `taken`, [`Error::Invalid`] for a bad name or an unknown region,
    /// [`Error::Precondition`] when the default backend is not configured.
    pub fn begin_create(
        &self,
        tenant: TenantId,
        name: &str,
        region: &str,
    ) -> Result<Arc<BucketRecord>, Error> {
        check_bucket_name(name).map_err(|error| Error::Invalid(error.to_string()))?;
        let state = self.state();
        if let Some(bucket) = state.buckets.get(name) {
            return match (bucket.tenant == tenant, bucket.state) {
                // One that is being adopted is not the caller's to make, and to unmake when that fails.
                (true, BucketState::Creating) if bucket.adopted.is_none() => Ok(Arc::clone(bucket)),
                (true, _) => Err(Error::AlreadyExists("owned".to_owned())),
                (false, _) => Err(Error::AlreadyExists("taken".to_owned())),
            };
        }
        if !state.tenants.contains_key(&tenant) {
            return Err(Error::NotFound("no such tenant".to_owned()));
        }
        let defaults = self.defaults();
        let region = self.region(region)?;
        if !defaults.backends.iter().any(|(known, _)| *known == defaults.default_backend) {
            return Err(Error::Precondition(format!(
                "the backend {:?} is not configured",
                defaults.default_backend
            )));
        }
        let backend_bucket = format!("{}{name}", defaults.backend_prefix);
        check_bucket_name(&backend_bucket).map_err(|error| Error::Invalid(error.to_string()))?;
        // Deleting a work bucket would take the records of all other buckets' uploads with it; another one's was adopted.
        if defaults.is_work_bucket(&defaults.default_backend, &backend_bucket)
            || state.uses(&defaults.default_backend, &backend_bucket).is_some()
        {
            return Err(Error::AlreadyExists("taken".to_owned()));
        }
        let record = BucketRecord {
            name: name.to_owned(),
            id: BucketId::random()?,
            tenant,
            backend: defaults.default_backend.clone(),
            backend_bucket,
            region,
            state: BucketState::Creating,
            suite: 1,
            rules: Vec::new(),
            created: self.now(),
            adopted: None,
            frozen: false,
            keys: 0,
            records: 0,
            rewrap: 0,
            backend_sse: None,
        };
        self.begin(record)
    }

    /// Writes a new bucket down.
    pub(super) fn begin(&self, record: BucketRecord) -> Result<Arc<BucketRecord>, Error> {
        let key = bucket_key(&record.name);
        self.commit(&[Compare::Absent(key.clone())], vec![Op::Put(key, encode(&record)?)], false)?;
        Ok(Arc::new(record))
    }

    /// A region that is listed; the first one for an empty text.
    pub(super) fn region(&self, wanted: &str) -> Result<String, Error> {
        let regions = &self.defaults().regions;
        let default = regions.first().map_or("", String::as_str);
        let region = if wanted.is_empty() { default } else { wanted };
        match regions.iter().any(|known| known == region) {
            true => Ok(region.to_owned()),
            false => Err(Error::Invalid(format!("the region is one of {}", regions.join(", ")))),
        }
    }

    /// The backend has the bucket.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it is being deleted.
    pub fn commit_create(&self, id: BucketId) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        match bucket.state {
            BucketState::Creating if bucket.adopted.is_some() => {
                Err(Error::Precondition("the bucket is being adopted".to_owned()))
            }
            BucketState::Creating => self.set_state(&bucket, BucketState::Active),
            BucketState::Active => Ok(self.version()),
            BucketState::Deleting | BucketState::Restoring => {
                Err(Error::Precondition("the bucket is being deleted".to_owned()))
            }
        }
    }

    /// The backend refused it: the intent goes. A bucket that is not there is aborted already.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the bucket is in use.
    pub fn abort_create(&self, id: BucketId) -> Result<Version, Error> {
        let Some(bucket) = self.state().bucket(id).cloned() else { return Ok(self.version()) };
        match bucket.state {
            BucketState::Creating => self.remove(&bucket),
            _ => Err(Error::Precondition("the bucket is not being created".to_owned())),
        }
    }

    /// Records the intent to delete: from this version on nodes refuse writes.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it is still being created, or frozen.
    pub fn begin_delete(&self, id: BucketId) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        not_frozen(&bucket)?;
        match bucket.state {
            BucketState::Active | BucketState::Restoring => self.set_state(&bucket, BucketState::Deleting),
            BucketState::Deleting => Ok(self.version()),
            BucketState::Creating => Err(Error::Precondition("the bucket is being created".to_owned())),
        }
    }

    /// The backend's bucket is gone. Its IK records stay: copies of its objects may exist elsewhere.
    ///
    /// # Errors
    /// [`Error::Precondition`] without [`Self::begin_delete`].
    pub fn commit_delete(&self, id: BucketId) -> Result<Version, Error> {
        let Some(bucket) = self.state().bucket(id).cloned() else { return Ok(self.version()) };
        match bucket.state {
            // Also when it was to be taken back: that came too late.
            BucketState::Deleting | BucketState::Restoring => self.remove(&bucket),
            _ => Err(Error::Precondition("the bucket is not being deleted".to_owned())),
        }
    }

    /// Records the intent to take a deletion back. Key records may be gone from the bucket already, so it is a node that
    /// ends it: with [`Self::abort_delete`], once they are back.
    ///
    /// # Errors
    /// [`Error::Precondition`] while it is being created.
    pub fn begin_restore(&self, id: BucketId) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        match bucket.state {
            BucketState::Deleting => self.set_state(&bucket, BucketState::Restoring),
            BucketState::Restoring | BucketState::Active => Ok(self.version()),
            BucketState::Creating => Err(Error::Precondition("the bucket is being created".to_owned())),
        }
    }

    /// The backend's bucket was not deleted, and what recovery needs is in it: it is in use again.
    ///
    /// # Errors
    /// [`Error::Precondition`] while it is being created.
    pub fn abort_delete(&self, id: BucketId) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        match bucket.state {
            BucketState::Deleting | BucketState::Restoring => self.set_state(&bucket, BucketState::Active),
            BucketState::Active => Ok(self.version()),
            BucketState::Creating => Err(Error::Precondition("the bucket is being created".to_owned())),
        }
    }

    /// Replaces a bucket's encryption rules.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 100 rules, a prefix twice, or one that no key can have,
    /// [`Error::Precondition`] while it is frozen.
    pub fn set_rules(&self, name: &str, rules: Vec<RuleRecord>) -> Result<Version, Error> {
        let state = self.state();
        let bucket = state.buckets.get(name).ok_or_else(|| Error::NotFound("no such bucket".to_owned()))?;
        not_frozen(bucket)?;
        let mut record = BucketRecord::clone(bucket);
        record.rules = checked(rules)?;
        self.put(&record)
    }

    /// Sets what a bucket's backend is asked to encrypt with, or that it is asked for nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key without KMS, or one that no header can carry.
    pub fn set_backend_sse(&self, name: &str, sse: Option<BackendSse>) -> Result<Version, Error> {
        let state = self.state();
        let bucket = state.buckets.get(name).ok_or_else(|| Error::NotFound("no such bucket".to_owned()))?;
        let mut record = BucketRecord::clone(bucket);
        record.backend_sse = sse.map(checked_sse).transpose()?;
        self.put(&record)
    }

    pub(super) fn known(&self, id: BucketId) -> Result<Arc<BucketRecord>, Error> {
        self.state().bucket(id).cloned().ok_or_else(|| Error::NotFound("no such bucket".to_owned()))
    }

    pub(super) fn set_state(&self, bucket: &BucketRecord, state: BucketState) -> Result<Version, Error> {
        let mut record = bucket.clone();
        record.state = state;
        self.put(&record)
    }

    pub(super) fn put(&self, record: &BucketRecord) -> Result<Version, Error> {
        let key = bucket_key(&record.name);
        self.commit(&[self.unchanged(&key)?], vec![Op::Put(key, encode(record)?)], false)
    }

    pub(super) fn remove(&self, bucket: &BucketRecord) -> Result<Version, Error> {
        let key = bucket_key(&bucket.name);
        let compare = [self.unchanged(&key)?];
        // A bucket that was copied into for years has more loans than one step takes. Of one that is deleted its own record goes with the
        // last of them, so that whoever is stopped in between begins again. One that is in use needs them for as long as it is: they go
        // behind it, and what a crash leaves of them is of no bucket.
        let mut loans: Vec<Op> = self.ends_of_loans(bucket.id)?.into_iter().map(Op::Delete).collect();
        let behind = match bucket.state {
            BucketState::Active => loans.split_off(loans.len().min(LOANS_AT_ONCE)),
            _ => Vec::new(),
        };
        while loans.len() > LOANS_AT_ONCE {
            let rest = loans.split_off(LOANS_AT_ONCE);
            self.commit(&compare, std::mem::replace(&mut loans, rest), false)?;
        }
        let mut ops = vec![Op::Delete(key)];
        ops.extend(loans);
        // What a look has shown was about this place: the bucket may come back at another.
        ops.push(Op::Delete(super::records::check_key(bucket.id)));
        ops.push(Op::Delete(super::records::rewrap_key(bucket.id)));
        let mut version = self.commit(&compare, ops, false)?;
        for some in behind.chunks(LOANS_AT_ONCE) {
            version = self.commit(&[], some.to_vec(), false)?;
        }
        Ok(version)
    }
}

/// Rules in their order.
///
/// # Errors
/// [`Error::Invalid`] for more than 100, a prefix twice, or one that no key can have.
pub(super) fn checked(mut rules: Vec<RuleRecord>) -> Result<Vec<RuleRecord>, Error> {
    rules.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    if rules.len() > MAX_RULES || rules.windows(2).any(|pair| pair[0].prefix == pair[1].prefix) {
        return Err(Error::Invalid(format!("a bucket has at most {MAX_RULES} rules, each prefix once")));
    }
    if rules.iter().any(|rule| rule.prefix.len() > sealgate_policies::MAX_KEY_BYTES) {
        return Err(Error::Invalid("a prefix has at most 1024 bytes".to_owned()));
    }
    Ok(rules)
}

/// What nodes can send.
///
/// # Errors
/// [`Error::Invalid`] for a key without KMS, or one that no header can carry.
pub(super) fn checked_sse(sse: BackendSse) -> Result<BackendSse, Error> {
    let Some(key) = &sse.kms_key_id else { return Ok(sse) };
    if sse.algorithm != SseAlgorithm::Kms {
        return Err(Error::Invalid("kms_key_id goes with the algorithm aws:kms".to_owned()));
    }
    match (1..=MAX_KMS_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(sse),
        false => Err(Error::Invalid(format!("kms_key_id has 1 to {MAX_KMS_KEY} visible characters"))),
    }
}

/// Refuses what would change a bucket under a migration.
///
/// # Errors
/// [`Error::Precondition`] while its writes are frozen.
pub(super) fn not_frozen(bucket: &BucketRecord) -> Result<(), Error> {
    match bucket.frozen {
        true => Err(Error::Precondition("the bucket is frozen: end the freeze first".to_owned())),
        false => Ok(()),
    }
}
