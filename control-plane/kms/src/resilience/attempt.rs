//! One attempt: which address gets it, how long it may take, and what its end says about the address.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::SemaphorePermit, time::Instant};

use super::{
    Layer,
    address::Address,
    call::Answer,
    observer::{Kind, Operation, Outcome},
    progress::bounded,
};
use crate::{Cause, Kms, KmsError, Pass, Verdict};

/// Without an address there is no time at which it would be better.
const NEVER: Duration = Duration::from_secs(60);

/// An address is asked. Dropped without an end, it ends as one that nobody waits for.
pub(super) struct Attempt<'a> {
    layer: &'a Layer,
    address: &'a Address,
    operation: Operation,
    pass: Option<Pass>,
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// Set when it is given up because one that began later has the answer.
    pub(super) beaten: Option<Arc<AtomicBool>>,
}

/// Why an attempt failed.
pub(super) struct Failed {
    pub(super) error: KmsError,
    /// It was not known before that this address is a standby.
    pub(super) news: bool,
}

impl Attempt<'_> {
    fn end(&mut self, outcome: Outcome, verdict: Verdict, error: Option<&KmsError>) {
        let Some(pass) = self.pass.take() else { return };
        let (name, observer) = (&self.layer.name, self.layer.observer());
        observer.attempt(name, self.operation, self.kind, outcome);
        if let Some(phase) = self.address.record(self.operation, pass, verdict, error) {
            observer.breaker(name, self.number, self.operation, phase);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let beaten = self.beaten.as_ref().is_some_and(|beaten| beaten.load(Ordering::Relaxed));
        self.end(Outcome::Abandoned, if beaten { Verdict::Failed } else { Verdict::Unknown }, None);
    }
}

impl Layer {
    /// Asks one address, and draws the conclusions.
    pub(super) async fn ask<'a, T: Send>(
        &'a self,
        mut attempt: Attempt<'a>,
        deadline: Instant,
        ask: &(impl Fn(&'a dyn Kms) -> Answer<'a, T> + Send + Sync),
    ) -> Result<T, Failed> {
        let (address, number, began) = (attempt.address, attempt.number, Instant::now());
        let each = self.attempt(attempt.operation);
        let (result, verdict) = match bounded(each, deadline, ask(&*address.kms)).await {
            Ok(result) => {
                let verdict = self.verdict(number, &result);
                (result, verdict)
            }
            Err(late) => {
                let waited = late.silent.as_millis();
                let text = format!("{} ({}): no answer within {waited} ms", self.name, address.label);
                // What was left of the caller's time may have been too short for any KMS.
                let verdict = if late.by_deadline { Verdict::Unknown } else { Verdict::Failed };
                (Err(KmsError::Unavailable(Cause::Timeout, text)), verdict)
            }
        };
        let mut news = false;
        match &result {
            Err(KmsError::Unavailable(Cause::Standby, _)) => {
                news = address.stands_by();
                self.prefer(|preferred| if preferred == Some(number) { None } else { preferred });
            }
            Err(KmsError::Throttled(after, _)) => self.limiter.throttled(began, *after),
            Ok(_) => {
                if attempt.operation == Operation::Unwrap {
                    self.latency.add(began.elapsed());
                }
                if attempt.kind != Kind::Probe {
                    self.prefer(|_| Some(number));
                }
            }
            Err(_) => {}
        }
        attempt.end(Outcome::of(&result), verdict, result.as_ref().err());
        result.map_err(|error| Failed { error, news })
    }

    /// What an answer says about the address that gave it.
    fn verdict<T>(&self, number: usize, result: &Result<T, KmsError>) -> Verdict {
        match result {
            Err(KmsError::Unavailable(cause, _)) => match cause {
                Cause::Connect => Verdict::NoConnection,
                Cause::Timeout | Cause::Server | Cause::Sealed => Verdict::Failed,
                // While another one serves, a standby does what it should.
                Cause::Standby if self.prefer(|it| it).is_some_and(|it| it != number) => Verdict::Answered,
                Cause::Standby => Verdict::Failed,
                Cause::Elsewhere => Verdict::Answered,
                Cause::Refused(_) | Cause::Local => Verdict::Unknown,
            },
            // Whatever the answer says about this call, the address gave one; a throttle is the limiter's matter.
            _ => Verdict::Answered,
        }
    }

    /// The address to ask: one whose breaker is closed if there is any, else, for a call's sake, as a probe.
    pub(super) fn route(
        &self,
        operation: Operation,
        tried: &[usize],
        kind: Kind,
    ) -> Result<Attempt<'_>, Duration> {
        let candidates = self.candidates(tried);
        let (closed, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|(_, address)| address.closed(operation));
        let may_probe = matches!(kind, Kind::First | Kind::Hop);
        let mut after = NEVER;
        for (number, address) in closed.into_iter().chain(others.into_iter().filter(|_| may_probe)) {
            match address.admit(operation) {
                Ok(pass) => return Ok(self.admitted(operation, kind, number, address, pass)),
                Err(wait) => after = after.min(wait),
            }
        }
        Err(after)
    }

    /// An attempt as a probe on just this address, if its breaker wants one.
    pub(super) fn probe(&self, operation: Operation, number: usize) -> Option<Attempt<'_>> {
        let address = self.addresses.get(number).filter(|address| !address.closed(operation))?;
        let pass = address.admit_probe(operation)?;
        Some(self.admitted(operation, Kind::Probe, number, address, pass))
    }

    /// Another attempt beside one on this address: on another one, else over another connection to the same.
    pub(super) fn hedge(&self, first: usize) -> Option<(Attempt<'_>, SemaphorePermit<'_>)> {
        let operation = Operation::Unwrap;
        let slot = self.bulkhead.try_enter()?;
        let tried: &[usize] = if self.closed(operation, &[first]) { &[first] } else { &[] };
        if !self.closed(operation, tried) || !self.limiter.try_turn() || !self.budget.spend() {
            return None;
        }
        Some((self.route(operation, tried, Kind::Hedge).ok()?, slot))
    }

    pub(super) fn admitted<'a>(
        &'a self,
        operation: Operation,
        kind: Kind,
        number: usize,
        address: &'a Address,
        pass: Pass,
    ) -> Attempt<'a> {
        Attempt { layer: self, address, operation, pass: Some(pass), number, kind, beaten: None }
    }

    /// Addresses in the order in which they are asked: those not known as standbys, the one that served last first; then
    /// standbys, the one whose word is oldest first.
    fn candidates(&self, tried: &[usize]) -> Vec<(usize, &Address)> {
        let preferred = self.prefer(|it| it);
        let mut found: Vec<_> =
            self.addresses.iter().enumerate().filter(|(number, _)| !tried.contains(number)).collect();
        found.sort_by_key(|(number, address)| (address.standby(), Some(*number) != preferred, *number));
        found
    }

    /// Whether an address, of those that were not tried, has a closed breaker.
    pub(super) fn closed(&self, operation: Operation, tried: &[usize]) -> bool {
        self.candidates(tried).iter().any(|(_, address)| address.closed(operation))
    }

    /// When to come again, if no address is asked now.
    pub(super) fn refuses(&self, operation: Operation) -> Option<Duration> {
        let mut after = NEVER;
        for address in &self.addresses {
            after = after.min(address.refuses(operation)?);
        }
        Some(after)
    }

    pub(super) fn refused(&self, after: Duration) -> KmsError {
        let text = match self.addresses.len() {
            0 => format!("{}: no address is configured", self.name),
            _ => {
                let seconds = after.as_secs_f64();
                format!("{}: not asked, since it failed; it will be asked again in {seconds:.1} s", self.name)
            }
        };
        KmsError::Unavailable(Cause::Refused(after), text)
    }

    /// Changes which address is preferred; gives which one it is then.
    pub(super) fn prefer(&self, change: impl FnOnce(Option<usize>) -> Option<usize>) -> Option<usize> {
        let mut preferred = self.preferred.lock().unwrap_or_else(PoisonError::into_inner);
        *preferred = change(*preferred);
        *preferred
    }

    pub(super) fn attempt(&self, operation: Operation) -> Duration {
        if operation == Operation::Manage { self.settings.manage } else { self.settings.attempt }
    }

    pub(super) fn total(&self, operation: Operation) -> Duration {
        if operation == Operation::Manage { self.settings.manage } else { self.settings.total }
    }

    /// How long an unwrap may take before it gets a hedge.
    pub(super) fn hedge_after(&self) -> Duration {
        self.latency.high().unwrap_or(self.settings.hedge).max(self.settings.hedge_least)
    }

    pub(super) fn pause(&self) -> Duration {
        let mut jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        jitter.up_to(self.settings.pause)
    }
}
