//! The certificate for clients is read again when its files change.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use sealgate_data_plane::config::TlsFiles;
use sealgate_data_plane::tls::Certificates;
use tokio_rustls::TlsConnector;

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
