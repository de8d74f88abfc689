//! Panics inside the actors of a running control plane: it says that it is not ready, rebuilds them, and has lost
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{future::Future, time::Duration};

use sealgate_proto::v1::{self, config_client::ConfigClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{ControlPlane, Handle, Run, Tenants};
use crate::{
    Config, Error,
    actors::{Health, testing::Panic},
    registry::Registry,
};

async fn start(dir: &std::path::Path) -> Handle {
    let mut config = Config::dev(dir, vec!["eu-central-1".to_owned()]).unwrap();
    config.admin_listen.set_port(0);
    ControlPlane::start(config).await.unwrap()
}

/// Waits for what must come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The status that a path of the admin API answers, and its body.
async fn ask(handle: &Handle, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(handle.admin_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

async fn until_ready(handle: &Handle) {
    let ready = async {
        while ask(handle, "/readyz").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("readiness", ready).await;
}

/// Holds both watchdogs back, so that a dead actor stays dead until the test has looked.
fn stop_watchdogs(handle: &mut Handle) {
    for dog in handle.watchdogs.drain(..) {
        dog.abort();
    }
}

fn start_watchdogs(handle: &mut Handle) {
    let (failed, failure) = tokio::sync::watch::channel(false);
    let (api, metrics) = (&handle.api, &handle.api.metrics);
    handle.watchdogs = vec![
        super::watchdog(api.writer.clone(), metrics.clone(), failed.clone()),
        super::watchdog(api.fanout.clone(), metrics.clone(), failed),
    ];
    handle.failure = failure;
}

struct Node {
    channel: Channel,
}

struct Subscription {
    _out: mpsc::Sender<v1::NodeMessage>,
    inbound: Streaming<v1::ControlMessage>,
}

impl Node {
    async fn new(handle: &Handle) -> Self {
        let identity = handle.issue_node("one", Tenants::All).await.unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&identity.ca_pem))
            .identity(Identity::from_pem(&identity.cert_pem, identity.key_pem.as_bytes()))
            .domain_name("localhost");
        let address = format!("https://{}", handle.grpc_addr());
        let channel = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect().await;
        Self { channel: channel.unwrap() }
    }

    async fn subscribe(&self) -> Result<Subscription, tonic::Status> {
        let (out, outbound) = mpsc::channel(16);
        let hello = v1::Hello { software: "test".to_owned(), epoch: 0, version: 0 };
        let hello = v1::NodeMessage { message: Some(v1::node_message::Message::Hello(hello)) };
        out.send(hello).await.unwrap();
        let mut client = ConfigClient::new(self.channel.clone());
        let inbound = client.subscribe(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(Subscription { _out: out, inbound })
    }
}

impl Subscription {
    /// The version of the next snapshot; none when the stream ends first.
    async fn version(&mut self) -> Option<u64> {
        loop {
            match soon("a message", self.inbound.message()).await {
                Ok(Some(v1::ControlMessage {
                    message: Some(v1::control_message::Message::Snapshot(chunk)),
                })) => {
                    return Some(chunk.version);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

#[actix_rt::test]
async fn a_panic_in_the_registrys_actor_loses_no_change_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut handle = start(dir.path()).await;
    let tenant = handle.ensure_tenant("before").await.unwrap();
    let before = handle.registry().version();
    stop_watchdogs(&mut handle);

    // In the middle of a change: what was committed before the panic is durable, and its caller was told nothing.
    let change = Run::new(move |registry: &Registry| -> Result<(), Error> {
        registry.begin_create(tenant, "half", "")?;
        panic!("as the test wants it")
    });
    handle.api.writer.send(change).await.unwrap_err();
    assert_eq!(ask(&handle, "/readyz").await.0, 503);
    assert_eq!(ask(&handle, "/healthz").await.0, 200, "the process lives");
    handle.api.change(|_| Ok(())).await.unwrap_err();

    start_watchdogs(&mut handle);
    until_ready(&handle).await;
    let state = handle.registry().state();
    assert!(state.tenant_named("before").is_some() && state.buckets.contains_key("half"));
    assert!(handle.registry().version() > before);
    handle.ensure_tenant("after").await.unwrap();
    let (_, metrics) = ask(&handle, "/metrics").await;
    assert!(restarts(&metrics, "registry") == 1 && restarts(&metrics, "fanout") == 0, "{metrics}");
    handle.stop().await;
    // And all of it is in the store.
    let handle = start(dir.path()).await;
    let state = handle.registry().state();
    assert!(["before", "after"].iter().all(|name| state.tenant_named(name).is_some()));
    assert!(state.buckets.contains_key("half"));
    handle.stop().await;
}

#[actix_rt::test]
async fn a_panic_in_the_fan_out_ends_streams_and_nodes_get_everything_when_they_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut handle = start(dir.path()).await;
    let tenant = handle.ensure_tenant("tests").await.unwrap();
    let node = Node::new(&handle).await;
    let mut stream = node.subscribe().await.unwrap();
    assert_eq!(stream.version().await, Some(handle.registry().version().version));
    stop_watchdogs(&mut handle);

    handle.api.fanout.send(Panic).await.unwrap_err();
    assert_eq!(stream.version().await, None, "a stream that nobody feeds goes on");
    assert_eq!(ask(&handle, "/readyz").await.0, 503);
    // Changes go on meanwhile; nobody pushes them.
    handle
        .api
        .change(move |registry| registry.begin_create(tenant, "meanwhile", "").map(drop))
        .await
        .unwrap();

    start_watchdogs(&mut handle);
    until_ready(&handle).await;
    let mut stream = node.subscribe().await.unwrap();
    let version = handle.registry().version().version;
    assert_eq!(stream.version().await, Some(version), "what changed meanwhile");
    let (_, metrics) = ask(&handle, "/metrics").await;
    assert!(restarts(&metrics, "fanout") == 1 && restarts(&metrics, "registry") == 0, "{metrics}");
    handle.stop().await;
}

/// The counter of an actor's restarts; 0 when it was never counted.
fn restarts(metrics: &str, actor: &str) -> u64 {
    let line = metrics.lines().find(|line| {
        line.starts_with("sealgate_control_actor_restarts_total{")
            && line.contains(&format!("actor=\"{actor}\""))
    });
    line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, count)| count.trim().parse().unwrap())
}

#[actix_rt::test]
async fn the_actor_of_a_kms_is_rebuilt_and_examines_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let watched = &handle.api.health[0];
    assert!(watched.slot.send(Panic).await.is_err(), "the caller is told");
    let examined = soon("an examination", async {
        loop {
            match watched.slot.send(Health).await {
                Ok(examined) if examined.at.is_some() => return examined,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!((examined.by, examined.error), ("wrap and unwrap", None));
    assert!(watched.resilient.healthy());
    handle.stop().await;
}
