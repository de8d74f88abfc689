//! A server that answers what a test wants, for what no real one can be brought to say, and for what is the cluster's part in
//! Kubernetes' login. One request a connection.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// What came: the head in lower case, the body as it was.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: String,
}

pub struct Fake {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What it answers: bytes as they are; nothing, and the connection stays open, for `None`.
pub type Reply = Option<String>;

/// A whole answer.
pub fn reply(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

impl Fake {
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, answer).await
    }

    /// Takes so long for each answer.
    pub async fn slow(delay: Duration, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&answer), delay));
            }
        });
        Self { address, seen, task: task.abort_handle() }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<A: Fn(&Seen) -> Reply>(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<A>,
    delay: Duration,
) {
    let Some(seen) = request(&mut stream).await else { return };
    let reply = answer(&seen);
    log.lock().unwrap().push(seen);
    tokio::time::sleep(delay).await;
    match reply {
        Some(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

/// The next request of a connection.
pub async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() >= end + 4 + length {
            return Some(Seen { head, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() });
        }
    }
}
