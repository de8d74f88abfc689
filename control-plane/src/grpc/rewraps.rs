//! The Rewraps service: the work on envelopes, for one node of a bucket at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sealgate_envelope::{BucketId, IkId, transfer};
use sealgate_proto::v1;
use tonic::{Request, Response, Status};

use super::{Leases, bucket_id, ik_id};
use crate::{
    Error,
    actors::Acks,
    identity::Identity,
    keys::{KeyService, Limiter},
    metrics::{Fetch, Metrics, Outcome},
    registry::{
        Registry, Version,
        records::{Left, RewrapRecord, Tally},
    },
};

/// Seconds that a node may keep a key of the work before it asks again.
const HELD: u32 = 300;
/// The longest key of an object, and the longest text of a trouble, in bytes.
const MAX_TEXT: usize = 1_024;

pub(crate) struct RewrapsService {
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<KeyService>,
    pub(crate) acks: Acks,
    pub(crate) limiter: Limiter,
    pub(crate) leases: Leases,
    pub(crate) begun: Mutex<HashMap<BucketId, Begun>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Since when the nodes have to know of the work of a number, and whether all do.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    number: u64,
    since: Version,
    known: bool,
}

impl RewrapsService {
    /// Nodes that may serve the bucket and do not know of the work yet. They would copy objects as they are, and an ETag would stand
    /// for two writes. Each work asks once.
    async fn unknowing(&self, bucket: BucketId, number: u64) -> Result<Vec<String>, Error> {
        let state = self.registry.state();
        let tenant = state.bucket(bucket).map(|bucket| bucket.tenant);
        let tenant = tenant.ok_or_else(|| Error::NotFound("no such bucket".to_owned()))?;
        let now = Begun { number, since: self.registry.version(), known: false };
        let begun = {
            let mut all = self.begun();
            let begun = all.entry(bucket).or_insert(now);
            if begun.number != number {
                *begun = now;
            }
            *begun
        };
        if begun.known {
            return Ok(Vec::new());
        }
        let pending = self.acks.unconfirmed(tenant, begun.since).await?.pending;
        if pending.is_empty()
            && let Some(begun) = self.begun().get_mut(&bucket).filter(|begun| begun.number == number)
        {
            begun.known = true;
        }
        Ok(pending)
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<BucketId, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn key_for(
        &self,
        identity: &Identity,
        bucket: BucketId,
        ik: IkId,
        number: u64,
        recipient: &[u8],
    ) -> Result<v1::Key, Error> {
        if !self.leases.take(bucket, &identity.node, self.registry.clock().steady()) {
            return Err(Error::Conflict("another node has the work".to_owned()));
        }
        let key = self.keys.envelopes_key(identity, bucket, number, ik).await?;
        Ok(v1::Key {
            ik_id: ik.as_bytes().to_vec(),
            sealed_ik: transfer::seal(&key, bucket, ik, recipient)
                .map_err(|_| Error::Invalid("the recipient is no X25519 public key".to_owned()))?,
            state: v1::KeyState::DecryptOnly.into(),
            active_until: 0,
            active_last: 0,
            soft_seconds: HELD,
            hard_seconds: HELD,
            idle_seconds: HELD,
            unproved_seconds: 0,
        })
    }
}

#[tonic::async_trait]
impl v1::rewraps_server::Rewraps for RewrapsService {
    async fn take(
        &self,
        request: Request<v1::TakeRewrapRequest>,
    ) -> Result<Response<v1::RewrapWork>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let v1::TakeRewrapRequest { bucket_id: id, number } = request.into_inner();
        let id = bucket_id(&id)?;
        let (work, targets, ages) = self.keys.envelopes(&identity, id, number).await?;
        let waits = |waits: String| Ok(Response::new(v1::RewrapWork { waits, ..Default::default() }));
        let unknowing = self.unknowing(id, number).await?;
        if !unknowing.is_empty() {
            return waits(format!(
                "nodes that do not know of the work yet: {}. Start them, or revoke them",
                unknowing.join(", ")
            ));
        }
        if !self.leases.take(id, &identity.node, self.registry.clock().steady()) {
            return waits("another node has the work".to_owned());
        }
        let keys = targets.into_iter().map(|target| v1::RewrapKeyInfo {
            ik_id: target.ik.as_bytes().to_vec(),
            compromised: target.compromised,
            lent: target.lent,
            until: target.until,
        });
        let ages = ages.into_iter().map(|(ik, created, owner)| v1::RewrapKeyAge {
            ik_id: ik.as_bytes().to_vec(),
            created,
            owner: owner.as_bytes().to_vec(),
        });
        Ok(Response::new(v1::RewrapWork {
            taken: true,
            waits: String::new(),
            keys: keys.collect(),
            rate: work.rate,
            concurrent: work.concurrent,
            pass: work.pass,
            cursor: work.cursor.clone(),
            tally: Some(to_wire(&work.tally)),
            ages: ages.collect(),
        }))
    }

    async fn report(
        &self,
        request: Request<v1::RewrapReport>,
    ) -> Result<Response<v1::RewrapReported>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let v1::RewrapReport { bucket_id: id, number, pass, cursor, tally, ended, trouble } =
            request.into_inner();
        let id = bucket_id(&id)?;
        if cursor.len() > MAX_TEXT {
            return Err(Error::Invalid("a key has at most 1,024 bytes".to_owned()).into());
        }
        let mut trouble = trouble;
        trouble.truncate(trouble.floor_char_boundary(MAX_TEXT));
        if !self.leases.take(id, &identity.node, self.registry.clock().steady()) {
            return Err(Error::Conflict("another node has the work".to_owned()).into());
        }
        let tally = from_wire(tally.unwrap_or_default())?;
        let report = (cursor, tally, ended, trouble);
        let work = self.keys.report_envelopes(&identity, id, (number, pass), report).await?;
        if !work.open() {
            self.leases.end(id, &identity.node);
            said_ended(&identity.node, &work);
        }
        Ok(Response::new(v1::RewrapReported { goes_on: work.open(), pass: work.pass }))
    }

    async fn key(&self, request: Request<v1::RewrapKeyRequest>) -> Result<Response<v1::Key>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        if !self.limiter.take(&identity.node, self.registry.clock().steady()) {
            self.metrics.fetch(Fetch::Rewrap, Outcome::Limited);
            tracing::warn!(target: "audit", node = identity.node, operation = ?Fetch::Rewrap, "over the rate limit");
            return Err(Error::Exhausted("too many requests for keys from this node".to_owned()).into());
        }
        let v1::RewrapKeyRequest { bucket_id: bucket, number, ik_id: ik, recipient } = request.into_inner();
        let (bucket, ik) = (bucket_id(&bucket)?, ik_id(&ik)?);
        let answer = self.key_for(&identity, bucket, ik, number, &recipient).await;
        let answer = answer.and_then(|key| identity.check(&self.registry).map(|()| key));
        let (node, serial, operation) = (&identity.node, &identity.serial, Fetch::Rewrap);
        match &answer {
            Ok(_) => {
                self.metrics.fetch(operation, Outcome::Ok);
                tracing::info!(target: "audit", node, serial, ?operation, %bucket, %ik, "key fetch: answered");
            }
            Err(error) => {
                self.metrics.fetch(operation, Outcome::of(error));
                tracing::warn!(target: "audit", node, serial, ?operation, %bucket, %ik, %error, "key fetch: refused");
            }
        }
        Ok(Response::new(answer?))
    }
}

fn said_ended(node: &str, work: &RewrapRecord) {
    let (mut all, left) = (work.before.clone(), work.tally.left.iter().map(|left| left.count).sum::<u64>());
    all.add(&work.tally);
    tracing::info!(
        target: "audit",
        bucket = %work.bucket,
        node,
        by = work.by,
        passes = work.pass,
        rewrapped = all.rewrapped,
        reencrypted = all.reencrypted,
        left,
        "the work on a bucket's envelopes has ended"
    );
}

fn to_wire(tally: &Tally) -> v1::RewrapTally {
    let left = tally.left.iter().map(|left| v1::RewrapLeft {
        ik_id: left.ik.as_bytes().to_vec(),
        reason: left.reason.clone(),
        count: left.count,
        examples: left.examples.clone(),
    });
    v1::RewrapTally {
        looked_at: tally.looked_at,
        rewrapped: tally.rewrapped,
        reencrypted: tally.reencrypted,
        moved_bytes: tally.moved_bytes,
        changed: tally.changed,
        etags: tally.etags,
        left: left.collect(),
        cut: tally.cut,
        open: tally.open,
    }
}

fn from_wire(tally: v1::RewrapTally) -> Result<Tally, Error> {
    let left = tally.left.into_iter().map(|left| {
        let v1::RewrapLeft { ik_id: ik, reason, count, examples } = left;
        Ok(Left { ik: ik_id(&ik)?, reason, count, examples })
    });
    Ok(Tally {
        looked_at: tally.looked_at,
        rewrapped: tally.rewrapped,
        reencrypted: tally.reencrypted,
        moved_bytes: tally.moved_bytes,
        changed: tally.changed,
        etags: tally.etags,
        left: left.collect::<Result<_, Error>>()?,
        cut: tally.cut,
        open: tally.open,
    })
}
