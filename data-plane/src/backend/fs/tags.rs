//! Tags of buckets and objects (AWS: "Categorizing your objects using tags", "Cost allocation tags").

use super::xml::{self, Document};
use crate::backend::BackendError;
use crate::s3::uri::{self, Plus};
use crate::s3::xml::reader::malformed;

/// The header that carries an object's tags, and the name under which they are stored with it.
pub(crate) const TAGGING: &str = "x-amz-tagging";
/// The most tags of an object, and of a bucket.
pub(crate) const OF_OBJECT: usize = 10;
pub(crate) const OF_BUCKET: usize = 50;
/// Characters of a tag's key and of its value.
const KEY: usize = 128;
const VALUE: usize = 256;

/// Tags in the order given.
pub(crate) type Tags = Vec<(String, String)>;

/// Reads the header's form, `a=1&b=2`, percent-encoded.
pub(crate) fn from_header(text: &str) -> Result<Tags, BackendError> {
    let invalid = || {
        BackendError::s3(
            400,
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded =
            |text: &str| uri::decode(text.as_bytes(), Plus::Space).and_then(|b| String::from_utf8(b).ok());
        let (key, value) = (decoded(key).ok_or_else(invalid)?, decoded(value).ok_or_else(invalid)?);
        if tags.iter().any(|(known, _)| *known == key) {
            return Err(invalid());
        }
        tags.push((key, value));
    }
    checked(tags, OF_OBJECT)
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
    let invalid = |text: &str| Err(BackendError::s3(400, "InvalidTag", text));
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
    Ok(tags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn of(count: usize) -> Tags {
        (0..count).map(|n| (format!("k{n}"), String::new())).collect()
    }

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
    fn limits() {
        assert!(checked(of(10), OF_OBJECT).is_ok() && checked(of(50), OF_BUCKET).is_ok());
        let one = |key: String, value: String| checked(vec![(key, value)], OF_OBJECT);
        assert!(one("é".repeat(128), "é".repeat(256)).is_ok());
        for bad in [
            checked(of(11), OF_OBJECT),
            checked(of(51), OF_BUCKET),
            one("k".repeat(129), String::new()),
            one("k".into(), "v".repeat(257)),
            one(String::new(), "v".into()),
            one("k?".into(), "v".into()),
            one("aws:k".into(), "v".into()),
            checked([of(1), of(1)].concat(), OF_OBJECT),
        ] {
            assert!(bad.as_ref().is_err_and(|error| error.is("InvalidTag")), "{bad:?}");
        }
        assert!(from_header("a=1&a=2").is_err_and(|error| error.is("InvalidArgument")));
        assert!(from_header("a=%zz").is_err_and(|error| error.is("InvalidArgument")));
        assert!(from_xml(b"<Tagging/>", OF_OBJECT).is_err_and(|error| error.is("MalformedXML")));
        let lonely = b"<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>";
        assert!(from_xml(lonely, OF_OBJECT).is_err_and(|error| error.is("MalformedXML")));
    }
}
