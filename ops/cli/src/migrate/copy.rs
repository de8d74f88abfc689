//! One version's way from one bucket into the other: read, hashed while it is written, and read back.
//!
//! Memory is bounded by the pieces in flight. What is larger than one PUT should be goes in parts, one after the other, so
//! that one hash covers all of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, ByteStream, Conditions, GetOptions, GetOutcome, ObjectMeta, PutOptions,
    PutOutcome, StoredRange, Upload, VersionListOptions,
};
use sealgate_data_plane::large::is_refusal;
use sealgate_data_plane::pipeline::stream_error;
use sha2::{Digest as _, Sha256};

use super::about::{About, set_again, tags};
use super::retry::persist;
use super::state::{Copied, Version};
use crate::failure::{Failure, Outcome};

/// Above this many bytes an object goes in parts …
const ONE_PUT: u64 = 256 << 20;
/// … of so many at least …
const PART: u64 = 64 << 20;
/// … and no more than so many.
const MOST_PARTS: u64 = 9_999;

/// Two buckets.
pub struct Copier<'a> {
    pub backend: &'a S3Backend,
    pub from: &'a str,
    pub to: &'a str,
    pub versioned: bool,
    pub bar: ProgressBar,
}

/// What is missing or another by now.
const GONE: &[&str] = &["NoSuchKey", "NoSuchVersion", "PreconditionFailed"];

/// Whether what was listed is missing, or another by now. versitygw says of some versions that go meanwhile that their id is none.
fn is_gone(error: &BackendError) -> bool {
    let no_id = matches!(error, BackendError::S3 { message, .. } if message.contains("Invalid version id"));
    no_id || GONE.iter().any(|code| error.is(code))
}

/// What stands for a copy that is not one.
const DIFFERS: &str = "CopyDiffers";

/// What stands for an object whose metadata cannot be written as text.
const NO_TEXT: &str = "MetadataIsNoText";

impl Copier<'_> {
    /// Copies a version and proves the copy; none when the source has another by now.
    pub async fn copy(&self, key: &str, version: &Version) -> Outcome<Option<Copied>> {
        let made = match version.delete_marker {
            true => {
                persist(async || self.mark_deleted(key).await).await.map(|target| (String::new(), target))
            }
            false => persist(async || self.attempt(key, version).await).await,
        };
        match made {
            Ok((about, target)) => Ok(Some(Copied { source: version.clone(), about, target })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Takes what is in the target already for the copy, if it is one; else none.
    pub async fn adopt(&self, key: &str, version: &Version) -> Outcome<Option<Copied>> {
        let there = persist(async || self.backend.head(self.to, key, GetOptions::default()).await).await;
        let there = match there {
            Ok(there) if there.size == version.size => there,
            Ok(_) => return Ok(None),
            Err(error) if error.is("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.failed(key, &error)),
        };
        let compared = persist(async || {
            let source = self.backend.get(self.from, key, self.reading(version, None)).await?;
            let wanted = About::new(&source.meta, tags(self.backend, self.from, key, "").await?.as_deref());
            let hash = self.digest(source.body).await?;
            let tags = tags(self.backend, self.to, key, "").await?;
            let found = About::new(&there, tags.as_deref());
            let same =
                wanted.hash() == found.hash() && self.is_copy(key, &there.etag, &wanted, &hash).await?;
            Ok(same.then(|| (wanted.hash(), there.etag.clone())))
        });
        match compared.await {
            Ok(same) => Ok(same.map(|(about, target)| Copied { source: version.clone(), about, target })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Whether tags, locks and metadata are those that were copied. Of an old version they can change, and are set again.
    pub async fn still_same(&self, key: &str, copied: &mut Copied) -> Outcome<bool> {
        if copied.source.delete_marker {
            return Ok(true);
        }
        let looked = persist(async || {
            let options = self.reading(&copied.source, None);
            let meta = self.backend.head(self.from, key, options).await?;
            let tags = tags(self.backend, self.from, key, &copied.source.id).await?;
            Ok(About::new(&meta, tags.as_deref()))
        });
        let now = match looked.await {
            Ok(now) => now,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(self.failed(key, &error)),
        };
        if now.hash() == copied.about {
            return Ok(true);
        }
        if self.versioned {
            let (from, to) = ((self.from, copied.source.id.as_str()), (self.to, copied.target.as_str()));
            persist(async || set_again(self.backend, from, to, key, &now).await)
                .await
                .map_err(|error| self.failed(key, &error))?;
            copied.about = now.hash();
        }
        Ok(self.versioned)
    }

    /// Removes a key from the target with all these versions.
    pub async fn clear(&self, key: &str, versions: &[Version]) -> Outcome<()> {
        for version in versions {
            let id = (!version.id.is_empty()).then_some(version.id.as_str());
            persist(async || self.backend.delete(self.to, key, id, Conditions::default()).await)
                .await
                .map_err(|error| self.failed(key, &error))?;
        }
        Ok(())
    }

    async fn mark_deleted(&self, key: &str) -> Result<String, BackendError> {
        let made = self.backend.delete(self.to, key, None, Conditions::default()).await?;
        if let Some(id) = made.version_id {
            return Ok(id);
        }
        // Some storages do not tell the id of what they made.
        let options = VersionListOptions {
            prefix: key.to_owned(),
            delimiter: None,
            key_marker: String::new(),
            version_id_marker: String::new(),
            max_keys: 1_000,
        };
        let page = self.backend.list_versions(self.to, options).await?;
        let newest = page.entries.into_iter().find(|entry| entry.object.key == key && entry.is_latest);
        newest.filter(|entry| entry.delete_marker).map(|entry| entry.version_id).ok_or_else(|| {
            BackendError::Protocol("a deletion in a bucket with versions made no delete marker".to_owned())
        })
    }

    async fn attempt(&self, key: &str, version: &Version) -> Result<(String, String), BackendError> {
        let GetOutcome { meta, body, .. } =
            self.backend.get(self.from, key, self.reading(version, None)).await?;
        if let Some((name, _)) = meta.unreadable().next() {
            return Err(BackendError::s3(
                400,
                NO_TEXT,
                format!("its {name} is not UTF-8 and cannot be copied"),
            ));
        }
        let tags = tags(self.backend, self.from, key, &version.id).await?;
        let about = match self.versioned {
            true => {
                // Some storages tell locks with HEAD only.
                let options = self.reading(version, None);
                About::new(&self.backend.head(self.from, key, options).await?, tags.as_deref())
            }
            false => About::new(&meta, tags.as_deref()),
        };
        let (stored, hash) = if meta.size > ONE_PUT {
            drop(body);
            self.in_parts(key, version, meta.size, about.options()).await?
        } else {
            let hash = Rc::new(RefCell::new(Sha256::new()));
            let upload = Upload { length: meta.size, stream: self.hashed(body, &hash) };
            let stored = self.backend.put(self.to, key, about.options(), upload).await?;
            let hash = hash.borrow().clone();
            (stored, hash.finalize().into())
        };
        let target = match self.versioned {
            true => stored.version_id.ok_or_else(|| {
                BackendError::Protocol("a write into a bucket with versions has no version id".to_owned())
            })?,
            false => stored.etag,
        };
        if !self.is_copy(key, &target, &about, &hash).await? {
            return Err(BackendError::s3(422, DIFFERS, "the copy is not what was read"));
        }
        Ok((about.hash(), target))
    }

    /// Reads a copy back.
    async fn is_copy(
        &self,
        key: &str,
        target: &str,
        about: &About,
        hash: &[u8; 32],
    ) -> Result<bool, BackendError> {
        let exactly = |id: &str, etag: &str| Version {
            id: id.to_owned(),
            etag: etag.to_owned(),
            size: 0,
            modified: 0,
            delete_marker: false,
        };
        let copy = if self.versioned { exactly(target, "") } else { exactly("", target) };
        let back = self.backend.get(self.to, key, self.reading(&copy, None)).await?;
        let mut meta = back.meta;
        if !about.same_content(&meta) || self.digest(back.body).await? != *hash {
            return Ok(false);
        }
        // Two more requests, but only for the few that have something to lose.
        if !about.has_settings() {
            return Ok(true);
        }
        if self.versioned {
            meta = self.backend.head(self.to, key, self.reading(&copy, None)).await?;
        }
        let tags = tags(self.backend, self.to, key, &copy.id).await?;
        Ok(about.has_lost_nothing(&About::new(&meta, tags.as_deref())))
    }

    /// Exactly this version.
    fn reading(&self, version: &Version, range: Option<StoredRange>) -> GetOptions {
        let versioned = !version.id.is_empty();
        let if_match = (!versioned).then(|| format!("\"{}\"", version.etag));
        GetOptions {
            range,
            conditions: Conditions { if_match, ..Conditions::default() },
            version_id: versioned.then(|| version.id.clone()),
            ..GetOptions::default()
        }
    }

    fn hashed(&self, body: ByteStream, hash: &Rc<RefCell<Sha256>>) -> ByteStream {
        let (hash, bar) = (Rc::clone(hash), self.bar.clone());
        Box::pin(body.inspect(move |piece| {
            if let Ok(piece) = piece {
                hash.borrow_mut().update(piece);
                bar.inc(piece.len() as u64);
            }
        }))
    }

    async fn digest(&self, mut body: ByteStream) -> Result<[u8; 32], BackendError> {
        let mut hash = Sha256::new();
        while let Some(piece) = body.next().await {
            hash.update(piece.map_err(stream_error)?);
        }
        Ok(hash.finalize().into())
    }

    async fn in_parts(
        &self,
        key: &str,
        version: &Version,
        size: u64,
        options: PutOptions,
    ) -> Result<(PutOutcome, [u8; 32]), BackendError> {
        let before = self.current(key).await?;
        let id = self.backend.create_upload(self.to, key, options).await?;
        // Once it may have become the object it stays: some servers destroy an object whose upload is aborted.
        let aborted = Cell::new(true);
        let sent = async {
            let part = size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).max(PART);
            let (mut hash, mut parts, mut from) = (Sha256::new(), Vec::new(), 0);
            for number in 1.. {
                let last = (from + part).min(size) - 1;
                let (etag, hashed) = persist(async || {
                    let range = Some(StoredRange::Inclusive(from, last));
                    let piece = self.backend.get(self.from, key, self.reading(version, range)).await?;
                    let hash = Rc::new(RefCell::new(hash.clone()));
                    let upload = Upload { length: last + 1 - from, stream: self.hashed(piece.body, &hash) };
                    let stored = self.backend.upload_part(self.to, key, &id, number, upload).await?;
                    let hash = hash.borrow().clone();
                    Ok((stored.etag, hash))
                })
                .await?;
                parts.push((number, etag));
                (hash, from) = (hashed, last + 1);
                if from == size {
                    break;
                }
            }
            let conditions = Conditions::default();
            aborted.set(false);
            let made = match self.backend.complete_upload(self.to, key, &id, &parts, conditions).await {
                Ok(made) => made,
                Err(error) => {
                    aborted.set(is_refusal(&error));
                    self.made_after_all(key, size, before.as_ref(), error).await?
                }
            };
            Ok((made, hash.finalize().into()))
        };
        let sent = sent.await;
        if sent.is_err() && aborted.get() {
            // The first failure is the one to report.
            let _ = self.backend.abort_upload(self.to, key, &id).await;
        }
        sent
    }

    /// What an upload has become whose Complete failed, if it has come to be the object all the same: its answer was lost, or a second
    /// attempt found it done. Whether it is the copy is found out by reading it.
    async fn made_after_all(
        &self,
        key: &str,
        size: u64,
        before: Option<&ObjectMeta>,
        failed: BackendError,
    ) -> Result<PutOutcome, BackendError> {
        if is_refusal(&failed) {
            return Err(failed);
        }
        let Ok(Some(now)) = persist(async || self.current(key).await).await else { return Err(failed) };
        let named = |meta: &ObjectMeta| (meta.version_id.clone(), meta.etag.clone());
        if now.size != size || before.is_some_and(|before| named(before) == named(&now)) {
            return Err(failed);
        }
        Ok(PutOutcome { etag: now.etag, version_id: now.version_id, headers: http::HeaderMap::new() })
    }

    /// What is current in the target.
    async fn current(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        match self.backend.head(self.to, key, GetOptions::default()).await {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if error.is("NoSuchKey") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, key: &str, error: &BackendError) -> Failure {
        let place = format!("s3://{}/{key} -> s3://{}", self.from, self.to);
        if error.is(DIFFERS) {
            return Failure::integrity(&place, &"what was read back is not what was written")
                .hint("run the command again; if it stays so, compare the two objects: the target's storage may have lost something");
        }
        let failure = Failure::s3(&place, error);
        match error.is(NO_TEXT) {
            true => failure.hint("write its metadata anew (a copy onto itself with --metadata-directive REPLACE), or remove the object"),
            false => failure,
        }
    }
}
