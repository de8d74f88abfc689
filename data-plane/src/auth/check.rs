//! The comparison itself, the same for header and query.

use super::credential::Credential;
use super::{Authenticated, Lookup, Payload, SignatureVersion, SigningKey, StreamSeed, canonical};
use crate::s3::error::{Code, S3Error};
use crate::s3::request::S3Request;
use crate::s3::timestamp::iso_millis;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The only algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a clock may be off, in seconds.
pub(super) const MAX_SKEW: i64 = 15 * 60;

/// What the client states, parsed but not believed.
pub(super) struct Claim<'a> {
    pub credential: Credential<'a>,
    pub signed_headers: &'a str,
    pub signature: &'a str,
    /// `yyyymmddThhmmssZ`
    pub timestamp: &'a str,
    /// The payload line of the canonical request, as sent.
    pub payload_text: &'a str,
    pub presigned: bool,
}

impl Claim<'_> {
    /// Looks the key up, forms the string to sign and compares.
    pub(super) fn check(
        self,
        parts: &Parts,
        request: &S3Request,
        lookup: impl FnMut(&str, &str, &str) -> Lookup,
    ) -> Result<Authenticated, S3Error> {
        let payload = Payload::parse(self.payload_text)?;
        let path = canonical::path(&request.raw_path)?;
        let canonical = self.canonical_request(parts, request, &path)?;
        let access_key_id = self.credential.access_key_id;
        let key = found_key(&self.credential, self.presigned, lookup)?;
        let scope = self.credential.scope();
        let to_sign = self.string_to_sign(&scope, &canonical);
        let fits = |to_sign: &str| compare(&key, to_sign.as_bytes(), self.signature).is_some();
        // A slash that was sent escaped is signed so by some, and by others as the slash that it stands for.
        let respelled = || {
            let path = path.contains("%2F").then(|| path.replace("%2F", "/"));
            let canonical = path.map(|path| self.canonical_request(parts, request, &path));
            canonical.transpose().map(|it| it.is_some_and(|it| fits(&self.string_to_sign(&scope, &it))))
        };
        if !fits(&to_sign) && !respelled()? {
            return Err(S3Error::new(Code::SignatureDoesNotMatch)
                .field("AWSAccessKeyId", access_key_id)
                .field("StringToSignBytes", in_bytes(&to_sign))
                .field("StringToSign", to_sign)
                .field("SignatureProvided", self.signature)
                .field("CanonicalRequest", String::from_utf8_lossy(&canonical)));
        }
        let seed = matches!(payload, Payload::StreamingSigned { .. }).then(|| {
            Arc::new(StreamSeed {
                key,
                timestamp: self.timestamp.to_owned(),
                scope,
                signature: self.signature.to_owned(),
            })
        });
        Ok(Authenticated {
            access_key_id: access_key_id.to_owned(),
            version: SignatureVersion::V4,
            region: Some(self.credential.region.to_owned()),
            payload,
            presigned: self.presigned,
            seed,
        })
    }

    fn string_to_sign(&self, scope: &str, canonical: &[u8]) -> String {
        format!("{ALGORITHM}\n{}\n{scope}\n{}", self.timestamp, hex::encode(Sha256::digest(canonical)))
    }

    fn canonical_request(&self, parts: &Parts, request: &S3Request, path: &str) -> Result<Vec<u8>, S3Error> {
        let mut out = Vec::with_capacity(1024);
        for line in [parts.method.as_str(), path, &canonical::query(&request.query)] {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(&canonical::headers(parts, self.signed_headers)?);
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload_text.as_bytes());
        Ok(out)
    }
}

/// The signing key of a claimed credential.
pub(super) fn found_key(
    credential: &Credential<'_>,
    presigned: bool,
    mut lookup: impl FnMut(&str, &str, &str) -> Lookup,
) -> Result<SigningKey, S3Error> {
    let Credential { access_key_id, date, region } = *credential;
    match lookup(access_key_id, date, region) {
        Lookup::Found(key) => Ok(key),
        Lookup::UnknownKey => {
            Err(S3Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key_id))
        }
        Lookup::WrongRegion(expected) => Err(wrong_region(presigned, region, &expected)),
        Lookup::NoKeyForDate => Err(S3Error::with(
            Code::ServiceUnavailable,
            "This node has no signing key for the day of the request. Please try again.",
        )),
    }
}

/// Whether a signature is the key's over this text, found out in constant time.
pub(super) fn compare(key: &SigningKey, text: &[u8], signature: &str) -> Option<()> {
    let (given, expected) = (decode_signature(signature), key.sign(text));
    let right = bool::from(given.unwrap_or([0; 32]).ct_eq(&expected));
    (right && given.is_some()).then_some(())
}

/// A text's bytes as S3 shows them beside it, where an invisible difference shows.
pub(super) fn in_bytes(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// HMAC-SHA256 under a 32-byte key. The key is given as a whole block, which HMAC would make of it anyway and which
/// cannot have a wrong length.
pub(super) fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let block: &[u8; 64] = &block;
    let mut mac = Hmac::<Sha256>::new(block.into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A signature's bytes: 64 lower-case hexadecimal digits.
pub(crate) fn decode_signature(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// Holds the time of a request whose signature is in its header, `at` as sent in `text`, against the clock.
pub(super) fn not_skewed(at: i64, now: i64, text: &str) -> Result<(), S3Error> {
    if (now - at).abs() <= MAX_SKEW {
        return Ok(());
    }
    Err(S3Error::new(Code::RequestTimeTooSkewed)
        .field("RequestTime", text)
        .field("ServerTime", iso_millis(now.saturating_mul(1000)))
        .field("MaxAllowedSkewMilliseconds", (MAX_SKEW * 1000).to_string()))
}

/// A header that may be there once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(S3Error::invalid_argument(name, "", "The header must be there once."));
    }
    let text = value.to_str().map_err(|_| S3Error::invalid_argument(name, "", "The header is not text."))?;
    Ok(Some(text.trim()))
}

/// Temporary credentials do not exist here: a token is a mistake that must not pass silently.
pub(super) fn no_token(token: Option<&str>) -> Result<(), S3Error> {
    if token.is_some() { Err(S3Error::new(Code::InvalidToken)) } else { Ok(()) }
}

fn wrong_region(presigned: bool, given: &str, expected: &str) -> S3Error {
    let (code, what) = if presigned {
        (Code::AuthorizationQueryParametersError, "Error parsing the X-Amz-Credential parameter")
    } else {
        (Code::AuthorizationHeaderMalformed, "The authorization header is malformed")
    };
    S3Error::with(code, format!("{what}; the region '{given}' is wrong; expecting '{expected}'"))
        .field("Region", expected)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use zeroize::Zeroizing;

    use super::{SigningKey, compare};

    #[test]
    #[ignore = "statistics: `just timing`"]
    fn timing_of_a_signature() {
        let key = SigningKey::new(Zeroizing::new([7; 32]));
        let right = hex::encode(key.sign(b"text"));
        crate::timing::tells_nothing("a signature", right.as_bytes(), |given| {
            compare(&key, b"text", std::str::from_utf8(given).unwrap()).is_some()
        });
    }
}
