//! Buckets: the registry is the control plane's, the bytes are the backend's; both change in one order.
//!
//! Create: the control plane records the intent, the node makes the bucket on the backend and writes the logical id into
//! it, the control plane makes it active and pushes, and the client is answered when this node runs on that. Delete the
//! same way, with hidden objects removed once nothing visible is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use sealgate_envelope::{BucketId, hidden};
use sealgate_proto::v1 as wire;
use tonic::Code as GrpcCode;
use tracing::{info, warn};

use crate::backend::{
    Backend, BackendError, Conditions, Forward, GetOptions, ListFrom, ListOptions, PutOptions,
};
use crate::body::ClientBody;
use crate::gate::Admitted;
use crate::listing::owner;
use crate::node::Node;
use crate::pipeline;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::acl::check_bucket;
use crate::s3::route;
use crate::s3::xml::lists::{BucketEntry, list_buckets};
use crate::s3::xml::{location_constraint, parse_create_bucket};
use crate::snapshot::{Bucket, BucketState};

pub mod adoption;
pub mod removal;
pub mod turn;
pub mod work;

const MAX_DOCUMENT: usize = 64 << 10;

/// How long a node waits for its own snapshot after a commit.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Buckets on a page at most, and without being asked.
const MAX_BUCKETS: u32 = 10_000;

/// Answers ListBuckets: the tenant's registry, as far as the credential may see it.
///
/// # Errors
/// InvalidArgument for a page that cannot be.
pub fn list(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (credential, query) = (&admitted.credential, &admitted.request.query);
    let most = match query.get("max-buckets").filter(|text| !text.is_empty()) {
        None => MAX_BUCKETS,
        Some(text) => text.parse().ok().filter(|most| (1..=MAX_BUCKETS).contains(most)).ok_or_else(|| {
            let why = "Argument max-buckets must be an integer between 1 and 10000.";
            S3Error::invalid_argument("max-buckets", text, why)
        })?,
    };
    let after = match query.get("continuation-token").filter(|token| !token.is_empty()) {
        Some(token) => continues_after(token)?,
        None => String::new(),
    };
    let prefix = query.get("prefix");
    let region = query.get("bucket-region").filter(|region| !region.is_empty());
    let visible = |bucket: &&Arc<Bucket>| {
        bucket.tenant == credential.tenant
            && bucket.state != BucketState::Creating
            && credential.grants.iter().any(|grant| grant.bucket == "*" || grant.bucket == bucket.name)
            && bucket.name.starts_with(prefix.unwrap_or_default())
            && region.is_none_or(|region| bucket.region == region)
            && bucket.name > after
    };
    let mut buckets: Vec<&Arc<Bucket>> = admitted.snapshot.buckets().filter(visible).collect();
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    let more = buckets.len() > most as usize;
    buckets.truncate(most as usize);
    let next = buckets.last().filter(|_| more).map(|last| hex::encode(&last.name));
    let entries: Vec<BucketEntry> = buckets
        .iter()
        .map(|bucket| BucketEntry {
            name: bucket.name.clone(),
            created: i64::try_from(bucket.created).unwrap_or(i64::MAX),
            region: bucket.region.clone(),
        })
        .collect();
    Ok(reply::xml(StatusCode::OK, list_buckets(&owner(admitted), &entries, prefix, next.as_deref())))
}

/// The bucket that a token stands for: the last one of the page before.
fn continues_after(token: &str) -> Result<String, S3Error> {
    let name = hex::decode(token).ok().and_then(|name| String::from_utf8(name).ok());
    name.filter(|name| (1..=63).contains(&name.len())).ok_or_else(|| {
        S3Error::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    })
}

/// Answers HeadBucket.
///
/// # Errors
/// NoSuchBucket.
pub fn head(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, _) = admitted.bucket()?;
    let mut reply = reply::empty(StatusCode::OK);
    reply::set(reply.headers_mut(), "x-amz-bucket-region", &bucket.region);
    Ok(reply)
}

/// Answers GetBucketLocation.
///
/// # Errors
/// NoSuchBucket.
pub fn location(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, _) = admitted.bucket()?;
    Ok(reply::xml(StatusCode::OK, location_constraint(&bucket.region)))
}

/// Answers CreateBucket.
///
/// # Errors
/// BucketAlreadyOwnedByYou, BucketAlreadyExists, ServiceUnavailable without the control plane.
pub async fn create(admitted: &Admitted, body: ClientBody) -> Result<Reply, S3Error> {
    let name = admitted.request.need_bucket()?;
    let document = admitted.document(body, MAX_DOCUMENT).await?;
    let wanted = parse_create_bucket(&document)?;
    check_bucket(&admitted.headers)?;
    // Where a client asks for no region, its bucket lies in the one that it signs for: what it believes already.
    let default = admitted.authenticated.region().or(admitted.snapshot.regions.first().map(String::as_str));
    let region = wanted.region.unwrap_or_else(|| default.unwrap_or_default().to_owned());
    if !admitted.snapshot.regions.contains(&region) {
        return Err(S3Error::new(Code::InvalidLocationConstraint).field("LocationConstraint", region));
    }
    if let Some(bucket) = admitted.snapshot.bucket(name)
        && bucket.state == BucketState::Active
    {
        // As S3: in us-east-1 making one's own bucket again succeeds.
        if region == "us-east-1" {
            return Ok(created(name));
        }
        return Err(S3Error::new(Code::BucketAlreadyOwnedByYou).field("BucketName", name));
    }
    let node = &admitted.worker.node;
    let control = &node.control;
    let request = wire::BeginCreateRequest {
        name: name.to_owned(),
        access_key_id: admitted.credential.access_key_id.clone(),
        region,
    };
    let bucket =
        control.buckets().begin_create(request).await.map_err(|status| registry_failed(&status, name))?;
    let bucket = bucket.into_inner();
    let id = bucket_id(&bucket).map_err(|error| admitted.backend_failed(error))?;
    let backend = admitted.worker.backends.get(&bucket.backend).ok_or_else(|| {
        S3Error::with(Code::InternalError, "The bucket's backend is not configured on this node.")
    })?;
    let reference = wire::BucketRef { bucket_id: bucket.bucket_id.clone() };
    let work_bucket = admitted.snapshot.work_bucket(&bucket.backend);
    let headers = route::passed(route::WITH_BUCKETS, &admitted.headers);
    let made = match as_asked(backend.as_ref(), &bucket.backend_bucket, headers).await {
        Ok(()) => make(backend.as_ref(), &bucket, work_bucket).await,
        Err(error) => Err(error),
    };
    let made = match (made, wanted.tags) {
        (Ok(()), Some(tags)) => tag(backend.as_ref(), &bucket.backend_bucket, tags).await,
        (made, _) => made,
    };
    if let Err(error) = made {
        let refused = admitted.backend_failed(error);
        match control.buckets().abort_create(reference).await {
            // The marker may be there all the same: written by a request whose answer was lost.
            Ok(_) => unmake(backend.as_ref(), &bucket.backend_bucket, id).await,
            Err(status) => warn!(
                bucket = name,
                reason = status.message(),
                "the intent to create a bucket stays; it is tried again"
            ),
        }
        return Err(refused);
    }
    let applied = match control.buckets().commit_create(reference).await {
        Ok(applied) => applied.into_inner(),
        Err(status) if status.code() == GrpcCode::NotFound => {
            unmake(backend.as_ref(), &bucket.backend_bucket, id).await;
            return Err(S3Error::new(Code::OperationAborted));
        }
        Err(status) => return Err(registry_failed(&status, name)),
    };
    wait(node, &applied).await?;
    info!(target: "audit", bucket = name, access_key_id = admitted.credential.access_key_id, "bucket created");
    Ok(created(name))
}

/// Makes the backend's bucket with what the client asks for beyond a name: object lock, ownership, ACL. A bucket that is
/// there already has them or not, and of a lock that is asked.
async fn as_asked(backend: &dyn Backend, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
    if headers.is_empty() {
        return Ok(());
    }
    let locked = headers.contains_key("x-amz-bucket-object-lock-enabled");
    let there = match backend.create_bucket_with(bucket, headers).await {
        Ok(()) => false,
        // Empty and unmarked: left by an attempt that was cut, or made by the node that looks after such attempts.
        Err(error) if error.is("BucketAlreadyOwnedByYou") => true,
        Err(error) => return Err(error),
    };
    if !there && !locked {
        return Ok(());
    }
    if there && !locked {
        return Err(taken());
    }
    let asked = Forward {
        method: Method::GET,
        bucket: bucket.to_owned(),
        key: None,
        query: vec![("object-lock".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    // An object that was to be locked must not be written where nothing locks it.
    backend.forward(asked).await.map(drop)
}

/// Gives the backend's bucket its tags, before anybody sees it.
async fn tag(backend: &dyn Backend, bucket: &str, document: String) -> Result<(), BackendError> {
    let asked = Forward {
        method: Method::PUT,
        bucket: bucket.to_owned(),
        key: None,
        query: vec![("tagging".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: document.into(),
    };
    backend.forward(asked).await.map(drop)
}

fn created(name: &str) -> Reply {
    let mut reply = reply::empty(StatusCode::OK);
    reply::set(reply.headers_mut(), "x-amz-bucket-arn", &format!("arn:aws:s3:::{name}"));
    reply::set(reply.headers_mut(), "location", &format!("/{name}"));
    reply
}

async fn wait(node: &Node, applied: &wire::Applied) -> Result<(), S3Error> {
    tokio::time::timeout(APPLY_TIMEOUT, node.wait_applied(applied.epoch, applied.version)).await.map_err(
        |_| S3Error::with(Code::ServiceUnavailable, "The change is made, but has not reached this node yet."),
    )
}

fn registry_failed(status: &tonic::Status, name: &str) -> S3Error {
    match status.code() {
        GrpcCode::AlreadyExists if status.message() == "owned" => {
            S3Error::new(Code::BucketAlreadyOwnedByYou).field("BucketName", name)
        }
        GrpcCode::AlreadyExists => S3Error::new(Code::BucketAlreadyExists).field("BucketName", name),
        GrpcCode::NotFound => S3Error::no_such_bucket(name),
        GrpcCode::InvalidArgument => S3Error::new(Code::InvalidBucketName).field("BucketName", name),
        GrpcCode::PermissionDenied => S3Error::new(Code::AccessDenied),
        // One that is not known may be younger than the copy that the store was restored from: nobody's right was taken away.
        GrpcCode::Unauthenticated if status.metadata().contains_key(sealgate_proto::REVOKED) => {
            S3Error::new(Code::AccessDenied)
        }
        GrpcCode::Aborted => S3Error::new(Code::OperationAborted),
        _ => {
            warn!(code = ?status.code(), reason = status.message(), "the registry of buckets does not answer");
            S3Error::with(
                Code::ServiceUnavailable,
                "The registry of buckets cannot be reached. Please try again.",
            )
            .retry_after(2)
        }
    }
}

/// Makes a bucket on its backend and writes its logical id into it; the work bucket, where there is one, before. All may
/// have been done before.
///
/// # Errors
/// The backend's; `BucketAlreadyExists` when what is there belongs to another logical bucket.
pub async fn make(
    backend: &dyn Backend,
    bucket: &wire::Bucket,
    work_bucket: Option<&str>,
) -> Result<(), BackendError> {
    let id = bucket_id(bucket)?;
    if let Some(work_bucket) = work_bucket {
        work::ensure(backend, work_bucket).await?;
    }
    match backend.create_bucket(&bucket.backend_bucket).await {
        // Not always a new one: AWS answers so in us-east-1, and others everywhere, for one's own that is there already.
        Ok(()) => {}
        // Somebody else's may look empty, and let the gateway write: whoever has it would read and replace all of it.
        Err(error) if error.may_be_own(backend) => {}
        Err(error) => return Err(error),
    }
    // One that was left half made by an earlier attempt is empty, or has the same id in it.
    if let Some(there) = marker(backend, &bucket.backend_bucket).await? {
        return if there == id { Ok(()) } else { Err(taken()) };
    }
    let options = ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1 };
    if !backend.list_v2(&bucket.backend_bucket, options).await?.entries.is_empty() {
        return Err(taken());
    }
    put_marker(backend, &bucket.backend_bucket, id).await
}

/// Writes a bucket's logical id into it, unless it is there.
///
/// # Errors
/// The backend's; `BucketAlreadyExists` when another id is there.
async fn put_marker(backend: &dyn Backend, bucket: &str, id: BucketId) -> Result<(), BackendError> {
    let options = PutOptions {
        conditions: Conditions { if_none_match: Some("*".to_owned()), ..Conditions::default() },
        ..PutOptions::default()
    };
    let body = pipeline::upload(hidden::bucket_marker(id).to_vec());
    match backend.put(bucket, hidden::BUCKET, options, body).await {
        Ok(_) => Ok(()),
        Err(error) if error.is("PreconditionFailed") => {
            if marker(backend, bucket).await? == Some(id) {
                Ok(())
            } else {
                Err(taken())
            }
        }
        Err(error) => Err(error),
    }
}

/// Takes the logical id of an intent that is no more out of the bucket that was made for it: with it there the name could
/// never be used again. The bucket stays: it may be older than the intent, and the next one takes an empty one over.
async fn unmake(backend: &dyn Backend, bucket: &str, id: BucketId) {
    let unmade = async {
        match marker(backend, bucket).await {
            Ok(Some(there)) if there == id => {}
            Ok(_) => return Ok(()),
            Err(error) if error.is("NoSuchBucket") => return Ok(()),
            Err(error) => return Err(error),
        }
        backend.delete(bucket, hidden::BUCKET, None, Conditions::default()).await.map(drop)
    };
    if let Err(error) = unmade.await {
        warn!(
            backend_bucket = bucket,
            %error,
            "the id of a bucket that was not made may be in it; remove {} there to use its name",
            hidden::BUCKET
        );
    }
}

fn bucket_id(bucket: &wire::Bucket) -> Result<BucketId, BackendError> {
    let bytes = bucket.bucket_id.as_slice().try_into();
    bytes
        .map(BucketId::from_bytes)
        .map_err(|_| BackendError::Protocol("the control plane's bucket id is malformed".to_owned()))
}

fn taken() -> BackendError {
    BackendError::s3(409, "BucketAlreadyExists", "the backend bucket holds something already")
}

/// The logical id that lies in a backend bucket.
async fn marker(backend: &dyn Backend, bucket: &str) -> Result<Option<BucketId>, BackendError> {
    match backend.get(bucket, hidden::BUCKET, GetOptions::default()).await {
        Ok(answer) => {
            let bytes = pipeline::collect(answer.body, 64).await?;
            hidden::parse_bucket_marker(&bytes)
                .map(Some)
                .map_err(|_| BackendError::Protocol("the bucket's logical id is malformed".to_owned()))
        }
        Err(error) if error.is("NoSuchKey") => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many looks lie between two attempts at a bucket that cannot be made.
const LOOKS: u32 = 10;

/// Makes the buckets that the admin API asked for, or that a node left half made; nodes that come later find them made.
/// `seen` has how often each was met: the first look leaves them to the request that may be making one right now.
pub async fn make_pending(
    node: &Node,
    backends: &crate::worker::Backends,
    seen: &mut HashMap<BucketId, u32>,
) {
    let Some(snapshot) = node.snapshot() else { return };
    let mut creating = HashMap::new();
    for bucket in snapshot.buckets().filter(|bucket| bucket.state == BucketState::Creating) {
        let looks = seen.get(&bucket.id).copied().unwrap_or_default();
        creating.insert(bucket.id, looks.wrapping_add(1));
        let Some(backend) = backends.of(bucket).filter(|_| looks % LOOKS == 1) else { continue };
        let wanted = wire::Bucket {
            bucket_id: bucket.id.as_bytes().to_vec(),
            backend_bucket: bucket.backend_bucket.clone(),
            ..wire::Bucket::default()
        };
        let work_bucket = snapshot.work_bucket(&bucket.backend);
        if let Err(error) = make(backend.as_ref(), &wanted, work_bucket).await {
            warn!(bucket = bucket.name, %error, "a registered bucket cannot be made on its backend");
            continue;
        }
        let control = &node.control;
        let reference = wire::BucketRef { bucket_id: bucket.id.as_bytes().to_vec() };
        match control.buckets().commit_create(reference).await {
            Ok(_) => {}
            Err(status) if status.code() == GrpcCode::NotFound => {
                unmake(backend.as_ref(), &bucket.backend_bucket, bucket.id).await;
            }
            Err(status) => {
                warn!(bucket = bucket.name, reason = status.message(), "a bucket was made, but not reported");
            }
        }
    }
    *seen = creating;
}
