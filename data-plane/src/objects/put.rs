//! PutObject: checked, sealed and stored in one pass; the old object stays until the new one is whole.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use sealgate_envelope::metadata::{self, Metadata};
use sealgate_envelope::size::{MAX_PLAINTEXT, stored_size};
use sealgate_envelope::{
    Envelope, Error, FullChecksum, Kind, ObjectKeys, PartSealer, Recovery, Scope, TrailerPlain,
};

use super::described;
use super::sealed::{ENVELOPE_NAME, METADATA_NAME, SMALL};
use crate::access_log;
use crate::backend::{Backend, Conditions, PutOptions, PutOutcome, Upload};
use crate::body::{Algorithm, BodyPlan, Checksum, ClientBody, Verified};
use crate::etags;
use crate::gate::Admitted;
use crate::keys::{KeyError, NodeKey};
use crate::landings::ended;
use crate::large::Large;
use crate::multipart::notes::to_format;
use crate::pipeline;
use crate::pipeline::seal::{Outcome, Trailer, pass, seal};
use crate::pipeline::source::{Feed, Source};
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::{ObjectHeaders, encryption, tags};
use crate::s3::route;
use crate::snapshot::Bucket;

/// What the sealed metadata of a single PUT holds, without a value, when its trailer holds no checksum: the header that
/// announces one.
pub const NO_CHECKSUM: &str = "x-amz-trailer";

/// Answers PutObject.
///
/// # Errors
/// In S3's terms; nothing is stored then.
pub async fn put(admitted: &Rc<Admitted>, body: ClientBody) -> Result<Reply, S3Error> {
    let (_, backend) = admitted.writable_bucket()?;
    let plan = admitted.plan(backend.capabilities().max_put.min(MAX_PLAINTEXT))?;
    store(admitted, body.into(), plan).await
}

/// Stores an object of what comes in, and answers as PutObject does.
///
/// # Errors
/// In S3's terms; nothing is stored then.
pub async fn store(admitted: &Rc<Admitted>, body: Feed, plan: BodyPlan) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    let most = backend.capabilities().max_put;
    let length = plan.length();
    let encrypted = bucket.encrypts(key);
    let stored = if encrypted { stored_size(length) } else { Some(length) };
    // Counted in plaintext, as the client does; of ciphertext the storage may have to be given more than it takes at once.
    let stored = stored
        .filter(|stored| *stored <= most || length <= most)
        .ok_or_else(|| S3Error::entity_too_large(length, most))?;
    let large = stored > most;
    access_log::note_sizes(length, stored);
    let outcome = Outcome::new(&admitted.worker.node, &bucket);
    let conditions = etags::write_conditions(&admitted.headers, encrypted)?;
    let keeps_conditions = match large {
        true => backend.capabilities().conditional_complete,
        false => backend.capabilities().conditional_put,
    };
    if conditions != Conditions::default() && !keeps_conditions {
        // Dropping the condition would overwrite silently.
        return Err(S3Error::not_implemented("a conditional PutObject on this storage"));
    }
    let mut options =
        PutOptions { headers: passed_headers(&admitted.headers)?, conditions, ..PutOptions::default() };
    let upload = if encrypted {
        let key_for_new = active_key(admitted, &bucket).await?;
        let object = NewObject { bucket: &bucket, key, ik: &key_for_new };
        let mut metadata = client_metadata(admitted)?;
        // A checksum that comes in a trailer is not in the metadata, so it goes where the end of the body is.
        let known = plan.known_checksum().copied();
        if let Some(checksum) = &known {
            metadata.insert(checksum.algorithm().header().to_owned(), checksum.to_base64().into());
        }
        let plan = with_checksum(plan, key, &mut metadata);
        let source = admitted.source(body, plan);
        let body = NewBody { source, length, metadata, known_checksum: known.is_some() };
        let (metadata, upload) = object.seal(body, backend.as_ref(), stored, outcome.clone())?;
        options.metadata = metadata;
        upload
    } else {
        let (metadata, headers) = plain_metadata(admitted)?;
        options.metadata = metadata;
        options.headers.extend(headers);
        Upload { length: stored, stream: pass(admitted.source(body, plan), length, outcome.clone()) }
    };
    let length_stored = upload.length;
    let stored = match large {
        false => {
            let put = backend.put(&bucket.backend_bucket, key, options, upload).await;
            put.map_err(|error| admitted.backend_failed(error))?
        }
        true => {
            // Detached: a client that hangs up does not leave an upload behind. Its body ends with it then, or has come whole.
            let put = put_large(Rc::clone(admitted), options, upload, outcome.clone());
            actix_rt::spawn(put).await.unwrap_or_else(|_| Err(S3Error::new(Code::InternalError)))?
        }
    };
    // Nothing is acknowledged that was not verified to its end, whatever the storage says.
    let (verified, _landing) = outcome.take().ok_or_else(|| S3Error::new(Code::InternalError))?;
    let mut reply = reply::empty(StatusCode::OK);
    *reply.headers_mut() = described::allowed(&stored.headers, encrypted);
    if encrypted {
        admitted.worker.node.metrics.buckets.written(&bucket.label, length, length_stored);
        described::announce(bucket.suite, reply.headers_mut());
    }
    reply::set(reply.headers_mut(), "etag", &etags::shown(&stored.etag, encrypted));
    if let Some(version) = &stored.version_id {
        reply::set(reply.headers_mut(), "x-amz-version-id", version);
    }
    if let Some(checksum) = verified.checksum().or(verified.computed()) {
        reply::set(reply.headers_mut(), checksum.algorithm().header(), &checksum.to_base64());
        reply::set(reply.headers_mut(), "x-amz-checksum-type", "FULL_OBJECT");
    }
    Ok(reply)
}

/// Stores a body that is larger than one PUT. Until it is done, `outcome` has its bucket waited for.
async fn put_large(
    admitted: Rc<Admitted>,
    options: PutOptions,
    upload: Upload,
    outcome: Outcome,
) -> Result<PutOutcome, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let large = Large {
        backend: backend.as_ref(),
        bucket: &bucket.backend_bucket,
        key: admitted.request.need_key()?,
        size: upload.length,
    };
    let stored = large.put(options, upload.stream).await;
    drop(outcome);
    stored.map_err(|error| admitted.backend_failed(error))
}

/// The bucket's key for new objects.
///
/// # Errors
/// ServiceUnavailable, AccessDenied, or OperationAborted for a bucket that was deleted meanwhile.
pub async fn active_key(admitted: &Admitted, bucket: &Arc<Bucket>) -> Result<Arc<NodeKey>, S3Error> {
    admitted.worker.node.keys.active(bucket).await.map_err(|error| match error {
        // Of a write nothing is stored yet that could be forged: the control plane knows the bucket no more.
        KeyError::Unknown => ended(),
        error => admitted.key_failed(&error),
    })
}

/// What becomes of the checksum of a body in an encrypted prefix. Where none comes with it or was asked for, a CRC64NVME of a
/// small one is kept, as S3 keeps it: readers that ask for checksums are given its trailer with its body. A large one has
/// none, since every such reader would cost the storage another request; that it has none is sealed, so that nobody looks
/// for it. A directory marker has no trailer: a checksum that comes in one, which is known before, stands in the metadata.
pub fn with_checksum(plan: BodyPlan, key: &str, metadata: &mut Metadata) -> BodyPlan {
    match plan.algorithm() {
        Some(algorithm) => {
            if is_marker(key, plan.length()) {
                let checksum = Checksum::of(algorithm, b"").to_base64();
                metadata.insert(algorithm.header().to_owned(), checksum.into());
            }
            plan
        }
        None if plan.length() <= SMALL => plan.compute(Algorithm::Crc64Nvme),
        None => {
            metadata.insert(NO_CHECKSUM.to_owned(), Vec::new());
            plan
        }
    }
}

/// Headers that pass to the backend, of which the tags are held against S3's limits.
///
/// # Errors
/// InvalidTag, InvalidArgument.
pub fn passed_headers(headers: &HeaderMap) -> Result<HeaderMap, S3Error> {
    tags::check(headers)?;
    Ok(route::passed(route::WITH_OBJECTS, headers))
}

/// What the client stores beside its bytes: user metadata and the headers that describe the body.
///
/// # Errors
/// Names or values that S3 does not take.
pub fn client_metadata(admitted: &Admitted) -> Result<Metadata, S3Error> {
    let stored = ObjectHeaders::from_headers(&admitted.headers)?;
    Ok(stored.iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect())
}

/// An envelope and the sealed metadata beside it, as the backend's user metadata.
///
/// # Errors
/// MetadataTooLarge with the limit.
pub fn sealed_metadata(
    keys: &ObjectKeys,
    envelope: &Envelope,
    metadata: &Metadata,
    backend: &dyn Backend,
) -> Result<BTreeMap<String, String>, S3Error> {
    let mut headers = BTreeMap::new();
    headers.insert(ENVELOPE_NAME.to_owned(), envelope.to_header());
    if envelope.has_metadata() {
        let sealed = metadata::seal(keys, envelope, metadata).map_err(|error| match error {
            Error::MetadataTooLarge { needed, limit } => S3Error::metadata_too_large(needed, limit),
            other => cannot_seal(&other),
        })?;
        headers.insert(METADATA_NAME.to_owned(), sealed);
    }
    let used: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let most = backend.capabilities().max_user_metadata;
    if used > most {
        return Err(S3Error::metadata_too_large(used, most));
    }
    Ok(headers)
}

/// A failure of the format itself: nothing a client did.
pub fn cannot_seal(error: &Error) -> S3Error {
    tracing::error!(%error, "an object cannot be sealed");
    S3Error::with(Code::InternalError, "The object could not be sealed.")
}

/// The body of a new object, and what lies beside it.
pub struct NewBody {
    /// The plaintext, with the plan that verifies it.
    pub source: Source,
    /// Its bytes.
    pub length: u64,
    /// The client's metadata, with the checksum that was known before the body, if there was one.
    pub metadata: Metadata,
    /// Whether it has one: any other goes where the end of the body is.
    pub known_checksum: bool,
}

/// A single PUT into an encrypted prefix, under keys of its own.
pub struct NewObject<'a> {
    /// Where.
    pub bucket: &'a Bucket,
    /// Where.
    pub key: &'a str,
    /// The bucket's key for new objects.
    pub ik: &'a NodeKey,
}

impl NewObject<'_> {
    /// Seals a body: the backend's metadata, and the stored bytes (`stored` of them) as they come.
    ///
    /// # Errors
    /// MetadataTooLarge; InternalError when nothing can be sealed.
    pub fn seal(
        &self,
        body: NewBody,
        backend: &dyn Backend,
        stored: u64,
        outcome: Outcome,
    ) -> Result<(BTreeMap<String, String>, Upload), S3Error> {
        let NewBody { source, length, metadata, known_checksum } = body;
        let keys = ObjectKeys::generate(self.bucket.suite).map_err(|error| cannot_seal(&error))?;
        let scope = Scope { tenant: self.bucket.tenant, bucket: self.bucket.id, key: self.key.as_bytes() };
        let envelope =
            Envelope::seal_object(&keys, Some(length), !metadata.is_empty(), self.ik.id, &self.ik.ik, &scope)
                .map_err(|error| cannot_seal(&error))?;
        let headers = sealed_metadata(&keys, &envelope, &metadata, backend)?;
        if is_marker(self.key, length) {
            // A directory marker has no body: servers refuse or drop bytes in them. The body is still verified.
            let empty = pass(source, 0, outcome);
            return Ok((headers, Upload { length: 0, stream: empty }));
        }
        let sealer = PartSealer::new(&keys, 0).map_err(|error| cannot_seal(&error))?;
        let recovery =
            Recovery::seal(&keys, Kind::Single, self.ik.id, &self.ik.ik, self.bucket.tenant, self.bucket.id)
                .map_err(|error| cannot_seal(&error))?;
        let trailer: Trailer = Box::new(move |verified: &Verified| {
            let checksum = verified.checksum().or(verified.computed()).filter(|_| !known_checksum);
            let checksums = checksum
                .and_then(to_format)
                .map(|checksum| FullChecksum { checksum, composite: false })
                .into_iter()
                .collect();
            TrailerPlain { plaintext_len: length, parts: Vec::new(), checksums }
                .seal(&keys, &recovery)
                .map_err(|error| cannot_seal(&error))
        });
        Ok((headers, Upload { length: stored, stream: seal(source, sealer, length, Some(trailer), outcome) }))
    }
}

/// Whether an object is a directory marker, which has no body and so no trailer.
fn is_marker(key: &str, length: u64) -> bool {
    length == 0 && key.ends_with('/')
}

/// What the client stores beside the bytes of a plain object: user metadata, headers that describe the body, and the
/// encryption that the storage is asked for.
///
/// # Errors
/// As [`client_metadata`].
pub fn plain_metadata(admitted: &Admitted) -> Result<(BTreeMap<String, String>, HeaderMap), S3Error> {
    let key = admitted.request.need_key()?;
    let (metadata, mut headers) = unsealed(client_metadata(admitted)?, key)?;
    headers.extend(encryption::of_storage(&admitted.headers));
    Ok((metadata, headers))
}

/// Metadata as a plain object carries it: user metadata, and headers that describe the body. `key` is whose it is.
///
/// # Errors
/// InvalidRequest for what is not UTF-8, as a copy's source may have it: requests to storages are signed as text.
pub fn unsealed(stored: Metadata, key: &str) -> Result<(BTreeMap<String, String>, HeaderMap), S3Error> {
    let mut metadata = BTreeMap::new();
    let mut headers = HeaderMap::new();
    for (name, value) in stored {
        let text = String::from_utf8(value).map_err(|_| {
            let text =
                format!("The {name} of {key:?} is not UTF-8: it cannot be written into a plain prefix.");
            S3Error::with(Code::InvalidRequest, text)
        })?;
        match name.strip_prefix("x-amz-meta-") {
            Some(name) => {
                metadata.insert(name.to_owned(), text);
            }
            None => {
                if let (Ok(name), Ok(value)) =
                    (http::HeaderName::try_from(name), http::HeaderValue::try_from(text))
                {
                    headers.insert(name, value);
                }
            }
        }
    }
    Ok((metadata, headers))
}

/// An empty object under a hidden name.
pub fn empty_upload() -> Upload {
    pipeline::upload(bytes::Bytes::new())
}
