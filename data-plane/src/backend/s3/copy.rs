//! Copies that the server makes by itself.

use http::Method;
use percent_encoding::percent_encode;

use super::client::Client;
use super::request::{Call, PATH, QUERY};
use super::xml::{self, Node};
use super::{answer, objects};
use crate::backend::{BackendError, CopyOutcome, CopySource, PutOptions};

pub(super) async fn object(
    client: &Client,
    source: &CopySource,
    bucket: &str,
    key: &str,
    options: PutOptions,
) -> Result<CopyOutcome, BackendError> {
    let mut call = objects::storing(Method::PUT, bucket, key, options)?;
    call.header("x-amz-metadata-directive", "REPLACE")?;
    if call.headers.contains_key("x-amz-tagging") {
        call.header("x-amz-tagging-directive", "REPLACE")?;
    }
    made(client, call, source).await
}

pub(super) async fn part(
    client: &Client,
    source: &CopySource,
    range: Option<(u64, u64)>,
    (bucket, key): (&str, &str),
    upload_id: &str,
    number: u16,
) -> Result<CopyOutcome, BackendError> {
    let mut call = Call::new(Method::PUT, bucket, key)
        .query("partNumber", number.to_string())
        .query("uploadId", upload_id);
    if let Some((first, last)) = range {
        call.header("x-amz-copy-source-range", &format!("bytes={first}-{last}"))?;
    }
    made(client, call, source).await
}

/// Sends the call with its source and reads what became of it, which may stand in the body of a success.
async fn made(client: &Client, mut call: Call<'_>, source: &CopySource) -> Result<CopyOutcome, BackendError> {
    call.header("x-amz-copy-source", &named(source))?;
    if let Some(etag) = &source.if_match {
        call.header("x-amz-copy-source-if-match", &format!("\"{etag}\""))?;
    }
    let answer = client
        .send_whole(&call, bytes::Bytes::new(), client.config.complete_timeout)
        .await?
        .successful(&call)
        .await?;
    let headers = answer.headers.clone();
    let document = answer.body.collect(xml::MAX_ERROR).await?;
    answer::error_in_body(&document)?;
    let (mut etag, mut modified) = (None, String::new());
    xml::read(&document, |node| {
        match node {
            Node::Close("ETag", _, text) => etag = Some(text),
            Node::Close("LastModified", _, text) => modified = text,
            _ => {}
        }
        Ok(())
    })?;
    let stored = answer::put_outcome(&headers, etag.as_deref())?;
    Ok(CopyOutcome {
        etag: stored.etag,
        last_modified: answer::timestamp(&modified)?,
        version_id: stored.version_id,
        headers: stored.headers,
    })
}

/// Bucket, key and version as `x-amz-copy-source` carries them.
fn named(source: &CopySource) -> String {
    let mut text = format!("/{}/", source.bucket);
    text.extend(percent_encode(source.key.as_bytes(), PATH));
    if let Some(version) = &source.version_id {
        text.push_str("?versionId=");
        text.extend(percent_encode(version.as_bytes(), QUERY));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::backend::CopySource;

    #[test]
    fn a_source_is_encoded_so_that_only_its_version_is_a_query() {
        let mut source = CopySource {
            bucket: "b".to_owned(),
            key: "a b/ü+?versionId=x".to_owned(),
            version_id: None,
            if_match: None,
        };
        assert_eq!(named(&source), "/b/a%20b/%C3%BC%2B%3FversionId%3Dx");
        source.version_id = Some("v+/1".to_owned());
        assert_eq!(named(&source), "/b/a%20b/%C3%BC%2B%3FversionId%3Dx?versionId=v%2B%2F1");
    }
}
