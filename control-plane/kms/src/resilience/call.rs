//! One call through the layer: its turn, its attempts, its hedge.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    Layer,
    attempt::{Attempt, Failed},
    observer::{Kind, Operation, Outcome},
};
use crate::{Cause, Kms, KmsError};

/// An answer on its way, from an address.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, KmsError>> + Send + 'a>>;

/// Tells how a call ended, also when nobody waits for its end.
struct Told<'a> {
    layer: &'a Layer,
    operation: Operation,
    began: Instant,
    outcome: Outcome,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.layer.observer().call(&self.layer.name, self.operation, self.outcome, self.began.elapsed());
    }
}

impl Layer {
    /// Makes a call; tells the observer how it ended.
    pub(super) async fn call<'a, T: Send>(
        &'a self,
        operation: Operation,
        ask: impl Fn(&'a dyn Kms) -> Answer<'a, T> + Send + Sync,
    ) -> Result<T, KmsError> {
        let mut told = Told { layer: self, operation, began: Instant::now(), outcome: Outcome::Abandoned };
        let result = self.attempts(operation, told.began + self.total(operation), &ask).await;
        told.outcome = Outcome::of(&result);
        result
    }

    async fn attempts<'a, T: Send>(
        &'a self,
        operation: Operation,
        deadline: Instant,
        ask: &(impl Fn(&'a dyn Kms) -> Answer<'a, T> + Send + Sync),
    ) -> Result<T, KmsError> {
        // Nobody queues for what is not going to be asked.
        if let Some(after) = self.refuses(operation) {
            return Err(self.refused(after));
        }
        let manage = operation == Operation::Manage;
        let (bulkhead, limiter) =
            if manage { (&self.managing, None) } else { (&self.bulkhead, Some(&self.limiter)) };
        let _slot = bulkhead.enter(limiter, deadline, (&self.name, &*self.observer())).await?;
        let mut tried = Vec::new();
        let mut attempt = self.route(operation, &tried, Kind::First).map_err(|after| self.refused(after))?;
        self.budget.earn();
        let mut made = 1;
        loop {
            tried.push(attempt.number);
            let result = if operation == Operation::Unwrap && attempt.kind == Kind::First {
                self.hedged(attempt, &mut made, &mut tried, deadline, ask).await
            } else {
                self.ask(attempt, deadline, ask).await
            };
            let Failed { error, news } = match result {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let next = match &error {
                KmsError::Unavailable(Cause::Standby, _) => self.hop(operation, &tried, news),
                // Each address is asked once, and says so without a request, or with one that proves it.
                KmsError::Unavailable(Cause::Elsewhere, _) => self.hop(operation, &tried, true),
                KmsError::Unavailable(Cause::Connect | Cause::Timeout | Cause::Server | Cause::Sealed, _)
                | KmsError::Throttled(..)
                    if made < self.settings.attempts =>
                {
                    made += 1;
                    self.again(operation, &error, &tried, deadline).await
                }
                _ => None,
            };
            match next {
                Some(next) => attempt = next,
                None => return Err(error),
            }
        }
    }

    /// Another address after a standby. Free where it was not known to be one: else every call would cost two.
    fn hop(&self, operation: Operation, tried: &[usize], news: bool) -> Option<Attempt<'_>> {
        let next = self.route(operation, tried, Kind::Hop).ok()?;
        (news || self.budget.spend()).then_some(next)
    }

    /// A second attempt: on another address, or, where that may help, on the same one.
    async fn again(
        &self,
        operation: Operation,
        error: &KmsError,
        tried: &[usize],
        deadline: Instant,
    ) -> Option<Attempt<'_>> {
        // A change may have been made though nobody heard of it: only what never got there is sent again.
        if operation == Operation::Manage && !matches!(error, KmsError::Unavailable(Cause::Connect, _)) {
            return None;
        }
        let throttled = matches!(error, KmsError::Throttled(..));
        // What is sealed stays so for longer than a call. A throttle is of the whole KMS, and no reason to turn to a standby.
        let same = !matches!(error, KmsError::Unavailable(Cause::Sealed, _));
        let tried = match tried {
            tried if !throttled && self.closed(operation, tried) => tried,
            _ if same && self.closed(operation, &[]) => &[],
            _ => return None,
        };
        if !self.budget.spend() {
            return None;
        }
        let pause = async {
            if throttled {
                self.limiter.turn().await;
            } else {
                sleep(self.pause()).await;
            }
        };
        timeout_at(deadline, pause).await.ok()?;
        self.route(operation, tried, Kind::Retry).ok()
    }

    /// The first attempt of an unwrap, and another one beside it when it takes longer than nearly all do.
    async fn hedged<'a, T: Send>(
        &'a self,
        mut attempt: Attempt<'a>,
        made: &mut u32,
        tried: &mut Vec<usize>,
        deadline: Instant,
        ask: &(impl Fn(&'a dyn Kms) -> Answer<'a, T> + Send + Sync),
    ) -> Result<T, Failed> {
        let (number, beaten) = (attempt.number, Arc::new(AtomicBool::new(false)));
        attempt.beaten = Some(Arc::clone(&beaten));
        let late = Instant::now() + self.hedge_after();
        let mut first = std::pin::pin!(self.ask(attempt, deadline, ask));
        tokio::select! {
            biased;
            result = &mut first => return result,
            () = sleep_until(late.min(deadline)) => {}
        }
        let Some((second, _slot)) = self.hedge(number) else { return first.await };
        *made += 1;
        let other = second.number;
        tried.push(other);
        let mut second = std::pin::pin!(self.ask(second, deadline, ask));
        // An answer ends it, also one that refuses; after a failure the other one is waited for.
        let settled =
            |result: &Result<T, Failed>| result.as_ref().err().is_none_or(|it| !it.error.is_transient());
        tokio::select! {
            biased;
            result = &mut first => if settled(&result) { result } else { second.await },
            result = &mut second => {
                if !settled(&result) {
                    return first.await;
                }
                // Slower than nearly all, and beaten by one that began later: else an address that hangs would be given up
                // before its time again and again, and its breaker never hear of it.
                beaten.store(number != other, Ordering::Relaxed);
                result
            }
        }
    }
}
