//! Limits of names, as S3 has them ("General purpose bucket naming rules", "Naming Amazon S3 objects").

use std::net::Ipv4Addr;

use thiserror::Error;

/// The longest object key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;

/// Beginnings that S3 keeps for itself.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];

/// Ends that S3 keeps for itself (access point aliases, object lambda, directory and table buckets).
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", "--x-s3", ".mrap", "--table-s3"];

/// Why a name cannot be a bucket's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidBucketName {
    /// Not 3 to 63 bytes long.
    #[error("a bucket name has 3 to 63 characters")]
    Length,
    /// Something other than lower-case letters, digits, dots and hyphens.
    #[error("a bucket name has lower-case letters, digits, dots and hyphens only")]
    Character,
    /// The first or last character of the name, or of one of its labels, is not a letter or digit.
    #[error("a bucket name and each of its labels begin and end with a letter or digit")]
    Edge,
    /// It looks like an IPv4 address.
    #[error("a bucket name is not formatted as an IP address")]
    IpAddress,
    /// It begins or ends with what S3 reserves.
    #[error("the bucket name begins or ends with a reserved text")]
    Reserved,
}

/// Checks a bucket's name.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_bucket_name(name: &str) -> Result<(), InvalidBucketName> {
    if !(3..=63).contains(&name.len()) {
        return Err(InvalidBucketName::Length);
    }
    if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
        return Err(InvalidBucketName::Character);
    }
    if name.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-')) {
        return Err(InvalidBucketName::Edge);
    }
    if name.parse::<Ipv4Addr>().is_ok() || looks_like_ip(name) {
        return Err(InvalidBucketName::IpAddress);
    }
    let reserved = RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if reserved { Err(InvalidBucketName::Reserved) } else { Ok(()) }
}

/// Four groups of digits: an address to some parsers, even where a group is above 255.
fn looks_like_ip(name: &str) -> bool {
    let mut labels = 0;
    name.split('.').all(|label| {
        labels += 1;
        label.bytes().all(|byte| byte.is_ascii_digit())
    }) && labels == 4
}

/// Why a text cannot be an object's key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// Empty.
    #[error("an object key has at least one byte")]
    Empty,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("an object key has at most 1024 bytes")]
    TooLong,
}

/// Checks an object's key: after percent-decoding, as the backend trait takes it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_key(key: &str) -> Result<(), InvalidKey> {
    match key.len() {
        0 => Err(InvalidKey::Empty),
        1..=MAX_KEY_BYTES => Ok(()),
        _ => Err(InvalidKey::TooLong),
    }
}
