//! DeleteObject and DeleteObjects. Neither needs a key.

use std::rc::Rc;

use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};

use crate::backend::{Backend, BackendError, Conditions, DeleteKey, DeleteOutcome};
use crate::body::ClientBody;
use crate::etags;
use crate::forwarding::{in_its_words, judged};
use crate::gate::{Admitted, no_content, refuse_folded, refuse_hidden};
use crate::refusal::backend_failed;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::route;
use crate::s3::xml::delete::{Deleted, Gone, MAX_BYTES, delete_result, parse_delete};
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
    let conditions = etags::conditions(&admitted.headers, bucket.encrypts(key))?;
    let conditions = Conditions { if_match: conditions.if_match, ..Conditions::default() };
    if conditions.if_match.is_some() && !backend.capabilities().conditional_delete {
        return Err(S3Error::not_implemented("a conditional DeleteObject on this storage"));
    }
    let version = admitted.request.query.get("versionId");
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
    let request = parse_delete(&document)?;
    let mut results: Vec<Option<S3Error>> = Vec::with_capacity(request.objects.len());
    let mut wanted = Vec::with_capacity(request.objects.len());
    for object in &request.objects {
        let refused = if object.unknown_condition {
            Some(S3Error::not_implemented("DeleteObjects with LastModifiedTime or Size"))
        } else if object.etag.is_some() && !backend.capabilities().conditional_delete_many {
            // Dropping the condition would delete what the client wants to keep.
            Some(S3Error::not_implemented("DeleteObjects with ETag on this storage"))
        } else {
            refuse_hidden(&object.key).and_then(|()| refuse_folded(&object.key, backend.as_ref())).err()
        };
        if refused.is_none() {
            let etag = object.etag.as_ref().map(|etag| match bucket.encrypts(&object.key) {
                true => sealgate_envelope::etag::to_backend(etag),
                false => etag.clone(),
            });
            wanted.push(DeleteKey { key: object.key.clone(), version_id: object.version_id.clone(), etag });
        }
        results.push(refused);
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
                Some(Err(error)) => {
                    let told = judged(&bucket, &error).filter(|_| error.is("AccessDenied"));
                    let told =
                        told.unwrap_or_else(|| backend_failed(error, metrics, bucket.encrypts(&object.key)));
                    Deleted::Failed(object, told)
                }
                None => Deleted::Failed(object, S3Error::new(Code::InternalError)),
            },
        })
        .collect();
    Ok(reply::xml(StatusCode::OK, delete_result(&results, request.quiet)))
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
    match error.is("AccessDenied") {
        true => in_its_words(admitted, bucket, error),
        false => admitted.backend_failed(error),
    }
}

/// One request for all keys; one a key where headers go with them.
async fn delete_all(
    bucket: &Bucket,
    backend: &Rc<dyn Backend>,
    wanted: &[DeleteKey],
    headers: HeaderMap,
) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
    if headers.is_empty() {
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
