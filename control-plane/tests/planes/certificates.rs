//! Certificates that are renewed or replaced while the control plane runs, by its clock. TLS compares them with the real
//! time, so the control plane's clock starts in the past and comes to it.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use sealgate_control_plane::{Config, NodeIdentity, registry::records::Tenants};
use sealgate_proto::v1::{RenewRequest, RenewResponse, nodes_client::NodesClient};
use tonic::Code;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::support::{Node, admin, now, start, start_at, start_with};

const DAY: u64 = 86_400;

/// Takes any certificate: these tests look at which one it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that a listener shows a new connection.
async fn shown(address: std::net::SocketAddr) -> CertificateDer<'static> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Waits until a listener shows another certificate than `old`, and gives it.
async fn until_other(address: std::net::SocketAddr, old: &CertificateDer<'_>) -> CertificateDer<'static> {
    let other = async {
        loop {
            let shown = shown(address).await;
            if shown != *old {
                return shown;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), other).await.expect("the certificate stays the old one")
}

fn end(certificate: &CertificateDer<'_>) -> u64 {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    u64::try_from(parsed.validity().not_after.timestamp()).unwrap()
}

fn same(identity: &NodeIdentity, certificate: &str) -> NodeIdentity {
    NodeIdentity {
        cert_pem: certificate.to_owned(),
        key_pem: identity.key_pem.clone(),
        ca_pem: identity.ca_pem.clone(),
        serial: String::new(),
        not_after: 0,
    }
}

async fn renew(node: &Node) -> Result<RenewResponse, tonic::Status> {
    NodesClient::new(node.channel.clone()).renew(RenewRequest {}).await.map(tonic::Response::into_inner)
}

#[actix_rt::test]
async fn the_grpc_listeners_certificate_is_renewed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let begin = now() - 300 * DAY;
    let world = start_at(dir.path(), begin).await;
    let first = shown(world.handle.grpc_addr()).await;
    assert_eq!(end(&first), begin + 397 * DAY);
    // Two thirds of 397 days, but for a day.
    world.clock.advance(263 * DAY);
    let (status, _) = admin(&world, "GET", "/v1/status", "").await;
    assert_eq!(status, 200);
    assert_eq!(shown(world.handle.grpc_addr()).await, first, "renewed too early");
    world.clock.advance(37 * DAY);
    let second = until_other(world.handle.grpc_addr(), &first).await;
    assert_eq!(end(&second), now() + 397 * DAY);
    // Nodes take it.
    let node = world.node("one", Tenants::All).await;
    node.subscribe().await.snapshot().await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_nodes_certificate_is_renewed_for_its_key_in_its_last_ten_days() {
    let dir = tempfile::tempdir().unwrap();
    let begin = now() - 20 * DAY;
    let world = start_at(dir.path(), begin).await;
    let identity = world.handle.issue_node("one", Tenants::All).await.unwrap();
    let node = world.connect(same(&identity, &identity.cert_pem)).await.unwrap();
    let early = renew(&node).await.unwrap();
    assert_eq!((early.certificate.as_str(), early.not_after), ("", begin + 30 * DAY));
    world.clock.advance(20 * DAY - 1);
    assert_eq!(renew(&node).await.unwrap().certificate, "", "more than ten days are left");
    world.clock.advance(1);
    let renewed = renew(&node).await.unwrap();
    assert_eq!(renewed.not_after, now() + 30 * DAY);

    let read = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        (parsed.public_key().raw.to_vec(), format!("{names:?}"), hex::encode(parsed.raw_serial()))
    };
    let (old, new) = (read(&identity.cert_pem), read(&renewed.certificate));
    assert_eq!((&old.0, &old.1), (&new.0, &new.1), "another key, or another identity");
    assert_ne!(old.2, new.2);

    // Past the old one's end only the new one gets in.
    world.clock.advance(10 * DAY);
    assert_eq!(renew(&node).await.unwrap_err().code(), Code::Unauthenticated);
    let node = world.connect(same(&identity, &renewed.certificate)).await.unwrap();
    assert_eq!(renew(&node).await.unwrap().not_after, renewed.not_after);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_revoked_nodes_certificate_is_not_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let world = start_at(dir.path(), now() - 25 * DAY).await;
    let node = world.node("one", Tenants::All).await;
    world.clock.advance(25 * DAY);
    assert_ne!(renew(&node).await.unwrap().certificate, "", "a renewal is due");
    let (status, _) = admin(&world, "DELETE", "/v1/nodes/one", "").await;
    assert_eq!(status, 200);
    assert_eq!(renew(&node).await.unwrap_err().code(), Code::Unauthenticated);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_node_that_asks_without_end_gets_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let world = start_at(dir.path(), now() - 25 * DAY).await;
    let node = world.node("one", Tenants::All).await;
    world.clock.advance(25 * DAY);
    for _ in 1..64 {
        renew(&node).await.unwrap();
    }
    assert_eq!(renew(&node).await.unwrap_err().code(), Code::ResourceExhausted);
    world.handle.stop().await;
}

fn pair(dir: &Path) -> CertificateDer<'static> {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("admin.crt"), pair.cert.pem()).unwrap();
    std::fs::write(dir.join("admin.key"), pair.signing_key.serialize_pem()).unwrap();
    pair.cert.der().clone()
}

/// Gives the admin API's files a time of change of their own.
fn touch(dir: &Path, turn: u64) {
    let changed = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + turn);
    for name in ["admin.crt", "admin.key"] {
        let file = std::fs::File::options().write(true).open(dir.join(name)).unwrap();
        file.set_modified(changed).unwrap();
    }
}

#[actix_rt::test]
async fn the_admin_apis_certificate_is_read_again_when_its_files_change() {
    let dir = tempfile::tempdir().unwrap();
    let first = pair(dir.path());
    touch(dir.path(), 0);
    let files = (dir.path().join("admin.crt"), dir.path().join("admin.key"));
    let with_tls = |config: &mut Config| config.admin_tls = Some(files);
    let world = start_with(dir.path(), now(), with_tls).await;
    let address = world.handle.admin_addr();
    assert_eq!(shown(address).await, first);

    let second = pair(dir.path());
    touch(dir.path(), 1);
    // Looks may still be under way when the clock is moved: each moves it to the next.
    let moving = async {
        loop {
            world.clock.advance(10);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = moving => {}
        shown = until_other(address, &first) => assert_eq!(shown, second),
    }
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    pair(dir.path());
    std::fs::write(dir.path().join("admin.crt"), "").unwrap();
    let mut config = Config::dev(dir.path(), vec!["eu-central-1".to_owned()]).unwrap();
    config.admin_listen.set_port(0);
    config.admin_tls = Some((dir.path().join("admin.crt"), dir.path().join("admin.key")));
    let refused = sealgate_control_plane::ControlPlane::start(config).await.err().expect("it started");
    assert!(refused.to_string().contains("admin.crt"), "{refused}");
    // With nothing wrong it does: the refusal is for the certificate.
    start(dir.path()).await.handle.stop().await;
}
