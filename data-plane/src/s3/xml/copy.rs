//! The answers of CopyObject and UploadPartCopy.

use super::uploads::ObjectChecksum;
use super::writer::Writer;
use crate::body::checksum::Checksum;
use crate::s3::timestamp::iso_millis;

/// What was made.
#[derive(Debug, Clone, Copy)]
pub struct CopyResult<'a> {
    /// As clients see it, without quotes.
    pub etag: &'a str,
    /// Unix milliseconds.
    pub modified: i64,
    /// Checksums of the plaintext, with the number of parts of a composite one.
    pub checksums: &'a [(Checksum, Option<usize>)],
}

/// `CopyObjectResult`
#[must_use]
pub fn copy_object(made: &CopyResult<'_>) -> String {
    let mut xml = result("CopyObjectResult", made);
    if let Some((checksum, parts)) = made.checksums.first() {
        xml.text("ChecksumType", ObjectChecksum { checksum, parts: *parts }.kind());
    }
    xml.finish()
}

/// `CopyPartResult`
#[must_use]
pub fn copy_part(made: &CopyResult<'_>) -> String {
    result("CopyPartResult", made).finish()
}

fn result(root: &'static str, made: &CopyResult<'_>) -> Writer {
    let mut xml = Writer::document(root);
    xml.text("LastModified", &iso_millis(made.modified));
    xml.etag(made.etag);
    for (checksum, parts) in made.checksums {
        xml.text(checksum.algorithm().element(), &ObjectChecksum { checksum, parts: *parts }.text());
    }
    xml
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{CopyResult, copy_object, copy_part};
    use crate::body::{Algorithm, Checksum};

    #[test]
    fn what_was_made() {
        let checksum = Checksum::from_base64(Algorithm::Crc32, "AAAAAA==").unwrap();
        let made = CopyResult { etag: "e-1", modified: 1_000, checksums: &[(checksum, Some(2))] };
        let object = copy_object(&made);
        assert!(
            object.ends_with(
                "<LastModified>1970-01-01T00:00:01.000Z</LastModified><ETag>&quot;e-1&quot;</ETag>\
                 <ChecksumCRC32>AAAAAA==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></CopyObjectResult>"
            ),
            "{object}"
        );
        assert!(copy_part(&made).contains("<CopyPartResult xmlns"));
    }
}
