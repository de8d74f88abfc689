//! S3's names for subresources that are not implemented, so that the answer says which operation was asked for.

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

/// The name of the operation that `parameter` makes of the request, or the parameter itself.
pub(super) fn of(request: &S3Request, parameter: &str) -> String {
    if let Some((_, name)) = WHOLE.iter().find(|(p, _)| *p == parameter) {
        return (*name).to_owned();
    }
    let table = if request.key.is_some() { OBJECT } else { BUCKET };
    match table.iter().find(|(p, _)| *p == parameter) {
        Some((_, noun)) => {
            let verb = match request.method {
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
