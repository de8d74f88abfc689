//! What failed behind the front end, in S3's codes: backends, keys, and objects that are not genuine.

use std::io::ErrorKind;
use std::sync::Arc;

use tracing::{error, warn};

use crate::backend::{BackendError, LengthMismatch, StreamError};
use crate::gate::Admitted;
use crate::keys::KeyError;
use crate::metrics::Metrics;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::Bucket;

/// Backend codes that a client may see as they are, with the gateway's own text.
const PASSED: &[Code] = &[
    Code::BucketAlreadyExists,
    Code::BucketAlreadyOwnedByYou,
    Code::BucketNotEmpty,
    Code::ConditionalRequestConflict,
    Code::EntityTooLarge,
    Code::EntityTooSmall,
    Code::InvalidArgument,
    Code::InvalidBucketAclWithObjectOwnership,
    Code::InvalidObjectState,
    Code::InvalidPart,
    Code::InvalidPartOrder,
    Code::InvalidRange,
    Code::InvalidRequest,
    Code::InvalidStorageClass,
    Code::KeyTooLongError,
    Code::MethodNotAllowed,
    Code::NoSuchBucket,
    Code::NoSuchKey,
    Code::NoSuchUpload,
    Code::NoSuchVersion,
    Code::NotModified,
    Code::OperationAborted,
    Code::PreconditionFailed,
    Code::SlowDown,
    Code::ServiceUnavailable,
];

/// Codes with which a storage judges headers that it was given as they came: tags, locks, ACLs, storage classes.
const JUDGED_THERE: &[&str] = &[
    "AccessControlListNotSupported",
    "InvalidBucketAclWithObjectOwnership",
    "InvalidRedirectLocation",
    "InvalidRetentionPeriod",
    "InvalidTag",
    "InvalidTagError",
    "NoSuchObjectLockConfiguration",
    "NotImplemented",
    "ObjectLockConfigurationNotFoundError",
    "ObjectLocked",
];

/// S3's own sentences about what the storage alone can tell; a text of another kind speaks of the gateway's request.
const SENTENCES: &[&str] = &[
    "Bucket is missing ObjectLockConfiguration",
    "Invalid uploadId marker",
    "Invalid version id specified",
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
];

/// The first of them, as other storages spell it.
const NO_LOCKS_HERE: &str = "Bucket is missing Object Lock Configuration";

/// Headers whose condition a 412 can be about, by precedence, and as S3 spells them.
const CONDITIONS: &[(&str, &str)] = &[
    ("if-match", "If-Match"),
    ("if-none-match", "If-None-Match"),
    ("if-unmodified-since", "If-Unmodified-Since"),
];

impl Admitted {
    /// A backend's failure as the client sees it.
    pub fn backend_failed(&self, failure: BackendError) -> S3Error {
        let version = self.request.query.get("versionId");
        if let Some(refused) = version.and_then(|version| no_version_id(&failure, version)) {
            return refused;
        }
        if let (BackendError::S3 { code, .. }, Some(bucket)) =
            (&failure, self.request.bucket.as_deref().and_then(|bucket| self.snapshot.bucket(bucket)))
            && JUDGED_THERE.contains(&code.as_str())
            && let Some(judged) = crate::forwarding::judged(bucket, &failure)
        {
            return judged;
        }
        let encrypted = match (self.request.need_bucket(), self.request.key.as_deref()) {
            (Ok(bucket), Some(key)) => self.snapshot.bucket(bucket).is_none_or(|bucket| bucket.encrypts(key)),
            _ => true,
        };
        let bucket = self.request.bucket.as_deref().and_then(|name| self.snapshot.bucket(name));
        let label = bucket.map(|bucket| &*bucket.label);
        let refused = backend_failed(failure, &self.worker.node.metrics, encrypted, label);
        // S3 names what is missing, and which condition failed.
        match (refused.code(), self.request.key.as_deref()) {
            (Code::NoSuchKey, Some(key)) => refused.field("Key", key),
            (Code::PreconditionFailed, _) if refused.get("Condition").is_none() => {
                match CONDITIONS.iter().find(|(name, _)| self.headers.contains_key(*name)) {
                    Some((_, shown)) => refused.field("Condition", *shown),
                    None => refused,
                }
            }
            _ => refused,
        }
    }

    /// A missing key as the client sees it.
    pub fn key_failed(&self, failure: &KeyError) -> S3Error {
        match failure {
            KeyError::Unavailable(reason) | KeyError::Later(_, reason) | KeyError::NotAsked(_, reason) => {
                warn!(reason, "no key");
                let seconds = match failure {
                    KeyError::Later(seconds, _) | KeyError::NotAsked(seconds, _) => *seconds,
                    _ => 2,
                };
                S3Error::with(
                    Code::ServiceUnavailable,
                    "The key of this object cannot be had now. Please try again.",
                )
                .retry_after(seconds)
            }
            KeyError::Denied(reason) => {
                warn!(reason, "key denied");
                S3Error::with(Code::AccessDenied, "The key of this object may not be used.")
            }
            KeyError::Unknown => self.not_genuine("its key is unknown"),
        }
    }

    /// An object that cannot be proved, as the client sees it: 422, which no SDK retries.
    pub fn not_genuine(&self, reason: impl std::fmt::Display) -> S3Error {
        let bucket = self.request.bucket.as_deref().and_then(|name| self.snapshot.bucket(name));
        self.not_genuine_in(bucket.map(Arc::as_ref), reason)
    }

    /// The same in a bucket that may be another than the request's: a copy's source.
    pub fn not_genuine_in(&self, bucket: Option<&Bucket>, reason: impl std::fmt::Display) -> S3Error {
        error!(
            bucket = bucket.map(|bucket| bucket.name.as_str()).unwrap_or_default(),
            key = self.request.key.as_deref().unwrap_or_default(),
            %reason,
            "a stored object is not genuine"
        );
        self.worker.node.metrics.integrity_failure(bucket.map(|bucket| &*bucket.label));
        S3Error::new(Code::ObjectIntegrityError)
    }
}

/// What a version id is answered that the storage takes for none: of HEAD its answer is no more than a 400.
#[must_use]
pub fn no_version_id(failure: &BackendError, version: &str) -> Option<S3Error> {
    let told = failure.is("BadRequest");
    told.then(|| S3Error::invalid_argument("versionId", version, "Invalid version id specified"))
}

/// A backend's failure as a client sees it. An upload that its own source ended comes back as that source's error. `label`
/// is the bucket's in metrics.
pub fn backend_failed(
    failure: BackendError,
    metrics: &Metrics,
    encrypted: bool,
    label: Option<&str>,
) -> S3Error {
    match failure {
        BackendError::Upload(source) => match source.downcast::<S3Error>() {
            Ok(refused) => *refused,
            // One of two streams of the same bytes, or a stash that was read again, broke off: the backend's doing.
            Err(other) if other.is::<StreamError>() || other.is::<LengthMismatch>() => {
                metrics.backend_failure();
                warn!(error = %other, "an upload broke off");
                S3Error::new(Code::SlowDown).retry_after(2)
            }
            Err(other) => {
                error!(error = %other, "an upload was ended by the gateway");
                S3Error::new(Code::InternalError)
            }
        },
        BackendError::S3 { status, code, message, headers } => {
            let Some(known) = PASSED.iter().find(|known| known.as_str() == code) else {
                metrics.backend_failure();
                error!(status, code, message, "the backend refused a request of the gateway");
                return match status {
                    500..=599 => S3Error::new(Code::SlowDown).retry_after(2),
                    // Each server has rules and codes of its own for keys and parameters that it does not take.
                    400 => S3Error::with(
                        Code::InvalidRequest,
                        "The storage behind the gateway does not take this request.",
                    ),
                    _ => S3Error::with(
                        Code::InternalError,
                        "The storage behind the gateway refused the request.",
                    ),
                };
            };
            let mut refused = match SENTENCES.iter().find(|sentence| **sentence == message) {
                Some(sentence) => S3Error::with(*known, *sentence),
                None if message == NO_LOCKS_HERE => S3Error::with(*known, SENTENCES[0]),
                None => S3Error::new(*known),
            };
            if known.status().is_server_error() {
                metrics.backend_failure();
                refused = refused.retry_after(2);
            }
            for (field, name) in [
                ("ETag", "etag"),
                ("LastModified", "last-modified"),
                ("DeleteMarker", "x-amz-delete-marker"),
                ("VersionId", "x-amz-version-id"),
            ] {
                if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                    let value = match field {
                        "ETag" if encrypted => crate::etags::to_client_quoted(value),
                        _ => value.to_owned(),
                    };
                    refused = refused.field(field, value);
                }
            }
            refused
        }
        BackendError::Unavailable(reason) => {
            metrics.backend_failure();
            warn!(reason, "the backend cannot be reached");
            S3Error::new(Code::SlowDown).retry_after(2)
        }
        BackendError::Protocol(reason) => {
            metrics.backend_failure();
            error!(reason, "the backend's answer makes no sense");
            S3Error::new(Code::SlowDown).retry_after(2)
        }
        BackendError::Unsupported(what) => S3Error::not_implemented(what),
        BackendError::Io(failure)
            if matches!(failure.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            error!(error = %failure, "what is stored is damaged");
            metrics.integrity_failure(label);
            S3Error::new(Code::ObjectIntegrityError)
        }
        BackendError::Io(failure) => {
            metrics.backend_failure();
            error!(error = %failure, "storage failed");
            let text = match failure.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "The storage behind the gateway is full."
                }
                _ => "The storage behind the gateway failed.",
            };
            S3Error::with(Code::SlowDown, text).retry_after(2)
        }
    }
}
