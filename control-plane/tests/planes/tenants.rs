//! What is changed about a tenant after it was made, and how long nodes that nobody hears of may hold its keys.

use std::sync::atomic::Ordering;

use sealgate_control_plane::Clock as _;
use sealgate_control_plane::registry::records::Tenants;
use sealgate_kms::{Cause, KmsError};
use serde_json::json;
use tonic::Code;

use crate::{
    life::ask,
    support::{now, start, start_at, until_status},
};

const HOUR: u64 = 3_600;

fn away() -> Option<KmsError> {
    Some(KmsError::Unavailable(Cause::Server, "test".to_owned()))
}

#[actix_rt::test]
async fn a_node_that_did_not_hear_of_a_shorter_life_is_counted_with_the_longer_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let mut subscription = node.subscribe().await;
    let before = subscription.snapshot().await;
    subscription.ack(&before).await;
    let ik = hex::encode(&node.placed_key(bucket).await.ik_id);
    drop(subscription);
    let path = format!("/v1/buckets/bucket/keys/{ik}/compromised");
    let certain_after = async || {
        let (status, told) = ask(&world, "POST", &path, json!({})).await;
        assert_eq!((status, &told["pending"]), (200, &json!(["n1"])), "{told}");
        told["certain_at"].as_u64().unwrap() - world.clock.now()
    };
    for life in [3_600, 0] {
        let changed = ask(&world, "PATCH", "/v1/tenants/t", json!({ "unproved_life": life })).await;
        assert_eq!(changed.1["pending"], json!(["n1"]));
        assert_eq!(certain_after().await, HOUR + 86_400, "it may go by a day");
    }
    world.clock.advance(HOUR + 86_400);
    assert_eq!(certain_after().await, HOUR, "nobody has anything by it any more");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_shorter_unproved_life_ends_what_lives_on_the_longer_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (_, _, theirs) = world.tenant_with_bucket("other", "theirs").await;
    let node = world.node("n1", Tenants::All).await;
    let mut subscription = node.subscribe().await;
    let before = subscription.snapshot().await;
    subscription.ack(&before).await;
    let (key, other) = (node.placed_key(bucket).await, node.placed_key(theirs).await);
    world.kms.set_failure(away());
    world.clock.advance(3_000);
    until_status(&world, |status| status["keks_unproved"] == 2).await;
    world.clock.advance(HOUR);
    node.get(bucket, &key.ik_id).await.unwrap();
    // Its stream would have to acknowledge what follows.
    drop(subscription);
    let (status, changed) = ask(&world, "PATCH", "/v1/tenants/t", json!({ "unproved_life": 0 })).await;
    assert_eq!((status, &changed["unproved_life"], &changed["pending"]), (200, &json!(0), &json!(["n1"])));
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap_err().code(), Code::Unavailable, "the hour is over");
    until_status(&world, |status| status["keys_in_memory"] == 1).await;
    assert_eq!(node.get(theirs, &other.ik_id).await.unwrap().ik, other.ik, "another tenant's goes on");
    let keys = |snapshot: &sealgate_proto::v1::Snapshot| {
        let mut keys: Vec<_> = snapshot.buckets.iter().map(|it| (it.name.clone(), it.keys)).collect();
        keys.sort();
        keys
    };
    let after = node.subscribe().await.snapshot().await;
    let named = |own: u64| vec![("bucket".to_owned(), own), ("theirs".to_owned(), 0)];
    assert_eq!(
        (keys(&before.snapshot), keys(&after.snapshot)),
        (named(0), named(1)),
        "what nodes have is void"
    );
    // A longer one voids nothing, and holds for keys that are there.
    world.kms.set_failure(None);
    node.get(bucket, &key.ik_id).await.unwrap();
    assert_eq!(ask(&world, "PATCH", "/v1/tenants/t", json!({ "unproved_life": 7_200 })).await.0, 200);
    assert_eq!(keys(&node.subscribe().await.snapshot().await.snapshot), named(1));
    world.kms.set_failure(away());
    world.clock.advance(3_000);
    until_status(&world, |status| status["keks_unproved"] == 2).await;
    world.clock.advance(HOUR + 6_000 - 3_000);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;

    let world = start_at(dir.path(), now() + 30_000).await;
    let (_, shown) = ask(&world, "GET", "/v1/tenants/t", json!({})).await;
    assert_eq!(shown["unproved_life"], 7_200, "it lasts");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_tenant_gets_another_name_and_keeps_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    world.tenant_with_bucket("other", "theirs").await;
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    for (body, status) in [
        (json!({}), 400),
        (json!({ "name": "other" }), 409),
        (json!({ "name": "a b" }), 400),
        (json!({ "unproved_life": 604_801 }), 400),
        (json!({ "kek": "local/x" }), 400),
    ] {
        assert_eq!(ask(&world, "PATCH", "/v1/tenants/t", body.clone()).await.0, status, "{body}");
    }
    assert_eq!(ask(&world, "PATCH", "/v1/tenants/nobody", json!({ "name": "x" })).await.0, 404);
    let (status, changed) = ask(&world, "PATCH", "/v1/tenants/t", json!({ "name": "new" })).await;
    assert_eq!((status, &changed["name"], &changed["unproved_life"]), (200, &json!("new"), &json!(86_400)));
    assert_eq!(ask(&world, "GET", "/v1/tenants/t", json!({})).await.0, 404);
    assert_eq!(ask(&world, "GET", "/v1/tenants/new/kek", json!({})).await.0, 200);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;
}

/// The tenant's default is a day without a proof, after the hour.
const LIFE: u64 = HOUR + 86_400;

#[actix_rt::test]
async fn a_revoked_node_may_hold_keys_for_as_long_as_any_that_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (others, _, _) = world.tenant_with_bucket("other", "theirs").await;
    let key = world.node("gone", Tenants::These(vec![id])).await.placed_key(bucket).await;
    world.node("elsewhere", Tenants::These(vec![others])).await;
    for node in ["gone", "elsewhere"] {
        assert_eq!(ask(&world, "DELETE", &format!("/v1/nodes/{node}"), json!({})).await.0, 200);
    }
    world.clock.advance(100);
    let path = format!("/v1/buckets/bucket/keys/{}/compromised", hex::encode(&key.ik_id));
    let (status, told) = ask(&world, "POST", &path, json!({})).await;
    assert_eq!((status, &told["pending"], &told["revoked"]), (200, &json!([]), &json!(["gone"])), "{told}");
    assert_eq!(told["certain_at"].as_u64(), Some(now() + LIFE), "from its revocation on it got none");
    // One of the same name is another process.
    let replacement = world.node("gone", Tenants::These(vec![id])).await;
    let mut subscription = replacement.subscribe().await;
    let snapshot = subscription.snapshot().await;
    subscription.ack(&snapshot).await;
    let acks = tokio::spawn(async move {
        loop {
            let snapshot = subscription.snapshot().await;
            subscription.ack(&snapshot).await;
        }
    });
    let (status, told) = ask(&world, "POST", "/v1/tenants/t/shred", json!({ "confirm": "t" })).await;
    assert_eq!((status, &told["pending"]), (202, &json!([])), "{told}");
    assert_eq!(told["caches_empty_at"].as_u64(), Some(now() + LIFE), "{told}");
    acks.abort();
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_node_that_was_revoked_long_ago_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let key = world.node("gone", Tenants::All).await.placed_key(bucket).await;
    assert_eq!(ask(&world, "DELETE", "/v1/nodes/gone", json!({})).await.0, 200);
    world.clock.advance(LIFE);
    // Once more says nothing new.
    assert_eq!(ask(&world, "DELETE", "/v1/nodes/gone", json!({})).await.0, 200);
    let path = format!("/v1/buckets/bucket/keys/{}/compromised", hex::encode(&key.ik_id));
    let (_, told) = ask(&world, "POST", &path, json!({})).await;
    assert_eq!((&told["revoked"], told["certain_at"].as_u64()), (&json!([]), Some(now() + LIFE)), "{told}");
    world.handle.stop().await;
}

/// Whoever rotates the KEKs of all tenants at once takes no more of the KMS than for one: readers find room.
#[actix_rt::test]
async fn work_on_many_tenants_asks_the_kms_for_sixteen_records_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let node = world.node("n1", Tenants::All).await;
    let mut tenants = Vec::new();
    for number in 0..20 {
        let (id, _, bucket) =
            world.tenant_with_bucket(&format!("t{number}"), &format!("bucket-{number}")).await;
        node.placed_key(bucket).await;
        tenants.push(id);
    }
    world.kms.most_unwrapping.store(0, Ordering::SeqCst);
    let before = world.kms.unwraps.load(Ordering::SeqCst);
    let gate = world.kms.gate.acquire_many(1000).await.unwrap();
    for id in &tenants {
        world.handle.registry().begin_rewrap(*id, &format!("local/tenant-{id}"), 1_000).unwrap();
    }
    // Until all have had their turn: the first sixteen wait for an answer as long as a call may take.
    while world.kms.unwraps.load(Ordering::SeqCst) < before + 20 {
        tokio::task::yield_now().await;
    }
    drop(gate);
    for number in 0..20 {
        let path = format!("/v1/tenants/t{number}/kek");
        while ask(&world, "GET", &path, json!({})).await.1["work"]["rewrapped"] != 1 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(world.kms.most_unwrapping.load(Ordering::SeqCst), 16);
    world.handle.stop().await;
}
