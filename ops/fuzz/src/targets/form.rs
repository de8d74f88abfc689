//! Forms: the fields before the file, the file's end, and the policy.

use super::selected;
use base64::Engine as _;
use bytes::Bytes;
use sealgate_data_plane::body::form::{CountedEnd, file_length};
use sealgate_data_plane::s3::form::policy::Policy;
use sealgate_data_plane::s3::form::{Fields, Form, FormReader, MAX_FIELDS, boundary};
use sealgate_data_plane::s3::xml::post::tagging_header;

const BOUNDARY: &str = "b";

pub fn form(data: &[u8]) {
    let (how, data) = selected(data);
    match how % 4 {
        0 => body(data),
        1 => policy(data),
        2 => {
            if let Ok(text) = str::from_utf8(data) {
                let _ = tagging_header(text).map(|header| assert!(header.is_ascii()));
            }
        }
        _ => {
            if let Ok(text) = str::from_utf8(data) {
                let _ = boundary(text).map(|boundary| assert!((1..=70).contains(&boundary.len())));
            }
        }
    }
}

/// A whole body in two ways of arriving: what comes out is the same, and a file that ends well ends where it was counted.
fn body(data: &[u8]) {
    let (piece, data) = selected(data);
    let piece = usize::from(piece).max(1);
    let whole = read(data, data.len().max(1));
    let Some((form, _)) = same(whole, read(data, piece)) else { return };
    assert!(form.head <= MAX_FIELDS as u64);
    let file = &data[usize::try_from(form.head).unwrap()..];
    assert!(file.starts_with(&form.rest));
    let found = file_length(file, BOUNDARY).ok();
    if let Ok(mut end) = CountedEnd::new(BOUNDARY, file.len() as u64) {
        let mut bytes = Vec::new();
        let read = file.chunks(piece).try_for_each(|piece| {
            bytes.extend(end.push(Bytes::copy_from_slice(piece))?);
            Ok::<_, sealgate_data_plane::s3::S3Error>(())
        });
        if read.and_then(|()| end.finish()).is_ok() {
            assert_eq!(found, Some(bytes.len()), "two ends of one file");
            assert_eq!(bytes, file[..bytes.len()]);
        }
    }
}

fn read(data: &[u8], piece: usize) -> Option<(Form, Fields)> {
    let mut reader = FormReader::new(BOUNDARY);
    for piece in data.chunks(piece) {
        match reader.push(piece) {
            Ok(Some(form)) => {
                let fields = form.fields.clone();
                return Some((form, fields));
            }
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

fn same(whole: Option<(Form, Fields)>, split: Option<(Form, Fields)>) -> Option<(Form, Fields)> {
    let shape = |form: &Option<(Form, Fields)>| {
        form.as_ref().map(|(form, fields)| (form.head, form.filename.clone(), fields.clone()))
    };
    assert_eq!(shape(&whole), shape(&split), "it depends on how the bytes arrive");
    // The one whose `rest` is the shorter: both begin alike.
    split.or(whole)
}

/// A policy that does not name the bucket lets nothing through, and none lets anything through after its end.
fn policy(data: &[u8]) {
    let encoded = base64::engine::general_purpose::STANDARD.encode(data);
    let Ok(policy) = Policy::parse(&encoded) else { return };
    let fields = Fields::default();
    let _ = (policy.check("bucket", "key", &fields, 0), policy.check_length(7));
    assert!(policy.check("bucket", "key", &fields, i64::MAX).is_err(), "a policy without an end");
    if !String::from_utf8_lossy(data).to_ascii_lowercase().contains('b') {
        assert!(policy.check("bucket", "key", &fields, 0).is_err(), "no condition on the bucket");
    }
}
