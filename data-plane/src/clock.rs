//! Time, injected: whatever goes by the clock (signatures, key lives, sweep, certificate reload) asks here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> SystemTime;

    /// Time that only goes forward, since some fixed moment, and goes on while the machine is suspended: for lives of keys, which
    /// neither a set-back clock nor a suspension must extend.
    fn monotonic(&self) -> Duration;

    /// Ends when [`Self::monotonic`] has gone on by this much.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Wall-clock time in Unix seconds.
    fn unix(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// What a timer sleeps at most: one that sleeps over a suspension of the machine sees soon that time went on.
const STEP: Duration = Duration::from_secs(10);

/// The machine's own time.
pub struct SystemClock {
    start: Duration,
}

/// Time since the boot, suspensions included, which `Instant` leaves out.
fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

impl SystemClock {
    /// The machine's clock, shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self { start: since_boot() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.start)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let end = self.monotonic().saturating_add(duration);
        Box::pin(async move {
            loop {
                let left = end.saturating_sub(self.monotonic());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(STEP)).await;
            }
        })
    }
}

/// A clock that a test moves by hand.
pub struct ManualClock {
    milliseconds: AtomicU64,
    moved: Notify,
}

impl ManualClock {
    /// A clock that stands at `unix` seconds.
    pub fn at(unix: u64) -> Arc<Self> {
        Arc::new(Self { milliseconds: AtomicU64::new(unix * 1_000), moved: Notify::new() })
    }

    /// Moves the clock forward and wakes whoever waits for a time that has come.
    pub fn advance(&self, by: Duration) {
        self.milliseconds.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // From now, not from when it is first polled: a clock that is moved in between has moved for this sleep too.
        let end = self.monotonic() + duration;
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                // Registered before the time is read, so that no movement in between is missed.
                moved.as_mut().enable();
                if self.monotonic() >= end {
                    return;
                }
                moved.await;
            }
        })
    }
}
