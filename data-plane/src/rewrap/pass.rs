//! A pass over a bucket: pages of a listing, each object of a page once, then a report with the last key that is done.

use std::cell::Cell;
use std::time::Duration;

use futures_util::{StreamExt as _, future, stream};
use sealgate_envelope::hidden;
use sealgate_proto::v1 as wire;
use tokio::time::{Instant, MissedTickBehavior};

use super::object::{Job, Trouble, trouble};
use super::tally::{Done, Tally};
use super::uploads;
use super::work::goes_on;
use crate::backend::{BackendError, Forward, ListFrom, ListOptions, VersionListOptions};
use crate::node::Node;
use crate::snapshot::Bucket;

/// How long the keys of the work are used before they are asked for again: less than the control plane grants.
const KEYS_FOR: Duration = Duration::from_secs(240);
/// Between two passes, where clients were faster.
const BREATH: Duration = Duration::from_secs(1);
/// From this pass on what clients were faster with is counted as left: something else may be wrong with it.
const LAST: u32 = 20;

/// How far the work is.
pub struct Pass {
    number: u32,
    cursor: String,
    tally: Tally,
}

/// Something to look at: a key, and a version of it unless it is the current one.
type Item = (String, Option<String>);

/// What a listing gave.
struct Page {
    items: Vec<Item>,
    /// The last key of which nothing is to come.
    cursor: String,
    next: Option<From>,
}

/// Where a page begins.
#[derive(Clone)]
enum From {
    Objects(ListFrom),
    Versions(String, String),
}

impl Pass {
    /// Where the last node, or this one, stopped. Where the storage lists in an order of its own, no key says that.
    #[must_use]
    pub fn taken(work: &wire::RewrapWork, sorted: bool) -> Self {
        let mut tally = Tally::from_wire(work.tally.clone().unwrap_or_default());
        let mut cursor = work.cursor.clone();
        if !sorted && !cursor.is_empty() {
            tally.again();
            cursor.clear();
        }
        Self { number: work.pass, cursor, tally }
    }

    /// Passes over the bucket until one has found nothing to do. Returns early, without an error, when the work is stopped or its
    /// keys are to be asked for again.
    ///
    /// # Errors
    /// What keeps the work from going on.
    pub async fn run(&mut self, job: &Job, work: &wire::RewrapWork) -> Result<(), Trouble> {
        let began = Instant::now();
        let period = Duration::from_secs_f64(1.0 / f64::from(work.rate.max(1)));
        let mut ticks = tokio::time::interval(period);
        // Pages come in bursts, objects do not.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Also where they are suspended.
        let versioned = versioning(job).await?.is_some_and(|told| told.contains("<Status>"));
        // About a second's work, so that a node which dies leaves little to do again.
        let most = work.rate.clamp(10, 1_000);
        loop {
            if self.cursor.is_empty() {
                self.tally.counts.open = uploads::count(job, &mut Tally::default()).await?;
            }
            let mut from = self.start(versioned);
            loop {
                if !goes_on(&job.node, &job.bucket) || began.elapsed() > KEYS_FOR {
                    return Ok(());
                }
                let page = list(job, &from, most).await?;
                if !self.page(job, &page, &mut ticks, work.concurrent.max(1)).await? {
                    return Ok(());
                }
                if !page.cursor.is_empty() {
                    self.cursor.clone_from(&page.cursor);
                }
                let Some(next) = page.next else { break };
                self.report(&job.node, &job.bucket, None, "").await?;
                from = next;
            }
            // Apart: where the end cannot be told, uploads are counted again.
            let mut whole = self.tally.clone();
            // What was completed behind the pass is an object under the key, or a version, that it has not seen.
            if uploads::count(job, &mut whole).await? < whole.counts.open {
                whole.counts.changed += 1;
            }
            let restless = whole.restless();
            let reported = self.report(&job.node, &job.bucket, Some(&whole), "").await?;
            if !reported.goes_on {
                return Ok(());
            }
            *self = Self { number: reported.pass, cursor: String::new(), tally: Tally::default() };
            if restless {
                tokio::time::sleep(BREATH).await;
            }
        }
    }

    fn start(&self, versioned: bool) -> From {
        match (versioned, self.cursor.is_empty()) {
            (true, _) => From::Versions(self.cursor.clone(), String::new()),
            (false, true) => From::Objects(ListFrom::Start),
            (false, false) => From::Objects(ListFrom::StartAfter(self.cursor.clone())),
        }
    }

    /// Looks at all of a page; whether it came to its end, and was not stopped.
    async fn page(
        &mut self,
        job: &Job,
        page: &Page,
        ticks: &mut tokio::time::Interval,
        at_once: u32,
    ) -> Result<bool, Trouble> {
        let mut tally = Tally::default();
        std::mem::swap(&mut tally, &mut self.tally);
        let before = tally.to_wire();
        let paced = stream::unfold((page.items.iter(), ticks), |(mut items, ticks)| async move {
            let item = items.next()?;
            ticks.tick().await;
            Some((item, (items, ticks)))
        });
        // What is under way when the work is stopped comes to its end: a write that is dropped may be done or not.
        let stopped = Cell::new(false);
        let wanted = paced.take_while(|_| future::ready(!stopped.get() && goes_on(&job.node, &job.bucket)));
        let looks = wanted.map(|(key, older)| async move { (key, job.object(key, older.as_deref()).await) });
        let at_once = usize::try_from(at_once).unwrap_or(1);
        let mut looks = Box::pin(looks.buffer_unordered(at_once));
        let (mut seen, mut failed) = (0, None);
        while let Some((key, done)) = looks.next().await {
            match done {
                Ok(done) => {
                    seen += 1;
                    tally.add(key, self.given_up(job, done));
                }
                Err(Trouble(why)) => {
                    stopped.set(true);
                    failed.get_or_insert(Trouble(format!("{key}: {why}")));
                }
            }
        }
        let whole = seen == page.items.len();
        // Of a page that is looked at again only what was done counts.
        self.tally = if whole { tally } else { tally.done_since(before) };
        failed.map_or(Ok(whole), Err)
    }

    fn given_up(&self, job: &Job, done: Done) -> Done {
        match (done, job.targets.first()) {
            (Done::Changed, Some(ik)) if self.number >= LAST => Done::Left(ik, "it keeps changing"),
            (done, _) => done,
        }
    }

    async fn report(
        &self,
        node: &Node,
        bucket: &Bucket,
        ended: Option<&Tally>,
        why: &str,
    ) -> Result<wire::RewrapReported, Trouble> {
        let report = wire::RewrapReport {
            bucket_id: bucket.id.as_bytes().to_vec(),
            number: bucket.rewrap,
            pass: self.number,
            cursor: self.cursor.clone(),
            tally: Some(ended.unwrap_or(&self.tally).to_wire()),
            ended: ended.is_some(),
            trouble: why.to_owned(),
        };
        let reported = node.control.rewraps().report(report).await;
        reported.map(tonic::Response::into_inner).map_err(|status| Trouble(status.message().to_owned()))
    }

    /// Tells the control plane why the work does not go on; when it cannot be told, it is what is away.
    pub async fn report_trouble(&self, node: &Node, bucket: &Bucket, why: &str) {
        let _ = self.report(node, bucket, None, why).await;
    }
}

async fn list(job: &Job, from: &From, most: u32) -> Result<Page, Trouble> {
    let place = &job.bucket.backend_bucket;
    let ours = |key: &str| !hidden::could_be_hidden(key) && job.bucket.encrypts(key);
    match from {
        From::Objects(from) => {
            let options =
                ListOptions { prefix: String::new(), delimiter: None, from: from.clone(), max_keys: most };
            let page = job.backend.list_v2(place, options).await.map_err(|error| trouble(&error))?;
            let cursor = page.entries.last().map(|entry| entry.key.clone()).unwrap_or_default();
            let keys = page.entries.into_iter().map(|entry| entry.key);
            let items = keys.filter(|key| ours(key)).map(|key| (key, None)).collect();
            Ok(Page { items, cursor, next: page.next.map(|next| From::Objects(ListFrom::Token(next))) })
        }
        From::Versions(key, version) => {
            let options = VersionListOptions {
                prefix: String::new(),
                delimiter: None,
                key_marker: key.clone(),
                version_id_marker: version.clone(),
                max_keys: most,
            };
            let page = job.backend.list_versions(place, options).await.map_err(|error| trouble(&error))?;
            let last = page.entries.last().map(|entry| entry.object.key.clone()).unwrap_or_default();
            // More versions of the last key may follow.
            let before =
                page.entries.iter().rev().find(|entry| page.next.is_some() && entry.object.key != last);
            let cursor = match (&page.next, before) {
                (None, _) => last,
                (Some(_), Some(entry)) => entry.object.key.clone(),
                (Some(_), None) => key.clone(),
            };
            let versions =
                page.entries.into_iter().filter(|entry| !entry.delete_marker && ours(&entry.object.key));
            let items = versions
                .map(|entry| (entry.object.key, (!entry.is_latest).then_some(entry.version_id)))
                .collect();
            Ok(Page { items, cursor, next: page.next.map(|(key, version)| From::Versions(key, version)) })
        }
    }
}

/// What the storage says of a bucket's versioning; none where it knows none.
///
/// # Errors
/// The storage's.
pub async fn versioning(job: &Job) -> Result<Option<String>, Trouble> {
    let request = Forward {
        method: http::Method::GET,
        bucket: job.bucket.backend_bucket.clone(),
        key: None,
        query: vec![("versioning".to_owned(), String::new())],
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    match job.backend.forward(request).await {
        Ok(told) => {
            let told = String::from_utf8_lossy(&told.body).into_owned();
            match told.contains("VersioningConfiguration") {
                true => Ok(Some(told)),
                // Also an error under the status 200: it is no bucket without versions.
                false => Err(Trouble("the storage does not say whether the bucket has versions".to_owned())),
            }
        }
        Err(BackendError::S3 { status: 501, .. } | BackendError::Unsupported(_)) => Ok(None),
        Err(error) if error.is("NotImplemented") || error.is("MethodNotAllowed") => Ok(None),
        Err(error) => Err(trouble(&error)),
    }
}
