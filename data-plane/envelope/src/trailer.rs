//! The trailer at the very end of a body: P, the part table, checksums, and the recovery block.
//!
//! salt[12] ‖ sealed ‖ tag[16] ‖ recovery[99] ‖ u32 length of the whole trailer. It is padded inside with zeros so that
//! the body is exactly T(P), whatever the parts.

use crate::checksum::{self, FullChecksum};
use crate::error::Error;
use crate::kdf;
use crate::keys::ObjectKeys;
use crate::recovery::{self, Recovery};
use crate::size::{self, MAX_TRAILER, TRAILER_BASE};
use crate::suite::Kind;
use crate::table::{self, PartEntry, PartTable};
use crate::wire::Reader;
use crate::{SALT, TAG, VERSION};

const LABEL: &str = "sealgate/v1/trailer";
/// Everything around the sealed text.
const FRAME: usize = SALT + TAG + recovery::LEN + 4;
/// Room for full-object checksums (after their count) beside a part table.
pub const CHECKSUM_ROOM: usize = 78;

/// What is sealed in a trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailerPlain {
    /// P.
    pub plaintext_len: u64,
    /// The parts of a multipart upload, ascending; none for a single PUT.
    pub parts: Vec<PartEntry>,
    /// Checksums of the whole object, ascending by algorithm, each once.
    pub checksums: Vec<FullChecksum>,
}

impl TrailerPlain {
    /// Seals a trailer under a fresh key, as long as makes the body T(P). The kind is the recovery block's.
    ///
    /// # Errors
    /// [`Error::Table`] for parts that break a rule, [`Error::Seal`] for checksums that do not fit or a recovery block
    /// of another object.
    pub fn seal(&self, keys: &ObjectKeys, recovery: &Recovery) -> Result<Vec<u8>, Error> {
        let kind = recovery.kind();
        if recovery.object_id() != keys.object_id() || recovery.suite() != keys.suite() {
            return Err(Error::Seal("recovery block of another object"));
        }
        let chunks = table::check(kind, &self.parts, self.plaintext_len)?;
        let total = size::stored_size(self.plaintext_len).ok_or(Error::Seal("plaintext above 50 TiB"))?;
        let len = total.checked_sub(chunks).and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(Error::Seal("no room for a trailer"))?;
        let room = (len as usize).checked_sub(FRAME).ok_or(Error::Seal("no room for a trailer"))?;

        let mut text = Vec::with_capacity(room + TAG);
        text.extend_from_slice(&self.plaintext_len.to_be_bytes());
        let count = u16::try_from(self.parts.len()).map_err(|_| Error::Seal("too many parts"))?;
        text.extend_from_slice(&count.to_be_bytes());
        if kind == Kind::Single && self.checksums.iter().any(|checksum| checksum.composite) {
            return Err(Error::Seal("composite checksum of a single PUT"));
        }
        let list = self.checksums.iter().map(|full| (&full.checksum, full.composite));
        checksum::put_list(&mut text, list, checksum_room(kind, self.plaintext_len))?;
        for part in &self.parts {
            part.put(&mut text)?;
        }
        if text.len() > room {
            return Err(Error::Seal("no room for the table"));
        }
        text.resize(room, 0);

        let salt = kdf::random()?;
        let recovery = recovery.to_bytes();
        let sealed = keys.one_shot(LABEL, &salt)?.seal(&aad(keys, kind, total, len, &recovery), text)?;
        let mut out = Vec::with_capacity(len as usize);
        out.extend_from_slice(&salt);
        out.extend_from_slice(&sealed);
        out.extend_from_slice(&recovery);
        out.extend_from_slice(&len.to_be_bytes());
        Ok(out)
    }
}

/// An opened trailer: everything in it is proved, and agrees with the total size that it was opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    plain: TrailerPlain,
    table: PartTable,
    recovery: Recovery,
    stored_size: u64,
    digest: [u8; 32],
}

impl Trailer {
    /// Opens a whole trailer (see [`split`]) of a body whose total size on the backend is `stored_size`.
    ///
    /// # Errors
    /// [`Error::Size`] when that is no valid T; [`Error::Recovery`], [`Error::Trailer`], [`Error::Table`] and
    /// [`Error::Checksum`] name the rule that is broken.
    pub fn open(keys: &ObjectKeys, kind: Kind, stored_size: u64, bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |why| Err(Error::Trailer(why));
        let plaintext_len =
            size::plaintext_size(stored_size).ok_or(Error::Size("not the size of any object"))?;
        let (before, trailer) = split(bytes)?;
        if !before.is_empty() {
            return refuse("length does not match");
        }
        let len = trailer.len() as u64;
        let most = size::single_trailer_len(plaintext_len);
        let least = if kind == Kind::Single { most } else { size::least_trailer_len(plaintext_len) };
        if len < least || len > most {
            return refuse("length out of bounds for its size");
        }
        let mut reader = Reader::new(trailer);
        let short = || Error::Trailer("too short");
        let salt: [u8; SALT] = reader.array().ok_or_else(short)?;
        let sealed = reader.take(trailer.len() - FRAME + TAG).ok_or_else(short)?;
        let clear: [u8; recovery::LEN] = reader.array().ok_or_else(short)?;
        let recovery = Recovery::parse(&clear)?;
        if (recovery.kind(), recovery.suite(), recovery.object_id()) != (kind, keys.suite(), keys.object_id())
        {
            return Err(Error::Recovery("disagrees with the envelope"));
        }
        let aad = aad(keys, kind, stored_size, trailer.len() as u32, &clear);
        let text = keys.one_shot(LABEL, &salt)?.open(&aad, sealed).ok_or(Error::Trailer("does not open"))?;
        let plain = parse(kind, plaintext_len, &text)?;
        let chunks = table::check(kind, &plain.parts, plaintext_len)?;
        if chunks + len != stored_size {
            return Err(Error::Table("parts and trailer do not make up the body"));
        }
        let table = match kind {
            Kind::Single => PartTable::single(plaintext_len),
            Kind::Multipart => PartTable::from_entries(&plain.parts),
        };
        let table = table.ok_or(Error::Table("above 50 TiB"))?;
        Ok(Self { plain, table, recovery, stored_size, digest: kdf::sha256(&[trailer]) })
    }

    /// P.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.plain.plaintext_len
    }

    /// The entries of a multipart upload; none for a single PUT.
    #[must_use]
    pub fn entries(&self) -> &[PartEntry] {
        &self.plain.parts
    }

    /// Checksums of the whole object.
    #[must_use]
    pub fn checksums(&self) -> &[FullChecksum] {
        &self.plain.checksums
    }

    /// Where the parts lie; for a single PUT one span with number 0.
    #[must_use]
    pub fn table(&self) -> &PartTable {
        &self.table
    }

    /// The recovery block.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// T, under which it was opened: ranges of a multipart object must come from a body of this size.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.stored_size
    }

    /// Whether these bytes are this trailer, byte for byte: the check of a streamed trailer against a cached one.
    #[must_use]
    pub fn is_made_of(&self, bytes: &[u8]) -> bool {
        kdf::sha256(&[bytes]) == self.digest
    }
}

/// Splits the end of a body into what comes before its trailer and the trailer, by the length in the last four bytes.
/// Nothing is proved by that.
///
/// # Errors
/// [`Error::Trailer`] when the length is out of bounds, or the suffix too short for it: fetch
/// [`size::suffix_len`] bytes.
pub fn split(suffix: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (_, len) = suffix.split_last_chunk().ok_or(Error::Trailer("too short"))?;
    let len = u64::from(u32::from_be_bytes(*len));
    if !(TRAILER_BASE..=MAX_TRAILER).contains(&len) {
        return Err(Error::Trailer("length out of bounds"));
    }
    let at = suffix.len().checked_sub(len as usize).ok_or(Error::Trailer("too short"))?;
    Ok(suffix.split_at(at))
}

/// The recovery block of a bare body, from any suffix that ends with the body. Not proved: see [`Recovery::open`].
///
/// # Errors
/// [`Error::Recovery`].
pub fn recovery_of(suffix: &[u8]) -> Result<Recovery, Error> {
    let clear = suffix
        .split_last_chunk::<4>()
        .and_then(|(before, _)| before.split_last_chunk::<{ recovery::LEN }>())
        .ok_or(Error::Recovery("too short"))?;
    Recovery::parse(clear.1)
}

fn checksum_room(kind: Kind, plaintext_len: u64) -> usize {
    match kind {
        Kind::Single => size::single_trailer_len(plaintext_len) as usize - FRAME - 11,
        Kind::Multipart => CHECKSUM_ROOM,
    }
}

/// "sealgate" ‖ version ‖ kind ‖ suite ‖ object id ‖ T ‖ length ‖ recovery.
fn aad(keys: &ObjectKeys, kind: Kind, total: u64, len: u32, recovery: &[u8; recovery::LEN]) -> Vec<u8> {
    let head = [VERSION, kind.code(), keys.suite().code()];
    let object = keys.object_id();
    [b"sealgate", &head[..], object.as_bytes(), &total.to_be_bytes(), &len.to_be_bytes(), recovery].concat()
}

pub(crate) fn parse(kind: Kind, plaintext_len: u64, text: &[u8]) -> Result<TrailerPlain, Error> {
    let short = || Error::Table("text ends early");
    let mut reader = Reader::new(text);
    if reader.u64().ok_or_else(short)? != plaintext_len {
        return Err(Error::Table("plaintext length does not match the size"));
    }
    let count = reader.u16().ok_or_else(short)?;
    let checksums = checksum::take_list(&mut reader, checksum_room(kind, plaintext_len))?;
    if kind == Kind::Single && checksums.iter().any(|checksum| checksum.composite) {
        return Err(Error::Checksum("composite for a single PUT"));
    }
    let parts = (0..count).map(|_| PartEntry::take(&mut reader)).collect::<Result<_, _>>()?;
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(Error::Table("padding is not zero"));
    }
    Ok(TrailerPlain { plaintext_len, parts, checksums })
}
