//! What nodes ask for, decided: which tenant, which bucket, which state, in which order.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use sealgate_envelope::{BucketId, IkContext, IkId, IkRecord};
use sealgate_kms::{Kms, Sample};

use super::{
    ACTIVE_GRACE, ACTIVE_LIFE, GRACE_PORTION, HARD, PROVE_AFTER,
    cache::{Held, Owner},
    looks::Looks,
    reports::Reports,
    unopened::{Look, MAX_UNOPENED, Unopened},
    unwrapper::Unwrapper,
};
use crate::{
    Clock, Error,
    actors::{RegistryActor, Run, Slot},
    identity::Identity,
    metrics::Metrics,
    registry::{
        Registry,
        adoption::Imported,
        iks::Made,
        records::{BucketRecord, BucketState, IkEntry, IkState},
    },
};

/// A key on its way to a node.
pub(crate) struct Answered {
    pub(crate) held: Held,
    pub(crate) id: IkId,
    pub(crate) state: IkState,
    pub(crate) active_until: u64,
    /// When the key seals nothing new any more, whatever happens; Unix seconds.
    pub(crate) active_last: u64,
    /// Seconds that it may be held from now on.
    pub(crate) hard_seconds: u64,
    /// Seconds after these for which a node that is cut off may go on.
    pub(crate) unproved_seconds: u64,
}

/// Either the key, or the record to place first.
pub(crate) enum Active {
    Key(Answered),
    Place(IkId, Vec<u8>),
}

pub(crate) struct KeyService {
    pub(super) registry: Arc<Registry>,
    writer: Arc<Slot<RegistryActor>>,
    pub(super) unwrapper: Arc<Unwrapper>,
    pub(super) clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    making: Mutex<HashMap<BucketId, Arc<tokio::sync::Mutex<()>>>>,
    unopened: Unopened,
    pub(super) looks: Looks,
    pub(super) reports: Reports,
}

impl KeyService {
    pub(crate) fn new(
        registry: Arc<Registry>,
        writer: Arc<Slot<RegistryActor>>,
        kms: Arc<dyn Kms>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let unwrapper = Arc::new(Unwrapper::new(kms, Arc::clone(&clock), Arc::clone(&metrics)));
        Self {
            registry,
            writer,
            unwrapper,
            clock,
            metrics,
            making: Mutex::new(HashMap::new()),
            unopened: Unopened::default(),
            looks: Looks::default(),
            reports: Reports::default(),
        }
    }

    /// The task that proves KEKs again and evicts keys at their time.
    pub(crate) fn keeper(&self) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.unwrapper).keep()
    }

    /// Zeroizes the IKs of a bucket that is no more.
    pub(crate) fn forget(&self, bucket: BucketId) {
        self.unwrapper.forget(bucket);
    }

    /// How many IKs are in memory.
    pub(crate) fn held(&self) -> usize {
        self.unwrapper.held()
    }

    /// How many IKs hang on a KMS provider, and which of its KEK versions could not be proved when they should have been.
    pub(crate) fn of_provider(&self, provider: &str) -> (usize, Vec<String>) {
        self.unwrapper.of_provider(provider)
    }

    /// What a KMS provider is examined with: the system KEK where it holds it, else a record that it has opened before, under a KEK
    /// that it has not `refused` lately. When something of it is `out` and nobody's key is in memory, a tenant's KEK.
    pub(crate) fn sample(&self, provider: &str, refused: &HashSet<String>, out: bool) -> Sample {
        let kek = self.registry.sealer().kek();
        if kek.split_once('/').is_some_and(|(of, _)| of == provider) {
            return Sample::Kek(kek.to_owned());
        }
        let record = self.unwrapper.sample(provider, refused);
        let sample = record.and_then(|record| {
            let IkRecord { context, wrapped } = &*record;
            let (kek, version) = (context.kek.clone(), context.kek_version.clone());
            Some(Sample::Record { kek, version, context: context.to_bytes().ok()?, wrapped: wrapped.clone() })
        });
        let spare = || if out { self.registry.kek_of(provider, refused).map(Sample::Kek) } else { None };
        sample.or_else(spare).unwrap_or(Sample::Nothing)
    }

    /// How many KEK versions could not be proved when they should have been.
    pub(crate) fn unproved(&self) -> usize {
        self.unwrapper.unproved()
    }

    /// The key for new objects, or the record that has to be placed first.
    pub(crate) async fn active(&self, identity: &Identity, bucket: BucketId) -> Result<Active, Error> {
        let record = self.usable_bucket(identity, bucket)?;
        if matches!(record.state, BucketState::Deleting | BucketState::Restoring) {
            return Err(Error::Precondition("the bucket is being deleted".to_owned()));
        }
        let making = self.making(bucket);
        let _one_at_a_time = making.lock().await;
        let newest = self.read(move |registry| registry.active_ik(bucket)).await?;
        let now = self.clock.now();
        let (ik, created, entry) = match newest {
            Some(newest) => {
                let (ik, entry) = (newest.ik, self.entry(bucket, newest.ik).await?);
                let usable = entry.state == IkState::Active;
                // One that an operator ended goes on like one past its day, while no new one can be made.
                let created = if newest.ended {
                    newest.created.min(now.saturating_sub(ACTIVE_LIFE))
                } else {
                    newest.created
                };
                if usable && now < created + ACTIVE_LIFE {
                    (ik, created, entry)
                } else {
                    match self.make(&record, Some(ik)).await {
                        Ok(made) => made,
                        // The 24 h are soft: the old one goes on while no new one can be made.
                        Err(
                            Error::Unavailable(reason) | Error::Later(_, reason) | Error::NotAsked(_, reason),
                        ) if usable && entry.confirmed && now < created + ACTIVE_LIFE + ACTIVE_GRACE => {
                            tracing::warn!(target: "audit", %bucket, %ik, reason, "no new key: the old one goes on");
                            self.metrics.degraded();
                            (ik, created, entry)
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            None => self.make(&record, None).await?,
        };
        if !entry.confirmed {
            return Ok(Active::Place(ik, entry.record));
        }
        self.key(&record, ik, &entry, created).await.map(Active::Key)
    }

    /// A node has placed the record: now the key.
    pub(crate) async fn confirm(
        &self,
        identity: &Identity,
        bucket: BucketId,
        ik: IkId,
        digest: [u8; 32],
    ) -> Result<Answered, Error> {
        let record = self.usable_bucket(identity, bucket)?;
        let confirm = Run::new(move |registry: &Registry| registry.confirm_ik(bucket, ik, &digest));
        let entry = self.writer.send(confirm).await??;
        self.usable(&entry)?;
        let created = IkRecord::parse(&entry.record)?.context.created;
        self.key(&record, ik, &entry, created).await
    }

    /// A key by its id, for reading.
    pub(crate) async fn get(
        &self,
        identity: &Identity,
        bucket: BucketId,
        ik: IkId,
    ) -> Result<Answered, Error> {
        let record = self.usable_bucket(identity, bucket)?;
        let entry = self.entry(bucket, ik).await?;
        self.usable(&entry)?;
        // Unconfirmed: no object can have been sealed under it.
        if !entry.confirmed {
            return Err(Error::NotFound("no such key".to_owned()));
        }
        let created = IkRecord::parse(&entry.record)?.context.created;
        self.key(&record, ik, &entry, created).await
    }

    /// The wrapped record of an IK, for another bucket of the same tenant.
    pub(crate) async fn lend(
        &self,
        identity: &Identity,
        bucket: BucketId,
        ik: IkId,
        target: BucketId,
    ) -> Result<Vec<u8>, Error> {
        self.bucket(identity, bucket)?;
        let to = self.bucket(identity, target)?;
        if to.state != BucketState::Active {
            return Err(Error::Precondition("the bucket is not in use".to_owned()));
        }
        self.writer.send(Run::new(move |registry: &Registry| registry.lend(bucket, ik, target))).await?
    }

    /// Takes in key records that lie in a bucket which is being adopted; how many, and how many not. Those that the operator's
    /// card does not allow never reach the KMS, nor does one that did not open before. A bucket with too many that do not open is
    /// refused.
    pub(crate) async fn import(
        &self,
        identity: &Identity,
        bucket: BucketId,
        records: &[Vec<u8>],
    ) -> Result<(u32, u32), Error> {
        self.bucket(identity, bucket)?;
        let (mut taken, mut refused) = (0, 0);
        for bytes in records {
            let row = self.registry.adopting(bucket)?;
            let record = IkRecord::parse(bytes).ok().filter(|record| {
                row.adoption().is_some_and(|adoption| adoption.admits(row.tenant, &record.context))
            });
            let Some(record) = record else {
                tracing::warn!(target: "audit", %bucket, "a key record in a bucket is not on the recovery card");
                refused += 1;
                continue;
            };
            let (ik, found) = (record.context.ik, record.clone());
            let (known, other) = self
                .read(move |registry| {
                    let context = &found.context;
                    Ok((registry.has_imported(bucket, context)?, registry.contradicts(context, &found)?))
                })
                .await?;
            // Another record than the store's is planted or damaged, unless the KMS made it: then the IK was wrapped anew
            // before or after this copy of the bucket was made.
            if (other || !known) && !self.opens(bucket, &record, bytes).await? {
                if other {
                    tracing::warn!(target: "audit", %bucket, %ik, "a key record in a bucket is not the one that the store has");
                }
                refused += 1;
                continue;
            }
            let version = self.unwrapper.version_of(&record);
            let stands = !other || self.stands(&record).await?;
            let import =
                Run::new(move |registry: &Registry| registry.import_ik(bucket, &record, &version, stands));
            if self.writer.send(import).await?? == Imported::Taken {
                tracing::info!(target: "audit", %bucket, %ik, "a key record was taken in from its bucket");
            }
            taken += 1;
        }
        Ok((taken, refused))
    }

    /// Whether the record that the store has of the same IK opens.
    async fn stands(&self, record: &IkRecord) -> Result<bool, Error> {
        let (owner, ik) = (record.context.bucket, record.context.ik);
        match self.read(move |registry| registry.ik(owner, ik)).await? {
            Some(entry) => self.unwrapper.opens(&IkRecord::parse(&entry.record)?).await,
            None => Ok(true),
        }
    }

    /// Whether the KMS opens a record that lies in a bucket. It is asked once of one that does not open, and no more of the
    /// bucket's when they are too many: whoever holds the storage can plant any number.
    async fn opens(&self, bucket: BucketId, record: &IkRecord, bytes: &[u8]) -> Result<bool, Error> {
        let state = self.registry.state();
        let adopting = |id: &BucketId| state.bucket(*id).is_some_and(|bucket| bucket.adoption().is_some());
        match self.unopened.look(bucket, bytes, adopting) {
            Look::Known => return Ok(false),
            Look::TooMany => {}
            Look::New if self.unwrapper.opens(record).await? => return Ok(true),
            Look::New => {
                self.unopened.add(bucket, bytes);
                return Ok(false);
            }
        }
        let reason = format!(
            "more than {MAX_UNOPENED} key records in the bucket are on the recovery card and do not open: is this the keyring \
             that they were made under? Records that were planted have to be removed from the bucket"
        );
        let told = reason.clone();
        let refuse = Run::new(move |registry: &Registry| registry.refuse_adopt(bucket, &told));
        self.writer.send(refuse).await??;
        tracing::warn!(target: "audit", %bucket, reason, "a bucket is not adopted");
        Err(Error::Precondition(reason))
    }

    fn usable(&self, entry: &IkEntry) -> Result<(), Error> {
        match entry.state {
            IkState::Active | IkState::DecryptOnly => Ok(()),
            IkState::Retired => Err(Error::Denied("the key is retired".to_owned())),
            IkState::Compromised => Err(Error::Denied("the key is compromised".to_owned())),
        }
    }

    /// The same, if its tenant's keys may be used.
    pub(super) fn usable_bucket(
        &self,
        identity: &Identity,
        bucket: BucketId,
    ) -> Result<Arc<BucketRecord>, Error> {
        let record = self.bucket(identity, bucket)?;
        self.registry.tenant(record.tenant)?.usable()?;
        Ok(record)
    }

    /// The bucket, if it is one of the node's tenants'. Another tenant's is as unknown as one that never was.
    pub(super) fn bucket(&self, identity: &Identity, bucket: BucketId) -> Result<Arc<BucketRecord>, Error> {
        let state = self.registry.state();
        let found = state.bucket(bucket).filter(|record| identity.tenants.contains(record.tenant));
        found.cloned().ok_or_else(|| Error::NotFound("no such bucket".to_owned()))
    }

    async fn entry(&self, bucket: BucketId, ik: IkId) -> Result<IkEntry, Error> {
        let found = self.read(move |registry| registry.ik(bucket, ik)).await?;
        found.ok_or_else(|| Error::NotFound("no such key".to_owned()))
    }

    /// Makes an IK. Once more where its KEK was rotated at the same time.
    async fn make(
        &self,
        bucket: &BucketRecord,
        replaces: Option<IkId>,
    ) -> Result<(IkId, u64, IkEntry), Error> {
        match self.make_once(bucket, replaces).await {
            Err(Error::Conflict(_)) => match self.make_once(bucket, replaces).await {
                Err(Error::Conflict(reason)) => Err(Error::Unavailable(reason)),
                made => made,
            },
            made => made,
        }
    }

    /// Makes an IK: wrapped by the KMS, opened by it, committed, not yet given to anyone.
    async fn make_once(
        &self,
        bucket: &BucketRecord,
        replaces: Option<IkId>,
    ) -> Result<(IkId, u64, IkEntry), Error> {
        let tenant = self.registry.tenant(bucket.tenant)?;
        let (kek, generation) = (tenant.kek.clone(), tenant.generation);
        let context = IkContext {
            tenant: bucket.tenant,
            bucket: bucket.id,
            ik: IkId::random()?,
            created: self.clock.now(),
            kek,
            kek_version: String::new(),
        };
        let (record, version) = self.unwrapper.make(context).await?;
        // Before it is the newest: were the KMS away from here on, nothing could be written, not even under the one before it.
        self.unwrapper.get(&record, Owner { unproved_life: tenant.unproved_life }).await?;
        let (id, created, ik) = (bucket.id, record.context.created, record.context.ik);
        let made = Made { record, version, generation };
        self.change(move |registry| registry.commit_ik(&made, replaces)).await?;
        tracing::info!(target: "audit", bucket = %id, %ik, "an intermediate key was made");
        Ok((ik, created, self.entry(id, ik).await?))
    }

    async fn key(
        &self,
        bucket: &BucketRecord,
        id: IkId,
        entry: &IkEntry,
        created: u64,
    ) -> Result<Answered, Error> {
        let owner = Owner { unproved_life: self.registry.tenant(bucket.tenant)?.unproved_life };
        let held = self.unwrapper.get(&IkRecord::parse(&entry.record)?, owner).await?;
        // Once more: while the KMS was asked, an operator may have cut it off.
        self.registry.tenant(bucket.tenant)?.usable()?;
        self.usable(&self.entry(bucket.id, id).await?)?;
        let (now, wall) = (self.clock.steady(), self.clock.now());
        // By the same time as all below.
        let degraded = now >= held.proved + HARD;
        if degraded {
            tracing::warn!(target: "audit", bucket = %bucket.id, ik = %id, kek = held.kek.0, "served unproved");
            self.metrics.degraded();
        }
        // While its KMS is away a key is handed on in small portions, so that a denial is not outlived by an hour.
        let left = held.hard_until.saturating_sub(now);
        let portion = if now >= held.proved + PROVE_AFTER { HARD - PROVE_AFTER } else { HARD };
        // A proof that was tried early, and failed, makes nothing longer.
        let portion = if degraded { portion } else { portion.min((held.proved + HARD).saturating_sub(now)) };
        // Past its day it goes on for want of a new one: nodes ask again soon, and not at each write.
        let active_last = created + ACTIVE_LIFE + ACTIVE_GRACE;
        let active_until = match created + ACTIVE_LIFE {
            end if wall < end => end,
            _ => (wall + GRACE_PORTION).min(active_last),
        };
        let hard_seconds = left.min(portion);
        let last = held.proved + HARD + owner.unproved_life;
        let unproved_seconds = last.saturating_sub(now + hard_seconds);
        Ok(Answered {
            held,
            id,
            state: entry.state,
            active_until,
            active_last,
            hard_seconds,
            unproved_seconds,
        })
    }

    fn making(&self, bucket: BucketId) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds any more go, so that the map is as large as what is going on.
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(making.entry(bucket).or_default())
    }

    /// A change, through the registry's actor.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Registry) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.send(Run::new(change)).await?
    }

    /// A read that may wait for the disk, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Registry) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let registry = Arc::clone(&self.registry);
        let done = tokio::task::spawn_blocking(move || read(&registry)).await;
        done.map_err(|_| Error::Internal("reading the store failed".to_owned()))?
    }
}
