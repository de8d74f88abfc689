//! Part tables that this node has read, so that a warm read of a multipart object is one backend request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sealgate_envelope::Trailer;
use sealgate_envelope::ids::{BucketId, ObjectId};

/// Parts that all cached tables may have together: about 20 MiB.
const MAX_PARTS: usize = 200_000;

/// A proved trailer, for the very bytes that it was read from.
pub struct Table {
    /// The object.
    pub object: ObjectId,
    /// The backend's ETag when it was read, without quotes.
    pub etag: String,
    /// The opened trailer.
    pub trailer: Trailer,
}

type Place = (BucketId, String);

#[derive(Default)]
struct State {
    tables: HashMap<Place, Arc<Table>>,
    order: VecDeque<Place>,
    parts: usize,
}

/// A bounded cache, oldest out first.
#[derive(Default)]
pub struct Tables(Mutex<State>);

impl Tables {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table that was last read for a key. Whoever uses it checks that ETag and object id are still the same.
    pub fn get(&self, bucket: BucketId, key: &str) -> Option<Arc<Table>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.tables.get(&(bucket, key.to_owned())).cloned()
    }

    /// Keeps a table.
    pub fn insert(&self, bucket: BucketId, key: &str, table: Arc<Table>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (bucket, key.to_owned());
        state.parts += table.trailer.entries().len() + 1;
        if let Some(old) = state.tables.insert(place.clone(), table) {
            state.parts -= old.trailer.entries().len() + 1;
        } else {
            state.order.push_back(place);
        }
        while state.parts > MAX_PARTS {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(old) = state.tables.remove(&oldest) {
                state.parts -= old.trailer.entries().len() + 1;
            }
        }
    }

    /// Forgets the tables of buckets.
    pub fn forget(&self, buckets: &HashSet<BucketId>) {
        if buckets.is_empty() {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.order.retain(|(bucket, _)| !buckets.contains(bucket));
        state.tables.retain(|(bucket, _), _| !buckets.contains(bucket));
        state.parts = state.tables.values().map(|table| table.trailer.entries().len() + 1).sum();
    }

    /// Forgets a key's table, when it was found to be another object's.
    pub fn remove(&self, bucket: BucketId, key: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (bucket, key.to_owned());
        if let Some(old) = state.tables.remove(&place) {
            state.parts -= old.trailer.entries().len() + 1;
            state.order.retain(|other| *other != place);
        }
    }
}
