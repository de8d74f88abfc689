//! The embedded engine: sled 0.34.7 in a directory, held by one process at a time.
//!
//! sled's `flush` ends in `sync_file_range` on Linux, which promises nothing after a power loss: so each commit also
//! syncs the database file itself. Readers wait for a commit in progress, so nothing is ever seen that could still be
//! lost. When a sync fails, the kernel may have dropped the pages: the engine then refuses further writes for good.
//!
//! Layout of the one tree: `m/…` the engine's own numbers, `d/<key>` = revision (u64, big-endian) ‖ value.

use std::{
    fs::{self, File},
    path::Path,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Compare, Op, Revision, Store, StoreError, StoreSnapshot, Versioned, Watch, WatchError, check, feed::Feed,
    holds,
};

/// The layout that this code writes. Older ones are carried over one step at a time by [`migrate`].
const SCHEMA: u8 = 1;

/// How long a store that is being closed is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const SCHEMA_KEY: &[u8] = b"m/schema";
const EPOCH_KEY: &[u8] = b"m/epoch";
const REVISION_KEY: &[u8] = b"m/revision";

/// A store in a directory.
pub struct SledStore {
    db: sled::Db,
    /// The file that sled writes its log to, opened a second time to sync it.
    file: File,
    epoch: u64,
    feed: Feed,
    /// Held for writing during a commit, its sync included.
    commit: RwLock<()>,
    broken: AtomicBool,
}

impl SledStore {
    /// Opens the store in `directory`, or makes it (mode 0700), and raises its epoch.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when another process holds it or the disk fails, [`StoreError::Format`] when a newer
    /// version wrote it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        make_private_directory(directory)?;
        let db = open_database(directory)?;
        let file = File::open(directory.join("db")).map_err(engine)?;
        migrate(&db)?;
        let epoch = number(&db, EPOCH_KEY)? + 1;
        let revision = number(&db, REVISION_KEY)?;
        db.insert(EPOCH_KEY, &epoch.to_be_bytes()).map_err(engine)?;
        let store = Self {
            db,
            file,
            epoch,
            feed: Feed::new(revision),
            commit: RwLock::new(()),
            broken: AtomicBool::new(false),
        };
        store.sync()?;
        // The names of files that sled has just made must be durable too.
        for path in [directory, directory.parent().unwrap_or(directory)] {
            File::open(path).and_then(|dir| dir.sync_all()).map_err(engine)?;
        }
        Ok(store)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let result = self.db.flush().map_err(engine).and_then(|_| self.file.sync_all().map_err(engine));
        if result.is_err() {
            self.broken.store(true, Ordering::SeqCst);
        }
        result
    }

    fn entry(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.db.get(data_key(key)).map_err(engine)?.map(|bytes| parse(&bytes)).transpose()
    }
}

impl Store for SledStore {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn revision(&self) -> Revision {
        self.feed.newest()
    }

    fn writable(&self) -> bool {
        !self.broken.load(Ordering::SeqCst)
    }

    fn txn(&self, compare: &[Compare], ops: Vec<Op>) -> Result<Revision, StoreError> {
        check(&ops)?;
        let _commit = self.commit.write().unwrap_or_else(PoisonError::into_inner);
        if !self.writable() {
            return Err(StoreError::Engine(
                "an earlier write failed; the store must be opened again".to_owned(),
            ));
        }
        for condition in compare {
            if !holds(condition, self.entry(condition.key())?.map(|entry| entry.revision)) {
                return Err(StoreError::Conflict(condition.key().to_owned()));
            }
        }
        let revision = self.feed.newest() + 1;
        let mut batch = sled::Batch::default();
        batch.insert(REVISION_KEY, &revision.to_be_bytes());
        for op in &ops {
            match op {
                Op::Put(key, value) => {
                    batch.insert(data_key(key), [&revision.to_be_bytes()[..], value].concat())
                }
                Op::Delete(key) => batch.remove(data_key(key)),
            }
        }
        if let Err(error) = self.db.apply_batch(batch) {
            self.broken.store(true, Ordering::SeqCst);
            return Err(engine(error));
        }
        self.sync()?;
        self.feed.publish(revision, ops);
        Ok(revision)
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let _stable = self.commit.read().unwrap_or_else(PoisonError::into_inner);
        self.entry(key)
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        let _stable = self.commit.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for pair in self.db.scan_prefix(data_key(prefix)) {
            let (key, bytes) = pair.map_err(engine)?;
            let key = key.get(2..).and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| StoreError::Format("a key is not text".to_owned()))?;
            found.push((key.to_owned(), parse(&bytes)?));
        }
        Ok(found)
    }

    fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        // `scan` takes the lock for reading as well; taking it here too could deadlock behind a waiting writer. So the
        // revision is read before and after, and the scan repeated when a commit came in between.
        loop {
            let revision = self.revision();
            let entries = self.scan("")?;
            if self.revision() == revision {
                return Ok(StoreSnapshot { revision, entries });
            }
        }
    }

    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        self.feed.watch(from)
    }
}

/// Brings an older layout up to date, one version at a time, and marks a new store.
fn migrate(db: &sled::Db) -> Result<(), StoreError> {
    match db.get(SCHEMA_KEY).map_err(engine)?.as_deref() {
        Some([SCHEMA]) => Ok(()),
        Some([version, ..]) => Err(StoreError::Format(format!(
            "its layout has version {version}, this program knows versions up to {SCHEMA}"
        ))),
        None if db.is_empty() => db.insert(SCHEMA_KEY, &[SCHEMA]).map(|_| ()).map_err(engine),
        Some([]) | None => Err(StoreError::Format("it has no version".to_owned())),
    }
}

fn make_private_directory(directory: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(engine)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(engine)
}

/// sled's threads hold the lock for a moment after the last handle is gone: this process may have just closed it.
fn open_database(directory: &Path) -> Result<sled::Db, StoreError> {
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match sled::Config::default().path(directory).flush_every_ms(None).open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.map_err(engine),
        }
    }
}

fn number(db: &sled::Db, key: &[u8]) -> Result<u64, StoreError> {
    match db.get(key).map_err(engine)? {
        None => Ok(0),
        Some(bytes) => <[u8; 8]>::try_from(bytes.as_ref())
            .map(u64::from_be_bytes)
            .map_err(|_| StoreError::Format("a number does not have 8 bytes".to_owned())),
    }
}

fn data_key(key: &str) -> Vec<u8> {
    [b"d/", key.as_bytes()].concat()
}

fn parse(bytes: &[u8]) -> Result<Versioned, StoreError> {
    let (revision, value) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| StoreError::Format("an entry is too short".to_owned()))?;
    Ok(Versioned { revision: u64::from_be_bytes(*revision), value: value.to_vec() })
}

fn engine(error: impl std::fmt::Display) -> StoreError {
    StoreError::Engine(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::fs::File;

    use super::SledStore;
    use crate::{Op, Store as _, StoreError};

    #[test]
    fn after_a_sync_that_failed_it_takes_no_writes_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let put = |key: &str| vec![Op::Put(key.to_owned(), vec![1])];
        store.txn(&[], put("before")).unwrap();
        assert!(store.writable());
        // A device that cannot be synced.
        let file = std::mem::replace(&mut store.file, File::open("/dev/null").unwrap());
        assert!(matches!(store.txn(&[], put("lost")), Err(StoreError::Engine(_))));
        assert!(!store.writable());
        // The disk is well again; what the kernel dropped meanwhile is not.
        store.file = file;
        assert!(matches!(store.txn(&[], put("after")), Err(StoreError::Engine(_))));
        assert!(!store.writable());
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert!(store.writable());
        store.txn(&[], put("again")).unwrap();
        assert!(store.get("before").unwrap().is_some());
    }
}
