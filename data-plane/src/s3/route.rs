//! Which S3 operation a request is: an allow-list of method, subresource and headers.
//!
//! What is not known here is never taken for a plain Get, List or Put: a gateway that answers `?versions` with a listing,
//! or stores the body of `?tagging` as an object, loses data quietly. So each query parameter is either one that the
//! operation knows or makes the request [`Operation::NotImplemented`].

use super::error::{Code, S3Error};
use super::request::S3Request;
use http::{HeaderMap, Method};

pub mod forwarded;
mod names;
mod refused;

pub use names::{DIRECTORY_BUCKETS, refusal};
pub use refused::{WITH_BUCKETS, WITH_DELETIONS, WITH_OBJECTS, needs_configure, passed};

/// What a credential must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read objects and list.
    Read,
    /// Write and delete objects, multipart uploads included.
    Write,
    /// Create and delete buckets.
    Admin,
    /// Reconfigure a bucket on its storage, publish an object there, pass over a governance lock.
    Configure,
}

/// The S3 operations, by S3's names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are S3's own")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    ListObjectsV1,
    ListObjectsV2,
    ListObjectVersions,
    PutObject,
    CopyObject,
    PostObject,
    GetObject,
    HeadObject,
    GetObjectAttributes,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    /// A browser's question before its request.
    Preflight,
    /// What the storage itself answers.
    Forward(&'static forwarded::Forwarding),
    /// Anything else, with the name of the operation, or of the header or parameter that is not implemented.
    NotImplemented(String),
}

impl Operation {
    /// S3's name of the operation, for logs, metrics and policies. `NotImplemented` for all that is not.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::ListBuckets => "ListBuckets",
            Operation::CreateBucket => "CreateBucket",
            Operation::HeadBucket => "HeadBucket",
            Operation::DeleteBucket => "DeleteBucket",
            Operation::GetBucketLocation => "GetBucketLocation",
            Operation::ListObjectsV1 => "ListObjects",
            Operation::ListObjectsV2 => "ListObjectsV2",
            Operation::ListObjectVersions => "ListObjectVersions",
            Operation::PutObject => "PutObject",
            Operation::CopyObject => "CopyObject",
            Operation::PostObject => "PostObject",
            Operation::GetObject => "GetObject",
            Operation::HeadObject => "HeadObject",
            Operation::GetObjectAttributes => "GetObjectAttributes",
            Operation::DeleteObject => "DeleteObject",
            Operation::DeleteObjects => "DeleteObjects",
            Operation::CreateMultipartUpload => "CreateMultipartUpload",
            Operation::UploadPart => "UploadPart",
            Operation::UploadPartCopy => "UploadPartCopy",
            Operation::CompleteMultipartUpload => "CompleteMultipartUpload",
            Operation::AbortMultipartUpload => "AbortMultipartUpload",
            Operation::ListParts => "ListParts",
            Operation::ListMultipartUploads => "ListMultipartUploads",
            Operation::Preflight => "Preflight",
            Operation::Forward(entry) => entry.name,
            Operation::NotImplemented(_) => "NotImplemented",
        }
    }

    /// The permission that the operation needs on its bucket. What is not implemented needs the highest.
    #[must_use]
    pub fn needed_action(&self) -> Access {
        match self {
            Operation::ListBuckets
            | Operation::HeadBucket
            | Operation::GetBucketLocation
            | Operation::ListObjectsV1
            | Operation::ListObjectsV2
            | Operation::ListObjectVersions
            | Operation::GetObject
            | Operation::HeadObject
            | Operation::GetObjectAttributes
            | Operation::ListParts
            | Operation::ListMultipartUploads
            | Operation::Preflight => Access::Read,
            Operation::PutObject
            | Operation::CopyObject
            | Operation::PostObject
            | Operation::DeleteObject
            | Operation::DeleteObjects
            | Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::UploadPartCopy
            | Operation::CompleteMultipartUpload
            | Operation::AbortMultipartUpload => Access::Write,
            Operation::CreateBucket | Operation::DeleteBucket | Operation::NotImplemented(_) => Access::Admin,
            Operation::Forward(entry) => entry.access,
        }
    }

    /// Whether it changes a bucket that is there, or anything in it. Aborting an upload does not: no object comes of it.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Operation::AbortMultipartUpload => false,
            Operation::DeleteBucket => true,
            Operation::Forward(entry) => entry.method != Method::GET,
            _ => self.needed_action() == Access::Write,
        }
    }

    /// Whether the request's body is an object's data (as opposed to none, or an XML document).
    #[must_use]
    pub fn takes_data(&self) -> bool {
        matches!(self, Operation::PutObject | Operation::PostObject | Operation::UploadPart)
    }
}

/// Parameters that any operation takes: the presigned signature, what SDKs add to name the operation, and checksum
/// settings that some presigners move from headers into the query.
const COMMON: &[&str] = &[
    "x-id",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-user-agent",
    "x-amz-checksum-mode",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-crc32",
];

const LIST_V1: &[&str] = &["list-type", "prefix", "delimiter", "marker", "max-keys", "encoding-type"];
const LIST_V2: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "continuation-token",
    "start-after",
    "max-keys",
    "encoding-type",
    "fetch-owner",
];
const LIST_VERSIONS: &[&str] =
    &["versions", "prefix", "delimiter", "key-marker", "version-id-marker", "max-keys", "encoding-type"];
const LIST_UPLOADS: &[&str] =
    &["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"];
const LIST_PARTS: &[&str] = &["uploadId", "part-number-marker", "max-parts", "encoding-type"];
const LIST_BUCKETS: &[&str] = &["prefix", "max-buckets", "continuation-token", "bucket-region"];
const READ_OBJECT: &[&str] = &[
    "partNumber",
    "versionId",
    "response-content-type",
    "response-content-language",
    "response-expires",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
];

/// Makes a copy of what would be a write; some presigners move it from the headers into the query.
pub const COPY_SOURCE: &str = "x-amz-copy-source";

/// Finds the operation of a request.
///
/// # Errors
/// MethodNotAllowed for a method that S3 knows nowhere on such a resource, InvalidArgument for a part number without an
/// upload or the reverse, or an empty version id where the gateway looks at it: it would take it for a version, and storages
/// for none. What is forwarded is theirs to judge.
pub fn route(request: &S3Request, headers: &HeaderMap) -> Result<Operation, S3Error> {
    let forwarded = request.bucket.is_some() && forwarded::find(request).is_some();
    if !forwarded && request.query.pairs().any(|pair| pair == ("versionId", "")) {
        return Err(S3Error::invalid_argument("versionId", "", "Version id cannot be the empty string"));
    }
    let operation = match (&request.bucket, &request.key) {
        (None, _) => service(request)?,
        (Some(_), _) if forwarded => forward(request),
        (Some(_), None) => bucket(request, headers)?,
        (Some(_), Some(_)) => object(request, headers)?,
    };
    Ok(match refused::header(&operation, headers) {
        Some(header) => Operation::NotImplemented(header),
        None => operation,
    })
}

fn service(request: &S3Request) -> Result<Operation, S3Error> {
    match request.method {
        Method::GET => Ok(only(request, Operation::ListBuckets, LIST_BUCKETS)),
        Method::OPTIONS => Ok(Operation::Preflight),
        _ => Err(method_not_allowed(request)),
    }
}

fn bucket(request: &S3Request, headers: &HeaderMap) -> Result<Operation, S3Error> {
    let query = &request.query;
    Ok(match request.method {
        Method::GET => {
            if query.has("location") {
                only(request, Operation::GetBucketLocation, &["location"])
            } else if query.has("uploads") {
                only(request, Operation::ListMultipartUploads, LIST_UPLOADS)
            } else if query.has("versions") {
                only(request, Operation::ListObjectVersions, LIST_VERSIONS)
            } else {
                match query.get("list-type") {
                    None | Some("1") => only(request, Operation::ListObjectsV1, LIST_V1),
                    Some("2") => only(request, Operation::ListObjectsV2, LIST_V2),
                    Some(other) => {
                        return Err(S3Error::invalid_argument("list-type", other, "Invalid List Type"));
                    }
                }
            }
        }
        Method::HEAD => only(request, Operation::HeadBucket, &[]),
        Method::PUT => only(request, Operation::CreateBucket, &[]),
        Method::DELETE => only(request, Operation::DeleteBucket, &[]),
        Method::POST if query.has("delete") => only(request, Operation::DeleteObjects, &["delete"]),
        Method::POST if is_form(headers) => only(request, Operation::PostObject, &[]),
        Method::POST => only(request, not("POST on a bucket"), &[]),
        Method::OPTIONS => Operation::Preflight,
        _ => return Err(method_not_allowed(request)),
    })
}

fn object(request: &S3Request, headers: &HeaderMap) -> Result<Operation, S3Error> {
    let query = &request.query;
    let copy = headers.contains_key(COPY_SOURCE) || query.get(COPY_SOURCE).is_some();
    Ok(match request.method {
        Method::GET if query.has("uploadId") => only(request, Operation::ListParts, LIST_PARTS),
        Method::GET if query.has("attributes") => {
            only(request, Operation::GetObjectAttributes, &["attributes", "versionId"])
        }
        Method::GET => only(request, Operation::GetObject, READ_OBJECT),
        Method::HEAD => only(request, Operation::HeadObject, READ_OBJECT),
        Method::PUT => match (query.get("uploadId"), query.get("partNumber")) {
            (Some(_), Some(_)) if copy => {
                only(request, Operation::UploadPartCopy, &["uploadId", "partNumber", COPY_SOURCE])
            }
            (Some(_), Some(_)) => only(request, Operation::UploadPart, &["uploadId", "partNumber"]),
            (None, None) if copy => only(request, Operation::CopyObject, &[COPY_SOURCE]),
            (None, None) if headers.contains_key("x-amz-rename-source") => not("RenameObject"),
            (None, None) => only(request, Operation::PutObject, &[]),
            (Some(id), None) => {
                return Err(S3Error::invalid_argument("uploadId", id, "An uploadId needs a partNumber."));
            }
            (None, Some(number)) => {
                return Err(S3Error::invalid_argument(
                    "partNumber",
                    number,
                    "A partNumber needs an uploadId.",
                ));
            }
        },
        Method::DELETE if query.has("uploadId") => {
            only(request, Operation::AbortMultipartUpload, &["uploadId"])
        }
        Method::DELETE => only(request, Operation::DeleteObject, &["versionId"]),
        Method::POST if query.has("uploads") => only(request, Operation::CreateMultipartUpload, &["uploads"]),
        Method::POST if query.has("uploadId") => {
            only(request, Operation::CompleteMultipartUpload, &["uploadId"])
        }
        Method::POST => only(request, not("POST on an object"), &[]),
        Method::OPTIONS => Operation::Preflight,
        _ => return Err(method_not_allowed(request)),
    })
}

/// A forwarded operation, if it takes every parameter.
fn forward(request: &S3Request) -> Operation {
    let Some(entry) = forwarded::find(request) else { return not("this operation") };
    let known: Vec<&str> =
        request.query.pairs().map(|(name, _)| name).filter(|name| forwarded::takes(entry, name)).collect();
    only(request, Operation::Forward(entry), &known)
}

/// The operation, if every parameter is common or among `known`; else the operation that a parameter stands for.
fn only(request: &S3Request, operation: Operation, known: &[&str]) -> Operation {
    for (name, _) in request.query.pairs() {
        if known.contains(&name) || COMMON.iter().any(|common| name.eq_ignore_ascii_case(common)) {
            continue;
        }
        return Operation::NotImplemented(names::of(request, name));
    }
    operation
}

/// The first of these headers that the operation cannot honour, for operations whose headers come in another way.
#[must_use]
pub fn refused_header(operation: &Operation, headers: &HeaderMap) -> Option<String> {
    refused::header(operation, headers)
}

fn not(what: &str) -> Operation {
    Operation::NotImplemented(what.to_owned())
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..19).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/form-data"))
    })
}

fn method_not_allowed(request: &S3Request) -> S3Error {
    S3Error::new(Code::MethodNotAllowed).field("Method", request.method.as_str())
}

#[cfg(test)]
mod tests;
