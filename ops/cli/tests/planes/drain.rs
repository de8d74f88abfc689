//! The end of a node: what is in flight is completed, or leaves nothing behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::clock::{ManualClock, SystemClock};
use sealgate_data_plane::plane::DataPlane;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::Plane;
use super::s3::{Client, bytes};
use super::storage::list;
use super::world::{ControlProcess, World, health, identity, issue, soon, tenant, until};

const SIZE: usize = 3 << 20;

struct Draining {
    _control: ControlProcess,
    node: Plane,
    file: PathBuf,
    client: Client,
}

/// A node with a bucket, which drains for `seconds`.
async fn start(world: &World, seconds: u32) -> Draining {
    let control = world.control_process().await;
    let client = control.tenant("tests").await;
    let endpoint = format!("https://{}", control.plane.address);
    let file = world.node_file("one", &endpoint, &identity(&control.issue("one").await));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("drain_seconds = {seconds}\n{text}")).unwrap();
    let node = Plane::node(&file).await;
    let client = client.at(node.address);
    until("a config", async || client.send("GET", "/", "").await.status == 200).await;
    client.put("/bucket", "").await.ok();
    Draining { _control: control, node, file, client }
}

/// A PUT of which half has been taken in.
async fn half_put(client: &Client, body: &Bytes) -> TcpStream {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let head = client.head("PUT", "/bucket/object", &format!("content-length: {}\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..SIZE / 2]).await.unwrap();
    stream
}

/// Waits until a request is being served: the backend has begun to write what will be the object.
async fn until_begun(world: &World) {
    until("the write's begin", async || has_body_of(&world.backend(), 64 << 10)).await;
}

fn has_body_of(dir: &std::path::Path, least: u64) -> bool {
    std::fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return has_body_of(&path, least);
        }
        entry.metadata().is_ok_and(|meta| meta.len() >= least)
    })
}

#[actix_rt::test]
async fn a_slow_put_is_completed_while_readiness_is_off_and_nobody_new_gets_in() {
    let world = World::new();
    let mut draining = start(&world, 60).await;
    let body = bytes(SIZE, 1);
    let mut stream = half_put(&draining.client, &body).await;
    until_begun(&world).await;
    let admin = draining.node.admin;
    assert_eq!(health(admin, "/readyz").await.unwrap().status, 200);
    draining.node.terminate();
    until("readiness off", async || health(admin, "/readyz").await.unwrap().status == 503).await;
    let address = draining.client.address;
    until("the listener's end", async || TcpStream::connect(address).await.is_err()).await;

    stream.write_all(&body[SIZE / 2..]).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(draining.node.ended().await, "the node failed");

    draining.node = Plane::node(&draining.file).await;
    let client = draining.client.at(draining.node.address);
    until("a config", async || client.send("GET", "/", "").await.status == 200).await;
    assert_eq!(client.get("/bucket/object").await.ok().body, body);
}

#[actix_rt::test]
async fn readiness_goes_first_and_clients_are_served_until_the_balancer_has_noticed() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let clock = ManualClock::at(SystemClock::shared().unix());
    let mut config = world
        .node_config(format!("https://{}", control.grpc_addr()), identity(&issue(&control, "one").await));
    config.drain_wait = Duration::from_secs(5);
    let node = DataPlane::start(config, Arc::clone(&clock) as _).unwrap();
    soon("the first config", node.node().wait_applied(0, 1)).await;
    let (client, admin) = (client.at(node.address()), node.admin_address());
    client.put("/bucket", "").await.ok();
    assert_eq!(health(admin, "/readyz").await.unwrap().status, 200);

    let stopping = actix_rt::spawn(node.stop());
    until("readiness off", async || health(admin, "/readyz").await.unwrap().status == 503).await;
    // Each request has a connection of its own: all of them are new.
    client.put("/bucket/object", "text").await.ok();
    clock.advance(Duration::from_millis(4_999));
    let body = bytes(SIZE, 1);
    let mut stream = half_put(&client, &body).await;
    until_begun(&world).await;
    assert_eq!(client.get("/bucket/object").await.ok().body, "text");
    assert!(!stopping.is_finished());

    clock.advance(Duration::from_millis(1));
    until("the listener's end", async || TcpStream::connect(client.address).await.is_err()).await;
    stream.write_all(&body[SIZE / 2..]).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    soon("the node's end", stopping).await.unwrap();
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_that_has_ended_holds_no_key_of_any_kind() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let id = client.create_upload("/bucket/object").await;
    client.put(&format!("/bucket/object?partNumber=1&uploadId={id}"), bytes(1_000, 1)).await.ok();
    let inner = Arc::clone(node.node());
    assert_eq!((inner.uploads.len(), inner.snapshot().is_some()), (1, true));
    node.stop().await;
    assert_eq!(
        (inner.uploads.len(), inner.snapshot().is_some()),
        (0, false),
        "DEKs or signing keys are left"
    );
    control.stop().await;
}

#[actix_rt::test]
async fn a_put_that_does_not_end_in_time_leaves_no_object() {
    let world = World::new();
    let mut draining = start(&world, 1).await;
    let body = bytes(SIZE, 1);
    let mut stream = half_put(&draining.client, &body).await;
    until_begun(&world).await;
    draining.node.terminate();
    let mut answer = Vec::new();
    let _ = soon("the connection's end", stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "a cut body was accepted");
    assert!(draining.node.ended().await, "the node failed");
    let backend = FsBackend::open(world.backend()).unwrap();
    let left = list(&backend, "bucket", "").await;
    assert!(left.iter().all(|entry| entry.key.starts_with(".sealgate/")), "{left:?}");
    // Opening the backend removes what a crash left: a drain leaves nothing even for that.
    assert!(!has_body_of(&world.backend(), 64 << 10));
}

#[actix_rt::test]
async fn a_drained_node_holds_no_keys_and_an_upload_holds_none_longer_than_its_bucket() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let running = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let (client, node) = (client.at(running.address()), Arc::clone(running.node()));
    for bucket in ["/kept", "/deleted"] {
        client.put(bucket, "").await.ok();
        client.create_upload(&format!("{bucket}/object")).await;
    }
    assert_eq!(node.uploads.len(), 2);
    let id = control.registry().state().buckets["deleted"].id;
    control.registry().begin_delete(id).unwrap();
    let gone = control.registry().commit_delete(id).unwrap();
    soon("the deletion", node.wait_applied(gone.epoch, gone.version)).await;
    assert_eq!(node.uploads.len(), 1, "the keys of an upload outlive its bucket");
    assert!(!node.keys.is_empty() && node.snapshot().is_some());

    running.stop().await;
    assert_eq!((node.uploads.len(), node.keys.len()), (0, 0));
    assert!(node.snapshot().is_none(), "its signing keys are still held");
    control.stop().await;
}
