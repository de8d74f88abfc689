//! Who sends a request: AWS Signature Version 4, in the header or in the query (presigned); Version 2 for credentials that
//! an operator made for it.
//!
//! A node never holds a client's secret. It holds signing keys for single days and regions (the HMAC chain up to
//! `aws4_request`), and of those credentials the two states of HMAC-SHA1, which the caller looks up. An [`Authenticated`] can only come out of [`authenticate`]: to hold one is
//! to know that method, path, query and signed headers are what the credential's owner sent, and that the headers that
//! steer S3 (`x-amz-*`, Host) are among them. It says nothing yet about the body: see [`crate::body`]. Of a form it says
//! that the credential's owner signed the policy in it ([`authenticate_form`]), and the policy is still to be checked.

use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::sync::Arc;
use zeroize::Zeroizing;

mod canonical;
mod check;
mod credential;
mod form;
mod hmac_sha1;
pub mod known;
mod payload;
mod presign;
mod sigv2;
mod sigv4;

pub(crate) use check::decode_signature;
pub use form::{authenticate_form, v2_signer};
pub use hmac_sha1::HmacSha1;
pub use payload::Payload;
pub use sigv2::{MAX_AHEAD, SigV2Lookup, forget as forget_sigv2};

/// A SigV4 signing key: HMAC chain over the client secret, day, region and service, up to `aws4_request`.
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// Takes the key's 32 bytes.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> SigningKey {
        SigningKey(key)
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 32] {
        check::hmac(&self.0, text)
    }
}

/// What is known about an access key on a day in a region.
pub enum Lookup {
    /// The signing key.
    Found(SigningKey),
    /// No such access key (or one that has ended).
    UnknownKey,
    /// The request's region is not served; the value is the right one.
    WrongRegion(String),
    /// The access key is known, but no signing key for that day has come yet, or it is gone: our fault, may be retried.
    NoKeyForDate,
}

/// What chunk signatures continue from: the request's own signature, its key, time and scope.
pub struct StreamSeed {
    pub(crate) key: SigningKey,
    pub(crate) timestamp: String,
    pub(crate) scope: String,
    pub(crate) signature: String,
}

/// By which of S3's two schemes a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureVersion {
    /// HMAC-SHA1 under the secret.
    V2,
    /// HMAC-SHA256 under a key of the day and region.
    V4,
}

/// A request whose signature is right. Only [`authenticate`] and [`authenticate_form`] make one.
pub struct Authenticated {
    access_key_id: String,
    version: SignatureVersion,
    region: Option<String>,
    payload: Payload,
    presigned: bool,
    seed: Option<Arc<StreamSeed>>,
}

impl Authenticated {
    /// The credential that signed.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// By which scheme.
    #[must_use]
    pub fn version(&self) -> SignatureVersion {
        self.version
    }

    /// The region that was signed for, one of the served. Version 2 knows none.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// What the signature says about the body.
    #[must_use]
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// Whether the signature was in the query.
    #[must_use]
    pub fn presigned(&self) -> bool {
        self.presigned
    }

    /// What the chunk signatures continue from; there for [`Payload::StreamingSigned`] only.
    #[must_use]
    pub fn stream_seed(&self) -> Option<Arc<StreamSeed>> {
        self.seed.clone()
    }
}

/// Checks a request's signature. `now` is in Unix seconds; `lookup` gets access key id, day (`yyyymmdd`) and region, and
/// is called at most once, only for a request that is well-formed and in time. `lookup_v2` gets the access key id of a
/// request that is signed with Version 2, at most once.
///
/// # Errors
/// S3's own codes: AccessDenied (anonymous, expired, unsigned headers), InvalidAccessKeyId, SignatureDoesNotMatch,
/// RequestTimeTooSkewed, AuthorizationHeaderMalformed, AuthorizationQueryParametersError, InvalidRequest (SigV2 and other
/// schemes), InvalidArgument, InvalidToken, ServiceUnavailable (no key for that day on this node).
pub fn authenticate(
    parts: &Parts,
    request: &S3Request,
    now: i64,
    lookup: impl FnMut(&str, &str, &str) -> Lookup,
    lookup_v2: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Authenticated, S3Error> {
    let (v4_query, v2_query) = in_query(request);
    let mut authorizations = parts.headers.get_all(AUTHORIZATION).iter();
    match (authorizations.next(), v4_query, v2_query) {
        (None, false, false) => Err(S3Error::new(Code::AccessDenied)),
        (None, true, false) => presign::authenticate(parts, request, now, lookup),
        (None, false, true) => sigv2::in_query(parts, request, now, lookup_v2),
        (Some(value), false, false) => {
            if authorizations.next().is_some() {
                return Err(S3Error::invalid_argument(
                    "Authorization",
                    "",
                    "Only one auth mechanism allowed.",
                ));
            }
            let value = value.to_str().map_err(|_| S3Error::new(Code::AuthorizationHeaderMalformed))?;
            if value.trim().is_empty() {
                return Err(S3Error::new(Code::AccessDenied));
            }
            if value == "AWS" || value.starts_with("AWS ") {
                return sigv2::in_header(parts, request, value, now, lookup_v2);
            }
            sigv4::authenticate(parts, request, value, now, lookup)
        }
        (_, _, _) => Err(S3Error::invalid_argument(
            "Authorization",
            "",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        )),
    }
}

/// Whether a request claims a signature, of whatever kind and however wrong.
#[must_use]
pub fn is_signed(parts: &Parts, request: &S3Request) -> bool {
    parts.headers.contains_key(AUTHORIZATION) || in_query(request) != (false, false)
}

/// Whether parameters of Signature Version 4, and of 2, are in the query.
fn in_query(request: &S3Request) -> (bool, bool) {
    let query = &request.query;
    let v4 = ["X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"]
        .iter()
        .any(|name| query.get_ignore_case(name).is_some());
    (v4, query.has("AWSAccessKeyId") || query.has("Signature"))
}

/// Whether a request claims a signature of Version 2.
#[must_use]
pub fn is_sigv2(parts: &Parts, request: &S3Request) -> bool {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    in_query(request).1 || values.any(|value| value == "AWS" || value.as_bytes().starts_with(b"AWS "))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
