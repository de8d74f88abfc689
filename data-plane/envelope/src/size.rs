//! Sizes: a bijection between what a client stored (P) and what lies on the backend (T).
//!
//! T depends on P alone, never on how it was uploaded, so that a listing shows exact sizes without a HEAD, an index or
//! a key. All functions are total: what has no answer is `None`.

use std::ops::Range;

/// C: plaintext bytes of a full chunk.
pub const CHUNK: usize = 65_536;
/// Salt and tag of a chunk.
pub const CHUNK_OVERHEAD: usize = crate::SALT + crate::TAG;
/// A full chunk as stored.
pub const STORED_CHUNK: usize = CHUNK + CHUNK_OVERHEAD;
/// B: the least plaintext of a part that is not the last, 5 MiB.
pub const MIN_PART: u64 = 5 << 20;
/// The largest plaintext, 50 TiB.
pub const MAX_PLAINTEXT: u64 = 50 << 40;
/// The trailer of an object below 5 MiB, and the least of any.
pub const TRAILER_BASE: u64 = 320;
/// What the trailer grows by for every 5 MiB, up to 9,999 times.
pub const TRAILER_STEP: u64 = 128;
/// Part numbers go from 1 to this.
pub const MAX_PARTS: u16 = 10_000;
/// The longest trailer, 1,280,192 bytes.
pub const MAX_TRAILER: u64 = TRAILER_BASE + TRAILER_STEP * MAX_STEPS;

const MAX_STEPS: u64 = MAX_PARTS as u64 - 1;
const C: u64 = CHUNK as u64;
const OVERHEAD: u64 = CHUNK_OVERHEAD as u64;
const STORED: u64 = STORED_CHUNK as u64;
/// B': a minimal part as stored, with its share of the trailer.
const STORED_STEP: u64 = MIN_PART / C * STORED + TRAILER_STEP;

/// q: how many times the trailer grows for this plaintext.
pub(crate) fn steps(plain: u64) -> u64 {
    (plain / MIN_PART).min(MAX_STEPS)
}

/// T(P): bytes on the backend; `None` above [`MAX_PLAINTEXT`].
#[must_use]
pub fn stored_size(plain: u64) -> Option<u64> {
    Some(chunks_size(plain)? + single_trailer_len(plain))
}

/// The inverse of [`stored_size`]; `None` where T is not the size of any object.
///
/// T = 0 is `None` here: only a caller that knows the key can accept an empty directory marker, see [`listed_size`].
#[must_use]
pub fn plaintext_size(stored: u64) -> Option<u64> {
    let x = stored.checked_sub(TRAILER_BASE)?;
    let q = (x / STORED_STEP).min(MAX_STEPS);
    let r = x - q * STORED_STEP;
    let plain = (q * MIN_PART + r).checked_sub(OVERHEAD * r.div_ceil(STORED))?;
    (stored_size(plain)? == stored).then_some(plain)
}

/// The plaintext size that a listing shows for a key: [`plaintext_size`], and 0 for T = 0 at a key that ends in `/`.
#[must_use]
pub fn listed_size(key: &[u8], stored: u64) -> Option<u64> {
    if stored == 0 && key.ends_with(b"/") { Some(0) } else { plaintext_size(stored) }
}

/// Bytes of the chunks of a part with this plaintext; `None` above [`MAX_PLAINTEXT`].
#[must_use]
pub fn chunks_size(plain: u64) -> Option<u64> {
    (plain <= MAX_PLAINTEXT).then(|| plain + OVERHEAD * chunk_count(plain))
}

/// Chunks of a part with this plaintext; an empty part has none.
#[must_use]
pub fn chunk_count(plain: u64) -> u64 {
    plain.div_ceil(C)
}

/// Plaintext bytes of the chunk at this index; `None` beyond the last.
#[must_use]
pub fn chunk_len(plain: u64, index: u64) -> Option<usize> {
    let left = plain.checked_sub(index.checked_mul(C)?)?;
    usize::try_from(left.min(C)).ok().filter(|len| *len > 0)
}

/// Length of the trailer of a single PUT, and the upper bound for a multipart upload: 320 + 128·q.
#[must_use]
pub fn single_trailer_len(plain: u64) -> u64 {
    TRAILER_BASE + TRAILER_STEP * steps(plain)
}

/// The lower bound for the trailer of a multipart upload: 320 + 100·q.
///
/// With at most q + 1 parts, splitting costs at most q chunks more than T(P) counts, 28 bytes each.
#[must_use]
pub fn least_trailer_len(plain: u64) -> u64 {
    TRAILER_BASE + (TRAILER_STEP - OVERHEAD) * steps(plain)
}

/// Bytes at the end of a body that always contain its whole trailer.
#[must_use]
pub fn suffix_len(plain: u64) -> u64 {
    single_trailer_len(plain)
}

/// The chunks of one part that hold a range of its plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRange {
    /// Index of the first chunk.
    pub first: u32,
    /// Index of the last chunk, inclusive.
    pub last: u32,
    /// Their bytes, counted from the first byte of the part as stored; the end is exclusive.
    pub stored: Range<u64>,
    /// Plaintext bytes of the first chunk that come before the range.
    pub skip: usize,
}

/// The chunks that hold the plaintext bytes `start..=end` of a part; `None` unless start ≤ end < `part_plain_len`.
#[must_use]
pub fn chunk_range(start: u64, end: u64, part_plain_len: u64) -> Option<ChunkRange> {
    if start > end || end >= part_plain_len || part_plain_len > MAX_PLAINTEXT {
        return None;
    }
    let (first, last) = (start / C, end / C);
    let stored_end = ((last + 1) * STORED).min(chunks_size(part_plain_len)?);
    Some(ChunkRange {
        first: u32::try_from(first).ok()?,
        last: u32::try_from(last).ok()?,
        stored: first * STORED..stored_end,
        skip: usize::try_from(start % C).ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::{C, CHUNK_OVERHEAD, MAX_PLAINTEXT, MAX_TRAILER, MIN_PART, STORED, STORED_STEP};
    use super::{chunk_len, chunk_range, listed_size, plaintext_size, stored_size};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn inverse_holds(p: u64) {
        let t = stored_size(p).unwrap();
        assert_eq!(plaintext_size(t), Some(p), "P = {p}");
    }

    #[test]
    fn inverse_up_to_400_000() {
        let mut valid = 0;
        for t in 0..400_320 {
            if let Some(p) = plaintext_size(t) {
                assert_eq!(stored_size(p), Some(t));
                valid += 1;
            }
        }
        (0..400_000).for_each(inverse_holds);
        assert!(valid < 400_320 - 28, "sizes that no object has are refused");
        assert_eq!((plaintext_size(0), plaintext_size(319), plaintext_size(320)), (None, None, Some(0)));
    }

    #[test]
    fn inverse_around_every_boundary() {
        for q in 0..=10_001 {
            for d in 0..4 {
                inverse_holds(q * MIN_PART + d);
                inverse_holds((q * MIN_PART).saturating_sub(d));
                inverse_holds(q * MIN_PART + C + d);
                inverse_holds((q * MIN_PART + C).saturating_sub(d));
            }
        }
        for d in 0..200_000 {
            inverse_holds(MAX_PLAINTEXT - d);
        }
        assert_eq!(stored_size(MAX_PLAINTEXT + 1), None);
        let t = stored_size(MAX_PLAINTEXT).unwrap();
        assert!((t + 1..t + 200_000).all(|t| plaintext_size(t).is_none()));
        assert_eq!(plaintext_size(u64::MAX), None);
    }

    #[test]
    fn sizes_grow_with_the_plaintext() {
        // Strictly monotonous at every place where the formula bends, hence injective.
        for q in 1..=10_000 {
            let p = q * MIN_PART;
            assert!(stored_size(p - 1) < stored_size(p) && stored_size(p) < stored_size(p + 1));
        }
        assert_eq!(STORED_STEP, 5_245_248);
        assert_eq!(MAX_TRAILER, 1_280_192);
    }

    #[test]
    fn markers_are_listed_as_empty() {
        assert_eq!(listed_size(b"dir/", 0), Some(0));
        assert_eq!(listed_size(b"dir/", 320), Some(0));
        assert_eq!(listed_size(b"dir", 0), None);
        assert_eq!(listed_size(b"", 0), None);
    }

    proptest! {
        #[test]
        fn inverse_anywhere(p in 0..=MAX_PLAINTEXT) {
            let t = stored_size(p).unwrap();
            prop_assert_eq!(plaintext_size(t), Some(p));
        }

        #[test]
        fn a_valid_size_is_a_stored_size(t in 0..(1u64 << 46)) {
            if let Some(p) = plaintext_size(t) {
                prop_assert_eq!(stored_size(p), Some(t));
            }
        }

        #[test]
        fn a_range_covers_its_bytes_and_no_chunk_more(len in 1..20_000_000u64, a in 0..20_000_000u64, b in 0..20_000_000u64) {
            let (a, b) = (a % len, b % len);
            let (start, end) = (a.min(b), a.max(b));
            let range = chunk_range(start, end, len).unwrap();
            prop_assert_eq!(u64::from(range.first), start / C);
            prop_assert_eq!(u64::from(range.last), end / C);
            let stored: u64 = (range.first..=range.last)
                .map(|i| (chunk_len(len, i.into()).unwrap() + CHUNK_OVERHEAD) as u64).sum();
            prop_assert_eq!(range.stored.end - range.stored.start, stored);
            prop_assert_eq!(range.stored.start, u64::from(range.first) * STORED);
            prop_assert_eq!(u64::from(range.first) * C + range.skip as u64, start);
            prop_assert!(chunk_range(start, len, len).is_none());
        }
    }
}
