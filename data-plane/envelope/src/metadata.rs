//! Sealed metadata: the client's user metadata and the headers that a browser acts on, in one more header.
//!
//! Answers use these values, whatever the backend says: a hostile backend must not turn a download into a web page.

use crate::envelope::{self, Envelope};
use crate::error::Error;
use crate::kdf;
use crate::keys::ObjectKeys;
use crate::text;
use crate::wire::{Reader, put_lp};
use crate::{SALT, TAG};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::collections::BTreeMap;

/// Full lower-case header names (`x-amz-meta-` included) to values.
pub type Metadata = BTreeMap<String, Vec<u8>>;

/// The metadata header that carries it.
pub const HEADER: &str = "x-amz-meta-sealgatemeta";
/// The prefix of user metadata names that belong to the gateway: hidden from clients, refused from them.
pub const RESERVED_PREFIX: &str = "x-amz-meta-sealgate";
/// User metadata that a backend stores, names and values counted: S3's 2 KB.
pub const BACKEND_LIMIT: usize = 2048;
/// Characters that the sealed value may have: what both names and the envelope leave of 2 KB.
pub const MAX_VALUE: usize = BACKEND_LIMIT - envelope::HEADER.len() - envelope::HEADER_LEN - HEADER.len();

const LABEL: &str = "sealgate/v1/meta";
const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
/// Bound of the text, coding byte excluded: as written, and after inflating.
const MAX_TEXT: usize = 65_536;
/// Bound of the text as stored, before any work is done on it; readers accept more than writers write.
const MAX_READ: usize = 65_536 * 4 / 3;

/// Characters of the header value that [`seal`] would make; compare with [`MAX_VALUE`].
///
/// # Errors
/// [`Error::Seal`] for names that are not lower-case header names, or values with a line break or NUL.
pub fn sealed_len(metadata: &Metadata) -> Result<usize, Error> {
    Ok(text::encoded_len(SALT + TAG + encode(metadata)?.len()))
}

/// Seals metadata for the object whose envelope this is, with its metadata flag set.
///
/// # Errors
/// [`Error::MetadataTooLarge`] above [`MAX_VALUE`] characters; [`Error::Seal`] as [`sealed_len`], for an envelope
/// without the flag, or with another object's keys.
pub fn seal(keys: &ObjectKeys, envelope: &Envelope, metadata: &Metadata) -> Result<String, Error> {
    if !envelope.has_metadata() || envelope.object_id() != keys.object_id() {
        return Err(Error::Seal("envelope without metadata flag, or of another object"));
    }
    let plain = encode(metadata)?;
    let needed = text::encoded_len(SALT + TAG + plain.len());
    if needed > MAX_VALUE {
        return Err(Error::MetadataTooLarge { needed, limit: MAX_VALUE });
    }
    let salt: [u8; SALT] = kdf::random()?;
    let sealed = keys.one_shot(LABEL, &salt)?.seal(&envelope.to_bytes(), plain)?;
    Ok(text::encode(&[&salt[..], &sealed].concat()))
}

/// Opens the metadata of the object whose envelope this is; `value` is the header, if there is one.
///
/// With flag 0 and no header the result is empty: such an object answers `binary/octet-stream`, never the backend's type.
///
/// # Errors
/// [`Error::Metadata`], also for a header without its flag and a flag without its header.
pub fn open(keys: &ObjectKeys, envelope: &Envelope, value: Option<&str>) -> Result<Metadata, Error> {
    let value = match (envelope.has_metadata(), value) {
        (false, None) => return Ok(Metadata::new()),
        (false, Some(_)) => return Err(Error::Metadata("header without its flag")),
        (true, None) => return Err(Error::Metadata("flag without its header")),
        (true, Some(value)) => value,
    };
    if value.len() > MAX_READ {
        return Err(Error::Metadata("too long"));
    }
    let bytes = text::decode(value).ok_or(Error::Metadata("not canonical base64url"))?;
    let (salt, sealed) = bytes.split_first_chunk::<SALT>().ok_or(Error::Metadata("too short"))?;
    let plain = keys.one_shot(LABEL, salt)?.open(&envelope.to_bytes(), sealed);
    decode(&plain.ok_or(Error::Metadata("does not open"))?)
}

/// coding u8 ‖ (lp(name) ‖ lp(value))*, deflated when that is shorter.
fn encode(metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let mut plain = vec![PLAIN];
    for (name, value) in metadata {
        if !is_name(name.as_bytes()) {
            return Err(Error::Seal("metadata name is not a lower-case header name"));
        }
        if !is_value(value) {
            return Err(Error::Seal("metadata value with a line break or NUL"));
        }
        put_lp(&mut plain, name.as_bytes()).ok_or(Error::Seal("metadata name too long"))?;
        put_lp(&mut plain, value).ok_or(Error::Seal("metadata value too long"))?;
    }
    if plain.len() - 1 > MAX_TEXT {
        return Err(Error::Seal("metadata above 64 KiB"));
    }
    Ok(deflate(&plain[1..]).map_or(plain, |short| [&[DEFLATED], &short[..]].concat()))
}

pub(crate) fn decode(plain: &[u8]) -> Result<Metadata, Error> {
    let (coding, body) = plain.split_first().ok_or(Error::Metadata("empty text"))?;
    let inflated;
    let body = match *coding {
        PLAIN => body,
        DEFLATED => {
            inflated = inflate(body)?;
            &inflated
        }
        _ => return Err(Error::Metadata("unknown coding")),
    };
    let mut reader = Reader::new(body);
    let mut metadata = Metadata::new();
    while !reader.is_empty() {
        let short = || Error::Metadata("text ends early");
        let name = reader.lp().ok_or_else(short)?;
        let value = reader.lp().ok_or_else(short)?;
        if !is_name(name) || !is_value(value) {
            return Err(Error::Metadata("not a lower-case header name or not a header value"));
        }
        let name = str::from_utf8(name).map_err(|_| Error::Metadata("name is not ASCII"))?;
        if metadata.last_key_value().is_some_and(|(last, _)| last.as_str() >= name) {
            return Err(Error::Metadata("names not sorted, each once"));
        }
        metadata.insert(name.to_owned(), value.to_vec());
    }
    Ok(metadata)
}

/// An RFC 9110 token without upper-case letters.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// What cannot end a header line early.
fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Raw deflate into fewer bytes than the input has; `None` where that does not do.
fn deflate(plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; plain.len().checked_sub(1)?];
    let mut deflater = Compress::new(Compression::best(), false);
    let status = deflater.compress(plain, &mut out, FlushCompress::Finish);
    out.truncate(usize::try_from(deflater.total_out()).ok()?);
    matches!(status, Ok(Status::StreamEnd)).then_some(out)
}

/// At most 64 KiB, and nothing after the stream.
fn inflate(deflated: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(MAX_TEXT + 1);
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress_vec(deflated, &mut out, FlushDecompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) || out.len() > MAX_TEXT {
        return Err(Error::Metadata("does not inflate to at most 64 KiB"));
    }
    if inflater.total_in() != deflated.len() as u64 {
        return Err(Error::Metadata("bytes after the deflate stream"));
    }
    Ok(out)
}
