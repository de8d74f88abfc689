//! Conditional requests (RFC 9110, section 13, in S3's reading): If-Match before If-Unmodified-Since, If-None-Match before
//! If-Modified-Since. ETags come as lists, quoted or bare, and as `*`.

use crate::s3::error::{Code, S3Error};
use crate::s3::timestamp::parse_http;
use http::HeaderMap;

/// The longest list of ETags that is looked at, in bytes and entries.
const MAX_LIST: usize = 8 * 1024;
const MAX_ETAGS: usize = 64;

/// The ETags of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETags {
    /// `*`: any object.
    Any,
    /// One of these, without quotes.
    Of(Vec<String>),
}

impl ETags {
    /// Whether an ETag (without quotes) is meant.
    #[must_use]
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            ETags::Any => true,
            ETags::Of(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// The conditions of a request. Dates are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// If-Match
    pub if_match: Option<ETags>,
    /// If-None-Match
    pub if_none_match: Option<ETags>,
    /// If-Modified-Since
    pub if_modified_since: Option<i64>,
    /// If-Unmodified-Since
    pub if_unmodified_since: Option<i64>,
}

/// What the conditions say about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Proceed,
    /// 304
    NotModified,
    /// 412, with the condition's header.
    Failed(&'static str),
}

impl Conditions {
    /// Reads the headers. Dates that cannot be read are ignored, as HTTP wants.
    ///
    /// # Errors
    /// InvalidArgument for an ETag list that is too long or not text: ignoring it would overwrite silently.
    pub fn from_headers(headers: &HeaderMap) -> Result<Conditions, S3Error> {
        Ok(Conditions {
            if_match: etags(headers, "if-match")?,
            if_none_match: etags(headers, "if-none-match")?,
            if_modified_since: date(headers, "if-modified-since"),
            if_unmodified_since: date(headers, "if-unmodified-since"),
        })
    }

    /// Whether If-Modified-Since names a moment after `now`, in Unix seconds.
    #[must_use]
    pub fn since_the_future(headers: &HeaderMap, now: i64) -> bool {
        date(headers, "if-modified-since").is_some_and(|since| since > now)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// For GET and HEAD of an object that exists. `etag` has no quotes, `modified` is in Unix seconds.
    #[must_use]
    pub fn for_read(&self, etag: &str, modified: i64) -> Outcome {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.matches(etag) => return Outcome::Failed("If-Match"),
            (None, Some(since)) if modified > since => return Outcome::Failed("If-Unmodified-Since"),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if tags.matches(etag) => Outcome::NotModified,
            (None, Some(since)) if modified <= since => Outcome::NotModified,
            _ => Outcome::Proceed,
        }
    }

    /// For writes and deletes; `current` is the ETag (without quotes) of the object that is there.
    ///
    /// # Errors
    /// PreconditionFailed, or NoSuchKey for If-Match where there is no object. NotImplemented for an If-None-Match that is
    /// not `*`, as S3.
    pub fn for_write(&self, current: Option<&str>) -> Result<(), S3Error> {
        match &self.if_none_match {
            Some(ETags::Any) if current.is_some() => {
                return Err(S3Error::precondition_failed("If-None-Match"));
            }
            Some(ETags::Of(_)) => {
                return Err(S3Error::new(Code::NotImplemented).field("Header", "If-None-Match"));
            }
            _ => {}
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(S3Error::new(Code::NoSuchKey)),
            (Some(tags), Some(etag)) if !tags.matches(etag) => Err(S3Error::precondition_failed("If-Match")),
            _ => Ok(()),
        }
    }
}

/// An ETag without quotes and without the mark of weakness.
#[must_use]
pub fn unquote(etag: &str) -> &str {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

fn etags(headers: &HeaderMap, name: &'static str) -> Result<Option<ETags>, S3Error> {
    let mut tags = Vec::new();
    let bad = || S3Error::invalid_argument(name, "", "The list of ETags is not valid.");
    for value in headers.get_all(name) {
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_LIST).ok_or_else(bad)?;
        for tag in text.split(',').map(unquote).filter(|tag| !tag.is_empty()) {
            if tags.len() == MAX_ETAGS {
                return Err(bad());
            }
            if tag == "*" {
                return Ok(Some(ETags::Any));
            }
            tags.push(tag.to_owned());
        }
    }
    if tags.is_empty() {
        // A header without an ETag in it matches nothing.
        return Ok(headers.contains_key(name).then_some(ETags::Of(tags)));
    }
    Ok(Some(ETags::Of(tags)))
}

fn date(headers: &HeaderMap, name: &'static str) -> Option<i64> {
    parse_http(headers.get(name)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Conditions, ETags, Outcome};
    use crate::s3::error::Code;
    use crate::s3::timestamp::http_date;

    fn of(pairs: &[(&'static str, &str)]) -> Conditions {
        let mut headers = http::HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Conditions::from_headers(&headers).unwrap()
    }

    #[test]
    fn etags_quoted_bare_weak_and_listed() {
        for value in ["\"abc-1\"", "abc-1", "W/\"abc-1\"", "\"x\", \"abc-1\"", "x,abc-1", "*"] {
            assert_eq!(of(&[("if-match", value)]).for_read("abc-1", 0), Outcome::Proceed, "{value}");
            assert_eq!(of(&[("if-none-match", value)]).for_read("abc-1", 0), Outcome::NotModified, "{value}");
        }
        assert_eq!(of(&[("if-match", "\"abc\"")]).for_read("abc-1", 0), Outcome::Failed("If-Match"));
        assert_eq!(of(&[("if-match", "")]).if_match, Some(ETags::Of(Vec::new())));
    }

    #[test]
    fn precedence_of_304_and_412() {
        let (old, new) = (http_date(1000), http_date(3000));
        assert_eq!(
            of(&[("if-unmodified-since", &old)]).for_read("e", 2000),
            Outcome::Failed("If-Unmodified-Since")
        );
        assert_eq!(of(&[("if-modified-since", &new)]).for_read("e", 2000), Outcome::NotModified);
        assert_eq!(of(&[("if-modified-since", &old)]).for_read("e", 2000), Outcome::Proceed);
        // If-Match is true: the date counts no more. If-None-Match is not: neither does its date.
        assert_eq!(
            of(&[("if-match", "e"), ("if-unmodified-since", &old)]).for_read("e", 2000),
            Outcome::Proceed
        );
        assert_eq!(
            of(&[("if-none-match", "x"), ("if-modified-since", &new)]).for_read("e", 2000),
            Outcome::Proceed
        );
        assert_eq!(
            of(&[("if-none-match", "e"), ("if-modified-since", &old)]).for_read("e", 2000),
            Outcome::NotModified
        );
        assert_eq!(
            of(&[("if-match", "x"), ("if-none-match", "e")]).for_read("e", 0),
            Outcome::Failed("If-Match")
        );
        assert_eq!(of(&[("if-modified-since", "rubbish")]).for_read("e", 0), Outcome::Proceed);
    }

    #[test]
    fn a_date_in_the_future() {
        let mut headers = http::HeaderMap::new();
        assert!(!Conditions::since_the_future(&headers, 0));
        headers.insert("if-modified-since", http_date(1000).parse().unwrap());
        assert!(Conditions::since_the_future(&headers, 999));
        assert!(!Conditions::since_the_future(&headers, 1000));
    }

    /// Case 27: conditions on writes are not dropped.
    #[test]
    fn case_27_conditional_writes() {
        let create = of(&[("if-none-match", "*")]);
        assert!(create.for_write(None).is_ok());
        assert_eq!(create.for_write(Some("e")).unwrap_err().code(), Code::PreconditionFailed);
        let replace = of(&[("if-match", "\"e\"")]);
        assert!(replace.for_write(Some("e")).is_ok());
        assert_eq!(replace.for_write(Some("f")).unwrap_err().code(), Code::PreconditionFailed);
        assert_eq!(replace.for_write(None).unwrap_err().code(), Code::NoSuchKey);
        assert_eq!(of(&[("if-none-match", "e")]).for_write(None).unwrap_err().code(), Code::NotImplemented);
        assert!(of(&[]).is_empty() && of(&[]).for_write(Some("e")).is_ok());
    }
}
