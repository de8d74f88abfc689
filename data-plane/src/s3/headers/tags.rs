//! `x-amz-tagging`, and what a tag may be (AWS: "Categorizing your objects using tags"). Decided here for every storage: each
//! has limits of its own, and codes of its own for what is beyond them.

use http::HeaderMap;

use crate::s3::error::{Code, S3Error};
use crate::s3::uri::{Plus, decode};

/// The header.
pub const TAGGING: &str = "x-amz-tagging";
/// The most tags of an object.
pub const OF_OBJECT: usize = 10;
/// The most tags of a bucket.
pub const OF_BUCKET: usize = 50;
/// Characters of a tag's key.
const KEY: usize = 128;
/// Characters of a tag's value.
const VALUE: usize = 256;

/// Keys and values in the order given.
pub type Tags = Vec<(String, String)>;

/// Checks the tags that a request gives a new object in its header, if it does.
///
/// # Errors
/// InvalidTag, and InvalidArgument for a header that cannot be read.
pub fn check(headers: &HeaderMap) -> Result<(), S3Error> {
    let mut given = headers.get_all(TAGGING).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(()),
        (Some(value), None) => {
            read(std::str::from_utf8(value.as_bytes()).map_err(|_| unreadable())?).map(drop)
        }
        (Some(_), Some(_)) => Err(unreadable()),
    }
}

/// Reads the header's form, `a=1&b=2`, percent-encoded.
///
/// # Errors
/// As [`check`].
pub fn read(text: &str) -> Result<Tags, S3Error> {
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded =
            |text: &str| decode(text.as_bytes(), Plus::Space).and_then(|b| String::from_utf8(b).ok());
        let key = decoded(key).ok_or_else(unreadable)?;
        let value = decoded(value).ok_or_else(unreadable)?;
        if key.is_empty() || tags.iter().any(|(known, _)| *known == key) {
            return Err(unreadable());
        }
        tags.push((key, value));
    }
    within_limits(&tags, OF_OBJECT)?;
    Ok(tags)
}

fn unreadable() -> S3Error {
    S3Error::with(
        Code::InvalidArgument,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    )
}

/// Holds tags against S3's limits; `most` is [`OF_OBJECT`] or [`OF_BUCKET`].
///
/// # Errors
/// InvalidTag.
pub fn within_limits(tags: &Tags, most: usize) -> Result<(), S3Error> {
    let invalid = |text: &'static str| Err(S3Error::with(Code::InvalidTag, text));
    if tags.len() > most {
        return invalid(if most == OF_OBJECT {
            "Object tags cannot be greater than 10"
        } else {
            "Bucket tag count cannot be greater than 50"
        });
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        let allowed = |text: &str| {
            text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
        };
        if key.is_empty() || key.chars().count() > KEY || !allowed(key) {
            return invalid("The TagKey you have provided is invalid");
        }
        if value.chars().count() > VALUE || !allowed(value) {
            return invalid("The TagValue you have provided is invalid");
        }
        if key.starts_with("aws:") {
            return invalid("System tags cannot be added/updated by requester");
        }
        if tags[..at].iter().any(|(known, _)| known == key) {
            return invalid("Cannot provide multiple Tags with the same key");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{OF_BUCKET, OF_OBJECT, TAGGING, Tags, check, read, within_limits};
    use crate::s3::error::Code;
    use http::{HeaderMap, HeaderValue};

    fn of(count: usize) -> Tags {
        (0..count).map(|n| (format!("k{n}"), String::new())).collect()
    }

    #[test]
    fn limits() {
        assert!(within_limits(&of(10), OF_OBJECT).is_ok() && within_limits(&of(50), OF_BUCKET).is_ok());
        let one = |key: String, value: String| within_limits(&vec![(key, value)], OF_OBJECT);
        assert!(one("é".repeat(128), "é".repeat(256)).is_ok());
        for bad in [
            within_limits(&of(11), OF_OBJECT),
            within_limits(&of(51), OF_BUCKET),
            one("k".repeat(129), String::new()),
            one("k".into(), "v".repeat(257)),
            one(String::new(), "v".into()),
            one("k?".into(), "v".into()),
            one("aws:k".into(), "v".into()),
            within_limits(&[of(1), of(1)].concat(), OF_OBJECT),
        ] {
            assert_eq!(bad.unwrap_err().code(), Code::InvalidTag);
        }
    }

    #[test]
    fn the_headers_form() {
        assert_eq!(read("").unwrap(), Tags::new());
        let wanted = [("a b".into(), "1".into()), ("c".into(), "/".into()), ("d".into(), String::new())];
        assert_eq!(read("a+b=1&c=%2F&d").unwrap(), wanted);
        for text in ["a=1&a=2", "a=%zz", "a=%ff"] {
            assert_eq!(read(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn one_header_at_most() {
        let mut headers = HeaderMap::new();
        assert_eq!(check(&headers), Ok(()));
        headers.append(TAGGING, HeaderValue::from_static("a=1"));
        assert_eq!(check(&headers), Ok(()));
        headers.append(TAGGING, HeaderValue::from_static("b=1"));
        assert_eq!(check(&headers).unwrap_err().code(), Code::InvalidArgument);
    }
}
