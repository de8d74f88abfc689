//! Back-pressure: who stalls at one end is not read for at the other. What lies in socket buffers is the kernel's and is
//! counted out by its own figures; what the node itself holds is bounded.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sealgate_control_plane::Handle;
use sealgate_data_plane::backend::s3::{S3Config, StaticCredentials};
use sealgate_data_plane::clock::SystemClock;
use sealgate_data_plane::config::BackendConfig;
use sealgate_data_plane::plane::DataPlane;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::s3::{Client, bytes};
use super::world::{World, identity, issue, soon, tenant};

/// The most that a node may hold for a client that stalls, in bytes: what its connection gathered before it asked for more
/// (448 KiB less 28 bytes), the beginning of a chunk (64 KiB and 28 bytes), and what is read then (512 KiB: at once from a
/// server, in two pieces from a disk).
const GET_BOUND: u64 = 1 << 20;
/// The most for a backend that stalls: a full buffer of the listener's connection, one read of it that waits to be sealed,
/// a batch of chunks, and a full buffer of the backend's connection with the frame that filled it.
const PUT_BOUND: u64 = 4 << 20;
/// More than all socket buffers of a connection together.
const SIZE: usize = 48 << 20;
/// A figure that stays the same for so many looks, 10 ms apart, has come to rest.
const LOOKS: usize = 50;

/// Waits until a figure rests, and gives it.
async fn at_rest(mut figure: impl FnMut() -> u64) -> u64 {
    soon("rest", async {
        let (mut last, mut same) = (figure(), 0);
        while same < LOOKS {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = figure();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    })
    .await
}

/// Bytes in a connection's buffers at one end: sent and not confirmed, received and not read.
fn queues(local: SocketAddr, remote: SocketAddr) -> (u64, u64) {
    let port = |text: &str| u16::from_str_radix(text.rsplit_once(':').unwrap().1, 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if (port(columns[1]), port(columns[2])) == (local.port(), remote.port()) {
            let (sent, received) = columns[4].split_once(':').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            return (number(sent), number(received));
        }
    }
    panic!("no connection from {local} to {remote}");
}

/// How far this process has read the body files under a directory.
fn read_from(dir: &Path) -> u64 {
    let mut read = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(file) = fs::read_link(entry.path()) else { continue };
        if file.starts_with(dir) && file.extension().is_some_and(|end| end == "body") {
            let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
            let Ok(info) = fs::read_to_string(info) else { continue };
            read += info
                .lines()
                .find_map(|line| line.strip_prefix("pos:"))
                .unwrap()
                .trim()
                .parse::<u64>()
                .unwrap();
        }
    }
    read
}

/// A client that takes the first 256 KiB of an object and then nothing, until it is told to go on.
struct Lazy {
    stream: TcpStream,
    taken: Vec<u8>,
}

impl Lazy {
    async fn start(client: &Client, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut stream = socket.connect(client.address).await.unwrap();
        stream.write_all(client.head("GET", path, "connection: close\r\n").as_bytes()).await.unwrap();
        let mut taken = vec![0; 256 << 10];
        soon("the first bytes", stream.read_exact(&mut taken)).await.unwrap();
        Self { stream, taken }
    }

    /// Bytes that have left the node for this client.
    fn passed_on(&self) -> u64 {
        let (near, far) = (self.stream.local_addr().unwrap(), self.stream.peer_addr().unwrap());
        self.taken.len() as u64 + queues(far, near).0 + queues(near, far).1
    }

    /// Takes all, and gives the body.
    async fn go_on(mut self) -> Vec<u8> {
        soon("the rest", self.stream.read_to_end(&mut self.taken)).await.unwrap();
        let start = self.taken.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        self.taken.split_off(start)
    }
}

#[track_caller]
fn check_held(read: u64, passed_on: u64) {
    assert!(read > passed_on, "{read} bytes read, {passed_on} passed on: the wrong figures were looked at");
    let held = read - passed_on;
    assert!(held <= GET_BOUND, "the node holds {held} bytes for a client that stalls");
    assert!(read < SIZE as u64 / 2, "all was read at once");
}

#[actix_rt::test]
async fn a_client_that_stalls_stops_the_reading_of_the_disk() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let body = bytes(SIZE, 1);
    client.put("/bucket/object", body.clone()).await.ok();

    let lazy = Lazy::start(&client, "/bucket/object").await;
    let read = at_rest(|| read_from(&world.backend())).await;
    check_held(read, lazy.passed_on());
    assert!(lazy.go_on().await == body, "what came after the stall is not the object");
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_client_that_stalls_stops_the_reading_of_the_server() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let sink = free_address().await;
    tokio::task::spawn_local(sealgate_bench::sink::serve(sink));
    let relay = Counting::start(sink).await;
    let node = s3_node(&world, &control, relay.address).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let body = bytes(SIZE, 1);
    client.put("/bucket/keep", body.clone()).await.ok();

    let lazy = Lazy::start(&client, "/bucket/keep").await;
    at_rest(|| relay.most().1).await;
    let (node_end, sent) = relay.most();
    let on_the_way = queues(relay.address, node_end).0 + queues(node_end, relay.address).1;
    check_held(sent - on_the_way, lazy.passed_on());
    assert!(lazy.go_on().await == body, "what came after the stall is not the object");
    node.stop().await;
    control.stop().await;
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A node over an S3 server, plain HTTP.
async fn s3_node(world: &World, control: &Handle, server: SocketAddr) -> DataPlane {
    let identity = identity(&issue(control, "one").await);
    let mut config = world.node_config(format!("https://{}", control.grpc_addr()), identity);
    let credentials = StaticCredentials::new("backend".to_owned(), "secret".to_owned(), None);
    let s3 = S3Config::new(&format!("http://{server}"), "us-east-1", Arc::new(credentials)).unwrap();
    config.backends.insert("default".to_owned(), BackendConfig::S3(Box::new(s3)));
    let node = DataPlane::start(config, SystemClock::shared()).unwrap();
    soon("the first config", node.node().wait_applied(0, 1)).await;
    node
}

/// Between a node and its S3 server: counts what went to the node, connection by connection.
struct Counting {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<(SocketAddr, u64)>>>,
}

impl Counting {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let all = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((node, from)) = listener.accept().await {
                let (mut requests, mut out) = node.into_split();
                let (mut answers, mut inward) = TcpStream::connect(server).await.unwrap().into_split();
                let all = Arc::clone(&all);
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push((from, 0));
                    all.len() - 1
                };
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut requests, &mut inward).await;
                });
                tokio::spawn(async move {
                    let mut piece = vec![0; 64 << 10];
                    while let Ok(count @ 1..) = answers.read(&mut piece).await {
                        let mut left = &piece[..count];
                        while !left.is_empty() {
                            let Ok(written) = out.write(left).await else { return };
                            left = &left[written..];
                            all.lock().unwrap()[number].1 += written as u64;
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    /// The node's end of the connection that most was sent on, and how much.
    fn most(&self) -> (SocketAddr, u64) {
        *self.connections.lock().unwrap().iter().max_by_key(|(_, sent)| *sent).unwrap()
    }
}

/// An S3 server that takes everything, and stops in the body of one key.
struct Stalling {
    address: SocketAddr,
    /// Bytes of that body that it has read.
    read: Arc<AtomicU64>,
    /// The node's end of that body's connection.
    peer: tokio::sync::watch::Receiver<Option<SocketAddr>>,
    go_on: Arc<Semaphore>,
}

impl Stalling {
    async fn start(key: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (read, go_on) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let (at, peer) = tokio::sync::watch::channel(None);
        let (counted, gate) = (Arc::clone(&read), Arc::clone(&go_on));
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let (counted, gate, at) = (Arc::clone(&counted), Arc::clone(&gate), at.clone());
                tokio::spawn(async move {
                    let stalls =
                        |target: &str| target.contains(key).then(|| at.send_modify(|at| *at = Some(from)));
                    let _ = answer_all(stream, stalls, &counted, &gate).await;
                });
            }
        });
        Self { address, read, peer, go_on }
    }
}

async fn answer_all(
    mut stream: TcpStream,
    stalls: impl Fn(&str) -> Option<()>,
    counted: &AtomicU64,
    gate: &Semaphore,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        assert!(header("transfer-encoding").is_none(), "{head}");
        if header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut stalled = stalls(head.lines().next().unwrap());
        let mut left = length;
        let mut piece = vec![0; 64 << 10];
        while left > 0 {
            let now = if buffer.is_empty() {
                let most = left.min(piece.len());
                let count = stream.read(&mut piece[..most]).await?;
                if count == 0 {
                    return Ok(());
                }
                count
            } else {
                let count = buffer.len().min(left);
                buffer.drain(..count);
                count
            };
            left -= now;
            if stalled.is_some() {
                counted.fetch_add(now as u64, Ordering::SeqCst);
                if counted.load(Ordering::SeqCst) > 1 << 20 {
                    gate.acquire().await.unwrap().forget();
                    stalled = None;
                }
            }
        }
        let answer: &[u8] = if head.starts_with("put ") {
            b"HTTP/1.1 200 OK\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\nContent-Length: 0\r\n\r\n"
        } else if head.contains("list-type") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n<ListBucketResult/>"
        } else {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(answer).await?;
    }
}

#[actix_rt::test]
async fn a_backend_that_stalls_stops_the_reading_of_the_client() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let backend = Stalling::start("/object").await;
    let node = s3_node(&world, &control, backend.address).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();

    let stream = TcpStream::connect(node.address()).await.unwrap();
    let (near, far) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let (mut answers, mut out) = stream.into_split();
    let head =
        client.head("PUT", "/bucket/object", &format!("content-length: {SIZE}\r\nconnection: close\r\n"));
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let body: Bytes = bytes(SIZE, 1);
    let writing = tokio::spawn(async move {
        out.write_all(head.as_bytes()).await.unwrap();
        for piece in body.chunks(64 << 10) {
            out.write_all(piece).await.unwrap();
            count.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        out
    });
    let mut peer = backend.peer.clone();
    let node_end = soon("the body's begin", peer.wait_for(Option::is_some)).await.unwrap().unwrap();
    let sent = at_rest(|| written.load(Ordering::SeqCst)).await;
    assert!(sent < SIZE as u64 / 2, "all was read at once");
    // The piece of which a part is written is not counted as written: the bound is tighter by these 64 KiB.
    let taken_in = sent.saturating_sub(queues(near, far).0 + queues(far, near).1);
    let passed_on = backend.read.load(Ordering::SeqCst)
        + queues(node_end, backend.address).0
        + queues(backend.address, node_end).1;
    assert!(passed_on > 1 << 20, "the backend has not stalled in the body");
    let held = taken_in.saturating_sub(passed_on);
    assert!(held + (64 << 10) <= PUT_BOUND, "the node holds {held} bytes for a backend that stalls");

    backend.go_on.add_permits(1);
    let _out = soon("the body's end", writing).await.unwrap();
    let mut answer = String::new();
    soon("the answer", answers.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    node.stop().await;
    control.stop().await;
}
