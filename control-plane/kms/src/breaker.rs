//! A circuit breaker: it keeps calls away from what does not work, so that they fail at once and what recovers is left in peace.
//!
//! One stands before each operation of each address of a KMS. **Closed**, calls go through and are counted; it opens when of at
//! least 20 calls in 10 s half failed, when of at least 10 in one second four fifths did, or after 5 failed connections in a row.
//! **Open**, nothing goes through for 5 s, which doubles with each probe that fails, up to 60 s, all ± 20 % so that several
//! control planes do not come back at the same moment. **Half-open**, one call at a time goes through as a probe: three
//! successes close it, one failure opens it again.
//!
//! Why at least 10 for the fast rule: it is there for a KMS that stops, which fails all; one that fails three calls in ten is
//! the slow rule's. At that rate 8 of 10 fail by chance once in 600 times, 4 of 5 once in 30.
//!
//! What counts as a failure is said by the caller ([`Verdict`]): no answer, or one that says "I do not work". An answer that
//! refuses this call (denied, not found, a bad ciphertext) is a success of the address. A call that its caller gave up says
//! nothing; a probe that was given up makes room for the next one, and one that is lost without a word does so after its lease.
//!
//! It is pure: time is an argument, counted from any start, and randomness comes from a seed. A time before one that was
//! already seen counts as that one.

mod window;

use std::time::Duration;

use serde::Serialize;
use window::Window;

use crate::resilience::Jitter;

/// The numbers of a breaker; the default are those of the design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The least calls in 10 s that say something.
    pub calls: u32,
    /// Percent of them that must fail for it to open.
    pub percent: u32,
    /// The least calls in one second that say something.
    pub fast_calls: u32,
    /// Percent of them that must fail for it to open.
    pub fast_percent: u32,
    /// Failed connections in a row that open it.
    pub connects: u32,
    /// How long it is open at first.
    pub open: Duration,
    /// And at most; the spread is added.
    pub open_max: Duration,
    /// Percent by which an opening is made longer or shorter at random; at most 100.
    pub spread_percent: u32,
    /// Probes in a row that close it.
    pub successes: u32,
    /// After how long without a word a probe counts as lost: longer than any call may take.
    pub probe_lease: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            calls: 20,
            percent: 50,
            fast_calls: 10,
            fast_percent: 80,
            connects: 5,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            spread_percent: 20,
            successes: 3,
            probe_lease: Duration::from_secs(15),
        }
    }
}

/// How a call ended, for a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered, whatever the answer says about this call.
    Answered,
    /// No answer, or one that says that it does not work.
    Failed,
    /// Not even a connection.
    NoConnection,
    /// Nothing is known: the caller gave up, or the failure is this side's.
    Unknown,
}

/// What a breaker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Calls go through.
    Closed,
    /// Nothing goes through.
    Open,
    /// One call at a time goes through.
    HalfOpen,
}

/// A call was let through. Given back with its end; not Clone, so that a call ends once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the end of the call has to be recorded"]
pub struct Pass {
    generation: u64,
    probe: bool,
}

impl Pass {
    /// Whether it is the one call that finds out whether the address works again.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    /// When a probe may go through.
    Open {
        until: Duration,
    },
    /// Probes that succeeded, and the end of the lease of the one that is under way.
    HalfOpen {
        successes: u32,
        probe: Option<Duration>,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Grows with each change of state and each probe: what was let through before says nothing about now.
    generation: u64,
    now: Duration,
    window: Window,
    connects: u32,
    /// Openings since it was closed last.
    openings: u32,
    jitter: Jitter,
}

impl Breaker {
    /// A closed breaker; `seed` spreads its openings.
    #[must_use]
    pub fn new(settings: BreakerSettings, seed: u64) -> Self {
        Self {
            settings,
            state: State::Closed,
            generation: 0,
            now: Duration::ZERO,
            window: Window::new(),
            connects: 0,
            openings: 0,
            jitter: Jitter::new(seed),
        }
    }

    /// Lets a call through, or says after how long it is worth asking again.
    ///
    /// # Errors
    /// The time until the next probe; while one is under way, the rest of its lease and at most one second.
    pub fn admit(&mut self, now: Duration) -> Result<Pass, Duration> {
        let now = self.at(now);
        if let Some(after) = self.refuses(now) {
            return Err(after);
        }
        if let State::Open { .. } = self.state {
            self.enter(State::HalfOpen { successes: 0, probe: None });
        }
        let State::HalfOpen { probe, .. } = &mut self.state else {
            return Ok(Pass { generation: self.generation, probe: false });
        };
        *probe = Some(now.saturating_add(self.settings.probe_lease));
        // A lost probe that comes back after all is not this one.
        self.generation += 1;
        Ok(Pass { generation: self.generation, probe: true })
    }

    /// What [`Self::admit`] would refuse with now; changes nothing.
    #[must_use]
    pub fn refuses(&self, now: Duration) -> Option<Duration> {
        let now = now.max(self.now);
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::HalfOpen { probe: Some(lease), .. } if now < lease => {
                Some((lease - now).min(Duration::from_secs(1)))
            }
            _ => None,
        }
    }

    /// Takes in how a call ended; gives the new phase when that changed it.
    pub fn record(&mut self, pass: Pass, verdict: Verdict, now: Duration) -> Option<Phase> {
        let now = self.at(now);
        if pass.generation != self.generation {
            return None;
        }
        let failed = matches!(verdict, Verdict::Failed | Verdict::NoConnection);
        match &mut self.state {
            State::Closed => {
                if verdict == Verdict::Unknown {
                    return None;
                }
                self.connects = if verdict == Verdict::NoConnection { self.connects + 1 } else { 0 };
                self.window.add(failed, now);
                let (long, fast) = self.window.counts(now);
                let settings = &self.settings;
                let opens = failed
                    && (self.connects >= settings.connects
                        || long.reach(settings.calls, settings.percent)
                        || fast.reach(settings.fast_calls, settings.fast_percent));
                opens.then(|| self.open(now))
            }
            State::Open { .. } => None,
            State::HalfOpen { successes, probe } => {
                *probe = None;
                match verdict {
                    Verdict::Answered => *successes += 1,
                    Verdict::Unknown => {}
                    Verdict::Failed | Verdict::NoConnection => return Some(self.open(now)),
                }
                if *successes < self.settings.successes {
                    return None;
                }
                (self.window, self.connects, self.openings) = (Window::new(), 0, 0);
                self.enter(State::Closed);
                Some(Phase::Closed)
            }
        }
    }

    /// Another way than a call has shown that the address answers again: a probe may go through now. Whether it was open.
    pub fn answers_again(&mut self, now: Duration) -> bool {
        let now = self.at(now);
        match &mut self.state {
            State::Open { until } if now < *until => {
                *until = now;
                true
            }
            _ => false,
        }
    }

    /// What it does at a time. Open until a probe goes through, also when one might.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Whether a probe is under way.
    #[must_use]
    pub fn probing(&self, now: Duration) -> bool {
        matches!(self.state, State::HalfOpen { probe: Some(lease), .. } if now.max(self.now) < lease)
    }

    fn at(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    fn open(&mut self, now: Duration) -> Phase {
        let settings = &self.settings;
        let doubled = settings.open.saturating_mul(1 << self.openings.min(16)).min(settings.open_max);
        let spread = doubled * settings.spread_percent.min(100) / 100;
        let length = doubled - spread + self.jitter.up_to(spread * 2);
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open { until: now.saturating_add(length) });
        Phase::Open
    }
}

#[cfg(test)]
mod tests;
