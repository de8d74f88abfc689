//! The answers of the multipart operations.

use super::lists::{common_prefixes, encoding_type, owner};
use super::writer::{KeyEncoding, Writer};
use crate::body::checksum::{Algorithm, Checksum};
use crate::s3::timestamp::iso_millis;

/// `InitiateMultipartUploadResult`
#[must_use]
pub fn initiate(bucket: &str, key: &str, upload_id: &str) -> String {
    let mut xml = Writer::document("InitiateMultipartUploadResult");
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.text("UploadId", upload_id);
    xml.finish()
}

/// A whole object's checksum as S3 shows it.
#[derive(Debug, Clone, Copy)]
pub struct ObjectChecksum<'a> {
    /// The value.
    pub checksum: &'a Checksum,
    /// The number of parts of a composite one (shown as `-N`); `None` for FULL_OBJECT.
    pub parts: Option<usize>,
}

impl ObjectChecksum<'_> {
    /// The value as XML and headers carry it.
    #[must_use]
    pub fn text(&self) -> String {
        match self.parts {
            Some(parts) => format!("{}-{parts}", self.checksum.to_base64()),
            None => self.checksum.to_base64(),
        }
    }

    /// The value of `x-amz-checksum-type` and `ChecksumType`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.parts.is_some() { "COMPOSITE" } else { "FULL_OBJECT" }
    }
}

/// `CompleteMultipartUploadResult`. `etag` has no quotes.
#[must_use]
pub fn complete(
    location: &str,
    bucket: &str,
    key: &str,
    etag: &str,
    checksum: Option<&ObjectChecksum<'_>>,
) -> String {
    let mut xml = Writer::document("CompleteMultipartUploadResult");
    xml.text("Location", location);
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.etag(etag);
    if let Some(checksum) = checksum {
        xml.text(checksum.checksum.algorithm().element(), &checksum.text());
        xml.text("ChecksumType", checksum.kind());
    }
    xml.finish()
}

/// One part in ListParts.
#[derive(Debug, Clone)]
pub struct PartEntry {
    /// 1 to 10,000.
    pub number: u16,
    /// Unix milliseconds.
    pub modified: i64,
    /// As clients see it, without quotes.
    pub etag: String,
    /// Plaintext bytes.
    pub size: u64,
    /// Its checksum, if it has one.
    pub checksum: Option<Checksum>,
}

/// What ListParts answers.
#[derive(Debug, Clone)]
pub struct PartList<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The upload.
    pub upload_id: &'a str,
    /// As asked.
    pub encoding: KeyEncoding,
    /// The owner's id.
    pub owner: &'a str,
    /// The upload's.
    pub storage_class: &'a str,
    /// As asked.
    pub marker: u16,
    /// The last part's number when there is more.
    pub next_marker: Option<u16>,
    /// As asked, at most 1,000.
    pub max_parts: u64,
    /// The upload's checksum algorithm, and whether it is for the full object.
    pub checksum: Option<(Algorithm, bool)>,
    /// In order of their numbers.
    pub parts: Vec<PartEntry>,
}

/// `ListPartsResult`
#[must_use]
pub fn list_parts(list: &PartList<'_>) -> String {
    let mut xml = Writer::document("ListPartsResult");
    xml.text("Bucket", list.bucket);
    xml.key("Key", list.key, list.encoding);
    encoding_type(&mut xml, list.encoding);
    xml.text("UploadId", list.upload_id);
    owner(&mut xml, "Initiator", list.owner);
    owner(&mut xml, "Owner", list.owner);
    xml.text("StorageClass", list.storage_class);
    xml.number("PartNumberMarker", u64::from(list.marker));
    xml.option("NextPartNumberMarker", list.next_marker.map(|next| next.to_string()).as_deref());
    xml.number("MaxParts", list.max_parts);
    xml.flag("IsTruncated", list.next_marker.is_some());
    checksum(&mut xml, list.checksum);
    for part in &list.parts {
        xml.nest("Part", |xml| {
            xml.number("PartNumber", u64::from(part.number));
            xml.text("LastModified", &iso_millis(part.modified));
            xml.etag(&part.etag);
            xml.number("Size", part.size);
            if let Some(checksum) = &part.checksum {
                xml.text(checksum.algorithm().element(), &checksum.to_base64());
            }
        });
    }
    xml.finish()
}

/// An upload's algorithm, and whether it is for the full object.
fn checksum(xml: &mut Writer, checksum: Option<(Algorithm, bool)>) {
    if let Some((algorithm, full)) = checksum {
        xml.text("ChecksumAlgorithm", algorithm.name());
        xml.text("ChecksumType", if full { "FULL_OBJECT" } else { "COMPOSITE" });
    }
}

/// One upload in ListMultipartUploads.
#[derive(Debug, Clone)]
pub struct UploadEntry {
    /// The key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// Unix milliseconds.
    pub initiated: i64,
    /// As the storage names it.
    pub storage_class: String,
    /// The checksum algorithm, if it has one, and whether it is for the full object.
    pub checksum: Option<(Algorithm, bool)>,
}

/// What ListMultipartUploads answers.
#[derive(Debug, Clone)]
pub struct UploadList<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// As asked.
    pub prefix: &'a str,
    /// As asked.
    pub delimiter: Option<&'a str>,
    /// As asked.
    pub key_marker: &'a str,
    /// As asked.
    pub upload_id_marker: &'a str,
    /// Key and upload id to continue from, when there is more.
    pub next: Option<(&'a str, &'a str)>,
    /// As asked, at most 1,000.
    pub max_uploads: u64,
    /// As asked.
    pub encoding: KeyEncoding,
    /// The owner's id.
    pub owner: &'a str,
    /// In order.
    pub uploads: Vec<UploadEntry>,
    /// In order.
    pub common_prefixes: Vec<String>,
}

/// `ListMultipartUploadsResult`
#[must_use]
pub fn list_uploads(list: &UploadList<'_>) -> String {
    let mut xml = Writer::document("ListMultipartUploadsResult");
    xml.text("Bucket", list.bucket);
    xml.key("KeyMarker", list.key_marker, list.encoding);
    xml.text("UploadIdMarker", list.upload_id_marker);
    if let Some((key, upload_id)) = list.next {
        xml.key("NextKeyMarker", key, list.encoding);
        xml.text("NextUploadIdMarker", upload_id);
    }
    xml.key("Prefix", list.prefix, list.encoding);
    if let Some(delimiter) = list.delimiter {
        xml.key("Delimiter", delimiter, list.encoding);
    }
    encoding_type(&mut xml, list.encoding);
    xml.number("MaxUploads", list.max_uploads);
    xml.flag("IsTruncated", list.next.is_some());
    for upload in &list.uploads {
        xml.nest("Upload", |xml| {
            xml.key("Key", &upload.key, list.encoding);
            xml.text("UploadId", &upload.upload_id);
            owner(xml, "Initiator", list.owner);
            owner(xml, "Owner", list.owner);
            xml.text("StorageClass", &upload.storage_class);
            xml.text("Initiated", &iso_millis(upload.initiated));
            checksum(xml, upload.checksum);
        });
    }
    common_prefixes(&mut xml, &list.common_prefixes, list.encoding);
    xml.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{
        ObjectChecksum, PartEntry, PartList, UploadEntry, UploadList, complete, list_parts, list_uploads,
    };
    use crate::body::checksum::{Algorithm, Checksum};
    use crate::s3::xml::writer::KeyEncoding;

    #[test]
    fn composite_and_full_checksums() {
        let sum = Checksum::of(Algorithm::Crc32, b"123456789");
        let composite = ObjectChecksum { checksum: &sum, parts: Some(3) };
        let xml = complete("http://h/b/k", "b", "k", "e-3", Some(&composite));
        assert!(xml.ends_with(
            "<Location>http://h/b/k</Location><Bucket>b</Bucket><Key>k</Key><ETag>&quot;e-3&quot;</ETag>\
             <ChecksumCRC32>y/Q5Jg==-3</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType>\
             </CompleteMultipartUploadResult>"
        ));
        let full = ObjectChecksum { checksum: &sum, parts: None };
        assert_eq!((full.text().as_str(), full.kind()), ("y/Q5Jg==", "FULL_OBJECT"));
    }

    #[test]
    fn parts_and_uploads() {
        let part = PartEntry { number: 3, modified: 0, etag: "e".to_owned(), size: 7, checksum: None };
        let list = PartList {
            bucket: "b",
            key: "k k",
            upload_id: "u",
            encoding: KeyEncoding::Url,
            owner: "o",
            storage_class: "STANDARD_IA",
            marker: 0,
            next_marker: Some(3),
            max_parts: 1,
            checksum: Some((Algorithm::Crc64Nvme, true)),
            parts: vec![part],
        };
        let xml = list_parts(&list);
        for piece in [
            "<Key>k%20k</Key>",
            "<StorageClass>STANDARD_IA</StorageClass>",
            "<NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>\
             <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
            "<Part><PartNumber>3</PartNumber><LastModified>1970-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;e&quot;</ETag><Size>7</Size></Part>",
        ] {
            assert!(xml.contains(piece), "{piece} in {xml}");
        }
        let list = UploadList {
            bucket: "b",
            prefix: "",
            delimiter: None,
            key_marker: "",
            upload_id_marker: "",
            next: None,
            max_uploads: 1000,
            encoding: KeyEncoding::Plain,
            owner: "o",
            uploads: vec![UploadEntry {
                key: "k".to_owned(),
                upload_id: "u".to_owned(),
                initiated: 0,
                storage_class: "GLACIER".to_owned(),
                checksum: Some((Algorithm::Crc32, false)),
            }],
            common_prefixes: Vec::new(),
        };
        let xml = list_uploads(&list);
        assert!(xml.contains(
            "<StorageClass>GLACIER</StorageClass><Initiated>1970-01-01T00:00:00.000Z</Initiated>\
             <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType></Upload>"
        ));
        assert!(xml.contains(
            "<IsTruncated>false</IsTruncated><Upload><Key>k</Key><UploadId>u</UploadId><Initiator>"
        ));
    }
}
