//! The checksum that a multipart upload is created with: `x-amz-checksum-algorithm` and `x-amz-checksum-type`.

use super::checksum::Algorithm;
use super::plan::{single, unsupported};
use crate::s3::error::{Code, S3Error};
use http::HeaderMap;

/// How parts' checksums make the object's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumType {
    /// The checksum of all bytes, combined from the parts'.
    FullObject,
    /// The checksum of the parts' checksums, shown with `-N`.
    Composite,
}

impl ChecksumType {
    /// S3's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ChecksumType::FullObject => "FULL_OBJECT",
            ChecksumType::Composite => "COMPOSITE",
        }
    }

    /// The code in an upload record (0 stands for none).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            ChecksumType::FullObject => 1,
            ChecksumType::Composite => 2,
        }
    }
}

/// What an upload is created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadChecksum {
    /// The algorithm of every part.
    pub algorithm: Algorithm,
    /// What Complete makes of them.
    pub kind: ChecksumType,
}

impl UploadChecksum {
    /// Reads the headers of CreateMultipartUpload. Without a type CRC64NVME is for the full object, all else composite, as
    /// with S3.
    ///
    /// # Errors
    /// InvalidRequest for an unknown algorithm or type, a type without an algorithm, a full-object checksum that parts
    /// cannot be combined into, and a composite CRC64NVME, which S3 does not have.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<UploadChecksum>, S3Error> {
        let kind = told_type(headers)?;
        let Some(name) = single(headers, "x-amz-checksum-algorithm")? else {
            return match kind {
                None => Ok(None),
                Some(_) => Err(invalid(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                )),
            };
        };
        let algorithm = Algorithm::from_name(name).ok_or_else(unsupported)?;
        let kind = match (kind, algorithm) {
            (None, Algorithm::Crc64Nvme) => ChecksumType::FullObject,
            (None, _) => ChecksumType::Composite,
            (Some(ChecksumType::Composite), Algorithm::Crc64Nvme) => {
                return Err(invalid(
                    "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.",
                ));
            }
            (Some(ChecksumType::FullObject), algorithm) if !algorithm.combines() => {
                let name = algorithm.name().to_ascii_lowercase();
                return Err(S3Error::with(
                    Code::InvalidRequest,
                    format!(
                        "The FULL_OBJECT checksum type cannot be used with the {name} checksum algorithm."
                    ),
                ));
            }
            (Some(kind), _) => kind,
        };
        Ok(Some(UploadChecksum { algorithm, kind }))
    }
}

/// The type that a request tells.
///
/// # Errors
/// InvalidRequest for one that S3 does not know.
pub fn told_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, S3Error> {
    match single(headers, "x-amz-checksum-type")? {
        None => Ok(None),
        Some(text) if text.eq_ignore_ascii_case("FULL_OBJECT") => Ok(Some(ChecksumType::FullObject)),
        Some(text) if text.eq_ignore_ascii_case("COMPOSITE") => Ok(Some(ChecksumType::Composite)),
        Some(_) => Err(invalid("Value for x-amz-checksum-type header is invalid.")),
    }
}

fn invalid(message: &'static str) -> S3Error {
    S3Error::with(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{ChecksumType, UploadChecksum};
    use crate::body::checksum::Algorithm;

    fn of(pairs: &[(&'static str, &'static str)]) -> Option<Option<UploadChecksum>> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        UploadChecksum::from_headers(&headers).ok()
    }

    #[test]
    fn algorithms_and_their_types() {
        let (name, kind) = ("x-amz-checksum-algorithm", "x-amz-checksum-type");
        let some = |algorithm, kind| Some(Some(UploadChecksum { algorithm, kind }));
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&[(name, "crc64nvme")]), some(Algorithm::Crc64Nvme, ChecksumType::FullObject));
        assert_eq!(of(&[(name, "CRC32")]), some(Algorithm::Crc32, ChecksumType::Composite));
        assert_eq!(
            of(&[(name, "CRC32"), (kind, "FULL_OBJECT")]),
            some(Algorithm::Crc32, ChecksumType::FullObject)
        );
        assert_eq!(of(&[(name, "SHA256"), (kind, "FULL_OBJECT")]), None);
        assert_eq!(of(&[(name, "CRC64NVME"), (kind, "COMPOSITE")]), None);
        assert_eq!(of(&[(name, "ROT13")]), None);
        assert_eq!(of(&[(kind, "COMPOSITE")]), None);
        assert_eq!(of(&[(name, "CRC32"), (kind, "HALF")]), None);
    }
}
