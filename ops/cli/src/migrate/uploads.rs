//! Uploads in progress: their parts belong to the bucket's own storage, and cannot be moved.

use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, UploadListOptions};

use super::retry::persist;
use crate::failure::{Failure, Outcome};

/// Most that are listed: whoever has more has to look why.
const MOST: usize = 100_000;

/// Keys and ids.
pub async fn list(backend: &S3Backend, bucket: &str) -> Outcome<Vec<(String, String)>> {
    let (mut all, mut key_marker, mut upload_id_marker) = (Vec::new(), String::new(), String::new());
    loop {
        let options = || UploadListOptions {
            prefix: String::new(),
            delimiter: None,
            key_marker: key_marker.clone(),
            upload_id_marker: upload_id_marker.clone(),
            max_uploads: 1_000,
        };
        let page = persist(async || backend.list_uploads(bucket, options()).await).await;
        let page = page.map_err(|error| Failure::s3(&format!("s3://{bucket}"), &error))?;
        all.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.upload_id)));
        match page.next {
            Some(next) if all.len() < MOST => (key_marker, upload_id_marker) = next,
            _ => return Ok(all),
        }
    }
}

/// Aborts them; one that is over is no error.
pub async fn abort(backend: &S3Backend, bucket: &str, uploads: &[(String, String)]) -> Outcome<()> {
    for (key, id) in uploads {
        let aborted = persist(async || backend.abort_upload(bucket, key, id).await).await;
        match aborted {
            Err(error) if !error.is("NoSuchUpload") => {
                return Err(Failure::s3(&format!("s3://{bucket}/{key}"), &error));
            }
            _ => {}
        }
    }
    Ok(())
}
