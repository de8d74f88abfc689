//! One deletion of a bucket at a time: on this node by a list, among nodes by a lease of the control plane's, which is asked for
//! with BeginDelete. Two at once could not tell the bucket that they delete from one that was made under its name since the other
//! of them was done, and would take the new one's key records.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealgate_envelope::BucketId;
use sealgate_proto::DELETION_LEASE;

use crate::backend::BackendError;
use crate::node::Node;

/// How long a turn lasts: the rest of the lease is for the request that is under way then, and for clocks that disagree.
const WITHIN: Duration = Duration::from_secs(DELETION_LEASE / 4 * 3);

/// The buckets that a node is deleting.
#[derive(Default)]
pub struct Removals(Mutex<HashSet<BucketId>>);

/// The right to delete a bucket, for a while.
pub(super) struct Turn {
    node: Arc<Node>,
    bucket: BucketId,
    until: Duration,
}

impl Turn {
    /// Takes it; to be asked for before BeginDelete is, whose lease must be the longer. None while this node deletes the bucket
    /// already.
    pub(super) fn take(node: &Arc<Node>, bucket: BucketId) -> Option<Self> {
        let until = node.clock.monotonic() + WITHIN;
        let mut removals = node.removals.0.lock().unwrap_or_else(PoisonError::into_inner);
        removals.insert(bucket).then(|| Self { node: Arc::clone(node), bucket, until })
    }

    /// Demands, before something is removed, that nobody else may be at it by now.
    ///
    /// # Errors
    /// `Unavailable`: it is to be begun again.
    pub(super) fn lasts(&self) -> Result<(), BackendError> {
        if self.node.clock.monotonic() < self.until {
            return Ok(());
        }
        Err(BackendError::Unavailable("the deletion took too long; what is left is tried again".to_owned()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.node.removals.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.bucket);
    }
}
