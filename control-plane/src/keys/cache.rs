//! The IK cache: bounded in number and time, zeroized at the moment when the time is over.
//!
//! Time is that of the last proof of the KEK version: one Decrypt under it extends every IK that it wraps. Nothing here
//! waits for anybody; the timer that evicts is in `unwrapper`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sealgate_envelope::{BucketId, Ik, IkId, IkRecord, TenantId};

use super::HARD;

/// IKs in memory; beyond that an arbitrary one goes.
const MAX_KEYS: usize = 1_000_000;
/// IKs that nobody asked for go with the second hour.
const UNUSED: u64 = 3_600;

/// A KEK reference and version.
pub(super) type KekVersion = (String, String);

/// Which IK.
pub(super) type KeyName = (BucketId, IkId);

struct Cached {
    // Shared, never cloned: answers in flight hold it while the cache lets go. It zeroizes with the last holder.
    ik: Arc<Ik>,
    kek: KekVersion,
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
}

/// A cached IK and how long it may still be held.
pub(crate) struct Held {
    pub(crate) ik: Arc<Ik>,
    pub(super) kek: KekVersion,
    pub(super) hard_until: u64,
    pub(super) degraded: bool,
    pub(super) proved: u64,
}

#[derive(Default)]
pub(super) struct Cache {
    keys: HashMap<KeyName, Cached>,
    proofs: BTreeMap<KekVersion, Proof>,
    /// Whose IKs come in no more: what was asked of the KMS before they were cut off may be answered after it.
    cut: HashSet<TenantId>,
    barred: HashSet<KeyName>,
    /// Tenants' unproved lives that were changed: who asked the KMS before that brings along the old one.
    lives: HashMap<TenantId, u64>,
}

impl Cache {
    /// The IK, if it may be used at `now`.
    pub(super) fn get(&mut self, name: KeyName, now: u64) -> Option<Held> {
        let cached = self.keys.get_mut(&name)?;
        let proof = self.proofs.get(&cached.kek)?;
        let hard_until = hard_until(cached, proof);
        if now >= hard_until {
            return None;
        }
        cached.used = now;
        let (ik, kek) = (Arc::clone(&cached.ik), cached.kek.clone());
        Some(Held { ik, kek, hard_until, degraded: now >= proof.at + HARD, proved: proof.at })
    }

    /// Takes up an IK that its KMS has just unwrapped or wrapped: which proves the KEK version.
    pub(super) fn insert(
        &mut self,
        name: KeyName,
        ik: Arc<Ik>,
        kek: KekVersion,
        sample: &IkRecord,
        unproved_life: u64,
        now: u64,
    ) {
        if self.cut.contains(&sample.context.tenant) || self.barred.contains(&name) {
            return;
        }
        let unproved_life = self.lives.get(&sample.context.tenant).copied().unwrap_or(unproved_life);
        if self.keys.len() >= MAX_KEYS
            && let Some(victim) = self.keys.keys().next().copied()
        {
            self.keys.remove(&victim);
        }
        let at = self.proofs.get(&kek).map_or(now, |proof| proof.at.max(now));
        self.proofs.insert(kek.clone(), Proof { at, degraded: false, sample: Arc::new(sample.clone()) });
        self.keys.insert(name, Cached { ik, kek, unproved_life, used: now });
    }

    /// It was opened again; counts from when that was asked for.
    pub(super) fn proved(&mut self, kek: &KekVersion, asked: u64) {
        if let Some(proof) = self.proofs.get_mut(kek) {
            (proof.at, proof.degraded) = (proof.at.max(asked), false);
        }
    }

    pub(super) fn unproved(&self) -> usize {
        self.proofs.values().filter(|proof| proof.degraded).count()
    }

    pub(super) fn unreachable(&mut self, kek: &KekVersion) {
        if let Some(proof) = self.proofs.get_mut(kek) {
            proof.degraded = true;
        }
    }

    /// The KMS denies the KEK version: every IK under it goes at once.
    pub(super) fn denied(&mut self, kek: &KekVersion) {
        self.keys.retain(|_, cached| cached.kek != *kek);
        self.proofs.remove(kek);
    }

    /// Drops the IKs of a bucket.
    pub(super) fn forget(&mut self, bucket: BucketId) {
        self.keys.retain(|(of, _), _| *of != bucket);
    }

    /// Drops an IK, and lets it come in no more; or lets it again.
    pub(super) fn bar(&mut self, name: KeyName, barred: bool) {
        if barred {
            self.barred.insert(name);
            self.keys.remove(&name);
        } else {
            self.barred.remove(&name);
        }
    }

    /// Drops the IKs of a tenant's buckets, and lets none come in any more; or lets them again.
    pub(super) fn cut(&mut self, tenant: TenantId, buckets: &HashSet<BucketId>, cut: bool) {
        if cut {
            self.cut.insert(tenant);
            self.keys.retain(|(of, _), _| !buckets.contains(of));
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

    /// An IK that was wrapped anew hangs on what wraps it now, which the KMS has just proved.
    pub(super) fn rebind(&mut self, name: KeyName, kek: KekVersion, sample: &IkRecord, asked: u64) {
        let Some(cached) = self.keys.get_mut(&name) else { return };
        let at = self.proofs.get(&kek).map_or(asked, |proof| proof.at.max(asked));
        self.proofs.insert(kek.clone(), Proof { at, degraded: false, sample: Arc::new(sample.clone()) });
        cached.kek = kek;
    }

    /// Drops what is over or unused at `now`.
    pub(super) fn evict(&mut self, now: u64) {
        let proofs = &self.proofs;
        self.keys.retain(|_, cached| {
            let Some(proof) = proofs.get(&cached.kek) else { return false };
            // While the KMS is away nothing is dropped for being idle: it could not be fetched again.
            now < hard_until(cached, proof) && (proof.degraded || now < cached.used + UNUSED)
        });
        let keys = &self.keys;
        self.proofs.retain(|kek, _| keys.values().any(|cached| cached.kek == *kek));
    }

    /// The KEK versions to prove again at `now`, each with a record to open.
    pub(super) fn due(&self, now: u64) -> Vec<(KekVersion, Arc<IkRecord>)> {
        let due = self.proofs.iter().filter(|(_, proof)| now >= proof.at + super::PROVE_AFTER);
        due.map(|(kek, proof)| (kek.clone(), Arc::clone(&proof.sample))).collect()
    }

    /// When something has to be done next: a proof (a failed one is repeated after `retry` seconds) or an eviction.
    pub(super) fn next(&self, now: u64, retry: u64) -> Option<u64> {
        let proofs = self.proofs.values().map(|proof| {
            let due = proof.at + super::PROVE_AFTER;
            if due <= now { now + retry } else { due }
        });
        let ends = self.keys.values().filter_map(|cached| {
            let proof = self.proofs.get(&cached.kek)?;
            let hard = hard_until(cached, proof);
            Some(if proof.degraded { hard } else { hard.min(cached.used + UNUSED) })
        });
        proofs.chain(ends).min()
    }

    /// How many IKs hang on a provider, and its KEK versions that were not proved when they should have been.
    pub(super) fn of_provider(&self, provider: &str) -> (usize, Vec<String>) {
        let keys = self.keys.values().filter(|cached| is_of(&cached.kek, provider)).count();
        let unproved = self.proofs.iter().filter(|(kek, proof)| proof.degraded && is_of(kek, provider));
        let named = |((kek, version), _): (&KekVersion, _)| {
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
