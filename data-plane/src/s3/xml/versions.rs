//! The answer of ListObjectVersions.

use super::lists::{ObjectEntry, common_prefixes, encoding_type, owner};
use super::writer::{KeyEncoding, Writer};
use crate::s3::timestamp::iso_millis;

/// A version, or a delete marker.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As in any listing. Of a delete marker only key and time are shown.
    pub object: ObjectEntry,
    /// The version id.
    pub version_id: String,
    /// Whether it is the current one.
    pub is_latest: bool,
    /// Whether it is a delete marker.
    pub delete_marker: bool,
}

/// What ListObjectVersions says. All keys are in clear here.
#[derive(Debug, Clone)]
pub struct VersionList {
    /// The bucket.
    pub bucket: String,
    /// As asked.
    pub prefix: String,
    /// As asked.
    pub delimiter: Option<String>,
    /// As asked.
    pub key_marker: String,
    /// As asked.
    pub version_id_marker: String,
    /// As asked, at most 1,000.
    pub max_keys: u64,
    /// As asked.
    pub encoding: KeyEncoding,
    /// Key marker and version id marker of the next page, when there is one.
    pub next: Option<(String, String)>,
    /// By key, the newest first.
    pub entries: Vec<Entry>,
    /// In order.
    pub common_prefixes: Vec<String>,
    /// The owner of all of them.
    pub owner: String,
}

/// `ListVersionsResult`.
#[must_use]
pub fn list_versions(list: &VersionList) -> String {
    let mut xml = Writer::document("ListVersionsResult");
    xml.text("Name", &list.bucket);
    xml.key("Prefix", &list.prefix, list.encoding);
    xml.key("KeyMarker", &list.key_marker, list.encoding);
    xml.text("VersionIdMarker", &list.version_id_marker);
    if let Some((key, version)) = &list.next {
        xml.key("NextKeyMarker", key, list.encoding);
        xml.option("NextVersionIdMarker", Some(version.as_str()).filter(|version| !version.is_empty()));
    }
    xml.number("MaxKeys", list.max_keys);
    if let Some(delimiter) = &list.delimiter {
        xml.key("Delimiter", delimiter, list.encoding);
    }
    encoding_type(&mut xml, list.encoding);
    xml.flag("IsTruncated", list.next.is_some());
    for entry in &list.entries {
        xml.nest(if entry.delete_marker { "DeleteMarker" } else { "Version" }, |xml| {
            xml.key("Key", &entry.object.key, list.encoding);
            xml.text("VersionId", &entry.version_id);
            xml.flag("IsLatest", entry.is_latest);
            xml.text("LastModified", &iso_millis(entry.object.modified));
            if !entry.delete_marker {
                xml.etag(&entry.object.etag);
                xml.number("Size", entry.object.size);
                xml.text("StorageClass", &entry.object.storage_class);
            }
            owner(xml, "Owner", &list.owner);
        });
    }
    common_prefixes(&mut xml, &list.common_prefixes, list.encoding);
    xml.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Entry, KeyEncoding, ObjectEntry, VersionList, list_versions};

    #[test]
    fn versions_and_delete_markers_in_order() {
        let object = ObjectEntry {
            key: "a b".to_owned(),
            size: 11,
            etag: "e-1".to_owned(),
            modified: 1_767_225_600_000,
            storage_class: "STANDARD".to_owned(),
        };
        let marker = Entry {
            object: object.clone(),
            version_id: "2".to_owned(),
            is_latest: true,
            delete_marker: true,
        };
        let version = Entry { object, version_id: "1".to_owned(), is_latest: false, delete_marker: false };
        let list = VersionList {
            bucket: "b".to_owned(),
            prefix: "a ".to_owned(),
            delimiter: None,
            key_marker: String::new(),
            version_id_marker: String::new(),
            max_keys: 2,
            encoding: KeyEncoding::Url,
            next: Some(("a b".to_owned(), "1".to_owned())),
            entries: vec![marker, version],
            common_prefixes: vec!["a c/".to_owned()],
            owner: "o".to_owned(),
        };
        let owner = "<Owner><ID>o</ID><DisplayName>o</DisplayName></Owner>";
        assert_eq!(
            list_versions(&list).split_once('\n').unwrap().1,
            format!(
                "<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>a%20</Prefix>\
                 <KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><NextKeyMarker>a%20b</NextKeyMarker>\
                 <NextVersionIdMarker>1</NextVersionIdMarker><MaxKeys>2</MaxKeys><EncodingType>url</EncodingType>\
                 <IsTruncated>true</IsTruncated><DeleteMarker><Key>a%20b</Key><VersionId>2</VersionId><IsLatest>true</IsLatest>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified>{owner}</DeleteMarker><Version><Key>a%20b</Key>\
                 <VersionId>1</VersionId><IsLatest>false</IsLatest><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;e-1&quot;</ETag><Size>11</Size><StorageClass>STANDARD</StorageClass>{owner}</Version>\
                 <CommonPrefixes><Prefix>a%20c/</Prefix></CommonPrefixes></ListVersionsResult>"
            )
        );
    }
}
