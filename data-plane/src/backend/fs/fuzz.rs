//! What the fuzzer may call: the parsers of what lies on the disk.

use super::{names, record::Record};

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
