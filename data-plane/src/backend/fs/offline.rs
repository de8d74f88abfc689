//! Reads a filesystem backend's directory without a runtime, for the offline tools. Nothing is written; a running
//! backend is not disturbed.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::space::{self, Bucket};
use super::walk::{Bound, Walk};
use super::{names, read, record};
use crate::backend::BackendError;

/// What is stored beside a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The key.
    pub key: String,
    /// Bytes of the body.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Last modification, milliseconds since 1970.
    pub modified_millis: u64,
    /// User metadata: lower-case names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Content-Type and the like, lower-case names.
    pub headers: BTreeMap<String, String>,
}

impl From<record::Head> for StoredObject {
    fn from(head: record::Head) -> Self {
        Self {
            size: head.size,
            etag: head.etag(),
            modified_millis: head.modified,
            key: head.key,
            metadata: head.metadata,
            headers: head.headers,
        }
    }
}

/// Opens an object and gives its metadata and a reader of its whole body.
///
/// # Errors
/// `NotFound` when bucket or key are not there, `InvalidInput` for names that cannot be, `InvalidData` for a damaged
/// file.
pub fn open(root: &Path, bucket: &str, key: &str) -> io::Result<(StoredObject, impl Read + use<>)> {
    open_from(root, bucket, key, 0)
}

/// The same with a reader that begins at a byte; beyond the end it is empty. Two openings may meet two objects: their
/// ETags tell.
///
/// # Errors
/// As [`open`].
pub fn open_from(
    root: &Path,
    bucket: &str,
    key: &str,
    from: u64,
) -> io::Result<(StoredObject, impl Read + use<>)> {
    let opened =
        Bucket::open(root, bucket).and_then(|bucket| read::open(&bucket, key, None)).map_err(plain)?;
    let head = opened.record.head.clone();
    let reader = opened.reader(from, head.size.saturating_sub(from));
    Ok((head.into(), reader))
}

/// The objects of a bucket whose keys begin with `prefix`, in the byte order of keys.
///
/// # Errors
/// As [`open`]. An item that is an error names a damaged metadata file; the listing goes on behind it.
pub fn list(
    root: &Path,
    bucket: &str,
    prefix: &str,
) -> io::Result<impl Iterator<Item = io::Result<StoredObject>> + use<>> {
    let bucket = Bucket::open(root, bucket).map_err(plain)?;
    let mut walk = Walk::new(&bucket.tree(), prefix, Bound::After(Vec::new()));
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        while !failed {
            match walk.next() {
                Ok(Some((_, path))) => match stored(&path) {
                    Ok(None) => {}
                    found => return found.transpose(),
                },
                Ok(None) => return None,
                Err(error) => {
                    failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }))
}

fn stored(path: &Path) -> io::Result<Option<StoredObject>> {
    let head = space::read_head(path).map_err(|error| match plain(error) {
        e if e.kind() == io::ErrorKind::InvalidData => {
            io::Error::new(e.kind(), format!("{}: {e}", path.display()))
        }
        e => e,
    })?;
    Ok(head.filter(|head| head.kind == record::Kind::Object).map(StoredObject::from))
}

/// The buckets below a root, sorted.
///
/// # Errors
/// The root can't be read.
pub fn buckets(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("buckets"))? {
        found.extend(entry?.file_name().into_string().ok().filter(|name| names::is_bucket_name(name)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The file of a key's metadata, whether it is there or not: for messages of the offline tools.
pub fn metadata_path(root: &Path, bucket: &str, key: &str) -> Option<PathBuf> {
    Bucket::place(root, bucket).and_then(|bucket| bucket.leaf(key)).ok()
}

fn plain(error: BackendError) -> io::Error {
    match error {
        BackendError::Io(error) => error,
        BackendError::S3 { status: 404, message, .. } => io::Error::new(io::ErrorKind::NotFound, message),
        BackendError::S3 { message, .. } => io::Error::new(io::ErrorKind::InvalidInput, message),
        other => io::Error::other(other.to_string()),
    }
}
