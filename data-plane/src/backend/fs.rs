//! The filesystem backend: durable, atomic, safe against crashes at any point, and the embedded default.
//!
//! [`commit`] says how things become visible; docs/filesystem-backend.md specifies what lies on disk. Everything that
//! touches the disk runs on the blocking pool. Any number of instances, in one process or several on the same machine,
//! may share a root: what must not interleave is under `flock`s.
//!
//! Besides objects it keeps their versions, tags and locks, and the bucket's own settings ([`forward`]); what it does not carry
//! out is refused, never silently ignored.

mod commit;
mod conditions;
mod copy;
mod cors;
mod delete;
mod documents;
mod forward;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod lifecycle;
mod listing;
mod lock;
mod names;
pub mod offline;
mod options;
mod read;
mod record;
mod root;
mod settings;
mod space;
mod sweep;
mod tags;
mod uploads;
mod version_list;
mod versions;
mod walk;
mod write;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use http::HeaderMap;

use self::commit::Pending;
use self::record::{Head, Kind, Record, Segment};
use self::space::Bucket;
use self::versions::Mode;
use super::{
    Backend, BackendError, Capabilities, Conditions, CopyOutcome, CopySource, DeleteKey, DeleteOutcome,
    Forward, Forwarded, GetOptions, GetOutcome, ListOptions, ListPage, ObjectMeta, PartPage, PartSpan,
    PutOptions, PutOutcome, Upload, UploadListOptions, UploadPage, VersionListOptions, VersionPage,
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
            delete_after_a_look: false,
            pinned_copies: true,
            conditional_copy: true,
            conditional_delete_many: true,
            folds_keys: false,
            folds_backslashes: false,
            marker_metadata: true,
            part_etags_enforced: true,
            sorted_listings: true,
            upload_pages: true,
            names_owners: true,
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

/// A write's answer. A version id is one of its own: of the `null` version a write names none, as S3.
fn outcome(head: &Head) -> PutOutcome {
    let version_id = head.has_version_id.then(|| head.version_id());
    PutOutcome { etag: head.etag(), version_id, headers: HeaderMap::new() }
}

fn copied(head: &Head) -> CopyOutcome {
    let PutOutcome { etag, version_id, headers } = outcome(head);
    CopyOutcome { etag, last_modified: conditions::modified(head), version_id, headers }
}

/// The object, or a part of it, and of how many.
fn part_meta(
    head: Head,
    version_id: Option<String>,
    part: Option<PartSpan>,
) -> Result<ObjectMeta, BackendError> {
    let count = (part.is_some() && !head.upload.is_empty()).then_some(head.segments);
    let mut meta = ObjectMeta { part, ..object_meta(head, version_id)? };
    if let Some(count) = count {
        meta.headers.insert("x-amz-mp-parts-count", count.into());
    }
    Ok(meta)
}

fn object_meta(head: Head, version_id: Option<String>) -> Result<ObjectMeta, BackendError> {
    Ok(ObjectMeta {
        size: head.size,
        etag: head.etag(),
        last_modified: conditions::modified(&head),
        version_id,
        headers: options::stored_headers(&head)?,
        metadata: head.metadata,
        part: None,
    })
}

fn commit_object(
    bucket: &Bucket,
    mut pending: Pending,
    mut head: Head,
    conditions: &Conditions,
) -> Result<Head, BackendError> {
    head.id = pending.id();
    let segments: Vec<_> =
        (head.size > 0).then_some(Segment { id: head.id, length: head.size }).into_iter().collect();
    head.segments = u32::try_from(segments.len()).unwrap_or(0);
    let mut record = Record { head, segments };
    // Where versions are kept the record says which one it is, and that is known under the key's lock only.
    let plain = versions::mode(bucket, &record.head.key)? == Mode::Never;
    if plain {
        pending.write(&record)?;
    }
    let _lock = bucket.lock_key(&record.head.key)?;
    if *conditions != Conditions::default() {
        conditions::check_write(conditions, bucket.object_head(&record.head.key)?.as_ref())?;
    }
    versions::publish(bucket, pending, &mut record, plain)?;
    Ok(record.head)
}

#[async_trait(?Send)]
impl Backend for FsBackend {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        let (root, bucket) = (self.root.clone(), bucket.to_owned());
        blocking(move || root::create_bucket(&root, &bucket, |_| Ok(()))).await
    }

    async fn create_bucket_with(&self, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
        let wanted = settings::Wanted::from_headers(&headers)?;
        let (root, bucket) = (self.root.clone(), bucket.to_owned());
        blocking(move || root::create_bucket(&root, &bucket, |bucket| wanted.apply(bucket))).await
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
        let (early, asked) = (wanted.clone(), head.clone());
        let bucket = self
            .in_bucket(bucket, move |bucket| {
                bucket.leaf(&asked.key)?;
                lock::check_early(&bucket, &asked)?;
                if early != Conditions::default() {
                    conditions::check_write(&early, bucket.object_head(&asked.key)?.as_ref())?;
                }
                Ok(bucket)
            })
            .await?;
        let place = bucket.clone();
        let commit = move |pending| {
            let head = commit_object(&place, pending, head, &wanted)?;
            Ok(outcome(&head))
        };
        write::receive(bucket, body, commit).await
    }

    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        let key = key.to_owned();
        let (meta, range, length, parts) = self
            .in_bucket(bucket, move |bucket| {
                let opened = read::open(&bucket, &key, options.version_id.as_deref())?;
                let head = opened.record.head.clone();
                conditions::check_read(&options.conditions, &head)?;
                let part = options.part.map(|number| opened.part(number)).transpose()?;
                let range = match part {
                    Some(part) => part.range.map(|(first, last, _)| (first, last)),
                    None => options.range.map(|range| read::resolve(range, head.size)).transpose()?,
                };
                let (first, length) = match (range, part) {
                    (Some((first, last)), _) => (first, last - first + 1),
                    (None, Some(_)) => (0, 0),
                    (None, None) => (0, head.size),
                };
                let parts = opened.reader(first, length).into_parts()?;
                let version = versions::shown(&bucket, &head)?;
                Ok((part_meta(head, version, part)?, range, length, parts))
            })
            .await?;
        let range = range.map(|(first, last)| (first, last, meta.size));
        Ok(GetOutcome { meta, range, length, body: read::into_stream(parts) })
    }

    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        let key = key.to_owned();
        self.in_bucket(bucket, move |bucket| {
            let (head, part) = match options.part {
                None => (versions::locate(&bucket, &key, options.version_id.as_deref())?.head, None),
                Some(number) => {
                    // Where parts begin stands in the segment table alone.
                    let opened = read::open(&bucket, &key, options.version_id.as_deref())?;
                    (opened.record.head.clone(), Some(opened.part(number)))
                }
            };
            conditions::check_read(&options.conditions, &head)?;
            let version = versions::shown(&bucket, &head)?;
            part_meta(head, version, part.transpose()?)
        })
        .await
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        self.delete_with(bucket, key, version_id, conditions, HeaderMap::new()).await
    }

    async fn delete_with(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
        headers: HeaderMap,
    ) -> Result<DeleteOutcome, BackendError> {
        let bypass = delete::bypass(&headers)?;
        let (key, version) = (key.to_owned(), version_id.map(str::to_owned));
        self.in_bucket(bucket, move |bucket| {
            delete::one(&bucket, &key, version.as_deref(), &conditions, bypass)
        })
        .await
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
                    let conditions = Conditions { if_match: wanted.etag, ..Conditions::default() };
                    delete::one(&bucket, &wanted.key, wanted.version_id.as_deref(), &conditions, false)
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
            lock::check_early(&bucket, &head)?;
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
        uploads::check_number(number)?;
        let mut head = options::head(Kind::Part, key, &PutOptions::default(), body.length)?;
        (head.upload, head.segments) = (upload_id.to_owned(), 1);
        let (key, upload_id) = (key.to_owned(), upload_id.to_owned());
        let bucket = self
            .in_bucket(bucket, move |bucket| uploads::load(&bucket, &key, &upload_id).map(|_| bucket))
            .await?;
        let place = bucket.clone();
        let commit = move |pending| {
            let head = uploads::commit_part(&place, pending, head, number)?;
            Ok(outcome(&head))
        };
        write::receive(bucket, body, commit).await
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
            let head = uploads::complete(&bucket, &key, &upload_id, &parts, &conditions, now)?;
            Ok(outcome(&head))
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

    async fn list_versions(
        &self,
        bucket: &str,
        options: VersionListOptions,
    ) -> Result<VersionPage, BackendError> {
        self.in_bucket(bucket, move |bucket| version_list::page(&bucket, &options)).await
    }

    async fn replace_metadata(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        known: &BTreeMap<String, String>,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), BackendError> {
        options::check_metadata(&metadata)?;
        let (key, version, known) = (key.to_owned(), version_id.map(str::to_owned), known.clone());
        self.in_bucket(bucket, move |bucket| {
            versions::revise(&bucket, &key, version.as_deref(), |head| {
                if head.metadata != known {
                    return Err(conditions::failed());
                }
                head.metadata = metadata;
                Ok(())
            })
            .map(drop)
        })
        .await
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, BackendError> {
        let name = request.bucket.clone();
        self.in_bucket(&name, move |bucket| forward::answer(&bucket, &request)).await
    }

    async fn copy(
        &self,
        source: CopySource,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<CopyOutcome, BackendError> {
        let (root, key) = (self.root.clone(), key.to_owned());
        self.in_bucket(bucket, move |bucket| {
            bucket.leaf(&key)?;
            let opened = copy::open(&root, &source)?;
            let size = opened.record.head.size;
            let head = options::head(Kind::Object, &key, &options, size)?;
            lock::check_early(&bucket, &head)?;
            let pending = copy::body(&bucket, opened, 0, size)?;
            commit_object(&bucket, pending, head, &options.conditions).map(|head| copied(&head))
        })
        .await
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
        let (root, key, upload_id) = (self.root.clone(), key.to_owned(), upload_id.to_owned());
        self.in_bucket(bucket, move |bucket| {
            uploads::check_number(number)?;
            uploads::load(&bucket, &key, &upload_id)?;
            let opened = copy::open(&root, &source)?;
            let (from, length) = copy::span(range, opened.record.head.size)?;
            let mut head = options::head(Kind::Part, &key, &PutOptions::default(), length)?;
            (head.upload, head.segments) = (upload_id, 1);
            let pending = copy::body(&bucket, opened, from, length)?;
            uploads::commit_part(&bucket, pending, head, number).map(|head| copied(&head))
        })
        .await
    }
}
