//! Logins: each method, renewal, expiry, revocation, refusal.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use sealgate_kms::{Cause, Kms, KmsError};
use serde_json::json;

use super::server::{Bao, trip, until};
use crate::suite::ik;

const SOON: Duration = Duration::from_secs(20);

/// Uses a KEK without a pause for this long: no call may fail.
async fn used_without_failure(kms: &dyn Kms, kek: &str, time: Duration) -> u32 {
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < time {
        trip(kms, kek).await.unwrap_or_else(|error| panic!("after {:?}: {error:?}", started.elapsed()));
        calls += 1;
        // A few hundred a second are enough to meet every instant.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    calls
}

#[tokio::test]
async fn a_token_is_renewed_as_long_as_its_role_gives() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({ "token_ttl": "2s", "token_max_ttl": "1h" })).await);
    let kek = kms.create_kek("k").await.unwrap();
    let first = bao.api.tokens().await;
    assert_eq!(first.len(), 1);
    used_without_failure(&*kms, &kek, Duration::from_secs(5)).await;
    assert_eq!(bao.api.tokens().await, first, "the same token after two and a half of its lives");
    let looked = bao.api.post("auth/token/lookup-accessor", json!({ "accessor": first[0] })).await;
    assert!(looked["data"]["last_renewal"].is_string(), "{looked}");

    // The task ends with the provider: nobody renews the token any more.
    drop(kms);
    until("the token has ended", SOON, || async { bao.api.tokens().await.is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn a_token_that_cannot_live_longer_is_replaced_before_it_ends() {
    let bao = Bao::start().await;
    // Renewable, but only to three seconds in all; and one that cannot be renewed at all.
    for role in [
        json!({ "token_ttl": "2s", "token_max_ttl": "3s" }),
        json!({ "token_ttl": "2s", "token_explicit_max_ttl": "2s" }),
        json!({ "token_ttl": "2s", "token_type": "batch" }),
    ] {
        let kms = bao.open(bao.approle(role.clone()).await);
        let kek = kms.create_kek("k").await.unwrap();
        let calls = used_without_failure(&*kms, &kek, Duration::from_secs(5)).await;
        assert!(calls > 100, "{role}: {calls}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_not_a_denied_key_and_many_who_notice_log_in_once() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    let kek = kms.create_kek("k").await.unwrap();
    for _ in 0..3 {
        let before = bao.api.tokens().await;
        assert_eq!(before.len(), 1);
        bao.api.revoke(&before[0]).await;
        let calls = (0..64).map(|_| trip(&*kms, &kek));
        for result in futures_util::future::join_all(calls).await {
            result.unwrap();
        }
        let after = bao.api.tokens().await;
        assert_eq!(after.len(), 1, "one login for all of them");
        assert_ne!(before, after);
    }
}

#[tokio::test]
async fn callers_who_hang_up_do_not_end_the_login() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    let kek = kms.create_kek("k").await.unwrap();
    bao.api.revoke(&bao.api.tokens().await[0]).await;
    // Hangs up as soon as the call has begun to wait, again and again.
    for _ in 0..50 {
        let _ = tokio::time::timeout(Duration::from_micros(300), trip(&*kms, &kek)).await;
    }
    trip(&*kms, &kek).await.unwrap();
    assert_eq!(bao.api.tokens().await.len(), 1);
}

#[tokio::test]
async fn a_refused_login_is_denied_and_a_new_secret_mends_it() {
    let bao = Bao::start().await;
    let auth = bao.approle(json!({})).await;
    let kms = bao.open(auth.clone());
    let kek = kms.create_kek("k").await.unwrap();
    let wrapped = kms.wrap(&kek, "", b"c", &ik(1)).await.unwrap();
    let unwrap = async || kms.unwrap(&kek, "", b"c", &wrapped).await.map(drop);
    let file = auth["secret_id_file"].as_str().unwrap();
    let secret = fs::read_to_string(file).unwrap();

    bao.api.post("auth/approle/role/gateway/secret-id/destroy", json!({ "secret_id": secret })).await;
    bao.api.revoke(&bao.api.tokens().await[0]).await;
    for _ in 0..3 {
        let error = unwrap().await.unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(matches!(error, KmsError::Denied(_)), "{text}");
        assert!(text.contains("vault-eu/k: http://127.0.0.1") && text.contains("login by approle"), "{text}");
        assert!(!text.contains(&secret), "{text}");
    }
    assert!(matches!(kms.ready().await, Err(KmsError::Denied(_)) | Ok(())));

    // The file is read anew: nothing has to be restarted.
    fs::write(file, bao.secret_id().await).unwrap();
    until("the new secret is used", SOON, || async { unwrap().await.ok() }).await;

    bao.api.ask("DELETE", "auth/approle/role/gateway", serde_json::Value::Null).await;
    for accessor in bao.api.tokens().await {
        bao.api.revoke(&accessor).await;
    }
    assert!(matches!(unwrap().await, Err(KmsError::Denied(_))), "the role is gone");
}

#[tokio::test]
async fn a_login_that_cannot_be_made_is_unavailable() {
    let mut bao = Bao::start().await;
    let auth = bao.approle(json!({})).await;
    // The secret's file is not there.
    let missing = bao.dir.path().join("none");
    let mut without = auth.clone();
    without["secret_id_file"] = json!(missing);
    let kms = bao.open(without);
    let error = kms.create_kek("k").await.unwrap_err();
    assert!(
        matches!(&error, KmsError::Unavailable(Cause::Local, text) if text.contains("none")),
        "{error:?}"
    );
    for content in ["", "\n", "two words", "a\nb"] {
        fs::write(&missing, content).unwrap();
        let error = kms.create_kek("k").await.unwrap_err();
        assert!(matches!(&error, KmsError::Unavailable(Cause::Local, _)), "{content:?}: {error:?}");
    }
    fs::copy(auth["secret_id_file"].as_str().unwrap(), &missing).unwrap();
    kms.create_kek("k").await.unwrap();

    // Opens while its KMS is down.
    bao.running.kill();
    let kms = bao.open(auth);
    let error = trip(&*kms, "vault-eu/k").await.unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_policy_without_lookup_self_still_tells_an_ended_token_from_a_denied_key() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({ "token_no_default_policy": true })).await);
    let kek = kms.create_kek("k").await.unwrap();
    bao.api.revoke(&bao.api.tokens().await[0]).await;
    trip(&*kms, &kek).await.unwrap();
    bao.policy("gateway", r#"path "transit/keys/*" { capabilities = ["read"] }"#).await;
    let before = bao.api.tokens().await.len();
    let started = Instant::now();
    for _ in 0..100 {
        assert!(matches!(kms.wrap(&kek, "", b"c", &ik(1)).await, Err(KmsError::Denied(_))));
    }
    // Not every refused call is a login.
    let logins = (bao.api.tokens().await.len() - before) as u64;
    assert!(logins <= 2 + started.elapsed().as_secs(), "{logins} logins");
}

#[tokio::test]
async fn a_token_from_a_file_is_looked_up_renewed_and_replaced_by_its_file() {
    let bao = Bao::start().await;
    let make = async |settings: serde_json::Value| {
        let answer = bao.api.post("auth/token/create", settings).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let first = make(json!({ "policies": ["gateway"], "ttl": "4s", "explicit_max_ttl": "12s" })).await;
    let file = bao.file("token", &first);
    let kms = bao.open(json!({ "method": "token", "file": file }));
    let kek = kms.create_kek("k").await.unwrap();
    used_without_failure(&*kms, &kek, Duration::from_secs(5)).await;
    // It cannot live longer than twelve seconds: its keeper writes another one.
    let second = make(json!({ "policies": ["gateway"], "ttl": "1h" })).await;
    fs::write(&file, second).unwrap();
    used_without_failure(&*kms, &kek, Duration::from_secs(9)).await;
    // Without a good one in the file the login is refused.
    fs::write(&file, "s.somebodys-distinctive-token").unwrap();
    for accessor in bao.api.tokens().await {
        bao.api.revoke(&accessor).await;
    }
    let error = trip(&*kms, &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("distinctive"), "{error:?}");
}

#[tokio::test]
async fn a_root_token_lives_for_ever() {
    let bao = Bao::start().await;
    let kms: Arc<dyn Kms> = bao.open(bao.root());
    kms.ready().await.unwrap();
    let kek = kms.create_kek("k").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
}
