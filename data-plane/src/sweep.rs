//! The sweep: hidden objects of uploads that are over are removed.
//!
//! An upload counts as over when the backend twice, an hour apart, and for 7 days since the first time, answered
//! NoSuchUpload to ListParts for its exact key and id: never because a listing leaves it out (MinIO forgets uploads in
//! listings after a restart). When that was first seen is kept beside the record, so that any node goes on from there.

mod records;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use records::{Known, records_once};
pub use records::{fulfil_wishes, replace_missing_records};
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
    for ((_, work_bucket), buckets) in places {
        // Of a place that several share, what one of them demands the place does.
        let demanding = buckets.values().find(|bucket| !bucket.backend_sse.is_empty());
        let Some(bucket) = demanding.or_else(|| buckets.values().next()) else { continue };
        let Some(backend) = backends.of(bucket) else { continue };
        let backend = &backend;
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
        let (mut count, mut bytes, mut from) = (0, 0, ListFrom::Start);
        // Not kept: a part may have been sent again any number of times.
        loop {
            let options = ListOptions { prefix: prefix.to_owned(), delimiter: None, from, max_keys: 1_000 };
            let page = backend.list_v2(work_bucket, options).await?;
            count += page.entries.len() as u64;
            bytes += page.entries.iter().map(|entry| entry.size).sum::<u64>();
            match page.next {
                Some(next) => from = ListFrom::Token(next),
                None => break,
            }
        }
        tally.add(&bucket.label, kind, count, bytes);
        Ok(())
    }
}

/// Names that are kept of a listing at most: of key records a bucket has one a day, and those of the buckets that it was copied from.
const MOST_LISTED: usize = 1_000_000;

/// All objects under a hidden prefix.
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
        if found.len() > MOST_LISTED {
            return Err(BackendError::Protocol("a listing has no end".to_owned()));
        }
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
