//! One question at a time: who asks for what somebody is asking for already waits for that answer. What is asked is the
//! storage's or the control plane's to answer, so a crowd costs them one request.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Questions under way, by what they are about.
pub struct Flights<K, V>(Mutex<HashMap<K, watch::Receiver<Option<V>>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Flights<K, V> {
    /// The answer of `ask`, or of whoever asks already. One who is cancelled leaves the question to the next of those who wait.
    pub async fn join<F: Future<Output = V>>(&self, key: K, ask: impl FnOnce() -> F) -> V {
        loop {
            let mut waiting = match self.enter(key) {
                Ok(sender) => {
                    let _leaving = Leaving { flights: self, key };
                    let answer = ask().await;
                    let _ = sender.send(Some(answer.clone()));
                    return answer;
                }
                Err(waiting) => waiting,
            };
            if let Ok(answer) = waiting.wait_for(Option::is_some).await
                && let Some(answer) = answer.clone()
            {
                return answer;
            }
        }
    }

    fn enter(&self, key: K) -> Result<watch::Sender<Option<V>>, watch::Receiver<Option<V>>> {
        let mut running = self.lock();
        if let Some(waiting) = running.get(&key) {
            return Err(waiting.clone());
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(key, receiver);
        Ok(sender)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a question, however its asker ends.
struct Leaving<'a, K: Copy + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    key: K,
}

impl<K: Copy + Eq + Hash, V: Clone> Drop for Leaving<'_, K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::cell::Cell;

    use futures_util::FutureExt as _;
    use futures_util::future::{join3, pending};
    use tokio::sync::oneshot;

    use super::Flights;

    #[actix_rt::test]
    async fn a_crowd_asks_once_and_the_next_one_again() {
        let (flights, asked) = (Flights::<u8, u8>::default(), Cell::new(0));
        let ask = || async {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            asked.get()
        };
        assert_eq!(join3(flights.join(7, ask), flights.join(7, ask), flights.join(7, ask)).await, (1, 1, 1));
        assert_eq!(flights.join(8, ask).await, 2);
        assert_eq!(flights.join(7, ask).await, 3);
    }

    #[actix_rt::test]
    async fn one_who_is_cancelled_takes_nobody_along() {
        let flights = Flights::<u8, u8>::default();
        let mut first = Box::pin(flights.join(7, pending));
        assert!(first.as_mut().now_or_never().is_none());
        let (answer, answered) = oneshot::channel();
        let mut second = Box::pin(flights.join(7, || async { answered.await.unwrap() }));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        answer.send(9).unwrap();
        assert_eq!(second.await, 9);
    }
}
