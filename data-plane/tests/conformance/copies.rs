//! Copies that the storage makes by itself: of stored bytes, under other metadata.

use std::collections::BTreeMap;

use bytes::Bytes;
use sealgate_data_plane::backend::{
    Conditions, CopyOutcome, CopySource, DeleteKey, GetOptions, PutOptions, StoredRange,
};

use super::support::{Setup, bytes, collect, refused};

fn source(setup: &Setup, key: &str) -> CopySource {
    CopySource { bucket: setup.bucket.clone(), key: key.to_owned(), version_id: None, if_match: None }
}

fn with_metadata(value: &str) -> PutOptions {
    let metadata = BTreeMap::from([("mine".to_owned(), value.to_owned())]);
    PutOptions { metadata, ..PutOptions::default() }
}

/// The key holds these bytes and this metadata, under the ETag that the copy was answered with.
async fn holds(setup: &Setup, bucket: &str, key: &str, made: &CopyOutcome, body: &Bytes, value: &str) {
    let outcome = setup.backend.get(bucket, key, GetOptions::default()).await.unwrap();
    assert_eq!((outcome.meta.size, &outcome.meta.etag), (body.len() as u64, &made.etag), "{key}");
    assert_eq!(outcome.meta.metadata.get("mine").map(String::as_str), Some(value), "{key}");
    assert_eq!(&collect(outcome).await.unwrap(), body, "{key}");
}

pub async fn copies_are_objects_of_their_own(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    for length in [0, 1, 65_536, 1_000_000] {
        let body = bytes(length, 3);
        let etag = setup.try_put("from", &body, with_metadata("old")).await.unwrap().etag;
        let pinned = CopySource { if_match: Some(etag), ..source(setup, "from") };
        let made = backend.copy(pinned, bucket, "to", with_metadata("new")).await.unwrap();
        holds(setup, bucket, "to", &made, &body, "new").await;
        // Onto itself, and what it came from is gone or another afterwards.
        let made = backend.copy(source(setup, "to"), bucket, "to", with_metadata("newer")).await.unwrap();
        setup.put("from", b"other").await;
        holds(setup, bucket, "to", &made, &body, "newer").await;
        backend.delete(bucket, "from", None, Conditions::default()).await.unwrap();
        holds(setup, bucket, "to", &made, &body, "newer").await;
        let tail = StoredRange::From(body.len().saturating_sub(10) as u64);
        if length > 10 {
            assert_eq!(collect(setup.range("to", tail).await.unwrap()).await.unwrap(), body[length - 10..]);
        }
    }
}

pub async fn copies_of_what_is_not_there(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    setup.put("there", b"x").await;
    let missing = source(setup, "missing");
    refused(backend.copy(missing.clone(), bucket, "to", PutOptions::default()).await, &["NoSuchKey"]);
    let nowhere = CopySource { bucket: format!("{bucket}-nowhere"), ..missing };
    let nothing = backend.copy(nowhere, bucket, "to", PutOptions::default()).await;
    refused(nothing, &["NoSuchBucket", "NoSuchKey"]);
    let elsewhere = format!("{bucket}-nowhere");
    let target = backend.copy(source(setup, "there"), &elsewhere, "to", PutOptions::default()).await;
    // SeaweedFS says no more than that it failed.
    refused(target, &["NoSuchBucket", "InternalError"]);
    refused(setup.try_get("to", GetOptions::default()).await, &["NoSuchKey"]);
}

pub async fn copies_between_buckets(setup: &Setup) {
    let (backend, other) = (&setup.backend, format!("{}-2", setup.bucket));
    backend.create_bucket(&other).await.unwrap();
    let body = bytes(300_000, 4);
    setup.put("a/b c+ü", &body).await;
    let made = backend.copy(source(setup, "a/b c+ü"), &other, "d/e", with_metadata("there")).await.unwrap();
    holds(setup, &other, "d/e", &made, &body, "there").await;
    backend.delete(&other, "d/e", None, Conditions::default()).await.unwrap();
    backend.delete_bucket(&other).await.unwrap();
}

/// A copy of an object that was uploaded in parts has all of it.
pub async fn copies_of_an_upload(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    let (first, second) = (bytes(5 << 20, 5), bytes(1000, 6));
    let id = backend.create_upload(bucket, "parts", PutOptions::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, body) in [(1, &first), (2, &second)] {
        let part = super::support::upload(body);
        parts.push((number, backend.upload_part(bucket, "parts", &id, number, part).await.unwrap().etag));
    }
    backend.complete_upload(bucket, "parts", &id, &parts, Conditions::default()).await.unwrap();
    let made = backend.copy(source(setup, "parts"), bucket, "whole", with_metadata("x")).await.unwrap();
    backend
        .delete_many(bucket, &[DeleteKey { key: "parts".to_owned(), version_id: None, etag: None }])
        .await
        .unwrap();
    let body = Bytes::from([first.as_ref(), second.as_ref()].concat());
    holds(setup, bucket, "whole", &made, &body, "x").await;
}

/// What is declared of the source's ETag is so: a copy of what is another object by now is refused, or made.
pub async fn copies_keep_to_the_sources_etag(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    let old = setup.put("from", b"old").await;
    let new = setup.put("from", b"new").await;
    let pinned = |etag: &str| CopySource { if_match: Some(etag.to_owned()), ..source(setup, "from") };
    backend.copy(pinned(&new), bucket, "to", PutOptions::default()).await.unwrap();
    let stale = backend.copy(pinned(&old), bucket, "stale", PutOptions::default()).await;
    if backend.capabilities().pinned_copies {
        refused(stale, &["PreconditionFailed"]);
        refused(setup.try_get("stale", GetOptions::default()).await, &["NoSuchKey"]);
    } else {
        stale.unwrap();
    }
}

/// What is declared of conditions on the target is so.
pub async fn copies_keep_to_the_targets_conditions(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    setup.put("from", b"new").await;
    let there = setup.put("there", b"old").await;
    let under = |conditions| PutOptions { conditions, ..PutOptions::default() };
    let absent = || Conditions { if_none_match: Some("*".to_owned()), ..Conditions::default() };
    let same = |etag: &str| Conditions { if_match: Some(format!("\"{etag}\"")), ..Conditions::default() };
    let create = backend.copy(source(setup, "from"), bucket, "there", under(absent())).await;
    if !backend.capabilities().conditional_copy {
        create.unwrap();
        return;
    }
    refused(create, &["PreconditionFailed"]);
    let other = backend.copy(source(setup, "from"), bucket, "there", under(same(&"0".repeat(32)))).await;
    refused(other, &["PreconditionFailed"]);
    assert_eq!(setup.get("there").await, Bytes::from_static(b"old"));
    backend.copy(source(setup, "from"), bucket, "fresh", under(absent())).await.unwrap();
    backend.copy(source(setup, "from"), bucket, "there", under(same(&there))).await.unwrap();
    assert_eq!(setup.get("there").await, Bytes::from_static(b"new"));
}

pub async fn parts_that_are_copies(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    let body = bytes((5 << 20) + 1000, 7);
    let etag = setup.put("from", &body).await;
    let id = backend.create_upload(bucket, "to", PutOptions::default()).await.unwrap();
    let pinned = || CopySource { if_match: Some(etag.clone()), ..source(setup, "from") };
    let whole = backend.copy_part(pinned(), None, bucket, "to", &id, 1).await.unwrap();
    let range = backend.copy_part(pinned(), Some((999, 1999)), bucket, "to", &id, 2).await.unwrap();
    let beyond = Some((0, body.len() as u64));
    refused(
        backend.copy_part(pinned(), beyond, bucket, "to", &id, 3).await,
        &["InvalidRange", "InvalidArgument", "InvalidRequest"],
    );
    // What is declared of the source's ETag holds for parts, too: else a large copy could be of two objects.
    let stale = CopySource { if_match: Some("0".repeat(32)), ..source(setup, "from") };
    let stale = backend.copy_part(stale, None, bucket, "to", &id, 3).await;
    if backend.capabilities().pinned_copies {
        refused(stale, &["PreconditionFailed"]);
    } else {
        stale.unwrap();
    }
    let gone = backend.copy_part(pinned(), None, bucket, "to", &"0".repeat(48), 1).await;
    refused(gone, &["NoSuchUpload"]);
    backend.delete(bucket, "from", None, Conditions::default()).await.unwrap();
    let parts = [(1, whole.etag), (2, range.etag)];
    backend.complete_upload(bucket, "to", &id, &parts, Conditions::default()).await.unwrap();
    let made = [body.as_ref(), &body[999..2000]].concat();
    assert_eq!(setup.get("to").await, Bytes::from(made));
}
