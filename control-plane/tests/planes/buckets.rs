//! The registry of buckets as nodes use it.

use sealgate_control_plane::registry::adoption::{Adopt, Adopted};
use sealgate_control_plane::registry::records::{BackendSse, BucketState, SseAlgorithm, Tenants};
use sealgate_proto::v1;
use tonic::Code;

use crate::support::start;

#[actix_rt::test]
async fn a_bucket_is_begun_committed_and_deleted_and_every_step_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, ours, _) = world.tenant_with_bucket("ours", "first").await;
    let (_, theirs, _) = world.tenant_with_bucket("theirs", "second").await;
    let mut node = world.node("n1", Tenants::All).await.buckets();
    let begin = |name: &str, key: &str, region: &str| v1::BeginCreateRequest {
        name: name.to_owned(),
        access_key_id: key.to_owned(),
        region: region.to_owned(),
    };
    let bucket = node.begin_create(begin("new", &ours, "us-east-1")).await.unwrap().into_inner();
    assert_eq!((bucket.state(), bucket.region.as_str()), (v1::BucketState::Creating, "us-east-1"));
    assert_eq!((bucket.backend.as_str(), bucket.backend_bucket.as_str()), ("default", "new"));
    let again = node.begin_create(begin("new", &ours, "us-east-1")).await.unwrap().into_inner();
    assert_eq!(again.bucket_id, bucket.bucket_id, "the same intent");
    for (name, key, region, code, message) in [
        ("first", &ours, "", Code::AlreadyExists, "owned"),
        ("first", &theirs, "", Code::AlreadyExists, "taken"),
        ("new", &theirs, "", Code::AlreadyExists, "taken"),
        ("No", &ours, "", Code::InvalidArgument, ""),
        ("other", &ours, "mars-1", Code::InvalidArgument, ""),
        ("other", &"SGNOBODY".to_owned(), "", Code::PermissionDenied, ""),
    ] {
        let status = node.begin_create(begin(name, key, region)).await.unwrap_err();
        assert_eq!(status.code(), code, "{name} {region}");
        assert!(status.message().contains(message), "{}", status.message());
    }
    let reference = v1::BucketRef { bucket_id: bucket.bucket_id.clone() };
    assert_eq!(node.begin_delete(reference.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    let committed = node.commit_create(reference.clone()).await.unwrap().into_inner();
    assert_eq!(node.commit_create(reference.clone()).await.unwrap().into_inner(), committed);
    assert_eq!(node.abort_create(reference.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(node.commit_delete(reference.clone()).await.unwrap_err().code(), Code::FailedPrecondition);

    node.begin_delete(reference.clone()).await.unwrap();
    node.begin_delete(reference.clone()).await.unwrap();
    assert_eq!(world.handle.registry().state().buckets["new"].state, BucketState::Deleting);
    node.abort_delete(reference.clone()).await.unwrap();
    assert_eq!(world.handle.registry().state().buckets["new"].state, BucketState::Active);
    let id = world.handle.registry().state().buckets["new"].id;
    node.begin_delete(reference.clone()).await.unwrap();
    for _ in 0..2 {
        world.handle.registry().begin_restore(id).unwrap();
        assert_eq!(world.handle.registry().state().buckets["new"].state, BucketState::Restoring);
    }
    assert_eq!(node.commit_create(reference.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    node.abort_delete(reference.clone()).await.unwrap();
    assert_eq!(world.handle.registry().state().buckets["new"].state, BucketState::Active);
    node.begin_delete(reference.clone()).await.unwrap();
    let gone = node.commit_delete(reference.clone()).await.unwrap().into_inner();
    assert_eq!(node.commit_delete(reference.clone()).await.unwrap().into_inner(), gone);
    assert!(!world.handle.registry().state().buckets.contains_key("new"));
    assert!(gone.version > committed.version);
    assert_eq!(node.commit_create(reference).await.unwrap_err().code(), Code::NotFound);
    let next = node.begin_create(begin("new", &theirs, "")).await.unwrap().into_inner();
    assert_ne!(next.bucket_id, bucket.bucket_id, "a name that returns is another bucket");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_deletion_begins_when_all_connected_nodes_refuse_writes() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    // Before the stream: its certificate is a change, too.
    let mut deleter = world.node("n2", Tenants::All).await.buckets();
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let first = stream.snapshot().await;
    stream.ack(&first).await;
    let begin = deleter.begin_delete(v1::BucketRef { bucket_id: bucket.as_bytes().to_vec() });
    let mut begin = std::pin::pin!(begin);
    let received = tokio::select! {
        begun = &mut begin => panic!("answered before the other node knew: {begun:?}"),
        received = stream.snapshot() => received,
    };
    assert_eq!(received.snapshot.buckets[0].state(), v1::BucketState::Deleting);
    stream.ack(&received).await;
    let begun = begin.await.unwrap().into_inner();
    assert_eq!(begun.version, received.snapshot.version);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_creation_ends_when_all_connected_nodes_know_the_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let tenant = world.handle.ensure_tenant("t").await.unwrap();
    let key =
        world.handle.ensure_credential(tenant, "test").await.unwrap().unwrap().record.access_key_id.clone();
    // Before the stream: its certificate is a change, too.
    let mut creator = world.node("n2", Tenants::All).await.buckets();
    let begin = v1::BeginCreateRequest { name: "new".to_owned(), access_key_id: key, region: String::new() };
    let bucket = creator.begin_create(begin).await.unwrap().into_inner();
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let first = stream.snapshot().await;
    stream.ack(&first).await;
    let commit = creator.commit_create(v1::BucketRef { bucket_id: bucket.bucket_id });
    let mut commit = std::pin::pin!(commit);
    let received = tokio::select! {
        created = &mut commit => panic!("answered before the other node knew: {created:?}"),
        received = stream.snapshot() => received,
    };
    assert_eq!(received.snapshot.buckets[0].state(), v1::BucketState::Active);
    stream.ack(&received).await;
    assert_eq!(commit.await.unwrap().into_inner().version, received.snapshot.version);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn no_new_keys_for_a_bucket_that_is_being_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    world.handle.registry().begin_delete(bucket).unwrap();
    assert_eq!(node.active(bucket).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik, "reading goes on");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn one_node_at_a_time_deletes_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let (mut one, mut two) =
        (world.node("n1", Tenants::All).await.buckets(), world.node("n2", Tenants::All).await.buckets());
    let reference = v1::BucketRef { bucket_id: bucket.as_bytes().to_vec() };
    one.begin_delete(reference.clone()).await.unwrap();
    for refused in [
        two.begin_delete(reference.clone()).await,
        two.abort_delete(reference.clone()).await,
        two.commit_delete(reference.clone()).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::Aborted);
    }
    // Another tenant's node does not learn of it.
    let (other, _, _) = world.tenant_with_bucket("others", "theirs").await;
    let mut foreign = world.node("n3", Tenants::These(vec![other])).await.buckets();
    assert_eq!(foreign.begin_delete(reference.clone()).await.unwrap_err().code(), Code::NotFound);
    // Whose turn it is may ask for more time; whose turn is over, or who is gone for two minutes, leaves it to the next.
    world.clock.advance(100);
    one.begin_delete(reference.clone()).await.unwrap();
    world.clock.advance(100);
    assert_eq!(two.begin_delete(reference.clone()).await.unwrap_err().code(), Code::Aborted);
    one.abort_delete(reference.clone()).await.unwrap();
    two.begin_delete(reference.clone()).await.unwrap();
    world.clock.advance(120);
    one.begin_delete(reference.clone()).await.unwrap();
    assert_eq!(two.commit_delete(reference.clone()).await.unwrap_err().code(), Code::Aborted);
    one.commit_delete(reference).await.unwrap();
    world.handle.stop().await;
}

#[actix_rt::test]
async fn what_one_node_has_refused_to_adopt_another_does_not_bring_into_use() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, _, _) = world.tenant_with_bucket("t", "bucket").await;
    let (mut one, mut two) =
        (world.node("n1", Tenants::All).await.buckets(), world.node("n2", Tenants::All).await.buckets());
    // What is written into it to take it over meets the policy already.
    let sse = BackendSse { algorithm: SseAlgorithm::Kms, kms_key_id: Some("key".to_owned()) };
    let adopt = Adopt {
        name: "adopted".to_owned(),
        tenant,
        region: String::new(),
        backend: String::new(),
        backend_bucket: "legacy".to_owned(),
        rules: Vec::new(),
        backend_sse: Some(sse.clone()),
        what: Adopted::Plain,
    };
    let bucket = world.handle.registry().begin_adopt(adopt).unwrap().id;
    let adopted = world.handle.registry().state().bucket(bucket).cloned().unwrap();
    assert_eq!(adopted.backend_sse, Some(sse));
    let bucket_id = bucket.as_bytes().to_vec();
    let refusal = v1::RefuseAdoptRequest { bucket_id: bucket_id.clone(), reason: "damaged".to_owned() };
    two.refuse_adopt(refusal).await.unwrap();
    let commit = v1::CommitAdoptRequest { bucket_id, keys: 0, refused_keys: 0 };
    let refused = one.commit_adopt(commit).await.unwrap_err();
    assert!(refused.code() == Code::NotFound && refused.message().contains("damaged"), "{refused}");
    assert_eq!(world.handle.registry().state().bucket(bucket).unwrap().state, BucketState::Creating);
    world.handle.stop().await;
}
