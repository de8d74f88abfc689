//! Open uploads that this node knows: a cache in front of the upload records.
//!
//! An upload's key goes with the intermediate key that it was opened with: with the end of its life, and with whatever the
//! control plane takes back. It only does not need that key to be held too, so that parts are taken while the KMS is away.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealgate_envelope::hidden::RecordName;
use sealgate_envelope::ids::{BucketId, IkId};
use sealgate_envelope::upload_record::{ChecksumType, UploadName};
use sealgate_envelope::{ChecksumCode, ObjectKeys, UploadRecord};

use crate::backend::{Backend, GetOptions};
use crate::clock::Clock;
use crate::gate::Admitted;
use crate::keys::{Ends, Keys, Mark};
use crate::pipeline;
use crate::s3::error::S3Error;
use crate::snapshot::Bucket;

/// An upload's keys leave the cache when it was not used for this long.
const IDLE: Duration = Duration::from_secs(300);
/// Uploads that are kept at most.
const MOST: usize = 10_000;
/// The largest upload record: 141 bytes, ids, and two strings of bounded length.
const RECORD_MAX: usize = 4 << 10;
/// Records that one listing reads at most.
const PEEKS: usize = 100;
/// The longest upload id that is looked up.
const UPLOAD_ID_MAX: usize = 1_024;

/// An open upload.
pub struct OpenUpload {
    /// The keys of the object that it becomes.
    pub keys: Arc<ObjectKeys>,
    /// Where its hidden objects lie.
    pub record: RecordName,
    /// The backend's upload id, which is the client's too.
    pub upload_id: String,
    /// The checksum that the client asked for.
    pub checksum: Option<(ChecksumCode, ChecksumType)>,
}

/// Where an upload is: bucket, key and id.
pub type Place = (BucketId, String, String);

struct Entry {
    upload: Arc<OpenUpload>,
    used: Duration,
    ik: IkId,
    mark: Mark,
    ends: Ends,
}

/// A bounded cache of open uploads.
pub struct Uploads {
    clock: Arc<dyn Clock>,
    keys: Arc<Keys>,
    entries: Mutex<HashMap<Place, Entry>>,
}

impl Uploads {
    /// An empty cache.
    pub fn new(clock: Arc<dyn Clock>, keys: Arc<Keys>) -> Self {
        Self { clock, keys, entries: Mutex::default() }
    }

    /// An upload, by bucket, key and id.
    pub fn get(&self, place: &Place) -> Option<Arc<OpenUpload>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(place)?;
        if !self.keys.holds(place.0, entry.ik, entry.mark, entry.ends) {
            entries.remove(place);
            return None;
        }
        entry.used = self.clock.monotonic();
        Some(Arc::clone(&entry.upload))
    }

    /// The checksum of an upload that is kept. It is not used by that.
    fn checksum(&self, place: &Place) -> Option<Option<(ChecksumCode, ChecksumType)>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(place).map(|entry| entry.upload.checksum)
    }

    /// Keeps an upload that was opened with this intermediate key; a full cache drops the one that was used longest ago. What the
    /// control plane has taken back since `mark`, which is from before the key was asked for, is not kept.
    pub fn insert(&self, bucket: BucketId, key: &str, upload: Arc<OpenUpload>, ik: IkId, mark: Mark) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever takes something back tells the keys first, and then goes through the entries.
        let Some(ends) = self.keys.ends(bucket, ik).filter(|ends| self.keys.holds(bucket, ik, mark, *ends))
        else {
            return;
        };
        if entries.len() >= MOST {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(place, _)| place.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let place = (bucket, key.to_owned(), upload.upload_id.clone());
        entries.insert(place, Entry { upload, used: self.clock.monotonic(), ik, mark, ends });
    }

    /// Forgets an upload that is over.
    pub fn remove(&self, bucket: BucketId, key: &str, upload_id: &str) {
        let place = (bucket, key.to_owned(), upload_id.to_owned());
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
    }

    /// Forgets uploads that nobody used lately, and those whose keys are over; they are zeroized.
    pub fn evict(&self) {
        let now = self.clock.monotonic();
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|(bucket, ..), entry| {
            entry.used + IDLE > now && self.keys.holds(*bucket, entry.ik, entry.mark, entry.ends)
        });
    }

    /// Forgets uploads in buckets that `keep` refuses: they were deleted, or are not this node's any more.
    pub fn retain(&self, keep: impl Fn(BucketId) -> bool) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|(bucket, _, _), _| keep(*bucket));
    }

    /// Forgets all uploads.
    pub fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An upload by its id: from the cache, or from its record.
///
/// # Errors
/// NoSuchUpload when there is no record; ObjectIntegrityError when it is not genuine.
pub async fn load(
    admitted: &Admitted,
    bucket: &Arc<Bucket>,
    backend: &Rc<dyn Backend>,
    key: &str,
    upload_id: &str,
) -> Result<Arc<OpenUpload>, S3Error> {
    if upload_id.is_empty() || upload_id.len() > UPLOAD_ID_MAX {
        return Err(S3Error::no_such_upload(upload_id));
    }
    let node = &admitted.worker.node;
    let place = (bucket.id, key.to_owned(), upload_id.to_owned());
    if let Some(upload) = node.uploads.get(&place) {
        return Ok(upload);
    }
    let name = name_of(admitted, bucket, key, upload_id);
    let record = name.record_name().map_err(|_| S3Error::no_such_upload(upload_id))?;
    let bytes = match backend.get(&bucket.work_bucket, &record.record_key(), GetOptions::default()).await {
        Ok(answer) => pipeline::collect(answer.body, RECORD_MAX)
            .await
            .map_err(|error| admitted.backend_failed(error))?,
        Err(error) if error.is("NoSuchKey") => return Err(S3Error::no_such_upload(upload_id)),
        Err(error) => return Err(admitted.backend_failed(error)),
    };
    let parsed = UploadRecord::parse(&bytes).map_err(|error| admitted.not_genuine(error))?;
    let mark = node.keys.mark(bucket.id);
    let ik = node.keys.get(bucket, parsed.ik_id()).await.map_err(|error| admitted.key_failed(&error))?;
    let keys = parsed.open(&ik.ik, bucket.tenant, &name).map_err(|error| admitted.not_genuine(error))?;
    let upload = Arc::new(OpenUpload {
        keys: Arc::new(keys),
        record,
        upload_id: upload_id.to_owned(),
        checksum: parsed.checksum(),
    });
    node.uploads.insert(bucket.id, key, Arc::clone(&upload), ik.id, mark);
    Ok(upload)
}

fn name_of(admitted: &Admitted, bucket: &Bucket, key: &str, upload_id: &str) -> UploadName {
    UploadName {
        gateway: admitted.snapshot.gateway,
        bucket: bucket.id,
        upload_id: upload_id.to_owned(),
        key: key.as_bytes().to_vec(),
    }
}

/// What a listing asks of upload records: a page names a thousand uploads, of which nobody may use one. Records are not
/// opened, kept or counted as damaged, so what they say is the storage's word, like all of the list.
pub struct Peeks<'a> {
    admitted: &'a Admitted,
    bucket: &'a Bucket,
    backend: &'a dyn Backend,
    left: Cell<usize>,
}

impl<'a> Peeks<'a> {
    /// For one page.
    pub fn new(admitted: &'a Admitted, bucket: &'a Bucket, backend: &'a dyn Backend) -> Self {
        Self { admitted, bucket, backend, left: Cell::new(PEEKS) }
    }

    /// The checksum that an upload was created with, as far as it can be told. A storage that fails is not asked again.
    pub async fn checksum(&self, key: &str, upload_id: &str) -> Option<(ChecksumCode, ChecksumType)> {
        let place = (self.bucket.id, key.to_owned(), upload_id.to_owned());
        if let Some(known) = self.admitted.worker.node.uploads.checksum(&place) {
            return known;
        }
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        let name = name_of(self.admitted, self.bucket, key, upload_id);
        let record = name.record_name().ok()?.record_key();
        let read = async {
            let answer = self.backend.get(&self.bucket.work_bucket, &record, GetOptions::default()).await?;
            pipeline::collect(answer.body, RECORD_MAX).await
        };
        match read.await {
            Ok(bytes) => {
                let parsed = UploadRecord::parse(&bytes).ok()?;
                parsed.checksum().filter(|_| *parsed.name() == name)
            }
            // Begun in plain, or by somebody else.
            Err(error) if error.is("NoSuchKey") => None,
            Err(_) => {
                self.left.set(0);
                None
            }
        }
    }
}
