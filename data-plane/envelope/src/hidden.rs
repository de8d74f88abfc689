//! Hidden names: what the gateway keeps beside the clients' objects, and the prefix that clients cannot name.

use crate::VERSION;
use crate::error::Error;
use crate::ids::{BucketId, GatewayId, IkId};
use crate::ik_record::IkRecord;
use crate::kdf;
use crate::note::NoteName;
use crate::text;
use crate::wire::put_lp;
use crate::{SALT, ids};
use std::fmt;
use std::str::FromStr;

/// Where this version keeps its objects. Never configurable.
pub const PREFIX: &str = ".sealgate/v1/";
/// What no client can name or see: later versions included, and so that the common prefix `.sealgate/` of a listing with
/// delimiter can be left out without asking whether a client's key is under it.
pub const RESERVED: &str = ".sealgate/";
/// The object that says which logical bucket this is, see [`bucket_marker`].
pub const BUCKET: &str = ".sealgate/v1/bucket";
/// IK records.
pub const IK_PREFIX: &str = ".sealgate/v1/ik/";
/// Upload records, notes, stashes, and the sweep's marks.
pub const UPLOAD_PREFIX: &str = ".sealgate/v1/u/";

/// Whether a key belongs to the gateway: no client may name it, in whatever field, after the backend's own decoding.
#[must_use]
pub fn is_hidden(key: &[u8]) -> bool {
    key.starts_with(RESERVED.as_bytes())
}

/// Whether some backend would take a key for one of the gateway's: servers fold doubled slashes, drop a leading one, and
/// resolve `.` and `..`, so every spelling that could lead under [`RESERVED`] is refused.
#[must_use]
pub fn could_be_hidden(key: &str) -> bool {
    let mut folded: Vec<&str> = Vec::new();
    for component in key.split(['/', '\\']) {
        match component {
            "" | "." => {}
            ".." => {
                folded.pop();
            }
            name => folded.push(name),
        }
    }
    // The bare name is a client's own, as long as nothing lies under it.
    let reserved = folded.first().is_some_and(|first| *first == RESERVED.trim_end_matches('/'));
    is_hidden(key.as_bytes()) || (reserved && (folded.len() > 1 || key.ends_with(['/', '\\'])))
}

/// Body of [`BUCKET`]: version u8 ‖ logical bucket id.
#[must_use]
pub fn bucket_marker(bucket: BucketId) -> [u8; 17] {
    let mut out = [VERSION; 17];
    out[1..].copy_from_slice(bucket.as_bytes());
    out
}

/// The inverse of [`bucket_marker`].
///
/// # Errors
/// [`Error::Name`].
pub fn parse_bucket_marker(bytes: &[u8]) -> Result<BucketId, Error> {
    match bytes {
        [VERSION, id @ ..] => {
            id.try_into().map(BucketId::from_bytes).map_err(|_| Error::Name("not a bucket marker"))
        }
        _ => Err(Error::Name("not a bucket marker")),
    }
}

/// The name of an IK record.
///
/// # Errors
/// [`Error::IkRecord`] for a record out of bounds.
pub fn ik_record_name(record: &IkRecord) -> Result<String, Error> {
    Ok(format!("{}{}", ik_records_prefix(record.context.ik), hex::encode(record.digest()?)))
}

/// Where all copies of an IK's record lie.
#[must_use]
pub fn ik_records_prefix(ik: IkId) -> String {
    format!("{IK_PREFIX}{ik}/")
}

/// The component that stands for one upload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName([u8; 32]);

impl RecordName {
    /// H("sealgate/v1/upload" ‖ gateway id ‖ logical bucket id ‖ lp(upload id) ‖ lp(key)).
    ///
    /// # Errors
    /// [`Error::Seal`] for an upload id or key above 65,535 bytes.
    pub fn new(gateway: GatewayId, bucket: BucketId, upload_id: &str, key: &[u8]) -> Result<Self, Error> {
        let mut input = b"sealgate/v1/upload".to_vec();
        input.extend_from_slice(gateway.as_bytes());
        input.extend_from_slice(bucket.as_bytes());
        put_lp(&mut input, upload_id.as_bytes()).ok_or(Error::Seal("upload id above 65,535 bytes"))?;
        put_lp(&mut input, key).ok_or(Error::Seal("key above 65,535 bytes"))?;
        Ok(Self(kdf::sha256(&[&input])))
    }

    /// Everything hidden of this upload.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{UPLOAD_PREFIX}{self}/")
    }

    /// Its upload record.
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{UPLOAD_PREFIX}{self}/r")
    }

    /// Its notes, in part order.
    #[must_use]
    pub fn notes_prefix(&self) -> String {
        format!("{UPLOAD_PREFIX}{self}/n/")
    }

    /// The notes of one part.
    #[must_use]
    pub fn part_notes_prefix(&self, part: u16) -> String {
        format!("{UPLOAD_PREFIX}{self}/n/{part:05}/")
    }

    /// Its stashes, in part order.
    #[must_use]
    pub fn stashes_prefix(&self) -> String {
        format!("{UPLOAD_PREFIX}{self}/s/")
    }

    /// Marks of a sweep that found the upload gone, oldest first.
    #[must_use]
    pub fn gone_prefix(&self) -> String {
        format!("{UPLOAD_PREFIX}{self}/gone/")
    }

    /// The mark of a sweep that found the upload gone at `at`, in Unix seconds.
    #[must_use]
    pub fn gone_key(&self, at: u64) -> String {
        format!("{UPLOAD_PREFIX}{self}/gone/{at:012}")
    }

    /// The stash of one attempt to write a part.
    #[must_use]
    pub fn stash_key(&self, part: u16, salt: &[u8; SALT]) -> String {
        format!("{UPLOAD_PREFIX}{self}/s/{part:05}/{}", text::encode(salt))
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordName {
    type Err = Error;

    /// From exactly 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        text::lower_hex(text).map(Self).ok_or(Error::Name("not a record name"))
    }
}

/// A hidden name taken apart. None is ever a path prefix of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiddenName {
    /// [`BUCKET`].
    Bucket,
    /// A copy of an IK record.
    IkRecord {
        /// The IK.
        ik: ids::IkId,
        /// First 16 bytes of H(record).
        digest: [u8; 16],
    },
    /// An upload record.
    UploadRecord(RecordName),
    /// A note, not opened.
    Note(NoteName),
    /// The stash of a part.
    Stash {
        /// The upload.
        record: RecordName,
        /// The client's part number.
        part: u16,
        /// Salt of the attempt.
        salt: [u8; SALT],
    },
    /// The mark of a sweep.
    Gone {
        /// The upload.
        record: RecordName,
        /// When the backend first said that there is no such upload, in Unix seconds.
        at: u64,
    },
}

impl HiddenName {
    /// From a whole key.
    ///
    /// # Errors
    /// [`Error::Name`] or [`Error::Note`] for anything that this version does not write.
    pub fn parse(key: &str) -> Result<Self, Error> {
        let unknown = || Error::Name("not a hidden name of version 1");
        let rest = key.strip_prefix(PREFIX).ok_or_else(unknown)?;
        let parts: Vec<&str> = rest.splitn(7, '/').collect();
        match parts[..] {
            ["bucket"] => Ok(Self::Bucket),
            ["ik", ik, digest] => Ok(Self::IkRecord {
                ik: ik.parse().map_err(|_| unknown())?,
                digest: text::lower_hex(digest).ok_or_else(unknown)?,
            }),
            ["u", record, "r"] => Ok(Self::UploadRecord(record.parse()?)),
            ["u", record, "n", part, etag, sealed] => {
                NoteName::from_components(record.parse()?, part, etag, sealed).map(Self::Note)
            }
            ["u", record, "s", part, salt] => Ok(Self::Stash {
                record: record.parse()?,
                part: text::part_number(part).ok_or_else(unknown)?,
                salt: text::decode(salt).and_then(|salt| salt.try_into().ok()).ok_or_else(unknown)?,
            }),
            ["u", record, "gone", at] => {
                let at = Some(at).filter(|at| at.len() == 12 && at.bytes().all(|b| b.is_ascii_digit()));
                let at = at.and_then(|at| at.parse().ok()).ok_or_else(unknown)?;
                Ok(Self::Gone { record: record.parse()?, at })
            }
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::could_be_hidden;

    #[test]
    fn every_spelling_that_a_server_folds_is_refused() {
        for key in [
            ".sealgate/v1/ik/x",
            "/.sealgate/v1/ik/x",
            "//.sealgate//v1/bucket",
            "./.sealgate/x",
            "a/../.sealgate/v1/u/x",
            "../.sealgate/x",
            "\\.sealgate\\x",
            ".sealgate/",
            ".sealgate/../.sealgate/x",
        ] {
            assert!(could_be_hidden(key), "{key}");
        }
        for key in [".sealgate", ".sealgates/x", "a/.sealgate/x", "sealgate/x", "", "/", "..", "a/../b"] {
            assert!(!could_be_hidden(key), "{key}");
        }
    }
}
