//! How stored bytes are opened: which parts, where in them, and what proves the end.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use sealgate_envelope::size::{MAX_TRAILER, single_trailer_len};
use sealgate_envelope::{Error, ObjectKeys, PartOpener, PartReader, PartTable, Trailer};

use super::sealed::Sealed;
use crate::pipeline::open::{Plan, TrailerCheck};
use crate::pipeline::tables::Table;

const NOT_COVERED: Error = Error::Table("its parts do not cover its size");

/// The parts of an object: those of its table, or the one of a single PUT.
pub enum Spans<'a> {
    /// Of a table.
    Table(&'a PartTable),
    /// Of a single PUT.
    Single(PartTable),
}

impl<'a> Spans<'a> {
    /// Of an object, whose table is needed if it was uploaded in parts.
    ///
    /// # Errors
    /// A size that no object has.
    pub fn of(sealed: &Sealed, table: Option<&'a Table>) -> Result<Self, Error> {
        match table {
            Some(table) => Ok(Self::Table(table.trailer.table())),
            None => PartTable::single(sealed.plaintext_len)
                .map(Self::Single)
                .ok_or(Error::Size("it is larger than any object")),
        }
    }

    /// The parts.
    #[must_use]
    pub fn table(&self) -> &PartTable {
        match self {
            Self::Table(table) => table,
            Self::Single(table) => table,
        }
    }
}

/// All of an object: every part, then its trailer, byte for byte the known one where it is known.
///
/// # Errors
/// A table that cannot be.
pub fn whole(keys: &Arc<ObjectKeys>, sealed: &Sealed, table: Option<Arc<Table>>) -> Result<Plan, Error> {
    let spans = Spans::of(sealed, table.as_deref())?;
    let mut parts = VecDeque::with_capacity(spans.table().parts().len());
    for span in spans.table().parts() {
        let opener = PartOpener::new(keys, span.number, span.salt)?;
        parts.push_back(PartReader::new(opener, span.plaintext_len())?);
    }
    drop(spans);
    let check: TrailerCheck = match table {
        Some(table) => Box::new(move |bytes| {
            if table.trailer.is_made_of(bytes) {
                Ok(())
            } else {
                Err(Error::Trailer("differs from the one that the table came from"))
            }
        }),
        None => {
            let (keys, kind, stored) = (Arc::clone(keys), sealed.kind, sealed.stored_len);
            Box::new(move |bytes| Trailer::open(&keys, kind, stored, bytes).map(|_| ()))
        }
    };
    let limit =
        usize::try_from(single_trailer_len(sealed.plaintext_len).min(MAX_TRAILER)).unwrap_or(usize::MAX);
    Ok(Plan { discard: 0, parts, skip: 0, take: sealed.plaintext_len, trailer: Some((check, limit)) })
}

/// Bytes `start` to `end` (included) of the plaintext: the stored bytes that hold them, and how these are opened when they
/// come without any before them.
///
/// # Errors
/// A table that cannot be.
pub fn range(
    keys: &Arc<ObjectKeys>,
    spans: &PartTable,
    start: u64,
    end: u64,
) -> Result<(Range<u64>, Plan), Error> {
    let pieces = spans.pieces(start, end).ok_or(NOT_COVERED)?;
    let (first, last) = pieces.first().zip(pieces.last()).ok_or(NOT_COVERED)?;
    let needed = first.chunks.stored.start..last.chunks.stored.end;
    let skip = first.chunks.skip as u64;
    let mut parts = VecDeque::with_capacity(pieces.len());
    for piece in &pieces {
        let Some(span) = spans.parts().get(piece.part) else { continue };
        let opener = PartOpener::new(keys, span.number, span.salt)?;
        parts.push_back(PartReader::starting_at(opener, span.plaintext_len(), piece.chunks.first)?);
    }
    Ok((needed, Plan { discard: 0, parts, skip, take: end - start + 1, trailer: None }))
}
