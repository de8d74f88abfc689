//! Whole objects, ranges, metadata, keys.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use sealgate_data_plane::backend::{
    BackendError, Conditions, DeleteKey, GetOptions, ListFrom, ListOptions, PutOptions, StoredRange,
};

use super::support::{Setup, bytes, collect, refused};

pub async fn buckets_come_and_go(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    backend.head_bucket(bucket).await.unwrap();
    refused(backend.create_bucket(bucket).await, &["BucketAlreadyOwnedByYou", "BucketAlreadyExists"]);
    setup.put("a/b", b"x").await;
    refused(backend.delete_bucket(bucket).await, &["BucketNotEmpty"]);
    backend.delete(bucket, "a/b", None, Conditions::default()).await.unwrap();
    backend.delete_bucket(bucket).await.unwrap();
    refused(backend.head_bucket(bucket).await, &["NoSuchBucket"]);
    refused(backend.delete_bucket(bucket).await, &["NoSuchBucket"]);
    let body = Bytes::from_static(b"x");
    refused(setup.try_put("a", &body, PutOptions::default()).await, &["NoSuchBucket"]);
    refused(setup.try_get("a", GetOptions::default()).await, &["NoSuchBucket"]);
    let options = ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 10 };
    refused(backend.list_v2(bucket, options).await, &["NoSuchBucket"]);
}

pub async fn put_get_head_overwrite_delete(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    refused(setup.try_get("k", GetOptions::default()).await, &["NoSuchKey"]);
    refused(backend.head(bucket, "k", GetOptions::default()).await, &["NoSuchKey", "NotFound"]);
    let mut etags = Vec::new();
    for (round, length) in [1000, 600_000, 0, 5].into_iter().enumerate() {
        let body = bytes(length, round as u64);
        let etag = setup.put("k", &body).await;
        let found = backend.head(bucket, "k", GetOptions::default()).await.unwrap();
        assert_eq!((found.size, &found.etag), (length as u64, &etag));
        let age = SystemTime::now().duration_since(found.last_modified).unwrap_or_default();
        assert!(age.as_secs() < 60, "last modified {:?}", found.last_modified);
        let outcome = setup.try_get("k", GetOptions::default()).await.unwrap();
        assert_eq!((outcome.meta.size, &outcome.meta.etag, outcome.range), (length as u64, &etag, None));
        assert_eq!(collect(outcome).await.unwrap(), body);
        assert!(!etag.contains('"') && !etags.contains(&etag), "{etag}");
        etags.push(etag);
    }
    for _ in 0..2 {
        backend.delete(bucket, "k", None, Conditions::default()).await.unwrap();
        refused(setup.try_get("k", GetOptions::default()).await, &["NoSuchKey"]);
    }
}

/// Small bodies are collected, larger ones streamed: the sizes lie on both sides of each limit.
pub async fn sizes_around_every_boundary_come_back(setup: &Setup) {
    const KIB: usize = 1024;
    for length in [
        0,
        1,
        65_535,
        256 * KIB - 1,
        256 * KIB,
        256 * KIB + 1,
        512 * KIB,
        512 * KIB + 1,
        KIB * KIB - 1,
        KIB * KIB,
        KIB * KIB + 1,
        3 * KIB * KIB + 17,
    ] {
        let body = bytes(length, length as u64);
        setup.put("sized", &body).await;
        assert_eq!(setup.get("sized").await, body, "{length}");
    }
}

pub async fn ranges(setup: &Setup) {
    let body = bytes(1_000_000, 1);
    setup.put("k", &body).await;
    let end = body.len() as u64;
    let mut cases = vec![
        (StoredRange::Inclusive(0, 0), 0, 0),
        (StoredRange::Inclusive(10, 20), 10, 20),
        (StoredRange::Inclusive(262_143, 262_144), 262_143, 262_144),
        (StoredRange::Inclusive(999_999, 5_000_000), 999_999, end - 1),
        (StoredRange::Inclusive(100, 900_000), 100, 900_000),
        (StoredRange::From(0), 0, end - 1),
        (StoredRange::From(999_990), 999_990, end - 1),
    ];
    if setup.backend.capabilities().suffix_ranges {
        cases.push((StoredRange::Suffix(7), end - 7, end - 1));
        cases.push((StoredRange::Suffix(2_000_000), 0, end - 1));
    }
    for (range, first, last) in cases {
        let outcome = setup.range("k", range).await.unwrap_or_else(|e| panic!("{range:?}: {e}"));
        assert_eq!(outcome.range, Some((first, last, end)), "{range:?}");
        assert_eq!((outcome.meta.size, outcome.length), (end, last - first + 1), "{range:?}");
        let part = collect(outcome).await.unwrap();
        assert_eq!(
            part,
            body.slice(usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()),
            "{range:?}"
        );
    }
    for range in [StoredRange::From(end), StoredRange::Inclusive(end, end + 10), StoredRange::From(end + 1)] {
        let error = setup.range("k", range).await.expect_err("beyond the end");
        assert!(
            matches!(error, BackendError::S3 { status: 416, .. }) && error.is("InvalidRange"),
            "{range:?} {error}"
        );
    }
    setup.put("empty", b"").await;
    let error = setup.range("empty", StoredRange::From(0)).await.expect_err("an empty object has no byte 0");
    assert!(matches!(error, BackendError::S3 { status: 416, .. }), "{error}");
}

/// As large as the gateway makes it: two headers of base64url.
fn sealed_metadata(setup: &Setup) -> BTreeMap<String, String> {
    let value = |length| "aZ09-_".chars().cycle().take(length).collect::<String>();
    let room = setup.backend.capabilities().max_user_metadata - "sealgate".len() - 188 - "sealgatemeta".len();
    BTreeMap::from([("sealgate".to_owned(), value(188)), ("sealgatemeta".to_owned(), value(room))])
}

pub async fn metadata_round_trip(setup: &Setup) {
    let (backend, bucket) = (&setup.backend, setup.bucket.as_str());
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/x-test".parse().unwrap());
    let options =
        PutOptions { metadata: sealed_metadata(setup), headers: headers.clone(), ..PutOptions::default() };
    for length in [10, 400_000] {
        let body = bytes(length, 3);
        setup.try_put("k", &body, options.clone()).await.unwrap();
        let found = backend.head(bucket, "k", GetOptions::default()).await.unwrap();
        assert_eq!(found.metadata, sealed_metadata(setup));
        assert_eq!(found.headers.get("content-type").unwrap(), "application/x-test");
        let outcome = setup.try_get("k", GetOptions::default()).await.unwrap();
        assert_eq!(outcome.meta.metadata, sealed_metadata(setup));
        assert_eq!(collect(outcome).await.unwrap(), body, "nothing of the framing is left in it");
        assert_eq!(
            setup.range("k", StoredRange::From(3)).await.unwrap().meta.metadata,
            sealed_metadata(setup)
        );
    }
    setup.put("k", b"again").await;
    let found = backend.head(bucket, "k", GetOptions::default()).await.unwrap();
    assert!(found.metadata.is_empty(), "an overwrite keeps nothing: {:?}", found.metadata);
}

pub async fn markers_keep_their_metadata(setup: &Setup) {
    let options = PutOptions { metadata: sealed_metadata(setup), ..PutOptions::default() };
    setup.try_put("dir/", &Bytes::new(), options).await.unwrap();
    setup.put("dir/inside", b"x").await;
    let found = setup.backend.head(&setup.bucket, "dir/", GetOptions::default()).await.unwrap();
    assert_eq!(found.size, 0);
    let kept = found.metadata == sealed_metadata(setup);
    assert_eq!(kept, setup.backend.capabilities().marker_metadata, "{:?}", found.metadata);
    assert_eq!(setup.get("dir/").await, Bytes::new());
    assert_eq!(setup.get("dir/inside").await, Bytes::from_static(b"x"));
}

/// Keys that every backend must keep apart, and those that some servers refuse: refused is fine, mixed up is not.
pub async fn odd_keys(setup: &Setup) {
    let long = ["x".repeat(200), "y".repeat(200), "z".repeat(200)].join("/");
    let sure = [
        "a b",
        "a+b",
        "a%2Fb",
        "a%b",
        "a&b=c?d#e",
        "é/ü/日本",
        "😀",
        "a\"b'c",
        "a;b,c:d@e",
        "(a)*!~$",
        &long,
        "UPPER",
        "upper",
        "a.b",
        "a-b",
        "_",
        "..a",
        "a..b",
        "...",
    ];
    for (number, key) in sure.iter().enumerate() {
        setup.put(key, format!("{number}").as_bytes()).await;
    }
    for (number, key) in sure.iter().enumerate() {
        assert_eq!(setup.get(key).await, format!("{number}").as_bytes(), "{key:?}");
    }
    let mut listed = Vec::new();
    let options =
        ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1000 };
    for entry in setup.backend.list_v2(&setup.bucket, options).await.unwrap().entries {
        listed.push(entry.key);
    }
    let mut expected = sure.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);

    let longest = "k".repeat(1024);
    let doubtful = [
        "q", "q/r", "q//r", "q/", "/q", "/", "../x", "./x", "q/../r", "q/./r", "..", ".", "q\u{1}r", "q\nr",
        &longest, "q/r/",
    ];
    let mut stored = Vec::new();
    for (number, key) in doubtful.iter().enumerate() {
        let body = if key.ends_with('/') { Bytes::new() } else { Bytes::from(format!("odd {number}")) };
        let outcome = setup.try_put(key, &body, PutOptions::default()).await;
        match outcome {
            Ok(_) => stored.push((*key, body)),
            Err(BackendError::S3 { status, .. }) if status < 500 => {}
            Err(BackendError::S3 { status: 500, .. }) => {}
            Err(other) => panic!("{key:?}: {other}"),
        }
    }
    let exact = setup.backend.capabilities().max_object > 50 << 40;
    assert!(!exact || stored.len() == doubtful.len(), "the filesystem backend stores every key");
    if exact {
        for (key, body) in stored {
            assert_eq!(setup.get(key).await, body, "{key:?}");
        }
    }
}

pub async fn names_that_cannot_be_are_refused(setup: &Setup) {
    let body = Bytes::from_static(b"x");
    let error =
        setup.try_put(&"k".repeat(1025), &body, PutOptions::default()).await.expect_err("1,025 bytes");
    assert!(matches!(error, BackendError::S3 { status: 400..500, .. }), "{error}");
    for bucket in ["..", "a/b", "ab", "no_underscores", "UPPER"] {
        let error = setup.backend.head_bucket(bucket).await.expect_err("no such name");
        assert!(matches!(error, BackendError::S3 { status: 400..500, .. }), "{bucket}: {error}");
    }
}

pub async fn delete_many_answers_in_order(setup: &Setup) {
    let keys = ["c", "a/b", "missing", "a & <b>", "é"];
    for key in keys.iter().filter(|key| **key != "missing") {
        setup.put(key, b"x").await;
    }
    setup.put("kept", b"x").await;
    let wanted: Vec<_> =
        keys.iter().map(|key| DeleteKey { key: (*key).to_owned(), version_id: None, etag: None }).collect();
    let answers = setup.backend.delete_many(&setup.bucket, &wanted).await.unwrap();
    assert_eq!(answers.len(), keys.len());
    for (key, answer) in keys.iter().zip(answers) {
        answer.unwrap_or_else(|e| panic!("{key}: {e}"));
        refused(setup.try_get(key, GetOptions::default()).await, &["NoSuchKey"]);
    }
    assert_eq!(setup.get("kept").await, Bytes::from_static(b"x"));
}
