//! The work on a bucket's envelopes: begun, paused and ended by operators, done by nodes.
//!
//! It stands in the store with the last key that is done, so whoever is killed, another goes on from there. It ends with a pass over
//! the whole bucket that has found nothing to do: only that says what is left under an IK.

use sealgate_envelope::{BucketId, IkId, IkRecord};
use sealgate_store::{Op, decode, encode};

use super::{
    Registry,
    records::{
        BucketRecord, BucketState, IkEntry, IkState, MAX_IKS, RewrapRecord, Tally, bucket_key, rewrap_key,
    },
};
use crate::Error;

/// Objects looked at a second, when nobody says otherwise, and the most.
pub(crate) const RATE: u32 = 100;
pub(crate) const RATE_MAX: u32 = 10_000;
/// Objects at once, when nobody says otherwise, and the most.
pub(crate) const CONCURRENT: u32 = 4;
pub(crate) const CONCURRENT_MAX: u32 = 64;

/// What an operator wants done.
pub(crate) struct Wanted {
    /// The IKs; none: all that are retired or compromised.
    pub(crate) iks: Vec<IkId>,
    pub(crate) by: String,
    pub(crate) rate: u32,
    pub(crate) concurrent: u32,
}

/// What an operator does to the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steer {
    Pause,
    Resume,
    Cancel,
}

/// An IK of the work, as nodes are told of it.
pub(crate) struct Target {
    pub(crate) ik: IkId,
    pub(crate) compromised: bool,
    pub(crate) lent: bool,
    pub(crate) until: u64,
}

impl Registry {
    /// The work on a bucket's envelopes, if there ever was any.
    pub(crate) fn rewrap(&self, bucket: BucketId) -> Result<Option<RewrapRecord>, Error> {
        Ok(self.store().get(&rewrap_key(bucket))?.map(|found| decode(&found.value)).transpose()?)
    }

    /// Objects and uploads that stay under an IK by the last work on it; none when there was none that came to its end.
    pub(crate) fn left_under(&self, bucket: BucketId, ik: IkId) -> Result<Option<u64>, Error> {
        Ok(self.rewrap(bucket)?.and_then(|record| record.left_under(ik)))
    }

    /// Begins the work.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown bucket or IK, [`Error::Precondition`] while another is under way, for a bucket that is
    /// not in use, and for an IK that the bucket writes with.
    pub(crate) fn begin_envelopes(&self, name: &str, wanted: &Wanted) -> Result<RewrapRecord, Error> {
        let bucket = self.rewrappable(name)?;
        let known = self.rewrap(bucket.id)?;
        if known.as_ref().is_some_and(RewrapRecord::open) {
            return Err(Error::Precondition(format!(
                "the envelopes in {name:?} are being worked on already: see to that first"
            )));
        }
        let iks = match &wanted.iks[..] {
            [] => self.unwanted(bucket.id)?,
            named => named.to_vec(),
        };
        if iks.is_empty() {
            return Err(Error::Precondition(format!(
                "{name:?} has no key that is retired or compromised: name those to be replaced"
            )));
        }
        if iks.len() > MAX_IKS {
            return Err(Error::Invalid(format!(
                "the work would be about {} keys, at most {MAX_IKS} at a time: name some of them, and the others once it is done",
                iks.len()
            )));
        }
        for ik in &iks {
            let (_, entry) = self.target(bucket.id, *ik)?;
            let ended =
                || self.active_ik(bucket.id).map(|active| active.is_some_and(|it| it.ended && it.ik == *ik));
            if entry.state == IkState::Active && !ended()? {
                return Err(Error::Precondition(format!(
                    "{name:?} writes with the key {ik}: rotate it first"
                )));
            }
        }
        let record = RewrapRecord {
            bucket: bucket.id,
            number: known.map_or(0, |known| known.number) + 1,
            iks: iks.iter().map(ToString::to_string).collect(),
            by: wanted.by.clone(),
            started: self.now(),
            ended: 0,
            paused: false,
            cancelled: false,
            rate: wanted.rate.clamp(1, RATE_MAX),
            concurrent: wanted.concurrent.clamp(1, CONCURRENT_MAX),
            pass: 1,
            cursor: String::new(),
            tally: Tally::default(),
            before: Tally::default(),
            trouble: String::new(),
            node: String::new(),
        };
        self.put_rewrap(bucket, &record, true)?;
        Ok(record)
    }

    /// Stops the work for now, lets it go on, or ends it before its end. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotFound`] without any that is open.
    pub(crate) fn steer_rewrap(
        &self,
        name: &str,
        steer: Steer,
        rate: Option<u32>,
        concurrent: Option<u32>,
    ) -> Result<RewrapRecord, Error> {
        let bucket = self.bucket_named(name)?;
        let record = self.rewrap(bucket.id)?.filter(RewrapRecord::open);
        let mut record =
            record.ok_or_else(|| Error::NotFound(format!("the envelopes in {name:?} are not worked on")))?;
        match steer {
            Steer::Pause => record.paused = true,
            Steer::Resume => {
                self.rewrappable(name)?;
                record.paused = false;
            }
            Steer::Cancel => (record.ended, record.cancelled) = (self.now().max(1), true),
        }
        record.rate = rate.unwrap_or(record.rate).clamp(1, RATE_MAX);
        record.concurrent = concurrent.unwrap_or(record.concurrent).clamp(1, CONCURRENT_MAX);
        record.trouble.clear();
        // Whoever works by the number before it stops.
        record.number += 1;
        self.put_rewrap(bucket, &record, true)?;
        Ok(record)
    }

    /// Writes down how far a node is. The work as it is then.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the report is of another number or pass.
    pub(crate) fn report_rewrap(
        &self,
        id: BucketId,
        number: u64,
        pass: u32,
        report: (String, Tally, bool, String, String),
    ) -> Result<RewrapRecord, Error> {
        let (cursor, tally, ended, trouble, node) = report;
        let bucket = BucketRecord::clone(&*self.known(id)?);
        let mut record = self.running(id, number)?;
        if record.pass != pass {
            return Err(Error::Conflict("the report is of another pass".to_owned()));
        }
        (record.cursor, record.tally, record.trouble, record.node) = (cursor, tally.bounded(), trouble, node);
        if ended && record.tally.settled() {
            record.ended = self.now().max(1);
        } else if ended {
            record.before.add(&record.tally);
            record.pass += 1;
            (record.cursor, record.tally) = (String::new(), Tally::default());
        }
        self.put_rewrap(bucket, &record, false)?;
        Ok(record)
    }

    /// The work of a number, if it is to be done now.
    ///
    /// # Errors
    /// [`Error::Conflict`].
    pub(crate) fn running(&self, bucket: BucketId, number: u64) -> Result<RewrapRecord, Error> {
        let record = self.rewrap(bucket)?;
        record
            .filter(|record| record.open() && !record.paused && record.number == number)
            .ok_or_else(|| Error::Conflict("the work on these envelopes is over, or another's".to_owned()))
    }

    /// The IKs of the work, with what nodes have to know of them.
    pub(crate) fn targets(&self, record: &RewrapRecord) -> Result<Vec<Target>, Error> {
        let of = |ik: &String| {
            let ik: IkId = ik.parse().map_err(|_| Error::Internal("an IK's id is none".to_owned()))?;
            let (owner, entry) = self.target(record.bucket, ik)?;
            let created = IkRecord::parse(&entry.record)?.context.created;
            // What its bucket wrote with next: objects whose keys are younger were never under it.
            let mut until = self.now();
            for next in self.iks(owner)? {
                let next = IkRecord::parse(&next.record)?.context.created;
                if next > created {
                    until = until.min(next);
                }
            }
            let compromised = entry.state == IkState::Compromised;
            Ok(Target { ik, compromised, lent: owner != record.bucket, until })
        };
        record.iks.iter().map(of).collect()
    }

    /// An IK that is the bucket's, or was lent to it, and whose it is.
    fn target(&self, bucket: BucketId, ik: IkId) -> Result<(BucketId, IkEntry), Error> {
        let unknown = || Error::NotFound(format!("the bucket has no key {ik}, and none was lent to it"));
        let owner = match self.ik(bucket, ik)? {
            Some(entry) => return Ok((bucket, entry)),
            None => self.lent(bucket, ik)?.ok_or_else(unknown)?.owner,
        };
        Ok((owner, self.ik(owner, ik)?.ok_or_else(unknown)?))
    }

    /// The bucket's IKs that nothing should be under any more; of those lent to it, the compromised ones.
    fn unwanted(&self, bucket: BucketId) -> Result<Vec<IkId>, Error> {
        let own = self.iks(bucket)?.into_iter();
        let own = own.filter(|entry| matches!(entry.state, IkState::Retired | IkState::Compromised));
        let lent = self.borrowed(bucket)?.into_iter().filter(|entry| entry.state == IkState::Compromised);
        own.chain(lent).map(|entry| Ok(IkRecord::parse(&entry.record)?.context.ik)).collect()
    }

    fn bucket_named(&self, name: &str) -> Result<BucketRecord, Error> {
        let found = self.state().buckets.get(name).map(|bucket| BucketRecord::clone(bucket));
        found.ok_or_else(|| Error::NotFound(format!("no such bucket: {name:?}")))
    }

    fn rewrappable(&self, name: &str) -> Result<BucketRecord, Error> {
        let bucket = self.bucket_named(name)?;
        if bucket.state != BucketState::Active || bucket.frozen {
            return Err(Error::Precondition(format!("{name:?} takes no writes now")));
        }
        self.tenant(bucket.tenant)?.usable()?;
        Ok(bucket)
    }

    /// The work, and what nodes are told of it, in one step.
    fn put_rewrap(&self, mut bucket: BucketRecord, record: &RewrapRecord, urgent: bool) -> Result<(), Error> {
        let (key, of) = (rewrap_key(bucket.id), bucket_key(&bucket.name));
        let told = if record.open() && !record.paused { record.number } else { 0 };
        let mut compare = vec![self.unchanged(&key)?];
        let mut ops = vec![Op::Put(key, encode(record)?)];
        if bucket.rewrap != told {
            bucket.rewrap = told;
            compare.push(self.unchanged(&of)?);
            ops.push(Op::Put(of, encode(&bucket)?));
        }
        self.commit(&compare, ops, urgent)?;
        Ok(())
    }
}
