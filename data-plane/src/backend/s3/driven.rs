//! What makes a connection go: a task of its own, or whoever sends or receives a long body over it.
//!
//! A body that is polled together with its connection needs one wake-up where two tasks need two. And a connection that is
//! polled only while a body waits for it reads nothing ahead: what a client that stalls makes a node hold is bounded by
//! that (`pipeline::HELD`).

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

/// A connection that is going. Dropping it ends the connection.
pub(super) struct Driven {
    shared: Rc<Shared>,
    task: AbortHandle,
}

struct Shared {
    /// None once it has ended, and while it is polled.
    connection: Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    /// Whether its task leaves it alone.
    taken: Cell<bool>,
    /// The task, which sleeps while the connection is taken.
    waker: Cell<Option<Waker>>,
}

impl Shared {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut connection) = self.connection.take() else { return Poll::Ready(()) };
        let outcome = connection.as_mut().poll(cx);
        if outcome.is_pending() {
            self.connection.set(Some(connection));
        }
        outcome
    }
}

impl Driven {
    /// Starts a connection, which its own task polls. Needs a `LocalSet`.
    pub(super) fn start(connection: impl Future<Output = ()> + 'static) -> Self {
        let shared = Rc::new(Shared {
            connection: Cell::new(Some(Box::pin(connection))),
            taken: Cell::new(false),
            waker: Cell::new(None),
        });
        let own = Rc::clone(&shared);
        let task = tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            own.waker.set(Some(cx.waker().clone()));
            if own.taken.get() { Poll::Pending } else { own.poll(cx) }
        }));
        Self { shared, task: task.abort_handle() }
    }

    /// Lets nobody but [`Driven::until`] poll the connection from now on.
    pub(super) fn by_hand(&self) {
        self.shared.taken.set(true);
    }

    /// Gives the connection back to its task.
    pub(super) fn by_itself(&self) {
        if self.shared.taken.replace(false)
            && let Some(waker) = self.shared.waker.take()
        {
            waker.wake();
        }
    }

    /// Waits for something that comes over the connection, and polls the connection only where it has not come yet.
    pub(super) async fn until<F: Future + Unpin>(&self, mut wanted: F) -> F::Output {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut wanted).poll(cx) {
                return Poll::Ready(output);
            }
            let _ = self.shared.poll(cx);
            Pin::new(&mut wanted).poll(cx)
        })
        .await
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
        drop(self.shared.connection.take());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::{Poll, Waker};

    use tokio::task::yield_now;

    use super::Driven;

    /// A connection that counts how often it was polled, and can be woken.
    #[derive(Default)]
    struct Counted {
        polls: Cell<u32>,
        waker: Cell<Option<Waker>>,
    }

    impl Counted {
        fn start(self: &Rc<Self>) -> Driven {
            let own = Rc::clone(self);
            Driven::start(std::future::poll_fn(move |cx| {
                own.polls.set(own.polls.get() + 1);
                own.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }))
        }

        /// What a socket does that has become ready; gives the polls that came of it.
        async fn ready(&self) -> u32 {
            let before = self.polls.get();
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
            for _ in 0..8 {
                yield_now().await;
            }
            self.polls.get() - before
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_in_hand_is_polled_only_for_who_waits() {
        let counted = Rc::new(Counted::default());
        let driven = counted.start();
        yield_now().await;
        assert_eq!((counted.polls.get(), counted.ready().await), (1, 1));

        driven.by_hand();
        assert_eq!(counted.ready().await, 0);
        assert_eq!(driven.until(std::future::ready(7)).await, 7);
        assert_eq!(counted.polls.get(), 2, "what was there already needed no poll");
        let seen = counted.polls.get();
        let polls = Rc::clone(&counted);
        driven
            .until(std::future::poll_fn(|_| {
                if polls.polls.get() > seen { Poll::Ready(()) } else { Poll::Pending }
            }))
            .await;
        assert_eq!(counted.polls.get(), seen + 1);

        driven.by_itself();
        yield_now().await;
        assert_eq!(counted.polls.get(), seen + 2, "its task did not take it up again");
        assert_eq!(counted.ready().await, 1);
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_ends_with_its_handle() {
        let counted = Rc::new(Counted::default());
        let driven = counted.start();
        yield_now().await;
        driven.by_hand();
        drop(driven);
        yield_now().await;
        assert_eq!(Rc::strong_count(&counted), 1);
    }
}
