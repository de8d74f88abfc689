//! A place for an actor that is filled again when the actor has died.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, Handler, Message, dev::ToEnvelope};
use arc_swap::ArcSwap;

use crate::{
    Error,
    metrics::{ActorKind, Metrics},
};

/// How long a caller waits for an actor.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(200);
/// Rebuilds within a minute after which the process is better ended.
const MAX_REBUILDS: usize = 10;

type Start<A> = Box<dyn Fn() -> Result<Addr<A>, Error> + Send + Sync>;

/// See the module.
pub(crate) struct Slot<A: Actor> {
    addr: ArcSwap<Addr<A>>,
    start: Start<A>,
    kind: ActorKind,
}

impl<A: Actor> Slot<A> {
    pub(crate) fn new(kind: ActorKind, start: Start<A>) -> Result<Self, Error> {
        Ok(Self { addr: ArcSwap::from_pointee(start()?), start, kind })
    }

    /// Sends and waits for the answer, at most 5 s.
    pub(crate) async fn send<M>(&self, message: M) -> Result<M::Result, Error>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let addr = Addr::clone(&self.addr.load());
        let answer = addr.send(message).timeout(TIMEOUT).await;
        answer.map_err(|error| Error::Unavailable(format!("the {:?} actor: {error}", self.kind)))
    }

    /// Sends without waiting; what does not fit into the mailbox is dropped, and the caller told.
    pub(crate) fn try_send<M>(&self, message: M) -> bool
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.addr.load().try_send(message).is_ok()
    }

    fn dead(&self) -> bool {
        !self.addr.load().connected()
    }
}

/// Rebuilds the actor whenever it has died. Returns, for the process to end, when that does not help.
pub(crate) async fn watch<A: Actor>(slot: Arc<Slot<A>>, metrics: Arc<Metrics>) {
    let mut rebuilds = std::collections::VecDeque::new();
    loop {
        tokio::time::sleep(LOOK).await;
        if !slot.dead() {
            continue;
        }
        let now = tokio::time::Instant::now();
        rebuilds.retain(|at| now.duration_since(*at) < Duration::from_secs(60));
        rebuilds.push_back(now);
        metrics.restart(slot.kind);
        match (slot.start)() {
            Ok(addr) if rebuilds.len() <= MAX_REBUILDS => {
                tracing::error!(actor = ?slot.kind, "an actor died; it was rebuilt from the store");
                slot.addr.store(Arc::new(addr));
            }
            Ok(_) => {
                tracing::error!(actor = ?slot.kind, "an actor dies again and again");
                return;
            }
            Err(error) => {
                tracing::error!(actor = ?slot.kind, %error, "an actor died and cannot be rebuilt");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use actix::{Actor, Context, Handler, Message};
    use actix_rt::Arbiter;

    use super::{ActorKind, MAX_REBUILDS, Metrics, Slot, watch};

    /// Panics when told to.
    struct Fragile;
    impl Actor for Fragile {
        type Context = Context<Self>;
    }
    #[derive(Message)]
    #[rtype(result = "bool")]
    struct Do {
        panic: bool,
    }
    impl Handler<Do> for Fragile {
        type Result = bool;
        fn handle(&mut self, message: Do, _: &mut Self::Context) -> bool {
            assert!(!message.panic, "as the test wants it");
            true
        }
    }

    fn slot(arbiter: &Arbiter, starts: &Arc<AtomicUsize>) -> Arc<Slot<Fragile>> {
        let (handle, starts) = (arbiter.handle(), Arc::clone(starts));
        let start = move || {
            starts.fetch_add(1, Ordering::SeqCst);
            Ok(Fragile::start_in_arbiter(&handle, |_| Fragile))
        };
        Arc::new(Slot::new(ActorKind::Registry, Box::new(start)).unwrap())
    }

    #[actix_rt::test]
    async fn an_actor_that_panicked_is_rebuilt() {
        let (arbiter, starts) = (Arbiter::new(), Arc::new(AtomicUsize::new(0)));
        let slot = slot(&arbiter, &starts);
        let dog = tokio::spawn(watch(Arc::clone(&slot), Arc::new(Metrics::new().unwrap())));
        assert!(slot.send(Do { panic: false }).await.unwrap());
        assert!(slot.send(Do { panic: true }).await.is_err(), "the caller is told");
        while starts.load(Ordering::SeqCst) == 1 || slot.dead() {
            tokio::task::yield_now().await;
        }
        assert!(slot.send(Do { panic: false }).await.unwrap());
        dog.abort();
        arbiter.stop();
    }

    #[actix_rt::test]
    async fn an_actor_that_dies_again_and_again_ends_the_process() {
        let (arbiter, starts) = (Arbiter::new(), Arc::new(AtomicUsize::new(0)));
        let slot = slot(&arbiter, &starts);
        let dog = tokio::spawn(watch(Arc::clone(&slot), Arc::new(Metrics::new().unwrap())));
        while !dog.is_finished() {
            let _ = slot.send(Do { panic: true }).await;
            // A dead actor's refusal is immediate and would never let the watchdog run.
            tokio::task::yield_now().await;
        }
        assert!(starts.load(Ordering::SeqCst) > MAX_REBUILDS);
        arbiter.stop();
    }
}
