//! Certificates while a node runs: the one for clients is read again when its files change, the one towards the control plane
//! is renewed before it ends.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use sealgate_control_plane::ManualClock as ControlClock;
use sealgate_data_plane::clock::{ManualClock, SystemClock};
use sealgate_data_plane::config::{Config, TlsFiles};
use sealgate_data_plane::plane::DataPlane;
use sealgate_data_plane::tls::Certificates;
use tokio_rustls::TlsConnector;

use super::s3::Client;
use super::world::{World, health, identity, issue, soon, tenant, until};

const DAY: u64 = 86_400;

struct Pair {
    certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

fn pair() -> Pair {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    Pair { certificate: cert.der().clone(), pem: cert.pem(), key: signing_key.serialize_pem() }
}

/// Writes a file whose time of change differs from all earlier ones.
fn write(path: &Path, text: &str, turn: u64) {
    std::fs::write(path, text).unwrap();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + turn);
    File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
}

/// The certificate that a new connection is shown. Clients trust all of the test's.
async fn shown(certificates: &Certificates, trusted: &[&Pair]) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, server) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let acceptor = certificates.acceptor();
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
    server.unwrap();
    let client = client.unwrap();
    client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn new_connections_see_a_replaced_certificate_and_a_broken_pair_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: dir.path().join("crt.pem"), key: dir.path().join("key.pem") };
    let (old, new) = (pair(), pair());
    let both = [&old, &new];
    write(&files.certificate, &old.pem, 0);
    write(&files.key, &old.key, 0);
    let certificates = Certificates::load(files.clone()).unwrap();
    assert!(!certificates.reload_if_changed(), "nothing changed");
    assert_eq!(shown(&certificates, &both).await, old.certificate);

    // Replaced one after the other: in between the pair does not fit.
    write(&files.certificate, &new.pem, 1);
    assert!(!certificates.reload_if_changed(), "a certificate with another's key was taken");
    assert_eq!(shown(&certificates, &both).await, old.certificate);
    write(&files.key, &new.key, 1);
    assert!(certificates.reload_if_changed());
    assert_eq!(shown(&certificates, &both).await, new.certificate);

    for (turn, (certificate, key)) in
        [("no certificate", new.key.as_str()), (new.pem.as_str(), "no key"), ("", "")].into_iter().enumerate()
    {
        let turn = 2 + turn as u64;
        write(&files.certificate, certificate, turn);
        write(&files.key, key, turn);
        assert!(!certificates.reload_if_changed());
        assert_eq!(shown(&certificates, &both).await, new.certificate);
    }
    std::fs::remove_file(&files.key).unwrap();
    assert!(!certificates.reload_if_changed());
    assert_eq!(shown(&certificates, &both).await, new.certificate);
    write(&files.certificate, &old.pem, 9);
    write(&files.key, &old.key, 9);
    assert!(certificates.reload_if_changed(), "it recovers when the files are good again");
    assert_eq!(shown(&certificates, &both).await, old.certificate);
}

#[tokio::test]
async fn the_files_are_looked_at_by_the_nodes_clock() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: dir.path().join("crt.pem"), key: dir.path().join("key.pem") };
    let (old, new) = (pair(), pair());
    write(&files.certificate, &old.pem, 0);
    write(&files.key, &old.key, 0);
    let certificates = Certificates::load(files.clone()).unwrap();
    let clock = ManualClock::at(1_700_000_000);
    let keeping = tokio::spawn(Arc::clone(&certificates).keep(Arc::clone(&clock) as _));
    write(&files.certificate, &new.pem, 1);
    write(&files.key, &new.key, 1);
    let moving = async {
        loop {
            clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    };
    let seen = async {
        while shown(&certificates, &[&old, &new]).await != new.certificate {
            tokio::task::yield_now().await;
        }
    };
    let seen = soon("the new certificate", seen);
    tokio::select! {
        () = moving => {}
        () = seen => {}
    }
    keeping.abort();
}

/// A client's request by the node's clock.
async fn put(client: &Client, target: &str, clock: &ManualClock) -> u16 {
    use sealgate_data_plane::clock::Clock as _;
    client.try_send_at("PUT", target, bytes::Bytes::new(), clock.now()).await.unwrap().status.as_u16()
}

/// TLS compares certificates with the real time: the control plane's clock starts in the past and comes to it.
#[actix_rt::test]
async fn a_nodes_own_certificate_is_renewed_in_time_and_written_over_the_old() {
    let world = World::new();
    let now = SystemClock::shared().unix();
    let control_clock = Arc::new(ControlClock::new(now - 21 * DAY));
    let control = world.control_by(Arc::clone(&control_clock) as _).await;
    let client = tenant(&control).await;
    let first = issue(&control, "one").await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let path = world.node_file("one", &endpoint, &identity(&first));
    let certificate = world.path().join("one.crt.pem");
    let clock = ManualClock::at(now);
    let node = DataPlane::start(Config::load(&path).unwrap(), Arc::clone(&clock) as _).unwrap();
    soon("the first config", node.node().wait_applied(0, 1)).await;
    let ends = async |at: u64| {
        let metrics = health(node.admin_address(), "/metrics").await.unwrap().text();
        metrics.contains(&format!("sealgate_node_certificate_end_seconds {at}\n"))
    };
    until("the first answer", async || ends(first.not_after).await).await;
    assert_eq!(std::fs::read_to_string(&certificate).unwrap(), first.cert_pem, "renewed too early");

    control_clock.advance(21 * DAY);
    clock.advance(Duration::from_secs(3_600));
    until("the renewal", async || ends(now + 30 * DAY).await).await;
    let renewed = std::fs::read_to_string(&certificate).unwrap();
    assert_ne!(renewed, first.cert_pem);

    // The first certificate is over now. Calls, which a new bucket needs, go on.
    control_clock.advance(10 * DAY);
    clock.advance(Duration::from_secs(10 * DAY));
    let client = client.at(node.address());
    until("the signing keys of the day", async || put(&client, "/bucket", &clock).await == 200).await;
    node.stop().await;

    // And the files are good for a restart, which the first ones are not.
    let node = DataPlane::start(Config::load(&path).unwrap(), Arc::clone(&clock) as _).unwrap();
    soon("a config after the restart", node.node().wait_applied(0, 1)).await;
    node.stop().await;
    control.stop().await;
}

/// Whoever replaces the files by hand, for another key, need not restart the node.
#[actix_rt::test]
async fn a_nodes_own_certificate_is_read_again_when_its_files_are_replaced() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let path = world.node_file("one", &endpoint, &identity(&issue(&control, "one").await));
    let clock = ManualClock::at(SystemClock::shared().unix());
    let node = DataPlane::start(Config::load(&path).unwrap(), Arc::clone(&clock) as _).unwrap();
    soon("the first config", node.node().wait_applied(0, 1)).await;
    let client = client.at(node.address());
    assert_eq!(put(&client, "/before", &clock).await, 200);

    // All certificates of the node are revoked: what it has is worth nothing any more.
    control.registry().revoke_node("one").unwrap();
    assert_eq!(put(&client, "/between", &clock).await, 403, "a revoked node made a bucket");
    let second = issue(&control, "one").await;
    for (turn, (name, text)) in
        [("one.crt.pem", second.cert_pem.as_str()), ("one.key.pem", &second.key_pem)].into_iter().enumerate()
    {
        write(&world.path().join(name), text, turn as u64);
    }
    until("the second certificate", async || {
        clock.advance(Duration::from_secs(10));
        put(&client, "/after", &clock).await == 200
    })
    .await;
    node.stop().await;
    control.stop().await;
}
