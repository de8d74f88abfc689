//! What a read costs, and a write that was not read to its end: requests to the storage.

use super::s3::bytes;
use super::steered::Call;
use super::steering::Steering;

/// The largest object whose trailer is waited for with its body.
const SMALL: usize = 256 << 10;
/// More reads than any of an object are.
const MOST: usize = 4;

#[actix_rt::test]
async fn checksum_mode_reads_an_object_once_that_came_without_a_checksum() {
    for (size, has_checksum) in [(1, true), (SMALL, true), (SMALL + 1, false)] {
        let steering = Steering::start().await;
        let body = bytes(size, 1);
        steering.plain.put("/bucket/object", body.clone()).await.ok();
        let counted = steering.backend.count(Call::Get, "object", MOST);
        let asked = [("x-amz-checksum-mode", "ENABLED".to_owned())];
        let answer = steering.steered.send_with("GET", "/bucket/object", &asked, "").await.ok();
        assert!(answer.body == body);
        assert_eq!(counted.get(), 1, "reads of an object of {size} bytes");
        assert_eq!(answer.headers.contains_key("x-amz-checksum-crc64nvme"), has_checksum, "{size} bytes");
        steering.backend.forget_rules();
        steering.stop().await;
    }
}

/// A storage that says that it has stored what it has not read to its end. Nobody has verified that end, so nobody is told that
/// the object is there.
#[actix_rt::test]
async fn what_was_not_verified_to_its_end_is_not_acknowledged() {
    let steering = Steering::start().await;
    steering.backend.acknowledge_early();
    for (target, header) in
        [("/bucket/object", None), ("/bucket/copy", Some(("x-amz-copy-source", "/bucket/source".to_owned())))]
    {
        steering.plain.put("/bucket/source", bytes(3_000_000, 1)).await.ok();
        // So that a copy is read and written anew.
        let headers: Vec<_> = header
            .into_iter()
            .flat_map(|header| [header, ("x-amz-checksum-algorithm", "SHA256".to_owned())])
            .collect();
        let body = if headers.is_empty() { bytes(3_000_000, 2) } else { bytes::Bytes::new() };
        let answer = steering.steered.send_with("PUT", target, &headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (500, "InternalError"), "{target}");
        assert!(!answer.headers.contains_key("etag"));
    }
    steering.stop().await;
}
