//! What a node does with pushes: it runs on checked configs only, never on an older one, never on none.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message as _;
use sealgate_control_plane::ManualClock as ControlClock;
use sealgate_control_plane::registry::records::RuleRecord;
use sealgate_data_plane::clock::{Clock as _, ManualClock, SystemClock};
use sealgate_data_plane::plane::DataPlane;

use super::relay::{Relay, Verdict};
use super::world::{World, health, identity, issue, soon, tenant, until};

const DAY: u64 = 86_400;

#[actix_rt::test]
async fn a_refused_push_leaves_the_old_config_running() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    client.put("/bucket/object", "text").await.ok();
    let running = node.node().applied();
    let good = relay.snapshot().await;
    assert_eq!((good.epoch, good.version), running);

    let mut poison = good.clone();
    poison.version += 1;
    poison.buckets[0].backend = "elsewhere".to_owned();
    let Verdict::Nack { resource, reason } = relay.push(&poison, "unknown backend").await else {
        panic!("a bucket on an unknown backend was accepted")
    };
    assert_eq!(resource, "bucket/bucket");
    assert!(reason.contains("elsewhere"), "{reason}");
    assert_eq!(node.node().applied(), running);
    assert_eq!(client.get("/bucket/object").await.ok().body, "text");

    // The same with what is right in it is taken: the refusal was for its content.
    let mut next = good.clone();
    next.version += 1;
    assert!(matches!(relay.push(&next, "good").await, Verdict::Ack));
    assert_eq!(node.node().applied(), (good.epoch, good.version + 1));
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_snapshot_in_pieces_is_taken_whole_or_not_at_all() {
    let world = World::new();
    let control = world.control().await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let mut snapshot = relay.snapshot().await;
    let running = node.node().applied();
    snapshot.version += 1;
    // A byte that was changed on the way, in the second of three pieces.
    let changed = relay.push_pieces(&snapshot, "changed", 3, |number, piece| {
        if number == 1 {
            piece.data[0] ^= 1;
        }
    });
    let Verdict::Nack { resource, reason } = changed.await else { panic!("a changed piece was taken") };
    assert_eq!((resource.as_str(), node.node().applied()), ("snapshot", running));
    assert!(reason.contains("digest"), "{reason}");
    // One that says of itself that it is the last, and is not.
    let short = relay.push_pieces(&snapshot, "short", 3, |number, piece| piece.last = number >= 1);
    assert!(matches!(short.await, Verdict::Nack { .. }), "two pieces of three were taken");
    assert_eq!(node.node().applied(), running);

    assert!(matches!(relay.push_pieces(&snapshot, "whole", 3, |_, _| {}).await, Verdict::Ack));
    assert_eq!(node.node().applied(), (running.0, running.1 + 1));
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_snapshot_larger_than_one_message_reaches_a_node() {
    let world = World::new();
    let control = world.control().await;
    let id = control.ensure_tenant("tests").await.unwrap();
    let rules: Vec<RuleRecord> =
        (0..100).map(|number| RuleRecord { prefix: format!("{number:0>600}"), plain: true }).collect();
    for number in 0..40 {
        let name = format!("bucket-{number}");
        let bucket = control.registry().begin_create(id, &name, "").unwrap();
        control.registry().commit_create(bucket.id).unwrap();
        control.registry().set_rules(&name, rules.clone()).unwrap();
    }
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let snapshot = node.node().snapshot().unwrap();
    assert_eq!(snapshot.buckets().count(), 40);
    let prefixes: usize =
        snapshot.buckets().flat_map(|bucket| &bucket.rules).map(|rule| rule.prefix.len()).sum();
    assert!(prefixes > 2 * sealgate_proto::SNAPSHOT_CHUNK, "{prefixes} bytes fit into two messages");
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_that_runs_another_config_than_it_should_gets_the_right_one_with_the_next_digest() {
    let world = World::new();
    let clock = Arc::new(ControlClock::new(SystemClock::shared().unix()));
    let control = world.control_by(Arc::clone(&clock) as _).await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    client.at(node.address()).put("/bucket", "").await.ok();
    let right = node.node().snapshot().unwrap();
    // Of the same version, so that only its bytes tell that it is another.
    let mut other = relay.snapshot().await;
    assert_eq!((other.epoch, other.version), (right.epoch, right.version));
    other.buckets.clear();
    assert!(matches!(relay.push(&other, "another").await, Verdict::Ack));
    assert!(node.node().snapshot().unwrap().bucket("bucket").is_none());
    clock.advance(10);
    until("the right config", async || node.node().snapshot().unwrap().digest == right.digest).await;
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_lower_epoch_is_refused_whatever_its_version() {
    let world = World::new();
    let control = world.control().await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let mut snapshot = relay.snapshot().await;
    let epoch = snapshot.epoch;
    snapshot.epoch = epoch + 1;
    assert!(matches!(relay.push(&snapshot, "new epoch").await, Verdict::Ack));
    let running = node.node().applied();
    assert_eq!(running.0, epoch + 1);
    snapshot.epoch = epoch;
    snapshot.version += 1_000;
    let Verdict::Nack { resource, reason } = relay.push(&snapshot, "old epoch").await else {
        panic!("an older epoch was accepted")
    };
    assert_eq!(resource, "snapshot");
    assert!(reason.contains("older"), "{reason}");
    assert_eq!(node.node().applied(), running);
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_without_a_control_plane_is_not_ready_and_serves_nothing() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let issued = issue(&control, "one").await;
    let gone = format!("https://{}", control.grpc_addr());
    control.stop().await;
    let config = world.node_config(gone, identity(&issued));
    let node = DataPlane::start(config, SystemClock::shared()).unwrap();
    let client = client.at(node.address());
    for (method, target) in
        [("GET", "/"), ("GET", "/bucket/object"), ("PUT", "/bucket/object"), ("PUT", "/bucket")]
    {
        assert_eq!(client.send(method, target, "").await.status, 503, "{method} {target}");
    }
    assert_eq!(health(node.admin_address(), "/healthz").await.unwrap().status, 200);
    assert_eq!(health(node.admin_address(), "/readyz").await.unwrap().status, 503);

    // It waits: with the control plane back it gets ready by itself.
    let control = world.control_at(config_port(&node)).await;
    soon("the first config", node.node().wait_applied(0, 1)).await;
    assert_eq!(health(node.admin_address(), "/readyz").await.unwrap().status, 200);
    assert_eq!(client.send("GET", "/", "").await.status, 200);
    node.stop().await;
    control.stop().await;
}

fn config_port(node: &DataPlane) -> u16 {
    node.node().config.control_plane.endpoint.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[actix_rt::test]
async fn midnight_brings_the_next_days_signing_keys() {
    let world = World::new();
    let now = SystemClock::shared().unix();
    let control_clock = Arc::new(ControlClock::new(now));
    let node_clock = ManualClock::at(now);
    let control = world.control_by(Arc::clone(&control_clock) as _).await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let identity = identity(&issue(&control, "one").await);
    let node = world.node_by(endpoint, identity, Arc::clone(&node_clock) as _).await;
    let client = client.at(node.address());
    let list = async || {
        let when = UNIX_EPOCH + Duration::from_secs(node_clock.unix());
        client.try_send_at("GET", "/", Bytes::new(), when).await.unwrap()
    };
    assert_eq!(list().await.status, 200);
    // Keys come two days ahead, so the day that midnight brings is the third from now.
    node_clock.advance(Duration::from_secs(2 * DAY));
    assert_eq!(list().await.status, 200);
    node_clock.advance(Duration::from_secs(DAY));
    // Not the client's fault: its date is right, the node is behind.
    assert_eq!(list().await.status, 503, "a key of a day that has not been sent");
    let (epoch, version) = node.node().applied();
    control_clock.advance(DAY - now % DAY);
    soon("the push of midnight", node.node().wait_applied(epoch, version + 1)).await;
    let answer = list().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_gets_signing_keys_of_ten_days_and_never_a_secret() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    let snapshot = relay.snapshot().await;
    assert_eq!(snapshot.credentials.len(), 1);
    assert_eq!(snapshot.credentials[0].access_key_id, client.access_key);
    assert_eq!(snapshot.credentials[0].signing_keys.len(), 10);
    let bytes = snapshot.encode_to_vec();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains(&client.access_key), "the search does not find what is there");
    assert!(!contains(&client.secret_key), "the snapshot has the client's secret");
    node.stop().await;
    control.stop().await;
}
