//! Open uploads: each will be an object under the key that it was created under, and nothing of it can be wrapped anew.

use sealgate_envelope::UploadRecord;
use sealgate_envelope::hidden;

use super::object::{Job, Trouble, is_gone, trouble};
use super::tally::Tally;
use crate::backend::{BackendError, GetOptions, ListFrom, ListOptions};
use crate::pipeline;

/// Why an upload counts.
const OPEN: &str = "it is an open multipart upload";
/// The largest upload record, in bytes.
const RECORD_MAX: usize = 4 << 10;

/// Counts the bucket's uploads that are open and under one of the keys, and gives how many they are. New ones are under another key: when
/// they are fewer than before, some were completed, or aborted, since.
///
/// # Errors
/// The storage is away.
pub async fn count(job: &Job, tally: &mut Tally) -> Result<u64, Trouble> {
    let mut open = 0;
    let (backend, place) = (&job.backend, &job.bucket.work_bucket);
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions {
            prefix: hidden::UPLOAD_PREFIX.to_owned(),
            delimiter: Some("/".to_owned()),
            from,
            max_keys: 1_000,
        };
        let page = backend.list_v2(place, options).await.map_err(|error| trouble(&error))?;
        for prefix in &page.common_prefixes {
            let answer = match backend.get(place, &format!("{prefix}r"), GetOptions::default()).await {
                Ok(answer) => answer,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(trouble(&error)),
            };
            let bytes = match pipeline::collect(answer.body, RECORD_MAX).await {
                Ok(bytes) => bytes,
                // No record is as long.
                Err(BackendError::Protocol(_)) => continue,
                Err(error) => return Err(trouble(&error)),
            };
            let Ok(record) = UploadRecord::parse(&bytes) else { continue };
            let name = record.name();
            // A work bucket has other buckets' records too.
            if name.bucket != job.bucket.id || !job.targets.contains(record.ik_id()) {
                continue;
            }
            let Ok(key) = std::str::from_utf8(&name.key) else { continue };
            match backend.list_parts(&job.bucket.backend_bucket, key, &name.upload_id, 0, 1).await {
                Ok(_) => {
                    open += 1;
                    tally.left(record.ik_id(), OPEN, key);
                }
                Err(error) if error.is("NoSuchUpload") => {}
                Err(error) => return Err(trouble(&error)),
            }
        }
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return Ok(open),
        }
    }
}
