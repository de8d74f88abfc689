//! What the fuzzer may call: the parsers of text that was sealed. Only a holder of the DEK can reach them otherwise.

use crate::{Error, Kind, Note, PartEntry, metadata, note, trailer};

/// The text of sealed metadata.
///
/// # Errors
/// As [`metadata::open`].
pub fn metadata_text(text: &[u8]) -> Result<metadata::Metadata, Error> {
    metadata::decode(text)
}

/// The text of a trailer for a body whose plaintext has this many bytes, with the rules on its parts.
///
/// # Errors
/// As [`crate::Trailer::open`].
pub fn trailer_text(kind: Kind, plaintext_len: u64, text: &[u8]) -> Result<Vec<PartEntry>, Error> {
    let plain = trailer::parse(kind, plaintext_len, text)?;
    crate::table::check(kind, &plain.parts, plaintext_len)?;
    Ok(plain.parts)
}

/// The text of a note.
///
/// # Errors
/// As [`crate::NoteName::open`].
pub fn note_text(text: &[u8]) -> Result<Note, Error> {
    note::parse_text(text)
}
