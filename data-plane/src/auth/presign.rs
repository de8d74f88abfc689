//! SigV4 in the query: valid from its date for as long as it says, up to a week. The end is counted from the date,
//! whatever clock skew is allowed elsewhere: a URL made for an hour works for that hour and no longer.

use super::check::{ALGORITHM, Claim, MAX_SKEW, no_token, single};
use super::credential::Credential;
use super::sigv4::ASYMMETRIC;
use super::{Authenticated, Lookup};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::{Query, S3Request};
use crate::s3::timestamp::{iso_millis, parse_basic};
use http::request::Parts;

/// The longest life of a presigned URL, in seconds.
const MAX_EXPIRES: i64 = 604_800;

/// Checks a request whose signature is in the query.
pub(super) fn authenticate(
    parts: &Parts,
    request: &S3Request,
    now: i64,
    lookup: impl FnMut(&str, &str, &str) -> Lookup,
) -> Result<Authenticated, S3Error> {
    let query = &request.query;
    match need(query, "X-Amz-Algorithm")? {
        ALGORITHM => {}
        // S3's own sentence would send its reader in a circle.
        ASYMMETRIC => return Err(wrong("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")),
        _ => {
            return Err(wrong(
                "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"",
            ));
        }
    }
    let credential = Credential::parse(need(query, "X-Amz-Credential")?)
        .map_err(|why| wrong(format!("Error parsing the X-Amz-Credential parameter; {why}")))?;
    no_token(query.get_ignore_case("X-Amz-Security-Token"))?;
    let timestamp = need(query, "X-Amz-Date")?;
    let at = parse_basic(timestamp)
        .ok_or_else(|| wrong("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    if timestamp.get(..8) != Some(credential.date) {
        return Err(wrong(format!(
            "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
            credential.date,
            timestamp.get(..8).unwrap_or_default()
        )));
    }
    in_time(at, expires(need(query, "X-Amz-Expires")?)?, now)?;
    let header = single(&parts.headers, "x-amz-content-sha256")?;
    let claim = Claim {
        credential,
        signed_headers: need(query, "X-Amz-SignedHeaders")?,
        signature: need(query, "X-Amz-Signature")?,
        timestamp,
        payload_text: query.get_ignore_case("X-Amz-Content-Sha256").or(header).unwrap_or("UNSIGNED-PAYLOAD"),
        presigned: true,
    };
    claim.check(parts, request, lookup)
}

fn in_time(at: i64, expires: i64, now: i64) -> Result<(), S3Error> {
    if at > now.saturating_add(MAX_SKEW) {
        return Err(S3Error::with(Code::AccessDenied, "Request is not valid yet.")
            .field("ServerTime", iso_millis(now.saturating_mul(1000))));
    }
    let end = at.saturating_add(expires);
    if now > end {
        return Err(S3Error::with(Code::AccessDenied, "Request has expired.")
            .field("X-Amz-Expires", expires.to_string())
            .field("Expires", iso_millis(end.saturating_mul(1000)))
            .field("ServerTime", iso_millis(now.saturating_mul(1000))));
    }
    Ok(())
}

fn expires(text: &str) -> Result<i64, S3Error> {
    let value: i64 = text.parse().map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    match value {
        ..0 => Err(wrong("X-Amz-Expires must be non-negative")),
        0 => Err(wrong("X-Amz-Expires must be at least 1 second")),
        1..=MAX_EXPIRES => Ok(value),
        _ => Err(wrong(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 \
             seconds",
        )),
    }
}

/// A parameter that must be there exactly once: of two, it would be unclear which one counts.
fn need<'a>(query: &'a Query, name: &'static str) -> Result<&'a str, S3Error> {
    match (query.count_ignore_case(name), query.get_ignore_case(name)) {
        (1, Some(value)) => Ok(value),
        _ => Err(wrong(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
             X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )),
    }
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with(Code::AuthorizationQueryParametersError, message)
}
