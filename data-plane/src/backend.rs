//! Where ciphertext lies: one trait, implemented by the filesystem and by S3 servers, proved by one conformance suite.
//!
//! A backend stores the bytes and the metadata that it is given under the key that it is given, and knows nothing of
//! encryption, tenants or clients. Every worker has its own instance, so futures need not be `Send`.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;

mod asking;
mod copy;
mod forward;
pub mod fs;
mod lists;
mod reads;
pub mod s3;

pub use asking::Asking;
pub use copy::{CopyOutcome, CopySource};
pub use forward::{Forward, Forwarded};
pub use lists::{
    ListEntry, ListFrom, ListOptions, ListPage, PartEntry, PartPage, UploadEntry, UploadListOptions,
    UploadPage, VersionEntry, VersionListOptions, VersionPage,
};
pub use reads::{GetOptions, GetOutcome, ObjectMeta, PartSpan, StoredRange};

/// Bytes on their way to or from a backend, in pieces of any size.
///
/// An upload's stream is not polled before the backend has accepted the request (its own `100 Continue`, or a second of
/// silence), so nothing is read from a client in vain. An error ends the transfer and stores nothing.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>>>>;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The producer of an upload refused to go on: the client's body failed its checks, or could not be sealed. The
    /// boxed error is the producer's own and comes back unchanged in [`BackendError::Upload`].
    #[error("upload ended by its source: {0}")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backend's answer ended before its length, or was reset.
    #[error("the backend's answer ended early: {0}")]
    Truncated(String),
    /// Reading a local file failed.
    #[error("reading the stored body failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A body for the backend. `length` is exact: a stream that yields anything else stores nothing.
pub struct Upload {
    /// Bytes that the stream yields in all.
    pub length: u64,
    /// The bytes, polled once the backend accepts them.
    pub stream: ByteStream,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("length", &self.length).finish_non_exhaustive()
    }
}

/// An upload's stream that did not yield as many bytes as were declared. Boxed in [`BackendError::Upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body does not have its declared length of {declared} bytes")]
pub struct LengthMismatch {
    /// [`Upload::length`].
    pub declared: u64,
}

/// What failed at a backend, in the terms that the S3 front end answers in.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The backend's own S3 error: `NoSuchKey`, `PreconditionFailed`, `NotModified`, `NoSuchUpload`, `InvalidPart`, …
    #[error("backend answered {status} {code}: {message}")]
    S3 {
        /// HTTP status.
        status: u16,
        /// S3 error code; for answers without a body (HEAD, 304) the code that the status stands for.
        code: String,
        /// The backend's text. May name backend buckets: for the log, not for clients.
        message: String,
        /// Answer headers that matter with errors (ETag, Last-Modified on 304; Content-Range on 416;
        /// x-amz-delete-marker, x-amz-version-id on 404 and 405).
        headers: Box<HeaderMap>,
    },
    /// The upload's own stream failed; nothing was stored.
    #[error("upload ended by its source: {0}")]
    Upload(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backend cannot be reached, timed out, or closed the connection: 503 SlowDown, the client may retry.
    #[error("backend not reachable: {0}")]
    Unavailable(String),
    /// The backend answered something that no S3 server should.
    #[error("backend answered nonsense: {0}")]
    Protocol(String),
    /// The backend cannot do this at all.
    #[error("backend does not support {0}")]
    Unsupported(&'static str),
    /// A local disk failed.
    #[error("storage failed: {0}")]
    Io(#[from] std::io::Error),
}

impl From<StreamError> for BackendError {
    /// What to answer when the stream of an upload fails.
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Source(source) => Self::Upload(source),
            other => Self::Upload(Box::new(other)),
        }
    }
}

impl BackendError {
    /// Whether this is the backend's S3 error of the given code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::S3 { code, .. } if code == wanted)
    }

    /// Whether CreateBucket found a bucket that may be the gateway's own, and not one that is known to be somebody else's.
    pub fn may_be_own(&self, backend: &dyn Backend) -> bool {
        self.is("BucketAlreadyOwnedByYou")
            || self.is("BucketAlreadyExists") && !backend.capabilities().names_owners
    }

    /// An S3 error without headers, as the filesystem backend makes them.
    pub fn s3(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::S3 { status, code: code.to_owned(), message: message.into(), headers: Box::default() }
    }
}

/// What a backend can do, declared here and checked by the conformance suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest body of one PUT, in stored bytes.
    pub max_put: u64,
    /// Largest part, in stored bytes.
    pub max_part: u64,
    /// Largest object, in stored bytes.
    pub max_object: u64,
    /// The highest part number: the gateway's own part of every upload.
    pub max_part_number: u16,
    /// Room for user metadata, names (without `x-amz-meta-`) and values, in bytes.
    pub max_user_metadata: usize,
    /// `Range: bytes=-n` works.
    pub suffix_ranges: bool,
    /// If-Match and If-None-Match on PUT are honoured.
    pub conditional_put: bool,
    /// If-None-Match and If-Match on CompleteMultipartUpload are honoured.
    pub conditional_complete: bool,
    /// If-Match on DELETE is honoured.
    pub conditional_delete: bool,
    /// Where it is not: the object is looked at first, though what is written between the look and the deletion is lost. The
    /// server alone would delete whatever is there.
    pub delete_after_a_look: bool,
    /// Copies keep to the ETag that their source must have: what comes out of one is what was looked at before.
    pub pinned_copies: bool,
    /// If-Match and If-None-Match on the target of a copy are honoured.
    pub conditional_copy: bool,
    /// ETags in a multi-object deletion are honoured.
    pub conditional_delete_many: bool,
    /// Keys with empty, `.` or `..` components are taken for other keys: such keys are refused, since the object that lies
    /// there would be lost.
    pub folds_keys: bool,
    /// A backslash in a key is taken for a slash: such keys are refused for the same reason.
    pub folds_backslashes: bool,
    /// Metadata of empty objects whose keys end in `/` is kept.
    pub marker_metadata: bool,
    /// CompleteMultipartUpload checks the ETags that it is given against the parts, also those of a part that was
    /// uploaded again.
    pub part_etags_enforced: bool,
    /// Listings come in the byte order of keys. Otherwise in the server's own, and pages may be shorter than asked for.
    pub sorted_listings: bool,
    /// Listings of uploads can be read page by page.
    pub upload_pages: bool,
    /// CreateBucket says `BucketAlreadyOwnedByYou` of a bucket of the gateway's own account, so that `BucketAlreadyExists` is
    /// somebody else's. Otherwise either may be said of either.
    pub names_owners: bool,
}

/// Conditions as raw header values, in the backend's own ETags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// If-Match
    pub if_match: Option<String>,
    /// If-None-Match
    pub if_none_match: Option<String>,
    /// If-Modified-Since, an HTTP date
    pub if_modified_since: Option<String>,
    /// If-Unmodified-Since, an HTTP date
    pub if_unmodified_since: Option<String>,
}

/// What is stored beside the bytes.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// User metadata: lower-case names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Content-Type and the like, and translated headers (x-amz-storage-class, x-amz-tagging) as they go out. A
    /// backend that cannot honour one answers `Unsupported`.
    pub headers: HeaderMap,
    /// If-Match, If-None-Match in the backend's ETags.
    pub conditions: Conditions,
}

/// A write's answer.
#[derive(Clone, Debug)]
pub struct PutOutcome {
    /// ETag without quotes.
    pub etag: String,
    /// Version id, where the bucket has versions.
    pub version_id: Option<String>,
    /// Answer headers that pass to the client (as in [`ObjectMeta::headers`]).
    pub headers: HeaderMap,
}

/// A deletion's answer.
#[derive(Clone, Debug, Default)]
pub struct DeleteOutcome {
    /// The version deleted, or the delete marker made.
    pub version_id: Option<String>,
    /// Whether a delete marker was made or deleted.
    pub delete_marker: bool,
}

/// One key of a multi-object deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteKey {
    /// The key.
    pub key: String,
    /// One version of it.
    pub version_id: Option<String>,
    /// Delete only when the ETag (the backend's) is this.
    pub etag: Option<String>,
}

/// What a backend says that cannot hold an upload's object against a checksum.
pub const NO_CHECKSUM_OF_UPLOADS: &str =
    "this checksum of the whole object in CompleteMultipartUpload on this storage";

/// A store of ciphertext. `bucket` is the backend's own bucket name, `key` the decoded key.
#[async_trait(?Send)]
pub trait Backend {
    /// What this backend can do.
    fn capabilities(&self) -> &Capabilities;

    /// Makes a bucket. `BucketAlreadyOwnedByYou` or `BucketAlreadyExists` when it is there: [`Capabilities::names_owners`].
    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError>;

    /// The same with headers of CreateBucket: ACL and grants, x-amz-bucket-object-lock-enabled, x-amz-object-ownership.
    async fn create_bucket_with(&self, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
        match headers.is_empty() {
            true => self.create_bucket(bucket).await,
            false => Err(BackendError::Unsupported("CreateBucket with these headers")),
        }
    }

    /// Whether the bucket is there (`NoSuchBucket` if not).
    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError>;

    /// Removes an empty bucket; `BucketNotEmpty` if it isn't, also when uploads are in progress where the backend says so.
    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError>;

    /// Stores an object whole or not at all.
    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        body: Upload,
    ) -> Result<PutOutcome, BackendError>;

    /// Reads an object or a range of it.
    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError>;

    /// Reads what is known of an object, or of a part of it. `options.range` is ignored.
    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError>;

    /// Deletes an object; one that is not there is no error.
    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError>;

    /// The same with x-amz-bypass-governance-retention and x-amz-mfa.
    async fn delete_with(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
        headers: HeaderMap,
    ) -> Result<DeleteOutcome, BackendError> {
        match headers.is_empty() {
            true => self.delete(bucket, key, version_id, conditions).await,
            false => Err(BackendError::Unsupported("DeleteObject with a lock's override or a second factor")),
        }
    }

    /// Deletes up to 1,000 objects. The answer has one entry a key, in the order given.
    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError>;

    /// ListObjects V1. `options.from` is `Start` or `Marker`; `next` is a marker.
    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError>;

    /// ListObjectsV2. `options.from` is `Start`, `StartAfter` or `Token`; `next` is a token.
    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError>;

    /// Begins an upload and gives its id. Created with CRC64NVME FULL_OBJECT where the backend has it, else without an
    /// algorithm.
    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError>;

    /// The same, with the answer's headers that pass to the client (as in [`ObjectMeta::headers`]).
    async fn create_upload_told(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<(String, HeaderMap), BackendError> {
        Ok((self.create_upload(bucket, key, options).await?, HeaderMap::new()))
    }

    /// Stores a part whole or not at all and gives its ETag.
    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        body: Upload,
    ) -> Result<PutOutcome, BackendError>;

    /// The parts of an upload after a part number (0: from the first), at most 1,000.
    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError>;

    /// Makes the object of the listed parts (number, ETag), in one atomic step.
    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError>;

    /// The same with the checksum that the object must have, as S3's header: `BadDigest` if it has another.
    async fn complete_upload_with(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
        checksum: HeaderMap,
    ) -> Result<PutOutcome, BackendError> {
        match checksum.is_empty() {
            true => self.complete_upload(bucket, key, upload_id, parts, conditions).await,
            false => Err(BackendError::Unsupported(NO_CHECKSUM_OF_UPLOADS)),
        }
    }

    /// Drops an upload and its parts.
    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError>;

    /// Uploads in progress.
    async fn list_uploads(
        &self,
        bucket: &str,
        options: UploadListOptions,
    ) -> Result<UploadPage, BackendError>;

    /// Versions and delete markers, by key, the newest first.
    async fn list_versions(
        &self,
        _bucket: &str,
        _options: VersionListOptions,
    ) -> Result<VersionPage, BackendError> {
        Err(BackendError::Unsupported("ListObjectVersions"))
    }

    /// Copies stored bytes as they are, under the metadata and headers given, without moving them through the gateway.
    /// One atomic step; at most [`Capabilities::max_put`] bytes.
    async fn copy(
        &self,
        _source: CopySource,
        _bucket: &str,
        _key: &str,
        _options: PutOptions,
    ) -> Result<CopyOutcome, BackendError> {
        Err(BackendError::Unsupported("CopyObject"))
    }

    /// Copies a range of stored bytes (first and last, both included) into a part.
    async fn copy_part(
        &self,
        _source: CopySource,
        _range: Option<(u64, u64)>,
        _bucket: &str,
        _key: &str,
        _upload_id: &str,
        _number: u16,
    ) -> Result<CopyOutcome, BackendError> {
        Err(BackendError::Unsupported("UploadPartCopy"))
    }

    /// Puts other user metadata beside a version's bytes, in one step, if `known` is what lies there (`PreconditionFailed` otherwise).
    /// Everything else of it stays: bytes, ETag, date, version id, tags, locks. S3 has no such operation.
    async fn replace_metadata(
        &self,
        _bucket: &str,
        _key: &str,
        _version_id: Option<&str>,
        _known: &BTreeMap<String, String>,
        _metadata: BTreeMap<String, String>,
    ) -> Result<(), BackendError> {
        Err(BackendError::Unsupported("metadata replaced in place"))
    }

    /// An operation that the storage itself answers: tags, locks, versioning and the like.
    async fn forward(&self, _request: Forward) -> Result<Forwarded, BackendError> {
        Err(BackendError::Unsupported("this operation"))
    }
}
