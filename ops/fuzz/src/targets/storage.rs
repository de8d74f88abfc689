//! What a storage answers, and what lies in the filesystem backend's files.

use super::selected;
use sealgate_data_plane::backend;

pub fn answers(data: &[u8]) {
    let (how, data) = selected(data);
    backend::s3::fuzz::answer(how, data);
}

pub fn files(data: &[u8]) {
    let (how, data) = selected(data);
    if how & 1 == 0 {
        backend::fs::fuzz::record(data);
    } else {
        backend::fs::fuzz::name(data);
    }
}
