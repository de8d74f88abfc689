//! HeadObject: one backend request; one more where the answer is in the trailer.

use std::ops::Range;

use http::{HeaderMap, StatusCode};
use sealgate_envelope::Kind;

use super::get::part_span;
use super::ranges::resolve;
use super::{described, sealed};
use crate::backend::GetOptions;
use crate::etags;
use crate::gate::Admitted;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::ByteRange;
use crate::s3::xml::complete::part_number;

/// Answers HeadObject.
///
/// # Errors
/// In S3's terms; ObjectIntegrityError for whatever is not genuine.
pub async fn head(admitted: &Admitted) -> Result<Reply, S3Error> {
    let (bucket, backend) = admitted.bucket()?;
    let key = admitted.request.need_key()?;
    let number = admitted.request.query.get("partNumber").map(part_number).transpose()?;
    if !bucket.encrypts(key) {
        return super::plain::head(admitted, &bucket, &backend, key, number).await;
    }
    let options = GetOptions {
        conditions: etags::conditions(&admitted.headers, true)?,
        version_id: admitted.request.query.get("versionId").map(str::to_owned),
        ..GetOptions::default()
    };
    let meta = backend
        .head(&bucket.backend_bucket, key, options)
        .await
        .map_err(|error| admitted.backend_failed(error))?;
    etags::check_read(&admitted.headers, &meta, true)?;
    let sealed = match sealed::open(admitted, &bucket, backend.as_ref(), key, &meta).await {
        // What the client did not ask for needs no key where the object has no metadata.
        Err(error)
            if error.code() == Code::ServiceUnavailable
                && number.is_none()
                && !described::wants_checksum(admitted) =>
        {
            sealed::unopened(key, &meta).ok_or(error)?
        }
        other => other?,
    };
    let mut headers = described::encrypted(admitted, &meta, &sealed)?;
    let range = ByteRange::from_headers(&admitted.headers).filter(|_| number.is_none());
    // A full-object checksum beside a range of the object breaks clients; a part has its own.
    let asked = described::wants_checksum(admitted) && range.is_none();
    let known = asked && described::set_known_checksum(&sealed, &mut headers);
    let from_trailer = (asked && sealed.checksum_may_be_in_trailer())
        || (number.is_some() && sealed.kind == Kind::Multipart);
    let table = if from_trailer && sealed.keys.is_some() && sealed.stored_len > 0 {
        let table = sealed::table(admitted, &bucket, &backend, key, &meta, &sealed).await?;
        Some(table.map_err(|sealed::Changed| sealed::keeps_changing())?)
    } else {
        None
    };
    if let Some(table) = table.as_ref().filter(|_| asked && !known) {
        described::set_trailer_checksums(&table.trailer, number, &mut headers);
    }
    let size = sealed.plaintext_len;
    let span = match (number, range) {
        (Some(number), _) => {
            let span = part_span(number, table.as_deref(), size);
            let span = span.ok_or_else(|| S3Error::new(Code::InvalidPartNumber))?;
            if let Some(table) = table.as_ref().filter(|_| sealed.kind == Kind::Multipart) {
                reply::set(&mut headers, "x-amz-mp-parts-count", &table.trailer.entries().len().to_string());
            }
            Some(span)
        }
        (None, Some(range)) if !range.is_all_of_nothing(size) => Some(range_span(admitted, range, size)?),
        (None, _) => None,
    };
    Ok(described_only(headers, span, size))
}

/// The bytes that a range names.
///
/// # Errors
/// InvalidRange.
pub fn range_span(admitted: &Admitted, range: ByteRange, size: u64) -> Result<Range<u64>, S3Error> {
    let (start, end) = resolve(range, size)
        .ok_or_else(|| S3Error::invalid_range(admitted.header("range").unwrap_or_default(), size))?;
    Ok(start..end + 1)
}

/// The answer about an object of `size` bytes, or about some of them.
pub fn described_only(mut headers: HeaderMap, span: Option<Range<u64>>, size: u64) -> Reply {
    let (status, length) = match span {
        Some(span) => {
            if span.start < span.end {
                let shown = format!("bytes {}-{}/{size}", span.start, span.end - 1);
                reply::set(&mut headers, "content-range", &shown);
            }
            (StatusCode::PARTIAL_CONTENT, span.end - span.start)
        }
        None => (StatusCode::OK, size),
    };
    let mut reply = reply::empty(status);
    *reply.headers_mut() = headers;
    reply::set(reply.headers_mut(), "content-length", &length.to_string());
    reply
}
