//! Uploads in progress: their parts belong to the bucket's own storage, and cannot be moved.

use std::collections::HashSet;

use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, UploadEntry, UploadListOptions, UploadPage};

use super::retry::persist;
use crate::failure::{Exit, Failure, Outcome};

/// How often all that is listed was aborted before: the storage is slow to forget.
const ROUNDS: u32 = 3;

/// Where a listing goes on.
type Markers = (String, String);

/// How many there are: those of a page, and perhaps more. Not every storage goes on behind the first page of their listing.
#[derive(Clone, Copy, Default)]
pub struct Open {
    /// So many were found.
    pub found: usize,
    /// There is another page.
    more: bool,
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.more { "more than " } else { "" }, self.found)
    }
}

/// Looks for them.
pub async fn open(backend: &S3Backend, bucket: &str) -> Outcome<Open> {
    let mut from = Markers::default();
    loop {
        let page = page(backend, bucket, from).await?;
        match (page.uploads.len(), page.next) {
            (0, Some(next)) => from = next,
            (found, next) => return Ok(Open { found, more: next.is_some() }),
        }
    }
}

/// Aborts all of a frozen bucket; one that is over is no error. The listing is begun anew after each page: those before are gone.
pub async fn abort_all(backend: &S3Backend, bucket: &str) -> Outcome<()> {
    let (mut aborted, mut rounds, mut from) = (HashSet::new(), 0, Markers::default());
    while rounds < ROUNDS {
        let page = page(backend, bucket, from).await?;
        let (is_empty, mut is_new) = (page.uploads.is_empty(), false);
        for UploadEntry { key, upload_id, .. } in page.uploads {
            let answer = persist(async || backend.abort_upload(bucket, &key, &upload_id).await).await;
            match answer {
                Err(error) if !error.is("NoSuchUpload") => {
                    return Err(Failure::s3(&format!("s3://{bucket}/{key}"), &error));
                }
                _ => is_new |= aborted.insert((key, upload_id)),
            }
        }
        from = match page.next {
            // Only those that the storage has not forgotten yet, or none that is a client's.
            Some(next) if !is_new => next,
            None if is_empty => return Ok(()),
            None if !is_new => {
                rounds += 1;
                Markers::default()
            }
            _ => Markers::default(),
        };
    }
    Err(Failure::new(
        Exit::Failure,
        format!("s3://{bucket}: uploads are in progress still, after they were aborted"),
    )
    .hint("does anything else write to the storage? Or try again later"))
}

async fn page(backend: &S3Backend, bucket: &str, from: Markers) -> Outcome<UploadPage> {
    let options = || UploadListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: from.0.clone(),
        upload_id_marker: from.1.clone(),
        max_uploads: 1_000,
    };
    let page = persist(async || backend.list_uploads(bucket, options()).await).await;
    page.map_err(|error| Failure::s3(&format!("s3://{bucket}"), &error))
}
