//! The wire contract between the planes (`sealgate/v1/planes.proto`), and nothing else.
//!
//! Messages that carry key material have a hand-written `Debug` that shows no key.

use std::fmt;

/// Messages and services of version 1, generated from `sealgate/v1/planes.proto`.
pub mod v1 {
    #![allow(missing_docs, clippy::all, reason = "generated code")]
    tonic::include_proto!("sealgate.v1");
}

/// The largest snapshot fragment that a control plane puts into one message, in bytes.
pub const SNAPSHOT_CHUNK: usize = 1 << 20;

/// The largest snapshot that a node assembles, in bytes: 100,000 credentials with ten days of keys for two regions.
pub const SNAPSHOT_MAX: usize = 128 << 20;

/// The metadata of an UNAVAILABLE that says after how many whole seconds it is worth trying again.
pub const RETRY_AFTER: &str = "retry-after";

/// The metadata beside [`RETRY_AFTER`] which says that a KMS was not even asked, and is not going to be before: whoever hears it need
/// not pass the same question on again at once.
pub const NOT_ASKED: &str = "sealgate-not-asked";

/// Metadata of an UNAUTHENTICATED: the caller's node is revoked, and what it was given is not its any more.
pub const REVOKED: &str = "sealgate-revoked";

/// Seconds for which one node alone deletes a bucket, counted from its last BeginDelete; it stops by itself after three quarters.
pub const DELETION_LEASE: u64 = 120;

/// The URI scheme in a node certificate's SAN that names the node: `sealgate://node/<name>`.
pub const SAN_NODE: &str = "sealgate://node/";

/// The URI scheme in a node certificate's SAN that names a tenant it serves: `sealgate://tenant/<32 hex digits | *>`.
pub const SAN_TENANT: &str = "sealgate://tenant/";

impl fmt::Debug for v1::Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("ik_id", &self.ik_id).field("state", &self.state).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("date", &self.date)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
