//! What an object carries besides its bytes: the client's own metadata and the headers that S3 gives back as they were.

use crate::s3::error::{Code, S3Error};
use http::{HeaderMap, HeaderName};
use std::collections::BTreeMap;

/// The most user metadata that is read, in bytes of names and values: S3's own limit. What the format can keep is less,
/// and its limit is checked where the metadata is sealed.
pub const MAX_USER_METADATA: usize = 2 * 1024;
/// The longest value of each system header, in bytes.
const MAX_SYSTEM_VALUE: usize = 2 * 1024;

/// Where a website sends those who ask for the object. The storage has it beside the object too, for its own website.
pub const REDIRECT: &str = "x-amz-website-redirect-location";

/// The headers that S3 stores with an object and gives back.
pub const SYSTEM: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    REDIRECT,
];

/// User metadata and system headers by full lower-case header names (`x-amz-meta-` included), sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectHeaders(BTreeMap<String, String>);

impl ObjectHeaders {
    /// Reads them from a PutObject or CreateMultipartUpload. `aws-chunked` leaves Content-Encoding (it is the framing's, not
    /// the object's), values of a repeated name are joined with commas.
    ///
    /// # Errors
    /// MetadataTooLarge, InvalidArgument for values that are not UTF-8 or a name that is reserved (`sealgate*`).
    pub fn from_headers(headers: &HeaderMap) -> Result<ObjectHeaders, S3Error> {
        let mut found = BTreeMap::new();
        let mut user = 0;
        for name in headers.keys() {
            let key = name.as_str();
            if let Some(own) = key.strip_prefix("x-amz-meta-") {
                if own.is_empty() || own.starts_with("sealgate") {
                    return Err(S3Error::invalid_argument(
                        key,
                        "",
                        "The name of this metadata header is reserved.",
                    ));
                }
                let value = joined(headers, name, ",")?;
                user += own.len() + value.len();
                found.insert(key.to_owned(), value);
            } else if SYSTEM.contains(&key) {
                let value = joined(headers, name, ", ")?;
                let value = if key == "content-encoding" { without_aws_chunked(&value) } else { value };
                if value.len() > MAX_SYSTEM_VALUE {
                    return Err(S3Error::metadata_too_large(value.len(), MAX_SYSTEM_VALUE));
                }
                if !value.is_empty() {
                    found.insert(key.to_owned(), value);
                }
            }
        }
        if user > MAX_USER_METADATA {
            return Err(S3Error::metadata_too_large(user, MAX_USER_METADATA));
        }
        Ok(ObjectHeaders(found))
    }

    /// The value of a full lower-case header name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The sum of names and values in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// A Content-Encoding without `aws-chunked`, in any case and place.
#[must_use]
pub fn without_aws_chunked(value: &str) -> String {
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    kept.join(",")
}

fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> Result<String, S3Error> {
    let mut out = String::new();
    for (at, value) in headers.get_all(name).iter().enumerate() {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            S3Error::with(Code::InvalidArgument, "Header values must be UTF-8.")
                .field("ArgumentName", name.as_str())
        })?;
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text.trim());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{ObjectHeaders, without_aws_chunked};
    use crate::s3::error::{Code, S3Error};

    fn of(pairs: &[(&'static str, &str)]) -> Result<ObjectHeaders, S3Error> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        ObjectHeaders::from_headers(&headers)
    }

    /// Case 13: Content-Type and Cache-Control are kept.
    #[test]
    fn case_13_system_headers_are_kept() {
        let headers = of(&[
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-amz-meta-b", "1"),
            ("x-amz-meta-a", "é"),
            ("x-amz-meta-b", "2"),
            ("user-agent", "x"),
            ("x-amz-date", "x"),
        ])
        .unwrap();
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(
            all,
            [
                ("cache-control", "no-store"),
                ("content-type", "text/plain; charset=utf-8"),
                ("x-amz-meta-a", "é"),
                ("x-amz-meta-b", "1,2"),
            ]
        );
    }

    #[test]
    fn aws_chunked_goes_and_gzip_stays() {
        for (value, kept) in [
            ("aws-chunked", ""),
            ("gzip,aws-chunked", "gzip"),
            ("AWS-Chunked, gzip , br", "gzip,br"),
            ("gzip", "gzip"),
        ] {
            assert_eq!(without_aws_chunked(value), kept);
        }
        assert_eq!(of(&[("content-encoding", "aws-chunked")]).unwrap().get("content-encoding"), None);
    }

    #[test]
    fn limits_and_reserved_names() {
        let long = "x".repeat(2048);
        assert_eq!(of(&[("x-amz-meta-a", &long)]).unwrap_err().code(), Code::MetadataTooLarge);
        assert!(of(&[("x-amz-meta-a", &long[1..])]).is_ok());
        assert_eq!(of(&[("content-type", &"x".repeat(2049))]).unwrap_err().code(), Code::MetadataTooLarge);
        assert_eq!(of(&[("x-amz-meta-sealgate", "x")]).unwrap_err().code(), Code::InvalidArgument);
    }
}
