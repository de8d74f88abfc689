//! Hidden objects are removed with all of their versions: where the bucket has versions, deleting a name only covers it
//! with a delete marker, and notes and stashes would pile up below.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue};

use crate::backend::{
    Backend, BackendError, Conditions, DeleteKey, DeleteOutcome, VersionListOptions, VersionPage,
};

/// Removes every version and delete marker under a hidden prefix, but those of one name.
///
/// # Errors
/// The backend's: a version that is locked stays.
pub async fn purge(
    backend: &Rc<dyn Backend>,
    bucket: &str,
    prefix: &str,
    keep: Option<&str>,
) -> Result<(), BackendError> {
    let mut from = (String::new(), String::new());
    loop {
        let options = VersionListOptions {
            prefix: prefix.to_owned(),
            delimiter: None,
            key_marker: from.0.clone(),
            version_id_marker: from.1.clone(),
            max_keys: 1_000,
        };
        let Some(page) = listed(backend.list_versions(bucket, options).await)? else { return Ok(()) };
        let versions: Vec<DeleteKey> = page
            .entries
            .into_iter()
            .filter(|entry| keep != Some(entry.object.key.as_str()))
            .map(|entry| DeleteKey { key: entry.object.key, version_id: Some(entry.version_id), etag: None })
            .collect();
        let removed = !versions.is_empty();
        if removed {
            for (version, outcome) in versions.iter().zip(backend.delete_many(bucket, &versions).await?) {
                if outcome.is_err_and(|error| !error.is("NoSuchVersion") && !error.is("NoSuchKey")) {
                    unlocked(backend.as_ref(), bucket, version).await?;
                }
            }
        }
        match page.next {
            // From the start: what was listed is gone, and not every server knows where a page of versions ended.
            Some(_) if removed => from = Default::default(),
            Some(next) if next != from => from = next,
            _ => return Ok(()),
        }
    }
}

/// Deletes a name, and what lies under its delete marker where the deletion made one.
///
/// # Errors
/// The backend's.
pub async fn delete(backend: &Rc<dyn Backend>, bucket: &str, key: &str) -> Result<(), BackendError> {
    let outcome = backend.delete(bucket, key, None, Conditions::default()).await?;
    if outcome.delete_marker { purge(backend, bucket, key, None).await } else { Ok(()) }
}

/// A page of versions; none where the backend has no such thing.
///
/// # Errors
/// The backend's.
pub fn listed(page: Result<VersionPage, BackendError>) -> Result<Option<VersionPage>, BackendError> {
    match page {
        Err(BackendError::Unsupported(_) | BackendError::S3 { status: 501 | 405, .. }) => Ok(None),
        page => page.map(Some),
    }
}

/// Once more, past a governance lock: a bucket's default retention is meant for its clients' objects.
async fn unlocked(
    backend: &dyn Backend,
    bucket: &str,
    version: &DeleteKey,
) -> Result<DeleteOutcome, BackendError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-bypass-governance-retention", HeaderValue::from_static("true"));
    backend
        .delete_with(bucket, &version.key, version.version_id.as_deref(), Conditions::default(), headers)
        .await
}
