//! Work buckets: one bucket of a backend for the hidden objects of uploads, apart from the data.
//!
//! The gateway makes it, with the first data bucket or when the config names it. It is shared by all buckets of its
//! backend, so the one that deletes a data bucket takes that bucket's records out of it: nobody else would know later
//! whose they were, since a node sees its own tenants' buckets only.

use std::collections::HashSet;
use std::rc::Rc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sealgate_envelope::{GatewayId, hidden};
use tracing::{info, warn};

use super::removal::{Kept, abort_upload};
use crate::backend::{Backend, BackendError, ListFrom, ListOptions};
use crate::multipart::notes::remove_all;
use crate::node::Node;
use crate::snapshot::Bucket;
use crate::sweep::own_record;
use crate::versions::purge;
use crate::worker::Backends;

/// Records that are looked at together when a bucket is deleted: a work bucket may hold those of many buckets.
const LOOKS: usize = 16;

/// Makes a work bucket unless it is there.
///
/// # Errors
/// The backend's; also when the bucket is somebody else's.
pub async fn ensure(backend: &dyn Backend, name: &str) -> Result<(), BackendError> {
    match backend.head_bucket(name).await {
        Err(error) if error.is("NoSuchBucket") => {}
        there => return there,
    }
    match backend.create_bucket(name).await {
        // Another node was faster. Somebody else's is refused: where only the look tells whose it is, it cannot be looked at.
        Err(error) if error.may_be_own(backend) => backend.head_bucket(name).await,
        made => made,
    }
}

/// Makes all work buckets that the config names and that are not among `there` yet.
pub async fn ensure_all(node: &Node, backends: &Backends, there: &mut HashSet<(String, String)>) {
    let Some(snapshot) = node.snapshot() else { return };
    for (name, work_bucket) in snapshot.work_buckets() {
        let Some(backend) = backends.get(name) else { continue };
        let place = (name.to_owned(), work_bucket.to_owned());
        if there.contains(&place) {
            continue;
        }
        match ensure(backend.as_ref(), work_bucket).await {
            Ok(()) => {
                there.insert(place);
            }
            Err(error) => {
                warn!(backend = name, work_bucket, %error, "the work bucket cannot be made; uploads fail")
            }
        }
    }
}

/// Removes the records of a bucket that is being deleted, with what lies beside them, when they lie apart from its data.
///
/// # Errors
/// The backend's.
pub(super) async fn remove_records(
    gateway: GatewayId,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
) -> Result<(), Kept> {
    if bucket.work_bucket == bucket.backend_bucket {
        return Ok(());
    }
    // All are looked at before the first goes: a bucket that stays keeps them.
    let own = match own_records(gateway, bucket, backend).await {
        Err(Kept::Failed(error)) if error.is("NoSuchBucket") => return Ok(()),
        own => own?,
    };
    for prefix in &own {
        // The record last: what a crash leaves behind is found by it again.
        let record = format!("{prefix}r");
        remove_all(backend, &bucket.work_bucket, prefix, Some(&record)).await?;
        purge::delete(backend, &bucket.work_bucket, &record).await?;
    }
    if !own.is_empty() {
        info!(bucket = bucket.name, records = own.len(), "upload records of a deleted bucket were removed");
    }
    Ok(())
}

/// The prefixes of a bucket's upload records, whose uploads are all over or aborted now.
async fn own_records(
    gateway: GatewayId,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
) -> Result<Vec<String>, Kept> {
    let mut own = Vec::new();
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions {
            prefix: hidden::UPLOAD_PREFIX.to_owned(),
            delimiter: Some("/".to_owned()),
            from,
            max_keys: 1_000,
        };
        let page = backend.list_v2(&bucket.work_bucket, options).await?;
        let found: Vec<Option<String>> = stream::iter(page.common_prefixes)
            .map(|prefix| over(gateway, bucket, backend, prefix))
            .buffer_unordered(LOOKS)
            .try_collect()
            .await?;
        own.extend(found.into_iter().flatten());
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return Ok(own),
        }
    }
}

/// A prefix if its record is of this bucket.
async fn over(
    gateway: GatewayId,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    prefix: String,
) -> Result<Option<String>, Kept> {
    let record = own_record(gateway, backend, &bucket.work_bucket, &prefix).await?;
    let Some(record) = record.filter(|record| record.bucket == bucket.id) else { return Ok(None) };
    match backend.list_parts(&bucket.backend_bucket, &record.key, &record.upload_id, 0, 1).await {
        // A server that lists no uploads by prefix showed it nowhere else.
        Ok(_) => {
            abort_upload(bucket, backend, &record.key, &record.upload_id).await?;
            Ok(Some(prefix))
        }
        Err(error) if error.is("NoSuchUpload") || error.is("NoSuchBucket") => Ok(Some(prefix)),
        Err(error) => Err(error.into()),
    }
}
