//! The work on tenants' IKs in the background: wrapped anew under another KEK or version, and KEKs destroyed.
//!
//! What is to be done stands in the store, so a process that is killed anywhere goes on where the next one starts: an IK is
//! done when its entry says so, and doing one twice harms nobody. Work waits while its tenant's keys are cut off, and while
//! the KMS does not answer; each tenant's is a task of its own, so that one KMS holds up nobody else's.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use sealgate_envelope::{IkId, TenantId};
use sealgate_kms::Kms;
use tokio::task::JoinSet;

use super::{
    KeyService,
    reports::{Made, Seen},
};
use crate::{
    Error,
    registry::{
        Registry,
        life::{Found, PARTS, Rewrapped},
        records::{IkEntry, JobRecord},
        report::KekReport,
    },
};

/// Records that the KMS works on at once.
const BATCH: usize = 16;
/// After this a KMS that did not answer is asked again, first; twice as long each time, up to a minute.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// Records that were refused are tried again after this, and buckets that nobody looked at asked for again.
const AGAIN: Duration = Duration::from_secs(300);

/// How a stretch of work ended.
enum Went {
    /// There is more, now.
    On,
    /// There is more when something changes, at the latest after this.
    Wait(Duration),
    /// A KMS refused, or did not answer: there is more after a pause.
    Failed,
    /// There is no more.
    Done,
}

impl KeyService {
    /// Works until the control plane stops.
    pub(crate) async fn work(self: Arc<Self>, kms: Arc<dyn Kms>) {
        let mut changes = self.registry.changes();
        let (mut tasks, mut at_work) = (JoinSet::new(), HashSet::new());
        loop {
            changes.mark_unchanged();
            match self.open_work().await {
                Ok(open) => {
                    for tenant in open {
                        if at_work.insert(tenant) {
                            let (keys, kms) = (Arc::clone(&self), Arc::clone(&kms));
                            tasks.spawn(async move {
                                keys.work_on(tenant, &*kms).await;
                                tenant
                            });
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "the work on keys cannot be read; it is tried again"),
            }
            tokio::select! {
                Ok(()) = changes.changed() => {}
                Some(ended) = tasks.join_next() => {
                    if let Ok(tenant) = ended {
                        at_work.remove(&tenant);
                    } else {
                        // Which one panicked is not known: all others end soon enough to be looked at again.
                        tracing::error!("work on keys ended by a bug; it is taken up again");
                        at_work.clear();
                        tasks.abort_all();
                        while tasks.join_next().await.is_some() {}
                        tokio::time::sleep(RETRY_MOST).await;
                    }
                }
                () = tokio::time::sleep(RETRY_MOST) => {}
            }
        }
    }

    async fn open_work(&self) -> Result<Vec<TenantId>, Error> {
        let jobs = self.read(|registry| registry.open_jobs()).await?;
        let state = self.registry.state();
        let usable = |id: &TenantId| state.tenants.get(id).is_some_and(|tenant| tenant.usable().is_ok());
        let mut open: Vec<_> = jobs.into_iter().map(|job| job.tenant).filter(usable).collect();
        let to_destroy = state.tenants.values().filter(|tenant| {
            tenant.cut.as_ref().is_some_and(|cut| cut.shred)
                && tenant.keks.iter().any(|used| used.destroyed.is_none())
        });
        open.extend(to_destroy.map(|tenant| tenant.id));
        Ok(open)
    }

    /// Works on one tenant's until nothing is left, or its keys were cut off.
    async fn work_on(&self, tenant: TenantId, kms: &dyn Kms) {
        let mut changes = self.registry.changes();
        let mut reports = self.looks.reported.subscribe();
        let mut retry = RETRY;
        loop {
            changes.mark_unchanged();
            reports.mark_unchanged();
            let shredded =
                self.registry.tenant(tenant).map(|record| record.cut.as_ref().is_some_and(|cut| cut.shred));
            let went = match shredded {
                Ok(true) => self
                    .destroy_all(tenant, kms)
                    .await
                    .map(|left| if left { Went::Failed } else { Went::Done }),
                Ok(false) => self.stretch(tenant).await,
                Err(error) => Err(error),
            };
            let (wait, failed) = match went {
                Ok(Went::Done) => return,
                Ok(Went::On) => {
                    retry = RETRY;
                    continue;
                }
                Ok(Went::Wait(wait)) => (wait, false),
                Ok(Went::Failed) => (retry, true),
                Err(Error::Denied(_) | Error::NotFound(_)) => return,
                Err(error) => {
                    tracing::warn!(%tenant, %error, "the work on a tenant's keys waits");
                    (retry, true)
                }
            };
            retry = (retry * 2).min(RETRY_MOST);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // No news of anybody else brings back a KMS that did not answer.
                () = self.changed(tenant), if failed => {}
                Ok(()) = changes.changed(), if !failed => {}
                Ok(()) = reports.changed(), if !failed => {}
            }
        }
    }

    /// Ends when the tenant was changed: cut off, shredded, moved.
    async fn changed(&self, tenant: TenantId) {
        let mut changes = self.registry.changes();
        changes.mark_unchanged();
        let before = self.registry.tenant(tenant).ok();
        loop {
            let now = self.registry.tenant(tenant).ok();
            let same = match (&before, &now) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (before, now) => before.is_none() && now.is_none(),
            };
            if !same || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A part of the IKs, or a look at what was seen of the copies.
    async fn stretch(&self, id: TenantId) -> Result<Went, Error> {
        let Some(job) = self.read(move |registry| registry.job(id)).await?.filter(|job| job.ended == 0)
        else {
            return Ok(Went::Done);
        };
        let tenant = self.registry.tenant(id)?;
        tenant.usable()?;
        if job.part >= PARTS {
            return self.copies(job).await;
        }
        let (part, generation) = (job.part, job.generation);
        let found = self.read(move |registry| registry.part(id, part)).await?;
        let outdated: Vec<Found> =
            found.into_iter().filter(|found| found.entry.generation < generation).collect();
        // Of this part: a part that is broken off is read again as a whole.
        let (mut job, mut refused) = (job, 0);
        for batch in outdated.chunks(BATCH.min(job.rate as usize)) {
            let asked = self.clock.steady();
            let pace = Duration::from_secs_f64(batch.len() as f64 / f64::from(job.rate));
            let started = tokio::time::Instant::now();
            let answers =
                join_all(batch.iter().map(|found| self.unwrapper.rewrap(&found.record, &tenant.kek))).await;
            let mut done = Vec::new();
            let mut away = None;
            for (found, answer) in batch.iter().zip(answers) {
                match answer {
                    Ok(rewrapped) => done.push(rewrapped),
                    Err(error) if error.is_transient() => away = Some(error),
                    Err(error) => {
                        refused += 1;
                        job.trouble = format!("{} of bucket {}: {error}", found.ik, found.owner);
                        tracing::warn!(target: "audit", tenant = tenant.name, bucket = %found.owner, ik = %found.ik, %error, "a key cannot be wrapped anew");
                    }
                }
            }
            if let Some(error) = &away {
                job.trouble = error.to_string();
            }
            job = self.commit_batch(job, done, asked).await?;
            if let Some(error) = away {
                return Err(error.into());
            }
            tokio::time::sleep_until(started + pace).await;
        }
        job.refused += refused;
        job.part += 1;
        // Most parts of most tenants are empty: their number is written down with the next that is not.
        while job.part < PARTS {
            let part = job.part;
            if !self.read(move |registry| registry.part(id, part)).await?.is_empty() {
                break;
            }
            job.part += 1;
        }
        if job.part == PARTS && job.refused == 0 {
            job.trouble.clear();
        }
        self.commit_batch(job, Vec::new(), 0).await?;
        Ok(Went::On)
    }

    async fn commit_batch(
        &self,
        job: JobRecord,
        done: Vec<Rewrapped>,
        asked: u64,
    ) -> Result<JobRecord, Error> {
        let (job, done) =
            self.change(move |registry| Ok((registry.commit_rewraps(&job, &done)?, done))).await?;
        for rewrapped in &done {
            self.unwrapper.rebind(rewrapped, asked);
            let context = &rewrapped.record.context;
            tracing::info!(target: "audit", tenant = %context.tenant, bucket = %context.bucket, ik = %context.ik, kek = context.kek, version = rewrapped.version, "a key was wrapped anew");
        }
        Ok(job)
    }

    /// All are wrapped anew, or were refused: what was seen of the copies.
    async fn copies(&self, mut job: JobRecord) -> Result<Went, Error> {
        let id = job.tenant;
        let made = self.report(id).await?;
        let (report, outdated) = (&made.report, made.outdated(self.seen()));
        // Whatever it says, by now it may be otherwise: nothing is begun or ended on it.
        if let Some(soon) = outdated.filter(|soon| !soon.is_zero()) {
            return Ok(Went::Wait(soon));
        }
        if report.outdated > 0 {
            // Those that were refused, and what came in meanwhile with an adopted bucket.
            if job.refused > 0 {
                let due = tokio::time::sleep(AGAIN);
                let mut changes = self.registry.changes();
                tokio::select! { () = due => {}, Ok(()) = changes.changed() => {} }
            }
            (job.part, job.refused) = (0, 0);
            self.commit_batch(job, Vec::new(), 0).await?;
            return Ok(Went::On);
        }
        if report.unseen.is_empty() {
            let clear = clear(report);
            let (ended, cleared) = (job.clone(), clear.clone());
            self.change(move |registry| registry.end_rewrap(&ended, &cleared)).await?;
            tracing::info!(target: "audit", tenant = %id, rewrapped = job.rewrapped, off_the_card = ?clear, "all keys are wrapped anew, and every copy was seen");
            return Ok(Went::Done);
        }
        let unseen: Vec<_> = report.unseen.iter().copied().collect();
        let wanting = move |registry: &Registry| {
            let state = registry.state();
            let mut wanted = Vec::new();
            for bucket in unseen {
                let Some(record) = state.bucket(bucket) else { continue };
                // A wish that nobody has fulfilled yet still stands.
                let fulfilled = registry.check_of(bucket)?.map_or(0, |check| check.records);
                if record.records <= fulfilled {
                    wanted.push(bucket);
                }
            }
            registry.want_checks(&wanted)
        };
        self.change(wanting).await?;
        Ok(Went::Wait(AGAIN))
    }

    /// Demands that a KEK opens what it wraps.
    pub(crate) async fn try_kek(&self, tenant: TenantId, kek: &str) -> Result<(), Error> {
        let (record, _) = self.unwrapper.make(self.trial(tenant, kek)?).await?;
        match self.unwrapper.opens(&record).await? {
            true => Ok(()),
            false => Err(Error::Precondition(format!("the KEK {kek:?} does not open what it wraps"))),
        }
    }

    /// A bucket's IKs: id, time of making, entry.
    pub(crate) async fn keys_of(&self, bucket: String) -> Result<Vec<(IkId, u64, IkEntry)>, Error> {
        self.read(move |registry| registry.keys_of(&bucket)).await
    }

    /// What is known of a tenant's KEKs, or was a short while ago where finding it out takes long; and the work on them.
    pub(crate) async fn kek_report(
        &self,
        id: TenantId,
    ) -> Result<(Arc<KekReport>, Option<JobRecord>), Error> {
        let Made { report, job, .. } = self.report(id).await?;
        Ok((report, job))
    }

    /// What a report that is made now is of.
    fn seen(&self) -> Seen {
        (self.registry.store().revision(), self.registry.version().version)
    }

    async fn report(&self, id: TenantId) -> Result<Made, Error> {
        if let Some(made) = self.reports.last(id, self.seen()) {
            return Ok(made);
        }
        let began = tokio::time::Instant::now();
        let seen = self.seen();
        // Behind changes that are under way: when it is done, so is what it did to the recovery card.
        let job = self.change(move |registry| registry.job(id)).await?;
        let report = self.read(move |registry| registry.kek_report(id)).await?;
        let made = Made::new(report, job, seen, began);
        self.reports.keep(id, made.clone());
        Ok(made)
    }
}

/// KEKs that nothing names any more.
fn clear(report: &KekReport) -> Vec<String> {
    let named: HashSet<&str> = report
        .versions
        .iter()
        .filter(|version| version.current || version.records > 0 || version.copies_unseen > 0)
        .map(|version| version.kek.as_str())
        .collect();
    let mut clear: Vec<String> = report.versions.iter().map(|version| version.kek.clone()).collect();
    clear.retain(|kek| !named.contains(kek.as_str()));
    clear.dedup();
    clear
}
