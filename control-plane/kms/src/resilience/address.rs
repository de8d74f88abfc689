//! One address of a KMS: its breakers, and what is known of it.
//!
//! At most one probe goes to an address at a time, whatever the operation: what recovers is not met by four at once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    observer::Operation,
    view::{AddressView, BreakerView},
};
use crate::{Breaker, BreakerSettings, Cause, Kms, KmsError, Pass, Phase, Verdict};

/// The longest text of an error that is kept, in characters.
const MAX_TEXT: usize = 300;
/// While another operation's probe is under way: soon it is known.
const AFTER_PROBE: Duration = Duration::from_millis(500);
/// How long it may be looked after: longer than that ever takes.
const LOOKING: Duration = Duration::from_secs(60);
/// So long after somebody looked after it callers leave probing to them: a probe costs its caller an attempt's time, where the breaker
/// would have refused at once. Longer than between two examinations of a provider that is not well.
const LOOKED_AFTER: Duration = Duration::from_millis(5_500);
/// What a standby says of itself is news again after this.
const STANDBY_NEWS: Duration = Duration::from_secs(1);

pub(super) struct Address {
    pub(super) kms: Arc<dyn Kms>,
    pub(super) label: String,
    start: Instant,
    known: Mutex<Known>,
}

/// Until it is dropped, callers' probes stay away.
pub(super) struct LookedAfter<'a> {
    address: &'a Address,
    /// What callers need not find out: by the operations' numbers.
    covered: [bool; Operation::ALL.len()],
    /// What there were no parts for, since another operation does not work.
    wanting: [bool; Operation::ALL.len()],
}

impl LookedAfter<'_> {
    /// The operation was probed, if it was out.
    pub(super) fn probed(&mut self, operation: Operation) {
        if let Some(covered) = self.covered.get_mut(operation as usize) {
            *covered = true;
        }
    }

    /// The operation could not be probed, since the one before it failed. Callers find out every other time: else it would stay open
    /// where that one is broken for good, and they would wait for it each time.
    pub(super) fn wanting(&mut self, operation: Operation) {
        if let Some(wanting) = self.wanting.get_mut(operation as usize) {
            *wanting = true;
        }
    }

    /// It says of itself that it does not work, whatever is asked.
    pub(super) fn not_ready(&mut self) {
        self.covered = [true; Operation::ALL.len()];
    }
}

impl Drop for LookedAfter<'_> {
    fn drop(&mut self) {
        let now = self.address.start.elapsed();
        let mut known = self.address.lock();
        known.looking = None;
        for (number, known) in known.looks.iter_mut().enumerate() {
            let (covered, wanting) = (self.covered[number], self.wanting[number]);
            let left = wanting && !covered && !known.left;
            *known = Look { at: (covered || wanting && !left).then_some(now), left };
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Look {
    /// When it was probed, or needed no probe.
    at: Option<Duration>,
    /// It was left to callers for want of another operation.
    left: bool,
}

struct Known {
    breakers: [Breaker; Operation::ALL.len()],
    /// It is being looked after, at the longest until then: callers' probes do not come between.
    looking: Option<Duration>,
    /// How it was looked after last, each operation: what nobody could probe is left to callers, or it would never close.
    looks: [Look; Operation::ALL.len()],
    standby: Option<Instant>,
    succeeded: Option<Instant>,
    failed: Option<(Instant, String)>,
}

impl Address {
    pub(super) fn new(kms: Arc<dyn Kms>, label: String, settings: &BreakerSettings, seed: u64) -> Self {
        let breakers =
            Operation::ALL.map(|operation| Breaker::new(settings.clone(), seed ^ operation as u64));
        let looks = [Look::default(); Operation::ALL.len()];
        let known = Known { breakers, looking: None, looks, standby: None, succeeded: None, failed: None };
        Self { kms, label, start: Instant::now(), known: Mutex::new(known) }
    }

    /// Lets a call through, or says when to come again.
    pub(super) fn admit(&self, operation: Operation) -> Result<Pass, Duration> {
        let now = self.start.elapsed();
        let mut known = self.lock();
        if let Some(after) = known.refuses(operation, now) {
            return Err(after);
        }
        known.breakers.get_mut(operation as usize).map_or(Err(AFTER_PROBE), |breaker| breaker.admit(now))
    }

    /// Lets a probe of whoever looks after the address through.
    pub(super) fn admit_probe(&self, operation: Operation) -> Option<Pass> {
        let now = self.start.elapsed();
        let mut known = self.lock();
        if known.probed(now) {
            return None;
        }
        known.breakers.get_mut(operation as usize)?.admit(now).ok()
    }

    /// Begins to look after it, unless a caller's probe is under way. Where all breakers are closed nobody is kept off.
    pub(super) fn look_after(&self) -> Option<LookedAfter<'_>> {
        let now = self.start.elapsed();
        let mut known = self.lock();
        if known.probed(now) {
            return None;
        }
        known.looking = Some(now + LOOKING);
        let none = [false; Operation::ALL.len()];
        Some(LookedAfter { address: self, covered: none, wanting: none })
    }

    /// What [`Self::admit`] would refuse with now.
    pub(super) fn refuses(&self, operation: Operation) -> Option<Duration> {
        self.lock().refuses(operation, self.start.elapsed())
    }

    /// The end of a call; gives the breaker's new phase when that changed.
    pub(super) fn record(
        &self,
        operation: Operation,
        pass: Pass,
        verdict: Verdict,
        error: Option<&KmsError>,
    ) -> Option<Phase> {
        let mut known = self.lock();
        let now = Instant::now();
        match error {
            None if verdict == Verdict::Answered => known.worked(now),
            None => {}
            Some(error) => known.failed(now, error),
        }
        let breaker = known.breakers.get_mut(operation as usize)?;
        breaker.record(pass, verdict, now.saturating_duration_since(self.start))
    }

    /// It was found to answer, by another way than a call.
    pub(super) fn answers(&self) {
        let mut known = self.lock();
        known.worked(Instant::now());
        let now = self.start.elapsed();
        known.breakers.iter_mut().for_each(|breaker| {
            breaker.answers_again(now);
        });
    }

    /// It says that it is a standby. Whether that is news.
    pub(super) fn stands_by(&self) -> bool {
        let mut known = self.lock();
        let now = Instant::now();
        let news = known.standby.is_none_or(|at| now.saturating_duration_since(at) >= STANDBY_NEWS);
        known.standby = Some(now);
        news
    }

    /// It was found not to work, by another way than a call.
    pub(super) fn does_not_answer(&self, error: &KmsError) {
        if matches!(error, KmsError::Unavailable(Cause::Standby, _)) {
            self.stands_by();
        }
        self.lock().failed(Instant::now(), error);
    }

    pub(super) fn closed(&self, operation: Operation) -> bool {
        self.lock().breaker(operation).is_some_and(|breaker| breaker.phase() == Phase::Closed)
    }

    /// Since when it is known to be a standby.
    pub(super) fn standby(&self) -> Option<Instant> {
        self.lock().standby
    }

    pub(super) fn view(&self, preferred: bool) -> AddressView {
        let known = self.lock();
        let now = self.start.elapsed();
        let breakers =
            Operation::ALL.into_iter().zip(&known.breakers).map(|(operation, breaker)| BreakerView {
                operation,
                state: breaker.phase(),
                retry_in_ms: (breaker.phase() == Phase::Open).then(|| {
                    let after = breaker.refuses(now).unwrap_or_default();
                    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
                }),
            });
        AddressView {
            address: self.label.clone(),
            preferred,
            standby: known.standby.is_some(),
            breakers: breakers.collect(),
            last_success_seconds: known.succeeded.map(|at| at.elapsed().as_secs()),
            last_error_seconds: known.failed.as_ref().map(|(at, _)| at.elapsed().as_secs()),
            last_error: known.failed.as_ref().map(|(_, text)| text.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn breaker(&self, operation: Operation) -> Option<&Breaker> {
        self.breakers.get(operation as usize)
    }

    fn refuses(&self, operation: Operation, now: Duration) -> Option<Duration> {
        let breaker = self.breaker(operation)?;
        let looked = self.looks.get(operation as usize).and_then(|look| look.at);
        let looked = || looked.is_some_and(|at| now < at + LOOKED_AFTER);
        let busy = || self.probed(now) || self.looking.is_some_and(|until| now < until) || looked();
        breaker.refuses(now).or_else(|| (breaker.phase() != Phase::Closed && busy()).then_some(AFTER_PROBE))
    }

    /// Whether a probe is under way.
    fn probed(&self, now: Duration) -> bool {
        self.breakers.iter().any(|breaker| breaker.probing(now))
    }

    fn worked(&mut self, now: Instant) {
        self.succeeded = Some(now);
        self.standby = None;
    }

    fn failed(&mut self, now: Instant, error: &KmsError) {
        self.failed = Some((now, error.to_string().chars().take(MAX_TEXT).collect()));
    }
}
