//! Short ways to say things about a filesystem backend.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{
    Backend as _, ByteStream, Conditions, GetOptions, ListFrom, ListOptions, PutOptions, Upload,
};

pub const BUCKET: &str = "bucket";

pub fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}

pub fn upload(body: impl Into<Bytes>) -> Upload {
    let body = body.into();
    Upload { length: body.len() as u64, stream: Box::pin(stream::iter([Ok(body)])) }
}

pub async fn put(backend: &FsBackend, key: &str, body: impl Into<Bytes>) -> String {
    backend.put(BUCKET, key, PutOptions::default(), upload(body)).await.unwrap().etag
}

pub async fn collect(mut body: ByteStream) -> Bytes {
    let mut out = Vec::new();
    while let Some(piece) = body.next().await {
        out.extend_from_slice(&piece.unwrap());
    }
    out.into()
}

pub async fn get(backend: &FsBackend, key: &str) -> Bytes {
    collect(backend.get(BUCKET, key, GetOptions::default()).await.unwrap().body).await
}

pub async fn keys(backend: &FsBackend) -> Vec<String> {
    let options =
        ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1000 };
    let page = backend.list_v2(BUCKET, options).await.unwrap();
    assert!(page.next.is_none());
    page.entries.into_iter().map(|entry| entry.key).collect()
}

/// All files below a directory.
pub fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

pub fn bodies(root: &Path) -> usize {
    files(&root.join("buckets").join(BUCKET).join("bodies")).len()
}

pub fn pending(root: &Path) -> usize {
    fs::read_dir(root.join("buckets").join(BUCKET).join("new")).unwrap().count()
}

/// A root with an empty bucket.
pub fn fresh() -> (tempfile::TempDir, PathBuf, FsBackend) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let backend = FsBackend::open(root.clone()).unwrap();
    run(backend.create_bucket(BUCKET)).unwrap();
    (directory, root, backend)
}

pub async fn multipart(backend: &FsBackend, key: &str, parts: &[Bytes]) {
    let id = backend.create_upload(BUCKET, key, PutOptions::default()).await.unwrap();
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let outcome = backend.upload_part(BUCKET, key, &id, number, upload(part.clone())).await.unwrap();
        listed.push((number, outcome.etag));
    }
    backend.complete_upload(BUCKET, key, &id, &listed, Conditions::default()).await.unwrap();
}
