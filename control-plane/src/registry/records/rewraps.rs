//! What the store knows of the work on a bucket's envelopes.

use sealgate_envelope::{BucketId, IkId};
use serde::{Deserialize, Serialize};

use super::text;

/// IKs that one work is about: a record of a value's length has to hold them, and what stays under them.
pub(crate) const MAX_IKS: usize = 1_000;
/// Bytes of a record for what stays, as it is written down.
const LEFT_BYTES: usize = 16 << 10;
/// Bytes of these for keys of objects.
const EXAMPLES_BYTES: usize = 4 << 10;
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
    /// More stays than `left` has room for: what is not in it is not known, and not nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
    /// Open uploads under the IKs when the pass began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) open: u64,
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
        known.then(|| self.tally.under(ik)).flatten()
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

    /// Objects that stay under an IK; none when that is not known, since there was no room for it.
    pub(crate) fn under(&self, ik: IkId) -> Option<u64> {
        let counted: u64 = self.left.iter().filter(|left| left.ik == ik).map(|left| left.count).sum();
        (!self.cut || counted > 0).then_some(counted)
    }

    /// The same with what a node sent held to bounds. Examples go first, then what stays under some IKs, which is said.
    pub(crate) fn bounded(mut self) -> Self {
        let (mut room, mut examples) = (LEFT_BYTES, EXAMPLES_BYTES);
        let mut kept = Vec::with_capacity(self.left.len());
        for mut left in std::mem::take(&mut self.left) {
            left.reason.truncate(left.reason.floor_char_boundary(200));
            left.examples.truncate(MAX_EXAMPLES);
            left.examples.retain(|example| take(&mut examples, written(example)));
            if take(&mut room, written(&left)) {
                kept.push(left);
            } else {
                self.cut = true;
            }
        }
        self.left = kept;
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Takes `bytes` from what is left, if there are as many.
fn take(left: &mut usize, bytes: usize) -> bool {
    let after = left.checked_sub(bytes);
    *left = after.unwrap_or(*left);
    after.is_some()
}

/// How long something is as a record has it, with what separates it from the next.
fn written(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len() + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{IkId, Left, MAX_IKS, RewrapRecord, Tally, written};

    fn ik(number: u16) -> IkId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        IkId::from_bytes(bytes)
    }

    fn left(number: u16, example: &str) -> Left {
        let reason = "versioning is suspended, and a write would replace an older version".to_owned();
        Left { ik: ik(number), reason, count: 3, examples: vec![example.to_owned(); 30] }
    }

    fn record(keys: u16, tally: Tally) -> RewrapRecord {
        RewrapRecord {
            bucket: sealgate_envelope::BucketId::from_bytes([1; 16]),
            number: u64::MAX,
            iks: (0..keys).map(|number| ik(number).to_string()).collect(),
            by: "\0".repeat(200),
            started: u64::MAX,
            ended: 1,
            paused: false,
            cancelled: false,
            rate: u32::MAX,
            concurrent: u32::MAX,
            pass: u32::MAX,
            cursor: "\0".repeat(1024),
            tally,
            before: Tally::default(),
            trouble: "\0".repeat(1024),
            node: "n".repeat(64),
        }
    }

    #[test]
    fn what_stays_is_counted_for_every_key_before_objects_are_named() {
        let all = (0..80).map(|number| left(number, &"k".repeat(1024))).collect();
        let tally = Tally { left: all, ..Tally::default() }.bounded();
        let record = record(80, tally);
        assert!(!record.tally.cut);
        assert!((0..80).all(|number| record.left_under(ik(number)) == Some(3)));
        let named: Vec<_> = record.tally.left.iter().map(|left| left.examples.len()).collect();
        assert_eq!((named[0], named.iter().sum::<usize>()), (3, 3));
    }

    #[test]
    fn what_there_is_no_room_for_is_not_taken_for_nothing() {
        let all = (0..1_000).map(|number| left(number, &"\u{1}".repeat(1024))).collect();
        let record = record(1_000, Tally { left: all, ..Tally::default() }.bounded());
        assert!(written(&record) < sealgate_store::MAX_VALUE, "{}", written(&record));
        assert_eq!(usize::from(1_000_u16), MAX_IKS);
        assert_eq!(record.left_under(ik(0)), Some(3));
        assert_eq!(record.left_under(ik(999)), None);
        assert_eq!(record.left_under(ik(1_000)), None, "no key of this work");
    }
}
