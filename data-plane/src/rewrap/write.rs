//! The stored bytes as they are under another envelope, on storages that cannot put one in the old one's place.
//!
//! The strongest condition that the storage really honours decides how. All are held to the ETag that was looked at, source and
//! target being one object, and all but the last keep the ETag, since they keep the bytes and their parts:
//!
//! - a copy onto itself with a condition on the target, where that is honoured: no byte moves;
//! - a small one that was stored at once: the ciphertext is read, then written by a PUT with If-Match. Not at the same time: MinIO
//!   locks the object for both;
//! - any other: the storage copies its parts, and the completion carries the condition: no byte moves. What was stored at once has
//!   another ETag then.
//!
//! A version that is replaced so goes once its successor is there. Locked ones are left, since they could not go.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sealgate_envelope::{Kind, Metadata, ObjectKeys, Trailer, size, trailer};
use std::collections::BTreeMap;

use super::object::{
    ARCHIVED, LOCKED, Looked, OLDER, OLDER_GOES, OLDER_STAYS, SHARED, Trouble, UNCONDITIONAL, UNTOLD,
    is_gone, trouble,
};
use super::pass::versioning;
use super::tally::{Done, Stored};
use crate::backend::{
    BackendError, Conditions, CopySource, Forward, GetOptions, PutOptions, PutOutcome, StoredRange,
};
use crate::copy::tags;
use crate::large::Large;
use crate::multipart::part::GATEWAY_PART;
use crate::pipeline;
use crate::s3::headers::metadata::REDIRECT;

/// What the storage says of an object and is to say of the new one, too.
const CARRIED: &[&str] = &[
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
];

/// Stored bytes that are read whole before they are written again.
pub const AT_ONCE: u64 = 8 << 20;

/// Writes an object's bytes as they are, with other user metadata.
///
/// # Errors
/// What keeps all of the work from going on.
pub async fn as_it_is(
    looked: &Looked<'_>,
    keys: &ObjectKeys,
    metadata: &Metadata,
    user: BTreeMap<String, String>,
) -> Result<Done, Trouble> {
    let options = match options(looked, metadata, user).await? {
        Ok(options) => options,
        Err(done) => return Ok(done),
    };
    match looked.is_another_marker().await {
        Ok(false) => {}
        Ok(true) => return Ok(Done::Changed),
        Err(error) => return looked.refused(&error),
    }
    let capabilities = looked.job.backend.capabilities();
    let (size, in_parts) = (looked.meta.size, looked.meta.etag.contains('-'));
    let copies = capabilities.conditional_copy && capabilities.pinned_copies;
    let (written, moved) = if copies && !in_parts && size <= capabilities.max_put {
        (copy(looked, options).await, 0)
    } else if capabilities.conditional_put && !in_parts && size <= AT_ONCE.min(capabilities.max_put) {
        (put(looked, options).await, size)
    } else if capabilities.conditional_complete && capabilities.pinned_copies {
        (copy_parts(looked, keys, options).await?, 0)
    } else {
        return Ok(looked.left(UNCONDITIONAL));
    };
    match written {
        Ok(written) => {
            let stored = Stored { moved, etag_changed: written.etag != looked.meta.etag };
            replaced(looked, &written, Done::Rewrapped(stored)).await
        }
        Err(error) => looked.refused(&error),
    }
}

/// What a write that replaces the object is to carry, its condition included; or why the object is left.
///
/// # Errors
/// The storage is away.
pub async fn options(
    looked: &Looked<'_>,
    metadata: &Metadata,
    user: BTreeMap<String, String>,
) -> Result<Result<PutOptions, Done>, Trouble> {
    if looked.older.is_some() {
        return Ok(Err(looked.left(OLDER)));
    }
    if looked.is_locked() {
        return Ok(Err(looked.left(LOCKED)));
    }
    if looked.is_archived() {
        return Ok(Err(looked.left(ARCHIVED)));
    }
    if replaces_older(looked).await? {
        return Ok(Err(looked.left(OLDER_GOES)));
    }
    if let Some(why) = is_shared(looked).await? {
        return Ok(Err(looked.left(why)));
    }
    let mut headers = HeaderMap::new();
    for name in CARRIED {
        if let Some(value) = looked.meta.headers.get(*name).filter(|value| *value != "STANDARD") {
            headers.insert(*name, value.clone());
        }
    }
    if let Some(redirect) = metadata.get(REDIRECT).and_then(|value| HeaderValue::from_bytes(value).ok()) {
        headers.insert(HeaderName::from_static(REDIRECT), redirect);
    }
    // Asked for also where HEAD tells no count: S3 tells it to those only who may read tags, and other storages never.
    match told(looked, "tagging").await? {
        Ok(document) => {
            let unreadable = || Trouble("the storage's tags of an object cannot be read".to_owned());
            let tags = tags::as_header(&document).ok_or_else(unreadable)?;
            if !tags.is_empty() {
                headers.insert("x-amz-tagging", tags);
            }
        }
        Err(error) if is_gone(&error) => return Ok(Err(Done::Changed)),
        Err(error) if !tags::has_tags(&looked.meta.headers) && knows_none(&error) => {}
        Err(BackendError::S3 { status: 403, .. }) => return Ok(Err(looked.left(UNTOLD))),
        Err(error) => return Err(trouble(&error)),
    }
    let if_match = Some(format!("\"{}\"", looked.meta.etag));
    let conditions = Conditions { if_match, ..Conditions::default() };
    Ok(Ok(PutOptions { metadata: user, headers, conditions }))
}

/// What becomes of the version that was replaced: it goes, where it is one that stays by itself. A write that names no version
/// made the `null` one, which has taken the place of the `null` one before: to delete that would delete what was written.
///
/// # Errors
/// None so far: a version that stays is counted.
pub async fn replaced(looked: &Looked<'_>, written: &PutOutcome, done: Done) -> Result<Done, Trouble> {
    let new = written.version_id.as_deref().unwrap_or("null");
    let Some(old) = looked.meta.version_id.as_deref().filter(|old| *old != new) else { return Ok(done) };
    let (bucket, key) = (&looked.job.bucket.backend_bucket, looked.key);
    match looked.job.backend.delete(bucket, key, Some(old), Conditions::default()).await {
        Ok(_) => Ok(done),
        Err(error) if is_gone(&error) => Ok(done),
        Err(error) => {
            tracing::warn!(bucket = looked.job.bucket.name, key, version = old, %error, "a version that was replaced stays");
            Ok(looked.left(OLDER_STAYS))
        }
    }
}

/// Whether a write would take the place of a version that is not the current one: where versioning is suspended it becomes the `null`
/// version, which may be older than the current one.
async fn replaces_older(looked: &Looked<'_>) -> Result<bool, Trouble> {
    if looked.meta.version_id.as_deref().is_none_or(|version| version == "null")
        || !versioning(looked.job).await?.is_some_and(|status| status.contains("<Status>Suspended"))
    {
        return Ok(false);
    }
    let options = GetOptions { version_id: Some("null".to_owned()), ..GetOptions::default() };
    match looked.job.backend.head(&looked.job.bucket.backend_bucket, looked.key, options).await {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        // A delete marker.
        Err(error) if error.is("MethodNotAllowed") => Ok(true),
        Err(error) => Err(trouble(&error)),
    }
}

/// Why the object is left when its ACL gives, or may give, anything to anybody but its owner: a write would take that away.
async fn is_shared(looked: &Looked<'_>) -> Result<Option<&'static str>, Trouble> {
    match told(looked, "acl").await? {
        Ok(document) => {
            let shared = String::from_utf8_lossy(&document).matches("<Permission>").count() > 1;
            Ok(shared.then_some(SHARED))
        }
        // Where objects have owners the ACL may give anything. Servers without ACLs of objects have their own rights for the question.
        Err(BackendError::S3 { status: 403, .. }) => {
            Ok(looked.job.backend.capabilities().names_owners.then_some(UNTOLD))
        }
        Err(error) if knows_none(&error) => Ok(None),
        Err(error) => Err(trouble(&error)),
    }
}

/// Whether a storage says that it has nothing of the kind: those without ACLs or tags do so in many ways.
fn knows_none(error: &BackendError) -> bool {
    matches!(error, BackendError::S3 { status: 400 | 404 | 405 | 501, .. } | BackendError::Unsupported(_))
}

async fn told(looked: &Looked<'_>, what: &str) -> Result<Result<bytes::Bytes, BackendError>, Trouble> {
    let mut query = vec![(what.to_owned(), String::new())];
    query.extend(looked.meta.version_id.iter().map(|version| ("versionId".to_owned(), version.clone())));
    let request = Forward {
        method: Method::GET,
        bucket: looked.job.bucket.backend_bucket.clone(),
        key: Some(looked.key.to_owned()),
        query,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    Ok(looked.job.backend.forward(request).await.map(|told| told.body))
}

/// The object as a copy's source: as it was looked at, and no other.
fn source(looked: &Looked<'_>) -> CopySource {
    CopySource {
        bucket: looked.job.bucket.backend_bucket.clone(),
        key: looked.key.to_owned(),
        version_id: looked.meta.version_id.clone(),
        if_match: Some(looked.meta.etag.clone()),
    }
}

async fn copy(looked: &Looked<'_>, options: PutOptions) -> Result<PutOutcome, BackendError> {
    let bucket = &looked.job.bucket.backend_bucket;
    let made = looked.job.backend.copy(source(looked), bucket, looked.key, options).await?;
    Ok(PutOutcome { etag: made.etag, version_id: made.version_id, headers: made.headers })
}

async fn put(looked: &Looked<'_>, options: PutOptions) -> Result<PutOutcome, BackendError> {
    let (bucket, backend) = (&looked.job.bucket.backend_bucket, &looked.job.backend);
    let wanted = GetOptions {
        range: None,
        conditions: options.conditions.clone(),
        version_id: looked.meta.version_id.clone(),
        ..GetOptions::default()
    };
    let answer = backend.get(bucket, looked.key, wanted).await?;
    let same = answer.meta.etag == looked.meta.etag && answer.meta.metadata == looked.meta.metadata;
    if !same || answer.length != looked.meta.size {
        return Err(BackendError::s3(
            412,
            "PreconditionFailed",
            "another object was read than was looked at",
        ));
    }
    let limit = usize::try_from(answer.length).unwrap_or(usize::MAX);
    let body = pipeline::upload(pipeline::collect(answer.body, limit).await?);
    if body.length != looked.meta.size {
        return Err(BackendError::Unavailable("a body ended early".to_owned()));
    }
    backend.put(bucket, looked.key, options, body).await
}

/// Copies the parts that the object was made of.
async fn copy_parts(
    looked: &Looked<'_>,
    keys: &ObjectKeys,
    options: PutOptions,
) -> Result<Result<PutOutcome, BackendError>, Trouble> {
    let (bucket, backend) = (&looked.job.bucket.backend_bucket, looked.job.backend.as_ref());
    let large = Large { backend, bucket, key: looked.key, size: looked.meta.size };
    if looked.envelope.kind() == Kind::Single {
        // Made by the gateway itself, of parts of one length.
        return Ok(large.copy(&source(looked), options).await);
    }
    let trailer = match table(looked, keys).await {
        Ok(trailer) => trailer,
        Err(error) => return Ok(Err(error)),
    };
    Ok(large.copy_in(&source(looked), layout(&trailer), options).await)
}

/// The parts on the storage: the client's, then the gateway's with what was too small to stand before it.
#[must_use]
pub fn layout(trailer: &Trailer) -> Vec<(u16, u64, u64)> {
    let mut parts = Vec::with_capacity(trailer.table().parts().len() + 1);
    let mut rest = 0;
    for span in trailer.table().parts() {
        if span.plaintext_len() < size::MIN_PART || span.number == GATEWAY_PART {
            break;
        }
        parts.push((span.number, span.stored.start, span.stored.end - 1));
        rest = span.stored.end;
    }
    parts.push((GATEWAY_PART, rest, trailer.stored_size() - 1));
    parts
}

/// The proved trailer of an object.
///
/// # Errors
/// The storage's; `ObjectIntegrityError` for one that is not genuine.
pub async fn table(looked: &Looked<'_>, keys: &ObjectKeys) -> Result<Trailer, BackendError> {
    let stored = looked.meta.size;
    let not_genuine = |why: String| BackendError::s3(422, "ObjectIntegrityError", why);
    let plaintext =
        size::plaintext_size(stored).ok_or_else(|| not_genuine("no object has its size".to_owned()))?;
    let length = size::suffix_len(plaintext).min(stored);
    let options = GetOptions {
        range: Some(StoredRange::Inclusive(stored - length, stored.saturating_sub(1))),
        conditions: Conditions {
            if_match: Some(format!("\"{}\"", looked.meta.etag)),
            ..Conditions::default()
        },
        version_id: looked.meta.version_id.clone(),
        ..GetOptions::default()
    };
    let answer = looked.job.backend.get(&looked.job.bucket.backend_bucket, looked.key, options).await?;
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    let suffix = pipeline::collect(answer.body, limit).await?;
    let (_, bytes) = trailer::split(&suffix).map_err(|error| not_genuine(error.to_string()))?;
    Trailer::open(keys, looked.envelope.kind(), stored, bytes).map_err(|error| not_genuine(error.to_string()))
}
