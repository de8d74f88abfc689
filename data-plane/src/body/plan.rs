//! What a request's headers promise about its body, read before a byte of it: framing, length, and the digests that must
//! be right. A promise that cannot be read is refused here, since one that was skipped would look like one that held.

use super::checksum::{Algorithm, Checksum};
use crate::auth::{Authenticated, Payload, StreamSeed};
use crate::s3::error::{Code, S3Error};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use std::sync::Arc;

/// Base64 whose last character may say more bits than there are.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The promises of one body.
pub struct BodyPlan {
    pub(super) framing: Framing,
    pub(super) length: u64,
    pub(super) sha256: Option<Checksum>,
    pub(super) md5: Option<Checksum>,
    pub(super) checksum: Option<Promise>,
    pub(super) also: Option<Algorithm>,
}

pub(super) enum Framing {
    /// The body is the data.
    Plain,
    /// aws-chunked with signatures; the trailers' names where there are any.
    Signed(Arc<StreamSeed>, Option<Vec<String>>),
    /// aws-chunked without signatures.
    Unsigned(Vec<String>),
}

/// Where the client's checksum stands.
pub(super) enum Promise {
    Header(Checksum),
    Trailer(Algorithm),
}

impl BodyPlan {
    /// Reads the promises. `limit` is the largest plaintext in bytes that is taken.
    ///
    /// # Errors
    /// MissingContentLength, EntityTooLarge, InvalidDigest, InvalidRequest, InvalidArgument.
    pub fn from(headers: &HeaderMap, authenticated: &Authenticated, limit: u64) -> Result<BodyPlan, S3Error> {
        let declared = declared_trailers(headers)?;
        let checksum = promise(headers, &declared)?;
        BodyPlan::build(headers, authenticated, limit, declared, checksum)
    }

    /// The promises of a CompleteMultipartUpload's document: the `x-amz-checksum-*` there is the object's, for
    /// [`object_checksum`].
    ///
    /// # Errors
    /// As [`BodyPlan::from`].
    pub fn for_complete(
        headers: &HeaderMap,
        authenticated: &Authenticated,
        limit: u64,
    ) -> Result<BodyPlan, S3Error> {
        BodyPlan::build(headers, authenticated, limit, declared_trailers(headers)?, None)
    }

    /// The promises of a form's file: `headers` are made of the form's fields, `length` is the file's.
    ///
    /// # Errors
    /// As [`BodyPlan::from`].
    pub fn for_form(headers: &HeaderMap, length: u64) -> Result<BodyPlan, S3Error> {
        Ok(BodyPlan {
            framing: Framing::Plain,
            length,
            sha256: None,
            md5: content_md5(headers)?,
            checksum: promise(headers, &[])?,
            also: None,
        })
    }

    fn build(
        headers: &HeaderMap,
        authenticated: &Authenticated,
        limit: u64,
        declared: Vec<String>,
        checksum: Option<Promise>,
    ) -> Result<BodyPlan, S3Error> {
        let payload = authenticated.payload();
        let length = length(headers, payload)?;
        if length > limit {
            return Err(S3Error::entity_too_large(length, limit));
        }
        let framing = match (payload, authenticated.stream_seed()) {
            (Payload::StreamingSigned { trailer }, Some(seed)) => {
                Framing::Signed(seed, trailer.then(|| declared.clone()))
            }
            (Payload::StreamingSigned { .. }, None) => return Err(S3Error::new(Code::InternalError)),
            (Payload::StreamingUnsignedTrailer, _) => Framing::Unsigned(declared.clone()),
            (Payload::SignedHash(_) | Payload::Unsigned, _) => Framing::Plain,
        };
        let may_have_trailers = matches!(framing, Framing::Signed(_, Some(_)) | Framing::Unsigned(_));
        if !may_have_trailers && !declared.is_empty() {
            return Err(S3Error::with(
                Code::InvalidRequest,
                "x-amz-trailer needs an x-amz-content-sha256 that announces trailers.",
            ));
        }
        Ok(BodyPlan {
            framing,
            length,
            sha256: match payload {
                Payload::SignedHash(hash) => Checksum::new(Algorithm::Sha256, &hash),
                _ => None,
            },
            md5: content_md5(headers)?,
            checksum,
            also: None,
        })
    }

    /// The plan of a body that no client sends: a copy's, of a known length.
    #[must_use]
    pub fn copied(length: u64) -> BodyPlan {
        BodyPlan { framing: Framing::Plain, length, sha256: None, md5: None, checksum: None, also: None }
    }

    /// The plaintext's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The algorithm of the client's checksum, in header or trailer; without one, of that which is demanded.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        match &self.checksum {
            Some(Promise::Header(checksum)) => Some(checksum.algorithm()),
            Some(Promise::Trailer(algorithm)) => Some(*algorithm),
            None => self.also,
        }
    }

    /// The client's checksum, when it is known before the body.
    #[must_use]
    pub fn known_checksum(&self) -> Option<&Checksum> {
        match &self.checksum {
            Some(Promise::Header(checksum)) => Some(checksum),
            _ => None,
        }
    }

    /// Demands a checksum of this algorithm in [`super::Verified::computed`], whether or not the client sent one: for
    /// uploads whose parts all need one.
    #[must_use]
    pub fn compute(mut self, algorithm: Algorithm) -> BodyPlan {
        self.also = Some(algorithm);
        self
    }
}

/// Demands a digest of a document, as S3 does for some operations whatever the signature covers.
///
/// # Errors
/// InvalidRequest.
pub fn needs_digest(headers: &HeaderMap) -> Result<(), S3Error> {
    let digest = headers.contains_key("content-md5")
        || headers.contains_key("x-amz-trailer")
        || headers.keys().any(|name| Algorithm::from_header(name.as_str()).is_some());
    if digest {
        return Ok(());
    }
    Err(S3Error::with(
        Code::InvalidRequest,
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    ))
}

fn length(headers: &HeaderMap, payload: Payload) -> Result<u64, S3Error> {
    // One that is no number is none, as on S3.
    let decoded = number(headers, "x-amz-decoded-content-length").map_err(|error| match error.code() {
        Code::InvalidArgument => S3Error::new(Code::MissingContentLength),
        _ => error,
    })?;
    let sent = number(headers, CONTENT_LENGTH.as_str())?;
    // Of a framed body Content-Length counts the framing too.
    let length = if payload.is_streaming() { decoded } else { sent.or(decoded) };
    length.ok_or_else(|| S3Error::new(Code::MissingContentLength))
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, S3Error> {
    let Some(text) = single(headers, name)? else { return Ok(None) };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(S3Error::invalid_argument(name, text, "The length must be a number of bytes."));
    }
    text.parse().map(Some).map_err(|_| S3Error::new(Code::EntityTooLarge))
}

fn content_md5(headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    let Some(text) = single(headers, "content-md5")? else { return Ok(None) };
    // 22 characters say four bits more than it has: S3 does not look at them.
    let bytes = LENIENT.decode(text).ok().and_then(|bytes| Checksum::new(Algorithm::Md5, &bytes));
    match bytes.filter(|_| text.len() == 24) {
        Some(checksum) => Ok(Some(checksum)),
        None => Err(S3Error::with(Code::InvalidDigest, "The Content-Md5 you specified is not valid.")
            .field("Content-MD5", text)),
    }
}

/// The client's one checksum, in a header or announced as a trailer.
fn promise(headers: &HeaderMap, declared: &[String]) -> Result<Option<Promise>, S3Error> {
    let mut promises: Vec<Promise> =
        header_checksums(headers, false)?.into_iter().map(Promise::Header).collect();
    promises.extend(declared.iter().filter_map(|name| Algorithm::from_header(name)).map(Promise::Trailer));
    if promises.len() > 1 {
        return Err(several());
    }
    let promise = promises.pop();
    if let Some(named) = sdk_algorithm(headers)? {
        let promised = match &promise {
            Some(Promise::Header(checksum)) => checksum.algorithm(),
            Some(Promise::Trailer(algorithm)) => *algorithm,
            None => {
                return Err(S3Error::with(
                    Code::InvalidRequest,
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found.",
                ));
            }
        };
        if promised != named {
            return Err(S3Error::with(
                Code::InvalidRequest,
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
            ));
        }
    }
    Ok(promise)
}

/// The object's checksum on CompleteMultipartUpload, without the `-N` that a composite one may carry.
///
/// # Errors
/// InvalidRequest for more than one, or a value that is none.
pub fn object_checksum(headers: &HeaderMap) -> Result<Option<Checksum>, S3Error> {
    Ok(header_checksums(headers, true)?.pop())
}

fn header_checksums(headers: &HeaderMap, composite: bool) -> Result<Vec<Checksum>, S3Error> {
    let unknown = |name: &str| {
        let kind = name.strip_prefix("x-amz-checksum-");
        kind.is_some_and(|kind| !matches!(kind, "algorithm" | "mode" | "type"))
            && Algorithm::from_header(name).is_none()
    };
    if headers.keys().any(|name| unknown(name.as_str())) {
        // Ignored, it would be a promise that nobody kept.
        return Err(S3Error::with(
            Code::InvalidRequest,
            "The algorithm type you specified in x-amz-checksum- header is invalid.",
        ));
    }
    if Algorithm::ALL.iter().filter(|algorithm| headers.contains_key(algorithm.header())).count() > 1 {
        return Err(several());
    }
    let mut found = Vec::new();
    for &algorithm in Algorithm::ALL {
        if let Some(text) = single(headers, algorithm.header())? {
            let value = text.split_once('-').filter(|_| composite).map_or(text, |(value, _)| value);
            found.push(Checksum::from_base64(algorithm, value).ok_or_else(|| {
                S3Error::with(
                    Code::InvalidRequest,
                    format!("Value for {} header is invalid.", algorithm.header()),
                )
            })?);
        }
    }
    Ok(found)
}

fn several() -> S3Error {
    S3Error::with(
        Code::InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

fn sdk_algorithm(headers: &HeaderMap) -> Result<Option<Algorithm>, S3Error> {
    let Some(text) = single(headers, "x-amz-sdk-checksum-algorithm")? else { return Ok(None) };
    Algorithm::from_name(text).map(Some).ok_or_else(unsupported)
}

pub(crate) fn unsupported() -> S3Error {
    let mut names: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    names.sort_unstable();
    S3Error::with(
        Code::InvalidRequest,
        format!(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{}]",
            names.join(", ")
        ),
    )
}

/// The trailers that `x-amz-trailer` names: only checksums may come as trailers.
fn declared_trailers(headers: &HeaderMap) -> Result<Vec<String>, S3Error> {
    let mut declared = Vec::new();
    for value in headers.get_all("x-amz-trailer") {
        let text = value.to_str().unwrap_or("\u{fffd}");
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.to_ascii_lowercase();
            if Algorithm::from_header(&name).is_none() {
                return Err(S3Error::with(
                    Code::InvalidRequest,
                    "The value specified in the x-amz-trailer header is not supported",
                ));
            }
            if !declared.contains(&name) {
                declared.push(name);
            }
        }
    }
    Ok(declared)
}

/// A header that may be there once, trimmed.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.trim())).ok_or_else(|| {
        S3Error::with(Code::InvalidRequest, format!("The {name} header must be there once, as text."))
    })
}
