//! Objects of any split: room for the largest tables, and any range read back from the chunks that a table names.

use crate::setup::{Bucket, entry, keys, plaintext, seal_part};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use sealgate_envelope::size::{
    MAX_PLAINTEXT, MIN_PART, STORED_CHUNK, chunks_size, least_trailer_len, single_trailer_len, stored_size,
};
use sealgate_envelope::{
    Kind, PartEntry, PartOpener, PartReader, PartSealer, Suite, Trailer, TrailerPlain, trailer,
};
use std::sync::{Arc, LazyLock};

static PLAINTEXT: LazyLock<Vec<u8>> = LazyLock::new(|| plaintext(4 * MIN_PART as usize));

/// The next of a sequence that a seed decides: thousands of sizes need no strategy each.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn splits_up_to_50_tib_have_room(
        count in 1..=10_000u16, seed in any::<u64>(), spread in 0..=33u32, last in 0..MIN_PART * 2, longest in any::<bool>(),
    ) {
        let mut state = seed;
        // No more than 50 TiB together: 5 GiB a part, or less where there are many.
        let most = (1u64 << spread).min(MAX_PLAINTEXT / u64::from(count) - MIN_PART);
        let mut parts: Vec<_> = (1..count).map(|n| entry(n, MIN_PART + next(&mut state) % most, longest)).collect();
        parts.push(entry(count, last, longest));
        let plaintext_len: u64 = parts.iter().map(|part| part.size).sum();
        let chunks: u64 = parts.iter().map(|part| chunks_size(part.size).unwrap()).sum();
        let plain = TrailerPlain { plaintext_len, parts, checksums: Vec::new() };
        let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
        let sealed = plain.seal(&keys, &bucket.recovery(&keys, Kind::Multipart)).unwrap();
        let (total, len) = (stored_size(plaintext_len).unwrap(), sealed.len() as u64);
        prop_assert_eq!(chunks + len, total);
        prop_assert!((least_trailer_len(plaintext_len)..=single_trailer_len(plaintext_len)).contains(&len));
        let opened = Trailer::open(&keys, Kind::Multipart, total, &sealed).unwrap();
        prop_assert_eq!(opened.entries(), plain.parts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_range_of_any_split_gives_its_bytes(
        sizes in proptest::collection::vec(MIN_PART..MIN_PART + 200_000, 0..3), last in 0..200_000u64, chacha in any::<bool>(),
        ranges in proptest::collection::vec((any::<u64>(), any::<u64>()), 12),
    ) {
        let suite = if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
        let (bucket, keys) = (Bucket::new(), keys(suite));
        let (mut body, mut parts, mut at) = (Vec::new(), Vec::new(), 0);
        for (size, number) in sizes.into_iter().chain([last]).zip([2, 3, 777]) {
            let mut sealer = PartSealer::new(&keys, number).unwrap();
            body.extend(seal_part(&mut sealer, &PLAINTEXT[at..at + size as usize]));
            parts.push(PartEntry { salt: sealer.salt(), ..entry(number, size, false) });
            at += size as usize;
        }
        let plain = TrailerPlain { plaintext_len: at as u64, parts, checksums: Vec::new() };
        body.extend(plain.seal(&keys, &bucket.recovery(&keys, Kind::Multipart)).unwrap());
        let opened = Trailer::open(&keys, Kind::Multipart, body.len() as u64, trailer::split(&body).unwrap().1).unwrap();
        // First and last byte, the seams, and anything.
        let seams = opened.table().parts().iter().map(|part| (part.plain.end.saturating_sub(1), part.plain.end));
        for (a, b) in ranges.into_iter().chain([(0, 0), (0, u64::MAX)]).chain(seams).filter(|_| at > 0) {
            let (a, b) = (a.min(at as u64 - 1), if b == u64::MAX { at as u64 - 1 } else { b % at as u64 });
            let (start, end) = (a.min(b), a.max(b));
            prop_assert!(read(&keys, &opened, &body, start, end) == PLAINTEXT[start as usize..=end as usize]);
        }
    }
}

/// The bytes `start..=end`, from the chunks that the table names and no others.
fn read(
    keys: &Arc<sealgate_envelope::ObjectKeys>,
    opened: &Trailer,
    body: &[u8],
    start: u64,
    end: u64,
) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in opened.table().pieces(start, end).unwrap() {
        let part = &opened.table().parts()[piece.part];
        let opener = PartOpener::new(keys, part.number, part.salt).unwrap();
        let mut reader = PartReader::starting_at(opener, part.plaintext_len(), piece.chunks.first).unwrap();
        let mut text = Vec::new();
        for chunk in
            body[piece.chunks.stored.start as usize..piece.chunks.stored.end as usize].chunks(STORED_CHUNK)
        {
            text.extend_from_slice(reader.open_next(&mut chunk.to_vec()).unwrap());
        }
        assert_eq!(reader.next_index(), u64::from(piece.chunks.last) + 1);
        out.extend_from_slice(&text[piece.chunks.skip..piece.chunks.skip + piece.len as usize]);
    }
    out
}
