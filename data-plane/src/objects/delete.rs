//! DeleteObject and DeleteObjects. Neither needs a key.

use http::StatusCode;

use crate::backend::{Conditions, DeleteKey};
use crate::body::ClientBody;
use crate::etags;
use crate::gate::{Admitted, no_content, refuse_folded, refuse_hidden};
use crate::refusal::backend_failed;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::delete::{Deleted, MAX_BYTES, delete_result, parse_delete};

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
        .delete(&bucket.backend_bucket, key, version, conditions)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
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
        backend
            .delete_many(&bucket.backend_bucket, &wanted)
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
                Some(Ok(_)) => Deleted::Done(object),
                Some(Err(error)) => {
                    Deleted::Failed(object, backend_failed(error, metrics, bucket.encrypts(&object.key)))
                }
                None => Deleted::Failed(object, S3Error::new(Code::InternalError)),
            },
        })
        .collect();
    Ok(reply::xml(StatusCode::OK, delete_result(&results, request.quiet)))
}
