//! Which attempts at its parts a committed object is made of.
//!
//! A backend that takes any ETag commits whatever it has: also a part that was uploaded again after the gateway's last look,
//! under a table that tells of the attempt before. Such an object has the right trailer, often the right size, and cannot be
//! read. Every attempt seals under a salt of its own, and each of its chunks begins with it: so a few bytes a part tell.

use std::rc::Rc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sealgate_envelope::{PartTable, SALT};

use crate::backend::{Backend, BackendError, Conditions, GetOptions, ObjectMeta, StoredRange};
use crate::pipeline;

/// Parts that are looked at at once.
const AT_ONCE: usize = 8;

/// Whether each part that lies in the object is the attempt that the table names.
///
/// # Errors
/// The backend's, `PreconditionFailed` when the object was replaced.
pub async fn are_the_tables(
    table: &PartTable,
    backend: &Rc<dyn Backend>,
    bucket: &str,
    key: &str,
    meta: &ObjectMeta,
) -> Result<bool, BackendError> {
    let with_bytes = table.parts().iter().filter(|part| !part.stored.is_empty());
    stream::iter(with_bytes)
        .map(|part| async move {
            let last = part.stored.start + SALT as u64 - 1;
            let options = GetOptions {
                range: Some(StoredRange::Inclusive(part.stored.start, last)),
                conditions: Conditions {
                    if_match: Some(format!("\"{}\"", meta.etag)),
                    ..Conditions::default()
                },
                version_id: meta.version_id.clone(),
                ..GetOptions::default()
            };
            let answer = backend.get(bucket, key, options).await?;
            let salt = pipeline::collect(answer.body, SALT).await?;
            Ok(part.salt.is_none_or(|expected| salt == expected))
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(true, |all, same| std::future::ready(Ok(all && same)))
        .await
}
