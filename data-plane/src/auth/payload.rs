//! What `x-amz-content-sha256` says about the body. It alone decides how a body is read: Content-Encoding does not (some
//! clients send aws-chunked bodies without naming it there).

use crate::s3::error::{Code, S3Error};

/// How the signature covers the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// The body's SHA-256 is part of what was signed.
    SignedHash([u8; 32]),
    /// The body is not signed.
    Unsigned,
    /// aws-chunked, each chunk signed; `trailer` says whether signed trailers follow.
    StreamingSigned {
        /// Whether trailers follow the last chunk.
        trailer: bool,
    },
    /// aws-chunked without signatures, with trailers.
    StreamingUnsignedTrailer,
}

impl Payload {
    /// Reads the header's value.
    ///
    /// # Errors
    /// InvalidArgument for what is none of S3's values, NotImplemented for SigV4A's.
    pub(super) fn parse(value: &str) -> Result<Payload, S3Error> {
        match value {
            "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Payload::StreamingSigned { trailer: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Payload::StreamingSigned { trailer: true }),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::StreamingUnsignedTrailer),
            _ if value.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") => {
                Err(S3Error::with(Code::NotImplemented, "Sealgate does not implement Signature Version 4A."))
            }
            _ => {
                let mut hash = [0; 32];
                hex::decode_to_slice(value, &mut hash).map_err(|_| {
                    S3Error::invalid_argument(
                        "x-amz-content-sha256",
                        value,
                        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, \
                         STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or \
                         a valid sha256 value.",
                    )
                })?;
                Ok(Payload::SignedHash(hash))
            }
        }
    }

    /// Whether the body is in aws-chunked framing.
    #[must_use]
    pub fn is_streaming(self) -> bool {
        matches!(self, Payload::StreamingSigned { .. } | Payload::StreamingUnsignedTrailer)
    }
}
