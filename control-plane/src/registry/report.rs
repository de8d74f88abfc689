//! Which KEK versions copies of a tenant's key records still name, and what was seen of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sealgate_envelope::{BucketId, IkId, TenantId};
use sealgate_store::decode;
use serde::Serialize;

use super::{
    Registry,
    life::{Found, PARTS},
    records::{CheckRecord, LENT_PREFIX, LentRecord},
};
use crate::Error;

/// Buckets that are named in a report; more are counted.
const MAX_NAMED: usize = 100;

/// One KEK version in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct VersionReport {
    pub(crate) kek: String,
    /// Empty where the KMS does not tell.
    pub(crate) version: String,
    /// The KEK wraps the tenant's IKs from now on, though maybe not in this version.
    pub(crate) current: bool,
    /// Records in the store that name it.
    pub(crate) records: u64,
    /// Records that named it, of which not every copy was seen replaced and gone.
    pub(crate) copies_unseen: u64,
    pub(crate) on_recovery_card: bool,
    /// Unix seconds at which the KMS destroys the KEK, or has.
    pub(crate) destroyed_at: Option<u64>,
    /// Nothing that this gateway knows of needs it any more.
    pub(crate) destroyable: bool,
}

/// What is known of a tenant's KEKs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct KekReport {
    pub(crate) records: u64,
    /// Of those, wrapped in an earlier generation.
    pub(crate) outdated: u64,
    /// Buckets whose key records a listing has yet to show.
    pub(crate) buckets_unseen: Vec<String>,
    /// Copies of replaced records that nodes could not remove: locked, mostly.
    pub(crate) copies_left: BTreeMap<String, u64>,
    pub(crate) versions: Vec<VersionReport>,
    #[serde(skip)]
    pub(crate) unseen: BTreeSet<BucketId>,
}

/// Where copies of a tenant's records lie, and when that was looked at.
struct Places {
    lent: HashMap<(BucketId, IkId), Vec<(BucketId, u64)>>,
    checks: HashMap<BucketId, Option<CheckRecord>>,
}

impl Places {
    fn read(registry: &Registry, tenant: TenantId) -> Result<Self, Error> {
        let state = registry.state();
        let (mut lent, mut checks) = (HashMap::<_, Vec<_>>::new(), HashMap::new());
        for bucket in state.buckets.values().filter(|bucket| bucket.tenant == tenant) {
            checks.insert(bucket.id, registry.check_of(bucket.id)?);
            let prefix = format!("{LENT_PREFIX}{}/", bucket.id);
            for (key, found) in registry.store().scan(&prefix)? {
                let ik = key.trim_start_matches(&prefix).parse();
                let ik: IkId = ik.map_err(|_| Error::Internal("a lent key's name is no id".to_owned()))?;
                let owner = decode::<LentRecord>(&found.value)?.owner;
                lent.entry((owner, ik)).or_default().push((bucket.id, found.revision));
            }
        }
        Ok(Self { lent, checks })
    }

    /// Buckets in which the newest record of an IK was not seen since it came to lie there, or old ones were left.
    fn unseen(&self, found: &Found) -> Vec<BucketId> {
        let lent = self.lent.get(&(found.owner, found.ik)).into_iter().flatten().copied();
        std::iter::once((found.owner, found.revision))
            .chain(lent)
            .filter(|(bucket, since)| match self.checks.get(bucket) {
                // It is not there any more, nor are copies in it that this gateway knows of.
                None => false,
                Some(None) => true,
                Some(Some(check)) => check.left > 0 || check.revision < found.revision.max(*since),
            })
            .map(|(bucket, _)| bucket)
            .collect()
    }
}

#[derive(Default)]
struct Count {
    records: u64,
    newest: u64,
    unseen: u64,
}

impl Registry {
    /// Reads all records of a tenant: may take seconds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn kek_report(&self, id: TenantId) -> Result<KekReport, Error> {
        let (tenant, places) = (self.tenant(id)?, Places::read(self, id)?);
        let mut report = KekReport::default();
        let mut counts = BTreeMap::<(String, String), Count>::new();
        for used in &tenant.keks {
            for version in &used.versions {
                counts.entry((used.kek.clone(), version.clone())).or_default();
            }
            if used.versions.is_empty() && used.kek != tenant.kek {
                counts.entry((used.kek.clone(), String::new())).or_default();
            }
        }
        for part in 0..PARTS {
            for found in self.part(id, part)? {
                report.records += 1;
                let newest = found.entry.generation == tenant.generation;
                report.outdated += u64::from(!newest);
                let unseen = places.unseen(&found);
                for old in &found.entry.old {
                    let count = counts.entry((old.kek.clone(), old.version.clone())).or_default();
                    count.unseen += u64::from(!unseen.is_empty());
                }
                if !found.entry.old.is_empty() {
                    report.unseen.extend(unseen);
                }
                let version = found.entry.version.clone();
                let count = counts.entry((found.record.context.kek.clone(), version)).or_default();
                (count.records, count.newest) = (count.records + 1, count.newest + u64::from(newest));
            }
        }
        let state = self.state();
        // Nobody knows yet which of its card's KEKs a bucket needs that is being taken over.
        for bucket in state.buckets.values().filter(|bucket| bucket.tenant == id) {
            let wanted = bucket.adoption().map(|adoption| &adoption.keks);
            for ((kek, _), count) in &mut counts {
                count.unseen += u64::from(wanted.is_some_and(|wanted| wanted.contains(kek)));
            }
        }
        // Of records from before versions were noted it is not known which one they need.
        let unknown: BTreeSet<String> = counts
            .iter()
            .filter(|((_, version), count)| version.is_empty() && count.records + count.unseen > 0)
            .map(|((kek, _), _)| kek.clone())
            .collect();
        for id in &report.unseen {
            let bucket = state.bucket(*id);
            let left = places.checks.get(id).and_then(Option::as_ref).map_or(0, |check| check.left);
            if let Some(bucket) = bucket.filter(|_| report.buckets_unseen.len() < MAX_NAMED) {
                report.buckets_unseen.push(bucket.name.clone());
                if left > 0 {
                    report.copies_left.insert(bucket.name.clone(), left);
                }
            }
        }
        // Of the KEK in use a version is on its way out once another one is known to have taken over.
        let took_over: BTreeSet<String> = counts
            .iter()
            .filter(|(_, count)| count.newest > 0)
            .map(|((_, version), _)| version.clone())
            .collect();
        for ((kek, version), count) in counts {
            let used = tenant.keks.iter().find(|used| used.kek == kek);
            let current = kek == tenant.kek;
            let gone = !current || took_over.iter().any(|newer| *newer != version);
            let destroyed_at = used.and_then(|used| used.destroyed);
            report.versions.push(VersionReport {
                on_recovery_card: used.is_some_and(|used| !used.cleared && used.destroyed.is_none()),
                destroyable: count.records == 0
                    && count.unseen == 0
                    && gone
                    && destroyed_at.is_none()
                    && !unknown.contains(&kek),
                records: count.records,
                copies_unseen: count.unseen,
                kek,
                version,
                current,
                destroyed_at,
            });
        }
        Ok(report)
    }
}
