//! Lookup in part tables.

use crate::setup::{Bucket, entry, keys};
use proptest::prelude::{any, prop_assert_eq, proptest};
use sealgate_envelope::size::{MIN_PART, chunks_size, stored_size};
use sealgate_envelope::{Kind, PartTable, Suite, Trailer, TrailerPlain};

fn table(sizes: &[u64]) -> PartTable {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let parts = sizes.iter().zip(1..).map(|(size, n)| entry(n * 3, *size, false)).collect();
    let plain = TrailerPlain { plaintext_len: sizes.iter().sum(), parts, checksums: Vec::new() };
    let sealed = plain.seal(&keys, &bucket.recovery(&keys, Kind::Multipart)).unwrap();
    let total = stored_size(plain.plaintext_len).unwrap();
    Trailer::open(&keys, Kind::Multipart, total, &sealed).unwrap().table().clone()
}

proptest! {
    #[test]
    fn pieces_cover_a_range_exactly(
        mut sizes in proptest::collection::vec(MIN_PART..MIN_PART + 200_000, 1..6), last in 0..200_000u64,
        a in any::<u64>(), b in any::<u64>(),
    ) {
        sizes.push(last);
        let table = table(&sizes);
        let total: u64 = sizes.iter().sum();
        let (a, b) = (a % total, b % total);
        let (start, end) = (a.min(b), a.max(b));
        let pieces = table.pieces(start, end).unwrap();
        prop_assert_eq!(pieces.iter().map(|piece| piece.len).sum::<u64>(), end - start + 1);
        for pair in pieces.windows(2) {
            prop_assert_eq!(pair[0].chunks.stored.end, pair[1].chunks.stored.start, "one backend range serves it");
            prop_assert_eq!(pair[0].part + 1, pair[1].part);
        }
        let (part, offset) = table.locate(start).unwrap();
        prop_assert_eq!(pieces[0].part, part);
        prop_assert_eq!(u64::from(pieces[0].chunks.first) * 65_536 + pieces[0].chunks.skip as u64, offset);
        prop_assert_eq!(table.parts()[part].plain.start + offset, start);
    }
}

#[test]
fn spans_lie_one_after_another() {
    let sizes = [MIN_PART + 1, MIN_PART, 0];
    let table = table(&sizes);
    let numbers: Vec<_> = table.parts().iter().map(|part| part.number).collect();
    assert_eq!(numbers, [3, 6, 9]);
    assert_eq!(table.parts()[1].plain, MIN_PART + 1..2 * MIN_PART + 1);
    assert_eq!(table.parts()[1].stored.start, chunks_size(MIN_PART + 1).unwrap());
    assert_eq!(table.parts()[2].plaintext_len(), 0);
    assert_eq!(table.locate(MIN_PART), Some((0, MIN_PART)));
    assert_eq!(table.locate(MIN_PART + 1), Some((1, 0)));
    assert_eq!(table.locate(2 * MIN_PART + 1), None, "an empty part holds no byte");
    assert_eq!(table.pieces(0, 2 * MIN_PART + 1), None);
    assert_eq!(table.pieces(1, 0), None);
}

#[test]
fn a_single_put_is_one_span() {
    let table = PartTable::single(100_000).unwrap();
    assert_eq!((table.parts().len(), table.parts()[0].number, table.parts()[0].salt), (1, 0, None));
    assert_eq!(table.trailer_start(), 100_056);
    assert_eq!(table.pieces(70_000, 99_999).unwrap()[0].chunks.stored, 65_564..100_056);
    let empty = PartTable::single(0).unwrap();
    assert_eq!((empty.locate(0), empty.trailer_start()), (None, 0));
}
