//! The targets by name. Each takes bytes as a storage, or a client, would send them.

mod form;
mod format;
mod object;
mod s3;
mod storage;

/// A target's name, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

/// Every target. `ops/fuzz/seeds.py` has seeds for each.
pub const ALL: &[Target] = &[
    ("envelope", format::envelope),
    ("metadata", format::metadata),
    ("trailer", format::trailer),
    ("upload-record", format::upload_record),
    ("note", format::note),
    ("name", format::name),
    ("ik-record", format::ik_record),
    ("chunks", object::chunks),
    ("aws-chunked", s3::aws_chunked),
    ("request", s3::request),
    ("delete-xml", s3::delete_objects),
    ("complete-xml", s3::complete_upload),
    ("ranges", s3::ranges),
    ("form", form::form),
    ("answers", storage::answers),
    ("files", storage::files),
];

/// The selector in front of an input that has variants, and the rest.
fn selected(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
