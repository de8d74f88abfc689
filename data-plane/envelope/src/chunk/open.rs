//! Opening chunks, at any place or in order.

use crate::aead::BulkKey;
use crate::error::Error;
use crate::keys::ObjectKeys;
use crate::size::{CHUNK_OVERHEAD, MAX_PARTS, MAX_PLAINTEXT, STORED_CHUNK, chunk_count, chunk_len};
use crate::{SALT, TAG};
use std::sync::Arc;

/// Opens the chunks of one part at any index, all under one salt.
///
/// The salt comes from the part table, or, where there is none (single PUT; the first part on trial), from the first
/// chunk that opens. A chunk with another one is refused: two attempts of a part never mix.
pub struct PartOpener {
    keys: Arc<ObjectKeys>,
    part: u16,
    key: Option<([u8; SALT], BulkKey)>,
}

impl PartOpener {
    /// For a part number from 1 to 10,000, or 0 for a single PUT.
    ///
    /// # Errors
    /// [`Error::Table`] for a higher number.
    pub fn new(keys: &Arc<ObjectKeys>, part: u16, expected_salt: Option<[u8; SALT]>) -> Result<Self, Error> {
        if part > MAX_PARTS {
            return Err(Error::Table("part number above 10,000"));
        }
        let key = match expected_salt {
            Some(salt) => Some((salt, keys.part_key(part, &salt)?)),
            None => None,
        };
        Ok(Self { keys: Arc::clone(keys), part, key })
    }

    /// The salt of the part, once it is known.
    #[must_use]
    pub fn salt(&self) -> Option<[u8; SALT]> {
        self.key.as_ref().map(|(salt, _)| *salt)
    }

    /// Opens a whole stored chunk where it lies and gives its plaintext; on failure the buffer holds no plaintext.
    ///
    /// `last`: whether it is the last chunk of the part. Any other must be full.
    ///
    /// # Errors
    /// [`Error::Chunk`] with this index.
    pub fn open_at<'a>(
        &mut self,
        index: u32,
        last: bool,
        stored: &'a mut [u8],
    ) -> Result<&'a mut [u8], Error> {
        check_len(index, last, stored.len())?;
        let (salt, sealed) = stored.split_first_chunk_mut::<SALT>().ok_or_else(|| too_short(index))?;
        self.with_key(index, salt, |key| key.open(index, last, sealed))
    }

    /// Opens a whole stored chunk into `out` and gives the plaintext's length; on failure `out` holds no plaintext.
    ///
    /// # Errors
    /// [`Error::Chunk`] with this index, also when `out` is too small.
    pub fn open_at_into(
        &mut self,
        index: u32,
        last: bool,
        stored: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        check_len(index, last, stored.len())?;
        let (salt, sealed) = stored.split_first_chunk::<SALT>().ok_or_else(|| too_short(index))?;
        let (body, tag) = sealed.split_last_chunk::<TAG>().ok_or_else(|| too_short(index))?;
        let out = out.get_mut(..body.len()).ok_or(Error::Chunk { index, why: "output is too small" })?;
        self.with_key(index, salt, |key| key.open_into(index, last, body, tag, out))?;
        Ok(body.len())
    }

    /// Runs `open` under the part's key; a salt that was not known is kept only if the chunk opened.
    fn with_key<T>(
        &mut self,
        index: u32,
        salt: &[u8; SALT],
        open: impl FnOnce(&BulkKey) -> Option<T>,
    ) -> Result<T, Error> {
        let refused = Error::Chunk { index, why: "does not open" };
        match &self.key {
            Some((known, _)) if known != salt => Err(Error::Chunk { index, why: "salt of another attempt" }),
            Some((_, key)) => open(key).ok_or(refused),
            None => {
                let key = self.keys.part_key(self.part, salt)?;
                let opened = open(&key).ok_or(refused)?;
                self.key = Some((*salt, key));
                Ok(opened)
            }
        }
    }
}

/// Opens the chunks of one part in order, knowing where it ends.
pub struct PartReader {
    opener: PartOpener,
    plaintext_len: u64,
    next: u64,
}

impl PartReader {
    /// From the first chunk on. `plaintext_len` is the part's, from the envelope or the part table.
    ///
    /// # Errors
    /// [`Error::Size`] above 50 TiB.
    pub fn new(opener: PartOpener, plaintext_len: u64) -> Result<Self, Error> {
        Self::starting_at(opener, plaintext_len, 0)
    }

    /// From the chunk at `first` on, for ranges.
    ///
    /// # Errors
    /// [`Error::Size`] above 50 TiB.
    pub fn starting_at(opener: PartOpener, plaintext_len: u64, first: u32) -> Result<Self, Error> {
        if plaintext_len > MAX_PLAINTEXT {
            return Err(Error::Size("part above 50 TiB"));
        }
        Ok(Self { opener, plaintext_len, next: first.into() })
    }

    /// Stored bytes of the next chunk; `None` after the last.
    #[must_use]
    pub fn next_stored_len(&self) -> Option<usize> {
        chunk_len(self.plaintext_len, self.next).map(|len| len + CHUNK_OVERHEAD)
    }

    /// Index of the next chunk.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Whether every chunk to the part's end has been opened.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next >= chunk_count(self.plaintext_len)
    }

    /// The opener, for its salt.
    #[must_use]
    pub fn opener(&self) -> &PartOpener {
        &self.opener
    }

    /// Opens the next chunk where it lies. After an error the reader does not advance.
    ///
    /// # Errors
    /// [`Error::Chunk`], also for a chunk that has not the length that belongs here, or one after the last.
    pub fn open_next<'a>(&mut self, stored: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
        let (index, last) = self.place(stored.len())?;
        let plain = self.opener.open_at(index, last, stored)?;
        self.next += 1;
        Ok(plain)
    }

    /// Opens the next chunk into `out` and gives the plaintext's length.
    ///
    /// # Errors
    /// As [`PartReader::open_next`], and when `out` is too small.
    pub fn open_next_into(&mut self, stored: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (index, last) = self.place(stored.len())?;
        let len = self.opener.open_at_into(index, last, stored, out)?;
        self.next += 1;
        Ok(len)
    }

    fn place(&self, stored_len: usize) -> Result<(u32, bool), Error> {
        let index = u32::try_from(self.next).map_err(|_| Error::Size("part above 50 TiB"))?;
        match self.next_stored_len() {
            None => Err(Error::Chunk { index, why: "follows the last" }),
            Some(len) if len != stored_len => Err(Error::Chunk { index, why: "wrong length for its place" }),
            Some(_) => Ok((index, self.next + 1 == chunk_count(self.plaintext_len))),
        }
    }
}

fn check_len(index: u32, last: bool, len: usize) -> Result<(), Error> {
    if len <= CHUNK_OVERHEAD {
        return Err(too_short(index));
    }
    if len > STORED_CHUNK || (len < STORED_CHUNK && !last) {
        return Err(Error::Chunk { index, why: "wrong length for its place" });
    }
    Ok(())
}

fn too_short(index: u32) -> Error {
    Error::Chunk { index, why: "too short" }
}
