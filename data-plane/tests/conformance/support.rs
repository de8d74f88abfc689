//! What the cases share: a backend with a bucket of its own, bodies, and short ways to say things.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::backend::{
    Backend, BackendError, ByteStream, Conditions, GetOptions, GetOutcome, ListFrom, ListOptions, PutOptions,
    PutOutcome, StoredRange, StreamError, Upload, UploadListOptions,
};

use super::tls::{self, Authority};

/// A backend and what keeps it alive.
pub struct Opened {
    pub backend: Rc<dyn Backend>,
    pub directory: Option<tempfile::TempDir>,
    /// For S3: the configuration, and host and port behind it.
    pub wire: Option<(S3Config, String)>,
}

/// What a case gets: a backend and an empty bucket.
pub struct Setup {
    pub backend: Rc<dyn Backend>,
    pub bucket: String,
    pub wire: Option<(S3Config, String)>,
    _directory: Option<tempfile::TempDir>,
}

pub fn open_fs() -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let backend = Rc::new(FsBackend::open(directory.path().join("root")).unwrap());
    Opened { backend, directory: Some(directory), wire: None }
}

/// The server that the environment names. A missing one fails the test: it is not skipped.
pub fn open_s3(name: &str) -> Opened {
    let config = s3_config(name);
    let wire = Some((config.clone(), endpoint(name)));
    Opened { backend: Rc::new(S3Backend::new(config).unwrap()), directory: None, wire }
}

/// The same server behind TLS of an authority that is made here.
pub fn open_s3_over_tls(name: &str) -> Opened {
    let authority = Authority::new();
    let address = tls::before(endpoint(name), authority.server("localhost", |_| {}));
    let mut config = s3_config_at(name, &format!("https://localhost:{}", address.port()));
    config.ca_pem = Some(authority.pem.into_bytes());
    Opened { backend: Rc::new(S3Backend::new(config).unwrap()), directory: None, wire: None }
}

fn variable(name: &str, what: &str) -> String {
    let full = format!("SEALGATE_TEST_S3_{name}_{what}");
    std::env::var(&full).unwrap_or_else(|_| {
        panic!("{full} is not set: this test needs a real server. Run it under ops/with-servers, or leave it out by name")
    })
}

/// Host and port.
fn endpoint(name: &str) -> String {
    variable(name, "ENDPOINT").trim_start_matches("http://").trim_end_matches('/').to_owned()
}

fn s3_config(name: &str) -> S3Config {
    s3_config_at(name, &variable(name, "ENDPOINT"))
}

fn s3_config_at(name: &str, endpoint: &str) -> S3Config {
    let server = match name {
        "SEAWEEDFS" => ServerKind::SeaweedFs,
        "VERSITYGW" => ServerKind::VersityGw,
        "MINIO" => ServerKind::Minio,
        other => panic!("no such server: {other}"),
    };
    let credentials =
        StaticCredentials::new(variable(name, "ACCESS_KEY"), variable(name, "SECRET_KEY"), None);
    let region = variable(name, "REGION");
    let mut config = S3Config::new(endpoint, &region, Arc::new(credentials)).unwrap();
    config.server = server;
    config
}

/// Runs one case on a runtime like a worker's.
pub fn run<F: Future<Output = ()>>(opened: Opened, case: impl FnOnce(Setup) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let bucket = format!("conformance-{}", hex::encode(random));
        opened.backend.create_bucket(&bucket).await.unwrap();
        let kept = opened.backend.clone();
        let setup = Setup {
            backend: opened.backend,
            bucket: bucket.clone(),
            wire: opened.wire,
            _directory: opened.directory,
        };
        case(setup).await;
        clean_up(&*kept, &bucket).await;
    });
}

/// Removes the bucket: SeaweedFS has few volumes, and each bucket takes some. What a server can't list it keeps.
async fn clean_up(backend: &dyn Backend, bucket: &str) {
    let uploads = UploadListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        upload_id_marker: String::new(),
        max_uploads: 1000,
    };
    for upload in backend.list_uploads(bucket, uploads).await.unwrap_or_default().uploads {
        let _ = backend.abort_upload(bucket, &upload.key, &upload.upload_id).await;
    }
    let objects =
        ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1000 };
    for entry in backend.list_v2(bucket, objects).await.unwrap_or_default().entries {
        let _ = backend.delete(bucket, &entry.key, None, Conditions::default()).await;
    }
    let _ = backend.delete_bucket(bucket).await;
}

/// Bytes that look like nothing else, the same for the same seed.
pub fn bytes(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(length);
    out.into()
}

/// A stream of the bytes in pieces of 100,000.
pub fn pieces(body: &Bytes) -> ByteStream {
    let parts: Vec<_> =
        (0..body.len()).step_by(100_000).map(|at| Ok(body.slice(at..body.len().min(at + 100_000)))).collect();
    Box::pin(stream::iter(parts))
}

pub fn upload(body: &Bytes) -> Upload {
    Upload { length: body.len() as u64, stream: pieces(body) }
}

/// A stream that fails after some bytes, and says whether it got there.
pub fn failing(body: Bytes, failed: Rc<Cell<bool>>) -> ByteStream {
    let end = stream::once(async move {
        failed.set(true);
        Err(StreamError::Source("the client hung up".into()))
    });
    Box::pin(pieces(&body).chain(end))
}

pub async fn collect(outcome: GetOutcome) -> Result<Bytes, StreamError> {
    let mut out = Vec::new();
    let mut body = outcome.body;
    while let Some(piece) = body.next().await {
        out.extend_from_slice(&piece?);
    }
    assert_eq!(out.len() as u64, outcome.length, "the body has the length that was promised");
    Ok(out.into())
}

impl Setup {
    pub async fn try_put(
        &self,
        key: &str,
        body: &Bytes,
        options: PutOptions,
    ) -> Result<PutOutcome, BackendError> {
        self.backend.put(&self.bucket, key, options, upload(body)).await
    }

    pub async fn put(&self, key: &str, body: &[u8]) -> String {
        let body = Bytes::copy_from_slice(body);
        self.try_put(key, &body, PutOptions::default()).await.unwrap_or_else(|e| panic!("{key:?}: {e}")).etag
    }

    pub async fn try_get(&self, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        self.backend.get(&self.bucket, key, options).await
    }

    pub async fn get(&self, key: &str) -> Bytes {
        let outcome =
            self.try_get(key, GetOptions::default()).await.unwrap_or_else(|e| panic!("{key:?}: {e}"));
        collect(outcome).await.unwrap()
    }

    pub async fn range(&self, key: &str, range: StoredRange) -> Result<GetOutcome, BackendError> {
        self.try_get(key, GetOptions { range: Some(range), ..GetOptions::default() }).await
    }
}

/// Demands an S3 error of one of the given codes.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, BackendError>, codes: &[&str]) {
    match result {
        Err(error) if codes.iter().any(|code| error.is(code)) => {}
        other => panic!("expected {codes:?}, got {other:?}"),
    }
}
