//! Key records for copies in another bucket: without them a body that lost its metadata could not be recovered there.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sealgate_envelope::ids::{BucketId, IkId};
use sealgate_envelope::{IkRecord, Recovery};
use sealgate_proto::v1 as wire;
use tracing::warn;

use super::source::Source;
use crate::backend::Backend;
use crate::flights::Flights;
use crate::keys::fetch::put_record;
use crate::node::Node;
use crate::snapshot::Bucket;

/// Entries that are remembered. Beyond, records are placed again.
const MOST: usize = 100_000;

/// Which key records lie in which buckets that are not their own, as far as this node placed them.
#[derive(Default)]
pub struct Lent {
    known: Mutex<HashSet<(BucketId, IkId)>>,
    /// Records being placed: a thousand copies into a new bucket borrow their source's key once.
    placing: Flights<(BucketId, IkId), bool>,
}

impl Lent {
    fn knows(&self, target: BucketId, ik: IkId) -> bool {
        self.lock().contains(&(target, ik))
    }

    fn add(&self, target: BucketId, ik: IkId) {
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((target, ik));
    }

    /// Forgets buckets that `keep` refuses.
    pub fn retain(&self, keep: impl Fn(BucketId) -> bool) {
        self.lock().retain(|(target, _)| keep(*target));
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(BucketId, IkId)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that the record which the recovery block of a proved trailer names lies in the target's bucket, and that the card
/// allows it. False where that cannot be had now: then the object has to be sealed anew.
pub async fn place(
    node: &Node,
    source: &Source,
    recovery: &Recovery,
    target: &Bucket,
    backend: &dyn Backend,
) -> bool {
    let ik = recovery.ik_id();
    if node.lent.knows(target.id, ik) {
        return true;
    }
    let borrow = || async {
        let placed = lend(node, source, ik, target, backend).await;
        if let Err(reason) = &placed {
            warn!(
                source = source.bucket.name,
                target = target.name,
                %ik,
                reason,
                "a key record cannot be placed for a copy, which is sealed anew"
            );
            return false;
        }
        node.lent.add(target.id, ik);
        true
    };
    node.lent.placing.join((target.id, ik), borrow).await
}

async fn lend(
    node: &Node,
    source: &Source,
    ik: IkId,
    target: &Bucket,
    backend: &dyn Backend,
) -> Result<(), String> {
    let request = wire::LendRequest {
        bucket_id: source.bucket.id.as_bytes().to_vec(),
        ik_id: ik.as_bytes().to_vec(),
        target_id: target.id.as_bytes().to_vec(),
    };
    let lent = node.control.keys().lend(request).await.map_err(|status| status.message().to_owned())?;
    let bytes = lent.into_inner().record;
    let record = IkRecord::parse(&bytes).map_err(|error| error.to_string())?;
    if (record.context.ik, record.context.tenant) != (ik, target.tenant) {
        return Err("the control plane sent another record".to_owned());
    }
    put_record(backend, &target.backend_bucket, &record, &bytes).await.map_err(|error| error.to_string())
}
