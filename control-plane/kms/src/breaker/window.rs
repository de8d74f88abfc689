//! The calls of the last ten seconds and how they ended, in slots of 100 ms.

use std::time::Duration;

const SLOT_MILLIS: u128 = 100;
/// Ten seconds.
const SLOTS: usize = 100;
/// One second.
const FAST_SLOTS: u64 = 10;

/// How many calls ended, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
}

impl Counts {
    /// Whether there were so many calls, and so many percent of them failed.
    pub(super) fn reach(self, calls: u32, percent: u32) -> bool {
        self.calls >= calls.max(1)
            && u64::from(self.failures) * 100 >= u64::from(self.calls) * u64::from(percent)
    }
}

/// See the module. Times never go back: the breaker sees to that.
#[derive(Clone, Debug)]
pub(super) struct Window {
    slots: Box<[Counts; SLOTS]>,
    /// The number of the newest slot since time 0.
    newest: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { slots: Box::new([Counts::default(); SLOTS]), newest: 0 }
    }

    pub(super) fn add(&mut self, failed: bool, now: Duration) {
        let newest = self.advance(now);
        if let Some(slot) = self.slots.get_mut(place(newest)) {
            slot.calls = slot.calls.saturating_add(1);
            slot.failures = slot.failures.saturating_add(u32::from(failed));
        }
    }

    /// The last ten seconds, and the last one.
    pub(super) fn counts(&mut self, now: Duration) -> (Counts, Counts) {
        let newest = self.advance(now);
        let sum = |slots: u64| {
            let range = (newest + 1).saturating_sub(slots)..=newest;
            range.filter_map(|slot| self.slots.get(place(slot))).fold(Counts::default(), |sum, slot| Counts {
                calls: sum.calls.saturating_add(slot.calls),
                failures: sum.failures.saturating_add(slot.failures),
            })
        };
        (sum(SLOTS as u64), sum(FAST_SLOTS))
    }

    /// Empties the slots that time has gone over, and gives the newest.
    fn advance(&mut self, now: Duration) -> u64 {
        let newest = u64::try_from(now.as_millis() / SLOT_MILLIS).unwrap_or(u64::MAX - 1).max(self.newest);
        for slot in (self.newest + 1..=newest).take(SLOTS) {
            if let Some(slot) = self.slots.get_mut(place(slot)) {
                *slot = Counts::default();
            }
        }
        self.newest = newest;
        newest
    }
}

fn place(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Counts, Duration, Window};

    #[test]
    fn a_call_counts_for_one_second_and_for_ten() {
        let mut window = Window::new();
        window.add(true, Duration::from_millis(1_050));
        window.add(false, Duration::from_millis(1_050));
        let both = Counts { calls: 2, failures: 1 };
        assert_eq!(window.counts(Duration::from_millis(1_950)), (both, both));
        assert_eq!(window.counts(Duration::from_millis(2_000)), (both, Counts::default()));
        assert_eq!(window.counts(Duration::from_millis(10_999)), (both, Counts::default()));
        assert_eq!(window.counts(Duration::from_millis(11_000)), (Counts::default(), Counts::default()));
    }

    #[test]
    fn a_long_silence_forgets_everything_at_once() {
        let mut window = Window::new();
        window.add(true, Duration::ZERO);
        window.add(true, Duration::from_secs(1 << 40));
        let one = Counts { calls: 1, failures: 1 };
        assert_eq!(window.counts(Duration::from_secs(1 << 40)), (one, one));
        window.add(true, Duration::MAX);
        assert_eq!(window.counts(Duration::MAX), (one, one));
    }
}
