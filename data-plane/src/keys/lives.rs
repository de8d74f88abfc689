//! How long a node holds a key.

use std::sync::Arc;
use std::time::Duration;

use super::NodeKey;
use crate::metrics::Eviction;

/// After so many uses a key is asked for again, whatever its life: the control plane counts, and writes down, who uses what.
const USES: u64 = 1 << 20;

/// How long a key may be used, from the moment it was received.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// Asked for again after this.
    pub soft: Duration,
    /// Zeroized after this.
    pub hard: Duration,
    /// Zeroized when unused for this long.
    pub idle: Duration,
    /// How much longer than `hard` while the control plane cannot be reached.
    pub unproved: Duration,
}

/// When a key ends, in the clock's monotonic time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub(super) hard: Duration,
    unproved: Duration,
}

impl Ends {
    pub(super) fn at(self, cut_off: bool) -> Duration {
        if cut_off { self.hard + self.unproved } else { self.hard }
    }
}

/// A key in the cache.
pub(super) struct Entry {
    pub(super) key: Arc<NodeKey>,
    lives: Lives,
    received: Duration,
    pub(super) used: Duration,
    pub(super) uses: u64,
    /// Served beyond its hard life: written down once.
    pub(super) degraded: bool,
}

impl Entry {
    pub(super) fn new(key: &Arc<NodeKey>, lives: Lives, now: Duration) -> Self {
        Self { key: Arc::clone(key), lives, received: now, used: now, uses: 0, degraded: false }
    }

    pub(super) fn ends(&self) -> Ends {
        Ends { hard: self.received + self.lives.hard, unproved: self.lives.unproved }
    }

    pub(super) fn expiry(&self, cut_off: bool) -> (Duration, Eviction) {
        let hard = self.ends().at(cut_off);
        let idle = self.used + self.lives.idle;
        if cut_off || hard <= idle { (hard, Eviction::Hard) } else { (idle, Eviction::Idle) }
    }

    pub(super) fn is_stale(&self, now: Duration) -> bool {
        self.received + self.lives.soft <= now || self.uses > USES
    }
}
