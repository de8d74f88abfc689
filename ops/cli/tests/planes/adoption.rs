//! Buckets that are there already: after the loss of the control plane's store, as replicas, and plain ones.

use std::path::PathBuf;

use bytes::Bytes;
use sealgate_control_plane::registry::adoption::{Adopt, Adopted};
use sealgate_control_plane::{Error, Handle};
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, Conditions, GetOptions, PutOptions};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::plane::DataPlane;
use sealgate_envelope::{BucketId, IkContext, IkId, IkRecord, hidden};
use serde_json::{Value, json};

use super::s3::{Answer, Client, bytes};
use super::storage::{check_key_records, key_records, list};
use super::world::{World, health, identity, issue, soon, tenant, try_admin};

const PART: usize = 5 << 20;

/// A control plane and a node over a world's directory.
struct Gateway {
    control: Handle,
    node: DataPlane,
    token: String,
}

impl Gateway {
    async fn start(world: &World) -> Self {
        let control = world.control().await;
        let endpoint = format!("https://{}", control.grpc_addr());
        let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
        let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
        Self { control, node, token }
    }

    /// A client of the tenant that tests have.
    async fn client(&self) -> Client {
        let client = tenant(&self.control).await.at(self.node.address());
        let version = self.control.registry().version();
        soon("the credential", self.node.node().wait_applied(version.epoch, version.version)).await;
        client
    }

    async fn admin(&self, path: &str, body: Value) -> (u16, Value) {
        let address = self.control.admin_addr();
        let answer: Answer = try_admin(address, &self.token, "POST", path, body).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    async fn adopt(&self, name: &str, adopt: Value) -> (u16, Value) {
        self.admin("/v1/buckets", json!({ "name": name, "tenant": "tests", "adopt": adopt })).await
    }

    /// Demands a refusal with a text that says this.
    async fn refuses(&self, status: u16, saying: &str, adopt: Value) {
        let (found, problem) = self.adopt("adopted", adopt).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            (found, detail.contains(saying)) == (status, true),
            "{found} {problem}, not {status} {saying}"
        );
        assert!(!self.control.registry().state().buckets.contains_key("adopted"), "the intent stayed");
    }

    fn id(&self, bucket: &str) -> String {
        self.control.registry().state().buckets[bucket].id.to_string()
    }

    /// How often the control plane had the KMS open a key.
    async fn unwraps(&self) -> f64 {
        let text = health(self.control.admin_addr(), "/metrics").await.unwrap().text();
        let line = text.lines().find(|line| line.contains("kms_calls_total") && line.contains("\"unwrap\""));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    async fn stop(self) {
        self.node.stop().await;
        self.control.stop().await;
    }
}

fn storage(world: &World) -> FsBackend {
    FsBackend::open(world.backend()).unwrap()
}

/// Copies every stored object of a bucket, hidden ones included, into another one: what a replication does.
pub async fn replicate(world: &World, from: &str, to: &str) {
    let storage = storage(world);
    storage.create_bucket(to).await.unwrap();
    for entry in list(&storage, from, "").await {
        let found = storage.get(from, &entry.key, GetOptions::default()).await.unwrap();
        let options = PutOptions { metadata: found.meta.metadata.clone(), ..PutOptions::default() };
        let body = pipeline::collect(found.body, 64 << 20).await.unwrap();
        storage.put(to, &entry.key, options, pipeline::upload(body)).await.unwrap();
    }
}

/// Objects of each kind in the bucket `data`: one PUT, parts, and a copy out of another bucket.
async fn fill(client: &Client) -> Vec<(&'static str, Bytes)> {
    client.put("/data", "").await.ok();
    client.put("/source", "").await.ok();
    let (small, last) = (bytes(100_000, 1), bytes(777, 3));
    client.put("/data/small", small.clone()).await.ok();
    client.put("/source/object", small.clone()).await.ok();
    let copied = [("x-amz-copy-source", "/source/object".to_owned())];
    client.send_with("PUT", "/data/copy", &copied, "").await.ok();
    let (id, mut etags) = (client.create_upload("/data/parts").await, Vec::new());
    for (number, part) in [(1, bytes(PART, 2)), (2, last.clone())] {
        let target = format!("/data/parts?partNumber={number}&uploadId={id}");
        etags.push(client.put(&target, part).await.ok().etag());
    }
    client.complete("/data/parts", &id, &etags).await.ok();
    let parts = [bytes(PART, 2), last].concat().into();
    vec![("small", small.clone()), ("copy", small), ("parts", parts)]
}

async fn check(client: &Client, bucket: &str, wanted: &[(&str, Bytes)]) {
    for (key, body) in wanted {
        let found = client.get(&format!("/{bucket}/{key}")).await.ok();
        assert!(found.body == *body, "{bucket}/{key} is another");
    }
}

/// A world whose control plane has lost its store, and the card and the ids that an operator kept.
struct Lost {
    world: World,
    card: String,
    id: String,
    tenant: String,
    kek: String,
    wanted: Vec<(&'static str, Bytes)>,
}

impl Lost {
    async fn new() -> Self {
        let world = World::new();
        let gateway = Gateway::start(&world).await;
        let wanted = fill(&gateway.client().await).await;
        let (card, id) = (gateway.control.recovery_card().unwrap(), gateway.id("data"));
        let state = gateway.control.registry().state();
        let tenant = state.tenant_named("tests").unwrap();
        let (tenant, kek) = (tenant.id.to_string(), tenant.kek.clone());
        gateway.stop().await;
        std::fs::remove_dir_all(Self::store(&world)).unwrap();
        Self { world, card, id, tenant, kek, wanted }
    }

    fn store(world: &World) -> PathBuf {
        world.path().join("control/store")
    }

    async fn with_tenant(&self) -> Gateway {
        let gateway = Gateway::start(&self.world).await;
        let of_old = json!({ "name": "tests", "id": self.tenant, "kek": self.kek });
        let (status, made) = gateway.admin("/v1/tenants", of_old).await;
        assert_eq!((status, made["id"].as_str()), (201, Some(&*self.tenant)), "{made}");
        gateway
    }

    fn adopt(&self) -> Value {
        json!({ "backend_bucket": "data", "id": self.id, "recovery_card": self.card })
    }
}

#[actix_rt::test]
async fn after_the_store_is_lost_keyring_bucket_and_card_bring_everything_back() {
    let lost = Lost::new().await;
    let gateway = lost.with_tenant().await;
    let client = gateway.client().await;
    assert_eq!(client.get("/data/small").await.status, 404, "nobody registered it");
    let (status, bucket) = gateway.adopt("data", lost.adopt()).await;
    assert_eq!((status, bucket["state"].as_str()), (201, Some("active")), "{bucket}");
    // Its own key, and that of the bucket which the copy came from.
    assert_eq!(bucket["adopted"], json!({ "plain": false, "keys": 2, "refused_keys": 0 }));
    check(&client, "data", &lost.wanted).await;
    let before = key_records(&lost.world.backend(), "data").await;
    client.put("/data/new", bytes(1_000, 9)).await.ok();
    assert_eq!(
        key_records(&lost.world.backend(), "data").await,
        before + 1,
        "a key of its own for what is new"
    );
    assert_eq!(check_key_records(&lost.world.backend(), "data").await, lost.wanted.len() + 1);
    let card = gateway.control.recovery_card().unwrap();
    for line in lost.card.lines().filter(|line| line.starts_with("bucket ")) {
        let ids = &line[.."bucket ".len() + 65];
        assert!(
            card.contains(ids),
            "the new card lacks {line}, which recovery blocks of copies need: {card}"
        );
    }
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_tenant_of_old_needs_its_kek_and_no_kek_is_made_for_it() {
    let lost = Lost::new().await;
    std::fs::remove_file(lost.world.path().join("control/keyring.json")).unwrap();
    let gateway = Gateway::start(&lost.world).await;
    for (status, body) in [
        (409, json!({ "name": "tests", "id": lost.tenant, "kek": lost.kek })),
        (400, json!({ "name": "tests", "id": lost.tenant, "kek": "local/system" })),
        (400, json!({ "name": "tests", "id": lost.tenant })),
    ] {
        assert_eq!(gateway.admin("/v1/tenants", body.clone()).await.0, status, "{body}");
    }
    let keyring = std::fs::read_to_string(lost.world.path().join("control/keyring.json")).unwrap();
    assert!(!keyring.contains(&lost.tenant), "a KEK was made that opens nothing");
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_record_that_the_card_does_not_allow_never_reaches_the_kms() {
    let lost = Lost::new().await;
    let storage = storage(&lost.world);
    let (tenant, bucket): (_, BucketId) = (lost.tenant.parse().unwrap(), lost.id.parse().unwrap());
    // What whoever holds the storage can plant: another KEK, another bucket, a wrapped key of their own under the right names.
    let planted = [("local/system", bucket), (&*lost.kek, BucketId::random().unwrap()), (&*lost.kek, bucket)];
    for (kek, bucket) in planted {
        let (ik, kek) = (IkId::random().unwrap(), kek.to_owned());
        let context = IkContext { tenant, bucket, ik, created: 1, kek, kek_version: "1".to_owned() };
        let record = IkRecord { context, wrapped: vec![7; 60] };
        let (name, body) = (hidden::ik_record_name(&record).unwrap(), record.to_bytes().unwrap());
        storage.put("data", &name, PutOptions::default(), pipeline::upload(body)).await.unwrap();
    }
    let gateway = lost.with_tenant().await;
    let before = gateway.unwraps().await;
    let (status, bucket) = gateway.adopt("data", lost.adopt()).await;
    assert_eq!(
        (status, &bucket["adopted"]["keys"], &bucket["adopted"]["refused_keys"]),
        (201, &json!(2), &json!(3))
    );
    assert!(
        (gateway.unwraps().await - before - 3.0).abs() < 0.5,
        "two that are genuine, and the one that looks so"
    );
    check(&gateway.client().await, "data", &lost.wanted).await;
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_bucket_full_of_records_that_do_not_open_is_refused_before_the_kms_has_tried_them_all() {
    let lost = Lost::new().await;
    let storage = storage(&lost.world);
    for _ in 0..1_050 {
        let context = IkContext {
            tenant: lost.tenant.parse().unwrap(),
            bucket: lost.id.parse().unwrap(),
            ik: IkId::random().unwrap(),
            created: 1,
            kek: lost.kek.clone(),
            kek_version: "1".to_owned(),
        };
        let record = IkRecord { context, wrapped: vec![7; 60] };
        let (name, body) = (hidden::ik_record_name(&record).unwrap(), record.to_bytes().unwrap());
        storage.put("data", &name, PutOptions::default(), pipeline::upload(body)).await.unwrap();
    }
    let gateway = lost.with_tenant().await;
    let before = gateway.unwraps().await;
    gateway.refuses(409, "more than 1000 key records", lost.adopt()).await;
    assert!(gateway.unwraps().await - before < 1_002.5, "and the two that are genuine");
    gateway.stop().await;
}

#[actix_rt::test]
async fn what_is_not_the_bucket_that_the_operator_names_is_refused() {
    let lost = Lost::new().await;
    let gateway = lost.with_tenant().await;
    let storage = storage(&lost.world);
    storage.create_bucket("unmarked").await.unwrap();
    storage.put("unmarked", "object", PutOptions::default(), pipeline::upload(b"x".to_vec())).await.unwrap();
    let other = BucketId::random().unwrap().to_string();
    let with_other = format!("{}bucket {} {other} other\n", lost.card, lost.tenant);
    let named = |backend_bucket: &str, id: &str, card: &str| json!({ "backend_bucket": backend_bucket, "id": id, "recovery_card": card });
    gateway.refuses(400, "has no line", named("data", &other, &lost.card)).await;
    gateway.refuses(409, "carries the logical id", named("data", &other, &with_other)).await;
    gateway.refuses(409, "carries no logical id", named("unmarked", &lost.id, &lost.card)).await;
    gateway.refuses(409, "has no bucket", named("nowhere", &lost.id, &lost.card)).await;
    gateway.refuses(409, "has no bucket", json!({ "backend_bucket": "nowhere", "plain": true })).await;
    gateway.refuses(409, "carries the logical id", json!({ "backend_bucket": "data", "plain": true })).await;
    gateway.refuses(400, "either", json!({ "backend_bucket": "data" })).await;
    gateway
        .refuses(400, "no backend", json!({ "backend_bucket": "data", "plain": true, "backend": "x" }))
        .await;
    // A copy without its key records reads as nothing: said now, and not by the first client.
    for entry in list(&storage, "data", hidden::IK_PREFIX).await {
        storage.delete("data", &entry.key, None, Conditions::default()).await.unwrap();
    }
    gateway.refuses(409, "none of its 0 key records", lost.adopt()).await;
    let marker = storage.get("data", hidden::BUCKET, GetOptions::default()).await.unwrap();
    let marker = pipeline::collect(marker.body, 64).await.unwrap();
    assert_eq!(
        hidden::parse_bucket_marker(&marker).unwrap().to_string(),
        lost.id,
        "a refusal left its id alone"
    );
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_replica_takes_the_place_of_its_original_and_never_stands_beside_it() {
    let world = World::new();
    let gateway = Gateway::start(&world).await;
    let client = gateway.client().await;
    let wanted = fill(&client).await;
    replicate(&world, "data", "replica").await;
    let (card, id) = (gateway.control.recovery_card().unwrap(), gateway.id("data"));
    let adopt = json!({ "backend_bucket": "replica", "id": id, "recovery_card": card });
    gateway.refuses(409, "release that one", adopt).await;
    let (status, released) = gateway.admin("/v1/buckets/data/release", json!({})).await;
    assert_eq!((status, &released["pending"], &released["id"]), (200, &json!([]), &json!(id)));
    assert_eq!(client.get("/data/small").await.status, 404);
    // A replica that lags: it lacks the record of the newest key, under which the next write would be sealed.
    let storage = storage(&world);
    let records = list(&storage, "replica", hidden::IK_PREFIX).await;
    assert_eq!(records.len(), 2, "its own key and the lent one");
    for record in &records {
        storage.delete("replica", &record.key, None, Conditions::default()).await.unwrap();
    }
    let mut left = false;
    for record in &records {
        // One stays: a bucket without any would be refused.
        let found = storage.get("data", &record.key, GetOptions::default()).await.unwrap();
        let body = pipeline::collect(found.body, 1 << 16).await.unwrap();
        if IkRecord::parse(&body).unwrap().context.bucket.to_string() != id {
            storage.put("replica", &record.key, PutOptions::default(), pipeline::upload(body)).await.unwrap();
            left = true;
        }
    }
    assert!(left);
    // With what the release answered: the card of the registry does not name it any more.
    let card = released["recovery_card"].as_str().unwrap();
    let adopt = json!({ "backend_bucket": "replica", "id": id, "recovery_card": card });
    let (status, bucket) = gateway.adopt("data", adopt).await;
    assert_eq!((status, bucket["backend_bucket"].as_str()), (201, Some("replica")), "{bucket}");
    assert_eq!(
        key_records(&world.backend(), "replica").await,
        2,
        "the missing record is back before the bucket is in use"
    );
    check(&client, "data", &wanted).await;
    client.put("/data/new", bytes(1_000, 9)).await.ok();
    assert_eq!(check_key_records(&world.backend(), "replica").await, wanted.len() + 1);
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_plain_bucket_comes_in_as_it_is() {
    let world = World::new();
    let storage = storage(&world);
    storage.create_bucket("legacy").await.unwrap();
    storage.put("legacy", "report", PutOptions::default(), pipeline::upload(b"old".to_vec())).await.unwrap();
    let gateway = Gateway::start(&world).await;
    let client = gateway.client().await;
    storage
        .put("legacy", ".sealgate/v1/u/x", PutOptions::default(), pipeline::upload(b"x".to_vec()))
        .await
        .unwrap();
    let plain = json!({ "backend_bucket": "legacy", "plain": true });
    gateway.refuses(409, "the gateway's own", plain.clone()).await;
    storage.delete("legacy", ".sealgate/v1/u/x", None, Conditions::default()).await.unwrap();
    let (status, bucket) = gateway.adopt("adopted", plain).await;
    assert_eq!((status, &bucket["rules"]), (201, &json!([{ "prefix": "", "plain": true }])), "{bucket}");
    assert_eq!(client.get("/adopted/report").await.ok().body, "old");
    client.put("/adopted/new", "plain too").await.ok();
    let found = storage.get("legacy", "new", GetOptions::default()).await.unwrap();
    assert_eq!(pipeline::collect(found.body, 64).await.unwrap(), b"plain too");
    assert!(!client.get("/adopted").await.ok().text().contains(".sealgate"), "the id is hidden");
    // Its place is taken: by name, and by the name that a new bucket would have there.
    let (status, problem) =
        gateway.adopt("again", json!({ "backend_bucket": "legacy", "plain": true })).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(client.put("/legacy", "").await.status, 409);
    // Released, it has an id and no key records, and comes in again by that id.
    let (status, released) = gateway.admin("/v1/buckets/adopted/release", json!({})).await;
    assert_eq!(status, 200, "{released}");
    let known = |rules: Value| json!({ "backend_bucket": "legacy", "id": released["id"], "recovery_card": released["recovery_card"], "rules": rules });
    let plain = json!([{ "prefix": "", "plain": true }]);
    let half = json!([{ "prefix": "", "plain": true }, { "prefix": "secret/", "plain": false }]);
    gateway.refuses(409, "none of its 0 key records", known(half)).await;
    let (status, bucket) = gateway.adopt("adopted", known(plain)).await;
    assert_eq!(status, 201, "{bucket}");
    assert_eq!(client.get("/adopted/report").await.ok().body, "old");
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_damaged_record_of_a_replica_is_not_counted_and_is_written_over() {
    let world = World::new();
    let gateway = Gateway::start(&world).await;
    let client = gateway.client().await;
    let wanted = fill(&client).await;
    replicate(&world, "data", "replica").await;
    let (status, released) = gateway.admin("/v1/buckets/data/release", json!({})).await;
    assert_eq!(status, 200, "{released}");
    let storage = storage(&world);
    let mut damaged = None;
    for entry in list(&storage, "replica", hidden::IK_PREFIX).await {
        let found = storage.get("replica", &entry.key, GetOptions::default()).await.unwrap();
        let genuine = pipeline::collect(found.body, 1 << 16).await.unwrap();
        let mut record = IkRecord::parse(&genuine).unwrap();
        if released["id"] == record.context.bucket.to_string() {
            // Its name is the same: that is made of what the record is for.
            record.wrapped[0] ^= 1;
            let body = pipeline::upload(record.to_bytes().unwrap());
            storage.put("replica", &entry.key, PutOptions::default(), body).await.unwrap();
            damaged = Some((entry.key, genuine));
        }
    }
    let (key, genuine) = damaged.unwrap();
    let adopt = json!({ "backend_bucket": "replica", "id": released["id"], "recovery_card": released["recovery_card"] });
    let (status, bucket) = gateway.adopt("data", adopt).await;
    assert_eq!(
        (status, &bucket["adopted"]["keys"], &bucket["adopted"]["refused_keys"]),
        (201, &json!(1), &json!(1)),
        "{bucket}"
    );
    let found = storage.get("replica", &key, GetOptions::default()).await.unwrap();
    assert_eq!(pipeline::collect(found.body, 1 << 16).await.unwrap(), genuine);
    check(&client, "data", &wanted).await;
    gateway.stop().await;
}

/// A node that makes a bucket takes its id out again when that fails: a replica would lose what it is known by.
#[actix_rt::test]
async fn a_bucket_that_is_being_adopted_is_not_for_requests_to_make() {
    let world = World::new();
    let control = world.control().await;
    tenant(&control).await;
    let registry = control.registry();
    let tenant = registry.state().tenant_named("tests").unwrap().id;
    let (name, empty) = ("adopted".to_owned(), String::new());
    let adopt = Adopt {
        name: name.clone(),
        tenant,
        region: empty.clone(),
        backend: empty,
        backend_bucket: "legacy".to_owned(),
        rules: Vec::new(),
        backend_sse: None,
        what: Adopted::Plain,
    };
    let adopting = registry.begin_adopt(adopt.clone()).unwrap();
    let made = registry.begin_create(tenant, &name, "");
    assert!(matches!(&made, Err(Error::AlreadyExists(why)) if why == "owned"), "{made:?}");
    let taken = registry.begin_create(tenant, "legacy", "");
    assert!(matches!(&taken, Err(Error::AlreadyExists(why)) if why == "taken"), "{taken:?}");
    assert!(matches!(registry.commit_create(adopting.id), Err(Error::Precondition(_))));
    let again = registry.begin_adopt(Adopt { name: "other".to_owned(), ..adopt });
    assert!(matches!(&again, Err(Error::AlreadyExists(_))), "{again:?}");
    registry.abort_create(adopting.id).unwrap();
    assert!(registry.state().buckets.is_empty());
    control.stop().await;
}
