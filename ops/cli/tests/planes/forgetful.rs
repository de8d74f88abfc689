//! A backend that forgets uploads in listings, as MinIO does after a restart, and knows them when asked by id.

use std::rc::Rc;

use async_trait::async_trait;
use sealgate_data_plane::backend::{
    Backend, BackendError, Capabilities, Conditions, DeleteKey, DeleteOutcome, GetOptions, GetOutcome,
    ListOptions, ListPage, ObjectMeta, PartPage, PutOptions, PutOutcome, Upload, UploadListOptions,
    UploadPage,
};

pub struct Forgetful(pub Rc<dyn Backend>);

#[async_trait(?Send)]
impl Backend for Forgetful {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }
    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.0.create_bucket(bucket).await
    }
    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.0.head_bucket(bucket).await
    }
    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.0.delete_bucket(bucket).await
    }
    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        self.0.put(bucket, key, options, body).await
    }
    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        self.0.get(bucket, key, options).await
    }
    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        self.0.head(bucket, key, options).await
    }
    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        self.0.delete(bucket, key, version_id, conditions).await
    }
    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
        self.0.delete_many(bucket, keys).await
    }
    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.0.list_v1(bucket, options).await
    }
    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.0.list_v2(bucket, options).await
    }
    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError> {
        self.0.create_upload(bucket, key, options).await
    }
    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        self.0.upload_part(bucket, key, upload_id, number, body).await
    }
    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError> {
        self.0.list_parts(bucket, key, upload_id, after, max_parts).await
    }
    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError> {
        self.0.complete_upload(bucket, key, upload_id, parts, conditions).await
    }
    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError> {
        self.0.abort_upload(bucket, key, upload_id).await
    }
    async fn list_uploads(&self, _: &str, _: UploadListOptions) -> Result<UploadPage, BackendError> {
        Ok(UploadPage::default())
    }
}
