//! What all threads of a node share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use sealgate_proto::v1 as wire;
use tokio::sync::watch;

use crate::buckets::turn::Removals;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::ControlPlane;
use crate::copy::records::Lent;
use crate::cors;
use crate::keys::Keys;
use crate::landings::Landings;
use crate::metrics::Metrics;
use crate::multipart::uploads::Uploads;
use crate::pipeline::tables::Tables;
use crate::snapshot::Snapshot;
use crate::writes::Writes;

/// KMS providers that a node is told of; more than a configuration has.
const MAX_PROVIDERS: usize = 64;

/// A node: its config, the snapshot that it runs on, its keys.
pub struct Node {
    /// The node's own config file.
    pub config: Config,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Intermediate keys.
    pub keys: Arc<Keys>,
    /// Open uploads whose records this node has read.
    pub uploads: Uploads,
    /// Part tables of multipart objects that this node has read.
    pub tables: Tables,
    /// CORS configurations that this node has read.
    pub cors: cors::Known,
    /// Key records of other buckets that this node has placed.
    pub lent: Lent,
    /// Writes on their last step.
    pub landings: Landings,
    /// Buckets that this node is deleting.
    pub removals: Removals,
    /// The control plane.
    pub control: ControlPlane,
    /// Writes in flight.
    pub writes: Arc<Writes>,
    /// KMS providers that do not work, by the control plane's word.
    kms_degraded: ArcSwap<Vec<String>>,
    snapshot: ArcSwapOption<Snapshot>,
    applied: watch::Sender<(u64, u64)>,
    draining: AtomicBool,
    drain: watch::Sender<bool>,
    failed: watch::Sender<Option<&'static str>>,
}

impl Node {
    /// A node that has no snapshot yet, and so is not ready.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        keys: Arc<Keys>,
        control: ControlPlane,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            uploads: Uploads::new(Arc::clone(&clock), Arc::clone(&keys)),
            tables: Tables::new(),
            cors: cors::Known::default(),
            lent: Lent::default(),
            landings: Landings::default(),
            removals: Removals::default(),
            clock,
            metrics,
            keys,
            control,
            writes: Writes::new(),
            kms_degraded: ArcSwap::default(),
            snapshot: ArcSwapOption::empty(),
            applied: watch::Sender::new((0, 0)),
            draining: AtomicBool::new(false),
            drain: watch::Sender::new(false),
            failed: watch::Sender::new(None),
        })
    }

    /// Takes in how the KMS providers are: for whoever watches the node. What is served changes in one point only: keys that a KMS was
    /// not asked for are asked for again at once.
    pub fn kms_told(&self, providers: Vec<wire::KmsProvider>) {
        let mut degraded = Vec::new();
        for wire::KmsProvider { name, degraded: out } in providers.into_iter().take(MAX_PROVIDERS) {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            self.metrics.kms_degraded(&name, out);
            degraded.extend(out.then_some(name));
        }
        if *self.kms_degraded.swap(Arc::new(degraded.clone())) != degraded {
            self.keys.news();
        }
    }

    /// The KMS providers that do not work, by the control plane's last word.
    pub fn kms_degraded(&self) -> Arc<Vec<String>> {
        self.kms_degraded.load_full()
    }

    /// Where a client reaches this node, by the host that it named.
    pub fn url(&self, host: &str) -> String {
        format!("{}://{host}", if self.config.tls.is_some() { "https" } else { "http" })
    }

    /// The snapshot that the node runs on. A request takes it once and keeps to it.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// Swaps in a checked snapshot. One of a lower epoch, or an older version of the same, is refused.
    ///
    /// # Errors
    /// The two versions.
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), String> {
        let running = *self.applied.borrow();
        let new = (snapshot.epoch, snapshot.version);
        if new < running {
            return Err(format!("epoch and version {new:?} are older than {running:?}"));
        }
        let ids: HashSet<_> = snapshot.buckets().map(|bucket| bucket.id).collect();
        self.keys.retain(|id| ids.contains(&id));
        // Before the config is acknowledged, nothing of what it takes back is held any more.
        let void = self.keys.set_rights(snapshot.buckets().map(|bucket| (bucket.id, bucket.keys)).collect());
        self.uploads.retain(|id| !void.contains(&id));
        if !void.is_empty() {
            // A record that was placed for copies may be of a key that is lent no more: ask again.
            self.lent.retain(|_| false);
        }
        // What is known of a place goes with it: a replica that is adopted has the bucket's id, and the same keys.
        let places: HashSet<_> = snapshot.buckets().map(|bucket| bucket.place()).collect();
        let known = self.snapshot();
        let known = known.iter().flat_map(|known| known.buckets());
        let left: HashSet<_> =
            known.filter(|bucket| !places.contains(&bucket.place())).map(|bucket| bucket.id).collect();
        self.uploads.retain(|id| ids.contains(&id) && !left.contains(&id));
        self.lent.retain(|id| ids.contains(&id) && !left.contains(&id));
        self.tables.forget(&left);
        left.iter().for_each(|id| self.cors.forget(*id));
        self.metrics.buckets.retain(&snapshot.buckets().map(|bucket| &*bucket.label).collect());
        let frozen = snapshot.buckets().filter(|bucket| bucket.frozen).map(|bucket| bucket.id).collect();
        // The names first: where a freeze ends, nobody may come in under a name that the bucket had before.
        self.snapshot.store(Some(snapshot));
        self.writes.freeze(frozen);
        self.metrics.config_applied(new.1);
        self.applied.send_replace(new);
        Ok(())
    }

    /// The control plane has revoked this node: what it has been given is not its any more.
    pub fn refused(&self) {
        self.keys.refuse_all();
        self.uploads.evict();
    }

    /// Drops every secret that a drained node holds: intermediate keys, the keys of open uploads, the snapshot's signing
    /// keys. They are zeroized with their last holder.
    pub fn forget_secrets(&self) {
        self.keys.clear();
        self.uploads.clear();
        self.snapshot.store(None);
    }

    /// Epoch and version of the snapshot that the node runs on, (0, 0) when it has none.
    pub fn applied(&self) -> (u64, u64) {
        *self.applied.borrow()
    }

    /// Changes when another snapshot is applied.
    pub fn watch_applied(&self) -> watch::Receiver<(u64, u64)> {
        self.applied.subscribe()
    }

    /// Waits until the node runs on this epoch and version or a later one.
    pub async fn wait_applied(&self, epoch: u64, version: u64) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as the node, so this ends only with the version.
        let _ = applied.wait_for(|running| *running >= (epoch, version)).await;
    }

    /// Whether a balancer may send requests here.
    pub fn ready(&self) -> bool {
        !self.draining.load(Ordering::Acquire) && self.snapshot.load().is_some()
    }

    /// Turns readiness off. Requests are served as before: a balancer needs a moment to notice.
    pub fn turn_unready(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Asks connections to end after the request in flight.
    pub fn end_connections(&self) {
        self.turn_unready();
        self.drain.send_replace(true);
    }

    /// A part of the node has ended that nothing brings back, and the others would go on as if it were there: the process is to end, so
    /// that whoever looks after it starts it again.
    pub fn fail(&self, what: &'static str) {
        self.failed.send_if_modified(|failed| failed.replace(what).is_none());
    }

    /// Waits until a part has ended, and says which. While a node is stopped, parts end as they should.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as the node.
        match failed.wait_for(Option::is_some).await {
            Ok(what) => what.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Becomes true when connections are to end.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }
}
