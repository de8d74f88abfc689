//! Which nodes may still write into a frozen bucket.
//!
//! Only a node's own word counts, on the stream that it has now: it runs a config with the freeze, and what it had let in
//! before has ended. A node that is not connected may be serving on what it knew before, so it counts as one that may write:
//! also when its certificate is over, since its clients' signing keys and its keys outlast that. Only the operator's word, the
//! revocation, takes it off.

use std::collections::HashMap;

use actix::{Handler, Message};
use sealgate_envelope::{BucketId, TenantId};
use sealgate_proto::v1;
use serde::Serialize;

use super::Fanout;
use crate::registry::{Version, records::NodeRecord};

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
    /// Nodes that have, or had, a certificate for the bucket's tenant, are not revoked, and have not said that they refuse writes.
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
        for (name, node) in &state.nodes {
            if node.issued.is_empty() || !self.may_serve(node, tenant) {
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

/// Nodes that may hold keys of a tenant that this version takes away.
#[derive(Message)]
#[rtype(result = "Holding")]
pub(crate) struct Unconfirmed {
    pub(crate) tenant: TenantId,
    pub(crate) since: Version,
}

/// Nobody in it: no node holds any.
#[derive(Clone, Debug, Default, PartialEq, Eq, actix::MessageResponse)]
pub(crate) struct Holding {
    /// They may serve the tenant, are not revoked, and have not said on the stream that they have now that they run the version.
    pub(crate) pending: Vec<String>,
    /// They were revoked, at this time: they get no key any more, and nobody asks them what they still have.
    pub(crate) revoked: Vec<(String, u64)>,
}

impl Handler<Unconfirmed> for Fanout {
    type Result = Holding;

    fn handle(&mut self, message: Unconfirmed, _: &mut Self::Context) -> Holding {
        let state = self.registry.state();
        let pending = state.nodes.iter().filter(|(name, node)| {
            let confirmed = self.last_acked.get(*name).is_some_and(|(acked, _)| *acked >= message.since);
            !node.issued.is_empty()
                && self.may_serve(node, message.tenant)
                && !(confirmed && self.streams.contains_key(*name))
        });
        let pending = pending.map(|(name, _)| name.clone()).collect();
        let of_tenant = |node: &NodeRecord| {
            let revoked = node.revoked.as_ref().filter(|revoked| revoked.tenants.contains(message.tenant));
            revoked.map(|revoked| (node.name.clone(), revoked.at))
        };
        let revoked = state.nodes.values().filter_map(|node| of_tenant(node)).collect();
        Holding { pending, revoked }
    }
}

impl Fanout {
    /// Whether a process of the node may serve a tenant. What it served before its tenants were changed, it may serve until one
    /// is here with a certificate of now: there is one process of a name.
    fn may_serve(&self, node: &NodeRecord, tenant: TenantId) -> bool {
        let renewed = || {
            let stream = self.streams.get(&node.name);
            stream.is_some_and(|stream| node.issued.iter().any(|it| it.serial == stream.identity.serial))
        };
        node.tenants.contains(tenant)
            || node.former.as_ref().is_some_and(|former| former.contains(tenant)) && !renewed()
    }
}
