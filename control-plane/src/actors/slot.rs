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
