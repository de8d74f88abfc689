//! Time as the control plane sees it: injected, so that tests move midnight and cache lives.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// Seconds in a day.
pub const DAY: u64 = 86_400;

/// A wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Unix seconds.
    fn now(&self) -> u64;
    /// Seconds that only go forward, whatever the wall clock is set to, and go on while the machine is suspended; where they began
    /// is the wall clock's. For lives of keys.
    fn steady(&self) -> u64;
    /// Ends when [`Self::now`] has reached `at`.
    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Ends after so many seconds, however the wall clock is set meanwhile.
    fn sleep(&self, seconds: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The operating system's clock.
pub struct SystemClock;

/// When it was asked first, in seconds since the boot and since 1970.
static BEGAN: LazyLock<(u64, u64)> = LazyLock::new(|| (since_boot(), SystemClock.now()));

/// Seconds since the boot, suspensions included, which `Instant` leaves out.
fn since_boot() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

impl Clock for SystemClock {
    fn steady(&self) -> u64 {
        BEGAN.1 + since_boot().saturating_sub(BEGAN.0)
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // In steps: the wall clock may be set while we sleep, the timer does not follow it.
            loop {
                let left = at.saturating_sub(self.now());
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(left.min(10))).await;
            }
        })
    }

    fn sleep(&self, seconds: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(Duration::from_secs(seconds)))
    }
}

/// A clock that stands still until it is moved: for tests.
pub struct ManualClock {
    now: AtomicU64,
    /// How far the wall clock was set back.
    back: AtomicU64,
    moved: Notify,
}

impl ManualClock {
    /// A clock that shows `now` (Unix seconds).
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { now: AtomicU64::new(now), back: AtomicU64::new(0), moved: Notify::new() }
    }

    /// Sets the wall clock back. Time goes on from there.
    pub fn set_back(&self, seconds: u64) {
        self.back.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Moves the clock forward and wakes whoever waits for a time that has come.
    pub fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

impl ManualClock {
    async fn until(&self, come: impl Fn() -> bool) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the time is read, so that no movement in between is missed.
            moved.as_mut().enable();
            if come() {
                return;
            }
            moved.await;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.steady() - self.back.load(Ordering::SeqCst)
    }

    fn steady(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.until(move || self.now() >= at))
    }

    fn sleep(&self, seconds: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // From now, not from when it is first polled.
        let at = self.steady().saturating_add(seconds);
        Box::pin(self.until(move || self.steady() >= at))
    }
}
