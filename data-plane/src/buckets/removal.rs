//! DeleteBucket: nothing visible; then uploads in progress and hidden objects go, then the bucket.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sealgate_envelope::{BucketId, GatewayId, hidden};
use sealgate_proto::v1 as wire;
use tracing::{info, warn};

use super::turn::Turn;
use super::{put_marker, registry_failed, wait, work};
use crate::backend::{
    Backend, BackendError, DeleteKey, Forward, GetOptions, ListFrom, ListOptions, PutOptions,
    UploadListOptions,
};
use crate::gate::{Admitted, no_content};
use crate::node::Node;
use crate::pipeline;
use crate::reply::Reply;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::{Bucket, BucketState};
use crate::sweep::{Known, records_once};
use crate::versions::{any_visible, has_versions, purge::purge};
use crate::worker::Backends;

/// How often a bucket is emptied in which hidden objects turn up.
const ATTEMPTS: u32 = 3;
/// What a lock configuration has in it that says a default retention.
const RULE: &[u8] = b"<Rule>";

/// Answers DeleteBucket. A bucket with something visible, or a version or delete marker of it, is refused. Then its uploads
/// in progress go, as on S3, then its hidden objects, then the bucket. When the backend does not let it go, what recovery needs is written back: the key records and the logical id. Records of uploads that are over are not.
///
/// # Errors
/// BucketNotEmpty, OperationAborted while another request or node deletes it, and the backend's; the bucket is in use as before, on this node at once, or, when what recovery needs
/// cannot be written back yet, as soon as a node could.
pub async fn delete(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let node = &admitted.worker.node;
    match refuse_if_used(&bucket, &backend).await {
        // Deleted behind the gateway's back, or by a request whose answer was lost: what is left is its registration.
        Err(Kept::Failed(error)) if error.is("NoSuchBucket") => {}
        used => used.map_err(|kept| kept.told(admitted))?,
    }
    let turn = Turn::take(node, bucket.id).ok_or_else(|| S3Error::new(Code::OperationAborted))?;
    let control = &node.control;
    let reference = wire::BucketRef { bucket_id: bucket.id.as_bytes().to_vec() };
    let applied = control
        .buckets()
        .begin_delete(reference.clone())
        .await
        .map_err(|status| registry_failed(&status, &bucket.name))?;
    wait(node, &applied.into_inner()).await?;
    if let Err(kept) = remove(admitted.snapshot.gateway, &bucket, &backend, &turn).await {
        match take_back(node, &bucket, &backend).await {
            // Else the client's next write would meet a bucket in deletion.
            Ok(applied) => drop(wait(node, &applied).await),
            Err(reason) => {
                warn!(bucket = bucket.name, reason, "the bucket stays in deletion; it is tried again");
            }
        }
        return Err(kept.told(admitted));
    }
    let applied = control
        .buckets()
        .commit_delete(reference)
        .await
        .map_err(|status| registry_failed(&status, &bucket.name))?;
    wait(node, &applied.into_inner()).await?;
    info!(target: "audit", bucket = bucket.name, access_key_id = admitted.credential.access_key_id, "bucket deleted");
    Ok(no_content())
}

/// Why a bucket stays.
pub(super) enum Kept {
    /// Something visible is in it.
    Used(S3Error),
    /// The backend failed.
    Failed(BackendError),
}

impl From<BackendError> for Kept {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

impl Kept {
    fn told(self, admitted: &Admitted) -> S3Error {
        match self {
            Self::Used(refused) => refused,
            Self::Failed(error) if error.is("AccessDenied") => S3Error::with(
                Code::AccessDenied,
                "The storage does not let go what the gateway keeps in the bucket: it is locked, or the gateway may not delete there.",
            ),
            Self::Failed(error) => admitted.backend_failed(error),
        }
    }
}

/// Carries out deletions that the admin API asked for, or that a node left half done, and takes back those that it asked to
/// take back: of buckets that were in deletion at the last look already, so as not to work against a request that is
/// deleting one right now.
pub async fn delete_pending(node: &Arc<Node>, backends: &Backends, seen: &mut HashSet<BucketId>) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut deleting = HashSet::new();
    let ending =
        |bucket: &&Arc<Bucket>| matches!(bucket.state, BucketState::Deleting | BucketState::Restoring);
    for bucket in snapshot.buckets().filter(ending) {
        deleting.insert(bucket.id);
        let Some(backend) = backends.of(bucket).filter(|_| seen.contains(&bucket.id)) else {
            continue;
        };
        let Some(turn) = Turn::take(node, bucket.id) else { continue };
        let removed = match bucket.state {
            BucketState::Restoring => match backend.head_bucket(&bucket.backend_bucket).await {
                // It came too late.
                Err(error) if error.is("NoSuchBucket") => Ok(()),
                _ => Err("kept: the deletion was taken back"),
            },
            _ => match resume(node, snapshot.gateway, bucket, &backend, &turn).await {
                Ok(()) => Ok(()),
                Err(Kept::Failed(error)) if !error.is("BucketNotEmpty") => {
                    warn!(bucket = bucket.name, %error, "a bucket cannot be deleted now; it is tried again");
                    continue;
                }
                Err(_) => Err("kept: it is not empty"),
            },
        };
        let ended = match removed {
            Ok(()) => commit_delete(node, bucket.id).await.map(|()| "deleted"),
            Err(outcome) => take_back(node, bucket, &backend).await.map(|_| outcome),
        };
        match ended {
            Ok(outcome) => {
                info!(target: "audit", bucket = bucket.name, outcome, "a pending deletion was carried out");
            }
            Err(reason) => {
                warn!(bucket = bucket.name, reason, "a bucket stays in deletion; it is tried again");
            }
        }
    }
    *seen = deleting;
}

async fn commit_delete(node: &Node, id: BucketId) -> Result<(), String> {
    let reference = wire::BucketRef { bucket_id: id.as_bytes().to_vec() };
    let committed = node.control.buckets().commit_delete(reference).await;
    committed.map(drop).map_err(|status| status.message().to_owned())
}

/// Puts a bucket back into use, and before that all that recovery needs back into it: nodes have its keys in memory and would
/// write under them at once, and no object may exist whose key record is not in its bucket.
///
/// # Errors
/// Why it stays in deletion: something cannot be written back, or the control plane does not answer.
async fn take_back(node: &Node, bucket: &Bucket, backend: &Rc<dyn Backend>) -> Result<wire::Applied, String> {
    put_marker(backend.as_ref(), &bucket.backend_bucket, bucket.id)
        .await
        .map_err(|error| error.to_string())?;
    records_once(node, bucket, backend, Known::ByName).await.map(drop)?;
    let reference = wire::BucketRef { bucket_id: bucket.id.as_bytes().to_vec() };
    let aborted = node.control.buckets().abort_delete(reference).await;
    aborted.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}

async fn refuse_if_used(bucket: &Bucket, backend: &Rc<dyn Backend>) -> Result<(), Kept> {
    // Hidden names all begin alike: two pages at most hold something visible, if there is something.
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions { prefix: String::new(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(&bucket.backend_bucket, options).await?;
        if page.entries.iter().any(|entry| !hidden::is_hidden(entry.key.as_bytes())) {
            // It is used whatever becomes of this question, which is about the words.
            let versioned = has_versions(backend.as_ref(), &bucket.backend_bucket).await;
            return Err(used(bucket, versioned.unwrap_or(false)));
        }
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => break,
        }
    }
    // Of a key that was deleted its versions are left, and the delete marker.
    match any_visible(backend.as_ref(), &bucket.backend_bucket).await? {
        true => Err(used(bucket, true)),
        false => Ok(()),
    }
}

/// What S3 says of a bucket that is not empty; `versioned`: that deleting its keys is not enough.
fn used(bucket: &Bucket, versioned: bool) -> Kept {
    let error = match versioned {
        true => S3Error::with(
            Code::BucketNotEmpty,
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        ),
        false => S3Error::new(Code::BucketNotEmpty),
    };
    Kept::Used(error.field("BucketName", bucket.name.clone()))
}

/// Takes up a deletion that somebody began, if nobody else is at it.
async fn resume(
    node: &Node,
    gateway: GatewayId,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    turn: &Turn,
) -> Result<(), Kept> {
    let reference = wire::BucketRef { bucket_id: bucket.id.as_bytes().to_vec() };
    let begun = node.control.buckets().begin_delete(reference).await;
    begun.map_err(|status| BackendError::Unavailable(status.message().to_owned()))?;
    remove(gateway, bucket, backend, turn).await
}

/// Aborts the uploads that are in progress: they go with the bucket, as on S3.
async fn abort_uploads(bucket: &Bucket, backend: &Rc<dyn Backend>, turn: &Turn) -> Result<(), BackendError> {
    let mut options = UploadListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        upload_id_marker: String::new(),
        max_uploads: 1_000,
    };
    loop {
        let page = backend.list_uploads(&bucket.backend_bucket, options.clone()).await?;
        for upload in page.uploads {
            turn.lasts()?;
            abort_upload(bucket, backend, &upload.key, &upload.upload_id).await?;
        }
        let Some((key_marker, upload_id_marker)) = page.next else { return Ok(()) };
        options = UploadListOptions { key_marker, upload_id_marker, ..options };
    }
}

/// Aborts an upload; one that is over is no error.
pub(super) async fn abort_upload(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
    upload_id: &str,
) -> Result<(), BackendError> {
    match backend.abort_upload(&bucket.backend_bucket, key, upload_id).await {
        Err(error) if error.is("NoSuchUpload") || error.is("NoSuchBucket") => Ok(()),
        ended => ended,
    }
}

/// Removes hidden objects and the bucket. When the backend then refuses, what recovery needs is written back as far as it
/// goes, with what only this bucket has; [`take_back`] demands the rest.
async fn remove(
    gateway: GatewayId,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    turn: &Turn,
) -> Result<(), Kept> {
    // Writes that were let in before the state changed may have come since.
    match refuse_if_used(bucket, backend).await {
        // Whoever deleted it may not have come to its records.
        Err(Kept::Failed(error)) if error.is("NoSuchBucket") => {
            return work::remove_records(gateway, bucket, backend).await;
        }
        used => used?,
    }
    // Only now, when no write comes in any more and nothing visible is there.
    abort_uploads(bucket, backend, turn).await?;
    // Before the bucket: once it is gone there must be nothing left that could fail. Should it stay after all, it lost
    // nothing but the means to repeat a Complete that had succeeded.
    work::remove_records(gateway, bucket, backend).await?;
    let (mut kept, mut left, mut retention) = (Vec::new(), ATTEMPTS, None);
    let failure = loop {
        left -= 1;
        match empty_and_delete(bucket, backend, turn, &mut kept).await {
            Ok(()) => return Ok(()),
            // versitygw holds hidden objects, which were never locked, to the default that the bucket has by now.
            Err(error) if left > 0 && retention.is_none() && error.is("AccessDenied") => {
                retention = take_default_retention(bucket, backend).await;
                if retention.is_none() {
                    break error;
                }
            }
            // A node that has not heard of the deletion yet, or that has just started, may have put back a key record meanwhile.
            Err(error)
                if left > 0
                    && error.is("BucketNotEmpty")
                    && refuse_if_used(bucket, backend).await.is_ok() => {}
            Err(error) => break error,
        }
    };
    if let Some(configuration) = retention
        && let Err(error) = put_lock_configuration(bucket, backend, configuration).await
    {
        warn!(bucket = bucket.name, %error, "the bucket's default retention could not be put back");
    }
    // Also records that the store does not have, which may have been opened from an older copy.
    for (key, bytes) in kept {
        let body = pipeline::upload(bytes);
        if let Err(error) = backend.put(&bucket.backend_bucket, &key, PutOptions::default(), body).await {
            warn!(bucket = bucket.name, key, %error, "a hidden object could not be written back");
        }
    }
    Err(Kept::Failed(failure))
}

/// Takes the default retention of an empty bucket away and gives the lock configuration that had it; none where there is none.
/// It is given too where taking it away failed, which may be a lost answer: it has to be put back. Who is killed before the bucket is gone leaves a bucket in deletion, where nothing can be written: the next node
/// goes on deleting it.
async fn take_default_retention(bucket: &Bucket, backend: &Rc<dyn Backend>) -> Option<Bytes> {
    let asked = lock_request(Method::GET, bucket, Bytes::new());
    let before = backend.forward(asked).await.ok()?.body;
    if !before.windows(RULE.len()).any(|window| window == RULE) {
        return None;
    }
    let without = Bytes::from_static(
        b"<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
          <ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    );
    if let Err(error) = put_lock_configuration(bucket, backend, without).await {
        warn!(bucket = bucket.name, %error, "the bucket's default retention could not be taken away");
    }
    Some(before)
}

async fn put_lock_configuration(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    document: Bytes,
) -> Result<(), BackendError> {
    backend.forward(lock_request(Method::PUT, bucket, document)).await.map(drop)
}

fn lock_request(method: Method, bucket: &Bucket, body: Bytes) -> Forward {
    Forward {
        method,
        bucket: bucket.backend_bucket.clone(),
        key: None,
        query: vec![("object-lock".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body,
    }
}

/// Deletes hidden objects, keeping in memory what recovery needs, and then the bucket.
async fn empty_and_delete(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    turn: &Turn,
    kept: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), BackendError> {
    loop {
        let options = ListOptions {
            prefix: hidden::PREFIX.to_owned(),
            delimiter: None,
            from: ListFrom::Start,
            max_keys: 1_000,
        };
        let page = backend.list_v2(&bucket.backend_bucket, options).await?;
        if page.entries.is_empty() {
            break;
        }
        for entry in &page.entries {
            if entry.key == hidden::BUCKET || entry.key.starts_with(hidden::IK_PREFIX) {
                let answer = backend.get(&bucket.backend_bucket, &entry.key, GetOptions::default()).await?;
                kept.push((entry.key.clone(), pipeline::collect(answer.body, 64 << 10).await?));
            }
        }
        let keys: Vec<DeleteKey> = page
            .entries
            .iter()
            .map(|entry| DeleteKey { key: entry.key.clone(), version_id: None, etag: None })
            .collect();
        turn.lasts()?;
        for outcome in backend.delete_many(&bucket.backend_bucket, &keys).await? {
            outcome?;
        }
    }
    purge(backend, &bucket.backend_bucket, hidden::PREFIX, None).await?;
    turn.lasts()?;
    let Err(error) = backend.delete_bucket(&bucket.backend_bucket).await else { return Ok(()) };
    // Also when only the answer was lost: written back, the key records would have nowhere to go.
    match backend.head_bucket(&bucket.backend_bucket).await {
        Err(gone) if gone.is("NoSuchBucket") => Ok(()),
        _ => Err(error),
    }
}
