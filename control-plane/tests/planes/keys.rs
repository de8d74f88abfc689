//! Intermediate keys: order, one KMS call, cache lives, KMS failures.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use sealgate_control_plane::registry::records::Tenants;
use sealgate_envelope::{BucketId, IkRecord};
use sealgate_kms::{Cause, KmsError};
use sealgate_proto::v1;
use tonic::Code;

use crate::support::{Answer, Node, World, now, start, start_at, until_status};

async fn world(dir: &std::path::Path) -> (World, Node, BucketId) {
    let world = start(dir).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    (world, node, bucket)
}

fn place(answer: Answer) -> v1::PlaceRecord {
    match answer {
        Answer::Place(place) => place,
        Answer::Key(_) => panic!("a key before its record was placed"),
    }
}

#[actix_rt::test]
async fn a_key_comes_only_after_its_record_was_placed() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let first = place(node.active(bucket).await.unwrap());
    let again = place(node.active(bucket).await.unwrap());
    assert_eq!(first, again, "until it is confirmed, everyone places the same record");
    assert_eq!(
        node.get(bucket, &first.ik_id).await.unwrap_err().code(),
        Code::NotFound,
        "not by its id either"
    );
    let unwraps = || world.kms.unwraps.load(Ordering::SeqCst);
    assert_eq!(unwraps(), 1, "what was wrapped was not opened once, before it became the bucket's");
    let record = IkRecord::parse(&first.record).unwrap();
    assert_eq!((record.context.bucket, record.context.created), (bucket, now()));

    let wrong = v1::PlaceRecord { record: [&first.record[..], b"x"].concat(), ..first.clone() };
    assert_eq!(node.confirm(bucket, &wrong).await.unwrap_err().code(), Code::FailedPrecondition);
    place(node.active(bucket).await.unwrap());

    let key = node.confirm(bucket, &first).await.unwrap();
    assert_eq!(key.state(), v1::KeyState::Active);
    assert_eq!((key.soft_seconds, key.hard_seconds, key.idle_seconds), (300, 3_600, 300));
    assert_eq!(key.active_until, now() + 86_400);
    assert_eq!(
        node.confirm(bucket, &first).await.unwrap().ik,
        key.ik,
        "a repeated report gets the same answer"
    );
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    match node.active(bucket).await.unwrap() {
        Answer::Key(active) => assert_eq!(active.ik, key.ik),
        Answer::Place(_) => panic!("placed already"),
    }
    let request = v1::RecordsRequest { bucket_id: bucket.as_bytes().to_vec(), wish: 0 };
    assert_eq!(node.keys().records(request).await.unwrap().into_inner().records, [first.record]);
    assert_eq!(unwraps(), 1);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_record_that_was_given_out_survives_a_restart_before_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let (first_world, node, bucket) = world(dir.path()).await;
    let given = place(node.active(bucket).await.unwrap());
    first_world.handle.stop().await;
    let world = start_at(dir.path(), now() + 5).await;
    let node = world.node("n1", Tenants::All).await;
    assert_eq!(place(node.active(bucket).await.unwrap()), given, "no second record for the same key");
    node.confirm(bucket, &given).await.unwrap();
    world.handle.stop().await;
}

#[actix_rt::test]
async fn an_unknown_key_never_reaches_the_kms() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let unknown = BucketId::from_bytes([7; 16]);
    assert_eq!(node.get(bucket, &[9; 16]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(node.get(unknown, &[9; 16]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(node.get(bucket, &[9; 15]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(world.kms.unwraps.load(Ordering::SeqCst), 0);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn many_requests_for_one_cold_key_make_one_kms_call() {
    let dir = tempfile::tempdir().unwrap();
    let (first_world, node, bucket) = world(dir.path()).await;
    let key = node.placed_key(bucket).await;
    first_world.handle.stop().await;
    let world = start_at(dir.path(), now() + 5).await;
    let node = world.node("n1", Tenants::All).await;
    // The KMS holds every call back until all requests are on their way.
    let gate = world.kms.gate.acquire_many(1000).await.unwrap();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (node, id) = (node.clone(), key.ik_id.clone());
            tokio::spawn(async move { node.get(bucket, &id).await.unwrap().ik })
        })
        .collect();
    while world.kms.unwraps.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(gate);
    for ik in join_all(requests).await {
        assert_eq!(ik.unwrap(), key.ik);
    }
    assert_eq!(world.kms.unwraps.load(Ordering::SeqCst), 1);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn after_a_day_a_new_key_takes_over_and_the_old_one_still_decrypts() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let old = node.placed_key(bucket).await;
    world.clock.advance(86_399);
    assert_eq!(node.placed_key(bucket).await.ik_id, old.ik_id);
    world.clock.advance(1);
    let record = place(node.active(bucket).await.unwrap());
    assert_ne!(record.ik_id, old.ik_id);
    assert_eq!(
        node.get(bucket, &old.ik_id).await.unwrap().state(),
        v1::KeyState::Active,
        "until the new one is placed"
    );
    let new = node.confirm(bucket, &record).await.unwrap();
    assert_eq!(new.state(), v1::KeyState::Active);
    let read = node.get(bucket, &old.ik_id).await.unwrap();
    assert_eq!((read.state(), read.ik), (v1::KeyState::DecryptOnly, old.ik));
    world.handle.stop().await;
}

#[actix_rt::test]
async fn without_the_kms_the_active_key_goes_on_for_a_day_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let old = node.placed_key(bucket).await;
    // Fresh in the cache at the end of its day.
    world.clock.advance(86_000);
    node.placed_key(bucket).await;
    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Server, "test".to_owned())));
    world.clock.advance(1_000);
    let going_on = node.placed_key(bucket).await;
    assert_eq!(going_on.ik_id, old.ik_id, "degraded, not refused");
    assert_eq!(going_on.active_until, now() + 87_000 + 60, "else the node would ask at each write");
    assert_eq!(
        going_on.active_last,
        now() + 2 * 86_400,
        "else a node that is cut off would go on for another day"
    );
    world.clock.advance(3_000);
    until_status(&world, |status| status["keks_unproved"] == 1).await;
    world.clock.advance(2 * 86_400 - 90_000 - 30);
    let last = node.placed_key(bucket).await;
    assert_eq!(
        (last.ik_id.clone(), last.active_until),
        (old.ik_id.clone(), now() + 2 * 86_400),
        "and to the end of the grace"
    );
    world.clock.advance(30);
    assert_eq!(node.active(bucket).await.unwrap_err().code(), Code::Unavailable);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_held_key_is_proved_hourly_goes_on_unproved_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let key = node.placed_key(bucket).await;
    let unwraps = world.kms.unwraps.load(Ordering::SeqCst);
    world.clock.advance(3_000);
    while node.get(bucket, &key.ik_id).await.unwrap().hard_seconds != 3_600 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.kms.unwraps.load(Ordering::SeqCst), unwraps + 1, "the proof");
    world.clock.advance(600);
    let renewed = node.get(bucket, &key.ik_id).await.unwrap();
    assert_eq!((renewed.ik, renewed.hard_seconds), (key.ik, 3_000), "one proof extended it");
    // Whoever sets the clock back makes no life longer.
    world.clock.set_back(500);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().hard_seconds, 3_000);

    world.kms.set_failure(Some(KmsError::Unavailable(Cause::Server, "test".to_owned())));
    world.clock.advance(2_400);
    until_status(&world, |status| status["keks_unproved"] == 1).await;
    world.clock.advance(3_600);
    let unproved = node.get(bucket, &key.ik_id).await.unwrap();
    assert!(unproved.hard_seconds <= 600, "in small portions: {}", unproved.hard_seconds);

    world.clock.advance(86_400);
    until(|| world.handle.keys_in_memory() == 0).await;
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap_err().code(), Code::Unavailable);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_denied_kek_takes_its_keys_out_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let key = node.placed_key(bucket).await;
    assert_eq!(world.handle.keys_in_memory(), 1);
    world.kms.set_failure(Some(KmsError::Denied("test".to_owned())));
    world.clock.advance(3_000);
    until(|| world.handle.keys_in_memory() == 0).await;
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap_err().code(), Code::PermissionDenied);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_node_that_fetches_too_much_is_slowed_down() {
    let dir = tempfile::tempdir().unwrap();
    let (world, node, bucket) = world(dir.path()).await;
    let other = world.node("n2", Tenants::All).await;
    let mut limited = 0;
    for _ in 0..2_010 {
        limited +=
            usize::from(node.get(bucket, &[9; 16]).await.unwrap_err().code() == Code::ResourceExhausted);
    }
    assert_eq!(limited, 10, "a burst of 2,000 while the clock stands still");
    assert_eq!(
        other.get(bucket, &[9; 16]).await.unwrap_err().code(),
        Code::NotFound,
        "others are not touched"
    );
    world.handle.stop().await;
}

async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it never came to hold");
}
