#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::*;
use crate::clock::SystemClock;
use crate::config::ControlPlaneConfig;
use crate::control::NodeIdentity;

/// A node's config over a directory; nobody is where its control plane should be.
fn config(root: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let pair = rcgen::generate_simple_self_signed(vec!["nobody".to_owned()]).unwrap();
    Config {
        listen: any,
        admin_listen: any,
        workers: 1,
        domains: Vec::new(),
        tls: None,
        drain_wait: Duration::ZERO,
        drain_seconds: 1,
        control_plane: ControlPlaneConfig {
            endpoint: "https://127.0.0.1:1".to_owned(),
            server_name: "nobody".to_owned(),
            identity: NodeIdentity {
                ca: pair.cert.pem(),
                certificate: pair.cert.pem(),
                key: Zeroizing::new(pair.signing_key.serialize_pem()),
            },
            files: None,
        },
        backends: BTreeMap::from([(
            "default".to_owned(),
            BackendConfig::Filesystem { root: root.to_owned() },
        )]),
    }
}

struct Parts {
    node: Arc<Node>,
    keys: Arc<Keys>,
    control: ControlPlane,
    requests: tokio::sync::mpsc::Receiver<keys::Request>,
}

/// What a node's threads share, over backends that do not open: where the directory should be is a file.
fn over_a_file(dir: &Path) -> Parts {
    let root = dir.join("file");
    std::fs::write(&root, "").unwrap();
    let (clock, metrics) = (SystemClock::shared(), Arc::new(Metrics::new().unwrap()));
    let (keys, requests) = Keys::new(Arc::clone(&clock), Arc::clone(&metrics));
    let config = config(&root);
    let known = &config.control_plane;
    let control = ControlPlane::new(&known.endpoint, &known.server_name, &known.identity).unwrap();
    let node = Node::new(config, clock, metrics, Arc::clone(&keys), control.clone());
    Parts { node, keys, control, requests }
}

async fn failed(node: &Node) -> &'static str {
    tokio::time::timeout(Duration::from_secs(30), node.failed()).await.unwrap()
}

#[actix_rt::test]
async fn a_thread_that_cannot_open_its_backends_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let Parts { node, keys, control, requests } = over_a_file(dir.path());
    run_background(Arc::clone(&node), keys, control, requests, None).await;
    assert_eq!(failed(&node).await, "the background thread ended");

    let Parts { node, .. } = over_a_file(dir.path());
    run_envelopes(Arc::clone(&node)).await;
    assert_eq!(failed(&node).await, "the thread for envelopes ended");

    let Parts { node, .. } = over_a_file(dir.path());
    let (server, _) = server::start(&node, None, 10).unwrap();
    assert!(server.await.is_err());
    assert_eq!(failed(&node).await, "a worker cannot open its backends");
}

#[actix_rt::test]
async fn a_listener_that_ends_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let Parts { node, .. } = over_a_file(dir.path());
    let (end, ended) = oneshot::channel::<()>();
    let listening = async move { ended.await.map_err(io::Error::other) };
    serve(&node, listening, "the listener ended");
    let waiting = tokio::time::timeout(Duration::from_millis(50), node.failed()).await;
    assert!(waiting.is_err(), "it lives: {waiting:?}");
    drop(end);
    assert_eq!(failed(&node).await, "the listener ended");
}

#[actix_rt::test]
async fn a_node_of_which_a_part_has_ended_stops_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let plane = DataPlane::start(config(dir.path()), SystemClock::shared()).unwrap();
    let address = plane.address();
    tokio::net::TcpStream::connect(address).await.unwrap();
    let node = Arc::clone(plane.node());
    // The thread ends, whatever else does not.
    plane.background.stop();
    let ended =
        tokio::time::timeout(Duration::from_secs(30), plane.run(std::future::pending())).await.unwrap();
    assert_eq!(ended.unwrap_err(), "the background thread ended");
    assert!(!node.ready());
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "it still listens");
}
