//! What the store knows of the work on a bucket's envelopes.

use sealgate_envelope::{BucketId, IkId};
use serde::{Deserialize, Serialize};

use super::text;

/// Reasons that are kept apart; more are counted with the last.
const MAX_LEFT: usize = 64;
/// Keys of objects that are named for each.
const MAX_EXAMPLES: usize = 20;

/// The work on the envelopes of one bucket: the present one, or the last.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewrapRecord {
    #[serde(with = "text")]
    pub(crate) bucket: BucketId,
    /// Goes up with each start and resumption: a node that works by an earlier one is heard no more.
    pub(crate) number: u64,
    /// The IKs, in hex.
    pub(crate) iks: Vec<String>,
    /// Who began it, by their own word.
    pub(crate) by: String,
    /// Unix seconds.
    pub(crate) started: u64,
    /// Unix seconds; 0 before.
    pub(crate) ended: u64,
    /// An operator has stopped it for now.
    pub(crate) paused: bool,
    /// An operator has ended it before its end.
    pub(crate) cancelled: bool,
    /// Objects looked at a second.
    pub(crate) rate: u32,
    /// Objects at once.
    pub(crate) concurrent: u32,
    /// Passes over the bucket, this one included.
    pub(crate) pass: u32,
    /// The last key of this pass that is done.
    pub(crate) cursor: String,
    /// What this pass has found until there.
    pub(crate) tally: Tally,
    /// What the passes before it did.
    pub(crate) before: Tally,
    /// Why it does not go on at the moment; empty: it does.
    pub(crate) trouble: String,
    /// The node that reported last.
    pub(crate) node: String,
}

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    pub(crate) looked_at: u64,
    pub(crate) rewrapped: u64,
    pub(crate) reencrypted: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) changed: u64,
    pub(crate) etags: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<Left>,
}

/// What stays under an IK, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Left {
    #[serde(with = "text")]
    pub(crate) ik: IkId,
    pub(crate) reason: String,
    pub(crate) count: u64,
    /// Keys of the first of them.
    pub(crate) examples: Vec<String>,
}

impl RewrapRecord {
    /// Whether there is anything to do.
    pub(crate) fn open(&self) -> bool {
        self.ended == 0
    }

    /// Objects that stay under an IK by the last pass that has come to its end, if this work was about it.
    pub(crate) fn left_under(&self, ik: IkId) -> Option<u64> {
        let known = self.ended > 0 && !self.cancelled && self.iks.contains(&ik.to_string());
        let of = self.tally.left.iter().filter(|left| left.ik == ik);
        known.then(|| of.map(|left| left.count).sum())
    }
}

impl Tally {
    /// Adds what another pass did. What stays is what the last one found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.looked_at += other.looked_at;
        self.rewrapped += other.rewrapped;
        self.reencrypted += other.reencrypted;
        self.moved_bytes += other.moved_bytes;
        self.changed += other.changed;
        self.etags += other.etags;
    }

    /// Whether a pass has found nothing to do, so that what it says of the bucket is all that there is.
    pub(crate) fn settled(&self) -> bool {
        self.rewrapped == 0 && self.reencrypted == 0 && self.changed == 0
    }

    /// The same with what a node sent held to bounds.
    pub(crate) fn bounded(mut self) -> Self {
        self.left.truncate(MAX_LEFT);
        for left in &mut self.left {
            left.reason.truncate(left.reason.floor_char_boundary(200));
            left.examples.truncate(MAX_EXAMPLES);
        }
        self
    }
}
