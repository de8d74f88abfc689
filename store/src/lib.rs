//! The control plane's durable state: one trait, a sled engine and an engine in memory.
//!
//! Keys are text, values bytes. Every transaction gets the next [`Revision`]; a key remembers the revision that wrote
//! it, and a transaction may demand that it is still the same. An acknowledged transaction survives `kill -9` and, on
//! disks that honour fsync, power loss.
//!
//! The trait is synchronous: calls may wait for a disk, so callers make them on a thread that may block.

mod feed;
mod memory;
mod record;
mod sled_engine;

use std::fmt;

pub use feed::{Event, Watch, WatchError};
pub use memory::MemoryStore;
pub use record::{NoRecord, Record, RecordError, decode, encode};
pub use sled_engine::SledStore;
use thiserror::Error;

/// Number of a transaction: starts at 0 (nothing written), rises by one with each transaction, is never used twice.
pub type Revision = u64;

/// The largest value, in bytes.
pub const MAX_VALUE: usize = 64 << 10;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;

/// The largest number of operations in one transaction.
pub const MAX_OPS: usize = 1024;

/// A value and the revision that wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The transaction that wrote this value.
    pub revision: Revision,
    /// What was written.
    pub value: Vec<u8>,
}

impl fmt::Debug for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be sealed secrets: even those stay out of logs.
        f.debug_struct("Versioned")
            .field("revision", &self.revision)
            .field("bytes", &self.value.len())
            .finish()
    }
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key must not exist.
    Absent(String),
    /// The key must exist and have been written by this revision.
    Revision(String, Revision),
}

/// A change in a transaction.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the value, over an old one if there is one.
    Put(String, Vec<u8>),
    /// Removes the key; nothing happens when it does not exist.
    Delete(String),
}

impl Op {
    /// The key that is changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A condition did not hold: nothing was written. Read again and decide anew.
    #[error("the key {0:?} was changed by someone else")]
    Conflict(String),
    /// A key, value or transaction is larger than the limits, or a key was named twice.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The engine failed. After a failed write nothing more is written: whether the last transaction survives is not
    /// known, and only opening the store again can tell.
    #[error("the store failed: {0}")]
    Engine(String),
    /// What lies on the disk was written by a newer version, or is damaged.
    #[error("the store cannot be read: {0}")]
    Format(String),
}

/// All keys and values at one revision.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// The revision that the snapshot shows.
    pub revision: Revision,
    /// Keys in ascending order of their bytes.
    pub entries: Vec<(String, Versioned)>,
}

/// The contract that every engine keeps; `tests/conformance.rs` is its other half.
pub trait Store: Send + Sync + 'static {
    /// The fencing number: higher each time that the store is opened for writing.
    fn epoch(&self) -> u64;

    /// The newest revision.
    fn revision(&self) -> Revision;

    /// Whether it still takes writes. After a failed one it never does again: it must be opened anew.
    fn writable(&self) -> bool {
        true
    }

    /// Writes all of `ops`, or nothing, if every condition holds. When it returns, the change is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a condition fails, [`StoreError::Invalid`] beyond the limits.
    fn txn(&self, compare: &[Compare], ops: Vec<Op>) -> Result<Revision, StoreError>;

    /// One key's value.
    ///
    /// # Errors
    /// When the engine fails.
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// All keys that begin with `prefix`, ascending.
    ///
    /// # Errors
    /// When the engine fails.
    fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// Everything, at one revision.
    ///
    /// # Errors
    /// When the engine fails.
    fn snapshot(&self) -> Result<StoreSnapshot, StoreError>;

    /// All transactions after `from`, in order, without a gap.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] when `from` is too old to be followed: take a snapshot and watch from its revision.
    fn watch(&self, from: Revision) -> Result<Watch, WatchError>;
}

/// Checks a transaction against the limits; each engine calls it first.
fn check(ops: &[Op]) -> Result<(), StoreError> {
    if ops.is_empty() || ops.len() > MAX_OPS {
        return Err(StoreError::Invalid("a transaction has 1 to 1024 operations"));
    }
    let mut keys: Vec<&str> = ops.iter().map(Op::key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(StoreError::Invalid("a transaction names each key once"));
    }
    for op in ops {
        if op.key().is_empty() || op.key().len() > MAX_KEY {
            return Err(StoreError::Invalid("a key has 1 to 1024 bytes"));
        }
        if matches!(op, Op::Put(_, value) if value.len() > MAX_VALUE) {
            return Err(StoreError::Invalid("a value has at most 65536 bytes"));
        }
    }
    Ok(())
}

/// Whether a condition holds for the revision that a key has now.
fn holds(compare: &Compare, now: Option<Revision>) -> bool {
    match compare {
        Compare::Absent(_) => now.is_none(),
        Compare::Revision(_, revision) => now == Some(*revision),
    }
}

impl Compare {
    /// The key that the condition is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Revision(key, _) => key,
        }
    }
}
