//! Where the AWS provider's credentials come from, what their failures are told as, and that no secret gets out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "aws/scripted.rs"]
mod scripted;
#[path = "aws/servers.rs"]
mod servers;

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scripted::{Scripted, answer, refusal};
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, KmsError, aws};
use serde_json::json;
use servers::{SECRET, Section};
use tracing_subscriber::fmt::MakeWriter;
use zeroize::Zeroizing;

const KEK: &str = "aws-eu/mrk-00000000000040008000000000000000";
const TOKEN: &str = "sEsSiOnToKeN9876543210";

fn ik() -> Ik {
    Ik::from_bytes(&Zeroizing::new([0xa7; 32]))
}

fn wrapped() -> String {
    answer(200, r#"{"CiphertextBlob":"AAAA"}"#)
}

fn opened() -> String {
    answer(200, &json!({"Plaintext": STANDARD.encode([0xa7; 32])}).to_string())
}

fn metadata(id: &str, expiration: &str) -> String {
    let body = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": id, "SecretAccessKey": SECRET, "Token": TOKEN, "Expiration": expiration,
    });
    answer(200, &body.to_string())
}

fn sts(id: &str) -> String {
    answer(
        200,
        &format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
             <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>\
             <Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>x:s</AssumedRoleId></AssumedRoleUser>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}

fn sts_refusal(code: &str) -> String {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{TOKEN}</Message></Error>");
    answer(403, &format!("<ErrorResponse>{error}</ErrorResponse>"))
}

/// The environment belongs to a process: this wraps a key in one that has it, and gives what came of it.
fn wrap_in(environment: &[(&str, &str)], kms: &Scripted, patience: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let outcome = dir.path().join("outcome");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "wraps_with_what_its_environment_gives", "--nocapture"]).env_clear();
    command.env("HOME", dir.path()).env("SEALGATE_TEST_KMS", kms.url());
    command.env("SEALGATE_TEST_OUTCOME", &outcome).env("SEALGATE_TEST_PATIENCE", patience);
    let done = command.envs(environment.iter().copied()).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(told.contains("the log is on"), "{told}");
    for secret in [SECRET, TOKEN] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    fs::read_to_string(&outcome).unwrap_or_else(|_| panic!("{told}"))
}

/// The other side of [`wrap_in`]; by itself, it only sees that it is not asked for anything.
#[tokio::test]
async fn wraps_with_what_its_environment_gives() {
    let Some(url) = env::var_os("SEALGATE_TEST_KMS") else {
        assert!(env::var_os("SEALGATE_TEST_OUTCOME").is_none());
        return;
    };
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stdout).init();
    tracing::trace!("the log is on");
    let mut section = Section::new(url.to_str().unwrap());
    section.config.credentials_file = None;
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let patience = Duration::from_millis(env::var("SEALGATE_TEST_PATIENCE").unwrap().parse().unwrap());
    let outcome = loop {
        // A caller with little time comes again, as the layer above does.
        match tokio::time::timeout(patience, kms.wrap(KEK, "", b"c", &ik())).await {
            Ok(outcome) => break outcome,
            Err(_) => continue,
        }
    };
    fs::write(env::var_os("SEALGATE_TEST_OUTCOME").unwrap(), format!("{outcome:?}")).unwrap();
}

const PATIENT: &str = "60000";

fn signed_by(kms: &Scripted) -> String {
    let request = kms.requests().pop().expect("a request");
    request.head.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

#[test]
fn every_source_of_the_default_chain_gives_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let profile =
        file("credentials", &format!("[p]\naws_access_key_id=AKIAFILE\naws_secret_access_key={SECRET}\n"));
    let token = file("token", "eyJ.web.identity");
    let web = Scripted::start(vec![sts("ASIAWEB")]);
    let container = Scripted::start(vec![metadata("ASIAECS", "2099-01-01T00:00:00Z")]);
    let kind = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let instance =
        Scripted::start(vec![kind("a-token"), kind("a-role"), metadata("ASIAEC2", "2099-01-01T00:00:00Z")]);
    let (web_url, container_url, instance_url) =
        (web.url(), format!("{}/creds", container.url()), instance.url());
    for (id, environment) in [
        ("AKIAENV", vec![("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", SECRET)]),
        ("AKIAFILE", vec![("AWS_SHARED_CREDENTIALS_FILE", profile.as_str()), ("AWS_PROFILE", "p")]),
        (
            "ASIAWEB",
            vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
                ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
                ("AWS_ENDPOINT_URL_STS", web_url.as_str()),
            ],
        ),
        ("ASIAECS", vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", container_url.as_str())]),
        ("ASIAEC2", vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance_url.as_str())]),
    ] {
        let kms = Scripted::start(vec![wrapped()]);
        let outcome = wrap_in(&environment, &kms, PATIENT);
        assert_eq!(outcome, "Ok([0, 0, 0])", "{id}");
        assert_eq!(signed_by(&kms), id);
    }
}

#[test]
fn failures_of_the_source_take_nothing_away_and_its_refusal_does() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "eyJ.web.identity").unwrap();
    let nowhere = format!("http://{}", servers::free_port());
    let nowhere_creds = format!("{nowhere}/creds");
    let expired = Scripted::start(vec![metadata("ASIAOLD", "2020-01-01T00:00:00Z")]);
    let expired_url = format!("{}/creds", expired.url());
    let refusing = Scripted::start(vec![sts_refusal("AccessDenied")]);
    let stale = Scripted::start(vec![sts_refusal("ExpiredTokenException")]);
    let (refusing_url, stale_url) = (refusing.url(), stale.url());
    let web = |url: &str| {
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), token.to_str().unwrap().to_owned()),
            ("AWS_ROLE_ARN".to_owned(), "arn:aws:iam::1:role/r".to_owned()),
            ("AWS_ENDPOINT_URL_STS".to_owned(), url.to_owned()),
        ]
    };
    let container = |url: &str| vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), url.to_owned())];
    let none = vec![("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned())];
    for (environment, told) in [
        (none, "Err(Unavailable(Local"),
        (container(&nowhere_creds), "Err(Unavailable(Connect"),
        (container(&expired_url), "Err(Unavailable(Local"),
        (web(&nowhere), "Err(Unavailable(Connect"),
        (web(&stale_url), "Err(Unavailable(Connect"),
        (web(&refusing_url), "Err(Denied"),
    ] {
        let kms = Scripted::start(vec![wrapped()]);
        let borrowed: Vec<_> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let outcome = wrap_in(&borrowed, &kms, PATIENT);
        assert!(outcome.starts_with(told), "{environment:?}: {outcome}");
        assert!(!outcome.contains(TOKEN), "{outcome}");
        assert_eq!(kms.requests().len(), 0, "the KMS was not asked");
    }
}

#[test]
fn a_caller_who_leaves_does_not_end_the_loading_of_credentials() {
    let container =
        Scripted::slow(vec![metadata("ASIAECS", "2099-01-01T00:00:00Z")], Duration::from_millis(700));
    let kms = Scripted::start(vec![wrapped()]);
    let url = format!("{}/creds", container.url());
    let outcome = wrap_in(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], &kms, "200");
    assert_eq!(outcome, "Ok([0, 0, 0])");
    assert_eq!(container.requests().len(), 1, "loaded once for all");
}

fn credentials(path: &Path, id: &str) {
    let text = format!(
        "[default]\naws_access_key_id={id}\naws_secret_access_key={SECRET}\naws_session_token={TOKEN}\n"
    );
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn refused_credentials_are_loaded_anew_once() {
    // The file has others by now.
    for code in ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"] {
        let server = Scripted::start(vec![wrapped(), refusal(code, ""), wrapped()]);
        let section = Section::new(&server.url());
        let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
        kms.wrap(KEK, "", b"c", &ik()).await.unwrap();
        credentials(section.config.credentials_file.as_deref().unwrap(), "ASIANEW");
        kms.wrap(KEK, "", b"c", &ik()).await.unwrap();
        assert_eq!(server.requests().len(), 3, "{code}");
        assert_eq!(signed_by(&server), "ASIANEW");
    }

    // It has the same: no second request.
    for (code, denied) in [
        ("ExpiredTokenException", false),
        ("UnrecognizedClientException", true),
        ("SignatureDoesNotMatch", false),
    ] {
        let server = Scripted::start(vec![refusal(code, ""), wrapped()]);
        let section = Section::new(&server.url());
        let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
        let error = kms.wrap(KEK, "", b"c", &ik()).await.unwrap_err();
        assert_eq!(matches!(error, KmsError::Denied(_)), denied, "{code}: {error:?}");
        assert_eq!(matches!(error, KmsError::Unavailable(Cause::Local, _)), !denied, "{code}: {error:?}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }

    // The new ones are refused as well: that is the KMS's word.
    let server = Scripted::start(vec![wrapped(), refusal("UnrecognizedClientException", "")]);
    let section = Section::new(&server.url());
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    kms.wrap(KEK, "", b"c", &ik()).await.unwrap();
    credentials(section.config.credentials_file.as_deref().unwrap(), "ASIANEW");
    let error = kms.wrap(KEK, "", b"c", &ik()).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    assert_eq!(server.requests().len(), 3);
}

/// A key that was deactivated: the source is not to be asked by every call.
#[tokio::test]
async fn what_is_refused_whatever_the_source_gives_is_not_loaded_at_each_call() {
    let server = Scripted::start(vec![refusal("UnrecognizedClientException", "")]);
    let section = Section::new(&server.url());
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let error = kms.wrap(KEK, "", b"c", &ik()).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    // Whether the source is asked shows in whom the next request is signed by.
    credentials(section.config.credentials_file.as_deref().unwrap(), "ASIANEW");
    for _ in 0..5 {
        let error = kms.wrap(KEK, "", b"c", &ik()).await.unwrap_err();
        assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    }
    assert_eq!(server.requests().len(), 6, "one request a call");
    assert_ne!(signed_by(&server), "ASIANEW");
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

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_in_a_trace() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log is on");

    let key = STANDARD.encode([0xa7; 32]);
    // A server that repeats all it got, wherever an error has a text.
    let echo = format!("{key} {SECRET} {TOKEN} gRaNtToKeN");
    let errors =
        ["AccessDeniedException", "InvalidSignatureException", "ExpiredTokenException", &echo, "Odd"];
    let mut answers = vec![wrapped(), opened()];
    answers.extend(errors.iter().map(|code| refusal(code, &echo)));
    let server = Scripted::start(answers);
    let mut section = Section::new(&server.url());
    credentials(section.config.credentials_file.as_deref().unwrap(), "ASIATEST");
    let grants = section.dir.path().join("grants");
    fs::write(&grants, "gRaNtToKeN\n").unwrap();
    section.config.grant_tokens_file = Some(grants);
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let wrapped = kms.wrap(KEK, "", b"c", &ik()).await.unwrap();
    kms.unwrap(KEK, "", b"c", &wrapped).await.unwrap();
    let mut told = format!("{:?}", section.config);
    for _ in errors {
        let error = kms.wrap(KEK, "", b"c", &ik()).await.unwrap_err();
        told += &format!("{error:?} {error}\n");
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("the log is on"));
    // The SDK traces bytes as numbers or as text.
    let numbers = format!("{:?}", key.as_bytes());
    for (what, text) in [("an error", &told), ("the log", &log)] {
        for secret in
            [key.as_str(), SECRET, TOKEN, "gRaNtToKeN", "167, 167, 167", &numbers[1..numbers.len() - 1]]
        {
            assert!(!text.contains(secret), "{secret} in {what}: {text}");
        }
    }
}
