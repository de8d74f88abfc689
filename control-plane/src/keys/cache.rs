//! The IK cache: bounded in number, and thereby in bytes, in time and in uses; zeroized at the moment when the time is over.
//!
//! Time is that of the last proof of the KEK version: one Decrypt under it extends every IK that it wraps. It is the clock's
//! steady time, which nobody can set back. Nothing here waits for anybody; the timers that prove and evict are in `unwrapper`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sealgate_envelope::{BucketId, Ik, IkId, IkRecord, TenantId};

use super::HARD;
use crate::metrics::{Eviction, Metrics};

/// IKs in memory: as many as a table of 2^20 places holds. Each has 65 bytes there and 48 of its own, its KEK's name is shared: 115 MB in
/// all. Beyond that those go that were used longest ago.
const MAX_KEYS: usize = 917_000;
/// After so many answers out of the cache a KEK version is proved again, whatever the time.
const MAX_GIVEN: u64 = 1 << 20;
/// IKs that nobody asked for go, in seconds: when their KEK version has just been proved, so never while they could not be had again.
const UNUSED: u64 = 3_600;
/// How long a proof that failed is not tried again, in seconds.
const RETRY: u64 = 30;

/// A KEK reference and version.
pub(super) type KekVersion = (String, String);

/// Which IK.
pub(super) type KeyName = (BucketId, IkId);

struct Cached {
    // Shared, never cloned: answers in flight hold it while the cache lets go. It zeroizes with the last holder.
    ik: Arc<Ik>,
    /// The key of its proof, shared by all under it.
    kek: Arc<KekVersion>,
    unproved_life: u64,
    used: u64,
}

/// When a KEK version was last proved, and whether its KMS answers.
pub(super) struct Proof {
    at: u64,
    /// The KMS could not be reached when it should have been proved again.
    degraded: bool,
    /// One that it wraps: opening it is the proof.
    sample: Arc<IkRecord>,
    /// How many times one that it wraps was given out since.
    given: u64,
    /// It failed: not before then again.
    retry: u64,
    /// Its hour was over before anybody could try to prove it, as when the machine was suspended: since when that is known.
    spared: Option<u64>,
}

impl Proof {
    fn new(at: u64, sample: &IkRecord) -> Self {
        Self { at, degraded: false, sample: Arc::new(sample.clone()), given: 0, retry: 0, spared: None }
    }

    /// Until when what it wraps is kept although its hour is over: for as long as the proof may take that decides.
    fn spares(&mut self, now: u64) -> u64 {
        if now < self.at + HARD || self.degraded {
            return 0;
        }
        *self.spared.get_or_insert(now) + RETRY
    }

    /// From when on it has to be proved again.
    fn due(&self) -> u64 {
        if self.given >= MAX_GIVEN { self.retry } else { self.retry.max(self.at + super::PROVE_AFTER) }
    }
}

/// A cached IK and how long it may still be held.
pub(crate) struct Held {
    pub(crate) ik: Arc<Ik>,
    pub(super) kek: Arc<KekVersion>,
    pub(super) hard_until: u64,
    pub(crate) degraded: bool,
    pub(super) proved: u64,
    /// It has just been given out for the last time before the next proof.
    pub(super) used_up: bool,
}

pub(super) struct Cache {
    metrics: Arc<Metrics>,
    keys: HashMap<KeyName, Cached>,
    proofs: BTreeMap<Arc<KekVersion>, Proof>,
    /// Whose IKs come in no more: what was asked of the KMS before they were cut off may be answered after it.
    cut: HashSet<TenantId>,
    barred: HashSet<KeyName>,
    /// IKs that were wrapped anew while the KMS is asked to open what wrapped them before: what is to be noted instead, and when
    /// the KMS proved it.
    moved: HashMap<KeyName, (KekVersion, IkRecord, u64)>,
    /// Tenants' unproved lives that were changed: who asked the KMS before that brings along the old one.
    lives: HashMap<TenantId, u64>,
}

impl Cache {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            keys: HashMap::new(),
            proofs: BTreeMap::new(),
            cut: HashSet::new(),
            barred: HashSet::new(),
            lives: HashMap::new(),
            moved: HashMap::new(),
        }
    }

    /// The IK, if it may be used at `now`.
    pub(super) fn get(&mut self, name: KeyName, now: u64) -> Option<Held> {
        let cached = self.keys.get_mut(&name)?;
        let proof = self.proofs.get_mut(&cached.kek)?;
        let hard_until = hard_until(cached, proof);
        if now >= hard_until {
            return None;
        }
        cached.used = now;
        proof.given += 1;
        let (ik, kek) = (Arc::clone(&cached.ik), Arc::clone(&cached.kek));
        let (degraded, used_up) = (now >= proof.at + HARD, proof.given == MAX_GIVEN);
        Some(Held { ik, kek, hard_until, degraded, proved: proof.at, used_up })
    }

    /// Takes up an IK that its KMS has just unwrapped or wrapped: which proves the KEK version. Gives when the KEK
    /// version is to be proved again, and when the IK is over.
    pub(super) fn insert(
        &mut self,
        name: KeyName,
        ik: Arc<Ik>,
        kek: KekVersion,
        sample: &IkRecord,
        unproved_life: u64,
        now: u64,
    ) -> (u64, u64) {
        if self.cut.contains(&sample.context.tenant) || self.barred.contains(&name) {
            return (u64::MAX, u64::MAX);
        }
        let unproved_life = self.lives.get(&sample.context.tenant).copied().unwrap_or(unproved_life);
        self.make_room(MAX_KEYS);
        let moved = self.moved.remove(&name);
        let (kek, sample, proved) =
            moved.as_ref().map_or((kek, sample, now), |(kek, sample, at)| (kek.clone(), sample, *at));
        let (kek, times) = self.prove(kek, sample, proved);
        self.keys.insert(name, Cached { ik, kek, unproved_life, used: now });
        times
    }

    /// The KMS has opened `sample`, which was asked for `at`. Gives the name that is shared, when it is to be proved again, and when
    /// what it wraps is over.
    fn prove(&mut self, kek: KekVersion, sample: &IkRecord, at: u64) -> (Arc<KekVersion>, (u64, u64)) {
        let (kek, at) = match self.proofs.get_key_value(&kek) {
            Some((shared, proof)) => (Arc::clone(shared), proof.at.max(at)),
            None => (Arc::new(kek), at),
        };
        let proof = Proof::new(at, sample);
        let times = (proof.due(), proof.at + HARD);
        self.proofs.insert(Arc::clone(&kek), proof);
        (kek, times)
    }

    /// In a full cache the keys that were used longest ago go, a sixteenth of them: not every key that comes in has to look at all.
    fn make_room(&mut self, most: usize) {
        if self.keys.len() < most {
            return;
        }
        let mut used: Vec<u64> = self.keys.values().map(|cached| cached.used).collect();
        let (_, &mut last, _) = used.select_nth_unstable(most / 16);
        let mut left = most / 16 + 1;
        self.retain(Eviction::Full, |_, cached| {
            let goes = left > 0 && cached.used <= last;
            left -= usize::from(goes);
            !goes
        });
    }

    /// Drops what `keep` refuses.
    fn retain(&mut self, reason: Eviction, mut keep: impl FnMut(&KeyName, &Cached) -> bool) {
        let before = self.keys.len();
        self.keys.retain(|name, cached| keep(name, cached));
        self.metrics.evicted(reason, before - self.keys.len());
    }

    /// It was opened again; counts from when that was asked for.
    pub(super) fn proved(&mut self, kek: &KekVersion, asked: u64) {
        let Some(proof) = self.proofs.get_mut(kek) else { return };
        (proof.at, proof.degraded, proof.given, proof.retry) = (proof.at.max(asked), false, 0, 0);
        proof.spared = None;
    }

    /// Drops what nobody has asked for under KEK versions that have just been proved: it can be had again.
    pub(super) fn drop_unused(&mut self, proved: &HashSet<KekVersion>, now: u64) {
        self.retain(Eviction::Idle, |_, cached| now < cached.used + UNUSED || !proved.contains(&*cached.kek));
        self.forget_proofs();
    }

    pub(super) fn unproved(&self) -> usize {
        self.proofs.values().filter(|proof| proof.degraded).count()
    }

    pub(super) fn unreachable(&mut self, kek: &KekVersion, now: u64) {
        if let Some(proof) = self.proofs.get_mut(kek) {
            (proof.degraded, proof.retry) = (true, now + RETRY);
        }
    }

    /// The KMS denies the KEK version: every IK under it goes at once.
    pub(super) fn denied(&mut self, kek: &KekVersion) {
        self.retain(Eviction::Denied, |_, cached| *cached.kek != *kek);
        self.proofs.remove(kek);
    }

    /// Drops the IKs of a bucket.
    pub(super) fn forget(&mut self, bucket: BucketId) {
        self.retain(Eviction::Revoked, |(of, _), _| *of != bucket);
        self.forget_proofs();
    }

    /// Drops an IK, and lets it come in no more; or lets it again.
    pub(super) fn bar(&mut self, name: KeyName, barred: bool) {
        if barred {
            self.barred.insert(name);
            self.retain(Eviction::Revoked, |of, _| *of != name);
            self.forget_proofs();
        } else {
            self.barred.remove(&name);
        }
    }

    /// Drops the IKs of a tenant's buckets, and lets none come in any more; or lets them again.
    pub(super) fn cut(&mut self, tenant: TenantId, buckets: &HashSet<BucketId>, cut: bool) {
        if cut {
            self.cut.insert(tenant);
            self.retain(Eviction::Revoked, |(of, _), _| !buckets.contains(of));
            self.forget_proofs();
        } else {
            self.cut.remove(&tenant);
        }
    }

    /// The IKs of a tenant's buckets have another unproved life from now on.
    pub(super) fn live(&mut self, tenant: TenantId, buckets: &HashSet<BucketId>, unproved_life: u64) {
        self.lives.insert(tenant, unproved_life);
        let own = self.keys.iter_mut().filter(|((of, _), _)| buckets.contains(of));
        own.for_each(|(_, cached)| cached.unproved_life = unproved_life);
    }

    /// An IK that was wrapped anew hangs on what wraps it now, which the KMS has just proved; `asked_for`: the KMS is opening what
    /// wrapped it before. Gives when the KEK version is to be proved again, and when the IK is over, if it is in memory.
    pub(super) fn rebind(
        &mut self,
        name: KeyName,
        kek: KekVersion,
        sample: &IkRecord,
        asked: u64,
        asked_for: bool,
    ) -> Option<(u64, u64)> {
        if asked_for {
            self.moved.insert(name, (kek.clone(), sample.clone(), asked));
        }
        if !self.keys.contains_key(&name) {
            return None;
        }
        let (kek, times) = self.prove(kek, sample, asked);
        self.keys.get_mut(&name)?.kek = kek;
        Some(times)
    }

    /// Nobody asks the KMS for it any more.
    pub(super) fn landed(&mut self, name: &KeyName) {
        self.moved.remove(name);
    }

    /// Drops what is over at `now`, and says when the next is.
    pub(super) fn evict(&mut self, now: u64) -> Option<u64> {
        let mut proofs = std::mem::take(&mut self.proofs);
        let mut next: Option<u64> = None;
        self.retain(Eviction::Hard, |_, cached| {
            let Some(proof) = proofs.get_mut(&cached.kek) else { return false };
            let end = hard_until(cached, proof).max(proof.spares(now));
            if now < end {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
            now < end
        });
        self.proofs = proofs;
        self.forget_proofs();
        next
    }

    /// Forgets KEK versions under which nothing is held.
    fn forget_proofs(&mut self) {
        // The map has one hold on a name, and each key under it another.
        self.proofs.retain(|kek, _| Arc::strong_count(kek) > 1);
    }

    /// The KEK versions to prove again at `now`, each with a record to open: not those whose last IK was wrapped anew.
    pub(super) fn due(&mut self, now: u64) -> Vec<(KekVersion, Arc<IkRecord>)> {
        self.forget_proofs();
        let due = self.proofs.iter().filter(|(_, proof)| now >= proof.due());
        due.map(|(kek, proof)| (KekVersion::clone(kek), Arc::clone(&proof.sample))).collect()
    }

    /// When the next is to be proved.
    pub(super) fn next(&self) -> Option<u64> {
        self.proofs.values().map(Proof::due).min()
    }

    /// How many IKs hang on a provider, and its KEK versions that were not proved when they should have been.
    pub(super) fn of_provider(&self, provider: &str) -> (usize, Vec<String>) {
        let keys = self.keys.values().filter(|cached| is_of(&cached.kek, provider)).count();
        let unproved = self.proofs.iter().filter(|(kek, proof)| proof.degraded && is_of(kek, provider));
        let named = |(kek, _): (&Arc<KekVersion>, _)| {
            let (kek, version) = &**kek;
            if version.is_empty() { kek.clone() } else { format!("{kek} {version}") }
        };
        (keys, unproved.map(named).collect())
    }

    /// A record that the provider has opened before, under none of these KEKs.
    pub(super) fn sample(&self, provider: &str, refused: &HashSet<String>) -> Option<Arc<IkRecord>> {
        let mut proofs = self.proofs.iter();
        let found = proofs.find(|(kek, _)| is_of(kek, provider) && !refused.contains(&kek.0));
        found.map(|(_, proof)| Arc::clone(&proof.sample))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn is_of((kek, _): &KekVersion, provider: &str) -> bool {
    kek.split_once('/').is_some_and(|(of, _)| of == provider)
}

fn hard_until(cached: &Cached, proof: &Proof) -> u64 {
    proof.at + HARD + if proof.degraded { cached.unproved_life } else { 0 }
}

/// What the owning tenant says about its keys.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) unproved_life: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sealgate_envelope::IkContext;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn record(ik: u8) -> IkRecord {
        let context = IkContext {
            tenant: TenantId::from_bytes([1; 16]),
            bucket: BucketId::from_bytes([2; 16]),
            ik: IkId::from_bytes([ik; 16]),
            created: NOW,
            kek: "kms/key".to_owned(),
            kek_version: "1".to_owned(),
        };
        IkRecord { context, wrapped: Vec::new() }
    }

    fn name(ik: u8) -> KeyName {
        (BucketId::from_bytes([2; 16]), IkId::from_bytes([ik; 16]))
    }

    fn with_keys(iks: std::ops::Range<u8>) -> (Cache, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut cache = Cache::new(Arc::clone(&metrics));
        for ik in iks {
            let kek = ("kms/key".to_owned(), "1".to_owned());
            cache.insert(name(ik), Arc::new(Ik::generate().unwrap()), kek, &record(ik), 0, NOW);
        }
        (cache, metrics)
    }

    fn evicted(metrics: &Metrics, reason: &str, keys: usize) -> bool {
        let text = metrics.render().unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("sealgate_control_key_evictions_total{"));
        lines.any(|line| {
            line.contains(&format!("reason=\"{reason}\"")) && line.ends_with(&format!("}} {keys}"))
        })
    }

    #[test]
    fn a_full_cache_drops_those_that_were_used_longest_ago() {
        let (mut cache, metrics) = with_keys(0..64);
        for ik in (0..64).filter(|ik| ik % 8 != 0) {
            assert!(cache.get(name(ik), NOW + 1).is_some());
        }
        cache.make_room(65);
        assert_eq!(cache.len(), 64, "there was room");
        cache.make_room(64);
        assert_eq!(cache.len(), 59);
        assert!((0..64).filter(|ik| ik % 8 != 0).all(|ik| cache.get(name(ik), NOW + 1).is_some()));
        assert!(evicted(&metrics, "full", 5));
    }

    #[test]
    fn each_eviction_is_counted_under_its_reason() {
        let (mut cache, metrics) = with_keys(0..4);
        cache.bar(name(0), true);
        cache.evict(NOW + UNUSED - 1);
        assert!(evicted(&metrics, "revoked", 1) && cache.len() == 3);
        cache.denied(&("kms/key".to_owned(), "1".to_owned()));
        assert!(evicted(&metrics, "denied", 3) && cache.len() == 0);
        let (mut cache, metrics) = with_keys(0..2);
        cache.proved(&("kms/key".to_owned(), "1".to_owned()), NOW + UNUSED - 1);
        assert!(cache.get(name(1), NOW + UNUSED - 1).is_some());
        let kek = ("kms/key".to_owned(), "1".to_owned());
        cache.proved(&kek, NOW + UNUSED);
        cache.drop_unused(&HashSet::from([kek]), NOW + UNUSED);
        assert!(evicted(&metrics, "idle", 1) && cache.len() == 1);
        assert_eq!(cache.evict(NOW + UNUSED + HARD - 1), Some(NOW + UNUSED + HARD));
        // Nobody tried to prove it meanwhile, and nobody does.
        assert_eq!(cache.evict(NOW + UNUSED + HARD), Some(NOW + UNUSED + HARD + RETRY));
        assert!(cache.get(name(1), NOW + UNUSED + HARD).is_none());
        assert_eq!(cache.evict(NOW + UNUSED + HARD + RETRY), None);
        assert!(evicted(&metrics, "hard", 1) && cache.len() == 0);
    }

    #[test]
    fn what_nobody_asks_for_stays_while_it_could_not_be_had_again() {
        let (mut cache, _) = with_keys(0..1);
        let kek = ("kms/key".to_owned(), "1".to_owned());
        // Proved late, and then its KMS is away, which nobody knows before the next proof.
        assert!(cache.get(name(0), NOW + UNUSED - 1).is_some());
        cache.proved(&kek, NOW + UNUSED);
        let last = NOW + 2 * UNUSED - 1;
        cache.drop_unused(&HashSet::new(), last);
        assert_eq!((cache.evict(last), cache.len()), (Some(NOW + UNUSED + HARD), 1));
        assert!(cache.get(name(0), last).is_some());
    }

    #[test]
    fn a_key_that_is_opened_while_it_is_wrapped_anew_hangs_on_its_new_kek_from_when_that_was_proved() {
        let (mut cache, _) = with_keys(0..0);
        let version = |number: &str| ("kms/key".to_owned(), number.to_owned());
        cache.rebind(name(0), version("2"), &record(0), NOW, true);
        cache.insert(name(0), Arc::new(Ik::generate().unwrap()), version("1"), &record(0), 0, NOW + 5);
        let held = cache.get(name(0), NOW + 5).unwrap();
        assert_eq!((&*held.kek, held.proved), (&version("2"), NOW));
        assert_eq!(cache.due(u64::MAX).len(), 1, "the old one is asked for");
    }

    #[test]
    fn a_kek_under_which_nothing_is_held_is_asked_for_nothing() {
        let tenant = TenantId::from_bytes([1; 16]);
        for end in [
            (|cache: &mut Cache, _| cache.forget(name(0).0)) as fn(&mut Cache, TenantId),
            |cache, _| cache.bar(name(0), true),
            |cache, tenant| cache.cut(tenant, &HashSet::from([name(0).0]), true),
        ] {
            let (mut cache, _) = with_keys(0..1);
            end(&mut cache, tenant);
            assert!(cache.due(u64::MAX).is_empty() && cache.sample("kms", &HashSet::new()).is_none());
        }
    }

    #[test]
    fn a_proof_that_failed_is_not_tried_again_at_once_whatever_comes_in() {
        let (mut cache, _) = with_keys(0..1);
        let (kek, due) = (("kms/key".to_owned(), "1".to_owned()), NOW + super::super::PROVE_AFTER);
        assert_eq!((cache.due(due - 1).len(), cache.due(due).len(), cache.next()), (0, 1, Some(due)));
        cache.unreachable(&kek, due);
        assert_eq!((cache.due(due + RETRY - 1).len(), cache.next()), (0, Some(due + RETRY)));
        assert_eq!(cache.due(due + RETRY).len(), 1);
    }
}
