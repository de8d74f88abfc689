//! An encrypted object from its backend metadata: its envelope opened, its metadata unsealed, its plaintext length proved
//! as far as metadata can.

use std::rc::Rc;
use std::sync::Arc;

use sealgate_envelope::metadata::Metadata;
use sealgate_envelope::size::{self, suffix_len};
use sealgate_envelope::trailer;
use sealgate_envelope::{Envelope, Kind, ObjectKeys, Scope, Trailer, metadata};

use super::put::NO_CHECKSUM;
use crate::access_log;
use crate::backend::{Backend, Conditions, GetOptions, GetOutcome, ObjectMeta, StoredRange};
use crate::body::{Algorithm, Checksum};
use crate::gate::Admitted;
use crate::pipeline;
use crate::pipeline::tables::Table;
use crate::s3::error::{Code, S3Error};
use crate::snapshot::Bucket;

/// The name of the envelope's header, as backends list user metadata.
pub const ENVELOPE_NAME: &str = "sealgate";
/// The name of the sealed metadata's header.
pub const METADATA_NAME: &str = "sealgatemeta";

/// An opened envelope.
pub struct Sealed {
    /// Kind of the object.
    pub kind: Kind,
    /// The object's keys; none for a directory marker whose backend drops metadata, and where they cannot be had now.
    pub keys: Option<Arc<ObjectKeys>>,
    /// The client's metadata, unsealed.
    pub metadata: Metadata,
    /// Plaintext bytes.
    pub plaintext_len: u64,
    /// Stored bytes.
    pub stored_len: u64,
    /// The envelope, to recognise the same object in a second answer.
    pub header: String,
}

/// Opens what a backend said of an object.
///
/// # Errors
/// ObjectIntegrityError for anything that is not genuine; those of missing keys.
pub async fn open(
    admitted: &Admitted,
    bucket: &Arc<Bucket>,
    backend: &dyn Backend,
    key: &str,
    meta: &ObjectMeta,
) -> Result<Sealed, S3Error> {
    let Some(header) = meta.metadata.get(ENVELOPE_NAME) else {
        if key.ends_with('/') && meta.size == 0 && !backend.capabilities().marker_metadata {
            return Ok(Sealed {
                kind: Kind::Single,
                keys: None,
                metadata: Metadata::new(),
                plaintext_len: 0,
                stored_len: 0,
                header: String::new(),
            });
        }
        return Err(admitted.not_genuine_in(Some(bucket), "it has no envelope"));
    };
    let envelope =
        Envelope::parse_header(header).map_err(|error| admitted.not_genuine_in(Some(bucket), error))?;
    let ik = admitted
        .worker
        .node
        .keys
        .get(bucket, envelope.ik_id())
        .await
        .map_err(|error| admitted.key_failed(&error))?;
    let scope = Scope { tenant: bucket.tenant, bucket: bucket.id, key: key.as_bytes() };
    let keys = envelope.open(&ik.ik, &scope).map_err(|error| admitted.not_genuine_in(Some(bucket), error))?;
    let sealed_metadata = meta.metadata.get(METADATA_NAME).map(String::as_str);
    let metadata = metadata::open(&keys, &envelope, sealed_metadata)
        .map_err(|error| admitted.not_genuine_in(Some(bucket), error))?;
    let Some(plaintext_len) = plaintext_len(&envelope, key, meta.size) else {
        return Err(
            admitted.not_genuine_in(Some(bucket), format!("its stored size {} is not its own", meta.size))
        );
    };
    access_log::note_sizes(plaintext_len, meta.size);
    Ok(Sealed {
        kind: envelope.kind(),
        keys: Some(Arc::new(keys)),
        metadata,
        plaintext_len,
        stored_len: meta.size,
        header: header.clone(),
    })
}

/// What can be said of an object whose key cannot be had now: its size, which is the storage's word alone, if it has no
/// metadata. One that has some is never described without them.
pub fn unopened(key: &str, meta: &ObjectMeta) -> Option<Sealed> {
    let header = meta.metadata.get(ENVELOPE_NAME)?;
    let envelope = Envelope::parse_header(header).ok().filter(|envelope| !envelope.has_metadata())?;
    let plaintext_len = plaintext_len(&envelope, key, meta.size)?;
    access_log::note_sizes(plaintext_len, meta.size);
    Some(Sealed {
        kind: envelope.kind(),
        keys: None,
        metadata: Metadata::new(),
        plaintext_len,
        stored_len: meta.size,
        header: header.clone(),
    })
}

/// The plaintext's length by the stored one, which the envelope's word has to equal if it has one.
fn plaintext_len(envelope: &Envelope, key: &str, stored: u64) -> Option<u64> {
    let marker = key.ends_with('/') && stored == 0;
    let from_size = if marker { Some(0) } else { size::plaintext_size(stored) };
    match (envelope.plaintext_len(), from_size) {
        (Some(told), Some(found)) if told == found => Some(told),
        (None, Some(found)) if !marker => Some(found),
        _ => None,
    }
}

impl Sealed {
    /// The checksum that a directory marker has without being told one: that of nothing, as S3 has it. Only markers lie in no byte.
    pub fn marker_checksum(&self) -> Option<Checksum> {
        (self.keys.is_some() && self.stored_len == 0).then(|| Checksum::of(Algorithm::Crc64Nvme, b""))
    }

    /// Whether a checksum of the whole object can only be in the trailer, if there is any.
    pub fn checksum_may_be_in_trailer(&self) -> bool {
        !self.metadata.keys().any(|name| name == NO_CHECKSUM || name.starts_with("x-amz-checksum-"))
    }
}

/// Another answer was about another object: the whole read begins anew.
pub struct Changed;

/// The part table of an object: cached, or from its trailer with one request.
///
/// # Errors
/// `Ok(Err(Changed))` when the object was replaced meanwhile.
pub async fn table(
    admitted: &Admitted,
    bucket: &Arc<Bucket>,
    backend: &Rc<dyn Backend>,
    key: &str,
    meta: &ObjectMeta,
    sealed: &Sealed,
) -> Result<Result<Arc<Table>, Changed>, S3Error> {
    let Some(keys) = &sealed.keys else {
        return Err(admitted.not_genuine_in(Some(bucket), "a marker has no trailer"));
    };
    let tables = &admitted.worker.node.tables;
    if let Some(table) = tables.get(bucket.id, key) {
        let same = table.object == keys.object_id()
            && table.etag == meta.etag
            && table.trailer.stored_size() == sealed.stored_len;
        if same {
            return Ok(Ok(table));
        }
        tables.remove(bucket.id, key);
    }
    let length = suffix_len(sealed.plaintext_len).min(sealed.stored_len);
    let range = StoredRange::Inclusive(sealed.stored_len - length, sealed.stored_len.saturating_sub(1));
    let options = GetOptions {
        range: Some(range),
        conditions: Conditions { if_match: Some(format!("\"{}\"", meta.etag)), ..Conditions::default() },
        version_id: meta.version_id.clone(),
        ..GetOptions::default()
    };
    let answer = match backend.get(&bucket.backend_bucket, key, options).await {
        Ok(answer) => answer,
        Err(error) if error.is("PreconditionFailed") => return Ok(Err(Changed)),
        Err(error) => return Err(admitted.backend_failed(error)),
    };
    if answer.meta.metadata.get(ENVELOPE_NAME) != Some(&sealed.header) {
        return Ok(Err(Changed));
    }
    if answer.meta.size != sealed.stored_len || answer.length != length {
        return Err(admitted.not_genuine_in(Some(bucket), "two answers give two sizes"));
    }
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    let suffix =
        pipeline::collect(answer.body, limit).await.map_err(|error| admitted.backend_failed(error))?;
    let (_, bytes) = trailer::split(&suffix).map_err(|error| admitted.not_genuine_in(Some(bucket), error))?;
    let opened = Trailer::open(keys, sealed.kind, sealed.stored_len, bytes)
        .map_err(|error| admitted.not_genuine_in(Some(bucket), error))?;
    let table = Arc::new(Table { object: keys.object_id(), etag: meta.etag.clone(), trailer: opened });
    if sealed.kind == Kind::Multipart {
        tables.insert(bucket.id, key, Arc::clone(&table));
    }
    Ok(Ok(table))
}

/// The largest plaintext of an object whose trailer is waited for with its body, so that one request is enough.
pub const SMALL: u64 = 256 << 10;

/// The same, of a small single PUT from its whole body: the answer is read to its end, and given back with what it had.
/// None where another request has to be made.
///
/// # Errors
/// The backend's; ObjectIntegrityError when the trailer is not genuine.
pub async fn table_within(
    admitted: &Admitted,
    answer: GetOutcome,
    sealed: &Sealed,
) -> Result<(GetOutcome, Option<Arc<Table>>), S3Error> {
    let small =
        sealed.kind == Kind::Single && sealed.plaintext_len <= SMALL && answer.length == sealed.stored_len;
    let Some(keys) = sealed.keys.as_ref().filter(|_| small && answer.range.is_none()) else {
        return Ok((answer, None));
    };
    let limit = usize::try_from(sealed.stored_len).unwrap_or(usize::MAX);
    let body = pipeline::collect(answer.body, limit).await.map_err(|error| admitted.backend_failed(error))?;
    let (_, bytes) = trailer::split(&body).map_err(|error| admitted.not_genuine(error))?;
    let opened = Trailer::open(keys, sealed.kind, sealed.stored_len, bytes)
        .map_err(|error| admitted.not_genuine(error))?;
    let table = Table { object: keys.object_id(), etag: answer.meta.etag.clone(), trailer: opened };
    let answer = GetOutcome { body: pipeline::upload(body).stream, ..answer };
    Ok((answer, Some(Arc::new(table))))
}

/// The answer to a read whose object keeps changing.
pub fn keeps_changing() -> S3Error {
    S3Error::with(Code::SlowDown, "The object was replaced while it was read. Please try again.")
        .retry_after(1)
}
