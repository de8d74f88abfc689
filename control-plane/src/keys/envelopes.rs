//! The keys of the work on envelopes: given whatever their state is, to the node that has the work and for it alone.

use sealgate_envelope::{BucketId, Ik, IkId, IkRecord};

use super::KeyService;
use crate::{
    Error,
    identity::Identity,
    registry::{
        Registry,
        records::{RewrapRecord, Tally},
        rewraps::Target,
    },
};

/// A key of a bucket, or one that was lent to it: id, time of making, whose it is.
pub(crate) type Age = (IkId, u64, BucketId);

impl KeyService {
    /// The work of a number on a bucket's envelopes: the work, its IKs, and how old all of the bucket's keys are.
    pub(crate) async fn envelopes(
        &self,
        identity: &Identity,
        bucket: BucketId,
        number: u64,
    ) -> Result<(RewrapRecord, Vec<Target>, Vec<Age>), Error> {
        self.usable_bucket(identity, bucket)?;
        self.read(move |registry| {
            let record = registry.running(bucket, number)?;
            let targets = registry.targets(&record)?;
            let mut ages = Vec::new();
            for entry in registry.iks(bucket)?.into_iter().chain(registry.borrowed(bucket)?) {
                let context = IkRecord::parse(&entry.record)?.context;
                ages.push((context.ik, context.created, context.bucket));
            }
            Ok((record, targets, ages))
        })
        .await
    }

    /// An IK of the work, of the bucket's own. The KMS is asked: nothing is kept of a key that nobody else may have.
    pub(crate) async fn envelopes_key(
        &self,
        identity: &Identity,
        bucket: BucketId,
        number: u64,
        ik: IkId,
    ) -> Result<Ik, Error> {
        self.usable_bucket(identity, bucket)?;
        let named = ik.to_string();
        let record = self
            .read(move |registry| {
                let work = registry.running(bucket, number)?;
                if !work.iks.contains(&named) {
                    return Err(Error::Denied("the key is not one of the work".to_owned()));
                }
                let entry = registry.ik(bucket, ik)?.filter(|entry| entry.confirmed);
                let entry = entry.ok_or_else(|| Error::NotFound("no such key".to_owned()))?;
                Ok(IkRecord::parse(&entry.record)?)
            })
            .await?;
        let ik = self.unwrapper.once(&record).await?;
        // Once more: while the KMS was asked, an operator may have cut the tenant off.
        self.usable_bucket(identity, bucket)?;
        Ok(ik)
    }

    /// Writes down how far a node is.
    pub(crate) async fn report_envelopes(
        &self,
        identity: &Identity,
        bucket: BucketId,
        (number, pass): (u64, u32),
        (cursor, tally, ended, trouble): (String, Tally, bool, String),
    ) -> Result<RewrapRecord, Error> {
        self.bucket(identity, bucket)?;
        let report = (cursor, tally, ended, trouble, identity.node.clone());
        self.change(move |registry: &Registry| registry.report_rewrap(bucket, number, pass, report)).await
    }

    /// What is known of the work on a bucket's envelopes.
    pub(crate) async fn envelopes_of(&self, bucket: BucketId) -> Result<Option<RewrapRecord>, Error> {
        self.read(move |registry| registry.rewrap(bucket)).await
    }
}
