//! The operations that an S3 server answers by itself, on a directory. What is kept is carried out; what nobody would carry out
//! (policies, replication, lifecycle, …) is refused rather than kept, and reads as not set.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::documents::{self, Document};
use super::record::Head;
use super::space::Bucket;
use super::{cors, lifecycle, lock, settings, tags, versions, xml};
use crate::backend::{BackendError, Forward, Forwarded};

/// Whether a governance lock is to be passed over.
pub(crate) fn bypasses(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-bypass-governance-retention")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Answers one operation.
pub(crate) fn answer(bucket: &Bucket, request: &Forward) -> Result<Forwarded, BackendError> {
    let version = request.query.iter().find(|(name, _)| name == "versionId").map(|(_, id)| id.as_str());
    // The subresource is the parameter that is none of an operation's own.
    let what = request
        .query
        .iter()
        .map(|(name, _)| name.as_str())
        .find(|name| !matches!(*name, "versionId" | "id" | "continuation-token"))
        .unwrap_or_default();
    match &request.key {
        None => of_bucket(bucket, request, what),
        Some(key) => of_object(bucket, request, what, key, version),
    }
}

fn of_bucket(bucket: &Bucket, request: &Forward, what: &str) -> Result<Forwarded, BackendError> {
    let body = request.body.as_ref();
    let stored = |document| documents::read(bucket, document);
    let keep = |document, text: String| documents::lock(bucket)?.write(document, &text);
    let forget = |document| documents::lock(bucket)?.remove(document).map(|()| gone());
    match (&request.method, what) {
        (&Method::GET, "versioning") => Ok(document(settings::get_versioning(bucket)?)),
        (&Method::PUT, "versioning") => settings::put_versioning(bucket, body).map(|()| done()),
        (&Method::GET, "object-lock") => Ok(document(lock::get_configuration(bucket)?)),
        (&Method::PUT, "object-lock") => lock::put_configuration(bucket, body).map(|()| done()),
        (&Method::GET, "tagging") => {
            found(stored(Document::Tagging)?, "NoSuchTagSet", "The TagSet does not exist.")
        }
        (&Method::PUT, "tagging") => {
            let tags = tags::from_xml(body, tags::OF_BUCKET)?;
            keep(Document::Tagging, tags::to_xml(&tags)).map(|()| gone())
        }
        (&Method::DELETE, "tagging") => forget(Document::Tagging),
        (&Method::GET, "cors") => {
            found(stored(Document::Cors)?, "NoSuchCORSConfiguration", "The CORS configuration does not exist")
        }
        (&Method::PUT, "cors") => keep(Document::Cors, cors::checked(body)?).map(|()| done()),
        (&Method::DELETE, "cors") => forget(Document::Cors),
        (&Method::GET, "lifecycle") => found(
            stored(Document::Lifecycle)?,
            "NoSuchLifecycleConfiguration",
            "The lifecycle configuration does not exist",
        ),
        (&Method::PUT, "lifecycle") => keep(Document::Lifecycle, lifecycle::checked(body)?).map(|()| done()),
        (&Method::DELETE, "lifecycle") => forget(Document::Lifecycle),
        (&Method::GET, "ownershipControls") => Ok(document(settings::get_ownership(bucket)?)),
        (&Method::PUT, "ownershipControls") => settings::put_ownership(bucket, body).map(|()| done()),
        (&Method::DELETE, "ownershipControls") => settings::delete_ownership(bucket).map(|()| gone()),
        (&Method::GET, "publicAccessBlock") => Ok(document(settings::get_public_access(bucket)?)),
        (&Method::PUT, "publicAccessBlock") => settings::put_public_access(bucket, body).map(|()| done()),
        (&Method::DELETE, "publicAccessBlock") => forget(Document::PublicAccess),
        (&Method::GET, "encryption") => Ok(document(settings::get_encryption())),
        (&Method::PUT, "encryption") => settings::put_encryption(body).map(|()| done()),
        (&Method::DELETE, "encryption") => Ok(gone()),
        (&Method::GET, "acl") => Ok(document(settings::get_acl())),
        (&Method::PUT, "acl") => settings::put_acl(&request.headers, body).map(|()| done()),
        _ => fixed(request, what),
    }
}

/// What cannot be set, and reads as S3's default.
fn fixed(request: &Forward, what: &str) -> Result<Forwarded, BackendError> {
    let none = |code: &str, text: &str| Err(BackendError::s3(404, code, text));
    let by_id = request.query.iter().any(|(name, _)| name == "id");
    match (&request.method, what) {
        (&Method::GET, "requestPayment") => {
            Ok(words("RequestPaymentConfiguration", &[("Payer", "BucketOwner")]))
        }
        (&Method::PUT, "requestPayment") => only(
            request,
            "RequestPaymentConfiguration",
            "Payer",
            "BucketOwner",
            "Requester",
            "requester pays on this storage",
        ),
        (&Method::GET, "accelerate") => Ok(words("AccelerateConfiguration", &[])),
        (&Method::PUT, "accelerate") => only(
            request,
            "AccelerateConfiguration",
            "Status",
            "Suspended",
            "Enabled",
            "acceleration on this storage",
        ),
        (&Method::GET, "logging") => Ok(words("BucketLoggingStatus", &[])),
        (&Method::PUT, "logging") => empty(request, "BucketLoggingStatus", "bucket logging on this storage"),
        (&Method::GET, "notification") => Ok(words("NotificationConfiguration", &[])),
        (&Method::PUT, "notification") => {
            empty(request, "NotificationConfiguration", "notifications on this storage")
        }
        (&Method::GET, "policy" | "policyStatus") => {
            none("NoSuchBucketPolicy", "The bucket policy does not exist.")
        }
        (&Method::GET, "website") => {
            none("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration")
        }
        (&Method::GET, "replication") => {
            none("ReplicationConfigurationNotFoundError", "The replication configuration was not found")
        }
        (&Method::DELETE, "policy" | "website" | "replication") => Ok(gone()),
        (&Method::GET | &Method::DELETE, "inventory" | "metrics" | "analytics" | "intelligent-tiering")
            if by_id =>
        {
            none("NoSuchConfiguration", "The specified configuration does not exist.")
        }
        (&Method::GET, "inventory") => {
            Ok(words("ListInventoryConfigurationsResult", &[("IsTruncated", "false")]))
        }
        (&Method::GET, "metrics") => {
            Ok(words("ListMetricsConfigurationsResult", &[("IsTruncated", "false")]))
        }
        (&Method::GET, "analytics") => {
            Ok(words("ListBucketAnalyticsConfigurationResult", &[("IsTruncated", "false")]))
        }
        (&Method::GET, "intelligent-tiering") => {
            Ok(words("ListBucketIntelligentTieringConfigurationsOutput", &[("IsTruncated", "false")]))
        }
        (_, "policy") => {
            Err(BackendError::Unsupported("bucket policies on this storage: nobody would hold to them"))
        }
        (_, "website") => Err(BackendError::Unsupported("website hosting on this storage")),
        (_, "replication") => Err(BackendError::Unsupported("replication on this storage")),
        _ => Err(BackendError::Unsupported("this operation on this storage")),
    }
}

/// A setting that may be said to be what it is: `wanted` is, `known` is not.
fn only(
    request: &Forward,
    root: &str,
    element: &str,
    wanted: &str,
    known: &str,
    what: &'static str,
) -> Result<Forwarded, BackendError> {
    let mut value = None;
    xml::parse(&request.body, root, |path, text| {
        if path == [element] {
            value = Some(text.to_owned());
        }
        Ok(())
    })?;
    match value.as_deref() {
        Some(value) if value == wanted => Ok(done()),
        Some(value) if value == known => Err(BackendError::Unsupported(what)),
        _ => Err(xml::malformed()),
    }
}

/// A setting that may be said to be none.
fn empty(request: &Forward, root: &str, what: &'static str) -> Result<Forwarded, BackendError> {
    let mut used = false;
    xml::parse(&request.body, root, |_, _| {
        used = true;
        Ok(())
    })?;
    if used { Err(BackendError::Unsupported(what)) } else { Ok(done()) }
}

fn of_object(
    bucket: &Bucket,
    request: &Forward,
    what: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Forwarded, BackendError> {
    let body = request.body.as_ref();
    let head = || versions::locate(bucket, key, version).map(|found| found.head);
    let (answer, head) = match (&request.method, what) {
        (&Method::GET, "tagging") => {
            let head = head()?;
            let tags = head.headers.get(tags::TAGGING).map(|text| tags::from_header(text)).transpose()?;
            (document(tags::to_xml(&tags.unwrap_or_default())), head)
        }
        (&Method::PUT, "tagging") => {
            let tags = tags::from_xml(body, tags::OF_OBJECT)?;
            (done(), set_tags(bucket, key, version, &tags)?)
        }
        (&Method::DELETE, "tagging") => (gone(), set_tags(bucket, key, version, &tags::Tags::new())?),
        (&Method::GET, "retention") => {
            let head = head()?;
            (document(lock::get_retention(bucket, &head)?), head)
        }
        (&Method::PUT, "retention") => {
            (done(), lock::put_retention(bucket, key, version, body, bypasses(&request.headers))?)
        }
        (&Method::GET, "legal-hold") => {
            let head = head()?;
            (document(lock::get_hold(bucket, &head)?), head)
        }
        (&Method::PUT, "legal-hold") => (done(), lock::put_hold(bucket, key, version, body)?),
        (&Method::GET, "acl") => (document(settings::get_acl()), head()?),
        (&Method::PUT, "acl") => {
            let head = head()?;
            settings::put_acl(&request.headers, body)?;
            (done(), head)
        }
        (&Method::POST, "restore") => {
            head()?;
            return Err(BackendError::s3(
                403,
                "InvalidObjectState",
                "Restore is not allowed for the object's current storage class",
            ));
        }
        _ => return Err(BackendError::Unsupported("this operation on this storage")),
    };
    with_version(bucket, answer, &head)
}

fn set_tags(
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
    tags: &tags::Tags,
) -> Result<Head, BackendError> {
    versions::revise(bucket, key, version, |head| {
        if tags.is_empty() {
            head.headers.remove(tags::TAGGING);
        } else {
            head.headers.insert(tags::TAGGING.to_owned(), tags::to_header(tags));
        }
        Ok(())
    })
}

fn with_version(bucket: &Bucket, mut answer: Forwarded, head: &Head) -> Result<Forwarded, BackendError> {
    if let Some(version) = versions::shown(bucket, head)?
        && let Ok(value) = HeaderValue::from_str(&version)
    {
        answer.headers.insert("x-amz-version-id", value);
    }
    Ok(answer)
}

fn found(stored: Option<String>, code: &str, text: &str) -> Result<Forwarded, BackendError> {
    stored.map(document).ok_or_else(|| BackendError::s3(404, code, text))
}

fn document(text: String) -> Forwarded {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Forwarded { status: StatusCode::OK, headers, body: Bytes::from(text) }
}

/// A document of a few words.
fn words(root: &'static str, elements: &[(&str, &str)]) -> Forwarded {
    let mut xml = xml::Document::document(root);
    elements.iter().for_each(|(name, text)| xml.text(name, text));
    document(xml.finish())
}

fn done() -> Forwarded {
    Forwarded { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() }
}

fn gone() -> Forwarded {
    Forwarded { status: StatusCode::NO_CONTENT, ..done() }
}
