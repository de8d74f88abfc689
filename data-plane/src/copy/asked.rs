//! What a copy is asked for: its headers, read strictly.

use http::HeaderMap;

use crate::body::Algorithm;
use crate::gate::Admitted;
use crate::s3::error::{Code, S3Error};
use crate::s3::headers::conditions::Conditions;
use crate::s3::request::{check_bucket_name, check_key};
use crate::s3::route::COPY_SOURCE;
use crate::s3::uri::{Plus, decode};

/// What begins the version in a copy source.
const VERSION: &str = "?versionId=";

/// What is copied, as the client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// A version of it; none: the current one.
    pub version_id: Option<String>,
}

impl Named {
    /// The source that a request names.
    ///
    /// # Errors
    /// InvalidArgument, InvalidBucketName, KeyTooLongError.
    pub fn from(admitted: &Admitted) -> Result<Self, S3Error> {
        let mut values = admitted.headers.get_all(COPY_SOURCE).iter();
        let header = match values.next() {
            Some(value) => Some(value.to_str().map_err(|_| not_a_source(""))?),
            None => None,
        };
        let text = header.or_else(|| admitted.request.query.get(COPY_SOURCE));
        match (text, values.next()) {
            (Some(text), None) => Self::parse(text),
            _ => Err(not_a_source("")),
        }
    }

    /// Reads `/bucket/key?versionId=…`, percent-encoded, with or without the first slash. A `?` that begins no version is
    /// the key's own.
    ///
    /// # Errors
    /// As [`Named::from`].
    pub fn parse(text: &str) -> Result<Self, S3Error> {
        let (path, version) = match text.rsplit_once(VERSION) {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let text_of = |raw: &str| {
            decode(raw.as_bytes(), Plus::Literal)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| S3Error::invalid_argument(COPY_SOURCE, text, "Invalid copy source encoding"))
        };
        let path = text_of(path)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').ok_or_else(|| not_a_source(text))?;
        if bucket.is_empty() {
            return Err(not_a_source(text));
        }
        if key.is_empty() {
            return Err(S3Error::invalid_argument(COPY_SOURCE, text, "Invalid copy source object key"));
        }
        check_bucket_name(bucket)
            .map_err(|_| S3Error::invalid_argument(COPY_SOURCE, text, "Invalid copy source bucket name"))?;
        check_key(key)?;
        let version_id = version.map(text_of).transpose()?;
        if version_id.as_deref() == Some("") {
            return Err(S3Error::invalid_argument("versionId", "", "Version id cannot be the empty string"));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), version_id })
    }
}

fn not_a_source(text: &str) -> S3Error {
    S3Error::invalid_argument(
        COPY_SOURCE,
        text,
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.",
    )
}

/// Whether something is taken from the source or from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// The source's.
    Copy,
    /// The request's.
    Replace,
}

impl Directive {
    /// Reads a directive; without one it is the source's.
    ///
    /// # Errors
    /// InvalidArgument.
    pub fn from_header(headers: &HeaderMap, name: &'static str) -> Result<Self, S3Error> {
        match headers.get(name).map(|value| value.as_bytes()) {
            None | Some(b"COPY") => Ok(Self::Copy),
            Some(b"REPLACE") => Ok(Self::Replace),
            Some(other) => Err(S3Error::invalid_argument(
                name,
                String::from_utf8_lossy(other).into_owned(),
                if name == METADATA { "Unknown metadata directive." } else { "Unknown tagging directive." },
            )),
        }
    }
}

/// Whose metadata a copy has.
pub const METADATA: &str = "x-amz-metadata-directive";
/// Whose tags a copy has.
pub const TAGGING: &str = "x-amz-tagging-directive";

/// The checksum that the copy is to have.
///
/// # Errors
/// InvalidRequest for an algorithm that S3 does not have.
pub fn algorithm(headers: &HeaderMap) -> Result<Option<Algorithm>, S3Error> {
    let Some(value) = headers.get("x-amz-checksum-algorithm") else { return Ok(None) };
    let known = value.to_str().ok().and_then(|name| Algorithm::from_name(name.trim()));
    known.map(Some).ok_or_else(crate::body::plan::unsupported)
}

/// The conditions on the source.
///
/// # Errors
/// A list that cannot be read: ignoring it would copy what is not wanted.
pub fn conditions(headers: &HeaderMap) -> Result<Conditions, S3Error> {
    let mut asked = HeaderMap::new();
    for (name, of_source) in [
        ("if-match", "x-amz-copy-source-if-match"),
        ("if-none-match", "x-amz-copy-source-if-none-match"),
        ("if-modified-since", "x-amz-copy-source-if-modified-since"),
        ("if-unmodified-since", "x-amz-copy-source-if-unmodified-since"),
    ] {
        for value in headers.get_all(of_source) {
            asked.append(name, value.clone());
        }
    }
    Conditions::from_headers(&asked)
}

/// First and last byte of `x-amz-copy-source-range`, which names both.
///
/// # Errors
/// InvalidArgument for anything but `bytes=first-last`.
pub fn range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, S3Error> {
    const NAME: &str = "x-amz-copy-source-range";
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let found =
        text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).and_then(|(first, last)| {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        });
    match found {
        Some(range) if headers.get_all(NAME).iter().count() == 1 => Ok(Some(range)),
        _ => Err(S3Error::invalid_argument(
            NAME,
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based \
             offsets of the first and last bytes to copy",
        )),
    }
}

/// What a copy that would change nothing is answered.
#[must_use]
pub fn changes_nothing() -> S3Error {
    S3Error::with(
        Code::InvalidRequest,
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
         metadata, storage class, website redirect location or encryption attributes.",
    )
}

/// What S3 copies at once, counted in plaintext.
pub const MOST: u64 = 5 << 30;

/// Whether a copy of so many bytes may go through the gateway. Only what the storage copies may be larger than what S3 copies
/// at once: a copy goes on without its client, and nobody could stop terabytes on their way through a node.
#[must_use]
pub fn may_pass(length: u64, stored: u64, max_put: u64) -> bool {
    stored <= max_put || length <= MOST
}

/// What a source that is too large for one copy is answered.
#[must_use]
pub fn too_large(most: u64) -> S3Error {
    S3Error::with(
        Code::InvalidRequest,
        format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {most}"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Directive, METADATA, Named, range};
    use crate::s3::error::Code;
    use http::HeaderMap;

    fn named(key: &str, version: Option<&str>) -> Named {
        Named { bucket: "bucket".to_owned(), key: key.to_owned(), version_id: version.map(str::to_owned) }
    }

    #[test]
    fn sources_are_decoded_once() {
        for (text, wanted) in [
            ("bucket/k", named("k", None)),
            ("/bucket/a/b", named("a/b", None)),
            ("bucket/a%20b%2Bc+d", named("a b+c+d", None)),
            ("%2Fbucket%2Fk", named("k", None)),
            ("bucket/gr%C3%B6%C3%9Fe", named("größe", None)),
            ("bucket/k?versionId=v%2B1", named("k", Some("v+1"))),
            ("bucket/%3FversionId", named("?versionId", None)),
            ("bucket/%3FversionId=x?versionId=null", named("?versionId=x", Some("null"))),
            ("bucket/a?b", named("a?b", None)),
            ("bucket/a%2525", named("a%25", None)),
            ("bucket//k", named("/k", None)),
        ] {
            assert_eq!(Named::parse(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for text in [
            "",
            "/",
            "bucket",
            "bucket/",
            "/bucket",
            "//k",
            "bucket/%zz",
            "bucket/%ff",
            "bucket/k?versionId=",
        ] {
            assert_eq!(Named::parse(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn ranges_name_both_ends() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-copy-source-range", text.parse().unwrap());
            range(&headers)
        };
        assert_eq!(of("bytes=0-0").unwrap(), Some((0, 0)));
        assert_eq!(of("bytes=5-1000").unwrap(), Some((5, 1000)));
        for text in [
            "0-2",
            "bytes=0",
            "bytes=hello-world",
            "bytes=0-bar",
            "bytes=hello-",
            "bytes=0-2,3-5",
            "bytes=-5",
            "bytes=5-",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=1-18446744073709551616",
        ] {
            assert_eq!(of(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
        assert_eq!(range(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn directives() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(METADATA, text.parse().unwrap());
            Directive::from_header(&headers, METADATA)
        };
        assert_eq!(of("COPY").unwrap(), Directive::Copy);
        assert_eq!(of("REPLACE").unwrap(), Directive::Replace);
        assert_eq!(of("replace").unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn no_more_goes_through_the_gateway_than_s3_copies_at_once() {
        use super::{MOST, may_pass};
        assert!(may_pass(MOST, MOST + 1, MOST), "its ciphertext is longer");
        assert!(!may_pass(MOST + 1, MOST + 2, MOST));
        assert!(!may_pass(MOST + 1, MOST + 2, 1 << 20));
        assert!(may_pass(1 << 40, 1 << 40, 50 << 40), "the filesystem takes it in one step");
    }
}
