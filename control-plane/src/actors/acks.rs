//! Waiting for the nodes' acknowledgements.

use std::{sync::Arc, time::Duration};

use sealgate_envelope::{BucketId, TenantId};
use tokio::sync::watch;

use super::{Fanout, Holding, Pending, Slot, Unaware, Unconfirmed, Unsettled, Unsettling};
use crate::{Error, registry::Version};

/// How long anyone waits for the nodes.
const WITHIN: Duration = Duration::from_secs(5);

/// What nodes have acknowledged.
#[derive(Clone)]
pub(crate) struct Acks {
    fanout: Arc<Slot<Fanout>>,
    changes: watch::Receiver<u64>,
}

impl Acks {
    /// `changes` changes with each answer of a node, and with the end of each stream.
    pub(crate) fn new(fanout: Arc<Slot<Fanout>>, changes: watch::Receiver<u64>) -> Self {
        Self { fanout, changes }
    }

    /// Waits until every connected node runs this version; after 5 s, gives those that do not.
    pub(crate) async fn behind(&self, version: Version) -> Result<Vec<String>, Error> {
        let mut changes = self.changes.clone();
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            changes.mark_unchanged();
            let behind = self.fanout.send(Pending(version)).await?;
            if behind.is_empty() {
                return Ok(behind);
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Ok(behind);
            }
        }
    }

    /// Waits until every connected node of a tenant runs this version or has refused it; after 5 s, gives those that do not.
    pub(crate) async fn unaware(&self, tenant: TenantId, version: Version) -> Result<Vec<String>, Error> {
        let mut changes = self.changes.clone();
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            changes.mark_unchanged();
            let unaware = self.fanout.send(Unaware { tenant, version }).await?;
            if unaware.is_empty()
                || !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(())))
            {
                return Ok(unaware);
            }
        }
    }

    /// Nodes that may hold keys of a tenant which this version takes away, after 5 s at most. Those that are not connected are among
    /// them, and are not waited for.
    pub(crate) async fn unconfirmed(&self, tenant: TenantId, since: Version) -> Result<Holding, Error> {
        self.behind(since).await?;
        self.fanout.send(Unconfirmed { tenant, since }).await
    }

    /// Waits until nobody writes into a bucket that is frozen since this version; after 5 s, gives who may.
    pub(crate) async fn unsettled(&self, bucket: BucketId, since: Version) -> Result<Unsettling, Error> {
        let mut changes = self.changes.clone();
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            changes.mark_unchanged();
            let found = self.fanout.send(Unsettled { bucket, since }).await?;
            if found == Unsettling::default()
                || !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(())))
            {
                return Ok(found);
            }
        }
    }
}
