//! POST object's own documents: the answer with status 201, and the tags in a form.

use super::reader::{malformed, read};
use super::writer::Writer;
use crate::s3::error::S3Error;
use crate::s3::uri::encode;

/// The largest tagging document, in bytes: ten tags of the longest names and values, escaped.
const MAX_BYTES: usize = 16 * 1024;
/// The most tags of an object.
const MAX_TAGS: usize = 10;

/// `PostResponse`. `etag` has no quotes.
#[must_use]
pub fn post_response(location: &str, bucket: &str, key: &str, etag: &str) -> String {
    let mut xml = Writer::document("PostResponse");
    xml.text("Location", location);
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.etag(etag);
    xml.finish()
}

/// The field `tagging`, a `Tagging` document, as the header `x-amz-tagging` writes it.
///
/// # Errors
/// MalformedXML.
pub fn tagging_header(document: &str) -> Result<String, S3Error> {
    let mut pairs = Vec::new();
    let (mut key, mut value) = (None, None);
    read(document.as_bytes(), MAX_BYTES, "Tagging", |path, text| {
        match path {
            ["TagSet", "Tag", "Key"] if key.is_none() => key = Some(encode(text.as_bytes(), false)),
            ["TagSet", "Tag", "Value"] if value.is_none() => value = Some(encode(text.as_bytes(), false)),
            ["TagSet", "Tag"] => match (key.take(), value.take()) {
                (Some(key), Some(value)) if pairs.len() < MAX_TAGS => pairs.push(format!("{key}={value}")),
                _ => return Err(malformed()),
            },
            ["TagSet"] => {}
            _ => return Err(malformed()),
        }
        Ok(())
    })?;
    Ok(pairs.join("&"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{post_response, tagging_header};

    #[test]
    fn tags_become_a_header() {
        let tag = |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
        let document = |tags: &str| format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        let two = document(&[tag("a b", "1&amp;2"), tag("c", "")].concat());
        assert_eq!(tagging_header(&two).unwrap(), "a%20b=1%262&c=");
        assert_eq!(tagging_header(&document("")).unwrap(), "");
        for bad in [
            document("<Tag><Key>a</Key></Tag>"),
            document(&tag("a", "1").repeat(11)),
            document("<Tag><Key>a</Key><Key>b</Key><Value>1</Value></Tag>"),
            "a=1".to_owned(),
        ] {
            assert!(tagging_header(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_answer() {
        let xml = post_response("http://h/b/k", "b", "k", "e");
        let wanted = "<Location>http://h/b/k</Location><Bucket>b</Bucket><Key>k</Key><ETag>&quot;e&quot;</ETag></PostResponse>";
        assert!(xml.ends_with(wanted), "{xml}");
    }
}
