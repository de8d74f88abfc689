//! DeleteObjects: the list of keys, and what became of each.

use super::reader::{malformed, read};
use super::writer::Writer;
use crate::s3::error::S3Error;
use crate::s3::headers::conditions::unquote;
use crate::s3::request::check_key;
use crate::s3::timestamp::{parse_http, parse_iso};

/// The largest document, in bytes: 1,000 keys of 1,024 bytes in their longest escapes stay below.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// The most keys.
pub const MAX_KEYS: usize = 1000;

/// One object to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectId {
    /// The key, checked against S3's rules.
    pub key: String,
    /// The version.
    pub version_id: Option<String>,
    /// Delete only an object with this ETag (without quotes). No object has an empty one.
    pub etag: Option<String>,
    /// Delete only an object of so many plaintext bytes.
    pub size: Option<u64>,
    /// Delete only an object that was last modified then, in Unix seconds.
    pub modified: Option<i64>,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The objects in the order given, at least one.
    pub objects: Vec<ObjectId>,
    /// Whether the answer names errors only.
    pub quiet: bool,
}

/// Reads the list.
///
/// # Errors
/// MalformedXML (none, more than 1,000, an object without key), KeyTooLongError, InvalidArgument for a NUL in a key.
pub fn parse_delete(body: &[u8]) -> Result<DeleteRequest, S3Error> {
    let mut request = DeleteRequest { objects: Vec::new(), quiet: false };
    let mut object = ObjectId::default();
    read(body, MAX_BYTES, "Delete", |path, text| {
        match path {
            ["Quiet"] => request.quiet = text.trim().eq_ignore_ascii_case("true"),
            ["Object", "Key"] => {
                if !object.key.is_empty() || text.is_empty() {
                    return Err(malformed());
                }
                check_key(text)?;
                text.clone_into(&mut object.key);
            }
            // An empty one is no version, and not none: it is refused, as in a query.
            ["Object", "VersionId"] => object.version_id = Some(text.to_owned()),
            // An empty one is a condition, too: one that nothing meets.
            ["Object", "ETag"] => object.etag = Some(unquote(text).to_owned()),
            ["Object", "Size"] => object.size = Some(text.trim().parse().map_err(|_| malformed())?),
            ["Object", "LastModifiedTime"] => {
                let at = parse_http(text.trim()).or_else(|| parse_iso(text.trim()));
                object.modified = Some(at.ok_or_else(malformed)?);
            }
            ["Object"] => {
                if object.key.is_empty() || request.objects.len() == MAX_KEYS {
                    return Err(malformed());
                }
                request.objects.push(std::mem::take(&mut object));
            }
            _ => {}
        }
        Ok(())
    })?;
    if request.objects.is_empty() { Err(malformed()) } else { Ok(request) }
}

/// What a deletion did where there are versions.
#[derive(Debug, Default)]
pub struct Gone {
    /// Whether a delete marker was made or deleted.
    pub delete_marker: bool,
    /// Its version id.
    pub marker_version_id: Option<String>,
}

/// What became of one object.
#[derive(Debug)]
pub enum Deleted<'a> {
    /// It is gone, or was not there.
    Done(&'a ObjectId, Gone),
    /// It could not be deleted.
    Failed(&'a ObjectId, S3Error),
}

/// `DeleteResult`. A quiet one names errors only.
#[must_use]
pub fn delete_result(outcomes: &[Deleted<'_>], quiet: bool) -> String {
    let mut xml = Writer::document("DeleteResult");
    for outcome in outcomes {
        match outcome {
            Deleted::Done(..) if quiet => {}
            Deleted::Done(object, gone) => xml.nest("Deleted", |xml| {
                xml.text("Key", &object.key);
                xml.option("VersionId", object.version_id.as_deref());
                if gone.delete_marker {
                    xml.flag("DeleteMarker", true);
                    xml.option("DeleteMarkerVersionId", gone.marker_version_id.as_deref());
                }
            }),
            Deleted::Failed(object, error) => xml.nest("Error", |xml| {
                xml.text("Key", &object.key);
                xml.option("VersionId", object.version_id.as_deref());
                xml.text("Code", error.code_text());
                xml.text("Message", error.message());
            }),
        }
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Deleted, Gone, ObjectId, delete_result, parse_delete};
    use crate::s3::error::{Code, S3Error};
    use proptest::prelude::proptest;

    #[test]
    fn keys_are_taken_byte_for_byte() {
        let body = "<?xml version=\"1.0\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>\
                    <Object><Key> a &amp; b/../&lt;&#xe9;&#10;</Key></Object>\
                    <Object><VersionId>v</VersionId><Key>k</Key><ETag>\"e\"</ETag></Object></Delete>";
        let request = parse_delete(body.as_bytes()).unwrap();
        assert!(request.quiet);
        assert_eq!(request.objects[0].key, " a & b/../<é\n");
        let second = ObjectId {
            key: "k".to_owned(),
            version_id: Some("v".to_owned()),
            etag: Some("e".to_owned()),
            ..ObjectId::default()
        };
        assert_eq!(request.objects[1], second);
    }

    #[test]
    fn an_empty_etag_is_no_lack_of_one() {
        for etag in ["<ETag></ETag>", "<ETag/>", "<ETag>\"\"</ETag>", "<ETag> </ETag>"] {
            let body = format!("<Delete><Object><Key>k</Key>{etag}</Object></Delete>");
            assert_eq!(parse_delete(body.as_bytes()).unwrap().objects[0].etag.as_deref(), Some(""), "{etag}");
        }
    }

    #[test]
    fn bounds() {
        let list = |count: usize, key: &str| {
            format!("<Delete>{}</Delete>", format!("<Object><Key>{key}</Key></Object>").repeat(count))
        };
        let code = |body: String| parse_delete(body.as_bytes()).unwrap_err().code();
        assert_eq!(parse_delete(list(1000, "k").as_bytes()).unwrap().objects.len(), 1000);
        assert_eq!(code(list(1001, "k")), Code::MalformedXML);
        assert_eq!(code(list(0, "k")), Code::MalformedXML);
        assert_eq!(code("<Delete><Object/></Delete>".to_owned()), Code::MalformedXML);
        assert_eq!(code(list(1, &"k".repeat(1025))), Code::KeyTooLongError);
        assert!(parse_delete(list(1000, &"&#x6b;".repeat(1024)).as_bytes()).is_ok());
        assert_eq!(code(list(1, "a&#0;b")), Code::MalformedXML);
        let bound = "<Delete><Object><Key>k</Key><Size>3</Size><LastModifiedTime>2013-05-24T00:00:00Z</LastModifiedTime></Object></Delete>";
        let object = &parse_delete(bound.as_bytes()).unwrap().objects[0];
        assert_eq!((object.size, object.modified), (Some(3), Some(1_369_353_600)));
        let dated = bound.replace("2013-05-24T00:00:00Z", "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(parse_delete(dated.as_bytes()).unwrap().objects[0], *object);
        for bad in [bound.replace('3', "-3"), bound.replace("2013-05", "2013")] {
            assert_eq!(code(bad), Code::MalformedXML);
        }
    }

    #[test]
    fn results() {
        let (a, b) = (ObjectId { key: "a<".to_owned(), ..ObjectId::default() }, ObjectId::default());
        let marker = Gone { delete_marker: true, marker_version_id: Some("v".to_owned()) };
        let shown = delete_result(&[Deleted::Done(&a, marker)], false);
        assert!(
            shown.contains("<Key>a&lt;</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v</Del")
        );
        let outcomes =
            [Deleted::Done(&a, Gone::default()), Deleted::Failed(&b, S3Error::new(Code::AccessDenied))];
        let failed = "<Error><Key></Key><Code>AccessDenied</Code><Message>Access Denied.</Message></Error></DeleteResult>";
        assert!(
            delete_result(&outcomes, false)
                .ends_with(&format!("<Deleted><Key>a&lt;</Key></Deleted>{failed}"))
        );
        let quiet = delete_result(&outcomes, true);
        assert!(quiet.ends_with(failed) && !quiet.contains("Deleted"));
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>) {
            let _ = parse_delete(&body);
        }
    }
}
