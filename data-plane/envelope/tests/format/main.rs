//! The object format from outside: round trips, an independent implementation, tampering, arbitrary bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod arbitrary;
mod bounds;
mod chunks;
mod dependencies;
mod differential;
mod envelopes;
mod metadata;
mod names;
mod reference;
mod setup;
mod splits;
mod tables;
mod trailers;
