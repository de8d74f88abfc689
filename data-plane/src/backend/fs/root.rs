//! The root directory, and buckets coming and going in it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::record::Id;
use super::space::{self, Bucket};
use super::sweep;
use super::walk::{Bound, Walk};
use crate::backend::BackendError;

/// Says that the directory is ours, and how it is laid out.
const MARKER: &str = "sealgate-filesystem";
/// What the marker contains.
const LAYOUT: &[u8] = b"1\n";
/// So that the longest key's path stays below the 4,096 bytes that a system call takes.
const MAX_ROOT: usize = 800;

/// Opens or makes a root.
pub(crate) fn open(root: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    let root = root.canonicalize()?;
    if root.as_os_str().len() > MAX_ROOT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of the directory is longer than 800 bytes",
        ));
    }
    let _lock = lock(&root)?;
    match fs::read(root.join(MARKER)) {
        Ok(layout) if layout == LAYOUT => {}
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the directory was laid out by another version",
            ));
        }
        Err(e) if space::is_missing(&e) => make(&root)?,
        Err(e) => return Err(e),
    }
    probe_exchange(&root)?;
    for entry in fs::read_dir(root.join("trash"))? {
        fs::remove_dir_all(entry?.path())?;
    }
    for entry in fs::read_dir(root.join("buckets"))? {
        sweep::sweep_bucket(&Bucket { dir: entry?.path() });
    }
    Ok(root)
}

/// Held while buckets come and go, so that nobody takes one in the making for rubbish.
fn lock(root: &Path) -> io::Result<File> {
    let path = root.join("lock");
    let file = match space::create_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => File::open(&path)?,
        other => other?,
    };
    file.lock()?;
    Ok(file)
}

fn make(root: &Path) -> io::Result<()> {
    for name in ["buckets", "trash"] {
        match space::make_dir(&root.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    let draft = root.join("trash").join("marker");
    space::remove(&draft)?;
    let mut file = space::create_file(&draft)?;
    file.write_all(LAYOUT)?;
    file.sync_all()?;
    space::rename_new(&draft, &root.join(MARKER))?;
    space::sync_dir(root)?;
    root.parent().map_or(Ok(()), space::sync_dir)
}

fn probe_exchange(root: &Path) -> io::Result<()> {
    let (one, other) = (root.join("trash").join("one"), root.join("trash").join("other"));
    for path in [&one, &other] {
        space::remove(path)?;
        space::create_file(path)?;
    }
    space::exchange(&one, &other).map_err(|e| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this file system cannot swap files atomically: {e}"),
        )
    })?;
    space::remove(&one)?;
    space::remove(&other)
}

/// Makes a bucket: complete at once, with the settings that `prepare` makes, or not there.
pub(crate) fn create_bucket(
    root: &Path,
    name: &str,
    prepare: impl FnOnce(&Bucket) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let bucket = Bucket::place(root, name)?;
    let _lock = lock(root)?;
    let draft = root.join("trash").join(Id::random()?.hex());
    Bucket::lay_out(&draft)?;
    if let Err(error) = prepare(&Bucket { dir: draft.clone() }) {
        fs::remove_dir_all(&draft)?;
        return Err(error);
    }
    match space::rename_new(&draft, &bucket.dir) {
        Ok(()) => Ok(space::sync_dir(&root.join("buckets"))?),
        Err(e) => {
            fs::remove_dir_all(&draft)?;
            if e.kind() == io::ErrorKind::AlreadyExists {
                return Err(BackendError::s3(409, "BucketAlreadyOwnedByYou", "the bucket is there already"));
            }
            Err(e.into())
        }
    }
}

/// Removes a bucket without objects. Uploads in progress go with it.
pub(crate) fn delete_bucket(root: &Path, bucket: &Bucket) -> Result<(), BackendError> {
    let _lock = lock(root)?;
    let directories = bucket.directories()?;
    directories.lock()?;
    if Walk::new(&bucket.tree(), "", Bound::After(Vec::new())).next()?.is_some() {
        return Err(BackendError::s3(409, "BucketNotEmpty", "the bucket holds objects"));
    }
    let garbage = root.join("trash").join(Id::random()?.hex());
    fs::rename(&bucket.dir, &garbage).map_err(space::missing_bucket)?;
    space::sync_dir(&root.join("buckets"))?;
    if let Err(error) = fs::remove_dir_all(&garbage) {
        tracing::warn!(%error, "what is left of a deleted bucket stays until the next start");
    }
    Ok(())
}
