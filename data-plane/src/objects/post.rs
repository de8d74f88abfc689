//! POST object: a browser's form, checked against its signed policy, whose file is stored as PutObject stores a body.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::put;
use crate::access_log;
use crate::auth::{Lookup, MAX_AHEAD, SigV2Lookup, SignatureVersion, authenticate_form, v2_signer};
use crate::body::form::next_piece;
use crate::body::{BodyPlan, ClientBody, FormFile};
use crate::gate::{Admitted, authorise, expected_owner, refuse_hidden};
use crate::pipeline::source::Feed;
use crate::reply::{self, Reply};
use crate::s3::error::{Code, S3Error};
use crate::s3::form::policy::Policy;
use crate::s3::form::{Fields, Form, FormReader, boundary, malformed, missing};
use crate::s3::headers::{created, encryption};
use crate::s3::request::{S3Request, check_key, host};
use crate::s3::route::{Access, Operation, needs_configure, refused_header};
use crate::s3::uri::{encode, encode_into};
use crate::s3::xml::post::{post_response, tagging_header};
use crate::snapshot::Snapshot;
use crate::worker::Worker;
use crate::writes::let_in;

/// How long a client may send nothing before its file begins.
const IDLE: Duration = Duration::from_secs(60);

/// Fields that are headers of PutObject by another name.
const RENAMED: &[(&str, &str)] = &[("acl", "x-amz-acl")];

/// Fields that are headers of PutObject under their own name, besides `x-amz-*`.
const SAME: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// Fields that sign the form.
const SIGNING: &[&str] =
    &["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token", "x-amz-signature"];

/// A form before anything of its body was read.
pub struct Posted<'a> {
    /// This thread.
    pub worker: Rc<Worker>,
    /// The config that the request keeps to.
    pub snapshot: Arc<Snapshot>,
    /// The request: POST on a bucket.
    pub request: S3Request,
    /// Its head.
    pub parts: &'a Parts,
    /// The id that the answer carries.
    pub request_id: &'a str,
    /// Unix seconds.
    pub now: u64,
}

/// Answers POST object. Nothing is stored unless signature, policy and the form's end are right.
///
/// # Errors
/// In S3's terms.
pub async fn post(
    posted: Posted<'_>,
    mut body: ClientBody,
    lookup: impl FnMut(&str, &str, &str) -> Lookup,
    lookup_v2: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Reply, S3Error> {
    let Posted { worker, snapshot, mut request, parts, request_id, now } = posted;
    let bucket = request.need_bucket()?.to_owned();
    let length = content_length(&parts.headers)?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = boundary(content_type.unwrap_or_default())?;
    // In all, not for each piece: nobody has shown a signature yet.
    let form = tokio::time::timeout(IDLE, read_form(&mut body, &boundary)).await;
    let form = form.map_err(|_| S3Error::new(Code::RequestTimeout))??;
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    let key = form.key()?;
    check_key(&key)?;
    let checked = authenticate_form(&form.fields, seconds, lookup, lookup_v2);
    if v2_signer(&form.fields).is_some() {
        worker.node.metrics.sigv2_request(checked.is_ok());
    }
    let authenticated = checked?;
    let credential = snapshot
        .credential(authenticated.access_key_id())
        .cloned()
        .ok_or_else(|| S3Error::new(Code::InvalidAccessKeyId))?;
    let allow = |access| authorise(&snapshot, &credential, &request, &Operation::PostObject, access, now);
    let mut allowed = allow(Operation::PostObject.needed_action())?;
    let policy = Policy::parse(form.fields.get("policy").ok_or_else(|| missing("policy"))?)?;
    access_log::note(|noted| {
        (noted.key, noted.requester) = (Some(key.clone()), Some(credential.access_key_id.clone()));
        noted.signature = Some(authenticated.version());
    });
    // States never age by themselves; a form of Version 4 lives as long as its date lets it.
    if authenticated.version() == SignatureVersion::V2
        && policy.expiration() > seconds.saturating_add(MAX_AHEAD)
    {
        return Err(S3Error::with(
            Code::AccessDenied,
            "The policy of a form that is signed with Signature Version 2 must end within a week (604800 seconds).",
        ));
    }
    policy.check(&bucket, &key, &form.fields, seconds)?;
    refuse_hidden(&key)?;
    let headers = object_headers(&form.fields)?;
    encryption::check(&Operation::PostObject, &headers, worker.node.config.tls.is_some())?;
    created::check(&Operation::PostObject, &headers, now)?;
    if needs_configure(&headers) {
        allowed = allow(Access::Configure)?;
    }
    expected_owner(&credential, &parts.headers)?;
    expected_owner(&credential, &headers)?;
    if let Some(header) = refused_header(&Operation::PostObject, &headers) {
        return Err(S3Error::not_implemented(&header));
    }
    let left = length.checked_sub(form.head).ok_or_else(|| malformed("It is longer than it says."))?;
    let opened = tokio::time::timeout(IDLE, FormFile::open(body, form.rest, left, &boundary)).await;
    let (file, length) = opened.map_err(|_| S3Error::new(Code::RequestTimeout))??;
    policy.check_length(length)?;
    let plan = BodyPlan::for_form(&headers, length)?;
    request.key = Some(key.clone());
    let write = let_in(&worker.node, &snapshot, &request, &Operation::PostObject)?;
    let admitted = Rc::new(Admitted {
        worker,
        request_id: request_id.to_owned(),
        snapshot,
        request,
        headers,
        authenticated,
        credential,
        allowed,
        write,
    });
    let stored = put::store(&admitted, Feed::Form(file), plan).await?;
    let location = location(&admitted, parts, &bucket, &key);
    Ok(answer(stored, &form.fields, &bucket, &key, &location))
}

/// The whole form's length: without it the file's could not be known.
fn content_length(headers: &HeaderMap) -> Result<u64, S3Error> {
    let text = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| S3Error::new(Code::MissingContentLength))
}

async fn read_form(body: &mut ClientBody, boundary: &str) -> Result<Form, S3Error> {
    let mut reader = FormReader::new(boundary);
    loop {
        match next_piece(body).await {
            Some(piece) => {
                if let Some(form) = reader.push(&piece?)? {
                    return Ok(form);
                }
            }
            None => return Err(malformed("It has no file.")),
        }
    }
}

/// The fields that PutObject knows as headers.
fn object_headers(fields: &Fields) -> Result<HeaderMap, S3Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let tags;
        let (header, value) = match RENAMED.iter().find(|(field, _)| *field == name) {
            Some((_, header)) => (*header, value),
            None if name == "tagging" => {
                tags = tagging_header(value)?;
                ("x-amz-tagging", tags.as_str())
            }
            None if SIGNING.contains(&name) => continue,
            None if SAME.contains(&name) || name.starts_with("x-amz-") => (name, value),
            None => continue,
        };
        let unfit = || S3Error::invalid_argument(name, value, "The field cannot stand in a header.");
        let header = HeaderName::try_from(header).map_err(|_| unfit())?;
        headers.insert(header, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unfit())?);
    }
    Ok(headers)
}

/// Where the object is to be had, as far as the request tells.
fn location(admitted: &Admitted, parts: &Parts, bucket: &str, key: &str) -> String {
    let mut location = admitted.worker.node.url(host(parts).unwrap_or_default());
    let path = parts.uri.path();
    // In path style the bucket stands in the path, else in the host.
    if path.trim_matches('/') == bucket {
        location.push('/');
        location.push_str(bucket);
    }
    location.push('/');
    encode_into(&mut location, key.as_bytes(), true);
    location
}

/// What the form asks to be answered with. PutObject's own headers are kept.
fn answer(stored: Reply, fields: &Fields, bucket: &str, key: &str, location: &str) -> Reply {
    let (stored, _) = stored.into_parts();
    let etag = stored.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    let redirect = fields.get("success_action_redirect").or(fields.get("redirect"));
    let (mut reply, location) = match redirect.and_then(|target| redirected(target, bucket, key, etag)) {
        Some(target) => (reply::empty(StatusCode::SEE_OTHER), target),
        None => {
            let reply = match fields.get("success_action_status") {
                Some("200") => reply::empty(StatusCode::OK),
                Some("201") => {
                    let document = post_response(location, bucket, key, etag.trim_matches('"'));
                    reply::xml(StatusCode::CREATED, document)
                }
                _ => reply::empty(StatusCode::NO_CONTENT),
            };
            (reply, location.to_owned())
        }
    };
    for (name, value) in &stored.headers {
        reply.headers_mut().insert(name, value.clone());
    }
    reply::set(reply.headers_mut(), "location", &location);
    reply
}

/// The address to go to, with what was stored in its query; none for what is no address, which S3 ignores.
fn redirected(target: &str, bucket: &str, key: &str, etag: &str) -> Option<String> {
    let parsed: http::Uri = target.parse().ok()?;
    parsed.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let joint = if parsed.query().is_some() { '&' } else { '?' };
    let [bucket, key, etag] = [bucket, key, etag].map(|text| encode(text.as_bytes(), false));
    Some(format!("{target}{joint}bucket={bucket}&key={key}&etag={etag}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{answer, redirected};
    use crate::reply::{self, ReplyBody};
    use crate::s3::form::{Fields, FormReader};
    use http::StatusCode;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut body = String::new();
        for (name, value) in pairs {
            body.push_str(&format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n"));
        }
        body.push_str("--b\r\nContent-Disposition: form-data; name=file\r\n\r\n");
        FormReader::new("b").push(body.as_bytes()).unwrap().unwrap().fields
    }

    #[test]
    fn a_redirect_says_what_was_stored() {
        assert_eq!(
            redirected("http://h/x", "b", "a b", "\"e-1\"").unwrap(),
            "http://h/x?bucket=b&key=a%20b&etag=%22e-1%22"
        );
        assert!(redirected("https://h/?a=1", "b", "k", "e").unwrap().starts_with("https://h/?a=1&bucket=b"));
        for ignored in ["", "/relative", "javascript:alert(1)", "ftp://h/"] {
            assert_eq!(redirected(ignored, "b", "k", "e"), None, "{ignored}");
        }
    }

    #[test]
    fn the_status_is_the_one_asked_for() {
        let of = |pairs: &[(&str, &str)]| {
            let mut stored = reply::empty(StatusCode::OK);
            reply::set(stored.headers_mut(), "etag", "\"e\"");
            let reply = answer(stored, &fields(pairs), "b", "k", "http://h/b/k");
            assert_eq!(reply.headers()["etag"], "\"e\"");
            (reply.status().as_u16(), reply.headers()["location"].to_str().unwrap().to_owned(), reply)
        };
        for (asked, status) in [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)] {
            let (found, location, reply) = of(&[("success_action_status", asked)]);
            assert_eq!((found, location.as_str()), (status, "http://h/b/k"), "{asked}");
            assert_eq!(matches!(reply.body(), ReplyBody::Full(Some(_))), status == 201);
        }
        let asked = [("success_action_status", "201"), ("success_action_redirect", "http://r/")];
        assert_eq!(of(&asked).0, 303);
        assert!(of(&asked).1.starts_with("http://r/?bucket=b&key=k"));
        assert_eq!(of(&[("redirect", "nowhere")]).0, 204);
    }
}
