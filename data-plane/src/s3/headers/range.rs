//! The Range header as S3 reads it: one range of bytes. What is malformed, of another unit or names several ranges is
//! ignored, and the answer is the whole object.

use http::HeaderMap;
use http::header::RANGE;
use std::ops::Range;

/// A requested range, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both included.
    Closed(u64, u64),
    /// `first-`
    From(u64),
    /// `-count`: the last bytes.
    Suffix(u64),
}

/// What a range means for an object's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Satisfied {
    /// 206 with these bytes, at least one; the end is not included.
    Part(Range<u64>),
    /// 416 with `Content-Range: bytes */size`.
    Unsatisfiable,
}

impl ByteRange {
    /// The request's range; `None` where there is none or it is ignored.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<ByteRange> {
        let mut values = headers.get_all(RANGE).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        ByteRange::parse(value.to_str().ok()?)
    }

    /// Reads a header's value.
    #[must_use]
    pub fn parse(value: &str) -> Option<ByteRange> {
        let (unit, spec) = value.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.split_once('-')?;
        match (first, last) {
            ("", count) => Some(ByteRange::Suffix(number(count)?)),
            (first, "") => Some(ByteRange::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(ByteRange::Closed(first, last))
            }
        }
    }

    /// Whether it is a suffix of an object without bytes: that is all of it (RFC 9110, section 14.1.3), and no 416.
    #[must_use]
    pub fn is_all_of_nothing(self, size: u64) -> bool {
        size == 0 && matches!(self, ByteRange::Suffix(1..))
    }

    /// Applies the range to an object of `size` bytes of plaintext.
    #[must_use]
    pub fn apply(self, size: u64) -> Satisfied {
        let (start, end) = match self {
            ByteRange::Closed(first, last) => (first, last.saturating_add(1).min(size)),
            ByteRange::From(first) => (first, size),
            ByteRange::Suffix(count) => (size.saturating_sub(count), size),
        };
        if start < end { Satisfied::Part(start..end) } else { Satisfied::Unsatisfiable }
    }
}

/// `Content-Range` of a 206.
#[must_use]
pub fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// Digits only; a number too large for 64 bits is beyond any object's end all the same.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{ByteRange, Satisfied, content_range};
    use proptest::prelude::proptest;

    fn of(value: &str, size: u64) -> Option<Satisfied> {
        ByteRange::parse(value).map(|range| range.apply(size))
    }

    /// Cases 8, 9 and 23: open ends, ends past the end, a start at the end.
    #[test]
    fn case_8_9_23_ends_of_ranges() {
        let part = |range| Some(Satisfied::Part(range));
        assert_eq!(of("bytes=0-9", 100), part(0..10));
        assert_eq!(of("bytes=10-", 100), part(10..100));
        assert_eq!(of("bytes=90-1000", 100), part(90..100));
        assert_eq!(of("bytes=-10", 100), part(90..100));
        assert_eq!(of("bytes=-1000", 100), part(0..100));
        assert_eq!(of("bytes=99-99", 100), part(99..100));
        assert_eq!(of("Bytes=5-6", 100), part(5..7));
        assert_eq!(of("bytes=0-18446744073709551615", 7), part(0..7));
        assert_eq!(of("bytes=0-99999999999999999999999", 7), part(0..7));
        for unsatisfiable in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(of(unsatisfiable, 100), Some(Satisfied::Unsatisfiable), "{unsatisfiable}");
        }
        for empty in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(of(empty, 0), Some(Satisfied::Unsatisfiable), "{empty}");
        }
        let of_nothing = |range: ByteRange| range.is_all_of_nothing(0);
        assert!(of_nothing(ByteRange::Suffix(1)) && !ByteRange::Suffix(1).is_all_of_nothing(1));
        assert!(
            ![ByteRange::Suffix(0), ByteRange::From(0), ByteRange::Closed(0, 0)].into_iter().any(of_nothing)
        );
        assert_eq!(content_range(&(90..100), 100), "bytes 90-99/100");
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "chars=0-1",
            "bytes=+1-2",
            "bytes= -1",
            "bytes=0 -1",
            "bytes =0-1",
        ] {
            assert_eq!(ByteRange::parse(ignored), None, "{ignored}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_inside_and_not_empty(value in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Some(Satisfied::Part(part)) = of(&value, size) {
                assert!(part.start < part.end && part.end <= size);
            }
        }

        #[test]
        fn never_panics(value: String, size: u64) {
            let _ = of(&value, size);
        }
    }
}
