//! The S3 backend: a raw HTTP client that signs each request anew.
//!
//! Each worker has its own instance with its own connections. Every upload carries a CRC of what is stored, in a header
//! (up to 256 KiB) or in a trailer, so that a server never keeps a truncated body.

mod answer;
mod client;
mod config;
mod connection;
mod copy;
mod driven;
mod forward;
mod framing;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod listing;
mod multipart;
mod objects;
mod progress;
mod request;
mod versions;
mod xml;

use std::time::SystemTime;

use async_trait::async_trait;
use http::HeaderMap;

use self::client::Client;
pub use self::config::{Checksum, CredentialsProvider, S3Config, ServerKind, StaticCredentials};
pub use self::connection::client_tls;
use super::{
    Backend, BackendError, Capabilities, Conditions, CopyOutcome, CopySource, DeleteKey, DeleteOutcome,
    Forward, Forwarded, GetOptions, GetOutcome, ListOptions, ListPage, ObjectMeta, PartPage, PutOptions,
    PutOutcome, Upload, UploadListOptions, UploadPage, VersionListOptions, VersionPage,
};

/// Keeps objects on an S3 server. Lives on one worker, inside a `LocalSet`: connections are driven by local tasks.
pub struct S3Backend {
    client: Client,
    capabilities: Capabilities,
}

impl std::fmt::Debug for S3Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Backend").field("config", &self.client.config).finish_non_exhaustive()
    }
}

impl S3Backend {
    /// Prepares the backend; connects to nothing yet.
    ///
    /// # Errors
    /// `Protocol`, with a text for the operator, when there is no certificate to trust.
    pub fn new(config: S3Config) -> Result<Self, BackendError> {
        let mut capabilities = config.server.capabilities();
        capabilities.max_put =
            config.largest_put.map_or(capabilities.max_put, |most| most.min(capabilities.max_put));
        capabilities.names_owners |= config.bucket_owner.is_some();
        Ok(Self { client: Client::new(config)?, capabilities })
    }

    /// The buckets of these credentials and when each was made: for command-line clients. A node answers from its
    /// tenants' registry and never asks a backend.
    ///
    /// # Errors
    /// As the other operations.
    pub async fn list_buckets(&self) -> Result<Vec<(String, SystemTime)>, BackendError> {
        listing::list_buckets(&self.client).await
    }
}

#[async_trait(?Send)]
impl Backend for S3Backend {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        objects::create_bucket(&self.client, bucket, HeaderMap::new()).await
    }

    async fn create_bucket_with(&self, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
        objects::create_bucket(&self.client, bucket, headers).await
    }

    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        objects::head_bucket(&self.client, bucket).await
    }

    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        objects::delete_bucket(&self.client, bucket).await
    }

    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        objects::put(&self.client, bucket, key, options, body).await
    }

    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        objects::get(&self.client, bucket, key, &options).await
    }

    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        objects::head(&self.client, bucket, key, &options).await
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        objects::delete(&self.client, bucket, key, version_id, &conditions, HeaderMap::new()).await
    }

    async fn delete_with(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
        headers: HeaderMap,
    ) -> Result<DeleteOutcome, BackendError> {
        objects::delete(&self.client, bucket, key, version_id, &conditions, headers).await
    }

    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
        objects::delete_many(&self.client, bucket, keys).await
    }

    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        listing::list(&self.client, bucket, options, false).await
    }

    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        listing::list(&self.client, bucket, options, true).await
    }

    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError> {
        self.create_upload_told(bucket, key, options).await.map(|(id, _)| id)
    }

    async fn create_upload_told(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<(String, HeaderMap), BackendError> {
        multipart::create(&self.client, bucket, key, options).await
    }

    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        multipart::upload_part(&self.client, bucket, key, upload_id, number, body).await
    }

    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError> {
        multipart::list_parts(&self.client, bucket, key, upload_id, after, max_parts).await
    }

    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError> {
        self.complete_upload_with(bucket, key, upload_id, parts, conditions, HeaderMap::new()).await
    }

    async fn complete_upload_with(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
        checksum: HeaderMap,
    ) -> Result<PutOutcome, BackendError> {
        multipart::complete(&self.client, bucket, key, upload_id, parts, &conditions, &checksum).await
    }

    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError> {
        multipart::abort(&self.client, bucket, key, upload_id).await
    }

    async fn list_uploads(
        &self,
        bucket: &str,
        options: UploadListOptions,
    ) -> Result<UploadPage, BackendError> {
        listing::list_uploads(&self.client, bucket, options).await
    }

    async fn list_versions(
        &self,
        bucket: &str,
        options: VersionListOptions,
    ) -> Result<VersionPage, BackendError> {
        versions::list(&self.client, bucket, options).await
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, BackendError> {
        forward::forward(&self.client, request).await
    }

    async fn copy(
        &self,
        source: CopySource,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<CopyOutcome, BackendError> {
        copy::object(&self.client, &source, bucket, key, options).await
    }

    async fn copy_part(
        &self,
        source: CopySource,
        range: Option<(u64, u64)>,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
    ) -> Result<CopyOutcome, BackendError> {
        copy::part(&self.client, &source, range, (bucket, key), upload_id, number).await
    }
}
