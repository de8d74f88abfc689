//! The retry budget: second attempts, hedges included, are at most a tenth of the calls.
//!
//! A failing KMS gets ten per cent more to do, never twice as much. It starts empty, so that this holds from the first call
//! on, whatever is measured: calls to the KMS ≤ 1.1 × calls of this layer.

use std::sync::{Mutex, PoisonError};

/// One attempt, in the units of the bucket.
const ATTEMPT: u64 = 100;

/// See the module.
pub(super) struct Budget {
    percent: u64,
    most: u64,
    saved: Mutex<u64>,
}

impl Budget {
    pub(super) fn new(percent: u32, reserve: u32) -> Self {
        Self { percent: u64::from(percent), most: u64::from(reserve) * ATTEMPT, saved: Mutex::new(0) }
    }

    /// A call is made.
    pub(super) fn earn(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = (*saved + self.percent).min(self.most);
    }

    /// Takes one attempt, if there is one.
    pub(super) fn spend(&self) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *saved >= ATTEMPT;
        if enough {
            *saved -= ATTEMPT;
        }
        enough
    }

    /// Attempts that are saved up.
    pub(super) fn saved(&self) -> u64 {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) / ATTEMPT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::Budget;

    #[test]
    fn ten_calls_earn_one_attempt_and_no_more_than_the_reserve_is_kept() {
        let budget = Budget::new(10, 2);
        assert!(!budget.spend(), "it starts empty");
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend() && !budget.spend());
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!(budget.saved(), 2);
    }

    proptest! {
        #[test]
        fn never_more_than_a_tenth(steps in proptest::collection::vec(any::<bool>(), 0..2_000)) {
            let budget = Budget::new(10, 10);
            let (mut calls, mut retries) = (0_u64, 0_u64);
            for call in steps {
                if call {
                    calls += 1;
                    budget.earn();
                } else {
                    retries += u64::from(budget.spend());
                }
                prop_assert!(retries * 10 <= calls);
            }
        }
    }
}
