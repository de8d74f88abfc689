//! How far an attempt is. A refusal is told apart from a stale login by further requests within the same attempt, and a new
//! connection comes before the first of them: with a KMS that is far away these add up to more than one attempt may take. So the
//! bound is of each step, and a provider says when one is done; that it answers at all is what an attempt's time is there to find
//! out. The call's deadline bounds all steps together.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    /// When the attempt that this task is at got on last.
    static LAST: Arc<Mutex<Instant>>;
}

/// A step of the attempt under way is done: a connection stands, an answer has come. Outside of attempts it says nothing.
pub(crate) fn step() {
    let now = Instant::now();
    // Without an attempt there is nobody to tell.
    let _ = LAST.try_with(|last| *last.lock().unwrap_or_else(PoisonError::into_inner) = now);
}

/// No answer.
pub(super) struct Late {
    /// For how long nothing came.
    pub(super) silent: Duration,
    /// What was left of the caller's time ended it, not the bound of a step.
    pub(super) by_deadline: bool,
}

/// Runs an attempt: `each` bounds every step of it, `deadline` the whole.
pub(super) async fn bounded<T>(
    each: Duration,
    deadline: Instant,
    attempt: impl Future<Output = T>,
) -> Result<T, Late> {
    let last = Arc::new(Mutex::new(Instant::now()));
    let known = || *last.lock().unwrap_or_else(PoisonError::into_inner);
    let mut attempt = pin!(LAST.scope(Arc::clone(&last), attempt));
    loop {
        let began = known();
        let full = began + each;
        if let Ok(done) = timeout_at(full.min(deadline), &mut attempt).await {
            return Ok(done);
        }
        if full > deadline || known() == began {
            let silent = Instant::now().saturating_duration_since(known());
            return Err(Late { silent, by_deadline: full > deadline });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::{Duration, Instant, bounded, step};

    const EACH: Duration = Duration::from_millis(400);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    async fn steps(each: u64, steps: u32) -> u32 {
        for _ in 0..steps {
            sleep(ms(each)).await;
            step();
        }
        steps
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_time_and_all_have_the_deadline() {
        let began = Instant::now();
        assert_eq!(bounded(EACH, began + ms(1_500), steps(300, 4)).await.ok(), Some(4));
        assert_eq!(began.elapsed(), ms(1_200));
        let began = Instant::now();
        let late = bounded(EACH, began + ms(1_400), steps(300, 9)).await.err().unwrap();
        assert_eq!((began.elapsed(), late.by_deadline, late.silent), (ms(1_400), true, ms(200)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_does_not_end_ends_the_attempt() {
        let began = Instant::now();
        let stuck = async {
            steps(100, 2).await;
            std::future::pending::<()>().await;
        };
        let late = bounded(EACH, began + ms(1_500), stuck).await.err().unwrap();
        assert_eq!((began.elapsed(), late.by_deadline, late.silent), (ms(600), false, EACH));
    }
}
