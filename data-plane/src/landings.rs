//! Writes on their last step: from where the storage gets what makes it store, to its answer.
//!
//! A body may take hours, and its bucket may be deleted meanwhile, and another made under the same name: what was sealed for the
//! one must not come to lie in the other, where nothing opens it and another tenant may be at home. Or it is released, and a
//! replica adopted in its place: what is acknowledged must not lie in the old one. So a write asks again, before its last chunk
//! leaves, whether its bucket is still the one that it was let into, and still there. And a node acknowledges a config in
//! which a bucket takes no more writes when none is on its last step there: who waits for that knows that none comes any more.
//!
//! Copies that the storage makes of the bytes as they are have a step of their own: they are over, too, before a node acknowledges that
//! envelopes of their bucket are wrapped anew ([`crate::rewrap`]).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealgate_envelope::BucketId;
use tokio::sync::watch;

use crate::node::Node;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::{Bucket, BucketState, Snapshot};

/// A bucket's id, its backend and its name there, and what is done in it.
pub type Place = (BucketId, String, String, Step);

/// What is on its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A write of bytes that are its own.
    Write,
    /// A copy of bytes as they are: whoever has the source's ETag has the copy's.
    Copy,
}

/// How many writes are on their last step, by bucket.
pub struct Landings {
    counts: Mutex<HashMap<Place, usize>>,
    ended: watch::Sender<()>,
}

impl Default for Landings {
    fn default() -> Self {
        Self { counts: Mutex::default(), ended: watch::Sender::new(()) }
    }
}

impl Landings {
    /// The buckets in which writes are on their last step, and that take none of their kind by this snapshot, which the node runs on
    /// already.
    #[must_use]
    pub fn outlasting(&self, snapshot: &Snapshot) -> Vec<Place> {
        let counts = self.lock();
        if counts.is_empty() {
            return Vec::new();
        }
        let active = || snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active);
        let writable: HashSet<_> = active().map(|bucket| bucket.place()).collect();
        let settled = active().filter(|bucket| bucket.rewrap == 0);
        let copyable: HashSet<_> = settled.map(|bucket| bucket.place()).collect();
        let takes = |(id, backend, name, step): &&Place| match step {
            Step::Write => writable.contains(&(*id, backend, name)),
            Step::Copy => copyable.contains(&(*id, backend, name)),
        };
        counts.keys().filter(|place| !takes(place)).cloned().collect()
    }

    /// Waits until none is on its last step in any of these.
    pub async fn settled(&self, buckets: &[Place]) {
        let mut ended = self.ended.subscribe();
        while buckets.iter().any(|place| self.lock().contains_key(place)) {
            // The sender lives as long as this.
            let _ = ended.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write on its last step, counted until it is dropped.
pub struct Landing {
    node: Arc<Node>,
    place: Place,
}

impl Landing {
    /// Begins the last step of a write into a bucket.
    ///
    /// # Errors
    /// OperationAborted when the node has learned that the bucket takes no writes any more: nothing may be stored.
    pub fn begin(node: &Arc<Node>, bucket: &Bucket) -> Result<Self, S3Error> {
        Self::step(node, bucket, Step::Write)?.ok_or_else(ended)
    }

    /// Begins a copy of bytes as they are. None while envelopes of the bucket are wrapped anew: it has to be sealed anew.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_copy(node: &Arc<Node>, bucket: &Bucket) -> Result<Option<Self>, S3Error> {
        Self::step(node, bucket, Step::Copy)
    }

    fn step(node: &Arc<Node>, bucket: &Bucket, step: Step) -> Result<Option<Self>, S3Error> {
        // Under the lock: either the snapshot that ends the bucket is seen here, or this write by whoever applied it.
        let mut counts = node.landings.lock();
        let snapshot = node.snapshot();
        let now = snapshot.as_ref().and_then(|snapshot| snapshot.bucket(&bucket.name));
        let now = now.filter(|now| now.place() == bucket.place() && now.state == BucketState::Active);
        let now = now.ok_or_else(ended)?;
        if step == Step::Copy && now.rewrap > 0 {
            return Ok(None);
        }
        let (id, backend, backend_bucket) = bucket.place();
        let place = (id, backend.to_owned(), backend_bucket.to_owned(), step);
        *counts.entry(place.clone()).or_default() += 1;
        Ok(Some(Self { node: Arc::clone(node), place }))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut counts = self.node.landings.lock();
        if let Some(count) = counts.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.place);
            }
        }
        drop(counts);
        self.node.landings.ended.send_replace(());
    }
}

/// What a write is told whose bucket takes none any more.
pub fn ended() -> S3Error {
    S3Error::with(Code::OperationAborted, "The bucket was deleted while the request was under way.")
}

/// Demands of a request that writes nothing, after a body that may have taken long, that its bucket's name still stands for the
/// same bucket.
///
/// # Errors
/// NoSuchBucket.
pub fn still_there(node: &Node, bucket: &Bucket) -> Result<(), S3Error> {
    let now = node.snapshot();
    match now.as_ref().and_then(|now| now.bucket(&bucket.name)) {
        Some(now) if now.place() == bucket.place() => Ok(()),
        _ => Err(S3Error::no_such_bucket(&*bucket.name)),
    }
}
