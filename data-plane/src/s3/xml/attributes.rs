//! The answer of GetObjectAttributes.

use super::writer::Writer;
use crate::body::checksum::Checksum;

/// The whole object's checksum. Unlike elsewhere S3 shows a composite one here without its number of parts.
#[derive(Debug, Clone, Copy)]
pub struct WholeChecksum {
    /// The value.
    pub checksum: Checksum,
    /// Whether it is the checksum of the parts' checksums.
    pub composite: bool,
}

/// A part in the answer.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u16,
    /// Plaintext bytes.
    pub size: u64,
    /// Its own checksum, where it has one.
    pub checksum: Option<Checksum>,
}

/// A page of the part table.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How many parts the object has.
    pub total: usize,
    /// The page; none where the parts themselves are not known, only their number.
    pub page: Option<PartsPage>,
}

/// Parts after a marker.
#[derive(Debug, Clone)]
pub struct PartsPage {
    /// As asked.
    pub marker: u16,
    /// As asked, at most 1,000.
    pub max_parts: u32,
    /// Whether there is more.
    pub truncated: bool,
    /// Ascending.
    pub parts: Vec<Part>,
}

/// What was asked for of an object, as far as it has it.
#[derive(Debug, Clone, Default)]
pub struct AttributesList<'a> {
    /// As clients see it, without quotes.
    pub etag: Option<&'a str>,
    /// Of the whole object.
    pub checksum: Option<WholeChecksum>,
    /// Of an object that was uploaded in parts.
    pub parts: Option<Parts>,
    /// S3's name.
    pub storage_class: Option<&'a str>,
    /// Plaintext bytes.
    pub size: Option<u64>,
}

/// `GetObjectAttributesResponse`. The ETag stands there without quotes, as S3 writes it.
#[must_use]
pub fn attributes(list: &AttributesList<'_>) -> String {
    let mut xml = Writer::document("GetObjectAttributesResponse");
    xml.option("ETag", list.etag);
    if let Some(whole) = &list.checksum {
        xml.nest("Checksum", |xml| {
            xml.text(whole.checksum.algorithm().element(), &whole.checksum.to_base64());
            xml.text("ChecksumType", if whole.composite { "COMPOSITE" } else { "FULL_OBJECT" });
        });
    }
    if let Some(parts) = &list.parts {
        xml.nest("ObjectParts", |xml| {
            xml.number("PartsCount", parts.total as u64);
            if let Some(page) = &parts.page {
                write_page(xml, page);
            }
        });
    }
    xml.option("StorageClass", list.storage_class);
    xml.option("ObjectSize", list.size.map(|size| size.to_string()).as_deref());
    xml.finish()
}

fn write_page(xml: &mut Writer, page: &PartsPage) {
    let last = page.parts.last().map_or(0, |part| part.number);
    xml.number("PartNumberMarker", u64::from(page.marker));
    xml.number("NextPartNumberMarker", u64::from(last));
    xml.number("MaxParts", u64::from(page.max_parts));
    xml.flag("IsTruncated", page.truncated);
    for part in &page.parts {
        xml.nest("Part", |xml| {
            xml.number("PartNumber", u64::from(part.number));
            xml.number("Size", part.size);
            if let Some(checksum) = &part.checksum {
                xml.text(checksum.algorithm().element(), &checksum.to_base64());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{AttributesList, Part, Parts, PartsPage, WholeChecksum, attributes};
    use crate::body::checksum::{Algorithm, Checksum};

    #[test]
    fn only_what_was_asked_for() {
        let xml = attributes(&AttributesList { size: Some(3), ..AttributesList::default() });
        let root = "GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        assert!(
            xml.ends_with(&format!("<{root}><ObjectSize>3</ObjectSize></GetObjectAttributesResponse>")),
            "{xml}"
        );
    }

    #[test]
    fn a_page_of_parts_under_the_names_that_sdks_read() {
        let checksum = Checksum::of(Algorithm::Crc32, b"123456789");
        let page = PartsPage {
            marker: 1,
            max_parts: 1,
            truncated: true,
            parts: vec![Part { number: 2, size: 5, checksum: Some(checksum) }],
        };
        let list = AttributesList {
            etag: Some("e-3"),
            checksum: Some(WholeChecksum { checksum, composite: true }),
            parts: Some(Parts { total: 3, page: Some(page) }),
            storage_class: Some("STANDARD"),
            size: None,
        };
        let xml = attributes(&list);
        for piece in [
            "<ETag>e-3</ETag><Checksum><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType>",
            "<ObjectParts><PartsCount>3</PartsCount><PartNumberMarker>1</PartNumberMarker>",
            "<NextPartNumberMarker>2</NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>",
            "<Part><PartNumber>2</PartNumber><Size>5</Size><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>",
            "<StorageClass>STANDARD</StorageClass></GetObjectAttributesResponse>",
        ] {
            assert!(xml.contains(piece), "{piece} in {xml}");
        }
    }
}
