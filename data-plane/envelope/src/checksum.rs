//! Checksums of plaintext as sealed in trailers and notes: a code, and a value whose length follows from it.

use crate::error::Error;
use crate::wire::Reader;

/// Set in the code byte of a full-object checksum that was made from the parts' checksums.
const COMPOSITE: u8 = 0x80;

/// An algorithm and its code in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChecksumCode {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32 = 1,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c = 2,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme = 3,
    /// SHA-1, 20 bytes.
    Sha1 = 4,
    /// SHA-256, 32 bytes.
    Sha256 = 5,
    /// MD5, 16 bytes.
    Md5 = 6,
    /// SHA-512, 64 bytes.
    Sha512 = 7,
    /// XXH64, 8 bytes.
    Xxh64 = 8,
    /// XXH3 with 64 bits, 8 bytes.
    Xxh3 = 9,
    /// XXH128 (XXH3 with 128 bits), 16 bytes.
    Xxh128 = 10,
}

impl ChecksumCode {
    /// Every algorithm, ascending by code.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Md5,
        Self::Sha512,
        Self::Xxh64,
        Self::Xxh3,
        Self::Xxh128,
    ];

    /// The algorithm with this code, 1 to 10.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme | Self::Xxh64 | Self::Xxh3 => 8,
            Self::Md5 | Self::Xxh128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A value with its algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    code: ChecksumCode,
    value: Vec<u8>,
}

impl Checksum {
    /// `None` unless the value has the algorithm's length.
    #[must_use]
    pub fn new(code: ChecksumCode, value: &[u8]) -> Option<Self> {
        (value.len() == code.value_len()).then(|| Self { code, value: value.to_vec() })
    }

    /// The algorithm.
    #[must_use]
    pub fn code(&self) -> ChecksumCode {
        self.code
    }

    /// The value, as the algorithm defines its byte order.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// A checksum of the whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullChecksum {
    /// The value.
    pub checksum: Checksum,
    /// Made from the parts' checksums (S3's COMPOSITE) rather than from the object's bytes; multipart uploads only.
    pub composite: bool,
}

/// count u8 ‖ (code ‖ value)*, ascending by algorithm, each algorithm once; at most `limit` bytes after the count.
pub(crate) fn put_list<'a>(
    out: &mut Vec<u8>,
    list: impl Iterator<Item = (&'a Checksum, bool)>,
    limit: usize,
) -> Result<(), Error> {
    let count_at = out.len();
    out.push(0);
    let (mut count, mut previous) = (0u8, 0);
    for (checksum, composite) in list {
        let code = checksum.code.code();
        if code <= previous {
            return Err(Error::Seal("checksums not ascending, each once"));
        }
        (count, previous) = (count + 1, code);
        out.push(if composite { code | COMPOSITE } else { code });
        out.extend_from_slice(&checksum.value);
    }
    out[count_at] = count;
    if out.len() - count_at - 1 > limit { Err(Error::Seal("checksums too long")) } else { Ok(()) }
}

/// The inverse of [`put_list`].
pub(crate) fn take_list(reader: &mut Reader<'_>, limit: usize) -> Result<Vec<FullChecksum>, Error> {
    let short = || Error::Checksum("list ends early");
    let mut list: Vec<FullChecksum> = Vec::new();
    let mut len = 0;
    for _ in 0..reader.u8().ok_or_else(short)? {
        let byte = reader.u8().ok_or_else(short)?;
        let code = ChecksumCode::from_code(byte & !COMPOSITE).ok_or(Error::Checksum("unknown code"))?;
        if list.last().is_some_and(|last| last.checksum.code >= code) {
            return Err(Error::Checksum("not ascending, each once"));
        }
        let value = reader.take(code.value_len()).ok_or_else(short)?.to_vec();
        len += 1 + code.value_len();
        list.push(FullChecksum { checksum: Checksum { code, value }, composite: byte & COMPOSITE != 0 });
    }
    if len > limit { Err(Error::Checksum("list too long")) } else { Ok(list) }
}

/// One optional checksum whose code stands elsewhere in the record: 0 is none.
pub(crate) fn take_value(reader: &mut Reader<'_>, code: u8) -> Result<Option<Checksum>, Error> {
    if code == 0 {
        return Ok(None);
    }
    let code = ChecksumCode::from_code(code).ok_or(Error::Checksum("unknown code"))?;
    let value = reader.take(code.value_len()).ok_or(Error::Checksum("value ends early"))?.to_vec();
    Ok(Some(Checksum { code, value }))
}
