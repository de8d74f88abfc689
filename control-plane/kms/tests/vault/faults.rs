//! Servers that do not do what they should: what each answer means, that nothing hangs, and that no secret gets out.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sealgate_kms::{Cause, Kms, KmsError};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    fake::{Fake, Reply, Seen, reply},
    server::{Bao, config, open, trip},
};
use crate::suite::ik;

const TOKEN: &str = "s.a-token-that-nobody-mistakes";
const WRAPPED: &[u8] =
    b"vault:v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7";

/// A key that is fit to be a KEK, as a server describes it.
const KEY: &str = r#"{"data": {"type": "aes256-gcm96", "derived": false, "exportable": false, "allow_plaintext_backup": false}}"#;

/// A server that takes the token, and answers everything else with this.
async fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| {
        if seen.head.contains("/auth/token/lookup-self ") {
            reply(200, "", r#"{"data": {"ttl": 0, "renewable": false}}"#)
        } else {
            answer(seen)
        }
    })
    .await
}

/// With the directory of its token, which is read at each login.
fn opened(address: &str) -> (Arc<dyn Kms>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let kms = open(&config(&[address], json!({ "method": "token", "file": file }), json!({}))).remove(0);
    (kms, dir)
}

async fn unwrapped(answer: Reply) -> KmsError {
    let fake = answering(move |_| answer.clone()).await;
    let (kms, _dir) = opened(&fake.address);
    kms.unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    use Cause::{Sealed, Server, Standby, Timeout};
    let says = |text: &str| json!({ "errors": [text] }).to_string();
    for (status, headers, body, cause) in [
        (307, "location: http://127.0.0.1:1/v1/x\r\n", String::new(), Standby),
        (472, "", String::new(), Standby),
        (500, "", says("local node not active but active cluster node not found"), Standby),
        (500, "", says("1 error occurred"), Server),
        (501, "", says("Vault is not initialized"), Sealed),
        (503, "", says("Vault is sealed"), Sealed),
        (503, "", "<html>no upstream</html>".to_owned(), Server),
        (502, "", String::new(), Server),
        (301, "location: http://127.0.0.1:1/\r\n", String::new(), Server),
        (405, "", says("unsupported operation"), Server),
        // Not the server's own word: no key is taken away by a proxy.
        (400, "", "<html>bad</html>".to_owned(), Server),
        (403, "", "<html>who are you</html>".to_owned(), Server),
        (404, "", "<html>nothing here</html>".to_owned(), Server),
        (400, "", says("something that is not known here"), Server),
        // Answers that are none.
        (200, "", String::new(), Server),
        (200, "", r#"{"data": {}}"#.to_owned(), Server),
        (200, "", "{}".to_owned(), Server),
    ] {
        let error = unwrapped(reply(status, headers, &body)).await;
        let KmsError::Unavailable(found, text) = &error else { panic!("{status} {headers}: {error:?}") };
        assert_eq!(*found, cause, "{status}: {text}");
        assert!(text.starts_with("http://127.0.0.1:") && text.len() < 600, "{status}: {text}");
    }
    let long = "x".repeat(300 << 10);
    let chunked = format!(
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    for endless in [reply(200, "", &long), reply(500, "", &long), Some(chunked)] {
        let error = unwrapped(endless).await;
        assert!(
            matches!(&error, KmsError::Unavailable(Server, text) if text.contains("256 KiB")),
            "{error:?}"
        );
    }
    for broken in [
        "HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{\"data\"",
        "HTTP/1.1 200 x\r\nconte",
        "not HTTP\r\n\r\n",
        "",
    ] {
        let error = unwrapped(Some(broken.to_owned())).await;
        assert!(matches!(error, KmsError::Unavailable(Timeout, _)), "{broken:?}: {error:?}");
    }
    let throttled = |after| KmsError::Throttled(after, String::new());
    for (headers, after) in [
        ("", None),
        ("retry-after: 7\r\n", Some(Duration::from_secs(7))),
        ("retry-after: soon\r\n", None),
        ("retry-after: 99999999\r\n", Some(Duration::from_secs(3600))),
    ] {
        let error = unwrapped(reply(429, headers, &says("slow down"))).await;
        let KmsError::Throttled(found, _) = error else { panic!("{error:?}") };
        assert_eq!(throttled(found), throttled(after), "{headers}");
    }
    // What opened and is no key.
    for plaintext in ["", "AAAA", "not base64", &"A".repeat(1000)] {
        let body = json!({ "data": { "plaintext": plaintext } }).to_string();
        assert_eq!(unwrapped(reply(200, "", &body)).await, KmsError::BadCiphertext, "{plaintext:?}");
    }
}

#[tokio::test]
async fn a_call_is_one_request_and_the_login_none() {
    let fake = answering(|seen| match seen.head.split(' ').nth(1).unwrap() {
        "/v1/transit/keys/k" => reply(200, "", KEY),
        "/v1/transit/encrypt/k" => {
            let wrapped = std::str::from_utf8(WRAPPED).unwrap();
            reply(200, "", &json!({ "data": { "ciphertext": wrapped } }).to_string())
        }
        "/v1/transit/decrypt/k" => {
            reply(200, "", r#"{"data": {"plaintext": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}}"#)
        }
        _ => reply(404, "", "{}"),
    })
    .await;
    let (kms, _dir) = opened(&fake.address);
    for _ in 0..10 {
        kms.current_version("vault-eu/k").await.unwrap();
        trip(&*kms, "vault-eu/k").await.unwrap();
    }
    let seen = fake.seen();
    let count = |path: &str| seen.iter().filter(|seen| seen.head.contains(path)).count();
    assert_eq!((count("/encrypt/"), count("/decrypt/")), (10, 10));
    assert_eq!((count("/keys/"), logins(&fake)), (1, 1), "looked at once, logged in once");
    assert_eq!(seen.len(), 22);
}

#[tokio::test]
async fn a_wrapped_key_that_could_not_be_opened_again_is_not_taken() {
    for ciphertext in ["", "vault:v1:", "vault:v1:AAAA", "plain", &"A".repeat(9000)] {
        let body = json!({ "data": { "ciphertext": ciphertext } }).to_string();
        let fake =
            answering(move |seen| reply(200, "", if seen.head.starts_with("get") { KEY } else { &body }))
                .await;
        let (kms, _dir) = opened(&fake.address);
        let error = kms.wrap("vault-eu/k", "", b"c", &ik(1)).await.unwrap_err();
        assert!(matches!(error, KmsError::Unavailable(Cause::Server, _)), "{ciphertext}: {error:?}");
    }
}

#[tokio::test]
async fn the_token_goes_nowhere_that_an_answer_points_to() {
    let elsewhere = Fake::start(|_| reply(200, "", "{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("location: {}/v1/transit/decrypt/k\r\n", elsewhere.address);
        let fake = answering(move |_| reply(status, &to, "")).await;
        let (kms, _dir) = opened(&fake.address);
        assert!(trip(&*kms, "vault-eu/k").await.is_err());
        let error = kms.unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(fake.seen().iter().all(|seen| seen.head.contains(TOKEN)), "the token is what it sends");
    }
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

/// A standby that reads for itself, and has not heard yet of a token that its active node gave.
#[tokio::test]
async fn a_node_that_does_not_know_the_login_yet_takes_no_key_away() {
    let refuses = |seen: &Seen| match seen.head.contains("/login ") {
        true => reply(307, "location: http://127.0.0.1:1/\r\n", ""),
        false => reply(403, "", r#"{"errors": ["permission denied"]}"#),
    };
    let active = Fake::start(|seen| match () {
        () if seen.head.contains("/login ") => {
            let auth = json!({ "client_token": TOKEN, "lease_duration": 3600, "renewable": true });
            reply(200, "", &json!({ "auth": auth }).to_string())
        }
        () => reply(200, "", r#"{"data": {"ttl": 0}}"#),
    })
    .await;
    let standby = Fake::start(refuses).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, TOKEN).unwrap();
    for auth in [
        json!({ "method": "approle", "role_id": "r", "secret_id_file": file }),
        json!({ "method": "token", "file": file }),
    ] {
        let kms = open(&config(&[&standby.address, &active.address], auth.clone(), json!({})));
        for _ in 0..3 {
            let error = kms[0].unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err();
            assert!(matches!(error, KmsError::Unavailable(Cause::Standby, _)), "{auth}: {error:?}");
        }
        kms[1].ready().await.unwrap();
    }
    let logins = active.seen().iter().filter(|seen| seen.head.contains("/login ")).count();
    assert_eq!(logins, 1, "it is not the token's fault");
}

/// Servers round what is left down to whole seconds.
#[tokio::test]
async fn a_token_with_no_whole_second_left_does_not_live_for_ever() {
    let fake = Fake::start(|_| {
        reply(200, "", r#"{"data": {"ttl": 0, "expire_time": "2026-11-30T00:00:00Z", "renewable": false}}"#)
    })
    .await;
    let (kms, _dir) = opened(&fake.address);
    kms.ready().await.unwrap();
    let next = async || (logins(&fake) > 1).then_some(());
    super::server::until("the file is read again", Duration::from_secs(10), next).await;
}

fn logins(fake: &Fake) -> usize {
    fake.seen().iter().filter(|seen| seen.head.contains("/auth/token/lookup-self ")).count()
}

#[tokio::test]
async fn a_refused_login_is_not_a_flood() {
    let fake = Fake::start(|_| reply(403, "", r#"{"errors": ["permission denied"]}"#)).await;
    let (kms, _dir) = opened(&fake.address);
    let started = Instant::now();
    for _ in 0..200 {
        let error = kms.unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err();
        assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    }
    let bound = 2 + 2 * usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(logins(&fake) <= bound, "{} logins in {:?}", logins(&fake), started.elapsed());
}

#[tokio::test]
async fn a_renewal_that_fails_gives_way_to_a_login_before_the_token_ends() {
    let fake = Fake::start(|seen| match () {
        () if seen.head.contains("/auth/token/lookup-self ") => {
            reply(200, "", r#"{"data": {"ttl": 10, "expire_time": "soon", "renewable": true}}"#)
        }
        () if seen.head.contains("/auth/token/renew-self ") => reply(500, "", r#"{"errors": ["no"]}"#),
        () => reply(200, "", "{}"),
    })
    .await;
    let (kms, _dir) = opened(&fake.address);
    kms.ready().await.unwrap();
    let (started, its_end) = (Instant::now(), Duration::from_secs(10));
    super::server::until("the next login", Duration::from_secs(20), || async {
        (logins(&fake) > 1).then_some(())
    })
    .await;
    assert!(started.elapsed() < its_end, "{:?}", started.elapsed());
    let renewals = fake.seen().iter().filter(|seen| seen.head.contains("renew-self")).count();
    assert!((1..8).contains(&renewals), "{renewals} renewals were tried first");
}

/// Also when it gives so little that whole seconds are none.
#[tokio::test]
async fn a_renewal_that_gives_little_gives_way_to_a_login_at_once() {
    for little in [0, 1] {
        let renewed =
            json!({ "auth": { "client_token": TOKEN, "lease_duration": little, "renewable": true } });
        let fake = Fake::start(move |seen| match () {
            () if seen.head.contains("/auth/token/lookup-self ") => {
                reply(200, "", r#"{"data": {"ttl": 3, "expire_time": "soon", "renewable": true}}"#)
            }
            () if seen.head.contains("/auth/token/renew-self ") => reply(200, "", &renewed.to_string()),
            () => reply(200, "", "{}"),
        })
        .await;
        let (kms, _dir) = opened(&fake.address);
        kms.ready().await.unwrap();
        let next = async || (logins(&fake) > 1).then_some(());
        super::server::until("the next login", Duration::from_secs(10), next).await;
        let renewals = fake.seen().iter().filter(|seen| seen.head.contains("renew-self")).count();
        assert_eq!(renewals, 1, "{little}");
    }
}

#[tokio::test]
async fn what_the_health_of_a_node_says() {
    for (status, cause) in [
        (429, Some(Cause::Standby)),
        (472, Some(Cause::Standby)),
        (501, Some(Cause::Sealed)),
        (503, Some(Cause::Sealed)),
        (500, Some(Cause::Server)),
        (200, None),
    ] {
        let fake = answering(move |seen| {
            assert!(seen.head.starts_with("get /v1/sys/health "), "{}", seen.head);
            reply(status, "", "{}")
        })
        .await;
        let second = answering(|_| reply(200, "", "{}")).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, TOKEN).unwrap();
        let auth = json!({ "method": "token", "file": file });
        let kms = open(&config(&[&fake.address, &second.address], auth, json!({}))).remove(0);
        match (kms.ready().await, cause) {
            (Ok(()), None) => {}
            (Err(KmsError::Unavailable(found, _)), Some(cause)) => assert_eq!(found, cause, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_hangs_for_ever() {
    // Takes the request and says nothing.
    let silent = answering(|_| None).await;
    let (kms, _dir) = opened(&silent.address);
    let started = Instant::now();
    let error = kms.unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Timeout, _)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());

    // Takes the connection and never speaks TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (kms, _dir) = opened(&address);
    let started = Instant::now();
    let error = kms.ready().await.unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());

    // Nobody listens.
    let address = format!("http://127.0.0.1:{}", super::server::port());
    let (kms, _dir) = opened(&address);
    let error = kms.ready().await.unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let bao = Bao::start().await;
    let target: std::net::SocketAddr = bao.api.address.strip_prefix("http://").unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            tokio::spawn(async move {
                let mut there = tokio::net::TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    let kms = open(&config(&[&address], bao.approle(json!({})).await, json!({}))).remove(0);
    kms.ready().await.unwrap();
    let kek = kms.create_kek("k").await.unwrap();
    for _ in 0..50 {
        trip(&*kms, &kek).await.unwrap();
    }
    // The login's task and the first call may each have made one.
    let connections = *count.lock().unwrap();
    assert!(connections <= 2, "{connections} connections for a hundred calls");
}

/// A server, or something before it, that repeats what it was sent.
#[tokio::test]
async fn no_error_repeats_a_token() {
    for status in [400, 403, 404, 405, 429, 500, 503, 307] {
        let fake = Fake::start(move |seen| {
            let texts = json!({ "errors": [seen.head, seen.body, format!("token {TOKEN} is bad"), TOKEN] });
            reply(status, "", &texts.to_string())
        })
        .await;
        let (kms, _dir) = opened(&fake.address);
        let answering = answering(move |seen| {
            if seen.head.starts_with("get /v1/transit/keys/") {
                return reply(200, "", KEY);
            }
            reply(
                status,
                "",
                &json!({ "errors": [seen.head, seen.body, format!("it is {TOKEN}")] }).to_string(),
            )
        })
        .await;
        let (logged_in, _other) = opened(&answering.address);
        for kms in [kms, logged_in] {
            let mut errors = vec![
                kms.unwrap("vault-eu/k", "", b"c", WRAPPED).await.map(drop).unwrap_err(),
                kms.wrap("vault-eu/k", "", b"c", &ik(1)).await.map(drop).unwrap_err(),
                kms.rotate("vault-eu/k").await.unwrap_err(),
                kms.destroy("vault-eu/k").await.map(drop).unwrap_err(),
            ];
            errors.extend(kms.create_kek("k").await.err());
            errors.extend(kms.ready().await.err());
            for error in errors {
                let text = format!("{error} {error:?}");
                assert!(!text.contains("nobody-mistakes"), "{status}: {text}");
                assert!(!text.contains("AQEBAQEB"), "the IK: {status}: {text}");
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every library on the way, at its most talkative.
#[tokio::test]
async fn no_log_line_holds_a_secret_or_a_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let bao = Bao::start().await;
    let auth = bao.approle(json!({})).await;
    let secret_id = std::fs::read_to_string(auth["secret_id_file"].as_str().unwrap()).unwrap();
    let kms = bao.open(auth);
    let kek = kms.create_kek("k").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
    for accessor in bao.api.tokens().await {
        bao.api.revoke(&accessor).await;
    }
    trip(&*kms, &kek).await.unwrap();
    kms.rotate(&kek).await.unwrap();
    bao.api.post("auth/approle/role/gateway/secret-id/destroy", json!({ "secret_id": secret_id })).await;
    for accessor in bao.api.tokens().await {
        bao.api.revoke(&accessor).await;
    }
    trip(&*kms, &kek).await.unwrap_err();
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("login at the KMS failed"), "the log is written: {} bytes", text.len());
    // The key of every trip, base64 as it goes to the server; and the start of every service token.
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    for (what, never) in [("the secret id", secret_id.as_str()), ("an IK", key)] {
        assert!(!text.contains(never), "{what} is in the log");
    }
    for (at, _) in text.match_indices("s.") {
        let after = text[at + 2..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        assert!(after < 24, "a token is in the log");
    }
}
