//! One object, or one version of it: looked at, judged, and its envelope wrapped anew where that is enough.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use sealgate_envelope::ids::IkId;
use sealgate_envelope::metadata::{self, Metadata};
use sealgate_envelope::trailer::recovery_of;
use sealgate_envelope::{Envelope, ObjectKeys, Scope, recovery};

use super::reencrypt;
use super::tally::{Done, Stored};
use super::targets::{Targets, Verdict};
use super::write;
use crate::backend::{Backend, BackendError, Conditions, GetOptions, ObjectMeta, StoredRange};
use crate::keys::NodeKey;
use crate::landings::Landing;
use crate::node::Node;
use crate::objects::put::sealed_metadata;
use crate::objects::sealed::{ENVELOPE_NAME, METADATA_NAME};
use crate::pipeline;
use crate::s3::timestamp::parse_iso;
use crate::snapshot::Bucket;
use crate::writes::Write;

/// Why an object stays under a key.
pub const LOCKED: &str = "it is locked";
/// See [`LOCKED`].
pub const ARCHIVED: &str = "it is archived";
/// See [`LOCKED`].
pub const OLDER: &str = "it is an older version";
/// See [`LOCKED`].
pub const OLDER_GOES: &str = "versioning is suspended, and a write would replace an older version";
/// See [`LOCKED`].
pub const NOT_GENUINE: &str = "it is not genuine";
/// See [`LOCKED`].
pub const UNCONDITIONAL: &str = "the storage cannot hold a write to what was looked at";
/// See [`LOCKED`].
pub const REFUSED: &str = "the storage refuses the write";
/// See [`LOCKED`].
pub const OLDER_STAYS: &str = "the version that was replaced stays";
/// See [`LOCKED`].
pub const SHARED: &str = "others have rights to it on the storage";
/// See [`LOCKED`].
pub const UNTOLD: &str = "the gateway may not read its ACL or its tags on the storage";
/// See [`LOCKED`].
pub const TOO_LARGE: &str = "its metadata, sealed anew, is more than the storage takes";

/// Why the work cannot go on for now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// What the work is about.
pub struct Job {
    /// This node.
    pub node: Arc<Node>,
    /// The bucket, as the config had it when the work was taken.
    pub bucket: Arc<Bucket>,
    /// Its backend.
    pub backend: Rc<dyn Backend>,
    /// The keys.
    pub targets: Targets,
}

/// An object that was looked at.
pub struct Looked<'a> {
    /// The work.
    pub job: &'a Job,
    /// The object's key.
    pub key: &'a str,
    /// A version that is not the current one.
    pub older: Option<&'a str>,
    /// What the storage said.
    pub meta: ObjectMeta,
    /// Its envelope.
    pub envelope: Envelope,
    /// The key because of which something is to be done.
    pub ik: IkId,
}

/// An object that was opened.
pub struct Opened {
    /// Its keys.
    pub keys: ObjectKeys,
    /// What the client stored beside its bytes.
    pub metadata: Metadata,
}

/// What a body says of the key that was active when it was written.
enum Body {
    /// Its name; none of a directory marker, or of what is not genuine.
    Names(Option<IkId>),
    /// Another body is there now.
    Changed,
    /// It cannot be read before it is fetched from an archive.
    Archived,
}

impl Job {
    /// Does what is to be done with an object: its current version, or an older one.
    ///
    /// # Errors
    /// What keeps all of the work from going on.
    pub async fn object(&self, key: &str, older: Option<&str>) -> Result<Done, Trouble> {
        let options = GetOptions { version_id: older.map(str::to_owned), ..GetOptions::default() };
        let place = &self.bucket.backend_bucket;
        let looked = match self.backend.head(place, key, options.clone()).await {
            // versitygw says so of older versions where versioning is suspended, and gives them all the same.
            Err(error) if older.is_some() && is_gone(&error) => {
                self.backend.get(place, key, options).await.map(|answer| answer.meta)
            }
            looked => looked,
        };
        let mut meta = match looked {
            Ok(meta) => meta,
            // Deleted since it was listed: nothing is left of it, but for what another entry of the listing is about.
            Err(error) if is_gone(&error) || error.is("MethodNotAllowed") => return Ok(Done::Untouched),
            Err(error) => return Err(trouble(&error)),
        };
        // Not every storage repeats the id that it was asked for.
        meta.version_id = meta.version_id.or_else(|| older.map(str::to_owned));
        let Some(Ok(envelope)) = meta.metadata.get(ENVELOPE_NAME).map(|text| Envelope::parse_header(text))
        else {
            // Nothing says under which key it is; a reader is told that it is not genuine.
            return Ok(Done::Untouched);
        };
        let body = match self.targets.any_compromised() {
            true => match self.key_of_body(key, &meta).await? {
                Body::Names(body) => body,
                Body::Changed => return Ok(Done::Changed),
                Body::Archived => match self.targets.unread(envelope.ik_id()) {
                    Some(ik) => return Ok(Done::Left(ik, ARCHIVED)),
                    None => None,
                },
            },
            false => None,
        };
        let (ik, anew) = match self.targets.verdict(envelope.ik_id(), body) {
            Verdict::Nothing => return Ok(Done::Untouched),
            Verdict::Rewrap(ik) => (ik, false),
            Verdict::Reencrypt(ik) => (ik, true),
        };
        let looked = Looked { job: self, key, older, meta, envelope, ik };
        if anew { reencrypt::object(&looked).await } else { looked.rewrap().await }
    }

    /// The key that a body names: the one that was active when it was written.
    async fn key_of_body(&self, key: &str, meta: &ObjectMeta) -> Result<Body, Trouble> {
        const LENGTH: u64 = recovery::LEN as u64 + 4;
        if meta.size < LENGTH {
            return Ok(Body::Names(None));
        }
        let options = GetOptions {
            range: Some(StoredRange::Inclusive(meta.size - LENGTH, meta.size - 1)),
            conditions: Conditions { if_match: Some(format!("\"{}\"", meta.etag)), ..Conditions::default() },
            version_id: meta.version_id.clone(),
            ..GetOptions::default()
        };
        let answer = match self.backend.get(&self.bucket.backend_bucket, key, options).await {
            Ok(answer) => answer,
            Err(error) if is_gone(&error) || error.is("PreconditionFailed") => return Ok(Body::Changed),
            Err(error) if error.is("InvalidObjectState") => return Ok(Body::Archived),
            Err(error) => return Err(trouble(&error)),
        };
        let suffix = pipeline::collect(answer.body, 1 << 10).await.map_err(|error| trouble(&error))?;
        Ok(Body::Names(recovery_of(&suffix).ok().map(|recovery| recovery.ik_id())))
    }

    /// The key to write with.
    ///
    /// # Errors
    /// There is none, or it is one of those that nothing is to be under any more.
    pub async fn active(&self) -> Result<Arc<NodeKey>, Trouble> {
        let key = self.node.keys.active(&self.bucket).await;
        let key = key.map_err(|error| Trouble(format!("the bucket's key for writing: {error}")))?;
        if self.targets.contains(key.id) {
            // It is dropped with the config that takes it away, which this node may not have yet.
            self.node.keys.revoke_active(self.bucket.id);
            return Err(Trouble(format!("the bucket still writes with the key {}", key.id)));
        }
        Ok(key)
    }

    /// Lets a write in, as any client's.
    ///
    /// # Errors
    /// The bucket takes none now.
    pub fn let_in(&self) -> Result<(Write, Landing), Trouble> {
        let frozen = || Trouble("the bucket takes no writes now".to_owned());
        let write = self.node.writes.enter(self.bucket.id).ok_or_else(frozen)?;
        let landing = Landing::begin(&self.node, &self.bucket).map_err(|_| frozen())?;
        Ok((write, landing))
    }
}

impl Looked<'_> {
    /// Where the object lies, as its envelope has it.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        let bucket = &self.job.bucket;
        Scope { tenant: bucket.tenant, bucket: bucket.id, key: self.key.as_bytes() }
    }

    /// It stays under the key.
    #[must_use]
    pub fn left(&self, why: &'static str) -> Done {
        Done::Left(self.ik, why)
    }

    /// Opens envelope and metadata. `None`: it is not what was written.
    ///
    /// # Errors
    /// Its key cannot be had.
    pub async fn open(&self) -> Result<Option<Opened>, Trouble> {
        let (job, id) = (self.job, self.envelope.ik_id());
        let scope = self.scope();
        let keys = match job.targets.key(id) {
            Some(ik) => self.envelope.open(&ik, &scope),
            None => {
                let key = job.node.keys.get(&job.bucket, id).await;
                let key = key.map_err(|error| Trouble(format!("the key {id}: {error}")))?;
                self.envelope.open(&key.ik, &scope)
            }
        };
        let Ok(keys) = keys else { return Ok(None) };
        let sealed = self.meta.metadata.get(METADATA_NAME).map(String::as_str);
        let opened = metadata::open(&keys, &self.envelope, sealed);
        Ok(opened.ok().map(|metadata| Opened { keys, metadata }))
    }

    /// User metadata beside a new envelope: what the gateway did not write stays.
    #[must_use]
    pub fn beside(&self, new: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.meta.metadata.clone();
        all.remove(METADATA_NAME);
        all.extend(new);
        all
    }

    /// Wraps the object's own key under the bucket's active one.
    async fn rewrap(&self) -> Result<Done, Trouble> {
        let Some(Opened { keys, metadata }) = self.open().await? else { return Ok(self.left(NOT_GENUINE)) };
        let active = self.job.active().await?;
        let told = self.envelope.plaintext_len();
        let envelope =
            Envelope::seal_object(&keys, told, !metadata.is_empty(), active.id, &active.ik, &self.scope())
                .map_err(|error| Trouble(format!("an envelope cannot be sealed: {error}")))?;
        let Ok(new) = sealed_metadata(&keys, &envelope, &metadata, self.job.backend.as_ref()) else {
            return Ok(self.left(TOO_LARGE));
        };
        let new = self.beside(new);
        let (_write, _landing) = self.job.let_in()?;
        let (bucket, version) = (&self.job.bucket.backend_bucket, self.meta.version_id.as_deref());
        let version = self.older.or(version);
        let replaced = self
            .job
            .backend
            .replace_metadata(bucket, self.key, version, &self.meta.metadata, new.clone())
            .await;
        match replaced {
            Ok(()) => Ok(Done::Rewrapped(Stored::default())),
            Err(BackendError::Unsupported(_)) => write::as_it_is(self, &keys, &metadata, new).await,
            Err(error) if is_gone(&error) || error.is("PreconditionFailed") => Ok(Done::Changed),
            Err(error) => self.refused(&error),
        }
    }

    /// A write that failed: the storage's word on this object, or trouble for all.
    ///
    /// # Errors
    /// The storage is away.
    pub fn refused(&self, error: &BackendError) -> Result<Done, Trouble> {
        if is_gone(error) || error.is("PreconditionFailed") || error.is("ConditionalRequestConflict") {
            return Ok(Done::Changed);
        }
        match error {
            BackendError::S3 { status: 400..500, .. } | BackendError::Unsupported(_) => {
                tracing::warn!(bucket = self.job.bucket.name, key = self.key, %error, "an envelope is not wrapped anew");
                let archived = error.is("InvalidObjectState");
                Ok(self.left(if archived { ARCHIVED } else { REFUSED }))
            }
            error => Err(trouble(error)),
        }
    }

    /// Whether a lock keeps the storage from letting go of what is there now.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        locked(&self.meta.headers, self.job.node.clock.unix())
    }

    /// Whether it is a directory marker: nothing is stored, so its ETag is that of every other one.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        self.key.ends_with('/') && self.meta.size == 0
    }

    /// Whether a write would be held to nothing, and another object is there now than was looked at: the condition of a write compares
    /// ETags, and those of directory markers do not differ.
    ///
    /// # Errors
    /// The storage's.
    pub async fn is_another_marker(&self) -> Result<bool, BackendError> {
        if !self.is_marker() {
            return Ok(false);
        }
        let options = GetOptions { version_id: self.older.map(str::to_owned), ..GetOptions::default() };
        let now = self.job.backend.head(&self.job.bucket.backend_bucket, self.key, options).await?;
        Ok(now.version_id != self.meta.version_id || now.metadata != self.meta.metadata)
    }

    /// Whether its bytes have to be fetched from an archive first.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        let text =
            |name: &str| self.meta.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let archived = matches!(text("x-amz-storage-class"), "GLACIER" | "DEEP_ARCHIVE")
            || !text("x-amz-archive-status").is_empty();
        archived && !text("x-amz-restore").contains("ongoing-request=\"false\"")
    }
}

/// Whether locks hold at `now`, in Unix seconds. What cannot be read is a lock.
fn locked(headers: &HeaderMap, now: u64) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let held = text("x-amz-object-lock-legal-hold").is_some_and(|hold| !hold.eq_ignore_ascii_case("off"));
    let until = text("x-amz-object-lock-retain-until-date");
    let retained = match (text("x-amz-object-lock-mode"), until.map(parse_iso)) {
        (None, None) => false,
        (_, Some(Some(until))) => u64::try_from(until).unwrap_or(0) >= now,
        _ => true,
    };
    held || retained
}

/// Whether a failure says that the object, or the version, is not there any more.
#[must_use]
pub fn is_gone(error: &BackendError) -> bool {
    ["NoSuchKey", "NotFound", "NoSuchVersion"].iter().any(|code| error.is(code))
}

/// A storage's failure as what keeps the work from going on.
#[must_use]
pub fn trouble(error: &BackendError) -> Trouble {
    Trouble(format!("the storage: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{HeaderMap, locked};

    #[test]
    fn locks_hold_until_they_end_and_what_cannot_be_read_holds() {
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            locked(&headers, 1_000_000_000)
        };
        let (mode, until) = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date");
        assert!(!of(&[]));
        assert!(of(&[("x-amz-object-lock-legal-hold", "ON")]));
        assert!(!of(&[("x-amz-object-lock-legal-hold", "OFF")]));
        assert!(of(&[(mode, "GOVERNANCE"), (until, "2001-09-09T01:46:41Z")]));
        assert!(!of(&[(mode, "COMPLIANCE"), (until, "2001-09-09T01:46:39Z")]));
        assert!(of(&[(mode, "COMPLIANCE"), (until, "soon")]));
        assert!(of(&[(mode, "COMPLIANCE")]));
    }
}
