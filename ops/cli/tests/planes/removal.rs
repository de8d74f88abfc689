//! DeleteBucket: what goes with a bucket, and what comes back when the backend does not let it go.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sealgate_control_plane::registry::records::BucketState;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend, Conditions, PutOptions};
use sealgate_data_plane::buckets::removal::delete_pending;
use sealgate_data_plane::clock::{ManualClock, SystemClock};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::hidden;
use serde_json::Value;

use super::s3::bytes;
use super::steered::{Call, Moment, Steered, serve};
use super::steering::{Steering, unavailable};
use super::storage::{check_key_records, key_records, list};
use super::world::{World, admin, identity, issue, soon, tenant};

/// A bucket that was in use: its marker, a key record, and the record of an upload that is over.
async fn used() -> Steering {
    let steering = Steering::start().await;
    let (id, etags) = steering.upload("/bucket/object", &[bytes(1_000, 1)]).await;
    steering.plain.complete("/bucket/object", &id, &etags).await.ok();
    steering.plain.send("DELETE", "/bucket/object", "").await.ok();
    let names: Vec<_> = steering.stored().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    steering
}

/// What has to be in a bucket so that it can be recovered.
fn recovery(stored: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let needed = |name: &str| name == hidden::BUCKET || name.starts_with(hidden::IK_PREFIX);
    stored.into_iter().filter(|(name, _)| needed(name)).collect()
}

/// Demands that the bucket is as good as before: its key records and its marker byte for byte, and it can be written.
async fn check_kept(steering: &Steering, before: Vec<(String, Vec<u8>)>) {
    assert_eq!(recovery(steering.stored().await), recovery(before));
    steering.steered.put("/bucket/next", "text").await.ok();
    assert_eq!(steering.plain.get("/bucket/next").await.ok().body, "text");
    check_key_records(&steering.world.backend(), "bucket").await;
}

#[actix_rt::test]
async fn a_bucket_goes_with_all_that_is_hidden_in_it() {
    let steering = used().await;
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    let gone = steering.storage.head_bucket("bucket").await;
    assert!(gone.as_ref().is_err_and(|error| error.is("NoSuchBucket")), "{gone:?}");
    assert_eq!(steering.steered.get("/bucket/object").await.tag("Code"), "NoSuchBucket");
    steering.stop().await;
}

#[actix_rt::test]
async fn a_backend_that_refuses_the_deletion_gets_back_what_recovery_needs() {
    let steering = used().await;
    let before = steering.stored().await;
    steering.backend.fail(Moment::Before, Call::DeleteBucket, "", unavailable);
    assert_eq!(steering.steered.send("DELETE", "/bucket", "").await.status, 503);
    check_kept(&steering, before).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_deletion_that_breaks_off_half_way_is_undone() {
    for moment in [Moment::Before, Moment::After] {
        let steering = used().await;
        let before = steering.stored().await;
        steering.backend.fail(moment, Call::DeleteMany, "", unavailable);
        assert_eq!(steering.steered.send("DELETE", "/bucket", "").await.status, 503, "{moment:?}");
        check_kept(&steering, before).await;
        steering.stop().await;
    }
}

#[actix_rt::test]
async fn hidden_objects_that_cannot_be_read_are_not_deleted() {
    let steering = used().await;
    let before = steering.stored().await;
    steering.backend.fail(Moment::Before, Call::Get, hidden::IK_PREFIX, unavailable);
    assert_eq!(steering.steered.send("DELETE", "/bucket", "").await.status, 503);
    check_kept(&steering, before).await;
    steering.stop().await;
}

/// From a node that the control plane cannot reach, after the key records were removed.
#[actix_rt::test]
async fn an_object_that_arrives_during_the_deletion_stays_and_the_key_records_come_back() {
    let steering = used().await;
    let before = steering.stored().await;
    let (root, storage) = (steering.world.backend(), Rc::clone(&steering.storage));
    steering.backend.once(Moment::Before, Call::DeleteBucket, "", move || async move {
        assert_eq!(key_records(&root, "bucket").await, 0, "the records go before the bucket");
        let late = storage.put("bucket", "late", PutOptions::default(), pipeline::upload(vec![1])).await;
        late.map(drop)
    });
    let refused = steering.steered.send("DELETE", "/bucket", "").await;
    assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "BucketNotEmpty"));
    steering.storage.delete("bucket", "late", None, Conditions::default()).await.unwrap();
    check_kept(&steering, before).await;
    steering.stop().await;
}

/// From a node that has not heard of the deletion yet, or has just started, and misses the record.
#[actix_rt::test]
async fn a_key_record_that_is_put_back_during_the_deletion_goes_as_well() {
    let steering = used().await;
    let storage = Rc::clone(&steering.storage);
    steering.backend.once(Moment::Before, Call::DeleteBucket, "", move || async move {
        let record = format!("{}late", hidden::IK_PREFIX);
        let late = storage.put("bucket", &record, PutOptions::default(), pipeline::upload(vec![1])).await;
        late.map(drop)
    });
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    let gone = steering.storage.head_bucket("bucket").await;
    assert!(gone.as_ref().is_err_and(|error| error.is("NoSuchBucket")), "{gone:?}");
    steering.stop().await;
}

/// Whoever comes second could not tell the bucket from one that was made under its name since the first was done.
#[actix_rt::test]
async fn one_request_at_a_time_deletes_a_bucket_on_one_node_as_on_two() {
    let steering = used().await;
    for other in [&steering.plain, &steering.steered] {
        let (other, answered) = (other.clone(), Rc::new(RefCell::new(None)));
        let answer = Rc::clone(&answered);
        steering.backend.once(Moment::Before, Call::DeleteMany, "", move || async move {
            *answer.borrow_mut() = Some(other.send("DELETE", "/bucket", "").await);
            Err(unavailable())
        });
        assert_eq!(steering.steered.send("DELETE", "/bucket", "").await.status, 503);
        let second = answered.take().unwrap();
        assert_eq!((second.status.as_u16(), second.tag("Code").as_str()), (409, "OperationAborted"));
    }
    // Whose turn is over leaves it to the next.
    steering.plain.send("DELETE", "/bucket", "").await.ok();
    steering.stop().await;
}

/// Its lease may be over: what it would remove next may be another bucket's.
#[actix_rt::test]
async fn a_deletion_that_takes_too_long_stops() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let clock = ManualClock::at(SystemClock::shared().unix());
    let endpoint = format!("https://{}", control.grpc_addr());
    let node =
        world.node_by(endpoint, identity(&issue(&control, "one").await), Arc::clone(&clock) as _).await;
    let storage: Rc<dyn Backend> = Rc::new(FsBackend::open(world.backend()).unwrap());
    let backend = Steered::new(Rc::clone(&storage));
    let client = client.at(serve(node.node(), Rc::clone(&backend) as _).await);
    client.put("/bucket", "").await.ok();
    client.put("/bucket/object", "text").await.ok();
    client.send("DELETE", "/bucket/object", "").await.ok();
    let stored = list(storage.as_ref(), "bucket", "").await.len();
    backend.once(Moment::Before, Call::List, hidden::PREFIX, move || async move {
        clock.advance(Duration::from_secs(120));
        Ok(())
    });
    assert_eq!(client.send("DELETE", "/bucket", "").await.status, 503);
    assert_eq!(list(storage.as_ref(), "bucket", "").await.len(), stored, "something was removed");
    client.send("DELETE", "/bucket", "").await.ok();
    node.stop().await;
    control.stop().await;
}

/// As on S3: a client that cleans up knows nothing of the uploads that a crashed one left.
#[actix_rt::test]
async fn uploads_in_progress_go_with_their_bucket() {
    let steering = used().await;
    let (id, _) = steering.upload("/bucket/left", &[bytes(6 << 20, 1)]).await;
    // Not every storage drops uploads with their bucket.
    steering.backend.once(Moment::Before, Call::AbortUpload, "left", async || Ok(()));
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    steering.backend.assert_done();
    let gone = steering.storage.head_bucket("bucket").await;
    assert!(gone.as_ref().is_err_and(|error| error.is("NoSuchBucket")), "{gone:?}");
    // The answer tells that the node that deleted it has forgotten it, not that every other has.
    let (epoch, version) = steering.node.node().applied();
    soon("the deletion on the other node", steering.other.node().wait_applied(epoch, version)).await;
    let part = steering.plain.send("PUT", &format!("/bucket/left?uploadId={id}&partNumber=2"), "part").await;
    assert_eq!(part.tag("Code"), "NoSuchBucket");
    steering.stop().await;
}

/// A write that another node let in before it knew of the deletion.
#[actix_rt::test]
async fn a_bucket_that_came_into_use_meanwhile_loses_nothing() {
    let steering = used().await;
    let before = steering.stored().await;
    let (upload, _) = steering.upload("/bucket/open", &[bytes(6 << 20, 1)]).await;
    let storage = Rc::clone(&steering.storage);
    steering.backend.once(Moment::After, Call::List, "", move || async move {
        storage.put("bucket", "late", PutOptions::default(), pipeline::upload(vec![1])).await.map(drop)
    });
    let refused = steering.steered.send("DELETE", "/bucket", "").await;
    assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "BucketNotEmpty"));
    assert_eq!(recovery(steering.stored().await), recovery(before.clone()));
    steering.plain.send("GET", &format!("/bucket/open?uploadId={upload}"), "").await.ok();
    steering.storage.delete("bucket", "late", None, Conditions::default()).await.unwrap();
    check_kept(&steering, before).await;
    steering.stop().await;
}

/// Two looks at what is being deleted: the first only remembers.
async fn look_twice(steering: &Steering) {
    let backends = Backends::from_iter([("default".to_owned(), Rc::clone(&steering.storage))]);
    let mut seen = HashSet::new();
    for _ in 0..2 {
        delete_pending(steering.node.node(), &backends, &mut seen).await;
    }
    everywhere(steering).await;
}

/// Waits until both nodes run what the control plane has.
async fn everywhere(steering: &Steering) {
    let version = steering.control.registry().version();
    for node in [&steering.node, &steering.other] {
        soon("the config", node.node().wait_applied(version.epoch, version.version)).await;
    }
}

/// Demands that nothing can be written through either node: the bucket's key records are not there.
async fn check_refused(steering: &Steering, state: BucketState) {
    everywhere(steering).await;
    assert_eq!(steering.control.registry().state().buckets["bucket"].state, state);
    for client in [&steering.steered, &steering.plain] {
        let refused = client.put("/bucket/next", "text").await;
        assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "OperationAborted"));
    }
}

#[actix_rt::test]
async fn a_bucket_is_in_use_again_only_with_its_key_records() {
    let steering = used().await;
    let before = steering.stored().await;
    let storage = Rc::clone(&steering.storage);
    steering.backend.once(Moment::Before, Call::DeleteBucket, "", move || async move {
        let late = storage.put("bucket", "late", PutOptions::default(), pipeline::upload(vec![1])).await;
        late.map(drop)
    });
    // Whoever tries it: what was kept in memory, and what the control plane has.
    for _ in 0..2 {
        steering.backend.fail(Moment::Before, Call::Put, hidden::IK_PREFIX, unavailable);
    }
    assert_eq!(steering.steered.send("DELETE", "/bucket", "").await.status, 409);
    assert_eq!(key_records(&steering.world.backend(), "bucket").await, 0);
    check_refused(&steering, BucketState::Deleting).await;

    look_twice(&steering).await;
    steering.storage.delete("bucket", "late", None, Conditions::default()).await.unwrap();
    check_kept(&steering, before).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_deletion_that_an_operator_takes_back_gives_the_key_records_back_first() {
    let steering = used().await;
    let before = steering.stored().await;
    let registry = steering.control.registry();
    registry.begin_delete(registry.state().buckets["bucket"].id).unwrap();
    // A node was at it, and died.
    for (key, _) in &before {
        steering.storage.delete("bucket", key, None, Conditions::default()).await.unwrap();
    }
    let token = std::fs::read_to_string(steering.world.path().join("control/admin-token")).unwrap();
    let path = "/v1/buckets/bucket?abort=true";
    admin(steering.control.admin_addr(), token.trim(), "DELETE", path, Value::Null).await;
    check_refused(&steering, BucketState::Restoring).await;

    look_twice(&steering).await;
    check_kept(&steering, before).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_deletion_that_is_taken_back_too_late_is_a_deletion() {
    let steering = used().await;
    let registry = steering.control.registry();
    let id = registry.state().buckets["bucket"].id;
    registry.begin_delete(id).unwrap();
    for (key, _) in steering.stored().await {
        steering.storage.delete("bucket", &key, None, Conditions::default()).await.unwrap();
    }
    steering.storage.delete_bucket("bucket").await.unwrap();
    registry.begin_restore(id).unwrap();
    everywhere(&steering).await;
    look_twice(&steering).await;
    assert!(!registry.state().buckets.contains_key("bucket"));
    steering.stop().await;
}

/// Its upload is gone behind the gateway's back, so that only the bucket's end tells the node that the keys are not needed.
#[actix_rt::test]
async fn the_keys_of_a_deleted_buckets_uploads_leave_every_node() {
    let steering = used().await;
    let (id, _) = steering.upload("/bucket/object", &[bytes(1_000, 1)]).await;
    assert_eq!(steering.other.node().uploads.len(), 1);
    steering.storage.abort_upload("bucket", "object", &id).await.unwrap();
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    everywhere(&steering).await;
    assert!(steering.other.node().uploads.is_empty());
    steering.stop().await;
}

#[actix_rt::test]
async fn a_deletion_whose_answer_was_lost_is_a_deletion() {
    let steering = used().await;
    steering.backend.fail(Moment::After, Call::DeleteBucket, "", unavailable);
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    assert!(!steering.steered.get("/").await.ok().text().contains("<Name>bucket</Name>"));
    steering.stop().await;
}

#[actix_rt::test]
async fn a_bucket_that_is_gone_behind_the_gateways_back_can_be_deleted() {
    let steering = used().await;
    for (key, _) in steering.stored().await {
        steering.storage.delete("bucket", &key, None, Conditions::default()).await.unwrap();
    }
    steering.storage.delete_bucket("bucket").await.unwrap();
    assert!(steering.steered.get("/").await.ok().text().contains("<Name>bucket</Name>"));
    steering.steered.send("DELETE", "/bucket", "").await.ok();
    assert!(!steering.steered.get("/").await.ok().text().contains("<Name>bucket</Name>"));
    steering.stop().await;
}
