//! Buckets that are there already: registered without being made.
//!
//! What a bucket says of itself is the word of its storage. So nothing is taken from it that the operator has not named: the
//! logical id comes with the recovery card, and a key record is believed when the card allows it and the KMS has opened it.
//! A logical id is registered once at most: objects of two buckets that share it would open in each other's place.

use std::sync::Arc;

use sealgate_envelope::{BucketId, IkContext, IkRecord, RecoveryCard, TenantId};
use sealgate_policies::check_bucket_name;
use sealgate_store::{Compare, Op, encode};

use super::{
    Registry, Version, buckets,
    iks::noted,
    records::{
        AdoptionRecord, BackendSse, BucketRecord, BucketState, IkEntry, JobRecord, LentRecord, OldCopy,
        RuleRecord, SOURCE_PREFIX, SourceRecord, TenantRecord, bucket_key, ik_key, job_key, lent_key,
        source_key, tenant_key,
    },
};
use crate::Error;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 500;

/// What is to be taken over, and as what.
#[derive(Clone, Debug)]
pub struct Adopt {
    /// The bucket's name for clients.
    pub name: String,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Empty: the default one.
    pub region: String,
    /// Empty: the default one.
    pub backend: String,
    /// The bucket's name on the backend.
    pub backend_bucket: String,
    /// Its encryption rules; those of a plain bucket are given.
    pub rules: Vec<RuleRecord>,
    /// What its backend demands of writes, the adoption's own among them.
    pub backend_sse: Option<BackendSse>,
    /// What it is.
    pub what: Adopted,
}

/// What an adopted bucket is.
#[derive(Clone, Debug)]
pub enum Adopted {
    /// One that no gateway ever had: its objects are plain, and it gets a logical id.
    Plain,
    /// One of this logical id, as the operator's card says.
    Known(BucketId, RecoveryCard),
}

/// What became of a key record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    /// The store had it.
    Known,
    /// The store has it now.
    Taken,
}

impl BucketRecord {
    /// The adoption that this bucket waits for.
    pub(crate) fn adoption(&self) -> Option<&AdoptionRecord> {
        self.adopted.as_ref().filter(|_| self.state == BucketState::Creating)
    }
}

impl AdoptionRecord {
    /// Whether a key record may be shown to the KMS.
    pub(crate) fn admits(&self, tenant: TenantId, context: &IkContext) -> bool {
        context.tenant == tenant
            && self.sources.contains(&context.bucket.to_string())
            && self.keks.contains(&context.kek)
    }
}

impl Registry {
    /// Records the intent to take a bucket over.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when name, backend bucket or logical id are registered, [`Error::Invalid`] for what cannot be or
    /// is not on the card, [`Error::NotFound`] without such a tenant.
    pub fn begin_adopt(&self, adopt: Adopt) -> Result<Arc<BucketRecord>, Error> {
        let Adopt { name, tenant, region, backend, backend_bucket, rules, backend_sse, what } = adopt;
        for name in [&name, &backend_bucket] {
            check_bucket_name(name).map_err(|error| Error::Invalid(format!("{name:?}: {error}")))?;
        }
        let (state, defaults) = (self.state(), self.defaults());
        if state.buckets.contains_key(&name) {
            return Err(Error::AlreadyExists(format!("a bucket named {name:?} is registered")));
        }
        if !state.tenants.contains_key(&tenant) {
            return Err(Error::NotFound("no such tenant".to_owned()));
        }
        let backend = if backend.is_empty() { defaults.default_backend.clone() } else { backend };
        if !defaults.backends.iter().any(|(known, _)| *known == backend) {
            return Err(Error::Invalid(format!("no backend is named {backend:?} in the configuration")));
        }
        if let Some(other) = state.uses(&backend, &backend_bucket) {
            return Err(Error::AlreadyExists(format!(
                "{backend_bucket:?} is the bucket {:?} already",
                other.name
            )));
        }
        if defaults.is_work_bucket(&backend, &backend_bucket) {
            return Err(Error::AlreadyExists(format!("{backend_bucket:?} is the backend's work bucket")));
        }
        let (id, rules, adopted) = match what {
            Adopted::Plain if !rules.is_empty() => {
                return Err(Error::Invalid(
                    "a bucket that is adopted as plain is plain all through".to_owned(),
                ));
            }
            Adopted::Plain => {
                let rules = vec![RuleRecord { prefix: String::new(), plain: true }];
                (BucketId::random()?, rules, AdoptionRecord { plain: true, ..AdoptionRecord::default() })
            }
            Adopted::Known(id, card) => {
                let owner = self.tenant(tenant)?;
                card.keks().iter().try_for_each(|kek| stays(&owner, kek))?;
                if let Some(other) = state.bucket(id) {
                    return Err(Error::AlreadyExists(format!(
                        "the logical bucket {id} is registered as {:?}: release that one before its replica is adopted",
                        other.name
                    )));
                }
                (id, buckets::checked(rules)?, believed(tenant, id, &card)?)
            }
        };
        self.begin(BucketRecord {
            name,
            id,
            tenant,
            backend,
            backend_bucket,
            region: self.region(&region)?,
            state: BucketState::Creating,
            suite: 1,
            rules,
            created: self.now(),
            adopted: Some(adopted),
            frozen: false,
            keys: 0,
            records: 0,
            rewrap: 0,
            backend_sse: backend_sse.map(buckets::checked_sse).transpose()?,
        })
    }

    /// Takes in a key record that lies in a bucket which is being adopted, and that the KMS has opened: for reading. A bucket
    /// to which it was lent has it as lent. `stands`: the record that the store has of the same IK, if it has another, opens.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the bucket is not being adopted, or the record is not admitted.
    pub(crate) fn import_ik(
        &self,
        target: BucketId,
        record: &IkRecord,
        version: &str,
        stands: bool,
    ) -> Result<Imported, Error> {
        let (bucket, context) = (self.adopting(target)?, &record.context);
        if !bucket.adoption().is_some_and(|adoption| adoption.admits(bucket.tenant, context)) {
            return Err(Error::Precondition("the key record is not on the recovery card".to_owned()));
        }
        let tenant = self.tenant(bucket.tenant)?;
        self.kek_free(tenant.id, &context.kek)?;
        stays(&tenant, &context.kek)?;
        let mut compare = vec![self.unchanged(&bucket_key(&bucket.name))?];
        let mut ops = Vec::new();
        let (owner, ik) = (context.bucket, context.ik);
        match self.ik(owner, ik)? {
            None => {
                let entry = IkEntry::taken_in(record.to_bytes()?, version);
                compare.push(Compare::Absent(ik_key(owner, ik)));
                ops.push(Op::Put(ik_key(owner, ik), encode(&entry)?));
            }
            // The store's does not open any more: it comes from a backup that is older than the bucket, whose record stays.
            Some(mut entry) if entry.record != record.to_bytes()? && !stands => {
                let lost = OldCopy::of(&IkRecord::parse(&entry.record)?, &entry.version)?;
                let digest = hex::encode(record.digest()?);
                entry.old.retain(|old| old.digest != digest);
                (entry.record, entry.version, entry.generation) = (record.to_bytes()?, version.to_owned(), 0);
                entry.replaced(lost);
                compare.push(self.unchanged(&ik_key(owner, ik))?);
                ops.push(Op::Put(ik_key(owner, ik), encode(&entry)?));
            }
            // Another record of the same IK, from before it was wrapped anew, or after: the copy is to go.
            Some(mut entry) if entry.record != record.to_bytes()? => {
                if entry.replaced(OldCopy::of(record, version)?) {
                    compare.push(self.unchanged(&ik_key(owner, ik))?);
                    ops.push(Op::Put(ik_key(owner, ik), encode(&entry)?));
                }
            }
            Some(_) => {}
        }
        if !ops.is_empty() {
            compare.push(self.unchanged(&tenant_key(tenant.id))?);
            ops.extend(noted(&tenant, &context.kek, version)?);
        }
        if owner != target && self.lent(target, ik)?.is_none() {
            let (lent, source) = (lent_key(target, ik), source_key(target, owner));
            compare.push(Compare::Absent(lent.clone()));
            ops.push(Op::Put(lent, encode(&LentRecord { owner })?));
            if !self.state().sources.contains_key(source.trim_start_matches(SOURCE_PREFIX)) {
                ops.push(Op::Put(source, encode(&SourceRecord { tenant: bucket.tenant, owner })?));
            }
        }
        if ops.is_empty() {
            return Ok(Imported::Known);
        }
        self.commit(&compare, ops, false)?;
        Ok(Imported::Taken)
    }

    /// Whether the store has all that a record would bring: then the KMS need not be asked.
    pub(crate) fn has_imported(&self, target: BucketId, context: &IkContext) -> Result<bool, Error> {
        let (owner, ik) = (context.bucket, context.ik);
        Ok(self.ik(owner, ik)?.is_some() && (owner == target || self.lent(target, ik)?.is_some()))
    }

    /// Whether the store has another record of the same IK: then what lies in the bucket is damaged, or planted.
    pub(crate) fn contradicts(&self, context: &IkContext, record: &IkRecord) -> Result<bool, Error> {
        let (bytes, digest) = (record.to_bytes()?, hex::encode(record.digest()?));
        Ok(self
            .ik(context.bucket, context.ik)?
            .is_some_and(|entry| entry.record != bytes && !entry.old.iter().any(|old| old.digest == digest)))
    }

    /// The bucket is what the operator says.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the intent is gone, or another node has refused it, [`Error::Precondition`] when it is over.
    pub(crate) fn commit_adopt(&self, id: BucketId, keys: u64, refused_keys: u64) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        if bucket.state == BucketState::Active && bucket.adopted.is_some() {
            return Ok(self.version());
        }
        let mut record = BucketRecord::clone(&*self.adopting(id)?);
        let adopted = record.adopted.unwrap_or_default();
        if !adopted.refusal.is_empty() {
            return Err(Error::NotFound(format!("another node refused the bucket: {}", adopted.refusal)));
        }
        let plain = adopted.plain;
        record.state = BucketState::Active;
        record.adopted = Some(AdoptionRecord { plain, keys, refused_keys, ..AdoptionRecord::default() });
        // What lies there of records that were replaced since is to go, …
        record.records += 1;
        let key = bucket_key(&record.name);
        let mut compare = vec![self.unchanged(&key)?];
        let mut ops = vec![Op::Put(key, encode(&record)?)];
        // … and what came in with it is to be wrapped like all others.
        if keys > 0
            && let Some(job) = self.job(record.tenant)?
        {
            let key = job_key(record.tenant);
            compare.push(self.unchanged(&key)?);
            ops.push(Op::Put(key, encode(&JobRecord { part: 0, refused: 0, ended: 0, ..job })?));
        }
        self.commit(&compare, ops, false)
    }

    /// The bucket is not what the operator says: nodes look at it no more, and the operator sees why.
    ///
    /// # Errors
    /// As [`Self::commit_adopt`].
    pub(crate) fn refuse_adopt(&self, id: BucketId, reason: &str) -> Result<Version, Error> {
        let mut record = BucketRecord::clone(&*self.adopting(id)?);
        if let Some(adopted) = &mut record.adopted {
            adopted.refusal = reason.chars().take(MAX_REASON).collect();
        }
        self.put(&record)
    }

    /// Takes a bucket out of the registry and leaves all that lies in it as it is: for a replica that takes its place. Its keys
    /// stay in the store.
    ///
    /// # Errors
    /// [`Error::Precondition`] unless it is in use, or while it is frozen: a migration would lose it.
    pub fn release(&self, id: BucketId) -> Result<Version, Error> {
        let bucket = self.known(id)?;
        buckets::not_frozen(&bucket)?;
        match bucket.state {
            BucketState::Active => self.remove(&bucket),
            _ => Err(Error::Precondition("the bucket is being made or deleted: see `abort`".to_owned())),
        }
    }

    pub(crate) fn adopting(&self, id: BucketId) -> Result<Arc<BucketRecord>, Error> {
        let bucket = self.known(id)?;
        match bucket.adoption() {
            Some(_) => Ok(bucket),
            None => Err(Error::Precondition("the bucket is not being adopted".to_owned())),
        }
    }
}

/// Demands that a KEK is not about to be destroyed: a report may have said that nothing needs it.
fn stays(tenant: &TenantRecord, kek: &str) -> Result<(), Error> {
    match tenant.keks.iter().any(|used| used.kek == kek && used.destroying) {
        true => Err(Error::Conflict(format!("the KEK {kek:?} is about to be destroyed"))),
        false => Ok(()),
    }
}

/// What the operator's card allows for a bucket of a tenant.
fn believed(tenant: TenantId, id: BucketId, card: &RecoveryCard) -> Result<AdoptionRecord, Error> {
    let own = card.buckets().iter().filter(|entry| entry.tenant == tenant);
    let mut sources: Vec<String> = own.map(|entry| entry.bucket.to_string()).collect();
    sources.sort();
    sources.dedup();
    if !sources.contains(&id.to_string()) {
        return Err(Error::Invalid(format!("the recovery card has no line `bucket {tenant} {id}`")));
    }
    if card.keks().is_empty() {
        return Err(Error::Invalid("the recovery card allows no KEK".to_owned()));
    }
    Ok(AdoptionRecord { sources, keks: card.keks().to_vec(), ..AdoptionRecord::default() })
}
