//! Intermediate keys: made, proved, cached for a bounded time, and given to nodes.
//!
//! The order is the format's: the record is committed and synced, a node places its copy in the bucket and confirms
//! that, and only then does anyone get the key.

mod cache;
mod cutting;
mod destroy;
mod envelopes;
mod limiter;
mod looks;
mod reports;
mod rewrap;
mod service;
mod unopened;
mod unwrapper;

pub(crate) use limiter::Limiter;
pub(crate) use looks::Given;
pub(crate) use service::{Active, Answered, KeyService};

/// Seconds that an IK is the active one, counted from its making.
pub const ACTIVE_LIFE: u64 = 86_400;
/// Seconds that it goes on beyond that when no new one can be made.
pub const ACTIVE_GRACE: u64 = 86_400;
/// Seconds of that which a node gets at a time.
pub const GRACE_PORTION: u64 = 60;
/// Seconds after which a node asks again.
pub const SOFT: u64 = 300;
/// Seconds without use after which a node forgets an IK.
pub const IDLE: u64 = 300;
/// Seconds that an IK may be held after the last proof of its KEK version.
pub const HARD: u64 = 3_600;
/// Seconds after a proof at which the KEK version is proved again, ahead of [`HARD`].
pub const PROVE_AFTER: u64 = 3_000;
