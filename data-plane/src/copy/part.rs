//! UploadPartCopy: plaintext of the source, proved and sealed again as any part; in plain prefixes the storage's own copy.

use std::rc::Rc;

use http::StatusCode;

use super::asked::{self, Named};
use super::source::Source;
use crate::backend::BackendError;
use crate::body::{BodyPlan, Checksum};
use crate::etags;
use crate::gate::Admitted;
use crate::landings::Landing;
use crate::multipart::notes::algorithm;
use crate::multipart::part::{MAX_PART, Place, part_number, stored_len};
use crate::multipart::uploads::load;
use crate::objects::sealed::{Changed, keeps_changing};
use crate::pipeline::seal::{Outcome, pass};
use crate::pipeline::source::{Source as Body, Stored};
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::copy::{CopyResult, copy_part};

/// How often a copy begins anew when its source is replaced under it.
const ATTEMPTS: usize = 3;

/// Answers UploadPartCopy.
///
/// # Errors
/// In S3's terms; nothing is stored then. What is found after 20 s is in the body of a 200, as S3 does.
pub async fn copy(admitted: &Rc<Admitted>) -> Result<Reply, S3Error> {
    let working = Rc::clone(admitted);
    super::answer(admitted, async move { run(&working).await }).await
}

async fn run(admitted: &Rc<Admitted>) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    let number = part_number(admitted)?;
    let named = Named::from(admitted)?;
    let range = asked::range(&admitted.headers)?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    if !bucket.encrypts(key) {
        return plain(admitted, &named, range).await;
    }
    let upload = load(admitted, &bucket, &backend, key, upload_id).await?;
    let (source, length, plaintext) = opened(admitted, &named, range).await?;
    stored_len(backend.as_ref(), number, length)?;
    let wanted = upload.checksum.map(|(code, _)| algorithm(code));
    let plan = wanted.into_iter().fold(BodyPlan::copied(length), BodyPlan::compute);
    let place = Place { admitted, bucket: &bucket, backend: &backend, key, upload: &upload, number };
    let (etag, verified) = place.write(Body::stored(plaintext, plan), length).await?;
    Ok(answer(admitted, &source, &etags::to_client_quoted(&etag), verified.computed()))
}

/// The source's bytes that are wanted, and how many.
async fn opened(
    admitted: &Rc<Admitted>,
    named: &Named,
    range: Option<(u64, u64)>,
) -> Result<(Source, u64, Stored), S3Error> {
    for _ in 0..ATTEMPTS {
        let source = Source::open(admitted, named).await?;
        let length = wanted_len(admitted, &source, range)?;
        match source.plaintext(admitted, range).await? {
            Ok(plaintext) => return Ok((source, length, plaintext)),
            Err(Changed) => admitted.worker.node.tables.remove(source.bucket.id, &source.key),
        }
    }
    Err(keeps_changing())
}

fn wanted_len(admitted: &Admitted, source: &Source, range: Option<(u64, u64)>) -> Result<u64, S3Error> {
    let size = source.size();
    let length = match range {
        None => size,
        Some((first, last)) if last < size => last - first + 1,
        Some(_) => {
            const RANGE: &str = "x-amz-copy-source-range";
            let why = format!("Range specified is not valid for source object of size: {size}");
            return Err(S3Error::invalid_argument(RANGE, admitted.header(RANGE).unwrap_or_default(), why));
        }
    };
    if length > MAX_PART { Err(asked::too_large(MAX_PART)) } else { Ok(length) }
}

/// Into an upload of a plain prefix: by the storage where both are plain and lie together, else what is read of the source.
async fn plain(admitted: &Rc<Admitted>, named: &Named, range: Option<(u64, u64)>) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.writable_bucket()?;
    let key = admitted.request.need_key()?;
    let number = part_number(admitted)?;
    let upload_id = admitted.request.query.get("uploadId").unwrap_or_default();
    let most = MAX_PART.min(backend.capabilities().max_part);
    let source = Source::open(admitted, named).await?;
    if wanted_len(admitted, &source, range)? > most {
        return Err(asked::too_large(most));
    }
    if source.sealed.is_none()
        && source.bucket.backend == bucket.backend
        && backend.capabilities().pinned_copies
    {
        let from = source.for_storage();
        let _landing = Landing::begin(&admitted.worker.node, &bucket)?;
        match backend.copy_part(from, range, &bucket.backend_bucket, key, upload_id, number).await {
            Ok(made) => return Ok(answer(admitted, &source, &etags::shown(&made.etag, false), None)),
            // Replaced since, or not the storage's to copy: what is read now goes in.
            Err(BackendError::Unsupported(_)) => {}
            Err(error) if error.is("PreconditionFailed") => {}
            Err(error) => return Err(admitted.backend_failed(error)),
        }
    }
    let (source, length, plaintext) = opened(admitted, named, range).await?;
    let outcome = Outcome::new(&admitted.worker.node, &bucket);
    let body = Body::stored(plaintext, BodyPlan::copied(length));
    let body = crate::backend::Upload { length, stream: pass(body, length, outcome.clone()) };
    let made = backend
        .upload_part(&bucket.backend_bucket, key, upload_id, number, body)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    outcome.take().ok_or_else(|| S3Error::new(Code::InternalError))?;
    Ok(answer(admitted, &source, &etags::shown(&made.etag, false), None))
}

fn answer(admitted: &Admitted, source: &Source, etag: &str, checksum: Option<&Checksum>) -> Reply {
    let checksums: Vec<_> = checksum.map(|checksum| (*checksum, None)).into_iter().collect();
    let now = i64::try_from(admitted.worker.node.clock.unix()).unwrap_or(i64::MAX);
    let document = copy_part(&CopyResult {
        etag: etag.trim_matches('"'),
        modified: now.saturating_mul(1_000),
        checksums: &checksums,
    });
    let mut reply = reply::xml(StatusCode::OK, document);
    if let Some(version) = &source.meta.version_id {
        reply::set(reply.headers_mut(), "x-amz-copy-source-version-id", version);
    }
    reply
}
