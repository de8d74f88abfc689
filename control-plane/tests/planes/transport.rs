//! Who gets in at all.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sealgate_control_plane::{Authority, NodeIdentity, registry::records::Tenants};
use tonic::transport::{Certificate, ClientTlsConfig};

use crate::support::{now, start};

#[actix_rt::test]
async fn a_node_without_the_right_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let ca = world.handle.registry().authority().certificate_pem().to_owned();

    let none = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca)).domain_name("localhost");
    refused(world.connect_with(none).await, bucket).await;

    // Another CA's certificate with the same names.
    let real_now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (other, _) = Authority::create(real_now).unwrap();
    let mut forged = other.issue_node("n1", &["*".to_owned()], real_now).unwrap();
    forged.ca_pem = ca.clone();
    refused(world.connect(forged).await, bucket).await;

    // Of the right CA, but never entered into the registry (a CA key that was used elsewhere).
    let unknown = world.handle.registry().authority().issue_node("n1", &["*".to_owned()], now()).unwrap();
    refused(world.connect(unknown).await, bucket).await;

    // A node that believes another CA refuses the control plane.
    let mut wary = world.handle.issue_node("wary", Tenants::All).await.unwrap();
    wary.ca_pem = other.certificate_pem().to_owned();
    assert!(world.connect(wary).await.is_err());

    // And the right one comes in, so that the refusals above are not about something else.
    let node = world.node("n1", Tenants::These(vec![tenant])).await;
    node.active(bucket).await.unwrap();
    world.handle.stop().await;
}

async fn refused(
    connected: Result<crate::support::Node, tonic::transport::Error>,
    bucket: sealgate_envelope::BucketId,
) {
    // With TLS 1.3 the client may believe itself connected before the server has judged its certificate.
    if let Ok(node) = connected {
        assert!(node.active(bucket).await.is_err(), "a node without a valid certificate got an answer");
    }
}

#[actix_rt::test]
async fn a_revoked_node_loses_its_stream_its_calls_and_its_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let identity = world.handle.issue_node("n1", Tenants::All).await.unwrap();
    let again = NodeIdentity {
        cert_pem: identity.cert_pem.clone(),
        key_pem: identity.key_pem.clone(),
        ca_pem: identity.ca_pem.clone(),
        serial: identity.serial.clone(),
        not_after: identity.not_after,
    };
    let node = world.connect(again).await.unwrap();
    let mut stream = node.subscribe().await;
    let received = stream.snapshot().await;
    stream.ack(&received).await;
    let (status, _) = crate::support::admin(&world, "DELETE", "/v1/nodes/n1", "").await;
    assert_eq!(status, 200);
    stream.ended().await;
    let code = node.active(bucket).await.unwrap_err().code();
    assert_eq!(code, tonic::Code::Unauthenticated, "an open connection is bound by the revocation too");
    let fresh = world.connect(identity).await;
    refused(fresh, bucket).await;
    world.handle.stop().await;
}

/// What it is given then would be the config that takes its rights back.
#[actix_rt::test]
async fn a_node_that_is_revoked_between_its_call_and_its_hello_gets_no_config() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let mut stream = node.call().await;
    let (status, _) = crate::support::admin(&world, "DELETE", "/v1/nodes/n1", "").await;
    assert_eq!(status, 200);
    stream.hello().await;
    stream.refused().await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn tls_1_2_is_refused_and_the_key_exchange_is_hybrid() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let identity = world.handle.issue_node("n1", Tenants::All).await.unwrap();
    for (version, expected) in [(&rustls::version::TLS13, true), (&rustls::version::TLS12, false)] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect(world.handle.grpc_addr()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let result = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await;
        assert_eq!(result.is_ok(), expected, "{version:?}");
        if let Ok(stream) = result {
            let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        }
    }
    world.handle.stop().await;
}
