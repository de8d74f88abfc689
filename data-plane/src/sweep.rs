//! The sweep: hidden objects of uploads that are over are removed.
//!
//! An upload counts as over when the backend twice, an hour apart, and for 7 days since the first time, answered
//! NoSuchUpload to ListParts for its exact key and id: never because a listing leaves it out (MinIO forgets uploads in
//! listings after a restart). When that was first seen is kept beside the record, so that any node goes on from there.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sealgate_envelope::hidden::{self, HiddenName, RecordName};
use sealgate_envelope::ids::BucketId;
use sealgate_envelope::{GatewayId, UploadRecord};
use tracing::{debug, info, warn};

use crate::backend::{Backend, BackendError, GetOptions, ListFrom, ListOptions, PutOptions};
use crate::metrics::Swept;
use crate::multipart::notes::remove_all;
use crate::node::Node;
use crate::objects::put::empty_upload;
use crate::pipeline;
use crate::snapshot::{Bucket, BucketState};
use crate::versions::purge;
use crate::worker::Backends;

/// How often a node sweeps.
pub const EVERY: Duration = Duration::from_secs(3_600);
/// How long an upload must have been gone.
const GRACE: u64 = 7 * 24 * 3_600;
const RECORD_MAX: usize = 4 << 10;

/// The active buckets whose uploads keep their hidden objects in one place.
type Sharing<'a> = HashMap<BucketId, &'a Arc<Bucket>>;

/// Sweeps the uploads of every active bucket once. A work bucket is read once, however many buckets share it: each record
/// says whose it is.
pub async fn once(node: &Node, backends: &Backends) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut places: HashMap<(&str, &str), Sharing<'_>> = HashMap::new();
    for bucket in snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active) {
        places.entry((&bucket.backend, &bucket.work_bucket)).or_default().insert(bucket.id, bucket);
    }
    for ((backend, work_bucket), buckets) in places {
        let Some(backend) = backends.get(backend) else { continue };
        if let Err(error) = place_once(node, snapshot.gateway, &buckets, backend, work_bucket).await {
            warn!(bucket = work_bucket, %error, "a bucket could not be swept; it is tried again in an hour");
        }
    }
}

async fn place_once(
    node: &Node,
    gateway: GatewayId,
    buckets: &Sharing<'_>,
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
) -> Result<(), BackendError> {
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions {
            prefix: hidden::UPLOAD_PREFIX.to_owned(),
            delimiter: Some("/".to_owned()),
            from,
            max_keys: 1_000,
        };
        let page = backend.list_v2(work_bucket, options).await?;
        for prefix in &page.common_prefixes {
            if let Err(error) = prefix_once(node, gateway, buckets, backend, work_bucket, prefix).await {
                warn!(bucket = work_bucket, prefix, %error, "an upload could not be looked at; the others are");
            }
        }
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return Ok(()),
        }
    }
}

async fn prefix_once(
    node: &Node,
    gateway: GatewayId,
    buckets: &Sharing<'_>,
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
    prefix: &str,
) -> Result<(), BackendError> {
    match own_record(gateway, backend, work_bucket, prefix).await? {
        Some(record) => match buckets.get(&record.bucket) {
            Some(bucket) => upload_once(node, bucket, backend, &record).await,
            // Of a bucket that is being made or deleted, or that this node does not have: not for it to judge.
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// An upload record of this gateway: whose it is.
pub(crate) struct OwnRecord {
    place: RecordName,
    /// The bucket.
    pub bucket: BucketId,
    /// The upload's key.
    pub key: String,
    /// The backend's upload id.
    pub upload_id: String,
}

/// What an upload record says, if it is this gateway's own.
///
/// # Errors
/// The backend's.
pub(crate) async fn own_record(
    gateway: GatewayId,
    backend: &Rc<dyn Backend>,
    work_bucket: &str,
    prefix: &str,
) -> Result<Option<OwnRecord>, BackendError> {
    let record = match backend.get(work_bucket, &format!("{prefix}r"), GetOptions::default()).await {
        Ok(answer) => pipeline::collect(answer.body, RECORD_MAX).await?,
        // Someone else sweeps it, or never wrote it: without a record nothing says whose it is.
        Err(error) if error.is("NoSuchKey") => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(record) = UploadRecord::parse(&record) else {
        warn!(bucket = work_bucket, prefix, "an upload record is malformed and stays");
        return Ok(None);
    };
    let name = record.name();
    let Ok(place) = name.record_name() else { return Ok(None) };
    let own = name.gateway == gateway && place.prefix() == prefix;
    Ok(match std::str::from_utf8(&name.key) {
        Ok(key) if own => Some(OwnRecord {
            place,
            bucket: name.bucket,
            key: key.to_owned(),
            upload_id: name.upload_id.clone(),
        }),
        _ => None,
    })
}

async fn upload_once(
    node: &Node,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    record: &OwnRecord,
) -> Result<(), BackendError> {
    let OwnRecord { place, key, upload_id, .. } = record;
    let gone = place.gone_prefix();
    match backend.list_parts(&bucket.backend_bucket, key, upload_id, 0, 1).await {
        // It lives. Were it ever said to be gone, that counts no more: the seven days have no gap.
        Ok(_) => return remove_all(backend, &bucket.work_bucket, &gone, None).await,
        Err(error) if error.is("NoSuchUpload") => {}
        Err(error) => return Err(error),
    }
    let options = ListOptions { prefix: gone.clone(), delimiter: None, from: ListFrom::Start, max_keys: 1 };
    let seen = backend.list_v2(&bucket.work_bucket, options).await?;
    let now = node.clock.unix();
    let first = seen.entries.first().and_then(|entry| match HiddenName::parse(&entry.key) {
        Ok(HiddenName::Gone { at, .. }) => Some(at),
        _ => None,
    });
    match first {
        None => {
            debug!(bucket = bucket.name, key, "an upload is gone; its hidden objects follow in 7 days");
            let mark = place.gone_key(now);
            backend.put(&bucket.work_bucket, &mark, PutOptions::default(), empty_upload()).await?;
        }
        Some(first) if now.saturating_sub(first) >= GRACE => {
            // The record last: what a crash leaves behind is found by it again.
            let record = place.record_key();
            remove_all(backend, &bucket.work_bucket, &place.prefix(), Some(&record)).await?;
            purge::delete(backend, &bucket.work_bucket, &record).await?;
            node.metrics.swept(Swept::Upload);
            info!(bucket = bucket.name, key, "hidden objects of an upload that is over were removed");
        }
        Some(_) => {}
    }
    Ok(())
}

/// Writes back copies of a bucket's key records that are missing in it, so that bucket and KMS alone stay enough to
/// recover everything.
pub async fn replace_missing_records(node: &Node, backends: &Backends) {
    let Some(snapshot) = node.snapshot() else { return };
    for bucket in snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active) {
        let Some(backend) = backends.get(&bucket.backend) else { continue };
        if let Err(error) = records_once(node, bucket, backend).await {
            warn!(bucket = bucket.name, error, "the key records in a bucket could not be checked");
        }
    }
}

/// The same for one bucket.
///
/// # Errors
/// Why the records cannot be had, or not be written.
pub(crate) async fn records_once(
    node: &Node,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
) -> Result<(), String> {
    let request = sealgate_proto::v1::RecordsRequest { bucket_id: bucket.id.as_bytes().to_vec() };
    let answer = node
        .control
        .keys()
        .records(request)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let mut there = HashSet::new();
    let mut from = ListFrom::Start;
    loop {
        let options =
            ListOptions { prefix: hidden::IK_PREFIX.to_owned(), delimiter: None, from, max_keys: 1_000 };
        let page =
            backend.list_v2(&bucket.backend_bucket, options).await.map_err(|error| error.to_string())?;
        there.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => break,
        }
    }
    for bytes in answer.records {
        let record = sealgate_envelope::IkRecord::parse(&bytes).map_err(|error| error.to_string())?;
        let name = hidden::ik_record_name(&record).map_err(|error| error.to_string())?;
        // Those of other buckets were lent to this one: copies in it name them.
        if record.context.tenant == bucket.tenant && !there.contains(&name) {
            crate::keys::fetch::put_record(backend.as_ref(), &bucket.backend_bucket, &record, &bytes)
                .await
                .map_err(|error| error.to_string())?;
            info!(bucket = bucket.name, name, "a key record was missing in its bucket and was written back");
        }
    }
    Ok(())
}
