//! Multipart uploads.

use http::{HeaderMap, Method};

use super::client::Client;
use super::request::Call;
use super::xml::{self, Node};
use super::{answer, objects};
use crate::backend::{
    BackendError, Conditions, NO_CHECKSUM_OF_UPLOADS, PartEntry, PartPage, PutOptions, PutOutcome, Upload,
};

/// The checksum of the whole object that uploads are created with.
const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
/// The highest part number, which is the gateway's own part.
const LAST_PART: u16 = 10_000;

pub(super) async fn create(
    client: &Client,
    bucket: &str,
    key: &str,
    options: PutOptions,
) -> Result<(String, HeaderMap), BackendError> {
    let mut call = objects::storing(Method::POST, bucket, key, options)?.query("uploads", "");
    if client.config.server.full_object_uploads(client.config.used_checksum()) {
        call.header("x-amz-checksum-algorithm", "CRC64NVME")?;
        call.header("x-amz-checksum-type", "FULL_OBJECT")?;
    }
    let (headers, document) = client.call(&call).await?;
    let mut id = String::new();
    xml::read(&document, |node| {
        if let Node::Close("UploadId", _, text) = node {
            id = text;
        }
        Ok(())
    })?;
    match id.is_empty() {
        true => Err(BackendError::Protocol("an upload without an id".to_owned())),
        false => Ok((id, answer::kept(&headers))),
    }
}

pub(super) async fn upload_part(
    client: &Client,
    bucket: &str,
    key: &str,
    upload_id: &str,
    number: u16,
    body: Upload,
) -> Result<PutOutcome, BackendError> {
    let call = Call::new(Method::PUT, bucket, key)
        .query("partNumber", number.to_string())
        .query("uploadId", upload_id);
    objects::store(client, call, body).await
}

pub(super) async fn list_parts(
    client: &Client,
    bucket: &str,
    key: &str,
    upload_id: &str,
    after: u16,
    max_parts: u32,
) -> Result<PartPage, BackendError> {
    let mut call = Call::new(Method::GET, bucket, key)
        .query("uploadId", upload_id)
        .query("max-parts", max_parts.to_string());
    if after > 0 {
        call = call.query("part-number-marker", after.to_string());
    }
    let (_, document) = client.call(&call).await?;
    page_of_parts(&document, after)
}

/// Reads a page of ListParts. SeaweedFS lists by the names of its files, in which 10,000 comes between 999 and 1,000: a page
/// that ends with it is not followed by any other when the list is taken up behind it. Then it is taken up behind the highest of
/// the others, and 10,000 may come again.
fn page_of_parts(document: &[u8], after: u16) -> Result<PartPage, BackendError> {
    let nonsense = || BackendError::Protocol("a list of parts is not readable".to_owned());
    let mut page = PartPage::default();
    let (mut truncated, mut next) = (false, String::new());
    let (mut number, mut etag, mut size, mut modified) =
        (String::new(), String::new(), String::new(), String::new());
    xml::read_listing(document, |node| {
        match node {
            Node::Close("PartNumber", "Part", text) => number = text,
            Node::Close("ETag", "Part", text) => etag = text,
            Node::Close("Size", "Part", text) => size = text,
            Node::Close("LastModified", "Part", text) => modified = text,
            Node::Close("Part", ..) => page.parts.push(PartEntry {
                number: number.trim().parse().map_err(|_| nonsense())?,
                etag: answer::bare_etag(&etag),
                size: size.trim().parse().map_err(|_| nonsense())?,
                last_modified: answer::timestamp(&modified)?,
            }),
            Node::Close("StorageClass", "ListPartsResult", text) if !text.is_empty() => {
                page.storage_class = Some(text);
            }
            Node::Close("IsTruncated", _, text) => truncated = text == "true",
            Node::Close("NextPartNumberMarker", _, text) => next = text,
            _ => {}
        }
        Ok(())
    })?;
    if truncated {
        let last = page.parts.last().map(|part| part.number);
        let next = next.trim().parse().ok().filter(|next| *next > after).or(last).ok_or_else(nonsense)?;
        let others = page.parts.iter().map(|part| part.number).filter(|number| *number < LAST_PART);
        page.next = Some(if next < LAST_PART { next } else { others.max().unwrap_or(next) });
    }
    page.parts.sort_by_key(|part| part.number);
    Ok(page)
}

pub(super) async fn complete(
    client: &Client,
    bucket: &str,
    key: &str,
    upload_id: &str,
    parts: &[(u16, String)],
    conditions: &Conditions,
    checksum: &HeaderMap,
) -> Result<PutOutcome, BackendError> {
    // Only of an upload that was created with this algorithm does a server hold the object against it.
    let known = client.config.server.full_object_uploads(client.config.used_checksum());
    if checksum.keys().any(|name| !known || name != CRC64NVME) {
        return Err(BackendError::Unsupported(NO_CHECKSUM_OF_UPLOADS));
    }
    if client.config.server.completes_unknown_uploads() {
        list_parts(client, bucket, key, upload_id, 0, 1).await?;
    }
    let mut body =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, etag) in parts {
        let etag = xml::escaped(etag.trim_matches('"'));
        body.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"));
    }
    body.push_str("</CompleteMultipartUpload>");
    let mut call = Call::new(Method::POST, bucket, key).query("uploadId", upload_id);
    call.conditions(conditions)?;
    call.header("content-type", "application/xml")?;
    // A checksum header here stands for the object's, not for this document's.
    if !checksum.is_empty() {
        call.headers.extend(checksum.clone());
        call.header("x-amz-checksum-type", "FULL_OBJECT")?;
    }
    let asked = Call::new(Method::POST, bucket, key);
    let answer = client
        .send_whole(&call, body.into(), client.config.complete_timeout)
        .await?
        .successful(&asked)
        .await?;
    let headers = answer.headers.clone();
    let document = answer.body.collect(xml::MAX_ERROR).await?;
    // The status was sent before the outcome was known: the error may stand in the body.
    answer::error_in_body(&document)?;
    let mut etag = None;
    xml::read(&document, |node| {
        if let Node::Close("ETag", _, text) = node {
            etag = Some(text);
        }
        Ok(())
    })?;
    let outcome = answer::put_outcome(&headers, etag.as_deref())?;
    // The upload may have ended since ListParts: the answer is of an older object, or of another list of parts, then.
    if client.config.server.completes_unknown_uploads()
        && etag_of(parts).is_some_and(|wanted| wanted != outcome.etag)
    {
        return Err(BackendError::s3(
            404,
            "NoSuchUpload",
            "the answer is of another object than the upload's",
        ));
    }
    Ok(outcome)
}

/// The ETag of an object of these parts: the MD5 of theirs, and how many they are. None when one of theirs is no MD5.
fn etag_of(parts: &[(u16, String)]) -> Option<String> {
    use md5::Digest as _;
    let mut all = md5::Md5::new();
    for (_, etag) in parts {
        all.update(hex::decode(etag.trim_matches('"')).ok().filter(|sum| sum.len() == 16)?);
    }
    Some(format!("{}-{}", hex::encode(all.finalize()), parts.len()))
}

pub(super) async fn abort(
    client: &Client,
    bucket: &str,
    key: &str,
    upload_id: &str,
) -> Result<(), BackendError> {
    let call = Call::new(Method::DELETE, bucket, key).query("uploadId", upload_id);
    client.call(&call).await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    #[test]
    fn the_etag_of_an_object_is_made_of_its_parts_as_s3_does() {
        let part = |etag: &str| (1, etag.to_owned());
        // Of S3's own: two parts of 5 MiB of zeros and one of one zero.
        let zeros = "5f363e0e58a95f06cbe9bbc662c5dfb6";
        let parts = [part(zeros), part(&format!("\"{zeros}\"")), part("93b885adfe0da089cdf634904fd59f71")];
        assert_eq!(super::etag_of(&parts).unwrap(), "c0d402ec58411a8e65a7b2232f5b3e8e-3");
        assert_eq!(super::etag_of(&[part("no-md5")]), None);
    }

    use super::page_of_parts;

    fn page(numbers: &[u16], next: Option<&str>, after: u16) -> (Vec<u16>, Option<u16>) {
        let mut document = String::from("<ListPartsResult>");
        for number in numbers {
            document.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>\"e\"</ETag><Size>1</Size>\
                 <LastModified>2026-11-30T00:00:00Z</LastModified></Part>"
            ));
        }
        let truncated = next.is_some();
        let next = next.unwrap_or_default();
        document.push_str(&format!(
            "<NextPartNumberMarker>{next}</NextPartNumberMarker><IsTruncated>{truncated}</IsTruncated></ListPartsResult>"
        ));
        let page = page_of_parts(document.as_bytes(), after).unwrap();
        (page.parts.iter().map(|part| part.number).collect(), page.next)
    }

    #[test]
    fn the_list_goes_on_where_the_server_says() {
        assert_eq!(page(&[1, 2], None, 0), (vec![1, 2], None));
        assert_eq!(page(&[1, 2], Some("2"), 0), (vec![1, 2], Some(2)));
        assert_eq!(page(&[3, 4], Some("0"), 2), (vec![3, 4], Some(4)), "a marker that goes back");
        assert_eq!(page(&[3, 4], Some(""), 2), (vec![3, 4], Some(4)), "no marker");
        assert_eq!(page(&[10_000], None, 9_999), (vec![10_000], None));
    }

    #[test]
    fn nothing_is_skipped_where_ten_thousand_comes_before_a_thousand() {
        assert_eq!(page(&[998, 999, 10_000], Some("10000"), 997), (vec![998, 999, 10_000], Some(999)));
        assert_eq!(page(&[10_000, 1_000, 1_001], None, 999), (vec![1_000, 1_001, 10_000], None));
        assert_eq!(page(&[10_000, 1_000], Some("1000"), 999), (vec![1_000, 10_000], Some(1_000)));
    }
}
