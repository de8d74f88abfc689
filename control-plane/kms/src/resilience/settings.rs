//! The numbers of the layer; the default are those of the design.

use std::time::Duration;

use crate::BreakerSettings;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long each step of an attempt may take: to connect (which the provider bounds at 500 ms by itself), and each request.
    pub attempt: Duration,
    /// How long a call may take in all: the wait for its turn, attempts, pauses.
    pub total: Duration,
    /// The same for what changes a KEK: one attempt, so it is the whole call's.
    pub manage: Duration,
    /// Attempts of a call, hedges included. A standby's word that it does not serve is none.
    pub attempts: u32,
    /// The pause before a second attempt is random, from zero to this.
    pub pause: Duration,
    /// Second attempts and hedges, in percent of all calls.
    pub retry_percent: u32,
    /// So many of them may be saved up.
    pub retry_reserve: u32,
    /// An unwrap that takes so long gets a hedge, until there are enough to know what 95 % of them take.
    pub hedge: Duration,
    /// The shortest time after which one is hedged.
    pub hedge_least: Duration,
    /// Calls at a time.
    pub in_flight: usize,
    /// Calls that wait for their turn; more are refused at once.
    pub waiting: usize,
    /// Calls at a time that change a KEK, apart from the others.
    pub in_flight_manage: usize,
    /// Calls a second at which a limit that throttling brought about is lifted again, and the most it can be.
    pub rate_most: u32,
    /// The lowest limit, in calls a second.
    pub rate_least: u32,
    /// How long it is known that a ciphertext is refused.
    pub negative: Duration,
    /// So many refused ciphertexts are known.
    pub negative_most: usize,
    /// Of each address and operation.
    pub breaker: BreakerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempt: Duration::from_millis(400),
            total: Duration::from_millis(1_500),
            manage: Duration::from_secs(10),
            attempts: 2,
            pause: Duration::from_millis(100),
            retry_percent: 10,
            retry_reserve: 10,
            hedge: Duration::from_millis(100),
            hedge_least: Duration::from_millis(10),
            in_flight: 64,
            waiting: 1_024,
            in_flight_manage: 4,
            rate_most: 2_000,
            rate_least: 1,
            negative: Duration::from_secs(3),
            negative_most: 1_024,
            breaker: BreakerSettings::default(),
        }
    }
}
