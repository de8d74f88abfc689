//! The life of KEKs and IKs: rotation, moving, states, cutting off, shredding; and what a kill between two steps leaves.

use std::{sync::atomic::Ordering, time::Duration};

use sealgate_control_plane::registry::records::Tenants;
use sealgate_envelope::{BucketId, IkRecord};
use sealgate_kms::{Cause, Kms as _, KmsError};
use sealgate_proto::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Answer, Given, Node, World, admin, now, start, start_at};

pub async fn ask(world: &World, method: &str, path: &str, body: Value) -> (u16, Value) {
    admin(world, method, path, &body.to_string()).await
}

pub async fn kek(world: &World) -> Value {
    let (status, report) = ask(world, "GET", "/v1/tenants/t/kek", json!({})).await;
    assert_eq!(status, 200, "{report}");
    report
}

/// Waits until the report says this.
pub async fn until(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let report = kek(world).await;
            if holds(&report) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(report) => report,
        Err(_) => panic!("waited in vain for {what}: {}", kek(world).await),
    }
}

pub fn version<'a>(report: &'a Value, kek: &str, version: &str) -> &'a Value {
    let versions = report["versions"].as_array().unwrap();
    let found = versions.iter().find(|found| found["kek"] == kek && found["version"] == version);
    found.unwrap_or_else(|| panic!("no {kek} {version} in {report}"))
}

pub async fn records(node: &Node, bucket: BucketId, wish: u64) -> v1::RecordsResponse {
    let request = v1::RecordsRequest { bucket_id: bucket.as_bytes().to_vec(), wish };
    node.keys().records(request).await.unwrap().into_inner()
}

/// What a node does: takes what it is given, and says that all of it lies in the bucket and nothing else.
pub async fn look(node: &Node, bucket: BucketId, left: u64) -> v1::RecordsResponse {
    let given = records(node, bucket, 0).await;
    let report = v1::CheckedRequest {
        bucket_id: bucket.as_bytes().to_vec(),
        epoch: given.epoch,
        revision: given.revision,
        wish: u64::MAX,
        left,
    };
    node.keys().checked(report).await.unwrap();
    given
}

/// A key that the bucket did not have before.
async fn another_key(world: &World, node: &Node, bucket: BucketId) -> Given {
    assert_eq!(ask(world, "POST", "/v1/buckets/bucket/key/rotate", json!({})).await.0, 200);
    node.placed_key(bucket).await
}

fn context(record: &[u8]) -> (String, String) {
    let context = IkRecord::parse(record).unwrap().context;
    (context.kek, context.kek_version)
}

#[actix_rt::test]
async fn a_rotation_wraps_every_key_anew_and_tells_when_the_old_version_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let first = node.placed_key(bucket).await;
    let second = another_key(&world, &node, bucket).await;
    let own = format!("local/tenant-{id}");
    let before = kek(&world).await;
    assert_eq!(version(&before, &own, "1")["records"], 2);
    assert_eq!(
        (version(&before, &own, "1")["destroyable"].clone(), &before["work"]),
        (json!(false), &Value::Null)
    );

    let (status, begun) = ask(&world, "POST", "/v1/tenants/t/kek/rotate", json!({ "rate": 1000 })).await;
    assert_eq!((status, &begun["generation"]), (202, &json!(1)), "{begun}");
    let placing = until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    assert_eq!(placing["work"]["rewrapped"], 2);
    assert_eq!(version(&placing, &own, "2")["records"], 2);
    let old = version(&placing, &own, "1");
    assert_eq!(
        (&old["records"], &old["copies_unseen"], &old["destroyable"]),
        (&json!(0), &json!(2), &json!(false))
    );
    assert_eq!(placing["buckets_unseen"], json!(["bucket"]));
    let wish = || world.handle.registry().state().buckets["bucket"].records;
    until(&world, "nodes to be told to look", |_| wish() > 0).await;
    let wished = wish();

    // Both keys are the same as ever, also for a new write.
    assert_eq!(node.get(bucket, &first.ik_id).await.unwrap().ik, first.ik);
    assert_eq!(node.placed_key(bucket).await.ik, second.ik);
    let given = records(&node, bucket, wished).await;
    assert!(!given.elsewhere);
    assert!(given.records.iter().all(|record| context(record) == (own.clone(), "2".to_owned())));
    assert_eq!(given.replaced.len(), 2, "the old names: {:?}", given.replaced);
    let other = world.node("n2", Tenants::All).await;
    assert!(records(&other, bucket, wished).await.elsewhere, "one looks");
    // What the storage does not let go keeps the version.
    look(&node, bucket, 1).await;
    let locked = kek(&world).await;
    assert_eq!(
        (&locked["copies_left"]["bucket"], &version(&locked, &own, "1")["destroyable"]),
        (&json!(1), &json!(false))
    );
    look(&node, bucket, 0).await;
    assert!(records(&other, bucket, wished).await.fulfilled);
    let done = until(&world, "the end", |report| report["work"]["state"] == "done").await;
    let old = version(&done, &own, "1");
    assert_eq!((&old["copies_unseen"], &old["destroyable"]), (&json!(0), &json!(true)));
    assert_eq!(version(&done, &own, "2")["destroyable"], false);
    assert_eq!(world.handle.recovery_card().unwrap().matches(&own).count(), 1);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn the_work_goes_on_where_a_stopped_control_plane_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let (bucket, own, keys);
    {
        let world = start(dir.path()).await;
        let (id, _, first) = world.tenant_with_bucket("t", "bucket").await;
        (bucket, own) = (first, format!("local/tenant-{id}"));
        let node = world.node("n1", Tenants::All).await;
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(another_key(&world, &node, bucket).await);
        }
        keys = made;
        // The KMS goes away after the rotation, before anything could be wrapped.
        assert_eq!(ask(&world, "POST", "/v1/tenants/t/kek/rotate", json!({ "rate": 1 })).await.0, 202);
        until(&world, "the first key", |report| report["work"]["rewrapped"].as_u64() >= Some(1)).await;
        world.kms.set_failure(Some(KmsError::Unavailable(Cause::Server, "test".to_owned())));
        let waiting = until(&world, "the outage", |report| report["work"]["state"] == "trouble").await;
        assert!(waiting["work"]["trouble"].as_str().unwrap().contains("unavailable"), "{waiting}");
        assert!(waiting["work"]["rewrapped"].as_u64() < Some(5), "{waiting}");
        world.handle.stop().await;
    }
    let world = start_at(dir.path(), now() + 5).await;
    let node = world.node("n2", Tenants::All).await;
    let placing = until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    assert_eq!((&placing["outdated"], &placing["work"]["rewrapped"]), (&json!(0), &json!(5)));
    assert_eq!(version(&placing, &own, "2")["records"], 5);
    for key in keys {
        assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    }
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_rotation_during_the_work_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    for _ in 0..3 {
        another_key(&world, &node, bucket).await;
    }
    for _ in 0..3 {
        assert_eq!(ask(&world, "POST", "/v1/tenants/t/kek/rotate", json!({ "rate": 50 })).await.0, 202);
    }
    let placing = until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    assert_eq!((&placing["generation"], &placing["work"]["generation"]), (&json!(3), &json!(3)));
    assert_eq!(version(&placing, &format!("local/tenant-{id}"), "4")["records"], 3);
    look(&node, bucket, 0).await;
    until(&world, "the end", |report| report["work"]["state"] == "done").await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_key_that_is_made_while_the_kek_is_rotated_is_never_under_the_old_version() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    // Wrapped before the rotation, to be committed after it: made again at once.
    world.kms.hold_wraps(true);
    let (asking, before) = (node.clone(), world.kms.wraps.load(Ordering::SeqCst));
    let made = tokio::spawn(async move { asking.active(bucket).await });
    while world.kms.wraps.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    world.kms.rotate(&format!("local/tenant-{id}")).await.unwrap();
    world.handle.registry().begin_rewrap(id, &format!("local/tenant-{id}"), 20).unwrap();
    world.kms.hold_wraps(false);
    let Answer::Place(place) = made.await.unwrap().unwrap() else { panic!("a key that nobody placed") };
    assert_eq!(context(&place.record).1, "2");
    assert_eq!(world.kms.wraps.load(Ordering::SeqCst), before + 2);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_tenant_moves_to_another_kek_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (_, _, theirs) = world.tenant_with_bucket("other", "theirs").await;
    let node = world.node("n1", Tenants::All).await;
    node.placed_key(theirs).await;
    let old = node.placed_key(bucket).await;
    let from = format!("local/tenant-{id}");

    let others = world.handle.registry().state().tenant_named("other").unwrap().kek.clone();
    for (body, status, saying) in [
        (json!({ "kek": others }), 409, "the tenant \"other\"'s"),
        (json!({ "kek": "local/system" }), 400, "system KEK"),
        (json!({ "kek": "local/nowhere" }), 403, "nowhere"),
        (json!({}), 400, "either"),
        (json!({ "kek": from, "kms": "local" }), 400, "either"),
        (json!({ "kms": "local", "rate": 0 }), 400, "rate"),
    ] {
        let (found, problem) = ask(&world, "PUT", "/v1/tenants/t/kek", body.clone()).await;
        assert!(
            found == status && problem["detail"].as_str().unwrap().contains(saying),
            "{body}: {found} {problem}"
        );
    }
    let (status, moving) =
        ask(&world, "PUT", "/v1/tenants/t/kek", json!({ "kms": "local", "rate": 1000 })).await;
    assert_eq!(status, 202, "{moving}");
    let to = moving["kek"].as_str().unwrap().to_owned();
    assert_ne!(to, from);
    let card = world.handle.recovery_card().unwrap();
    assert!(card.contains(&from) && card.contains(&to), "{card}");
    until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    assert_eq!(node.get(bucket, &old.ik_id).await.unwrap().ik, old.ik);
    assert_eq!(ask(&world, "POST", "/v1/buckets/bucket/key/rotate", json!({})).await.0, 200);
    let Answer::Place(place) = node.active(bucket).await.unwrap() else { panic!("a key that nobody placed") };
    assert_eq!(context(&place.record).0, to);
    node.confirm(bucket, &place).await.unwrap();
    let (status, problem) = ask(&world, "POST", "/v1/tenants/t/kek/destroy", json!({ "kek": from })).await;
    assert_eq!(status, 409, "copies were not seen: {problem}");
    assert_eq!(ask(&world, "POST", "/v1/tenants/t/kek/destroy", json!({ "kek": to })).await.0, 409);
    look(&node, bucket, 0).await;
    let done = until(&world, "the end", |report| report["work"]["state"] == "done").await;
    assert_eq!(version(&done, &from, "1")["destroyable"], true);
    let card = world.handle.recovery_card().unwrap();
    assert!(!card.contains(&format!("{from}\n")) && card.contains(&to), "{card}");
    let (status, gone) = ask(&world, "POST", "/v1/tenants/t/kek/destroy", json!({ "kek": from })).await;
    assert_eq!(status, 200, "{gone}");
    assert!(matches!(world.kms.current_version(&from).await, Err(KmsError::NotFound(_))));
    assert_eq!(node.get(bucket, &old.ik_id).await.unwrap().ik, old.ik);
    assert_eq!(ask(&world, "PUT", "/v1/tenants/t/kek", json!({ "kek": from })).await.0, 403, "it is gone");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn lent_records_and_buckets_that_are_gone_are_wrapped_anew_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, first) = world.tenant_with_bucket("t", "first").await;
    let begun = world.handle.registry().begin_create(id, "second", "").unwrap();
    world.handle.registry().commit_create(begun.id).unwrap();
    let second = begun.id;
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(first).await;
    let request = v1::LendRequest {
        bucket_id: first.as_bytes().to_vec(),
        ik_id: key.ik_id.clone(),
        target_id: second.as_bytes().to_vec(),
    };
    node.keys().lend(request).await.unwrap();
    world.handle.registry().begin_delete(first).unwrap();
    world.handle.registry().commit_delete(first).unwrap();
    assert_eq!(ask(&world, "POST", "/v1/tenants/t/kek/rotate", json!({})).await.0, 202);
    let placing = until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    assert_eq!(placing["buckets_unseen"], json!(["second"]));
    let given = look(&node, second, 0).await;
    assert_eq!((context(&given.records[0]).1.as_str(), given.replaced.len()), ("2", 1));
    until(&world, "the end", |report| report["work"]["state"] == "done").await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_key_is_rotated_retired_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let mut subscription = node.subscribe().await;
    let snapshot = subscription.snapshot().await;
    subscription.ack(&snapshot).await;
    let (told, mut pushed) = tokio::sync::mpsc::channel(64);
    let acks = tokio::spawn(async move {
        loop {
            let snapshot = subscription.snapshot().await;
            subscription.ack(&snapshot).await;
            told.try_send(snapshot.snapshot.buckets[0].keys).unwrap();
        }
    });
    let first = node.placed_key(bucket).await;
    let (status, rotated) = ask(&world, "POST", "/v1/buckets/bucket/key/rotate", json!({})).await;
    assert_eq!((status, &rotated["pending"]), (200, &json!([])), "{rotated}");
    let second = node.placed_key(bucket).await;
    assert_ne!(first.ik_id, second.ik_id);
    let (_, keys) = ask(&world, "GET", "/v1/buckets/bucket/keys", json!({})).await;
    let state = |ik: &[u8]| {
        let hex = hex::encode(ik);
        keys.as_array().unwrap().iter().find(|key| key["ik"] == hex).unwrap()["state"].clone()
    };
    assert_eq!((state(&first.ik_id), state(&second.ik_id)), (json!("decrypt-only"), json!("active")));

    let path = |ik: &[u8], what: &str| format!("/v1/buckets/bucket/keys/{}/{what}", hex::encode(ik));
    let (status, problem) =
        ask(&world, "POST", &path(&second.ik_id, "retire"), json!({ "force": true })).await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("rotate it first"), "{problem}");
    let (status, problem) = ask(&world, "POST", &path(&first.ik_id, "retire"), json!({})).await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("rewrap start"), "{problem}");
    let (status, retired) =
        ask(&world, "POST", &path(&first.ik_id, "retire"), json!({ "force": true })).await;
    assert_eq!((status, &retired["pending"], retired["certain_at"].as_u64()), (200, &json!([]), Some(now())));
    assert_eq!(node.get(bucket, &first.ik_id).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(ask(&world, "POST", &path(&first.ik_id, "reinstate"), json!({})).await.0, 200);
    assert_eq!(node.get(bucket, &first.ik_id).await.unwrap().ik, first.ik);

    // Of a node that is cut off it is certain only after all lives.
    world.handle.issue_node("away", Tenants::All).await.unwrap();
    let held = world.handle.keys_in_memory();
    let (status, told) = ask(&world, "POST", &path(&second.ik_id, "compromised"), json!({})).await;
    assert_eq!((status, &told["pending"]), (200, &json!(["away"])), "{told}");
    assert_eq!(told["certain_at"].as_u64(), Some(now() + 3_600 + 86_400));
    assert_eq!(world.handle.keys_in_memory(), held - 1, "out of this process at once");
    assert_eq!(node.get(bucket, &second.ik_id).await.unwrap_err().code(), Code::PermissionDenied);
    let third = node.placed_key(bucket).await;
    assert!(third.ik_id != second.ik_id && third.ik_id != first.ik_id, "the next write has a new one");
    assert_eq!(
        ask(&world, "POST", &path(&second.ik_id, "reinstate"), json!({})).await.0,
        409,
        "not without force"
    );
    acks.abort();
    let mut keys = vec![0];
    while let Ok(pushed) = pushed.try_recv() {
        keys.push(pushed);
    }
    keys.dedup();
    assert_eq!(keys, [0, 1, 2, 3, 4], "each judgement is pushed, the one that was refused is not");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_disabled_tenant_gets_no_key_until_it_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (_, _, theirs) = world.tenant_with_bucket("other", "theirs").await;
    let node = world.node("n1", Tenants::All).await;
    let (key, other) = (node.placed_key(bucket).await, node.placed_key(theirs).await);
    let (status, told) = ask(&world, "POST", "/v1/tenants/t/disable", json!({})).await;
    assert_eq!((status, &told["disabled"]), (200, &json!(true)), "{told}");
    assert_eq!(world.handle.keys_in_memory(), 1, "the other tenant's");
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(node.active(bucket).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(node.get(theirs, &other.ik_id).await.unwrap().ik, other.ik);
    assert_eq!(
        ask(&world, "POST", "/v1/tenants/t/kek/rotate", json!({})).await.0,
        409,
        "its KEK is not used"
    );
    let snapshot = node.subscribe().await.snapshot().await.snapshot;
    let denied: Vec<_> =
        snapshot.buckets.iter().map(|bucket| (bucket.name.as_str(), bucket.keys_denied)).collect();
    assert_eq!(denied, [("bucket", true), ("theirs", false)]);
    world.handle.stop().await;

    let world = start_at(dir.path(), now() + 5).await;
    let node = world.node("n1", Tenants::All).await;
    assert_eq!(
        node.get(bucket, &key.ik_id).await.unwrap_err().code(),
        Code::PermissionDenied,
        "also after a restart"
    );
    assert_eq!(ask(&world, "POST", "/v1/tenants/t/enable", json!({})).await.0, 200);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn shredding_destroys_every_kek_that_ever_wrapped_a_key_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (_, _, theirs) = world.tenant_with_bucket("other", "theirs").await;
    let node = world.node("n1", Tenants::All).await;
    let (key, other) = (node.placed_key(bucket).await, node.placed_key(theirs).await);
    let first = world.handle.registry().state().tenant_named("t").unwrap().kek.clone();
    let (_, moving) = ask(&world, "PUT", "/v1/tenants/t/kek", json!({ "kms": "local" })).await;
    let second = moving["kek"].as_str().unwrap().to_owned();
    until(&world, "the wrapping", |report| report["work"]["state"] == "placing").await;

    let (status, problem) = ask(&world, "POST", "/v1/tenants/t/shred", json!({ "confirm": "other" })).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("\"t\""), "{problem}");
    assert_eq!(ask(&world, "GET", "/v1/tenants/t/shred", json!({})).await.0, 404);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik, "nothing happened");
    // The KMS is away: access is cut all the same, and the rest follows.
    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Server, "test".to_owned())));
    let (status, told) = ask(&world, "POST", "/v1/tenants/t/shred", json!({ "confirm": "t" })).await;
    assert_eq!(
        (status, &told["destroyed_at"], told["access_cut_at"].as_u64()),
        (202, &Value::Null, Some(now())),
        "{told}"
    );
    // This test's node has no stream: it confirms nothing.
    assert_eq!(
        (&told["pending"], told["caches_empty_at"].as_u64()),
        (&json!(["n1"]), Some(now() + 3_600 + 86_400))
    );
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap_err().code(), Code::PermissionDenied);
    world.handle.stop().await;

    let world = start_at(dir.path(), now() + 5).await;
    let wait = async {
        loop {
            let (_, told) = ask(&world, "GET", "/v1/tenants/t/shred", json!({})).await;
            if !told["destroyed_at"].is_null() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    assert_eq!(told["keks"].as_array().unwrap().len(), 2, "{told}");
    for gone in [&first, &second] {
        assert!(matches!(world.kms.current_version(gone).await, Err(KmsError::NotFound(_))), "{gone}");
        assert!(!world.handle.recovery_card().unwrap().contains(gone.as_str()));
    }
    assert_eq!(ask(&world, "POST", "/v1/tenants/t/enable", json!({})).await.0, 403, "for good");
    let node = world.node("n1", Tenants::All).await;
    assert_eq!(node.active(bucket).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(node.get(theirs, &other.ik_id).await.unwrap().ik, other.ik, "another tenant's are as before");
    world.handle.stop().await;
}
