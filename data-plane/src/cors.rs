//! CORS: preflights are answered here, and other answers get what browsers look for, by the configuration that the bucket
//! has on its storage.
//!
//! The configuration is asked for only when a request comes from a page (it has an Origin), and kept for [`FRESH`]: a
//! preflight is not signed, so whoever sends them must not be able to have the storage asked each time. For the same reason a
//! crowd asks once, and a failure is kept for [`FAILED`]. A change through this node counts at once, also where it overtakes a
//! question, one through another node after that time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use sealgate_envelope::BucketId;
use tokio::time::Instant;
use tracing::warn;

use crate::backend::{BackendError, Forward};
use crate::flights::Flights;
use crate::node::Node;
use crate::reply::{self, Reply};
use crate::s3::cors::{Asked, Cors, not_allowed, not_enabled};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::xml::cors::parse_cors;
use crate::snapshot::{Bucket, BucketState};
use crate::worker::Worker;

/// How long a configuration is believed.
const FRESH: Duration = Duration::from_secs(30);
/// How long a storage that failed is left alone.
const FAILED: Duration = Duration::from_secs(5);
/// What storages call it, under whatever status, when there is no configuration or they keep none.
const NONE: &[&str] = &["MethodNotAllowed", "NoSuchCORSConfiguration", "NotImplemented"];
/// Configurations that are kept at most.
const MAX_KEPT: usize = 10_000;

/// What a bucket's storage said; none where it has no configuration.
type Found = Result<Option<Arc<Cors>>, S3Error>;

/// What is known of buckets' configurations.
#[derive(Default)]
pub struct Known {
    state: Mutex<State>,
    /// By the number of changes before: who comes after a change does not wait for an answer from before it.
    asked: Flights<(BucketId, u64), Found>,
}

#[derive(Default)]
struct State {
    kept: HashMap<BucketId, (Instant, Found)>,
    /// How many changes, of whichever bucket, went through this node.
    changes: u64,
}

impl State {
    fn is_fresh((at, found): &(Instant, Found)) -> bool {
        at.elapsed() < if found.is_ok() { FRESH } else { FAILED }
    }
}

impl Known {
    /// What is known, or what `ask` gives.
    async fn get<F: Future<Output = Found>>(&self, bucket: BucketId, ask: impl FnOnce() -> F) -> Found {
        let changes = {
            let state = self.lock();
            if let Some((_, found)) = state.kept.get(&bucket).filter(|kept| State::is_fresh(kept)) {
                return found.clone();
            }
            state.changes
        };
        let ask = || async {
            let found = ask().await;
            self.keep(bucket, found.clone(), changes);
            found
        };
        self.asked.join((bucket, changes), ask).await
    }

    fn keep(&self, bucket: BucketId, found: Found, changes: u64) {
        let mut state = self.lock();
        if state.changes != changes {
            // It may be what was there before a change.
            return;
        }
        if state.kept.len() >= MAX_KEPT && !state.kept.contains_key(&bucket) {
            state.kept.retain(|_, kept| State::is_fresh(kept));
            if state.kept.len() >= MAX_KEPT
                && let Some(oldest) = state.kept.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| *id)
            {
                state.kept.remove(&oldest);
            }
        }
        state.kept.insert(bucket, (Instant::now(), found));
    }

    /// Forgets a bucket's configuration: it has been changed, or the bucket lies elsewhere.
    pub fn forget(&self, bucket: BucketId) {
        let mut state = self.lock();
        state.changes += 1;
        state.kept.remove(&bucket);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a preflight. It is not signed: browsers cannot.
///
/// # Errors
/// BadRequest and AccessForbidden, as S3's; the storage's.
pub async fn preflight(worker: &Worker, request: &S3Request, parts: &Parts) -> Result<Reply, S3Error> {
    let asked = Asked::preflight(&parts.headers)?;
    let bucket = request.bucket.as_deref().and_then(|name| bucket(&worker.node, name));
    let bucket =
        bucket.ok_or_else(|| S3Error::with(Code::AccessForbidden, "CORSResponse: Bucket not found"))?;
    let cors = configuration(worker, &bucket).await?.ok_or_else(not_enabled)?;
    let rule = cors.rule(&asked).ok_or_else(not_allowed)?;
    let mut reply = reply::empty(StatusCode::OK);
    *reply.headers_mut() = rule.told(&asked);
    Ok(reply)
}

/// What an answer to a page's request says besides, errors included; nothing where no rule allows the page to read it.
pub async fn told(worker: &Worker, parts: &Parts) -> HeaderMap {
    let nothing = HeaderMap::new();
    if parts.method == Method::OPTIONS {
        return nothing;
    }
    let Some(asked) = Asked::actual(&parts.method, &parts.headers) else { return nothing };
    let Ok(request) = S3Request::parse(parts, &worker.node.config.domains) else { return nothing };
    let Some(bucket) = request.bucket.as_deref().and_then(|name| bucket(&worker.node, name)) else {
        return nothing;
    };
    match configuration(worker, &bucket).await {
        Ok(cors) => {
            cors.as_ref().and_then(|cors| cors.rule(&asked)).map_or(nothing, |rule| rule.told(&asked))
        }
        // The answer itself stands: a page that may not read it is the safe side.
        Err(_) => nothing,
    }
}

/// Notes that a request may have changed a bucket's configuration.
pub fn changed(node: &Node, request: &S3Request) {
    if request.key.is_none()
        && request.query.has("cors")
        && matches!(request.method, Method::PUT | Method::DELETE)
        && let Some(bucket) = request.bucket.as_deref().and_then(|name| bucket(node, name))
    {
        node.cors.forget(bucket.id);
    }
}

fn bucket(node: &Node, name: &str) -> Option<Arc<Bucket>> {
    let snapshot = node.snapshot()?;
    snapshot.bucket(name).filter(|bucket| bucket.state != BucketState::Creating).cloned()
}

async fn configuration(worker: &Worker, bucket: &Bucket) -> Found {
    worker.node.cors.get(bucket.id, || ask(worker, bucket)).await
}

async fn ask(worker: &Worker, bucket: &Bucket) -> Found {
    let Some(backend) = worker.backends.get(&bucket.backend) else {
        return Err(S3Error::with(Code::InternalError, "The bucket's backend is not configured here."));
    };
    let request = Forward {
        method: Method::GET,
        bucket: bucket.backend_bucket.clone(),
        key: None,
        query: vec![("cors".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    match backend.forward(request).await {
        Ok(answer) => Ok(match parse_cors(&answer.body) {
            Ok(cors) => Some(Arc::new(cors)),
            Err(_) => {
                warn!(bucket = bucket.name, "the storage's CORS configuration cannot be read");
                None
            }
        }),
        Err(BackendError::Unsupported(_)) => Ok(None),
        // Whatever a storage calls it: there is none, or none that the gateway may read. Asking again for each request, signed
        // or not, would not help.
        Err(BackendError::S3 { status: 403 | 404 | 405 | 501, .. }) => Ok(None),
        Err(error) if NONE.iter().any(|code| error.is(code)) => Ok(None),
        Err(error) => Err(crate::refusal::backend_failed(error, &worker.node.metrics, true, None)),
    }
}
