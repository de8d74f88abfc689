//! Bodies that do not come as announced.

use std::cell::Cell;
use std::rc::Rc;

use sealgate_data_plane::backend::{BackendError, GetOptions, PutOptions, Upload};

use super::support::{Setup, bytes, failing, pieces, refused};

const LENGTH: usize = 2_500_000;

pub async fn a_body_cut_short_stores_nothing(setup: &Setup) {
    let old = bytes(1_000, 1);
    setup.put("old", &old).await;
    let body = bytes(LENGTH, 2);
    for cut in [0, 1, 100_000, 262_144, 1_048_576, 2_000_000, LENGTH - 1, LENGTH] {
        for key in ["old", "new"] {
            let reached = Rc::new(Cell::new(false));
            let stream = failing(body.slice(..cut), reached.clone());
            let upload = Upload { length: LENGTH as u64, stream };
            let outcome = setup.backend.put(&setup.bucket, key, PutOptions::default(), upload).await;
            match outcome {
                Err(BackendError::Upload(error)) => assert_eq!(error.to_string(), "the client hung up"),
                other => panic!("cut at {cut}: {other:?}"),
            }
            assert!(reached.get());
        }
        assert_eq!(setup.get("old").await, old, "cut at {cut}");
        refused(setup.try_get("new", GetOptions::default()).await, &["NoSuchKey"]);
    }
}

pub async fn a_body_of_the_wrong_length_stores_nothing(setup: &Setup) {
    let old = bytes(1_000, 1);
    setup.put("old", &old).await;
    for (declared, sent) in [(10, 9), (10, 11), (0, 1), (1, 0), (700_000, 699_999), (700_000, 700_001)] {
        for key in ["old", "new"] {
            let upload = Upload { length: declared, stream: pieces(&bytes(sent, 2)) };
            let outcome = setup.backend.put(&setup.bucket, key, PutOptions::default(), upload).await;
            assert!(matches!(outcome, Err(BackendError::Upload(_))), "{declared} {sent}: {outcome:?}");
        }
        assert_eq!(setup.get("old").await, old, "{declared} {sent}");
        refused(setup.try_get("new", GetOptions::default()).await, &["NoSuchKey"]);
    }
}

pub async fn a_part_cut_short_stores_nothing(setup: &Setup) {
    let id = setup.backend.create_upload(&setup.bucket, "k", PutOptions::default()).await.unwrap();
    let good = Upload { length: 1_000, stream: pieces(&bytes(1_000, 1)) };
    let etag = setup.backend.upload_part(&setup.bucket, "k", &id, 1, good).await.unwrap().etag;
    for number in [1, 2] {
        let stream = failing(bytes(LENGTH - 1, 2), Rc::default());
        let upload = Upload { length: LENGTH as u64, stream };
        let outcome = setup.backend.upload_part(&setup.bucket, "k", &id, number, upload).await;
        assert!(matches!(outcome, Err(BackendError::Upload(_))), "{outcome:?}");
    }
    let parts = setup.backend.list_parts(&setup.bucket, "k", &id, 0, 1000).await.unwrap().parts;
    let found: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag, part.size)).collect();
    assert_eq!(found, [(1, etag, 1_000)]);
}
