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

use crate::backend::{Backend, BackendError, GetOptions, ListEntry, ListFrom, ListOptions, PutOptions};
use crate::metrics::Swept;
use crate::metrics::buckets::{Hidden, Tally};
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
    let mut tally = Tally::default();
    for ((backend, work_bucket), buckets) in places {
        let Some(backend) = backends.get(backend) else { continue };
        let place = Place { node, gateway: snapshot.gateway, buckets: &buckets, backend, work_bucket };
        if let Err(error) = place.once(&mut tally).await {
            buckets.values().for_each(|bucket| tally.incomplete(&bucket.label));
            warn!(bucket = work_bucket, %error, "a bucket could not be swept; it is tried again in an hour");
        }
    }
    node.metrics.buckets.hidden(&tally, node.clock.unix());
}

/// Where the hidden objects of some buckets' uploads lie.
struct Place<'a> {
    node: &'a Node,
    gateway: GatewayId,
    buckets: &'a Sharing<'a>,
    backend: &'a Rc<dyn Backend>,
    work_bucket: &'a str,
}

impl Place<'_> {
    async fn once(&self, tally: &mut Tally) -> Result<(), BackendError> {
        let Self { backend, work_bucket, .. } = *self;
        for bucket in self.buckets.values() {
            for kind in [Hidden::Upload, Hidden::Leftover, Hidden::Unclaimed] {
                tally.add(&bucket.label, kind, 0, 0);
            }
        }
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
                if let Err(error) = self.prefix_once(prefix, tally).await {
                    self.buckets.values().for_each(|bucket| tally.incomplete(&bucket.label));
                    warn!(bucket = work_bucket, prefix, %error, "an upload could not be looked at; the others are");
                }
            }
            match page.next {
                Some(next) => from = ListFrom::Token(next),
                None => return Ok(()),
            }
        }
    }

    async fn prefix_once(&self, prefix: &str, tally: &mut Tally) -> Result<(), BackendError> {
        let Self { node, gateway, backend, work_bucket, .. } = *self;
        let (bucket, kind) = match own_record(gateway, backend, work_bucket, prefix).await? {
            Some(record) => match self.buckets.get(&record.bucket) {
                Some(bucket) => (bucket, upload_once(node, bucket, backend, &record).await?),
                // Of a bucket that is being made or deleted, or that this node does not have: not for it to judge.
                None => return Ok(()),
            },
            None => match self.buckets.values().find(|bucket| bucket.backend_bucket == work_bucket) {
                Some(bucket) => (bucket, Hidden::Unclaimed),
                // In a work bucket nothing says whose it is.
                None => return Ok(()),
            },
        };
        let found = listed(backend, work_bucket, prefix).await?;
        let bytes = found.iter().map(|entry| entry.size).sum();
        tally.add(&bucket.label, kind, found.len() as u64, bytes);
        Ok(())
    }
}

/// All objects under a hidden prefix. Those of an upload are a few for each of its 10,000 parts at most.
async fn listed(
    backend: &Rc<dyn Backend>,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<ListEntry>, BackendError> {
    let mut found = Vec::new();
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions { prefix: prefix.to_owned(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(bucket, options).await?;
        found.extend(page.entries);
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return Ok(found),
        }
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

/// Looks whether an upload is over, and removes its hidden objects when it has been for long enough.
async fn upload_once(
    node: &Node,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    record: &OwnRecord,
) -> Result<Hidden, BackendError> {
    let OwnRecord { place, key, upload_id, .. } = record;
    let gone = place.gone_prefix();
    match backend.list_parts(&bucket.backend_bucket, key, upload_id, 0, 1).await {
        // It lives. Were it ever said to be gone, that counts no more: the seven days have no gap.
        Ok(_) => {
            remove_all(backend, &bucket.work_bucket, &gone, None).await?;
            return Ok(Hidden::Upload);
        }
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
    Ok(Hidden::Leftover)
}

/// Writes back copies of a bucket's key records that are missing in it, so that bucket and KMS alone stay enough to
/// recover everything.
pub async fn replace_missing_records(node: &Node, backends: &Backends) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut tally = Tally::default();
    for bucket in snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active) {
        let Some(backend) = backends.get(&bucket.backend) else { continue };
        match records_once(node, bucket, backend, Known::ByName).await {
            Ok((objects, bytes)) => tally.add(&bucket.label, Hidden::KeyRecord, objects, bytes),
            Err(error) => {
                tally.incomplete(&bucket.label);
                warn!(bucket = bucket.name, error, "the key records in a bucket could not be checked");
            }
        }
    }
    node.metrics.buckets.hidden(&tally, node.clock.unix());
}

/// When a record in a bucket is taken for the one that belongs there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// By its name: gateways wrote it.
    ByName,
    /// By its bytes: whoever made the replica may have damaged or planted it.
    ByBytes,
}

/// The same for one bucket: how many records lie in it afterwards, and their bytes.
///
/// # Errors
/// Why the records cannot be had, or not be written.
pub(crate) async fn records_once(
    node: &Node,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    known: Known,
) -> Result<(u64, u64), String> {
    let request = sealgate_proto::v1::RecordsRequest { bucket_id: bucket.id.as_bytes().to_vec() };
    let answer = node
        .control
        .keys()
        .records(request)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let found = listed(backend, &bucket.backend_bucket, hidden::IK_PREFIX).await;
    let found = found.map_err(|error| error.to_string())?;
    let (mut objects, mut size) = (found.len() as u64, found.iter().map(|entry| entry.size).sum::<u64>());
    let there: HashSet<String> = found.into_iter().map(|entry| entry.key).collect();
    for bytes in answer.records {
        let record = sealgate_envelope::IkRecord::parse(&bytes).map_err(|error| error.to_string())?;
        let name = hidden::ik_record_name(&record).map_err(|error| error.to_string())?;
        // Those of other buckets were lent to this one: copies in it name them.
        if record.context.tenant != bucket.tenant {
            continue;
        }
        if there.contains(&name) {
            if known == Known::ByBytes {
                restore(backend.as_ref(), bucket, &name, &bytes).await.map_err(|error| error.to_string())?;
            }
        } else {
            crate::keys::fetch::put_record(backend.as_ref(), &bucket.backend_bucket, &record, &bytes)
                .await
                .map_err(|error| error.to_string())?;
            (objects, size) = (objects + 1, size + bytes.len() as u64);
            info!(bucket = bucket.name, name, "a key record was missing in its bucket and was written back");
        }
    }
    Ok((objects, size))
}

/// Writes a key record over what lies under its name, unless that is the same.
async fn restore(
    backend: &dyn Backend,
    bucket: &Bucket,
    name: &str,
    bytes: &[u8],
) -> Result<(), BackendError> {
    let place = &bucket.backend_bucket;
    let there = backend.get(place, name, GetOptions::default()).await?;
    let same = there.meta.size == bytes.len() as u64;
    if same && pipeline::collect(there.body, bytes.len()).await? == bytes {
        return Ok(());
    }
    backend.put(place, name, PutOptions::default(), pipeline::upload(bytes.to_vec())).await?;
    warn!(bucket = bucket.name, name, "another record lay under a key record's name and was written over");
    Ok(())
}
