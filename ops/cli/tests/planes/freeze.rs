//! Write freezes, and buckets that exchange their names.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use sealgate_control_plane::registry::records::Tenants;
use sealgate_control_plane::{Handle, ManualClock};
use sealgate_data_plane::clock::SystemClock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::s3::{Answer, Client, bytes};
use super::steered::{Call, Moment};
use super::steering::Steering;
use super::world::{World, admin, identity, issue, tenant, try_admin, until};

/// An operator at an admin API.
struct Operator {
    address: std::net::SocketAddr,
    token: String,
}

impl Operator {
    fn new(world: &World, control: &Handle) -> Self {
        let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
        Self { address: control.admin_addr(), token: token.trim().to_owned() }
    }

    /// With a bucket that no node has made, so that there is none.
    async fn with_bucket(world: &World, control: &Handle) -> Self {
        let tenant = control.ensure_tenant("tests").await.unwrap();
        let bucket = control.registry().begin_create(tenant, "bucket", "").unwrap();
        control.registry().commit_create(bucket.id).unwrap();
        Self::new(world, control)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        admin(self.address, &self.token, method, path, body).await
    }

    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let answer = try_admin(self.address, &self.token, method, path, body).await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    async fn freeze(&self, name: &str, frozen: bool) -> Value {
        self.ask("PUT", &format!("/v1/buckets/{name}/freeze"), json!({ "frozen": frozen })).await
    }

    async fn id(&self, name: &str) -> String {
        let all = self.ask("GET", "/v1/buckets", Value::Null).await;
        let bucket = all.as_array().unwrap().iter().find(|bucket| bucket["name"] == name).unwrap();
        bucket["id"].as_str().unwrap().to_owned()
    }
}

fn check_settled(answer: &Value) {
    assert_eq!((&answer["pending"], &answer["writes_in_flight"]), (&json!([]), &json!(0)), "{answer}");
}

#[track_caller]
fn check_repeated(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (503, "SlowDown"));
    assert_eq!(answer.headers["retry-after"], "2");
}

#[actix_rt::test]
async fn a_frozen_bucket_takes_no_writes_and_is_read() {
    let steering = Steering::start().await;
    let operator = Operator::new(&steering.world, &steering.control);
    let client = &steering.plain;
    client.put("/other", "").await.ok();
    client.put("/bucket/object", "text").await.ok();
    client.put("/other/object", "text").await.ok();
    let upload = client.create_upload("/bucket/upload").await;
    check_settled(&operator.freeze("bucket", true).await);

    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let delete = "<Delete><Object><Key>object</Key></Object></Delete>";
    let part = format!("/bucket/upload?partNumber=1&uploadId={upload}");
    for client in [&steering.plain, &steering.steered] {
        for (method, target, body) in [
            ("PUT", "/bucket/object", "new"),
            ("DELETE", "/bucket/object", ""),
            ("POST", "/bucket?delete=", delete),
            ("POST", "/bucket/next?uploads=", ""),
            ("PUT", &part, "part"),
            ("PUT", "/bucket/object?tagging=", tags),
            ("PUT", "/bucket?tagging=", tags),
            ("DELETE", "/bucket", ""),
        ] {
            check_repeated(&client.send(method, target, body).await);
        }
        let source = [("x-amz-copy-source", "/other/object".to_owned())];
        check_repeated(&client.send_with("PUT", "/bucket/copy", &source, "").await);
        assert_eq!(client.get("/bucket/object").await.ok().body, "text");
        let source = [("x-amz-copy-source", "/bucket/object".to_owned())];
        client.send_with("PUT", "/other/copy", &source, "").await.ok();
    }
    assert!(client.get("/bucket").await.ok().text().contains("<Key>object</Key>"));
    client.send("DELETE", &format!("/bucket/upload?uploadId={upload}"), "").await.ok();
    for (method, path, body) in [
        ("DELETE", "/v1/buckets/bucket", Value::Null),
        ("PUT", "/v1/buckets/bucket/rules", json!({ "rules": [] })),
        ("POST", "/v1/buckets/bucket/release", json!({})),
    ] {
        let (status, text) = operator.refused(method, path, body).await;
        assert!(status == 409 && text.contains("frozen"), "{text}");
    }

    check_settled(&operator.freeze("bucket", false).await);
    for client in [&steering.plain, &steering.steered] {
        client.put("/bucket/object", "new").await.ok();
    }
    steering.stop().await;
}

#[actix_rt::test]
async fn a_write_that_was_let_in_before_the_freeze_is_told_until_it_ends() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let (client, operator) = (client.at(node.address()), Operator::new(&world, &control));
    client.put("/bucket", "").await.ok();
    client.put("/copy", "").await.ok();
    let body = bytes(3 << 20, 1);
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let head = client.head(
        "PUT",
        "/bucket/object",
        &format!("content-length: {}\r\nconnection: close\r\n", body.len()),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..1 << 20]).await.unwrap();
    let writes = &node.node().writes;
    until("the write", async || writes.in_flight() == 1).await;

    let told = operator.freeze("bucket", true).await;
    assert_eq!((&told["pending"], &told["writes_in_flight"]), (&json!([]), &json!(1)));
    check_repeated(&client.put("/bucket/object", "new").await);
    let switch = json!({ "with": "copy", "expect": operator.id("bucket").await });
    let (status, text) = operator.refused("POST", "/v1/buckets/bucket/switch", switch.clone()).await;
    assert!(status == 409 && text.contains("1 writes in flight"), "{text}");

    stream.write_all(&body[1 << 20..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    check_settled(&operator.ask("GET", "/v1/buckets/bucket/freeze", Value::Null).await);
    assert_eq!(client.get("/bucket/object").await.ok().body, body);
    operator.ask("POST", "/v1/buckets/bucket/switch", switch).await;
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_copy_whose_client_has_hung_up_is_still_in_flight() {
    let steering = Steering::start().await;
    let operator = Operator::new(&steering.world, &steering.control);
    steering.plain.put("/bucket/object", "text").await.ok();
    let (go_on, gone_on) = tokio::sync::oneshot::channel::<()>();
    let gone_on = gone_on.shared();
    let reached = Rc::new(tokio::sync::Notify::new());
    let told = Rc::clone(&reached);
    steering.backend.once(Moment::Before, Call::Copy, "late", move || async move {
        told.notify_one();
        let _ = gone_on.await;
        Ok(())
    });
    let client = steering.steered.clone();
    let asked = actix_rt::spawn(async move {
        let source = [("x-amz-copy-source", "/bucket/object".to_owned())];
        client.send_with("PUT", "/bucket/late", &source, "").await
    });
    reached.notified().await;
    asked.abort();
    let _ = asked.await;
    assert_eq!(operator.freeze("bucket", true).await["writes_in_flight"], 1);
    go_on.send(()).unwrap();
    let settled =
        async || operator.ask("GET", "/v1/buckets/bucket/freeze", Value::Null).await["writes_in_flight"] == 0;
    until("the copy's end", settled).await;
    assert_eq!(steering.plain.get("/bucket/late").await.ok().body, "text");
    steering.stop().await;
}

#[actix_rt::test]
async fn a_node_that_is_not_heard_from_may_be_writing_until_it_is_revoked() {
    let steering = Steering::start().await;
    let operator = Operator::new(&steering.world, &steering.control);
    steering.plain.put("/copy", "").await.ok();
    issue(&steering.control, "away").await;
    assert_eq!(operator.freeze("bucket", true).await["pending"], json!(["away"]));
    let switch = json!({ "with": "copy", "expect": operator.id("bucket").await });
    let (status, text) = operator.refused("POST", "/v1/buckets/bucket/switch", switch.clone()).await;
    assert!(status == 409 && text.contains("[away]"), "{text}");
    operator.ask("DELETE", "/v1/nodes/away", Value::Null).await;
    check_settled(&operator.ask("POST", "/v1/buckets/bucket/switch", switch).await);
    steering.stop().await;
}

/// Its clients' signing keys outlast its certificate.
#[actix_rt::test]
async fn a_node_whose_certificate_is_over_may_be_writing_until_it_is_revoked() {
    let world = World::new();
    let clock = Arc::new(ManualClock::new(SystemClock::shared().unix()));
    let control = world.control_by(Arc::clone(&clock) as _).await;
    let operator = Operator::with_bucket(&world, &control).await;
    issue(&control, "away").await;
    clock.advance(31 * 24 * 3_600);
    assert_eq!(operator.freeze("bucket", true).await["pending"], json!(["away"]));
    operator.ask("DELETE", "/v1/nodes/away", Value::Null).await;
    check_settled(&operator.ask("GET", "/v1/buckets/bucket/freeze", Value::Null).await);
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_whose_tenants_were_changed_may_serve_the_old_ones_until_it_is_here_as_the_new() {
    let world = World::new();
    let control = world.control().await;
    let operator = Operator::with_bucket(&world, &control).await;
    let others = control.ensure_tenant("others").await.unwrap();
    issue(&control, "one").await;
    let issued = control.issue_node("one", Tenants::These(vec![others])).await.unwrap();
    assert_eq!(operator.freeze("bucket", true).await["pending"], json!(["one"]));
    let node = world.node(format!("https://{}", control.grpc_addr()), identity(&issued)).await;
    check_settled(&operator.ask("GET", "/v1/buckets/bucket/freeze", Value::Null).await);
    node.stop().await;
    let asked = async || operator.ask("GET", "/v1/buckets/bucket/freeze", Value::Null).await;
    until("the stream's end", async || asked().await["pending"] == json!(["one"])).await;
    operator.ask("DELETE", "/v1/nodes/one", Value::Null).await;
    control.issue_node("one", Tenants::These(vec![others])).await.unwrap();
    check_settled(&asked().await);
    control.stop().await;
}

#[actix_rt::test]
async fn two_buckets_exchange_their_names_once_and_for_good() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let port = control.grpc_addr().port();
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let (client, operator) = (client.at(node.address()), Operator::new(&world, &control));
    for name in ["data", "copy"] {
        client.put(&format!("/{name}"), "").await.ok();
    }
    let rules = json!({ "rules": [{ "prefix": "", "plain": true }] });
    operator.ask("PUT", "/v1/buckets/data/rules", rules).await;
    client.put("/data/object", "old").await.ok();
    client.put("/copy/object", "copied").await.ok();
    let (old, new) = (operator.id("data").await, operator.id("copy").await);
    let switch = |expect: &str| json!({ "with": "copy", "expect": expect });
    let path = "/v1/buckets/data/switch";
    let (status, text) = operator.refused("POST", path, switch(&old)).await;
    assert!(status == 409 && text.contains("not"), "{text}");
    operator.freeze("data", true).await;
    for (body, status) in [
        (switch(&new), 409),
        (json!({ "with": "data", "expect": old }), 400),
        (json!({ "with": "nowhere", "expect": old }), 404),
    ] {
        assert_eq!(operator.refused("POST", path, body).await.0, status);
    }
    let other = control.ensure_tenant("others").await.unwrap();
    let foreign = control.registry().begin_create(other, "foreign", "").unwrap();
    control.registry().commit_create(foreign.id).unwrap();
    assert_eq!(operator.refused("POST", path, json!({ "with": "foreign", "expect": old })).await.0, 404);

    check_settled(&operator.ask("POST", path, switch(&old)).await);
    assert_eq!((operator.id("data").await, operator.id("copy").await), (new.clone(), old.clone()));
    for name in ["data", "copy"] {
        let path = format!("/v1/buckets/{name}/freeze");
        assert_eq!(operator.ask("GET", &path, Value::Null).await["frozen"], json!(true));
    }
    assert_eq!(client.get("/data/object").await.ok().body, "copied");
    assert_eq!(client.get("/copy/object").await.ok().body, "old");
    for name in ["data", "copy"] {
        check_repeated(&client.put(&format!("/{name}/object"), "new").await);
    }
    assert_eq!(operator.refused("POST", path, switch(&old)).await.0, 409, "repeated");
    check_settled(&operator.freeze("data", false).await);
    client.put("/data/object", "new").await.ok();
    check_repeated(&client.put("/copy/object", "new").await);

    control.stop().await;
    let control = world.control_at(port).await;
    let operator = Operator::new(&world, &control);
    assert_eq!((operator.id("data").await, operator.id("copy").await), (new, old));
    until("the node", async || {
        operator.ask("GET", "/v1/buckets/copy/freeze", Value::Null).await["pending"] == json!([])
    })
    .await;
    assert_eq!(client.get("/data/object").await.ok().body, "new");
    check_repeated(&client.put("/copy/object", "new").await);
    node.stop().await;
    control.stop().await;
}

/// Under one name there is one bucket or the other at every moment, and never the first again.
#[actix_rt::test]
async fn readers_see_one_bucket_and_then_the_other() {
    let steering = Steering::start().await;
    let operator = Operator::new(&steering.world, &steering.control);
    steering.plain.put("/copy", "").await.ok();
    let (epoch, version) = steering.other.node().applied();
    steering.node.node().wait_applied(epoch, version).await;
    steering.plain.put("/bucket/object", "old").await.ok();
    steering.plain.put("/copy/object", "new").await.ok();
    let ended = Rc::new(std::cell::Cell::new(false));
    let readers = [&steering.plain, &steering.steered].map(|client| {
        let (client, ended) = (client.clone(), Rc::clone(&ended));
        actix_rt::spawn(async move {
            let mut seen = Vec::new();
            while !ended.get() {
                seen.push(client.get("/bucket/object").await.ok().text());
            }
            seen.push(client.get("/bucket/object").await.ok().text());
            seen.dedup();
            seen
        })
    });
    operator.freeze("bucket", true).await;
    let switch = json!({ "with": "copy", "expect": operator.id("bucket").await });
    check_settled(&operator.ask("POST", "/v1/buckets/bucket/switch", switch).await);
    for client in [&steering.plain, &steering.steered] {
        assert_eq!(client.get("/bucket/object").await.ok().text(), "new", "every node knows");
    }
    ended.set(true);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(seen == ["old", "new"] || seen == ["new"], "{seen:?}");
    }
    steering.stop().await;
}

/// The form names its bucket before its body has come, and stores when it has.
#[actix_rt::test]
async fn a_form_that_began_before_the_names_were_exchanged_stores_nothing() {
    let world = World::new();
    let control = world.control().await;
    let client: Client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let (client, operator) = (client.at(node.address()), Operator::new(&world, &control));
    for name in ["data", "copy"] {
        client.put(&format!("/{name}"), "").await.ok();
    }
    let snapshot = node.node().snapshot().unwrap();
    let old = operator.id("data").await;
    operator.freeze("data", true).await;
    operator.ask("POST", "/v1/buckets/data/switch", json!({ "with": "copy", "expect": old })).await;
    operator.freeze("data", false).await;
    operator.freeze("copy", false).await;
    // What a request holds that took its config before.
    let bucket = snapshot.bucket("data").unwrap();
    let parts =
        http::Request::put("/data/object").header("host", "localhost").body(()).unwrap().into_parts().0;
    let request = sealgate_data_plane::s3::S3Request::parse(&parts, &[]).unwrap();
    let operation = sealgate_data_plane::s3::Operation::PostObject;
    assert_eq!(bucket.id.to_string(), old);
    let entered = sealgate_data_plane::writes::let_in(node.node(), &snapshot, &request, &operation);
    assert_eq!(entered.err().unwrap().code().as_str(), "SlowDown");
    let newest = node.node().snapshot().unwrap();
    assert!(
        sealgate_data_plane::writes::let_in(node.node(), &newest, &request, &operation).unwrap().is_some()
    );
    node.stop().await;
    control.stop().await;
}
