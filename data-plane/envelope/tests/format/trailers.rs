//! Trailers: exactly T(P), room for every legal split, and every byte proved.

use crate::setup::{Bucket, entry, keys};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use sealgate_envelope::size::{MAX_PLAINTEXT, MIN_PART, chunks_size, stored_size, suffix_len};
use sealgate_envelope::{
    Checksum, ChecksumCode, Error, FullChecksum, Kind, PartEntry, Suite, Trailer, TrailerPlain, trailer,
};

fn full(code: ChecksumCode, composite: bool) -> FullChecksum {
    FullChecksum { checksum: Checksum::new(code, &vec![1; code.value_len()]).unwrap(), composite }
}

/// The most that fits beside a table: 74 of 78 bytes.
fn most_checksums() -> Vec<FullChecksum> {
    vec![full(ChecksumCode::Crc64Nvme, false), full(ChecksumCode::Sha512, true)]
}

fn single(plaintext_len: u64) -> TrailerPlain {
    TrailerPlain { plaintext_len, parts: Vec::new(), checksums: vec![full(ChecksumCode::Sha256, false)] }
}

fn multipart(parts: Vec<PartEntry>) -> TrailerPlain {
    let plaintext_len = parts.iter().map(|part| part.size).sum();
    TrailerPlain { plaintext_len, parts, checksums: most_checksums() }
}

/// Seals, checks the length, opens from the suffix that a reader fetches.
fn round_trip(plain: &TrailerPlain, kind: Kind) -> Trailer {
    let bucket = Bucket::new();
    let keys = keys(Suite::Aes256Gcm);
    let sealed = plain.seal(&keys, &bucket.recovery(&keys, kind)).unwrap();
    let chunks: u64 = match kind {
        Kind::Single => chunks_size(plain.plaintext_len).unwrap(),
        Kind::Multipart => plain.parts.iter().map(|part| chunks_size(part.size).unwrap()).sum(),
    };
    let total = stored_size(plain.plaintext_len).unwrap();
    assert_eq!(chunks + sealed.len() as u64, total, "the body is T(P)");
    assert!(sealed.len() as u64 <= suffix_len(plain.plaintext_len), "the suffix holds the trailer");
    let suffix =
        [vec![0xEE; suffix_len(plain.plaintext_len) as usize - sealed.len()], sealed.clone()].concat();
    let (_, found) = trailer::split(&suffix).unwrap();
    assert_eq!(found, sealed);
    let opened = Trailer::open(&keys, kind, total, found).unwrap();
    assert_eq!((opened.plaintext_len(), opened.stored_size()), (plain.plaintext_len, total));
    assert_eq!((opened.entries(), opened.checksums()), (&plain.parts[..], &plain.checksums[..]));
    assert_eq!(opened.table().plaintext_len(), plain.plaintext_len);
    assert_eq!(opened.table().trailer_start(), chunks);
    assert_eq!(trailer::recovery_of(&suffix).unwrap(), *opened.recovery());
    assert!(opened.is_made_of(found) && !opened.is_made_of(&suffix[1..]) || suffix.len() == found.len());
    opened
}

/// Legal splits: strictly ascending numbers, all but the last at least 5 MiB, the last anything.
fn split() -> impl Strategy<Value = Vec<PartEntry>> {
    let sizes = proptest::collection::vec((MIN_PART..MIN_PART * 3, 1..200u16), 0..40);
    (sizes, 0..MIN_PART * 2, any::<bool>()).prop_map(|(sizes, last, checksum)| {
        let mut number = 0;
        let mut parts: Vec<_> = sizes
            .into_iter()
            .map(|(size, gap)| {
                number += gap;
                entry(number, size, checksum)
            })
            .collect();
        parts.push(entry(number + 1, last, checksum));
        parts
    })
}

proptest! {
    #[test]
    fn any_legal_split_has_room(parts in split()) {
        round_trip(&multipart(parts), Kind::Multipart);
    }

    #[test]
    fn single_puts_of_any_size(p in 0..MAX_PLAINTEXT / 1024) {
        round_trip(&single(p), Kind::Single);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused(parts in split(), at in any::<usize>(), bit in 0..8u32) {
        let (bucket, keys) = (Bucket::new(), keys(Suite::ChaCha20Poly1305));
        let plain = multipart(parts);
        let mut sealed = plain.seal(&keys, &bucket.recovery(&keys, Kind::Multipart)).unwrap();
        let total = stored_size(plain.plaintext_len).unwrap();
        let at = at % sealed.len();
        sealed[at] ^= 1 << bit;
        let stage = Trailer::open(&keys, Kind::Multipart, total, &sealed).err().map(|e| e.stage());
        prop_assert_eq!(matches!(stage, Some("trailer" | "recovery")), true);
    }
}

#[test]
fn the_worst_splits_have_room() {
    // Every chunk count one above what T(P) counts, every entry at its longest, up to the largest table.
    for count in [1, 2, 3, 100, 9_999, 10_000u16] {
        for last in [0, 1, MIN_PART - 1, MIN_PART, MIN_PART + 1] {
            let mut parts: Vec<_> = (1..count).map(|n| entry(n, MIN_PART + 1, true)).collect();
            parts.push(entry(count, last, true));
            round_trip(&multipart(parts), Kind::Multipart);
        }
        let mut least: Vec<_> = (1..count).map(|n| entry(n, MIN_PART, true)).collect();
        least.push(entry(10_000, 0, true));
        round_trip(&multipart(least), Kind::Multipart);
    }
}

#[test]
fn the_largest_objects() {
    round_trip(&single(MAX_PLAINTEXT), Kind::Single);
    round_trip(&single(0), Kind::Single);
    let parts = (1..=10_000).map(|n| entry(n, MAX_PLAINTEXT / 10_000, true)).collect();
    round_trip(&multipart(parts), Kind::Multipart);
}

#[test]
fn every_byte_of_a_single_trailer_counts() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let sealed = single(1000).seal(&keys, &bucket.recovery(&keys, Kind::Single)).unwrap();
    let total = stored_size(1000).unwrap();
    for at in 0..sealed.len() {
        let mut sealed = sealed.clone();
        sealed[at] ^= 0x10;
        assert!(Trailer::open(&keys, Kind::Single, total, &sealed).is_err(), "byte {at}");
    }
    // Size, kind and object are bound; bytes before or after are not ignored.
    for other in [stored_size(999).unwrap(), stored_size(1001).unwrap(), total + 1, 0, u64::MAX] {
        assert!(Trailer::open(&keys, Kind::Single, other, &sealed).is_err());
    }
    assert!(Trailer::open(&keys, Kind::Multipart, total, &sealed).is_err());
    assert!(Trailer::open(&crate::setup::keys(Suite::Aes256Gcm), Kind::Single, total, &sealed).is_err());
    assert!(Trailer::open(&keys, Kind::Single, total, &[&[0], &sealed[..]].concat()).is_err());
    assert!(Trailer::open(&keys, Kind::Single, total, &sealed[1..]).is_err());
}

#[test]
fn illegal_tables_are_not_sealed() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let stage = |plain: &TrailerPlain, kind| {
        plain.seal(&keys, &bucket.recovery(&keys, kind)).err().map(|e| e.stage())
    };
    let parts =
        |parts: &[(u16, u64)]| multipart(parts.iter().map(|(n, size)| entry(*n, *size, false)).collect());
    assert_eq!(stage(&parts(&[(1, MIN_PART), (7, 5)]), Kind::Multipart), None);
    for illegal in [
        parts(&[]),
        parts(&[(0, 5)]),
        parts(&[(10_001, 5)]),
        parts(&[(1, MIN_PART - 1), (2, 5)]),
        parts(&[(2, MIN_PART), (2, 5)]),
        parts(&[(2, MIN_PART), (1, 5)]),
        parts(&[(1, 1 << 40)]),
        TrailerPlain { plaintext_len: 6, ..parts(&[(1, 5)]) },
    ] {
        assert_eq!(stage(&illegal, Kind::Multipart), Some("table"), "{:?}", illegal.parts.first());
    }
    assert_eq!(stage(&parts(&[(1, 5)]), Kind::Single), Some("table"));
    let checksums = |checksums: Vec<FullChecksum>, kind| {
        let base = if kind == Kind::Single { single(5) } else { parts(&[(1, 5)]) };
        stage(&TrailerPlain { checksums, ..base }, kind)
    };
    let (crc, sha) = (full(ChecksumCode::Crc32, false), full(ChecksumCode::Sha512, false));
    assert_eq!(checksums(vec![sha.clone(), crc.clone()], Kind::Single), Some("seal"), "descending");
    assert_eq!(
        checksums(vec![crc.clone(), full(ChecksumCode::Crc32, true)], Kind::Multipart),
        Some("seal"),
        "twice"
    );
    assert_eq!(checksums(vec![full(ChecksumCode::Crc32, true)], Kind::Single), Some("seal"), "composite");
    let long = vec![crc, full(ChecksumCode::Md5, false), sha];
    assert_eq!(checksums(long.clone(), Kind::Multipart), Some("seal"), "above 78 bytes");
    assert_eq!(checksums(long, Kind::Single), None, "178 fit beside no table");
    let foreign = crate::setup::keys(Suite::Aes256Gcm);
    let recovery = bucket.recovery(&foreign, Kind::Single);
    assert!(matches!(single(5).seal(&keys, &recovery), Err(Error::Seal(_))));
}
