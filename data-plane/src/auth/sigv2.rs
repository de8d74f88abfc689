//! AWS Signature Version 2 (AWS: "Signing and authenticating REST requests"), in the header, in the query and of forms, for the
//! credentials that an operator made for it. Everybody else's is refused with a text that names the cure.
//!
//! The string to sign is ambiguous by its making: parameters stand in it decoded and joined, so that one parameter's value
//! can spell two parameters. And S3 signs only those that are on a list, which each client writes down in its own way. Here
//! every parameter is signed but those that only page through a listing, and a value that could be read as another
//! parameter is refused.

use super::check::{no_token, not_skewed, single};
use super::{Authenticated, HmacSha1, Payload, SignatureVersion};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::{Addressing, Query, S3Request};
use crate::s3::timestamp::{iso_millis, parse_basic, parse_http, parse_mail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// The furthest end of a presigned URL or a form, in seconds from now: S3 sets none for this version.
pub const MAX_AHEAD: i64 = 604_800;
/// The longest access key id that is looked up, in bytes.
const MAX_ID: usize = 128;
/// What the query carries for the signature itself.
const OWN: [&str; 3] = ["AWSAccessKeyId", "Signature", "Expires"];
/// Parameters that are not signed: they page through listings. Of those that boto puts there besides, a type and an MD5 count
/// as headers only, and `x-id` names the operation for logs.
const UNSIGNED: &[&str] = &[
    "bucket-region",
    "content-md5",
    "content-type",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "x-id",
];

/// What is known about an access key that signs with Version 2.
pub enum SigV2Lookup {
    /// It may, and these are its states.
    Found(HmacSha1),
    /// It has ended.
    UnknownKey,
    /// Nobody allowed it Version 2.
    Refused,
}

/// Checks a request with the Authorization header `value`: `AWS id:signature`.
pub(super) fn in_header(
    parts: &Parts,
    request: &S3Request,
    value: &str,
    now: i64,
    lookup: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Authenticated, S3Error> {
    let stated = value.strip_prefix("AWS").and_then(|rest| rest.trim().split_once(':'));
    let (id, signature) = stated.ok_or_else(refused)?;
    let key = found(id, lookup, refused)?;
    let bad =
        || S3Error::with(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header");
    let moved = single(&parts.headers, "x-amz-date")?;
    let date = if moved.is_none() { single(&parts.headers, "date")? } else { None };
    let stated = moved.or(date).ok_or_else(bad)?;
    let at = parse_http(stated).or_else(|| parse_mail(stated)).or_else(|| parse_basic(stated));
    let at = at.filter(|at| *at >= 0).ok_or_else(bad)?;
    not_skewed(at, now, stated)?;
    // With x-amz-date, which is signed as the header that it is, the line stays empty.
    let claim = Claim { id, signature, date: date.unwrap_or_default(), presigned: false };
    claim.check(parts, request, &key)
}

/// Checks a request with the signature in its query.
pub(super) fn in_query(
    parts: &Parts,
    request: &S3Request,
    now: i64,
    lookup: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Authenticated, S3Error> {
    let id = request.query.get("AWSAccessKeyId").ok_or_else(refused)?;
    let key = found(id, lookup, refused)?;
    let need = |name: &'static str| match (request.query.count_ignore_case(name), request.query.get(name)) {
        (1, Some(value)) => Ok(value),
        _ => Err(S3Error::with(
            Code::AccessDenied,
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters, each once.",
        )),
    };
    let (id, signature, expires) = (need("AWSAccessKeyId")?, need("Signature")?, need("Expires")?);
    in_time(expires, now)?;
    Claim { id, signature, date: expires, presigned: true }.check(parts, request, &key)
}

/// Checks a form: the signature is over the policy as it is sent, which says until when it holds. That this is not more than
/// [`MAX_AHEAD`] is for whoever reads the policy. No request can stand in for a form: what begins with a method is no JSON
/// in base64. Nor a form for a request, which would need a method of its first letters.
pub(super) fn of_form(
    id: &str,
    signature: &str,
    policy: &str,
    lookup: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Authenticated, S3Error> {
    let key = found(id, lookup, refused_form)?;
    if !fits(&key, decode(signature), policy.as_bytes()) {
        return Err(S3Error::new(Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", id)
            .field("StringToSign", policy)
            .field("SignatureProvided", signature));
    }
    Ok(Authenticated {
        access_key_id: id.to_owned(),
        version: SignatureVersion::V2,
        region: None,
        payload: Payload::Unsigned,
        presigned: false,
        seed: None,
    })
}

fn in_time(expires: &str, now: i64) -> Result<(), S3Error> {
    let digits = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
    let end: i64 = expires.parse().ok().filter(|_| digits).ok_or_else(|| {
        S3Error::with(Code::AccessDenied, "Invalid date (Expires is a number of seconds since 1970)")
    })?;
    if now > end {
        return Err(S3Error::with(Code::AccessDenied, "Request has expired")
            .field("Expires", iso_millis(end.saturating_mul(1000)))
            .field("ServerTime", iso_millis(now.saturating_mul(1000))));
    }
    if end > now.saturating_add(MAX_AHEAD) {
        return Err(S3Error::with(
            Code::AccessDenied,
            "Expires must be at most a week (604800 seconds) ahead. Please make a URL that ends earlier.",
        )
        .field("ServerTime", iso_millis(now.saturating_mul(1000))));
    }
    Ok(())
}

/// Takes out of a request's query what the signature is made with, once it has been checked: all that the operations see
/// is what they know. Of the headers that boto copies there, one that came as a header too is spent.
pub fn forget(request: &mut S3Request, headers: &HeaderMap) {
    request.query.retain(|name, value| {
        let copied = matches!(name, "content-type" | "content-md5")
            || (amz(name) && headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes()));
        !copied && !OWN.contains(&name)
    });
}

/// The answer to whoever signs with Version 2 and was not allowed it.
pub(super) fn refused() -> S3Error {
    S3Error::with(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. Tools that still \
         sign or presign with Signature Version 2 change to version 4 with signature_version='s3v4' in their config, or \
         with a region other than us-east-1. For a tool that knows nothing else, an operator can make a credential that \
         allows it.",
    )
}

/// The same for a form.
pub(super) fn refused_form() -> S3Error {
    S3Error::with(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. Forms are signed \
         with Signature Version 4: x-amz-algorithm, x-amz-credential, x-amz-date and x-amz-signature in the place of \
         AWSAccessKeyId and signature. With boto3, signature_version='s3v4' in its config does that. For a tool that \
         knows nothing else, an operator can make a credential that allows it.",
    )
}

fn found(
    id: &str,
    lookup: impl FnOnce(&str) -> SigV2Lookup,
    refused: fn() -> S3Error,
) -> Result<HmacSha1, S3Error> {
    if id.len() > MAX_ID {
        return Err(refused());
    }
    match lookup(id) {
        SigV2Lookup::Found(key) => Ok(key),
        SigV2Lookup::UnknownKey => Err(S3Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", id)),
        SigV2Lookup::Refused => Err(refused()),
    }
}

/// What the client states, parsed but not believed.
struct Claim<'a> {
    id: &'a str,
    signature: &'a str,
    /// The line of the string to sign: the Date header, nothing, or Expires.
    date: &'a str,
    presigned: bool,
}

impl Claim<'_> {
    fn check(self, parts: &Parts, request: &S3Request, key: &HmacSha1) -> Result<Authenticated, S3Error> {
        let query = &request.query;
        let token = single(&parts.headers, "x-amz-security-token")?;
        no_token(token.or_else(|| query.get_ignore_case("x-amz-security-token")))?;
        let hash = single(&parts.headers, "x-amz-content-sha256")?;
        let payload = match hash.or_else(|| query.get_ignore_case("x-amz-content-sha256")) {
            Some(text) => Payload::parse(text)?,
            None => Payload::Unsigned,
        };
        if matches!(payload, Payload::StreamingSigned { .. }) {
            return Err(S3Error::with(
                Code::InvalidRequest,
                "Chunks are signed with Signature Version 4, and the request is not.",
            ));
        }
        let to_sign = self.string_to_sign(parts, request, "")?;
        let given = decode(self.signature);
        // boto signs a bucket with the slash that it leaves out of the path.
        let bare = request.bucket.is_some() && request.key.is_none() && !request.raw_path.ends_with('/');
        let respelled =
            || Ok::<_, S3Error>(bare && fits(key, given, &self.string_to_sign(parts, request, "/")?));
        if !fits(key, given, &to_sign) && !respelled()? {
            return Err(S3Error::new(Code::SignatureDoesNotMatch)
                .field("AWSAccessKeyId", self.id)
                .field("StringToSign", String::from_utf8_lossy(&to_sign))
                .field("SignatureProvided", self.signature));
        }
        Ok(Authenticated {
            access_key_id: self.id.to_owned(),
            version: SignatureVersion::V2,
            region: None,
            payload,
            presigned: self.presigned,
            seed: None,
        })
    }

    /// `slash` follows the path.
    fn string_to_sign(&self, parts: &Parts, request: &S3Request, slash: &str) -> Result<Vec<u8>, S3Error> {
        let mut out = Vec::with_capacity(512);
        let md5 = single(&parts.headers, "content-md5")?.unwrap_or_default();
        let kind = single(&parts.headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
        for line in [parts.method.as_str(), md5, kind, self.date] {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        for (name, values) in amz_headers(&parts.headers, &request.query)? {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(&values.join(&b','));
            out.push(b'\n');
        }
        resource(request, slash, self.presigned, &mut out)?;
        Ok(out)
    }
}

/// CanonicalizedAmzHeaders: the values of each, and those that the query carries in the place of headers.
fn amz_headers<'a>(
    headers: &'a HeaderMap,
    query: &'a Query,
) -> Result<BTreeMap<String, Vec<&'a [u8]>>, S3Error> {
    let mut found: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| amz(name.as_str())) {
        found.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().trim_ascii());
    }
    for (name, value) in query.pairs().filter(|(name, _)| amz(name)) {
        // One with a line end could spell two.
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            return Err(S3Error::invalid_argument("query", name, "The parameter cannot stand for a header."));
        }
        let values = found.entry(name.to_ascii_lowercase()).or_default();
        if !values.contains(&value.as_bytes()) {
            values.push(value.as_bytes());
        }
    }
    Ok(found)
}

/// CanonicalizedResource: the bucket, the path as sent, and the parameters, sorted and decoded.
fn resource(request: &S3Request, slash: &str, presigned: bool, out: &mut Vec<u8>) -> Result<(), S3Error> {
    if let (Addressing::VirtualHost, Some(bucket)) = (request.addressing, &request.bucket) {
        out.push(b'/');
        out.extend_from_slice(bucket.as_bytes());
    }
    out.extend_from_slice(request.raw_path.as_bytes());
    out.extend_from_slice(slash.as_bytes());
    let unsigned = |name: &str| amz(name) || UNSIGNED.contains(&name) || (presigned && OWN.contains(&name));
    let mut signed: Vec<(&str, &str)> = request.query.pairs().filter(|(name, _)| !unsigned(name)).collect();
    signed.sort_by_key(|(name, _)| *name);
    for (at, (name, value)) in signed.into_iter().enumerate() {
        if value.split('&').skip(1).any(spells_a_parameter) {
            return Err(S3Error::invalid_argument(
                "query",
                name,
                "With Signature Version 2 the parameter's value cannot be told from another parameter. Please use \
                 AWS4-HMAC-SHA256.",
            ));
        }
        out.push(if at == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
    Ok(())
}

fn spells_a_parameter(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn amz(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// Whether a signature, if it could be read, is that of a text.
fn fits(key: &HmacSha1, given: Option<[u8; 20]>, to_sign: &[u8]) -> bool {
    let right = bool::from(given.unwrap_or([0; 20]).ct_eq(&*key.sign(to_sign)));
    right && given.is_some()
}

fn decode(signature: &str) -> Option<[u8; 20]> {
    // 28 characters are 20 bytes; what is longer is not decoded.
    STANDARD.decode(signature).ok().filter(|_| signature.len() == 28)?.try_into().ok()
}

#[cfg(test)]
mod tests;
