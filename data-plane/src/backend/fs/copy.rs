//! Copies: the source's bytes in a body file of their own, made by the kernel without passing through memory, and without
//! taking space where the file system shares blocks between files.
//!
//! Not a hard link: body files are never written again, so one could be shared, but then what damages one object damages
//! the other. Everything else is as with any write: body, directory, metadata file, then the commit.

use std::path::Path;

use super::commit::Pending;
use super::read::{self, Opened};
use super::space::Bucket;
use super::{conditions, write};
use crate::backend::{BackendError, CopySource, StoredRange};

/// Opens what is to be copied, if it is still what was looked at.
pub(crate) fn open(root: &Path, source: &CopySource) -> Result<Opened, BackendError> {
    let bucket = Bucket::open(root, &source.bucket)?;
    let opened = read::open(&bucket, &source.key, source.version_id.as_deref())?;
    conditions::check_source(source.if_match.as_deref(), &opened.record.head)?;
    Ok(opened)
}

/// First byte and length of a range that must lie in a source of `size` bytes; none: all of it.
pub(crate) fn span(range: Option<(u64, u64)>, size: u64) -> Result<(u64, u64), BackendError> {
    let Some((first, last)) = range else { return Ok((0, size)) };
    let (first, resolved) = read::resolve(StoredRange::Inclusive(first, last), size)?;
    if resolved < last {
        return Err(BackendError::s3(416, "InvalidRange", "the range ends beyond the source"));
    }
    Ok((first, last - first + 1))
}

/// Writes a stretch of the source into the body of a new metadata file in preparation, durably.
pub(crate) fn body(target: &Bucket, opened: Opened, from: u64, length: u64) -> Result<Pending, BackendError> {
    let pending = Pending::create(target)?;
    if length > 0 {
        let mut file = write::create_body(&pending)?;
        opened.reader(from, length).copy_to(&mut file)?;
        file.sync_all()?;
        write::sync_shard(&pending)?;
    }
    Ok(pending)
}
