//! The bulkhead: so many calls at a time, and so many that wait. What a hanging KMS can bind is bounded.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{limiter::Limiter, observer::Observer};
use crate::{Cause, KmsError};

/// When a call that found no place may come again: by then those before it have ended or given up.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Bulkhead {
    slots: Semaphore,
    size: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// Somebody waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Bulkhead {
    pub(super) fn new(size: usize, most_waiting: usize) -> Self {
        Self { slots: Semaphore::new(size), size, waiting: AtomicUsize::new(0), most_waiting }
    }

    /// A place, after a turn at the limiter where there is one; waited for until the deadline.
    pub(super) async fn enter(
        &self,
        limiter: Option<&Limiter>,
        deadline: Instant,
        (provider, observer): (&str, &dyn Observer),
    ) -> Result<SemaphorePermit<'_>, KmsError> {
        if let Ok(slot) = self.slots.try_acquire()
            && limiter.is_none_or(Limiter::try_turn)
        {
            return Ok(slot);
        }
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most_waiting {
            let text = format!("{provider}: {before} calls wait for it already");
            return Err(KmsError::Unavailable(Cause::Refused(COME_AGAIN), text));
        }
        let began = Instant::now();
        let turn = async {
            if let Some(limiter) = limiter {
                limiter.turn().await;
            }
            self.slots.acquire().await
        };
        let entered = timeout_at(deadline, turn).await;
        observer.queued(provider, began.elapsed());
        match entered {
            // Nobody closes it.
            Ok(Err(_)) => Err(KmsError::local("the bulkhead is closed")),
            Ok(Ok(slot)) if Instant::now() < deadline => Ok(slot),
            _ => Err(match limiter.filter(|limiter| limiter.rate().is_some()) {
                Some(limiter) => KmsError::Throttled(
                    Some(limiter.wait().max(COME_AGAIN)),
                    format!("{provider}: no turn in time"),
                ),
                None => {
                    let text = format!("{provider}: {} calls are under way, none ended in time", self.size);
                    KmsError::Unavailable(Cause::Refused(COME_AGAIN), text)
                }
            }),
        }
    }

    /// A place that is free now.
    pub(super) fn try_enter(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.try_acquire().ok()
    }

    /// Calls under way, and calls that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.size.saturating_sub(self.slots.available_permits()), self.waiting.load(Ordering::SeqCst))
    }
}
