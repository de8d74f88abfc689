//! The work on one bucket: taken from the control plane, kept by asking again, done pass by pass.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sealgate_envelope::ids::IkId;
use sealgate_envelope::transfer::Recipient;
use sealgate_proto::v1 as wire;
use tonic::Code;
use tracing::{info, warn};

use super::is_wanted;
use super::object::{Job, Trouble};
use super::pass::Pass;
use super::targets::Targets;
use crate::node::Node;
use crate::snapshot::Bucket;
use crate::worker::Backends;

/// How often the control plane is asked whether the work is still this node's.
const KEEP: Duration = Duration::from_secs(5);
/// Without its word for so long the work is not this node's any more: well before another may take it.
const LOST: Duration = Duration::from_secs(60);
/// After this the work goes on that could not, first; twice as long each time, up to a minute.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Does the work that the config names, until it is done, another node's, or stopped.
pub async fn run(node: Arc<Node>, backends: Rc<Backends>, bucket: Arc<Bucket>) {
    let mut retry = RETRY;
    while goes_on(&node, &bucket) {
        let Some(backend) = backends.of(&bucket) else {
            warn!(bucket = bucket.name, "envelopes: this node has no backend {:?}", bucket.backend);
            return;
        };
        let work = match take(&node, &bucket).await {
            Ok(work) if work.taken => work,
            Ok(work) => {
                info!(bucket = bucket.name, waits = work.waits, "envelopes: the work waits");
                return;
            }
            Err(status) => {
                warn!(bucket = bucket.name, reason = status.message(), "envelopes: the work cannot be had");
                return;
            }
        };
        let mut pass = Pass::taken(&work, backend.capabilities().sorted_listings);
        let done = async {
            let mut targets = Targets::of(&work).map_err(Trouble)?;
            fetch_keys(&node, &bucket, &work, &mut targets).await?;
            let (node, bucket) = (Arc::clone(&node), Arc::clone(&bucket));
            let job = Job { node, bucket, backend, targets };
            pass.run(&job, &work).await
        };
        let done = tokio::select! {
            done = done => done,
            () = lost(&node, &bucket) => {
                info!(bucket = bucket.name, "envelopes: the work is not this node's any more");
                return;
            }
        };
        match done {
            // Ended, stopped, or its keys are to be asked for again.
            Ok(()) => retry = RETRY,
            Err(Trouble(why)) => {
                warn!(bucket = bucket.name, why, "envelopes: the work waits");
                pass.report_trouble(&node, &bucket, &why).await;
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MOST);
            }
        }
    }
}

/// Whether the config still names this work.
#[must_use]
pub fn goes_on(node: &Node, bucket: &Bucket) -> bool {
    let snapshot = node.snapshot();
    let now = snapshot.as_ref().and_then(|snapshot| snapshot.bucket(&bucket.name));
    now.is_some_and(|now| now.place() == bucket.place() && now.rewrap == bucket.rewrap && is_wanted(now))
}

async fn take(node: &Node, bucket: &Bucket) -> Result<wire::RewrapWork, tonic::Status> {
    let request = wire::TakeRewrapRequest { bucket_id: bucket.id.as_bytes().to_vec(), number: bucket.rewrap };
    Ok(node.control.rewraps().take(request).await?.into_inner())
}

/// Ends when the work is not this node's any more.
async fn lost(node: &Node, bucket: &Bucket) {
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(KEEP).await;
        match take(node, bucket).await {
            Ok(work) if work.taken => heard = tokio::time::Instant::now(),
            // A node that came back has to hear of the work first: nobody else works meanwhile.
            Ok(_) if heard.elapsed() < LOST => {}
            Ok(_) => return,
            Err(status)
                if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown) =>
            {
                if heard.elapsed() >= LOST {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Asks for the keys of the work. Those of other buckets are not needed: no envelope here is under them.
async fn fetch_keys(
    node: &Node,
    bucket: &Bucket,
    work: &wire::RewrapWork,
    targets: &mut Targets,
) -> Result<(), Trouble> {
    let unusable = || Trouble("the control plane's key is malformed".to_owned());
    for wanted in work.keys.iter().filter(|key| !key.lent) {
        let recipient = Recipient::generate().map_err(|error| Trouble(error.to_string()))?;
        let id = IkId::from_bytes(wanted.ik_id.as_slice().try_into().map_err(|_| unusable())?);
        let request = wire::RewrapKeyRequest {
            bucket_id: bucket.id.as_bytes().to_vec(),
            number: bucket.rewrap,
            ik_id: wanted.ik_id.clone(),
            recipient: recipient.public().to_vec(),
        };
        let answer = node.control.rewraps().key(request).await;
        let key =
            answer.map_err(|status| Trouble(format!("the key {id}: {}", status.message())))?.into_inner();
        if key.ik_id != wanted.ik_id {
            return Err(unusable());
        }
        targets.give(id, recipient.open(&key.sealed_ik, bucket.id, id).map_err(|_| unusable())?);
    }
    Ok(())
}
