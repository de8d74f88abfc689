//! What a bucket is told about itself: its versioning state, tags, rules. One small file each, replaced in one rename.
//!
//! A file is a version byte, the document, and a CRC-64/NVME of both. A damaged one is an error: a lock or a versioning
//! state that cannot be read is not taken for one that was never set.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::space::{self, Bucket};
use crate::backend::BackendError;

/// The version that this module writes and reads.
const VERSION: u8 = 1;
/// Bytes of the checksum.
const CRC: usize = 8;

/// The kinds of documents; the names are those of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// `Enabled` or `Suspended`
    Versioning,
    ObjectLock,
    Tagging,
    Cors,
    Lifecycle,
    Ownership,
    PublicAccess,
}

impl Document {
    fn name(self) -> &'static str {
        match self {
            Self::Versioning => "versioning",
            Self::ObjectLock => "object-lock",
            Self::Tagging => "tagging",
            Self::Cors => "cors",
            Self::Lifecycle => "lifecycle",
            Self::Ownership => "ownership",
            Self::PublicAccess => "public-access",
        }
    }
}

fn directory(bucket: &Bucket) -> PathBuf {
    bucket.dir.join("config")
}

/// A document, if it was ever set.
pub(crate) fn read(bucket: &Bucket, document: Document) -> Result<Option<String>, BackendError> {
    match fs::read(directory(bucket).join(document.name())) {
        Ok(bytes) => Ok(Some(decode(&bytes)?)),
        Err(e) if space::is_missing(&e) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Held while documents that depend on each other are read and replaced.
pub(crate) struct Guard {
    bucket: Bucket,
    _lock: File,
}

/// Waits for the right to change documents.
pub(crate) fn lock(bucket: &Bucket) -> Result<Guard, BackendError> {
    let path = directory(bucket).join("lock");
    let file = match space::lock_file(&path) {
        Err(e) if space::is_missing(&e) => {
            let directories = bucket.directories()?;
            directories.lock()?;
            bucket.make_parents(&path)?;
            space::lock_file(&path).map_err(space::missing_bucket)?
        }
        other => other?,
    };
    file.lock()?;
    Ok(Guard { bucket: bucket.clone(), _lock: file })
}

impl Guard {
    /// Replaces a document, durably.
    pub(crate) fn write(&self, document: Document, text: &str) -> Result<(), BackendError> {
        let directory = directory(&self.bucket);
        let (draft, target) = (directory.join("draft"), directory.join(document.name()));
        space::remove(&draft)?;
        let mut file = space::create_file(&draft).map_err(space::missing_bucket)?;
        file.write_all(&encode(text))?;
        file.sync_all()?;
        fs::rename(&draft, &target)?;
        Ok(space::sync_dir(&directory)?)
    }

    /// Removes a document, durably.
    pub(crate) fn remove(&self, document: Document) -> Result<(), BackendError> {
        let directory = directory(&self.bucket);
        space::remove(&directory.join(document.name()))?;
        Ok(space::sync_dir(&directory)?)
    }
}

fn encode(text: &str) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(text.as_bytes());
    let crc = crc_fast::crc64_nvme(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> io::Result<String> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("bucket document {what}"));
    let at = bytes.len().checked_sub(CRC).ok_or_else(|| damaged("cut"))?;
    let (body, crc) = bytes.split_at(at);
    if crc_fast::crc64_nvme(body).to_be_bytes() != crc {
        return Err(damaged("damaged"));
    }
    match body.split_first() {
        Some((&VERSION, text)) => String::from_utf8(text.to_vec()).map_err(|_| damaged("not UTF-8")),
        _ => Err(damaged("of an unknown version")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let bytes = encode("Enabled");
        assert_eq!(decode(&bytes).unwrap(), "Enabled");
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
