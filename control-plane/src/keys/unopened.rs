//! Key records in buckets that are being adopted which the KMS did not open: asked of once, and not without end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sealgate_envelope::BucketId;
use sha2::{Digest as _, Sha256};

/// So many a bucket; beyond, its adoption is refused.
pub(super) const MAX_UNOPENED: usize = 1_000;

type Records = HashMap<BucketId, HashSet<[u8; 32]>>;

/// Their digests, by bucket, while that is being adopted.
#[derive(Default)]
pub(super) struct Unopened(Mutex<Records>);

/// What is known of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing: the KMS has to say.
    New,
    /// It does not open.
    Known,
    /// Nothing, and the KMS is not asked any more.
    TooMany,
}

impl Unopened {
    /// Looks a record up. Buckets that `adopting` does not name any more are forgotten.
    pub(super) fn look(&self, bucket: BucketId, record: &[u8], adopting: impl Fn(&BucketId) -> bool) -> Look {
        let mut records = self.lock();
        records.retain(|bucket, _| adopting(bucket));
        match records.get(&bucket) {
            Some(known) if known.contains(&digest(record)) => Look::Known,
            Some(known) if known.len() >= MAX_UNOPENED => Look::TooMany,
            _ => Look::New,
        }
    }

    /// Keeps that a record did not open.
    pub(super) fn add(&self, bucket: BucketId, record: &[u8]) {
        self.lock().entry(bucket).or_default().insert(digest(record));
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(record: &[u8]) -> [u8; 32] {
    Sha256::digest(record).into()
}
