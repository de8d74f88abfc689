//! Buckets and whole objects.

use std::collections::{HashMap, HashSet};

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
    let each = answers_to(keys, &answers).into_iter();
    Ok(keys.iter().zip(each).map(|(wanted, found)| outcome(wanted, found)).collect())
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

/// The farthest that [`distance`] gives.
const FARTHEST: u8 = 4;

/// Which answer is whose. A key may be named several times, with and without versions, and what became of one says nothing
/// of another: each answer is taken once, by what fits it best. Only the same entry again shares one, which servers that
/// drop what is repeated give for both.
fn answers_to<'a>(keys: &[DeleteKey], answers: &'a [Deleted]) -> Vec<Option<&'a Deleted>> {
    let mut of_key: HashMap<&str, Vec<&'a Deleted>> = HashMap::new();
    for answer in answers {
        of_key.entry(&answer.key).or_default().push(answer);
    }
    let asked = |wanted: &'_ DeleteKey| Some((wanted.key.clone(), wanted.version_id.clone()?));
    let versions: HashSet<(String, String)> = keys.iter().filter_map(asked).collect();
    let mut found = vec![None; keys.len()];
    for far in 0..=FARTHEST {
        for (wanted, found) in keys.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let Some(left) = of_key.get_mut(wanted.key.as_str()) else { continue };
            let at = left.iter().position(|answer| distance(wanted, answer, &versions) == Some(far));
            *found = at.map(|at| left.remove(at));
        }
    }
    let known: HashMap<_, _> = keys
        .iter()
        .zip(&found)
        .filter_map(|(wanted, found)| Some(((&wanted.key, &wanted.version_id), (*found)?)))
        .collect();
    let again = |wanted: &DeleteKey| known.get(&(&wanted.key, &wanted.version_id)).copied();
    keys.iter().zip(&found).map(|(wanted, found)| found.or_else(|| again(wanted))).collect()
}

/// How far an answer about the same key is from being the one to this entry; none where it is another's. `versions` are all
/// that are asked for: what names one of them is another entry's, unless that has taken its own.
fn distance(wanted: &DeleteKey, answer: &Deleted, versions: &HashSet<(String, String)>) -> Option<u8> {
    let names_none = answer.version_id.is_none() && answer.marker_version.is_none();
    if wanted.version_id.is_some() {
        // Some servers name a delete marker that was deleted as such only, or not at all.
        return match () {
            () if answer.version_id == wanted.version_id => Some(0),
            () if answer.marker_version == wanted.version_id => Some(1),
            () => names_none.then_some(2),
        };
    }
    let named = [&answer.version_id, &answer.marker_version];
    let of_another =
        named.into_iter().flatten().any(|id| versions.contains(&(wanted.key.clone(), id.clone())));
    // With a marker that was made; without versions; by a server that calls the marker a version.
    match (of_another, &answer.version_id) {
        (true, _) => Some(4),
        (false, None) if !names_none => Some(0),
        (false, None) => Some(2),
        (false, Some(_)) => Some(3),
    }
}

fn outcome(wanted: &DeleteKey, found: Option<&Deleted>) -> Result<DeleteOutcome, BackendError> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Deleted, answers_to};
    use crate::backend::DeleteKey;

    fn wanted(version: &str) -> DeleteKey {
        let version_id = Some(version.to_owned()).filter(|version| !version.is_empty());
        DeleteKey { key: "k".to_owned(), version_id, etag: None }
    }

    /// Of a version and of a marker's version, where they are named.
    fn answer(version: &str, marker: &str) -> Deleted {
        let id = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (version_id, marker_version) = (id(version), id(marker));
        Deleted { key: "k".to_owned(), version_id, marker_version, ..Deleted::default() }
    }

    #[test]
    fn each_entry_of_a_key_has_its_own_answer() {
        for (asked, answers, whose) in [
            // A version and the key itself, in either order on either side, as S3 answers.
            (&["", "v"][..], &[("v", ""), ("", "m")][..], &[Some(1), Some(0)][..]),
            (&["v", ""], &[("v", ""), ("", "m")], &[Some(0), Some(1)]),
            (&["", "v"], &[("", "m"), ("v", "")], &[Some(0), Some(1)]),
            // A delete marker's version, told as such only, beside a marker that was made.
            (&["", "v"], &[("", "v"), ("", "m")], &[Some(1), Some(0)]),
            // The same not told at all.
            (&["", "v"], &[("", ""), ("", "m")], &[Some(1), Some(0)]),
            // A server that calls the marker a version.
            (&["", "v"], &[("v", ""), ("m", "")], &[Some(1), Some(0)]),
            // The same entry twice, answered twice or once.
            (&["", ""], &[("", ""), ("", "")], &[Some(0), Some(1)]),
            (&["", ""], &[("", "")], &[Some(0), Some(0)]),
            // Where versions are suspended, the version and the marker that took its place are both `null`.
            (&["", "null"], &[("", "null"), ("null", "")], &[Some(0), Some(1)]),
            // An answer that is another entry's is none.
            (&["", "v"], &[("v", "")], &[None, Some(0)]),
            (&["v", "w"], &[("w", "")], &[None, Some(0)]),
        ] {
            let keys: Vec<_> = asked.iter().map(|version| wanted(version)).collect();
            let given: Vec<_> = answers.iter().map(|(version, marker)| answer(version, marker)).collect();
            let found = answers_to(&keys, &given);
            let at = |found: &Option<&Deleted>| {
                found.map(|found| given.iter().position(|given| std::ptr::eq(given, found)).unwrap())
            };
            assert_eq!(found.iter().map(at).collect::<Vec<_>>(), whose, "{asked:?} {answers:?}");
        }
    }
}
