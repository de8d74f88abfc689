//! Whether a comparison's time tells where two values differ: Welch's t-test over interleaved measurements, as dudect does
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017). Part of the tests of the crates that compare secrets; run by
//! `just timing`, since a machine under load needs minutes and CI has none to give.

use std::time::Instant;

/// Measurements of each test.
const SAMPLES: usize = 200_000;
/// Nanoseconds of a measurement, as many calls as that takes: one is shorter than the clock's step.
const LEAST: u128 = 5_000;
/// Beyond this |t| the two classes differ for certain (the paper's bound).
const CERTAIN: f64 = 10.0;

/// Mean and variance, gathered (Welford).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Nanoseconds that so many calls take, none of which may find the values equal.
fn timed(calls: usize, given: &[u8], compare: &mut impl FnMut(&[u8]) -> bool) -> u128 {
    let begun = Instant::now();
    for _ in 0..calls {
        assert!(!std::hint::black_box(compare(std::hint::black_box(given))), "values that differ");
    }
    begun.elapsed().as_nanos()
}

/// The largest |t| between the times of `compare` for values that differ from `right` in their first byte and for those that do in
/// their last only: over all measurements, and without the slowest, which the machine's other work makes.
fn largest_t(right: &[u8], mut compare: impl FnMut(&[u8]) -> bool) -> f64 {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut measured: [Vec<u32>; 2] = Default::default();
    // One buffer for both classes: where a value lies has a time of its own.
    let mut given = right.to_vec();
    given[0] ^= 1;
    let mut calls = 1;
    // The fastest of some: the first ones are cold.
    while (0..10).map(|_| timed(calls, &given, &mut compare)).min() < Some(LEAST) {
        calls *= 2;
    }
    given[0] = right[0];
    for _ in 0..SAMPLES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let class = usize::from(random & 1 == 1);
        let at = if class == 0 { 0 } else { right.len() - 1 };
        // Another hexadecimal digit, for those that are text.
        given[at] = if right[at] == b'0' { b'1' } else { b'0' };
        let took = u32::try_from(timed(calls, &given, &mut compare)).unwrap_or(u32::MAX);
        given[at] = right[at];
        measured[class].push(took);
    }
    let mut all: Vec<u32> = measured.concat();
    all.sort_unstable();
    let t = |below: u32| {
        let [first, last] = [0, 1].map(|class: usize| {
            let mut moments = Moments::default();
            measured[class]
                .iter()
                .filter(|took| **took <= below)
                .for_each(|took| moments.add(f64::from(*took)));
            moments
        });
        ((first.mean - last.mean) / (first.error() + last.error()).sqrt()).abs()
    };
    [50, 75, 90, 99, 100].map(|share| t(all[(all.len() - 1) * share / 100])).into_iter().fold(0.0, f64::max)
}

/// Fails when the time of `compare` tells where a value differs from `right`; before that, finds a comparison that ends at the first
/// difference: what finds nothing there proves nothing.
pub fn tells_nothing(what: &str, right: &[u8], compare: impl FnMut(&[u8]) -> bool) {
    let planted = largest_t(right, |given| {
        given.iter().zip(right).all(|(one, other)| std::hint::black_box(one) == std::hint::black_box(other))
    });
    let t = largest_t(right, compare);
    println!(
        "{what}: largest |t| {t:.1} (of a comparison that ends early: {planted:.1}), {SAMPLES} measurements"
    );
    assert!(planted > CERTAIN, "{what}: a comparison that ends early is not found: |t| {planted:.1}");
    assert!(t < CERTAIN, "{what}: its time tells where values differ: |t| {t:.1}");
}
