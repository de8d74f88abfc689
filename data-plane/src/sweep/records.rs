//! Copies of key records in buckets, so that bucket and KMS alone stay enough to recover everything.
//!
//! What has to lie there comes from the control plane, with the names of what was replaced: an intermediate key that was wrapped
//! anew has another record. The order makes no moment without one: the new copy is written, a listing shows it, only then the
//! old one goes. What the listing showed is reported, since a KEK version may be destroyed only when no copy needs it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sealgate_envelope::IkRecord;
use sealgate_envelope::hidden::{self, HiddenName};
use sealgate_envelope::ids::BucketId;
use sealgate_proto::v1 as wire;
use tracing::{info, warn};

use super::listed;
use crate::backend::{Backend, BackendError, GetOptions, PutOptions, VersionListOptions};
use crate::keys::fetch::put_record;
use crate::metrics::buckets::{Hidden, Tally};
use crate::node::Node;
use crate::pipeline;
use crate::snapshot::{Bucket, BucketState};
use crate::versions::purge;
use crate::worker::Backends;

/// Looks at the key records of every active bucket: missing ones are written back, replaced ones go.
pub async fn replace_missing_records(node: &Node, backends: &Backends) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut tally = Tally::default();
    for bucket in snapshot.buckets().filter(|bucket| bucket.state == BucketState::Active) {
        let Some(backend) = backends.of(bucket) else { continue };
        match look(node, bucket, &backend, 0).await {
            Ok(Looked::Here(objects, bytes)) => tally.add(&bucket.label, Hidden::KeyRecord, objects, bytes),
            Ok(Looked::ElsewhereBefore | Looked::ElsewhereNow) => {}
            Err(error) => {
                tally.incomplete(&bucket.label);
                warn!(bucket = bucket.name, error, "the key records in a bucket could not be checked");
            }
        }
    }
    node.metrics.buckets.hidden(&tally, node.clock.unix());
}

/// The same for buckets of which the control plane wishes it, since records were replaced. `done` has the wishes that this node
/// knows to be fulfilled, by it or by another one.
pub async fn fulfil_wishes(node: &Node, backends: &Backends, done: &mut HashMap<BucketId, u64>) {
    let Some(snapshot) = node.snapshot() else { return };
    done.retain(|id, _| snapshot.buckets().any(|bucket| bucket.id == *id));
    let wished = |bucket: &&std::sync::Arc<Bucket>| {
        bucket.state == BucketState::Active && bucket.records > done.get(&bucket.id).copied().unwrap_or(0)
    };
    let wished: Vec<_> = snapshot.buckets().filter(wished).cloned().collect();
    for bucket in wished {
        let Some(backend) = backends.of(&bucket) else { continue };
        match look(node, &bucket, &backend, bucket.records).await {
            Ok(Looked::Here(..) | Looked::ElsewhereBefore) => {
                done.insert(bucket.id, bucket.records);
            }
            // Another node is at it: whether that came to an end is asked at the next look.
            Ok(Looked::ElsewhereNow) => {}
            Err(error) => {
                warn!(
                    bucket = bucket.name,
                    error, "replaced key records could not be placed; it is tried again"
                );
            }
        }
    }
}

/// When a record in a bucket is taken for the one that belongs there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// By its name: gateways wrote it.
    ByName,
    /// By its bytes: whoever made the replica may have damaged or planted it.
    ByBytes,
}

/// Places what is missing in one bucket: how many records lie in it afterwards, and their bytes. What was replaced stays.
///
/// # Errors
/// Why the records cannot be had, or not be written.
pub(crate) async fn records_once(
    node: &Node,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    known: Known,
) -> Result<(u64, u64), String> {
    let given = given(node, bucket, 0).await?;
    let told = |error: BackendError| error.to_string();
    let there = names(backend, bucket).await.map_err(told)?;
    let placed = place(bucket, backend, &given, &there, known).await?;
    let sizes = there.values().chain(placed.values());
    Ok((sizes.clone().count() as u64, sizes.sum()))
}

/// Who looked.
enum Looked {
    /// This node: key records in the bucket, and their bytes.
    Here(u64, u64),
    /// Another one is at it, because of the same wish.
    ElsewhereNow,
    /// Another one did.
    ElsewhereBefore,
}

/// One look, to its report.
async fn look(node: &Node, bucket: &Bucket, backend: &Rc<dyn Backend>, wish: u64) -> Result<Looked, String> {
    let given = given(node, bucket, wish).await?;
    if given.elsewhere {
        return Ok(if given.fulfilled { Looked::ElsewhereBefore } else { Looked::ElsewhereNow });
    }
    let told = |error: BackendError| error.to_string();
    let mut there = names(backend, bucket).await.map_err(told)?;
    // Before anything goes, what takes its place is read, not only seen in a listing.
    let due = given.replaced.iter().any(|name| there.contains_key(name));
    let known = if due { Known::ByBytes } else { Known::ByName };
    let placed = place(bucket, backend, &given, &there, known).await?;
    if !placed.is_empty() {
        // Only a listing says that they lie there.
        there = names(backend, bucket).await.map_err(told)?;
    }
    let wanted: HashMap<String, u64> =
        wanted(bucket, &given)?.into_iter().map(|wanted| (wanted.name, wanted.bytes.len() as u64)).collect();
    if let Some((missing, _)) = wanted.iter().find(|(name, size)| there.get(*name) != Some(*size)) {
        return Err(format!("{missing} was written and is not listed with its size"));
    }
    let below = below(backend, bucket, &given).await.map_err(told)?;
    let lies = |name: &String| there.contains_key(name) || below.contains(name);
    for name in given.replaced.iter().filter(|name| lies(name) && !wanted.contains_key(*name)) {
        // A name that is none of a key record's is never deleted, whoever sent it.
        if !matches!(HiddenName::parse(name), Ok(HiddenName::IkRecord { .. })) {
            return Err(format!("the control plane calls {name:?} a replaced key record"));
        }
        let gone = match there.contains_key(name) {
            true => purge::delete(backend, &bucket.backend_bucket, name).await,
            // An earlier look hid it.
            false => purge::purge(backend, &bucket.backend_bucket, name, None).await,
        };
        match gone {
            Ok(()) => info!(bucket = bucket.name, name, "a replaced key record was removed"),
            Err(error) => warn!(bucket = bucket.name, name, %error, "a replaced key record stays"),
        }
    }
    let there = names(backend, bucket).await.map_err(told)?;
    let below = self::below(backend, bucket, &given).await.map_err(told)?;
    let left = given.replaced.iter().filter(|name| there.contains_key(*name) || below.contains(*name));
    let left = left.count() as u64;
    let report = wire::CheckedRequest {
        bucket_id: bucket.id.as_bytes().to_vec(),
        epoch: given.epoch,
        revision: given.revision,
        wish: bucket.records,
        left,
    };
    node.control.keys().checked(report).await.map_err(|status| status.message().to_owned())?;
    Ok(Looked::Here(there.len() as u64, there.values().sum()))
}

async fn given(node: &Node, bucket: &Bucket, wish: u64) -> Result<wire::RecordsResponse, String> {
    let request = wire::RecordsRequest { bucket_id: bucket.id.as_bytes().to_vec(), wish };
    let answer = node.control.keys().records(request).await;
    Ok(answer.map_err(|status| status.message().to_owned())?.into_inner())
}

/// Names and sizes of the key records that lie in a bucket.
async fn names(backend: &Rc<dyn Backend>, bucket: &Bucket) -> Result<HashMap<String, u64>, BackendError> {
    let found = listed(backend, &bucket.backend_bucket, hidden::IK_PREFIX).await?;
    Ok(found.into_iter().map(|entry| (entry.key, entry.size)).collect())
}

/// Names of replaced records of which a version lies in a bucket: a listing does not show what is under a delete marker.
async fn below(
    backend: &Rc<dyn Backend>,
    bucket: &Bucket,
    given: &wire::RecordsResponse,
) -> Result<HashSet<String>, BackendError> {
    let (mut found, mut from) = (HashSet::new(), (String::new(), String::new()));
    if given.replaced.is_empty() {
        return Ok(found);
    }
    let replaced: HashSet<&String> = given.replaced.iter().collect();
    loop {
        let options = VersionListOptions {
            prefix: hidden::IK_PREFIX.to_owned(),
            delimiter: None,
            key_marker: from.0.clone(),
            version_id_marker: from.1.clone(),
            max_keys: 1_000,
        };
        let page = backend.list_versions(&bucket.backend_bucket, options).await;
        let Some(page) = purge::listed(page)? else { return Ok(found) };
        let versions = page.entries.into_iter().filter(|entry| !entry.delete_marker);
        found.extend(versions.map(|entry| entry.object.key).filter(|key| replaced.contains(key)));
        match page.next {
            Some(next) if next != from => from = next,
            _ => return Ok(found),
        }
    }
}

/// A record that has to lie in a bucket.
struct Wanted<'a> {
    name: String,
    record: IkRecord,
    bytes: &'a [u8],
}

fn wanted<'a>(bucket: &Bucket, given: &'a wire::RecordsResponse) -> Result<Vec<Wanted<'a>>, String> {
    let mut wanted = Vec::with_capacity(given.records.len());
    for bytes in &given.records {
        let record = IkRecord::parse(bytes).map_err(|error| error.to_string())?;
        // Those of other buckets were lent to this one: copies in it name them.
        if record.context.tenant == bucket.tenant {
            let name = hidden::ik_record_name(&record).map_err(|error| error.to_string())?;
            wanted.push(Wanted { name, record, bytes });
        }
    }
    Ok(wanted)
}

/// Writes what is missing; names and sizes of that.
async fn place(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    given: &wire::RecordsResponse,
    there: &HashMap<String, u64>,
    known: Known,
) -> Result<HashMap<String, u64>, String> {
    let told = |error: BackendError| error.to_string();
    let mut placed = HashMap::new();
    for Wanted { name, record, bytes } in wanted(bucket, given)? {
        if !there.contains_key(&name) {
            put_record(backend.as_ref(), &bucket.backend_bucket, &record, bytes).await.map_err(told)?;
            info!(bucket = bucket.name, name, "a key record was missing in its bucket and was written");
            placed.insert(name, bytes.len() as u64);
        } else if known == Known::ByBytes || there.get(&name) != Some(&(bytes.len() as u64)) {
            restore(backend.as_ref(), bucket, &name, bytes).await.map_err(told)?;
        }
    }
    Ok(placed)
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
