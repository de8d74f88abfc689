//! The metadata file: one codec for objects, parts and uploads. docs/filesystem-backend.md specifies the bytes.
//!
//! Two sections, each with a checksum of its own: the head, which HEAD and LIST read, and the segment table, which only
//! readers of the body need (10,000 parts make 240 KB of it). The version is byte 0; whatever is not exactly as
//! specified is refused.

use std::collections::BTreeMap;
use std::io;

/// The version of records that know nothing of versions: all of a bucket that never had any.
const PLAIN: u8 = 1;
/// The version of all others: two fields more.
const VERSIONED: u8 = 2;
/// Bits of the flags.
const HAS_VERSION_ID: u8 = 1;
const REVISED: u8 = 2;
/// Bytes before the fields of variable length.
const FIXED: usize = 42;
/// Bytes of a checksum.
const CRC: usize = 8;
/// Bytes of a segment.
const SEGMENT: usize = 24;
/// The longest head: metadata and headers are bounded when they are written.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// S3's largest number of parts.
pub(crate) const MAX_SEGMENTS: usize = 10_000;
/// The longest metadata file.
pub(crate) const MAX_RECORD: usize = MAX_HEAD + MAX_SEGMENTS * SEGMENT + CRC;

/// The version id of what was written without versioning.
pub(crate) const NULL: &str = "null";

/// A random name: of a write, of the body that it made, and (in hex) its ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl Id {
    /// A fresh one from the system's random source.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| io::Error::other(format!("no random bytes: {e}")))?;
        Ok(Self(bytes))
    }

    /// 32 lower-case hex digits.
    pub(crate) fn hex(self) -> String {
        hex::encode(self.0)
    }

    /// From 32 lower-case hex digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (hex::encode(bytes) == text).then_some(Self(bytes))
    }
}

/// What a metadata file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Part,
    Upload,
    /// Says that the key was deleted, where versions are kept: no body, no metadata.
    Marker,
}

/// A stretch of the body: the file `<id>.body`, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: Id,
    pub(crate) length: u64,
}

/// All of a metadata file but the segment table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// The write that made it: also the name of the temporary file that it was prepared in.
    pub(crate) id: Id,
    /// Milliseconds since 1970.
    pub(crate) modified: u64,
    /// Bytes of the body.
    pub(crate) size: u64,
    /// Entries of the segment table.
    pub(crate) segments: u32,
    /// The upload that it belongs to, or was completed from; else empty.
    pub(crate) upload: String,
    pub(crate) key: String,
    /// User metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Content-Type and the like, tags and locks.
    pub(crate) headers: BTreeMap<String, String>,
    /// Greater than that of every older version of the key; 0 where there are none.
    pub(crate) sequence: u64,
    /// Whether it has a version id of its own. Otherwise it is the `null` version.
    pub(crate) has_version_id: bool,
    /// Whether the record was written anew since the write that it names, for its tags or its locks: then several files may
    /// have been the record of the same bodies.
    pub(crate) revised: bool,
}

impl Head {
    /// The version id, which sorts by age among those of the key.
    pub(crate) fn version_id(&self) -> String {
        if self.has_version_id { format!("{:016x}{}", self.sequence, self.id.hex()) } else { NULL.to_owned() }
    }

    fn flags(&self) -> u8 {
        u8::from(self.has_version_id) * HAS_VERSION_ID + u8::from(self.revised) * REVISED
    }

    fn format(&self) -> u8 {
        let plain = self.sequence == 0 && self.flags() == 0 && self.kind != Kind::Marker;
        if plain { PLAIN } else { VERSIONED }
    }

    /// The ETag without quotes. Random, not computed from the content: it names this write, and costs nothing. Objects of
    /// several parts say how many, as S3's do.
    pub(crate) fn etag(&self) -> String {
        if self.kind == Kind::Object && !self.upload.is_empty() {
            format!("{}-{}", self.id.hex(), self.segments)
        } else {
            self.id.hex()
        }
    }
}

/// A metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) head: Head,
    pub(crate) segments: Vec<Segment>,
}

impl Record {
    /// The bytes. Fails when the head is longer than [`MAX_HEAD`].
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let head = &self.head;
        let mut out = Vec::with_capacity(512 + self.segments.len() * SEGMENT);
        out.push(head.format());
        out.push(match head.kind {
            Kind::Object => 1,
            Kind::Part => 2,
            Kind::Upload => 3,
            Kind::Marker => 4,
        });
        out.extend([0; 4]);
        out.extend(head.id.0);
        out.extend(head.modified.to_be_bytes());
        out.extend(head.size.to_be_bytes());
        out.extend(head.segments.to_be_bytes());
        put_text(&mut out, &head.upload)?;
        put_text(&mut out, &head.key)?;
        put_map(&mut out, &head.metadata)?;
        put_map(&mut out, &head.headers)?;
        if head.format() == VERSIONED {
            out.extend(head.sequence.to_be_bytes());
            out.push(head.flags());
        }
        let length = out.len() + CRC;
        if length > MAX_HEAD
            || self.segments.len() != head.segments as usize
            || self.segments.len() > MAX_SEGMENTS
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "metadata too long"));
        }
        out[2..6].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
        let crc = crc_fast::crc64_nvme(&out);
        out.extend(crc.to_be_bytes());
        if !self.segments.is_empty() {
            let table = out.len();
            for segment in &self.segments {
                out.extend(segment.id.0);
                out.extend(segment.length.to_be_bytes());
            }
            let crc = crc_fast::crc64_nvme(&out[table..]);
            out.extend(crc.to_be_bytes());
        }
        Ok(out)
    }

    /// Reads a whole file; nothing may follow.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let (head, length) = decode_head(bytes)?;
        let table = bytes.get(length..).ok_or_else(|| damaged("cut"))?;
        let count = head.segments as usize;
        if count == 0 {
            return if table.is_empty() && head.size == 0 {
                Ok(Self { head, segments: Vec::new() })
            } else {
                Err(damaged("bytes after its end"))
            };
        }
        if count > MAX_SEGMENTS || table.len() != count * SEGMENT + CRC {
            return Err(damaged("segment table"));
        }
        let (rows, crc) = table.split_at(count * SEGMENT);
        if crc_fast::crc64_nvme(rows).to_be_bytes() != crc {
            return Err(damaged("checksum"));
        }
        let mut segments = Vec::with_capacity(count);
        let mut input = Input(rows);
        for _ in 0..count {
            segments.push(Segment { id: Id(input.array()?), length: u64::from_be_bytes(input.array()?) });
        }
        let total = segments.iter().try_fold(0_u64, |sum, segment| sum.checked_add(segment.length));
        if total != Some(head.size) {
            return Err(damaged("sizes"));
        }
        Ok(Self { head, segments })
    }
}

/// Reads the head out of the first bytes of a file (at least [`MAX_HEAD`] of them, or all), with its length.
pub(crate) fn decode_head(bytes: &[u8]) -> io::Result<(Head, usize)> {
    let mut fixed = Input(bytes.get(..FIXED).ok_or_else(|| damaged("cut"))?);
    let [version, kind] = fixed.array()?;
    if version != PLAIN && version != VERSIONED {
        return Err(damaged("unknown version"));
    }
    let kind = match kind {
        1 => Kind::Object,
        2 => Kind::Part,
        3 => Kind::Upload,
        4 => Kind::Marker,
        _ => return Err(damaged("unknown kind")),
    };
    let length = u32::from_be_bytes(fixed.array()?) as usize;
    if !(FIXED + CRC..=MAX_HEAD).contains(&length) {
        return Err(damaged("length"));
    }
    let (body, crc) = bytes.get(..length).ok_or_else(|| damaged("cut"))?.split_at(length - CRC);
    if crc_fast::crc64_nvme(body).to_be_bytes() != crc {
        return Err(damaged("checksum"));
    }
    let id = Id(fixed.array()?);
    let modified = u64::from_be_bytes(fixed.array()?);
    let size = u64::from_be_bytes(fixed.array()?);
    let segments = u32::from_be_bytes(fixed.array()?);
    let mut rest = Input(&body[FIXED..]);
    let (upload, key) = (rest.text()?, rest.text()?);
    let (metadata, headers) = (rest.map()?, rest.map()?);
    let (mut sequence, mut flags) = (0, 0);
    if version == VERSIONED {
        sequence = u64::from_be_bytes(rest.array()?);
        [flags] = rest.array()?;
    }
    if !rest.0.is_empty() {
        return Err(damaged("bytes after its end"));
    }
    let (has_version_id, revised) = (flags & HAS_VERSION_ID != 0, flags & REVISED != 0);
    let head = Head {
        kind,
        id,
        modified,
        size,
        segments,
        upload,
        key,
        metadata,
        headers,
        sequence,
        has_version_id,
        revised,
    };
    // One file a meaning: the plain format where it says all, and no flags that nobody knows.
    if head.format() != version || head.flags() != flags || (kind == Kind::Marker && head.size != 0) {
        return Err(damaged("its version's fields"));
    }
    Ok((head, length))
}

fn put_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u16::try_from(text.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "metadata too long"))?;
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

fn put_map(out: &mut Vec<u8>, map: &BTreeMap<String, String>) -> io::Result<()> {
    let count = u16::try_from(map.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "metadata too long"))?;
    out.extend(count.to_be_bytes());
    for (name, value) in map {
        put_text(out, name)?;
        put_text(out, value)?;
    }
    Ok(())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("metadata file damaged: {what}"))
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| damaged("cut"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn text(&mut self) -> io::Result<String> {
        let length = u16::from_be_bytes(self.array()?);
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| damaged("not UTF-8"))
    }

    fn map(&mut self) -> io::Result<BTreeMap<String, String>> {
        let count = u16::from_be_bytes(self.array()?);
        let mut map = BTreeMap::new();
        for _ in 0..count {
            let (name, value) = (self.text()?, self.text()?);
            if map.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(damaged("names out of order"));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn sample(segments: usize) -> Record {
        let segments: Vec<_> = (0..segments)
            .map(|n| Segment { id: Id([u8::try_from(n % 256).unwrap(); 16]), length: n as u64 })
            .collect();
        let text = |t: &str| t.to_owned();
        Record {
            head: Head {
                kind: Kind::Object,
                id: Id([7; 16]),
                modified: 1_700_000_000_123,
                size: segments.iter().map(|s| s.length).sum(),
                segments: u32::try_from(segments.len()).unwrap(),
                upload: String::new(),
                key: text("a/é"),
                metadata: BTreeMap::from([(text("a"), text("1")), (text("b"), String::new())]),
                headers: BTreeMap::from([(text("content-type"), text("text/plain"))]),
                sequence: 0,
                has_version_id: false,
                revised: false,
            },
            segments,
        }
    }

    #[test]
    fn round_trip_of_every_size_of_table() {
        for count in [0, 1, 2, 300, MAX_SEGMENTS] {
            let record = sample(count);
            let bytes = record.encode().unwrap();
            assert!(bytes.len() <= MAX_RECORD);
            assert_eq!(Record::decode(&bytes).unwrap(), record, "{count}");
            assert_eq!(decode_head(&bytes[..bytes.len().min(MAX_HEAD)]).unwrap().0, record.head);
        }
        assert!(sample(MAX_SEGMENTS + 1).encode().is_err());
    }

    #[test]
    fn a_record_without_versions_has_the_first_format_and_any_other_the_second() {
        assert_eq!(sample(1).encode().unwrap()[0], 1);
        for change in [
            (|head: &mut Head| head.sequence = 1) as fn(&mut Head),
            |head| head.has_version_id = true,
            |head| head.revised = true,
            |head| head.kind = Kind::Marker,
        ] {
            let mut record = sample(0);
            change(&mut record.head);
            let bytes = record.encode().unwrap();
            assert_eq!((bytes[0], Record::decode(&bytes).unwrap()), (2, record));
        }
        // The second format saying nothing that the first could not say.
        let mut bytes = sample(0).encode().unwrap();
        bytes[0] = 2;
        bytes.truncate(bytes.len() - CRC);
        bytes.extend([0; 9]);
        let length = u32::try_from(bytes.len() + CRC).unwrap();
        bytes[2..6].copy_from_slice(&length.to_be_bytes());
        bytes.extend(crc_fast::crc64_nvme(&bytes).to_be_bytes());
        assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn version_ids_sort_by_age() {
        let mut head = sample(0).head;
        assert_eq!(head.version_id(), "null");
        head.has_version_id = true;
        let old = head.version_id();
        head.sequence = 300;
        assert!(old < head.version_id() && old.len() == 48);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let mut versioned = sample(2);
        (versioned.head.sequence, versioned.head.has_version_id) = (1, true);
        for record in [sample(2), versioned] {
            nothing_but_itself_is_read(&record.encode().unwrap());
        }
    }

    fn nothing_but_itself_is_read(bytes: &[u8]) {
        for end in 0..bytes.len() {
            assert!(Record::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&flipped).is_err(), "bit {bit}");
        }
        assert!(Record::decode(&[bytes, &[0]].concat()).is_err());
    }

    #[test]
    fn ids() {
        let id = Id::random().unwrap();
        assert_eq!(Id::from_hex(&id.hex()), Some(id));
        assert_eq!(Id::from_hex("00"), None);
        assert_eq!(Id::from_hex(&"A".repeat(32)), None);
    }
}
