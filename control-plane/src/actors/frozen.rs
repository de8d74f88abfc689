//! Which nodes may still write into a frozen bucket.
//!
//! Only a node's own word counts, on the stream that it has now: it runs a config with the freeze, and what it had let in
//! before has ended. A node that is not connected may be serving on what it knew before, so it counts as one that may write.

use std::collections::HashMap;

use actix::{Handler, Message};
use sealgate_envelope::BucketId;
use sealgate_proto::v1;
use serde::Serialize;

use super::Fanout;
use crate::registry::Version;

/// What a node said of its frozen buckets last.
pub(crate) struct FrozenWrites {
    version: Version,
    in_flight: HashMap<BucketId, u64>,
}

/// A node's word.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FrozenReport {
    pub(crate) node: String,
    /// The stream's.
    pub(crate) id: u64,
    pub(crate) writes: v1::FrozenWrites,
}

impl Handler<FrozenReport> for Fanout {
    type Result = ();

    fn handle(&mut self, message: FrozenReport, _: &mut Self::Context) {
        let FrozenReport { node, id, writes } = message;
        if self.streams.get(&node).is_none_or(|stream| stream.id != id) {
            return;
        }
        let version = Version { epoch: writes.epoch, version: writes.version };
        let counted = writes.buckets.into_iter().filter_map(|bucket| {
            let id = bucket.bucket_id.as_slice().try_into().ok()?;
            Some((BucketId::from_bytes(id), bucket.in_flight))
        });
        self.frozen.insert(node, FrozenWrites { version, in_flight: counted.collect() });
        self.acks.send_modify(|count| *count += 1);
    }
}

/// Who may still write into a bucket that is frozen since this version.
#[derive(Message)]
#[rtype(result = "Unsettling")]
pub(crate) struct Unsettled {
    pub(crate) bucket: BucketId,
    pub(crate) since: Version,
}

/// Nothing in it: nobody writes any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, actix::MessageResponse)]
pub(crate) struct Unsettling {
    /// Nodes with a valid certificate for the bucket's tenant that have not said that they refuse writes.
    pub(crate) pending: Vec<String>,
    /// Writes that were let in before, on all nodes that refuse them by now.
    pub(crate) writes_in_flight: u64,
}

impl Handler<Unsettled> for Fanout {
    type Result = Unsettling;

    fn handle(&mut self, message: Unsettled, _: &mut Self::Context) -> Unsettling {
        let Unsettled { bucket, since } = message;
        let state = self.registry.state();
        let mut found = Unsettling::default();
        let Some(tenant) = state.bucket(bucket).map(|bucket| bucket.tenant) else { return found };
        let now = self.registry.now();
        for (name, node) in &state.nodes {
            let valid = node.issued.iter().any(|issued| now < issued.not_after);
            if !valid || !node.tenants.contains(tenant) {
                continue;
            }
            let word = self.frozen.get(name).filter(|word| word.version >= since);
            match word.and_then(|word| word.in_flight.get(&bucket)) {
                Some(writes) if self.streams.contains_key(name) => found.writes_in_flight += writes,
                _ => found.pending.push(name.clone()),
            }
        }
        found
    }
}
