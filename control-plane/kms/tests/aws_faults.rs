//! The AWS provider when AWS, the network or the credentials fail: what each fault is told as, that nothing hangs, that
//! nothing is retried here, and that no secret is in an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "aws/scripted.rs"]
mod scripted;
#[path = "aws/servers.rs"]
mod servers;

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use scripted::{Scripted, answer, refusal};
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, Kms, KmsError, aws};
use serde_json::{Value, json};
use servers::{Section, Server, ask, microburst, moto};
use zeroize::Zeroizing;

const CONTEXT: &[u8] = b"an IK's context";

fn ik() -> Ik {
    Ik::from_bytes(&Zeroizing::new([0xa7; 32]))
}

fn open(section: &Section) -> Arc<dyn Kms> {
    aws::open("aws-eu", &section.config).unwrap().remove(0)
}

/// The section, which holds the credentials' file, lives as long as the provider.
fn at(url: &str) -> (Arc<dyn Kms>, Section) {
    let section = Section::new(url);
    (open(&section), section)
}

/// These rules, and no others.
fn rules(faults: &Server, rules: &Value) {
    let json = [("content-type", "application/json")];
    let (status, text) =
        ask(faults.address, "POST", "/_microburst/rules", &json, &rules.to_string()).unwrap();
    assert!(status < 300, "{status} {text}");
}

fn rule(faults: &Server, rule: Value) {
    rules(faults, &json!([rule]));
}

fn clear(faults: &Server) {
    rules(faults, &json!([]));
}

fn fired(faults: &Server) -> usize {
    let (_, text) = ask(faults.address, "GET", "/_microburst/fired", &[], "").unwrap();
    let json = text.find('[').zip(text.rfind(']')).map(|(from, to)| &text[from..=to]).unwrap();
    serde_json::from_str::<Vec<Value>>(json).unwrap().len()
}

/// One test over one pair of servers: starting them takes longer than all of it.
#[tokio::test]
async fn faults_of_the_service() {
    let upstream = moto();
    let faults = microburst(&upstream);
    a_denial_names_the_permission_and_the_key(&upstream, &faults).await;
    clear(&faults);
    rotations_that_are_used_up_are_no_throttling(&faults).await;
    clear(&faults);
    each_fault_of_the_service_is_told_as_what_it_is_and_asked_once(&faults).await;
}

async fn each_fault_of_the_service_is_told_as_what_it_is_and_asked_once(faults: &Server) {
    let section = Section::new(&faults.url());
    let kms = open(&section);
    let kek = kms.create_kek("tenant-1").await.unwrap();
    let wrapped = kms.wrap(&kek, "", CONTEXT, &ik()).await.unwrap();

    let error = |code: &str, status: u16| json!({"error": {"code": code, "status": status}});
    type Is = fn(&KmsError) -> bool;
    let throttled: Is = |error| matches!(error, KmsError::Throttled(..));
    let denied: Is = |error| matches!(error, KmsError::Denied(_));
    let bad: Is = |error| *error == KmsError::BadCiphertext;
    let server: Is = |error| matches!(error, KmsError::Unavailable(Cause::Server, _));
    let late: Is = |error| matches!(error, KmsError::Unavailable(Cause::Timeout, _));
    let missing: Is = |error| matches!(error, KmsError::NotFound(_));
    for (fault, is) in [
        (error("ThrottlingException", 400), throttled),
        (error("LimitExceededException", 400), throttled),
        (error("KMSInternalException", 500), server),
        (error("DependencyTimeoutException", 503), server),
        (error("KeyUnavailableException", 500), server),
        (error("AccessDeniedException", 400), denied),
        (error("DisabledException", 400), denied),
        // The key is enabled, as a look at it shows.
        (error("KMSInvalidStateException", 400), server),
        (error("InvalidGrantTokenException", 400), denied),
        (error("InvalidCiphertextException", 400), bad),
        (error("IncorrectKeyException", 400), bad),
        (error("NotFoundException", 400), missing),
        (json!({"reset": true}), late),
        (json!({"response": {"truncate_frac": 0.5}}), server),
        (json!({"response": {"abort_frac": 0.5}}), late),
    ] {
        let mut once = fault.clone();
        for (name, value) in [("service", json!("kms")), ("operation", json!("Decrypt")), ("times", json!(1))]
        {
            once[name] = value;
        }
        rule(faults, once);
        let before = fired(faults);
        let error = kms.unwrap(&kek, "", CONTEXT, &wrapped).await.err().unwrap_or_else(|| {
            panic!("{fault}: opened: the fault was for one request, so it was repeated here");
        });
        assert!(is(&error), "{fault}: {error:?}");
        assert_eq!(fired(faults), before + 1, "{fault}");
        assert_eq!(kms.unwrap(&kek, "", CONTEXT, &wrapped).await.unwrap().expose(), &[0xa7; 32], "{fault}");
    }
}

async fn a_denial_names_the_permission_and_the_key(upstream: &Server, faults: &Server) {
    let (kms, _section) = at(&faults.url());
    for (operation, permission) in [("CreateKey", "kms:CreateKey"), ("CreateAlias", "kms:CreateAlias")] {
        rule(
            faults,
            json!({"service": "kms", "operation": operation, "error": {"code": "AccessDeniedException"}}),
        );
        let error = kms.create_kek("tenant-1").await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, KmsError::Denied(_)) && text.contains(permission), "{text}");
        assert!(text.contains("tenant-1") && text.contains("[kms.aws.aws-eu] eu-central-1"), "{text}");
    }
    // The key that got no alias is given up, so that repetitions do not pile up keys.
    let states: Vec<Value> = servers::key_ids(upstream, servers::HOME)
        .into_iter()
        .map(|id| servers::kms(upstream, servers::HOME, "DescribeKey", json!({"KeyId": id})))
        .collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0]["KeyMetadata"]["KeyState"], "PendingDeletion");
}

async fn rotations_that_are_used_up_are_no_throttling(faults: &Server) {
    let (kms, _section) = at(&faults.url());
    let kek = kms.create_kek("tenant-1").await.unwrap();
    for code in ["LimitExceededException", "ConflictException", "UnsupportedOperationException"] {
        rule(faults, json!({"service": "kms", "operation": "RotateKeyOnDemand", "error": {"code": code}}));
        let error = kms.rotate(&kek).await.unwrap_err();
        assert!(matches!(error, KmsError::Unsupported(_)), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn no_connection_is_told_at_once_and_nothing_hangs() {
    // Nothing listens.
    let (kms, _section) = at(&format!("http://{}", servers::free_port()));
    let kek = "aws-eu/mrk-00000000000040008000000000000000";
    for error in [kms.ready().await.unwrap_err(), kms.wrap(kek, "", CONTEXT, &ik()).await.unwrap_err()] {
        assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
    }

    // Takes connections and is silent. Over TLS the handshake is part of connecting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for (scheme, cause, most) in
        [("https", Cause::Connect, Duration::from_secs(2)), ("http", Cause::Timeout, Duration::from_secs(7))]
    {
        let (kms, _section) = at(&format!("{scheme}://{address}"));
        let started = Instant::now();
        let error = kms.wrap(kek, "", CONTEXT, &ik()).await.unwrap_err();
        assert!(matches!(&error, KmsError::Unavailable(told, _) if *told == cause), "{scheme}: {error:?}");
        assert!(started.elapsed() < most, "{scheme}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn answers_are_bounded_and_read_whole() {
    let kek = "aws-eu/mrk-00000000000040008000000000000000";
    let huge = json!({"Plaintext": "A".repeat(1 << 20)}).to_string();
    for (what, bytes) in [
        ("longer than any", answer(200, &huge)),
        ("no HTTP", "220 mail.example ESMTP\r\n".to_owned()),
        (
            "a body cut short",
            answer(200, r#"{"Plaintext":""}"#).replace("content-length: 16", "content-length: 99"),
        ),
    ] {
        let server = Scripted::start(vec![bytes]);
        let (kms, _section) = at(&server.url());
        let error = kms.unwrap(kek, "", CONTEXT, b"x").await.err().unwrap();
        assert!(matches!(error, KmsError::Unavailable(Cause::Timeout, _)), "{what}: {error:?}");
    }
    for (what, body) in [
        ("no JSON", "<html>proxy</html>"),
        ("no plaintext", "{}"),
        ("a plaintext that is no base64", r#"{"Plaintext":"%%%%"}"#),
    ] {
        let server = Scripted::start(vec![answer(200, body)]);
        let (kms, _section) = at(&server.url());
        let error = kms.unwrap(kek, "", CONTEXT, b"x").await.err().unwrap();
        assert!(matches!(error, KmsError::Unavailable(Cause::Server, _)), "{what}: {error:?}");
    }
    // Another key's length: not a key of ours.
    let server = Scripted::start(vec![answer(200, r#"{"Plaintext":"AAAA"}"#)]);
    let (kms, _section) = at(&server.url());
    assert_eq!(kms.unwrap(kek, "", CONTEXT, b"x").await.err().unwrap(), KmsError::BadCiphertext);
}

#[tokio::test]
async fn throttling_carries_the_wait_that_it_asks_for() {
    let plain = scripted::refusal("ThrottlingException", "Rate exceeded");
    let waits = plain.replacen("content-type", "retry-after: 7\r\ncontent-type", 1);
    let server = Scripted::start(vec![plain, waits]);
    let (kms, _section) = at(&server.url());
    for wait in [None, Some(Duration::from_secs(7))] {
        let error =
            kms.wrap("aws-eu/mrk-00000000000040008000000000000000", "", CONTEXT, &ik()).await.unwrap_err();
        assert!(matches!(&error, KmsError::Throttled(told, _) if *told == wait), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_one_that_was_closed_meanwhile_costs_nothing() {
    let server = Scripted::closing_after_each(vec![answer(200, r#"{"CiphertextBlob":"AAAA"}"#); 3]);
    let (kms, _section) = at(&server.url());
    let kek = "aws-eu/mrk-00000000000040008000000000000000";
    for call in 1..=3 {
        kms.wrap(kek, "", CONTEXT, &ik()).await.unwrap();
        while server.closed() < call {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(server.requests().len(), 3, "each request once");

    let server = Scripted::start(vec![answer(200, r#"{"CiphertextBlob":"AAAA"}"#); 3]);
    let (kms, _section) = at(&server.url());
    for _ in 0..3 {
        kms.wrap(kek, "", CONTEXT, &ik()).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn decrypt_names_the_key_and_the_context_and_sends_grant_tokens() {
    let plaintext = json!({"Plaintext": "p6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6c="}).to_string();
    let server = Scripted::start(vec![answer(200, &plaintext), answer(200, r#"{"CiphertextBlob":"AAAA"}"#)]);
    let mut section = Section::new(&server.url());
    let tokens = section.dir.path().join("grants");
    std::fs::write(&tokens, "# of the audit account\nAQpAMTExMTE=\n").unwrap();
    section.config.grant_tokens_file = Some(tokens.clone());
    let kms = open(&section);
    let id = "mrk-00000000000040008000000000000000";
    let kek = format!("aws-eu/{id}");
    assert_eq!(kms.unwrap(&kek, "", b"\xff\xfe\xfd", b"xyz").await.unwrap().expose(), &[0xa7; 32]);
    std::fs::write(&tokens, "").unwrap();
    kms.wrap(&kek, "", b"\xff\xfe\xfd", &ik()).await.unwrap();

    let requests = server.requests();
    let body = |at: usize| serde_json::from_str::<Value>(&requests[at].body).unwrap();
    let context = json!({"sealgate": "__79"});
    let decrypt = json!({
        "KeyId": id, "CiphertextBlob": "eHl6", "EncryptionContext": context, "GrantTokens": ["AQpAMTExMTE="],
    });
    assert_eq!(body(0), decrypt);
    let plaintext = "p6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6c=";
    let encrypt = json!({"KeyId": id, "Plaintext": plaintext, "EncryptionContext": context});
    assert_eq!(body(1), encrypt, "the tokens are read anew");
    for request in &requests {
        assert!(request.head.contains("authorization: AWS4-HMAC-SHA256"), "{}", request.head);
        let length = format!("content-length: {}\r\n", request.body.len());
        assert!(request.head.contains(&length), "{}", request.head);
    }

    std::fs::write(&tokens, "one two\n".repeat(11)).unwrap();
    let error = kms.wrap(&kek, "", CONTEXT, &ik()).await.unwrap_err();
    assert!(
        matches!(error, KmsError::Unavailable(Cause::Local, _)) && !error.to_string().contains("one two")
    );
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_at_the_start() {
    let mut section = Section::new("https://kms.example");
    let wrong = |section: &Section| aws::open("aws-eu", &section.config).err().unwrap().to_string();
    let path = section.dir.path().join("ca.pem");
    section.config.ca_file = Some(path.clone());
    assert!(wrong(&section).contains("ca.pem"));
    std::fs::write(&path, "no PEM").unwrap();
    assert!(wrong(&section).contains("no certificate"));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&path, garbage).unwrap();
    assert!(wrong(&section).contains("ca.pem"));
}

/// AWS says "invalid state" of a key that was taken away, and of one whose custom key store is not connected.
#[tokio::test]
async fn a_key_in_an_invalid_state_is_looked_at() {
    let described = |state: &str| {
        let key = json!({"KeyId": "mrk-1", "KeyState": state, "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"});
        answer(200, &json!({ "KeyMetadata": key }).to_string())
    };
    let invalid = || refusal("KMSInvalidStateException", "");
    for (state, taken_away) in [
        (described("PendingDeletion"), true),
        (described("PendingReplicaDeletion"), true),
        (described("PendingImport"), true),
        (described("Disabled"), true),
        (described("Unavailable"), false),
        (described("Creating"), false),
        (described("Updating"), false),
        (described("Enabled"), false),
        // Whoever may not look has AWS's word alone.
        (refusal("AccessDeniedException", ""), true),
        (refusal("KMSInternalException", ""), false),
        (answer(500, ""), false),
    ] {
        let server = Scripted::start(vec![invalid(), state.clone(), invalid(), state.clone()]);
        let (kms, _section) = at(&server.url());
        for result in [
            kms.unwrap("aws-eu/mrk-00000000000040008000000000000000", "", CONTEXT, b"wrapped")
                .await
                .map(drop),
            kms.wrap("aws-eu/mrk-00000000000040008000000000000000", "", CONTEXT, &ik()).await.map(drop),
        ] {
            let error = result.unwrap_err();
            assert_eq!(matches!(error, KmsError::Denied(_)), taken_away, "{state}: {error:?}");
            assert_eq!(matches!(error, KmsError::Unavailable(..)), !taken_away, "{state}: {error:?}");
        }
        assert_eq!(server.requests().len(), 4, "{state}");
    }
}
