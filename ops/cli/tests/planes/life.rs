//! The life of keys as clients and storage meet it: KEKs rotated and replaced under load and kills, keys taken back.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealgate_control_plane::Handle;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, GetOptions};
use sealgate_data_plane::objects::sealed::ENVELOPE_NAME;
use sealgate_data_plane::pipeline;
use sealgate_data_plane::plane::DataPlane;
use sealgate_envelope::{Envelope, IkRecord, RecoveryCard, hidden};
use sealgate_kms::{Keyring, Unlock};
use serde_json::{Value, json};

use super::adoption::replicate;
use super::process::Plane;
use super::relay::{Moment, Relay};
use super::s3::{Answer, Client, bytes};
use super::storage::list;
use super::world::{World, identity, issue, soon, tenant, try_admin, until};

/// A control plane and two nodes over one storage.
struct Gateway {
    world: World,
    control: Handle,
    nodes: [DataPlane; 2],
    clients: [Client; 2],
    token: String,
}

impl Gateway {
    async fn start() -> Self {
        let world = World::new();
        let control = world.control().await;
        let client = tenant(&control).await;
        let endpoint = format!("https://{}", control.grpc_addr());
        let one = world.node(endpoint.clone(), identity(&issue(&control, "one").await)).await;
        let two = world.node(endpoint, identity(&issue(&control, "two").await)).await;
        let clients = [client.at(one.address()), client.at(two.address())];
        let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
        let this = Self { world, control, nodes: [one, two], clients, token };
        this.bucket("bucket").await;
        this
    }

    async fn bucket(&self, name: &str) {
        self.clients[0].put(&format!("/{name}"), "").await.ok();
        let (epoch, version) = self.nodes[0].node().applied();
        soon("the bucket everywhere", self.nodes[1].node().wait_applied(epoch, version)).await;
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let address = self.control.admin_addr();
        let answer: Answer = try_admin(address, &self.token, method, path, body).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    /// Waits until every copy was seen.
    async fn until_done(&self) -> Value {
        let mut last = Value::Null;
        until("the work on the keys", async || {
            last = self.admin("GET", "/v1/tenants/tests/kek", json!({})).await.1;
            last["work"]["state"] == "done"
        })
        .await;
        last
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
        self.control.stop().await;
    }
}

/// KEK and version of every key record that lies in a bucket.
async fn keks_in(root: &Path, bucket: &str) -> Vec<(String, String)> {
    let backend = FsBackend::open(root.to_owned()).unwrap();
    let mut found = Vec::new();
    for entry in list(&backend, bucket, hidden::IK_PREFIX).await {
        let answer = backend.get(bucket, &entry.key, GetOptions::default()).await.unwrap();
        let record = IkRecord::parse(&pipeline::collect(answer.body, 64 << 10).await.unwrap()).unwrap();
        found.push((record.context.kek, record.context.kek_version));
    }
    found.sort();
    found
}

/// The promise: of each object the key record lies in its bucket, under a KEK that exists and that the card names.
async fn check_promise(root: &Path, bucket: &str, card: &Path, keyring: &Path, unlock: &Unlock) -> usize {
    let backend = FsBackend::open(root.to_owned()).unwrap();
    let mut iks = BTreeSet::new();
    for entry in list(&backend, bucket, "").await {
        if !hidden::is_hidden(entry.key.as_bytes()) {
            let meta = backend.head(bucket, &entry.key, GetOptions::default()).await.unwrap();
            iks.insert(Envelope::parse_header(&meta.metadata[ENVELOPE_NAME]).unwrap().ik_id());
        }
    }
    // Read after the objects: what they name was on it before they were there.
    let card: RecoveryCard = std::fs::read_to_string(card).unwrap().parse().unwrap();
    let keyring = Keyring::open(keyring, unlock).unwrap();
    for ik in &iks {
        let mut opened = false;
        for entry in list(&backend, bucket, &hidden::ik_records_prefix(*ik)).await {
            let Ok(answer) = backend.get(bucket, &entry.key, GetOptions::default()).await else { continue };
            let bytes = pipeline::collect(answer.body, 64 << 10).await.unwrap();
            let record = IkRecord::parse(&bytes).unwrap();
            let context = &record.context;
            let opens = keyring
                .unwrap(&context.kek, &context.kek_version, &record.context().unwrap(), &record.wrapped)
                .is_ok();
            opened |= opens && card.keks().contains(&context.kek);
        }
        assert!(opened, "no record of {ik} opens under a KEK of the card");
    }
    iks.len()
}

#[actix_rt::test]
async fn a_moved_tenants_records_are_replaced_in_every_bucket_and_its_old_kek_can_go() {
    let gateway = Gateway::start().await;
    let [one, two] = &gateway.clients;
    gateway.bucket("copies").await;
    one.put("/bucket/a", bytes(100_000, 1)).await.ok();
    assert_eq!(gateway.admin("POST", "/v1/buckets/bucket/key/rotate", json!({})).await.0, 200);
    two.put("/bucket/b", bytes(100_000, 2)).await.ok();
    let source = [("x-amz-copy-source", "/bucket/a".to_owned())];
    two.send_with("PUT", "/copies/a", &source, "").await.ok();
    let root = gateway.world.backend();
    assert_eq!((keks_in(&root, "bucket").await.len(), keks_in(&root, "copies").await.len()), (2, 2));
    let first = keks_in(&root, "bucket").await[0].0.clone();

    let (status, moving) =
        gateway.admin("PUT", "/v1/tenants/tests/kek", json!({ "kms": "local", "rate": 1000 })).await;
    assert_eq!(status, 202, "{moving}");
    let second = moving["kek"].as_str().unwrap().to_owned();
    let done = gateway.until_done().await;
    assert_eq!(done["work"]["rewrapped"], 3, "{done}");
    for (bucket, records) in [("bucket", 2), ("copies", 2)] {
        let under = vec![(second.clone(), "1".to_owned()); records];
        assert_eq!(keks_in(&root, bucket).await, under, "in {bucket}");
    }
    let (status, gone) =
        gateway.admin("POST", "/v1/tenants/tests/kek/destroy", json!({ "kek": first })).await;
    assert_eq!(status, 200, "{gone}");
    // Nobody has a key in memory any more: the KMS opens what lies there now.
    for node in &gateway.nodes {
        node.node().keys.clear();
    }
    for client in &gateway.clients {
        assert_eq!(client.get("/bucket/a").await.ok().body, bytes(100_000, 1));
        assert_eq!(client.get("/bucket/b").await.ok().body, bytes(100_000, 2));
        assert_eq!(client.get("/copies/a").await.ok().body, bytes(100_000, 1));
    }
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_compromised_key_is_gone_from_every_node_with_the_answer() {
    let gateway = Gateway::start().await;
    let [one, two] = &gateway.clients;
    one.put("/bucket/old", "text").await.ok();
    assert_eq!(two.get("/bucket/old").await.ok().body, "text");
    let (_, keys) = gateway.admin("GET", "/v1/buckets/bucket/keys", json!({})).await;
    let ik = keys[0]["ik"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let (status, told) =
        gateway.admin("POST", &format!("/v1/buckets/bucket/keys/{ik}/compromised"), json!({})).await;
    let took = began.elapsed();
    assert_eq!((status, &told["pending"]), (200, &json!([])), "{told}");
    for (node, client) in gateway.nodes.iter().zip(&gateway.clients) {
        assert!(node.node().keys.is_empty(), "dropped, not only refused");
        assert_eq!(client.get("/bucket/old").await.status, 403);
    }
    // What another machine's load allows: the promise is a second.
    assert!(took < Duration::from_secs(4), "{took:?}");
    eprintln!("a compromised key was gone from two nodes after {took:?}");
    two.put("/bucket/new", "new").await.ok();
    assert_eq!(one.get("/bucket/new").await.ok().body, "new");
    let (_, keys) = gateway.admin("GET", "/v1/buckets/bucket/keys", json!({})).await;
    let states: BTreeSet<_> =
        keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, BTreeSet::from(["active", "compromised"]));
    assert_eq!(one.send("DELETE", "/bucket/old", "").await.status, 204, "deleting needs no key");
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_key_that_was_asked_for_before_it_was_taken_back_is_not_used_after() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let here = client.at(node.address());
    here.put("/bucket", "").await.ok();
    here.put("/bucket/first", "text").await.ok();
    let admin = async |method, path: &str| {
        let answer = try_admin(control.admin_addr(), &token, method, path, json!({})).await.unwrap().ok();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let keys = admin("GET", "/v1/buckets/bucket/keys").await;
    let ik = keys[0]["ik"].as_str().unwrap().to_owned();
    node.node().keys.clear();
    // The control plane gave the key; on its way to the node it is overtaken by the push that takes it back.
    relay.halt_at(Moment::ActiveAnswered);
    let writer = here.clone();
    let writing =
        actix_rt::spawn(async move { writer.try_send("PUT", "/bucket/second", Bytes::from("new")).await });
    relay.reached().await;
    admin("POST", &format!("/v1/buckets/bucket/keys/{ik}/compromised")).await;
    let snapshot = node.node().snapshot().unwrap();
    assert_eq!(snapshot.bucket("bucket").unwrap().keys, Some(1), "the node knows of it");
    relay.release();
    assert_eq!(soon("the write", writing).await.unwrap().unwrap().status, 200);
    assert_eq!(here.get("/bucket/second").await.ok().body, "new", "sealed under another one");
    assert_eq!(here.get("/bucket/first").await.status, 403);
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_disabled_tenant_is_refused_on_every_node_and_back_when_it_is_enabled() {
    let gateway = Gateway::start().await;
    let [one, two] = &gateway.clients;
    one.put("/bucket/object", "text").await.ok();
    assert_eq!(two.get("/bucket/object").await.ok().body, "text");
    let upload = one.create_upload("/bucket/large").await;
    let began = Instant::now();
    let (status, told) = gateway.admin("POST", "/v1/tenants/tests/disable", json!({})).await;
    eprintln!("a tenant was disabled on two nodes after {:?}", began.elapsed());
    assert_eq!((status, &told["pending"]), (200, &json!([])), "{told}");
    for (node, client) in gateway.nodes.iter().zip(&gateway.clients) {
        assert!(node.node().keys.is_empty() && node.node().uploads.is_empty());
        assert_eq!(client.get("/bucket/object").await.status, 403);
        assert_eq!(client.put("/bucket/other", "text").await.status, 403);
        let part = format!("/bucket/large?partNumber=1&uploadId={upload}");
        assert_eq!(client.put(&part, "text").await.status, 403);
        assert_eq!(client.get("/bucket?list-type=2").await.ok().tag("Key"), "object", "lists need no key");
    }
    assert_eq!(gateway.admin("POST", "/v1/tenants/tests/enable", json!({})).await.0, 200);
    for client in &gateway.clients {
        assert_eq!(client.get("/bucket/object").await.ok().body, "text");
    }
    two.put(&format!("/bucket/large?partNumber=1&uploadId={upload}"), "text").await.ok();
    gateway.stop().await;
}

#[actix_rt::test]
async fn a_shredded_tenant_is_refused_on_every_node_and_its_keks_are_gone() {
    let gateway = Gateway::start().await;
    let [one, two] = &gateway.clients;
    one.put("/bucket/object", "text").await.ok();
    two.get("/bucket/object").await.ok();
    let kek = gateway.control.registry().state().tenant_named("tests").unwrap().kek.clone();
    let (status, told) =
        gateway.admin("POST", "/v1/tenants/tests/shred", json!({ "confirm": "tests" })).await;
    assert_eq!((status, &told["pending"]), (202, &json!([])), "{told}");
    assert!(told["caches_empty_at"].as_u64().unwrap() >= told["access_cut_at"].as_u64().unwrap(), "{told}");
    for client in &gateway.clients {
        assert_eq!(client.get("/bucket/object").await.status, 403);
    }
    until("the KEK's end", async || {
        let (_, told) = gateway.admin("GET", "/v1/tenants/tests/shred", json!({})).await;
        told["destroyed_at"].is_u64()
    })
    .await;
    assert!(!gateway.control.recovery_card().unwrap().contains(&kek));
    assert_eq!(gateway.admin("POST", "/v1/tenants/tests/enable", json!({})).await.0, 403);
    assert_eq!(one.send("DELETE", "/bucket/object", "").await.status, 204);
    assert_eq!(one.send("DELETE", "/bucket", "").await.status, 204);
    gateway.stop().await;
}

/// A replica keeps the records from when it was made. What the store has since replaced is known as that, and goes.
#[actix_rt::test]
async fn a_replica_from_before_a_rotation_is_adopted_and_comes_up_to_date() {
    let gateway = Gateway::start().await;
    gateway.clients[0].put("/bucket/object", "text").await.ok();
    replicate(&gateway.world, "bucket", "replica").await;
    for _ in 0..2 {
        assert_eq!(gateway.admin("POST", "/v1/tenants/tests/kek/rotate", json!({})).await.0, 202);
        gateway.until_done().await;
    }
    let (root, kek) =
        (gateway.world.backend(), gateway.until_done().await["kek"].as_str().unwrap().to_owned());
    let under = |version: &str| vec![(kek.clone(), version.to_owned())];
    assert_eq!((keks_in(&root, "bucket").await, keks_in(&root, "replica").await), (under("3"), under("1")));
    let (_, released) = gateway.admin("POST", "/v1/buckets/bucket/release", json!({})).await;
    let adopt = json!({ "backend_bucket": "replica", "id": released["id"], "recovery_card": released["recovery_card"] });
    let wanted = json!({ "name": "bucket", "tenant": "tests", "adopt": adopt });
    let (status, adopted) = gateway.admin("POST", "/v1/buckets", wanted).await;
    assert_eq!(
        (status, &adopted["adopted"]["keys"], &adopted["adopted"]["refused_keys"]),
        (201, &json!(1), &json!(0)),
        "{adopted}"
    );
    gateway.until_done().await;
    assert_eq!(keks_in(&root, "replica").await, under("3"), "the old record went");
    assert_eq!(gateway.clients[1].get("/bucket/object").await.ok().body, "text");
    gateway.stop().await;
}

/// The steps of ops/runbooks/stolen-node.md, as far as they are Sealgate's.
#[actix_rt::test]
async fn a_stolen_node_gets_nothing_any_more_and_what_it_held_is_refused() {
    let gateway = Gateway::start().await;
    let [stolen, other] = &gateway.clients;
    stolen.put("/bucket/object", "text").await.ok();
    gateway.bucket("unread").await;
    other.put("/unread/object", "text").await.ok();
    assert_eq!(gateway.admin("DELETE", "/v1/nodes/one", json!({})).await.0, 200);
    // It never had this key, and does not get it.
    assert_eq!(stolen.get("/unread/object").await.status, 403);
    let (_, told) = gateway.admin("POST", "/v1/tenants/tests/disable", json!({})).await;
    assert_eq!(told["pending"], json!([]), "it is not waited for: {told}");
    assert_eq!(other.get("/bucket/object").await.status, 403);
    let (_, keys) = gateway.admin("GET", "/v1/buckets/bucket/keys", json!({})).await;
    for key in keys.as_array().unwrap() {
        let path = format!("/v1/buckets/bucket/keys/{}/compromised", key["ik"].as_str().unwrap());
        assert_eq!(gateway.admin("POST", &path, json!({})).await.0, 200, "also while the tenant is disabled");
    }
    let (_, credentials) = gateway.admin("GET", "/v1/credentials", json!({})).await;
    let id = credentials[0]["access_key_id"].as_str().unwrap().to_owned();
    let tenant = gateway.control.registry().state().tenant_named("tests").unwrap().id;
    let new = gateway.control.ensure_credential(tenant, "new").await.unwrap().unwrap();
    assert_eq!(gateway.admin("DELETE", &format!("/v1/credentials/{id}"), json!({})).await.0, 200);
    assert_eq!(gateway.admin("POST", "/v1/tenants/tests/enable", json!({})).await.0, 200);
    assert_eq!(other.get("/bucket/object").await.status, 403, "with the old credential");
    let (access_key, secret_key) = (new.record.access_key_id.clone(), new.secret.as_str().to_owned());
    let client = Client { address: other.address, access_key, secret_key };
    assert_eq!(client.get("/bucket/object").await.status, 403, "under a key that the thief had");
    assert_eq!(client.get("/unread/object").await.ok().body, "text");
    client.put("/bucket/new", "new").await.ok();
    assert_eq!(client.get("/bucket/new").await.ok().body, "new");
    let (status, begun) = gateway.admin("POST", "/v1/buckets/bucket/rewrap", json!({ "by": "a test" })).await;
    assert_eq!(status, 202, "{begun}");
    let mut done = Value::Null;
    until("what the thief could read to be encrypted anew", async || {
        done = gateway.admin("GET", "/v1/buckets/bucket/rewrap", json!({})).await.1;
        done["state"] == "done"
    })
    .await;
    assert_eq!((&done["reencrypted"], &done["left"], &done["node"]), (&json!(1), &json!(0), &json!("two")));
    assert_eq!(client.get("/bucket/object").await.ok().body, "text", "under a key of its own again");
    gateway.stop().await;
}

#[actix_rt::test]
async fn the_commands_do_it_and_say_what_they_did() {
    let gateway = Gateway::start().await;
    gateway.clients[0].put("/bucket/object", "text").await.ok();
    let (url, token) = (
        format!("http://{}", gateway.control.admin_addr()),
        gateway.world.path().join("control/admin-token"),
    );
    let command = async |json: bool, words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sealgate"));
        command.args(json.then_some("--json")).arg("admin").args(words);
        command.args(["--admin-url", &url, "--admin-token-file"]).arg(&token);
        let done = actix_rt::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
        (done.status.code().unwrap(), out, err)
    };
    let asked = async |words: &[&str]| {
        let (exit, out, err) = command(true, words).await;
        assert_eq!(exit, 0, "{words:?}: {err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let rotated = asked(&["kek", "rotate", "tests", "--rate", "1000", "--wait"]).await;
    assert_eq!((&rotated["work"]["state"], &rotated["work"]["rewrapped"]), (&json!("done"), &json!(1)));
    let moved = asked(&["kek", "move", "tests", "--to-kms", "local", "--wait"]).await;
    assert_ne!(moved["kek"], rotated["kek"]);
    asked(&["kek", "destroy", "tests", rotated["kek"].as_str().unwrap()]).await;
    assert!(asked(&["kek", "show", "tests"]).await["versions"][0]["destroyed_at"].is_u64());
    asked(&["key", "rotate", "bucket"]).await;
    gateway.clients[0].put("/bucket/other", "text").await.ok();
    let keys = asked(&["key", "list", "bucket"]).await;
    let old = keys.as_array().unwrap().iter().find(|key| key["state"] == "decrypt-only").unwrap();
    let first = old["ik"].as_str().unwrap();
    let (exit, _, err) = command(false, &["key", "retire", "bucket", first]).await;
    assert!(exit == 1 && err.contains("rewrap start"), "{exit} {err}");
    asked(&["key", "compromised", "bucket", first]).await;
    let (_, text, _) = command(false, &["key", "list", "bucket"]).await;
    assert!(text.lines().any(|line| line.starts_with(&format!("{first}  compromised"))), "{text}");
    asked(&["key", "reinstate", "bucket", first, "--force"]).await;
    assert_eq!(gateway.clients[1].get("/bucket/object").await.ok().body, "text");
    asked(&["tenant", "disable", "tests"]).await;
    assert_eq!(gateway.clients[1].get("/bucket/object").await.status, 403);
    asked(&["tenant", "enable", "tests"]).await;
    assert_eq!(gateway.clients[1].get("/bucket/object").await.status, 200);
    let (exit, _, err) = command(false, &["tenant", "shred", "tests", "--confirm", "test"]).await;
    assert!(exit == 2 && err.contains("for good"), "{exit} {err}");
    asked(&["tenant", "shred", "tests", "--confirm", "tests"]).await;
    assert_eq!(asked(&["tenant", "shred-report", "tests"]).await["pending"], json!([]));
    assert_eq!(gateway.clients[1].get("/bucket/object").await.status, 403);
    gateway.stop().await;
}

/// Rotations and moves, with the control plane and the node killed again and again, and writes all the while.
#[actix_rt::test]
async fn kills_at_any_time_leave_no_object_whose_record_does_not_open() {
    const BUCKETS: [&str; 3] = ["kills-a", "kills-b", "kills-c"];
    let world = World::new();
    let mut control = world.control_process().await;
    let client = control.tenant("tests").await;
    let relay = Relay::start(control.plane.address, control.issue("one").await).await;
    let file = world.node_file("one", &relay.endpoint(), &relay.identity());
    let mut node = Plane::node(&file).await;
    let mut here = client.at(node.address);
    until("a config", async || here.send("GET", "/", "").await.status == 200).await;
    for bucket in BUCKETS {
        until("the bucket", async || {
            [200, 409].contains(&here.put(&format!("/{bucket}"), "").await.status.as_u16())
        })
        .await;
    }
    let (card, keyring) = (world.path().join("control/recovery-card"), world.path().join("keyring.json"));
    let unlock = Unlock::key_file(&world.path().join("keyring.key")).unwrap();
    let mut written = Vec::new();
    for round in 0_u64..8 {
        for bucket in BUCKETS {
            let target = format!("/{bucket}/object-{round}");
            until("a write", async || {
                here.try_send("PUT", &target, bytes(1_000, round))
                    .await
                    .is_ok_and(|answer| answer.status == 200)
            })
            .await;
            written.push((target, round));
            let path = format!("/v1/buckets/{bucket}/key/rotate");
            let _ = control.try_now("POST", &path, json!({})).await;
        }
        let (method, path, body) = match round % 2 {
            0 => ("POST", "/v1/tenants/tests/kek/rotate", json!({ "rate": 40 })),
            _ => ("PUT", "/v1/tenants/tests/kek", json!({ "kms": "local", "rate": 40 })),
        };
        let _ = control.try_now(method, path, body).await;
        tokio::time::sleep(Duration::from_millis(37 * round % 200)).await;
        control.plane.kill();
        if round % 3 == 2 {
            node.kill();
        }
        for bucket in BUCKETS {
            check_promise(&world.backend(), bucket, &card, &keyring, &unlock).await;
        }
        control.restart().await;
        relay.set_upstream(control.plane.address);
        if round % 3 == 2 {
            node = Plane::node(&file).await;
            here = client.at(node.address);
        }
    }
    let mut last = Value::Null;
    until("the end of the work", async || {
        last = control.admin("GET", "/v1/tenants/tests/kek", json!({})).await;
        last["work"]["state"] == "done"
    })
    .await;
    let kek = last["kek"].as_str().unwrap().to_owned();
    for version in last["versions"].as_array().unwrap() {
        let old = version["kek"].as_str().unwrap();
        if old != kek {
            assert_eq!(version["destroyable"], true, "{last}");
            control.admin("POST", "/v1/tenants/tests/kek/destroy", json!({ "kek": old })).await;
        }
    }
    for bucket in BUCKETS {
        let keks = keks_in(&world.backend(), bucket).await;
        assert!(keks.iter().all(|(found, _)| *found == kek), "{bucket}: {keks:?} {last}");
        assert!(check_promise(&world.backend(), bucket, &card, &keyring, &unlock).await > 1);
    }
    node.kill();
    let node = Plane::node(&file).await;
    let here = client.at(node.address);
    for (target, round) in written {
        until("what was written", async || {
            let answer = here.try_send("GET", &target, Bytes::new()).await;
            answer.is_ok_and(|answer| answer.status == 200 && answer.body == bytes(1_000, round))
        })
        .await;
    }
}
