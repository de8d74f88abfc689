//! What the fuzzer may call: the parsers of what lies on the disk.

use super::{cors, documents, lifecycle, lock, names, record::Record, settings, tags, versions};

/// Reads a metadata file: what is read is what would be written.
pub fn record(data: &[u8]) {
    if let Ok(record) = Record::decode(data) {
        let written = record.encode();
        assert!(written.is_ok_and(|written| written == data), "two files that mean the same");
    }
}

/// Reads a name in the tree.
pub fn name(data: &[u8]) {
    let _ = names::decode_name(data);
}

/// Reads what clients send about a bucket and its objects: what is kept is read again, and says the same.
pub fn document(data: &[u8]) {
    if let Ok(found) = tags::from_xml(data, tags::OF_BUCKET) {
        assert!(
            tags::from_xml(tags::to_xml(&found).as_bytes(), tags::OF_BUCKET)
                .is_ok_and(|again| again == found)
        );
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(found) = tags::from_header(text)
    {
        assert!(tags::from_header(&tags::to_header(&found)).is_ok_and(|again| again == found));
    }
    if let Ok(kept) = cors::checked(data) {
        assert!(cors::checked(kept.as_bytes()).is_ok_and(|again| again == kept));
    }
    lock::fuzz(data);
    let _ = lifecycle::checked(data);
    let _ = settings::put_acl(&http::HeaderMap::new(), data);
    let _ = settings::put_encryption(data);
}

/// Reads a file of `config/`, and a version id.
pub fn kept(data: &[u8]) {
    let _ = documents::decode(data);
    let _ = std::str::from_utf8(data).map(versions::sequence_of);
}
