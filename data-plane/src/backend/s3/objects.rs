//! Buckets and whole objects.

use http::header::RANGE;
use http::{HeaderMap, Method, StatusCode};

use super::client::{Client, put_metadata};
use super::request::{Call, header_value};
use super::xml::{self, Node};
use super::{answer, listing};
use crate::backend::{
    BackendError, Conditions, DeleteKey, DeleteOutcome, GetOptions, GetOutcome, ListFrom, ListOptions,
    ObjectMeta, PutOptions, PutOutcome, StoredRange, Upload,
};

pub(super) async fn create_bucket(
    client: &Client,
    bucket: &str,
    headers: HeaderMap,
) -> Result<(), BackendError> {
    match make_bucket(client, bucket, headers).await {
        Err(error) if error.is("BucketAlreadyOwnedByYou") || error.is("BucketAlreadyExists") => {
            Err(match client.config.bucket_owner {
                Some(_) => whose(client, bucket).await,
                None => error,
            })
        }
        made => made,
    }
}

/// Whose a bucket is that is there, by what CreateBucket says of it: servers say either of one's own, but this one is asked with the
/// owner that the bucket must have.
async fn whose(client: &Client, bucket: &str) -> BackendError {
    match head_bucket(client, bucket).await {
        Ok(()) => BackendError::s3(409, "BucketAlreadyOwnedByYou", "the bucket is there already"),
        Err(BackendError::S3 { status: 403, .. }) => {
            BackendError::s3(409, "BucketAlreadyExists", "the bucket is there, and not bucket_owner's")
        }
        Err(error) => error,
    }
}

async fn make_bucket(client: &Client, bucket: &str, headers: HeaderMap) -> Result<(), BackendError> {
    let region = &client.config.region;
    let mut call = Call::new(Method::PUT, bucket, "");
    call.headers = headers;
    if region == "us-east-1" {
        return client.call(&call).await.map(drop);
    }
    let body = format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}\
         </LocationConstraint></CreateBucketConfiguration>",
        xml::escaped(region)
    );
    client.call_with(call, body, client.config.answer_timeout).await.map(drop)
}

pub(super) async fn head_bucket(client: &Client, bucket: &str) -> Result<(), BackendError> {
    client.call(&Call::new(Method::HEAD, bucket, "")).await.map(drop)
}

pub(super) async fn delete_bucket(client: &Client, bucket: &str) -> Result<(), BackendError> {
    if client.config.server.deletes_full_buckets() {
        let first =
            ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1 };
        if !listing::list(client, bucket, first, true).await?.entries.is_empty() {
            return Err(BackendError::s3(409, "BucketNotEmpty", "the bucket holds objects"));
        }
    }
    client.call(&Call::new(Method::DELETE, bucket, "")).await.map(drop)
}

/// A call that stores something, with its metadata and headers.
pub(super) fn storing<'a>(
    method: Method,
    bucket: &'a str,
    key: &'a str,
    options: PutOptions,
) -> Result<Call<'a>, BackendError> {
    let mut call = Call::new(method, bucket, key);
    call.headers = options.headers;
    put_metadata(&mut call.headers, &options.metadata)?;
    call.conditions(&options.conditions)?;
    Ok(call)
}

pub(super) async fn put(
    client: &Client,
    bucket: &str,
    key: &str,
    options: PutOptions,
    body: Upload,
) -> Result<PutOutcome, BackendError> {
    let call = storing(Method::PUT, bucket, key, options)?;
    store(client, call, body).await
}

/// Sends a body and reads what became of it.
pub(super) async fn store(client: &Client, call: Call<'_>, body: Upload) -> Result<PutOutcome, BackendError> {
    let asked = Call::new(call.method.clone(), call.bucket, call.key);
    let answer = client.send_upload(call, body).await?.successful(&asked).await?;
    let outcome = answer::put_outcome(&answer.headers, None);
    answer.body.collect(xml::MAX_ERROR).await?;
    outcome
}

fn reading<'a>(
    method: Method,
    bucket: &'a str,
    key: &'a str,
    options: &GetOptions,
) -> Result<Call<'a>, BackendError> {
    let mut call = Call::new(method, bucket, key).version(options.version_id.as_deref());
    if let Some(number) = options.part {
        call = call.query("partNumber", number.to_string());
    }
    if options.checksums {
        call.header("x-amz-checksum-mode", "ENABLED")?;
    }
    call.conditions(&options.conditions)?;
    Ok(call)
}

pub(super) async fn get(
    client: &Client,
    bucket: &str,
    key: &str,
    options: &GetOptions,
) -> Result<GetOutcome, BackendError> {
    let mut call = reading(Method::GET, bucket, key, options)?;
    if let Some(range) = options.range {
        let text = match range {
            StoredRange::Inclusive(first, last) => format!("bytes={first}-{last}"),
            StoredRange::From(first) => format!("bytes={first}-"),
            StoredRange::Suffix(count) => format!("bytes=-{count}"),
        };
        call.headers.insert(RANGE, header_value(&text)?);
    }
    let answer = client.send(&call).await?.successful(&call).await?;
    let length = answer::content_length(&answer.headers)?;
    if let Some(number) = options.part {
        let part = answer::part_span(answer.status, &answer.headers, number, length)?;
        let size = part.range.map_or(length, |(_, _, total)| total);
        let meta = ObjectMeta { part: Some(part), ..answer::object_meta(&answer.headers, size, options)? };
        return Ok(GetOutcome { meta, range: part.range, length, body: answer.body.into_stream(length) });
    }
    let range = match (answer.status, options.range) {
        (StatusCode::PARTIAL_CONTENT, Some(_)) if length > 0 => Some(answer::content_range(&answer.headers)?),
        (StatusCode::OK, _) | (StatusCode::PARTIAL_CONTENT, Some(_)) => None,
        (status, _) => return Err(BackendError::Protocol(format!("GET answered with {status}"))),
    };
    if range.is_some_and(|(first, last, _)| last - first + 1 != length) {
        return Err(BackendError::Protocol("Content-Range and Content-Length differ".to_owned()));
    }
    // Some servers answer an empty object's range with the whole of it, or with a range of no bytes, instead of 416.
    if options.range.is_some() && range.is_none() {
        if length == 0 {
            return Err(BackendError::s3(416, "InvalidRange", "the object is empty"));
        }
        return Err(BackendError::Protocol("a range was answered with the whole object".to_owned()));
    }
    let size = range.map_or(length, |(_, _, total)| total);
    let meta = answer::object_meta(&answer.headers, size, options)?;
    Ok(GetOutcome { meta, range, length, body: answer.body.into_stream(length) })
}

pub(super) async fn head(
    client: &Client,
    bucket: &str,
    key: &str,
    options: &GetOptions,
) -> Result<ObjectMeta, BackendError> {
    let call = reading(Method::HEAD, bucket, key, options)?;
    let answer = client.send(&call).await?.successful(&call).await?;
    let (status, headers) = (answer.status, answer.headers);
    answer.body.collect(xml::MAX_ERROR).await?;
    let length = answer::content_length(&headers)?;
    let part = options.part.map(|number| answer::part_span(status, &headers, number, length)).transpose()?;
    let size = part.and_then(|part| part.range).map_or(length, |(_, _, total)| total);
    Ok(ObjectMeta { part, ..answer::object_meta(&headers, size, options)? })
}

pub(super) async fn delete(
    client: &Client,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
    conditions: &Conditions,
    headers: HeaderMap,
) -> Result<DeleteOutcome, BackendError> {
    let mut call = Call::new(Method::DELETE, bucket, key).version(version_id);
    call.headers = headers;
    call.conditions(conditions)?;
    let (headers, _) = match client.call(&call).await {
        Ok(answered) => answered,
        Err(error) if error.is("NoSuchKey") && *conditions == Conditions::default() => {
            return Ok(DeleteOutcome::default());
        }
        Err(error) => return Err(error),
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Ok(DeleteOutcome {
        version_id: text("x-amz-version-id").map(str::to_owned),
        delete_marker: text("x-amz-delete-marker") == Some("true"),
    })
}

pub(super) async fn delete_many(
    client: &Client,
    bucket: &str,
    keys: &[DeleteKey],
) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
    let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for wanted in keys {
        body.push_str(&format!("<Object><Key>{}</Key>", xml::escaped(&wanted.key)));
        if let Some(version_id) = &wanted.version_id {
            body.push_str(&format!("<VersionId>{}</VersionId>", xml::escaped(version_id)));
        }
        if let Some(etag) = &wanted.etag {
            body.push_str(&format!("<ETag>{}</ETag>", xml::escaped(etag)));
        }
        body.push_str("</Object>");
    }
    body.push_str("</Delete>");
    let call = Call::new(Method::POST, bucket, "").query("delete", "");
    let (_, document) = client.call_with(call, body, client.config.answer_timeout).await?;
    let answers = deletion_answers(&document)?;
    Ok(keys.iter().map(|wanted| answer_to(wanted, &answers)).collect())
}

/// One entry of a DeleteResult.
#[derive(Default)]
pub(super) struct Deleted {
    key: String,
    version_id: Option<String>,
    marker: bool,
    marker_version: Option<String>,
    failed: Option<(String, String)>,
}

pub(super) fn deletion_answers(document: &[u8]) -> Result<Vec<Deleted>, BackendError> {
    let mut answers = Vec::new();
    let mut current = Deleted::default();
    let (mut code, mut message) = (String::new(), String::new());
    xml::read(document, |node| {
        match node {
            Node::Open("Deleted" | "Error") => {
                current = Deleted::default();
                (code, message) = Default::default();
            }
            Node::Close("Key", _, text) => current.key = text,
            Node::Close("VersionId", _, text) => {
                current.version_id = Some(text).filter(|text| !text.is_empty())
            }
            Node::Close("DeleteMarker", _, text) => current.marker = text == "true",
            Node::Close("DeleteMarkerVersionId", _, text) => current.marker_version = Some(text),
            Node::Close("Code", _, text) => code = text,
            Node::Close("Message", _, text) => message = text,
            Node::Close("Deleted", ..) => answers.push(std::mem::take(&mut current)),
            Node::Close("Error", ..) => {
                current.failed = Some((std::mem::take(&mut code), std::mem::take(&mut message)));
                answers.push(std::mem::take(&mut current));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(answers)
}

fn answer_to(wanted: &DeleteKey, answers: &[Deleted]) -> Result<DeleteOutcome, BackendError> {
    let of_key = || answers.iter().filter(|answer| answer.key == wanted.key);
    let found = of_key()
        .find(|answer| wanted.version_id.is_none() || answer.version_id == wanted.version_id)
        // Some servers name a delete marker that was deleted as such only, or not at all.
        .or_else(|| of_key().find(|answer| answer.marker_version == wanted.version_id))
        .or_else(|| of_key().find(|answer| answer.version_id.is_none() && answer.marker_version.is_none()));
    match found {
        None => Err(BackendError::Protocol("the answer to a deletion leaves a key out".to_owned())),
        Some(Deleted { failed: Some((code, message)), .. }) => {
            let status = match code.as_str() {
                "AccessDenied" => 403,
                "NoSuchKey" | "NoSuchVersion" => 404,
                "PreconditionFailed" => 412,
                _ => 500,
            };
            if code == "NoSuchKey" && wanted.etag.is_none() {
                return Ok(DeleteOutcome::default());
            }
            Err(BackendError::s3(status, code, message.clone()))
        }
        Some(deleted) => Ok(DeleteOutcome {
            version_id: deleted
                .marker_version
                .clone()
                .or_else(|| deleted.version_id.clone())
                .or_else(|| wanted.version_id.clone()),
            delete_marker: deleted.marker,
        }),
    }
}
