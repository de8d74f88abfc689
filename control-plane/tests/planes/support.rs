//! A control plane in a temporary directory, and a node that talks to it.

use std::{
    ops::Deref,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use prost::Message as _;
use sealgate_control_plane::{
    Clock as _, Config, ControlPlane, Handle, ManualClock, NodeIdentity, Parts, SystemClock,
    registry::records::Tenants,
};
use sealgate_envelope::{BucketId, Ik, IkId, TenantId, transfer::Recipient};
use sealgate_kms::{Kms, KmsError, LocalKms, Router};
use sealgate_proto::v1::{
    self, buckets_client::BucketsClient, config_client::ConfigClient, keys_client::KeysClient,
};
use sealgate_store::SledStore;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::store::Fragile;

/// Where the tests' clock starts: today's midnight, since TLS compares certificates with the real time.
pub fn now() -> u64 {
    SystemClock.now() / 86_400 * 86_400
}

/// The local keyring, counted, and able to fail or to wait.
pub struct CountingKms {
    inner: LocalKms,
    pub unwraps: AtomicUsize,
    /// Unwraps under way, and the most that there were.
    pub unwrapping: AtomicUsize,
    pub most_unwrapping: AtomicUsize,
    pub wraps: AtomicUsize,
    /// Of whatever may fail.
    pub calls: AtomicUsize,
    pub failure: Mutex<Option<KmsError>>,
    /// It says that it is ready whatever else fails.
    pub ready_anyway: AtomicBool,
    /// One permit lets one unwrap through; closed: all.
    pub gate: Semaphore,
    /// While it is true, what was wrapped is not handed out.
    held: tokio::sync::watch::Sender<bool>,
}

/// Counts down when it is dropped, also by a caller who waits no longer.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl CountingKms {
    fn fail(&self) -> Result<(), KmsError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub fn hold_wraps(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    pub fn set_failure(&self, failure: Option<KmsError>) {
        *self.failure.lock().unwrap() = failure;
    }
}

#[async_trait]
impl Kms for CountingKms {
    fn provider(&self) -> &str {
        "local"
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.inner.create_kek(name).await
    }
    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.fail()?;
        self.inner.current_version(kek).await
    }
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.fail()?;
        let wrapped = self.inner.wrap(kek, version, context, ik).await;
        self.wraps.fetch_add(1, Ordering::SeqCst);
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        wrapped
    }
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        self.most_unwrapping.fetch_max(self.unwrapping.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.unwrapping);
        drop(self.gate.acquire().await);
        self.fail()?;
        self.inner.unwrap(kek, version, context, wrapped).await
    }
    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.inner.version_of(kek, version, wrapped)
    }
    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.fail()?;
        self.inner.rotate(kek).await
    }
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.fail()?;
        self.inner.destroy(kek).await
    }
    async fn ready(&self) -> Result<(), KmsError> {
        if self.ready_anyway.load(Ordering::SeqCst) { Ok(()) } else { self.fail() }
    }
}

pub struct World {
    pub handle: Handle,
    pub kms: Arc<CountingKms>,
    pub store_failed: Arc<AtomicBool>,
    pub clock: Arc<ManualClock>,
    pub token: String,
}

/// Starts a control plane on what lies in `dir`.
pub async fn start(dir: &Path) -> World {
    start_at(dir, now()).await
}

pub async fn start_at(dir: &Path, now: u64) -> World {
    start_with(dir, now, |_| {}).await
}

/// Starts one with a config that was changed.
pub async fn start_with(dir: &Path, now: u64, change: impl FnOnce(&mut Config)) -> World {
    start_on(dir, now, change, |kms| kms as Arc<dyn Kms>).await
}

/// Starts one with a layer over its KMS.
pub async fn start_over(dir: &Path, layer: impl FnOnce(Arc<CountingKms>) -> Arc<dyn Kms>) -> World {
    start_on(dir, now(), |_| {}, layer).await
}

async fn start_on(
    dir: &Path,
    now: u64,
    change: impl FnOnce(&mut Config),
    layer: impl FnOnce(Arc<CountingKms>) -> Arc<dyn Kms>,
) -> World {
    let mut config = Config::dev(dir, vec!["eu-central-1".to_owned(), "us-east-1".to_owned()]).unwrap();
    config.admin_listen.set_port(0);
    change(&mut config);
    let token = config.admin_token().unwrap().to_string();
    let keyring = config.kms.local.clone().unwrap();
    let kms = Arc::new(CountingKms {
        inner: LocalKms::open_or_create(&keyring.keyring, &keyring.unlock.read().unwrap()).unwrap(),
        unwraps: AtomicUsize::new(0),
        unwrapping: AtomicUsize::new(0),
        most_unwrapping: AtomicUsize::new(0),
        wraps: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
        failure: Mutex::new(None),
        ready_anyway: AtomicBool::new(false),
        gate: Semaphore::new(1000),
        held: tokio::sync::watch::Sender::new(false),
    });
    let clock = Arc::new(ManualClock::new(now));
    let store_failed = Arc::new(AtomicBool::new(false));
    let store = SledStore::open(&dir.join("store")).unwrap();
    let store = Arc::new(Fragile { inner: store, failed: Arc::clone(&store_failed) });
    let router = Arc::new(Router::only(layer(Arc::clone(&kms))));
    let parts = Parts { store, kms: router, clock: Arc::clone(&clock) as _ };
    let handle = ControlPlane::start_with(config, parts).await.unwrap();
    kms.unwraps.store(0, Ordering::SeqCst);
    World { handle, kms, store_failed, clock, token }
}

impl World {
    pub async fn node(&self, name: &str, tenants: Tenants) -> Node {
        let identity = self.handle.issue_node(name, tenants).await.unwrap();
        self.connect(identity).await.unwrap()
    }

    pub async fn connect(&self, identity: NodeIdentity) -> Result<Node, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&identity.ca_pem))
            .identity(tonic::transport::Identity::from_pem(&identity.cert_pem, identity.key_pem.as_bytes()))
            .domain_name("localhost");
        self.connect_with(tls).await
    }

    pub async fn connect_with(&self, tls: ClientTlsConfig) -> Result<Node, tonic::transport::Error> {
        let address = format!("https://{}", self.handle.grpc_addr());
        let channel = Endpoint::from_shared(address)?.tls_config(tls)?.connect().await?;
        Ok(Node { channel })
    }

    /// A tenant with a credential and one active bucket.
    pub async fn tenant_with_bucket(&self, tenant: &str, bucket: &str) -> (TenantId, String, BucketId) {
        let id = self.handle.ensure_tenant(tenant).await.unwrap();
        let key = match self.handle.ensure_credential(id, "test").await.unwrap() {
            Some(new) => new.record.access_key_id.clone(),
            None => panic!("the tenant exists"),
        };
        let begun = self.handle.registry().begin_create(id, bucket, "").unwrap();
        self.handle.registry().commit_create(begun.id).unwrap();
        (id, key, begun.id)
    }
}

#[derive(Clone)]
pub struct Node {
    pub channel: Channel,
}

impl Node {
    pub fn keys(&self) -> KeysClient<Channel> {
        KeysClient::new(self.channel.clone())
    }

    pub fn buckets(&self) -> BucketsClient<Channel> {
        BucketsClient::new(self.channel.clone())
    }

    pub async fn subscribe(&self) -> Subscription {
        let stream = self.call().await;
        stream.hello().await;
        stream
    }

    /// A stream on which nothing was said yet.
    pub async fn call(&self) -> Subscription {
        let (out, outbound) = mpsc::channel(16);
        let answer = ConfigClient::new(self.channel.clone()).subscribe(ReceiverStream::new(outbound)).await;
        Subscription { out, inbound: answer.unwrap().into_inner() }
    }

    pub async fn get(&self, bucket: BucketId, ik: &[u8]) -> Result<Given, tonic::Status> {
        let recipient = Recipient::generate().unwrap();
        let request = v1::GetRequest {
            bucket_id: bucket.as_bytes().to_vec(),
            ik_id: ik.to_vec(),
            recipient: recipient.public().to_vec(),
        };
        Ok(Given::open(recipient, bucket, self.keys().get(request).await?.into_inner()))
    }

    pub async fn active(&self, bucket: BucketId) -> Result<Answer, tonic::Status> {
        let recipient = Recipient::generate().unwrap();
        let request = v1::ActiveRequest {
            bucket_id: bucket.as_bytes().to_vec(),
            recipient: recipient.public().to_vec(),
        };
        Ok(match self.keys().active(request).await?.into_inner().answer.unwrap() {
            v1::active_response::Answer::Key(key) => Answer::Key(Given::open(recipient, bucket, key)),
            v1::active_response::Answer::Place(place) => Answer::Place(place),
        })
    }

    /// Active → (the record would be placed here) → Confirm.
    pub async fn placed_key(&self, bucket: BucketId) -> Given {
        match self.active(bucket).await.unwrap() {
            Answer::Key(key) => key,
            Answer::Place(place) => self.confirm(bucket, &place).await.unwrap(),
        }
    }

    pub async fn confirm(&self, bucket: BucketId, place: &v1::PlaceRecord) -> Result<Given, tonic::Status> {
        let recipient = Recipient::generate().unwrap();
        let request = v1::ConfirmRequest {
            bucket_id: bucket.as_bytes().to_vec(),
            ik_id: place.ik_id.clone(),
            record_digest: Sha256::digest(&place.record).to_vec(),
            recipient: recipient.public().to_vec(),
        };
        Ok(Given::open(recipient, bucket, self.keys().confirm(request).await?.into_inner()))
    }
}

/// An answer and the IK that was sealed in it.
pub struct Given {
    pub ik: [u8; 32],
    key: v1::Key,
}

impl Given {
    fn open(recipient: Recipient, bucket: BucketId, key: v1::Key) -> Self {
        let id = IkId::from_bytes(key.ik_id.as_slice().try_into().unwrap());
        let ik = *recipient.open(&key.sealed_ik, bucket, id).unwrap().expose();
        Self { ik, key }
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Deref for Given {
    type Target = v1::Key;

    fn deref(&self) -> &v1::Key {
        &self.key
    }
}

/// What Active answers.
#[derive(Debug)]
pub enum Answer {
    Key(Given),
    Place(v1::PlaceRecord),
}

pub struct Received {
    pub nonce: Vec<u8>,
    pub digest: Vec<u8>,
    pub snapshot: v1::Snapshot,
    /// In how many messages it came.
    pub chunks: usize,
}

pub struct Subscription {
    out: mpsc::Sender<v1::NodeMessage>,
    inbound: Streaming<v1::ControlMessage>,
}

impl Subscription {
    pub async fn hello(&self) {
        let hello = v1::Hello { software: "test".to_owned(), epoch: 0, version: 0 };
        let message = v1::NodeMessage { message: Some(v1::node_message::Message::Hello(hello)) };
        self.out.send(message).await.unwrap();
    }

    /// The next whole snapshot, checked against its digest.
    pub async fn snapshot(&mut self) -> Received {
        let (mut data, mut chunks) = (Vec::new(), 0);
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.inbound.message());
            let message = message.await.expect("no snapshot came").unwrap().expect("the stream ended");
            let Some(v1::control_message::Message::Snapshot(chunk)) = message.message else { continue };
            assert!(chunk.data.len() <= sealgate_proto::SNAPSHOT_CHUNK);
            data.extend_from_slice(&chunk.data);
            chunks += 1;
            if chunk.last {
                assert_eq!(data.len() as u64, chunk.total);
                assert_eq!(Sha256::digest(&data)[..], chunk.digest[..]);
                let snapshot = v1::Snapshot::decode(&data[..]).unwrap();
                assert_eq!((snapshot.epoch, snapshot.version), (chunk.epoch, chunk.version));
                return Received { nonce: chunk.nonce, digest: chunk.digest, snapshot, chunks };
            }
        }
    }

    /// The next message, which must be a digest.
    pub async fn digest(&mut self) -> v1::Digest {
        let message = tokio::time::timeout(Duration::from_secs(20), self.inbound.message());
        let message = message.await.expect("no digest came").unwrap().expect("the stream ended");
        match message.message {
            Some(v1::control_message::Message::Digest(digest)) => digest,
            other => panic!("not a digest: {other:?}"),
        }
    }

    /// How the KMS providers are, by the next word of it.
    pub async fn kms(&mut self) -> Vec<(String, bool)> {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.inbound.message());
            let message = message.await.expect("nothing came").unwrap().expect("the stream ended");
            if let Some(v1::control_message::Message::Kms(health)) = message.message {
                return health.providers.into_iter().map(|it| (it.name, it.degraded)).collect();
            }
        }
    }

    pub async fn key_report(&self, held: u64, failed: u64) {
        self.send(v1::node_message::Message::KeyReport(v1::KeyReport { held, failed })).await;
    }

    pub async fn ack(&self, received: &Received) {
        let ack = v1::Ack {
            nonce: received.nonce.clone(),
            epoch: received.snapshot.epoch,
            version: received.snapshot.version,
            digest: received.digest.clone(),
        };
        self.send(v1::node_message::Message::Ack(ack)).await;
    }

    pub async fn nack(&self, received: &Received, resource: &str, reason: &str) {
        let nack = v1::Nack {
            nonce: received.nonce.clone(),
            epoch: received.snapshot.epoch,
            version: received.snapshot.version,
            resource: resource.to_owned(),
            reason: reason.to_owned(),
        };
        self.send(v1::node_message::Message::Nack(nack)).await;
    }

    async fn send(&self, message: v1::node_message::Message) {
        self.out.send(v1::NodeMessage { message: Some(message) }).await.unwrap();
    }

    /// Waits for the stream's end.
    /// Demands that the stream ends without a message.
    pub async fn refused(&mut self) {
        let first = tokio::time::timeout(Duration::from_secs(20), self.inbound.message()).await;
        assert!(matches!(first.expect("the stream goes on"), Ok(None) | Err(_)), "it was given something");
    }

    pub async fn ended(&mut self) {
        let end = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.expect("the stream goes on");
    }
}

/// One request to the admin API over a plain socket; gives status and body.
pub async fn admin(world: &World, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let (status, text) = admin_with(world, method, path, body, &world.token).await;
    (status, serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
}

pub async fn admin_with(world: &World, method: &str, path: &str, body: &str, token: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(world.handle.admin_addr()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

/// Polls a condition on the admin API's status until it holds: what a node sent takes a moment to arrive.
pub async fn until_status(world: &World, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let wait = async {
        loop {
            let (_, status) = admin(world, "GET", "/v1/status", "").await;
            if holds(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the status never came")
}
