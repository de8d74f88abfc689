//! One request to the sink and its answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED,
    RANGE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::SMALL;
use super::list;
use super::objects::{Buckets, Object};
use super::upload;

type Answer = Response<Full<Bytes>>;

/// Never fails: what is wrong is an answer in S3's error XML.
///
/// # Errors
/// None.
pub async fn answer(request: Request<Incoming>, buckets: Rc<RefCell<Buckets>>) -> Result<Answer, Infallible> {
    Ok(route(request, &buckets).await.unwrap_or_else(|(status, code)| error(status, code)))
}

type Refusal = (StatusCode, &'static str);

async fn route(request: Request<Incoming>, buckets: &RefCell<Buckets>) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let query = query_of(head.uri.query().unwrap_or_default());
    let path = percent_decode_str(head.uri.path())
        .decode_utf8()
        .map_err(|_| (StatusCode::BAD_REQUEST, "InvalidURI"))?;
    let (bucket, key) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if key.is_empty() {
        return bucket_request(&head.method, bucket, &query, buckets);
    }
    if !buckets.borrow().exists(bucket) {
        return Err((StatusCode::NOT_FOUND, "NoSuchBucket"));
    }
    match head.method {
        Method::PUT => {
            // Refused before the body is polled: a client that expects 100 gets this answer instead of it.
            let found = buckets.borrow().get(bucket, key).is_some();
            if found && head.headers.get(IF_NONE_MATCH).is_some_and(|value| value == "*") {
                return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
            }
            let kept = |size| size <= SMALL || key.contains("keep");
            let taken = upload::take(&head.headers, body, kept)
                .await
                .map_err(|code| (StatusCode::BAD_REQUEST, code))?;
            let stored = stored_headers(&head.headers);
            let etag = buckets.borrow_mut().put(bucket, key, taken.size, taken.body, stored);
            respond(Response::builder().header(ETAG, etag), Bytes::new())
        }
        Method::GET | Method::HEAD => {
            let object =
                buckets.borrow().get(bucket, key).cloned().ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?;
            read(&head.method, &head.headers, object)
        }
        Method::DELETE => {
            buckets.borrow_mut().delete(bucket, key);
            respond(Response::builder().status(StatusCode::NO_CONTENT), Bytes::new())
        }
        _ => Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
    }
}

fn bucket_request(
    method: &Method,
    bucket: &str,
    query: &BTreeMap<String, String>,
    buckets: &RefCell<Buckets>,
) -> Result<Answer, Refusal> {
    if *method == Method::PUT {
        buckets.borrow_mut().create(bucket);
        return respond(Response::builder(), Bytes::new());
    }
    if !buckets.borrow().exists(bucket) {
        return Err((StatusCode::NOT_FOUND, "NoSuchBucket"));
    }
    if *method == Method::DELETE {
        buckets.borrow_mut().remove_bucket(bucket);
        return respond(Response::builder().status(StatusCode::NO_CONTENT), Bytes::new());
    }
    if *method == Method::HEAD {
        return respond(Response::builder(), Bytes::new());
    }
    if *method != Method::GET {
        return Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented"));
    }
    let xml = if query.contains_key("versioning") {
        "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>".to_owned()
    } else if query.contains_key("location") {
        "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>".to_owned()
    } else {
        list::page(&buckets.borrow(), bucket, query)
    };
    respond(Response::builder().header(CONTENT_TYPE, "application/xml"), xml.into())
}

fn read(method: &Method, headers: &HeaderMap, object: Object) -> Result<Answer, Refusal> {
    let condition = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if condition(IF_MATCH).is_some_and(|value| value != "*" && value != object.etag) {
        return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
    }
    if condition(IF_NONE_MATCH).is_some_and(|value| value == object.etag) {
        return Err((StatusCode::NOT_MODIFIED, "NotModified"));
    }
    let range = match headers.get(RANGE).and_then(|value| value.to_str().ok()) {
        Some(text) => {
            Some(range_of(text, object.size).ok_or((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"))?)
        }
        None => None,
    };
    let mut builder = Response::builder()
        .header(ETAG, &object.etag)
        .header(LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")
        .header(ACCEPT_RANGES, "bytes");
    if let Some(all) = builder.headers_mut() {
        all.extend(object.headers);
    }
    let (from, length) = range.unwrap_or((0, object.size));
    if range.is_some() {
        let end = from + length - 1;
        builder = builder
            .status(StatusCode::PARTIAL_CONTENT)
            .header(CONTENT_RANGE, format!("bytes {from}-{end}/{}", object.size));
    }
    if *method == Method::HEAD {
        return respond(builder.header(CONTENT_LENGTH, length), Bytes::new());
    }
    // A dropped body is this program's limit, not the caller's fault: neither 404 nor a made-up body.
    let body = object.body.ok_or((StatusCode::INSUFFICIENT_STORAGE, "BodyWasNotKept"))?;
    let from = usize::try_from(from).map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))?;
    let length = usize::try_from(length).map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))?;
    respond(builder, body.slice(from..from + length))
}

/// First byte and length of a `bytes=` range within `size` bytes; nothing if it cannot be satisfied.
fn range_of(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return None,
    };
    (first < end).then(|| (first, end - first))
}

fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-meta-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn query_of(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn respond(builder: http::response::Builder, body: Bytes) -> Result<Answer, Refusal> {
    builder
        .header("x-amz-request-id", "SINK")
        .body(Full::new(body))
        .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
}

fn error(status: StatusCode, code: &str) -> Answer {
    let bare = status == StatusCode::NOT_MODIFIED;
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let mut answer = Response::new(Full::new(if bare { Bytes::new() } else { xml.into() }));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::range_of;

    #[test]
    fn ranges() {
        assert_eq!(range_of("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(range_of("bytes=90-", 100), Some((90, 10)));
        assert_eq!(range_of("bytes=-10", 100), Some((90, 10)));
        assert_eq!(range_of("bytes=90-200", 100), Some((90, 10)));
        assert_eq!(range_of("bytes=-200", 100), Some((0, 100)));
        assert_eq!(range_of("bytes=100-", 100), None);
        assert_eq!(range_of("bytes=5-4", 100), None);
        assert_eq!(range_of("lines=1-2", 100), None);
    }
}
