//! The one way that anything becomes visible, and the one way that it goes.
//!
//! A write prepares `new/<id>.meta` and `bodies/…/<id>.body`. The commit moves the metadata file to its place in one
//! rename, or swaps it with the one that is there: what was replaced then lies in `new/`. So at every moment, a crash
//! included, **what lies in `new/` is garbage or in preparation**, and whatever body it names goes with it (unless the
//! key's visible metadata names it, too, or one of its versions). Nothing else ever has to be searched for leftovers.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::record::{Id, Kind, Record};
use super::space::{self, Bucket};
use super::{uploads, versions};
use crate::backend::BackendError;

/// A metadata file in preparation, locked against sweeps. Dropped without a commit, it removes itself and its body.
#[derive(Debug)]
pub(crate) struct Pending {
    bucket: Bucket,
    id: Id,
    file: File,
    committed: bool,
}

impl Pending {
    pub(crate) fn create(bucket: &Bucket) -> Result<Self, BackendError> {
        loop {
            let id = Id::random()?;
            let path = bucket.pending(id);
            let file = match space::create_file(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(space::missing_bucket(e)),
            };
            file.lock()?;
            // A sweep may have come between creating and locking.
            if space::is_at(&file, &path)? {
                return Ok(Self { bucket: bucket.clone(), id, file, committed: false });
            }
        }
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn body_path(&self) -> PathBuf {
        self.bucket.body(self.id)
    }

    /// Writes the record, durably, instead of what was written before. The body must be on disk already.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), BackendError> {
        let bytes = record.encode()?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&bytes)?;
        self.file.sync_all()?;
        Ok(())
    }

    /// Makes the metadata file visible at `target`, durably, and drops what was there. The key is locked.
    pub(crate) fn publish(mut self, target: &Path) -> Result<(), BackendError> {
        let path = self.bucket.pending(self.id);
        let lock = self.bucket.directories()?;
        lock.lock_shared()?;
        let replaced = match place(&path, target) {
            Err(e) if space::is_missing(&e) => {
                lock.unlock()?;
                lock.lock()?;
                self.bucket.make_parents(target)?;
                place(&path, target).map_err(space::missing_bucket)?
            }
            other => other?,
        };
        if let Err(error) = sync_parent(target) {
            let undone =
                if replaced { space::exchange(&path, target) } else { space::rename_new(target, &path) };
            if undone.is_ok() {
                let _ = sync_parent(target);
            } else {
                self.committed = true;
            }
            return Err(error.into());
        }
        self.committed = true;
        drop(lock);
        if replaced {
            discard(&self.bucket, &path);
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is swept at the next start.
            let _ = space::remove(&self.bucket.body(self.id));
            let _ = space::remove(&self.bucket.pending(self.id));
        }
    }
}

/// Moves the file to its place; true when it swapped places with another.
fn place(path: &Path, target: &Path) -> io::Result<bool> {
    match space::rename_new(path, target) {
        Ok(()) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => space::exchange(path, target).map(|()| true),
        Err(e) => Err(e),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), space::sync_dir)
}

/// Puts a file of `new/` in the place of a visible one, durably; what was visible then lies in `new/`. The key is locked.
pub(crate) fn exchange_durably(path: &Path, target: &Path) -> Result<(), BackendError> {
    space::exchange(path, target)?;
    if let Err(error) = sync_parent(target) {
        let _ = space::exchange(path, target);
        let _ = sync_parent(target);
        return Err(error.into());
    }
    Ok(())
}

/// Makes a visible metadata file invisible, durably, and drops it with its bodies. The key is locked.
pub(crate) fn withdraw(bucket: &Bucket, target: &Path) -> Result<(), BackendError> {
    let garbage = bucket.pending(Id::random()?);
    match space::rename_new(target, &garbage) {
        Ok(()) => {}
        Err(e) if space::is_missing(&e) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    if let Err(error) = sync_parent(target) {
        let _ = space::rename_new(&garbage, target);
        return Err(error.into());
    }
    discard(bucket, &garbage);
    bucket.remove_empty_parents(target);
    Ok(())
}

/// Removes a file of `new/` and the bodies that only it names. The key is locked. A failure leaves it to the next sweep:
/// what it was is invisible already.
pub(crate) fn discard(bucket: &Bucket, garbage: &Path) {
    if let Err(error) = try_discard(bucket, garbage) {
        tracing::warn!(%error, "leftover of a replaced object stays until the next start");
    }
}

fn try_discard(bucket: &Bucket, garbage: &Path) -> Result<(), BackendError> {
    let file = match File::open(garbage) {
        Ok(file) => file,
        Err(e) if space::is_missing(&e) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    // A reader of many segments opens them one by one and holds this shared until it is done; it comes back here.
    if file.try_lock().is_err() {
        return Ok(());
    }
    if let Some(record) = space::read_record(garbage)?
        && !discard_replaced(bucket, &record, garbage)?
    {
        return Ok(());
    }
    space::remove(garbage)?;
    Ok(())
}

/// Removes the bodies of a record that was visible and is no more, with what a crash left of the upload it came from. False:
/// not yet, somebody reads them.
pub(crate) fn discard_replaced(
    bucket: &Bucket,
    record: &Record,
    garbage: &Path,
) -> Result<bool, BackendError> {
    if record.head.kind == Kind::Object {
        if versions::is_visible(bucket, &record.head)? {
            return Ok(true);
        }
        if !record.head.upload.is_empty() {
            uploads::remove_completed(bucket, record)?;
        }
        if record.segments.len() > 1 && is_read_elsewhere(bucket, record, garbage)? {
            return Ok(false);
        }
    }
    remove_bodies(bucket, record).map(|()| true)
}

/// Whether a reader holds another file that was the record of the same bodies, before or after its tags or locks were changed.
/// When it is done it comes back here.
fn is_read_elsewhere(bucket: &Bucket, record: &Record, garbage: &Path) -> Result<bool, BackendError> {
    let own = File::open(garbage)?;
    for entry in std::fs::read_dir(bucket.pending_dir())? {
        let path = entry?.path();
        // Another name of this very file is locked by whoever asks, and by nobody else.
        if path.extension().is_none_or(|extension| extension != "meta") || space::is_at(&own, &path)? {
            continue;
        }
        if let Ok(Some(head)) = space::read_head(&path)
            && head.id == record.head.id
            && File::open(&path).is_ok_and(|file| file.try_lock().is_err())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the bodies that a record names and the key's visible record does not.
pub(crate) fn remove_bodies(bucket: &Bucket, record: &Record) -> Result<(), BackendError> {
    let live = bucket.live(&record.head.key)?;
    let kept: HashSet<Id> = live.iter().flat_map(|live| &live.segments).map(|segment| segment.id).collect();
    for segment in record.segments.iter().filter(|segment| !kept.contains(&segment.id)) {
        space::remove(&bucket.body(segment.id))?;
    }
    Ok(())
}
