//! The actor that keeps nodes up to date, after xDS: one push outstanding a node, newest wins, ACK or NACK.
//!
//! A slow node skips versions and holds up nobody. What a node refuses is quarantined for that node until something
//! newer comes. It holds nothing that the store and the nodes' next Hello do not give back after a panic.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, AsyncContext as _, Context, Handler, Message, StreamHandler};
use futures_util::{Stream, stream};
use sealgate_envelope::TenantId;
use sealgate_proto::v1;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::WatchStream;

use super::{frozen::FrozenWrites, kms::Degraded, kms_news::NodeKeys};
use crate::{
    Clock,
    identity::Identity,
    metrics::{Answer, Metrics},
    registry::{Registry, Version, records::Tenants},
    signing::SigningKeys,
    snapshot::{self, Encoded},
};

const MAILBOX: usize = 4096;
const DEBOUNCE: Duration = Duration::from_millis(100);
/// In seconds.
const DIGEST_EVERY: u64 = 10;
/// A node that does not answer a push for so long loses its stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest text of a NACK that is kept, in bytes.
const MAX_REASON: usize = 1024;

/// What goes to a node's stream.
pub(crate) enum Outgoing {
    /// A snapshot to send in chunks, under this nonce.
    Push { nonce: [u8; 16], snapshot: Arc<Encoded> },
    /// What the node should be running.
    Digest(v1::Digest),
    /// How the KMS providers are.
    Kms(v1::KmsHealth),
}

struct Push {
    nonce: [u8; 16],
    version: Version,
    digest: [u8; 32],
    sent: tokio::time::Instant,
}

pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) identity: Arc<Identity>,
    pub(super) out: mpsc::Sender<Outgoing>,
    outstanding: Option<Push>,
}

/// What a node said last, as the admin API shows it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct NodeReport {
    /// Whether it has a stream.
    pub(crate) connected: bool,
    /// What it says it runs.
    pub(crate) software: String,
    /// The epoch and version that it acknowledged last.
    pub(crate) acked: Option<(u64, u64)>,
    /// The version that it refused and that is not sent to it again.
    pub(crate) quarantined: Option<(u64, u64)>,
    /// What it refused it for.
    pub(crate) nack: Option<String>,
    /// How it fares with keys; none before it has said.
    pub(crate) keys: Option<NodeKeys>,
}

/// See the module.
pub(crate) struct Fanout {
    pub(super) registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    pub(super) acks: watch::Sender<u64>,
    keys: SigningKeys,
    encoded: HashMap<Tenants, Arc<Encoded>>,
    pub(super) streams: BTreeMap<String, Subscriber>,
    pub(super) reports: BTreeMap<String, NodeReport>,
    pub(super) last_acked: HashMap<String, (Version, [u8; 32])>,
    pub(super) frozen: HashMap<String, FrozenWrites>,
    /// The KMS providers, as they are now and as they change.
    pub(super) kms: Degraded,
    kms_changes: watch::Receiver<Degraded>,
    pushed_urgent: u64,
    debouncing: bool,
}

impl Fanout {
    pub(crate) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        acks: watch::Sender<u64>,
        kms_changes: watch::Receiver<Degraded>,
    ) -> Self {
        let kms = kms_changes.borrow().clone();
        Self {
            registry,
            metrics,
            acks,
            keys: SigningKeys::default(),
            encoded: HashMap::new(),
            streams: BTreeMap::new(),
            reports: BTreeMap::new(),
            last_acked: HashMap::new(),
            frozen: HashMap::new(),
            kms,
            kms_changes,
            pushed_urgent: 0,
            debouncing: false,
        }
    }

    /// Sends the newest snapshot to everyone who needs and may take it.
    fn push_all(&mut self) {
        let state = self.registry.state();
        self.pushed_urgent = state.urgent;
        let now = self.registry.now();
        let revoked: Vec<String> = self
            .streams
            .iter()
            .filter(|(node, stream)| !state.knows_certificate(node, &stream.identity.serial, now))
            .map(|(node, _)| node.clone())
            .collect();
        for node in revoked {
            tracing::warn!(target: "audit", node, "the stream of a revoked node was ended");
            self.end(&node);
        }
        self.keys.retain(|id| state.credentials.contains_key(id));
        self.encoded.retain(|_, encoded| encoded.version.version == state.version);
        for node in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.push(&node);
        }
    }

    fn push(&mut self, node: &str) {
        let version = self.registry.version();
        let Some(stream) = self.streams.get(node) else { return };
        let refused = self.reports.get(node).and_then(|report| report.quarantined);
        let acked = self.last_acked.get(node).map(|(version, _)| *version);
        if stream.outstanding.is_some()
            || refused == Some((version.epoch, version.version))
            || acked == Some(version)
        {
            return;
        }
        let tenants = stream.identity.tenants.clone();
        let snapshot = match self.snapshot(&tenants) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::error!(%error, node, "no snapshot can be made");
                return;
            }
        };
        let mut nonce = [0; 16];
        if getrandom::fill(&mut nonce).is_err() {
            return;
        }
        let Some(stream) = self.streams.get_mut(node) else { return };
        let (version, digest) = (snapshot.version, snapshot.digest);
        stream.outstanding = Some(Push { nonce, version, digest, sent: tokio::time::Instant::now() });
        // One push is outstanding at most, so there is room; if there is none, the stream does not move.
        if stream.out.try_send(Outgoing::Push { nonce, snapshot }).is_err() {
            self.end(node);
            return;
        }
        self.metrics.push();
    }

    fn snapshot(&mut self, tenants: &Tenants) -> Result<Arc<Encoded>, crate::Error> {
        let state = self.registry.state();
        if let Some(encoded) = self.encoded.get(tenants)
            && encoded.version == (Version { epoch: state.epoch, version: state.version })
        {
            return Ok(Arc::clone(encoded));
        }
        let encoded = snapshot::encode(&self.registry, &state, tenants, &mut self.keys)?;
        self.encoded.insert(tenants.clone(), Arc::clone(&encoded));
        Ok(encoded)
    }

    /// Dropping the sender ends the stream.
    fn end(&mut self, node: &str) {
        if self.streams.remove(node).is_some() {
            self.metrics.nodes(-1);
        }
        if let Some(report) = self.reports.get_mut(node) {
            report.connected = false;
        }
        self.acks.send_modify(|count| *count += 1);
    }

    fn tick(&mut self) {
        let late: Vec<String> = self
            .streams
            .iter()
            .filter(|(_, stream)| {
                stream.outstanding.as_ref().is_some_and(|push| push.sent.elapsed() > ANSWER_WITHIN)
            })
            .map(|(node, _)| node.clone())
            .collect();
        for node in late {
            tracing::warn!(node, "a node does not answer: its stream was ended");
            self.metrics.answer(Answer::Timeout);
            self.end(&node);
        }
        self.push_all();
        for node in self.streams.keys().cloned().collect::<Vec<_>>() {
            let Some((Version { epoch, version }, digest)) = self.wanted(&node) else { continue };
            let Some(stream) = self.streams.get(&node) else { continue };
            let digest = v1::Digest { epoch, version, digest: digest.to_vec() };
            // A full channel has a push before it: the next digest will do.
            let _ = stream.out.try_send(Outgoing::Digest(digest));
            self.tell_kms(&node);
        }
    }

    /// What a node runs once it has taken in what was sent to it; none when it has refused that.
    fn wanted(&mut self, node: &str) -> Option<(Version, [u8; 32])> {
        let stream = self.streams.get(node)?;
        if let Some(push) = &stream.outstanding {
            return Some((push.version, push.digest));
        }
        let refused = self.reports.get(node).and_then(|report| report.quarantined);
        let tenants = stream.identity.tenants.clone();
        // Of the snapshot itself, not of what the node said about it.
        let snapshot = self.snapshot(&tenants).ok()?;
        let version = snapshot.version;
        (refused != Some((version.epoch, version.version))).then_some((version, snapshot.digest))
    }
}

impl Actor for Fanout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.add_stream(WatchStream::new(self.registry.changes()));
        ctx.add_stream(WatchStream::from_changes(self.kms_changes.clone()));
        ctx.add_stream(ticks(Arc::clone(self.registry.clock())));
    }
}

/// It is time for a digest.
struct Tick;

fn ticks(clock: Arc<dyn Clock>) -> impl Stream<Item = Tick> {
    stream::unfold(clock, |clock| async {
        clock.sleep(DIGEST_EVERY).await;
        Some((Tick, clock))
    })
}

impl StreamHandler<Tick> for Fanout {
    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.tick();
    }
}

/// The registry has a new version.
impl StreamHandler<u64> for Fanout {
    fn handle(&mut self, _: u64, ctx: &mut Self::Context) {
        if self.registry.state().urgent > self.pushed_urgent {
            self.push_all();
        } else if !self.debouncing {
            self.debouncing = true;
            ctx.run_later(DEBOUNCE, |actor, _| {
                actor.debouncing = false;
                actor.push_all();
            });
        }
    }
}

/// A node has opened a stream. A second stream of a node ends its first.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe {
    pub(crate) id: u64,
    pub(crate) identity: Arc<Identity>,
    pub(crate) hello: v1::Hello,
    pub(crate) out: mpsc::Sender<Outgoing>,
}

impl Handler<Subscribe> for Fanout {
    type Result = ();

    fn handle(&mut self, message: Subscribe, _: &mut Self::Context) {
        let Subscribe { id, identity, hello, out } = message;
        // It may have been revoked between the call and the hello: without a place its stream ends.
        if !self.registry.state().knows_certificate(&identity.node, &identity.serial, self.registry.now()) {
            return;
        }
        let node = identity.node.clone();
        self.end(&node);
        // What it ran before does not count until it says so again: it may have been restarted without it.
        self.last_acked.remove(&node);
        self.frozen.remove(&node);
        let report = self.reports.entry(node.clone()).or_default();
        report.connected = true;
        report.keys = None;
        // One that has just started may have been mended: it is asked again.
        if (hello.epoch, hello.version) == (0, 0) {
            report.quarantined = None;
        }
        report.software = hello.software.chars().filter(|c| !c.is_control()).take(128).collect();
        self.streams.insert(node.clone(), Subscriber { id, identity, out, outstanding: None });
        self.metrics.nodes(1);
        self.push(&node);
        self.tell_kms(&node);
    }
}

/// A node's stream has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unsubscribe {
    pub(crate) node: String,
    pub(crate) id: u64,
}

impl Handler<Unsubscribe> for Fanout {
    type Result = ();

    fn handle(&mut self, message: Unsubscribe, _: &mut Self::Context) {
        if self.streams.get(&message.node).is_some_and(|stream| stream.id == message.id) {
            self.end(&message.node);
        }
    }
}

/// A node's answer to a push.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Report {
    pub(crate) node: String,
    pub(crate) id: u64,
    /// The ACK, or the NACK.
    pub(crate) answer: Result<v1::Ack, v1::Nack>,
}

impl Handler<Report> for Fanout {
    type Result = ();

    fn handle(&mut self, message: Report, _: &mut Self::Context) {
        let node = message.node;
        let Some(stream) = self.streams.get_mut(&node).filter(|stream| stream.id == message.id) else {
            return;
        };
        let nonce = match &message.answer {
            Ok(ack) => &ack.nonce,
            Err(nack) => &nack.nonce,
        };
        // An answer to something that is not outstanding says nothing about what is.
        let Some(push) = stream.outstanding.take_if(|push| push.nonce[..] == nonce[..]) else { return };
        let report = self.reports.entry(node.clone()).or_default();
        let version = (push.version.epoch, push.version.version);
        match message.answer {
            Ok(ack) if (ack.epoch, ack.version) == version && ack.digest == push.digest => {
                report.acked = Some(version);
                (report.quarantined, report.nack) = (None, None);
                self.last_acked.insert(node.clone(), (push.version, push.digest));
                self.metrics.answer(Answer::Ack);
            }
            Ok(_) => {
                report.quarantined = Some(version);
                report.nack = Some("the ACK names another version or digest".to_owned());
                self.metrics.answer(Answer::Nack);
            }
            Err(nack) => {
                let text = format!("{}: {}", nack.resource, nack.reason);
                let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
                tracing::error!(node, version = version.1, reason = text, "a node refused a snapshot");
                report.quarantined = Some(version);
                report.nack = Some(text);
                self.metrics.answer(Answer::Nack);
            }
        }
        self.acks.send_modify(|count| *count += 1);
        self.push(&node);
    }
}

/// Which connected nodes have not acknowledged this version, or a newer one.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub(crate) struct Pending(pub(crate) Version);

impl Handler<Pending> for Fanout {
    type Result = Vec<String>;

    fn handle(&mut self, message: Pending, _: &mut Self::Context) -> Vec<String> {
        let behind = |node: &&String| self.last_acked.get(*node).is_none_or(|(acked, _)| *acked < message.0);
        self.streams.keys().filter(behind).cloned().collect()
    }
}

/// Connected nodes of a tenant that do not run this version yet, and have not refused it.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub(crate) struct Unaware {
    pub(crate) tenant: TenantId,
    pub(crate) version: Version,
}

impl Handler<Unaware> for Fanout {
    type Result = Vec<String>;

    fn handle(&mut self, message: Unaware, _: &mut Self::Context) -> Vec<String> {
        let Unaware { tenant, version } = message;
        let unaware = |(node, stream): &(&String, &Subscriber)| {
            let refused = self.reports.get(*node).and_then(|report| report.quarantined);
            stream.identity.tenants.contains(tenant)
                && self.last_acked.get(*node).is_none_or(|(acked, _)| *acked < version)
                && refused.is_none_or(|refused| refused < (version.epoch, version.version))
        };
        self.streams.iter().filter(unaware).map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use actix::{Handler, Message};

    use super::Fanout;

    /// Makes the actor panic, as a bug in a handler would.
    #[derive(Message)]
    #[rtype(result = "()")]
    pub(crate) struct Panic;

    impl Handler<Panic> for Fanout {
        type Result = ();

        #[allow(clippy::panic, reason = "what it is for")]
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("as the test wants it")
        }
    }
}

/// All nodes' reports.
#[derive(Message)]
#[rtype(result = "Reports")]
pub(crate) struct Status;

pub(crate) type Reports = Vec<(String, NodeReport)>;

impl Handler<Status> for Fanout {
    type Result = Reports;

    fn handle(&mut self, _: Status, _: &mut Self::Context) -> Reports {
        self.reports.iter().map(|(node, report)| (node.clone(), report.clone())).collect()
    }
}
