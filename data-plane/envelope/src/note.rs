//! Notes: what an UploadPart leaves for Complete, in the NAME of an empty hidden object, so that one LIST reads 1,000.

use crate::checksum::{self, Checksum};
use crate::error::Error;
use crate::hidden::{HiddenName, RecordName};
use crate::kdf;
use crate::keys::ObjectKeys;
use crate::size::MAX_PARTS;
use crate::text;
use crate::wire::{Reader, put_lp, put_u40};
use crate::{SALT, TAG};

const LABEL: &str = "sealgate/v1/note";
/// Salt, size, count, all ten checksums, with the note's own salt and tag: no note is longer.
const MAX_PAYLOAD: usize = SALT + SALT + 5 + 1 + 190 + TAG;
/// Bound of a backend's ETag, in bytes.
const MAX_ETAG: usize = 255;
/// Stands before an ETag that is written as base64url; no hex digit, so that the two forms never meet.
const ENCODED: char = '_';

/// What a note says about one attempt to write a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Salt of the attempt's chunks.
    pub salt: [u8; SALT],
    /// Plaintext bytes, below 2⁴⁰.
    pub size: u64,
    /// Checksums of the part's plaintext, ascending by algorithm, each once.
    pub checksums: Vec<Checksum>,
}

/// The name of a note: readable without a key, but not proved until [`NoteName::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteName {
    record: RecordName,
    part: u16,
    etag: String,
    payload: Vec<u8>,
}

impl NoteName {
    /// Seals a note under a fresh key. `backend_etag` is without quotes.
    ///
    /// # Errors
    /// [`Error::Seal`] for a part number, size, ETag or checksum list out of bounds.
    pub fn seal(
        keys: &ObjectKeys,
        record: RecordName,
        upload_id: &str,
        part: u16,
        backend_etag: &str,
        note: &Note,
    ) -> Result<Self, Error> {
        if !(1..=MAX_PARTS).contains(&part) {
            return Err(Error::Seal("part number not from 1 to 10,000"));
        }
        let aad = aad(upload_id, part, backend_etag).ok_or(Error::Seal("upload id or ETag too long"))?;
        let mut plain = note.salt.to_vec();
        put_u40(&mut plain, note.size).ok_or(Error::Seal("part of 1 TiB or more"))?;
        checksum::put_list(&mut plain, note.checksums.iter().map(|checksum| (checksum, false)), usize::MAX)?;
        let salt: [u8; SALT] = kdf::random()?;
        let mut payload = salt.to_vec();
        payload.extend_from_slice(&keys.one_shot(LABEL, &salt)?.seal(&aad, plain)?);
        Ok(Self { record, part, etag: backend_etag.to_owned(), payload })
    }

    /// Opens the note for the upload that it was written for.
    ///
    /// # Errors
    /// [`Error::Note`] or [`Error::Checksum`]; such a note is ignored.
    pub fn open(&self, keys: &ObjectKeys, upload_id: &str) -> Result<Note, Error> {
        let refused = || Error::Note("does not open");
        let (salt, sealed) = self.payload.split_first_chunk::<SALT>().ok_or_else(refused)?;
        let aad = aad(upload_id, self.part, &self.etag).ok_or_else(refused)?;
        parse_text(&keys.one_shot(LABEL, salt)?.open(&aad, sealed).ok_or_else(refused)?)
    }

    /// From a whole key.
    ///
    /// # Errors
    /// [`Error::Note`] or [`Error::Name`].
    pub fn parse(key: &str) -> Result<Self, Error> {
        match HiddenName::parse(key)? {
            HiddenName::Note(name) => Ok(name),
            _ => Err(Error::Note("name of something else")),
        }
    }

    pub(crate) fn from_components(
        record: RecordName,
        part: &str,
        etag: &str,
        payload: &str,
    ) -> Result<Self, Error> {
        let part = text::part_number(part).ok_or(Error::Note("not a part number"))?;
        let etag = decode_etag(etag).ok_or(Error::Note("not an ETag form"))?;
        if payload.len() > text::encoded_len(MAX_PAYLOAD) {
            return Err(Error::Note("too long"));
        }
        let payload = text::decode(payload).ok_or(Error::Note("not canonical base64url"))?;
        Ok(Self { record, part, etag, payload })
    }

    /// The whole key: `…/n/<part, 5 digits>/<ETag form>/<base64url(salt ‖ sealed ‖ tag)>`.
    #[must_use]
    pub fn to_key(&self) -> String {
        let prefix = self.record.part_notes_prefix(self.part);
        format!("{prefix}{}/{}", encode_etag(&self.etag), text::encode(&self.payload))
    }

    /// The upload.
    #[must_use]
    pub fn record(&self) -> RecordName {
        self.record
    }

    /// The client's part number.
    #[must_use]
    pub fn part(&self) -> u16 {
        self.part
    }

    /// The backend's ETag of the part, without quotes.
    #[must_use]
    pub fn backend_etag(&self) -> &str {
        &self.etag
    }
}

/// chunk salt[12] ‖ size u40 ‖ checksums; nothing follows.
pub(crate) fn parse_text(plain: &[u8]) -> Result<Note, Error> {
    let short = || Error::Note("text ends early");
    let mut reader = Reader::new(plain);
    let salt = reader.array().ok_or_else(short)?;
    let size = reader.u40().ok_or_else(short)?;
    let list = checksum::take_list(&mut reader, usize::MAX)?;
    if list.iter().any(|full| full.composite) || !reader.is_empty() {
        return Err(Error::Note("composite checksum, or bytes after the list"));
    }
    Ok(Note { salt, size, checksums: list.into_iter().map(|full| full.checksum).collect() })
}

/// "sealgate" ‖ lp(upload id) ‖ part u16 ‖ lp(backend ETag without quotes).
fn aad(upload_id: &str, part: u16, etag: &str) -> Option<Vec<u8>> {
    if etag.len() > MAX_ETAG {
        return None;
    }
    let mut aad = b"sealgate".to_vec();
    put_lp(&mut aad, upload_id.as_bytes())?;
    aad.extend_from_slice(&part.to_be_bytes());
    put_lp(&mut aad, etag.as_bytes())?;
    Some(aad)
}

/// 32 lower-case hex digits as they are, anything else as `_` and base64url.
fn encode_etag(etag: &str) -> String {
    if is_plain(etag) { etag.to_owned() } else { format!("{ENCODED}{}", text::encode(etag.as_bytes())) }
}

fn decode_etag(form: &str) -> Option<String> {
    let Some(encoded) = form.strip_prefix(ENCODED) else {
        return is_plain(form).then(|| form.to_owned());
    };
    let etag = String::from_utf8(text::decode(encoded)?).ok()?;
    // One ETag, one spelling.
    (!is_plain(&etag) && etag.len() <= MAX_ETAG).then_some(etag)
}

fn is_plain(etag: &str) -> bool {
    etag.len() == 32 && text::is_lower_hex(etag)
}
