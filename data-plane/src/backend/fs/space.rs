//! A bucket's directory: where everything lies, its locks, and the few file operations that durability rests on.
//!
//! Locks are `flock`s, so they hold between threads and between processes alike, and end with the process. Their order:
//! a key's, then the directories'. Neither is held while a body moves.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::names;
use super::record::{Head, Id, Kind, MAX_HEAD, Record, decode_head};
use crate::backend::BackendError;

/// Names of the directories that bodies are spread over.
const SHARDS: &str = "0123456789abcdef";

/// A bucket's directory.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) dir: PathBuf,
}

impl Bucket {
    /// The bucket's place, whether it is there or not.
    pub(crate) fn place(root: &Path, name: &str) -> Result<Self, BackendError> {
        if !names::is_bucket_name(name) {
            return Err(BackendError::s3(400, "InvalidBucketName", "the bucket's name is not valid"));
        }
        Ok(Self { dir: root.join("buckets").join(name) })
    }

    /// The bucket, which must be there.
    pub(crate) fn open(root: &Path, name: &str) -> Result<Self, BackendError> {
        let bucket = Self::place(root, name)?;
        match std::fs::metadata(&bucket.dir) {
            Ok(_) => Ok(bucket),
            Err(e) => Err(missing_bucket(e)),
        }
    }

    /// Makes the directories of an empty bucket at a place that nobody looks at yet.
    pub(crate) fn lay_out(dir: &Path) -> io::Result<()> {
        make_dir(dir)?;
        for name in ["tree", "bodies", "new", "uploads", "locks"] {
            make_dir(&dir.join(name))?;
        }
        for shard in SHARDS.chars() {
            make_dir(&dir.join("bodies").join(shard.to_string()))?;
        }
        sync_dir(&dir.join("bodies"))?;
        sync_dir(dir)
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// A key's metadata file.
    pub(crate) fn leaf(&self, key: &str) -> Result<PathBuf, BackendError> {
        names::leaf_path(&self.tree(), key).ok_or_else(|| {
            if key.is_empty() {
                BackendError::s3(400, "InvalidArgument", "the key is empty")
            } else {
                BackendError::s3(400, "KeyTooLongError", "the key is longer than 1,024 bytes")
            }
        })
    }

    pub(crate) fn body(&self, id: Id) -> PathBuf {
        let name = id.hex();
        self.dir.join("bodies").join(&name[..1]).join(format!("{name}.body"))
    }

    /// Where metadata files are prepared, and where replaced ones go: nothing in here is visible.
    pub(crate) fn pending_dir(&self) -> PathBuf {
        self.dir.join("new")
    }

    pub(crate) fn pending(&self, id: Id) -> PathBuf {
        self.pending_dir().join(format!("{}.meta", id.hex()))
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    /// Serialises what is decided and done about a key (256 locks for all keys of the bucket).
    pub(crate) fn lock_key(&self, key: &str) -> Result<File, BackendError> {
        let stripe = crc_fast::crc64_nvme(key.as_bytes()) & 255;
        let path = self.dir.join("locks").join(format!("{stripe:02x}"));
        let file = lock_file(&path).map_err(missing_bucket)?;
        file.lock()?;
        Ok(file)
    }

    /// Directories of the tree are made and removed under this lock exclusively, used under it shared. So a commit never
    /// meets a directory that is going, nor one whose own entry is not on disk yet.
    pub(crate) fn directories(&self) -> Result<File, BackendError> {
        lock_file(&self.dir.join("lock")).map_err(missing_bucket)
    }

    /// Makes the directories up to `path`, durably. Under the exclusive lock.
    pub(crate) fn make_parents(&self, path: &Path) -> Result<(), BackendError> {
        // Without this a bucket deleted in the meantime would come back as a heap of directories.
        std::fs::metadata(self.tree()).map_err(missing_bucket)?;
        let Some(parent) = path.parent() else { return Ok(()) };
        let Ok(below) = parent.strip_prefix(&self.dir) else { return Ok(()) };
        let mut at = self.dir.clone();
        for component in below.components() {
            let above = at.clone();
            at.push(component);
            match make_dir(&at) {
                Ok(()) => sync_dir(&above)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Removes the directories above a metadata file that went, as far as they are empty. Skipped when others are busy:
    /// an empty directory does no harm.
    pub(crate) fn remove_empty_parents(&self, path: &Path) {
        let Ok(lock) = self.directories() else { return };
        if lock.try_lock().is_err() {
            return;
        }
        let tree = self.tree();
        let above = |directory: &&Path| **directory != tree && **directory != self.dir;
        for directory in path.ancestors().skip(1).take_while(above) {
            if std::fs::remove_dir(directory).is_err() {
                return;
            }
        }
    }

    /// The metadata file of a key, if it is there.
    pub(crate) fn live(&self, key: &str) -> Result<Option<Record>, BackendError> {
        read_record(&self.leaf(key)?)
    }

    /// The head of the key's current object: none where it was deleted, and only a marker is left.
    pub(crate) fn object_head(&self, key: &str) -> Result<Option<Head>, BackendError> {
        Ok(self.live_head(key)?.filter(|head| head.kind == Kind::Object))
    }

    /// The head of a key's metadata, if it is there.
    pub(crate) fn live_head(&self, key: &str) -> Result<Option<Head>, BackendError> {
        read_head(&self.leaf(key)?)
    }
}

/// Reads the head of a metadata file, if it is there.
pub(crate) fn read_head(path: &Path) -> Result<Option<Head>, BackendError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if is_missing(&e) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut bytes = Vec::with_capacity(4096);
    file.take(MAX_HEAD as u64).read_to_end(&mut bytes)?;
    Ok(Some(decode_head(&bytes)?.0))
}

/// Reads a whole metadata file, if it is there.
pub(crate) fn read_record(path: &Path) -> Result<Option<Record>, BackendError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Record::decode(&bytes)?)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the error says that a file is not what was written.
pub(crate) fn is_damaged(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Whether the error says that there is no such file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A vanished path below a bucket means that the bucket went.
pub(crate) fn missing_bucket(error: io::Error) -> BackendError {
    if is_missing(&error) {
        BackendError::s3(404, "NoSuchBucket", "The specified bucket does not exist.")
    } else {
        error.into()
    }
}

pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Swaps two files in one atomic step.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Renames, but never over something.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if !is_missing(&e) => Err(e),
        _ => Ok(()),
    }
}

/// Whether the path still leads to the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.ino() == open.ino() && found.dev() == open.dev()),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(e),
    }
}
