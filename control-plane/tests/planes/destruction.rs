//! What keeps a KEK, or the only record that opens, from being destroyed: a second name, a bucket that is being taken over, a store
//! that is older than its bucket.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sealgate_control_plane::registry::{
    adoption::{Adopt, Adopted},
    records::Tenants,
};
use sealgate_envelope::{BucketId, Ik, IkRecord, RecoveryCard, TenantId, hidden, recovery_card::CardBucket};
use sealgate_kms::{Cause, Kms, KmsError};
use sealgate_proto::v1;
use serde_json::json;
use tonic::Code;

use crate::{
    life::{ask, kek, look, records, until, version},
    support::{CountingKms, Node, World, start, start_over},
};

const SECOND: &str = "local/second-name";

/// A KMS in which one key has two names, and all have a long one; and in which destroying takes its time.
struct Twins {
    inner: Arc<CountingKms>,
    /// What [`SECOND`] is.
    real: Arc<Mutex<String>>,
    slow: Arc<Slow>,
}

/// Holds destructions.
#[derive(Default)]
struct Slow {
    holding: AtomicBool,
    asked: AtomicUsize,
    failure: Mutex<Option<KmsError>>,
}

impl Twins {
    fn real(&self, kek: &str) -> String {
        match kek.strip_prefix("local/long/") {
            Some(name) => format!("local/{name}"),
            None if kek == SECOND => self.real.lock().unwrap().clone(),
            None => kek.to_owned(),
        }
    }
}

#[async_trait]
impl Kms for Twins {
    fn provider(&self) -> &str {
        "local"
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.inner.create_kek(name).await
    }
    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.inner.current_version(&self.real(kek)).await
    }
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.inner.wrap(&self.real(kek), version, context, ik).await
    }
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.inner.unwrap(&self.real(kek), version, context, wrapped).await
    }
    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.inner.version_of(kek, version, wrapped)
    }
    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.inner.rotate(&self.real(kek)).await
    }
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.slow.asked.fetch_add(1, Ordering::SeqCst);
        while self.slow.holding.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let failure = self.slow.failure.lock().unwrap().clone();
        failure.map_or(Ok(()), Err)?;
        self.inner.destroy(&self.real(kek)).await
    }
    async fn ready(&self) -> Result<(), KmsError> {
        self.inner.ready().await
    }
}

async fn twins(dir: &std::path::Path) -> (World, Arc<Mutex<String>>, Arc<Slow>) {
    let (real, slow) = (Arc::new(Mutex::new(String::new())), Arc::new(Slow::default()));
    let (of, held) = (Arc::clone(&real), Arc::clone(&slow));
    let layer = |inner| Arc::new(Twins { inner, real: of, slow: held }) as Arc<dyn Kms>;
    (start_over(dir, layer).await, real, slow)
}

/// Moves the tenant to another KEK, to the end of the work.
async fn moved(world: &World, node: &Node, bucket: BucketId, to: serde_json::Value) {
    let (status, moving) = ask(world, "PUT", "/v1/tenants/t/kek", to).await;
    assert_eq!(status, 202, "{moving}");
    until(world, "the wrapping", |report| report["work"]["state"] == "placing").await;
    look(node, bucket, 0).await;
    until(world, "the end", |report| report["work"]["state"] == "done").await;
}

async fn destroy(world: &World, kek: &str) -> (u16, serde_json::Value) {
    ask(world, "POST", "/v1/tenants/t/kek/destroy", json!({ "kek": kek })).await
}

fn adopt(tenant: TenantId, backend_bucket: &str, what: Adopted) -> Adopt {
    let (name, backend_bucket) = ("adopted".to_owned(), backend_bucket.to_owned());
    let (region, backend) = (String::new(), String::new());
    Adopt { name, tenant, region, backend, backend_bucket, rules: Vec::new(), backend_sse: None, what }
}

#[actix_rt::test]
async fn a_kek_under_a_second_name_is_not_destroyed_while_the_first_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (world, real, _) = twins(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let from = format!("local/tenant-{id}");
    real.lock().unwrap().clone_from(&from);
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    moved(&world, &node, bucket, json!({ "kek": SECOND, "rate": 1000 })).await;
    assert_eq!(version(&kek(&world).await, &from, "1")["destroyable"], true, "nothing names it");
    let (status, problem) = destroy(&world, &from).await;
    assert!(status == 412 || status == 409, "{status} {problem}");
    assert!(problem["detail"].as_str().unwrap().contains("the same key under another name"), "{problem}");
    world.kms.current_version(&from).await.unwrap();
    // Nor on a guess.
    world.kms.set_failure(Some(KmsError::Unavailable(sealgate_kms::Cause::Server, "test".to_owned())));
    assert_eq!(destroy(&world, &from).await.0, 503);
    world.kms.set_failure(None);
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_kek_on_the_card_of_a_bucket_that_is_being_taken_over_stays() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let from = format!("local/tenant-{id}");
    let node = world.node("n1", Tenants::All).await;
    node.placed_key(bucket).await;
    moved(&world, &node, bucket, json!({ "kms": "local", "rate": 1000 })).await;
    assert_eq!(version(&kek(&world).await, &from, "1")["destroyable"], true);
    // A bucket from before the store was lost, whose records nobody has read yet.
    let lost = CardBucket { tenant: id, bucket: BucketId::random().unwrap(), name: "lost".to_owned() };
    let what = Adopted::Known(lost.bucket, RecoveryCard::new(vec![lost], vec![from.clone()]).unwrap());
    let registry = world.handle.registry();
    let taken = registry.begin_adopt(adopt(id, "lost", what)).unwrap().id;
    assert_eq!(version(&kek(&world).await, &from, "1")["destroyable"], false);
    let (status, problem) = destroy(&world, &from).await;
    assert_eq!(status, 409, "{problem}");
    world.kms.current_version(&from).await.unwrap();
    // It is known now: none of them.
    let commit = v1::CommitAdoptRequest { bucket_id: taken.as_bytes().to_vec(), keys: 0, refused_keys: 0 };
    node.buckets().commit_adopt(commit).await.unwrap();
    assert_eq!(version(&kek(&world).await, &from, "1")["destroyable"], true);
    world.handle.stop().await;
}

/// Between the report and the KMS's answer the KEK has no new users; what the KMS refuses is as before.
#[actix_rt::test]
async fn nothing_begins_to_need_a_kek_that_is_being_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _, slow) = twins(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let from = format!("local/tenant-{id}");
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    moved(&world, &node, bucket, json!({ "kms": "local", "rate": 1000 })).await;

    slow.holding.store(true, Ordering::SeqCst);
    *slow.failure.lock().unwrap() = Some(KmsError::Denied("the right to delete".to_owned()));
    let path = "/v1/tenants/t/kek/destroy";
    let meanwhile = async {
        while slow.asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, problem) = ask(&world, "PUT", "/v1/tenants/t/kek", json!({ "kek": from })).await;
        assert!(status == 409 && problem["detail"].as_str().unwrap().contains("about to be"), "{problem}");
        let lost = CardBucket { tenant: id, bucket: BucketId::random().unwrap(), name: "lost".to_owned() };
        let what = Adopted::Known(lost.bucket, RecoveryCard::new(vec![lost], vec![from.clone()]).unwrap());
        let refused = world.handle.registry().begin_adopt(adopt(id, "lost", what)).unwrap_err();
        assert!(refused.to_string().contains("about to be destroyed"), "{refused}");
        slow.holding.store(false, Ordering::SeqCst);
    };
    let ((status, problem), ()) = tokio::join!(ask(&world, "POST", path, json!({ "kek": from })), meanwhile);
    assert_eq!(status, 403, "{problem}");
    // The KMS did not: it may be used again.
    moved(&world, &node, bucket, json!({ "kek": from, "rate": 1000 })).await;
    moved(&world, &node, bucket, json!({ "kms": "local", "rate": 1000 })).await;

    // Whether the KMS did is not known: nobody may use it, and asking again ends that.
    *slow.failure.lock().unwrap() = Some(KmsError::Unavailable(Cause::Timeout, "late".to_owned()));
    assert_eq!(destroy(&world, &from).await.0, 503);
    assert_eq!(ask(&world, "PUT", "/v1/tenants/t/kek", json!({ "kek": from })).await.0, 409);
    *slow.failure.lock().unwrap() = None;
    assert_eq!(destroy(&world, &from).await.0, 200);
    assert!(matches!(world.kms.current_version(&from).await, Err(KmsError::NotFound(_))));
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn shredding_spares_a_key_that_another_tenant_has_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _, _) = twins(dir.path()).await;
    let (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let own = format!("local/tenant-{id}");
    let twin = json!({ "name": "other", "kek": format!("local/long/tenant-{id}") });
    assert_eq!(ask(&world, "POST", "/v1/tenants", twin).await.0, 201);
    let node = world.node("n1", Tenants::All).await;
    let key = node.placed_key(bucket).await;
    moved(&world, &node, bucket, json!({ "kms": "local", "rate": 1000 })).await;
    let (status, problem) = destroy(&world, &own).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("the tenant \"other\""), "{problem}");
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    let second = world.handle.registry().state().tenant_named("t").unwrap().kek.clone();

    assert_eq!(ask(&world, "POST", "/v1/tenants/t/shred", json!({ "confirm": "t" })).await.0, 202);
    let gone = async || {
        let (_, told) = ask(&world, "GET", "/v1/tenants/t/shred", json!({})).await;
        let keks = told["keks"].as_array().unwrap().clone();
        let gone = |kek: &str| keks.iter().any(|it| it["kek"] == kek && !it["destroyed_at"].is_null());
        (gone(&own), gone(&second))
    };
    while !gone().await.1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!gone().await.0, "the other tenant's data hangs on it");
    world.kms.current_version(&own).await.unwrap();
    world.handle.stop().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[actix_rt::test]
async fn a_store_that_is_older_than_its_bucket_takes_the_record_that_opens_and_does_not_have_it_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, backup) = (dir.path().join("store"), dir.path().join("backup"));
    let (id, bucket, key, from);
    {
        let world = start(dir.path()).await;
        (id, _, bucket) = world.tenant_with_bucket("t", "bucket").await;
        from = format!("local/tenant-{id}");
        key = world.node("n1", Tenants::All).await.placed_key(bucket).await;
        world.handle.stop().await;
    }
    copy(&store, &backup);
    let (card, newest): (RecoveryCard, Vec<u8>);
    {
        let world = start(dir.path()).await;
        let node = world.node("n2", Tenants::All).await;
        moved(&world, &node, bucket, json!({ "kms": "local", "rate": 1000 })).await;
        newest = records(&node, bucket, 0).await.records.remove(0);
        card = world.handle.recovery_card().unwrap().parse().unwrap();
        assert_eq!(destroy(&world, &from).await.0, 200);
        world.handle.stop().await;
    }
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    let world = start(dir.path()).await;
    let node = world.node("n3", Tenants::All).await;
    assert_eq!(
        node.get(bucket, &key.ik_id).await.unwrap_err().code(),
        Code::PermissionDenied,
        "the backup's"
    );
    let registry = world.handle.registry();
    let place = registry.state().bucket(bucket).unwrap().backend_bucket.clone();
    registry.release(bucket).unwrap();
    registry.begin_adopt(adopt(id, &place, Adopted::Known(bucket, card))).unwrap();
    let bucket_id = bucket.as_bytes().to_vec();
    let import = v1::ImportRecordsRequest { bucket_id: bucket_id.clone(), records: vec![newest.clone()] };
    let imported = node.buckets().import_records(import).await.unwrap().into_inner();
    let commit = v1::CommitAdoptRequest { bucket_id, keys: imported.taken.into(), refused_keys: 0 };
    node.buckets().commit_adopt(commit).await.unwrap();
    let given = records(&node, bucket, 0).await;
    assert_eq!(given.records, std::slice::from_ref(&newest), "the record that opens is the IK's");
    let name = hidden::ik_record_name(&IkRecord::parse(&newest).unwrap()).unwrap();
    assert!(!given.replaced.contains(&name), "the only record that opens is called replaced");
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik);
    world.handle.stop().await;
}
