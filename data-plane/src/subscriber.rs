//! The config subscriber: an actor that holds the stream to the control plane, assembles and checks snapshots, applies
//! them and answers ACK or NACK. A running node keeps its config when the stream is lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, StreamHandler, WrapFuture as _,
};
use prost::Message as _;
use sealgate_proto::SNAPSHOT_MAX;
use sealgate_proto::v1 as wire;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tracing::{info, warn};
use zeroize::Zeroize as _;

use crate::node::Node;
use crate::snapshot::{Rejected, Snapshot};

/// The first reconnect waits up to this, each further one up to twice the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_LAST: Duration = Duration::from_secs(10);

/// How long a config waits for its acknowledgement because of writes that are about to end: a little less than who deletes a
/// bucket waits for all acknowledgements, and no other config comes meanwhile.
const SETTLE_WITHIN: Duration = Duration::from_secs(4);

/// How often the watchdog looks whether the actor lives.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Keeps a subscriber running. An actor that panicked is dead and its process lives on, so this starts another.
pub async fn watch(node: Arc<Node>) {
    let mut subscriber = Subscriber::new(Arc::clone(&node)).start();
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    loop {
        ticks.tick().await;
        if !subscriber.connected() {
            warn!("the config subscriber died; starting another");
            subscriber = Subscriber::new(Arc::clone(&node)).start();
        }
    }
}

/// Ends of writes are gathered for so long before they are reported.
const GATHER: Duration = Duration::from_millis(20);

struct Subscriber {
    node: Arc<Node>,
    backends: HashSet<String>,
    answers: Option<mpsc::Sender<wire::NodeMessage>>,
    partial: Option<Partial>,
    backoff: Duration,
    /// Whether a report of frozen buckets is about to be sent.
    reporting: bool,
}

/// A snapshot of which not all fragments have come.
struct Partial {
    nonce: Vec<u8>,
    epoch: u64,
    version: u64,
    digest: Vec<u8>,
    total: usize,
    data: Vec<u8>,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Signing keys are in it.
        self.data.zeroize();
    }
}

impl Subscriber {
    fn new(node: Arc<Node>) -> Self {
        let backends = node.config.backends.keys().cloned().collect();
        Self { node, backends, answers: None, partial: None, backoff: BACKOFF_FIRST, reporting: false }
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        let (answers, receiver) = mpsc::channel(16);
        let (epoch, version) = self.node.applied();
        let hello = wire::Hello { software: env!("CARGO_PKG_VERSION").to_owned(), epoch, version };
        let hello = wire::NodeMessage { message: Some(wire::node_message::Message::Hello(hello)) };
        // The channel is new and has room for it.
        let _ = answers.try_send(hello);
        self.answers = Some(answers);
        let mut client = self.node.control.config();
        let call = async move { client.subscribe(ReceiverStream::new(receiver)).await };
        ctx.spawn(call.into_actor(self).map(|answer, actor, ctx| match answer {
            Ok(stream) => {
                info!("connected to the control plane");
                ctx.add_stream(stream.into_inner());
            }
            Err(status) => {
                warn!(code = ?status.code(), reason = status.message(), "no stream from the control plane");
                actor.reconnect(ctx);
                if status.metadata().contains_key(sealgate_proto::REVOKED) {
                    warn!(target: "audit", "this node's certificate is revoked: it drops all keys");
                    actor.node.refused();
                }
            }
        }));
    }

    fn reconnect(&mut self, ctx: &mut Context<Self>) {
        self.answers = None;
        self.partial = None;
        self.node.keys.cut_off(true);
        let delay = full_jitter(self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_LAST);
        ctx.run_later(delay, |actor, ctx| actor.connect(ctx));
    }

    fn fragment(&mut self, mut chunk: wire::SnapshotChunk) -> Result<Option<Partial>, String> {
        let total = usize::try_from(chunk.total).unwrap_or(usize::MAX);
        if total > SNAPSHOT_MAX {
            return Err(format!("a snapshot of {total} bytes is larger than {SNAPSHOT_MAX}"));
        }
        let mut partial = match self.partial.take() {
            Some(partial) if partial.nonce == chunk.nonce => partial,
            _ => Partial {
                nonce: chunk.nonce,
                epoch: chunk.epoch,
                version: chunk.version,
                digest: chunk.digest,
                total,
                data: Vec::with_capacity(total),
            },
        };
        if partial.data.len() + chunk.data.len() > partial.total {
            return Err("a snapshot has more bytes than it announced".to_owned());
        }
        partial.data.extend_from_slice(&chunk.data);
        chunk.data.zeroize();
        if chunk.last {
            return Ok(Some(partial));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    fn apply(&self, partial: &Partial) -> Result<[u8; 32], Rejected> {
        let whole = |reason: &str| Rejected { resource: "snapshot".to_owned(), reason: reason.to_owned() };
        let digest: [u8; 32] = Sha256::digest(&partial.data).into();
        if partial.data.len() != partial.total || !bool::from(digest.as_slice().ct_eq(&partial.digest)) {
            return Err(whole("its bytes do not have the announced digest"));
        }
        let decoded =
            wire::Snapshot::decode(partial.data.as_slice()).map_err(|_| whole("it cannot be decoded"))?;
        if (decoded.epoch, decoded.version) != (partial.epoch, partial.version) {
            return Err(whole("its epoch and version are not the announced ones"));
        }
        let snapshot = Snapshot::check(decoded, digest, &self.backends)?;
        self.node.apply(Arc::new(snapshot)).map_err(|reason| whole(&reason))?;
        Ok(digest)
    }

    fn runs(&self, wanted: &wire::Digest) -> bool {
        self.node.snapshot().is_some_and(|running| {
            (running.epoch, running.version) == (wanted.epoch, wanted.version)
                && bool::from(running.digest.as_slice().ct_eq(&wanted.digest))
        })
    }

    fn received(&mut self, partial: &Partial, ctx: &mut Context<Self>) {
        let (nonce, epoch, version) = (partial.nonce.clone(), partial.epoch, partial.version);
        let answer = match self.apply(partial) {
            Ok(digest) => {
                info!(epoch, version, "config applied");
                self.node.keys.cut_off(false);
                self.backoff = BACKOFF_FIRST;
                let ack = wire::Ack { nonce, epoch, version, digest: digest.to_vec() };
                self.acknowledge(wire::node_message::Message::Ack(ack), ctx);
                return;
            }
            Err(Rejected { resource, reason }) => {
                warn!(epoch, version, resource, reason, "config refused; the old one keeps running");
                self.node.metrics.config_rejected();
                wire::node_message::Message::Nack(wire::Nack { nonce, epoch, version, resource, reason })
            }
        };
        self.answer(answer);
    }

    /// Says what is still being written into frozen buckets, where there are any.
    fn report_frozen(&self) {
        let frozen = self.node.writes.of_frozen();
        if frozen.is_empty() {
            return;
        }
        let buckets = frozen
            .into_iter()
            .map(|(bucket, in_flight)| wire::FrozenBucket {
                bucket_id: bucket.as_bytes().to_vec(),
                in_flight,
            })
            .collect();
        let (epoch, version) = self.node.applied();
        self.answer(wire::node_message::Message::FrozenWrites(wire::FrozenWrites {
            epoch,
            version,
            buckets,
        }));
    }

    /// Acknowledges the config that the node runs on, once no write is on its last step in a bucket that takes none by it.
    fn acknowledge(&self, ack: wire::node_message::Message, ctx: &mut Context<Self>) {
        let snapshot = self.node.snapshot();
        let ending = snapshot.map_or_else(Vec::new, |snapshot| self.node.landings.outlasting(&snapshot));
        if ending.is_empty() {
            self.acknowledged(ack);
            return;
        }
        let node = Arc::clone(&self.node);
        let settling = async move {
            let settled = node.landings.settled(&ending);
            if tokio::time::timeout(SETTLE_WITHIN, settled).await.is_err() {
                warn!(
                    "a write takes long to end in a bucket that is being deleted; the config is acknowledged all the same"
                );
            }
        };
        ctx.spawn(settling.into_actor(self).map(|(), actor, _| actor.acknowledged(ack)));
    }

    fn acknowledged(&self, ack: wire::node_message::Message) {
        self.answer(ack);
        self.report_frozen();
    }

    fn answer(&self, message: wire::node_message::Message) {
        if let Some(answers) = &self.answers
            && answers.try_send(wire::NodeMessage { message: Some(message) }).is_err()
        {
            warn!("an answer to the control plane was dropped; it will push again");
        }
    }
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(WatchStream::from_changes(self.node.writes.ended()).map(|()| WriteEnded));
        self.connect(ctx);
    }
}

/// A write to a frozen bucket has ended.
struct WriteEnded;

impl StreamHandler<WriteEnded> for Subscriber {
    fn handle(&mut self, _: WriteEnded, ctx: &mut Self::Context) {
        if !std::mem::replace(&mut self.reporting, true) {
            ctx.run_later(GATHER, |actor, _| {
                actor.reporting = false;
                actor.report_frozen();
            });
        }
    }
}

impl StreamHandler<Result<wire::ControlMessage, tonic::Status>> for Subscriber {
    fn handle(&mut self, item: Result<wire::ControlMessage, tonic::Status>, ctx: &mut Self::Context) {
        match item.map(|message| message.message) {
            Ok(Some(wire::control_message::Message::Snapshot(chunk))) => match self.fragment(chunk) {
                Ok(Some(whole)) => self.received(&whole, ctx),
                Ok(None) => {}
                Err(reason) => {
                    warn!(reason, "the control plane's stream is malformed; stopping this subscriber");
                    ctx.stop();
                }
            },
            // The digest says what the node should run; a node that runs something else asks by saying Hello anew: its stream
            // ends, and the next one begins with the whole config.
            Ok(Some(wire::control_message::Message::Digest(wanted))) => {
                if self.runs(&wanted) {
                    self.node.keys.cut_off(false);
                } else if self.partial.is_none() {
                    let (epoch, version) = self.node.applied();
                    warn!(
                        epoch,
                        version,
                        wanted = wanted.version,
                        "this is not the config to run; asking for it"
                    );
                    let hello =
                        wire::Hello { software: env!("CARGO_PKG_VERSION").to_owned(), epoch, version };
                    self.answer(wire::node_message::Message::Hello(hello));
                }
                // Also for one that was dropped.
                self.report_frozen();
            }
            Ok(Some(wire::control_message::Message::Kms(health))) => {
                self.node.kms_told(health.providers);
                let (held, failed) = (self.node.keys.len() as u64, self.node.keys.failed());
                self.answer(wire::node_message::Message::KeyReport(wire::KeyReport { held, failed }));
            }
            Ok(None) => {}
            Err(status) => warn!(code = ?status.code(), reason = status.message(), "the config stream broke"),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        info!("the config stream ended; connecting again");
        self.reconnect(ctx);
    }
}

/// A random delay up to `most`, so that a thousand nodes don't come back at once.
fn full_jitter(most: Duration) -> Duration {
    let mut random = [0; 4];
    if getrandom::fill(&mut random).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX))
}
