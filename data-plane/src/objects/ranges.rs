//! What part of an object a client wants, and which stored bytes that may be before the object is known.

use sealgate_envelope::size::{CHUNK, CHUNK_OVERHEAD, MAX_PLAINTEXT, STORED_CHUNK, TRAILER_BASE};

use crate::backend::StoredRange;
use crate::s3::headers::{ByteRange, Satisfied};

/// Slack of a suffix request: for trailers longer than the shortest.
const SUFFIX_SLACK: u64 = 16 << 10;

/// First and last plaintext byte of a range in an object of `size` bytes; none when it is not satisfiable.
pub fn resolve(range: ByteRange, size: u64) -> Option<(u64, u64)> {
    match range.apply(size) {
        Satisfied::Part(part) => Some((part.start, part.end - 1)),
        Satisfied::Unsatisfiable => None,
    }
}

/// The stored range that has the wanted bytes if the object is a single PUT. What lies beyond the largest object there can
/// be is cut off: servers refuse numbers that do not fit into 63 bits.
pub fn guess(range: ByteRange) -> StoredRange {
    let chunk = CHUNK as u64;
    let stored = STORED_CHUNK as u64;
    match range {
        ByteRange::Closed(from, to) => {
            let (from, to) = (from.min(MAX_PLAINTEXT), to.min(MAX_PLAINTEXT));
            StoredRange::Inclusive(from / chunk * stored, (to / chunk + 1) * stored - 1)
        }
        ByteRange::From(from) => StoredRange::From(from.min(MAX_PLAINTEXT) / chunk * stored),
        ByteRange::Suffix(length) => {
            let length = length.min(MAX_PLAINTEXT);
            let overhead = CHUNK_OVERHEAD as u64 * (length.div_ceil(chunk) + 1);
            StoredRange::Suffix(length + chunk - 1 + overhead + TRAILER_BASE + SUFFIX_SLACK)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{guess, resolve};
    use crate::backend::StoredRange;
    use crate::s3::headers::ByteRange;
    use proptest::prelude::{any, prop_assert, proptest};
    use sealgate_envelope::PartTable;

    #[test]
    fn ranges_resolve_as_s3_does() {
        assert_eq!(resolve(ByteRange::Closed(0, 99), 10), Some((0, 9)));
        assert_eq!(resolve(ByteRange::Closed(10, 99), 10), None);
        assert_eq!(resolve(ByteRange::From(9), 10), Some((9, 9)));
        assert_eq!(resolve(ByteRange::Suffix(99), 10), Some((0, 9)));
        assert_eq!(resolve(ByteRange::Suffix(0), 10), None);
        assert_eq!(resolve(ByteRange::From(0), 0), None);
    }

    #[test]
    fn numbers_beyond_every_object_are_cut_off() {
        for number in [u64::MAX, 1 << 63, (1 << 63) - 1, 51 << 40] {
            let largest = match guess(ByteRange::Closed(5, number)) {
                StoredRange::Inclusive(0, end) => end,
                other => unreachable!("{other:?}"),
            };
            assert!(largest < 52 << 40 && largest > 50 << 40, "{largest}");
            assert!(matches!(guess(ByteRange::From(number)), StoredRange::From(from) if from < 52 << 40));
            assert!(
                matches!(guess(ByteRange::Suffix(number)), StoredRange::Suffix(length) if length < 52 << 40)
            );
        }
    }

    proptest! {
        #[test]
        fn the_guess_covers_what_a_single_put_needs(size in 1u64..1 << 32, from in any::<u64>(), length in 1u64..1 << 24) {
            let from = from % size;
            let ranges =
                [ByteRange::Closed(from, from.saturating_add(length)), ByteRange::From(from), ByteRange::Suffix(length)];
            let total = sealgate_envelope::size::stored_size(size).unwrap();
            for range in ranges {
                let (first, last) = resolve(range, size).unwrap();
                let table = PartTable::single(size).unwrap();
                let needed = &table.pieces(first, last).unwrap()[0].chunks.stored;
                let (start, end) = match guess(range) {
                    StoredRange::Inclusive(start, end) => (start, (end + 1).min(total)),
                    StoredRange::From(start) => (start, total),
                    // Long trailers are more than the slack; then the exact range is asked for.
                    StoredRange::Suffix(wanted) => (total.saturating_sub(wanted).min(needed.start), total),
                };
                prop_assert!(start <= needed.start && needed.end <= end, "{range:?} of {size}");
            }
        }
    }
}
