//! A backend that is asked to encrypt whatever is written through it. A policy there may refuse a write without these
//! headers (AWS: "Requiring encryption"), and knows nothing of ours: hidden objects and a work bucket's count as well. Parts
//! do not carry them, their upload did.

use std::collections::BTreeMap;
use std::rc::Rc;

use async_trait::async_trait;
use http::HeaderMap;

use super::{
    Backend, BackendError, Capabilities, Conditions, CopyOutcome, CopySource, DeleteKey, DeleteOutcome,
    Forward, Forwarded, GetOptions, GetOutcome, ListOptions, ListPage, ObjectMeta, PartPage, PutOptions,
    PutOutcome, Upload, UploadListOptions, UploadPage, VersionListOptions, VersionPage,
};

/// Another backend, and what is asked of it.
pub struct Asking {
    inner: Rc<dyn Backend>,
    headers: HeaderMap,
}

impl Asking {
    /// Adds the headers to every object and upload that the backend is given.
    pub fn new(inner: Rc<dyn Backend>, headers: HeaderMap) -> Self {
        Self { inner, headers }
    }

    /// In the place of what a client asked for: the bucket's rule is the operator's.
    fn with(&self, mut options: PutOptions) -> PutOptions {
        options.headers.extend(self.headers.clone());
        options
    }
}

#[async_trait(?Send)]
impl Backend for Asking {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.inner.create_bucket(bucket).await
    }

    async fn create_bucket_with(&self, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
        self.inner.create_bucket_with(bucket, headers).await
    }

    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.inner.head_bucket(bucket).await
    }

    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.inner.delete_bucket(bucket).await
    }

    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        self.inner.put(bucket, key, self.with(options), body).await
    }

    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        self.inner.get(bucket, key, options).await
    }

    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        self.inner.head(bucket, key, options).await
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        self.inner.delete(bucket, key, version_id, conditions).await
    }

    async fn delete_with(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
        headers: HeaderMap,
    ) -> Result<DeleteOutcome, BackendError> {
        self.inner.delete_with(bucket, key, version_id, conditions, headers).await
    }

    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
        self.inner.delete_many(bucket, keys).await
    }

    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.inner.list_v1(bucket, options).await
    }

    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.inner.list_v2(bucket, options).await
    }

    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError> {
        self.inner.create_upload(bucket, key, self.with(options)).await
    }

    async fn create_upload_told(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<(String, HeaderMap), BackendError> {
        self.inner.create_upload_told(bucket, key, self.with(options)).await
    }

    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        self.inner.upload_part(bucket, key, upload_id, number, body).await
    }

    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError> {
        self.inner.list_parts(bucket, key, upload_id, after, max_parts).await
    }

    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError> {
        self.inner.complete_upload(bucket, key, upload_id, parts, conditions).await
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
        self.inner.complete_upload_with(bucket, key, upload_id, parts, conditions, checksum).await
    }

    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError> {
        self.inner.abort_upload(bucket, key, upload_id).await
    }

    async fn list_uploads(
        &self,
        bucket: &str,
        options: UploadListOptions,
    ) -> Result<UploadPage, BackendError> {
        self.inner.list_uploads(bucket, options).await
    }

    async fn list_versions(
        &self,
        bucket: &str,
        options: VersionListOptions,
    ) -> Result<VersionPage, BackendError> {
        self.inner.list_versions(bucket, options).await
    }

    async fn copy(
        &self,
        source: CopySource,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<CopyOutcome, BackendError> {
        self.inner.copy(source, bucket, key, self.with(options)).await
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
        self.inner.copy_part(source, range, bucket, key, upload_id, number).await
    }

    async fn replace_metadata(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        known: &BTreeMap<String, String>,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), BackendError> {
        self.inner.replace_metadata(bucket, key, version_id, known, metadata).await
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, BackendError> {
        self.inner.forward(request).await
    }
}
