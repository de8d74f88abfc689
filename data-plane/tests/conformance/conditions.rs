//! Conditional requests.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use sealgate_data_plane::backend::{BackendError, Conditions, GetOptions, PutOptions};

use super::support::{Setup, bytes, refused};

fn if_match(etag: &str) -> Conditions {
    Conditions { if_match: Some(etag.to_owned()), ..Conditions::default() }
}

fn if_none_match(etag: &str) -> Conditions {
    Conditions { if_none_match: Some(etag.to_owned()), ..Conditions::default() }
}

/// An ETag that no object has.
const NOBODYS: &str = "\"00000000000000000000000000000000\"";

pub async fn conditional_get_and_head(setup: &Setup) {
    let etag = format!("\"{}\"", setup.put("k", b"abc").await);
    let hour = Duration::from_secs(3600);
    let date = |time| Some(httpdate::fmt_http_date(time));
    let (past, future) = (SystemTime::now() - hour, SystemTime::now() + hour);
    let holds = [
        if_match(&etag),
        if_none_match(NOBODYS),
        Conditions { if_modified_since: date(past), ..Conditions::default() },
        Conditions { if_unmodified_since: date(future), ..Conditions::default() },
        // If-Match wins over If-Unmodified-Since.
        Conditions { if_unmodified_since: date(past), ..if_match(&etag) },
        // If-None-Match wins over If-Modified-Since.
        Conditions {
            if_modified_since: date(SystemTime::now() - Duration::from_secs(1)),
            ..if_none_match(NOBODYS)
        },
    ];
    for conditions in holds {
        let options = GetOptions { conditions, ..GetOptions::default() };
        setup.try_get("k", options.clone()).await.unwrap_or_else(|e| panic!("{options:?}: {e}"));
        setup
            .backend
            .head(&setup.bucket, "k", options.clone())
            .await
            .unwrap_or_else(|e| panic!("{options:?}: {e}"));
    }
    let refusals = [
        (if_match(NOBODYS), 412),
        (Conditions { if_unmodified_since: date(past), ..Conditions::default() }, 412),
        (if_none_match(&etag), 304),
    ];
    for (conditions, expected) in refusals {
        let options = GetOptions { conditions, ..GetOptions::default() };
        let got = setup.try_get("k", options.clone()).await.map(drop);
        let head = setup.backend.head(&setup.bucket, "k", options.clone()).await.map(drop);
        let code = if expected == 304 { "NotModified" } else { "PreconditionFailed" };
        for result in [got, head] {
            match result {
                Err(BackendError::S3 { status, code: found, headers, .. }) => {
                    assert_eq!((status, found.as_str()), (expected, code), "{options:?}");
                    // versitygw answers 304 without it.
                    assert!(headers.get("etag").is_none_or(|found| *found == etag));
                }
                other => panic!("{options:?}: {other:?}"),
            }
        }
    }
}

pub async fn conditional_put(setup: &Setup) {
    if !setup.backend.capabilities().conditional_put {
        return;
    }
    let put = async |key: &str, body: &Bytes, conditions: &Conditions| {
        setup.try_put(key, body, PutOptions { conditions: conditions.clone(), ..PutOptions::default() }).await
    };
    for length in [10, 700_000] {
        let key = format!("k{length}");
        let (one, two) = (bytes(length, 1), bytes(length, 2));
        let etag = put(&key, &one, &if_none_match("*")).await.unwrap().etag;
        refused(put(&key, &two, &if_none_match("*")).await, &["PreconditionFailed"]);
        refused(put(&key, &two, &if_match(NOBODYS)).await, &["PreconditionFailed"]);
        assert_eq!(setup.get(&key).await, one, "{length}");
        put(&key, &two, &if_match(&format!("\"{etag}\""))).await.unwrap();
        assert_eq!(setup.get(&key).await, two, "{length}");
    }
    refused(put("missing", &bytes(3, 1), &if_match(NOBODYS)).await, &["NoSuchKey", "PreconditionFailed"]);
    refused(setup.try_get("missing", GetOptions::default()).await, &["NoSuchKey"]);
}

pub async fn conditional_delete(setup: &Setup) {
    setup.put("k", b"abc").await;
    let outcome = setup.backend.delete(&setup.bucket, "k", None, if_match(NOBODYS)).await;
    if setup.backend.capabilities().conditional_delete {
        refused(outcome, &["PreconditionFailed"]);
        let etag = format!(
            "\"{}\"",
            setup.backend.head(&setup.bucket, "k", GetOptions::default()).await.unwrap().etag
        );
        setup.backend.delete(&setup.bucket, "k", None, if_match(&etag)).await.unwrap();
    } else {
        // Declared: the server ignores it. When a release begins to honour it, this fails and the declaration is raised.
        outcome.unwrap();
    }
    refused(setup.try_get("k", GetOptions::default()).await, &["NoSuchKey"]);
}

pub async fn one_of_many_creators_wins(setup: &Setup) {
    if !setup.backend.capabilities().conditional_put {
        return;
    }
    for round in 0..3 {
        let key = format!("k{round}");
        let bodies: Vec<_> = (0..12).map(|writer| bytes(3_000, 100 * round + writer)).collect();
        let options = PutOptions { conditions: if_none_match("*"), ..PutOptions::default() };
        let outcomes = join_all(bodies.iter().map(|body| setup.try_put(&key, body, options.clone()))).await;
        let winners: Vec<_> = (0..12).filter(|writer| outcomes[*writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            // AWS and others answer 409 while the winner is still busy: also "not stored, try again".
            refused(outcome, &["PreconditionFailed", "ConditionalRequestConflict"]);
        }
        assert_eq!(setup.get(&key).await, bodies[winners[0]]);
    }
}
