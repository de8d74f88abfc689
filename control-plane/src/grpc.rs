//! The gRPC services: thin adaptors between the wire and the registry, the keys and the fan-out.

mod buckets;
mod config;
mod keys;
mod leases;
mod nodes;
mod rewraps;

pub(crate) use buckets::BucketsService;
pub(crate) use config::ConfigService;
pub(crate) use keys::KeysService;
pub(crate) use leases::Leases;
pub(crate) use nodes::NodesService;
pub(crate) use rewraps::RewrapsService;
use sealgate_envelope::{BucketId, IkId};

use crate::Error;

pub(crate) fn bucket_id(bytes: &[u8]) -> Result<BucketId, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Invalid("a bucket id has 16 bytes".to_owned()))?;
    Ok(BucketId::from_bytes(bytes))
}

fn ik_id(bytes: &[u8]) -> Result<IkId, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Invalid("an IK id has 16 bytes".to_owned()))?;
    Ok(IkId::from_bytes(bytes))
}
