//! Key records lent to the buckets that copies go to.

use sealgate_control_plane::registry::records::Tenants;
use sealgate_envelope::BucketId;
use sealgate_proto::v1;
use sealgate_store::{MAX_OPS, Op, SledStore, Store as _};
use tonic::{Code, Status};

use crate::support::{Node, World, start};

async fn lend(node: &Node, bucket: BucketId, ik: &[u8], target: BucketId) -> Result<v1::PlaceRecord, Status> {
    let request = v1::LendRequest {
        bucket_id: bucket.as_bytes().to_vec(),
        ik_id: ik.to_vec(),
        target_id: target.as_bytes().to_vec(),
    };
    node.keys().lend(request).await.map(tonic::Response::into_inner)
}

async fn records(node: &Node, bucket: BucketId) -> Vec<Vec<u8>> {
    let request = v1::RecordsRequest { bucket_id: bucket.as_bytes().to_vec(), wish: 0 };
    node.keys().records(request).await.unwrap().into_inner().records
}

fn bucket(world: &World, tenant: &str, name: &str) -> BucketId {
    let id = world.handle.registry().state().tenant_named(tenant).unwrap().id;
    let begun = world.handle.registry().begin_create(id, name, "").unwrap();
    world.handle.registry().commit_create(begun.id).unwrap();
    begun.id
}

fn delete(world: &World, bucket: BucketId) {
    world.handle.registry().begin_delete(bucket).unwrap();
    world.handle.registry().commit_delete(bucket).unwrap();
}

#[actix_rt::test]
async fn a_record_is_lent_on_and_outlives_its_bucket_on_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, _, first) = world.tenant_with_bucket("t", "first").await;
    let (second, third) = (bucket(&world, "t", "second"), bucket(&world, "t", "third"));
    let node = world.node("n1", Tenants::All).await;
    let ik = node.placed_key(first).await.ik_id.clone();
    let own = records(&node, first).await;

    let version = world.handle.registry().version();
    let lent = lend(&node, first, &ik, second).await.unwrap();
    assert_eq!((&lent.ik_id, vec![lent.record.clone()]), (&ik, own), "the bucket's own record");
    let pushed = world.handle.registry().version();
    assert!(pushed > version);
    assert_eq!(lend(&node, first, &ik, second).await.unwrap(), lent, "it may be repeated");
    // A copy of a copy names the same key; its own bucket is not asked for.
    assert_eq!(lend(&node, second, &ik, third).await.unwrap(), lent);
    assert_eq!(records(&node, second).await, vec![lent.record.clone()]);
    assert_eq!(records(&node, third).await, vec![lent.record.clone()]);
    // Lent are records, never keys: the bucket's objects are sealed under its own.
    assert_eq!(node.get(second, &ik).await.unwrap_err().code(), Code::NotFound);

    let line = format!("bucket {tenant} {first} ");
    let card = || world.handle.recovery_card().unwrap();
    assert!(card().contains(&format!("{line}first\n")));
    delete(&world, first);
    assert!(card().contains(&format!("{line}\n")), "without its name, and once: {}", card());
    assert_eq!(card().matches(&first.to_string()).count(), 1);
    assert_eq!(records(&node, third).await, vec![lent.record.clone()], "also when it is gone");
    delete(&world, second);
    assert!(card().contains(&line), "for the third's sake");
    delete(&world, third);
    assert!(!card().contains(&first.to_string()), "nothing holds copies any more");
    world.handle.stop().await;
}

/// One a day for years, from each of many buckets: more than the store takes in one step.
#[actix_rt::test]
async fn a_bucket_of_very_many_loans_can_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, target) = world.tenant_with_bucket("t", "target").await;
    world.handle.registry().begin_delete(target).unwrap();
    world.handle.stop().await;
    let loans = |store: &SledStore| store.scan("lent/").unwrap().len();
    let store = SledStore::open(&dir.path().join("store")).unwrap();
    for some in 0..3_u8 {
        let ik = |number: u16| hex::encode([&[some; 14][..], &number.to_be_bytes()].concat());
        let value = br#"{"owner":"00000000000000000000000000000001"}"#;
        let puts = (0..MAX_OPS as u16)
            .map(|number| Op::Put(format!("lent/{target}/{}", ik(number)), value.to_vec()));
        store.txn(&[], puts.collect()).unwrap();
    }
    assert_eq!(loans(&store), 3 * MAX_OPS);
    drop(store);
    let world = start(dir.path()).await;
    world.handle.registry().commit_delete(target).unwrap();
    assert!(world.handle.registry().state().buckets.is_empty());
    world.handle.stop().await;
    assert_eq!(loans(&SledStore::open(&dir.path().join("store")).unwrap()), 0);
}

#[actix_rt::test]
async fn loans_stay_within_a_tenant_and_are_of_known_keys() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (ours, _, first) = world.tenant_with_bucket("ours", "first").await;
    let (_, _, theirs) = world.tenant_with_bucket("theirs", "theirs").await;
    let second = bucket(&world, "ours", "second");
    let all = world.node("n1", Tenants::All).await;
    let of_ours = world.node("n2", Tenants::These(vec![ours])).await;
    let ik = all.placed_key(first).await.ik_id.clone();
    let of_theirs = all.placed_key(theirs).await.ik_id.clone();
    for (node, from, ik, to) in [
        (&all, first, &ik, theirs),
        (&all, theirs, &of_theirs, first),
        (&of_ours, theirs, &of_theirs, first),
        (&all, first, &of_theirs, second),
        (&all, second, &ik, first),
        (&all, first, &vec![7; 16], second),
    ] {
        let refused = lend(node, from, ik, to).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{from} to {to}: {refused}");
    }
    world.handle.registry().begin_delete(second).unwrap();
    assert_eq!(lend(&all, first, &ik, second).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(records(&all, theirs).await.len() == 1 && records(&all, second).await.is_empty());
    world.handle.stop().await;
}

#[actix_rt::test]
async fn loans_are_remembered_by_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second);
    {
        let world = start(dir.path()).await;
        first = world.tenant_with_bucket("t", "first").await.2;
        second = bucket(&world, "t", "second");
        let node = world.node("n1", Tenants::All).await;
        let ik = node.placed_key(first).await.ik_id.clone();
        lend(&node, first, &ik, second).await.unwrap();
        delete(&world, first);
        world.handle.stop().await;
    }
    let world = start(dir.path()).await;
    assert!(world.handle.recovery_card().unwrap().contains(&first.to_string()));
    let node = world.node("n2", Tenants::All).await;
    assert_eq!(records(&node, second).await.len(), 1);
    world.handle.stop().await;
}

/// What is lent are no keys: many copies do not keep a node from reading, nor reads from copying, and both are bounded.
#[actix_rt::test]
async fn loans_and_keys_are_limited_apart() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, _, first) = world.tenant_with_bucket("t", "first").await;
    let second = bucket(&world, "t", "second");
    let node = world.node("n1", Tenants::All).await;
    let ik = node.placed_key(first).await.ik_id.clone();
    let mut limited = 0;
    for _ in 0..2_010 {
        match lend(&node, first, &ik, second).await {
            Err(status) if status.code() == Code::ResourceExhausted => limited += 1,
            lent => drop(lent.unwrap()),
        }
    }
    assert_eq!(limited, 10, "a burst of 2,000 while the clock stands still");
    node.get(first, &ik).await.unwrap();
    world.handle.stop().await;
}
