//! Who deletes a bucket: one node at a time. Two at once could not tell the bucket that they delete from one that was made under
//! its name since the other of them was done, and would take the new one's key records.
//!
//! Leases are kept in memory, so a control plane that is started again has forgotten them. A node that is late stops by itself,
//! well before its lease is over.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sealgate_envelope::BucketId;
use sealgate_proto::DELETION_LEASE;

/// See the module.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<BucketId, (String, u64)>>,
}

impl Leases {
    /// Gives a node the lease of a bucket, or more time; `false` while another has it at `now` (steady seconds).
    pub(crate) fn take(&self, bucket: BucketId, node: &str, now: u64) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, until)| *until > now);
        match held.get(&bucket) {
            Some((holder, _)) if holder != node => false,
            _ => {
                held.insert(bucket, (node.to_owned(), now + DELETION_LEASE));
                true
            }
        }
    }

    /// Ends a node's lease.
    pub(crate) fn end(&self, bucket: BucketId, node: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&bucket).is_some_and(|(holder, _)| holder == node) {
            held.remove(&bucket);
        }
    }
}
