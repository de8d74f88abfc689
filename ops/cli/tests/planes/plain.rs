//! Multipart uploads in plain prefixes: the backend's own, and never mixed with encrypted ones.

use bytes::Bytes;
use sealgate_control_plane::Handle;
use sealgate_control_plane::registry::records::RuleRecord;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, GetOptions};
use sealgate_data_plane::pipeline;
use sealgate_data_plane::plane::DataPlane;

use super::s3::{Answer, Client, bytes};
use super::storage::list;
use super::world::{World, identity, issue, soon, tenant};

const PART: usize = 5 << 20;

struct Plain {
    control: Handle,
    node: DataPlane,
    client: Client,
}

/// A bucket in which everything below `open/` is plain.
async fn plain(world: &World) -> Plain {
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let plain = Plain { control, node, client };
    plain.rule(true).await;
    plain
}

impl Plain {
    async fn rule(&self, plain: bool) {
        let rules = vec![RuleRecord { prefix: "open/".to_owned(), plain }];
        let version = self.control.registry().set_rules("bucket", rules).unwrap();
        soon("the rule", self.node.node().wait_applied(version.epoch, version.version)).await;
    }

    async fn part(&self, target: &str, id: &str, number: u16, body: Bytes) -> Answer {
        self.client.put(&format!("{target}?partNumber={number}&uploadId={id}"), body).await
    }

    async fn stop(self) {
        self.node.stop().await;
        self.control.stop().await;
    }
}

#[actix_rt::test]
async fn parts_are_the_backends_own_and_nothing_hidden_lies_beside_them() {
    let world = World::new();
    let plain = plain(&world).await;
    let client = &plain.client;
    let target = "/bucket/open/object";
    let backend = FsBackend::open(world.backend()).unwrap();
    let id = client.create_upload(target).await;
    // Of one part: what has this form is translated in encrypted prefixes.
    let only = plain.part(target, &id, 1, bytes(1_000, 3)).await.ok().etag();
    let done = client.complete(target, &id, &[only]).await.ok().tag("ETag").replace("&quot;", "\"");
    let stored = backend.head("bucket", "open/object", GetOptions::default()).await.unwrap();
    assert_eq!(done, format!("\"{}\"", stored.etag));

    let id = client.create_upload(target).await;
    let parts = [bytes(PART, 1), bytes(1_000, 2)];
    let mut etags = Vec::new();
    for (number, body) in (1..).zip(&parts) {
        etags.push(plain.part(target, &id, number, body.clone()).await.ok().etag());
    }
    let listed = client.get(&format!("{target}?uploadId={id}")).await.ok().text();
    assert!(
        listed.contains(&format!("<Size>{PART}</Size>")) && listed.contains("<Size>1000</Size>"),
        "{listed}"
    );
    let escaped = |etag: &String| etag.replace('"', "&quot;");
    assert!(etags.iter().all(|etag| listed.contains(&escaped(etag))), "{listed}");
    let done = client.complete(target, &id, &etags).await.ok().tag("ETag").replace("&quot;", "\"");

    let stored = backend.get("bucket", "open/object", GetOptions::default()).await.unwrap();
    assert_eq!(done, format!("\"{}\"", stored.meta.etag), "the backend's own ETag");
    assert_eq!(pipeline::collect(stored.body, 16 << 20).await.unwrap(), parts.concat());
    let read = client.get(target).await.ok();
    assert_eq!((read.etag(), read.body), (done, Bytes::from(parts.concat())));
    let all = list(&backend, "bucket", "").await;
    assert!(!all.iter().any(|entry| entry.key.contains("/u/")), "{all:?}");
    plain.stop().await;
}

#[actix_rt::test]
async fn what_is_wrong_with_an_upload_is_told_before_anything_is_made() {
    let world = World::new();
    let plain = plain(&world).await;
    let client = &plain.client;
    let target = "/bucket/open/object";
    let id = client.create_upload(target).await;
    let small = plain.part(target, &id, 1, bytes(1_000, 1)).await.ok().etag();
    let last = plain.part(target, &id, 2, bytes(1_000, 2)).await.ok().etag();
    let code = |answer: Answer| (answer.status.as_u16(), answer.tag("Code"));
    let expected = |status, code: &str| (status, code.to_owned());
    let answer = client.complete(target, &id, &[small.clone(), last.clone()]).await;
    assert_eq!(code(answer), expected(400, "EntityTooSmall"));
    let answer = client.complete(target, &id, &[last]).await;
    assert_eq!(code(answer), expected(400, "InvalidPart"), "another part's ETag");
    assert_eq!(client.get(target).await.status, 404);
    let answer = client.complete(target, &id, &[small]).await;
    assert_eq!(answer.status, 200, "the last part may be small");

    let id = client.create_upload(target).await;
    let part = plain.part(target, &id, 1, bytes(5, 1)).await.ok().etag();
    client.send("DELETE", &format!("{target}?uploadId={id}"), "").await.ok();
    assert_eq!(code(client.complete(target, &id, &[part]).await), expected(404, "NoSuchUpload"));
    assert_eq!(client.get(target).await.ok().body, bytes(1_000, 1), "the object before it is untouched");
    plain.stop().await;
}

#[actix_rt::test]
async fn an_upload_that_was_begun_under_the_other_rule_is_never_completed() {
    let world = World::new();
    let plain = plain(&world).await;
    let client = &plain.client;
    let target = "/bucket/open/object";
    let begun_plain = client.create_upload(target).await;
    let in_clear = plain.part(target, &begun_plain, 1, bytes(1_000, 1)).await.ok().etag();
    plain.rule(false).await;
    assert_eq!(plain.part(target, &begun_plain, 2, bytes(1_000, 2)).await.tag("Code"), "NoSuchUpload");
    assert_eq!(client.complete(target, &begun_plain, &[in_clear]).await.tag("Code"), "NoSuchUpload");

    let begun_encrypted = client.create_upload(target).await;
    plain.part(target, &begun_encrypted, 1, bytes(1_000, 3)).await.ok();
    plain.rule(true).await;
    // As the backend knows them, which is what the client is shown now.
    let listed = client.get(&format!("{target}?uploadId={begun_encrypted}")).await.ok().tag("ETag");
    let refused = client.complete(target, &begun_encrypted, &[listed.replace("&quot;", "\"")]).await;
    assert_eq!(refused.tag("Code"), "NoSuchUpload");
    assert_eq!(client.get(target).await.status, 404);
    for id in [begun_plain, begun_encrypted] {
        client.send("DELETE", &format!("{target}?uploadId={id}"), "").await.ok();
    }
    plain.stop().await;
}

#[actix_rt::test]
async fn head_answers_as_get_does() {
    let world = World::new();
    let plain = plain(&world).await;
    let target = "/bucket/open/object";
    plain.client.put(target, bytes(1_000, 1)).await.ok();
    for range in ["bytes=10-19", "bytes=990-2000", "bytes=-5", "bytes=999-", "bytes=1000-", "lines=1-2"] {
        let headers = [("range", range.to_owned())];
        let get = plain.client.send_with("GET", target, &headers, "").await;
        let head = plain.client.send_with("HEAD", target, &headers, "").await;
        assert_eq!(head.status, get.status, "{range}");
        assert_eq!(head.headers.get("content-range"), get.headers.get("content-range"), "{range}");
        if get.status.is_success() {
            assert_eq!(head.headers["content-length"], get.headers["content-length"], "{range}");
        }
    }
    for (number, status) in [(1, 206), (2, 416)] {
        let numbered = format!("{target}?partNumber={number}");
        let head = plain.client.send("HEAD", &numbered, "").await;
        let get = plain.client.get(&numbered).await;
        assert_eq!((head.status.as_u16(), get.status.as_u16()), (status, status), "{number}");
        assert_eq!(head.headers.get("content-range"), get.headers.get("content-range"), "{number}");
    }
    plain.stop().await;
}
