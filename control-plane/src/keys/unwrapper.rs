//! From wrapped records to IKs: one KMS call however many ask, and proofs once an hour.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared},
    stream,
};
use sealgate_envelope::{BucketId, Ik, IkContext, IkRecord, TenantId};
use sealgate_kms::{Cause, Kms, KmsError};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::cache::{Cache, Held, KekVersion, KeyName, Owner};
use crate::{
    Clock, Error,
    metrics::{KmsCall, Metrics},
    registry::life::Rewrapped,
};

/// How long a call may take at the very most. The layer around a remote KMS ends it after 1.5 s; this is for a [`Kms`] without
/// that layer, and within what a node waits.
const KMS_TIMEOUT: Duration = Duration::from_secs(2);
/// Records of all tenants that are wrapped anew at once at one KMS provider: a part of what its layer lets through, so that whoever
/// rotates a hundred tenants sends no reader away.
const AT_ONCE: usize = 16;
/// What a timer sleeps at most: a machine that was suspended sees soon that time went on.
const STEP: u64 = 10;
/// Proofs at a time.
const PROOFS: usize = 16;

type Flight = Shared<BoxFuture<'static, Result<(), Error>>>;

pub(crate) struct Unwrapper {
    kms: Arc<dyn Kms>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    cache: Mutex<Cache>,
    flights: Mutex<HashMap<KeyName, Flight>>,
    /// Of the work in the background, by provider.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    to_prove: Timer,
    to_evict: Timer,
}

/// A task that looks into the cache at a time that it knows, or when it is told that something is due before.
#[derive(Default)]
struct Timer {
    told: Notify,
    at: AtomicU64,
}

impl Timer {
    /// When it looks the next time. To be called under the cache's lock: what comes in afterwards compares with it.
    fn set(&self, next: Option<u64>) -> u64 {
        let next = next.unwrap_or(u64::MAX);
        self.at.store(next, Ordering::SeqCst);
        next
    }

    /// Something is due then.
    fn due(&self, at: u64) {
        if at < self.at.load(Ordering::SeqCst) {
            self.told.notify_one();
        }
    }

    async fn wait(&self, at: u64, clock: &dyn Clock) {
        loop {
            let left = at.saturating_sub(clock.steady());
            if left == 0 {
                return;
            }
            tokio::select! {
                () = clock.sleep(left.min(STEP)) => {}
                () = self.told.notified() => return,
            }
        }
    }
}

impl Unwrapper {
    pub(super) fn new(kms: Arc<dyn Kms>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (cache, flights) = (Mutex::new(Cache::new(Arc::clone(&metrics))), Mutex::new(HashMap::new()));
        let (to_prove, to_evict) = (Timer::default(), Timer::default());
        Self { kms, clock, metrics, cache, flights, turns: Mutex::default(), to_prove, to_evict }
    }

    /// The IK of a record, from the cache or the KMS.
    pub(super) async fn get(self: &Arc<Self>, record: &IkRecord, owner: Owner) -> Result<Held, Error> {
        let name = (record.context.bucket, record.context.ik);
        if let Some(held) = self.cached(name) {
            return Ok(held);
        }
        let flight = {
            let mut flights = lock(&self.flights);
            // Again under the lock: a flight that has just landed has left the map.
            if let Some(held) = self.cached(name) {
                return Ok(held);
            }
            flights.entry(name).or_insert_with(|| self.launch(record.clone(), owner)).clone()
        };
        flight.await?;
        self.cached(name).ok_or_else(|| Error::Unavailable("the key went as soon as it came".to_owned()))
    }

    /// Starts the one call. It is a task of its own: a caller who hangs up fails nobody.
    fn launch(self: &Arc<Self>, record: IkRecord, owner: Owner) -> Flight {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            // Also after a panic: the next one who asks starts another.
            let _landing = Landing { of: &this, name: (record.context.bucket, record.context.ik) };
            this.unwrap(&record, owner).await
        });
        async move { task.await.unwrap_or_else(|_| Err(Error::Internal("unwrapping a key failed".to_owned()))) }
            .boxed()
            .shared()
    }

    async fn unwrap(&self, record: &IkRecord, owner: Owner) -> Result<(), Error> {
        let context = &record.context;
        let bytes = context.to_bytes()?;
        self.metrics.kms(KmsCall::Unwrap);
        // A proof counts from when it was asked for: what the KMS decided, it decided no earlier.
        let asked = self.clock.steady();
        let call = self.kms.unwrap(&context.kek, &context.kek_version, &bytes, &record.wrapped);
        let ik = bounded(call).await;
        let version = self.kms.version_of(&context.kek, &context.kek_version, &record.wrapped);
        let kek = (context.kek.clone(), version);
        match ik {
            Ok(ik) => {
                let name = (context.bucket, context.ik);
                let mut cache = lock(&self.cache);
                let (due, over) = cache.insert(name, Arc::new(ik), kek, record, owner.unproved_life, asked);
                drop(cache);
                self.to_prove.due(due);
                self.to_evict.due(over);
                Ok(())
            }
            Err(error) => {
                if matches!(error, KmsError::Denied(_)) {
                    lock(&self.cache).denied(&kek);
                }
                Err(error.into())
            }
        }
    }

    /// The IK of a record by a call of its own. Nothing is kept.
    pub(super) async fn once(&self, record: &IkRecord) -> Result<Ik, Error> {
        let context = &record.context;
        self.metrics.kms(KmsCall::Unwrap);
        let bytes = context.to_bytes()?;
        let call = self.kms.unwrap(&context.kek, &context.kek_version, &bytes, &record.wrapped);
        Ok(bounded(call).await?)
    }

    /// Wraps a new IK. It is not kept: wrapping does not prove that the KEK may decrypt, nor that what came back opens.
    pub(super) async fn make(&self, mut context: IkContext) -> Result<(IkRecord, String), Error> {
        context.kek_version = bounded(self.kms.current_version(&context.kek)).await?;
        let ik = Ik::generate()?;
        let bytes = context.to_bytes()?;
        self.metrics.kms(KmsCall::Wrap);
        let wrapped = bounded(self.kms.wrap(&context.kek, &context.kek_version, &bytes, &ik)).await?;
        let record = IkRecord { context, wrapped };
        let version = self.version_of(&record);
        Ok((record, version))
    }

    /// The KEK version that wrapped a record, as far as the KMS tells.
    pub(super) fn version_of(&self, record: &IkRecord) -> String {
        let context = &record.context;
        self.kms.version_of(&context.kek, &context.kek_version, &record.wrapped)
    }

    /// A turn at the provider of a KEK, for work in the background. One at a time: whoever holds one waits for no other.
    async fn turn(&self, kek: &str) -> Result<OwnedSemaphorePermit, KmsError> {
        let provider = kek.split_once('/').map_or(kek, |(provider, _)| provider).to_owned();
        let turns = Arc::clone(
            lock(&self.turns).entry(provider).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))),
        );
        turns.acquire_owned().await.map_err(|_| KmsError::Unsupported("the control plane stops".to_owned()))
    }

    /// Wraps a record's IK under the newest version of `kek`. What comes of it is opened once before anybody relies on it.
    pub(super) async fn rewrap(&self, record: &IkRecord, kek: &str) -> Result<Rewrapped, KmsError> {
        let old = &record.context;
        let out_of_bounds = |_| KmsError::Unsupported("the KEK's reference is out of bounds".to_owned());
        let bytes = old.to_bytes().map_err(out_of_bounds)?;
        self.metrics.kms(KmsCall::Unwrap);
        let turn = self.turn(&old.kek).await?;
        let ik = bounded(self.kms.unwrap(&old.kek, &old.kek_version, &bytes, &record.wrapped)).await?;
        drop(turn);
        let _turn = self.turn(kek).await?;
        let mut context = IkContext { kek: kek.to_owned(), ..old.clone() };
        context.kek_version = bounded(self.kms.current_version(kek)).await?;
        let bytes = context.to_bytes().map_err(out_of_bounds)?;
        self.metrics.kms(KmsCall::Wrap);
        let wrapped = bounded(self.kms.wrap(kek, &context.kek_version, &bytes, &ik)).await?;
        self.metrics.kms(KmsCall::Prove);
        let opened = bounded(self.kms.unwrap(kek, &context.kek_version, &bytes, &wrapped)).await?;
        if !bool::from(opened.expose().ct_eq(ik.expose())) {
            return Err(KmsError::BadCiphertext);
        }
        let wrapped_anew = IkRecord { context, wrapped };
        let version = self.version_of(&wrapped_anew);
        Ok(Rewrapped { replaced: record.clone(), record: wrapped_anew, version })
    }

    /// What was wrapped anew and committed, `asked` being from before the KMS was: keys in memory hang on it from now on.
    pub(super) fn rebind(&self, rewrapped: &Rewrapped, asked: u64) {
        let context = &rewrapped.record.context;
        let (name, kek) = ((context.bucket, context.ik), (context.kek.clone(), rewrapped.version.clone()));
        let flights = lock(&self.flights);
        let times =
            lock(&self.cache).rebind(name, kek, &rewrapped.record, asked, flights.contains_key(&name));
        drop(flights);
        if let Some((due, over)) = times {
            self.to_prove.due(due);
            self.to_evict.due(over);
        }
    }

    /// Something is to be done at another time than the timers know.
    fn changed(&self) {
        self.to_prove.told.notify_one();
        self.to_evict.told.notify_one();
    }

    pub(super) fn bar(&self, name: KeyName, barred: bool) {
        lock(&self.cache).bar(name, barred);
    }

    pub(super) fn cut(&self, tenant: TenantId, buckets: &HashSet<BucketId>, cut: bool) {
        lock(&self.cache).cut(tenant, buckets, cut);
    }

    /// The IKs of a tenant have another unproved life.
    pub(super) fn live(&self, tenant: TenantId, buckets: &HashSet<BucketId>, unproved_life: u64) {
        lock(&self.cache).live(tenant, buckets, unproved_life);
        self.changed();
    }

    /// Whether the KMS opens a record, which then is one that it wrapped itself for just this context. Nothing is kept.
    pub(super) async fn opens(&self, record: &IkRecord) -> Result<bool, Error> {
        let context = &record.context;
        self.metrics.kms(KmsCall::Unwrap);
        let bytes = context.to_bytes()?;
        let call = self.kms.unwrap(&context.kek, &context.kek_version, &bytes, &record.wrapped);
        match bounded(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(error) => {
                let (bucket, ik) = (context.bucket, context.ik);
                tracing::warn!(target: "audit", %bucket, %ik, kek = context.kek, %error, "a key record does not open");
                Ok(false)
            }
        }
    }

    fn cached(&self, name: KeyName) -> Option<Held> {
        let held = lock(&self.cache).get(name, self.clock.steady());
        if held.as_ref().is_some_and(|held| held.used_up) {
            self.to_prove.told.notify_one();
        }
        held
    }

    pub(super) fn forget(&self, bucket: BucketId) {
        lock(&self.cache).forget(bucket);
    }

    /// How many IKs are in memory.
    pub(super) fn held(&self) -> usize {
        lock(&self.cache).len()
    }

    /// How many IKs hang on a provider, and which of its KEK versions could not be proved when they should have been.
    pub(super) fn of_provider(&self, provider: &str) -> (usize, Vec<String>) {
        lock(&self.cache).of_provider(provider)
    }

    /// A record that the provider has opened before, under none of these KEKs.
    pub(super) fn sample(&self, provider: &str, refused: &HashSet<String>) -> Option<Arc<IkRecord>> {
        lock(&self.cache).sample(provider, refused)
    }

    /// How many KEK versions could not be proved when they should have been.
    pub(super) fn unproved(&self) -> usize {
        lock(&self.cache).unproved()
    }

    /// Proves KEK versions again and evicts, until the control plane stops. A KMS that is slow holds up no eviction.
    pub(super) async fn keep(self: Arc<Self>) {
        tokio::join!(self.keep_proved(), self.keep_evicted());
    }

    async fn keep_proved(self: &Arc<Self>) {
        loop {
            let due = lock(&self.cache).due(self.clock.steady());
            // Side by side: one KMS that is slow must not let another's proofs come too late.
            let proofs = stream::iter(due).map(|(kek, sample)| {
                let this = Arc::clone(self);
                async move { this.prove(&kek, &sample).await.then_some(kek) }
            });
            let proved: Vec<_> = proofs.buffer_unordered(PROOFS).collect().await;
            let proved: HashSet<_> = proved.into_iter().flatten().collect();
            let next = {
                let mut cache = lock(&self.cache);
                if !proved.is_empty() {
                    cache.drop_unused(&proved, self.clock.steady());
                }
                self.to_prove.set(cache.next())
            };
            self.to_prove.wait(next, &*self.clock).await;
        }
    }

    async fn keep_evicted(&self) {
        loop {
            let next = {
                let mut cache = lock(&self.cache);
                self.to_evict.set(cache.evict(self.clock.steady()))
            };
            self.to_evict.wait(next, &*self.clock).await;
        }
    }

    /// Whether the KMS opened it.
    async fn prove(&self, kek: &KekVersion, sample: &IkRecord) -> bool {
        self.metrics.kms(KmsCall::Prove);
        let asked = self.clock.steady();
        let context = &sample.context;
        let opened = async {
            let bytes = context.to_bytes().map_err(|_| KmsError::BadCiphertext)?;
            self.kms.unwrap(&context.kek, &context.kek_version, &bytes, &sample.wrapped).await
        };
        let result = bounded(opened).await;
        let (mut cache, opened) = (lock(&self.cache), result.is_ok());
        match result {
            Ok(_) => cache.proved(kek, asked),
            Err(error @ (KmsError::Denied(_) | KmsError::NotFound(_))) => {
                tracing::warn!(target: "audit", kek = kek.0, %error, "a KEK is denied: its keys are dropped");
                cache.denied(kek);
            }
            // Also what is not understood: only a refusal takes keys away.
            Err(error) => {
                tracing::warn!(target: "audit", kek = kek.0, %error, "a KEK cannot be proved: keys go on unproved");
                cache.unreachable(kek, self.clock.steady());
            }
        }
        opened
    }
}

/// Takes a flight off the map when it ends, however it does.
struct Landing<'a> {
    of: &'a Unwrapper,
    name: KeyName,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = lock(&self.of.flights);
        flights.remove(&self.name);
        lock(&self.of.cache).landed(&self.name);
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, KmsError>>) -> Result<T, KmsError> {
    let late = |_| KmsError::Unavailable(Cause::Timeout, "no answer in time".to_owned());
    tokio::time::timeout(KMS_TIMEOUT, call).await.map_err(late)?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
