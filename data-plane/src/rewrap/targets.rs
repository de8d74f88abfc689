//! The keys of the work, and what an object has to do with them.

use std::collections::HashMap;
use std::sync::Arc;

use sealgate_envelope::Ik;
use sealgate_envelope::ids::{BucketId, IkId};
use sealgate_proto::v1 as wire;

/// A key whose objects are the work.
pub struct Target {
    /// Objects' own keys under it are known to somebody.
    compromised: bool,
    /// From then on its bucket wrote with another; Unix seconds.
    until: u64,
    /// The key; none of another bucket's, which envelopes here do not name.
    key: Option<Arc<Ik>>,
}

/// When a key was made, and for which bucket.
#[derive(Clone, Copy)]
struct Age {
    created: u64,
    owner: BucketId,
}

/// See the module.
#[derive(Default)]
pub struct Targets {
    targets: HashMap<IkId, Target>,
    ages: HashMap<IkId, Age>,
}

/// What is to be done with an object, because of which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Its envelope is under the key.
    Rewrap(IkId),
    /// Its own key was, is, or may have been wrapped by the key, which is known to somebody.
    Reencrypt(IkId),
}

impl Targets {
    /// The keys of some work, without the keys themselves.
    ///
    /// # Errors
    /// What is malformed.
    pub fn of(work: &wire::RewrapWork) -> Result<Self, String> {
        let ik = |bytes: &[u8]| {
            let bytes = bytes.try_into().map_err(|_| "the control plane sent an id that is none".to_owned());
            bytes.map(IkId::from_bytes)
        };
        let mut this = Self::default();
        for age in &work.ages {
            let owner = age.owner.as_slice().try_into().map_err(|_| "a bucket id is none".to_owned())?;
            let age_of = Age { created: age.created, owner: BucketId::from_bytes(owner) };
            this.ages.insert(ik(&age.ik_id)?, age_of);
        }
        for key in &work.keys {
            let target = Target { compromised: key.compromised, until: key.until, key: None };
            this.targets.insert(ik(&key.ik_id)?, target);
        }
        Ok(this)
    }

    /// Keeps a key of the work.
    pub fn give(&mut self, id: IkId, key: Ik) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.key = Some(Arc::new(key));
        }
    }

    /// A key of the work.
    #[must_use]
    pub fn key(&self, id: IkId) -> Option<Arc<Ik>> {
        self.targets.get(&id)?.key.clone()
    }

    /// One of the keys, always the same.
    #[must_use]
    pub fn first(&self) -> Option<IkId> {
        self.targets.keys().min().copied()
    }

    /// Whether a key is one of those that nothing is to be written under any more.
    #[must_use]
    pub fn contains(&self, id: IkId) -> bool {
        self.targets.contains_key(&id)
    }

    /// Whether the keys of bodies matter, and not those of envelopes alone.
    #[must_use]
    pub fn any_compromised(&self) -> bool {
        self.targets.values().any(|target| target.compromised)
    }

    /// What is to be done with an object of this envelope's key and, where it was looked at, its body's: the one that was active when
    /// the body was written.
    ///
    /// A compromised key is not only in what an envelope or a body names. An envelope may have been wrapped anew more than once: an
    /// object whose body is older than the key, and whose envelope is younger, may have been under it in between. That cannot be
    /// excluded, so it counts. Whose envelope is under the key of its body never left that key: no key becomes active twice. Ages are of
    /// seconds, and do not tell keys apart that were made within one.
    #[must_use]
    pub fn verdict(&self, envelope: IkId, body: Option<IkId>) -> Verdict {
        let mut compromised: Vec<_> =
            self.targets.iter().filter(|(_, target)| target.compromised).map(|(id, _)| *id).collect();
        compromised.sort_unstable();
        if let Some(id) = compromised.iter().find(|id| **id == envelope || Some(**id) == body) {
            return Verdict::Reencrypt(*id);
        }
        if let Some(body) = body.filter(|body| *body != envelope)
            && let Some(id) = compromised.iter().find(|id| self.may_have_been(**id, envelope, body))
        {
            return Verdict::Reencrypt(*id);
        }
        match self.targets.contains_key(&envelope) {
            true => Verdict::Rewrap(envelope),
            false => Verdict::Nothing,
        }
    }

    /// The compromised key that a body may be under which cannot be read, and whose envelope is under another. No body is under a younger
    /// key of its bucket than its envelope is.
    #[must_use]
    pub fn unread(&self, envelope: IkId) -> Option<IkId> {
        if self.targets.get(&envelope).is_some_and(|target| target.compromised) {
            return None;
        }
        let may = |id: &IkId| match (self.ages.get(id), self.ages.get(&envelope)) {
            (Some(key), Some(envelope)) if key.owner == envelope.owner => key.created <= envelope.created,
            _ => true,
        };
        let compromised = self.targets.iter().filter(|(_, target)| target.compromised).map(|(id, _)| *id);
        compromised.filter(may).min()
    }

    fn may_have_been(&self, id: IkId, envelope: IkId, body: IkId) -> bool {
        let (Some(target), Some(key), Some(envelope)) =
            (self.targets.get(&id), self.ages.get(&id), self.ages.get(&envelope))
        else {
            return false;
        };
        if key.owner != envelope.owner {
            // Of another bucket's key, what the body names decides: a copy's envelope never was under it.
            let same = |age: &Age| age.owner == key.owner && age.created <= key.created;
            return self.ages.get(&body).is_some_and(same);
        }
        let older = match self.ages.get(&body) {
            // A body that names a key which nobody knows.
            None => true,
            Some(age) if age.owner == key.owner => age.created <= key.created,
            Some(age) => age.created <= target.until,
        };
        older && envelope.created >= key.created
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, BucketId, HashMap, IkId, Target, Targets, Verdict};

    const HERE: BucketId = BucketId::from_bytes([1; 16]);
    const THERE: BucketId = BucketId::from_bytes([2; 16]);

    fn ik(number: u8) -> IkId {
        IkId::from_bytes([number; 16])
    }

    /// Keys 1 to 5 of this bucket, made at 10, 20, … and 11 to 15 of another, made at 15, 25, …
    fn targets(of: &[(u8, bool, u64)]) -> Targets {
        let mut ages = HashMap::new();
        for number in 1..=5 {
            ages.insert(ik(number), Age { created: u64::from(number) * 10, owner: HERE });
            ages.insert(ik(number + 10), Age { created: u64::from(number) * 10 + 5, owner: THERE });
        }
        let target = |&(number, compromised, until): &(u8, bool, u64)| {
            (ik(number), Target { compromised, until, key: None })
        };
        Targets { targets: of.iter().map(target).collect(), ages }
    }

    #[test]
    fn a_retired_key_is_a_matter_of_envelopes() {
        let targets = targets(&[(2, false, 30)]);
        assert!(!targets.any_compromised());
        assert_eq!(targets.verdict(ik(2), Some(ik(1))), Verdict::Rewrap(ik(2)));
        assert_eq!(targets.verdict(ik(3), Some(ik(2))), Verdict::Nothing);
    }

    #[test]
    fn a_compromised_key_is_one_of_bodies_too() {
        let targets = targets(&[(2, true, 30), (4, false, 50)]);
        let anew = Verdict::Reencrypt(ik(2));
        assert_eq!(targets.verdict(ik(2), Some(ik(2))), anew);
        assert_eq!(targets.verdict(ik(5), Some(ik(2))), anew, "wrapped anew since");
        assert_eq!(targets.verdict(ik(2), None), anew, "a marker has no body");
        assert_eq!(targets.verdict(ik(5), Some(ik(1))), anew, "it may have been under it in between");
        assert_eq!(targets.verdict(ik(5), Some(ik(99))), anew, "nobody knows how old it is");
        assert_eq!(targets.verdict(ik(1), Some(ik(1))), Verdict::Nothing, "it never left the older key");
        assert_eq!(targets.verdict(ik(5), Some(ik(3))), Verdict::Nothing, "it is younger");
        assert_eq!(targets.verdict(ik(4), Some(ik(3))), Verdict::Rewrap(ik(4)));
    }

    #[test]
    fn a_body_that_cannot_be_read_may_be_under_any_key_that_is_not_younger_than_its_envelope() {
        let targets = targets(&[(2, true, 30), (3, false, 40), (15, true, 60)]);
        assert_eq!(targets.unread(ik(2)), None, "the envelope tells");
        assert_eq!(targets.unread(ik(3)), Some(ik(2)));
        assert_eq!(targets.unread(ik(5)), Some(ik(2)));
        assert_eq!(targets.unread(ik(1)), Some(ik(15)), "a copy's body, of another bucket");
        assert_eq!(targets.unread(ik(15)), None);
    }

    #[test]
    fn what_was_encrypted_anew_is_done_also_within_the_second_of_the_compromised_key() {
        let mut targets = targets(&[(2, true, 20)]);
        targets.ages.insert(ik(3), Age { created: 20, owner: HERE });
        assert_eq!(targets.verdict(ik(3), Some(ik(3))), Verdict::Nothing);
        assert_eq!(targets.verdict(ik(3), Some(ik(1))), Verdict::Reencrypt(ik(2)));
    }

    #[test]
    fn copies_from_another_bucket_are_as_old_as_their_bodies() {
        let targets = targets(&[(2, true, 30)]);
        assert_eq!(
            targets.verdict(ik(5), Some(ik(12))),
            Verdict::Reencrypt(ik(2)),
            "made while 2 was active"
        );
        assert_eq!(targets.verdict(ik(5), Some(ik(13))), Verdict::Nothing, "made after");
    }

    #[test]
    fn a_lent_key_concerns_copies_of_its_bucket() {
        let targets = targets(&[(12, true, 35)]);
        assert_eq!(targets.verdict(ik(3), Some(ik(12))), Verdict::Reencrypt(ik(12)));
        assert_eq!(
            targets.verdict(ik(3), Some(ik(11))),
            Verdict::Reencrypt(ik(12)),
            "it may have passed through"
        );
        assert_eq!(targets.verdict(ik(3), Some(ik(13))), Verdict::Nothing);
        assert_eq!(targets.verdict(ik(3), Some(ik(1))), Verdict::Nothing, "written here");
    }
}
