//! Multipart uploads. An upload is a directory: `upload.meta`, and a metadata file a part, committed like an object's.
//! Complete copies nothing: the object's segment table names the parts' bodies.
//!
//! **An upload is over when the key's visible object says that it came from it.** A crash may leave the directory behind;
//! it is then no upload any more, and whoever replaces the object, or the next start, removes it before the bodies.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::commit::{self, Pending};
use super::record::{Head, Id, Kind, Record, Segment};
use super::space::{self, Bucket};
use super::{conditions, listing, versions};
use crate::backend::{
    BackendError, Conditions, PartEntry, PartPage, UploadEntry, UploadListOptions, UploadPage,
};

/// The upload's own metadata file, in its directory.
const UPLOAD: &str = "upload.meta";
/// Age at which a directory without [`UPLOAD`] is a leftover and not just being made.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// An upload id: 16 hex digits of the time in nanoseconds, so that ids sort by age, and 32 random ones.
pub(crate) fn new_upload_id() -> io::Result<String> {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{:016x}{}", u64::try_from(nanos).unwrap_or(u64::MAX), Id::random()?.hex()))
}

fn is_upload_id(text: &str) -> bool {
    text.len() == 48 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn no_such_upload() -> BackendError {
    BackendError::s3(
        404,
        "NoSuchUpload",
        "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
}

fn invalid_part(number: u16) -> BackendError {
    BackendError::s3(400, "InvalidPart", format!("part {number} was not uploaded with this ETag"))
}

/// Refuses a part number that S3 does not have.
pub(crate) fn check_number(number: u16) -> Result<(), BackendError> {
    if (1..=10_000).contains(&number) {
        return Ok(());
    }
    Err(BackendError::s3(400, "InvalidArgument", "part numbers are 1 to 10,000"))
}

fn part_path(upload: &Path, number: u16) -> PathBuf {
    upload.join(format!("{number:05}.meta"))
}

fn part_number(name: &str) -> Option<u16> {
    let digits = name.strip_suffix(".meta")?;
    let number = digits.parse().ok()?;
    (digits.len() == 5 && (1..=10_000).contains(&number)).then_some(number)
}

/// Begins an upload.
pub(crate) fn create(bucket: &Bucket, record: &Record) -> Result<(), BackendError> {
    let dir = bucket.uploads().join(&record.head.upload);
    space::make_dir(&dir).map_err(space::missing_bucket)?;
    let draft = dir.join("draft");
    let mut file = space::create_file(&draft).map_err(space::missing_bucket)?;
    io::Write::write_all(&mut file, &record.encode()?)?;
    file.sync_all()?;
    space::sync_dir(&bucket.uploads())?;
    space::rename_new(&draft, &dir.join(UPLOAD))?;
    space::sync_dir(&dir)?;
    Ok(())
}

/// The directory and the head of an upload that is in progress. Whoever builds upon it holds the key's lock.
pub(crate) fn load(bucket: &Bucket, key: &str, id: &str) -> Result<(PathBuf, Head), BackendError> {
    if !is_upload_id(id) {
        return Err(no_such_upload());
    }
    let dir = bucket.uploads().join(id);
    let head = space::read_head(&dir.join(UPLOAD))?
        .filter(|head| head.kind == Kind::Upload && head.key == key && head.upload == id)
        .ok_or_else(no_such_upload)?;
    if is_completed(bucket, &head)? {
        return Err(no_such_upload());
    }
    Ok((dir, head))
}

fn is_completed(bucket: &Bucket, upload: &Head) -> Result<bool, BackendError> {
    Ok(bucket.live_head(&upload.key)?.is_some_and(|object| object.upload == upload.upload))
}

/// Makes a received part visible.
pub(crate) fn commit_part(
    bucket: &Bucket,
    mut pending: Pending,
    mut head: Head,
    number: u16,
) -> Result<Head, BackendError> {
    head.id = pending.id();
    let segments = vec![Segment { id: head.id, length: head.size }];
    let record = Record { head, segments };
    pending.write(&record)?;
    let _lock = bucket.lock_key(&record.head.key)?;
    let (dir, _) = load(bucket, &record.head.key, &record.head.upload)?;
    pending.publish(&part_path(&dir, number))?;
    Ok(record.head)
}

/// Makes the object of the given parts.
pub(crate) fn complete(
    bucket: &Bucket,
    key: &str,
    id: &str,
    parts: &[(u16, String)],
    wanted: &Conditions,
    now: u64,
) -> Result<Head, BackendError> {
    let _lock = bucket.lock_key(key)?;
    let (dir, upload) = load(bucket, key, id)?;
    conditions::check_write(wanted, bucket.object_head(key)?.as_ref())?;
    if parts.is_empty() {
        return Err(BackendError::s3(400, "MalformedXML", "no parts are listed"));
    }
    if !parts.is_sorted_by(|(one, _), (next, _)| one < next) {
        return Err(BackendError::s3(400, "InvalidPartOrder", "part numbers must ascend"));
    }
    let mut segments = Vec::with_capacity(parts.len());
    for (number, etag) in parts {
        let part = space::read_record(&part_path(&dir, *number))?.ok_or_else(|| invalid_part(*number))?;
        if etag.trim_matches('"') != part.head.etag() {
            return Err(invalid_part(*number));
        }
        segments.extend(part.segments);
    }
    let pending = Pending::create(bucket)?;
    let size = segments.iter().map(|segment| segment.length).sum();
    let count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    let head = Head { kind: Kind::Object, id: pending.id(), modified: now, size, segments: count, ..upload };
    let mut record = Record { head, segments };
    versions::publish(bucket, pending, &mut record, false)?;
    if let Err(error) = remove_completed(bucket, &record) {
        tracing::warn!(%error, "leftover of a completed upload stays until the object is replaced or the next start");
    }
    Ok(record.head)
}

/// Removes what is left of the upload that an object came from: all but the bodies that the object names.
pub(crate) fn remove_completed(bucket: &Bucket, object: &Record) -> Result<(), BackendError> {
    if !is_upload_id(&object.head.upload) {
        return Ok(());
    }
    let dir = bucket.uploads().join(&object.head.upload);
    let kept: HashSet<Id> = object.segments.iter().map(|segment| segment.id).collect();
    for (_, path) in parts_of(&dir)? {
        if let Some(part) = read_leftover(&path)? {
            for segment in part.segments.iter().filter(|segment| !kept.contains(&segment.id)) {
                space::remove(&bucket.body(segment.id))?;
            }
        }
        space::remove(&path)?;
    }
    match fs::remove_dir_all(&dir) {
        Err(e) if !space::is_missing(&e) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Drops an upload.
pub(crate) fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<(), BackendError> {
    let _lock = bucket.lock_key(key)?;
    let (dir, _) = load(bucket, key, id)?;
    let garbage = bucket.pending_dir().join(format!("{}.upload", Id::random()?.hex()));
    fs::rename(&dir, &garbage)?;
    space::sync_dir(&bucket.uploads())?;
    if let Err(error) = remove_aborted(bucket, &garbage) {
        tracing::warn!(%error, "leftover of an aborted upload stays until the next start");
    }
    Ok(())
}

/// Removes a directory of parts that is no upload any more, and their bodies.
pub(crate) fn remove_aborted(bucket: &Bucket, dir: &Path) -> Result<(), BackendError> {
    for (_, path) in parts_of(dir)? {
        if let Some(part) = read_leftover(&path)? {
            commit::remove_bodies(bucket, &part)?;
        }
    }
    match fs::remove_dir_all(dir) {
        Err(e) if !space::is_missing(&e) => Err(e.into()),
        _ => Ok(()),
    }
}

/// A part's record that is about to go. None when it is damaged: nobody knows its body any more, and it must not hold up
/// the others.
fn read_leftover(path: &Path) -> Result<Option<Record>, BackendError> {
    match space::read_record(path) {
        Err(BackendError::Io(error)) if space::is_damaged(&error) => {
            tracing::error!(leftover = %path.display(), %error, "cannot be read; its body, if it has one, stays");
            Ok(None)
        }
        read => read,
    }
}

/// Removes what crashes left in `uploads/`.
pub(crate) fn sweep(bucket: &Bucket) -> Result<(), BackendError> {
    for entry in fs::read_dir(bucket.uploads()).map_err(space::missing_bucket)? {
        let path = entry?.path();
        if let Err(error) = sweep_one(bucket, &path) {
            tracing::warn!(%error, upload = %path.display(), "cannot be looked at; the others are");
        }
    }
    Ok(())
}

fn sweep_one(bucket: &Bucket, dir: &Path) -> Result<(), BackendError> {
    let Some(head) = space::read_head(&dir.join(UPLOAD))? else {
        let made = fs::metadata(dir).and_then(|found| found.modified()).unwrap_or_else(|_| SystemTime::now());
        if made.elapsed().is_ok_and(|age| age > LEFTOVER_AGE) {
            remove_aborted(bucket, dir)?;
        }
        return Ok(());
    };
    let _lock = bucket.lock_key(&head.key)?;
    match bucket.live(&head.key)? {
        Some(object) if object.head.upload == head.upload => remove_completed(bucket, &object),
        _ => Ok(()),
    }
}

/// The metadata files of an upload's parts, ascending; none when the directory is gone.
fn parts_of(dir: &Path) -> Result<Vec<(u16, PathBuf)>, BackendError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if space::is_missing(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(part_number) {
            parts.push((number, entry.path()));
        }
    }
    parts.sort_unstable();
    Ok(parts)
}

/// A page of an upload's parts.
pub(crate) fn list_parts(
    bucket: &Bucket,
    key: &str,
    id: &str,
    after: u16,
    max: u32,
) -> Result<PartPage, BackendError> {
    let (dir, _) = load(bucket, key, id)?;
    let max = max.clamp(1, 1000) as usize;
    let mut page = PartPage::default();
    for (number, path) in parts_of(&dir)?.into_iter().filter(|(number, _)| *number > after) {
        // Gone when the upload ends under our eyes.
        let Some(part) = space::read_head(&path)? else { continue };
        if page.parts.len() == max {
            page.next = page.parts.last().map(|last| last.number);
            break;
        }
        let last_modified = conditions::modified(&part);
        page.parts.push(PartEntry { number, etag: part.etag(), size: part.size, last_modified });
    }
    Ok(page)
}

/// A page of the uploads in progress, by key, then by age.
pub(crate) fn list_uploads(bucket: &Bucket, options: &UploadListOptions) -> Result<UploadPage, BackendError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(bucket.uploads()).map_err(space::missing_bucket)? {
        let path = entry?.path().join(UPLOAD);
        let head = match space::read_head(&path) {
            Err(BackendError::Io(error)) if space::is_damaged(&error) => {
                // One damaged upload must not hide all others. Whoever names it is told.
                tracing::error!(path = %path.display(), %error, "an upload's metadata file is damaged");
                continue;
            }
            read => read?,
        };
        let Some(head) = head else { continue };
        if head.key.starts_with(&options.prefix) && !is_completed(bucket, &head)? {
            found.push((head.key, head.upload, head.modified));
        }
    }
    found.sort_unstable();
    let max = options.max_uploads.clamp(1, 1000) as usize;
    let mut page = UploadPage::default();
    for (key, upload_id, initiated) in found {
        let prefix = listing::common_prefix(&key, &options.prefix, options.delimiter.as_deref());
        let after = match prefix {
            Some(prefix) => prefix > options.key_marker.as_str(),
            None => {
                (key.as_str(), upload_id.as_str())
                    > (options.key_marker.as_str(), options.upload_id_marker.as_str())
                    && (key != options.key_marker || !options.upload_id_marker.is_empty())
            }
        };
        if !after
            || prefix.is_some_and(|prefix| page.common_prefixes.last().is_some_and(|last| last == prefix))
        {
            continue;
        }
        if page.uploads.len() + page.common_prefixes.len() == max {
            page.next = Some(last_of(&page));
            break;
        }
        match prefix {
            Some(prefix) => page.common_prefixes.push(prefix.to_owned()),
            None => {
                let initiated = UNIX_EPOCH + Duration::from_secs(initiated / 1000);
                page.uploads.push(UploadEntry {
                    key,
                    upload_id,
                    initiated,
                    storage_class: listing::CLASS.to_owned(),
                });
            }
        }
    }
    Ok(page)
}

fn last_of(page: &UploadPage) -> (String, String) {
    let upload =
        page.uploads.last().map(|last| (last.key.clone(), last.upload_id.clone())).unwrap_or_default();
    match page.common_prefixes.last() {
        Some(prefix) if *prefix > upload.0 => (prefix.clone(), String::new()),
        _ => upload,
    }
}
