//! SigV4 in the Authorization header: valid for 15 minutes around its date.

use super::check::{ALGORITHM, Claim, no_token, not_skewed, single};
use super::credential::{Credential, Fields};
use super::{Authenticated, Lookup};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::timestamp::{basic, parse_basic, parse_http};
use http::request::Parts;
use std::borrow::Cow;

/// Signature Version 4A.
pub(super) const ASYMMETRIC: &str = "AWS4-ECDSA-P256-SHA256";
/// The longest header that is looked at, in bytes.
const MAX_HEADER: usize = 8 * 1024;

/// Checks a request with the Authorization header `value`.
pub(super) fn authenticate(
    parts: &Parts,
    request: &S3Request,
    value: &str,
    now: i64,
    lookup: impl FnMut(&str, &str, &str) -> Lookup,
) -> Result<Authenticated, S3Error> {
    let Some(rest) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t'])) else {
        if value.starts_with(ASYMMETRIC) {
            return Err(S3Error::with(
                Code::InvalidRequest,
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ));
        }
        // What other scheme's secret it may be is not told back.
        let what = match value.contains(' ') {
            true => "Unsupported Authorization Type",
            false => "Authorization header is invalid -- one and only one ' ' (space) required.",
        };
        return Err(S3Error::invalid_argument("Authorization", "", what));
    };
    if value.len() > MAX_HEADER {
        return Err(malformed("it is too long."));
    }
    let fields = Fields::parse(rest).map_err(malformed)?;
    let credential = Credential::parse(fields.credential).map_err(malformed)?;
    no_token(single(&parts.headers, "x-amz-security-token")?)?;
    let (timestamp, at) = date(parts, fields.signed_headers)?;
    if timestamp.get(..8) != Some(credential.date) {
        return Err(malformed("Invalid credential date. Date is not the same as X-Amz-Date."));
    }
    not_skewed(at, now, &timestamp)?;
    let payload_text = single(&parts.headers, "x-amz-content-sha256")?.ok_or_else(|| {
        S3Error::with(Code::InvalidRequest, "Missing required header for this request: x-amz-content-sha256")
    })?;
    let claim = Claim {
        credential,
        signed_headers: fields.signed_headers,
        signature: fields.signature,
        timestamp: &timestamp,
        payload_text,
        presigned: false,
    };
    claim.check(parts, request, lookup)
}

/// The request's time: `x-amz-date`, or a signed Date header.
fn date<'a>(parts: &'a Parts, signed_headers: &str) -> Result<(Cow<'a, str>, i64), S3Error> {
    let bad = || {
        S3Error::with(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header.")
    };
    if let Some(text) = single(&parts.headers, "x-amz-date")? {
        return Ok((Cow::Borrowed(text), parse_basic(text).ok_or_else(bad)?));
    }
    let text = single(&parts.headers, "date")?.ok_or_else(bad)?;
    if !signed_headers.split(';').any(|name| name == "date") {
        return Err(bad());
    }
    let at = parse_basic(text).or_else(|| parse_http(text)).ok_or_else(bad)?;
    Ok((Cow::Owned(basic(at)), at))
}

fn malformed(why: impl std::fmt::Display) -> S3Error {
    S3Error::with(Code::AuthorizationHeaderMalformed, format!("The authorization header is malformed; {why}"))
}
