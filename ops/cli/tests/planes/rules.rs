//! Encryption rules, from the admin API to the bytes on disk.

use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, GetOptions};
use sealgate_data_plane::objects::sealed::ENVELOPE_NAME;
use sealgate_data_plane::pipeline;
use serde_json::json;

use super::s3::bytes;
use super::world::{World, admin, identity, issue, tenant};

#[actix_rt::test]
async fn a_rule_holds_when_the_admin_api_has_answered() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let token = std::fs::read_to_string(world.path().join("control/admin-token")).unwrap();
    let rules =
        json!({ "rules": [{ "prefix": "open/", "plain": true }, { "prefix": "open/not/", "plain": false }] });
    let answer = admin(control.admin_addr(), &token, "PUT", "/v1/buckets/bucket/rules", rules).await;
    assert_eq!(answer["pending"], json!([]), "a node has not confirmed");
    let body = bytes(100_000, 1);
    let backend = FsBackend::open(world.backend()).unwrap();
    for (key, plain) in [("open/object", true), ("open/not/object", false), ("other", false)] {
        client.put(&format!("/bucket/{key}"), body.clone()).await.ok();
        assert_eq!(client.get(&format!("/bucket/{key}")).await.ok().body, body, "{key}");
        let stored = backend.get("bucket", key, GetOptions::default()).await.unwrap();
        assert_eq!(!stored.meta.metadata.contains_key(ENVELOPE_NAME), plain, "{key}");
        let stored = pipeline::collect(stored.body, 1 << 20).await.unwrap();
        assert_eq!(stored == body, plain, "{key}");
    }
    node.stop().await;
    control.stop().await;
}
