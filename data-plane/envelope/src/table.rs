//! The part table: where each part of an object lies, in plaintext and on the backend.

use crate::SALT;
use crate::checksum::{self, Checksum};
use crate::error::Error;
use crate::size::{self, ChunkRange, MAX_PARTS, MIN_PART};
use crate::suite::Kind;
use crate::wire::{Reader, put_u40};
use std::ops::Range;

/// Sizes are stored in 40 bits.
const MAX_PART_SIZE: u64 = (1 << 40) - 1;

/// What the trailer says about one part. At most 100 bytes when written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// The client's part number, 1 to 10,000.
    pub number: u16,
    /// Plaintext bytes, below 2⁴⁰.
    pub size: u64,
    /// Salt of the attempt that was completed.
    pub salt: [u8; SALT],
    /// The backend's ETag of the part, see [`crate::etag::etag16`].
    pub etag: [u8; 16],
    /// The part's own checksum, if the client gave or asked for one.
    pub checksum: Option<Checksum>,
}

impl PartEntry {
    /// number u16 ‖ size u40 ‖ code u8 ‖ salt ‖ ETag ‖ value.
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(&self.number.to_be_bytes());
        put_u40(out, self.size).ok_or(Error::Seal("part of 1 TiB or more"))?;
        out.push(self.checksum.as_ref().map_or(0, |checksum| checksum.code().code()));
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.etag);
        out.extend_from_slice(self.checksum.as_ref().map_or(&[], Checksum::value));
        Ok(())
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let short = || Error::Table("ends early");
        let number = reader.u16().ok_or_else(short)?;
        let size = reader.u40().ok_or_else(short)?;
        let code = reader.u8().ok_or_else(short)?;
        let salt = reader.array().ok_or_else(short)?;
        let etag = reader.array().ok_or_else(short)?;
        Ok(Self { number, size, salt, etag, checksum: checksum::take_value(reader, code)? })
    }
}

/// The rules on parts; gives Σ of the parts as stored. All are normative, even where a backend allows more.
pub(crate) fn check(kind: Kind, parts: &[PartEntry], plaintext_len: u64) -> Result<u64, Error> {
    let refuse = |why| Err(Error::Table(why));
    if kind == Kind::Single {
        if !parts.is_empty() {
            return refuse("a single PUT has no parts");
        }
        return size::chunks_size(plaintext_len).ok_or(Error::Table("above 50 TiB"));
    }
    if parts.is_empty() || parts.len() > usize::from(MAX_PARTS) {
        return refuse("not 1 to 10,000 parts");
    }
    let (mut previous, mut plain, mut stored) = (0, 0u64, 0u64);
    for (at, part) in parts.iter().enumerate() {
        if part.number <= previous || part.number > MAX_PARTS {
            return refuse("part numbers not ascending from 1 to 10,000");
        }
        if part.size > MAX_PART_SIZE || (part.size < MIN_PART && at + 1 < parts.len()) {
            return refuse("part below 5 MiB that is not the last, or of 1 TiB or more");
        }
        previous = part.number;
        plain += part.size;
        stored += size::chunks_size(part.size).ok_or(Error::Table("above 50 TiB"))?;
    }
    if plain == plaintext_len { Ok(stored) } else { refuse("sizes do not add up") }
}

/// Where one part lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSpan {
    /// The part number that its key is derived from; 0 for a single PUT.
    pub number: u16,
    /// Its salt; `None` for a single PUT, whose salt stands in its chunks only.
    pub salt: Option<[u8; SALT]>,
    /// Its plaintext in the object, end exclusive.
    pub plain: Range<u64>,
    /// Its chunks in the body, end exclusive.
    pub stored: Range<u64>,
}

impl PartSpan {
    /// Plaintext bytes of the part.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.plain.end - self.plain.start
    }
}

/// The part of a range that lies in one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Index into [`PartTable::parts`].
    pub part: usize,
    /// Chunks in that part; their stored range counts from the start of the body.
    pub chunks: ChunkRange,
    /// Plaintext bytes of the range in this part.
    pub len: u64,
}

/// Lookup from plaintext offsets to parts and chunks. Parts lie one after another in table order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTable {
    parts: Vec<PartSpan>,
}

impl PartTable {
    /// The table of a single PUT: one span with number 0. `None` above 50 TiB.
    #[must_use]
    pub fn single(plaintext_len: u64) -> Option<Self> {
        let stored = size::chunks_size(plaintext_len)?;
        let span = PartSpan { number: 0, salt: None, plain: 0..plaintext_len, stored: 0..stored };
        Some(Self { parts: vec![span] })
    }

    /// The table of a multipart upload, from entries that [`check`] has passed.
    pub(crate) fn from_entries(entries: &[PartEntry]) -> Option<Self> {
        let (mut plain, mut stored) = (0, 0);
        let mut parts = Vec::with_capacity(entries.len());
        for entry in entries {
            let span = PartSpan {
                number: entry.number,
                salt: Some(entry.salt),
                plain: plain..plain + entry.size,
                stored: stored..stored + size::chunks_size(entry.size)?,
            };
            (plain, stored) = (span.plain.end, span.stored.end);
            parts.push(span);
        }
        Some(Self { parts })
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[PartSpan] {
        &self.parts
    }

    /// P.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.plain.end)
    }

    /// Where the trailer begins in the body.
    #[must_use]
    pub fn trailer_start(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.stored.end)
    }

    /// The part that holds this plaintext byte, by index, and the byte's offset in it; `None` at or beyond P.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<(usize, u64)> {
        let at = self.parts.partition_point(|part| part.plain.end <= offset);
        self.parts.get(at).map(|part| (at, offset - part.plain.start))
    }

    /// The chunks that hold plaintext bytes `start..=end`, part by part; their stored ranges adjoin. `None` unless
    /// start ≤ end < P.
    #[must_use]
    pub fn pieces(&self, start: u64, end: u64) -> Option<Vec<Piece>> {
        if start > end {
            return None;
        }
        let (first, _) = self.locate(start)?;
        let (last, _) = self.locate(end)?;
        let mut pieces = Vec::with_capacity(last - first + 1);
        for (at, part) in self.parts.iter().enumerate().take(last + 1).skip(first) {
            let from = start.max(part.plain.start) - part.plain.start;
            let to = end.min(part.plain.end - 1) - part.plain.start;
            let mut chunks = size::chunk_range(from, to, part.plaintext_len())?;
            chunks.stored = part.stored.start + chunks.stored.start..part.stored.start + chunks.stored.end;
            pieces.push(Piece { part: at, chunks, len: to - from + 1 });
        }
        Some(pieces)
    }
}
