//! Between a node and the control plane: counts the node's calls, halts one at a chosen moment, writes down its answers to
//! pushes and pushes snapshots of the test's own. The node sees a control plane with the relay's certificate; the control
//! plane sees the node's.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use prost::Message as _;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sealgate_control_plane::NodeIdentity as Issued;
use sealgate_data_plane::control::{ControlPlane, NodeIdentity};
use sealgate_proto::v1 as wire;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

/// A moment in the way of an intermediate key to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The node asks for the key for writing; nothing has happened yet.
    ActiveAsked,
    /// The control plane has committed the record; the node does not know yet.
    ActiveAnswered,
    /// The node has written the wrapped copy; the control plane does not know yet.
    ConfirmAsked,
    /// The control plane has confirmed; the node does not have the key yet.
    ConfirmAnswered,
    /// The node asks for a key for reading.
    GetAsked,
    /// The node asks for a key's record, for another bucket.
    LendAsked,
}

/// What a node answered to a push.
#[derive(Clone, Debug)]
pub enum Verdict {
    Ack,
    Nack { resource: String, reason: String },
}

struct Shared {
    upstream: Mutex<(SocketAddr, ControlPlane)>,
    issued: Issued,
    halt_at: Mutex<Option<Moment>>,
    reached: watch::Sender<bool>,
    release: Notify,
    refusals: Mutex<HashMap<Moment, tonic::Code>>,
    counts: Mutex<HashMap<Moment, usize>>,
    pushes: broadcast::Sender<wire::SnapshotChunk>,
    verdicts: watch::Sender<HashMap<Vec<u8>, Verdict>>,
    last: watch::Sender<Option<wire::SnapshotChunk>>,
}

/// A running relay.
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca: String,
}

impl Relay {
    /// Relays calls to the control plane at `upstream` under a node's identity.
    pub async fn start(upstream: SocketAddr, issued: Issued) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let shared = Arc::new(Shared {
            upstream: Mutex::new((upstream, clients(upstream, &issued))),
            issued,
            halt_at: Mutex::new(None),
            reached: watch::Sender::new(false),
            release: Notify::new(),
            refusals: Mutex::default(),
            counts: Mutex::default(),
            pushes: broadcast::Sender::new(16),
            verdicts: watch::Sender::new(HashMap::new()),
            last: watch::Sender::new(None),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls =
            ServerTlsConfig::new().identity(Identity::from_pem(cert.pem(), signing_key.serialize_pem()));
        let service = Service(Arc::clone(&shared));
        let router = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(wire::config_server::ConfigServer::new(service.clone()))
            .add_service(wire::keys_server::KeysServer::new(service.clone()))
            .add_service(wire::buckets_server::BucketsServer::new(service));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { shared, address, ca: cert.pem() }
    }

    /// What a node connects with to find the relay.
    pub fn identity(&self) -> NodeIdentity {
        NodeIdentity {
            ca: self.ca.clone(),
            certificate: self.shared.issued.cert_pem.clone(),
            key: Zeroizing::new(self.shared.issued.key_pem.as_str().to_owned()),
        }
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The control plane was started again elsewhere.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = (upstream, clients(upstream, &self.shared.issued));
    }

    /// Halts the next call that comes to this moment, until [`Relay::release`].
    pub fn halt_at(&self, moment: Moment) {
        self.shared.reached.send_replace(false);
        *self.shared.halt_at.lock().unwrap() = Some(moment);
    }

    /// Waits until a call is halted.
    pub async fn reached(&self) {
        let mut reached = self.shared.reached.subscribe();
        super::world::soon("a call comes to the halt", reached.wait_for(|reached| *reached)).await.unwrap();
    }

    pub fn release(&self) {
        self.shared.release.notify_one();
    }

    /// Answers all calls that come to this moment with an error from now on; `None` ends that.
    pub fn refuse_at(&self, moment: Moment, code: Option<tonic::Code>) {
        let mut refusals = self.shared.refusals.lock().unwrap();
        match code {
            Some(code) => refusals.insert(moment, code),
            None => refusals.remove(&moment),
        };
    }

    /// How many calls came to this moment.
    pub fn count(&self, moment: Moment) -> usize {
        self.shared.counts.lock().unwrap().get(&moment).copied().unwrap_or(0)
    }

    /// The snapshot that the control plane pushed last.
    pub async fn snapshot(&self) -> wire::Snapshot {
        let mut last = self.shared.last.subscribe();
        let chunk = super::world::soon("a snapshot", last.wait_for(Option::is_some)).await.unwrap().clone();
        wire::Snapshot::decode(chunk.unwrap().data.as_slice()).unwrap()
    }

    /// Pushes a snapshot as the control plane would, and gives the node's verdict.
    pub async fn push(&self, snapshot: &wire::Snapshot, nonce: &str) -> Verdict {
        self.push_pieces(snapshot, nonce, 1, |_, _| {}).await
    }

    /// The same in so many pieces, each of which may be changed on the way.
    pub async fn push_pieces(
        &self,
        snapshot: &wire::Snapshot,
        nonce: &str,
        pieces: usize,
        change: impl Fn(usize, &mut wire::SnapshotChunk),
    ) -> Verdict {
        let data = snapshot.encode_to_vec();
        let nonce = format!("relay {nonce}").into_bytes();
        let mut verdicts = self.shared.verdicts.subscribe();
        for (number, piece) in data.chunks(data.len().div_ceil(pieces)).enumerate() {
            let mut chunk = wire::SnapshotChunk {
                nonce: nonce.clone(),
                epoch: snapshot.epoch,
                version: snapshot.version,
                digest: Sha256::digest(&data).to_vec(),
                total: data.len() as u64,
                data: piece.to_vec(),
                last: number + 1 == pieces,
            };
            change(number, &mut chunk);
            self.shared.pushes.send(chunk).unwrap();
        }
        let given = verdicts.wait_for(|verdicts| verdicts.contains_key(&nonce));
        super::world::soon("a verdict", given).await.unwrap()[&nonce].clone()
    }
}

fn clients(upstream: SocketAddr, issued: &Issued) -> ControlPlane {
    let identity = NodeIdentity {
        ca: issued.ca_pem.clone(),
        certificate: issued.cert_pem.clone(),
        key: Zeroizing::new(issued.key_pem.as_str().to_owned()),
    };
    ControlPlane::new(&format!("https://{upstream}"), "localhost", &identity).unwrap()
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl Service {
    fn upstream(&self) -> ControlPlane {
        self.0.upstream.lock().unwrap().1.clone()
    }

    async fn at(&self, moment: Moment) -> Result<(), Status> {
        *self.0.counts.lock().unwrap().entry(moment).or_default() += 1;
        let halts = {
            let mut halt_at = self.0.halt_at.lock().unwrap();
            if *halt_at == Some(moment) { halt_at.take() } else { None }
        };
        if halts.is_some() {
            self.0.reached.send_replace(true);
            self.0.release.notified().await;
        }
        match self.0.refusals.lock().unwrap().get(&moment) {
            Some(code) => Err(Status::new(*code, "the test says so")),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl wire::config_server::Config for Service {
    type SubscribeStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<wire::ControlMessage, Status>> + Send + 'static>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut from_node = request.into_inner();
        let (to_control, outbound) = mpsc::channel(16);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = from_node.message().await {
                let (nonce, verdict) = match &message.message {
                    Some(wire::node_message::Message::Ack(ack)) => (ack.nonce.clone(), Verdict::Ack),
                    Some(wire::node_message::Message::Nack(nack)) => (
                        nack.nonce.clone(),
                        Verdict::Nack { resource: nack.resource.clone(), reason: nack.reason.clone() },
                    ),
                    _ => (Vec::new(), Verdict::Ack),
                };
                if nonce.starts_with(b"relay ") {
                    shared.verdicts.send_modify(|verdicts| drop(verdicts.insert(nonce, verdict)));
                } else if to_control.send(message).await.is_err() {
                    return;
                }
            }
        });
        let answer = self.upstream().config().subscribe(ReceiverStream::new(outbound)).await?.into_inner();
        let shared = Arc::clone(&self.0);
        let pushed = answer.inspect(move |message| {
            if let Ok(wire::ControlMessage {
                message: Some(wire::control_message::Message::Snapshot(chunk)),
            }) = message
            {
                assert!(chunk.last, "the tests' snapshots fit into one fragment");
                shared.last.send_replace(Some(chunk.clone()));
            }
        });
        let own = tokio_stream::wrappers::BroadcastStream::new(self.0.pushes.subscribe()).map(|chunk| {
            let message = chunk.ok().map(wire::control_message::Message::Snapshot);
            Ok(wire::ControlMessage { message })
        });
        // Ends with the control plane's stream: the relay hides no outage.
        let ended = pushed.map(Some).chain(futures_util::stream::once(async { None }));
        let both = futures_util::stream::select(ended, own.map(Some))
            .take_while(|message| std::future::ready(message.is_some()))
            .filter_map(std::future::ready);
        Ok(Response::new(Box::pin(both)))
    }
}

#[tonic::async_trait]
impl wire::keys_server::Keys for Service {
    async fn active(
        &self,
        request: Request<wire::ActiveRequest>,
    ) -> Result<Response<wire::ActiveResponse>, Status> {
        self.at(Moment::ActiveAsked).await?;
        let answer = self.upstream().keys().active(request.into_inner()).await?;
        self.at(Moment::ActiveAnswered).await?;
        Ok(answer)
    }

    async fn confirm(&self, request: Request<wire::ConfirmRequest>) -> Result<Response<wire::Key>, Status> {
        self.at(Moment::ConfirmAsked).await?;
        let answer = self.upstream().keys().confirm(request.into_inner()).await?;
        self.at(Moment::ConfirmAnswered).await?;
        Ok(answer)
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::Key>, Status> {
        self.at(Moment::GetAsked).await?;
        self.upstream().keys().get(request.into_inner()).await
    }

    async fn records(
        &self,
        request: Request<wire::RecordsRequest>,
    ) -> Result<Response<wire::RecordsResponse>, Status> {
        self.upstream().keys().records(request.into_inner()).await
    }

    async fn checked(
        &self,
        request: Request<wire::CheckedRequest>,
    ) -> Result<Response<wire::CheckedResponse>, Status> {
        self.upstream().keys().checked(request.into_inner()).await
    }

    async fn lend(&self, request: Request<wire::LendRequest>) -> Result<Response<wire::PlaceRecord>, Status> {
        self.at(Moment::LendAsked).await?;
        self.upstream().keys().lend(request.into_inner()).await
    }
}

#[tonic::async_trait]
impl wire::buckets_server::Buckets for Service {
    async fn begin_create(
        &self,
        request: Request<wire::BeginCreateRequest>,
    ) -> Result<Response<wire::Bucket>, Status> {
        self.upstream().buckets().begin_create(request.into_inner()).await
    }
    async fn commit_create(
        &self,
        request: Request<wire::BucketRef>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().commit_create(request.into_inner()).await
    }
    async fn abort_create(
        &self,
        request: Request<wire::BucketRef>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().abort_create(request.into_inner()).await
    }
    async fn begin_delete(
        &self,
        request: Request<wire::BucketRef>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().begin_delete(request.into_inner()).await
    }
    async fn commit_delete(
        &self,
        request: Request<wire::BucketRef>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().commit_delete(request.into_inner()).await
    }
    async fn abort_delete(
        &self,
        request: Request<wire::BucketRef>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().abort_delete(request.into_inner()).await
    }
    async fn import_records(
        &self,
        request: Request<wire::ImportRecordsRequest>,
    ) -> Result<Response<wire::ImportRecordsResponse>, Status> {
        self.upstream().buckets().import_records(request.into_inner()).await
    }
    async fn commit_adopt(
        &self,
        request: Request<wire::CommitAdoptRequest>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().commit_adopt(request.into_inner()).await
    }
    async fn refuse_adopt(
        &self,
        request: Request<wire::RefuseAdoptRequest>,
    ) -> Result<Response<wire::Applied>, Status> {
        self.upstream().buckets().refuse_adopt(request.into_inner()).await
    }
}
