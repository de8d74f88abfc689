//! The config that a node runs on: checked whole, then swapped in atomically, never a mixture of two versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use sealgate_envelope::ids::{BucketId, GatewayId, TenantId};
use sealgate_envelope::size;
use sealgate_policies as policies;
use sealgate_proto::v1 as wire;
use zeroize::Zeroizing;

use crate::auth::HmacSha1;
use crate::metrics::buckets::{OTHER, labelled};
use crate::s3::headers::encryption;

/// A checked config.
pub struct Snapshot {
    /// Fencing epoch: a lower one is refused.
    pub epoch: u64,
    /// The store's commit.
    pub version: u64,
    /// SHA-256 of the encoded snapshot.
    pub digest: [u8; 32],
    /// The gateway that upload records belong to.
    pub gateway: GatewayId,
    /// Regions that clients may sign for; the first is the default.
    pub regions: Vec<String>,
    work_buckets: HashMap<String, String>,
    buckets: HashMap<String, Arc<Bucket>>,
    credentials: HashMap<String, Arc<Credential>>,
    /// Backend buckets that are to be taken over: clients do not see them yet.
    pub adoptions: Vec<Adoption>,
}

/// A backend bucket that is to be taken over.
pub struct Adoption {
    /// What it will be.
    pub bucket: Arc<Bucket>,
    /// It has no logical id yet, and its objects are plain.
    pub plain: bool,
}

/// A bucket of a tenant that this node serves.
pub struct Bucket {
    /// The clients' name.
    pub name: String,
    /// The logical id that keys are bound to.
    pub id: BucketId,
    /// The owner.
    pub tenant: TenantId,
    /// A backend of the node's own config.
    pub backend: String,
    /// The bucket's name there.
    pub backend_bucket: String,
    /// Where upload records, notes and stashes go: a work bucket, or the data bucket itself.
    pub work_bucket: String,
    /// Region.
    pub region: String,
    /// Where it is in its life.
    pub state: BucketState,
    /// Suite of new objects.
    pub suite: sealgate_envelope::Suite,
    /// Which keys are encrypted.
    pub rules: Vec<policies::EncryptionRule>,
    /// Unix seconds.
    pub created: u64,
    /// The bucket's label in metrics.
    pub label: Arc<str>,
    /// Writes are refused for now, with an answer that clients repeat.
    pub frozen: bool,
    /// Goes up when what is held of its keys has to go; none: they are denied.
    pub keys: Option<u64>,
    /// Goes up when key records in it were replaced.
    pub records: u64,
    /// The number of the work on its envelopes that is under way; 0: none.
    pub rewrap: u64,
    /// What its backend is asked for with each write: headers that a policy there demands. Empty: nothing.
    pub backend_sse: HeaderMap,
}

/// Where a bucket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketState {
    /// Registered, not yet on the backend.
    Creating,
    /// In use.
    Active,
    /// Being deleted: no writes.
    Deleting,
    /// Taken out of deletion: no writes until what recovery needs is back in it.
    Restoring,
}

/// A client's credential: what it may do and the signing keys that check its signatures. No secret is here.
pub struct Credential {
    /// Access key id.
    pub access_key_id: String,
    /// Its tenant.
    pub tenant: TenantId,
    /// What it may do.
    pub grants: Vec<policies::Grant>,
    /// Unix seconds, none: no end.
    pub not_after: Option<u64>,
    /// The states that check SigV2: there for a credential that an operator made for it.
    pub sigv2: Option<HmacSha1>,
    /// Signing keys by day and region.
    signing_keys: HashMap<(String, String), Zeroizing<[u8; 32]>>,
}

/// Why a snapshot was refused: the resource, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected {
    /// "bucket/<name>", "credential/<id>", …
    pub resource: String,
    /// What is wrong.
    pub reason: String,
}

fn rejected(resource: impl Into<String>, reason: impl Into<String>) -> Rejected {
    Rejected { resource: resource.into(), reason: reason.into() }
}

impl Snapshot {
    /// Checks every resource. `backends` are those that the node's own config names.
    ///
    /// # Errors
    /// The first resource that is not valid; the old config keeps running.
    pub fn check(
        wire: wire::Snapshot,
        digest: [u8; 32],
        backends: &HashSet<String>,
    ) -> Result<Self, Rejected> {
        let gateway = GatewayId::from_bytes(id(&wire.gateway_id, "gateway")?);
        if wire.regions.is_empty() {
            return Err(rejected("regions", "no region is listed"));
        }
        let mut work_buckets = HashMap::new();
        for backend in wire.backends {
            if !backend.work_bucket.is_empty() {
                work_buckets.insert(backend.name, backend.work_bucket);
            }
        }
        let mut buckets = HashMap::with_capacity(wire.buckets.len());
        let mut ids = HashSet::new();
        let labelled = labelled(wire.buckets.iter().map(|bucket| bucket.name.as_str()));
        for bucket in wire.buckets {
            let mut bucket = Bucket::check(bucket, backends, &work_buckets, &wire.regions)?;
            if labelled.contains(&bucket.name) {
                bucket.label = bucket.name.as_str().into();
            }
            if !ids.insert(bucket.id) {
                return Err(rejected(
                    format!("bucket/{}", bucket.name),
                    "its logical id is another bucket's too",
                ));
            }
            let name = bucket.name.clone();
            if buckets.insert(name.clone(), Arc::new(bucket)).is_some() {
                return Err(rejected(format!("bucket/{name}"), "listed twice"));
            }
        }
        let mut adoptions = Vec::with_capacity(wire.adoptions.len());
        for wire::Adoption { bucket, plain } in wire.adoptions {
            let bucket = bucket.ok_or_else(|| rejected("adoptions", "one is of no bucket"))?;
            let bucket = Arc::new(Bucket::check(bucket, backends, &work_buckets, &wire.regions)?);
            adoptions.push(Adoption { bucket, plain });
        }
        let mut credentials = HashMap::with_capacity(wire.credentials.len());
        for credential in wire.credentials {
            let credential = Credential::check(credential)?;
            let name = credential.access_key_id.clone();
            if credentials.insert(name.clone(), Arc::new(credential)).is_some() {
                return Err(rejected(format!("credential/{name}"), "listed twice"));
            }
        }
        Ok(Self {
            epoch: wire.epoch,
            version: wire.version,
            digest,
            gateway,
            regions: wire.regions,
            work_buckets,
            buckets,
            credentials,
            adoptions,
        })
    }

    /// A bucket by the clients' name.
    pub fn bucket(&self, name: &str) -> Option<&Arc<Bucket>> {
        self.buckets.get(name)
    }

    /// All buckets, in no order.
    pub fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.buckets.values()
    }

    /// The work bucket of a backend; none when uploads keep their hidden objects in the data buckets.
    pub fn work_bucket(&self, backend: &str) -> Option<&str> {
        self.work_buckets.get(backend).map(String::as_str)
    }

    /// All work buckets, each with its backend's name before it.
    pub fn work_buckets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.work_buckets.iter().map(|(backend, work_bucket)| (backend.as_str(), work_bucket.as_str()))
    }

    /// A credential by its access key id.
    pub fn credential(&self, access_key_id: &str) -> Option<&Arc<Credential>> {
        self.credentials.get(access_key_id)
    }
}

impl Bucket {
    fn check(
        wire: wire::Bucket,
        backends: &HashSet<String>,
        work_buckets: &HashMap<String, String>,
        regions: &[String],
    ) -> Result<Self, Rejected> {
        let resource = format!("bucket/{}", wire.name);
        let state = match wire.state() {
            wire::BucketState::Creating => BucketState::Creating,
            wire::BucketState::Active => BucketState::Active,
            wire::BucketState::Deleting => BucketState::Deleting,
            wire::BucketState::Restoring => BucketState::Restoring,
            wire::BucketState::Unspecified => return Err(rejected(resource, "unknown state")),
        };
        policies::check_bucket_name(&wire.name).map_err(|error| rejected(&resource, error.to_string()))?;
        if !backends.contains(&wire.backend) {
            return Err(rejected(
                resource,
                format!("this node's config has no backend named {:?}", wire.backend),
            ));
        }
        if !regions.contains(&wire.region) {
            return Err(rejected(resource, format!("region {:?} is not listed", wire.region)));
        }
        let suite = u8::try_from(wire.suite)
            .ok()
            .and_then(sealgate_envelope::Suite::from_code)
            .ok_or_else(|| rejected(&resource, format!("unknown suite {}", wire.suite)))?;
        let work_bucket = match work_buckets.get(&wire.backend) {
            Some(name) => name.clone(),
            None => wire.backend_bucket.clone(),
        };
        Ok(Self {
            id: BucketId::from_bytes(id(&wire.bucket_id, &resource)?),
            tenant: TenantId::from_bytes(id(&wire.tenant_id, &resource)?),
            name: wire.name,
            backend: wire.backend,
            backend_bucket: wire.backend_bucket,
            work_bucket,
            region: wire.region,
            state,
            suite,
            rules: wire
                .rules
                .into_iter()
                .map(|rule| policies::EncryptionRule { prefix: rule.prefix, plain: rule.plain })
                .collect(),
            created: wire.created,
            label: OTHER.into(),
            frozen: wire.frozen,
            keys: (!wire.keys_denied).then_some(wire.keys),
            records: wire.records,
            rewrap: wire.rewrap,
            backend_sse: wire
                .backend_sse
                .map(|sse| backend_sse(&sse, &resource))
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// Its id, and where it lies: a replica that takes its place has its name and its id too.
    pub fn place(&self) -> (BucketId, &str, &str) {
        (self.id, &self.backend, &self.backend_bucket)
    }

    /// Whether everything in it is plain.
    pub fn encrypts_nothing(&self) -> bool {
        self.rules.iter().any(|rule| rule.prefix.is_empty()) && self.rules.iter().all(|rule| rule.plain)
    }

    /// Whether an object of this key is stored encrypted.
    pub fn encrypts(&self, key: &str) -> bool {
        policies::encryption(&self.rules, key) == policies::Encryption::Encrypted
    }

    /// The plaintext size that a listing shows for a stored size; none when no encrypted object can have that one.
    pub fn listed_size(&self, key: &str, stored: u64) -> Option<u64> {
        if self.encrypts(key) { size::listed_size(key.as_bytes(), stored) } else { Some(stored) }
    }
}

impl Credential {
    fn check(wire: wire::Credential) -> Result<Self, Rejected> {
        let resource = format!("credential/{}", wire.access_key_id);
        let mut signing_keys = HashMap::with_capacity(wire.signing_keys.len());
        for key in wire.signing_keys {
            let bytes = Zeroizing::new(key.key);
            let key_bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
                rejected(&resource, format!("the signing key of {} is not 32 bytes", key.date))
            })?;
            signing_keys.insert((key.date, key.region), Zeroizing::new(key_bytes));
        }
        let sigv2 = wire.sigv2.map(|states| sigv2_states(states, wire.not_after, &resource)).transpose()?;
        Ok(Self {
            tenant: TenantId::from_bytes(id(&wire.tenant_id, &resource)?),
            access_key_id: wire.access_key_id,
            grants: wire
                .grants
                .into_iter()
                .map(|grant| policies::Grant {
                    bucket: grant.bucket,
                    read: grant.read,
                    write: grant.write,
                    admin: grant.admin,
                    configure: grant.configure,
                })
                .collect(),
            not_after: (wire.not_after != 0).then_some(wire.not_after),
            sigv2,
            signing_keys,
        })
    }

    /// The signing key of a day (yyyymmdd) and region.
    pub fn signing_key(&self, date: &str, region: &str) -> Option<&Zeroizing<[u8; 32]>> {
        self.signing_keys.get(&(date.to_owned(), region.to_owned()))
    }
}

/// The states of SigV2 never age by themselves: without an end, they are refused.
fn sigv2_states(states: wire::SigV2States, not_after: u64, resource: &str) -> Result<HmacSha1, Rejected> {
    let state = |bytes: Vec<u8>| {
        let bytes = Zeroizing::new(bytes);
        let state: Result<[u8; 20], _> = bytes.as_slice().try_into();
        state.map(Zeroizing::new).map_err(|_| rejected(resource, "a SigV2 state is not 20 bytes"))
    };
    let (inner, outer) = (state(states.inner)?, state(states.outer)?);
    if not_after == 0 {
        return Err(rejected(resource, "it may sign with SigV2 and has no end"));
    }
    Ok(HmacSha1::new(inner, outer))
}

/// Headers of S3 as they go out.
fn backend_sse(sse: &wire::BackendSse, resource: &str) -> Result<HeaderMap, Rejected> {
    let known = matches!((&*sse.algorithm, &*sse.kms_key_id), ("aws:kms", _) | ("AES256", ""));
    if !known {
        return Err(rejected(resource, format!("unknown encryption {:?} at the backend", sse.algorithm)));
    }
    let mut headers = HeaderMap::new();
    for (name, text) in [(encryption::ENCRYPTION, &sse.algorithm), (encryption::KMS_KEY, &sse.kms_key_id)] {
        if !text.is_empty() {
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| rejected(resource, "its backend's key fits no header"))?;
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn id(bytes: &[u8], resource: &str) -> Result<[u8; 16], Rejected> {
    bytes.try_into().map_err(|_| rejected(resource, format!("an id has {} bytes, not 16", bytes.len())))
}
