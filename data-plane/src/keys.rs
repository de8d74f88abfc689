//! Intermediate keys on a node: a cache of bounded lives in front of the control plane's Keys service.
//!
//! Policy. A lookup takes a lock and no more. A miss goes to one task ([`fetch`]) that asks the control plane once, however
//! many wait, and that no client's hanging up can stop. A key past its soft life is still given out while it is asked
//! for again; past its hard life it is zeroized by a timer, at that moment. No key is ever on a node's disk.
//!
//! While the control plane cannot be reached, or says that it cannot have a key, no key goes for being unused, and one whose hard
//! life is over goes on to the end of its tenant's unproved life: counted and written into the audit log. What the control plane
//! takes back or denies ends at once, and everything when it has revoked this node.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealgate_envelope::Ik;
use sealgate_envelope::ids::{BucketId, IkId};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::metrics::{Eviction, KeyLookup, Metrics};
use crate::snapshot::Bucket;

pub mod fetch;
mod lives;
mod refusals;

use lives::{Cached, Entry, GRACE};
pub use lives::{Ends, Lives};
pub use refusals::KeyError;
use refusals::Refusals;

/// An intermediate key in use. Zeroized when the cache and the last request have dropped it.
pub struct NodeKey {
    /// Its id.
    pub id: IkId,
    /// The key.
    pub ik: Ik,
}

/// What the control plane has said of a bucket's keys so far. Whatever was made of a key under another mark is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    right: Right,
    revision: u64,
}

/// The key that a bucket's new objects are sealed under, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub struct Active {
    /// When a newer one is asked for.
    pub until: u64,
    /// When it seals no more, also where no newer one can be had.
    pub last: u64,
}

#[derive(Default)]
struct State {
    entries: HashMap<(BucketId, IkId), Entry>,
    active: HashMap<BucketId, (IkId, Active)>,
    rights: HashMap<BucketId, Right>,
    /// Goes up with each key that the control plane denies.
    revision: u64,
    /// With which one a key was denied.
    denied: HashMap<(BucketId, IkId), u64>,
    /// And when all were.
    all_denied: u64,
    /// Until when keys go on because the control plane cannot be reached, or could not: for good while it cannot.
    extended: Duration,
}

impl State {
    fn mark(&self, bucket: BucketId) -> Mark {
        Mark { right: self.rights.get(&bucket).copied().unwrap_or(Some(0)), revision: self.revision }
    }

    /// Whether a key that was asked for under this mark may still be used.
    fn allows(&self, bucket: BucketId, id: IkId, mark: Mark) -> bool {
        let denied = self.denied.get(&(bucket, id)).copied().unwrap_or(0).max(self.all_denied);
        mark.right.is_some() && self.mark(bucket).right == mark.right && denied <= mark.revision
    }

    /// Makes room in a full cache: the keys that were used longest ago go, a sixteenth of them, so that not every key that comes in
    /// has to look at all of them.
    fn make_room(&mut self, metrics: &Metrics) {
        if self.entries.len() < MOST {
            return;
        }
        let mut used: Vec<Duration> = self.entries.values().map(|entry| entry.used).collect();
        let (_, &mut last, _) = used.select_nth_unstable(MOST / 16);
        let mut left = MOST / 16 + 1;
        self.entries.retain(|_, entry| {
            let goes = left > 0 && entry.used <= last;
            if goes {
                left -= 1;
                metrics.key_evicted(Eviction::Full);
            }
            !goes
        });
    }
}

/// What the config says of a bucket's keys: none, they are denied; a number that goes up when what was given before is void.
type Right = Option<u64>;

/// The node's keys: its cache, and the way to the control plane.
pub struct Keys {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    requests: mpsc::Sender<Request>,
    changed: Notify,
    refusals: Refusals,
    /// Requests that failed since a key could not be had.
    failed: AtomicU64,
}

/// A key wanted by a request.
pub struct Request {
    bucket: Arc<Bucket>,
    wanted: Wanted,
    answer: Option<oneshot::Sender<Result<Arc<NodeKey>, KeyError>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Active,
    Id(IkId),
}

/// Keys that are kept at most: with what belongs to each some 300 bytes, 20 MB in all.
const MOST: usize = 65_536;

/// Requests to the control plane that may wait at once; more are answered 503.
const WAITING: usize = 4_096;

/// How long the timer sleeps at most.
const LOOK: Duration = Duration::from_secs(10);

/// How long a request waits for its key.
const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

impl Keys {
    /// An empty cache, and the requests that [`fetch::run`] is to answer.
    pub fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(WAITING);
        let (changed, failed) = (Notify::new(), AtomicU64::new(0));
        let (state, refusals) = (Mutex::default(), Refusals::default());
        let keys = Self { state, clock, metrics, requests, changed, refusals, failed };
        (Arc::new(keys), receiver)
    }

    /// The key for new objects of a bucket.
    ///
    /// # Errors
    /// When the cache has none and the control plane gives none.
    pub async fn active(&self, bucket: &Arc<Bucket>) -> Result<Arc<NodeKey>, KeyError> {
        let cached = match self.active_now(bucket.id) {
            Some((id, false)) => self.cached(bucket.id, id),
            Some((id, true)) => self.cached(bucket.id, id).degraded(),
            None => Cached::Missing,
        };
        self.resolve(bucket, Wanted::Active, cached).await
    }

    /// The bucket's key for new objects, and whether its day is over: who cannot ask for a newer one goes on with it for another.
    fn active_now(&self, bucket: BucketId) -> Option<(IkId, bool)> {
        let (state, now) = (self.lock(), self.clock.unix());
        let (id, active) = *state.active.get(&bucket)?;
        if now < active.until {
            return Some((id, false));
        }
        let entry = state.entries.get(&(bucket, id))?;
        let goes_on = entry.extended(state.extended) > self.clock.monotonic();
        (goes_on && now < active.last).then_some((id, true))
    }

    /// A key by its id, for reading.
    ///
    /// # Errors
    /// When the cache does not have it and the control plane gives none.
    pub async fn get(&self, bucket: &Arc<Bucket>, id: IkId) -> Result<Arc<NodeKey>, KeyError> {
        let cached = self.cached(bucket.id, id);
        self.resolve(bucket, Wanted::Id(id), cached).await
    }

    async fn resolve(
        &self,
        bucket: &Arc<Bucket>,
        wanted: Wanted,
        cached: Cached,
    ) -> Result<Arc<NodeKey>, KeyError> {
        if self.right(bucket.id).is_none() {
            self.metrics.key_lookup(KeyLookup::Failed);
            return Err(KeyError::Denied("the tenant's keys are cut off".to_owned()));
        }
        let found = match cached {
            Cached::Degraded(_) => KeyLookup::Degraded,
            _ => KeyLookup::Hit,
        };
        match cached {
            Cached::Fresh(key) => {
                self.metrics.key_lookup(KeyLookup::Hit);
                Ok(key)
            }
            Cached::Stale(key) | Cached::Degraded(key) => {
                self.metrics.key_lookup(found);
                self.refresh(bucket, wanted, key.id);
                Ok(key)
            }
            Cached::Missing => {
                self.metrics.key_lookup(KeyLookup::Miss);
                if let Some(refusal) = self.refusals.of((bucket.id, wanted), self.clock.monotonic()) {
                    return self.failing(Err(refusal));
                }
                let (answer, answered) = oneshot::channel();
                let request = Request { bucket: Arc::clone(bucket), wanted, answer: Some(answer) };
                self.requests
                    .try_send(request)
                    .map_err(|_| KeyError::Unavailable("too many requests wait for keys".to_owned()))?;
                let result = match tokio::time::timeout(WAIT, answered).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(KeyError::Unavailable("the request for it was dropped".to_owned())),
                    Err(_) => Err(KeyError::Unavailable("the control plane takes too long".to_owned())),
                };
                self.failing(result)
            }
        }
    }

    /// Asks for a key that is there again, ahead of its end: nobody waits for it, and a full queue only means that it is asked for
    /// later. One that could not be had a moment ago is not asked for at each request.
    fn refresh(&self, bucket: &Arc<Bucket>, wanted: Wanted, id: IkId) {
        let now = self.clock.monotonic();
        if !self.lock().entries.get(&(bucket.id, id)).is_some_and(|entry| entry.is_paused(now)) {
            let _ = self.requests.try_send(Request { bucket: Arc::clone(bucket), wanted, answer: None });
        }
    }

    /// Counts it if it failed.
    fn failing(&self, result: Result<Arc<NodeKey>, KeyError>) -> Result<Arc<NodeKey>, KeyError> {
        if let Err(error) = &result {
            if !matches!(error, KeyError::Denied(_) | KeyError::Unknown) {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            self.metrics.key_lookup(KeyLookup::Failed);
        }
        result
    }

    /// There is news of the KMS: what was refused before is asked for again.
    pub fn news(&self) {
        self.refusals.clear();
    }

    fn cached(&self, bucket: BucketId, id: IkId) -> Cached {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let extended = state.extended;
        let Some(entry) = state.entries.get_mut(&(bucket, id)) else { return Cached::Missing };
        if entry.expiry(extended).0 <= now {
            // The timer is about to remove it; it is not given out any more.
            return Cached::Missing;
        }
        entry.used = now;
        entry.uses += 1;
        let key = Arc::clone(&entry.key);
        if entry.ends().hard <= now {
            if !std::mem::replace(&mut entry.degraded, true) {
                tracing::warn!(target: "audit", %bucket, ik = %id, "a key is used beyond its hour: the control plane cannot be reached");
            }
            return Cached::Degraded(key);
        }
        if entry.is_stale(now) { Cached::Stale(key) } else { Cached::Fresh(key) }
    }

    /// Whether the control plane can be reached: while it cannot, keys go on as long as their tenant allows.
    pub fn cut_off(&self, cut_off: bool) {
        let mut state = self.lock();
        match (cut_off, state.extended == Duration::MAX) {
            (true, _) => state.extended = Duration::MAX,
            (false, true) => state.extended = self.clock.monotonic() + GRACE,
            (false, false) => {}
        }
        drop(state);
        self.metrics.control_plane(!cut_off);
        self.changed.notify_one();
    }

    /// Whether keys go on because the control plane cannot be reached.
    pub fn is_cut_off(&self) -> bool {
        self.lock().extended == Duration::MAX
    }

    /// A key, or the one for new objects, was asked for and could not be had: what is there of it goes on. Whether something is.
    fn unreached(&self, bucket: BucketId, wanted: Wanted) -> bool {
        let (mut state, now) = (self.lock(), self.clock.monotonic());
        let id = match wanted {
            Wanted::Id(id) => Some(id),
            Wanted::Active => state.active.get(&bucket).map(|(id, _)| *id),
        };
        let entry = id.and_then(|id| state.entries.get_mut(&(bucket, id)));
        entry.map(|entry| entry.unreached(now)).is_some()
    }

    /// What the control plane has said so far: to be read before a key is asked for of which more than one request's work is made.
    pub fn mark(&self, bucket: BucketId) -> Mark {
        self.lock().mark(bucket)
    }

    /// When a key that is held ends.
    pub fn ends(&self, bucket: BucketId, id: IkId) -> Option<Ends> {
        self.lock().entries.get(&(bucket, id)).map(Entry::ends)
    }

    /// Whether what was made of a key may still be used: nothing was taken back since, and the key would not be over.
    pub fn holds(&self, bucket: BucketId, id: IkId, mark: Mark, ends: Ends) -> bool {
        let state = self.lock();
        state.allows(bucket, id, mark) && ends.at(state.extended) > self.clock.monotonic()
    }

    /// What the config says of a bucket's keys: to be read before the control plane is asked for one.
    pub fn right(&self, bucket: BucketId) -> Option<u64> {
        self.lock().rights.get(&bucket).copied().unwrap_or(Some(0))
    }

    /// Takes over what the config says of all buckets' keys, and drops what it takes back; gives those buckets.
    pub fn set_rights(&self, rights: HashMap<BucketId, Option<u64>>) -> HashSet<BucketId> {
        let mut state = self.lock();
        let changed = |(id, right): &(&BucketId, &Right)| {
            right.is_none() || state.rights.get(*id).unwrap_or(&Some(0)) != *right
        };
        let void: HashSet<BucketId> = rights.iter().filter(changed).map(|(id, _)| *id).collect();
        state.rights = rights;
        state.active.retain(|bucket, _| !void.contains(bucket));
        let before = state.entries.len();
        state.entries.retain(|(bucket, _), _| !void.contains(bucket));
        for _ in state.entries.len()..before {
            self.metrics.key_evicted(Eviction::Revoked);
        }
        void
    }

    /// Takes in a key that the control plane gave; `active` where it is the bucket's key for writing.
    /// None when what was taken back or denied since `mark`, from before it was asked for, may be this key.
    pub fn insert(
        &self,
        bucket: BucketId,
        key: NodeKey,
        lives: Lives,
        active: Option<Active>,
        mark: Mark,
    ) -> Option<Arc<NodeKey>> {
        let now = self.clock.monotonic();
        let key = Arc::new(key);
        let mut state = self.lock();
        if !state.allows(bucket, key.id, mark) {
            return None;
        }
        if let Some(active) = active {
            state.active.insert(bucket, (key.id, active));
        }
        if !state.entries.contains_key(&(bucket, key.id)) {
            state.make_room(&self.metrics);
        }
        state.entries.insert((bucket, key.id), Entry::new(&key, lives, now));
        drop(state);
        self.changed.notify_one();
        Some(key)
    }

    /// Drops a key that may not be used any more, and voids what was made of it.
    pub fn revoke(&self, bucket: BucketId, id: IkId) {
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        state.denied.insert((bucket, id), revision);
        if state.active.get(&bucket).is_some_and(|(active, _)| *active == id) {
            state.active.remove(&bucket);
        }
        if state.entries.remove(&(bucket, id)).is_some() {
            self.metrics.key_evicted(Eviction::Revoked);
        }
    }

    /// Drops the key that a bucket writes with.
    pub fn revoke_active(&self, bucket: BucketId) {
        let active = self.lock().active.get(&bucket).map(|(id, _)| *id);
        if let Some(id) = active {
            self.revoke(bucket, id);
        }
    }

    /// Drops the keys of buckets that `keep` refuses: they were deleted, or are not this node's any more.
    pub fn retain(&self, keep: impl Fn(BucketId) -> bool) {
        let mut state = self.lock();
        state.active.retain(|bucket, _| keep(*bucket));
        state.denied.retain(|(bucket, _), _| keep(*bucket));
        let before = state.entries.len();
        state.entries.retain(|(bucket, _), _| keep(*bucket));
        for _ in state.entries.len()..before {
            self.metrics.key_evicted(Eviction::Revoked);
        }
    }

    /// Drops all keys, and voids what was made of them: the control plane refuses this node.
    pub fn refuse_all(&self) {
        let mut state = self.lock();
        state.revision += 1;
        state.all_denied = state.revision;
        state.active.clear();
        state.entries.drain().for_each(|_| self.metrics.key_evicted(Eviction::Revoked));
    }

    /// Drops keys whose life has ended, and says in how long the next one ends.
    pub fn evict(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let mut next: Option<Duration> = None;
        let extended = state.extended;
        state.entries.retain(|_, entry| {
            let (at, reason) = entry.expiry(extended);
            if at <= now {
                self.metrics.key_evicted(reason);
                return false;
            }
            next = Some(next.map_or(at - now, |next| next.min(at - now)));
            true
        });
        let State { entries, active, .. } = &mut *state;
        active.retain(|bucket, (id, _)| entries.contains_key(&(*bucket, *id)));
        next
    }

    /// Drops all keys.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.active.clear();
        for _ in 0..state.entries.len() {
            self.metrics.key_evicted(Eviction::Shutdown);
        }
        state.entries.clear();
    }

    /// How many requests failed since a key could not be had, since the start.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The timer: evicts each key when its life ends. Runs until it is dropped.
    pub async fn keep_evicting(&self) {
        loop {
            // Whatever makes a key end sooner, and whatever comes in, wakes it; after a suspension it is late by this at most.
            let next = self.evict().map_or(LOOK, |next| next.min(LOOK));
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves the maps whole: each change to them is a single call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
