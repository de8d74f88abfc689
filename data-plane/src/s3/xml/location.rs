//! CreateBucketConfiguration and LocationConstraint: where a bucket lies.

use super::reader::read;
use super::writer::Writer;
use crate::s3::error::S3Error;

/// The largest CreateBucketConfiguration, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// The region that CreateBucket asks for; `None` for an empty body or a document without one.
///
/// # Errors
/// MalformedXML.
pub fn parse_create_bucket(body: &[u8]) -> Result<Option<String>, S3Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut region = None;
    read(body, MAX_BYTES, "CreateBucketConfiguration", |path, text| {
        if path == ["LocationConstraint"] && !text.trim().is_empty() {
            region = Some(text.trim().to_owned());
        }
        Ok(())
    })?;
    Ok(region)
}

/// The answer of GetBucketLocation: empty for us-east-1, as S3's.
#[must_use]
pub fn location_constraint(region: &str) -> String {
    let mut xml = Writer::document("LocationConstraint");
    if region != "us-east-1" {
        xml.raw_text(region);
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{location_constraint, parse_create_bucket};

    #[test]
    fn regions_both_ways() {
        assert_eq!(parse_create_bucket(b" \n").unwrap(), None);
        let body = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        assert_eq!(parse_create_bucket(body).unwrap().as_deref(), Some("eu-west-1"));
        assert_eq!(parse_create_bucket(b"<CreateBucketConfiguration/>").unwrap(), None);
        assert!(parse_create_bucket(b"<x/>").is_err());
        assert!(location_constraint("us-east-1").ends_with("2006-03-01/\"></LocationConstraint>"));
        assert!(location_constraint("eu-west-1").ends_with(">eu-west-1</LocationConstraint>"));
    }
}
