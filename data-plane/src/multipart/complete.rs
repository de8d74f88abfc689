//! CompleteMultipartUpload: everything that can fail by rule is checked first; then the gateway's part is written, and one
//! atomic commit at the backend makes the object.

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use sealgate_envelope::size::{MIN_PART, chunks_size, stored_size};
use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{FullChecksum, Kind, PartEntry, Recovery, TrailerPlain, etag};

use super::attempts;
use super::gateway_part::{self, Stashed};
use super::notes::{self, Notes, algorithm, from_format, to_format};
use super::part::GATEWAY_PART;
use super::plain;
use super::sums::{Told, is_the_parts};
use super::uploads::{OpenUpload, load};
use crate::backend::{Backend, BackendError, Conditions, GetOptions, PartEntry as BackendPart, PutOutcome};
use crate::body::ClientBody;
use crate::body::checksum::Checksum;
use crate::body::plan::object_checksum;
use crate::etags;
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::late;
use crate::objects::described;
use crate::objects::put::{active_key, cannot_seal};
use crate::objects::sealed;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::complete::MAX_BYTES;
use crate::s3::xml::uploads::{ObjectChecksum, complete as completed_document};
use crate::s3::xml::{CompletedPart, parse_complete};
use crate::snapshot::Bucket;

/// 10,000 parts with checksums and namespaces.
const MAX_DOCUMENT: usize = MAX_BYTES;

/// How often a race for the gateway's part is taken up again.
const RACES: usize = 3;

/// Answers CompleteMultipartUpload.
///
/// # Errors
/// In S3's terms. What is found after 20 s is in the body of a 200, as S3 does.
pub async fn complete(admitted: &Rc<Admitted>, body: ClientBody) -> Result<Reply, S3Error> {
    let document = admitted.complete_document(body, MAX_DOCUMENT).await?;
    let parts = parse_complete(&document)?;
    check_headers(admitted)?;
    let (path, id) = (admitted.request.raw_path.clone(), admitted.request_id.clone());
    late::answer(path, id, finish(Rc::clone(admitted), parts)).await
}

/// Holds what the headers say of the object against S3's rules, before its parts are looked at.
fn check_headers(admitted: &Admitted) -> Result<(), S3Error> {
    object_checksum(&admitted.headers)?;
    match admitted.header("x-amz-mp-object-size") {
        Some(told) if told.parse::<i64>().is_ok_and(|told| told < 0) => Err(S3Error::with(
            Code::InvalidRequest,
            format!("Value for x-amz-mp-object-size header is less than zero: '{told}'"),
        )),
        _ => Ok(()),
    }
}

async fn finish(admitted: Rc<Admitted>, parts: Vec<CompletedPart>) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    if !bucket.encrypts(key) {
        let (outcome, checksum) = plain::complete(&admitted, &bucket, &backend, key, &parts).await?;
        let shown = checksum.as_ref().map(|checksum| ObjectChecksum { checksum, parts: None });
        let etag = etag::without_quotes(&outcome.etag);
        return completed(&admitted, key, etag, shown.as_ref(), &outcome, false);
    }
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    let upload = load(&admitted, &bucket, &backend, key, upload_id).await?;
    let told = Told::from(&admitted, upload.checksum, parts.len())?;
    let completing = Completing {
        admitted: &admitted,
        bucket: &bucket,
        backend: &backend,
        key,
        upload: &upload,
        parts,
        told,
    };
    let (outcome, checksum) = completing.run().await?;
    admitted.worker.node.uploads.remove(bucket.id, key, upload_id);
    if let Err(error) = notes::remove(&backend, &bucket.work_bucket, &upload).await {
        tracing::warn!(bucket = bucket.name, key, %error, "notes of a completed upload stay until the sweep");
    }
    let shown = checksum.as_ref().map(|(checksum, composite)| ObjectChecksum {
        checksum,
        parts: composite.then_some(completing.parts.len()),
    });
    let etag = etag::to_client(&outcome.etag);
    let mut reply = completed(&admitted, key, &etag, shown.as_ref(), &outcome, true)?;
    described::announce(upload.keys.suite(), reply.headers_mut());
    Ok(reply)
}

/// The answer; `etag` is what the client sees, without quotes.
fn completed(
    admitted: &Admitted,
    key: &str,
    etag: &str,
    checksum: Option<&ObjectChecksum<'_>>,
    outcome: &PutOutcome,
    encrypted: bool,
) -> Result<Reply, S3Error> {
    let host = admitted.header("host").unwrap_or_default();
    let location = format!("{}{}", admitted.worker.node.url(host), admitted.request.raw_path);
    let document = completed_document(&location, admitted.request.need_bucket()?, key, etag, checksum);
    let mut reply = reply::xml(StatusCode::OK, document);
    reply.headers_mut().extend(described::allowed(&outcome.headers, encrypted));
    if let Some(version) = &outcome.version_id {
        reply::set(reply.headers_mut(), "x-amz-version-id", version);
    }
    Ok(reply)
}

/// What the object is made of.
struct Plan {
    trailer: TrailerPlain,
    backend_parts: Vec<(u16, String)>,
    stashed: Option<Stashed>,
    checksum: Option<(Checksum, bool)>,
}

struct Completing<'a> {
    admitted: &'a Admitted,
    bucket: &'a Arc<Bucket>,
    backend: &'a Rc<dyn Backend>,
    key: &'a str,
    upload: &'a OpenUpload,
    parts: Vec<CompletedPart>,
    told: Told,
}

type Done = (PutOutcome, Option<(Checksum, bool)>);

impl Completing<'_> {
    async fn run(&self) -> Result<Done, S3Error> {
        let conditions = etags::write_conditions(&self.admitted.headers, true)?;
        if conditions != Conditions::default() && !self.backend.capabilities().conditional_complete {
            return Err(S3Error::not_implemented("a conditional CompleteMultipartUpload on this storage"));
        }
        self.check_told_checksums()?;
        let plan = match self.plan().await {
            Ok(planned) => planned,
            Err(PlanError::Gone) => {
                return self.already_done(S3Error::no_such_upload(&self.upload.upload_id)).await;
            }
            Err(PlanError::Refused(refused)) => {
                // Notes that are gone while parts stand: another node may be completing this very upload.
                if refused.code() == Code::InvalidPart && self.upload_is_gone().await? {
                    return self.already_done(refused).await;
                }
                return Err(refused);
            }
        };
        self.check_sizes(&plan)?;
        let sealed = self.seal(&plan).await?;
        let mut etag = match self.write(&plan, &sealed).await {
            Ok(etag) => etag,
            Err(refused) => return self.write_failed(refused).await,
        };
        let _landing = Landing::begin(&self.admitted.worker.node, self.bucket)?;
        for _ in 0..RACES {
            let mut parts = plan.backend_parts.clone();
            parts.push((GATEWAY_PART, etag.clone()));
            let enforced = self.backend.capabilities().part_etags_enforced;
            if !enforced && matches!(self.standing(&parts).await?, Standing::Changed) {
                return Err(raced());
            }
            let completed = self
                .backend
                .complete_upload(
                    &self.bucket.backend_bucket,
                    self.key,
                    &self.upload.upload_id,
                    &parts,
                    conditions.clone(),
                )
                .await;
            match completed {
                Ok(outcome) if enforced => return Ok((outcome, plan.checksum)),
                // A backend that takes any ETag may have committed parts that were replaced a moment before: the object
                // itself has to show that it is what was asked for.
                Ok(_) => return self.already_done(raced()).await,
                Err(error) if error.is("NoSuchUpload") || error.is("PreconditionFailed") => {
                    return self.already_done(self.admitted.backend_failed(error)).await;
                }
                Err(error) if error.is("InvalidPart") => {
                    let refused = self.admitted.backend_failed(error);
                    match self.standing(&plan.backend_parts).await? {
                        Standing::Gone => return self.already_done(refused).await,
                        Standing::Changed => return Err(refused),
                        // Another node wrote its own trailer in between. Ours goes over it, with fresh salts: one trailer
                        // that this node did not make is never committed by it.
                        Standing::Current => {}
                    }
                    let sealed = self.seal(&plan).await?;
                    etag = match self.write(&plan, &sealed).await {
                        Ok(etag) => etag,
                        Err(refused) => return self.write_failed(refused).await,
                    };
                }
                Err(error) => return Err(self.admitted.backend_failed(error)),
            }
        }
        Err(raced())
    }

    /// Demands each part's checksum in the list where the object's is made of them, as S3 does.
    fn check_told_checksums(&self) -> Result<(), S3Error> {
        let Some((code, ChecksumType::Composite)) = self.upload.checksum else { return Ok(()) };
        let wanted = algorithm(code);
        let told = |part: &CompletedPart| part.checksum.is_some_and(|sent| sent.algorithm() == wanted);
        match self.parts.iter().find(|part| !told(part)) {
            None => Ok(()),
            Some(part) => Err(S3Error::with(
                Code::InvalidRequest,
                format!(
                    "The upload was created using a {} checksum. The complete request must include the checksum for each \
                     part. It was missing for part {} in the request.",
                    wanted.name().to_ascii_lowercase(),
                    part.number
                ),
            )),
        }
    }

    /// Whether the backend still has exactly these parts, among whatever others.
    async fn standing(&self, parts: &[(u16, String)]) -> Result<Standing, S3Error> {
        let listed = match self.list().await {
            Err(error) if error.is("NoSuchUpload") => return Ok(Standing::Gone),
            listed => listed.map_err(|error| self.admitted.backend_failed(error))?,
        };
        let current = parts
            .iter()
            .all(|(number, etag)| listed.iter().any(|part| part.number == *number && part.etag == *etag));
        Ok(match current {
            true => Standing::Current,
            // A list that was read while the upload was removed lacks parts, too.
            false if self.upload_is_gone().await? => Standing::Gone,
            false => Standing::Changed,
        })
    }

    async fn list(&self) -> Result<Vec<BackendPart>, BackendError> {
        notes::all_parts(self.backend, &self.bucket.backend_bucket, self.key, &self.upload.upload_id).await
    }

    async fn upload_is_gone(&self) -> Result<bool, S3Error> {
        match self.list().await {
            Ok(_) => Ok(false),
            Err(error) if error.is("NoSuchUpload") => Ok(true),
            Err(error) => Err(self.admitted.backend_failed(error)),
        }
    }

    /// The gateway's part could not be written: also because another request completed the upload in between.
    async fn write_failed(&self, refused: S3Error) -> Result<Done, S3Error> {
        match refused.code() {
            Code::NoSuchUpload => self.already_done(refused).await,
            Code::InvalidPart if self.upload_is_gone().await? => self.already_done(refused).await,
            _ => Err(refused),
        }
    }

    /// Finds the client's parts among the backend's, with what their notes say.
    async fn plan(&self) -> Result<Plan, PlanError> {
        let listed = match self.list().await {
            Ok(listed) => listed,
            Err(error) if error.is("NoSuchUpload") => return Err(PlanError::Gone),
            Err(error) => return Err(PlanError::Refused(self.admitted.backend_failed(error))),
        };
        let notes = Notes::read(self.backend, &self.bucket.work_bucket, self.upload, &listed)
            .await
            .map_err(|error| PlanError::Refused(self.admitted.backend_failed(error)))?;
        let mut entries = Vec::with_capacity(self.parts.len());
        let mut backend_parts = Vec::with_capacity(self.parts.len());
        let mut stashed = None;
        for (at, part) in self.parts.iter().enumerate() {
            let last = at + 1 == self.parts.len();
            let invalid = || PlanError::Refused(invalid_part(part));
            let backend_etag = etag::without_quotes(&etag::to_backend(&part.etag)).to_owned();
            let note = &notes.of(part.number, &backend_etag).ok_or_else(invalid)?.note;
            if part.number != GATEWAY_PART {
                // Some servers list every attempt at a part, the oldest first.
                let named =
                    |stored: &&BackendPart| stored.number == part.number && stored.etag == backend_etag;
                let stored = listed.iter().find(named).ok_or_else(invalid)?;
                if Some(stored.size) != chunks_size(note.size) {
                    return Err(invalid());
                }
            }
            if !last && note.size < MIN_PART {
                return Err(PlanError::Refused(S3Error::entity_too_small(
                    note.size,
                    MIN_PART,
                    part.number,
                    part.etag.clone(),
                )));
            }
            if part.number == GATEWAY_PART || note.size < MIN_PART {
                stashed = Some(Stashed { number: part.number, size: note.size, salt: note.salt });
            } else {
                backend_parts.push((part.number, backend_etag.clone()));
            }
            if !is_the_parts(part, note).map_err(PlanError::Refused)? {
                return Err(invalid());
            }
            let wanted = self.upload.checksum.map(|(code, _)| code);
            entries.push(PartEntry {
                number: part.number,
                size: note.size,
                salt: note.salt,
                etag: etag::etag16(&backend_etag),
                checksum: match wanted {
                    Some(code) => note.checksums.iter().find(|checksum| checksum.code() == code).cloned(),
                    None => note.checksums.first().cloned(),
                },
            });
        }
        let plaintext_len = entries.iter().map(|entry| entry.size).sum();
        let checksum = self.told.object(self.upload.checksum, &entries).map_err(PlanError::Refused)?;
        let checksums = checksum
            .iter()
            .filter_map(|(checksum, composite)| {
                Some(FullChecksum { checksum: to_format(checksum)?, composite: *composite })
            })
            .collect();
        let trailer = TrailerPlain { plaintext_len, parts: entries, checksums };
        Ok(Plan { trailer, backend_parts, stashed, checksum })
    }

    fn check_sizes(&self, plan: &Plan) -> Result<(), S3Error> {
        let size = plan.trailer.plaintext_len;
        let most = self.backend.capabilities().max_object;
        if stored_size(size).is_none_or(|stored| stored > most) {
            return Err(S3Error::entity_too_large(size, most));
        }
        check_told_size(self.admitted, size)
    }

    async fn seal(&self, plan: &Plan) -> Result<Vec<u8>, S3Error> {
        let ik = active_key(self.admitted, self.bucket).await?;
        let keys = &self.upload.keys;
        Recovery::seal(keys, Kind::Multipart, ik.id, &ik.ik, self.bucket.tenant, self.bucket.id)
            .and_then(|recovery| plan.trailer.seal(keys, &recovery))
            .map_err(|error| cannot_seal(&error))
    }

    async fn write(&self, plan: &Plan, trailer: &[u8]) -> Result<String, S3Error> {
        let written = gateway_part::write(
            self.backend,
            self.bucket,
            self.key,
            self.upload,
            plan.stashed.as_ref(),
            trailer,
        );
        let (etag, stored) = written.await.map_err(|error| match error {
            BackendError::Upload(source) => match source.downcast::<BackendError>() {
                Ok(error) => self.admitted.backend_failed(*error),
                Err(source) => self.admitted.backend_failed(BackendError::Upload(source)),
            },
            error => self.admitted.backend_failed(error),
        })?;
        self.admitted.worker.node.metrics.buckets.written(&self.bucket.label, 0, stored);
        Ok(etag)
    }

    /// The upload is gone, or a condition failed: a success only if the object that is there is this upload's, made of
    /// exactly the client's list.
    async fn already_done(&self, refused: S3Error) -> Result<Done, S3Error> {
        let head = self.backend.head(&self.bucket.backend_bucket, self.key, GetOptions::default()).await;
        // Only a look tells that the upload did not become the object: where none can be had, another attempt may.
        let meta = match head {
            Ok(meta) => meta,
            Err(error) if is_missing(&error) => return Err(refused),
            Err(error) => return Err(self.admitted.backend_failed(error)),
        };
        let opened = sealed::open(self.admitted, self.bucket, self.backend.as_ref(), self.key, &meta).await;
        let opened = match opened {
            Ok(opened) => opened,
            // Of a key that is not to be used, or not genuine: another object than this upload's.
            Err(error) if !error.code().status().is_server_error() => return Err(refused),
            Err(error) => return Err(error),
        };
        let same = opened.keys.as_ref().is_some_and(|keys| keys.object_id() == self.upload.keys.object_id());
        if !same || opened.kind != Kind::Multipart {
            return Err(refused);
        }
        let table = sealed::table(self.admitted, self.bucket, self.backend, self.key, &meta, &opened).await?;
        let Ok(table) = table else { return Err(refused) };
        let entries = table.trailer.entries();
        let as_listed = entries.len() == self.parts.len()
            && entries.iter().zip(&self.parts).all(|(entry, part)| {
                entry.number == part.number && entry.etag == etag::etag16(&etag::to_backend(&part.etag))
            });
        if !as_listed {
            return Err(refused);
        }
        if !self.backend.capabilities().part_etags_enforced {
            let (parts, bucket) = (table.trailer.table(), &self.bucket.backend_bucket);
            match attempts::are_the_tables(parts, self.backend, bucket, self.key, &meta).await {
                Ok(true) => {}
                Ok(false) => {
                    let (bucket, key) = (&self.bucket.name, self.key);
                    tracing::error!(
                        bucket,
                        key,
                        "a part was uploaded again during Complete: the object is lost"
                    );
                    return Err(refused);
                }
                Err(error) if error.is("PreconditionFailed") => return Err(refused),
                Err(error) => return Err(self.admitted.backend_failed(error)),
            }
        }
        let checksum = table
            .trailer
            .checksums()
            .first()
            .and_then(|full| Some((from_format(&full.checksum)?, full.composite)));
        if !self.told.is(checksum.as_ref().map(|(checksum, _)| checksum)) {
            return Err(refused);
        }
        // HEAD says `null` of what was written without versioning, of which Complete names none.
        let version_id = meta.version_id.filter(|version| version != "null");
        let outcome = PutOutcome { etag: meta.etag, version_id, headers: http::HeaderMap::new() };
        Ok((outcome, checksum))
    }
}

/// Holds the size that the client announced for the object against what its parts add up to.
pub(super) fn check_told_size(admitted: &Admitted, size: u64) -> Result<(), S3Error> {
    match admitted.header("x-amz-mp-object-size") {
        Some(told) if told.parse() != Ok(size) => Err(S3Error::with(
            Code::InvalidRequest,
            format!(
                "The provided 'x-amz-mp-object-size' header value {told} does not match what was computed: {size}"
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a HEAD says that nothing is there: also that a delete marker is.
fn is_missing(error: &BackendError) -> bool {
    ["NoSuchKey", "NotFound", "NoSuchBucket", "MethodNotAllowed"].iter().any(|code| error.is(code))
}

fn raced() -> S3Error {
    S3Error::with(
        Code::OperationAborted,
        "Another request changes or completes the same upload. Please try again.",
    )
}

/// What became of parts that were there a moment ago.
enum Standing {
    Current,
    Changed,
    Gone,
}

enum PlanError {
    Gone,
    Refused(S3Error),
}

pub(super) fn invalid_part(part: &CompletedPart) -> S3Error {
    S3Error::new(Code::InvalidPart)
        .field("PartNumber", part.number.to_string())
        .field("ETag", part.etag.clone())
}
