//! CreateBucket among several nodes: whatever becomes of an attempt, the name can be used afterwards.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use sealgate_data_plane::backend::{Backend, BackendError, GetOptions};
use sealgate_data_plane::buckets::{make, make_pending};
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::hidden;
use sealgate_proto::v1 as wire;

use super::steered::{Call, Moment};
use super::steering::{Steering, unavailable};
use super::world::soon;

/// Records the intent to make a bucket, as the admin API does, and waits until the node has seen it.
async fn begin(steering: &Steering) {
    let registry = steering.control.registry();
    let tenant = registry.state().tenant_named("tests").unwrap().id;
    registry.begin_create(tenant, "new", "").unwrap();
    let version = registry.version();
    soon("the intent", steering.node.node().wait_applied(version.epoch, version.version)).await;
}

fn backends(backend: &Rc<impl Backend + 'static>) -> Backends {
    Backends::from_iter([("default".to_owned(), Rc::clone(backend) as Rc<dyn Backend>)])
}

/// Demands that a client can make the bucket, through the other node.
async fn check_free(steering: &Steering) {
    let marker = steering.storage.get("new", hidden::BUCKET, GetOptions::default()).await;
    assert!(marker.is_err(), "the id of a bucket that was not made lies in it");
    steering.plain.put("/new", "").await.ok();
    steering.plain.put("/new/object", "text").await.ok();
}

#[actix_rt::test]
async fn a_create_that_fails_after_another_node_made_the_bucket_leaves_its_name_free() {
    let steering = Steering::start().await;
    let (registry, storage) = (Arc::clone(steering.control.registry()), Rc::clone(&steering.storage));
    steering.backend.once(Moment::Before, Call::CreateBucket, "new", move || async move {
        let id = registry.state().buckets["new"].id;
        let bucket = wire::Bucket {
            bucket_id: id.as_bytes().to_vec(),
            backend_bucket: "new".to_owned(),
            ..wire::Bucket::default()
        };
        make(storage.as_ref(), &bucket, None).await?;
        Err(unavailable())
    });
    assert_eq!(steering.steered.put("/new", "").await.status, 503);
    check_free(&steering).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_create_whose_intent_is_gone_by_then_leaves_its_name_free() {
    let steering = Steering::start().await;
    let registry = Arc::clone(steering.control.registry());
    steering.backend.once(Moment::After, Call::Put, hidden::BUCKET, move || async move {
        let id = registry.state().buckets["new"].id;
        registry.abort_create(id).unwrap();
        Ok::<_, BackendError>(())
    });
    let refused = steering.steered.put("/new", "").await;
    assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "OperationAborted"));
    check_free(&steering).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_node_that_made_the_bucket_of_an_intent_that_is_gone_leaves_its_name_free() {
    let steering = Steering::start().await;
    begin(&steering).await;
    let registry = Arc::clone(steering.control.registry());
    steering.backend.once(Moment::After, Call::Put, hidden::BUCKET, move || async move {
        let id = registry.state().buckets["new"].id;
        registry.abort_create(id).unwrap();
        Ok::<_, BackendError>(())
    });
    let (backends, mut seen) = (backends(&steering.backend), HashMap::new());
    for _ in 0..2 {
        make_pending(steering.node.node(), &backends, &mut seen).await;
    }
    check_free(&steering).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn an_intent_is_left_to_the_request_that_is_carrying_it_out_at_first() {
    let steering = Steering::start().await;
    begin(&steering).await;
    let (backends, mut seen) = (backends(&steering.backend), HashMap::new());
    make_pending(steering.node.node(), &backends, &mut seen).await;
    let made = steering.storage.head_bucket("new").await;
    assert!(made.is_err_and(|error| error.is("NoSuchBucket")), "it was made at the first look");
    make_pending(steering.node.node(), &backends, &mut seen).await;
    steering.storage.head_bucket("new").await.unwrap();
    let version = steering.control.registry().version();
    soon("the bucket", steering.other.node().wait_applied(version.epoch, version.version)).await;
    steering.plain.put("/new/object", "text").await.ok();
    steering.stop().await;
}
