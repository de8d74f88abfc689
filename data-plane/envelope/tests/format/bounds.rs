//! Every bound of the format: what just meets it is taken, what passes it by one is refused, and for that reason.

use crate::differential::dek_of;
use crate::reference::{chunk_nonce, hkdf, info, seal, seal_trailer};
use crate::setup::{Bucket, entry, keys, plaintext, seal_part};
use sealgate_envelope::size::{
    CHUNK, MAX_PLAINTEXT, MIN_PART, STORED_CHUNK, chunk_range, chunks_size, stored_size,
};
use sealgate_envelope::{
    Checksum, ChecksumCode, Error, FullChecksum, Kind, ObjectKeys, PartOpener, PartReader, PartSealer, Suite,
    Trailer, TrailerPlain,
};

fn full(codes: &[ChecksumCode]) -> Vec<FullChecksum> {
    let value = |code: &ChecksumCode| Checksum::new(*code, &vec![6; code.value_len()]).unwrap();
    codes.iter().map(|code| FullChecksum { checksum: value(code), composite: false }).collect()
}

/// 78 bytes as they are written, which is all the room beside a table.
const FIT: [ChecksumCode; 6] = [
    ChecksumCode::Crc32,
    ChecksumCode::Crc32c,
    ChecksumCode::Crc64Nvme,
    ChecksumCode::Sha256,
    ChecksumCode::Md5,
    ChecksumCode::Xxh64,
];
/// 79 bytes.
const DO_NOT_FIT: [ChecksumCode; 3] = [ChecksumCode::Crc32, ChecksumCode::Crc64Nvme, ChecksumCode::Sha512];

#[test]
fn part_numbers_end_at_10_000() {
    let keys = keys(Suite::Aes256Gcm);
    assert!(PartSealer::new(&keys, 10_000).is_ok());
    assert!(PartOpener::new(&keys, 10_000, Some([1; 12])).is_ok());
    assert_eq!(PartSealer::new(&keys, 10_001).err(), Some(Error::Seal("part number above 10,000")));
    assert_eq!(PartOpener::new(&keys, 10_001, None).err(), Some(Error::Table("part number above 10,000")));
}

#[test]
fn plaintext_ends_at_50_tib() {
    let keys = keys(Suite::Aes256Gcm);
    let reader = |len| PartReader::new(PartOpener::new(&keys, 0, None).unwrap(), len).err();
    assert_eq!(reader(MAX_PLAINTEXT), None);
    assert_eq!(reader(MAX_PLAINTEXT + 1), Some(Error::Size("part above 50 TiB")));
    assert!(chunk_range(MAX_PLAINTEXT - 1, MAX_PLAINTEXT - 1, MAX_PLAINTEXT).is_some());
    assert_eq!(chunk_range(0, 0, MAX_PLAINTEXT + 1), None);
    assert_eq!(chunk_range(1, 0, 5), None, "a range that ends before it starts");
}

/// A chunk under the object's own key, of whatever length: made by who holds the DEK.
fn forged(dek: &[u8; 32], keys: &ObjectKeys, index: u32, last: bool, len: usize) -> Vec<u8> {
    let info = [&info("part", keys.object_id().as_bytes())[..], &[0, 0]].concat();
    let key = hkdf(dek, &[1; 12], &info);
    [&[1; 12][..], &seal(&key, chunk_nonce(index, last), b"", &vec![5; len])].concat()
}

#[test]
fn a_chunk_of_a_wrong_length_is_refused_although_it_would_open() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let dek = dek_of(&bucket, &bucket.envelope(&keys, Some(1), false).to_bytes());
    let open = |index, last, len| {
        let mut chunk = forged(&dek, &keys, index, last, len);
        let opener = || PartOpener::new(&keys, 0, None).unwrap();
        let into = opener().open_at_into(index, last, &chunk, &mut vec![0; len]);
        assert_eq!(into, opener().open_at(index, last, &mut chunk).map(|plain| plain.len()));
        into
    };
    for (last, len) in [(true, 1), (true, CHUNK - 1), (true, CHUNK), (false, CHUNK)] {
        assert_eq!(open(3, last, len), Ok(len));
    }
    for last in [true, false] {
        assert_eq!(open(3, last, 0), Err(Error::Chunk { index: 3, why: "too short" }));
    }
    for (last, len) in [(true, CHUNK + 1), (false, CHUNK + 1), (false, CHUNK - 1), (false, 1)] {
        let wrong = Error::Chunk { index: 3, why: "wrong length for its place" };
        assert_eq!(open(3, last, len), Err(wrong), "last: {last}, {len} bytes");
    }
}

#[test]
fn a_part_ends_where_its_length_says() {
    let keys = keys(Suite::Aes256Gcm);
    let mut sealer = PartSealer::new(&keys, 4).unwrap();
    assert!(!sealer.is_finished());
    let stored = seal_part(&mut sealer, &plaintext(CHUNK + 20));
    assert!(sealer.is_finished());
    let (first, second) = stored.split_at(STORED_CHUNK);
    // The second chunk is genuine, and the last; only the length that the table or the envelope proves tells it apart.
    for (len, taken) in [(CHUNK + 10, false), (CHUNK + 20, true), (CHUNK + 30, false)] {
        for in_place in [true, false] {
            let opener = PartOpener::new(&keys, 4, None).unwrap();
            let mut reader = PartReader::new(opener, len as u64).unwrap();
            assert_eq!((reader.is_done(), reader.opener().salt()), (false, None));
            reader.open_next(&mut first.to_vec()).unwrap();
            assert_eq!((reader.is_done(), reader.opener().salt()), (false, Some(sealer.salt())));
            let opened = if in_place {
                reader.open_next(&mut second.to_vec()).map(|plain| plain.len())
            } else {
                reader.open_next_into(second, &mut [0; 30])
            };
            let wrong = Error::Chunk { index: 1, why: "wrong length for its place" };
            assert_eq!(opened, if taken { Ok(20) } else { Err(wrong) }, "{len} bytes, in place: {in_place}");
            assert_eq!((reader.is_done(), reader.next_index()), (taken, if taken { 2 } else { 1 }));
        }
    }
}

#[test]
fn trailers_are_as_long_as_the_size_allows() {
    let keys = keys(Suite::Aes256Gcm);
    // 10 MiB: q = 2. The bytes are no trailer; the length is refused first, or the recovery block is what is wrong.
    let total = stored_size(2 * MIN_PART).unwrap();
    let why = |kind, len: usize| {
        let mut bytes = vec![0; len];
        *bytes.last_chunk_mut().unwrap() = (len as u32).to_be_bytes();
        Trailer::open(&keys, kind, total, &bytes).err()
    };
    for (kind, least, most) in [(Kind::Single, 320 + 256, 320 + 256), (Kind::Multipart, 320 + 200, 320 + 256)]
    {
        for outside in [least - 1, most + 1] {
            let bounds = Error::Trailer("length out of bounds for its size");
            assert_eq!(why(kind, outside), Some(bounds), "{kind:?}, {outside}");
        }
        for inside in [least, most] {
            assert_eq!(why(kind, inside), Some(Error::Recovery("unknown version")), "{kind:?}, {inside}");
        }
    }
}

#[test]
fn the_fullest_trailer_is_full_to_the_byte() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let recovery = bucket.recovery(&keys, Kind::Multipart);
    let plain = |codes: &[ChecksumCode]| TrailerPlain {
        plaintext_len: 5,
        parts: vec![entry(1, 5, true)],
        checksums: full(codes),
    };
    let (fits, total) = (plain(&FIT), stored_size(5).unwrap());
    let sealed = fits.seal(&keys, &recovery).unwrap();
    assert_eq!(sealed.len(), 320);
    let opened = Trailer::open(&keys, Kind::Multipart, total, &sealed).unwrap();
    assert_eq!((opened.entries(), opened.checksums()), (&fits.parts[..], &fits.checksums[..]));
    let long = Error::Seal("checksums too long");
    assert_eq!(plain(&DO_NOT_FIT).seal(&keys, &recovery).err(), Some(long.clone()));
    // Without a table 178 bytes fit beside 320; all ten have 190.
    let single = |codes: &[ChecksumCode]| {
        let plain = TrailerPlain { plaintext_len: 5, parts: vec![], checksums: full(codes) };
        plain.seal(&keys, &bucket.recovery(&keys, Kind::Single)).err()
    };
    assert_eq!(single(&ChecksumCode::ALL[1..]), Some(long.clone()), "185");
    assert_eq!(single(&ChecksumCode::ALL), Some(long), "190");
    let but_two: Vec<_> =
        ChecksumCode::ALL.into_iter().filter(|code| ![1, 3].contains(&code.code())).collect();
    assert_eq!(single(&but_two), None, "176");
}

#[test]
fn a_reader_takes_78_bytes_of_checksums_beside_a_table() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let dek = dek_of(&bucket, &bucket.envelope(&keys, None, false).to_bytes());
    let (recovery, total) = (bucket.recovery(&keys, Kind::Multipart).to_bytes(), stored_size(5).unwrap());
    let read = |codes: &[ChecksumCode]| {
        let mut text = [&5u64.to_be_bytes()[..], &[0, 1, codes.len() as u8]].concat();
        for code in codes {
            text.push(code.code());
            text.extend(vec![6; code.value_len()]);
        }
        text.extend([&[0, 1, 0, 0, 0, 0, 5, 0][..], &[1; 12], &[7; 16]].concat());
        let length = (total - chunks_size(5).unwrap()) as u32;
        let sealed = seal_trailer(&dek, (2, keys.object_id().as_bytes()), total, length, &recovery, &text);
        Trailer::open(&keys, Kind::Multipart, total, &sealed).map(|trailer| trailer.checksums().to_vec())
    };
    assert_eq!(read(&FIT), Ok(full(&FIT)));
    assert_eq!(read(&DO_NOT_FIT), Err(Error::Checksum("list too long")));
}

#[test]
fn parts_end_below_1_tib() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let recovery = bucket.recovery(&keys, Kind::Multipart);
    let of = |size| {
        TrailerPlain { plaintext_len: size, parts: vec![entry(1, size, false)], checksums: vec![] }
            .seal(&keys, &recovery)
    };
    let largest = (1 << 40) - 1;
    let opened =
        Trailer::open(&keys, Kind::Multipart, stored_size(largest).unwrap(), &of(largest).unwrap()).unwrap();
    assert_eq!(opened.entries()[0].size, largest);
    assert_eq!(of(largest + 1).err().map(|error| error.stage()), Some("table"));
}
