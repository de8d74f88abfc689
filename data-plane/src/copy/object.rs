//! CopyObject: the stored body as it is under an envelope wrapped anew, or all of it read, proved and written anew.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use sealgate_envelope::metadata::Metadata;
use sealgate_envelope::{Envelope, Kind, ObjectKeys, Scope, Trailer};

use super::asked::{self, Directive, Named};
use super::records;
use super::source::{Source, stored_len};
use super::tags;
use crate::backend::{Backend, BackendError, Conditions, CopyOutcome, PutOptions, PutOutcome, Upload};
use crate::body::{Algorithm, BodyPlan, Checksum};
use crate::etags;
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::large::{self, Large};
use crate::multipart::notes::from_format;
use crate::objects::described;
use crate::objects::put::{
    NO_CHECKSUM, NewBody, NewObject, active_key, cannot_seal, client_metadata, passed_headers,
    sealed_metadata, unsealed, with_checksum,
};
use crate::objects::sealed::{Changed, Sealed, keeps_changing};
use crate::pipeline::seal::{Outcome, pass};
use crate::pipeline::source::Source as Body;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::metadata::REDIRECT;
use crate::s3::headers::{ObjectHeaders, encryption};
use crate::s3::timestamp::unix_millis;
use crate::s3::xml::copy::{CopyResult, copy_object};
use crate::snapshot::Bucket;

/// How often a copy begins anew when its source is replaced under it.
const ATTEMPTS: usize = 3;

/// What storages answer that cannot copy what they can read.
const NOT_COPIED: &[&str] =
    &["InvalidArgument", "InvalidRequest", "MethodNotAllowed", "NoSuchKey", "NotImplemented"];

/// Answers CopyObject.
///
/// # Errors
/// In S3's terms. What is found after 20 s is in the body of a 200, as S3 does.
pub async fn copy(admitted: &Rc<Admitted>) -> Result<Reply, S3Error> {
    let working = Rc::clone(admitted);
    super::answer(admitted, async move { run(&working).await }).await
}

/// What the request wants, read once.
struct Asked {
    named: Named,
    metadata: Directive,
    checksum: Option<Algorithm>,
    conditions: Conditions,
}

async fn run(admitted: &Rc<Admitted>) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    // What the copy does not use is held to the rules all the same.
    ObjectHeaders::from_headers(&admitted.headers)?;
    Directive::from_header(&admitted.headers, asked::TAGGING)?;
    let asked = Asked {
        named: Named::from(admitted)?,
        metadata: Directive::from_header(&admitted.headers, asked::METADATA)?,
        checksum: asked::algorithm(&admitted.headers)?,
        conditions: etags::write_conditions(&admitted.headers, bucket.encrypts(key))?,
    };
    for _ in 0..ATTEMPTS {
        let source = Source::open(admitted, &asked.named).await?;
        refuse_idle(admitted, &asked, &bucket, key)?;
        let mut headers = passed_headers(&admitted.headers)?;
        headers.remove("x-amz-tagging");
        if let Some(tags) = tags::of_copy(admitted, &source).await? {
            headers.insert("x-amz-tagging", tags);
        }
        let copying = Copying {
            admitted,
            asked: &asked,
            bucket: &bucket,
            backend: &backend,
            key,
            source: &source,
            headers,
        };
        if let Ok((made, checksums)) = copying.run().await? {
            return Ok(answer(&copying, &made, &checksums));
        }
        admitted.worker.node.tables.remove(source.bucket.id, &source.key);
    }
    Err(keeps_changing())
}

/// Refuses a copy of an object onto itself that changes nothing, as S3 does.
fn refuse_idle(admitted: &Admitted, asked: &Asked, bucket: &Bucket, key: &str) -> Result<(), S3Error> {
    let itself =
        asked.named.bucket == bucket.name && asked.named.key == key && asked.named.version_id.is_none();
    let changes = asked.metadata == Directive::Replace
        || ["x-amz-storage-class", "x-amz-server-side-encryption", REDIRECT]
            .iter()
            .any(|name| admitted.headers.contains_key(*name));
    if itself && !changes { Err(asked::changes_nothing()) } else { Ok(()) }
}

type Made = (CopyOutcome, Vec<(Checksum, Option<usize>)>);

/// One attempt at a copy.
struct Copying<'a> {
    admitted: &'a Rc<Admitted>,
    asked: &'a Asked,
    bucket: &'a Arc<Bucket>,
    backend: &'a Rc<dyn Backend>,
    key: &'a str,
    source: &'a Source,
    /// Those of any new object, and its tags.
    headers: HeaderMap,
}

impl Copying<'_> {
    async fn run(&self) -> Result<Result<Made, Changed>, S3Error> {
        let metadata = self.metadata()?;
        let mut checksums = known_checksums(&metadata);
        if checksums.is_empty() && self.asked.checksum.is_some() {
            match self.source.table(self.admitted).await? {
                Ok(table) => checksums.extend(table.iter().flat_map(|table| of_trailer(&table.trailer))),
                Err(Changed) => return Ok(Err(Changed)),
            }
        }
        let encrypted = self.bucket.encrypts(self.key);
        // One of the parts' checksums does for an object that was uploaded in parts; it is what its body carries.
        let has_checksum = self
            .asked
            .checksum
            .is_none_or(|wanted| checksums.iter().any(|(checksum, _)| checksum.algorithm() == wanted));
        // While envelopes are wrapped anew, an ETag has to name one write and no other: the bytes of a copy would have their source's.
        let settled = self.bucket.rewrap == 0 || !encrypted;
        if settled && self.storage_can(encrypted) && (has_checksum || !encrypted) {
            match self.by_storage(&metadata).await? {
                Copied::Made(made) => return Ok(Ok((made, checksums))),
                Copied::Changed => return Ok(Err(Changed)),
                Copied::Cannot => {}
            }
        }
        self.anew(encrypted, metadata).await
    }

    /// What lies beside the copy's bytes. A checksum belongs to the bytes, whoever gives the rest.
    fn metadata(&self) -> Result<Metadata, S3Error> {
        let mut metadata = self.source.metadata();
        if self.asked.metadata == Directive::Replace {
            metadata.retain(|name, _| is_about_checksums(name));
            metadata.extend(client_metadata(self.admitted)?);
            return Ok(metadata);
        }
        // A redirect is the one object's, as with S3.
        metadata.remove(REDIRECT);
        if let Some(own) = self.admitted.headers.get(REDIRECT) {
            metadata.insert(REDIRECT.to_owned(), own.as_bytes().to_vec());
        }
        Ok(metadata)
    }

    /// Whether the storage may copy the stored bytes as they are.
    fn storage_can(&self, encrypted: bool) -> bool {
        let (source, capabilities) = (self.source, self.backend.capabilities());
        let keeps_conditions = match source.meta.size > capabilities.max_put {
            true => capabilities.conditional_complete,
            false => capabilities.conditional_copy,
        };
        let conditional = self.asked.conditions == Conditions::default() || keeps_conditions;
        let same_backend = source.bucket.backend == self.bucket.backend;
        // What a storage that ignores the pin copies may be another object by then: over the target, under a wrong envelope.
        if !capabilities.pinned_copies
            || !conditional
            || !same_backend
            || source.meta.size > large::most(capabilities)
        {
            return false;
        }
        match &source.sealed {
            None => !encrypted,
            Some(sealed) => {
                // A marker has no body and any other empty object has one: neither can become the other.
                let marker = source.size() == 0 && (self.key.ends_with('/') || source.key.ends_with('/'));
                encrypted && !marker && sealed.keys.is_some()
            }
        }
    }

    /// The body, if it is larger than one request of the storage takes.
    fn large(&self, size: u64) -> Option<Large<'_>> {
        let (backend, key) = (self.backend.as_ref(), self.key);
        let large = Large { backend, bucket: &self.bucket.backend_bucket, key, size };
        (size > backend.capabilities().max_put).then_some(large)
    }

    /// A stored object as a copy. Those that are not one request's tell no time.
    fn dated(&self, stored: PutOutcome) -> CopyOutcome {
        CopyOutcome {
            etag: stored.etag,
            last_modified: SystemTime::UNIX_EPOCH
                + Duration::from_secs(self.admitted.worker.node.clock.unix()),
            version_id: stored.version_id,
            headers: stored.headers,
        }
    }

    /// The stored bytes as they are; an envelope that is wrapped anew, for this place and under the bucket's own key.
    async fn by_storage(&self, metadata: &Metadata) -> Result<Copied, S3Error> {
        let mut options = PutOptions {
            headers: self.headers.clone(),
            conditions: self.asked.conditions.clone(),
            ..PutOptions::default()
        };
        let opened = self.source.sealed.as_ref().and_then(|sealed| Some((sealed, sealed.keys.as_ref()?)));
        if opened.is_some() && self.source.bucket.id != self.bucket.id {
            let table = match self.source.table(self.admitted).await? {
                Ok(table) => table,
                Err(Changed) => return Ok(Copied::Changed),
            };
            let node = &self.admitted.worker.node;
            let Some(table) = table else { return Ok(Copied::Cannot) };
            let recovery = table.trailer.recovery();
            if !records::place(node, self.source, recovery, self.bucket, self.backend.as_ref()).await {
                return Ok(Copied::Cannot);
            }
        }
        match opened {
            Some((sealed, keys)) => options.metadata = self.wrapped_anew(sealed, keys, metadata).await?,
            None => {
                let (user, described) = unsealed(for_plain(metadata.clone()), &self.source.key)?;
                options.metadata = user;
                options.headers.extend(described);
                options.headers.extend(encryption::of_storage(&self.admitted.headers));
            }
        }
        let source = self.source.for_storage();
        let landing = Landing::begin_copy(&self.admitted.worker.node, self.bucket)?;
        let Some(_landing) = landing else { return Ok(Copied::Cannot) };
        let made = match self.large(self.source.meta.size) {
            None => self.backend.copy(source, &self.bucket.backend_bucket, self.key, options).await,
            Some(large) => large.copy(&source, options).await.map(|stored| self.dated(stored)),
        };
        let made = match made {
            Ok(made) => made,
            Err(BackendError::Unsupported(_)) => return Ok(Copied::Cannot),
            Err(error) if error.is("PreconditionFailed") => return self.whose_condition(error).await,
            // Some servers read the source's name in ways of their own. It is there, and can be read.
            Err(error) if NOT_COPIED.iter().any(|code| error.is(code)) => return Ok(Copied::Cannot),
            Err(error) => return Err(self.admitted.backend_failed(error)),
        };
        Ok(Copied::Made(made))
    }

    async fn wrapped_anew(
        &self,
        sealed: &Sealed,
        keys: &ObjectKeys,
        metadata: &Metadata,
    ) -> Result<BTreeMap<String, String>, S3Error> {
        let ik = active_key(self.admitted, self.bucket).await?;
        let scope = Scope { tenant: self.bucket.tenant, bucket: self.bucket.id, key: self.key.as_bytes() };
        let length = (sealed.kind == Kind::Single).then_some(sealed.plaintext_len);
        let envelope = Envelope::seal_object(keys, length, !metadata.is_empty(), ik.id, &ik.ik, &scope)
            .map_err(|error| cannot_seal(&error))?;
        sealed_metadata(keys, &envelope, metadata, self.backend.as_ref())
    }

    /// A 412 of the storage: of the source, which was replaced since, or of the target, which is the client's to know. Else the
    /// storage took another object for the source.
    async fn whose_condition(&self, failed: BackendError) -> Result<Copied, S3Error> {
        let now = Source::open(self.admitted, &self.asked.named).await?;
        if now.meta.etag != self.source.meta.etag {
            return Ok(Copied::Changed);
        }
        if self.asked.conditions == Conditions::default() {
            return Ok(Copied::Cannot);
        }
        Err(self.admitted.backend_failed(failed))
    }

    /// Reads the source and writes it as a new object, under keys of its own.
    async fn anew(&self, encrypted: bool, metadata: Metadata) -> Result<Result<Made, Changed>, S3Error> {
        let capabilities = self.backend.capabilities();
        let length = self.source.size();
        let stored = stored_len(encrypted, length)
            .filter(|stored| asked::may_pass(length, *stored, capabilities.max_put))
            .ok_or_else(|| asked::too_large(capabilities.max_put.max(asked::MOST)))?;
        let large = self.large(stored);
        let keeps_conditions = match large {
            Some(_) => capabilities.conditional_complete,
            None => capabilities.conditional_put,
        };
        if self.asked.conditions != Conditions::default() && !keeps_conditions {
            return Err(S3Error::not_implemented("a conditional CopyObject on this storage"));
        }
        let known = known_checksums(&metadata).into_iter().map(|(checksum, _)| checksum).next();
        let wanted = match (self.asked.checksum, &known) {
            (Some(asked), Some(known)) if known.algorithm() == asked => None,
            (Some(asked), _) => Some(asked),
            (None, Some(_)) => None,
            (None, None) => match self.algorithm_of_trailer().await? {
                Ok(algorithm) => algorithm,
                Err(Changed) => return Ok(Err(Changed)),
            },
        };
        let mut metadata = metadata;
        if wanted.is_some() {
            metadata.retain(|name, _| !is_about_checksums(name));
        }
        let plaintext = match self.source.plaintext(self.admitted, None).await? {
            Ok(plaintext) => plaintext,
            Err(Changed) => return Ok(Err(Changed)),
        };
        let plan = BodyPlan::copied(length);
        let plan = match wanted {
            Some(algorithm) => plan.compute(algorithm),
            None => plan,
        };
        let known = known.filter(|_| wanted.is_none());
        let plan = match known {
            None if encrypted => with_checksum(plan, self.key, &mut metadata),
            _ => plan,
        };
        let source = Body::stored(plaintext, plan);
        let outcome = Outcome::new(&self.admitted.worker.node, self.bucket);
        let mut options = PutOptions {
            headers: self.headers.clone(),
            conditions: self.asked.conditions.clone(),
            ..PutOptions::default()
        };
        let upload = if encrypted {
            let ik = active_key(self.admitted, self.bucket).await?;
            let object = NewObject { bucket: self.bucket, key: self.key, ik: &ik };
            let body = NewBody { source, length, metadata, known_checksum: known.is_some() };
            let (metadata, upload) = object.seal(body, self.backend.as_ref(), stored, outcome.clone())?;
            options.metadata = metadata;
            upload
        } else {
            let (user, described) = unsealed(for_plain(metadata), &self.source.key)?;
            options.metadata = user;
            options.headers.extend(described);
            options.headers.extend(encryption::of_storage(&self.admitted.headers));
            Upload { length: stored, stream: pass(source, length, outcome.clone()) }
        };
        let made = match large {
            None => self.backend.put(&self.bucket.backend_bucket, self.key, options, upload).await,
            Some(large) => large.put(options, upload.stream).await,
        };
        let made = self.dated(made.map_err(|error| self.admitted.backend_failed(error))?);
        // Nothing is acknowledged that was not proved to its end, whatever the storage says.
        let (verified, _landing) = outcome.take().ok_or_else(|| S3Error::new(Code::InternalError))?;
        if encrypted {
            self.admitted.worker.node.metrics.buckets.written(&self.bucket.label, length, stored);
        }
        let checksum = verified.computed().copied().or(known).filter(|_| encrypted);
        Ok(Ok((made, checksum.map(|checksum| (checksum, None)).into_iter().collect())))
    }

    /// The algorithm of the checksum of all bytes that the source's trailer keeps: the copy gets one, too.
    async fn algorithm_of_trailer(&self) -> Result<Result<Option<Algorithm>, Changed>, S3Error> {
        let sealed = self.source.sealed.as_ref();
        if sealed.is_some_and(|sealed| !sealed.checksum_may_be_in_trailer()) {
            return Ok(Ok(None));
        }
        let table = match self.source.table(self.admitted).await? {
            Ok(table) => table,
            Err(Changed) => return Ok(Err(Changed)),
        };
        let first = table.and_then(|table| of_trailer(&table.trailer).next());
        Ok(Ok(first.map(|(checksum, _)| checksum.algorithm())))
    }
}

/// What came of asking the storage.
enum Copied {
    Made(CopyOutcome),
    /// The source was replaced since it was looked up.
    Changed,
    /// It cannot, or did not copy what it should have: the object has to be written anew.
    Cannot,
}

/// The checksums in the metadata: of all bytes.
fn known_checksums(metadata: &Metadata) -> Vec<(Checksum, Option<usize>)> {
    let of = |(name, value): (&String, &Vec<u8>)| {
        let algorithm = Algorithm::from_header(name)?;
        Some((Checksum::from_base64(algorithm, std::str::from_utf8(value).ok()?)?, None))
    };
    metadata.iter().filter_map(of).collect()
}

/// The checksums in a trailer, with the number of parts of a composite one.
fn of_trailer(trailer: &Trailer) -> impl Iterator<Item = (Checksum, Option<usize>)> + '_ {
    trailer.checksums().iter().filter_map(|full| {
        Some((from_format(&full.checksum)?, full.composite.then_some(trailer.entries().len())))
    })
}

/// Plain prefixes keep no checksums.
fn for_plain(mut metadata: Metadata) -> Metadata {
    metadata.retain(|name, _| !is_about_checksums(name));
    metadata
}

/// Whether sealed metadata says by this name which checksum the bytes have.
fn is_about_checksums(name: &str) -> bool {
    name == NO_CHECKSUM || name.starts_with("x-amz-checksum-")
}

fn answer(copying: &Copying<'_>, made: &CopyOutcome, checksums: &[(Checksum, Option<usize>)]) -> Reply {
    let encrypted = copying.bucket.encrypts(copying.key);
    let document = copy_object(&CopyResult {
        etag: etags::shown(&made.etag, encrypted).trim_matches('"'),
        modified: unix_millis(made.last_modified),
        checksums: if encrypted { checksums } else { &[] },
    });
    let mut reply = reply::xml(StatusCode::OK, document);
    let headers = reply.headers_mut();
    headers.extend(described::allowed(&made.headers, encrypted));
    if encrypted {
        described::announce(copying.bucket.suite, headers);
    }
    if let Some(version) = &made.version_id {
        reply::set(headers, "x-amz-version-id", version);
    }
    if let Some(version) = &copying.source.meta.version_id {
        reply::set(headers, "x-amz-copy-source-version-id", version);
    }
    reply
}
