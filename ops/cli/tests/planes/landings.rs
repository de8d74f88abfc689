//! Writes that take long, while their bucket is deleted and another is made under its name.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sealgate_control_plane::registry::records::RuleRecord;
use sealgate_data_plane::backend::{BackendError, GetOptions, PutOptions};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::s3::{Operation, S3Request};
use sealgate_data_plane::writes::let_in;
use sealgate_proto::v1 as wire;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::relay::{Relay, Verdict};
use super::s3::{Answer, Client, bytes};
use super::steered::{Call, Moment, Steered, serve};
use super::steering::{MIN_PART, Steering, part_target};
use super::world::{World, admin, issue, soon, tenant};

/// Begins a PUT and gives the connection, over which `left` bytes are still to come.
async fn begin(client: &Client, target: &str, body: &Bytes, left: usize) -> TcpStream {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let head = client.head("PUT", target, &format!("content-length: {}\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..body.len() - left]).await.unwrap();
    stream
}

/// Sends what is left; gives the answer's status line and Code.
async fn end(mut stream: TcpStream, rest: &[u8]) -> String {
    stream.write_all(rest).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = soon("the write's answer", stream.read(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Deletes the bucket through the other node, and makes another of the same name.
async fn replace_bucket(steering: &Steering) {
    steering.plain.send("DELETE", "/bucket", "").await.ok();
    steering.plain.put("/bucket", "").await.ok();
    let (epoch, version) = steering.other.node().applied();
    soon("the new bucket", steering.node.node().wait_applied(epoch, version)).await;
}

#[actix_rt::test]
async fn a_write_into_a_deleted_bucket_does_not_land_in_the_next_one_of_its_name() {
    for (size, left) in [(1_000, 500), (300_000, 100)] {
        let steering = Steering::start().await;
        let body = bytes(size, 1);
        let (begun, has_begun) = oneshot::channel();
        steering.backend.once(Moment::Before, Call::Put, "late", move || async move {
            begun.send(()).unwrap();
            Ok(())
        });
        let stream = begin(&steering.steered, "/bucket/late", &body, left).await;
        soon("the write", has_begun).await.unwrap();
        replace_bucket(&steering).await;
        let answer = end(stream, &body[size - left..]).await;
        assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("OperationAborted"), "{answer}");
        assert_eq!(steering.plain.get("/bucket/late").await.tag("Code"), "NoSuchKey");
        steering.steered.put("/bucket/late", "new").await.ok();
        steering.stop().await;
    }
}

/// It has the name and the id of the one that it replaces; what is acknowledged has to lie in it.
#[actix_rt::test]
async fn a_write_does_not_land_in_a_bucket_whose_replica_was_adopted_meanwhile() {
    let steering = Steering::start().await;
    steering.plain.put("/bucket/object", "text").await.ok();
    steering.storage.create_bucket("replica").await.unwrap();
    for (key, body) in steering.stored().await {
        let found = steering.storage.head("bucket", &key, GetOptions::default()).await.unwrap();
        let options = PutOptions { metadata: found.metadata, ..PutOptions::default() };
        steering.storage.put("replica", &key, options, pipeline::upload(body)).await.unwrap();
    }
    let body = bytes(300_000, 1);
    let (begun, has_begun) = oneshot::channel();
    steering.backend.once(Moment::Before, Call::Put, "late", move || async move {
        begun.send(()).unwrap();
        Ok(())
    });
    let stream = begin(&steering.steered, "/bucket/late", &body, 100).await;
    soon("the write", has_begun).await.unwrap();
    let before = steering.other.node().snapshot().unwrap();

    let token = std::fs::read_to_string(steering.world.path().join("control/admin-token")).unwrap();
    let ask = |path, body| {
        let (address, token) = (steering.control.admin_addr(), token.trim().to_owned());
        async move { admin(address, &token, "POST", path, body).await }
    };
    let released = ask("/v1/buckets/bucket/release", json!({})).await;
    let replica = json!({ "backend_bucket": "replica", "id": released["id"], "recovery_card": released["recovery_card"] });
    let made = ask("/v1/buckets", json!({ "name": "bucket", "tenant": "tests", "adopt": replica })).await;
    assert_eq!((&made["state"], &made["id"]), (&json!("active"), &released["id"]));

    let answer = end(stream, &body[body.len() - 100..]).await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("OperationAborted"), "{answer}");
    assert!(steering.stored().await.iter().all(|(key, _)| key != "late"), "it lies in the old one");
    // A request that took its config before, and comes to write only now.
    let parts = http::Request::put("/bucket/new").header("host", "localhost").body(()).unwrap();
    let request = S3Request::parse(&parts.into_parts().0, &[]).unwrap();
    let entered = let_in(steering.other.node(), &before, &request, &Operation::PostObject);
    assert_eq!(entered.err().unwrap().code().as_str(), "SlowDown");
    assert_eq!(steering.steered.get("/bucket/object").await.ok().body, "text");
    steering.plain.put("/bucket/late", "new").await.ok();
    steering.stop().await;
}

#[actix_rt::test]
async fn deletions_whose_list_took_long_do_not_touch_the_next_bucket() {
    let steering = Steering::start().await;
    let list = Bytes::from("<Delete><Object><Key>k</Key></Object></Delete>");
    let mut stream = TcpStream::connect(steering.steered.address).await.unwrap();
    let more = format!("content-length: {}\r\ncontent-md5: 5DKh5iefM5MSKvRILIuFwQ==\r\n", list.len());
    let head = steering.steered.head("POST", "/bucket?delete=", &more);
    stream.write_all(head.as_bytes()).await.unwrap();
    // What was let in comes before the next request over the same thread.
    steering.steered.get("/bucket").await.ok();
    replace_bucket(&steering).await;
    steering.plain.put("/bucket/k", "new").await.ok();
    let answer = end(stream, &list).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("NoSuchBucket"), "{answer}");
    assert_eq!(steering.plain.get("/bucket/k").await.ok().body, "new");
    steering.stop().await;
}

/// What has no body of the client's that could be held back is not sent to the storage at all.
#[actix_rt::test]
async fn copies_and_changes_of_a_deleted_bucket_do_not_reach_the_next_one() {
    let steering = Rc::new(Steering::start().await);
    steering.plain.put("/second", "").await.ok();
    steering.plain.put("/second/source", "text").await.ok();
    let meanwhile = Rc::clone(&steering);
    steering.backend.once(Moment::Before, Call::Head, "source", move || async move {
        replace_bucket(&meanwhile).await;
        Ok(())
    });
    let source = [("x-amz-copy-source", "/second/source".to_owned())];
    let refused = steering.steered.send_with("PUT", "/bucket/copy", &source, "").await;
    assert_eq!((refused.status.as_u16(), refused.tag("Code").as_str()), (409, "OperationAborted"));
    assert_eq!(steering.plain.get("/bucket/copy").await.tag("Code"), "NoSuchKey");

    let document =
        Bytes::from("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_owned());
    let stream = begin(&steering.steered, "/bucket?versioning=", &document, 9).await;
    steering.steered.get("/bucket").await.ok();
    replace_bucket(&steering).await;
    let answer = end(stream, &document[document.len() - 9..]).await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("OperationAborted"), "{answer}");
    let state = steering.plain.get("/bucket?versioning=").await.ok().text();
    assert!(!state.contains("Enabled"), "{state}");
    steering.backend.assert_done();
    Rc::into_inner(steering).unwrap().stop().await;
}

#[actix_rt::test]
async fn a_config_that_ends_a_bucket_is_acknowledged_after_the_last_write() {
    is_awaited(Moment::After, Call::Put, "object", |client| async move {
        client.put("/bucket/object", "text").await
    })
    .await;
}

#[actix_rt::test]
async fn a_part_is_awaited_until_it_is_noted() {
    is_awaited(Moment::Before, Call::Put, "/n/00001/", |client| async move {
        let id = client.create_upload("/bucket/object").await;
        client.put(&part_target("/bucket/object", &id, 1), bytes(MIN_PART, 1)).await
    })
    .await;
}

#[actix_rt::test]
async fn uploads_of_plain_prefixes_are_awaited() {
    is_awaited(Moment::After, Call::CreateUpload, "open/object", |client| async move {
        client.send("POST", "/bucket/open/object?uploads=", "").await
    })
    .await;
    is_awaited(Moment::After, Call::CopyPart, "open/object#1", |client| async move {
        client.put("/bucket/open/source", "text").await.ok();
        let id = client.create_upload("/bucket/open/object").await;
        let source = [("x-amz-copy-source", "/bucket/open/source".to_owned())];
        client.send_with("PUT", &part_target("/bucket/open/object", &id, 1), &source, "").await
    })
    .await;
}

/// Who waits until a bucket takes no more writes must not hear so while one has only its last step before it. Holds a write
/// at this moment; below `open/` everything is plain.
async fn is_awaited<F: Future<Output = Answer> + 'static>(
    moment: Moment,
    call: Call,
    name: &'static str,
    write: impl FnOnce(Client) -> F,
) {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let storage = sealgate_data_plane::backend::fs::FsBackend::open(world.backend()).unwrap();
    let backend = Steered::new(Rc::new(storage));
    let client = client.at(serve(node.node(), Rc::clone(&backend) as _).await);
    client.put("/bucket", "").await.ok();
    let rules = vec![RuleRecord { prefix: "open/".to_owned(), plain: true }];
    let version = control.registry().set_rules("bucket", rules).unwrap();
    soon("the rule", node.node().wait_applied(version.epoch, version.version)).await;

    let (landed, has_landed) = oneshot::channel();
    let (go_on, going_on) = oneshot::channel::<()>();
    backend.once(moment, call, name, move || async move {
        landed.send(()).unwrap();
        going_on.await.map_err(|_| BackendError::Unavailable("the test says so".to_owned()))
    });
    let write = actix_rt::spawn(write(client));
    soon("the write's last step", has_landed).await.unwrap();

    let mut active = relay.snapshot().await;
    let mut deleting = active.clone();
    deleting.version += 1;
    active.version += 2;
    deleting.buckets[0].state = wire::BucketState::Deleting.into();
    let mut first = Box::pin(relay.push(&deleting, "deleting"));
    assert!(first.as_mut().now_or_never().is_none());
    // Acknowledged in their order, if both were at once.
    assert!(matches!(relay.push(&active, "active").await, Verdict::Ack));
    assert!(first.as_mut().now_or_never().is_none(), "acknowledged with a write on its last step");
    go_on.send(()).unwrap();
    assert!(matches!(first.await, Verdict::Ack));
    write.await.unwrap().ok();
    node.stop().await;
    control.stop().await;
}
