//! Multipart uploads in plain prefixes: the backend's own, with its ETags and sizes. Nothing hidden is kept for them.
//!
//! Bodies are verified as they pass, like those of every part; checksums are not kept, so none can be shown or asked for
//! later. An upload that was begun encrypted has a record, and cannot be completed here: the prefix's rule has changed in
//! between, and its parts are ciphertext of which nothing would open.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use sealgate_envelope::etag;
use sealgate_envelope::size::MIN_PART;
use sealgate_envelope::upload_record::UploadName;

use super::notes;
use super::part::{MAX_PART, part_number};
use crate::backend::{
    Backend, BackendError, Conditions, GetOptions, PartEntry as BackendPart, PutOptions, PutOutcome, Upload,
};
use crate::body::plan::object_checksum;
use crate::body::upload::{ChecksumType, UploadChecksum, told_type};
use crate::body::{Checksum, ClientBody};
use crate::etags;
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::objects::described;
use crate::objects::put::{passed_headers, plain_metadata};
use crate::pipeline::seal::{Outcome, pass};
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::timestamp::unix_millis;
use crate::s3::xml::CompletedPart;
use crate::s3::xml::uploads::{PartEntry, initiate};
use crate::snapshot::Bucket;

/// Answers CreateMultipartUpload. An algorithm that the client names is not echoed: its checksums are verified and not kept.
///
/// # Errors
/// In S3's terms.
pub async fn create(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
) -> Result<Reply, S3Error> {
    // Not kept, but held against S3's rules, as that of an encrypted upload.
    UploadChecksum::from_headers(&admitted.headers)?;
    let (metadata, described) = plain_metadata(admitted)?;
    let mut headers = passed_headers(&admitted.headers)?;
    headers.extend(described);
    let options = PutOptions { metadata, headers, ..PutOptions::default() };
    let _landing = Landing::begin(&admitted.worker.node, bucket)?;
    let (upload_id, told) = backend
        .create_upload_told(&bucket.backend_bucket, key, options)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    let mut reply = reply::xml(StatusCode::OK, initiate(admitted.request.need_bucket()?, key, &upload_id));
    reply.headers_mut().extend(described::allowed(&told, false));
    Ok(reply)
}

/// Answers UploadPart.
///
/// # Errors
/// In S3's terms; nothing is stored then.
pub async fn upload(
    admitted: &Admitted,
    bucket: &Arc<Bucket>,
    backend: &Rc<dyn Backend>,
    key: &str,
    body: ClientBody,
) -> Result<Reply, S3Error> {
    let number = part_number(admitted)?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    let most = MAX_PART.min(backend.capabilities().max_part);
    let plan = admitted.plan(most)?;
    let length = plan.length();
    if length > most {
        return Err(S3Error::entity_too_large(length, most));
    }
    let outcome = Outcome::new(&admitted.worker.node, bucket);
    let body = Upload { length, stream: pass(admitted.source(body, plan), length, outcome.clone()) };
    let part = backend
        .upload_part(&bucket.backend_bucket, key, upload_id, number, body)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    let (verified, _landing) = outcome.take().ok_or_else(|| S3Error::new(Code::InternalError))?;
    let mut reply = reply::empty(StatusCode::OK);
    *reply.headers_mut() = described::allowed(&part.headers, false);
    reply::set(reply.headers_mut(), "etag", &etags::shown(&part.etag, false));
    if let Some(checksum) = verified.checksum() {
        reply::set(reply.headers_mut(), checksum.algorithm().header(), &checksum.to_base64());
    }
    Ok(reply)
}

/// The parts that ListParts shows, after a marker.
pub fn listed(stored: &[BackendPart], marker: u16) -> Vec<PartEntry> {
    newest_attempts(stored.iter().filter(|part| part.number > marker))
        .into_iter()
        .map(|part| PartEntry {
            number: part.number,
            modified: unix_millis(part.last_modified),
            etag: etag::without_quotes(&part.etag).to_owned(),
            size: part.size,
            checksum: None,
        })
        .collect()
}

/// One attempt a part, the newest, of servers that list them all. SeaweedFS tells neither order nor fractions of a second:
/// which of two of one second is shown is left to chance. Completing is by ETag, and knows them apart.
pub fn newest_attempts<'a>(parts: impl Iterator<Item = &'a BackendPart>) -> Vec<&'a BackendPart> {
    let mut newest: Vec<&BackendPart> = Vec::new();
    for part in parts {
        match newest.last_mut().filter(|last| last.number == part.number) {
            Some(last) if part.last_modified >= last.last_modified => *last = part,
            Some(_) => {}
            None => newest.push(part),
        }
    }
    newest
}

/// Completes an upload; everything that can fail by rule is checked first. A checksum of the whole object that the client
/// told is given back: the storage has held the object against it.
///
/// # Errors
/// In S3's terms.
pub async fn complete(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
    parts: &[CompletedPart],
) -> Result<(PutOutcome, Option<Checksum>), S3Error> {
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    let failed = |error| admitted.backend_failed(error);
    let conditions = etags::write_conditions(&admitted.headers, false)?;
    if conditions != Conditions::default() && !backend.capabilities().conditional_complete {
        return Err(S3Error::not_implemented("a conditional CompleteMultipartUpload on this storage"));
    }
    // Nothing here could tell whether it is right: parts' checksums are not kept. The storage may be able to.
    let checksum = whole_checksum(&admitted.headers)?;
    let mut told = HeaderMap::new();
    if let Some(checksum) = &checksum {
        reply::set(&mut told, checksum.algorithm().header(), &checksum.to_base64());
    }
    if begun_encrypted(admitted, bucket, backend, key, upload_id).await.map_err(failed)? {
        return Err(S3Error::no_such_upload(upload_id));
    }
    let stored = notes::all_parts(backend, &bucket.backend_bucket, key, upload_id).await.map_err(failed)?;
    let chosen = choose(parts, &stored)?;
    let size = chosen.iter().fold(0_u64, |size, part| size.saturating_add(part.size));
    let most = backend.capabilities().max_object;
    if size > most {
        return Err(S3Error::entity_too_large(size, most));
    }
    super::complete::check_told_size(admitted, size)?;
    let named: Vec<(u16, String)> = chosen.iter().map(|part| (part.number, part.etag.clone())).collect();
    let _landing = Landing::begin(&admitted.worker.node, bucket)?;
    let completed =
        backend.complete_upload_with(&bucket.backend_bucket, key, upload_id, &named, conditions, told).await;
    match completed {
        Ok(outcome) => Ok((outcome, checksum)),
        Err(error) if checksum.is_some() && error.is("BadDigest") => Err(S3Error::new(Code::BadDigest)),
        Err(error) => Err(failed(error)),
    }
}

/// The checksum that the client tells: of the whole object, since a composite is made of what is not kept.
fn whole_checksum(headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    let checksum = object_checksum(headers)?;
    let told = checksum.as_ref().and_then(|checksum| headers.get(checksum.algorithm().header()));
    let counts_parts = told.is_some_and(|value| value.as_bytes().contains(&b'-'));
    if counts_parts || told_type(headers)? == Some(ChecksumType::Composite) {
        return Err(S3Error::with(
            Code::InvalidRequest,
            "Checksums of parts are not kept in plain prefixes: the object's can only be of the type FULL_OBJECT.",
        ));
    }
    Ok(checksum)
}

/// The backend's parts that the client lists.
fn choose<'a>(parts: &[CompletedPart], stored: &'a [BackendPart]) -> Result<Vec<&'a BackendPart>, S3Error> {
    let mut chosen = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let named = etag::without_quotes(&part.etag);
        // Some servers list every attempt at a part.
        let from = stored.partition_point(|stored| stored.number < part.number);
        let found = stored
            .iter()
            .skip(from)
            .take_while(|stored| stored.number == part.number)
            .find(|stored| etag::without_quotes(&stored.etag) == named)
            .ok_or_else(|| super::complete::invalid_part(part))?;
        if at + 1 < parts.len() && found.size < MIN_PART {
            return Err(S3Error::entity_too_small(found.size, MIN_PART, part.number, part.etag.clone()));
        }
        chosen.push(found);
    }
    Ok(chosen)
}

/// Whether there is a record of an encrypted upload of this id.
async fn begun_encrypted(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    key: &str,
    upload_id: &str,
) -> Result<bool, BackendError> {
    let name = UploadName {
        gateway: admitted.snapshot.gateway,
        bucket: bucket.id,
        upload_id: upload_id.to_owned(),
        key: key.as_bytes().to_vec(),
    };
    // An id that no record can have has none.
    let Ok(record) = name.record_name() else { return Ok(false) };
    match backend.head(&bucket.work_bucket, &record.record_key(), GetOptions::default()).await {
        Ok(_) => Ok(true),
        // A work bucket that is not there yet holds no record.
        Err(error) if error.is("NoSuchKey") || error.is("NotFound") || error.is("NoSuchBucket") => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::whole_checksum;
    use crate::s3::error::Code;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn a_composite_is_no_checksum_of_a_plain_object() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            let told = whole_checksum(&headers.collect::<HeaderMap>());
            told.map(|checksum| checksum.is_some()).map_err(|error| error.code())
        };
        let (crc, kind) = ("x-amz-checksum-crc32", "x-amz-checksum-type");
        assert_eq!(of(&[]), Ok(false));
        assert_eq!(of(&[(crc, "y/Q5Jg=="), (kind, "FULL_OBJECT")]), Ok(true));
        for refused in
            [&[(crc, "y/Q5Jg==-2")][..], &[(crc, "y/Q5Jg=="), (kind, "COMPOSITE")], &[(kind, "none")]]
        {
            assert_eq!(of(refused), Err(Code::InvalidRequest), "{refused:?}");
        }
    }
}
