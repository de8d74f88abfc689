//! What a pass over a bucket has found and done.

use std::collections::BTreeMap;

use sealgate_envelope::ids::IkId;
use sealgate_proto::v1 as wire;

/// Keys of objects that are named for each reason.
const EXAMPLES: usize = 20;
/// Bytes of all of them in a report, and how often keys and reasons are in it: the control plane takes 64 KiB.
const EXAMPLES_BYTES: usize = 12 << 10;
const LEFT: usize = 300;

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is under none of the keys.
    Untouched,
    /// Its envelope is wrapped anew.
    Rewrapped(Stored),
    /// It is encrypted anew.
    Reencrypted(Stored),
    /// A client changed it meanwhile: the next pass looks again.
    Changed,
    /// It stays under a key, and why.
    Left(IkId, &'static str),
}

/// What a write cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Stored bytes that passed through this node.
    pub moved: u64,
    /// The object has another ETag now.
    pub etag_changed: bool,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Tally {
    /// All but what stays.
    pub counts: wire::RewrapTally,
    left: BTreeMap<(IkId, String), (u64, Vec<String>)>,
}

impl Tally {
    /// What a node before this one has reported.
    #[must_use]
    pub fn from_wire(mut counts: wire::RewrapTally) -> Self {
        let mut left = BTreeMap::new();
        for wire::RewrapLeft { ik_id, reason, count, examples } in std::mem::take(&mut counts.left) {
            if let Ok(ik) = <[u8; 16]>::try_from(ik_id.as_slice()) {
                left.insert((IkId::from_bytes(ik), reason), (count, examples));
            }
        }
        Self { counts, left }
    }

    /// The same for a pass that begins at the first key once more: what was done stays done, all is looked at again.
    pub fn again(&mut self) {
        (self.counts.looked_at, self.counts.changed, self.counts.open, self.counts.cut) = (0, 0, 0, false);
        self.left.clear();
    }

    /// What was done since `before`, and all else as it was: the rest is looked at again.
    #[must_use]
    pub fn done_since(self, before: wire::RewrapTally) -> Self {
        let mut this = Self::from_wire(before);
        let (of, done) = (&mut this.counts, self.counts);
        (of.rewrapped, of.reencrypted) = (done.rewrapped, done.reencrypted);
        (of.moved_bytes, of.etags) = (done.moved_bytes, done.etags);
        this
    }

    /// For a report: with as much of what stays as fits, and whether that is all.
    #[must_use]
    pub fn to_wire(&self) -> wire::RewrapTally {
        let mut room = EXAMPLES_BYTES;
        let mut named = |examples: &[String]| -> Vec<String> {
            let fits = |example: &&String| {
                let after = room.checked_sub(example.len());
                room = after.unwrap_or(room);
                after.is_some()
            };
            examples.iter().filter(fits).cloned().collect()
        };
        let left = self.left.iter().take(LEFT).map(|((ik, reason), (count, examples))| wire::RewrapLeft {
            ik_id: ik.as_bytes().to_vec(),
            reason: reason.clone(),
            count: *count,
            examples: named(examples),
        });
        let left = left.collect();
        wire::RewrapTally { left, cut: self.counts.cut || self.left.len() > LEFT, ..self.counts.clone() }
    }

    /// Counts one object, or version of one.
    pub fn add(&mut self, key: &str, done: Done) {
        let counts = &mut self.counts;
        counts.looked_at += 1;
        match done {
            Done::Untouched => {}
            Done::Rewrapped(stored) => {
                counts.rewrapped += 1;
                counts.moved_bytes += stored.moved;
                counts.etags += u64::from(stored.etag_changed);
            }
            Done::Reencrypted(stored) => {
                counts.reencrypted += 1;
                counts.moved_bytes += stored.moved;
                counts.etags += u64::from(stored.etag_changed);
            }
            Done::Changed => counts.changed += 1,
            Done::Left(ik, reason) => self.left(ik, reason, key),
        }
    }

    /// Counts something that stays under a key.
    pub fn left(&mut self, ik: IkId, reason: &str, key: &str) {
        let (count, examples) = self.left.entry((ik, reason.to_owned())).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(key.to_owned());
        }
    }

    /// Whether clients changed something that is to be looked at again.
    #[must_use]
    pub fn restless(&self) -> bool {
        self.counts.changed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Done, IkId, LEFT, Tally};
    use prost::Message as _;

    fn ik(number: usize) -> IkId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        IkId::from_bytes(bytes)
    }

    /// What stays under so many keys, each with objects of long names.
    fn tally(keys: usize) -> Tally {
        let mut tally = Tally::default();
        for number in 0..keys {
            for object in 0..30 {
                let key = format!("{object}{}", "k".repeat(1_000));
                tally.add(&key, Done::Left(ik(number), super::super::object::OLDER_GOES));
            }
        }
        tally
    }

    #[test]
    fn a_report_fits_and_says_when_it_is_not_all() {
        let all = tally(LEFT).to_wire();
        assert!(all.encoded_len() < 60 << 10, "{}", all.encoded_len());
        assert!(!all.cut && all.left.len() == LEFT && all.left.iter().all(|left| left.count == 30));
        let more = tally(LEFT + 1).to_wire();
        assert!(more.encoded_len() < 60 << 10, "{}", more.encoded_len());
        assert!(more.cut);
        // Whoever goes on from there does not know the rest either, before all is looked at again.
        let mut resumed = Tally::from_wire(more);
        assert!(resumed.to_wire().cut);
        resumed.again();
        assert!(!resumed.to_wire().cut);
    }
}
