//! Deletions: of the current object, or of one version for good.

use http::HeaderMap;

use super::record::Kind;
use super::space::Bucket;
use super::versions::{self, Mode};
use super::{commit, conditions, forward, lock};
use crate::backend::{BackendError, Conditions, DeleteOutcome};

/// Whether the headers of a deletion pass over governance locks. A second factor cannot be checked here, so none is taken.
pub(crate) fn bypass(headers: &HeaderMap) -> Result<bool, BackendError> {
    let known = |name: &http::HeaderName| name == "x-amz-bypass-governance-retention";
    if headers.keys().all(known) {
        return Ok(forward::bypasses(headers));
    }
    Err(BackendError::Unsupported("DeleteObject with a second factor on this storage"))
}

/// Deletes a key's object, or a version of it.
pub(crate) fn one(
    bucket: &Bucket,
    key: &str,
    version_id: Option<&str>,
    wanted: &Conditions,
    bypass: bool,
) -> Result<DeleteOutcome, BackendError> {
    let leaf = bucket.leaf(key)?;
    let _lock = bucket.lock_key(key)?;
    if let Some(version_id) = version_id {
        return one_version(bucket, key, version_id, wanted, bypass);
    }
    if *wanted != Conditions::default() {
        conditions::check_write(wanted, bucket.object_head(key)?.as_ref())?;
    }
    if versions::mode(bucket, key)? == Mode::Never {
        commit::withdraw(bucket, &leaf)?;
        return Ok(DeleteOutcome::default());
    }
    let marker = versions::mark_deleted(bucket, key)?;
    Ok(DeleteOutcome { version_id: Some(marker.version_id()), delete_marker: true })
}

fn one_version(
    bucket: &Bucket,
    key: &str,
    version_id: &str,
    wanted: &Conditions,
    bypass: bool,
) -> Result<DeleteOutcome, BackendError> {
    let found = versions::find(bucket, key, version_id)?;
    let head = found.as_ref().map(|found| &found.head);
    conditions::check_write(wanted, head.filter(|head| head.kind == Kind::Object))?;
    // A version that is not there is gone already.
    let delete_marker = head.is_some_and(|head| head.kind == Kind::Marker);
    if let Some(found) = &found {
        lock::check_delete(&found.head, bypass)?;
        versions::remove(bucket, key, found)?;
    }
    Ok(DeleteOutcome { version_id: Some(version_id.to_owned()), delete_marker })
}
