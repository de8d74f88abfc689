//! The Config service: one stream a node.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::Stream;
use sealgate_proto::{SNAPSHOT_CHUNK, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    actors::{Fanout, FrozenReport, KeyReport, Outgoing, Report, Slot, Subscribe, Unsubscribe},
    identity::Identity,
    registry::Registry,
    snapshot::Encoded,
};

/// How long a node may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long one message may wait for a node that does not read.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// The middle of a stream's life; ± 20 %, so that streams re-balance without a herd.
const LIFE_SECONDS: u64 = 30 * 60;

type Answers = mpsc::Sender<Result<v1::ControlMessage, Status>>;

pub(crate) struct ConfigService {
    pub(crate) registry: Arc<Registry>,
    pub(crate) fanout: Arc<Slot<Fanout>>,
    pub(crate) streams: AtomicU64,
}

#[tonic::async_trait]
impl v1::config_server::Config for ConfigService {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::ControlMessage, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let identity = Identity::of(&request, &self.registry)?;
        let (out, answers) = mpsc::channel(4);
        let id = self.streams.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(id, identity, Arc::clone(&self.fanout), request.into_inner(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Runs one stream to its end.
async fn serve(
    id: u64,
    identity: Arc<Identity>,
    fanout: Arc<Slot<Fanout>>,
    mut inbound: Streaming<v1::NodeMessage>,
    out: Answers,
) {
    let node = identity.node.clone();
    let Ok(Ok(Some(v1::NodeMessage { message: Some(v1::node_message::Message::Hello(hello)) }))) =
        tokio::time::timeout(HELLO_WITHIN, inbound.message()).await
    else {
        let _ = out.try_send(Err(Status::invalid_argument("the first message is a Hello, within 10 s")));
        return;
    };
    let (to_stream, mut from_fanout) = mpsc::channel(4);
    let subscribe = Subscribe { id, identity, hello, out: to_stream };
    if let Err(error) = fanout.send(subscribe).await {
        let _ = out.try_send(Err(error.into()));
        return;
    }
    let life = tokio::time::sleep(life());
    tokio::pin!(life);
    loop {
        let go_on = tokio::select! {
            () = &mut life => false,
            () = out.closed() => false,
            outgoing = from_fanout.recv() => match outgoing {
                Some(Outgoing::Push { nonce, snapshot }) => push(&out, nonce, &snapshot).await,
                Some(Outgoing::Digest(digest)) => {
                    send(&out, v1::control_message::Message::Digest(digest)).await
                }
                Some(Outgoing::Kms(health)) => send(&out, v1::control_message::Message::Kms(health)).await,
                None => false,
            },
            message = inbound.message() => match message.map(|message| message.and_then(|it| it.message)) {
                Ok(Some(v1::node_message::Message::Ack(ack))) => report(&fanout, &node, id, Ok(ack)).await,
                Ok(Some(v1::node_message::Message::Nack(nack))) => report(&fanout, &node, id, Err(nack)).await,
                Ok(Some(v1::node_message::Message::FrozenWrites(writes))) => {
                    fanout.send(FrozenReport { node: node.clone(), id, writes }).await.is_ok()
                }
                Ok(Some(v1::node_message::Message::KeyReport(report))) => {
                    fanout.send(KeyReport { node: node.clone(), id, report }).await.is_ok()
                }
                Ok(Some(v1::node_message::Message::Hello(_)) | None) | Err(_) => false,
            },
        };
        if !go_on {
            break;
        }
    }
    // If the mailbox is full, the stream's sender is found closed with the next push.
    let _ = fanout.try_send(Unsubscribe { node, id });
}

async fn report(fanout: &Slot<Fanout>, node: &str, id: u64, answer: Result<v1::Ack, v1::Nack>) -> bool {
    fanout.send(Report { node: node.to_owned(), id, answer }).await.is_ok()
}

/// Sends a snapshot in chunks; each waits until the node has room.
async fn push(out: &Answers, nonce: [u8; 16], snapshot: &Encoded) -> bool {
    let total = snapshot.bytes.len();
    let mut chunks = snapshot.bytes.chunks(SNAPSHOT_CHUNK).peekable();
    while let Some(chunk) = chunks.next() {
        let chunk = v1::SnapshotChunk {
            nonce: nonce.to_vec(),
            epoch: snapshot.version.epoch,
            version: snapshot.version.version,
            digest: snapshot.digest.to_vec(),
            total: total as u64,
            data: chunk.to_vec(),
            last: chunks.peek().is_none(),
        };
        if !send(out, v1::control_message::Message::Snapshot(chunk)).await {
            return false;
        }
    }
    true
}

async fn send(out: &Answers, message: v1::control_message::Message) -> bool {
    let message = v1::ControlMessage { message: Some(message) };
    matches!(tokio::time::timeout(SEND_WITHIN, out.send(Ok(message))).await, Ok(Ok(())))
}

fn life() -> Duration {
    let spread = LIFE_SECONDS * 2 / 5;
    let random = getrandom::u64().unwrap_or(spread / 2) % (spread + 1);
    Duration::from_secs(LIFE_SECONDS - spread / 2 + random)
}
