//! Uploads in progress: their parts belong to the bucket's own storage, and cannot be moved.

use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, UploadEntry, UploadListOptions, UploadPage};

use super::retry::persist;
use crate::failure::{Exit, Failure, Outcome};

/// How often all are aborted: the second finds none, unless the storage is slow to forget them.
const ROUNDS: u32 = 3;

/// Where a listing goes on.
type Markers = (String, String);

/// How many there are.
pub async fn count(backend: &S3Backend, bucket: &str) -> Outcome<usize> {
    let (mut found, mut markers) = (0, Some(Markers::default()));
    while let Some(from) = markers {
        let page = page(backend, bucket, from).await?;
        found += page.uploads.len();
        markers = page.next;
    }
    Ok(found)
}

/// Aborts all of a frozen bucket; one that is over is no error.
pub async fn abort_all(backend: &S3Backend, bucket: &str) -> Outcome<()> {
    for _ in 0..ROUNDS {
        let (mut found, mut markers) = (false, Some(Markers::default()));
        while let Some(from) = markers {
            let page = page(backend, bucket, from).await?;
            for UploadEntry { key, upload_id, .. } in page.uploads {
                found = true;
                let aborted = persist(async || backend.abort_upload(bucket, &key, &upload_id).await).await;
                match aborted {
                    Err(error) if !error.is("NoSuchUpload") => {
                        return Err(Failure::s3(&format!("s3://{bucket}/{key}"), &error));
                    }
                    _ => {}
                }
            }
            markers = page.next;
        }
        if !found {
            return Ok(());
        }
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
