//! The operations that the storage itself answers: a list of method, subresource, parameters and headers. What is not on
//! it is never sent on, since an unknown operation may carry object data.
//!
//! None of these carries a plaintext, its size, its ETag or its checksum. Reading a configuration needs `read`. What is
//! about one object needs `write`. What reconfigures the bucket on its storage, or publishes an object there, happens in
//! the gateway's name, which all its tenants share: it needs `configure`.

use super::Access;
use crate::s3::request::S3Request;
use http::Method;

/// What the operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A bucket.
    Bucket,
    /// An object, or a version of it.
    Object,
}

/// What stands in a document that has another meaning on the storage than for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing.
    Nothing,
    /// Names of buckets.
    BucketNames,
    /// The owner: the tenant for clients, the gateway's identity on the storage.
    Owner,
    /// A RestoreObject that selects would write object data elsewhere.
    Restore,
}

/// An operation that is forwarded.
#[derive(Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// S3's name.
    pub name: &'static str,
    /// GET, PUT, POST or DELETE.
    pub method: Method,
    /// The resource.
    pub on: On,
    /// The query parameter that names it.
    pub subresource: &'static str,
    /// Further query parameters.
    pub parameters: &'static [&'static str],
    /// Request headers that go with it.
    pub headers: &'static [&'static str],
    /// The permission that it needs.
    pub access: Access,
    /// What is translated in its documents.
    pub foreign: Foreign,
}

const NONE: &[&str] = &[];
const VERSION: &[&str] = &["versionId"];
const ID: &[&str] = &["id"];
const LISTED: &[&str] = &["id", "continuation-token"];
/// Canned ACL and grants.
pub(super) const ACL_HEADERS: &[&str] = &[
    "x-amz-acl",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
];

macro_rules! list {
    ($($on:ident $method:ident $subresource:literal $name:ident $access:ident $parameters:expr, $headers:expr, $foreign:ident;)*) => {
        static LIST: &[Forwarding] = &[$(Forwarding {
            name: stringify!($name),
            method: Method::$method,
            on: On::$on,
            subresource: $subresource,
            parameters: $parameters,
            headers: $headers,
            access: Access::$access,
            foreign: Foreign::$foreign,
        },)*];
    };
}

list! {
    Bucket GET "accelerate" GetBucketAccelerateConfiguration Read NONE, NONE, Nothing;
    Bucket PUT "accelerate" PutBucketAccelerateConfiguration Configure NONE, NONE, Nothing;
    Bucket GET "acl" GetBucketAcl Read NONE, NONE, Owner;
    Bucket PUT "acl" PutBucketAcl Configure NONE, ACL_HEADERS, Owner;
    Bucket GET "analytics" GetBucketAnalyticsConfiguration Read LISTED, NONE, BucketNames;
    Bucket PUT "analytics" PutBucketAnalyticsConfiguration Configure ID, NONE, BucketNames;
    Bucket DELETE "analytics" DeleteBucketAnalyticsConfiguration Configure ID, NONE, Nothing;
    Bucket GET "cors" GetBucketCors Read NONE, NONE, Nothing;
    Bucket PUT "cors" PutBucketCors Configure NONE, NONE, Nothing;
    Bucket DELETE "cors" DeleteBucketCors Configure NONE, NONE, Nothing;
    Bucket GET "encryption" GetBucketEncryption Read NONE, NONE, Nothing;
    Bucket PUT "encryption" PutBucketEncryption Configure NONE, NONE, Nothing;
    Bucket DELETE "encryption" DeleteBucketEncryption Configure NONE, NONE, Nothing;
    Bucket GET "intelligent-tiering" GetBucketIntelligentTieringConfiguration Read LISTED, NONE, Nothing;
    Bucket PUT "intelligent-tiering" PutBucketIntelligentTieringConfiguration Configure ID, NONE, Nothing;
    Bucket DELETE "intelligent-tiering" DeleteBucketIntelligentTieringConfiguration Configure ID, NONE, Nothing;
    Bucket GET "inventory" GetBucketInventoryConfiguration Read LISTED, NONE, BucketNames;
    Bucket PUT "inventory" PutBucketInventoryConfiguration Configure ID, NONE, BucketNames;
    Bucket DELETE "inventory" DeleteBucketInventoryConfiguration Configure ID, NONE, Nothing;
    Bucket GET "lifecycle" GetBucketLifecycleConfiguration Read NONE, NONE, Nothing;
    Bucket PUT "lifecycle" PutBucketLifecycleConfiguration Configure NONE,
        &["x-amz-transition-default-minimum-object-size"], Nothing;
    Bucket DELETE "lifecycle" DeleteBucketLifecycle Configure NONE, NONE, Nothing;
    Bucket GET "logging" GetBucketLogging Read NONE, NONE, BucketNames;
    Bucket PUT "logging" PutBucketLogging Configure NONE, NONE, BucketNames;
    Bucket GET "metadataConfiguration" GetBucketMetadataConfiguration Read NONE, NONE, BucketNames;
    Bucket POST "metadataConfiguration" CreateBucketMetadataConfiguration Configure NONE, NONE, BucketNames;
    Bucket DELETE "metadataConfiguration" DeleteBucketMetadataConfiguration Configure NONE, NONE, Nothing;
    Bucket PUT "metadataInventoryTable" UpdateBucketMetadataInventoryTableConfiguration Configure NONE, NONE, Nothing;
    Bucket PUT "metadataJournalTable" UpdateBucketMetadataJournalTableConfiguration Configure NONE, NONE, Nothing;
    Bucket GET "metadataTable" GetBucketMetadataTableConfiguration Read NONE, NONE, BucketNames;
    Bucket POST "metadataTable" CreateBucketMetadataTableConfiguration Configure NONE, NONE, BucketNames;
    Bucket DELETE "metadataTable" DeleteBucketMetadataTableConfiguration Configure NONE, NONE, Nothing;
    Bucket GET "metrics" GetBucketMetricsConfiguration Read LISTED, NONE, Nothing;
    Bucket PUT "metrics" PutBucketMetricsConfiguration Configure ID, NONE, Nothing;
    Bucket DELETE "metrics" DeleteBucketMetricsConfiguration Configure ID, NONE, Nothing;
    Bucket GET "notification" GetBucketNotificationConfiguration Read NONE, NONE, Nothing;
    Bucket PUT "notification" PutBucketNotificationConfiguration Configure NONE,
        &["x-amz-skip-destination-validation"], Nothing;
    Bucket GET "object-lock" GetObjectLockConfiguration Read NONE, NONE, Nothing;
    Bucket PUT "object-lock" PutObjectLockConfiguration Configure NONE, &["x-amz-bucket-object-lock-token"], Nothing;
    Bucket GET "ownershipControls" GetBucketOwnershipControls Read NONE, NONE, Nothing;
    Bucket PUT "ownershipControls" PutBucketOwnershipControls Configure NONE, NONE, Nothing;
    Bucket DELETE "ownershipControls" DeleteBucketOwnershipControls Configure NONE, NONE, Nothing;
    Bucket GET "policy" GetBucketPolicy Read NONE, NONE, BucketNames;
    Bucket PUT "policy" PutBucketPolicy Configure NONE, &["x-amz-confirm-remove-self-bucket-access"], BucketNames;
    Bucket DELETE "policy" DeleteBucketPolicy Configure NONE, NONE, Nothing;
    Bucket GET "policyStatus" GetBucketPolicyStatus Read NONE, NONE, Nothing;
    Bucket GET "publicAccessBlock" GetPublicAccessBlock Read NONE, NONE, Nothing;
    Bucket PUT "publicAccessBlock" PutPublicAccessBlock Configure NONE, NONE, Nothing;
    Bucket DELETE "publicAccessBlock" DeletePublicAccessBlock Configure NONE, NONE, Nothing;
    Bucket GET "replication" GetBucketReplication Read NONE, NONE, BucketNames;
    Bucket PUT "replication" PutBucketReplication Configure NONE, &["x-amz-bucket-object-lock-token"], BucketNames;
    Bucket DELETE "replication" DeleteBucketReplication Configure NONE, NONE, Nothing;
    Bucket GET "requestPayment" GetBucketRequestPayment Read NONE, NONE, Nothing;
    Bucket PUT "requestPayment" PutBucketRequestPayment Configure NONE, NONE, Nothing;
    Bucket GET "tagging" GetBucketTagging Read NONE, NONE, Nothing;
    Bucket PUT "tagging" PutBucketTagging Configure NONE, NONE, Nothing;
    Bucket DELETE "tagging" DeleteBucketTagging Configure NONE, NONE, Nothing;
    Bucket GET "versioning" GetBucketVersioning Read NONE, NONE, Nothing;
    Bucket PUT "versioning" PutBucketVersioning Configure NONE, &["x-amz-mfa"], Nothing;
    Bucket GET "website" GetBucketWebsite Read NONE, NONE, Nothing;
    Bucket PUT "website" PutBucketWebsite Configure NONE, NONE, Nothing;
    Bucket DELETE "website" DeleteBucketWebsite Configure NONE, NONE, Nothing;
    Object GET "acl" GetObjectAcl Read VERSION, NONE, Owner;
    Object PUT "acl" PutObjectAcl Configure VERSION, ACL_HEADERS, Owner;
    Object GET "legal-hold" GetObjectLegalHold Read VERSION, NONE, Nothing;
    Object PUT "legal-hold" PutObjectLegalHold Configure VERSION, NONE, Nothing;
    Object POST "restore" RestoreObject Write VERSION, NONE, Restore;
    Object GET "retention" GetObjectRetention Read VERSION, NONE, Nothing;
    Object PUT "retention" PutObjectRetention Write VERSION, &["x-amz-bypass-governance-retention"], Nothing;
    Object GET "tagging" GetObjectTagging Read VERSION, NONE, Nothing;
    Object PUT "tagging" PutObjectTagging Write VERSION, NONE, Nothing;
    Object DELETE "tagging" DeleteObjectTagging Write VERSION, NONE, Nothing;
}

/// The forwarded operation that a request names, whatever else it carries.
pub(super) fn find(request: &S3Request) -> Option<&'static Forwarding> {
    let on = if request.key.is_some() { On::Object } else { On::Bucket };
    LIST.iter().find(|entry| {
        entry.on == on && entry.method == request.method && request.query.has(entry.subresource)
    })
}

/// Whether a forwarded operation takes a query parameter.
pub(super) fn takes(entry: &Forwarding, parameter: &str) -> bool {
    parameter == entry.subresource || entry.parameters.contains(&parameter)
}

/// All of the list, for tests and tables.
#[cfg(test)]
pub(super) fn all() -> &'static [Forwarding] {
    LIST
}
