//! The S3 backend against servers that misbehave: small ones, made here, that do exactly what a case needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::backend::{
    Backend as _, BackendError, ByteStream, Conditions, GetOptions, PutOptions, StoredRange, StreamError,
    Upload,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LARGE: usize = 1_000_000;
const STORED: &str = "HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nContent-Length: 0\r\n\r\n";
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

fn run<F: Future<Output = ()>>(case: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), case()).await.expect("the case ends in time");
    });
}

fn backend(port: u16, adjust: impl FnOnce(&mut S3Config)) -> S3Backend {
    let credentials = StaticCredentials::new("AKID".into(), "secret".into(), None);
    let mut config =
        S3Config::new(&format!("http://127.0.0.1:{port}"), "us-east-1", Arc::new(credentials)).unwrap();
    config.server = ServerKind::Aws;
    adjust(&mut config);
    S3Backend::new(config).unwrap()
}

/// A server that hands each connection, with its number, to `serve`.
async fn server<F: Future<Output = ()> + 'static>(serve: impl Fn(usize, TcpStream) -> F + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(number, stream));
        }
    });
    port
}

/// Reads a request's head; empty at the end of the connection.
async fn head(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    while !out.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => out.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(out).unwrap()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value)
}

async fn body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let length = header(head, "content-length").map_or(0, |text| text.parse().unwrap());
    let mut out = vec![0; length];
    stream.read_exact(&mut out).await.unwrap();
    out
}

/// A stream that says whether it was polled.
fn watched(length: usize) -> (Upload, Rc<Cell<bool>>) {
    let polled = Rc::new(Cell::new(false));
    let seen = polled.clone();
    let stream: ByteStream = Box::pin(stream::once(async move {
        seen.set(true);
        Ok(Bytes::from(vec![7; length]))
    }));
    (Upload { length: length as u64, stream }, polled)
}

async fn put(backend: &S3Backend, upload: Upload) -> Result<String, BackendError> {
    backend.put("bucket", "key", PutOptions::default(), upload).await.map(|outcome| outcome.etag)
}

#[test]
fn nobody_listening_is_unavailable() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let backend = backend(port, |_| {});
        for length in [10, LARGE] {
            let (upload, polled) = watched(length);
            assert!(matches!(put(&backend, upload).await, Err(BackendError::Unavailable(_))));
            assert!(length == 10 || !polled.get(), "nothing is read for a server that is not there");
        }
        let answer = backend.get("bucket", "key", GetOptions::default()).await;
        assert!(matches!(answer, Err(BackendError::Unavailable(_))), "{answer:?}");
    });
}

#[test]
fn an_early_refusal_leaves_the_stream_unpolled() {
    run(|| async {
        let port = server(|_, mut stream| async move {
            let head = head(&mut stream).await;
            assert_eq!(header(&head, "expect"), Some("100-continue"));
            stream.write_all(DENIED.as_bytes()).await.unwrap();
            // Kept open: the client must not hang on it, nor send the body after all.
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "not a byte of the body was sent");
        })
        .await;
        let (upload, polled) = watched(LARGE);
        let error = put(&backend(port, |_| {}), upload).await.expect_err("refused");
        assert!(error.is("AccessDenied"), "{error}");
        assert!(!polled.get());
    });
}

#[test]
fn the_stream_waits_for_continue_and_silence_counts_as_one() {
    run(|| async {
        for says_continue in [true, false] {
            let (upload, polled) = watched(LARGE);
            let waiting = polled.clone();
            let port = server(move |_, mut stream| {
                let polled = waiting.clone();
                async move {
                    let head = head(&mut stream).await;
                    if says_continue {
                        assert!(!polled.get(), "nothing is read before the server has agreed");
                        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                    }
                    let body = body(&mut stream, &head).await;
                    assert_eq!(header(&head, "x-amz-decoded-content-length"), Some("1000000"));
                    assert_eq!(header(&head, "x-amz-trailer"), Some("x-amz-checksum-crc64nvme"));
                    assert!(body.starts_with(b"f4240\r\n") && body.ends_with(b"\r\n\r\n"));
                    stream.write_all(STORED.as_bytes()).await.unwrap();
                }
            })
            .await;
            let started = tokio::time::Instant::now();
            assert_eq!(put(&backend(port, |_| {}), upload).await.unwrap(), "abc");
            assert_eq!(started.elapsed() >= Duration::from_secs(1), !says_continue);
            assert!(polled.get());
        }
    });
}

/// Answers the first request of each connection and closes it when the second comes.
async fn closing_server(requests: Rc<RefCell<Vec<usize>>>) -> u16 {
    server(move |number, mut stream| {
        let requests = requests.clone();
        async move {
            let head_of_first = head(&mut stream).await;
            requests.borrow_mut().push(number);
            if header(&head_of_first, "expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            }
            body(&mut stream, &head_of_first).await;
            stream.write_all(STORED.as_bytes()).await.unwrap();
            if !head(&mut stream).await.is_empty() {
                requests.borrow_mut().push(number);
            }
        }
    })
    .await
}

#[test]
fn a_small_body_is_sent_once_more_when_the_pooled_connection_is_stale() {
    run(|| async {
        let requests = Rc::default();
        let backend = backend(closing_server(Rc::clone(&requests)).await, |_| {});
        for _ in 0..2 {
            put(&backend, watched(100).0).await.unwrap();
        }
        assert_eq!(
            *requests.borrow(),
            [0, 0, 1],
            "the second went out on the old connection, then on a new one"
        );
    });
}

/// The server may have carried it out, and would say that the condition is not met: to a client, that somebody else was faster.
#[test]
fn a_write_with_a_condition_is_sent_once() {
    run(|| async {
        for (if_match, if_none_match) in [(None, Some("*")), (Some("\"e\""), None)] {
            let requests = Rc::default();
            let backend = backend(closing_server(Rc::clone(&requests)).await, |_| {});
            put(&backend, watched(100).0).await.unwrap();
            let conditions = Conditions {
                if_match: if_match.map(str::to_owned),
                if_none_match: if_none_match.map(str::to_owned),
                ..Conditions::default()
            };
            let options = PutOptions { conditions, ..PutOptions::default() };
            let outcome = backend.put("bucket", "key", options, watched(100).0).await;
            assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
            assert_eq!(*requests.borrow(), [0, 0]);
        }
    });
}

#[test]
fn a_large_body_is_not_sent_again() {
    run(|| async {
        let requests = Rc::default();
        let backend = backend(closing_server(Rc::clone(&requests)).await, |_| {});
        put(&backend, watched(LARGE).0).await.unwrap();
        let outcome = put(&backend, watched(LARGE).0).await;
        assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
        assert_eq!(*requests.borrow(), [0, 0]);
    });
}

#[test]
fn a_success_before_the_body_s_end_is_none() {
    run(|| async {
        let port = server(|_, mut stream| async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut some = [0; 1_000];
            stream.read_exact(&mut some).await.unwrap();
            stream.write_all(STORED.as_bytes()).await.unwrap();
            while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
        })
        .await;
        // The rest never comes: nobody can have taken it.
        let first = Bytes::from(vec![7; LARGE - 1]);
        let stream: ByteStream = Box::pin(stream::once(async { Ok(first) }).chain(stream::pending()));
        let answer = put(&backend(port, |_| {}), Upload { length: LARGE as u64, stream }).await;
        assert!(matches!(answer, Err(BackendError::Protocol(_))), "{answer:?}");
    });
}

#[test]
fn a_fresh_connection_that_fails_is_not_tried_again() {
    run(|| async {
        let connections = Rc::new(Cell::new(0));
        let seen = connections.clone();
        let port = server(move |_, mut stream| {
            seen.set(seen.get() + 1);
            async move {
                head(&mut stream).await;
            }
        })
        .await;
        let outcome = put(&backend(port, |_| {}), watched(100).0).await;
        assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_short_answer_is_truncated_and_its_connection_not_reused() {
    run(|| async {
        let port = server(|number, mut stream| async move {
            head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 10\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let body: &[u8] = if number == 0 { b"1234" } else { b"1234567890" };
            stream.write_all(body).await.unwrap();
        })
        .await;
        let backend = backend(port, |_| {});
        let mut cut = backend.get("bucket", "key", GetOptions::default()).await.unwrap().body;
        let mut last = cut.next().await;
        while let Some(Ok(_)) = last {
            last = cut.next().await;
        }
        assert!(matches!(last, Some(Err(StreamError::Truncated(_)))), "{last:?}");
        let whole = backend.get("bucket", "key", GetOptions::default()).await.unwrap().body;
        let pieces: Vec<_> = whole.collect().await;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(bytes, b"1234567890");
    });
}

#[test]
fn silence_runs_into_timeouts() {
    run(|| async {
        let port = server(|_, mut stream| async move {
            let head = head(&mut stream).await;
            if head.starts_with("GET") {
                let head = "HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 10\r\n\r\n12";
                stream.write_all(head.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        })
        .await;
        let backend = backend(port, |config| {
            config.answer_timeout = Duration::from_millis(50);
            config.idle_timeout = Duration::from_millis(50);
        });
        for length in [100, 50 << 20] {
            let outcome = put(&backend, watched(length).0).await;
            assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{length}: {outcome:?}");
        }
        let body = backend.get("bucket", "key", GetOptions::default()).await.unwrap().body;
        let pieces: Vec<_> = body.collect().await;
        assert!(matches!(pieces.last(), Some(Err(StreamError::Truncated(_)))), "{pieces:?}");
    });
}

/// The server is not to blame for a client that takes its time.
#[test]
fn a_slow_source_is_waited_for() {
    run(|| async {
        let port = server(|_, mut stream| async move {
            let head = head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            body(&mut stream, &head).await;
            stream.write_all(STORED.as_bytes()).await.unwrap();
        })
        .await;
        let backend = backend(port, |config| {
            config.answer_timeout = Duration::from_millis(20);
            config.idle_timeout = Duration::from_millis(20);
        });
        let slow = stream::iter(0..4).then(|_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Bytes::from(vec![7; LARGE / 4]))
        });
        let upload = Upload { length: LARGE as u64, stream: Box::pin(slow) };
        assert_eq!(put(&backend, upload).await.unwrap(), "abc");
    });
}

#[test]
fn nonsense_is_refused() {
    run(|| async {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        ];
        for answer in answers {
            let port = server(move |_, mut stream| async move {
                head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            })
            .await;
            let outcome = backend(port, |_| {}).get("bucket", "key", GetOptions::default()).await;
            assert!(
                matches!(outcome, Err(BackendError::Protocol(_) | BackendError::S3 { .. })),
                "{outcome:?}"
            );
        }
    });
}

/// MinIO's answer to a suffix range.
#[test]
fn a_range_of_nothing_is_the_range_of_an_empty_object() {
    run(|| async {
        let port = server(|_, mut stream| async move {
            head(&mut stream).await;
            let answer = "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Range: bytes 0--1/0\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let options = GetOptions { range: Some(StoredRange::Suffix(77)), ..GetOptions::default() };
        let error = backend(port, |_| {}).get("bucket", "key", options).await.expect_err("no byte to give");
        assert!(error.is("InvalidRange"), "{error}");
    });
}
