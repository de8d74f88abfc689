//! Whose turn it is while a request goes out, so that only the server's own silence runs into a timeout: a client that
//! sends slowly is not the server's fault.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The server has yet to say `100 Continue`.
    Asked,
    /// The server has to take bytes.
    Server,
    /// The producer of the body has to deliver.
    Source,
    /// All is sent, the server has to answer.
    Sent,
}

/// How far a request has come.
#[derive(Debug)]
pub(super) struct Progress {
    turn: Cell<Turn>,
    since: Cell<Instant>,
}

/// Silence for so long counts as `100 Continue`.
const CONTINUE: Duration = Duration::from_secs(1);

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { turn: Cell::new(Turn::Sent), since: Cell::new(now) }
    }

    fn set(&self, turn: Turn) {
        self.turn.set(turn);
        self.since.set(Instant::now());
    }

    /// The head is on its way with `Expect: 100-continue`.
    pub(super) fn asked(&self) {
        self.set(Turn::Asked);
    }

    /// The connection took a piece.
    pub(super) fn taken(&self) {
        self.set(Turn::Server);
    }

    /// The next piece is not there yet.
    pub(super) fn waiting_for_source(&self) {
        self.set(Turn::Source);
    }

    /// All pieces are taken.
    pub(super) fn sent(&self) {
        self.set(Turn::Sent);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.turn.get() == Turn::Sent
    }

    pub(super) fn is_asked(&self) -> bool {
        self.turn.get() == Turn::Asked
    }

    /// When to look again; whether the server has then been silent for too long if nothing changed.
    pub(super) fn deadline(&self, answer: Duration, idle: Duration) -> (Instant, bool) {
        match self.turn.get() {
            Turn::Asked => (self.since.get() + CONTINUE, false),
            Turn::Server => (self.since.get() + idle, true),
            Turn::Source => (Instant::now() + idle, false),
            Turn::Sent => (self.since.get() + answer, true),
        }
    }
}
