//! A node's real front end over a directory, without a control plane: its config is applied and its keys put in by hand.
//!
//! The one credential is AWS's documented example pair, which opens nothing anywhere. It is known to this test alone: a node
//! is given signing keys of single days, as ever, and the states that check Version 2.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sealgate_data_plane::backend::Backend as _;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::clock::Clock;
use sealgate_data_plane::config::{BackendConfig, Config, ControlPlaneConfig};
use sealgate_data_plane::control::{ControlPlane, NodeIdentity};
use sealgate_data_plane::keys::{Active, Keys, Lives, NodeKey};
use sealgate_data_plane::metrics::Metrics;
use sealgate_data_plane::node::Node;
use sealgate_data_plane::server;
use sealgate_data_plane::snapshot::Snapshot;
use sealgate_envelope::Ik;
use sealgate_envelope::ids::{BucketId, IkId};
use sealgate_proto::v1 as wire;
use tempfile::TempDir;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{sigv2, sigv4};

/// AWS's documented example credential ("Signature Version 4 signing process").
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The regions that are served, the default first.
pub const REGIONS: [&str; 2] = ["eu-central-1", "us-east-1"];
/// The bucket that everything goes into.
pub const BUCKET: &str = "kept-requests";
/// The bucket with versions.
pub const VERSIONED: &str = "kept-versions";
/// `<bucket>.s3.localhost` is the bucket's own host.
pub const DOMAIN: &str = "s3.localhost";

const BACKEND: &str = "main";
/// A credential that may sign with Version 2 has an end: far from any recording.
const END: u64 = 4_102_444_800;
const DECADE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A listener of the front end; it ends with its owner.
pub struct Rig {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _root: TempDir,
}

impl Rig {
    /// Starts one on a free port, by this clock, with signing keys for these days (`yyyymmdd`).
    pub fn start(clock: Arc<dyn Clock>, days: &[String]) -> Rig {
        let root = tempfile::tempdir().unwrap();
        let config = config(&root);
        let snapshot = snapshot(days);
        let (stop, stopped) = oneshot::channel();
        let (started, address) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let node = node(config, clock, snapshot).await;
                let (server, address) = server::start(&node, None, 1_000).unwrap();
                let handle = server.handle();
                let serving = actix_rt::spawn(server);
                started.send(address).unwrap();
                let _ = stopped.await;
                node.end_connections();
                handle.stop(false).await;
                serving.await.unwrap().unwrap();
            });
        });
        let address = address.recv().unwrap();
        Rig { address, stop: Some(stop), thread: Some(thread), _root: root }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(root: &TempDir) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let filesystem = BackendConfig::Filesystem { root: root.path().to_owned() };
    Config {
        listen: any,
        admin_listen: any,
        workers: 1,
        domains: vec![DOMAIN.to_owned()],
        tls: None,
        drain_wait: Duration::ZERO,
        drain_seconds: 1,
        control_plane: ControlPlaneConfig {
            // Nobody is there: what needs the control plane is answered as when it is away.
            endpoint: "https://127.0.0.1:1".to_owned(),
            server_name: "nobody".to_owned(),
            identity: identity(),
            files: None,
        },
        backends: BTreeMap::from([(BACKEND.to_owned(), filesystem)]),
    }
}

fn identity() -> NodeIdentity {
    let pair = rcgen::generate_simple_self_signed(vec!["nobody".to_owned()]).unwrap();
    NodeIdentity {
        ca: pair.cert.pem(),
        certificate: pair.cert.pem(),
        key: Zeroizing::new(pair.signing_key.serialize_pem()),
    }
}

async fn node(config: Config, clock: Arc<dyn Clock>, snapshot: wire::Snapshot) -> Arc<Node> {
    let BackendConfig::Filesystem { root } = &config.backends[BACKEND] else { panic!("another backend") };
    let backend = FsBackend::open(root.clone()).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (keys, _) = Keys::new(Arc::clone(&clock), Arc::clone(&metrics));
    let way = &config.control_plane;
    let control = ControlPlane::new(&way.endpoint, &way.server_name, &way.identity).unwrap();
    let snapshot = Snapshot::check(snapshot, [0; 32], &HashSet::from([BACKEND.to_owned()])).unwrap();
    let node = Node::new(config, clock, metrics, Arc::clone(&keys), control);
    node.apply(Arc::new(snapshot)).unwrap();
    for bucket in node.snapshot().unwrap().buckets() {
        backend.create_bucket(&bucket.backend_bucket).await.unwrap();
        let key = NodeKey { id: IkId::random().unwrap(), ik: Ik::generate().unwrap() };
        let active = Active { until: u64::MAX, last: u64::MAX };
        let lives = Lives { soft: DECADE, hard: DECADE, idle: DECADE, unproved: Duration::ZERO };
        keys.insert(bucket.id, key, lives, Some(active), keys.mark(bucket.id)).unwrap();
    }
    node
}

fn snapshot(days: &[String]) -> wire::Snapshot {
    let tenant_id = vec![1; 16];
    let bucket = |name: &str| wire::Bucket {
        name: name.to_owned(),
        bucket_id: BucketId::random().unwrap().as_bytes().to_vec(),
        tenant_id: tenant_id.clone(),
        backend: BACKEND.to_owned(),
        backend_bucket: name.to_owned(),
        region: REGIONS[0].to_owned(),
        state: wire::BucketState::Active.into(),
        suite: 1,
        ..wire::Bucket::default()
    };
    let key_of = |date: &String, region: &str| wire::SigningKey {
        date: date.clone(),
        region: region.to_owned(),
        key: sigv4::signing_key(SECRET_KEY, date, region).to_vec(),
    };
    let grant = wire::Grant { bucket: "*".to_owned(), read: true, write: true, admin: true, configure: true };
    let credential = wire::Credential {
        access_key_id: ACCESS_KEY.to_owned(),
        tenant_id: tenant_id.clone(),
        grants: vec![grant],
        not_after: END,
        sigv2: Some(wire::SigV2States {
            inner: sigv2::state(SECRET_KEY, 0x36),
            outer: sigv2::state(SECRET_KEY, 0x5c),
        }),
        signing_keys: days.iter().flat_map(|day| REGIONS.map(|region| key_of(day, region))).collect(),
    };
    wire::Snapshot {
        epoch: 1,
        version: 1,
        gateway_id: vec![1; 16],
        regions: REGIONS.map(str::to_owned).to_vec(),
        buckets: vec![bucket(BUCKET), bucket(VERSIONED)],
        credentials: vec![credential],
        ..wire::Snapshot::default()
    }
}
