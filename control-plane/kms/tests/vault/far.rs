//! A KMS that is far away: every answer takes a while, and every connection longer than an attempt.

use std::{sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use sealgate_kms::{Cause, Kms, KmsError, Resilient, Settings, Silent};
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt as _, BufStream},
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::{
    fake::{Fake, Seen, reply, request},
    server::{config, open},
};

const KEK: &str = "vault-eu/k";
const WRAPPED: &[u8] =
    b"vault:v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7";
const TOKEN: &str = r#"{"data": {"ttl": 0, "renewable": false}}"#;
/// 32 bytes.
const OPENED: &str = r#"{"data": {"plaintext": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}}"#;

fn behind_the_layer(
    address: &str,
    token: &std::path::Path,
    settings: Settings,
    more: serde_json::Value,
) -> Resilient {
    std::fs::write(token, "s.token").unwrap();
    let config = config(&[address], json!({ "method": "token", "file": token }), more);
    Resilient::new("vault-eu", open(&config), &[], settings, Arc::new(Silent))
}

/// To tell a denial from a token that has ended takes another request, and both together more than an attempt has.
#[tokio::test]
async fn a_denial_is_heard_though_it_takes_several_requests() {
    let far = Duration::from_millis(250);
    let denied = json!({ "errors": ["1 error occurred: permission denied"] }).to_string();
    let fake = Fake::slow(far, move |seen: &Seen| {
        let known = ["/auth/token/lookup-self ", "/sys/health "].iter().any(|path| seen.head.contains(path));
        if known { reply(200, "", TOKEN) } else { reply(403, "", &denied) }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let kms = behind_the_layer(&fake.address, &dir.path().join("token"), Settings::default(), json!({}));
    // The login, which is a task of its own, may not have ended.
    kms.ready().await.unwrap();
    let began = Instant::now();
    let refused = kms.unwrap(KEK, "", b"c", WRAPPED).await.map(drop);
    assert_eq!(refused, Err(KmsError::Denied(KEK.to_owned())));
    assert!(began.elapsed() >= 2 * far, "in {:?}: it was no test of anything", began.elapsed());
}

#[tokio::test]
async fn a_handshake_that_takes_longer_than_an_attempt_does_not_keep_it_from_being_reached() {
    let (listener, ca) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), ca());
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = acceptor(&ca);
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(300)).await;
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufStream::new(stream);
                let Some(seen) = request(&mut stream).await else { return };
                let opens = seen.head.contains("/transit/decrypt/");
                let answer = reply(200, "", if opens { OPENED } else { TOKEN }).unwrap();
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.flush().await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let settings = Settings { attempt: Duration::from_millis(250), ..Settings::default() };
    let kms = behind_the_layer(&address, &dir.path().join("token"), settings, json!({ "ca_file": ca_file }));
    kms.ready().await.unwrap();
    let first = kms.unwrap(KEK, "", b"c", WRAPPED).await.map(drop);
    assert!(matches!(first, Err(KmsError::Unavailable(Cause::Timeout, _))), "{first:?}");
    // The next caller has what the first began, though it does not wait for longer.
    let opened = kms.unwrap(KEK, "", b"c", WRAPPED).await.unwrap();
    assert_eq!(opened.expose(), &[7; 32]);
    server.abort();
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(ca: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
