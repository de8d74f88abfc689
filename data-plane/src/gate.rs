//! The gate: every request passes it in one order. Parse, authenticate, authorise, guard hidden names, route. What comes
//! out is an answer, whatever happened.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use sealgate_envelope::TenantId;
use sealgate_policies as policies;
use tracing::{info, warn};

use crate::auth::{self, Authenticated, SigV2Lookup, SignatureVersion, authenticate, known};
use crate::backend::Backend;
use crate::body::{BodyPlan, ClientBody};
use crate::objects::post::Posted;
use crate::pipeline::source::{Feed, Source};
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::conditions::Conditions;
use crate::s3::headers::{created, encryption, hoisted};
use crate::s3::request::S3Request;
use crate::s3::route::{self, Access, Operation, needs_configure, route};
use crate::snapshot::{Bucket, BucketState, Credential, Snapshot};
use crate::worker::Worker;
use crate::writes::{Write, let_in};
use crate::{access_log, buckets, copy, cors, forwarding, listing, multipart, objects, versions};

mod names;
pub use names::{refuse_folded, refuse_hidden};

/// HostId of errors and `x-amz-id-2` of every answer.
pub const HOST_ID: &str = "sealgate";

/// All headers of a request, names and values, in bytes: S3's limit for the header section.
const MAX_HEADER_BYTES: usize = 8 << 10;

/// A request that was let in.
pub struct Admitted {
    /// This thread.
    pub worker: Rc<Worker>,
    /// The id that the answer carries, and an error in it.
    pub request_id: String,
    /// The config that the request keeps to.
    pub snapshot: Arc<Snapshot>,
    /// The request in S3's terms.
    pub request: S3Request,
    /// Its headers.
    pub headers: HeaderMap,
    /// The proof that it was signed.
    pub authenticated: Authenticated,
    /// Who signed.
    pub credential: Arc<Credential>,
    /// What was allowed; none for operations without a bucket.
    pub allowed: Option<policies::Allowed>,
    /// Counts a write until the last of it is gone, also when its client has hung up.
    pub write: Option<Write>,
}

/// Answers one request.
pub async fn handle(worker: Rc<Worker>, request: Request<Incoming>) -> Reply {
    let started = Instant::now();
    let request_id = request_id();
    let node = Arc::clone(&worker.node);
    let (parts, body) = request.into_parts();
    // hyper asks for a body with a 100 only where there is one. awscli takes a final answer without a 100 for the answer to
    // whatever it sends next over the connection, and so for that of a part: it gets none.
    let unasked = parts.headers.contains_key(header::EXPECT) && body.is_end_stream();
    let mut operation = "Unknown";
    let body = ClientBody::new(body, &parts.headers);
    let mut reply = match serve(Rc::clone(&worker), &parts, body, &request_id, &mut operation).await {
        Ok(reply) => reply,
        Err(error) => {
            access_log::note(|noted| noted.error = Some(error.code_text().to_owned()));
            refuse(&error, &parts, &request_id)
        }
    };
    if parts.headers.contains_key(header::ORIGIN) {
        reply.headers_mut().extend(cors::told(&worker, &parts).await);
    }
    reply::set(reply.headers_mut(), "x-amz-request-id", &request_id);
    reply::set(reply.headers_mut(), "x-amz-id-2", HOST_ID);
    reply.headers_mut().insert(header::SERVER, HeaderValue::from_static("Sealgate"));
    if unasked {
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = reply.status().as_u16();
    node.metrics.request(operation, status, started.elapsed().as_secs_f64());
    access_log::note(|noted| {
        noted.request_id = request_id;
        noted.operation = operation;
    });
    reply
}

async fn serve(
    worker: Rc<Worker>,
    parts: &Parts,
    body: ClientBody,
    request_id: &str,
    operation_name: &mut &'static str,
) -> Result<Reply, S3Error> {
    let size: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        return Err(S3Error::new(Code::RequestHeaderSectionTooLarge)
            .field("MaxSizeAllowed", MAX_HEADER_BYTES.to_string()));
    }
    let mut request = S3Request::parse(parts, &worker.node.config.domains)?;
    let snapshot = worker.node.snapshot().ok_or_else(|| {
        S3Error::with(Code::ServiceUnavailable, "This node has no config yet.").retry_after(1)
    })?;
    let now = worker.node.clock.unix();
    access_log::note(|noted| {
        let owner = request.bucket.as_deref().and_then(|name| snapshot.bucket(name));
        noted.owner = owner.map(|bucket| hex::encode(bucket.tenant.as_bytes()));
        (noted.bucket, noted.key) = (request.bucket.clone(), request.key.clone());
    });
    if parts.method == Method::OPTIONS {
        *operation_name = Operation::Preflight.name();
        return cors::preflight(&worker, &request, parts).await;
    }
    if is_unsigned_form(&request, parts) {
        // A form is signed within its body.
        *operation_name = Operation::PostObject.name();
        let config = Arc::clone(&snapshot);
        let posted = Posted { worker, snapshot, request, request_id, parts, now };
        let keys = |id: &str, date: &str, region: &str| known::signing_key(&config, now, id, date, region);
        // Of a form, which says no version, an unknown key is told first.
        let keys_v2 = |id: &str| match config.credential(id) {
            Some(_) => known::sigv2_key(&config, now, id),
            None => SigV2Lookup::UnknownKey,
        };
        return objects::post::post(posted, body, keys, keys_v2).await;
    }
    if !auth::is_signed(parts, &request) {
        return Err(anonymous(&snapshot, &request));
    }
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    let keys = |id: &str, date: &str, region: &str| known::signing_key(&snapshot, now, id, date, region);
    let checked = authenticate(parts, &request, seconds, keys, |id| known::sigv2_key(&snapshot, now, id));
    let by_v2 = match &checked {
        Ok(authenticated) => authenticated.version() == SignatureVersion::V2,
        Err(_) => auth::is_sigv2(parts, &request),
    };
    if by_v2 {
        worker.node.metrics.sigv2_request(checked.is_ok());
    }
    let authenticated = checked?;
    let credential = snapshot
        .credential(authenticated.access_key_id())
        .cloned()
        .ok_or_else(|| S3Error::new(Code::InvalidAccessKeyId))?;
    access_log::note(|noted| {
        noted.requester = Some(credential.access_key_id.clone());
        noted.auth_type = Some(if authenticated.presigned() { "QueryString" } else { "AuthHeader" });
        noted.signature = Some(authenticated.version());
    });
    if authenticated.version() == SignatureVersion::V2 && authenticated.presigned() {
        auth::forget_sigv2(&mut request, &parts.headers);
    }
    let mut headers = parts.headers.clone();
    if authenticated.version() == SignatureVersion::V4 && authenticated.presigned() {
        // Before anything is decided by the headers: what the query adds is asked for no less.
        hoisted::merge(&mut request, &mut headers)?;
    }
    let operation = route(&request, &headers)?;
    *operation_name = operation.name();
    let access = operation.needed_action();
    let mut allowed = authorise(&snapshot, &credential, &request, &operation, access, now)?;
    if access != Access::Configure && needs_configure(&headers) {
        allowed = authorise(&snapshot, &credential, &request, &operation, Access::Configure, now)?;
    }
    expected_owner(&credential, &headers)?;
    guard(&request)?;
    encryption::check(&operation, &headers, worker.node.config.tls.is_some())?;
    created::check(&operation, &headers, now)?;
    // As S3: nothing can have been modified since a moment that is still to come.
    if Conditions::since_the_future(&headers, i64::try_from(now).unwrap_or(i64::MAX)) {
        headers.remove(header::IF_MODIFIED_SINCE);
    }
    let write = let_in(&worker.node, &snapshot, &request, &operation)?;
    let request_id = request_id.to_owned();
    let admitted = Rc::new(Admitted {
        worker,
        request_id,
        snapshot,
        request,
        headers,
        authenticated,
        credential,
        allowed,
        write,
    });
    match operation {
        Operation::ListBuckets => buckets::list(&admitted),
        Operation::CreateBucket => buckets::create(&admitted, body).await,
        Operation::HeadBucket => buckets::head(&admitted),
        Operation::DeleteBucket => buckets::removal::delete(&admitted).await,
        Operation::GetBucketLocation => buckets::location(&admitted),
        Operation::ListObjectsV1 => listing::v1(&admitted).await,
        Operation::ListObjectsV2 => listing::v2(&admitted).await,
        Operation::PutObject => objects::put::put(&admitted, body).await,
        Operation::CopyObject => copy::object::copy(&admitted).await,
        Operation::UploadPartCopy => copy::part::copy(&admitted).await,
        Operation::GetObject => objects::get::get(&admitted).await,
        Operation::HeadObject => objects::head::head(&admitted).await,
        Operation::GetObjectAttributes => objects::attributes::attributes(&admitted).await,
        Operation::DeleteObject => objects::delete::delete(&admitted).await,
        Operation::DeleteObjects => objects::delete::delete_many(&admitted, body).await,
        Operation::CreateMultipartUpload => multipart::create::create(&admitted).await,
        Operation::UploadPart => multipart::part::upload(&admitted, body).await,
        Operation::CompleteMultipartUpload => multipart::complete::complete(&admitted, body).await,
        Operation::AbortMultipartUpload => multipart::list::abort(&admitted).await,
        Operation::ListParts => multipart::list::parts(&admitted).await,
        Operation::ListMultipartUploads => multipart::list::uploads(&admitted).await,
        Operation::ListObjectVersions => versions::list(&admitted).await,
        Operation::Forward(entry) => {
            let answer = forwarding::forward(&admitted, entry, body).await;
            cors::changed(&admitted.worker.node, &admitted.request);
            answer
        }
        Operation::Preflight => Err(S3Error::not_implemented("a signed preflight")),
        Operation::PostObject => Err(S3Error::not_implemented("a form that is signed outside of its fields")),
        Operation::NotImplemented(what) => Err(route::refusal(&what)),
    }
}

/// Whether a request is a form whose signature, if there is one, stands in its fields.
fn is_unsigned_form(request: &S3Request, parts: &Parts) -> bool {
    !auth::is_signed(parts, request) && matches!(route(request, &parts.headers), Ok(Operation::PostObject))
}

/// What a request without any signature is answered: there is nothing that it may do.
fn anonymous(snapshot: &Snapshot, request: &S3Request) -> S3Error {
    match request.bucket.as_deref() {
        Some(_)
            if request.method == Method::POST
                && request.key.is_none()
                && request.query.pairs().next().is_none() =>
        {
            S3Error::precondition_failed("Bucket POST must be of the enclosure-type multipart/form-data")
        }
        // To make a bucket needs no bucket.
        Some(name)
            if snapshot.bucket(name).is_none()
                && (request.key.is_some() || request.method != Method::PUT) =>
        {
            S3Error::no_such_bucket(name)
        }
        Some(_) if request.query.pairs().any(|(name, _)| name.starts_with("response-")) => S3Error::with(
            Code::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ),
        _ => S3Error::new(Code::AccessDenied),
    }
}

/// Asks `policies` whether a credential may do this.
///
/// # Errors
/// AccessDenied, NoSuchBucket, BucketAlreadyExists.
pub fn authorise(
    snapshot: &Snapshot,
    credential: &Credential,
    request: &S3Request,
    operation: &Operation,
    access: Access,
    now: u64,
) -> Result<Option<policies::Allowed>, S3Error> {
    let Some(name) = request.bucket.as_deref() else { return Ok(None) };
    let tenant = match (snapshot.bucket(name), operation) {
        (Some(bucket), Operation::CreateBucket) if bucket.tenant != credential.tenant => {
            return Err(S3Error::new(Code::BucketAlreadyExists).field("BucketName", name));
        }
        (Some(bucket), _) => bucket.tenant,
        (None, Operation::CreateBucket) => credential.tenant,
        (None, _) => return Err(S3Error::no_such_bucket(name)),
    };
    let action = match access {
        Access::Read => policies::Action::Read,
        Access::Write => policies::Action::Write,
        Access::Admin => policies::Action::Admin,
        Access::Configure => policies::Action::Configure,
    };
    permit(credential, name, tenant, action, operation.name(), now).map(Some)
}

/// Whether a credential may do something to a bucket of a tenant's.
///
/// # Errors
/// AccessDenied; the reason is in the audit log.
pub fn permit(
    credential: &Credential,
    bucket: &str,
    tenant: TenantId,
    action: policies::Action,
    operation: &str,
    now: u64,
) -> Result<policies::Allowed, S3Error> {
    let subject = policies::Subject {
        tenant: *credential.tenant.as_bytes(),
        grants: &credential.grants,
        not_after: credential.not_after.unwrap_or(0),
    };
    let target = policies::Target { bucket, tenant: *tenant.as_bytes() };
    policies::authorize(subject, target, action, now).map_err(|denied| {
        info!(target: "audit", access_key_id = credential.access_key_id, bucket, operation, %denied);
        S3Error::new(Code::AccessDenied)
    })
}

/// Holds x-amz-expected-bucket-owner, and a copy's of its source, against the owner that ListBuckets and ACLs show: the
/// tenant, whose both buckets are.
///
/// # Errors
/// AccessDenied.
pub fn expected_owner(credential: &Credential, headers: &HeaderMap) -> Result<(), S3Error> {
    let of_source = headers.get_all("x-amz-source-expected-bucket-owner").iter();
    let mut expected = headers.get_all("x-amz-expected-bucket-owner").iter().chain(of_source);
    let tenant = hex::encode(credential.tenant.as_bytes());
    match expected.all(|owner| owner.as_bytes().eq_ignore_ascii_case(tenant.as_bytes())) {
        true => Ok(()),
        false => Err(S3Error::new(Code::AccessDenied)),
    }
}

/// Refuses keys that the gateway keeps for itself. Keys inside XML documents pass [`refuse_hidden`] where they are read.
fn guard(request: &S3Request) -> Result<(), S3Error> {
    match request.key.as_deref() {
        Some(key) => refuse_hidden(key),
        None => Ok(()),
    }
}

fn refuse(error: &S3Error, parts: &Parts, request_id: &str) -> Reply {
    if error.status().is_server_error() && error.status() != StatusCode::NOT_IMPLEMENTED {
        warn!(request_id, code = %error.code(), message = error.message(), "a request failed");
    }
    let mut reply = if error.has_body(&parts.method) {
        reply::xml(error.status(), error.to_xml(parts.uri.path(), request_id, HOST_ID))
    } else {
        reply::empty(error.status())
    };
    if let Some(seconds) = error.retry_after_seconds() {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    for (field, name) in [
        ("ETag", "etag"),
        ("LastModified", "last-modified"),
        ("DeleteMarker", "x-amz-delete-marker"),
        ("VersionId", "x-amz-version-id"),
        ("BucketRegion", "x-amz-bucket-region"),
    ] {
        if let Some(value) = error.get(field) {
            reply::set(reply.headers_mut(), name, value);
        }
    }
    if error.code() == Code::MethodNotAllowed && error.get("DeleteMarker").is_some() {
        // All that can be done to a version that is a delete marker.
        reply::set(reply.headers_mut(), "allow", "DELETE");
    }
    if let Some(size) = error.get("ActualObjectSize") {
        reply::set(reply.headers_mut(), "content-range", &format!("bytes */{size}"));
    }
    // A body that nobody reads would be taken for the next request.
    if parts.method == Method::PUT || parts.method == Method::POST {
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn request_id() -> String {
    let mut random = [0; 8];
    // An id that repeats only makes a log harder to read.
    let _ = getrandom::fill(&mut random);
    hex::encode_upper(random)
}

impl Admitted {
    /// The request's bucket and its backend, for reading.
    ///
    /// # Errors
    /// NoSuchBucket; InternalError when this thread does not have the backend.
    pub fn bucket(&self) -> Result<(Arc<Bucket>, Rc<dyn Backend>), S3Error> {
        let name = self.request.need_bucket()?;
        let bucket = self.snapshot.bucket(name).cloned().ok_or_else(|| S3Error::no_such_bucket(name))?;
        if bucket.state == BucketState::Creating {
            return Err(S3Error::no_such_bucket(name));
        }
        let backend = self.worker.backends.of(&bucket).ok_or_else(|| {
            S3Error::with(Code::InternalError, "The bucket's backend is not configured here.")
        })?;
        if let Some(key) = &self.request.key {
            refuse_folded(key, backend.as_ref())?;
        }
        Ok((bucket, backend))
    }

    /// The request's bucket and its backend, for writing.
    ///
    /// # Errors
    /// As [`Admitted::bucket`], and OperationAborted while the bucket is being deleted.
    pub fn writable_bucket(&self) -> Result<(Arc<Bucket>, Rc<dyn Backend>), S3Error> {
        let (bucket, backend) = self.bucket()?;
        if bucket.state != BucketState::Active {
            return Err(S3Error::with(Code::OperationAborted, "The bucket is being deleted."));
        }
        Ok((bucket, backend))
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the request promises of its body: at most `limit` bytes of plaintext.
    ///
    /// # Errors
    /// Headers that contradict each other, announce nothing, or too much.
    pub fn plan(&self, limit: u64) -> Result<BodyPlan, S3Error> {
        BodyPlan::from(&self.headers, &self.authenticated, limit)
    }

    /// The request's body, decoded and verified by a plan.
    pub fn source(&self, body: impl Into<Feed>, plan: BodyPlan) -> Source {
        Source::new(body, plan, Arc::clone(&self.worker.node.metrics))
    }

    /// Reads and verifies a small XML document.
    ///
    /// # Errors
    /// Those of the body.
    pub async fn document(&self, body: ClientBody, limit: usize) -> Result<Vec<u8>, S3Error> {
        let plan = self.plan(limit as u64);
        self.planned_document(body, plan, limit).await
    }

    /// The same for CompleteMultipartUpload, whose checksum header is the object's.
    ///
    /// # Errors
    /// Those of the body.
    pub async fn complete_document(&self, body: ClientBody, limit: usize) -> Result<Vec<u8>, S3Error> {
        let plan = BodyPlan::for_complete(&self.headers, &self.authenticated, limit as u64);
        self.planned_document(body, plan, limit).await
    }

    async fn planned_document(
        &self,
        body: ClientBody,
        plan: Result<BodyPlan, S3Error>,
        limit: usize,
    ) -> Result<Vec<u8>, S3Error> {
        let plan = match plan {
            // A document without a body at all is an empty one.
            Err(error) if error.code() == Code::MissingContentLength && body.is_end() => {
                return Ok(Vec::new());
            }
            plan => plan?,
        };
        self.source(body, plan).collect(limit).await
    }
}

/// An answer without body and headers, as many operations give.
pub fn no_content() -> Reply {
    reply::with(StatusCode::NO_CONTENT, ReplyBody::Empty)
}
