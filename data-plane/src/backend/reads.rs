//! Reads: what is asked for, and what comes back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{ByteStream, Conditions};

/// A range of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRange {
    /// First and last byte, both included. The last may lie beyond the end.
    Inclusive(u64, u64),
    /// From a byte to the end.
    From(u64),
    /// The last bytes. Only where [`Capabilities::suffix_ranges`] holds.
    Suffix(u64),
}

/// A read: what, which part of it, under which conditions.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Bytes wanted; none: all of them.
    pub range: Option<StoredRange>,
    /// Conditions, evaluated by the backend.
    pub conditions: Conditions,
    /// A version of the object; none: the current one.
    pub version_id: Option<String>,
    /// The bytes of a part of an upload, by its number, instead of a range. An object that was not uploaded in parts is its
    /// own part 1.
    pub part: Option<u16>,
    /// The object's checksum among the headers, where it has one.
    pub checksums: bool,
}

/// What is known of a stored object without its bytes.
#[derive(Clone, Debug)]
pub struct ObjectMeta {
    /// Stored bytes of the whole object; of a part that was asked for where the backend does not tell the whole's.
    pub size: u64,
    /// ETag without quotes, the backend's own.
    pub etag: String,
    /// Last modification, whole seconds.
    pub last_modified: SystemTime,
    /// Version id, where the bucket has versions.
    pub version_id: Option<String>,
    /// User metadata: lower-case names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Other answer headers that pass to the client when present: x-amz-storage-class, x-amz-restore,
    /// x-amz-server-side-encryption*, x-amz-tagging-count, x-amz-expiration, x-amz-replication-status,
    /// x-amz-object-lock-*, x-amz-mp-parts-count; x-amz-checksum-* where they were asked for; Content-Type (of plain
    /// buckets only); and x-amz-meta-* whose value is no text ([`ObjectMeta::unreadable`]).
    pub headers: HeaderMap,
    /// Of a part that was asked for: where it lies.
    pub part: Option<PartSpan>,
}

impl ObjectMeta {
    /// User metadata that is not UTF-8, by its whole header. It passes to clients as it is, and whoever writes metadata as text must
    /// refuse it: another value in its place would be taken for the client's.
    pub fn unreadable(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"))
    }
}

/// A part's bytes in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSpan {
    /// Bytes of the part.
    pub length: u64,
    /// First and last byte, and the object's size; none for an empty part, and where the backend does not tell.
    pub range: Option<(u64, u64, u64)>,
}

/// A read's answer.
pub struct GetOutcome {
    /// The object as a whole.
    pub meta: ObjectMeta,
    /// First and last stored byte of `body`, and the object's total size as Content-Range tells it; none for a whole
    /// object.
    pub range: Option<(u64, u64, u64)>,
    /// Bytes in `body`.
    pub length: u64,
    /// The bytes. Dropping it early closes the connection, or returns it to the pool when nothing is left.
    pub body: ByteStream,
}

impl fmt::Debug for GetOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOutcome")
            .field("meta", &self.meta)
            .field("range", &self.range)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
