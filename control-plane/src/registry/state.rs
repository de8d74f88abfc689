//! The registry in memory: what the store's config records say, kept up to date with each commit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sealgate_envelope::{BucketId, GatewayId, TenantId};
use sealgate_store::{Record, decode};

use super::records::{
    ACTIVE_PREFIX, BucketRecord, CA, CHECK_PREFIX, CredentialRecord, DAY_KEY, DayRecord, IK_PREFIX,
    JOB_PREFIX, LENT_PREFIX, NodeRecord, REWRAP_PREFIX, SOURCE_PREFIX, SYSTEM, SourceRecord, SystemRecord,
    TenantRecord,
};
use crate::Error;

/// One consistent view of the registry. Records are shared: a new view costs the pointers, not the content.
#[derive(Clone)]
pub struct State {
    /// The store's epoch.
    pub epoch: u64,
    /// The last revision that changed anything which is pushed: the version of the config.
    pub version: u64,
    /// The last revision that must not wait for the debounce: a credential or a node lost access.
    pub urgent: u64,
    /// The gateway's id.
    pub gateway_id: GatewayId,
    /// The day that signing keys are centred on, in days since 1970-01-01.
    pub day: u64,
    /// By id.
    pub tenants: BTreeMap<TenantId, Arc<TenantRecord>>,
    /// By name.
    pub buckets: BTreeMap<String, Arc<BucketRecord>>,
    /// Names of buckets by their logical id.
    pub bucket_names: HashMap<BucketId, String>,
    /// By access key id.
    pub credentials: BTreeMap<String, Arc<CredentialRecord>>,
    /// By name.
    pub nodes: BTreeMap<String, Arc<NodeRecord>>,
    /// Buckets whose IKs were lent to others, by the ids of both.
    pub sources: BTreeMap<String, Arc<SourceRecord>>,
}

/// Whether a key's value is part of what nodes are sent (or decides who is sent it).
pub(super) fn is_config(key: &str) -> bool {
    ![IK_PREFIX, ACTIVE_PREFIX, LENT_PREFIX, JOB_PREFIX, CHECK_PREFIX, REWRAP_PREFIX]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

impl State {
    pub(super) fn empty(epoch: u64) -> Self {
        Self {
            epoch,
            version: 0,
            urgent: 0,
            gateway_id: GatewayId::from_bytes([0; 16]),
            day: 0,
            tenants: BTreeMap::new(),
            buckets: BTreeMap::new(),
            bucket_names: HashMap::new(),
            credentials: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Takes over one change; `None` is a deletion.
    pub(super) fn apply(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        if let Some(name) = key.strip_prefix("bucket/") {
            if let Some(old) = self.buckets.remove(name) {
                // When two buckets exchange their names, the other's change may have come first.
                if self.bucket_names.get(&old.id).is_some_and(|known| known == name) {
                    self.bucket_names.remove(&old.id);
                }
            }
            if let Some(bucket) = record::<BucketRecord>(value)? {
                self.bucket_names.insert(bucket.id, bucket.name.clone());
                self.buckets.insert(name.to_owned(), bucket);
            }
        } else if let Some(id) = key.strip_prefix("tenant/") {
            let id: TenantId =
                id.parse().map_err(|_| Error::Internal("a tenant's key is no id".to_owned()))?;
            replace(&mut self.tenants, id, record(value)?);
        } else if let Some(id) = key.strip_prefix("credential/") {
            replace(&mut self.credentials, id.to_owned(), record(value)?);
        } else if let Some(name) = key.strip_prefix("node/") {
            replace(&mut self.nodes, name.to_owned(), record(value)?);
        } else if let Some(ids) = key.strip_prefix(SOURCE_PREFIX) {
            replace(&mut self.sources, ids.to_owned(), record(value)?);
        } else if let (SYSTEM, Some(bytes)) = (key, value) {
            self.gateway_id = decode::<SystemRecord>(bytes)?.gateway_id;
        } else if let (DAY_KEY, Some(bytes)) = (key, value) {
            self.day = decode::<DayRecord>(bytes)?.day;
        } else if key != CA && is_config(key) {
            // An unknown key was written by a newer program: going on would lose what it means.
            return Err(Error::Internal(format!("the store has an unknown key {key:?}")));
        }
        Ok(())
    }

    /// A bucket by its logical id.
    #[must_use]
    pub fn bucket(&self, id: BucketId) -> Option<&Arc<BucketRecord>> {
        self.buckets.get(self.bucket_names.get(&id)?)
    }

    /// The bucket that lies in a bucket of a backend.
    #[must_use]
    pub fn uses(&self, backend: &str, backend_bucket: &str) -> Option<&Arc<BucketRecord>> {
        let here = |bucket: &&Arc<BucketRecord>| {
            (&*bucket.backend, &*bucket.backend_bucket) == (backend, backend_bucket)
        };
        self.buckets.values().find(here)
    }

    /// A tenant by its name.
    #[must_use]
    pub fn tenant_named(&self, name: &str) -> Option<&Arc<TenantRecord>> {
        self.tenants.values().find(|tenant| tenant.name == name)
    }

    /// Whether a certificate's serial number is one that was issued to this node, is not revoked and not over.
    #[must_use]
    pub fn knows_certificate(&self, node: &str, serial: &str, now: u64) -> bool {
        let issued = self.nodes.get(node).map_or(&[][..], |node| &node.issued);
        issued.iter().any(|issued| issued.serial == serial && now < issued.not_after)
    }
}

fn record<T: Record>(value: Option<&[u8]>) -> Result<Option<Arc<T>>, Error> {
    value.map(|bytes| Ok(Arc::new(decode::<T>(bytes)?))).transpose()
}

fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
