//! The resilience layer over scripted addresses, in paused time: nothing here waits in earnest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod amplification;
mod breakers;
mod deadlines;
mod hedges;
mod negative;
mod queue;
mod recovery;
mod retries;
mod script;
mod standby;
