//! The S3 backend over TLS: it speaks to the server that its CA has signed for, under the name that it was given, and sends
//! nothing to any other. The conformance suite has the same way with real servers behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use rustls::ServerConfig;
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::backend::{Backend as _, BackendError, PutOptions, PutOutcome, Upload};

#[path = "conformance/tls.rs"]
mod tls;

use tls::{Authority, before};

/// A server that stores nothing, says that it did, and counts the bytes that reach it.
fn counting() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while !seen.ends_with(b"text") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        counted.fetch_add(length, Ordering::SeqCst);
                        seen.extend_from_slice(&buffer[..length]);
                    }
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (address, count)
}

/// One PUT to https://<name>:<port>, trusting an authority.
fn put(name: &str, address: SocketAddr, trusted: &Authority) -> Result<PutOutcome, BackendError> {
    let credentials = StaticCredentials::new("AKID".into(), "secret".into(), None);
    let endpoint = format!("https://{name}:{}", address.port());
    let mut config = S3Config::new(&endpoint, "us-east-1", Arc::new(credentials)).unwrap();
    // No trailer: the stub looks for the body's last bytes.
    config.server = ServerKind::Generic;
    config.ca_pem = Some(trusted.pem.clone().into_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let backend = S3Backend::new(config).unwrap();
        let body = Upload { length: 4, stream: Box::pin(stream::iter([Ok(Bytes::from_static(b"text"))])) };
        let done = backend.put("bucket", "key", PutOptions::default(), body);
        tokio::time::timeout(Duration::from_secs(30), done).await.expect("an answer")
    })
}

/// A PUT to a server with this certificate must fail before a byte of it is sent.
fn refused(server: Arc<ServerConfig>, trusted: &Authority) {
    let (upstream, count) = counting();
    let outcome = put("localhost", before(upstream, server), trusted);
    assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0, "something was sent to a server that is not the right one");
}

#[test]
fn the_right_server_is_spoken_to() {
    let authority = Authority::new();
    let (upstream, count) = counting();
    let address = before(upstream, authority.server("localhost", |_| {}));
    assert_eq!(put("localhost", address, &authority).unwrap().etag, "abc");
    assert_ne!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn a_server_of_another_authority_is_refused() {
    refused(Authority::new().server("localhost", |_| {}), &Authority::new());
}

#[test]
fn a_server_of_another_name_is_refused() {
    let authority = Authority::new();
    refused(authority.server("elsewhere.example.com", |_| {}), &authority);
}

#[test]
fn a_certificate_that_is_over_is_refused() {
    let authority = Authority::new();
    let over = authority.server("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    refused(over, &authority);
}

#[test]
fn a_server_without_tls_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 8];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        buffer
    });
    let outcome = put("localhost", address, &Authority::new());
    assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
    let heard = heard.join().unwrap();
    // A record of TLS's handshake, not the begin of a request.
    assert_eq!(heard[..2], [22, 3]);
}
