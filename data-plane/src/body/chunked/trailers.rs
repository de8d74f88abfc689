//! Trailers after the last chunk: only those that `x-amz-trailer` declared, each once, and all of them.

use super::malformed;
use super::signer::ChunkSigner;
use crate::auth::decode_signature;
use crate::s3::error::{Code, S3Error};

/// The longest trailer line, in bytes; the most trailers that are looked at.
pub(super) const MAX_LINE: usize = 1024;
const MAX_TRAILERS: usize = 16;

/// The trailer that signs the others.
const SIGNATURE: &str = "x-amz-trailer-signature";

/// The trailers of a body that ended well: lower-case names and trimmed values, in the order sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers(Vec<(String, String)>);

impl Trailers {
    /// The value of a trailer.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Collects trailers and checks them at the end.
pub(super) struct TrailerReader {
    declared: Vec<String>,
    signed: bool,
    signature: Option<String>,
    trailers: Trailers,
}

impl TrailerReader {
    pub(super) fn new(declared: Vec<String>, signed: bool) -> TrailerReader {
        TrailerReader { declared, signed, signature: None, trailers: Trailers::default() }
    }

    /// Takes a line without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), S3Error> {
        if line.contains(&b'\r') {
            return Err(malformed("a trailer does not end with CRLF"));
        }
        let text = std::str::from_utf8(line).map_err(|_| bad("A trailer is not text."))?;
        let (name, value) = text.split_once(':').ok_or_else(|| bad("A trailer has no value."))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        // The signature covers what stands before it.
        if self.signature.is_some() {
            return Err(bad("There is a trailer after the signature of the trailers."));
        }
        if self.signed && name == SIGNATURE {
            self.signature = Some(value.to_owned());
            return Ok(());
        }
        if !self.declared.contains(&name) {
            if self.signed && !self.trailers.is_empty() && self.declared.len() == self.trailers.len() {
                return Err(malformed("its trailers are not followed by their signature"));
            }
            return Err(bad("There is a trailer that x-amz-trailer does not name."));
        }
        if self.trailers.get(&name).is_some() || self.trailers.len() == MAX_TRAILERS {
            return Err(bad("A trailer is there twice."));
        }
        self.trailers.0.push((name, value.to_owned()));
        Ok(())
    }

    /// Whether the trailers' signature must still come.
    pub(super) fn awaits_signature(&self) -> bool {
        self.signed && self.signature.is_none()
    }

    /// Ends the trailers: all declared ones must be there, and their signature right.
    pub(super) fn end(&self, signer: Option<&ChunkSigner>) -> Result<(), S3Error> {
        if self.declared.iter().any(|name| self.trailers.get(name).is_none()) {
            return Err(bad("A trailer that x-amz-trailer names is missing."));
        }
        let Some(signer) = signer.filter(|_| self.signed) else { return Ok(()) };
        let text = self.signature.as_deref().ok_or_else(|| bad("x-amz-trailer-signature is missing."))?;
        let claimed =
            decode_signature(text).ok_or_else(|| malformed("x-amz-trailer-signature is malformed"))?;
        let mut canonical = Vec::new();
        for (name, value) in &self.trailers.0 {
            canonical.extend_from_slice(format!("{name}:{value}\n").as_bytes());
        }
        signer.check_trailers(&canonical, claimed, text)
    }

    pub(super) fn into_trailers(self) -> Trailers {
        self.trailers
    }
}

fn bad(why: &'static str) -> S3Error {
    S3Error::new(Code::MalformedTrailerError).field("Reason", why)
}
