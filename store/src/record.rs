//! Stored values: byte 0 is the version of the record's type, JSON follows.
//!
//! A type that changes keeps its older shape as [`Record::Previous`]; reading goes down the chain to the version that
//! was stored and migrates upwards, one step at a time. Writing is always in the newest version.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// A type that is stored.
pub trait Record: Serialize + DeserializeOwned {
    /// Byte 0 of what is stored; 1 or more, one higher than [`Self::Previous`]'s.
    const VERSION: u8;
    /// The shape before this one; [`NoRecord`] for the first.
    type Previous: Record;
    /// Makes this shape out of the one before.
    fn migrate(previous: Self::Previous) -> Self;
}

/// The shape before the first: cannot exist.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum NoRecord {}

impl Record for NoRecord {
    const VERSION: u8 = 0;
    type Previous = Self;
    fn migrate(previous: Self) -> Self {
        previous
    }
}

/// Why stored bytes are not a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// No byte 0.
    #[error("a stored record is empty")]
    Empty,
    /// Written by a newer program, or never a record.
    #[error("a stored record has version {0}, which this program does not know")]
    Version(u8),
    /// The body does not fit the version.
    #[error("a stored record of version {0} is damaged")]
    Damaged(u8),
}

/// The bytes to store.
///
/// # Errors
/// [`RecordError::Damaged`] when the type cannot be written as JSON.
pub fn encode<T: Record>(record: &T) -> Result<Vec<u8>, RecordError> {
    let mut bytes = vec![T::VERSION];
    serde_json::to_writer(&mut bytes, record).map_err(|_| RecordError::Damaged(T::VERSION))?;
    Ok(bytes)
}

/// The record in stored bytes, in the newest shape.
///
/// # Errors
/// Nothing of the content is in the error's text.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, RecordError> {
    let (&version, body) = bytes.split_first().ok_or(RecordError::Empty)?;
    decode_version(version, body)
}

fn decode_version<T: Record>(version: u8, body: &[u8]) -> Result<T, RecordError> {
    if version == T::VERSION && version != 0 {
        return serde_json::from_slice(body).map_err(|_| RecordError::Damaged(version));
    }
    if version > T::VERSION || T::VERSION == 0 || version == 0 {
        return Err(RecordError::Version(version));
    }
    decode_version::<T::Previous>(version, body).map(T::migrate)
}
