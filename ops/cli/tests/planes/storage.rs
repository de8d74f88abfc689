//! What lies in the backend, read without any gateway.

use std::path::Path;

use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend, GetOptions, ListEntry, ListFrom, ListOptions};
use sealgate_data_plane::objects::sealed::ENVELOPE_NAME;
use sealgate_envelope::{Envelope, hidden};

/// Every object of a bucket, hidden ones included, under a prefix.
pub async fn list(backend: &dyn Backend, bucket: &str, prefix: &str) -> Vec<ListEntry> {
    let mut entries = Vec::new();
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions { prefix: prefix.to_owned(), delimiter: None, from, max_keys: 1_000 };
        let page = backend.list_v2(bucket, options).await.unwrap();
        entries.extend(page.entries);
        match page.next {
            Some(next) => from = ListFrom::Token(next),
            None => return entries,
        }
    }
}

/// Demands that each object's intermediate key has its record in the same bucket; gives how many objects there are.
pub async fn check_key_records(root: &Path, bucket: &str) -> usize {
    let backend = FsBackend::open(root.to_owned()).unwrap();
    let mut objects = 0;
    for entry in list(&backend, bucket, "").await {
        if hidden::is_hidden(entry.key.as_bytes()) {
            continue;
        }
        let meta = backend.head(bucket, &entry.key, GetOptions::default()).await.unwrap();
        let envelope = Envelope::parse_header(&meta.metadata[ENVELOPE_NAME]).unwrap();
        let prefix = hidden::ik_records_prefix(envelope.ik_id());
        let records = list(&backend, bucket, &prefix).await;
        assert!(!records.is_empty(), "{} is sealed under a key without a record in its bucket", entry.key);
        objects += 1;
    }
    objects
}

/// How many copies of key records lie in a bucket.
pub async fn key_records(root: &Path, bucket: &str) -> usize {
    let backend = FsBackend::open(root.to_owned()).unwrap();
    list(&backend, bucket, hidden::IK_PREFIX).await.len()
}
