//! Writes on their last step: from where the storage gets what makes it store, to its answer.
//!
//! A body may take hours, and its bucket may be deleted meanwhile, and another made under the same name: what was sealed for the
//! one must not come to lie in the other, where nothing opens it and another tenant may be at home. Or it is released, and a
//! replica adopted in its place: what is acknowledged must not lie in the old one. So a write asks again, before its last chunk
//! leaves, whether its bucket is still the one that it was let into, and still there. And a node acknowledges a config in
//! which a bucket takes no more writes when none is on its last step there: who waits for that knows that none comes any more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealgate_envelope::BucketId;
use tokio::sync::watch;

use crate::node::Node;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::{Bucket, BucketState, Snapshot};

/// A bucket's id, its backend and its name there.
pub type Place = (BucketId, String, String);

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
    /// The buckets in which writes are on their last step, and that take none by this snapshot, which the node runs on already.
    #[must_use]
    pub fn outlasting(&self, snapshot: &Snapshot) -> Vec<Place> {
        let counts = self.lock();
        if counts.is_empty() {
            return Vec::new();
        }
        let active = snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active);
        let active: HashSet<_> = active.map(|bucket| bucket.place()).collect();
        counts.keys().filter(|(id, backend, name)| !active.contains(&(*id, backend, name))).cloned().collect()
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
        // Under the lock: either the snapshot that ends the bucket is seen here, or this write by whoever applied it.
        let mut counts = node.landings.lock();
        let snapshot = node.snapshot();
        let now = snapshot.as_ref().and_then(|snapshot| snapshot.bucket(&bucket.name));
        if now.is_none_or(|now| now.place() != bucket.place() || now.state != BucketState::Active) {
            return Err(ended());
        }
        let (id, backend, backend_bucket) = bucket.place();
        let place = (id, backend.to_owned(), backend_bucket.to_owned());
        *counts.entry(place.clone()).or_default() += 1;
        Ok(Self { node: Arc::clone(node), place })
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
