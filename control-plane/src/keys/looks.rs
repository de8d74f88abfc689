//! Key records in buckets: what has to lie there, what has to go, and who looks.
//!
//! A look is a node's: it asks for the records with the store's revision, places what is missing, lists, removes what was
//! replaced once the listing shows what replaces it, and reports that revision. So a report says, of every record that was
//! written no later, that its newest form lies in the bucket. One node at a time looks because of the same wish.

use sealgate_envelope::{BucketId, IkId, IkRecord, hidden};
use sealgate_proto::v1;
use tokio::sync::watch;

use super::KeyService;
use crate::{
    Error,
    grpc::Leases,
    identity::Identity,
    registry::records::{BucketState, CheckRecord, IkEntry},
};

/// Who is looking, and that one has looked.
pub(super) struct Looks {
    leases: Leases,
    pub(super) reported: watch::Sender<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { leases: Leases::default(), reported: watch::Sender::new(0) }
    }
}

/// What a node is given for a look.
pub(crate) struct Given {
    pub(crate) revision: u64,
    pub(crate) records: Vec<Vec<u8>>,
    /// Names of replaced records.
    pub(crate) replaced: Vec<String>,
    /// Another node looks, or has.
    pub(crate) elsewhere: bool,
    /// It has.
    pub(crate) fulfilled: bool,
}

impl Given {
    fn elsewhere(fulfilled: bool) -> Self {
        Self { revision: 0, records: Vec::new(), replaced: Vec::new(), elsewhere: true, fulfilled }
    }
}

impl KeyService {
    /// The wrapped records of a bucket that have, or should have, a copy in it. `wish`: only if nobody else fulfils that.
    pub(crate) async fn records(
        &self,
        identity: &Identity,
        bucket: BucketId,
        wish: u64,
    ) -> Result<Given, Error> {
        self.bucket(identity, bucket)?;
        if wish > 0 {
            let check = self.read(move |registry| registry.check_of(bucket)).await?;
            if check.is_some_and(|check| check.records >= wish) {
                return Ok(Given::elsewhere(true));
            }
            if !self.looks.leases.take(bucket, &identity.node, self.clock.steady()) {
                return Ok(Given::elsewhere(false));
            }
        }
        self.read(move |registry| {
            // Before the records: whatever is written from now on is not part of this look.
            let revision = registry.store().revision();
            let mut entries = registry.iks(bucket)?;
            entries.extend(registry.borrowed(bucket)?);
            let replaced = entries.iter().map(replaced).collect::<Result<Vec<_>, Error>>()?.concat();
            let records = entries.into_iter().map(|entry| entry.record).collect();
            Ok(Given { revision, records, replaced, elsewhere: false, fulfilled: false })
        })
        .await
    }

    /// A node has looked.
    pub(crate) async fn checked(&self, identity: &Identity, report: v1::CheckedRequest) -> Result<(), Error> {
        let id = crate::grpc::bucket_id(&report.bucket_id)?;
        let bucket = self.bucket(identity, id)?;
        self.looks.leases.end(id, &identity.node);
        if bucket.state != BucketState::Active {
            return Err(Error::Precondition("the bucket is not in use".to_owned()));
        }
        // Revisions are of one store: what was read before it was exchanged says nothing.
        if report.epoch != self.registry.version().epoch {
            return Err(Error::Precondition(
                "the records were read from another run of the store".to_owned(),
            ));
        }
        if report.revision > self.registry.store().revision() {
            return Err(Error::Invalid("the store has no such revision yet".to_owned()));
        }
        let check = CheckRecord {
            revision: report.revision,
            records: report.wish.min(bucket.records),
            at: self.clock.now(),
            node: identity.node.clone(),
            left: report.left,
        };
        self.change(move |registry| registry.checked(id, check)).await?;
        self.looks.reported.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// The names under which copies of an IK's replaced records lay.
fn replaced(entry: &IkEntry) -> Result<Vec<String>, Error> {
    let ik: IkId = IkRecord::parse(&entry.record)?.context.ik;
    Ok(entry.old.iter().map(|old| format!("{}{}", hidden::ik_records_prefix(ik), old.digest)).collect())
}
