//! The one task that asks the control plane for keys: one request a key, however many wait for it.
//!
//! For a bucket's first key it follows the order that makes recovery possible: the control plane commits the record, the
//! node writes the wrapped record into the bucket, reports it, and only then is given the key.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Active, KeyError, Keys, Lives, Mark, NodeKey, Request, Wanted};
use crate::backend::{Backend, BackendError, Conditions, GetOptions, PutOptions};
use crate::control::ControlPlane;
use crate::snapshot::Bucket;
use crate::worker::Backends;
use sealgate_envelope::ids::{BucketId, IkId};
use sealgate_envelope::transfer::Recipient;
use sealgate_envelope::{IkRecord, hidden};
use sealgate_proto::v1 as wire;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

type Waiters = Vec<oneshot::Sender<Result<Arc<NodeKey>, KeyError>>>;
type InFlight = Rc<RefCell<HashMap<(BucketId, Wanted), Waiters>>>;

/// How often a record's placing is tried again when another node placed a newer one meanwhile.
const PLACE_ATTEMPTS: usize = 3;

/// The longest time for which a client is sent away, in seconds.
const LONGEST_PAUSE: u32 = 60;

/// The largest IK record, in bytes: what a control plane's answer and a copy in a bucket are held to.
const RECORD_MAX: usize = 16 << 10;

/// Answers requests until the channel closes. Runs on the control thread, with backends of its own.
pub async fn run(
    keys: Arc<Keys>,
    control: ControlPlane,
    backends: Rc<Backends>,
    mut requests: mpsc::Receiver<Request>,
) {
    let in_flight = InFlight::default();
    while let Some(Request { bucket, wanted, answer }) = requests.recv().await {
        let slot = (bucket.id, wanted);
        {
            let mut running = in_flight.borrow_mut();
            if let Some(waiters) = running.get_mut(&slot) {
                waiters.extend(answer);
                continue;
            }
            running.insert(slot, answer.into_iter().collect());
        }
        let (keys, control, backends) = (Arc::clone(&keys), control.clone(), Rc::clone(&backends));
        let in_flight = Rc::clone(&in_flight);
        tokio::task::spawn_local(async move {
            let fetch = Fetch { keys: &keys, control, backends: &backends, bucket: &bucket };
            let slot = Slot { in_flight, slot };
            let result = match wanted {
                Wanted::Active => fetch.active().await,
                Wanted::Id(id) => fetch.by_id(id).await,
            };
            if matches!((wanted, &result), (Wanted::Active, Err(KeyError::Denied(_)))) {
                keys.revoke_active(bucket.id);
            }
            if matches!((wanted, &result), (Wanted::Id(_), Err(KeyError::Unknown)))
                && keys.unreached(bucket.id, wanted)
            {
                let bucket = bucket.id;
                tracing::warn!(target: "audit", %bucket, ?wanted, "the control plane does not know a key that this node holds: was its store restored?");
            }
            if let Err(KeyError::Unavailable(_) | KeyError::Later(..) | KeyError::NotAsked(..)) = &result {
                keys.unreached(bucket.id, wanted);
            }
            if let Err(error) = &result {
                keys.refusals.keep((bucket.id, wanted), error, keys.clock.monotonic());
            }
            for waiter in slot.take() {
                let _ = waiter.send(result.clone());
            }
        });
    }
}

/// A key's place among the requests under way. Dropped without being taken, by a panic, it fails those who wait.
struct Slot {
    in_flight: InFlight,
    slot: (BucketId, Wanted),
}

impl Slot {
    fn take(&self) -> Waiters {
        self.in_flight.borrow_mut().remove(&self.slot).unwrap_or_default()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.take();
    }
}

struct Fetch<'a> {
    keys: &'a Keys,
    control: ControlPlane,
    backends: &'a Backends,
    bucket: &'a Arc<Bucket>,
}

impl Fetch<'_> {
    async fn by_id(self, id: IkId) -> Result<Arc<NodeKey>, KeyError> {
        for _ in 0..PLACE_ATTEMPTS {
            let mark = self.mark()?;
            let recipient = recipient()?;
            let request = wire::GetRequest {
                bucket_id: self.bucket.id.as_bytes().to_vec(),
                ik_id: id.as_bytes().to_vec(),
                recipient: recipient.public().to_vec(),
            };
            match self.control.keys().get(request).await {
                Ok(answer) => {
                    if let Some(key) = self.take_in(&answer.into_inner(), recipient, Some(id), mark)? {
                        return Ok(key);
                    }
                }
                Err(status) => {
                    let error = key_error(&status);
                    // One that is not known is kept where it is held: what is taken back is denied, or goes with its bucket. It is
                    // younger than the copy that the store was restored from, and nobody else may hold it.
                    if matches!(error, KeyError::Denied(_)) {
                        self.keys.revoke(self.bucket.id, id);
                    }
                    return Err(error);
                }
            }
        }
        Err(KeyError::Unavailable("the bucket's keys keep being taken back".to_owned()))
    }

    /// What the config says of the bucket's keys now. An answer that was asked for under another is not used.
    fn mark(&self) -> Result<Mark, KeyError> {
        let mark = self.keys.mark(self.bucket.id);
        let denied = || KeyError::Denied("the tenant's keys are cut off".to_owned());
        mark.right.map(|_| mark).ok_or_else(denied)
    }

    async fn active(self) -> Result<Arc<NodeKey>, KeyError> {
        for _ in 0..PLACE_ATTEMPTS {
            let mark = self.mark()?;
            let recipient = recipient()?;
            let request = wire::ActiveRequest {
                bucket_id: self.bucket.id.as_bytes().to_vec(),
                recipient: recipient.public().to_vec(),
            };
            let answer = self.control.keys().active(request).await.map_err(|status| key_error(&status))?;
            let place = match answer.into_inner().answer {
                Some(wire::active_response::Answer::Key(key)) => {
                    match self.take_in(&key, recipient, None, mark)? {
                        Some(key) => return Ok(key),
                        None => continue,
                    }
                }
                Some(wire::active_response::Answer::Place(place)) => place,
                None => return Err(KeyError::Unavailable("the control plane's answer is empty".to_owned())),
            };
            let digest = self.place(&place).await?;
            let recipient = self::recipient()?;
            let request = wire::ConfirmRequest {
                bucket_id: self.bucket.id.as_bytes().to_vec(),
                ik_id: place.ik_id,
                record_digest: digest.to_vec(),
                recipient: recipient.public().to_vec(),
            };
            match self.control.keys().confirm(request).await {
                Ok(answer) => {
                    if let Some(key) = self.take_in(&answer.into_inner(), recipient, None, mark)? {
                        return Ok(key);
                    }
                }
                // The record was replaced between the two calls: ask for the newest again.
                Err(status)
                    if status.code() == Code::Aborted || status.code() == Code::FailedPrecondition => {}
                Err(status) => return Err(key_error(&status)),
            }
        }
        Err(KeyError::Unavailable("the bucket's key record keeps changing".to_owned()))
    }

    /// Writes the wrapped record into the data bucket and gives its digest.
    async fn place(&self, place: &wire::PlaceRecord) -> Result<[u8; 32], KeyError> {
        let unusable =
            |what: &str| KeyError::Unavailable(format!("the control plane sent a record that {what}"));
        if place.record.len() > RECORD_MAX {
            return Err(unusable("is too large"));
        }
        let record = IkRecord::parse(&place.record).map_err(|_| unusable("is not one"))?;
        let context = &record.context;
        if (context.bucket, context.tenant) != (self.bucket.id, self.bucket.tenant)
            || context.ik.as_bytes().as_slice() != place.ik_id
        {
            return Err(unusable("belongs to another bucket"));
        }
        let backend = self
            .backends
            .of(self.bucket)
            .ok_or_else(|| KeyError::Unavailable(format!("no backend {:?}", self.bucket.backend)))?;
        put_record(backend.as_ref(), &self.bucket.backend_bucket, &record, &place.record)
            .await
            .map_err(|error| KeyError::Unavailable(format!("the key record cannot be placed: {error}")))?;
        Ok(Sha256::digest(&place.record).into())
    }

    fn take_in(
        &self,
        key: &wire::Key,
        recipient: Recipient,
        wanted: Option<IkId>,
        mark: Mark,
    ) -> Result<Option<Arc<NodeKey>>, KeyError> {
        let unusable = || KeyError::Unavailable("the control plane's key is malformed".to_owned());
        let id = IkId::from_bytes(key.ik_id.as_slice().try_into().map_err(|_| unusable())?);
        if wanted.is_some_and(|wanted| wanted != id) {
            return Err(unusable());
        }
        let ik = recipient.open(&key.sealed_ik, self.bucket.id, id).map_err(|_| unusable())?;
        let lives = Lives {
            soft: Duration::from_secs(key.soft_seconds.into()),
            hard: Duration::from_secs(key.hard_seconds.into()),
            idle: Duration::from_secs(key.idle_seconds.into()),
            unproved: Duration::from_secs(key.unproved_seconds.into()),
        };
        let active = match key.state() {
            wire::KeyState::Active if wanted.is_none() => {
                // A control plane of before does not say it.
                let last = key.active_last.max(key.active_until);
                Some(Active { until: key.active_until, last })
            }
            wire::KeyState::Active | wire::KeyState::DecryptOnly => None,
            wire::KeyState::Unspecified => return Err(unusable()),
        };
        if wanted.is_none() && active.is_none() {
            return Err(unusable());
        }
        Ok(self.keys.insert(self.bucket.id, NodeKey { id, ik }, lives, active, mark))
    }
}

/// Writes an IK record under its name. One that is there already must be the same, byte for byte.
///
/// # Errors
/// The backend's, or `Protocol` when another record has the name.
pub async fn put_record(
    backend: &dyn Backend,
    backend_bucket: &str,
    record: &IkRecord,
    bytes: &[u8],
) -> Result<(), BackendError> {
    let name = hidden::ik_record_name(record)
        .map_err(|error| BackendError::Protocol(format!("an IK record is out of bounds: {error}")))?;
    let body = crate::pipeline::upload(bytes.to_vec());
    let conditions = Conditions { if_none_match: Some("*".to_owned()), ..Conditions::default() };
    let options = PutOptions { conditions, ..PutOptions::default() };
    match backend.put(backend_bucket, &name, options, body).await {
        Err(error) if error.is("PreconditionFailed") => {}
        Err(error) => return Err(error),
        Ok(_) => return Ok(()),
    }
    let there = backend.get(backend_bucket, &name, GetOptions::default()).await?;
    let there = crate::pipeline::collect(there.body, RECORD_MAX).await?;
    if there == bytes {
        Ok(())
    } else {
        Err(BackendError::Protocol(format!("another record lies under {name}")))
    }
}

fn recipient() -> Result<Recipient, KeyError> {
    Recipient::generate().map_err(|error| KeyError::Unavailable(error.to_string()))
}

fn key_error(status: &tonic::Status) -> KeyError {
    match status.code() {
        Code::NotFound => KeyError::Unknown,
        Code::PermissionDenied => KeyError::Denied(status.message().to_owned()),
        // Revoked. One that the control plane does not know, as from before its store was restored, or takes for over, only cuts the
        // node off: that says nothing of any key.
        Code::Unauthenticated if status.metadata().contains_key(sealgate_proto::REVOKED) => {
            KeyError::Denied(status.message().to_owned())
        }
        _ => {
            let after = status.metadata().get(sealgate_proto::RETRY_AFTER);
            match after.and_then(|seconds| seconds.to_str().ok()?.parse::<u32>().ok()) {
                Some(seconds) => {
                    let (seconds, text) = (seconds.clamp(1, LONGEST_PAUSE), status.message().to_owned());
                    match status.metadata().contains_key(sealgate_proto::NOT_ASKED) {
                        true => KeyError::NotAsked(seconds, text),
                        false => KeyError::Later(seconds, text),
                    }
                }
                None => KeyError::Unavailable(status.message().to_owned()),
            }
        }
    }
}
