//! CreateBucketConfiguration and LocationConstraint: where a bucket lies, and its first tags.

use super::reader::{malformed, read};
use super::writer::Writer;
use crate::s3::error::{Code, S3Error};

/// The largest CreateBucketConfiguration, in bytes: fifty tags, each character a reference.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most tags of a bucket, and the characters of a tag's key and of its value.
const TAGS: usize = 50;
const KEY: usize = 128;
const VALUE: usize = 256;

/// What CreateBucket asks for in its document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The region; `None` for an empty body or a document without one.
    pub region: Option<String>,
    /// The `Tagging` document of the bucket's tags, if it is to have some.
    pub tags: Option<String>,
}

/// Reads the document of CreateBucket.
///
/// # Errors
/// MalformedXML; InvalidTag, or BadRequest for too many tags.
pub fn parse_create_bucket(body: &[u8]) -> Result<Wanted, S3Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Wanted::default());
    }
    let mut region = None;
    let mut tags = Vec::new();
    let (mut key, mut value) = (None, None);
    read(body, MAX_BYTES, "CreateBucketConfiguration", |path, text| {
        match path {
            ["LocationConstraint"] if !text.trim().is_empty() => region = Some(text.trim().to_owned()),
            ["Tags", "Tag", "Key"] => key = Some(text.to_owned()),
            ["Tags", "Tag", "Value"] => value = Some(text.to_owned()),
            ["Tags", "Tag"] => match (key.take(), value.take()) {
                (Some(key), Some(value)) => tags.push((key, value)),
                _ => return Err(malformed()),
            },
            _ => {}
        }
        Ok(())
    })?;
    within_limits(&tags)?;
    let document = || {
        let mut xml = Writer::document("Tagging");
        xml.nest("TagSet", |xml| {
            for (key, value) in &tags {
                xml.nest("Tag", |xml| {
                    xml.text("Key", key);
                    xml.text("Value", value);
                });
            }
        });
        xml.finish()
    };
    Ok(Wanted { region, tags: (!tags.is_empty()).then(document) })
}

/// Holds tags against S3's limits: the bucket is made before its storage would do so.
fn within_limits(tags: &[(String, String)]) -> Result<(), S3Error> {
    if tags.len() > TAGS {
        return Err(S3Error::with(Code::BadRequest, "Bucket tag count cannot be greater than 50"));
    }
    let allowed =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    for (at, (key, value)) in tags.iter().enumerate() {
        let wrong = if key.is_empty() || key.chars().count() > KEY || !allowed(key) {
            "The TagKey you have provided is invalid"
        } else if value.chars().count() > VALUE || !allowed(value) {
            "The TagValue you have provided is invalid"
        } else if key.starts_with("aws:") {
            "System tags cannot be added/updated by requester"
        } else if tags[..at].iter().any(|(known, _)| known == key) {
            "Cannot provide multiple Tags with the same key"
        } else {
            continue;
        };
        return Err(S3Error::with(Code::InvalidTag, wrong).field("TagKey", key));
    }
    Ok(())
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
    use crate::s3::error::Code;

    #[test]
    fn regions_both_ways() {
        let region = |body: &[u8]| parse_create_bucket(body).unwrap().region;
        assert_eq!(region(b" \n"), None);
        let body = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        assert_eq!(region(body).as_deref(), Some("eu-west-1"));
        assert_eq!(region(b"<CreateBucketConfiguration/>"), None);
        assert!(parse_create_bucket(b"<x/>").is_err());
        assert!(location_constraint("us-east-1").ends_with("2006-03-01/\"></LocationConstraint>"));
        assert!(location_constraint("eu-west-1").ends_with(">eu-west-1</LocationConstraint>"));
    }

    #[test]
    fn first_tags() {
        let tag = |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
        let of = |tags: &str| {
            let body = format!("<CreateBucketConfiguration><Tags>{tags}</Tags></CreateBucketConfiguration>");
            parse_create_bucket(body.as_bytes()).map(|wanted| wanted.tags)
        };
        assert_eq!(of("").unwrap(), None);
        let kept = of(&[tag("a&amp;", ""), tag("b", "1")].concat());
        assert_eq!(kept.unwrap_err().message(), "The TagKey you have provided is invalid");
        let kept = of(&[tag("a", ""), tag("b", "1")].concat()).unwrap().unwrap();
        assert!(kept.contains(&format!("<TagSet>{}{}</TagSet>", tag("a", ""), tag("b", "1"))), "{kept}");
        let many: String = (0..51).map(|at| tag(&format!("k{at}"), "v")).collect();
        for (bad, code) in [
            (many, Code::BadRequest),
            (tag("a", "1").repeat(2), Code::InvalidTag),
            (tag("", "1"), Code::InvalidTag),
            (tag(&"k".repeat(129), "1"), Code::InvalidTag),
            (tag("k", &"v".repeat(257)), Code::InvalidTag),
            (tag("aws:k", "v"), Code::InvalidTag),
            ("<Tag><Key>k</Key></Tag>".to_owned(), Code::MalformedXML),
        ] {
            assert_eq!(of(&bad).unwrap_err().code(), code, "{bad}");
        }
    }
}
