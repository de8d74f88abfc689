//! A control plane over a KMS that fails: its health, as operators and nodes see it.

use std::sync::{Arc, atomic::Ordering};

use sealgate_control_plane::registry::records::Tenants;
use sealgate_kms::{Cause, Kms, KmsError, Resilient, Settings, Silent};

use crate::support::{World, admin, start, start_over};

/// Asks until what is shown is as it should be; the clock goes on, so that examinations come.
async fn until_shown(world: &World, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let wait = async {
        loop {
            let (status, shown) = admin(world, "GET", "/v1/kms", "").await;
            assert_eq!(status, 200);
            if holds(&shown["providers"][0]) {
                return shown["providers"][0].clone();
            }
            world.clock.advance(5);
            // What the clock has called gets its turn.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it was never shown")
}

async fn world(dir: &std::path::Path) -> World {
    start_over(dir, |kms| {
        let addresses = vec![kms as Arc<dyn Kms>];
        Arc::new(Resilient::new(
            "local",
            addresses,
            &["one".to_owned()],
            Settings::default(),
            Arc::new(Silent),
        ))
    })
    .await
}

#[actix_rt::test]
async fn a_provider_that_fails_is_shown_counted_and_pushed_to_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let shown = until_shown(&world, |it| it["examined"]["at"].is_u64()).await;
    assert_eq!((&shown["provider"], &shown["healthy"]), (&"local".into(), &true.into()));
    assert_eq!(
        (&shown["examined"]["by"], &shown["examined"]["error"]),
        (&"wrap and unwrap".into(), &().into())
    );
    assert_eq!((&shown["addresses"][0]["address"], &shown["keys_in_memory"]), (&"one".into(), &0.into()));

    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    node.placed_key(bucket).await;
    let mut subscription = node.subscribe().await;
    assert_eq!(subscription.kms().await, [("local".to_owned(), false)], "told at the stream's beginning");

    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Sealed, "as the test wants it".to_owned())));
    let shown = until_shown(&world, |it| it["healthy"] == false).await;
    assert_eq!(shown["examined"]["error"], "the KMS is unavailable: as the test wants it");
    assert!(shown["examined"]["last_success"].is_u64());
    assert_eq!((&shown["keys_in_memory"], &shown["keks_unproved"]), (&1.into(), &serde_json::json!([])));
    while subscription.kms().await != [("local".to_owned(), true)] {}
    let (_, metrics) = admin(&world, "GET", "/metrics", "").await;
    let metrics = metrics.as_str().unwrap();
    let line =
        |name: &str| metrics.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("sealgate_control_kms_healthy{").ends_with(" 0"), "{metrics}");
    assert!(metrics.contains("sealgate_control_kms_attempts_total"), "{metrics}");

    world.kms.set_failure(None);
    until_shown(&world, |it| it["healthy"] == true).await;
    while subscription.kms().await != [("local".to_owned(), false)] {}
    drop(subscription);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn what_a_node_says_of_its_keys_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let node = world.node("n1", Tenants::All).await;
    let mut subscription = node.subscribe().await;
    subscription.kms().await;
    subscription.key_report(3, 14).await;
    let status =
        crate::support::until_status(&world, |status| !status["nodes"]["n1"]["keys"].is_null()).await;
    assert_eq!(status["nodes"]["n1"]["keys"], serde_json::json!({"held": 3, "failed": 14}));
    let (_, shown) = admin(&world, "GET", "/v1/kms", "").await;
    assert_eq!(shown["nodes"], serde_json::json!({"n1": {"held": 3, "failed": 14}}));
    drop(subscription);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn an_open_breaker_answers_nodes_with_the_time_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Connect, "as the test wants it".to_owned())));
    let refused = loop {
        let status = node.active(bucket).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        if let Some(after) = status.metadata().get(sealgate_proto::RETRY_AFTER) {
            break after.to_str().unwrap().parse::<u32>().unwrap();
        }
    };
    assert!((1..=6).contains(&refused), "{refused}");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_kms_that_is_ready_and_does_not_work_is_not_asked_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path()).await;
    world.kms.ready_anyway.store(true, Ordering::SeqCst);
    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Connect, "as the test wants it".to_owned())));
    let open = |breakers: &serde_json::Value| {
        breakers.as_array().is_some_and(|all| all.iter().any(|breaker| breaker["state"] != "closed"))
    };
    until_shown(&world, |it| open(&it["addresses"][0]["breakers"])).await;
    // The clock stands: no examination is due, though each one that fails changes a breaker.
    let asked = world.kms.calls.load(Ordering::SeqCst);
    for _ in 0..100 {
        admin(&world, "GET", "/v1/kms", "").await;
    }
    let more = world.kms.calls.load(Ordering::SeqCst) - asked;
    assert!(more <= 10, "{more} calls while no examination was due");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_start_waits_for_a_kms_that_fails_for_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).await.handle.stop().await;
    let world = start_over(dir.path(), |kms| {
        kms.set_failure(Some(KmsError::Unavailable(Cause::Server, "as the test wants it".to_owned())));
        let back = Arc::clone(&kms);
        tokio::spawn(async move {
            while back.calls.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            back.set_failure(None);
        });
        kms as Arc<dyn Kms>
    })
    .await;
    assert!(world.kms.calls.load(Ordering::SeqCst) > 2, "it was asked again");
    world.handle.stop().await;
}
