//! Removes what crashes left. Run when the backend is opened, while others may be writing: what is in preparation is
//! locked by its writer, and nothing is removed without the key's lock.

use std::fs::{self, File};
use std::path::Path;

use super::commit;
use super::record::Id;
use super::space::{self, Bucket};
use super::{uploads, versions};
use crate::backend::BackendError;

/// Removes leftovers of one bucket.
pub(crate) fn sweep_bucket(bucket: &Bucket) {
    sweep_pending(bucket);
    if let Err(error) = uploads::sweep(bucket) {
        tracing::warn!(%error, bucket = %bucket.dir.display(), "leftovers of uploads stay until the next start");
    }
}

/// Removes leftovers in `new/`.
pub(crate) fn sweep_pending(bucket: &Bucket) {
    let Ok(entries) = fs::read_dir(bucket.pending_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if let Err(error) = sweep_one(bucket, &path) {
            tracing::warn!(%error, leftover = %path.display(), "cannot be removed; stays until the next start");
        }
    }
}

fn sweep_one(bucket: &Bucket, path: &Path) -> Result<(), BackendError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    if name.ends_with(".upload") {
        return uploads::remove_aborted(bucket, path);
    }
    let Some(id) = name.strip_suffix(".meta").and_then(Id::from_hex) else { return Ok(()) };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if space::is_missing(&e) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    // Locked: a writer prepares it, or a reader needs its bodies.
    if file.try_lock().is_err() || !space::is_at(&file, path)? {
        return Ok(());
    }
    let record = match space::read_record(path) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(()),
        Err(BackendError::Io(error)) if space::is_damaged(&error) => {
            if file.metadata()?.len() == 0 {
                // Its writer died before it had anything to say, so its body was never visible.
                space::remove(&bucket.body(id))?;
            } else {
                // It may be the old half of an exchange, whose name is the body that replaced it: that one is live, so a
                // body that nobody names is the smaller loss.
                tracing::error!(leftover = %path.display(), %error, "cannot be read; its body, if it has one, stays");
            }
            return Ok(space::remove(path)?);
        }
        // A disk that fails now may give the record, and so the body's name, at the next start.
        Err(error) => return Err(error),
    };
    let _lock = bucket.lock_key(&record.head.key)?;
    if !space::is_at(&file, path)? {
        return Ok(());
    }
    // What a write linked among the versions before its commit, and what its commit made count no more: that may be this
    // very file under another name, so it is not locked meanwhile. Its writer is dead.
    file.unlock()?;
    versions::purge(bucket, &record.head.key)?;
    if file.try_lock().is_err() {
        return Ok(());
    }
    if record.head.id == id {
        // Prepared, never committed: only its own body is its own, parts belong to the upload.
        let live = bucket.live(&record.head.key)?;
        if !live.is_some_and(|live| live.segments.iter().any(|segment| segment.id == id))
            && !versions::is_visible(bucket, &record.head)?
        {
            space::remove(&bucket.body(id))?;
        }
    } else if !commit::discard_replaced(bucket, &record, path)? {
        return Ok(());
    }
    Ok(space::remove(path)?)
}
