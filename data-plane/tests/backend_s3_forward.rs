//! What the S3 backend sends on and gives back, seen by a server that writes down what it is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, DeleteKey, Forward, VersionListOptions,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Seen = Rc<RefCell<Vec<String>>>;

fn run<F: Future<Output = ()>>(case: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), case()).await.expect("the case ends in time");
    });
}

/// A backend before a server that gives every request the same answer, and what was sent to it.
async fn answering(answer: String) -> (S3Backend, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let kept = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(request).unwrap();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                })
                .map_or(0, |text| text.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            kept.borrow_mut().push(head + &String::from_utf8(body).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let credentials = StaticCredentials::new("AKID".into(), "secret".into(), None);
    let mut config =
        S3Config::new(&format!("http://127.0.0.1:{port}"), "us-east-1", Arc::new(credentials)).unwrap();
    config.server = ServerKind::Aws;
    (S3Backend::new(config).unwrap(), seen)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn tagging() -> Forward {
    Forward {
        method: Method::PUT,
        bucket: "data".to_owned(),
        key: Some("a b/é".to_owned()),
        query: vec![("tagging".to_owned(), String::new()), ("versionId".to_owned(), "v+1".to_owned())],
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"<Tagging/>"),
    }
}

#[test]
fn a_request_goes_on_signed_and_with_a_proof_of_its_body() {
    run(|| async {
        let (backend, seen) = answering(answer("204 No Content", "x-amz-version-id: v2\r\n", "")).await;
        let answered = backend.forward(tagging()).await.unwrap();
        assert_eq!(
            (answered.status, answered.headers["x-amz-version-id"].as_bytes()),
            (StatusCode::NO_CONTENT, &b"v2"[..])
        );
        let sent = seen.borrow().join("");
        assert!(sent.starts_with("PUT /data/a%20b/%C3%A9?tagging=&versionId=v%2B1 HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("authorization: AWS4-HMAC-SHA256 Credential=AKID/"), "{sent}");
        // MD5 of the document, in base64.
        assert!(sent.contains("content-md5: ") && sent.ends_with("\r\n\r\n<Tagging/>"), "{sent}");
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn an_error_keeps_its_status_code_and_message() {
    run(|| async {
        let document =
            "<Error><Code>NoSuchTagSet</Code><Message>There is none &amp; never was</Message></Error>";
        let (backend, _) = answering(answer("404 Not Found", "", document)).await;
        let request = Forward { method: Method::GET, body: Bytes::new(), ..tagging() };
        match backend.forward(request).await {
            Err(BackendError::S3 { status: 404, code, message, .. }) => {
                assert_eq!((code.as_str(), message.as_str()), ("NoSuchTagSet", "There is none & never was"));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_answer_beyond_all_bounds_is_none() {
    run(|| async {
        let (backend, _) = answering(answer("200 OK", "", &"x".repeat((1 << 20) + 1))).await;
        let answered = backend.forward(tagging()).await;
        assert!(matches!(answered, Err(BackendError::Protocol(_))), "{answered:?}");
    });
}

#[test]
fn an_override_of_a_lock_goes_with_the_deletion() {
    run(|| async {
        let headers = "x-amz-version-id: v\r\nx-amz-delete-marker: true\r\n";
        let (backend, seen) = answering(answer("204 No Content", headers, "")).await;
        let bypass = HeaderMap::from_iter([(
            "x-amz-bypass-governance-retention".parse().unwrap(),
            "true".parse().unwrap(),
        )]);
        let gone = backend.delete_with("data", "k", Some("v"), Conditions::default(), bypass).await.unwrap();
        assert!(gone.delete_marker && gone.version_id.as_deref() == Some("v"));
        let sent = seen.borrow().join("");
        assert!(sent.starts_with("DELETE /data/k?versionId=v "), "{sent}");
        assert!(sent.contains("x-amz-bypass-governance-retention: true\r\n"), "{sent}");
    });
}

#[test]
fn the_checksum_of_an_uploads_object_goes_with_its_end() {
    run(|| async {
        let done = "<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>";
        let (backend, seen) = answering(answer("200 OK", "", done)).await;
        let parts = [(1, "e".to_owned())];
        let complete = async |name: &'static str| {
            let checksum = [(HeaderName::from_static(name), HeaderValue::from_static("AAAA"))];
            let checksum = checksum.into_iter().collect();
            backend.complete_upload_with("data", "k", "u", &parts, Conditions::default(), checksum).await
        };
        assert_eq!(complete("x-amz-checksum-crc64nvme").await.unwrap().etag, "e-1");
        let sent = seen.borrow().join("");
        assert!(sent.contains("\r\nx-amz-checksum-crc64nvme: AAAA\r\n"), "{sent}");
        assert!(sent.contains("\r\nx-amz-checksum-type: FULL_OBJECT\r\n"), "{sent}");
        // The upload was created for another: the server would refuse it, or not look.
        let refused = complete("x-amz-checksum-crc32").await;
        assert!(matches!(refused, Err(BackendError::Unsupported(_))), "{refused:?}");
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn a_page_of_versions_is_asked_for_by_both_markers() {
    run(|| async {
        let document = "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>";
        let (backend, seen) = answering(answer("200 OK", "", document)).await;
        let options = VersionListOptions {
            prefix: "p/".to_owned(),
            delimiter: None,
            key_marker: "p/a".to_owned(),
            version_id_marker: "v".to_owned(),
            max_keys: 7,
        };
        assert!(backend.list_versions("data", options).await.unwrap().entries.is_empty());
        let sent = seen.borrow().join("");
        let target =
            "/data?versions=&encoding-type=url&max-keys=7&prefix=p%2F&key-marker=p%2Fa&version-id-marker=v";
        assert!(sent.starts_with(&format!("GET {target} ")), "{sent}");
    });
}

#[test]
fn a_deleted_marker_is_recognised_however_the_server_names_it() {
    run(|| async {
        for named in [
            "<VersionId>v</VersionId><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v</DeleteMarkerVersionId>",
            "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v</DeleteMarkerVersionId>",
            "<DeleteMarker>true</DeleteMarker>",
        ] {
            let document = format!("<DeleteResult><Deleted><Key>k</Key>{named}</Deleted></DeleteResult>");
            let (backend, _) = answering(answer("200 OK", "", &document)).await;
            let key = DeleteKey { key: "k".to_owned(), version_id: Some("v".to_owned()), etag: None };
            let gone = backend.delete_many("data", &[key]).await.unwrap().remove(0).unwrap();
            assert!(gone.delete_marker && gone.version_id.as_deref() == Some("v"), "{named}: {gone:?}");
        }
        let other = "<DeleteResult><Deleted><Key>k</Key><VersionId>w</VersionId></Deleted></DeleteResult>";
        let (backend, _) = answering(answer("200 OK", "", other)).await;
        let key = DeleteKey { key: "k".to_owned(), version_id: Some("v".to_owned()), etag: None };
        let gone = backend.delete_many("data", &[key]).await.unwrap().remove(0);
        assert!(gone.is_err(), "another version is not this one: {gone:?}");
    });
}
