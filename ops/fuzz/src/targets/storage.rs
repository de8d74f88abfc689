//! What a storage answers, what lies in the filesystem backend's files, and what it is told about its buckets.

use super::selected;
use sealgate_data_plane::backend;

pub fn answers(data: &[u8]) {
    let (how, data) = selected(data);
    backend::s3::fuzz::answer(how, data);
}

pub fn files(data: &[u8]) {
    let (how, data) = selected(data);
    match how & 3 {
        0 => backend::fs::fuzz::record(data),
        1 => backend::fs::fuzz::name(data),
        2 => backend::fs::fuzz::document(data),
        _ => backend::fs::fuzz::kept(data),
    }
}
