//! The limiter: how many calls a second a KMS that throttles gets.
//!
//! There is no limit until it throttles for the first time. Then the rate is halved, once for all calls that were under way,
//! and grows again by a tenth of what it was a second; at twice of that the limit is lifted. Calls that must wait do so
//! in the order in which they came, to their own deadline.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a KMS says about when to come again is believed up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Limiter {
    least: f64,
    most: f64,
    state: Mutex<State>,
    /// Held by whoever is next; the others wait in order.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    limit: Option<Limit>,
    /// Calls of the second that began then, and of the one before.
    counted: (Instant, u32, u32),
}

struct Limit {
    /// Calls a second.
    rate: f64,
    /// What it was before it was halved last.
    before: f64,
    /// When it was halved: what was under way then tells nothing new.
    halved: Instant,
    grown: Instant,
    /// No call before this.
    next: Instant,
}

impl Limiter {
    pub(super) fn new(least: u32, most: u32) -> Self {
        let state = State { limit: None, counted: (Instant::now(), 0, 0) };
        Self {
            least: f64::from(least.max(1)),
            most: f64::from(most.max(1)),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Calls a second, while there is a limit.
    pub(super) fn rate(&self) -> Option<f64> {
        let mut state = self.lock();
        self.grow(&mut state, Instant::now());
        state.limit.as_ref().map(|limit| limit.rate)
    }

    /// How long a call that comes now would wait, if nobody else did.
    pub(super) fn wait(&self) -> Duration {
        let state = self.lock();
        state
            .limit
            .as_ref()
            .map_or(Duration::ZERO, |limit| limit.next.saturating_duration_since(Instant::now()))
    }

    /// Takes a turn that may be had at once, unless somebody waits for one.
    pub(super) fn try_turn(&self) -> bool {
        self.turn.try_lock().is_ok_and(|_first| self.take().is_none())
    }

    /// Waits for a turn and takes it.
    pub(super) async fn turn(&self) {
        let _first = self.turn.lock().await;
        // Again after each wait: it may have throttled meanwhile.
        while let Some(at) = self.take() {
            tokio::time::sleep_until(at).await;
        }
    }

    /// The KMS throttled a call that began then.
    pub(super) fn throttled(&self, began: Instant, after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.lock();
        self.grow(&mut state, now);
        let measured = state.measured(now);
        let limit = state.limit.get_or_insert_with(|| {
            let rate = measured.clamp(self.least, self.most);
            Limit { rate, before: rate, halved: began, grown: now, next: now }
        });
        if began >= limit.halved {
            limit.before = limit.rate;
            limit.rate = (limit.rate / 2.0).max(self.least);
            (limit.halved, limit.grown) = (now, now);
            limit.next = limit.next.max(now + pace(limit.rate));
        }
        if let Some(after) = after {
            limit.next = limit.next.max(now + after.min(LONGEST_PAUSE));
        }
    }

    /// Takes the turn, or gives the time of the next.
    fn take(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.lock();
        self.grow(&mut state, now);
        if let Some(limit) = &mut state.limit {
            if now < limit.next {
                return Some(limit.next);
            }
            limit.next = now + pace(limit.rate);
        }
        let (since, current, _) = state.counted;
        state.counted = match now.saturating_duration_since(since) {
            within if within < SECOND => (since, current.saturating_add(1), state.counted.2),
            within if within < 2 * SECOND => (since + SECOND, 1, current),
            _ => (now, 1, 0),
        };
        None
    }

    fn grow(&self, state: &mut State, now: Instant) {
        let Some(limit) = &mut state.limit else { return };
        let seconds = now.saturating_duration_since(limit.grown).as_secs_f64();
        limit.rate += seconds * (limit.before / 10.0).max(1.0);
        limit.grown = now;
        if limit.rate >= (2.0 * limit.before).min(self.most) && now >= limit.next {
            state.limit = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Calls a second until now.
    fn measured(&self, now: Instant) -> f64 {
        let (since, current, last) = self.counted;
        match now.saturating_duration_since(since) {
            // A second that has just begun says little by itself.
            within if within < SECOND => {
                f64::from(last).max(f64::from(current) / within.as_secs_f64().max(0.1))
            }
            within if within < 2 * SECOND => f64::from(current),
            _ => 0.0,
        }
    }
}

fn pace(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate.max(0.001))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::Limiter;

    fn taken(limiter: &Limiter, times: usize) -> usize {
        (0..times).filter(|_| limiter.try_turn()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_until_it_throttles_then_half_and_slowly_more() {
        let limiter = Limiter::new(1, 2_000);
        assert_eq!((taken(&limiter, 100), limiter.rate()), (100, None));
        advance(Duration::from_secs(1)).await;
        limiter.throttled(Instant::now(), None);
        assert_eq!(limiter.rate(), Some(50.0));
        assert_eq!(taken(&limiter, 100), 0, "the next one in 20 ms");
        advance(Duration::from_millis(20)).await;
        assert_eq!(taken(&limiter, 100), 1);
        let began = Instant::now();
        let halved = || limiter.rate().map_or(0.0, |rate| rate.round());
        advance(Duration::from_millis(1)).await;
        limiter.throttled(began, None);
        limiter.throttled(began, None);
        assert_eq!(halved(), 25.0, "once for all that were under way");
        advance(Duration::from_secs(1)).await;
        assert_eq!(halved(), 30.0, "a tenth of 50 more");
        advance(Duration::from_secs(13)).await;
        assert_eq!(halved(), 95.0);
        advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.rate(), None, "at twice of what it was it is lifted");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_has_a_turn_in_order_and_at_the_rate() {
        let limiter = std::sync::Arc::new(Limiter::new(1, 2_000));
        taken(&limiter, 20);
        advance(Duration::from_secs(1)).await;
        limiter.throttled(Instant::now(), None);
        let began = Instant::now();
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..5)
            .map(|n| {
                let (limiter, order) = (limiter.clone(), order.clone());
                tokio::spawn(async move {
                    limiter.turn().await;
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        let took = began.elapsed();
        assert!(
            took > Duration::from_millis(440) && took <= Duration::from_millis(510),
            "at about 10 a second: {took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_again_when_the_kms_says_so_and_bounds_what_it_says() {
        let limiter = Limiter::new(1, 2_000);
        limiter.throttled(Instant::now(), Some(Duration::from_secs(2)));
        assert_eq!(limiter.wait(), Duration::from_secs(2));
        limiter.throttled(Instant::now(), Some(Duration::from_secs(86_400)));
        assert_eq!(limiter.wait(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_a_throttle_that_comes_meanwhile() {
        let limiter = Limiter::new(1, 2_000);
        let began = Instant::now();
        limiter.throttled(began, Some(Duration::from_secs(2)));
        tokio::join!(limiter.turn(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limiter.throttled(began, Some(Duration::from_secs(3)));
        });
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }
}
