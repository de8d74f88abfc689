//! Notes and stashes of an upload, as one listing gives them.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::SystemTime;

use sealgate_envelope::hidden::HiddenName;
use sealgate_envelope::{Checksum, ChecksumCode, Note};

use super::part::GATEWAY_PART;
use super::uploads::OpenUpload;
use crate::backend::{Backend, BackendError, DeleteKey, ListFrom, ListOptions, PartEntry, PartPage};
use crate::body::checksum::{self, Algorithm};
use crate::versions::purge::purge;

/// A note that opened, and when it was written.
pub struct Written {
    /// What it says.
    pub note: Note,
    /// When, by the backend's clock.
    pub at: SystemTime,
}

/// All notes of an upload that open, by part number and backend ETag.
#[derive(Default)]
pub struct Notes(BTreeMap<(u16, String), Vec<Written>>);

impl Notes {
    /// Reads the notes of these parts, and of those that are in a stash only: 1,000 a LIST request. What does not open is left out, and
    /// what is of another attempt: a part may have been sent again any number of times.
    ///
    /// # Errors
    /// The backend's.
    pub async fn read(
        backend: &Rc<dyn Backend>,
        work_bucket: &str,
        upload: &OpenUpload,
        parts: &[PartEntry],
    ) -> Result<Self, BackendError> {
        let wanted: HashSet<(u16, &str)> =
            parts.iter().map(|part| (part.number, part.etag.as_str())).collect();
        let mut notes = Self::default();
        let mut from = ListFrom::Start;
        loop {
            let options =
                ListOptions { prefix: upload.record.notes_prefix(), delimiter: None, from, max_keys: 1_000 };
            let page = backend.list_v2(work_bucket, options).await?;
            for entry in page.entries {
                let Ok(HiddenName::Note(name)) = HiddenName::parse(&entry.key) else { continue };
                if name.part() != GATEWAY_PART && !wanted.contains(&(name.part(), name.backend_etag())) {
                    continue;
                }
                if let Ok(note) = name.open(&upload.keys, &upload.upload_id) {
                    let place = (name.part(), name.backend_etag().to_owned());
                    notes.0.entry(place).or_default().push(Written { note, at: entry.last_modified });
                }
            }
            match page.next {
                Some(next) => from = ListFrom::Token(next),
                None => return Ok(notes),
            }
        }
    }

    /// The note of a stored part; none when there is none, or when two disagree.
    pub fn of(&self, part: u16, etag: &str) -> Option<&Written> {
        let written = self.0.get(&(part, etag.to_owned()))?;
        let first = written.first()?;
        written.iter().all(|other| other.note == first.note).then_some(first)
    }

    /// The newest note of a part that is in a stash only, with its ETag. Two of the same second are of attempts that ran at
    /// once: each attempt withdraws the notes that it found at its start ([`of_part`]).
    pub fn newest(&self, part: u16) -> Option<(&str, &Written)> {
        self.0
            .range((part, String::new())..)
            .take_while(|((number, _), _)| *number == part)
            .flat_map(|((_, etag), written)| written.iter().map(move |written| (etag.as_str(), written)))
            .max_by_key(|(_, written)| written.at)
    }
}

/// The names of a part's notes: at most 1,000, and there are never more than attempts that run at once.
///
/// # Errors
/// The backend's.
pub async fn of_part(
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
    upload: &OpenUpload,
    part: u16,
) -> Result<Vec<DeleteKey>, BackendError> {
    let prefix = upload.record.part_notes_prefix(part);
    let options = ListOptions { prefix, delimiter: None, from: ListFrom::Start, max_keys: 1_000 };
    let page = backend.list_v2(work_bucket, options).await?;
    let names = page.entries.into_iter().map(|entry| entry.key);
    Ok(names.map(|key| DeleteKey { key, version_id: None, etag: None }).collect())
}

/// All parts of an upload, as the backend lists them.
///
/// # Errors
/// The backend's.
pub async fn all_parts(
    backend: &Rc<dyn Backend>,
    bucket: &str,
    key: &str,
    upload_id: &str,
) -> Result<Vec<PartEntry>, BackendError> {
    Ok(all_listed(backend, bucket, key, upload_id).await?.parts)
}

/// The same as one page, with what else the backend tells.
///
/// # Errors
/// The backend's.
pub async fn all_listed(
    backend: &Rc<dyn Backend>,
    bucket: &str,
    key: &str,
    upload_id: &str,
) -> Result<PartPage, BackendError> {
    let (mut parts, mut storage_class) = (Vec::new(), None);
    let (mut seen, mut after) = (HashSet::new(), 0);
    loop {
        let page = backend.list_parts(bucket, key, upload_id, after, 1_000).await?;
        // A part may be on two pages (see the S3 backend). Some servers list all attempts at a part: these stay.
        let new = |part: &PartEntry| seen.insert((part.number, part.etag.clone(), part.last_modified));
        parts.extend(page.parts.into_iter().filter(new));
        storage_class = storage_class.or(page.storage_class);
        match page.next {
            Some(next) if next > after => after = next,
            Some(_) => return Err(BackendError::Protocol("ListParts does not advance".to_owned())),
            None => {
                parts.sort_by_key(|part| part.number);
                return Ok(PartPage { parts, storage_class, next: None });
            }
        }
    }
}

/// Removes an upload's notes and stashes. The record stays: a Complete that is repeated finds by it what it made.
///
/// # Errors
/// The backend's.
pub async fn remove(
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
    upload: &OpenUpload,
) -> Result<(), BackendError> {
    let keep = upload.record.record_key();
    remove_all(backend, work_bucket, &upload.record.prefix(), Some(&keep)).await
}

/// Removes everything under a hidden prefix, but one name; where deletions make delete markers, what lies under them too.
///
/// # Errors
/// The backend's.
pub async fn remove_all(
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
    prefix: &str,
    keep: Option<&str>,
) -> Result<(), BackendError> {
    let mut from = ListFrom::Start;
    let mut covered = false;
    loop {
        let options = ListOptions { prefix: prefix.to_owned(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(work_bucket, options).await?;
        let last = page.entries.last().map(|entry| entry.key.clone());
        let keys: Vec<DeleteKey> = page
            .entries
            .into_iter()
            .filter(|entry| keep != Some(entry.key.as_str()))
            .map(|entry| DeleteKey { key: entry.key, version_id: None, etag: None })
            .collect();
        if !keys.is_empty() {
            for outcome in backend.delete_many(work_bucket, &keys).await? {
                covered |= outcome?.delete_marker;
            }
        }
        match (page.next, last) {
            (Some(_), Some(last)) => from = ListFrom::StartAfter(last),
            _ if covered => return purge(backend, work_bucket, prefix, keep).await,
            _ => return Ok(()),
        }
    }
}

/// The front end's algorithm of a code of the format. Both lists are the same ten.
pub fn algorithm(code: ChecksumCode) -> Algorithm {
    Algorithm::from_code(code.code()).unwrap_or(Algorithm::Crc64Nvme)
}

/// A front end's checksum in the format's type.
pub fn to_format(checksum: &checksum::Checksum) -> Option<Checksum> {
    Checksum::new(ChecksumCode::from_code(checksum.algorithm().code())?, checksum.bytes())
}

/// A format's checksum in the front end's type.
pub fn from_format(checksum: &Checksum) -> Option<checksum::Checksum> {
    checksum::Checksum::new(algorithm(checksum.code()), checksum.value())
}
