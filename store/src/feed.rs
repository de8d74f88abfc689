//! Watching: the last transactions are kept in memory, newer ones are broadcast.
//!
//! History is bounded and starts empty with each opening, as etcd's does after a compaction: whoever is too far behind
//! takes a snapshot and goes on from there. That keeps writers independent of slow watchers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use tokio::sync::broadcast;

use crate::{Op, Revision};

/// Transactions kept for watchers that start a little late, and the most that a watcher may lag behind.
const HISTORY: usize = 1024;

/// One committed transaction.
#[derive(Clone)]
pub struct Event {
    /// Its revision.
    pub revision: Revision,
    /// What it changed.
    pub ops: Arc<Vec<Op>>,
}

/// Why a watch cannot go on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WatchError {
    /// The transactions in between are no longer kept.
    #[error("the history after this revision is no longer kept")]
    Compacted,
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
}

/// A position in the stream of transactions.
pub struct Watch {
    backlog: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
    seen: Revision,
}

impl Watch {
    /// The next transaction.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] when the watcher lagged more than the history is long.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        let event = match self.backlog.pop_front() {
            Some(event) => event,
            None => self.live.recv().await.map_err(|error| match error {
                broadcast::error::RecvError::Lagged(_) => WatchError::Compacted,
                broadcast::error::RecvError::Closed => WatchError::Closed,
            })?,
        };
        if event.revision != self.seen + 1 {
            return Err(WatchError::Compacted);
        }
        self.seen = event.revision;
        Ok(event)
    }
}

/// What an engine publishes to.
pub(crate) struct Feed {
    inner: Mutex<Inner>,
    live: broadcast::Sender<Event>,
}

struct Inner {
    newest: Revision,
    history: VecDeque<Event>,
}

impl Feed {
    pub(crate) fn new(newest: Revision) -> Self {
        let inner = Inner { newest, history: VecDeque::new() };
        Self { inner: Mutex::new(inner), live: broadcast::channel(HISTORY).0 }
    }

    pub(crate) fn newest(&self) -> Revision {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).newest
    }

    pub(crate) fn publish(&self, revision: Revision, ops: Vec<Op>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { revision, ops: Arc::new(ops) };
        inner.newest = revision;
        inner.history.push_back(event.clone());
        if inner.history.len() > HISTORY {
            inner.history.pop_front();
        }
        // Sent under the lock, so that a watcher who subscribes finds each event in exactly one of the two places.
        // Nobody listening is not an error.
        let _ = self.live.send(event);
    }

    pub(crate) fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest_known = inner.history.front().map_or(inner.newest, |event| event.revision - 1);
        if from < oldest_known || from > inner.newest {
            return Err(WatchError::Compacted);
        }
        let backlog = inner.history.iter().filter(|event| event.revision > from).cloned().collect();
        Ok(Watch { backlog, live: self.live.subscribe(), seen: from })
    }
}
