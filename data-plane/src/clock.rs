//! Time, injected: whatever goes by the clock (signatures, key lives, sweep, certificate reload) asks here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> SystemTime;

    /// Time that only goes forward, since some fixed moment: for lives of keys, which a set-back clock must not extend.
    fn monotonic(&self) -> Duration;

    /// Wall-clock time in Unix seconds.
    fn unix(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// The machine's own time.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The machine's clock, shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that a test moves by hand.
pub struct ManualClock {
    milliseconds: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `unix` seconds.
    pub fn at(unix: u64) -> Arc<Self> {
        Arc::new(Self { milliseconds: AtomicU64::new(unix * 1_000) })
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.milliseconds.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::SeqCst))
    }
}
