//! What the fuzzer may call: the parsers of a storage's answers.

use super::{answer, listing, objects, xml};
use crate::backend::GetOptions;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Reads a document, or a head with a header a line; `how` chooses the parser.
pub fn answer(how: u8, data: &[u8]) {
    match how % 5 {
        0 => {
            let _ = listing::parse_page(data, how & 8 == 0, how & 16 == 0);
        }
        1 => {
            let _ = listing::parse_uploads(data, how & 8 == 0);
        }
        2 => {
            let _ = objects::deletion_answers(data);
        }
        3 => {
            let _ = xml::error(data);
        }
        _ => head(data),
    }
}

fn head(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let length = answer::content_length(&headers).unwrap_or_default();
    let _ = answer::object_meta(&headers, length, &GetOptions::default());
    let _ = answer::put_outcome(&headers, None);
    if let Ok((first, last, total)) = answer::content_range(&headers) {
        assert!(first <= last && last < total, "a range that no object has");
    }
}
