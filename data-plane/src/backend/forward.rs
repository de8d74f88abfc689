//! Operations that the storage itself answers.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

/// A request as it goes out, but for the signature. Nothing of it is taken from the client unlisted.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The method.
    pub method: Method,
    /// The backend's own bucket name.
    pub bucket: String,
    /// The key, decoded; none: the bucket itself.
    pub key: Option<String>,
    /// The subresource and its parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Listed headers only.
    pub headers: HeaderMap,
    /// At most 1 MiB.
    pub body: Bytes,
}

/// The storage's answer, errors excepted: these are [`super::BackendError::S3`].
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// A 2xx.
    pub status: StatusCode,
    /// All of the storage's headers.
    pub headers: HeaderMap,
    /// At most 1 MiB.
    pub body: Bytes,
}
