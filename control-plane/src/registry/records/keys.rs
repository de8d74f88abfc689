//! What the store knows of keys: tenants with their KEKs, IKs, and the work on them.

use sealgate_envelope::{BucketId, IkId, IkRecord, TenantId};
use sealgate_store::{NoRecord, Record};
use serde::{Deserialize, Serialize};

use super::{bytes, text};
use crate::Error;

/// Replaced records of an IK that are remembered: so many rotations of its KEK.
const MAX_OLD: usize = 100;

/// A tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRecord {
    /// Its id, which stands in IK records.
    #[serde(with = "text")]
    pub id: TenantId,
    /// What people call it; unique.
    pub name: String,
    /// The KEK that wraps its IKs from now on.
    pub kek: String,
    /// Unix seconds.
    pub created: u64,
    /// How long an IK may go on after its hard life when the KMS cannot be reached, in seconds.
    pub unproved_life: u64,
    /// How often its KEK was rotated or replaced. What an earlier generation wrapped is to be wrapped anew.
    pub generation: u64,
    /// Every KEK that ever wrapped one of its IKs, [`Self::kek`] included: what shredding destroys.
    pub keks: Vec<KekUse>,
    /// Its keys may not be used.
    pub cut: Option<Cut>,
    /// Goes up when what nodes were given of its keys is void.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys: u64,
    /// A longer [`Self::unproved_life`] that it had, as long as a node that did not hear of the change may go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longer: Option<Longer>,
}

/// An unproved life of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Longer {
    /// Seconds.
    pub life: u64,
    /// Unix seconds at which nobody holds anything by it.
    pub until: u64,
}

impl TenantRecord {
    /// The longest unproved life that a node may go by at `now`.
    #[must_use]
    pub fn longest_life(&self, now: u64) -> u64 {
        let longer = self.longer.filter(|longer| now < longer.until);
        longer.map_or(self.unproved_life, |longer| longer.life.max(self.unproved_life))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A KEK that wraps IKs of a tenant, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KekUse {
    /// Its reference.
    pub kek: String,
    /// Its versions that are known to have wrapped one; empty texts are of a KMS that does not tell.
    pub versions: Vec<String>,
    /// Every copy of every record is seen under another one: the recovery card does not name it any more.
    pub cleared: bool,
    /// Unix seconds at which the KMS destroys it, or has.
    pub destroyed: Option<u64>,
    /// It is about to be: nothing begins to need it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroying: bool,
}

/// Since when, and for how long, nobody gets the keys of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Unix seconds.
    pub at: u64,
    /// For good: its KEKs are destroyed.
    pub shred: bool,
    /// Unix seconds at which the last node was, or is, certain to hold none of its IKs; 0 while it is not known.
    pub caches_empty_at: u64,
}

impl KekUse {
    pub(crate) fn new(kek: &str) -> Self {
        Self { kek: kek.to_owned(), versions: Vec::new(), cleared: false, destroyed: None, destroying: false }
    }
}

impl TenantRecord {
    /// Whether its keys may be used now.
    ///
    /// # Errors
    /// [`Error::Denied`] with what was done to them.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        match &self.cut {
            None => Ok(()),
            Some(cut) if cut.shred => Err(Error::Denied(format!("the tenant {:?} was shredded", self.name))),
            Some(_) => Err(Error::Denied(format!("the keys of the tenant {:?} are disabled", self.name))),
        }
    }

    /// Whether a KEK is destroyed, or about to be.
    pub(crate) fn loses(&self, kek: &str) -> bool {
        self.keks.iter().any(|used| used.kek == kek && (used.destroying || used.destroyed.is_some()))
    }

    /// Whether a KEK wraps its IKs, or ever did.
    pub(crate) fn uses(&self, kek: &str) -> bool {
        self.kek == kek || self.keks.iter().any(|used| used.kek == kek)
    }

    /// Takes down that a KEK version wraps one of its IKs; whether that is new.
    pub(crate) fn note(&mut self, kek: &str, version: &str) -> bool {
        if !self.keks.iter().any(|used| used.kek == kek) {
            self.keks.push(KekUse::new(kek));
        }
        let mut new = false;
        for used in self.keks.iter_mut().filter(|used| used.kek == kek) {
            new |= std::mem::take(&mut used.cleared);
            if !used.versions.iter().any(|known| known == version) {
                used.versions.push(version.to_owned());
                new = true;
            }
        }
        new
    }
}

/// A tenant as the first version of the store had it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantV1 {
    #[serde(with = "text")]
    id: TenantId,
    name: String,
    kek: String,
    created: u64,
    unproved_life: u64,
}

impl Record for TenantV1 {
    const VERSION: u8 = 1;
    type Previous = NoRecord;
    fn migrate(previous: NoRecord) -> Self {
        match previous {}
    }
}

impl Record for TenantRecord {
    const VERSION: u8 = 2;
    type Previous = TenantV1;
    fn migrate(previous: TenantV1) -> Self {
        let TenantV1 { id, name, kek, created, unproved_life } = previous;
        // Its versions come to light with the first work on its IKs.
        let keks = vec![KekUse::new(&kek)];
        Self { id, name, kek, created, unproved_life, generation: 0, keks, cut: None, keys: 0, longer: None }
    }
}

/// Where an IK is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IkState {
    /// For new objects.
    Active,
    /// For reading only.
    DecryptOnly,
    /// Refused online.
    Retired,
    /// Refused, and counted as disclosed.
    Compromised,
}

/// An IK as the store keeps it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IkEntry {
    /// The IK record of the object format: wrapped, not secret.
    #[serde(with = "bytes")]
    pub(crate) record: Vec<u8>,
    pub(crate) state: IkState,
    /// A node has reported the copy in the bucket: without it, nobody gets the key.
    pub(crate) confirmed: bool,
    /// The tenant's generation in which the record was wrapped.
    pub(crate) generation: u64,
    /// The version that wrapped it, as far as the KMS tells.
    pub(crate) version: String,
    /// The records before it, the newest last: copies of them are to go from the buckets, whenever one is met there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) old: Vec<OldCopy>,
}

/// An IK record that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OldCopy {
    /// The digest that its name in a bucket ends with, in hex.
    pub(crate) digest: String,
    pub(crate) kek: String,
    pub(crate) version: String,
}

impl IkEntry {
    /// One for reading, of no generation: the next work on the tenant's keys wraps it anew.
    pub(crate) fn taken_in(record: Vec<u8>, version: &str) -> Self {
        let (state, version) = (IkState::DecryptOnly, version.to_owned());
        Self { record, state, confirmed: true, generation: 0, version, old: Vec::new() }
    }

    /// Takes down a record that is not the IK's, or is not any more; whether it was not known.
    pub(crate) fn replaced(&mut self, copy: OldCopy) -> bool {
        if self.old.iter().any(|known| known.digest == copy.digest) {
            return false;
        }
        if self.old.len() >= MAX_OLD {
            self.old.remove(0);
        }
        self.old.push(copy);
        true
    }
}

impl OldCopy {
    pub(crate) fn of(record: &IkRecord, version: &str) -> Result<Self, Error> {
        let (digest, kek) = (hex::encode(record.digest()?), record.context.kek.clone());
        Ok(Self { digest, kek, version: version.to_owned() })
    }
}

/// An IK as the first version of the store had it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IkEntryV1 {
    #[serde(with = "bytes")]
    record: Vec<u8>,
    state: IkState,
    confirmed: bool,
}

impl Record for IkEntryV1 {
    const VERSION: u8 = 1;
    type Previous = NoRecord;
    fn migrate(previous: NoRecord) -> Self {
        match previous {}
    }
}

impl Record for IkEntry {
    const VERSION: u8 = 2;
    type Previous = IkEntryV1;
    fn migrate(previous: IkEntryV1) -> Self {
        let IkEntryV1 { record, state, confirmed } = previous;
        let version = IkRecord::parse(&record).map(|parsed| parsed.context.kek_version).unwrap_or_default();
        Self { record, state, confirmed, generation: 0, version, old: Vec::new() }
    }
}

/// The newest IK of a bucket, and the one that it takes over from once it is confirmed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActiveRecord {
    #[serde(with = "text")]
    pub(crate) ik: IkId,
    pub(crate) created: u64,
    /// The id before it, in hex; empty for the first.
    pub(crate) previous: String,
    /// An operator wants another one with the next write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ended: bool,
}

/// An IK whose record lies in another bucket too, since copies there name it in their recovery blocks.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LentRecord {
    /// The bucket whose IK it is, which may be deleted by now.
    #[serde(with = "text")]
    pub(crate) owner: BucketId,
}

/// A bucket whose IKs were lent to another: what the recovery card allows for the other's sake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// The tenant of both.
    #[serde(with = "text")]
    pub tenant: TenantId,
    /// The bucket whose IKs they are.
    #[serde(with = "text")]
    pub owner: BucketId,
}

/// The re-wrap of a tenant's IKs under its KEK's newest version: one at a time, from wherever the last process stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRecord {
    #[serde(with = "text")]
    pub(crate) tenant: TenantId,
    /// What is wrapped in an earlier one is its work.
    pub(crate) generation: u64,
    /// Unix seconds.
    pub(crate) started: u64,
    /// Records a second, at most.
    pub(crate) rate: u32,
    /// The next of the 256 parts of all bucket ids; 256: all were looked at.
    pub(crate) part: u32,
    /// Records that were wrapped anew.
    pub(crate) rewrapped: u64,
    /// Records of the present pass that the KMS refused.
    pub(crate) refused: u64,
    /// Why it does not go on, or what was refused last; empty: nothing.
    pub(crate) trouble: String,
    /// Unix seconds at which every copy was seen; 0 before.
    pub(crate) ended: u64,
}

/// What a look at a bucket's key records, by a listing, has shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRecord {
    /// The store's revision when the records were given to the node: what was written no later lies in the bucket.
    pub(crate) revision: u64,
    /// The bucket's wish that it fulfils.
    pub(crate) records: u64,
    /// Unix seconds.
    pub(crate) at: u64,
    pub(crate) node: String,
    /// Copies of replaced records that could not be removed.
    pub(crate) left: u64,
}
