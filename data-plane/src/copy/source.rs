//! The object that is copied: looked up, allowed, and opened.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use sealgate_envelope::metadata::Metadata;
use sealgate_envelope::{Kind, size};
use sealgate_policies::Action;

use super::asked::{self, Named};
use crate::backend::{Backend, Conditions, CopySource, GetOptions, GetOutcome, ObjectMeta, StoredRange};
use crate::etags;
use crate::gate::{Admitted, permit, refuse_folded, refuse_hidden};
use crate::objects::plans::{self, Spans};
use crate::objects::sealed::{self, Changed, ENVELOPE_NAME, Sealed};
use crate::pipeline::open::{OpenError, open};
use crate::pipeline::source::Stored;
use crate::pipeline::tables::Table;
use crate::refusal::no_version_id;
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::Outcome;
use crate::s3::headers::metadata::SYSTEM;
use crate::s3::timestamp::unix_millis;
use crate::snapshot::{Bucket, BucketState};

/// An object that is copied, as it was when it was looked up.
pub struct Source {
    /// Its bucket.
    pub bucket: Arc<Bucket>,
    /// Its backend.
    pub backend: Rc<dyn Backend>,
    /// Its key.
    pub key: String,
    /// What the storage says of it.
    pub meta: ObjectMeta,
    /// Its envelope, opened; none in a plain prefix.
    pub sealed: Option<Sealed>,
}

impl Source {
    /// Looks the source up, if the credential may read it, and holds the request's conditions against it.
    ///
    /// # Errors
    /// In S3's terms; ObjectIntegrityError for whatever is not genuine.
    pub async fn open(admitted: &Admitted, named: &Named) -> Result<Self, S3Error> {
        let (bucket, backend) = permitted(admitted, named)?;
        let options = GetOptions { version_id: named.version_id.clone(), ..GetOptions::default() };
        let meta = match backend.head(&bucket.backend_bucket, &named.key, options).await {
            Ok(meta) => meta,
            Err(error) if error.is("NoSuchKey") || error.is("NotFound") => {
                return Err(match &named.version_id {
                    Some(version) => S3Error::new(Code::NoSuchVersion)
                        .field("Key", named.key.clone())
                        .field("VersionId", version.clone()),
                    None => S3Error::no_such_key(named.key.clone()),
                });
            }
            Err(error) if error.is("MethodNotAllowed") => {
                return Err(S3Error::with(
                    Code::InvalidRequest,
                    "The source of a copy request may not specifically refer to a delete marker by version id.",
                ));
            }
            Err(error) => {
                let refused = named.version_id.as_deref().and_then(|version| no_version_id(&error, version));
                return Err(refused.unwrap_or_else(|| admitted.backend_failed(error)));
            }
        };
        let encrypted = bucket.encrypts(&named.key);
        check_conditions(admitted, &meta, encrypted)?;
        let sealed = match encrypted {
            true => Some(sealed::open(admitted, &bucket, backend.as_ref(), &named.key, &meta).await?),
            false => None,
        };
        Ok(Self { bucket, backend, key: named.key.clone(), meta, sealed })
    }

    /// Bytes of plaintext. Of a multipart object as far as its stored size tells: what is read of it is proved.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sealed.as_ref().map_or(self.meta.size, |sealed| sealed.plaintext_len)
    }

    /// What the client stored beside the bytes, and the checksum that was known before them.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        if let Some(sealed) = &self.sealed {
            return sealed.metadata.clone();
        }
        let text = self.meta.metadata.iter();
        let text = text.map(|(name, value)| (format!("x-amz-meta-{name}"), value.clone().into_bytes()));
        let no_text =
            self.meta.unreadable().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let mut metadata: Metadata = text
            .chain(no_text)
            // What only an encrypted object may carry would not be the client's.
            .filter(|(name, _)| !name.starts_with(sealgate_envelope::envelope::HEADER))
            .collect();
        for name in SYSTEM {
            if let Some(value) = self.meta.headers.get(*name) {
                metadata.insert((*name).to_owned(), value.as_bytes().to_vec());
            }
        }
        metadata
    }

    /// The same object, for the storage to copy.
    #[must_use]
    pub fn for_storage(&self) -> CopySource {
        CopySource {
            bucket: self.bucket.backend_bucket.clone(),
            key: self.key.clone(),
            version_id: self.meta.version_id.clone(),
            if_match: Some(self.meta.etag.clone()),
        }
    }

    /// The proved trailer of an encrypted object; none of a marker, which has none.
    ///
    /// # Errors
    /// `Ok(Err(Changed))` when the object was replaced meanwhile.
    pub async fn table(&self, admitted: &Admitted) -> Result<Result<Option<Arc<Table>>, Changed>, S3Error> {
        let Some(sealed) = self.sealed.as_ref().filter(|sealed| sealed.stored_len > 0) else {
            return Ok(Ok(None));
        };
        let table =
            sealed::table(admitted, &self.bucket, &self.backend, &self.key, &self.meta, sealed).await?;
        Ok(table.map(Some))
    }

    /// Its plaintext, or bytes `first` to `last` of it, each released when it is proved.
    ///
    /// # Errors
    /// `Ok(Err(Changed))` when the object was replaced meanwhile.
    pub async fn plaintext(
        &self,
        admitted: &Rc<Admitted>,
        range: Option<(u64, u64)>,
    ) -> Result<Result<Stored, Changed>, S3Error> {
        let Some(sealed) = &self.sealed else {
            let stored = range.map(|(first, last)| StoredRange::Inclusive(first, last));
            let answer = match self.fetch(admitted, stored).await? {
                Ok(answer) => answer,
                Err(Changed) => return Ok(Err(Changed)),
            };
            let admitted = Rc::clone(admitted);
            let pieces = answer.body.map(move |item| {
                item.map_err(|error| admitted.backend_failed(crate::pipeline::stream_error(error)))
            });
            return Ok(Ok(Box::pin(pieces)));
        };
        let Some(keys) = sealed.keys.as_ref().filter(|_| sealed.stored_len > 0) else {
            // A marker: its envelope is its proof.
            return Ok(Ok(Box::pin(stream::empty())));
        };
        let table = match sealed.kind {
            Kind::Single => None,
            Kind::Multipart => match self.table(admitted).await? {
                Ok(table) => table,
                Err(Changed) => return Ok(Err(Changed)),
            },
        };
        let planned = match range {
            None => plans::whole(keys, sealed, table).map(|plan| (None, plan)),
            Some((first, last)) => Spans::of(sealed, table.as_deref())
                .and_then(|spans| plans::range(keys, spans.table(), first, last))
                .map(|(needed, plan)| (Some(StoredRange::Inclusive(needed.start, needed.end - 1)), plan)),
        };
        let (stored, plan) = planned.map_err(|error| admitted.not_genuine_in(Some(&self.bucket), error))?;
        let answer = match self.fetch(admitted, stored).await? {
            Ok(answer) => answer,
            Err(Changed) => return Ok(Err(Changed)),
        };
        let (admitted, bucket) = (Rc::clone(admitted), Arc::clone(&self.bucket));
        let plaintext = open(answer.body, plan, None).map(move |item| {
            item.map_err(|error| match error {
                OpenError::Integrity(reason) => admitted.not_genuine_in(Some(&bucket), reason),
                OpenError::Stream(error) => admitted.backend_failed(crate::pipeline::stream_error(error)),
            })
        });
        Ok(Ok(Box::pin(plaintext)))
    }

    /// The stored bytes of the very object that was looked up.
    async fn fetch(
        &self,
        admitted: &Admitted,
        range: Option<StoredRange>,
    ) -> Result<Result<GetOutcome, Changed>, S3Error> {
        let options = GetOptions {
            range,
            conditions: Conditions {
                if_match: Some(format!("\"{}\"", self.meta.etag)),
                ..Conditions::default()
            },
            version_id: self.meta.version_id.clone(),
            ..GetOptions::default()
        };
        let answer = match self.backend.get(&self.bucket.backend_bucket, &self.key, options).await {
            Ok(answer) => answer,
            Err(error) if error.is("PreconditionFailed") || error.is("InvalidRange") => {
                return Ok(Err(Changed));
            }
            Err(error) if error.is("NoSuchKey") => return Err(S3Error::no_such_key(self.key.clone())),
            Err(error) => return Err(admitted.backend_failed(error)),
        };
        let envelope = |meta: &ObjectMeta| meta.metadata.get(ENVELOPE_NAME).cloned();
        if answer.meta.etag != self.meta.etag
            || self.sealed.is_some() && envelope(&answer.meta) != envelope(&self.meta)
        {
            return Ok(Err(Changed));
        }
        let told = answer.range.map(|(first, last, _)| (first, last));
        let wanted = match range {
            Some(StoredRange::Inclusive(first, last)) => Some((first, last)),
            _ => None,
        };
        if answer.meta.size != self.meta.size || told != wanted {
            let reason = "two answers give two sizes, or other bytes than were asked for";
            return Err(admitted.not_genuine_in(Some(&self.bucket), reason));
        }
        Ok(Ok(answer))
    }
}

/// The source's bucket and its backend, if the credential may read there and the key is a client's.
fn permitted(admitted: &Admitted, named: &Named) -> Result<(Arc<Bucket>, Rc<dyn Backend>), S3Error> {
    let missing = || S3Error::no_such_bucket(named.bucket.clone());
    let bucket = admitted.snapshot.bucket(&named.bucket).cloned().ok_or_else(missing)?;
    let now = admitted.worker.node.clock.unix();
    permit(&admitted.credential, &bucket.name, bucket.tenant, Action::Read, "the source of a copy", now)?;
    if bucket.state == BucketState::Creating {
        return Err(missing());
    }
    refuse_hidden(&named.key)?;
    let backend = admitted.worker.backends.get(&bucket.backend).cloned().ok_or_else(|| {
        S3Error::with(Code::InternalError, "The source bucket's backend is not configured here.")
    })?;
    refuse_folded(&named.key, backend.as_ref())?;
    Ok((bucket, backend))
}

fn check_conditions(admitted: &Admitted, meta: &ObjectMeta, encrypted: bool) -> Result<(), S3Error> {
    let asked = asked::conditions(&admitted.headers)?;
    let shown = etags::shown(&meta.etag, encrypted);
    let modified = unix_millis(meta.last_modified).div_euclid(1_000);
    match asked.for_read(shown.trim_matches('"'), modified) {
        Outcome::Proceed => Ok(()),
        Outcome::NotModified if asked.if_none_match.is_some() => {
            Err(S3Error::precondition_failed("x-amz-copy-source-If-None-Match"))
        }
        Outcome::NotModified => Err(S3Error::precondition_failed("x-amz-copy-source-If-Modified-Since")),
        Outcome::Failed("If-Match") => Err(S3Error::precondition_failed("x-amz-copy-source-If-Match")),
        Outcome::Failed(_) => Err(S3Error::precondition_failed("x-amz-copy-source-If-Unmodified-Since")),
    }
}

/// Stored bytes of so much plaintext, or as they are.
#[must_use]
pub fn stored_len(encrypted: bool, plaintext: u64) -> Option<u64> {
    if encrypted { size::stored_size(plaintext) } else { Some(plaintext) }
}
