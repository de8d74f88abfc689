//! How long unwraps take: the time that 95 of 100 keep to, from the last 128 that succeeded.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

const KEPT: usize = 128;
/// Fewer say nothing about one in twenty.
const ENOUGH: usize = 20;
/// It is computed again after so many.
const EVERY: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Latency(Mutex<Samples>);

#[derive(Default)]
struct Samples {
    kept: Vec<Duration>,
    added: usize,
    high: Option<Duration>,
}

impl Latency {
    pub(super) fn add(&self, took: Duration) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = samples.added % KEPT;
        match samples.kept.get_mut(place) {
            Some(sample) => *sample = took,
            None => samples.kept.push(took),
        }
        samples.added = samples.added.wrapping_add(1);
        if samples.kept.len() >= ENOUGH && samples.added.is_multiple_of(EVERY) {
            let mut sorted = samples.kept.clone();
            sorted.sort_unstable();
            samples.high = sorted.get(sorted.len() * 95 / 100).copied();
        }
    }

    /// What 95 % keep to, once it is known.
    pub(super) fn high(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).high
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Latency};

    #[test]
    fn one_in_twenty_takes_longer() {
        let latency = Latency::default();
        (1..=23).for_each(|n| latency.add(Duration::from_millis(n)));
        assert_eq!(latency.high(), None, "too few, or not looked at again yet");
        (24..=104).for_each(|n| latency.add(Duration::from_millis(n)));
        assert_eq!(latency.high(), Some(Duration::from_millis(99)));
        (0..1_000).for_each(|_| latency.add(Duration::from_millis(3)));
        assert_eq!(latency.high(), Some(Duration::from_millis(3)), "old ones are forgotten");
    }
}
