//! Parts that are kept twice: a part whose stash or note is not surely written is not a part, and the client is told to
//! send it again.

use std::io::{Error, ErrorKind};

use bytes::Bytes;
use sealgate_data_plane::backend::BackendError;

use super::s3::bytes;
use super::steered::{Call, Moment};
use super::steering::{Steering, part_target, unavailable, upload_part};

const OBJECT: &str = "/bucket/object";

fn disk_full() -> BackendError {
    BackendError::Io(Error::from(ErrorKind::StorageFull))
}

fn broken_off() -> BackendError {
    let source = sealgate_data_plane::backend::StreamError::Truncated("the connection went".to_owned());
    BackendError::Upload(Box::new(source))
}

fn refused_by_the_server() -> BackendError {
    BackendError::s3(503, "SlowDown", "the test says so")
}

/// A part of which a write fails in each way at each moment is answered 503, is not listed, and can be sent again.
async fn a_failing_write_is_told(number: u16, call: Call, name: &'static str, moments: &[Moment]) {
    let steering = Steering::start().await;
    // Below 5 MiB, so it is stashed; large enough to come in pieces.
    let part = bytes(2 << 20, 1);
    let id = steering.plain.create_upload(OBJECT).await;
    let errors: [fn() -> BackendError; 4] = [unavailable, disk_full, broken_off, refused_by_the_server];
    for moment in moments {
        for error in errors {
            // A note is tried twice where another attempt may succeed.
            let again = matches!(error(), BackendError::Unavailable(_) | BackendError::S3 { .. });
            for _ in 0..if again && name.starts_with("/n/") { 2 } else { 1 } {
                steering.backend.fail(*moment, call, name, error);
            }
            let answer = steering.steered.put(&part_target(OBJECT, &id, number), part.clone()).await;
            let told = format!("{moment:?}, {:?}: {}", error(), answer.text());
            assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (503, "SlowDown"), "{told}");
            assert!(answer.headers.contains_key("retry-after"), "{told}");
            let listed = steering.plain.get(&format!("{OBJECT}?uploadId={id}")).await.ok();
            assert!(!listed.text().contains("<Part>"), "{told}: {}", listed.text());
            steering.backend.assert_done();
        }
    }
    let etag = upload_part(&steering.steered, OBJECT, &id, number, &part).await;
    complete(&steering, &id, number, &etag).await;
    assert!(steering.plain.get(OBJECT).await.ok().body == part);
    steering.stop().await;
}

async fn complete(steering: &Steering, id: &str, number: u16, etag: &str) {
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    steering.plain.send("POST", &format!("{OBJECT}?uploadId={id}"), document).await.ok();
}

const ALL: [Moment; 3] = [Moment::Before, Moment::Within, Moment::After];

#[actix_rt::test]
async fn a_stash_that_cannot_be_written_makes_no_part() {
    a_failing_write_is_told(7, Call::Put, "/s/00007/", &ALL).await;
}

#[actix_rt::test]
async fn a_part_that_cannot_be_written_makes_no_part_though_its_stash_could() {
    a_failing_write_is_told(7, Call::UploadPart, "object#7", &ALL).await;
}

#[actix_rt::test]
async fn the_last_part_number_is_a_stash_only_and_no_less_sure() {
    a_failing_write_is_told(10_000, Call::Put, "/s/10000/", &ALL).await;
}

#[actix_rt::test]
async fn a_note_that_cannot_be_written_makes_no_part() {
    a_failing_write_is_told(7, Call::Put, "/n/00007/", &[Moment::Before]).await;
}

/// Without it the part would be none, and its earlier attempt would be gone.
#[actix_rt::test]
async fn a_note_is_written_again_when_the_storage_fails_once() {
    let steering = Steering::start().await;
    let id = steering.plain.create_upload(OBJECT).await;
    for moment in [Moment::Before, Moment::After] {
        steering.backend.fail(moment, Call::Put, "/n/00007/", unavailable);
        let part = bytes(1_000, 1);
        let etag = upload_part(&steering.steered, OBJECT, &id, 7, &part).await;
        steering.backend.assert_done();
        let listed = steering.plain.get(&format!("{OBJECT}?uploadId={id}")).await.ok();
        assert_eq!(listed.tag("ETag").replace("&quot;", "\""), etag);
    }
    steering.stop().await;
}

/// Backends tell whole seconds: what was written within one is told apart otherwise.
#[actix_rt::test]
async fn the_last_of_many_uploads_of_the_last_part_number_is_the_one_that_is_listed() {
    let steering = Steering::start().await;
    let id = steering.plain.create_upload(OBJECT).await;
    let mut etag = String::new();
    let mut part = Bytes::new();
    for round in 0..8 {
        part = bytes(1_000 + round, round as u64);
        let client = if round % 2 == 0 { &steering.plain } else { &steering.steered };
        etag = upload_part(client, OBJECT, &id, 10_000, &part).await;
        let listed = steering.plain.get(&format!("{OBJECT}?uploadId={id}")).await.ok();
        assert_eq!(listed.tag("ETag").replace("&quot;", "\""), etag, "round {round}");
        assert_eq!(listed.tag("Size"), part.len().to_string());
        assert_eq!(listed.text().matches("<Part>").count(), 1);
    }
    complete(&steering, &id, 10_000, &etag).await;
    assert!(steering.plain.get(OBJECT).await.ok().body == part);
    steering.stop().await;
}

/// What lies in a stash only asks the backend nothing by itself, and the upload's record stays after its end.
#[actix_rt::test]
async fn part_10_000_of_an_upload_that_is_over_is_refused() {
    let steering = Steering::start().await;
    let part = bytes(1_000, 1);
    for completed in [true, false] {
        let (id, etags) = steering.upload(OBJECT, std::slice::from_ref(&part)).await;
        // The node that did not end the upload goes on knowing it.
        upload_part(&steering.steered, OBJECT, &id, 10_000, &part).await;
        if completed {
            steering.plain.complete(OBJECT, &id, &etags).await.ok();
        } else {
            steering.plain.send("DELETE", &format!("{OBJECT}?uploadId={id}"), "").await.ok();
        }
        let before = steering.hidden().await;
        for client in [&steering.steered, &steering.plain] {
            let answer = client.put(&part_target(OBJECT, &id, 10_000), part.clone()).await;
            let told = (answer.status.as_u16(), answer.tag("Code"));
            assert_eq!(told, (404, "NoSuchUpload".to_owned()), "completed: {completed}");
        }
        assert_eq!(steering.hidden().await, before, "something was stored");
    }
    steering.stop().await;
}
