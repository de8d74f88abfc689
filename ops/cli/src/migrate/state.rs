//! What a migration knows of what it has done: on disk, so that it can go on after it was killed, with any number of keys.
//!
//! Nothing here is believed for long: what is not written down is compared or copied again, and after each pass all of it is
//! held against the listings of both buckets.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::admin::Bucket;
use crate::failure::{Exit, Failure, Outcome};

/// What is kept of it in memory, in bytes.
const CACHE: u64 = 64 << 20;
const ABOUT: &[u8] = b"migration";

/// A version of an object in the source, as its listing shows it; without versioning, the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Empty without versioning.
    pub id: String,
    pub etag: String,
    pub size: u64,
    /// Unix seconds.
    pub modified: u64,
    pub delete_marker: bool,
}

/// A version that was copied and proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub source: Version,
    /// Hash of all that is not the body: headers, metadata, tags, locks.
    pub about: String,
    /// The copy's version id; its ETag without versioning.
    pub target: String,
}

/// A key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Oldest first. Empty: in the source, and not copied yet.
    pub copied: Vec<Copied>,
    /// The pass that found it in the source last.
    pub seen: u32,
    /// The pass that found all of it in the target last.
    pub found: u32,
}

/// Whose migration it is, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub from_id: String,
    pub to_id: String,
    /// The last pass that was begun.
    pub pass: u32,
    /// Whether what was in the target before is compared instead of being refused.
    pub adopting: bool,
}

impl About {
    /// Whether these two, not exchanged yet, are its buckets.
    pub fn is_of(&self, source: &Bucket, target: &Bucket) -> bool {
        (&self.from_id, &self.to_id) == (&source.id, &target.id)
    }
}

/// See the module.
pub struct State {
    file: sled::Db,
    rows: sled::Tree,
    name: String,
}

impl State {
    /// Opens or makes the directory. It is locked for as long as it is open.
    ///
    /// # Errors
    /// When it cannot be, or another process has it.
    pub fn open(path: &Path) -> Outcome<Self> {
        let name = path.display().to_string();
        // It tells what is in the bucket: for whoever migrates it.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::file(path, &error))?;
        let file = sled::Config::new().path(path).cache_capacity(CACHE).open().map_err(|error| {
            failed(&name, &error)
                .hint("is another `sealgate migrate` at it? Else name another directory with --state")
        })?;
        let rows = file.open_tree("keys").map_err(|error| failed(&name, &error))?;
        Ok(Self { file, rows, name })
    }

    /// Whose it is; none for a new one.
    pub fn about(&self) -> Outcome<Option<About>> {
        let found = self.file.get(ABOUT).map_err(|error| failed(&self.name, &error))?;
        found.map(|bytes| self.read(&bytes)).transpose()
    }

    /// Writes down whose it is and how far, for certain.
    pub fn set_about(&self, about: &About) -> Outcome<()> {
        self.file.insert(ABOUT, text(about)).map_err(|error| failed(&self.name, &error))?;
        self.file.flush().map(drop).map_err(|error| failed(&self.name, &error))
    }

    /// What is known of a key.
    pub fn row(&self, key: &str) -> Outcome<Option<Row>> {
        let found = self.rows.get(key).map_err(|error| failed(&self.name, &error))?;
        found.map(|bytes| self.read(&bytes)).transpose()
    }

    /// Writes down what is known of a key.
    pub fn put(&self, key: &str, row: &Row) -> Outcome<()> {
        self.rows.insert(key, text(row)).map(drop).map_err(|error| failed(&self.name, &error))
    }

    /// Forgets a key.
    pub fn remove(&self, key: &str) -> Outcome<()> {
        self.rows.remove(key).map(drop).map_err(|error| failed(&self.name, &error))
    }

    /// All keys.
    pub fn rows(&self) -> impl Iterator<Item = Outcome<(String, Row)>> + '_ {
        self.rows.iter().map(|found| {
            let (key, row) = found.map_err(|error| failed(&self.name, &error))?;
            Ok((String::from_utf8_lossy(&key).into_owned(), self.read(&row)?))
        })
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, bytes: &[u8]) -> Outcome<T> {
        serde_json::from_slice(bytes).map_err(|_| {
            Failure::new(Exit::Failure, format!("{}: is damaged, or of another version", self.name))
                .hint("remove it, and run again with --overwrite: what was copied is compared")
        })
    }
}

fn text<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn failed(name: &str, error: &sled::Error) -> Failure {
    Failure::new(Exit::Failure, format!("{name}: {error}"))
}
