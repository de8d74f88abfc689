//! The filesystem backend: durable, atomic, safe against crashes at any point, and the embedded default.
//!
//! [`commit`] says how things become visible; docs/filesystem-backend.md specifies what lies on disk. Everything that
//! touches the disk runs on the blocking pool. Any number of instances, in one process or several on the same machine,
//! may share a root: what must not interleave is under `flock`s.
//!
//! Versions, tags, locks and ACLs are not supported: `Unsupported`, never silently ignored.

mod commit;
mod conditions;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod listing;
mod names;
pub mod offline;
mod options;
mod read;
mod record;
mod root;
mod space;
mod sweep;
mod uploads;
mod walk;
mod write;

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use http::HeaderMap;

use self::commit::Pending;
use self::record::{Head, Kind, Record, Segment};
use self::space::Bucket;
use super::{
    Backend, BackendError, Capabilities, Conditions, DeleteKey, DeleteOutcome, GetOptions, GetOutcome,
    ListOptions, ListPage, ObjectMeta, PartPage, PutOptions, PutOutcome, Upload, UploadListOptions,
    UploadPage,
};

/// Keeps objects in a directory. See the module's text.
#[derive(Clone, Debug)]
pub struct FsBackend {
    root: PathBuf,
    capabilities: Capabilities,
}

impl FsBackend {
    /// Opens a directory, making it when it is not there, and removes what crashes left in it.
    ///
    /// Blocks: for the start of a process, not for its course.
    ///
    /// # Errors
    /// The directory can't be made or read, was made by a version that this one doesn't know, has a path of more than 800
    /// bytes, or lies on a file system that cannot swap two files atomically (`renameat2` with `RENAME_EXCHANGE`).
    pub fn open(root: PathBuf) -> io::Result<Self> {
        let root = root::open(&root)?;
        let capabilities = Capabilities {
            max_put: options::MAX_SIZE,
            max_part: options::MAX_SIZE,
            max_object: options::MAX_SIZE,
            max_part_number: 10_000,
            max_user_metadata: options::MAX_METADATA,
            suffix_ranges: true,
            conditional_put: true,
            conditional_complete: true,
            conditional_delete: true,
            conditional_delete_many: true,
            folds_keys: false,
            marker_metadata: true,
            part_etags_enforced: true,
            sorted_listings: true,
            upload_pages: true,
        };
        Ok(Self { root, capabilities })
    }

    /// Runs what touches a bucket on the blocking pool.
    async fn in_bucket<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(Bucket) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (root, name) = (self.root.clone(), name.to_owned());
        blocking(move || work(Bucket::open(&root, &name)?)).await
    }
}

/// Runs work that blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn outcome(head: &Head) -> PutOutcome {
    PutOutcome { etag: head.etag(), version_id: None, headers: HeaderMap::new() }
}

fn object_meta(head: Head) -> Result<ObjectMeta, BackendError> {
    Ok(ObjectMeta {
        size: head.size,
        etag: head.etag(),
        last_modified: conditions::modified(&head),
        version_id: None,
        headers: options::stored_headers(&head)?,
        metadata: head.metadata,
    })
}

fn delete_one(bucket: &Bucket, key: &str, conditions: &Conditions) -> Result<DeleteOutcome, BackendError> {
    let leaf = bucket.leaf(key)?;
    let _lock = bucket.lock_key(key)?;
    if *conditions != Conditions::default() {
        conditions::check_write(conditions, bucket.live_head(key)?.as_ref())?;
    }
    commit::withdraw(bucket, &leaf)?;
    Ok(DeleteOutcome::default())
}

fn commit_object(
    bucket: &Bucket,
    mut pending: Pending,
    mut head: Head,
    conditions: &Conditions,
) -> Result<PutOutcome, BackendError> {
    head.id = pending.id();
    let segments: Vec<_> =
        (head.size > 0).then_some(Segment { id: head.id, length: head.size }).into_iter().collect();
    head.segments = u32::try_from(segments.len()).unwrap_or(0);
    let record = Record { head, segments };
    let leaf = bucket.leaf(&record.head.key)?;
    pending.write(&record)?;
    let _lock = bucket.lock_key(&record.head.key)?;
    if *conditions != Conditions::default() {
        conditions::check_write(conditions, bucket.live_head(&record.head.key)?.as_ref())?;
    }
    pending.publish(&leaf)?;
    Ok(outcome(&record.head))
}

#[async_trait(?Send)]
impl Backend for FsBackend {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        let (root, bucket) = (self.root.clone(), bucket.to_owned());
        blocking(move || root::create_bucket(&root, &bucket)).await
    }

    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.in_bucket(bucket, |_| Ok(())).await
    }

    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        let root = self.root.clone();
        self.in_bucket(bucket, move |bucket| root::delete_bucket(&root, &bucket)).await
    }

    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        let head = options::head(Kind::Object, key, &options, body.length)?;
        let wanted = options.conditions;
        // What can be refused is refused before the first byte is asked for.
        let (early, key) = (wanted.clone(), key.to_owned());
        let bucket = self
            .in_bucket(bucket, move |bucket| {
                bucket.leaf(&key)?;
                if early != Conditions::default() {
                    conditions::check_write(&early, bucket.live_head(&key)?.as_ref())?;
                }
                Ok(bucket)
            })
            .await?;
        let place = bucket.clone();
        write::receive(bucket, body, move |pending| commit_object(&place, pending, head, &wanted)).await
    }

    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        options::refuse_version(options.version_id.as_deref())?;
        let key = key.to_owned();
        let (head, range, length, parts) = self
            .in_bucket(bucket, move |bucket| {
                let opened = read::open(&bucket, &key)?;
                let head = opened.record.head.clone();
                conditions::check_read(&options.conditions, &head)?;
                let range = options.range.map(|range| read::resolve(range, head.size)).transpose()?;
                let (first, length) = range.map_or((0, head.size), |(first, last)| (first, last - first + 1));
                let parts = opened.reader(first, length).into_parts()?;
                Ok((head, range, length, parts))
            })
            .await?;
        let range = range.map(|(first, last)| (first, last, head.size));
        Ok(GetOutcome { meta: object_meta(head)?, range, length, body: read::into_stream(parts) })
    }

    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        options::refuse_version(options.version_id.as_deref())?;
        let key = key.to_owned();
        let head = self
            .in_bucket(bucket, move |bucket| {
                let head = bucket
                    .live_head(&key)?
                    .ok_or_else(|| BackendError::s3(404, "NoSuchKey", "the key does not exist"))?;
                conditions::check_read(&options.conditions, &head)?;
                Ok(head)
            })
            .await?;
        object_meta(head)
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        options::refuse_version(version_id)?;
        let key = key.to_owned();
        self.in_bucket(bucket, move |bucket| delete_one(&bucket, &key, &conditions)).await
    }

    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
        let keys = keys.to_vec();
        self.in_bucket(bucket, move |bucket| {
            Ok(keys
                .into_iter()
                .map(|wanted| {
                    options::refuse_version(wanted.version_id.as_deref())?;
                    let conditions = Conditions { if_match: wanted.etag, ..Conditions::default() };
                    delete_one(&bucket, &wanted.key, &conditions)
                })
                .collect())
        })
        .await
    }

    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.in_bucket(bucket, move |bucket| listing::page(&bucket.tree(), &options, false)).await
    }

    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.in_bucket(bucket, move |bucket| listing::page(&bucket.tree(), &options, true)).await
    }

    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError> {
        let mut head = options::head(Kind::Upload, key, &options, 0)?;
        self.in_bucket(bucket, move |bucket| {
            bucket.leaf(&head.key)?;
            head.id = record::Id::random()?;
            head.upload = uploads::new_upload_id()?;
            let record = Record { head, segments: Vec::new() };
            uploads::create(&bucket, &record)?;
            Ok(record.head.upload)
        })
        .await
    }

    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        if !(1..=10_000).contains(&number) {
            return Err(BackendError::s3(400, "InvalidArgument", "part numbers are 1 to 10,000"));
        }
        let mut head = options::head(Kind::Part, key, &PutOptions::default(), body.length)?;
        (head.upload, head.segments) = (upload_id.to_owned(), 1);
        let (key, upload_id) = (key.to_owned(), upload_id.to_owned());
        let bucket = self
            .in_bucket(bucket, move |bucket| uploads::load(&bucket, &key, &upload_id).map(|_| bucket))
            .await?;
        let place = bucket.clone();
        let commit = move |pending| uploads::commit_part(&place, pending, head, number);
        write::receive(bucket, body, commit).await.map(|head| outcome(&head))
    }

    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError> {
        let (key, upload_id) = (key.to_owned(), upload_id.to_owned());
        self.in_bucket(bucket, move |bucket| uploads::list_parts(&bucket, &key, &upload_id, after, max_parts))
            .await
    }

    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError> {
        let (key, upload_id, parts) = (key.to_owned(), upload_id.to_owned(), parts.to_vec());
        let now = options::now();
        self.in_bucket(bucket, move |bucket| {
            uploads::complete(&bucket, &key, &upload_id, &parts, &conditions, now).map(|head| outcome(&head))
        })
        .await
    }

    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError> {
        let (key, upload_id) = (key.to_owned(), upload_id.to_owned());
        self.in_bucket(bucket, move |bucket| uploads::abort(&bucket, &key, &upload_id)).await
    }

    async fn list_uploads(
        &self,
        bucket: &str,
        options: UploadListOptions,
    ) -> Result<UploadPage, BackendError> {
        self.in_bucket(bucket, move |bucket| uploads::list_uploads(&bucket, &options)).await
    }
}
