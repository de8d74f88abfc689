//! DeleteObject and DeleteObjects. Neither needs a key.

use std::rc::Rc;

use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};

use super::demanded::{Demanded, looked_at, one};
use crate::backend::{Backend, BackendError, Conditions, DeleteKey, DeleteOutcome};
use crate::body::ClientBody;
use crate::body::plan::needs_digest;
use crate::etags;
use crate::forwarding::{in_its_words, judged};
use crate::gate::{Admitted, no_content, refuse_folded, refuse_hidden};
use crate::landings::still_there;
use crate::refusal::backend_failed;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::route;
use crate::s3::xml::delete::{Deleted, Gone, MAX_BYTES, ObjectId, delete_result, parse_delete};
use crate::snapshot::Bucket;

/// Deletions of one request that run at once, where each is a request of its own.
const AT_ONCE: usize = 16;

/// Answers DeleteObject.
///
/// # Errors
/// In S3's terms.
pub async fn delete(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let version = admitted.request.query.get("versionId");
    let demanded = Demanded::from_headers(&admitted.headers, looked_at(backend.capabilities(), version))?;
    let if_match = if demanded.is_empty() {
        let if_match = etags::conditions(&admitted.headers, bucket.encrypts(key))?.if_match;
        if if_match.is_some() && !backend.capabilities().conditional_delete {
            return Err(S3Error::not_implemented("a conditional DeleteObject on this storage"));
        }
        if_match
    } else {
        let bound = demanded.bind(&bucket, backend.as_ref(), key, version).await;
        bound.map_err(|error| error.told(admitted))?.map(|etag| format!("\"{etag}\""))
    };
    let conditions = Conditions { if_match, ..Conditions::default() };
    let outcome = backend
        .delete_with(&bucket.backend_bucket, key, version, conditions, passed(admitted))
        .await
        .map_err(|error| refused(admitted, &bucket, error))?;
    let mut reply = no_content();
    if outcome.delete_marker {
        reply::set(reply.headers_mut(), "x-amz-delete-marker", "true");
    }
    if let Some(version) = &outcome.version_id {
        reply::set(reply.headers_mut(), "x-amz-version-id", version);
    }
    Ok(reply)
}

/// Answers DeleteObjects: one result a key, in the order asked.
///
/// # Errors
/// In S3's terms, when the request as a whole cannot be served.
pub async fn delete_many(admitted: &Admitted, body: ClientBody) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let document = admitted.document(body, MAX_BYTES).await?;
    still_there(&admitted.worker.node, &bucket)?;
    // A list that was altered on its way would delete something else.
    needs_digest(&admitted.headers)?;
    let request = parse_delete(&document)?;
    let (mut results, mut wanted) = (Vec::with_capacity(request.objects.len()), Vec::new());
    let asked = stream::iter(&request.objects).map(|object| wish(admitted, &bucket, &backend, object));
    for wish in asked.buffered(AT_ONCE).collect::<Vec<_>>().await {
        results.push(wish.map(|wish| wanted.push(wish)).err());
    }
    let outcomes = if wanted.is_empty() {
        Vec::new()
    } else {
        delete_all(&bucket, &backend, &wanted, passed(admitted))
            .await
            .map_err(|error| admitted.backend_failed(error))?
    };
    let mut outcomes = outcomes.into_iter();
    let metrics = &admitted.worker.node.metrics;
    let results: Vec<Deleted<'_>> = request
        .objects
        .iter()
        .zip(results)
        .map(|(object, refused)| match refused {
            Some(refused) => Deleted::Failed(object, refused),
            None => match outcomes.next() {
                Some(Ok(outcome)) => {
                    let gone =
                        Gone { delete_marker: outcome.delete_marker, marker_version_id: outcome.version_id };
                    Deleted::Done(object, gone)
                }
                Some(Err(error)) if is_locked(&error) => Deleted::Failed(object, locked()),
                Some(Err(error)) => {
                    let told = judged(&bucket, &error).filter(|_| error.is("AccessDenied"));
                    let told = told.unwrap_or_else(|| {
                        backend_failed(error, metrics, bucket.encrypts(&object.key), Some(&bucket.label))
                    });
                    Deleted::Failed(object, told)
                }
                None => Deleted::Failed(object, S3Error::new(Code::InternalError)),
            },
        })
        .collect();
    Ok(reply::xml(StatusCode::OK, delete_result(&results, request.quiet)))
}

/// One key of the list as the storage is asked to delete it.
async fn wish(
    admitted: &Admitted,
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    object: &ObjectId,
) -> Result<DeleteKey, S3Error> {
    refuse_hidden(&object.key)?;
    refuse_folded(&object.key, backend.as_ref())?;
    if object.version_id.as_deref() == Some("") {
        return Err(S3Error::invalid_argument("VersionId", "", "Version id cannot be the empty string"));
    }
    let capabilities = backend.capabilities();
    let demanded =
        Demanded { etag: object.etag.clone().map(one), size: object.size, modified: object.modified };
    let version = object.version_id.as_deref();
    let in_one_step = capabilities.conditional_delete_many || capabilities.conditional_delete;
    let look = demanded.size.is_some()
        || demanded.modified.is_some()
        || (demanded.etag.is_some() && looked_at(capabilities, version) && !in_one_step);
    let etag = if look {
        let bound = demanded.bind(bucket, backend.as_ref(), &object.key, version).await;
        bound.map_err(|error| error.told(admitted))?
    } else {
        object.etag.as_ref().map(|etag| etags::wanted(etag, bucket.encrypts(&object.key)))
    };
    if etag.is_some() && !in_one_step {
        // Dropping the condition would delete what the client wants to keep.
        return Err(S3Error::not_implemented("DeleteObjects with conditions on this storage"));
    }
    Ok(DeleteKey { key: object.key.clone(), version_id: object.version_id.clone(), etag })
}

/// The lock's override and the second factor, as they go to the storage.
fn passed(admitted: &Admitted) -> HeaderMap {
    let mut headers = route::passed(route::WITH_DELETIONS, &admitted.headers);
    if !route::needs_configure(&headers) {
        headers.remove("x-amz-bypass-governance-retention");
    }
    headers
}

/// Of deletions AccessDenied is the storage's judgement: the version is locked.
fn refused(admitted: &Admitted, bucket: &Bucket, error: BackendError) -> S3Error {
    match &error {
        error if is_locked(error) => locked(),
        _ if error.is("AccessDenied") => in_its_words(admitted, bucket, error),
        _ => admitted.backend_failed(error),
    }
}

/// MinIO says of a locked version that the request is invalid, and why in a text.
fn is_locked(error: &BackendError) -> bool {
    matches!(error, BackendError::S3 { code, message, .. } if code == "InvalidRequest" && message.contains("WORM protected"))
}

fn locked() -> S3Error {
    S3Error::with(Code::AccessDenied, "Access Denied because object protected by object lock.")
}

/// One request for all keys; one a key where headers go with them, or the storage holds conditions only so.
async fn delete_all(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    wanted: &[DeleteKey],
    headers: HeaderMap,
) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
    let conditional = wanted.iter().any(|wanted| wanted.etag.is_some());
    if headers.is_empty() && (!conditional || backend.capabilities().conditional_delete_many) {
        return backend.delete_many(&bucket.backend_bucket, wanted).await;
    }
    let deletions = wanted.iter().map(|wanted| {
        let conditions = Conditions {
            if_match: wanted.etag.as_ref().map(|etag| format!("\"{etag}\"")),
            ..Conditions::default()
        };
        let version = wanted.version_id.as_deref();
        backend.delete_with(&bucket.backend_bucket, &wanted.key, version, conditions, headers.clone())
    });
    Ok(stream::iter(deletions).buffered(AT_ONCE).collect().await)
}
