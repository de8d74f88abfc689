//! Copies that the storage makes by itself.

use std::time::SystemTime;

use http::HeaderMap;

/// What is copied: stored bytes, not plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// The backend's own bucket name; of the same backend.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// A version of it; none: the current one.
    pub version_id: Option<String>,
    /// The ETag without quotes that the source must still have (`PreconditionFailed` otherwise).
    pub if_match: Option<String>,
}

/// A copy's answer.
#[derive(Clone, Debug)]
pub struct CopyOutcome {
    /// ETag without quotes.
    pub etag: String,
    /// When the copy was made.
    pub last_modified: SystemTime,
    /// The copy's version id, where the bucket has versions. None for a part.
    pub version_id: Option<String>,
    /// Answer headers that pass to the client (as in [`super::ObjectMeta::headers`]).
    pub headers: HeaderMap,
}
