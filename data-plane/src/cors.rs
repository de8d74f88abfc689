//! CORS: preflights are answered here, and other answers get what browsers look for, by the configuration that the bucket
//! has on its storage.
//!
//! The configuration is asked for only when a request comes from a page (it has an Origin), and kept for [`FRESH`]: a
//! preflight is not signed, so whoever sends them must not be able to have the storage asked each time. A change through
//! this node counts at once, one through another after that time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use sealgate_envelope::BucketId;
use tokio::time::Instant;
use tracing::warn;

use crate::backend::{BackendError, Forward};
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
/// Configurations that are kept at most.
const MAX_KEPT: usize = 1_000;

/// What is known of buckets' configurations; none where a bucket has none.
#[derive(Default)]
pub struct Known(Mutex<HashMap<BucketId, Kept>>);

type Kept = (Instant, Option<Arc<Cors>>);

impl Known {
    fn get(&self, bucket: BucketId) -> Option<Option<Arc<Cors>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&bucket).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, cors)| cors.clone())
    }

    fn keep(&self, bucket: BucketId, cors: Option<Arc<Cors>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT && !kept.contains_key(&bucket) {
            kept.retain(|_, (at, _)| at.elapsed() < FRESH);
            if kept.len() >= MAX_KEPT {
                // Without room it is asked for again next time.
                return;
            }
        }
        kept.insert(bucket, (Instant::now(), cors));
    }

    /// Forgets a bucket's configuration: it has been changed.
    fn forget(&self, bucket: BucketId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&bucket);
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

async fn configuration(worker: &Worker, bucket: &Bucket) -> Result<Option<Arc<Cors>>, S3Error> {
    if let Some(known) = worker.node.cors.get(bucket.id) {
        return Ok(known);
    }
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
    let cors = match backend.forward(request).await {
        Ok(answer) => match parse_cors(&answer.body) {
            Ok(cors) => Some(Arc::new(cors)),
            Err(_) => {
                warn!(bucket = bucket.name, "the storage's CORS configuration cannot be read");
                None
            }
        },
        Err(BackendError::Unsupported(_)) => None,
        // Whatever a storage calls it: there is none, or none that the gateway may read. Asking again for each request, signed
        // or not, would not help.
        Err(BackendError::S3 { status: 400..=499 | 501, .. }) => None,
        Err(error) => return Err(crate::refusal::backend_failed(error, &worker.node.metrics, true, None)),
    };
    worker.node.cors.keep(bucket.id, cors.clone());
    Ok(cors)
}
