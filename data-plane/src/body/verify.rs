//! Takes a body in, gives its plaintext out, and at the end says whether all promises held.
//!
//! A [`Verified`] can only come from [`BodyVerifier::finish`]. Whoever commits an object asks for one, so that none can be
//! stored whose body was cut, changed or not what its checksum says. Until then the plaintext that came out is unproved:
//! the pipeline withholds the last chunk from the backend.

use super::checksum::{Algorithm, Checksum, Hasher};
use super::chunked::{ChunkedDecoder, Trailers};
use super::plan::{BodyPlan, Framing, Promise};
use crate::s3::error::{Code, S3Error};
use bytes::Bytes;

/// The proof that a body was whole and right.
#[derive(Debug)]
pub struct Verified {
    length: u64,
    checksum: Option<Checksum>,
    computed: Option<Checksum>,
    md5: Option<Checksum>,
    trailers: Trailers,
}

impl Verified {
    /// The plaintext's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The checksum that the client sent, in header or trailer, and that was right.
    #[must_use]
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    /// The checksum that [`BodyPlan::compute`] asked for.
    #[must_use]
    pub fn computed(&self) -> Option<&Checksum> {
        self.computed.as_ref()
    }

    /// The plaintext's MD5, where the client sent a Content-MD5.
    #[must_use]
    pub fn md5(&self) -> Option<&Checksum> {
        self.md5.as_ref()
    }

    /// The trailers.
    #[must_use]
    pub fn trailers(&self) -> &Trailers {
        &self.trailers
    }
}

/// Checks a body as it passes.
pub struct BodyVerifier {
    plan: BodyPlan,
    decoder: Option<ChunkedDecoder>,
    /// One a needed algorithm, whoever needs it.
    hashers: Vec<Hasher>,
    received: u64,
    failed: bool,
}

impl BodyVerifier {
    /// Starts on a body.
    #[must_use]
    pub fn new(plan: BodyPlan) -> BodyVerifier {
        let decoder = match &plan.framing {
            Framing::Plain => None,
            Framing::Signed(seed, declared) => {
                Some(ChunkedDecoder::signed(seed.clone(), plan.length, declared.clone()))
            }
            Framing::Unsigned(declared) => Some(ChunkedDecoder::unsigned(plan.length, declared.clone())),
        };
        let mut needed: Vec<Algorithm> =
            [plan.sha256, plan.md5].into_iter().flatten().map(|checksum| checksum.algorithm()).collect();
        needed.extend(plan.algorithm());
        needed.extend(plan.also);
        needed.sort_unstable();
        needed.dedup();
        let hashers = needed.into_iter().map(Hasher::new).collect();
        BodyVerifier { plan, decoder, hashers, received: 0, failed: false }
    }

    /// The plaintext's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.plan.length
    }

    /// How much plaintext has come, in bytes.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next piece of the body and appends the plaintext in it to `out`, without copying.
    ///
    /// # Errors
    /// Those of [`ChunkedDecoder::push`]; IncompleteBody when a plain body is longer than promised. After an error the
    /// body cannot be verified any more.
    pub fn push(&mut self, input: Bytes, out: &mut Vec<Bytes>) -> Result<(), S3Error> {
        let from = out.len();
        let result = match &mut self.decoder {
            Some(decoder) => decoder.push(input, out),
            None => {
                if !input.is_empty() {
                    out.push(input);
                }
                Ok(())
            }
        };
        for data in &out[from..] {
            self.received += data.len() as u64;
            for hasher in &mut self.hashers {
                hasher.update(data);
            }
        }
        let result = result.and_then(|()| {
            if self.received > self.plan.length {
                return Err(S3Error::new(Code::IncompleteBody));
            }
            Ok(())
        });
        self.failed |= result.is_err();
        result
    }

    /// Ends the body and compares every promise.
    ///
    /// # Errors
    /// IncompleteBody, XAmzContentSHA256Mismatch, BadDigest, MalformedTrailerError and those of
    /// [`ChunkedDecoder::finish`].
    pub fn finish(self) -> Result<Verified, S3Error> {
        if self.failed {
            return Err(S3Error::with(Code::InvalidRequest, "The body has already failed."));
        }
        let trailers = match self.decoder {
            Some(decoder) => decoder.finish()?,
            None => Trailers::default(),
        };
        if self.received != self.plan.length {
            return Err(S3Error::new(Code::IncompleteBody));
        }
        let sums: Vec<Checksum> = self.hashers.into_iter().map(Hasher::finish).collect();
        let found = |algorithm: Algorithm| sums.iter().find(|sum| sum.algorithm() == algorithm);
        if let Some(promised) = &self.plan.sha256 {
            compare_payload(promised, found(Algorithm::Sha256))?;
        }
        if let Some(promised) = &self.plan.md5 {
            compare(promised, found(Algorithm::Md5), "Content-MD5")?;
        }
        let checksum = match self.plan.checksum {
            None => None,
            Some(Promise::Header(promised)) => Some(promised),
            Some(Promise::Trailer(algorithm)) => Some(from_trailer(algorithm, &trailers)?),
        };
        if let Some(promised) = &checksum {
            compare(promised, found(promised.algorithm()), promised.algorithm().name())?;
        }
        let computed = self.plan.also.and_then(found).copied();
        Ok(Verified { length: self.received, checksum, computed, md5: self.plan.md5, trailers })
    }
}

fn from_trailer(algorithm: Algorithm, trailers: &Trailers) -> Result<Checksum, S3Error> {
    let text = trailers.get(algorithm.header()).ok_or_else(|| S3Error::new(Code::MalformedTrailerError))?;
    Checksum::from_base64(algorithm, text).ok_or_else(|| {
        S3Error::with(
            Code::InvalidRequest,
            format!("Value for {} trailing header is invalid.", algorithm.header()),
        )
    })
}

fn compare_payload(promised: &Checksum, found: Option<&Checksum>) -> Result<(), S3Error> {
    if found == Some(promised) {
        return Ok(());
    }
    Err(S3Error::new(Code::XAmzContentSHA256Mismatch)
        .field("ClientComputedContentSHA256", hex::encode(promised.bytes()))
        .field("S3ComputedContentSHA256", found.map(|sum| hex::encode(sum.bytes())).unwrap_or_default()))
}

fn compare(promised: &Checksum, found: Option<&Checksum>, what: &str) -> Result<(), S3Error> {
    if found == Some(promised) {
        return Ok(());
    }
    let text = if what == "Content-MD5" {
        "The Content-MD5 you specified did not match what we received.".to_owned()
    } else {
        format!("The {what} you specified did not match the calculated checksum.")
    };
    // S3 writes an MD5 so that it can be held beside an ETag.
    let expected = match what {
        "Content-MD5" => hex::encode(promised.bytes()),
        _ => promised.to_base64(),
    };
    Err(S3Error::with(Code::BadDigest, text)
        .field("ExpectedDigest", expected)
        .field("CalculatedDigest", found.map(Checksum::to_base64).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
