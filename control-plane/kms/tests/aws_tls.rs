//! Whom the AWS provider trusts: the system's roots, or the CA file alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "aws/servers.rs"]
mod servers;

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, Kms, KmsError, aws};
use servers::Section;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

const KEK: &str = "aws-eu/mrk-00000000000040008000000000000000";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"CiphertextBlob\":\"AAAA\"}";

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Answers every request as if it were an Encrypt; a handshake takes so long.
async fn serve(ca: &CertifiedIssuer<'static, KeyPair>, handshake: Duration) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::time::sleep(handshake).await;
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 16 << 10];
            let mut length = 0;
            while !request[..length].ends_with(b"}}") {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            stream.write_all(ANSWER).await.unwrap();
        }
    });
    address
}

fn open(address: SocketAddr, trusted: Option<String>) -> (Arc<dyn Kms>, Section) {
    let mut section = Section::new(&format!("https://localhost:{}", address.port()));
    if let Some(pem) = trusted {
        let path = section.dir.path().join("ca.pem");
        fs::write(&path, pem).unwrap();
        section.config.ca_file = Some(path);
    }
    (aws::open("aws-eu", &section.config).unwrap().remove(0), section)
}

async fn wrap(address: SocketAddr, trusted: Option<String>) -> Result<Vec<u8>, KmsError> {
    let (kms, _section) = open(address, trusted);
    kms.wrap(KEK, "", b"c", &Ik::from_bytes(&Zeroizing::new([1; 32]))).await
}

#[tokio::test]
async fn the_ca_file_alone_vouches_for_the_endpoint() {
    let (ours, other) = (ca(), ca());
    let address = serve(&ours, Duration::ZERO).await;
    assert_eq!(wrap(address, Some(ours.pem())).await.unwrap(), [0, 0, 0]);
    for trusted in [None, Some(other.pem())] {
        let error = wrap(address, trusted).await.unwrap_err();
        assert!(matches!(&error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_takes_longer_than_a_caller_waits_is_the_next_ones() {
    let ours = ca();
    let address = serve(&ours, Duration::from_millis(300)).await;
    let (kms, _section) = open(address, Some(ours.pem()));
    let attempt = || async {
        let ik = Ik::from_bytes(&Zeroizing::new([1; 32]));
        tokio::time::timeout(Duration::from_millis(250), kms.wrap(KEK, "", b"c", &ik)).await
    };
    attempt().await.expect_err("it takes longer than that");
    assert_eq!(attempt().await.expect("the connection was begun before").unwrap(), [0, 0, 0]);
}
