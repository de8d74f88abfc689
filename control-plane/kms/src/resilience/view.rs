//! What the layer shows of itself, for operators.

use serde::Serialize;

use super::observer::Operation;
use crate::Phase;

/// A provider as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderView {
    /// Its name in the configuration.
    pub provider: String,
    /// Whether each of `current_version`, `wrap` and `unwrap` has an address whose breaker is closed.
    pub healthy: bool,
    /// Its addresses, in the order of the configuration.
    pub addresses: Vec<AddressView>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls a second, while the KMS throttles or did so shortly before.
    pub limit_per_second: Option<f64>,
    /// Second attempts that may be made at once.
    pub retries_saved: u64,
}

/// An address of it.
#[derive(Clone, Debug, Serialize)]
pub struct AddressView {
    /// As the configuration names it, or its number.
    pub address: String,
    /// It served last, and is asked first.
    pub preferred: bool,
    /// It said last that it is a standby which does not serve.
    pub standby: bool,
    /// One an operation.
    pub breakers: Vec<BreakerView>,
    /// Seconds since it answered last.
    pub last_success_seconds: Option<u64>,
    /// Seconds since it failed last.
    pub last_error_seconds: Option<u64>,
    /// How it failed last. No secret, no key, no ciphertext.
    pub last_error: Option<String>,
}

/// A breaker.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerView {
    /// What it stands before.
    pub operation: Operation,
    /// What it does.
    pub state: Phase,
    /// Until a probe goes through, while it is open.
    pub retry_in_ms: Option<u64>,
}
