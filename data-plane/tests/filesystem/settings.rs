//! Tags, locks and the bucket's documents: kept, held to, and refused where nobody would carry them out.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, Forward, GetOptions, PutOptions, PutOutcome,
};

use super::support::{BUCKET, fresh, multipart, put, run, upload};
use super::versions::{all, forward, listed, set_versioning};

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

async fn put_with(
    backend: &FsBackend,
    bucket: &str,
    key: &str,
    list: &[(&'static str, &str)],
) -> Result<PutOutcome, BackendError> {
    let options = PutOptions { headers: headers(list), ..PutOptions::default() };
    backend.put(bucket, key, options, upload("x")).await
}

async fn text(
    backend: &FsBackend,
    key: Option<&str>,
    query: &[(&str, &str)],
) -> Result<String, BackendError> {
    let answer = forward(backend, Method::GET, key, query, "").await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, BackendError>, code: &str) {
    assert!(result.as_ref().is_err_and(|error| error.is(code)), "expected {code}, got {result:?}");
}

#[track_caller]
fn unsupported<T: std::fmt::Debug>(result: Result<T, BackendError>) {
    assert!(matches!(result, Err(BackendError::Unsupported(_))), "expected a refusal, got {result:?}");
}

#[test]
fn tags_stay_with_their_object() {
    let (_directory, root, backend) = fresh();
    run(async {
        let tagging = [("tagging", "")];
        put_with(&backend, BUCKET, "k", &[("x-amz-tagging", "b=2&a=%C3%A9+x")]).await.unwrap();
        let before = backend.head(BUCKET, "k", GetOptions::default()).await.unwrap();
        assert_eq!(before.headers["x-amz-tagging-count"], "2");
        assert!(!before.headers.contains_key("x-amz-tagging"));
        let found = text(&backend, Some("k"), &tagging).await.unwrap();
        let tags = "<Tag><Key>b</Key><Value>2</Value></Tag><Tag><Key>a</Key><Value>é x</Value></Tag>";
        assert!(found.contains(tags), "{found}");
        let one = "<Tagging><TagSet><Tag><Key>n</Key><Value>m</Value></Tag></TagSet></Tagging>";
        let answer = forward(&backend, Method::PUT, Some("k"), &tagging, one).await.unwrap();
        assert_eq!((answer.status, answer.headers.get("x-amz-version-id")), (StatusCode::OK, None));
        let reopened = FsBackend::open(root.clone()).unwrap();
        assert!(text(&reopened, Some("k"), &tagging).await.unwrap().contains("<Key>n</Key>"));
        let after = reopened.head(BUCKET, "k", GetOptions::default()).await.unwrap();
        assert_eq!(after.headers["x-amz-tagging-count"], "1");
        assert_eq!((after.etag, after.last_modified), (before.etag, before.last_modified));
        let answer = forward(&backend, Method::DELETE, Some("k"), &tagging, "").await.unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(text(&backend, Some("k"), &tagging).await.unwrap().contains("<TagSet></TagSet>"));
        let bare = backend.head(BUCKET, "k", GetOptions::default()).await.unwrap();
        assert!(!bare.headers.contains_key("x-amz-tagging-count"));
        refused(put_with(&backend, BUCKET, "k", &[("x-amz-tagging", "a=1&a=2")]).await, "InvalidArgument");
        refused(text(&backend, Some("none"), &tagging).await, "NoSuchKey");
        // Of a bucket: none is an error there.
        refused(text(&backend, None, &tagging).await, "NoSuchTagSet");
        forward(&backend, Method::PUT, None, &tagging, one).await.unwrap();
        assert!(text(&backend, None, &tagging).await.unwrap().contains("<Key>n</Key><Value>m</Value>"));
        forward(&backend, Method::DELETE, None, &tagging, "").await.unwrap();
        refused(text(&backend, None, &tagging).await, "NoSuchTagSet");
    });
}

/// A bucket with locks, made as CreateBucket makes it.
async fn locked(backend: &FsBackend) -> &'static str {
    let wanted = headers(&[("x-amz-bucket-object-lock-enabled", "true")]);
    backend.delete_bucket(BUCKET).await.unwrap();
    backend.create_bucket_with(BUCKET, wanted).await.unwrap();
    BUCKET
}

fn in_days(days: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(days * 86_400);
    let unix = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    sealgate_data_plane::s3::timestamp::iso_millis(i64::try_from(unix).unwrap() * 1000)
}

async fn delete(backend: &FsBackend, version: &str, bypass: bool) -> Result<(), BackendError> {
    let list: &[_] = if bypass { &[("x-amz-bypass-governance-retention", "true")] } else { &[] };
    backend.delete_with(BUCKET, "k", Some(version), Conditions::default(), headers(list)).await.map(drop)
}

async fn retain(backend: &FsBackend, mode: &str, days: u64, bypass: bool) -> Result<(), BackendError> {
    let body = format!(
        "<Retention><Mode>{mode}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
        in_days(days)
    );
    let list: &[_] = if bypass { &[("x-amz-bypass-governance-retention", "true")] } else { &[] };
    let request = Forward {
        method: Method::PUT,
        bucket: BUCKET.to_owned(),
        key: Some("k".to_owned()),
        query: vec![("retention".to_owned(), String::new())],
        headers: headers(list),
        body: Bytes::from(body),
    };
    backend.forward(request).await.map(drop)
}

#[test]
fn a_locked_version_outlives_every_deletion() {
    let (_directory, root, backend) = fresh();
    run(async {
        locked(&backend).await;
        let until = in_days(2);
        let lock = [
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", until.as_str()),
        ];
        let first = put_with(&backend, BUCKET, "k", &lock).await.unwrap().version_id.unwrap();
        let head = backend.head(BUCKET, "k", GetOptions::default()).await.unwrap();
        assert_eq!(head.headers["x-amz-object-lock-mode"], "GOVERNANCE");
        assert_eq!(head.headers["x-amz-object-lock-retain-until-date"], until.as_str());
        // A marker hides it; it is there all the same.
        backend.delete(BUCKET, "k", None, Conditions::default()).await.unwrap();
        for opened in [&backend, &FsBackend::open(root.clone()).unwrap()] {
            refused(delete(opened, &first, false).await, "AccessDenied");
        }
        let marker = listed(&backend, all(10)).await.remove(0);
        delete(&backend, &marker.version_id, false).await.unwrap();
        // Longer without more ado, shorter or otherwise only while the lock is passed over.
        retain(&backend, "GOVERNANCE", 3, false).await.unwrap();
        refused(retain(&backend, "GOVERNANCE", 1, false).await, "AccessDenied");
        refused(retain(&backend, "COMPLIANCE", 3, false).await, "AccessDenied");
        retain(&backend, "GOVERNANCE", 1, true).await.unwrap();
        let found = text(&backend, Some("k"), &[("retention", ""), ("versionId", &first)]).await.unwrap();
        assert!(found.contains("<Mode>GOVERNANCE</Mode>"), "{found}");
        // A hold stops what passes over a governance lock.
        let hold = [("legal-hold", "")];
        forward(&backend, Method::PUT, Some("k"), &hold, "<LegalHold><Status>ON</Status></LegalHold>")
            .await
            .unwrap();
        refused(delete(&backend, &first, true).await, "AccessDenied");
        forward(&backend, Method::PUT, Some("k"), &hold, "<LegalHold><Status>OFF</Status></LegalHold>")
            .await
            .unwrap();
        assert!(text(&backend, Some("k"), &hold).await.unwrap().contains("<Status>OFF</Status>"));
        refused(delete(&backend, &first, false).await, "AccessDenied");
        // A compliance lock is passed over by nobody.
        retain(&backend, "COMPLIANCE", 1, true).await.unwrap();
        refused(retain(&backend, "GOVERNANCE", 5, true).await, "AccessDenied");
        refused(delete(&backend, &first, true).await, "AccessDenied");
        let many = [sealgate_data_plane::backend::DeleteKey {
            key: "k".into(),
            version_id: Some(first),
            etag: None,
        }];
        refused(backend.delete_many(BUCKET, &many).await.unwrap().remove(0), "AccessDenied");
        refused(backend.delete_bucket(BUCKET).await, "BucketNotEmpty");
    });
}

#[test]
fn a_bucket_gives_its_objects_the_lock_it_wants() {
    let (_directory, _root, backend) = fresh();
    run(async {
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                    <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        let lock = [("object-lock", "")];
        refused(forward(&backend, Method::PUT, None, &lock, rule).await, "InvalidBucketState");
        refused(text(&backend, None, &lock).await, "ObjectLockConfigurationNotFoundError");
        let until = in_days(1);
        for list in [
            &[("x-amz-object-lock-legal-hold", "ON")][..],
            &[("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", &until)],
        ] {
            refused(put_with(&backend, BUCKET, "k", list).await, "InvalidRequest");
            let options = PutOptions { headers: headers(list), ..PutOptions::default() };
            refused(backend.create_upload(BUCKET, "k", options).await, "InvalidRequest");
        }
        put(&backend, "k", "before").await;
        refused(text(&backend, Some("k"), &[("retention", "")]).await, "InvalidRequest");
        set_versioning(&backend, "Enabled").await;
        forward(&backend, Method::PUT, None, &lock, rule).await.unwrap();
        assert!(text(&backend, None, &lock).await.unwrap().contains("<Days>1</Days>"));
        refused(text(&backend, Some("k"), &[("retention", "")]).await, "NoSuchObjectLockConfiguration");
        put(&backend, "k", "after").await;
        multipart(&backend, "parts", &[Bytes::from_static(b"1")]).await;
        for key in ["k", "parts"] {
            let version = backend.head(BUCKET, key, GetOptions::default()).await.unwrap();
            assert_eq!(version.headers["x-amz-object-lock-mode"], "COMPLIANCE", "{key}");
            let id = version.version_id.unwrap();
            refused(backend.delete(BUCKET, key, Some(&id), Conditions::default()).await, "AccessDenied");
        }
        let suspend = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        refused(
            forward(&backend, Method::PUT, None, &[("versioning", "")], suspend).await,
            "InvalidBucketState",
        );
        put(&backend, ".sealgate/v1/note", "x").await;
        backend.delete(BUCKET, ".sealgate/v1/note", None, Conditions::default()).await.unwrap();
    });
}

#[test]
fn metadata_are_replaced_where_they_are_those_that_are_known() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        let beside = |value: &str| BTreeMap::from([("mine".to_owned(), value.to_owned())]);
        for value in ["older", "newer"] {
            let options = PutOptions { metadata: beside(value), ..PutOptions::default() };
            backend.put(BUCKET, "k", options, upload("x")).await.unwrap();
        }
        let older = listed(&backend, all(10)).await.remove(1).version_id;
        let before = backend.head(BUCKET, "k", GetOptions::default()).await.unwrap();
        let of = async |version: Option<&str>| {
            let options = GetOptions { version_id: version.map(str::to_owned), ..GetOptions::default() };
            FsBackend::open(root.clone()).unwrap().head(BUCKET, "k", options).await.unwrap()
        };
        // What a client has written meanwhile, the same bytes under the same ETag, stays.
        let late = backend.replace_metadata(BUCKET, "k", None, &beside("older"), beside("late")).await;
        refused(late, "PreconditionFailed");
        assert_eq!(of(None).await.metadata, beside("newer"));
        backend.replace_metadata(BUCKET, "k", None, &beside("newer"), beside("newest")).await.unwrap();
        backend.replace_metadata(BUCKET, "k", Some(&older), &beside("older"), beside("old")).await.unwrap();
        let after = of(None).await;
        assert_eq!((after.metadata, of(Some(&older)).await.metadata), (beside("newest"), beside("old")));
        assert_eq!((after.etag, after.last_modified), (before.etag, before.last_modified));
        assert_eq!(after.version_id, before.version_id);
    });
}

#[test]
fn conditions_hold_for_the_version_that_is_deleted() {
    let (_directory, _root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        let old = put(&backend, "k", "old").await;
        let new = put(&backend, "k", "new").await;
        let version = listed(&backend, all(10)).await.remove(1).version_id;
        let only = |etag: &str| Conditions { if_match: Some(etag.to_owned()), ..Conditions::default() };
        refused(backend.delete(BUCKET, "k", Some(&version), only(&new)).await, "PreconditionFailed");
        backend.delete(BUCKET, "k", Some(&version), only(&old)).await.unwrap();
        refused(backend.delete(BUCKET, "k", Some(&version), only(&old)).await, "NoSuchKey");
        backend.delete(BUCKET, "k", None, only(&new)).await.unwrap();
        // Behind a marker there is nothing to match, and nothing in the way of a creator.
        refused(backend.delete(BUCKET, "k", None, only("*")).await, "NoSuchKey");
        let conditions = Conditions { if_none_match: Some("*".to_owned()), ..Conditions::default() };
        let options = PutOptions { conditions, ..PutOptions::default() };
        backend.put(BUCKET, "k", options.clone(), upload("x")).await.unwrap();
        refused(backend.put(BUCKET, "k", options, upload("x")).await, "PreconditionFailed");
        let unknown = format!("{}{}", &version[..16], "0".repeat(32));
        let get = |id: &str| GetOptions { version_id: Some(id.to_owned()), ..GetOptions::default() };
        refused(backend.get(BUCKET, "k", get(&unknown)).await, "NoSuchVersion");
        refused(backend.head(BUCKET, "k", get("none-such")).await, "InvalidArgument");
    });
}

#[test]
fn documents_are_kept_and_what_nobody_carries_out_is_refused() {
    let (_directory, root, backend) = fresh();
    let documents = [
        (
            "cors",
            "NoSuchCORSConfiguration",
            "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
            "GET",
        ),
        (
            "ownershipControls",
            "OwnershipControlsNotFoundError",
            "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
            "ObjectWriter",
        ),
        (
            "publicAccessBlock",
            "NoSuchPublicAccessBlockConfiguration",
            "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
            "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false",
        ),
        (
            "lifecycle",
            "NoSuchLifecycleConfiguration",
            "<LifecycleConfiguration><Rule><Prefix/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
            "Disabled",
        ),
    ];
    run(async {
        for (name, missing, document, kept) in documents {
            let query = [(name, "")];
            match name {
                // S3's own, until it is deleted.
                "ownershipControls" => {
                    assert!(text(&backend, None, &query).await.unwrap().contains("BucketOwnerEnforced"));
                }
                _ => refused(text(&backend, None, &query).await, missing),
            }
            refused(forward(&backend, Method::PUT, None, &query, "<Wrong/>").await, "MalformedXML");
            forward(&backend, Method::PUT, None, &query, document).await.unwrap();
            let reopened = FsBackend::open(root.clone()).unwrap();
            let found = text(&reopened, None, &query).await.unwrap();
            assert!(found.contains(kept), "{found}");
            let answer = forward(&backend, Method::DELETE, None, &query, "").await.unwrap();
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            refused(text(&backend, None, &query).await, missing);
        }
        for (name, missing) in [
            ("policy", "NoSuchBucketPolicy"),
            ("policyStatus", "NoSuchBucketPolicy"),
            ("website", "NoSuchWebsiteConfiguration"),
            ("replication", "ReplicationConfigurationNotFoundError"),
        ] {
            refused(text(&backend, None, &[(name, "")]).await, missing);
            unsupported(forward(&backend, Method::PUT, None, &[(name, "")], "{}").await);
        }
        let enabled = "<LifecycleConfiguration><Rule><Prefix/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        unsupported(forward(&backend, Method::PUT, None, &[("lifecycle", "")], enabled).await);
        for (name, text_of) in
            [("requestPayment", "BucketOwner"), ("acl", "FULL_CONTROL"), ("encryption", "AES256")]
        {
            let found = text(&backend, None, &[(name, "")]).await.unwrap();
            assert!(found.contains(text_of), "{found}");
            forward(&backend, Method::PUT, None, &[(name, "")], &found).await.unwrap();
        }
        let request = Forward {
            method: Method::GET,
            bucket: "missing".to_owned(),
            key: None,
            query: vec![("cors".to_owned(), String::new())],
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        refused(backend.forward(request).await, "NoSuchBucket");
    });
}

/// A state that cannot be read is not taken for one that was never set: that would destroy what it protects.
#[test]
fn a_damaged_versioning_state_stops_writes() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        put(&backend, "k", "old").await;
        let path = root.join("buckets").join(BUCKET).join("config/versioning");
        let mut bytes = fs::read(&path).unwrap();
        bytes[1] ^= 1;
        fs::write(&path, bytes).unwrap();
        let outcome = backend.put(BUCKET, "k", PutOptions::default(), upload("new")).await;
        assert!(matches!(outcome, Err(BackendError::Io(_))), "{outcome:?}");
        let outcome = backend.delete(BUCKET, "k", None, Conditions::default()).await;
        assert!(matches!(outcome, Err(BackendError::Io(_))), "{outcome:?}");
        assert_eq!(super::support::get(&backend, "k").await, "old");
    });
}

/// What cannot be read may be locked: nothing takes its place, and nobody is told that it is gone.
#[test]
fn a_damaged_record_in_a_bucket_with_locks_is_not_replaced() {
    let (_directory, root, backend) = fresh();
    run(async {
        locked(&backend).await;
        let until = in_days(2);
        let lock = [
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-retain-until-date", until.as_str()),
        ];
        let version = put_with(&backend, BUCKET, "k", &lock).await.unwrap().version_id.unwrap();
        let id = backend.create_upload(BUCKET, "k", PutOptions::default()).await.unwrap();
        let part = backend.upload_part(BUCKET, "k", &id, 1, upload("part")).await.unwrap().etag;
        let path = root.join("buckets").join(BUCKET).join("tree/Lk");
        let genuine = fs::read(&path).unwrap();
        let mut damaged = genuine.clone();
        damaged[genuine.len() / 2] ^= 1;
        fs::write(&path, &damaged).unwrap();

        let failed = |result: Result<(), BackendError>, what: &str| {
            assert!(matches!(result, Err(BackendError::Io(_))), "{what}: {result:?}");
            assert_eq!(fs::read(&path).unwrap(), damaged, "{what} changed it");
        };
        failed(put_with(&backend, BUCKET, "k", &[]).await.map(drop), "a write");
        failed(backend.delete(BUCKET, "k", None, Conditions::default()).await.map(drop), "a delete marker");
        failed(delete(&backend, &version, true).await, "a deletion of the version");
        let completed = backend.complete_upload(BUCKET, "k", &id, &[(1, part)], Conditions::default()).await;
        failed(completed.map(drop), "a Complete");
        put_with(&backend, BUCKET, "other", &[]).await.unwrap();

        fs::write(&path, genuine).unwrap();
        refused(delete(&backend, &version, true).await, "AccessDenied");
        assert_eq!(super::support::get(&backend, "k").await, "x");
        put_with(&backend, BUCKET, "k", &[]).await.unwrap();
    });
}
