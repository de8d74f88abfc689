//! The snapshot that a node runs on: a function of the registry, the node's tenants and nothing else.

use std::sync::Arc;

use prost::Message as _;
use sealgate_proto::v1;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    Error,
    registry::{
        Registry, State, Version,
        records::{BucketRecord, BucketState, GrantRecord, Tenants},
    },
    signing::SigningKeys,
};

/// An encoded snapshot. It contains signing keys: zeroized on drop.
pub(crate) struct Encoded {
    pub(crate) version: Version,
    pub(crate) digest: [u8; 32],
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Encodes what nodes of these tenants run on.
pub(crate) fn encode(
    registry: &Registry,
    state: &State,
    tenants: &Tenants,
    keys: &mut SigningKeys,
) -> Result<Arc<Encoded>, Error> {
    let defaults = registry.defaults();
    // In the operator's order: the first is the default.
    let regions = defaults.regions.clone();
    let mut backends: Vec<_> = defaults
        .backends
        .iter()
        .map(|(name, work_bucket)| v1::Backend { name: name.clone(), work_bucket: work_bucket.clone() })
        .collect();
    backends.sort_by(|a, b| a.name.cmp(&b.name));
    // One that is being adopted stands apart until it is taken over; one that was refused nowhere.
    let (adopted, own): (Vec<_>, Vec<_>) = state
        .buckets
        .values()
        .filter(|bucket| tenants.contains(bucket.tenant))
        .partition(|bucket| bucket.adoption().is_some());
    let adoptions = adopted
        .into_iter()
        .filter_map(|record| Some((record, record.adoption()?)))
        .filter(|(_, adoption)| adoption.refusal.is_empty())
        .map(|(record, adoption)| v1::Adoption { bucket: Some(bucket(state, record)), plain: adoption.plain })
        .collect();
    let buckets = own.into_iter().map(|record| bucket(state, record)).collect();
    let mut credentials = Vec::new();
    for credential in state.credentials.values().filter(|credential| tenants.contains(credential.tenant)) {
        let sigv2 = SigningKeys::sigv2_of(credential, state.day, registry.sealer())?;
        let keys = keys.of(credential, state.day, &regions, registry.sealer())?;
        let signing_keys = keys
            .iter()
            .map(|key| v1::SigningKey {
                date: key.date.clone(),
                region: key.region.clone(),
                key: key.key.to_vec(),
            })
            .collect();
        credentials.push(v1::Credential {
            access_key_id: credential.access_key_id.clone(),
            tenant_id: credential.tenant.as_bytes().to_vec(),
            grants: credential.grants.iter().map(grant).collect(),
            signing_keys,
            not_after: credential.not_after,
            sigv2: sigv2
                .map(|states| v1::SigV2States { inner: states.inner.to_vec(), outer: states.outer.to_vec() }),
        });
    }
    let mut snapshot = v1::Snapshot {
        epoch: state.epoch,
        version: state.version,
        gateway_id: state.gateway_id.as_bytes().to_vec(),
        regions,
        backends,
        buckets,
        credentials,
        adoptions,
    };
    let bytes = Zeroizing::new(snapshot.encode_to_vec());
    for credential in &mut snapshot.credentials {
        credential.signing_keys.iter_mut().for_each(|key| key.key.zeroize());
        if let Some(states) = &mut credential.sigv2 {
            states.inner.zeroize();
            states.outer.zeroize();
        }
    }
    if bytes.len() > sealgate_proto::SNAPSHOT_MAX {
        return Err(Error::Internal("the snapshot is larger than nodes take".to_owned()));
    }
    let digest = Sha256::digest(&*bytes).into();
    Ok(Arc::new(Encoded { version: Version { epoch: state.epoch, version: state.version }, digest, bytes }))
}

/// A bucket on the wire.
pub(crate) fn bucket(state: &State, record: &BucketRecord) -> v1::Bucket {
    let tenant = state.tenants.get(&record.tenant);
    let state = match record.state {
        BucketState::Creating => v1::BucketState::Creating,
        BucketState::Active => v1::BucketState::Active,
        BucketState::Deleting => v1::BucketState::Deleting,
        BucketState::Restoring => v1::BucketState::Restoring,
    };
    v1::Bucket {
        name: record.name.clone(),
        bucket_id: record.id.as_bytes().to_vec(),
        tenant_id: record.tenant.as_bytes().to_vec(),
        backend: record.backend.clone(),
        backend_bucket: record.backend_bucket.clone(),
        region: record.region.clone(),
        state: state.into(),
        suite: record.suite.into(),
        rules: record
            .rules
            .iter()
            .map(|rule| v1::EncryptionRule { prefix: rule.prefix.clone(), plain: rule.plain })
            .collect(),
        created: record.created,
        frozen: record.frozen,
        // Both only grow, and so does their sum.
        keys: record.keys + tenant.map_or(0, |tenant| tenant.keys),
        keys_denied: tenant.is_some_and(|tenant| tenant.usable().is_err()),
        records: record.records,
        rewrap: record.rewrap,
        backend_sse: record.backend_sse.as_ref().map(|sse| v1::BackendSse {
            algorithm: sse.algorithm.name().to_owned(),
            kms_key_id: sse.kms_key_id.clone().unwrap_or_default(),
        }),
    }
}

fn grant(record: &GrantRecord) -> v1::Grant {
    let GrantRecord { bucket, read, write, admin, configure } = record.clone();
    v1::Grant { bucket, read, write, admin, configure }
}
