//! A node as a whole: started, watched, drained.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::Arbiter;
use tracing::{error, info, warn};

use crate::backend::s3::ServerKind;
use crate::clock::Clock;
use crate::config::{BackendConfig, Config};
use crate::control::ControlPlane;
use crate::keys::{self, Keys};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::tls::Certificates;
use crate::worker::Backends;
use crate::{buckets, descriptors, health, identity, rewrap, server, subscriber, sweep};

/// How often open uploads that nobody uses are looked for.
const EVICT_UPLOADS_EVERY: Duration = Duration::from_secs(30);

/// How often buckets are looked for that are to be made. One is made at the second look.
const MAKE_PENDING_EVERY: Duration = Duration::from_secs(3);

/// How often buckets are looked for that are to be deleted, and work buckets when no config came.
const DELETE_PENDING_EVERY: Duration = Duration::from_secs(30);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener, a certificate or a backend's directory.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What failed.
        error: std::io::Error,
    },
    /// The control plane's endpoint or the node's identity.
    #[error("control_plane: {0}")]
    Control(#[from] tonic::transport::Error),
    /// A backend.
    #[error("{0}")]
    Backend(String),
    /// The metrics' registry.
    #[error("metrics: {0}")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
}

/// A running node.
pub struct DataPlane {
    node: Arc<Node>,
    server: actix_server::ServerHandle,
    health: actix_web::dev::ServerHandle,
    address: SocketAddr,
    admin_address: SocketAddr,
    background: Arbiter,
    envelopes: Arbiter,
}

impl DataPlane {
    /// Starts a node. An actix `System` must run on this thread.
    ///
    /// # Errors
    /// What could not be opened. A control plane that is away is none: the node waits for it.
    pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let failed = |what| move |error| StartError::Io { what, error };
        // Fails here rather than in a worker, where nobody would see it.
        Backends::open(&config.backends).map_err(StartError::Backend)?;
        warn_of_strangers(&config);
        let certificates = match config.tls.clone() {
            Some(files) => Some(Certificates::load(files).map_err(failed("tls"))?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new()?);
        let control = &config.control_plane;
        let background = Arbiter::new();
        let (keys, requests) = Keys::new(Arc::clone(&clock), Arc::clone(&metrics));
        let control = ControlPlane::new(&control.endpoint, &control.server_name, &control.identity)?;
        let node = Node::new(config, clock, metrics, Arc::clone(&keys), control.clone());
        let connections = descriptors::connections(descriptors::raise(), &node.config);
        let (server, address) =
            server::start(&node, certificates.clone(), connections).map_err(failed("listen"))?;
        let (health, admin_address) = health::start(&node).map_err(failed("admin_listen"))?;
        let (server_handle, health_handle) = (server.handle(), health.handle());
        serve(&node, server, "the listener for objects ended");
        serve(&node, health, "the listener for health ended");
        let shared = Arc::clone(&node);
        background.spawn_fn(move || {
            actix_rt::spawn(run_background(shared, keys, control, requests, certificates));
        });
        // A thread of its own: encrypting must not keep the others from taking in configs and keys.
        let envelopes = Arbiter::new();
        let shared = Arc::clone(&node);
        envelopes.spawn_fn(move || {
            actix_rt::spawn(run_envelopes(shared));
        });
        info!(%address, admin = %admin_address, "node started");
        Ok(Self {
            node,
            server: server_handle,
            health: health_handle,
            address,
            admin_address,
            background,
            envelopes,
        })
    }

    /// What the node's threads share.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Waits until a part of the node has ended that nothing brings back, and says which: the process is to end.
    pub async fn failed(&self) -> &'static str {
        self.node.failed().await
    }

    /// Runs until it is to stop, or until a part of the node has ended; then drains.
    ///
    /// # Errors
    /// What ended.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), &'static str> {
        let ended = tokio::select! {
            () = stop => Ok(()),
            what = self.failed() => Err(what),
        };
        self.stop().await;
        ended
    }

    /// Drains: readiness off; after a wait, in which a balancer notices and clients are served as before, nothing new is
    /// accepted, requests in flight have their bound, keys are zeroized.
    pub async fn stop(self) {
        self.node.turn_unready();
        let wait = self.node.config.drain_wait;
        info!(
            seconds = wait.as_secs(),
            "not ready any more; clients are served until the balancer has noticed"
        );
        self.node.clock.sleep(wait).await;
        self.node.end_connections();
        self.server.stop(true).await;
        // First the thread that takes in configs and keys: what is zeroized stays so.
        let (background, envelopes) = (self.background, self.envelopes);
        background.stop();
        envelopes.stop();
        let _ = tokio::task::spawn_blocking(move || (background.join(), envelopes.join())).await;
        self.node.forget_secrets();
        self.health.stop(true).await;
        info!("node stopped");
    }
}

/// Bucket names are one space for all accounts of AWS: whoever takes one before the gateway does, or after it was deleted, gets what is
/// written there.
fn warn_of_strangers(config: &Config) {
    for (name, backend) in &config.backends {
        if let BackendConfig::S3(s3) = backend
            && s3.server == ServerKind::Aws
            && s3.bucket_owner.is_none()
        {
            warn!(
                backend = name,
                "bucket_owner is not set: a bucket that lets the gateway in is taken for its own"
            );
        }
    }
}

/// Runs a listener. However it ends, it is not to before the node is stopped.
fn serve(node: &Arc<Node>, server: impl Future<Output = io::Result<()>> + 'static, ended: &'static str) {
    let ends = Ends { node: Arc::clone(node), what: ended };
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            error!(%error, ended);
        }
        drop(ends);
    });
}

/// Whatever holds it is not to end before the node does, by an error, a panic or in any other way.
struct Ends {
    node: Arc<Node>,
    what: &'static str,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.node.fail(self.what);
    }
}

/// What runs beside the workers, on a thread of its own.
async fn run_background(
    node: Arc<Node>,
    keys: Arc<Keys>,
    control: ControlPlane,
    requests: tokio::sync::mpsc::Receiver<keys::Request>,
    certificates: Option<Arc<Certificates>>,
) {
    let _ends = Ends { node: Arc::clone(&node), what: "the background thread ended" };
    let backends = match Backends::open(&node.config.backends) {
        Ok(backends) => Rc::new(backends),
        Err(error) => {
            error!(error, "the background thread cannot open its backends");
            return;
        }
    };
    actix_rt::spawn(subscriber::watch(Arc::clone(&node)));
    actix_rt::spawn(identity::keep(Arc::clone(&node)));
    if let Some(certificates) = certificates {
        actix_rt::spawn(certificates.keep(Arc::clone(&node.clock)));
    }
    actix_rt::spawn(keys::fetch::run(Arc::clone(&keys), control, Rc::clone(&backends), requests));
    actix_rt::spawn(async move { keys.keep_evicting().await });
    actix_rt::spawn(make_pending(Arc::clone(&node), Rc::clone(&backends)));
    actix_rt::spawn(delete_pending(Arc::clone(&node), Rc::clone(&backends)));
    actix_rt::spawn(place_replaced(Arc::clone(&node), Rc::clone(&backends)));
    actix_rt::spawn(sweep_hourly(Arc::clone(&node), backends));
    let mut uploads = tokio::time::interval(EVICT_UPLOADS_EVERY);
    loop {
        uploads.tick().await;
        node.uploads.evict();
    }
}

/// The work on envelopes, with backends of its own.
async fn run_envelopes(node: Arc<Node>) {
    let _ends = Ends { node: Arc::clone(&node), what: "the thread for envelopes ended" };
    match Backends::open(&node.config.backends) {
        Ok(backends) => rewrap::run(node, Rc::new(backends)).await,
        Err(error) => error!(error, "the thread for envelopes cannot open its backends"),
    }
}

async fn make_pending(node: Arc<Node>, backends: Rc<Backends>) {
    let mut looks = tokio::time::interval(MAKE_PENDING_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut creating, mut adopting) = (HashMap::new(), HashMap::new());
    loop {
        looks.tick().await;
        buckets::make_pending(&node, &backends, &mut creating).await;
        buckets::adoption::adopt_pending(&node, &backends, &mut adopting).await;
    }
}

async fn delete_pending(node: Arc<Node>, backends: Rc<Backends>) {
    let mut applied = node.watch_applied();
    let mut deleting = HashSet::new();
    let mut work_buckets = HashSet::new();
    let mut looked = tokio::time::Instant::now();
    loop {
        buckets::work::ensure_all(&node, &backends, &mut work_buckets).await;
        // Deletions wait for a second look: the first may be of one that another request is carrying out.
        if looked.elapsed() >= DELETE_PENDING_EVERY {
            looked = tokio::time::Instant::now();
            buckets::removal::delete_pending(&node, &backends, &mut deleting).await;
        }
        let _ = tokio::time::timeout(DELETE_PENDING_EVERY, applied.changed()).await;
    }
}

/// Places key records that were replaced: at once with the config that wishes it, and again while it could not be done.
async fn place_replaced(node: Arc<Node>, backends: Rc<Backends>) {
    let mut applied = node.watch_applied();
    let mut done = HashMap::new();
    loop {
        sweep::fulfil_wishes(&node, &backends, &mut done).await;
        let _ = tokio::time::timeout(DELETE_PENDING_EVERY, applied.changed()).await;
    }
}

/// Sweeps once an hour by the node's clock, and checks the key records once a day.
async fn sweep_hourly(node: Arc<Node>, backends: Rc<Backends>) {
    let mut look = tokio::time::interval(Duration::from_secs(60));
    let mut swept = node.clock.monotonic();
    let mut checked = None;
    loop {
        look.tick().await;
        let now = node.clock.monotonic();
        if now >= swept + sweep::EVERY {
            swept = now;
            sweep::once(&node, &backends).await;
        }
        let due = checked.is_none_or(|checked| now >= checked + sweep::EVERY * 24);
        if due && node.snapshot().is_some() {
            checked = Some(now);
            sweep::replace_missing_records(&node, &backends).await;
        }
    }
}

#[cfg(test)]
mod tests;
