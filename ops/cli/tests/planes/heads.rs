//! Heads of requests that are too large: S3's own error where the head can still be read, and memory for none of them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::Plane;
use super::world::{World, identity, soon, until};

/// A request's head with one header of so many bytes; without its end.
fn head(size: usize) -> String {
    format!("GET /bucket/key HTTP/1.1\r\nHost: here\r\nx-amz-meta-large: {}\r\n", "x".repeat(size))
}

async fn answer(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has read enough closes: what it answered before is what counts.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Resident memory of a process, in KiB.
fn resident(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[actix_rt::test]
async fn a_head_that_is_too_large_gets_s3s_own_error_and_little_memory() {
    const CONNECTIONS: usize = 200;
    let world = World::new();
    let control = world.control_process().await;
    let endpoint = format!("https://{}", control.plane.address);
    let node = Plane::node(&world.node_file("one", &endpoint, &identity(&control.issue("one").await))).await;
    let close = "Connection: close\r\n\r\n";
    for size in [8 << 10, 17 << 10, 64 << 10, 120 << 10] {
        let answer = answer(node.address, &format!("{}{close}", head(size))).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{size}: {answer}");
        assert!(answer.contains("<Code>RequestHeaderSectionTooLarge</Code>"), "{size}: {answer}");
    }
    // Beyond what the parser reads: its own error, or a closed connection.
    let refused = answer(node.address, &format!("{}{close}", head(1 << 20))).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431 "), "{refused}");

    // Clients that never end their heads.
    let before = resident(node.id());
    let text = head(126 << 10);
    let mut stalled = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let held = || resident(node.id()).saturating_sub(before);
    // All of them have been read by then: nothing else can be in the node's memory.
    until("the heads in the node's memory", async || held() >= CONNECTIONS * 120).await;
    until("an answer to somebody else", async || {
        answer(node.address, &format!("{}{close}", head(17 << 10))).await.starts_with("HTTP/1.1 400 ")
    })
    .await;
    let held = held();
    assert!(held <= CONNECTIONS * 320, "{held} KiB for {CONNECTIONS} unfinished heads");
    drop(stalled);
}
