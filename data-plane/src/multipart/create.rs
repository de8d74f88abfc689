//! CreateMultipartUpload: the object's keys are made and sealed twice, into the backend's upload and into the record.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use sealgate_envelope::upload_record::{ChecksumType, UploadName};
use sealgate_envelope::{ChecksumCode, Envelope, ObjectKeys, Scope, UploadRecord};

use super::uploads::OpenUpload;
use crate::backend::{Backend, BackendError, Forward, PutOptions, PutOutcome};
use crate::body::upload::{self, UploadChecksum};
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::objects::described;
use crate::objects::put::{active_key, cannot_seal, client_metadata, passed_headers, sealed_metadata};
use crate::pipeline;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::uploads::initiate;
use crate::snapshot::Bucket;
use crate::versions::purge::purge;

/// Answers CreateMultipartUpload.
///
/// # Errors
/// In S3's terms.
pub async fn create(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    if !bucket.encrypts(key) {
        return super::plain::create(admitted, &bucket, &backend, key).await;
    }
    let checksum = wanted_checksum(admitted)?;
    let mark = admitted.worker.node.keys.mark(bucket.id);
    let ik = active_key(admitted, &bucket).await?;
    let keys = ObjectKeys::generate(bucket.suite).map_err(|error| cannot_seal(&error))?;
    let metadata = client_metadata(admitted)?;
    let scope = Scope { tenant: bucket.tenant, bucket: bucket.id, key: key.as_bytes() };
    let envelope = Envelope::seal_object(&keys, None, !metadata.is_empty(), ik.id, &ik.ik, &scope)
        .map_err(|error| cannot_seal(&error))?;
    let options = PutOptions {
        metadata: sealed_metadata(&keys, &envelope, &metadata, backend.as_ref())?,
        headers: passed_headers(&admitted.headers)?,
        ..PutOptions::default()
    };
    let _landing = Landing::begin(&admitted.worker.node, &bucket)?;
    let upload_id = backend
        .create_upload(&bucket.backend_bucket, key, options)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    let name = UploadName {
        gateway: admitted.snapshot.gateway,
        bucket: bucket.id,
        upload_id: upload_id.clone(),
        key: key.as_bytes().to_vec(),
    };
    let record = name.record_name().map_err(|error| cannot_seal(&error))?;
    let created = admitted.worker.node.clock.unix();
    let sealed = UploadRecord::seal(
        &keys,
        envelope.has_metadata(),
        (ik.id, &ik.ik),
        bucket.tenant,
        name,
        created,
        checksum,
    )
    .and_then(|record| record.to_bytes())
    .map_err(|error| cannot_seal(&error))?;
    let stored = backend
        .put(&bucket.work_bucket, &record.record_key(), PutOptions::default(), pipeline::upload(sealed))
        .await;
    let usable = match stored {
        Ok(PutOutcome { version_id: Some(_), .. }) => refuse_retained(admitted, &bucket, &backend).await,
        Ok(_) => Ok(()),
        Err(error) => Err(admitted.backend_failed(error)),
    };
    if let Err(refused) = usable {
        // Without its record nobody can go on with the upload; what stays behind when this fails too, the backend lists.
        let _ = backend.abort_upload(&bucket.backend_bucket, key, &upload_id).await;
        let _ = purge(&backend, &bucket.work_bucket, &record.prefix(), None).await;
        return Err(refused);
    }
    let upload = OpenUpload { keys: Arc::new(keys), record, upload_id: upload_id.clone(), checksum };
    admitted.worker.node.uploads.insert(bucket.id, key, Arc::new(upload), ik.id, mark);
    let mut reply = reply::xml(StatusCode::OK, initiate(admitted.request.need_bucket()?, key, &upload_id));
    described::announce(bucket.suite, reply.headers_mut());
    if let Some((code, kind)) = checksum {
        reply::set(reply.headers_mut(), "x-amz-checksum-algorithm", super::notes::algorithm(code).name());
        reply::set(reply.headers_mut(), "x-amz-checksum-type", type_name(kind));
    }
    Ok(reply)
}

/// Refuses an upload whose notes and stashes could not be removed with it: a bucket's default retention locks them too.
async fn refuse_retained(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
) -> Result<(), S3Error> {
    let asked = Forward {
        method: Method::GET,
        bucket: bucket.work_bucket.clone(),
        key: None,
        query: vec![("object-lock".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let answer = match backend.forward(asked).await {
        // No lock, or a backend without locks.
        Err(BackendError::Unsupported(_) | BackendError::S3 { status: 400..=499 | 501, .. }) => return Ok(()),
        answer => answer.map_err(|error| admitted.backend_failed(error))?,
    };
    if !String::from_utf8_lossy(&answer.body).contains("DefaultRetention>") {
        return Ok(());
    }
    Err(S3Error::not_implemented(
        "multipart uploads in a bucket with a default retention without a work bucket: its helper objects would be locked. \
         Set the work_bucket of this backend in the gateway's configuration",
    ))
}

/// S3's name of a checksum type.
pub fn type_name(kind: ChecksumType) -> &'static str {
    match kind {
        ChecksumType::FullObject => "FULL_OBJECT",
        ChecksumType::Composite => "COMPOSITE",
    }
}

/// The checksum that the client asks for, in the format's codes.
fn wanted_checksum(admitted: &Admitted) -> Result<Option<(ChecksumCode, ChecksumType)>, S3Error> {
    let Some(asked) = UploadChecksum::from_headers(&admitted.headers)? else { return Ok(None) };
    let code = ChecksumCode::from_code(asked.algorithm.code())
        .ok_or_else(|| S3Error::with(Code::InternalError, "An algorithm has no code."))?;
    let kind = match asked.kind {
        upload::ChecksumType::FullObject => ChecksumType::FullObject,
        upload::ChecksumType::Composite => ChecksumType::Composite,
    };
    Ok(Some((code, kind)))
}
