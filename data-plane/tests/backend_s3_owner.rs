//! Whose the buckets on an S3 server are: what is asked of the server, and what is taken for the gateway's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::backend::{
    Backend, Conditions, CopySource, Forward, GetOptions, ListFrom, ListOptions, PutOptions,
};
use sealgate_data_plane::buckets::{make, work};
use sealgate_data_plane::pipeline::upload;
use sealgate_proto::v1 as wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const OWNER: &str = "111122223333";

type Seen = Rc<RefCell<Vec<String>>>;

fn run<F: Future<Output = ()>>(case: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), case()).await.expect("the case ends in time");
    });
}

/// A backend before a server that answers each head as `script` says, and the heads that came.
async fn scripted(
    server: ServerKind,
    owner: Option<&str>,
    script: impl Fn(&str) -> String + 'static,
) -> (S3Backend, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let kept = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
            stream.read_exact(&mut body).await.unwrap();
            let answer = script(&head);
            kept.borrow_mut().push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let credentials = StaticCredentials::new("AKID".into(), "secret".into(), None);
    let mut config =
        S3Config::new(&format!("http://127.0.0.1:{port}"), "eu-central-1", Arc::new(credentials)).unwrap();
    config.server = server;
    config.bucket_owner = owner.map(str::to_owned);
    (S3Backend::new(config).unwrap(), seen)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nETag: \"e\"\r\nLast-Modified: Mon, 30 Nov 2026 00:00:00 GMT\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn refusal(status: &str, code: &str) -> String {
    answer(status, &format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

/// Answers as a server on which CreateBucket is refused with `code`, and HEAD of the bucket with a status; it is empty otherwise.
fn taken(code: &'static str, looked: &'static str) -> impl Fn(&str) -> String {
    move |head| {
        let (line, _) = head.split_once("\r\n").unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["put", "/bucket", _] => refusal("409 Conflict", code),
            // Without a body, as every answer to HEAD.
            ["head", ..] => format!("HTTP/1.1 {looked}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            ["get", target, _] if target.contains("list-type") => {
                answer("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            }
            ["get", ..] => refusal("404 Not Found", "NoSuchKey"),
            _ => answer("200 OK", ""),
        }
    }
}

fn wanted() -> wire::Bucket {
    wire::Bucket { bucket_id: vec![7; 16], backend_bucket: "bucket".to_owned(), ..wire::Bucket::default() }
}

/// What was asked, a method a request.
fn asked(seen: &Seen) -> Vec<String> {
    seen.borrow_mut().drain(..).map(|head| head.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn every_request_that_names_a_bucket_says_whose_it_must_be() {
    run(|| async {
        let document = "<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-11-30T00:00:00.000Z</LastModified>\
                        </CopyObjectResult>";
        let (backend, seen) = scripted(ServerKind::Aws, Some(OWNER), move |head| {
            let body = if head.contains("x-amz-copy-source: ") { document } else { "" };
            answer("200 OK", body)
        })
        .await;
        let conditions = Conditions::default;
        backend.head_bucket("bucket").await.unwrap();
        backend.put("bucket", "k", PutOptions::default(), upload(vec![1; 10])).await.unwrap();
        backend.put("bucket", "k", PutOptions::default(), upload(vec![1; 300 << 10])).await.unwrap();
        backend.get("bucket", "k", GetOptions::default()).await.unwrap();
        backend.head("bucket", "k", GetOptions::default()).await.unwrap();
        backend.delete("bucket", "k", None, conditions()).await.unwrap();
        let first =
            ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1 };
        let _ = backend.list_v2("bucket", first).await;
        let _ = backend.create_upload("bucket", "k", PutOptions::default()).await;
        backend.abort_upload("bucket", "k", "u").await.unwrap();
        backend.delete_bucket("bucket").await.unwrap();
        // What a client expects was held against its tenant, and is not the storage's business.
        let clients = HeaderName::from_static("x-amz-expected-bucket-owner");
        let forward = Forward {
            method: Method::PUT,
            bucket: "bucket".to_owned(),
            key: None,
            query: vec![("tagging".to_owned(), String::new())],
            headers: HeaderMap::from_iter([(clients, HeaderValue::from_static("client"))]),
            body: Bytes::from_static(b"<Tagging/>"),
        };
        backend.forward(forward).await.unwrap();
        let heads: Vec<String> = seen.borrow_mut().drain(..).collect();
        assert_eq!(heads.len(), 11);
        for head in &heads {
            assert_eq!(head.matches("x-amz-expected-bucket-owner: ").count(), 1, "{head}");
            assert!(head.contains(&format!("\r\nx-amz-expected-bucket-owner: {OWNER}\r\n")), "{head}");
            assert!(head.contains(";x-amz-expected-bucket-owner"), "it is signed: {head}");
            assert!(!head.contains("x-amz-source-"), "{head}");
        }

        let source = || CopySource {
            bucket: "other".to_owned(),
            key: "k".to_owned(),
            version_id: None,
            if_match: None,
        };
        backend.copy(source(), "bucket", "k", PutOptions::default()).await.unwrap();
        backend.copy_part(source(), None, "bucket", "k", "u", 1).await.unwrap();
        let heads: Vec<String> = seen.borrow_mut().drain(..).collect();
        assert_eq!(heads.len(), 2);
        for head in &heads {
            for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
                assert!(head.contains(&format!("\r\n{name}: {OWNER}\r\n")), "{head}");
                assert!(head.contains(&format!(";{name}")), "it is signed: {head}");
            }
        }

        // S3 knows no owner there: the one has no bucket yet, the other names none.
        backend.create_bucket("bucket").await.unwrap();
        let _ = backend.list_buckets().await;
        let heads: Vec<String> = seen.borrow_mut().drain(..).collect();
        assert_eq!(heads.len(), 2);
        assert!(heads.iter().all(|head| !head.contains("bucket-owner")), "{heads:?}");
    });
}

#[test]
fn without_an_owner_nothing_is_said_of_one() {
    run(|| async {
        let (backend, seen) = scripted(ServerKind::Aws, None, |_| answer("200 OK", "")).await;
        backend.head_bucket("bucket").await.unwrap();
        assert!(!seen.borrow().join("").contains("bucket-owner"));
    });
}

#[test]
fn a_look_at_the_bucket_with_its_owner_decides_whatever_createbucket_says() {
    run(|| async {
        for code in ["BucketAlreadyExists", "BucketAlreadyOwnedByYou"] {
            for server in [ServerKind::Aws, ServerKind::Generic] {
                let (backend, seen) = scripted(server, Some(OWNER), taken(code, "403 Forbidden")).await;
                let refused = make(&backend, &wanted(), None).await.unwrap_err();
                assert!(refused.is("BucketAlreadyExists"), "{code}, {server:?}: {refused}");
                assert_eq!(asked(&seen), ["put", "head"], "nothing is written there");

                let (backend, seen) = scripted(server, Some(OWNER), taken(code, "200 OK")).await;
                make(&backend, &wanted(), None).await.unwrap();
                assert_eq!(asked(&seen), ["put", "head", "get", "get", "put"], "marker, listing, marker");
            }
        }
        let (backend, _) =
            scripted(ServerKind::Aws, Some(OWNER), taken("BucketAlreadyExists", "500 Oh")).await;
        let failed = make(&backend, &wanted(), None).await.unwrap_err();
        assert!(failed.is("InternalError"), "{failed}");
    });
}

#[test]
fn without_an_owner_the_word_of_a_server_that_knows_owners_decides() {
    run(|| async {
        let (backend, seen) = scripted(ServerKind::Aws, None, taken("BucketAlreadyExists", "200 OK")).await;
        let refused = make(&backend, &wanted(), None).await.unwrap_err();
        assert!(refused.is("BucketAlreadyExists"), "{refused}");
        assert_eq!(asked(&seen), ["put"], "it is not looked at, let alone written");
        for (server, code) in
            [(ServerKind::Aws, "BucketAlreadyOwnedByYou"), (ServerKind::Generic, "BucketAlreadyExists")]
        {
            let (backend, _) = scripted(server, None, taken(code, "200 OK")).await;
            make(&backend, &wanted(), None).await.unwrap();
        }
    });
}

/// As AWS does in us-east-1.
#[test]
fn a_bucket_of_ones_own_that_is_not_empty_is_not_taken_over_where_it_is_made_again_with_success() {
    run(|| async {
        let (backend, seen) = scripted(ServerKind::Aws, None, |head| {
            if head.starts_with("get") && head.contains("list-type") {
                let entry = "<Contents><Key>old</Key><LastModified>2026-11-30T00:00:00.000Z</LastModified>\
                             <ETag>\"e\"</ETag><Size>1</Size></Contents>";
                let list =
                    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>");
                return answer("200 OK", &list);
            }
            if head.starts_with("get") { refusal("404 Not Found", "NoSuchKey") } else { answer("200 OK", "") }
        })
        .await;
        let refused = make(&backend, &wanted(), None).await.unwrap_err();
        assert!(refused.is("BucketAlreadyExists"), "{refused}");
        assert_eq!(asked(&seen), ["put", "get", "get"], "nothing is written there");
    });
}

#[test]
fn a_work_bucket_of_a_stranger_is_not_used() {
    run(|| async {
        // It was not there yet when it was looked for: somebody else was faster.
        let late = |code: &'static str| {
            let looks = RefCell::new(0);
            move |head: &str| {
                if head.starts_with("head") {
                    *looks.borrow_mut() += 1;
                    let status = if *looks.borrow() == 1 { "404 Not Found" } else { "200 OK" };
                    return format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                }
                refusal("409 Conflict", code)
            }
        };
        let (backend, seen) = scripted(ServerKind::Aws, None, late("BucketAlreadyExists")).await;
        let refused = work::ensure(&backend, "bucket").await.unwrap_err();
        assert!(refused.is("BucketAlreadyExists"), "{refused}");
        assert_eq!(asked(&seen), ["head", "put"]);
        for (server, code) in
            [(ServerKind::Aws, "BucketAlreadyOwnedByYou"), (ServerKind::Generic, "BucketAlreadyExists")]
        {
            let (backend, _) = scripted(server, None, late(code)).await;
            work::ensure(&backend, "bucket").await.unwrap();
        }
        // It was there before, and anybody may look at it.
        let (backend, seen) =
            scripted(ServerKind::Aws, Some(OWNER), taken("BucketAlreadyExists", "403 Forbidden")).await;
        let refused = work::ensure(&backend, "bucket").await.unwrap_err();
        assert!(refused.is("AccessDenied"), "{refused}");
        assert_eq!(asked(&seen), ["head"]);
    });
}
