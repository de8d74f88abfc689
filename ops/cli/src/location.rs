//! `s3://bucket/key`.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Failure, Outcome};

/// A bucket, or a key or prefix in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// Key or prefix; empty for the bucket itself.
    pub key: String,
}

impl Location {
    /// Refuses a location that names a bucket only.
    pub fn object(&self) -> Outcome<&Self> {
        if self.key.is_empty() {
            return Err(Failure::usage(format!("{self}: names a bucket, not an object"))
                .hint(format!("give a key: s3://{}/KEY", self.bucket)));
        }
        Ok(self)
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://").ok_or("does not begin with s3://")?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err("names no bucket: use s3://BUCKET/KEY".to_owned());
        }
        if key.len() > 1024 {
            return Err("keys have at most 1,024 bytes".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn locations() {
        let parsed: Location = "s3://b/a//c/".parse().unwrap();
        assert_eq!((parsed.bucket.as_str(), parsed.key.as_str()), ("b", "a//c/"));
        assert_eq!(parsed.to_string(), "s3://b/a//c/");
        assert_eq!("s3://b".parse::<Location>().unwrap().key, "");
        for bad in ["", "b/k", "s3:/b/k", "s3://", "s3:///k"] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
