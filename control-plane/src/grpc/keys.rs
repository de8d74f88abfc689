//! The Keys service. Each answer is limited, counted and written into the audit log.

use std::sync::Arc;

use sealgate_envelope::{BucketId, transfer};
use sealgate_proto::v1;
use tonic::{Request, Response, Status};

use super::{bucket_id, ik_id};
use crate::{
    Error,
    identity::Identity,
    keys::{Active, Answered, Given, IDLE, KeyService, Limiter, SOFT},
    metrics::{Fetch, Metrics, Outcome},
    registry::{Registry, records::IkState},
};

pub(crate) struct KeysService {
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<KeyService>,
    pub(crate) limiter: Limiter,
    /// Of wrapped records, which are no keys: many copies, or looks at many buckets, must not keep a node from reading.
    pub(crate) lending: Limiter,
    pub(crate) metrics: Arc<Metrics>,
}

impl KeysService {
    /// Who asks; takes one of the node's tokens.
    fn admit<T>(&self, request: &Request<T>, what: Fetch) -> Result<Arc<Identity>, Status> {
        let identity = Identity::of(request, &self.registry)?;
        let limiter =
            if matches!(what, Fetch::Lend | Fetch::Records) { &self.lending } else { &self.limiter };
        if limiter.take(&identity.node, self.registry.clock().steady()) {
            return Ok(identity);
        }
        self.metrics.fetch(what, Outcome::Limited);
        tracing::warn!(target: "audit", node = identity.node, operation = ?what, "over the rate limit");
        Err(Error::Exhausted("too many requests for keys from this node".to_owned()).into())
    }

    /// Writes down how a request ended.
    fn record<T>(
        &self,
        identity: &Identity,
        what: Fetch,
        bucket: &[u8],
        ik: &[u8],
        result: Result<T, Error>,
    ) -> Result<T, Status> {
        // It may have been revoked while the KMS was asked.
        let result = result.and_then(|answer| identity.check(&self.registry).map(|()| answer));
        let (bucket, ik) = (hex::encode(bucket), hex::encode(ik));
        let (node, serial) = (&identity.node, &identity.serial);
        match &result {
            Ok(_) => {
                self.metrics.fetch(what, Outcome::Ok);
                tracing::info!(target: "audit", node, serial, operation = ?what, bucket, ik, "key fetch: answered");
            }
            Err(error) => {
                self.metrics.fetch(what, Outcome::of(error));
                tracing::warn!(target: "audit", node, serial, operation = ?what, bucket, ik, %error, "key fetch: refused");
            }
        }
        Ok(result?)
    }
}

#[tonic::async_trait]
impl v1::keys_server::Keys for KeysService {
    async fn active(
        &self,
        request: Request<v1::ActiveRequest>,
    ) -> Result<Response<v1::ActiveResponse>, Status> {
        let identity = self.admit(&request, Fetch::Active)?;
        let v1::ActiveRequest { bucket_id: bucket, recipient } = request.into_inner();
        let result = match bucket_id(&bucket) {
            Ok(id) => self.keys.active(&identity, id).await.and_then(|active| match active {
                Active::Key(answered) => key(&answered, id, &recipient).map(v1::active_response::Answer::Key),
                Active::Place(ik, record) => Ok(v1::active_response::Answer::Place(v1::PlaceRecord {
                    ik_id: ik.as_bytes().to_vec(),
                    record,
                })),
            }),
            Err(error) => Err(error),
        };
        let ik = result.as_ref().map_or_else(|_| Vec::new(), named);
        let answer = self.record(&identity, Fetch::Active, &bucket, &ik, result)?;
        Ok(Response::new(v1::ActiveResponse { answer: Some(answer) }))
    }

    async fn confirm(&self, request: Request<v1::ConfirmRequest>) -> Result<Response<v1::Key>, Status> {
        let identity = self.admit(&request, Fetch::Confirm)?;
        let v1::ConfirmRequest { bucket_id: bucket, ik_id: ik, record_digest, recipient } =
            request.into_inner();
        let digest = record_digest.try_into().map_err(|_| Error::Invalid("a digest has 32 bytes".to_owned()));
        let result = match (bucket_id(&bucket), ik_id(&ik), digest) {
            (Ok(bucket), Ok(ik), Ok(digest)) => {
                let answered = self.keys.confirm(&identity, bucket, ik, digest).await;
                answered.and_then(|answered| key(&answered, bucket, &recipient))
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(error),
        };
        Ok(Response::new(self.record(&identity, Fetch::Confirm, &bucket, &ik, result)?))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::Key>, Status> {
        let identity = self.admit(&request, Fetch::Get)?;
        let v1::GetRequest { bucket_id: bucket, ik_id: ik, recipient } = request.into_inner();
        let result = match (bucket_id(&bucket), ik_id(&ik)) {
            (Ok(bucket), Ok(ik)) => {
                let answered = self.keys.get(&identity, bucket, ik).await;
                answered.and_then(|answered| key(&answered, bucket, &recipient))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Ok(Response::new(self.record(&identity, Fetch::Get, &bucket, &ik, result)?))
    }

    async fn records(
        &self,
        request: Request<v1::RecordsRequest>,
    ) -> Result<Response<v1::RecordsResponse>, Status> {
        let identity = self.admit(&request, Fetch::Records)?;
        let v1::RecordsRequest { bucket_id: bucket, wish } = request.into_inner();
        let result = match bucket_id(&bucket) {
            Ok(id) => self.keys.records(&identity, id, wish).await,
            Err(error) => Err(error),
        };
        let Given { revision, records, replaced, elsewhere, fulfilled } =
            self.record(&identity, Fetch::Records, &bucket, &[], result)?;
        let epoch = self.registry.version().epoch;
        Ok(Response::new(v1::RecordsResponse { records, replaced, epoch, revision, elsewhere, fulfilled }))
    }

    async fn checked(
        &self,
        request: Request<v1::CheckedRequest>,
    ) -> Result<Response<v1::CheckedResponse>, Status> {
        let identity = self.admit(&request, Fetch::Records)?;
        self.keys.checked(&identity, request.into_inner()).await?;
        Ok(Response::new(v1::CheckedResponse {}))
    }

    async fn lend(&self, request: Request<v1::LendRequest>) -> Result<Response<v1::PlaceRecord>, Status> {
        let identity = self.admit(&request, Fetch::Lend)?;
        let v1::LendRequest { bucket_id: bucket, ik_id: ik, target_id: target } = request.into_inner();
        let result = match (bucket_id(&bucket), ik_id(&ik), bucket_id(&target)) {
            (Ok(bucket), Ok(ik), Ok(target)) => self.keys.lend(&identity, bucket, ik, target).await,
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(error),
        };
        let record = self.record(&identity, Fetch::Lend, &bucket, &ik, result)?;
        Ok(Response::new(v1::PlaceRecord { ik_id: ik, record }))
    }
}

/// Which IK an answer is about.
fn named(answer: &v1::active_response::Answer) -> Vec<u8> {
    match answer {
        v1::active_response::Answer::Key(key) => key.ik_id.clone(),
        v1::active_response::Answer::Place(place) => place.ik_id.clone(),
    }
}

fn key(answered: &Answered, bucket: BucketId, recipient: &[u8]) -> Result<v1::Key, Error> {
    let state = match answered.state {
        IkState::Active => v1::KeyState::Active,
        // The others never get here: the service refuses them.
        IkState::DecryptOnly | IkState::Retired | IkState::Compromised => v1::KeyState::DecryptOnly,
    };
    let hard = u32::try_from(answered.hard_seconds).unwrap_or(u32::MAX);
    Ok(v1::Key {
        ik_id: answered.id.as_bytes().to_vec(),
        sealed_ik: transfer::seal(&answered.held.ik, bucket, answered.id, recipient)
            .map_err(|_| Error::Invalid("the recipient is no X25519 public key".to_owned()))?,
        state: state.into(),
        active_until: answered.active_until,
        active_last: answered.active_last,
        soft_seconds: hard.min(u32::try_from(SOFT).unwrap_or(u32::MAX)),
        hard_seconds: hard,
        // While its KMS is away no key goes for being unused: it could not be fetched again.
        idle_seconds: if answered.held.degraded { hard } else { u32::try_from(IDLE).unwrap_or(u32::MAX) },
        unproved_seconds: u32::try_from(answered.unproved_seconds).unwrap_or(u32::MAX),
    })
}
