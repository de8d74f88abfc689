//! Bodies that are refused while they are still being sent: the answer arrives, and the sender is held up by nothing.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::s3::bytes;
use super::steering::Steering;
use super::world::soon;

/// More than the kernel takes on both sides of a connection that nobody reads.
const SIZE: usize = 12 << 20;
/// More than is read of any refused body.
const TOO_MUCH: usize = 64 << 20;

/// Reads a whole answer with an XML document off a connection.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"</Error>") {
        assert_ne!(soon("the answer", stream.read_buf(&mut answer)).await.unwrap(), 0, "it ends early");
    }
    String::from_utf8(answer).unwrap()
}

/// A request of which the head is sent, and its answer.
async fn begin(steering: &Steering, target: &str, more: &str) -> (TcpStream, String) {
    let client = &steering.plain;
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(client.head("PUT", target, more).as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    (stream, answer)
}

#[actix_rt::test]
async fn who_sends_a_refused_body_to_its_end_is_not_cut_off() {
    let steering = Steering::start().await;
    let body = bytes(SIZE, 1);
    for target in ["/nobodys/object", "/bucket/.sealgate/v1/object"] {
        let (mut stream, answer) = begin(&steering, target, &format!("content-length: {SIZE}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
        soon("the body's end", stream.write_all(&body)).await.unwrap();
        let mut rest = Vec::new();
        soon("the connection's end", stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "a second answer: {}", String::from_utf8_lossy(&rest));
    }
    steering.stop().await;
}

#[actix_rt::test]
async fn a_refused_body_of_unknown_length_is_read_to_its_end_as_well() {
    let steering = Steering::start().await;
    let client = &steering.plain;
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let head = client.head("PUT", "/bucket/object", "transfer-encoding: chunked\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let piece = bytes(1 << 20, 1);
    for _ in 0..SIZE >> 20 {
        soon("a chunk", stream.write_all(b"100000\r\n")).await.unwrap();
        soon("a chunk", stream.write_all(&piece)).await.unwrap();
        soon("a chunk", stream.write_all(b"\r\n")).await.unwrap();
    }
    soon("the last chunk", stream.write_all(b"0\r\n\r\n")).await.unwrap();
    let mut rest = Vec::new();
    soon("the connection's end", stream.read_to_end(&mut rest)).await.unwrap();
    steering.stop().await;
}

#[actix_rt::test]
async fn nobody_is_read_for_ever() {
    let steering = Steering::start().await;
    let (mut stream, answer) =
        begin(&steering, "/nobodys/object", &format!("content-length: {TOO_MUCH}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let sent = soon("an end", stream.write_all(&bytes(TOO_MUCH, 1))).await;
    assert!(sent.is_err(), "all of it was taken");
    steering.stop().await;
}

#[actix_rt::test]
async fn who_waits_to_be_asked_is_not_asked_for_what_is_refused() {
    let steering = Steering::start().await;
    let more = format!("content-length: {SIZE}\r\nexpect: 100-continue\r\n");
    let (mut stream, answer) = begin(&steering, "/nobodys/object", &more).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    // Nothing is waited for: neither the body, nor the time that others have for theirs.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(std::time::Duration::from_secs(4), stream.read_to_end(&mut rest)).await;
    end.expect("the connection is held open").unwrap();
    assert!(rest.is_empty(), "it was asked: {}", String::from_utf8_lossy(&rest));
    steering.stop().await;
}
