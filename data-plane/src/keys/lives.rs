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

/// For so long after the control plane is back keys go on that are over: one after the other is asked for as it is used, instead of all
/// at the same moment, of a control plane that may hold none.
pub(super) const GRACE: Duration = Duration::from_secs(300);

/// For so long it is not asked for again when it could not be had, however many use it.
const PAUSE: Duration = Duration::from_secs(5);

/// When a key ends, in the clock's monotonic time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub(super) hard: Duration,
    unproved: Duration,
}

impl Ends {
    /// Its end where keys go on until `extended`, however long that is: no later than with the unproved life.
    pub(super) fn at(self, extended: Duration) -> Duration {
        self.hard.max(extended.min(self.hard + self.unproved))
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
    /// It was asked for again and could not be had: until when that lets it go on. No longer than [`GRACE`]: a key that nobody asks for is
    /// one that nobody would hear was denied.
    unreached: Duration,
}

impl Entry {
    pub(super) fn new(key: &Arc<NodeKey>, lives: Lives, now: Duration) -> Self {
        Self {
            key: Arc::clone(key),
            lives,
            received: now,
            used: now,
            uses: 0,
            degraded: false,
            unreached: Duration::ZERO,
        }
    }

    pub(super) fn ends(&self) -> Ends {
        Ends { hard: self.received + self.lives.hard, unproved: self.lives.unproved }
    }

    /// Until when it goes on, for want of the control plane: for all keys until `extended`.
    pub(super) fn extended(&self, extended: Duration) -> Duration {
        extended.max(self.unreached)
    }

    /// It was asked for again, and could not be had.
    pub(super) fn unreached(&mut self, now: Duration) {
        self.unreached = now + GRACE;
    }

    /// Whether that was a moment ago.
    pub(super) fn is_paused(&self, now: Duration) -> bool {
        now + GRACE < self.unreached + PAUSE
    }

    pub(super) fn expiry(&self, extended: Duration) -> (Duration, Eviction) {
        let extended = self.extended(extended);
        let hard = self.ends().at(extended);
        // What could not be fetched again is not dropped for being unused.
        let idle = (self.used + self.lives.idle).max(extended);
        if hard <= idle { (hard, Eviction::Hard) } else { (idle, Eviction::Idle) }
    }

    pub(super) fn is_stale(&self, now: Duration) -> bool {
        self.received + self.lives.soft <= now || self.uses > USES
    }
}

/// What the cache had.
pub(super) enum Cached {
    Fresh(Arc<NodeKey>),
    Stale(Arc<NodeKey>),
    /// Beyond its hard life.
    Degraded(Arc<NodeKey>),
    Missing,
}

impl Cached {
    /// The same, used beyond what it was given for.
    pub(super) fn degraded(self) -> Self {
        match self {
            Self::Fresh(key) | Self::Stale(key) => Self::Degraded(key),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sealgate_envelope::{Ik, IkId};

    use super::*;

    #[test]
    fn a_key_that_could_not_be_had_goes_on_for_a_while_and_no_longer_than_it_may() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let lives = Lives { soft: minutes(5), hard: minutes(60), idle: minutes(5), unproved: minutes(62) };
        let key = Arc::new(NodeKey { id: IkId::random().unwrap(), ik: Ik::generate().unwrap() });
        let mut entry = Entry::new(&key, lives, minutes(0));
        entry.used = minutes(58);
        assert_eq!(entry.expiry(Duration::ZERO).0, minutes(60));
        entry.unreached(minutes(58));
        assert_eq!(entry.expiry(Duration::ZERO).0, minutes(63), "for five minutes, and not for good");
        entry.unreached(minutes(120));
        assert_eq!(entry.expiry(Duration::ZERO).0, minutes(122), "beyond the unproved life");
    }
}
