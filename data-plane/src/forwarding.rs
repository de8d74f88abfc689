//! Operations that the storage itself answers: sent on from the list in [`crate::s3::route::forwarded`], signed anew,
//! their answers given back. What differs between the two sides is translated: names of buckets, and the owner, who is the
//! tenant for clients and the gateway's one identity on the storage.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::backend::{Backend, BackendError, Forward, Forwarded};
use crate::body::ClientBody;
use crate::body::plan::needs_digest;
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::listing::owner;
use crate::reply::{self, Reply, ReplyBody};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::acl::check_said;
use crate::s3::route::forwarded::{Foreign, Forwarding};
use crate::s3::xml::forwarded::{self as documents, MAX_BYTES, rename_bucket, rename_in_words, replace_text};
use crate::snapshot::Bucket;

/// Headers of an answer that go to the client.
const SHOWN: &[&str] = &[
    "content-type",
    "x-amz-delete-marker",
    "x-amz-request-charged",
    "x-amz-restore-output-path",
    "x-amz-transition-default-minimum-object-size",
    "x-amz-version-id",
];

/// Codes that speak of the gateway's own request and identity, not of the client's.
const GATEWAYS_OWN: &[&str] = &[
    "AuthorizationHeaderMalformed",
    "BadDigest",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidDigest",
    "InvalidSecurity",
    "InvalidToken",
    "MissingSecurityHeader",
    "PermanentRedirect",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// Operations whose documents S3 takes with a digest only. The storage cannot tell: the gateway sends one with each.
const NEED_A_DIGEST: &[&str] =
    &["PutBucketCors", "PutBucketLifecycleConfiguration", "PutBucketReplication", "PutBucketTagging"];

/// Operations that lock an object. Without a document S3 says so; storages speak of what the gateway's own request lacks.
const LOCKS: &[&str] = &["PutObjectLegalHold", "PutObjectRetention"];

/// The longest message of the storage that is told.
const MAX_MESSAGE: usize = 1_024;

/// Answers a forwarded operation.
///
/// # Errors
/// The storage's, in its own words; nothing is sent on when the request's body fails its checks.
pub async fn forward(
    admitted: &Admitted,
    entry: &'static Forwarding,
    body: ClientBody,
) -> Result<Reply, S3Error> {
    let (bucket, backend) = match entry.method {
        Method::GET => admitted.bucket()?,
        _ => admitted.writable_bucket()?,
    };
    let mut document = match entry.method {
        Method::PUT | Method::POST => admitted.document(body, MAX_BYTES).await?,
        _ => Vec::new(),
    };
    if NEED_A_DIGEST.contains(&entry.name) {
        needs_digest(&admitted.headers)?;
    }
    if LOCKS.contains(&entry.name) && document.is_empty() {
        return Err(S3Error::new(Code::MalformedXML));
    }
    if entry.method == Method::PUT && entry.subresource == "acl" {
        check_said(&admitted.headers, !document.is_empty())?;
    }
    let mut headers = HeaderMap::new();
    for name in entry.headers {
        for value in admitted.headers.get_all(*name) {
            headers.append(*name, value.clone());
        }
    }
    if let Some(kind) = admitted.headers.get(header::CONTENT_TYPE).filter(|_| !document.is_empty()) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    let query =
        |name: &str| (name.to_owned(), admitted.request.query.get(name).unwrap_or_default().to_owned());
    let parameters = entry.parameters.iter().filter(|name| admitted.request.query.has(name));
    let mut request = Forward {
        method: entry.method.clone(),
        bucket: bucket.backend_bucket.clone(),
        key: admitted.request.key.clone(),
        query: std::iter::once((entry.subresource.to_owned(), String::new()))
            .chain(parameters.map(|name| query(name)))
            .collect(),
        headers,
        body: Bytes::new(),
    };
    match entry.foreign {
        Foreign::Nothing => {}
        Foreign::Restore => documents::check_restore(&document)?,
        Foreign::BucketNames => {
            document = renamed(document, &bucket.name, &bucket.backend_bucket);
        }
        Foreign::Owner if entry.method == Method::GET => {}
        Foreign::Owner => {
            document = owned_there(admitted, &bucket, backend.as_ref(), &mut request, document).await?;
        }
    }
    request.body = document.into();
    let _landing = match entry.method {
        Method::GET => None,
        _ => Some(Landing::begin(&admitted.worker.node, &bucket)?),
    };
    let answer = backend.forward(request).await.map_err(|error| match error {
        // What a storage without the operation says of itself names none.
        BackendError::Unsupported("this operation") => {
            S3Error::not_implemented(&format!("{} on this storage", entry.name))
        }
        error => in_its_words(admitted, &bucket, error),
    })?;
    Ok(shown(admitted, &bucket, entry, answer))
}

/// A document or grants with the tenant's id, as the storage knows its owner: it is asked who that is. A document without
/// the tenant's id goes on as it is.
async fn owned_there(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &dyn Backend,
    request: &mut Forward,
    document: Vec<u8>,
) -> Result<Vec<u8>, S3Error> {
    let tenant = owner(admitted);
    let text = String::from_utf8(document).map_err(|_| S3Error::new(Code::MalformedXML))?;
    let in_headers =
        request.headers.values().any(|value| value.to_str().is_ok_and(|text| text.contains(&tenant)));
    if !in_headers && !text.contains(&tenant) {
        return Ok(text.into_bytes());
    }
    let asked = Forward { method: Method::GET, headers: HeaderMap::new(), ..request.clone() };
    let answer = backend.forward(asked).await.map_err(|error| in_its_words(admitted, bucket, error))?;
    let (id, _) = documents::owner(&answer.body)?;
    for value in request.headers.values_mut() {
        let there = value.to_str().ok().filter(|text| text.contains(&tenant));
        if let Some(Ok(there)) = there.map(|text| HeaderValue::from_str(&text.replace(&tenant, &id))) {
            *value = there;
        }
    }
    Ok(replace_text(&text, &tenant, &id).into_bytes())
}

fn shown(admitted: &Admitted, bucket: &Bucket, entry: &Forwarding, answer: Forwarded) -> Reply {
    let document = match entry.foreign {
        Foreign::BucketNames => renamed(answer.body.into(), &bucket.backend_bucket, &bucket.name).into(),
        Foreign::Owner => owned_here(admitted, answer.body),
        Foreign::Nothing | Foreign::Restore => answer.body,
    };
    let body = if document.is_empty() { ReplyBody::Empty } else { ReplyBody::Full(Some(document)) };
    let mut reply = reply::with(answer.status, body);
    for name in SHOWN {
        if let Some(value) = answer.headers.get(*name) {
            reply.headers_mut().insert(*name, value.clone());
        }
    }
    reply
}

/// An AccessControlPolicy with the tenant for its owner.
fn owned_here(admitted: &Admitted, document: Bytes) -> Bytes {
    let Ok((id, display)) = documents::owner(&document) else { return document };
    let Ok(text) = std::str::from_utf8(&document) else { return document };
    let tenant = owner(admitted);
    let mut text = text.to_owned();
    for name in [id, display] {
        if !name.is_empty() {
            text = replace_text(&text, &name, &tenant);
        }
    }
    text.into()
}

fn renamed(document: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    if from == to {
        return document;
    }
    match String::from_utf8(document) {
        Ok(text) => rename_bucket(&text, from, to).into_bytes(),
        Err(other) => other.into_bytes(),
    }
}

/// A backend's failure in the storage's own words, where it judges the client's request; else as any failure behind the
/// gateway.
pub fn in_its_words(admitted: &Admitted, bucket: &Bucket, failure: BackendError) -> S3Error {
    judged(bucket, &failure).unwrap_or_else(|| admitted.backend_failed(failure))
}

/// A failure with which the storage judges what the client asked for, in its own words.
pub fn judged(bucket: &Bucket, failure: &BackendError) -> Option<S3Error> {
    let BackendError::S3 { status, code, message, headers } = failure else { return None };
    let readable = (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'_'));
    let judged = matches!(status, 400..=499 | 501) && readable && !GATEWAYS_OWN.contains(&code.as_str());
    let status = StatusCode::from_u16(*status).ok().filter(|_| judged)?;
    let message = rename_in_words(&without_identity(message), &bucket.backend_bucket, &bucket.name);
    let mut error = S3Error::of_storage(status, code.as_str(), message);
    for (field, name) in [("DeleteMarker", "x-amz-delete-marker"), ("VersionId", "x-amz-version-id")] {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            error = error.field(field, value);
        }
    }
    Some(error)
}

/// A storage's text as far as clients may have it. AWS names the identity that lacks a permission: the gateway's, with its account.
fn without_identity(message: &str) -> String {
    match message.contains("arn:") && message.contains("not authorized") {
        true => "The storage does not let the gateway do this.".to_owned(),
        false => message.chars().take(MAX_MESSAGE).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MESSAGE, without_identity};

    #[test]
    fn a_storage_does_not_tell_clients_who_the_gateway_is() {
        let told = without_identity(
            "User: arn:aws:iam::123456789012:user/gateway is not authorized to perform: s3:GetReplicationConfiguration",
        );
        assert!(!told.contains("123456789012") && !told.contains("gateway is"), "{told}");
        assert_eq!(without_identity("The TagSet does not exist"), "The TagSet does not exist");
        assert_eq!(without_identity(&"m".repeat(5_000)).len(), MAX_MESSAGE);
    }
}
