//! What lies in the store, and under which keys.
//!
//! `sys/…` the gateway itself · `tenant/<id>` · `bucket/<name>` · `credential/<access key id>` · `node/<name>` ·
//! `source/<bucket id>/<bucket id>` · `ik/<bucket id>/<IK id>` · `active/<bucket id>` · `lent/<bucket id>/<IK id>` ·
//! `job/<tenant id>` · `check/<bucket id>` · `rewrap/<bucket id>`. The last six are not part of what is pushed to nodes.

mod keys;
mod rewraps;

use std::{fmt::Display, str::FromStr};

pub(crate) use keys::{ActiveRecord, CheckRecord, IkEntry, JobRecord, LentRecord, OldCopy};
pub use keys::{Cut, IkState, KekUse, Longer, SourceRecord, TenantRecord};
pub(crate) use rewraps::{Left, MAX_IKS, RewrapRecord, Tally};
use sealgate_envelope::{BucketId, GatewayId, IkId, TenantId};
use sealgate_store::{NoRecord, Record};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) const SYSTEM: &str = "sys/gateway";
pub(crate) const CA: &str = "sys/ca";
pub(crate) const DAY_KEY: &str = "sys/day";
pub(crate) const IK_PREFIX: &str = "ik/";
pub(crate) const ACTIVE_PREFIX: &str = "active/";
pub(crate) const LENT_PREFIX: &str = "lent/";
pub(crate) const SOURCE_PREFIX: &str = "source/";
pub(crate) const JOB_PREFIX: &str = "job/";
pub(crate) const CHECK_PREFIX: &str = "check/";
pub(crate) const REWRAP_PREFIX: &str = "rewrap/";

pub(crate) fn tenant_key(id: TenantId) -> String {
    format!("tenant/{id}")
}

pub(crate) fn bucket_key(name: &str) -> String {
    format!("bucket/{name}")
}

pub(crate) fn credential_key(access_key_id: &str) -> String {
    format!("credential/{access_key_id}")
}

pub(crate) fn node_key(name: &str) -> String {
    format!("node/{name}")
}

pub(crate) fn ik_key(bucket: BucketId, ik: IkId) -> String {
    format!("{IK_PREFIX}{bucket}/{ik}")
}

pub(crate) fn active_key(bucket: BucketId) -> String {
    format!("{ACTIVE_PREFIX}{bucket}")
}

pub(crate) fn lent_key(target: BucketId, ik: IkId) -> String {
    format!("{LENT_PREFIX}{target}/{ik}")
}

pub(crate) fn source_key(target: BucketId, owner: BucketId) -> String {
    format!("{SOURCE_PREFIX}{target}/{owner}")
}

pub(crate) fn job_key(tenant: TenantId) -> String {
    format!("{JOB_PREFIX}{tenant}")
}

pub(crate) fn check_key(bucket: BucketId) -> String {
    format!("{CHECK_PREFIX}{bucket}")
}

pub(crate) fn rewrap_key(bucket: BucketId) -> String {
    format!("{REWRAP_PREFIX}{bucket}")
}

/// Ids are stored as their text.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};
    use serde::de::Error as _;

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("not an id"))
    }
}

/// Binary values are stored as hex.
pub(crate) mod bytes {
    use super::{Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not hex"))
    }
}

macro_rules! first_version {
    ($($record:ty),+) => {$(
        impl Record for $record {
            const VERSION: u8 = 1;
            type Previous = NoRecord;
            fn migrate(previous: NoRecord) -> Self {
                match previous {}
            }
        }
    )+};
}

first_version!(
    SystemRecord,
    CaRecord,
    DayRecord,
    BucketRecord,
    CredentialRecord,
    NodeRecord,
    ActiveRecord,
    LentRecord,
    SourceRecord,
    JobRecord,
    CheckRecord,
    RewrapRecord
);

/// The gateway's identity, and the key that seals the store's secrets, wrapped by the system KEK.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SystemRecord {
    #[serde(with = "text")]
    pub(crate) gateway_id: GatewayId,
    pub(crate) kek: String,
    pub(crate) kek_version: String,
    #[serde(with = "bytes")]
    pub(crate) wrapped_store_key: Vec<u8>,
}

/// The CA for node certificates.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaRecord {
    pub(crate) certificate: String,
    #[serde(with = "bytes")]
    pub(crate) sealed_key: Vec<u8>,
}

/// The day (since 1970-01-01, UTC) that the pushed signing keys are centred on.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DayRecord {
    pub(crate) day: u64,
}

/// Where a bucket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketState {
    /// Registered, not yet made on the backend.
    Creating,
    /// In use.
    Active,
    /// Being deleted: no writes.
    Deleting,
    /// Taken out of deletion: no writes until a node has written back what recovery needs.
    Restoring,
}

/// One encryption rule of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRecord {
    /// What keys begin with.
    pub prefix: String,
    /// Stored as they come, instead of encrypted.
    pub plain: bool,
}

/// A bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketRecord {
    /// Its name, unique over all tenants.
    pub name: String,
    /// Its logical id, which stands in IK records and never changes.
    #[serde(with = "text")]
    pub id: BucketId,
    /// The tenant that owns it.
    #[serde(with = "text")]
    pub tenant: TenantId,
    /// The backend, as the nodes' config files name it.
    pub backend: String,
    /// Its name there.
    pub backend_bucket: String,
    /// Its region.
    pub region: String,
    /// Where it is in its life.
    pub state: BucketState,
    /// 1 AES-256-GCM, 2 ChaCha20-Poly1305: for new objects.
    pub suite: u8,
    /// Longest prefix wins.
    pub rules: Vec<RuleRecord>,
    /// Unix seconds.
    pub created: u64,
    /// Of a bucket that was there before it was registered: what is believed of it, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<AdoptionRecord>,
    /// Writes are refused for now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub frozen: bool,
    /// Goes up when nodes must drop what they hold of its IKs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys: u64,
    /// Goes up when the key records in it are to be looked at: some were replaced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub records: u64,
    /// The number of the work on its envelopes that nodes are to do; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rewrap: u64,
    /// What its backend is asked to encrypt with: what a policy there may demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_sse: Option<BackendSse>,
}

/// The encryption that every write asks a backend for, beside the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSse {
    /// By whose keys.
    pub algorithm: SseAlgorithm,
    /// A key of the backend's KMS; none: its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// `x-amz-server-side-encryption`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SseAlgorithm {
    /// SSE-S3.
    #[serde(rename = "AES256")]
    Aes256,
    /// SSE-KMS.
    #[serde(rename = "aws:kms")]
    Kms,
}

impl SseAlgorithm {
    /// The header's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

/// How a bucket that was there already is, or was, taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionRecord {
    /// It had no logical id, and its objects are plain.
    pub plain: bool,
    /// Logical buckets of the tenant whose key records may be believed: the recovery card's. Empty once it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// KEK references that may be believed: the recovery card's. Empty once it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keks: Vec<String>,
    /// Key records in the bucket that the store has now.
    #[serde(default)]
    pub keys: u64,
    /// Key records in the bucket that were not believed, or did not open.
    #[serde(default)]
    pub refused_keys: u64,
    /// Why it is not taken over; empty while it is not known, and once it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refusal: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// One grant of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// A bucket's name or `*`.
    pub bucket: String,
    /// Read objects and list.
    #[serde(default)]
    pub read: bool,
    /// Write and delete objects.
    #[serde(default)]
    pub write: bool,
    /// Create and delete buckets.
    #[serde(default)]
    pub admin: bool,
    /// Reconfigure buckets on their storage.
    #[serde(default)]
    pub configure: bool,
}

/// A client's credential. The secret is sealed under the store key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRecord {
    /// `SG` and 18 upper-case letters or digits.
    pub access_key_id: String,
    /// The tenant that it belongs to.
    #[serde(with = "text")]
    pub tenant: TenantId,
    /// What people call it.
    pub label: String,
    /// What it may do.
    pub grants: Vec<GrantRecord>,
    #[serde(with = "bytes")]
    pub(crate) sealed_secret: Vec<u8>,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds from which it is void; 0: never.
    pub not_after: u64,
    /// It may sign with Signature Version 2 too, and then it has an end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sigv2: bool,
}

/// Which tenants a node serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenants {
    /// All, those made later included.
    All,
    /// These only; sorted.
    These(Vec<TenantId>),
}

impl Tenants {
    /// Whether the tenant is among them.
    #[must_use]
    pub fn contains(&self, tenant: TenantId) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(&tenant),
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::These(ids), Self::These(others)) => {
                let mut all = [&ids[..], others].concat();
                all.sort_unstable();
                all.dedup();
                Self::These(all)
            }
            _ => Self::All,
        }
    }

    /// `*`, or the ids in hex.
    #[must_use]
    pub fn to_texts(&self) -> Vec<String> {
        match self {
            Self::All => vec!["*".to_owned()],
            Self::These(ids) => ids.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads what [`Self::to_texts`] wrote; `None` for anything else, an empty list included.
    #[must_use]
    pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> Option<Self> {
        if texts.iter().any(|text| text.as_ref() == "*") {
            return Some(Self::All);
        }
        let mut ids: Vec<TenantId> =
            texts.iter().map(|text| text.as_ref().parse().ok()).collect::<Option<_>>()?;
        ids.sort_unstable();
        ids.dedup();
        (!ids.is_empty()).then_some(Self::These(ids))
    }
}

impl Serialize for Tenants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_texts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Self::from_texts(&texts).ok_or_else(|| D::Error::custom("not a list of tenants"))
    }
}

/// One certificate of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The certificate's serial number, in hex.
    pub serial: String,
    /// Unix seconds of its end.
    pub not_after: u64,
}

/// A node. Its private keys are not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// Its name.
    pub name: String,
    /// The tenants that its certificates name.
    pub tenants: Tenants,
    /// Its certificates that are not revoked, those that are over among them until the next one is issued; empty once it is revoked.
    pub issued: Vec<Issued>,
    /// The tenants of certificates that a change of tenants has revoked: the process that had them may still be serving these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Tenants>,
    /// Its last revocation: whoever had its certificates may hold keys for a while longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
    /// Unix seconds of the first certificate.
    pub created: u64,
}

/// That certificates of a node were revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Unix seconds. From then on it got no key.
    pub at: u64,
    /// The tenants that it served, those of revocations shortly before included.
    pub tenants: Tenants,
}
