//! Tags of buckets and objects (AWS: "Categorizing your objects using tags", "Cost allocation tags").

use super::xml::{self, Document};
use crate::backend::BackendError;
use crate::s3::error::S3Error;
use crate::s3::headers::tags;
use crate::s3::uri;
use crate::s3::xml::reader::malformed;

pub(crate) use crate::s3::headers::tags::{OF_BUCKET, OF_OBJECT, TAGGING, Tags};

/// Reads the header's form, `a=1&b=2`, percent-encoded.
pub(crate) fn from_header(text: &str) -> Result<Tags, BackendError> {
    tags::read(text).map_err(|refused| told(&refused))
}

fn told(refused: &S3Error) -> BackendError {
    BackendError::s3(refused.status().as_u16(), refused.code_text(), refused.message())
}

/// The header's form.
pub(crate) fn to_header(tags: &Tags) -> String {
    let pairs = tags.iter().map(|(key, value)| {
        format!("{}={}", uri::encode(key.as_bytes(), false), uri::encode(value.as_bytes(), false))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Reads `Tagging`.
pub(crate) fn from_xml(body: &[u8], most: usize) -> Result<Tags, BackendError> {
    let mut tags = Tags::new();
    let (mut key, mut value, mut set) = (None, None, false);
    xml::parse(body, "Tagging", |path, text| {
        match path {
            ["TagSet"] => set = true,
            ["TagSet", "Tag", "Key"] => key = Some(text.to_owned()),
            ["TagSet", "Tag", "Value"] => value = Some(text.to_owned()),
            ["TagSet", "Tag"] => {
                let (Some(key), Some(value)) = (key.take(), value.take()) else { return Err(malformed()) };
                tags.push((key, value));
            }
            _ => {}
        }
        Ok(())
    })?;
    if !set {
        return Err(xml::malformed());
    }
    checked(tags, most)
}

/// Writes `Tagging`.
pub(crate) fn to_xml(tags: &Tags) -> String {
    let mut document = Document::document("Tagging");
    document.nest("TagSet", |set| {
        for (key, value) in tags {
            set.nest("Tag", |tag| {
                tag.text("Key", key);
                tag.text("Value", value);
            });
        }
    });
    document.finish()
}

fn checked(tags: Tags, most: usize) -> Result<Tags, BackendError> {
    tags::within_limits(&tags, most).map_err(|refused| told(&refused))?;
    Ok(tags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn both_forms_come_back() {
        let tags: Tags =
            [("a b", "1=2&3"), ("é", ""), ("c", "<x>")].map(|(k, v)| (k.into(), v.into())).into();
        let plain: Tags = [("a b", "1=2"), ("é", ""), ("c", "x")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(from_header(&to_header(&plain)).unwrap(), plain);
        assert_eq!(from_xml(to_xml(&plain).as_bytes(), OF_OBJECT).unwrap(), plain);
        assert!(to_xml(&tags).contains("&lt;x&gt;"));
        assert_eq!(from_header("").unwrap(), Tags::new());
        assert_eq!(from_header("a=1&b").unwrap(), [("a".into(), "1".into()), ("b".into(), String::new())]);
    }

    #[test]
    fn what_is_no_set_of_tags() {
        assert!(from_header("k?=").is_err_and(|error| error.is("InvalidTag")));
        assert!(from_header("a=1&a=2").is_err_and(|error| error.is("InvalidArgument")));
        assert!(from_xml(b"<Tagging/>", OF_OBJECT).is_err_and(|error| error.is("MalformedXML")));
        let tag = |key: &str| format!("<Tag><Key>{key}</Key><Value/></Tag>");
        let set = |tags: String| format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        let twice = set(tag("k").repeat(2));
        assert!(from_xml(twice.as_bytes(), OF_OBJECT).is_err_and(|error| error.is("InvalidTag")));
        let lonely = b"<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>";
        assert!(from_xml(lonely, OF_OBJECT).is_err_and(|error| error.is("MalformedXML")));
    }
}
