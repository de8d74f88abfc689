//! Versions of a key. The file in the tree is the newest one, always, a delete marker included; older ones lie in a directory
//! of the key's own. docs/filesystem-backend.md argues why a crash between any two steps leaves the old state or the new one:
//!
//! - What is overwritten is linked among the older versions **before** the commit. Until then it is there twice, and **a
//!   version whose id is the current one's does not count**.
//! - When the current version is deleted, the newest older one is put in its place in one exchange, and is there twice after.
//! - There is one `null` version: **of several only the newest counts**, so that one commit both makes it and drops the last.
//!
//! What does not count is removed before it could count again ([`purge`]); whatever a crash leaves of it has a trace in
//! `new/`, from which the next start finds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http::header::{ALLOW, HeaderMap, HeaderValue, LAST_MODIFIED};
use sha2::{Digest as _, Sha256};

use super::commit::{self, Pending};
use super::documents::{self, Document};
use super::record::{Head, Id, Kind, NULL, Record};
use super::space::{self, Bucket};
use super::{conditions, lock, options, uploads};
use crate::backend::BackendError;

/// Keys that the gateway keeps for itself begin with this. They have no versions, so that they don't pile up.
const HIDDEN: &str = ".sealgate/";
/// How often a reader may lose against writers of the same key before it gives up.
const ATTEMPTS: usize = 64;

/// What becomes of what a write replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// There never were versions: it goes.
    Never,
    /// It stays as a version.
    Enabled,
    /// It stays, unless it is the `null` version.
    Suspended,
}

/// The bucket's versioning state, as far as it concerns a key.
pub(crate) fn mode(bucket: &Bucket, key: &str) -> Result<Mode, BackendError> {
    if key.starts_with(HIDDEN) {
        return Ok(Mode::Never);
    }
    match documents::read(bucket, Document::Versioning)?.as_deref() {
        None => Ok(Mode::Never),
        Some("Enabled") => Ok(Mode::Enabled),
        Some("Suspended") => Ok(Mode::Suspended),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown versioning state").into()),
    }
}

/// The version id that an answer names: none where there never were versions.
pub(crate) fn shown(bucket: &Bucket, head: &Head) -> Result<Option<String>, BackendError> {
    if head.has_version_id || mode(bucket, &head.key)? != Mode::Never {
        return Ok(Some(head.version_id()));
    }
    Ok(None)
}

/// A version that is not the current one, as its file is named: `<sequence><id>.meta`, `.null` for the `null` version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Older {
    pub(crate) sequence: u64,
    pub(crate) id: Id,
    pub(crate) has_version_id: bool,
}

impl Older {
    pub(crate) fn of(head: &Head) -> Self {
        Self { sequence: head.sequence, id: head.id, has_version_id: head.has_version_id }
    }

    /// From a version id other than `null`.
    fn named(version_id: &str) -> Option<Self> {
        let (sequence, id) = version_id.split_at_checked(16)?;
        let sequence = u64::from_str_radix(sequence, 16).ok()?;
        let older = Self { sequence, id: Id::from_hex(id)?, has_version_id: true };
        (older.version_id() == version_id).then_some(older)
    }

    fn parse(file: &str) -> Option<Self> {
        let (name, suffix) = file.split_once('.')?;
        let older = Self::named(name)?;
        match suffix {
            "meta" => Some(older),
            "null" => Some(Self { has_version_id: false, ..older }),
            _ => None,
        }
    }

    pub(crate) fn version_id(&self) -> String {
        if self.has_version_id { format!("{:016x}{}", self.sequence, self.id.hex()) } else { NULL.to_owned() }
    }

    fn file(&self) -> String {
        let suffix = if self.has_version_id { "meta" } else { "null" };
        format!("{:016x}{}.{suffix}", self.sequence, self.id.hex())
    }

    pub(crate) fn path(&self, bucket: &Bucket, key: &str) -> PathBuf {
        directory(bucket, key).join(self.file())
    }
}

/// The age of a version, by its id; none for `null`, whose id does not say.
pub(crate) fn sequence_of(version_id: &str) -> Option<u64> {
    Older::named(version_id).map(|older| older.sequence)
}

/// Where the older versions of a key lie.
fn directory(bucket: &Bucket, key: &str) -> PathBuf {
    let name = hex::encode(Sha256::digest(key.as_bytes()));
    bucket.dir.join("versions").join(&name[..2]).join(name)
}

/// The older versions of a key, the newest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) counting: Vec<Older>,
    /// What a crash left: no version any more.
    dead: Vec<Older>,
}

/// What lies beside the current version.
pub(crate) fn history(bucket: &Bucket, key: &str, current: Older) -> Result<History, BackendError> {
    let mut history = History::default();
    let mut null_seen = !current.has_version_id;
    for older in all_older(bucket, key)? {
        let superseded = !older.has_version_id && null_seen;
        null_seen |= !older.has_version_id;
        if older.id == current.id || superseded {
            history.dead.push(older);
        } else {
            history.counting.push(older);
        }
    }
    Ok(history)
}

fn all_older(bucket: &Bucket, key: &str) -> Result<Vec<Older>, BackendError> {
    let entries = match fs::read_dir(directory(bucket, key)) {
        Ok(entries) => entries,
        Err(e) if space::is_missing(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(Older::parse));
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// The current version. None when there is none, or when nobody can read which it is.
pub(crate) fn current(bucket: &Bucket, key: &str) -> Result<Option<Head>, BackendError> {
    match bucket.live_head(key) {
        Err(BackendError::Io(error)) if space::is_damaged(&error) => {
            tracing::error!(%error, "the metadata file of a current version is damaged");
            Ok(None)
        }
        other => other,
    }
}

/// Refuses to go on where the current version cannot be read: what it is, and whether it is locked, nobody knows.
fn refuse_damaged(bucket: &Bucket, key: &str) -> Result<(), BackendError> {
    if bucket.leaf(key)?.try_exists()? {
        let text = "the metadata file of the current version is damaged: see docs/filesystem-backend.md, \"Versions\"";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
    }
    Ok(())
}

/// Whether there is a current version after all, as when the first write of the key came in between. Refuses as
/// [`refuse_damaged`] does: without the key's lock, that there is a file tells nothing.
fn is_there(bucket: &Bucket, key: &str) -> Result<bool, BackendError> {
    match bucket.live_head(key) {
        Err(BackendError::Io(error)) if space::is_damaged(&error) => {
            refuse_damaged(bucket, key)?;
            Ok(true)
        }
        found => Ok(found?.is_some()),
    }
}

/// A version that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) head: Head,
    pub(crate) is_current: bool,
}

/// A version of a key by its id.
pub(crate) fn find(bucket: &Bucket, key: &str, version_id: &str) -> Result<Option<Found>, BackendError> {
    let named = Older::named(version_id);
    if named.is_none() && version_id != NULL {
        return Err(BackendError::s3(400, "InvalidArgument", "Invalid version id specified"));
    }
    let leaf = bucket.leaf(key)?;
    for _ in 0..ATTEMPTS {
        let now = current(bucket, key)?;
        if let Some(head) = now.clone().filter(|head| head.version_id() == version_id) {
            return Ok(Some(Found { path: leaf, head, is_current: true }));
        }
        let older = match (named, &now) {
            (Some(older), _) => Some(older),
            (None, Some(now)) => {
                history(bucket, key, Older::of(now))?.counting.into_iter().find(|older| !older.has_version_id)
            }
            (None, None) => all_older(bucket, key)?.into_iter().find(|older| !older.has_version_id),
        };
        if let Some(older) = older {
            let path = older.path(bucket, key);
            if let Some(head) = space::read_head(&path)? {
                return Ok(Some(Found { path, head, is_current: false }));
            }
        }
        // What is not there may just have become the current one.
        if current(bucket, key)?.map(|head| head.id) == now.as_ref().map(|head| head.id) {
            if now.is_none() && is_there(bucket, key)? {
                continue;
            }
            return Ok(None);
        }
    }
    Err(BackendError::Unavailable("the object is being replaced faster than it can be found".to_owned()))
}

/// The object that a request is about: the current version, or the one that it names.
pub(crate) fn locate(bucket: &Bucket, key: &str, version_id: Option<&str>) -> Result<Found, BackendError> {
    let found = match version_id {
        Some(version_id) => find(bucket, key, version_id)?.ok_or_else(no_such_version)?,
        None => {
            let head = bucket.live_head(key)?.ok_or_else(no_such_key)?;
            Found { path: bucket.leaf(key)?, head, is_current: true }
        }
    };
    match found.head.kind {
        Kind::Marker => Err(marked(&found.head, version_id.is_some())),
        _ => Ok(found),
    }
}

fn no_such_key() -> BackendError {
    BackendError::s3(404, "NoSuchKey", "The specified key does not exist.")
}

pub(crate) fn no_such_version() -> BackendError {
    BackendError::s3(404, "NoSuchVersion", "The specified version does not exist.")
}

/// What a reader of a delete marker is told: that there is no object, or, when it named the marker, that it cannot be read.
pub(crate) fn marked(head: &Head, named: bool) -> BackendError {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(version) = HeaderValue::from_str(&head.version_id()) {
        headers.insert("x-amz-version-id", version);
    }
    let (status, code, message) = match named {
        false => (404, "NoSuchKey", "The specified key does not exist."),
        true => {
            headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
            if let Ok(modified) = HeaderValue::from_str(&httpdate::fmt_http_date(conditions::modified(head)))
            {
                headers.insert(LAST_MODIFIED, modified);
            }
            (405, "MethodNotAllowed", "the version is a delete marker")
        }
    };
    BackendError::S3 {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
        headers: Box::new(headers),
    }
}

/// Changes what is said of a version beside its bytes, in one step. Its id, ETag and date stay.
pub(crate) fn revise(
    bucket: &Bucket,
    key: &str,
    version_id: Option<&str>,
    change: impl FnOnce(&mut Head) -> Result<(), BackendError>,
) -> Result<Head, BackendError> {
    let _lock = bucket.lock_key(key)?;
    let found = locate(bucket, key, version_id)?;
    let mut record = space::read_record(&found.path)?.ok_or_else(no_such_key)?;
    change(&mut record.head)?;
    record.head.revised = true;
    let mut pending = Pending::create(bucket)?;
    pending.write(&record)?;
    pending.publish(&found.path)?;
    Ok(record.head)
}

/// Makes a prepared record the current version of its key, as the bucket's versioning state wants it. The key is locked.
///
/// `written`: the record is on disk already, as it is where there never were versions.
pub(crate) fn publish(
    bucket: &Bucket,
    mut pending: Pending,
    record: &mut Record,
    written: bool,
) -> Result<(), BackendError> {
    let key = record.head.key.clone();
    let leaf = bucket.leaf(&key)?;
    let mode = mode(bucket, &key)?;
    lock::complete(bucket, &mut record.head, mode)?;
    if mode == Mode::Never {
        if !written {
            pending.write(record)?;
        }
        return pending.publish(&leaf);
    }
    let replaced = current(bucket, &key)?;
    if replaced.is_none() && documents::read(bucket, Document::ObjectLock)?.is_some() {
        // It may be locked, and would go for good.
        refuse_damaged(bucket, &key)?;
    }
    record.head.sequence = match &replaced {
        Some(head) => head.sequence + 1,
        None => all_older(bucket, &key)?.first().map_or(0, |newest| newest.sequence + 1),
    };
    record.head.has_version_id = mode == Mode::Enabled;
    pending.write(record)?;
    if let Some(head) = replaced.filter(|head| mode == Mode::Enabled || head.has_version_id) {
        keep(bucket, &head, &leaf)?;
    }
    if mode == Mode::Enabled {
        return pending.publish(&leaf);
    }
    // The last `null` version, if it is not the current one, counts no more from the commit on.
    let mut traces = Vec::new();
    for null in all_older(bucket, &key)?.into_iter().filter(|older| !older.has_version_id) {
        let trace = bucket.pending(Id::random()?);
        fs::hard_link(null.path(bucket, &key), &trace)?;
        traces.push(trace);
    }
    pending.publish(&leaf)?;
    let purged = purge(bucket, &key);
    traces.iter().for_each(|trace| commit::discard(bucket, trace));
    if let Err(error) = purged {
        tracing::warn!(%error, "a replaced null version stays until the next start");
    }
    Ok(())
}

/// Puts a delete marker in front of a key's versions. The key is locked.
pub(crate) fn mark_deleted(bucket: &Bucket, key: &str) -> Result<Head, BackendError> {
    let pending = Pending::create(bucket)?;
    let mut head = options::head(Kind::Marker, key, &Default::default(), 0)?;
    head.id = pending.id();
    let mut record = Record { head, segments: Vec::new() };
    publish(bucket, pending, &mut record, false)?;
    Ok(record.head)
}

/// Links the current version among the older ones, so that it survives being replaced.
fn keep(bucket: &Bucket, head: &Head, leaf: &Path) -> Result<(), BackendError> {
    if !head.upload.is_empty()
        && let Some(record) = space::read_record(leaf)?
    {
        // An upload is over when the *current* version came from it: what a crash left of it must go before that changes.
        uploads::remove_completed(bucket, &record)?;
        // For good, not every file system keeps the order of two directories: an upload that came back would be an open one, and its
        // abortion would take the bodies of the version that it became.
        space::sync_dir(&bucket.uploads())?;
    }
    let target = Older::of(head).path(bucket, &head.key);
    let lock = bucket.directories()?;
    lock.lock_shared()?;
    match fs::hard_link(leaf, &target) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Left by a crash, and perhaps older than the current one's tags.
            drop_file(bucket, &target)?;
            fs::hard_link(leaf, &target)?;
        }
        Err(e) if space::is_missing(&e) => {
            lock.unlock()?;
            lock.lock()?;
            bucket.make_parents(&target)?;
            fs::hard_link(leaf, &target).map_err(space::missing_bucket)?;
        }
        linked => linked?,
    }
    Ok(target.parent().map_or(Ok(()), space::sync_dir)?)
}

/// Moves a file that counts for nothing into `new/`, and removes it with what only it names.
fn drop_file(bucket: &Bucket, path: &Path) -> Result<(), BackendError> {
    let garbage = bucket.pending(Id::random()?);
    space::rename_new(path, &garbage)?;
    commit::discard(bucket, &garbage);
    Ok(())
}

/// Deletes a version for good. The key is locked.
pub(crate) fn remove(bucket: &Bucket, key: &str, found: &Found) -> Result<(), BackendError> {
    if !found.is_current {
        return commit::withdraw(bucket, &found.path);
    }
    purge(bucket, key)?;
    let Some(next) = history(bucket, key, Older::of(&found.head))?.counting.first().copied() else {
        return commit::withdraw(bucket, &found.path);
    };
    let (staged, old) = (bucket.pending(Id::random()?), next.path(bucket, key));
    fs::hard_link(&old, &staged)?;
    commit::exchange_durably(&staged, &found.path)?;
    // From here on the older file does not count: its id is the current one's.
    space::remove(&old)?;
    // Lest it come back when the current one is another: not every file system keeps the order of two directories.
    if let Some(parent) = old.parent() {
        space::sync_dir(parent)?;
    }
    commit::discard(bucket, &staged);
    bucket.remove_empty_parents(&old);
    Ok(())
}

/// Removes what does not count, lest it count again. The key is locked.
pub(crate) fn purge(bucket: &Bucket, key: &str) -> Result<(), BackendError> {
    // Without a current version nobody can tell what counts: nothing is removed then.
    let Some(now) = current(bucket, key)? else { return Ok(()) };
    for dead in history(bucket, key, Older::of(&now))?.dead {
        let path = dead.path(bucket, key);
        drop_file(bucket, &path)?;
        bucket.remove_empty_parents(&path);
    }
    Ok(())
}

/// Whether a record is the current or an older version of its key, so that its bodies must stay.
pub(crate) fn is_visible(bucket: &Bucket, head: &Head) -> Result<bool, BackendError> {
    if bucket.live_head(&head.key)?.is_some_and(|now| now.id == head.id) {
        return Ok(true);
    }
    Ok(Older::of(head).path(bucket, &head.key).try_exists()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn file_names_come_back_and_sort_by_age() {
        let older = Older { sequence: 15, id: Id([7; 16]), has_version_id: true };
        let newer = Older { sequence: 16, id: Id([1; 16]), has_version_id: false };
        assert!(older < newer);
        for version in [older, newer] {
            assert_eq!(Older::parse(&version.file()), Some(version));
        }
        assert_eq!(newer.version_id(), "null");
        assert_eq!(sequence_of(&older.version_id()), Some(15));
        for foreign in ["", "null", "x.meta", &older.file().to_uppercase(), &"0".repeat(47), &"+".repeat(48)]
        {
            assert_eq!((Older::parse(foreign), Older::named(foreign)), (None, None), "{foreign}");
        }
    }
}
