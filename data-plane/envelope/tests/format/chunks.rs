//! Chunks: any split, any range, and nothing out of its place.

use crate::setup::{SUITES, keys, plaintext, seal_part};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use sealgate_envelope::size::{CHUNK, CHUNK_OVERHEAD, STORED_CHUNK};
use sealgate_envelope::{Error, ObjectKeys, PartOpener, PartReader, PartSealer, Suite, size};
use std::sync::Arc;

fn read(keys: &Arc<ObjectKeys>, part: u16, plain_len: u64, stored: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = PartReader::new(PartOpener::new(keys, part, None)?, plain_len)?;
    let (mut rest, mut plain) = (stored, Vec::new());
    while let Some(len) = reader.next_stored_len() {
        let (chunk, after) = rest.split_at_checked(len).ok_or(Error::Size("truncated"))?;
        plain.extend_from_slice(reader.open_next(&mut chunk.to_vec())?);
        rest = after;
    }
    assert!(reader.is_done());
    if rest.is_empty() { Ok(plain) } else { Err(Error::Size("bytes after the last chunk")) }
}

proptest! {
    #[test]
    fn what_was_sealed_opens(len in 0..300_000usize, chacha in any::<bool>(), part in 0..=10_000u16, in_place in any::<bool>()) {
        let keys = keys(SUITES[usize::from(chacha)]);
        let plain = plaintext(len);
        let mut sealer = PartSealer::new(&keys, part).unwrap();
        let mut stored = Vec::new();
        for (at, chunk) in plain.chunks(CHUNK).enumerate() {
            let last = at + 1 == len.div_ceil(CHUNK);
            let mut out = vec![0; chunk.len() + CHUNK_OVERHEAD];
            if in_place {
                out[12..12 + chunk.len()].copy_from_slice(chunk);
                sealer.seal_in_place(&mut out, last).unwrap();
            } else {
                sealer.seal_into(chunk, &mut out, last).unwrap();
            }
            stored.extend_from_slice(&out);
        }
        prop_assert_eq!(Some(stored.len() as u64), size::chunks_size(len as u64));
        prop_assert_eq!((sealer.stored_len(), sealer.plaintext_len()), (stored.len() as u64, len as u64));
        prop_assert_eq!(sealer.is_finished(), len > 0);
        prop_assert_eq!(read(&keys, part, len as u64, &stored).unwrap(), plain);
    }

    #[test]
    fn any_range_opens(len in 1..400_000usize, a in any::<usize>(), b in any::<usize>(), known in any::<bool>()) {
        let keys = keys(Suite::Aes256Gcm);
        let plain = plaintext(len);
        let mut sealer = PartSealer::new(&keys, 3).unwrap();
        let stored = seal_part(&mut sealer, &plain);
        let (a, b) = (a % len, b % len);
        let (start, end) = (a.min(b), a.max(b));
        let range = size::chunk_range(start as u64, end as u64, len as u64).unwrap();
        let opener = PartOpener::new(&keys, 3, known.then(|| sealer.salt())).unwrap();
        let mut reader = PartReader::starting_at(opener, len as u64, range.first).unwrap();
        let mut got = Vec::new();
        let mut rest = &stored[range.stored.start as usize..range.stored.end as usize];
        let mut out = vec![0; CHUNK];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(reader.next_stored_len().unwrap());
            let n = reader.open_next_into(chunk, &mut out).unwrap();
            got.extend_from_slice(&out[..n]);
            rest = after;
        }
        prop_assert_eq!(reader.next_index(), u64::from(range.last) + 1);
        prop_assert_eq!(&got[range.skip..range.skip + end - start + 1], &plain[start..=end]);
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused(at in any::<usize>(), bit in 0..8u32, len in 1..200_000usize) {
        let keys = keys(Suite::Aes256Gcm);
        let mut stored = seal_part(&mut PartSealer::new(&keys, 0).unwrap(), &plaintext(len));
        let at = at % stored.len();
        stored[at] ^= 1 << bit;
        let refused = matches!(read(&keys, 0, len as u64, &stored), Err(Error::Chunk { .. }));
        prop_assert!(refused);
    }
}

#[test]
fn a_failed_chunk_leaves_no_plaintext() {
    for suite in SUITES {
        let keys = keys(suite);
        let plain = vec![b'p'; CHUNK];
        let mut stored = seal_part(&mut PartSealer::new(&keys, 0).unwrap(), &plain);
        *stored.last_mut().unwrap() ^= 1;
        let mut out = vec![0; CHUNK];
        let mut opener = PartOpener::new(&keys, 0, None).unwrap();
        assert!(opener.open_at_into(0, true, &stored, &mut out).is_err());
        assert!(opener.open_at(0, true, &mut stored).is_err());
        assert!(opener.salt().is_none(), "a salt that opened nothing is not believed");
        for buffer in [&out, &stored] {
            assert!(!buffer.windows(8).any(|window| window == [b'p'; 8]));
        }
    }
}

#[test]
fn place_part_object_and_attempt_are_bound() {
    let keys_a = keys(Suite::Aes256Gcm);
    let plain = plaintext(3 * CHUNK);
    let stored = seal_part(&mut PartSealer::new(&keys_a, 1).unwrap(), &plain);
    let again = seal_part(&mut PartSealer::new(&keys_a, 1).unwrap(), &plain);
    assert_ne!(stored, again, "a retry has another salt");
    let len = plain.len() as u64;
    let chunk = |stored: &[u8], i: usize| stored[i * STORED_CHUNK..(i + 1) * STORED_CHUNK].to_vec();
    let refused = |stored: &[u8]| matches!(read(&keys_a, 1, len, stored), Err(Error::Chunk { .. }));

    let swapped = [chunk(&stored, 1), chunk(&stored, 0), chunk(&stored, 2)].concat();
    assert!(refused(&swapped));
    let mixed = [chunk(&stored, 0), chunk(&again, 1), chunk(&stored, 2)].concat();
    assert_eq!(read(&keys_a, 1, len, &mixed), Err(Error::Chunk { index: 1, why: "salt of another attempt" }));
    // The other attempt's chunk under this attempt's salt.
    let mut forged = chunk(&again, 1);
    forged[..12].copy_from_slice(&stored[..12]);
    assert!(refused(&[chunk(&stored, 0), forged, chunk(&stored, 2)].concat()));
    // Another part, another object.
    assert!(matches!(read(&keys_a, 2, len, &stored), Err(Error::Chunk { .. })));
    assert!(matches!(read(&keys(Suite::Aes256Gcm), 1, len, &stored), Err(Error::Chunk { .. })));
    // A salt that the table does not name.
    let salt = again[..12].try_into().unwrap();
    let mut opener = PartOpener::new(&keys_a, 1, Some(salt)).unwrap();
    assert!(opener.open_at(0, false, &mut chunk(&stored, 0)).is_err());
}

#[test]
fn a_part_cannot_end_early_or_go_on() {
    let keys = keys(Suite::Aes256Gcm);
    let plain = plaintext(3 * CHUNK);
    let stored = seal_part(&mut PartSealer::new(&keys, 1).unwrap(), &plain);
    // Dropping the last chunk needs the one before to open as last; it does not, nor does the last as not-last.
    assert!(read(&keys, 1, 2 * CHUNK as u64, &stored[..2 * STORED_CHUNK]).is_err());
    let mut opener = PartOpener::new(&keys, 1, None).unwrap();
    assert!(opener.open_at(1, true, &mut stored[STORED_CHUNK..2 * STORED_CHUNK].to_vec()).is_err());
    assert!(opener.open_at(2, false, &mut stored[2 * STORED_CHUNK..].to_vec()).is_err());
    assert!(opener.open_at(2, true, &mut stored[2 * STORED_CHUNK..].to_vec()).is_ok());
    let mut reader = PartReader::new(opener, plain.len() as u64).unwrap();
    for i in 0..3 {
        reader.open_next(&mut stored[i * STORED_CHUNK..(i + 1) * STORED_CHUNK].to_vec()).unwrap();
    }
    let more = reader.open_next(&mut stored[..STORED_CHUNK].to_vec()).err();
    assert_eq!(more, Some(Error::Chunk { index: 3, why: "follows the last" }));
}

#[test]
fn the_sealer_refuses_what_a_reader_would() {
    let keys = keys(Suite::Aes256Gcm);
    let mut sealer = PartSealer::new(&keys, 1).unwrap();
    let seal = |sealer: &mut PartSealer, len: usize, last| sealer.seal_in_place(&mut vec![0; len + 28], last);
    assert!(matches!(seal(&mut sealer, CHUNK - 1, false), Err(Error::Seal(_))));
    assert!(matches!(seal(&mut sealer, CHUNK + 1, true), Err(Error::Seal(_))));
    assert!(matches!(seal(&mut sealer, 0, true), Err(Error::Seal(_))));
    assert!(matches!(sealer.seal_in_place(&mut [0; 27], true), Err(Error::Seal(_))));
    assert!(matches!(sealer.seal_into(&[0; 5], &mut [0; 32], true), Err(Error::Seal(_))));
    assert_eq!(sealer.stored_len(), 0);
    seal(&mut sealer, CHUNK, false).unwrap();
    seal(&mut sealer, 1, true).unwrap();
    assert!(matches!(seal(&mut sealer, 1, true), Err(Error::Seal(_))));
    assert!(PartSealer::new(&keys, 10_001).is_err() && PartOpener::new(&keys, 10_001, None).is_err());
}
