//! Two nodes behind a balancer that knows nothing of S3.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::process::Plane;
use super::s3::bytes;
use super::storage::{check_key_records, list};
use super::world::{World, identity, soon, until};

/// Hands connections out in turn; a node that does not answer is passed over.
struct Balancer {
    address: SocketAddr,
    served: Arc<Vec<AtomicUsize>>,
}

impl Balancer {
    async fn start(nodes: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served: Arc<Vec<AtomicUsize>> = Arc::new(nodes.iter().map(|_| AtomicUsize::new(0)).collect());
        let counts = Arc::clone(&served);
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((mut client, _)) = listener.accept().await {
                for _ in 0..nodes.len() {
                    let number = turn % nodes.len();
                    turn += 1;
                    if let Ok(mut node) = TcpStream::connect(nodes[number]).await {
                        counts[number].fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(async move { copy_bidirectional(&mut client, &mut node).await });
                        break;
                    }
                }
            }
        });
        Self { address, served }
    }

    fn served(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

#[actix_rt::test]
async fn a_multipart_upload_over_two_nodes_survives_the_kill_of_one() {
    const PART: usize = 5 << 20;
    let world = World::new();
    let control = world.control_process().await;
    let client = control.tenant("tests").await;
    let endpoint = format!("https://{}", control.plane.address);
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let issued = control.issue(name).await;
        nodes.push(Plane::node(&world.node_file(name, &endpoint, &identity(&issued))).await);
    }
    for node in &nodes {
        let here = client.at(node.address);
        until("a config", async || here.send("GET", "/", "").await.status == 200).await;
    }
    let balancer = Balancer::start(nodes.iter().map(|node| node.address).collect()).await;
    let client = client.at(balancer.address);
    client.put("/shared", "").await.ok();
    until("the bucket on both nodes", async || {
        let mut both = true;
        for node in &nodes {
            both &= client.at(node.address).send("HEAD", "/shared", "").await.status == 200;
        }
        both
    })
    .await;

    let upload = client.create_upload("/shared/object").await;
    let target = |number: usize| format!("/shared/object?partNumber={number}&uploadId={upload}");
    let parts: Vec<_> = (1..=4).map(|number| bytes(PART + number, number as u64)).collect();
    let before = balancer.served();
    let mut etags = Vec::new();
    for number in 1..=2 {
        etags.push(client.put(&target(number), parts[number - 1].clone()).await.ok().etag());
    }
    let after = balancer.served();
    assert!(after.iter().zip(&before).all(|(after, before)| after == &(before + 1)), "{before:?} {after:?}");

    // The third part is half on its way when its node dies.
    let mut half = TcpStream::connect(nodes[0].address).await.unwrap();
    let length = format!("content-length: {}\r\n", parts[2].len());
    let head = client.at(nodes[0].address).head("PUT", &target(3), &length);
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&parts[2][..PART / 2]).await.unwrap();
    nodes[0].kill();
    let mut answer = Vec::new();
    let _ = soon("the connection's end", half.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));

    for number in 3..=4 {
        etags.push(client.put(&target(number), parts[number - 1].clone()).await.ok().etag());
    }
    let done = client.complete("/shared/object", &upload, &etags).await.ok();
    let read = client.get("/shared/object").await.ok();
    assert_eq!(read.body, parts.concat());
    assert_eq!(done.tag("ETag").replace("&quot;", "\""), read.etag());
    assert_eq!(check_key_records(&world.backend(), "shared").await, 1);
    assert_eq!(client.get("/shared?uploads=").await.ok().text().matches("<Upload>").count(), 0);

    // The dead node comes back and reads what was finished without it.
    let config = world.path().join("one.toml");
    let back = Plane::node(&config).await;
    let here = client.at(back.address);
    until("a config", async || here.send("HEAD", "/shared", "").await.status == 200).await;
    assert_eq!(here.get("/shared/object").await.ok().body, parts.concat());
    let backend = sealgate_data_plane::backend::fs::FsBackend::open(world.backend()).unwrap();
    let visible = list(&backend, "shared", "").await;
    assert_eq!(visible.iter().filter(|entry| !entry.key.starts_with(".sealgate/")).count(), 1);
}
