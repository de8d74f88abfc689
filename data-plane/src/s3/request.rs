//! What an HTTP request means to S3: method, bucket, key and query, decoded once.
//!
//! A key is kept byte for byte: `//`, `.` and `..` are legal parts of S3 keys, and no URL rule may fold them. (That a
//! filesystem must not follow them is the filesystem backend's own duty.)

use super::error::{Code, S3Error};
use super::route::{DIRECTORY_BUCKETS, refusal};
use super::uri::{Plus, decode};
use http::Method;
use http::header::HOST;
use http::request::Parts;

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY: usize = 1024;
/// The longest path that is looked at, in bytes as sent: a key of [`MAX_KEY`] bytes, all escaped, and a bucket.
const MAX_PATH: usize = 4 * MAX_KEY;
/// The longest query, in bytes as sent, and the most pairs in it.
const MAX_QUERY: usize = 16 * 1024;
const MAX_PAIRS: usize = 256;

/// How the bucket was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `/bucket/key`
    Path,
    /// `bucket.domain` in the Host header.
    VirtualHost,
}

/// A query's decoded pairs, in the order sent. Names are case-sensitive, as S3's are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a raw query.
    ///
    /// # Errors
    /// InvalidURI when an escape is broken, a name or value is not UTF-8 or there is too much of it.
    pub fn parse(raw: &str) -> Result<Query, S3Error> {
        if raw.len() > MAX_QUERY {
            return Err(S3Error::with(Code::InvalidURI, "The query is too long."));
        }
        let mut pairs = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(S3Error::with(Code::InvalidURI, "The query has too many parameters."));
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            pairs.push((text(name, Plus::Space)?, text(value, Plus::Space)?));
        }
        Ok(Query(pairs))
    }

    /// The first value of a name; `?uploads` and `?uploads=` both give the empty string.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether the name is there, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a name in any case, for `X-Amz-*`.
    #[must_use]
    pub fn get_ignore_case(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How often a name occurs, in any case.
    #[must_use]
    pub fn count_ignore_case(&self, name: &str) -> usize {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
    }

    /// Keeps the pairs of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// All pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A request in S3's terms. Bucket and key have been checked against S3's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    /// The HTTP method.
    pub method: Method,
    /// The bucket, a valid name; `None` only for the service itself.
    pub bucket: Option<String>,
    /// The key, decoded: 1 to 1,024 bytes of UTF-8 without NUL.
    pub key: Option<String>,
    /// The decoded query.
    pub query: Query,
    /// How the bucket was named.
    pub addressing: Addressing,
    /// The path as sent, for the canonical request, the log and error documents.
    pub raw_path: String,
}

impl S3Request {
    /// Reads a request's target. `base_domains` are the lower-case names under which buckets are virtual hosts; any other
    /// Host means path style.
    ///
    /// # Errors
    /// InvalidURI, InvalidBucketName, KeyTooLongError or InvalidArgument (a NUL in the key).
    pub fn parse(parts: &Parts, base_domains: &[String]) -> Result<S3Request, S3Error> {
        let raw_path = parts.uri.path();
        if raw_path.len() > MAX_PATH {
            return Err(S3Error::new(Code::KeyTooLongError)
                .field("Size", raw_path.len().to_string())
                .field("MaxSizeAllowed", MAX_KEY.to_string()));
        }
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let rest = raw_path
            .strip_prefix('/')
            .ok_or_else(|| S3Error::with(Code::InvalidURI, "The request target has no path."))?;
        let (addressing, bucket, raw_key) = match virtual_bucket(host(parts), base_domains) {
            Some(bucket) => (Addressing::VirtualHost, Some(bucket), rest),
            None if rest.is_empty() => (Addressing::Path, None, ""),
            None => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                (Addressing::Path, Some(text(bucket, Plus::Literal)?), key)
            }
        };
        if let Some(bucket) = &bucket {
            check_bucket_name(bucket)?;
        }
        let key = if raw_key.is_empty() { None } else { Some(text(raw_key, Plus::Literal)?) };
        if let Some(key) = &key {
            check_key(key)?;
        }
        Ok(S3Request {
            method: parts.method.clone(),
            bucket,
            key,
            query,
            addressing,
            raw_path: raw_path.to_owned(),
        })
    }

    /// The bucket's name, for operations that the router gives only to requests with one.
    ///
    /// # Errors
    /// InvalidBucketName when the request names none.
    pub fn need_bucket(&self) -> Result<&str, S3Error> {
        self.bucket.as_deref().ok_or_else(|| S3Error::new(Code::InvalidBucketName))
    }

    /// The key, for operations that the router gives only to requests with one.
    ///
    /// # Errors
    /// InvalidArgument when the request names none.
    pub fn need_key(&self) -> Result<&str, S3Error> {
        self.key.as_deref().ok_or_else(|| S3Error::invalid_argument("Key", "", "The request names no key."))
    }
}

/// The host that the client addressed, as sent: the Host header, or the authority of an absolute target.
#[must_use]
pub fn host(parts: &Parts) -> Option<&str> {
    match parts.headers.get(HOST) {
        Some(value) => value.to_str().ok(),
        None => parts.uri.authority().map(http::uri::Authority::as_str),
    }
}

/// Checks a key against S3's rules; also for keys that come in XML.
///
/// # Errors
/// KeyTooLongError above [`MAX_KEY`] bytes, InvalidArgument for a NUL or an empty key.
pub fn check_key(key: &str) -> Result<(), S3Error> {
    if key.len() > MAX_KEY {
        return Err(S3Error::new(Code::KeyTooLongError)
            .field("Size", key.len().to_string())
            .field("MaxSizeAllowed", MAX_KEY.to_string()));
    }
    if key.is_empty() || key.contains('\0') {
        return Err(S3Error::invalid_argument("Key", "", "A key has at least one character and no NUL."));
    }
    Ok(())
}

/// Checks a bucket name against S3's rules for general purpose buckets.
///
/// # Errors
/// InvalidBucketName; NotImplemented for a directory bucket's.
pub fn check_bucket_name(name: &str) -> Result<(), S3Error> {
    // With a zone, as directory buckets' names have one, SDKs would ask for a session. Without, it is only no name.
    if name.strip_suffix("--x-s3").is_some_and(|rest| rest.contains("--")) {
        return Err(refusal(DIRECTORY_BUCKETS));
    }
    let bytes = name.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let valid = (3..=63).contains(&bytes.len())
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !name.starts_with("xn--")
        && !name.starts_with("sthree-")
        && !name.ends_with("-s3alias")
        && !name.ends_with("--ol-s3")
        && !name.ends_with("--x-s3");
    if valid { Ok(()) } else { Err(S3Error::new(Code::InvalidBucketName).field("BucketName", name)) }
}

fn virtual_bucket(host: Option<&str>, base_domains: &[String]) -> Option<String> {
    let host = host?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    base_domains
        .iter()
        // The longest domain wins, so that `s3.example` under `example` is not taken for a bucket.
        .filter_map(|domain| {
            if name == *domain {
                return Some((domain.len(), None));
            }
            let bucket = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            Some((domain.len(), Some(bucket.to_owned())))
        })
        .max_by_key(|(length, _)| *length)
        .and_then(|(_, bucket)| bucket)
}

fn text(raw: &str, plus: Plus) -> Result<String, S3Error> {
    decode(raw.as_bytes(), plus)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| S3Error::new(Code::InvalidURI).field("URI", raw))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Addressing, Query, S3Request, check_bucket_name};
    use crate::s3::error::{Code, S3Error};
    use proptest::prelude::proptest;

    fn parse(host: &str, target: &str) -> Result<S3Request, S3Error> {
        let (parts, ()) =
            http::Request::builder().uri(target).header("host", host).body(()).unwrap().into_parts();
        S3Request::parse(&parts, &["s3.example.com".to_owned(), "example.com".to_owned()])
    }

    fn pair(request: &S3Request) -> (Option<&str>, Option<&str>) {
        (request.bucket.as_deref(), request.key.as_deref())
    }

    #[test]
    fn path_style() {
        let bare = parse("127.0.0.1:9000", "/").unwrap();
        assert_eq!((pair(&bare), bare.addressing), ((None, None), Addressing::Path));
        assert_eq!(pair(&parse("h", "/bucket").unwrap()), (Some("bucket"), None));
        assert_eq!(pair(&parse("h", "/bucket/?uploads").unwrap()), (Some("bucket"), None));
        assert_eq!(
            pair(&parse("h", "/bucket/a%20b+c%2Bd/%E2%82%AC").unwrap()),
            (Some("bucket"), Some("a b+c+d/€"))
        );
    }

    #[test]
    fn dots_and_double_slashes_stay_in_keys() {
        for key in ["/x", "a//b", ".", "..", "../../etc/passwd", "a/./b", "a/../b", "a/"] {
            assert_eq!(pair(&parse("h", &format!("/bucket/{key}")).unwrap()), (Some("bucket"), Some(key)));
        }
        assert_eq!(pair(&parse("h", "/bucket/a%2F..%2Fb").unwrap()).1, Some("a/../b"));
    }

    #[test]
    fn virtual_hosts() {
        let request = parse("My-Bucket.s3.example.com:9000", "/a/b").unwrap();
        assert_eq!(pair(&request), (Some("my-bucket"), Some("a/b")));
        assert_eq!(request.addressing, Addressing::VirtualHost);
        assert_eq!(pair(&parse("a.b.s3.example.com", "/").unwrap()), (Some("a.b"), None));
        assert_eq!(pair(&parse("s3.example.com", "/bucket/k").unwrap()), (Some("bucket"), Some("k")));
        assert_eq!(pair(&parse("elsewhere.org", "/bucket/k").unwrap()), (Some("bucket"), Some("k")));
        assert_eq!(pair(&parse("bucket.s3.example.com", "//k").unwrap()), (Some("bucket"), Some("/k")));
    }

    #[test]
    fn bad_targets_get_codes() {
        let code = |target: &str| parse("h", target).unwrap_err().code();
        assert_eq!(code("/bucket/%ff"), Code::InvalidURI);
        assert_eq!(code("/bucket/%4"), Code::InvalidURI);
        assert_eq!(code("/bucket/a%00b"), Code::InvalidArgument);
        assert_eq!(code("/bucket/k?a=%ff"), Code::InvalidURI);
        assert_eq!(code(&format!("/bucket/{}", "k".repeat(1025))), Code::KeyTooLongError);
        assert_eq!(code(&format!("/bucket/{}", "%41".repeat(1366))), Code::KeyTooLongError);
        assert!(parse("h", &format!("/bucket/{}", "%41".repeat(1024))).is_ok());
        assert_eq!(code("//k"), Code::InvalidBucketName);
        assert_eq!(code("/..%2F..%2Fetc/passwd"), Code::InvalidBucketName);
        assert_eq!(code(&format!("/bucket?{}", "a&".repeat(300))), Code::InvalidURI);
    }

    #[test]
    fn bucket_names() {
        for good in ["abc", "a.b-c", "1-2", &"a".repeat(63)] {
            assert!(check_bucket_name(good).is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "10.0.0.1",
            "xn--abc",
            "abc-s3alias",
            "taken--x-s3",
            "a b",
            "äbc",
            "..",
        ] {
            assert_eq!(check_bucket_name(bad).unwrap_err().code(), Code::InvalidBucketName, "{bad}");
        }
        assert!(check_bucket_name(&"a".repeat(64)).is_err());
        assert_eq!(check_bucket_name("a--euc1-az1--x-s3").unwrap_err().code(), Code::NotImplemented);
    }

    #[test]
    fn an_empty_value_is_no_value() {
        for raw in ["uploads", "uploads=", "a=1&uploads&b=2"] {
            assert_eq!(Query::parse(raw).unwrap().get("uploads"), Some(""));
        }
        let query = Query::parse("prefix=a+b%2Bc&&x=1=2").unwrap();
        assert_eq!((query.get("prefix"), query.get("x")), (Some("a b+c"), Some("1=2")));
        assert!(!query.has("uploads"));
    }

    proptest! {
        #[test]
        fn any_target_gives_an_answer(host in "\\PC{0,30}", path in "[ -~]{0,60}", query in "[ -~]{0,60}") {
            if let Ok(request) = http::Request::builder().uri(format!("/{path}?{query}")).header("host", host).body(()) {
                let _ = S3Request::parse(&request.into_parts().0, &["s3.example.com".to_owned()]);
            }
        }
    }
}
