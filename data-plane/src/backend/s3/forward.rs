//! Operations that the server itself answers, sent on under the gateway's own signature.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::client::{Client, content_md5};
use super::request::{Call, header_value};
use crate::backend::{BackendError, Forward, Forwarded};

/// The largest answer.
const MAX_ANSWER: usize = 1 << 20;

pub(super) async fn forward(client: &Client, request: Forward) -> Result<Forwarded, BackendError> {
    let Forward { method, bucket, key, query, headers, body } = request;
    let mut call = Call::new(method, &bucket, key.as_deref().unwrap_or_default());
    call.query = query.into_iter().map(|(name, value)| (name.into(), value)).collect();
    call.headers = headers;
    if !body.is_empty() {
        // Every server that asks for a proof of such a document takes this one.
        call.headers.insert("content-md5", header_value(&content_md5(&body))?);
        call.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/xml"));
    }
    let answer = client.send_whole(&call, body, client.config.answer_timeout).await?;
    let answer = answer.successful(&call).await?;
    let (status, headers) = (answer.status, answer.headers.clone());
    let body: Bytes = answer.body.collect(MAX_ANSWER).await?;
    Ok(Forwarded { status, headers, body })
}
