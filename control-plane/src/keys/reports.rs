//! Reports on tenants' KEKs, made no oftener than is bearable: each reads every IK of the store.
//!
//! Work that waits for nodes looks at one after each node's word, and operators ask for theirs every second. So what a report cost says
//! how soon there is another: at most a tenth of the time goes into them. One that is cheap is always made anew, and so is one that
//! decides what cannot be undone, or that nothing has changed since.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sealgate_envelope::TenantId;
use tokio::time::Instant;

use crate::registry::{records::JobRecord, report::KekReport};

/// What costs no more is not saved.
const CHEAP: Duration = Duration::from_millis(100);
/// A report stands for so many times of what it took.
const TIMES: u32 = 9;

/// What a report was made of: the store's revision and the config's version from before it was made. While a change is being
/// committed the store has it already, and the config does not.
pub(super) type Seen = (u64, u64);

/// A report and what it is worth.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) report: Arc<KekReport>,
    /// The work, from before the report was made: what it says to be done the report has seen.
    pub(crate) job: Option<JobRecord>,
    seen: Seen,
    until: Instant,
}

impl Made {
    pub(super) fn new(report: KekReport, job: Option<JobRecord>, seen: Seen, began: Instant) -> Self {
        let (now, took) = (Instant::now(), began.elapsed());
        let stands = if took <= CHEAP { Duration::ZERO } else { took * TIMES };
        Self { report: Arc::new(report), job, seen, until: now + stands }
    }

    /// How long until there is one that knows what has changed since; none when nothing has.
    pub(super) fn outdated(&self, now: Seen) -> Option<Duration> {
        (self.seen != now).then(|| self.until.saturating_duration_since(Instant::now()))
    }
}

/// The last of each tenant.
#[derive(Default)]
pub(super) struct Reports(Mutex<HashMap<TenantId, Made>>);

impl Reports {
    /// The last one, while it does: nothing has changed since, or another would come too soon.
    pub(super) fn last(&self, tenant: TenantId, now: Seen) -> Option<Made> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let made = known.get(&tenant)?;
        let stands = made.outdated(now).is_none_or(|left| !left.is_zero());
        stands.then(|| made.clone())
    }

    pub(super) fn keep(&self, tenant: TenantId, made: Made) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, made);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_not_made_again_soon_unless_nothing_changed() {
        let (reports, tenant) = (Reports::default(), TenantId::from_bytes([1; 16]));
        assert!(reports.last(tenant, (7, 1)).is_none());
        let began = Instant::now();
        advance(Duration::from_secs(2)).await;
        reports.keep(tenant, Made::new(KekReport::default(), None, (7, 1), began));
        assert_eq!(reports.last(tenant, (7, 1)).unwrap().outdated((7, 1)), None);
        let outdated = reports.last(tenant, (8, 1)).unwrap();
        assert_eq!(outdated.outdated((8, 1)), Some(Duration::from_secs(18)));
        assert!(
            reports.last(tenant, (7, 2)).unwrap().outdated((7, 2)).is_some(),
            "it may be from amid a change"
        );
        advance(Duration::from_secs(18)).await;
        assert!(reports.last(tenant, (8, 1)).is_none(), "a tenth of the time has gone into it");
        assert!(reports.last(tenant, (7, 1)).is_some(), "the same would come out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cheap_is_always_made_anew() {
        let (reports, tenant, began) = (Reports::default(), TenantId::from_bytes([1; 16]), Instant::now());
        advance(CHEAP).await;
        reports.keep(tenant, Made::new(KekReport::default(), None, (7, 1), began));
        assert!(reports.last(tenant, (8, 1)).is_none());
        assert!(reports.last(tenant, (7, 1)).is_some());
    }
}
