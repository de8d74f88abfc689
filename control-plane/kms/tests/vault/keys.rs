//! Keys: the conformance suite, and what is OpenBao's own.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sealgate_kms::{Cause, Kms, KmsError};
use serde_json::{Value, json};

use super::documents;
use super::server::{Api, Bao, config, open, trip};
use crate::suite::{self, Subject, ik};

struct Transit {
    kms: std::sync::Arc<dyn Kms>,
    api: Api,
    keys: &'static str,
}

#[async_trait]
impl Subject for Transit {
    fn kms(&self) -> &dyn Kms {
        &*self.kms
    }

    fn missing(&self) -> String {
        "vault-eu/missing".to_owned()
    }

    async fn keks(&self) -> BTreeSet<String> {
        self.api.list(self.keys).await.into_iter().collect()
    }

    fn tells_versions(&self) -> bool {
        true
    }

    fn every_byte(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn transit_conforms_under_its_own_policy() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    suite::conforms(&Transit { kms, api: bao.api.clone(), keys: "transit/keys" }).await;
}

/// The root token may create keys by encrypting.
#[tokio::test]
async fn transit_conforms_with_a_token_that_may_do_everything() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.root());
    suite::conforms(&Transit { kms, api: bao.api.clone(), keys: "transit/keys" }).await;
}

#[tokio::test]
async fn transit_conforms_in_a_namespace_and_at_another_mount() {
    let bao = Bao::start().await;
    bao.api.post("sys/namespaces/team", json!({})).await;
    bao.api.post("team//sys/mounts/eu/keys", json!({ "type": "transit" })).await;
    bao.api.post("team//sys/auth/machines", json!({ "type": "approle" })).await;
    let policy = r#"path "eu/keys/*" { capabilities = ["create", "read", "update", "delete"] }"#;
    bao.api.ask("PUT", "team//sys/policies/acl/gateway", json!({ "policy": policy })).await;
    bao.api.post("team//auth/machines/role/gateway", json!({ "token_policies": "gateway" })).await;
    let role = bao.api.ask("GET", "team//auth/machines/role/gateway/role-id", Value::Null).await;
    let secret = bao.api.post("team//auth/machines/role/gateway/secret-id", json!({})).await;
    let auth = json!({
        "method": "approle",
        "mount": "machines",
        "role_id": role["data"]["role_id"],
        "secret_id_file": bao.file("secret", secret["data"]["secret_id"].as_str().unwrap()),
    });
    let more = json!({ "namespace": "team", "mount": "eu/keys" });
    let kms = open(&config(&[&bao.api.address], auth, more)).remove(0);
    suite::conforms(&Transit { kms, api: bao.api.clone(), keys: "team//eu/keys/keys" }).await;
    assert!(bao.api.list("transit/keys").await.is_empty(), "nothing outside the namespace");
}

#[tokio::test]
async fn a_deleted_key_is_not_made_again_by_a_wrap() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.root());
    let kek = kms.create_kek("tenant-1").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
    // Behind the provider, which has found it fit a moment ago.
    bao.api.post("transit/keys/tenant-1/config", json!({ "deletion_allowed": true })).await;
    bao.api.ask("DELETE", "transit/keys/tenant-1", Value::Null).await;
    for _ in 0..2 {
        let error = kms.wrap(&kek, "", b"c", &ik(1)).await.expect_err("wrap");
        assert!(matches!(error, KmsError::NotFound(_)), "{error:?}");
        assert!(bao.api.list("transit/keys").await.is_empty(), "the wrap made a key");
    }
    // What it is guarded against does happen.
    bao.api.post("transit/encrypt/tenant-1", json!({ "plaintext": "AAAA" })).await;
    assert_eq!(bao.api.list("transit/keys").await, ["tenant-1"]);
}

#[tokio::test]
async fn a_kek_is_made_for_this_use_only_and_another_kind_of_key_is_none() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    kms.create_kek("made").await.unwrap();
    let made = bao.api.ask("GET", "transit/keys/made", Value::Null).await;
    let made = &made["data"];
    assert_eq!(made["type"], "aes256-gcm96");
    for never in ["exportable", "allow_plaintext_backup", "derived", "deletion_allowed"] {
        assert_eq!(made[never], false, "{never}");
    }
    for (name, settings) in [
        ("exportable", json!({ "exportable": true })),
        ("backup", json!({ "allow_plaintext_backup": true })),
        ("derived", json!({ "derived": true })),
        ("chacha", json!({ "type": "chacha20-poly1305" })),
        ("rsa", json!({ "type": "rsa-2048" })),
    ] {
        bao.api.post(&format!("transit/keys/{name}"), settings).await;
        let error = kms.create_kek(name).await.expect_err("create");
        assert!(matches!(error, KmsError::Unsupported(_)), "{name}: {error:?}");
        let kek = format!("vault-eu/{name}");
        let error = kms.current_version(&kek).await.expect_err("current version");
        assert!(matches!(error, KmsError::Unsupported(_)), "{name}: {error:?}");
        let error = kms.wrap(&kek, "", b"c", &ik(1)).await.expect_err("wrap");
        assert!(matches!(error, KmsError::Unsupported(_)), "{name}: {error:?}");
    }
    for name in ["", "a/b", "..", ".a", "a.", "a b", "a%2f", &"x".repeat(129)] {
        assert!(matches!(kms.create_kek(name).await, Err(KmsError::NotFound(_))), "{name}");
    }
    assert!(matches!(kms.wrap("vault-eu/made", "", b"", &ik(1)).await, Err(KmsError::Unsupported(_))));
}

#[tokio::test]
async fn what_the_kms_disables_is_denied_and_comes_back() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    let kek = kms.create_kek("k").await.unwrap();
    let wrapped = kms.wrap(&kek, "", b"c", &ik(1)).await.unwrap();
    let denied = async |what: &str| {
        let error = kms.unwrap(&kek, "", b"c", &wrapped).await.map(drop).expect_err(what);
        assert!(
            matches!(&error, KmsError::Denied(text) if text.starts_with("vault-eu/k")),
            "{what}: {error:?}"
        );
        error
    };
    let opens = async || assert_eq!(kms.unwrap(&kek, "", b"c", &wrapped).await.unwrap().expose(), &[1; 32]);

    bao.api.ask("DELETE", "transit/keys/k/soft-delete", Value::Null).await;
    denied("soft-deleted").await;
    assert!(matches!(kms.wrap(&kek, "", b"c", &ik(1)).await, Err(KmsError::Denied(_))));
    assert!(matches!(kms.create_kek("k").await, Err(KmsError::Denied(_))), "it is there, and not to be used");
    bao.api.post("transit/keys/k/soft-delete-restore", json!({})).await;
    opens().await;

    kms.rotate(&kek).await.unwrap();
    bao.api.post("transit/keys/k/config", json!({ "min_decryption_version": 2 })).await;
    denied("below the least version").await;
    bao.api.post("transit/keys/k/config", json!({ "min_decryption_version": 1 })).await;
    opens().await;

    // The right to use the key is taken away, the login is good.
    let login = bao.api.tokens().await;
    bao.policy("gateway", r#"path "transit/keys/*" { capabilities = ["read"] }"#).await;
    denied("no right to decrypt").await;
    assert!(matches!(kms.wrap(&kek, "", b"c", &ik(1)).await, Err(KmsError::Denied(_))));
    assert!(matches!(kms.rotate(&kek).await, Err(KmsError::Denied(_))));
    assert!(matches!(kms.destroy(&kek).await, Err(KmsError::Denied(_))));
    assert!(matches!(kms.create_kek("another").await, Err(KmsError::Denied(_))));
    assert_eq!(bao.api.tokens().await, login, "a token that is known good is not replaced");
    bao.policy("gateway", &documents::policy()).await;
    opens().await;
}

/// Without the right to create, the server answers an encryption under a missing key with 403.
#[tokio::test]
async fn the_least_policy_is_enough_and_tells_a_missing_key_from_a_denied_one() {
    let bao = Bao::start().await;
    bao.policy("gateway", &documents::least_policy()).await;
    bao.api.post("transit/keys/there", json!({})).await;
    bao.api.post("transit/keys/gone", json!({})).await;
    let kms = bao.open(bao.approle(json!({})).await);
    assert_eq!(kms.current_version("vault-eu/there").await.unwrap(), "");
    trip(&*kms, "vault-eu/there").await.unwrap();
    trip(&*kms, "vault-eu/gone").await.unwrap();
    bao.api.post("transit/keys/gone/config", json!({ "deletion_allowed": true })).await;
    bao.api.ask("DELETE", "transit/keys/gone", Value::Null).await;
    for kek in ["vault-eu/gone", "vault-eu/never"] {
        let error = kms.wrap(kek, "", b"c", &ik(1)).await.expect_err("wrap");
        assert!(matches!(error, KmsError::NotFound(_)), "{kek}: {error:?}");
    }
    assert_eq!(bao.api.list("transit/keys").await, ["there"]);
}

#[tokio::test]
async fn throttling_sealing_and_a_missing_engine_are_told_apart() {
    let bao = Bao::start().await;
    let kms = bao.open(bao.approle(json!({})).await);
    let kek = kms.create_kek("k").await.unwrap();
    let wrapped = kms.wrap(&kek, "", b"c", &ik(1)).await.unwrap();
    let unwrap = async || kms.unwrap(&kek, "", b"c", &wrapped).await.map(drop);

    let quota = json!({ "path": "transit/", "rate": 1, "interval": "60s" });
    bao.api.post("sys/quotas/rate-limit/little", quota).await;
    let _ = unwrap().await;
    assert!(matches!(unwrap().await, Err(KmsError::Throttled(None, _))));
    kms.ready().await.unwrap();
    bao.api.ask("DELETE", "sys/quotas/rate-limit/little", Value::Null).await;
    unwrap().await.unwrap();

    bao.api.ask("DELETE", "sys/mounts/transit", Value::Null).await;
    assert!(matches!(unwrap().await, Err(KmsError::NotFound(_))));

    bao.api.ask("PUT", "sys/seal", Value::Null).await;
    for error in [unwrap().await.unwrap_err(), kms.ready().await.unwrap_err()] {
        assert!(matches!(error, KmsError::Unavailable(Cause::Sealed, _)), "{error:?}");
    }
}
