//! What a pass over a bucket has found and done.

use std::collections::BTreeMap;

use sealgate_envelope::ids::IkId;
use sealgate_proto::v1 as wire;

/// Keys of objects that are named for each reason.
const EXAMPLES: usize = 20;

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
        (self.counts.looked_at, self.counts.changed) = (0, 0);
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

    /// For a report.
    #[must_use]
    pub fn to_wire(&self) -> wire::RewrapTally {
        let left = self.left.iter().map(|((ik, reason), (count, examples))| wire::RewrapLeft {
            ik_id: ik.as_bytes().to_vec(),
            reason: reason.clone(),
            count: *count,
            examples: examples.clone(),
        });
        wire::RewrapTally { left: left.collect(), ..self.counts.clone() }
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
