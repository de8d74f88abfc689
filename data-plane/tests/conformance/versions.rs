//! Versions and forwarded operations, as far as every backend has them alike.

use bytes::Bytes;
use http::{HeaderMap, Method};
use sealgate_data_plane::backend::{
    BackendError, Conditions, Forward, Forwarded, GetOptions, VersionEntry, VersionListOptions,
};

use super::support::{Setup, collect, refused};

async fn forward(
    setup: &Setup,
    method: Method,
    key: Option<&str>,
    subresource: &str,
    body: &str,
) -> Result<Forwarded, BackendError> {
    let request = Forward {
        method,
        bucket: setup.bucket.clone(),
        key: key.map(str::to_owned),
        query: vec![(subresource.to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    setup.backend.forward(request).await
}

async fn keep_versions(setup: &Setup) {
    let body = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
    forward(setup, Method::PUT, None, "versioning", body).await.unwrap();
}

async fn versions(setup: &Setup) -> Vec<VersionEntry> {
    let options = VersionListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        version_id_marker: String::new(),
        max_keys: 1000,
    };
    let page = setup.backend.list_versions(&setup.bucket, options).await.unwrap();
    assert!(page.next.is_none());
    page.entries
}

async fn read(setup: &Setup, version: &str) -> Result<Bytes, BackendError> {
    let options = GetOptions { version_id: Some(version.to_owned()), ..GetOptions::default() };
    Ok(collect(setup.try_get("k", options).await?).await.unwrap())
}

async fn delete(setup: &Setup, version: Option<&str>) {
    setup.backend.delete(&setup.bucket, "k", version, Conditions::default()).await.unwrap();
}

pub async fn versions_stay_until_they_are_deleted(setup: &Setup) {
    keep_versions(setup).await;
    for body in ["one", "two"] {
        setup.put("k", body.as_bytes()).await;
    }
    delete(setup, None).await;
    refused(setup.try_get("k", GetOptions::default()).await, &["NoSuchKey"]);
    let found = versions(setup).await;
    let seen: Vec<_> =
        found.iter().map(|version| (version.is_latest, version.delete_marker, version.object.size)).collect();
    assert_eq!((seen.len(), seen[0].0, seen[0].1), (3, true, true), "{found:?}");
    assert_eq!(seen[1..], [(false, false, 3), (false, false, 3)]);
    let ids: Vec<_> = found.iter().map(|version| version.version_id.as_str()).collect();
    assert_eq!(read(setup, ids[1]).await.unwrap(), "two");
    assert_eq!(read(setup, ids[2]).await.unwrap(), "one");
    delete(setup, Some(ids[0])).await;
    assert_eq!(setup.get("k").await, "two");
    delete(setup, Some(ids[1])).await;
    assert_eq!(setup.get("k").await, "one");
    refused(read(setup, ids[1]).await, &["NoSuchVersion", "NoSuchKey"]);
    refused(setup.backend.delete_bucket(&setup.bucket).await, &["BucketNotEmpty"]);
    delete(setup, Some(ids[2])).await;
    assert!(versions(setup).await.is_empty());
}

pub async fn tags_are_the_objects_and_end_with_them(setup: &Setup) {
    let tags = |value: &str| {
        format!(
            "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet><Tag><Key>k</Key><Value>{value}</Value></Tag></TagSet></Tagging>"
        )
    };
    let etag = setup.put("k", b"body").await;
    forward(setup, Method::PUT, Some("k"), "tagging", &tags("first")).await.unwrap();
    let answer = forward(setup, Method::GET, Some("k"), "tagging", "").await.unwrap();
    assert!(String::from_utf8_lossy(&answer.body).contains("<Value>first</Value>"), "{answer:?}");
    let head = setup.backend.head(&setup.bucket, "k", GetOptions::default()).await.unwrap();
    assert_eq!((head.etag, setup.get("k").await), (etag, Bytes::from_static(b"body")));
    setup.put("k", b"other").await;
    let left = forward(setup, Method::GET, Some("k"), "tagging", "").await;
    // SeaweedFS and MinIO know an error where S3 has an empty set.
    assert!(left.map_or_else(
        |error| error.is("NoSuchTagSet"),
        |answer| !answer.body.windows(5).any(|at| at == b"first")
    ));
    refused(forward(setup, Method::PUT, Some("missing"), "tagging", &tags("x")).await, &["NoSuchKey"]);
}
