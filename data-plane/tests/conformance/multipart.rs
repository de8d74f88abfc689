//! Multipart uploads.

use std::collections::BTreeMap;

use bytes::Bytes;
use sealgate_data_plane::backend::{
    BackendError, Conditions, GetOptions, PutOptions, StoredRange, UploadListOptions,
};

use super::support::{Setup, bytes, collect, refused, upload};

/// S3's smallest part but the last.
const MIN: usize = 5 << 20;

async fn begin(setup: &Setup, key: &str) -> String {
    setup.backend.create_upload(&setup.bucket, key, PutOptions::default()).await.unwrap()
}

async fn part(setup: &Setup, key: &str, id: &str, number: u16, body: &Bytes) -> (u16, String) {
    let outcome = setup.backend.upload_part(&setup.bucket, key, id, number, upload(body)).await;
    (number, outcome.unwrap_or_else(|e| panic!("part {number}: {e}")).etag)
}

async fn complete(
    setup: &Setup,
    key: &str,
    id: &str,
    parts: &[(u16, String)],
) -> Result<String, BackendError> {
    let outcome = setup.backend.complete_upload(&setup.bucket, key, id, parts, Conditions::default()).await;
    outcome.map(|outcome| outcome.etag)
}

pub async fn parts_out_of_order_with_gaps_make_an_object(setup: &Setup) {
    let key = "dir/big é";
    let metadata = BTreeMap::from([("sealgate".to_owned(), "v".repeat(188))]);
    let options = PutOptions { metadata: metadata.clone(), ..PutOptions::default() };
    let id = setup.backend.create_upload(&setup.bucket, key, options).await.unwrap();
    let bodies = [bytes(MIN + 1, 1), bytes(MIN, 2), bytes(100, 3)];
    let last = part(setup, key, &id, 10_000, &bodies[2]).await;
    let middle = part(setup, key, &id, 7, &bodies[1]).await;
    let first = part(setup, key, &id, 2, &bodies[0]).await;
    refused(setup.try_get(key, GetOptions::default()).await, &["NoSuchKey"]);
    let etag = complete(setup, key, &id, &[first, middle, last]).await.unwrap();
    let whole = Bytes::from(bodies.concat());
    let found = setup.backend.head(&setup.bucket, key, GetOptions::default()).await.unwrap();
    assert_eq!((found.size, &found.etag), (whole.len() as u64, &etag));
    assert_eq!(found.metadata, metadata);
    assert!(etag.ends_with("-3"), "{etag}");
    assert_eq!(setup.get(key).await, whole);
    for (first, last) in
        [(0, 0), (MIN - 5, MIN + 5), (MIN + 1, MIN + 1), (10, whole.len() - 1), (2 * MIN, 2 * MIN + 50)]
    {
        let outcome = setup.range(key, StoredRange::Inclusive(first as u64, last as u64)).await.unwrap();
        assert_eq!(collect(outcome).await.unwrap(), whole.slice(first..=last), "{first}-{last}");
    }
    setup.backend.delete(&setup.bucket, key, None, Conditions::default()).await.unwrap();
    refused(setup.try_get(key, GetOptions::default()).await, &["NoSuchKey"]);
}

pub async fn a_part_uploaded_again_replaces_the_first(setup: &Setup) {
    let id = begin(setup, "k").await;
    let (one, two) = (bytes(1000, 1), bytes(2000, 2));
    let old = part(setup, "k", &id, 1, &one).await;
    let new = part(setup, "k", &id, 1, &two).await;
    assert_ne!(old, new);
    if setup.backend.capabilities().part_etags_enforced {
        refused(complete(setup, "k", &id, &[old]).await, &["InvalidPart"]);
    }
    complete(setup, "k", &id, &[new]).await.unwrap();
    assert_eq!(setup.get("k").await, two);
}

pub async fn wrong_etags_and_missing_parts_are_refused(setup: &Setup) {
    let id = begin(setup, "k").await;
    let good = part(setup, "k", &id, 1, &bytes(MIN, 1)).await;
    refused(complete(setup, "k", &id, &[good.clone(), (2, good.1.clone())]).await, &["InvalidPart"]);
    let wrong = complete(setup, "k", &id, &[(1, "0".repeat(32))]).await;
    if !setup.backend.capabilities().part_etags_enforced && wrong.is_ok() {
        return;
    }
    refused(wrong, &["InvalidPart"]);
    complete(setup, "k", &id, &[good]).await.unwrap();
}

pub async fn an_upload_ends_once(setup: &Setup) {
    let id = begin(setup, "k").await;
    let body = bytes(10, 1);
    let listed = part(setup, "k", &id, 1, &body).await;
    complete(setup, "k", &id, std::slice::from_ref(&listed)).await.unwrap();
    let late = setup.backend.upload_part(&setup.bucket, "k", &id, 1, upload(&body)).await;
    refused(late, &["NoSuchUpload"]);
    refused(setup.backend.list_parts(&setup.bucket, "k", &id, 0, 1000).await, &["NoSuchUpload"]);
    // S3 and some servers answer a repeated Complete as the first one; the object must stay as it is.
    match complete(setup, "k", &id, &[listed]).await {
        Ok(_) => {}
        Err(error) => assert!(error.is("NoSuchUpload"), "{error}"),
    }
    assert_eq!(setup.get("k").await, body);

    let id = begin(setup, "k").await;
    part(setup, "k", &id, 1, &bytes(10, 2)).await;
    setup.backend.abort_upload(&setup.bucket, "k", &id).await.unwrap();
    let late = setup.backend.upload_part(&setup.bucket, "k", &id, 1, upload(&body)).await;
    refused(late, &["NoSuchUpload"]);
    refused(complete(setup, "k", &id, &[(1, "0".repeat(32))]).await, &["NoSuchUpload"]);
    assert_eq!(setup.get("k").await, body);
}

pub async fn pages_of_parts(setup: &Setup) {
    let id = begin(setup, "k").await;
    let mut expected = Vec::new();
    for number in [9, 1, 10_000, 3, 500] {
        let (number, etag) = part(setup, "k", &id, number, &bytes(usize::from(number), 1)).await;
        expected.push((number, etag, u64::from(number)));
    }
    expected.sort();
    for size in [1, 2, 5, 1000] {
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let page = setup.backend.list_parts(&setup.bucket, "k", &id, after, size).await.unwrap();
            assert!(page.parts.len() <= size as usize);
            found.extend(page.parts.into_iter().map(|part| (part.number, part.etag, part.size)));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found, expected, "{size} a page");
    }
}

pub async fn pages_of_uploads(setup: &Setup) {
    let mut expected = Vec::new();
    for key in ["b", "a/é", "a/é", "c d", "a+"] {
        expected.push((key.to_owned(), begin(setup, key).await));
    }
    let done = begin(setup, "done").await;
    let listed = part(setup, "done", &done, 1, &bytes(5, 1)).await;
    complete(setup, "done", &done, &[listed]).await.unwrap();
    expected.sort();
    let sizes = if setup.backend.capabilities().upload_pages { &[1, 2, 1000][..] } else { &[1000] };
    for &max_uploads in sizes {
        let (mut found, mut markers) = (Vec::new(), (String::new(), String::new()));
        for _ in 0..20 {
            let options = UploadListOptions {
                prefix: String::new(),
                delimiter: None,
                key_marker: markers.0,
                upload_id_marker: markers.1,
                max_uploads,
            };
            let page = setup.backend.list_uploads(&setup.bucket, options).await.unwrap();
            found.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.upload_id)));
            match page.next {
                Some(next) => markers = next,
                None => break,
            }
        }
        found.sort();
        assert_eq!(found, expected, "{max_uploads} a page");
    }
}

pub async fn conditional_complete(setup: &Setup) {
    let old = bytes(10, 1);
    setup.put("k", &old).await;
    let id = begin(setup, "k").await;
    let listed = [part(setup, "k", &id, 1, &bytes(20, 2)).await];
    let conditions = Conditions { if_none_match: Some("*".to_owned()), ..Conditions::default() };
    let outcome =
        setup.backend.complete_upload(&setup.bucket, "k", &id, &listed, conditions.clone()).await.map(|_| ());
    if !setup.backend.capabilities().conditional_complete {
        outcome.unwrap();
        return;
    }
    refused(outcome, &["PreconditionFailed"]);
    assert_eq!(setup.get("k").await, old);
    setup.backend.delete(&setup.bucket, "k", None, Conditions::default()).await.unwrap();
    setup.backend.complete_upload(&setup.bucket, "k", &id, &listed, conditions).await.unwrap();
    assert_eq!(setup.get("k").await, bytes(20, 2));
}
