//! Bodies that are larger than one PUT of the storage: made of parts, in one step, or not at all.

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use sealgate_data_plane::backend::{Backend, BackendError, GetOptions, UploadListOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::s3::{Answer, bytes};
use super::steered::{Call, Moment, Steered};
use super::steering::{Steering, unavailable};
use super::world::{soon, until};

const SOURCE: &str = "/bucket/source";
const COPY: &str = "/bucket/copy";

/// A gateway before a storage that takes 10 MiB at once, and at its side one that takes everything: of a source of 12 MiB.
async fn start() -> Steering {
    let steering = Steering::start_over(Steered::of_small_puts).await;
    steering.plain.put(SOURCE, body(1)).await.ok();
    steering.plain.put(COPY, "what was there").await.ok();
    steering
}

fn body(seed: u64) -> Bytes {
    bytes(12 << 20, seed)
}

async fn copy(steering: &Steering, headers: &[(&str, &str)]) -> Answer {
    let all: Vec<_> =
        [("x-amz-copy-source", SOURCE)].iter().chain(headers).map(|(n, v)| (*n, (*v).to_owned())).collect();
    steering.steered.send_with("PUT", COPY, &all, "").await
}

/// The ids of the uploads that the storage has.
async fn uploads(storage: &dyn Backend) -> Vec<String> {
    let options = UploadListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        upload_id_marker: String::new(),
        max_uploads: 1000,
    };
    storage
        .list_uploads("bucket", options)
        .await
        .unwrap()
        .uploads
        .into_iter()
        .map(|upload| upload.upload_id)
        .collect()
}

/// Both gateways read the copy, and nothing of its making is left.
#[track_caller]
fn assert_copied(read: &[Answer], wanted: &Bytes, left: &[String]) {
    for answer in read {
        assert!(answer.status.is_success() && answer.body == *wanted, "{}: another body", answer.status);
    }
    assert_eq!(left, [""; 0], "uploads that are left");
}

async fn check(steering: &Steering, wanted: &Bytes) {
    let read = [steering.steered.get(COPY).await, steering.plain.get(COPY).await];
    assert_copied(&read, wanted, &uploads(steering.storage.as_ref()).await);
}

#[actix_rt::test]
async fn the_storage_copies_its_parts() {
    let steering = start().await;
    // Whoever reads the source instead is found out.
    steering.backend.fail(Moment::Before, Call::Get, "source", unavailable);
    let made =
        copy(&steering, &[("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-of", "the copy")]).await.ok();
    assert!(made.text().contains("-2&quot;"), "the storage's ETag of two parts: {}", made.text());
    check(&steering, &body(1)).await;
    let head = steering.steered.send("HEAD", COPY, "").await.ok();
    assert_eq!(head.headers["x-amz-meta-of"], "the copy");
    assert!(made.text().contains(head.etag().trim_matches('"')), "{} and {}", head.etag(), made.text());
    let range = [("range", "bytes=6000000-7000000".to_owned())];
    let middle = steering.steered.send_with("GET", COPY, &range, "").await.ok();
    assert!(
        middle.body == body(1).slice(6_000_000..7_000_001),
        "over the end of a part that the storage copied"
    );
    // The error still waits for the first to ask.
    let asked = steering.backend.get("bucket", "source", GetOptions::default()).await;
    assert!(matches!(asked, Err(BackendError::Unavailable(_))), "{asked:?}");
    steering.stop().await;
}

#[actix_rt::test]
async fn an_upload_in_parts_keeps_its_own() {
    let steering = start().await;
    let parts = [bytes(7 << 20, 5), bytes(6 << 20, 6), bytes(1000, 7)];
    let (id, etags) = steering.upload(SOURCE, &parts).await;
    steering.plain.complete(SOURCE, &id, &etags).await.ok();
    copy(&steering, &[]).await.ok();
    check(&steering, &parts.concat().into()).await;
    let second = steering.steered.get(&format!("{COPY}?partNumber=2")).await.ok();
    assert!(second.body == parts[1] && second.headers["x-amz-mp-parts-count"] == "3", "{:?}", second.headers);
    steering.stop().await;
}

#[actix_rt::test]
async fn what_cannot_be_copied_is_written_in_parts() {
    let steering = start().await;
    // The source has no such checksum, so its bytes have to be read.
    let asked = [("x-amz-checksum-algorithm", "SHA1")];
    let made = copy(&steering, &asked).await.ok();
    check(&steering, &body(1)).await;
    let mode = [("x-amz-checksum-mode", "ENABLED".to_owned())];
    let head = steering.steered.send_with("HEAD", COPY, &mode, "").await.ok();
    assert_eq!(head.headers["x-amz-checksum-sha1"], *made.tag("ChecksumSHA1"));
    steering.plain.put(COPY, "what was there").await.ok();
    steering.backend.fail(Moment::Within, Call::UploadPart, "copy#2", unavailable);
    assert_eq!(copy(&steering, &asked).await.status, StatusCode::SERVICE_UNAVAILABLE);
    check(&steering, &Bytes::from_static(b"what was there")).await;
    steering.stop().await;
}

/// 10 MiB of plaintext are more than 10 MiB of ciphertext.
#[actix_rt::test]
async fn a_put_is_bounded_by_its_plaintext() {
    let steering = start().await;
    let most = bytes(10 << 20, 8);
    let made = steering.steered.put(COPY, most.clone()).await.ok();
    assert!(made.etag().ends_with("-2\""), "{}", made.etag());
    check(&steering, &most).await;
    steering.plain.put(COPY, "what was there").await.ok();
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==".to_owned())];
    let refused = steering.steered.send_with("PUT", COPY, &wrong, most.clone()).await;
    assert_eq!((refused.status, refused.tag("Code")), (StatusCode::BAD_REQUEST, "BadDigest".to_owned()));
    let there = [("if-none-match", "*".to_owned())];
    let refused = steering.steered.send_with("PUT", COPY, &there, most).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    let refused = steering.steered.put(COPY, bytes((10 << 20) + 1, 8)).await;
    assert_eq!((refused.status, refused.tag("Code")), (StatusCode::BAD_REQUEST, "EntityTooLarge".to_owned()));
    check(&steering, &Bytes::from_static(b"what was there")).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_failure_at_any_step_leaves_nothing() {
    let steering = start().await;
    for (moment, call, name) in
        [(Moment::Before, Call::CopyPart, "copy#1"), (Moment::After, Call::CopyPart, "copy#2")]
    {
        steering.backend.fail(moment, call, name, unavailable);
        let failed = copy(&steering, &[]).await;
        assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{call:?}: {}", failed.text());
        steering.backend.assert_done();
        check(&steering, &Bytes::from_static(b"what was there")).await;
    }
    let refused = || BackendError::s3(400, "InvalidPart", "the test says so");
    steering.backend.fail(Moment::Before, Call::Complete, "copy", refused);
    assert_eq!(copy(&steering, &[]).await.status, StatusCode::BAD_REQUEST);
    check(&steering, &Bytes::from_static(b"what was there")).await;
    // Aborted by a client that found it in a listing.
    let storage = Rc::clone(&steering.storage);
    steering.backend.once(Moment::Before, Call::Complete, "copy", move || async move {
        for id in uploads(storage.as_ref()).await {
            storage.abort_upload("bucket", "copy", &id).await?;
        }
        Ok::<_, BackendError>(())
    });
    let aborted = copy(&steering, &[]).await;
    assert_eq!((aborted.status, aborted.tag("Code")), (StatusCode::CONFLICT, "OperationAborted".to_owned()));
    check(&steering, &Bytes::from_static(b"what was there")).await;
    copy(&steering, &[]).await.ok();
    check(&steering, &body(1)).await;
    steering.stop().await;
}

/// The answer was lost, or a second attempt found no upload, or the object that the first had made.
#[actix_rt::test]
async fn a_completion_that_took_effect_is_a_success() {
    let steering = start().await;
    let none = [("if-none-match", "*")];
    let lost = [
        (unavailable(), &none[..0]),
        (BackendError::Protocol("the test says so".to_owned()), &none[..0]),
        (BackendError::s3(404, "NoSuchUpload", "the test says so"), &none[..0]),
        (BackendError::s3(412, "PreconditionFailed", "the test says so"), &none),
    ];
    for (answer, conditions) in lost {
        steering.plain.send("DELETE", COPY, "").await.ok();
        steering.backend.fail(Moment::After, Call::Complete, "copy", move || answer);
        let made = copy(&steering, conditions).await.ok();
        steering.backend.assert_done();
        check(&steering, &body(1)).await;
        let head = steering.plain.send("HEAD", COPY, "").await.ok();
        assert!(made.text().contains(head.etag().trim_matches('"')), "{}: {}", head.etag(), made.text());
    }
    steering.stop().await;
}

/// Some servers would delete the bytes of an object that the upload has become.
#[actix_rt::test]
async fn an_upload_that_may_be_an_object_is_not_aborted() {
    let steering = start().await;
    let aborted = || BackendError::s3(500, "InternalError", "an abort that must not come");
    for (moment, unseen) in [(Moment::Before, false), (Moment::After, true)] {
        steering.backend.fail(moment, Call::Complete, "copy", unavailable);
        if unseen {
            steering.backend.fail(Moment::Before, Call::Head, "copy", unavailable);
        }
        steering.backend.fail(Moment::Before, Call::AbortUpload, "copy", aborted);
        let failed = copy(&steering, &[]).await;
        assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{moment:?}: {}", failed.text());
        assert_eq!(steering.backend.waiting(), [(Moment::Before, Call::AbortUpload)], "{moment:?}");
        steering.backend.forget_rules();
        // The one that never came to its last step is left to whoever lists it.
        for id in uploads(steering.storage.as_ref()).await {
            assert!(!unseen, "the completed upload is there");
            assert_eq!(steering.plain.get(COPY).await.ok().text(), "what was there");
            steering.storage.abort_upload("bucket", "copy", &id).await.unwrap();
        }
    }
    check(&steering, &body(1)).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn conditions_on_the_target_hold_at_the_end() {
    let steering = start().await;
    let other = format!("\"{}-1\"", "0".repeat(32));
    for condition in [("if-none-match", "*"), ("if-match", other.as_str())] {
        let refused = copy(&steering, &[condition]).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{condition:?}");
        check(&steering, &Bytes::from_static(b"what was there")).await;
    }
    let there = steering.plain.send("HEAD", COPY, "").await.ok().etag();
    copy(&steering, &[("if-match", &there)]).await.ok();
    check(&steering, &body(1)).await;
    steering.plain.send("DELETE", COPY, "").await.ok();
    copy(&steering, &[("if-none-match", "*")]).await.ok();
    check(&steering, &body(1)).await;
    steering.stop().await;
}

#[actix_rt::test]
async fn a_source_that_is_replaced_between_two_parts_is_looked_up_again() {
    let steering = start().await;
    let client = steering.plain.clone();
    steering.backend.once(Moment::Before, Call::CopyPart, "copy#2", move || async move {
        client.put(SOURCE, body(2)).await.ok();
        Ok(())
    });
    copy(&steering, &[]).await.ok();
    steering.backend.assert_done();
    check(&steering, &body(2)).await;
    steering.stop().await;
}

/// Begins a PUT of 10 MiB over the copy and gives the connection, over which `left` bytes are still to come.
async fn begin(steering: &Steering, body: &Bytes, left: usize) -> TcpStream {
    let mut stream = TcpStream::connect(steering.steered.address).await.unwrap();
    let head = steering.steered.head("PUT", COPY, &format!("content-length: {}\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..body.len() - left]).await.unwrap();
    stream
}

/// The gateway sees a connection's end before it answers the next request over the same thread.
async fn hang_up(steering: &Steering, stream: TcpStream) {
    drop(stream);
    for _ in 0..2 {
        steering.steered.get("/").await.ok();
    }
}

#[actix_rt::test]
async fn a_client_that_hangs_up_after_its_last_byte_leaves_a_whole_object() {
    for (call, name) in [(Call::UploadPart, "copy#2"), (Call::Complete, "copy")] {
        let steering = start().await;
        let body = bytes(10 << 20, 9);
        let (begun, has_begun) = oneshot::channel();
        let (go_on, going_on) = oneshot::channel::<()>();
        steering.backend.once(Moment::After, call, name, move || async move {
            begun.send(()).unwrap();
            going_on.await.map_err(|_| unavailable())
        });
        let (made, is_made) = oneshot::channel();
        steering.backend.once(Moment::After, Call::Complete, "copy", move || async move {
            made.send(()).map_err(|()| unavailable())
        });
        let stream = begin(&steering, &body, 0).await;
        soon("the step", has_begun).await.unwrap();
        hang_up(&steering, stream).await;
        assert_eq!(go_on.send(()), Ok(()), "{call:?}: the write ended with its client");
        if call == Call::UploadPart {
            soon("the object", is_made).await.unwrap();
        } else {
            steering.backend.forget_rules();
        }
        check(&steering, &body).await;
        steering.stop().await;
    }
}

#[actix_rt::test]
async fn a_client_that_hangs_up_before_its_last_byte_leaves_nothing() {
    let steering = start().await;
    let (begun, has_begun) = oneshot::channel();
    steering.backend.once(Moment::Before, Call::UploadPart, "copy#2", move || async move {
        begun.send(()).unwrap();
        Ok(())
    });
    let stream = begin(&steering, &bytes(10 << 20, 9), 1).await;
    soon("the second part", has_begun).await.unwrap();
    drop(stream);
    let storage = steering.storage.as_ref();
    until("the upload's end", async || uploads(storage).await.is_empty()).await;
    check(&steering, &Bytes::from_static(b"what was there")).await;
    steering.stop().await;
}
