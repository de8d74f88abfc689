//! The engine in memory: for tests and for the conformance suite's sake. Nothing survives it.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use crate::{
    Compare, Op, Revision, Store, StoreError, StoreSnapshot, Versioned, Watch, WatchError, check, feed::Feed,
    holds,
};

/// A store that lives as long as its process.
pub struct MemoryStore {
    entries: RwLock<BTreeMap<String, Versioned>>,
    feed: Feed,
}

impl MemoryStore {
    /// An empty store at revision 0 and epoch 1.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: RwLock::new(BTreeMap::new()), feed: Feed::new(0) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> u64 {
        1
    }

    fn revision(&self) -> Revision {
        self.feed.newest()
    }

    fn txn(&self, compare: &[Compare], ops: Vec<Op>) -> Result<Revision, StoreError> {
        check(&ops)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for condition in compare {
            if !holds(condition, entries.get(condition.key()).map(|entry| entry.revision)) {
                return Err(StoreError::Conflict(condition.key().to_owned()));
            }
        }
        let revision = self.feed.newest() + 1;
        for op in &ops {
            match op {
                Op::Put(key, value) => {
                    entries.insert(key.clone(), Versioned { revision, value: value.clone() });
                }
                Op::Delete(key) => {
                    entries.remove(key);
                }
            }
        }
        self.feed.publish(revision, ops);
        Ok(revision)
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let from = entries.range(prefix.to_owned()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let all = entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(StoreSnapshot { revision: self.feed.newest(), entries: all })
    }

    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        self.feed.watch(from)
    }
}
