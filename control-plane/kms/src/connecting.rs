//! Connections that outlive whoever wanted them first.
//!
//! An attempt may end before a slow handshake does. If it took its connection along, the next one would begin with another, and a
//! KMS whose handshakes take longer than an attempt would never be asked anything. So connecting is a task of its own, with its own
//! bound; what it comes to when nobody waits any more is the next caller's. Nothing is sent over it before somebody asks: this is
//! no request without a caller, so what counts requests (a breaker's probes) sees none.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use crate::resilience::step;

/// So long after its beginning a connection that nobody took is worth taking: servers close what says nothing.
const KEPT: Duration = Duration::from_secs(10);

type Connecting<T, E> = JoinHandle<Result<T, E>>;

/// When it was begun, and what it comes to.
type Begun<T, E> = (Instant, Connecting<T, E>);

/// Where connections to one place are left. Clones are the same.
pub(crate) struct Left<T, E>(Arc<Mutex<Option<Begun<T, E>>>>);

impl<T, E> Clone for Left<T, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, E> Default for Left<T, E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Somebody waits for a connection; dropped before it is there, it leaves it.
struct Waiting<'a, T, E> {
    left: &'a Left<T, E>,
    began: Instant,
    connecting: Option<Connecting<T, E>>,
}

impl<T, E> Drop for Waiting<'_, T, E> {
    fn drop(&mut self) {
        let Some(connecting) = self.connecting.take() else { return };
        let mut left = self.left.lock();
        // One is kept: as many as there are callers would be a flood at a KMS that accepts slowly.
        match &*left {
            Some((began, _)) if began.elapsed() < KEPT => connecting.abort(),
            _ => *left = Some((self.began, connecting)),
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Left<T, E> {
    /// The connection that was left, or the one that `begin` makes, which is to end by itself.
    pub(crate) async fn connect<F>(&self, begin: impl FnOnce() -> F) -> Result<Result<T, E>, JoinError>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some((began, connecting)) = self.take()
            && let Ok(Ok(connected)) = self.wait(began, connecting).await
        {
            step();
            return Ok(Ok(connected));
        }
        let connected = self.wait(Instant::now(), tokio::spawn(begin())).await;
        if matches!(connected, Ok(Ok(_))) {
            step();
        }
        connected
    }

    async fn wait(&self, began: Instant, connecting: Connecting<T, E>) -> Result<Result<T, E>, JoinError> {
        let mut waiting = Waiting { left: self, began, connecting: Some(connecting) };
        match &mut waiting.connecting {
            Some(connecting) => {
                let connected = connecting.await;
                waiting.connecting = None;
                connected
            }
            // It is set above.
            None => std::future::pending().await,
        }
    }

    fn take(&self) -> Option<Begun<T, E>> {
        let (began, connecting) = self.lock().take()?;
        if began.elapsed() < KEPT {
            return Some((began, connecting));
        }
        connecting.abort();
        None
    }
}

impl<T, E> Left<T, E> {
    fn lock(&self) -> MutexGuard<'_, Option<Begun<T, E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{advance, sleep, timeout};

    use super::{Arc, Duration, Instant, Left};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A place that takes this long to connect to, and counts.
    struct Place {
        left: Left<u32, &'static str>,
        begun: Arc<AtomicU32>,
        takes: Duration,
        fails: bool,
    }

    impl Place {
        fn new(takes: Duration) -> Self {
            Self { left: Left::default(), begun: Arc::default(), takes, fails: false }
        }

        /// What a caller gets who has this much time.
        async fn within(&self, patience: Duration) -> Option<Result<u32, &'static str>> {
            let (begun, takes, fails) = (Arc::clone(&self.begun), self.takes, self.fails);
            let begin = || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(takes).await;
                if fails { Err("refused") } else { Ok(number) }
            };
            timeout(patience, self.left.connect(begin)).await.ok().map(|done| done.unwrap())
        }

        fn begun(&self) -> u32 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_longer_than_an_attempt_is_the_next_ones() {
        let (place, began) = (Place::new(ms(450)), Instant::now());
        assert_eq!(place.within(ms(400)).await, None);
        assert_eq!(place.within(ms(400)).await, Some(Ok(1)));
        assert_eq!((began.elapsed(), place.begun()), (ms(450), 1));
        assert_eq!(place.within(ms(500)).await, Some(Ok(2)), "it was taken: the next is another");
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_left_however_many_leave_and_not_for_long() {
        let place = Place::new(ms(450));
        let (one, two) = tokio::join!(place.within(ms(400)), place.within(ms(400)));
        assert_eq!((one, two, place.begun()), (None, None, 2));
        advance(ms(100)).await;
        assert!(matches!(place.within(ms(1)).await, Some(Ok(_))));
        assert_eq!(place.within(ms(400)).await, None, "there was one");
        advance(Duration::from_secs(11)).await;
        assert_eq!(place.within(ms(1)).await, None, "the server may have closed it by now");
        assert_eq!(place.begun(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_meanwhile_is_begun_anew() {
        let mut place = Place::new(ms(450));
        place.fails = true;
        assert_eq!(place.within(ms(400)).await, None);
        advance(ms(100)).await;
        place.fails = false;
        assert_eq!(place.within(ms(460)).await, Some(Ok(2)));
    }
}
