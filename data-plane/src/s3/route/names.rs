//! S3's names for subresources that are not implemented, so that the answer says which operation was asked for.

use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use http::Method;

/// The noun of each subresource as it stands in the operation's name.
const BUCKET: &[(&str, &str)] = &[
    ("accelerate", "BucketAccelerateConfiguration"),
    ("acl", "BucketAcl"),
    ("analytics", "BucketAnalyticsConfiguration"),
    ("cors", "BucketCors"),
    ("encryption", "BucketEncryption"),
    ("intelligent-tiering", "BucketIntelligentTieringConfiguration"),
    ("inventory", "BucketInventoryConfiguration"),
    ("lifecycle", "BucketLifecycleConfiguration"),
    ("logging", "BucketLogging"),
    ("metadataConfiguration", "BucketMetadataConfiguration"),
    ("metadataTable", "BucketMetadataTableConfiguration"),
    ("metrics", "BucketMetricsConfiguration"),
    ("notification", "BucketNotificationConfiguration"),
    ("object-lock", "ObjectLockConfiguration"),
    ("ownershipControls", "BucketOwnershipControls"),
    ("policy", "BucketPolicy"),
    ("policyStatus", "BucketPolicyStatus"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("replication", "BucketReplication"),
    ("requestPayment", "BucketRequestPayment"),
    ("tagging", "BucketTagging"),
    ("versioning", "BucketVersioning"),
    ("website", "BucketWebsite"),
];

const OBJECT: &[(&str, &str)] = &[
    ("acl", "ObjectAcl"),
    ("attributes", "ObjectAttributes"),
    ("legal-hold", "ObjectLegalHold"),
    ("retention", "ObjectRetention"),
    ("tagging", "ObjectTagging"),
    ("torrent", "ObjectTorrent"),
    ("annotation", "ObjectAnnotation"),
    ("encryption", "ObjectEncryption"),
];

const WHOLE: &[(&str, &str)] = &[
    ("versions", "ListObjectVersions"),
    ("session", "CreateSession"),
    ("select", "SelectObjectContent"),
    ("restore", "RestoreObject"),
    ("renameObject", "RenameObject"),
    ("append", "append to an object"),
];

/// Operations that are refused by decision, and what there is in their place.
const DECIDED: &[(&str, &str)] = &[
    (
        "RenameObject",
        "Names are bound to keys, so that no object can be passed off under another's name: copy the object, then delete \
         the old one.",
    ),
    ("CreateSession", "There are no directory buckets: requests are signed with the credential itself."),
    (DIRECTORY_BUCKETS, "Use a bucket whose name does not end with --x-s3."),
    (
        "ObjectAnnotation",
        "The storage would keep annotations in clear and could change them: use user metadata, which is sealed, or tags.",
    ),
    (
        "UpdateObjectEncryption",
        "Every object is encrypted, under keys that the operator's KMS wraps: no request can choose another.",
    ),
];

/// What S3 calls its buckets of another kind.
pub const DIRECTORY_BUCKETS: &str = "directory buckets";

/// The refusal of what is not implemented: with what to do in its place, where there is a decision against it.
#[must_use]
pub fn refusal(what: &str) -> S3Error {
    let decided = DECIDED.iter().find(|(name, _)| what.ends_with(name));
    match decided {
        Some((_, instead)) => {
            S3Error::with(Code::NotImplemented, format!("Sealgate does not implement {what}. {instead}"))
        }
        None => S3Error::not_implemented(what),
    }
}

/// The name of the operation that `parameter` makes of the request, or the parameter itself.
pub(super) fn of(request: &S3Request, parameter: &str) -> String {
    if let Some((_, name)) = WHOLE.iter().find(|(p, _)| *p == parameter) {
        return (*name).to_owned();
    }
    let table = if request.key.is_some() { OBJECT } else { BUCKET };
    match table.iter().find(|(p, _)| *p == parameter) {
        Some((_, noun)) => {
            let verb = match request.method {
                Method::PUT if request.key.is_some() && parameter == "encryption" => "Update",
                Method::PUT => "Put",
                Method::DELETE => "Delete",
                Method::POST => "Post",
                _ => "Get",
            };
            format!("{verb}{noun}")
        }
        None => format!("the query parameter '{}'", parameter.chars().take(64).collect::<String>()),
    }
}
