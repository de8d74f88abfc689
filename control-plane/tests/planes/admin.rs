//! The admin API, as curl sees it.

use std::time::Duration;

use sealgate_control_plane::registry::records::Tenants;
use sealgate_kms::Kms as _;

use crate::support::{admin, admin_with, start};

#[actix_rt::test]
async fn without_the_token_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    for token in ["", "wrong", &world.token[1..]] {
        for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/nodes"), ("GET", "/v1/recovery-card")] {
            let (status, body) = admin_with(&world, method, path, "", token).await;
            assert_eq!(status, 401, "{path}");
            assert!(body.contains("\"status\":401"), "problem+json: {body}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(admin_with(&world, "GET", path, "", "").await.0, 200, "{path}");
    }
    world.handle.stop().await;
}

#[actix_rt::test]
async fn tenants_credentials_nodes_and_buckets_are_made_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (status, tenant) = admin(&world, "POST", "/v1/tenants", r#"{"name":"acme"}"#).await;
    assert_eq!((status, &tenant["unproved_life"]), (201, &serde_json::json!(86_400)));
    assert_eq!(admin(&world, "POST", "/v1/tenants", r#"{"name":"acme"}"#).await.0, 409);
    assert_eq!(admin(&world, "POST", "/v1/tenants", r#"{"name":"a b"}"#).await.0, 400);
    assert_eq!(admin(&world, "POST", "/v1/tenants", r#"{"name":"b","x":1}"#).await.0, 400, "unknown fields");
    let (status, told) = admin(&world, "POST", "/v1/tenants", r#"{"name":"b","kms":"vault-eu"}"#).await;
    assert!(status == 400 && told.to_string().contains("there are: local"), "{status} {told}");
    let body = r#"{"name":"b","kms":"local","kek":"local/x"}"#;
    assert_eq!(admin(&world, "POST", "/v1/tenants", body).await.0, 400, "a reference names its provider");
    let body = r#"{"name":"b","id":"00112233445566778899aabbccddeeff"}"#;
    assert_eq!(admin(&world, "POST", "/v1/tenants", body).await.0, 400, "of old, without its KEK");
    for (kek, wanted) in
        [("local/missing", 409), ("local/system", 400), (tenant["kek"].as_str().unwrap(), 409)]
    {
        let (status, told) =
            admin(&world, "POST", "/v1/tenants", &format!(r#"{{"name":"b","kek":"{kek}"}}"#)).await;
        assert_eq!(status, wanted, "{kek}: {told}");
    }
    let kek = world.kms.create_kek("made-before").await.unwrap();
    let (status, other) =
        admin(&world, "POST", "/v1/tenants", &format!(r#"{{"name":"b","kek":"{kek}"}}"#)).await;
    assert_eq!((status, other["kek"].as_str()), (201, Some("local/made-before")));
    let (status, other) = admin(&world, "POST", "/v1/tenants", r#"{"name":"c","kms":"local"}"#).await;
    assert!(status == 201 && other["kek"].as_str().unwrap().starts_with("local/tenant-"), "{other}");

    let body = r#"{"tenant":"acme","label":"app","grants":[{"bucket":"*","read":true,"write":true}]}"#;
    let (status, credential) = admin(&world, "POST", "/v1/credentials", body).await;
    let secret = credential["secret_access_key"].as_str().unwrap().to_owned();
    assert_eq!((status, secret.len()), (201, 40));
    let id = credential["access_key_id"].as_str().unwrap();
    assert!(id.len() == 20 && id.starts_with("SG"));
    let (_, list) = admin(&world, "GET", "/v1/credentials", "").await;
    assert_eq!(list[0]["access_key_id"], id);
    let list = list.to_string();
    assert!(!list.contains("secret") && !list.contains("sealed"), "shown once only: {list}");

    let (status, node) = admin(&world, "POST", "/v1/nodes", r#"{"name":"n1","tenants":["acme"]}"#).await;
    assert_eq!(status, 201);
    assert!(node["certificate"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE"));
    assert!(node["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY"));
    assert_eq!(admin(&world, "POST", "/v1/nodes", r#"{"name":"n2","tenants":["nobody"]}"#).await.0, 404);
    assert_eq!(admin(&world, "POST", "/v1/nodes", r#"{"name":"n2","tenants":[]}"#).await.0, 400);

    // A bucket becomes active when a node says so; here the registry stands in for the node.
    let begun =
        world.handle.registry().begin_create(tenant["id"].as_str().unwrap().parse().unwrap(), "data", "");
    world.handle.registry().commit_create(begun.unwrap().id).unwrap();
    let rules = r#"{"rules":[{"prefix":"public/","plain":true}]}"#;
    assert_eq!(admin(&world, "PUT", "/v1/buckets/data/rules", rules).await.0, 200);
    let (_, buckets) = admin(&world, "GET", "/v1/buckets", "").await;
    assert_eq!(
        (&buckets[0]["state"], &buckets[0]["rules"][0]["prefix"]),
        (&"active".into(), &"public/".into())
    );
    assert_eq!(admin(&world, "PUT", "/v1/buckets/none/rules", rules).await.0, 404);
    assert_eq!(admin(&world, "DELETE", "/v1/buckets/data", "").await.0, 202);
    let (_, status) = admin(&world, "GET", "/v1/status", "").await;
    assert_eq!(status["intents"][0], serde_json::json!({ "name": "data", "state": "deleting" }));
    assert_eq!(admin(&world, "DELETE", "/v1/buckets/data?abort=true", "").await.0, 202);
    let (_, status) = admin(&world, "GET", "/v1/status", "").await;
    assert_eq!(status["intents"][0], serde_json::json!({ "name": "data", "state": "restoring" }));
    // As a node does, once the key records are back.
    world.handle.registry().abort_delete(world.handle.registry().state().buckets["data"].id).unwrap();
    let (_, status) = admin(&world, "GET", "/v1/status", "").await;
    assert_eq!(status["intents"], serde_json::json!([]));

    let (_, card) = admin(&world, "GET", "/v1/recovery-card", "").await;
    let card: sealgate_envelope::RecoveryCard = card.as_str().unwrap().parse().unwrap();
    assert_eq!((card.buckets()[0].name.as_str(), card.keks().len()), ("data", 3), "one a tenant");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn the_recovery_card_lies_in_the_data_directory_and_comes_back_with_each_day() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let file = dir.path().join("recovery-card");
    let until_written = async || {
        let card = world.handle.recovery_card().unwrap();
        let wait = async {
            while std::fs::read_to_string(&file).ok().as_deref() != Some(card.as_str()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the card was not written");
    };
    until_written().await;
    for name in ["first", "second"] {
        world.tenant_with_bucket(name, name).await;
        assert!(world.handle.recovery_card().unwrap().contains(name));
        until_written().await;
    }
    std::fs::remove_file(&file).unwrap();
    world.clock.advance(86_400);
    until_written().await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_recovery_card_that_cannot_be_written_is_seen_and_written_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let file = dir.path().join("recovery-card");
    let until = async |value: &str| {
        let wait = async {
            loop {
                let (_, text) = admin_with(&world, "GET", "/metrics", "", "").await;
                let mut lines = text.lines();
                let line = lines.find(|line| line.starts_with("sealgate_control_recovery_card_written"));
                if line.is_some_and(|line| line.ends_with(value)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("it is never{value}"));
    };
    until(" 1").await;
    // Where it would be written first is something else. Tests may run as root, whom no permission stops.
    let in_its_way = dir.path().join("recovery-card.new");
    std::fs::create_dir(&in_its_way).unwrap();
    world.tenant_with_bucket("first", "first").await;
    until(" 0").await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("first"));
    std::fs::remove_dir(&in_its_way).unwrap();
    world.tenant_with_bucket("second", "second").await;
    until(" 1").await;
    assert!(std::fs::read_to_string(&file).unwrap().contains("first"));
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_node_that_is_given_certificate_after_certificate_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let mut serials = Vec::new();
    for _ in 0..10 {
        serials.push(world.handle.issue_node("n1", Tenants::All).await.unwrap().serial);
    }
    let (_, nodes) = admin(&world, "GET", "/v1/nodes", "").await;
    let kept = nodes[0]["issued"].as_array().unwrap().iter();
    let kept: Vec<_> = kept.map(|issued| issued["serial"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept, serials[2..], "the record grows without end");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_bucket_is_answered_when_a_node_has_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.handle.ensure_tenant("acme").await.unwrap();
    let mut changes = world.handle.registry().changes();
    let create = admin(&world, "POST", "/v1/buckets", r#"{"name":"data","tenant":"acme"}"#);
    let node = async {
        changes.wait_for(|_| world.handle.registry().state().buckets.contains_key("data")).await.unwrap();
        let id = world.handle.registry().state().buckets["data"].id;
        world.handle.registry().commit_create(id).unwrap();
    };
    let ((status, bucket), ()) = futures_util::join!(create, node);
    assert_eq!((status, &bucket["state"]), (201, &serde_json::json!("active")));

    // Its card comes with it, and can be asked for later: the lines of this bucket, and no other's.
    world.tenant_with_bucket("other", "other").await;
    let card: sealgate_envelope::RecoveryCard = bucket["recovery_card"].as_str().unwrap().parse().unwrap();
    let named: Vec<_> = card.buckets().iter().map(|entry| (entry.bucket.to_string(), &*entry.name)).collect();
    assert_eq!(named, [(bucket["id"].as_str().unwrap().to_owned(), "data")]);
    assert_eq!(card.keks().len(), 1);
    let (status, later) = admin(&world, "GET", "/v1/buckets/data/recovery-card", "").await;
    assert_eq!(
        (status, &later["recovery_card"], &later["id"]),
        (200, &bucket["recovery_card"], &bucket["id"])
    );
    assert_eq!(admin(&world, "GET", "/v1/buckets/none/recovery-card", "").await.0, 404);
    assert_eq!(admin_with(&world, "GET", "/v1/buckets/data/recovery-card", "", "").await.0, 401);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn every_declared_metric_is_there_once_it_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    node.placed_key(bucket).await;
    let mut stream = node.subscribe().await;
    let received = stream.snapshot().await;
    stream.ack(&received).await;
    crate::support::until_status(&world, |status| !status["nodes"]["n1"]["acked"].is_null()).await;
    let (_, text) = admin_with(&world, "GET", "/metrics", "", "").await;
    for name in [
        "sealgate_control_key_fetches_total",
        "sealgate_control_kms_calls_total",
        "sealgate_control_pushes_total",
        "sealgate_control_answers_total",
        "sealgate_control_connected_nodes",
        "sealgate_control_store_writable",
        "sealgate_control_recovery_card_written",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert!(text.contains("operation=\"confirm\""), "labels are the enum's names: {text}");
    world.handle.stop().await;
}
