//! The writes in flight, by bucket, and the buckets that are frozen: a write is either counted before its bucket is frozen or
//! refused. So once a node has said that it knows of a freeze and counts nothing, nothing is written there any more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealgate_envelope::BucketId;
use tokio::sync::watch;

use crate::node::Node;
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::route::Operation;
use crate::snapshot::{Bucket, Snapshot};

/// See the module.
pub struct Writes {
    inner: Mutex<Inner>,
    ended: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    /// Only buckets with writes in flight.
    counts: HashMap<BucketId, u64>,
    frozen: HashSet<BucketId>,
}

/// A write that was let in, for as long as it may still reach the storage.
pub struct Write {
    writes: Arc<Writes>,
    bucket: BucketId,
}

impl Writes {
    /// Nothing in flight, nothing frozen.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), ended: watch::Sender::new(()) })
    }

    /// Lets a write in, unless its bucket is frozen.
    #[must_use]
    pub fn enter(self: &Arc<Self>, bucket: BucketId) -> Option<Write> {
        let mut inner = self.lock();
        if inner.frozen.contains(&bucket) {
            return None;
        }
        *inner.counts.entry(bucket).or_default() += 1;
        Some(Write { writes: Arc::clone(self), bucket })
    }

    /// The buckets that are frozen from now on.
    pub fn freeze(&self, frozen: HashSet<BucketId>) {
        self.lock().frozen = frozen;
    }

    /// The frozen buckets, each with its writes in flight; sorted.
    #[must_use]
    pub fn of_frozen(&self) -> Vec<(BucketId, u64)> {
        let inner = self.lock();
        let count = |bucket: &BucketId| inner.counts.get(bucket).copied().unwrap_or_default();
        let mut all: Vec<_> = inner.frozen.iter().map(|bucket| (*bucket, count(bucket))).collect();
        all.sort_unstable_by_key(|(bucket, _)| *bucket.as_bytes());
        all
    }

    /// All writes in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.lock().counts.values().sum()
    }

    /// Changes when a write to a frozen bucket ends.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let mut inner = self.writes.lock();
        if let Some(count) = inner.counts.get_mut(&self.bucket) {
            *count -= 1;
            if *count == 0 {
                inner.counts.remove(&self.bucket);
            }
        }
        let frozen = inner.frozen.contains(&self.bucket);
        drop(inner);
        if frozen {
            self.writes.ended.send_replace(());
        }
    }
}

/// Lets a request in that writes; none for one that only reads. Told like a storage that is busy, since clients repeat that by
/// themselves: a migration is about to give the name to another bucket, and takes writes again after it.
///
/// # Errors
/// SlowDown while the bucket is frozen, or when it has given its name away since the request came, or lies elsewhere now;
/// NoSuchBucket when it was deleted since.
pub fn let_in(
    node: &Node,
    snapshot: &Snapshot,
    request: &S3Request,
    operation: &Operation,
) -> Result<Option<Write>, S3Error> {
    let bucket = request.bucket.as_deref().and_then(|name| snapshot.bucket(name));
    let Some(bucket) = bucket.filter(|_| operation.writes()) else { return Ok(None) };
    let entered = node.writes.enter(bucket.id);
    // The node's config may have changed since the request took its own.
    is_current(bucket, node.snapshot().as_deref())?;
    entered.map(Some).ok_or_else(try_again)
}

/// Whether the name that the request's config has for a bucket still means it.
fn is_current(bucket: &Bucket, newest: Option<&Snapshot>) -> Result<(), S3Error> {
    let Some(newest) = newest else { return Err(try_again()) };
    match newest.bucket(&bucket.name) {
        Some(named) if named.place() == bucket.place() => Ok(()),
        Some(_) => Err(try_again()),
        // Not for another attempt: it will not come back.
        None => Err(S3Error::no_such_bucket(&*bucket.name)),
    }
}

fn try_again() -> S3Error {
    S3Error::with(Code::SlowDown, "The bucket takes no writes for a moment. Please try again.").retry_after(2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{BucketId, Code, HashSet, Snapshot, Writes, is_current};
    use sealgate_proto::v1;

    /// A config with a bucket of each name, id and backend.
    fn snapshot(buckets: &[(&str, u8, &str)]) -> Snapshot {
        let bucket = |&(name, id, backend): &(&str, u8, &str)| v1::Bucket {
            bucket_id: vec![id; 16],
            tenant_id: vec![1; 16],
            name: name.to_owned(),
            backend: backend.to_owned(),
            backend_bucket: "stored".to_owned(),
            region: "r".to_owned(),
            state: v1::BucketState::Active.into(),
            suite: 1,
            ..v1::Bucket::default()
        };
        let wire = v1::Snapshot {
            gateway_id: vec![1; 16],
            regions: vec!["r".to_owned()],
            buckets: buckets.iter().map(bucket).collect(),
            ..v1::Snapshot::default()
        };
        let backends = HashSet::from(["here".to_owned(), "there".to_owned()]);
        Snapshot::check(wire, [0; 32], &backends).ok().unwrap()
    }

    #[test]
    fn a_name_that_changed_hands_is_worth_another_attempt_and_one_that_is_gone_is_not() {
        let known = snapshot(&[("name", 1, "here")]);
        let bucket = known.bucket("name").unwrap();
        let refused = |newest: &[(&str, u8, &str)]| {
            is_current(bucket, Some(&snapshot(newest))).err().map(|error| error.code())
        };
        assert_eq!(refused(&[("name", 1, "here"), ("other", 2, "here")]), None);
        assert_eq!(refused(&[("name", 2, "here"), ("old", 1, "here")]), Some(Code::SlowDown));
        assert_eq!(refused(&[("name", 1, "there")]), Some(Code::SlowDown));
        assert_eq!(refused(&[("other", 2, "here")]), Some(Code::NoSuchBucket));
        assert_eq!(is_current(bucket, None).unwrap_err().code(), Code::SlowDown);
    }

    #[test]
    fn a_write_is_counted_before_a_freeze_or_refused_after_it() {
        let writes = Writes::new();
        let (one, other) = (BucketId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]));
        let before = (writes.enter(one).unwrap(), writes.enter(one).unwrap());
        writes.freeze(HashSet::from([one, other]));
        let mut ended = writes.ended();
        assert!(writes.enter(one).is_none() && writes.enter(other).is_none());
        assert_eq!(writes.of_frozen(), [(one, 2), (other, 0)]);
        drop(before.0);
        assert!(ended.has_changed().unwrap());
        ended.mark_unchanged();
        drop(before.1);
        assert!(ended.has_changed().unwrap());
        assert_eq!(writes.of_frozen(), [(one, 0), (other, 0)]);
        writes.freeze(HashSet::from([one]));
        assert!(writes.enter(other).is_some() && writes.enter(one).is_none());
    }
}
