//! The answers of ListBuckets and ListObjects.

use super::writer::{KeyEncoding, Writer};
use crate::s3::timestamp::iso_millis;

/// One bucket in ListBuckets.
#[derive(Debug, Clone)]
pub struct BucketEntry {
    /// The name.
    pub name: String,
    /// Unix seconds.
    pub created: i64,
    /// The region.
    pub region: String,
}

/// One object in a listing.
#[derive(Debug, Clone)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// Plaintext bytes.
    pub size: u64,
    /// As clients see it, without quotes.
    pub etag: String,
    /// Unix milliseconds.
    pub modified: i64,
    /// S3's name of the storage class.
    pub storage_class: String,
}

/// What both versions of ListObjects say. All keys are in clear here: the writer encodes them.
#[derive(Debug, Clone)]
pub struct ObjectList {
    /// The bucket.
    pub bucket: String,
    /// As asked.
    pub prefix: String,
    /// As asked.
    pub delimiter: Option<String>,
    /// As asked, at most 1,000.
    pub max_keys: u64,
    /// As asked.
    pub encoding: KeyEncoding,
    /// Whether there is more.
    pub truncated: bool,
    /// In order of their keys' bytes.
    pub objects: Vec<ObjectEntry>,
    /// In order.
    pub common_prefixes: Vec<String>,
}

/// `ListAllMyBucketsResult`. `owner` is shown as id and display name; `continuation` continues a page.
#[must_use]
pub fn list_buckets(
    owner: &str,
    buckets: &[BucketEntry],
    prefix: Option<&str>,
    continuation: Option<&str>,
) -> String {
    let mut xml = Writer::document("ListAllMyBucketsResult");
    self::owner(&mut xml, "Owner", owner);
    xml.nest("Buckets", |xml| {
        for bucket in buckets {
            xml.nest("Bucket", |xml| {
                xml.text("Name", &bucket.name);
                xml.text("CreationDate", &iso_millis(bucket.created.saturating_mul(1000)));
                xml.text("BucketRegion", &bucket.region);
            });
        }
    });
    xml.option("ContinuationToken", continuation);
    xml.option("Prefix", prefix);
    xml.finish()
}

/// `ListBucketResult` of version 1. `next_marker` is there when the list is truncated and its last key is not the marker.
#[must_use]
pub fn list_objects_v1(list: &ObjectList, marker: &str, next_marker: Option<&str>, owner: &str) -> String {
    let mut xml = Writer::document("ListBucketResult");
    xml.text("Name", &list.bucket);
    xml.key("Prefix", &list.prefix, list.encoding);
    xml.key("Marker", marker, list.encoding);
    if let Some(next) = next_marker {
        xml.key("NextMarker", next, list.encoding);
    }
    head(&mut xml, list);
    entries(&mut xml, list, Some(owner));
    xml.finish()
}

/// What only version 2 says.
#[derive(Debug, Clone, Default)]
pub struct V2<'a> {
    /// As asked.
    pub continuation_token: Option<&'a str>,
    /// Continues a truncated list.
    pub next_continuation_token: Option<&'a str>,
    /// As asked.
    pub start_after: Option<&'a str>,
    /// With `fetch-owner=true`.
    pub owner: Option<&'a str>,
}

/// `ListBucketResult` of version 2. KeyCount counts objects and common prefixes.
#[must_use]
pub fn list_objects_v2(list: &ObjectList, v2: &V2<'_>) -> String {
    let mut xml = Writer::document("ListBucketResult");
    xml.text("Name", &list.bucket);
    xml.key("Prefix", &list.prefix, list.encoding);
    xml.option("ContinuationToken", v2.continuation_token);
    xml.option("NextContinuationToken", v2.next_continuation_token);
    if let Some(start_after) = v2.start_after {
        xml.key("StartAfter", start_after, list.encoding);
    }
    xml.number("KeyCount", (list.objects.len() + list.common_prefixes.len()) as u64);
    head(&mut xml, list);
    entries(&mut xml, list, v2.owner);
    xml.finish()
}

fn head(xml: &mut Writer, list: &ObjectList) {
    xml.number("MaxKeys", list.max_keys);
    if let Some(delimiter) = &list.delimiter {
        xml.key("Delimiter", delimiter, list.encoding);
    }
    encoding_type(xml, list.encoding);
    xml.flag("IsTruncated", list.truncated);
}

fn entries(xml: &mut Writer, list: &ObjectList, owner: Option<&str>) {
    for object in &list.objects {
        xml.nest("Contents", |xml| {
            xml.key("Key", &object.key, list.encoding);
            xml.text("LastModified", &iso_millis(object.modified));
            xml.etag(&object.etag);
            xml.number("Size", object.size);
            if let Some(owner) = owner {
                self::owner(xml, "Owner", owner);
            }
            xml.text("StorageClass", &object.storage_class);
        });
    }
    common_prefixes(xml, &list.common_prefixes, list.encoding);
}

pub(super) fn encoding_type(xml: &mut Writer, encoding: KeyEncoding) {
    if encoding == KeyEncoding::Url {
        xml.text("EncodingType", "url");
    }
}

pub(super) fn common_prefixes(xml: &mut Writer, prefixes: &[String], encoding: KeyEncoding) {
    for prefix in prefixes {
        xml.nest("CommonPrefixes", |xml| xml.key("Prefix", prefix, encoding));
    }
}

pub(super) fn owner(xml: &mut Writer, element: &str, owner: &str) {
    xml.nest(element, |xml| {
        xml.text("ID", owner);
        xml.text("DisplayName", owner);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{
        BucketEntry, KeyEncoding, ObjectEntry, ObjectList, V2, list_buckets, list_objects_v1, list_objects_v2,
    };

    fn list(encoding: KeyEncoding) -> ObjectList {
        ObjectList {
            bucket: "b".to_owned(),
            prefix: "a +".to_owned(),
            delimiter: Some("/".to_owned()),
            max_keys: 2,
            encoding,
            truncated: true,
            objects: vec![ObjectEntry {
                key: "a +\u{1}&/é".to_owned(),
                size: 11,
                etag: "e-1".to_owned(),
                modified: 1_767_225_600_000,
                storage_class: "STANDARD".to_owned(),
            }],
            common_prefixes: vec!["a +/".to_owned()],
        }
    }

    #[test]
    fn v1_plain() {
        let xml = list_objects_v1(&list(KeyEncoding::Plain), "", Some("a +/"), "o");
        assert_eq!(
            xml.split_once('\n').unwrap().1,
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>a +</Prefix>\
             <Marker></Marker><NextMarker>a +/</NextMarker><MaxKeys>2</MaxKeys><Delimiter>/</Delimiter>\
             <IsTruncated>true</IsTruncated><Contents><Key>a +&#x1;&amp;/é</Key>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e-1&quot;</ETag><Size>11</Size>\
             <Owner><ID>o</ID><DisplayName>o</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>\
             <CommonPrefixes><Prefix>a +/</Prefix></CommonPrefixes></ListBucketResult>"
        );
    }

    #[test]
    fn v2_url_encoded() {
        let v2 = V2 { next_continuation_token: Some("t"), start_after: Some("a b"), ..V2::default() };
        let xml = list_objects_v2(&list(KeyEncoding::Url), &v2);
        for piece in [
            "<Prefix>a%20%2B</Prefix>",
            "<NextContinuationToken>t</NextContinuationToken><StartAfter>a%20b</StartAfter><KeyCount>2</KeyCount>",
            "<Delimiter>/</Delimiter><EncodingType>url</EncodingType>",
            "<Key>a%20%2B%01%26/%C3%A9</Key>",
            "<CommonPrefixes><Prefix>a%20%2B/</Prefix></CommonPrefixes>",
        ] {
            assert!(xml.contains(piece), "{piece} in {xml}");
        }
        assert!(!xml.contains("Owner"));
        assert!(KeyEncoding::parse(Some("xml")).is_err());
    }

    #[test]
    fn buckets() {
        let entry = BucketEntry { name: "b".to_owned(), created: 1_767_225_600, region: "r".to_owned() };
        let xml = list_buckets("o", &[entry], None, None);
        assert!(xml.ends_with(
            "<Owner><ID>o</ID><DisplayName>o</DisplayName></Owner><Buckets><Bucket><Name>b</Name>\
             <CreationDate>2026-01-01T00:00:00.000Z</CreationDate><BucketRegion>r</BucketRegion></Bucket></Buckets>\
             </ListAllMyBucketsResult>"
        ));
    }
}
