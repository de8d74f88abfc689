//! Copies whose source is replaced while they are made, and those that a node cannot get a key record for.

use bytes::Bytes;
use sealgate_data_plane::backend::{Backend as _, BackendError, CopySource, PutOptions};
use sealgate_envelope::hidden;

use super::relay::{Moment as Asked, Relay};
use super::s3::{Answer, Client, bytes};
use super::steered::{Call, Moment, Steered};
use super::steering::Steering;
use super::storage::list;
use super::world::{World, issue, soon, tenant};

const SOURCE: &str = "/bucket/source";
const COPY: &str = "/bucket/copy";

async fn copy(client: &Client, target: &str) -> Answer {
    let source = [("x-amz-copy-source", SOURCE.to_owned())];
    client.send_with("PUT", target, &source, "").await
}

/// Replaces the source before the storage's next copies, by bodies of the same size.
fn replace_before_copies(steering: &Steering, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let client = steering.plain.clone();
        steering.backend.once(Moment::Before, Call::Copy, "copy", move || async move {
            client.put(SOURCE, body(seed)).await.ok();
            Ok(())
        });
    }
}

fn body(seed: u64) -> Bytes {
    bytes(100_000, seed)
}

#[actix_rt::test]
async fn a_source_that_is_replaced_is_looked_up_again() {
    let steering = Steering::start().await;
    steering.plain.put(SOURCE, body(1)).await.ok();
    replace_before_copies(&steering, 2..4);
    copy(&steering.steered, COPY).await.ok();
    steering.backend.assert_done();
    assert!(steering.plain.get(COPY).await.ok().body == body(3), "the copy is the newest source");
    replace_before_copies(&steering, 4..7);
    let answer = copy(&steering.steered, COPY).await;
    steering.backend.assert_done();
    assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (503, "SlowDown"));
    assert!(steering.plain.get(COPY).await.ok().body == body(3), "what was there stays");
    steering.stop().await;
}

/// A storage that does not keep to the source's ETag would put another object's bytes under this one's envelope, over what
/// lies at the target. So it is not asked.
#[actix_rt::test]
async fn a_storage_that_may_copy_another_object_is_not_asked_to() {
    let steering = Steering::start_over(Steered::unpinned).await;
    steering.plain.put(SOURCE, body(1)).await.ok();
    let asked = || BackendError::Protocol("it was asked".to_owned());
    steering.backend.fail(Moment::Before, Call::Copy, "", asked);
    copy(&steering.steered, COPY).await.ok();
    assert!(steering.plain.get(COPY).await.ok().body == body(1));
    let replaced =
        [("x-amz-copy-source", SOURCE.to_owned()), ("x-amz-metadata-directive", "REPLACE".to_owned())];
    steering.steered.send_with("PUT", SOURCE, &replaced, "").await.ok();
    assert!(steering.plain.get(SOURCE).await.ok().body == body(1), "onto itself");
    // The error still waits for the first to ask.
    let source =
        CopySource { bucket: "bucket".into(), key: "source".into(), version_id: None, if_match: None };
    let asked = steering.backend.copy(source, "bucket", "asked", PutOptions::default()).await;
    assert!(matches!(asked, Err(BackendError::Protocol(_))), "{asked:?}");
    steering.stop().await;
}

/// A copy in another bucket needs the record of its source's key there. Where it cannot be placed, the object is sealed anew, and
/// needs none.
#[actix_rt::test]
async fn no_copy_goes_to_a_bucket_without_the_record_of_its_key() {
    let steering = Steering::start().await;
    steering.plain.put(SOURCE, body(1)).await.ok();
    steering.plain.put("/second", "").await.ok();
    let (epoch, version) = steering.other.node().applied();
    soon("the bucket", steering.node.node().wait_applied(epoch, version)).await;
    let records = async || list(steering.storage.as_ref(), "second", hidden::IK_PREFIX).await.len();
    // The bucket's own key comes into use with its first object.
    steering.plain.put("/second/own", "x").await.ok();
    assert_eq!(records().await, 1);
    let down = || BackendError::Unavailable("the disk is away".to_owned());
    steering.backend.fail(Moment::Before, Call::Put, hidden::IK_PREFIX, down);
    let copied = steering.backend.count(Call::Copy, "", 1);
    copy(&steering.steered, "/second/copy").await.ok();
    assert_eq!(copied.get(), 0, "the stored bytes, which name the source's key, went there");
    steering.backend.forget_rules();
    assert_eq!(records().await, 1, "the record could not be placed");
    assert!(steering.plain.get("/second/copy").await.ok().body == body(1), "and is not needed");
    copy(&steering.steered, "/second/copy").await.ok();
    assert_eq!(records().await, 2, "it is placed before the copy");
    assert!(steering.plain.get("/second/copy").await.ok().body == body(1));
    steering.stop().await;
}

/// The record of a key is asked for and placed once, however many copies wait for it.
#[actix_rt::test]
async fn many_copies_into_another_bucket_borrow_their_sources_key_once() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let client = client.at(node.address());
    for bucket in ["/bucket", "/second"] {
        client.put(bucket, "").await.ok();
    }
    client.put(SOURCE, body(1)).await.ok();
    client.put("/second/own", "x").await.ok();
    let targets: Vec<_> = (0..16).map(|number| format!("/second/copy{number}")).collect();
    let copies = targets.iter().map(|target| copy(&client, target));
    for answer in soon("the copies", futures_util::future::join_all(copies)).await {
        answer.ok();
    }
    assert_eq!(relay.count(Asked::LendAsked), 1);
    assert!(client.get("/second/copy7").await.ok().body == body(1));
    node.stop().await;
    control.stop().await;
}
