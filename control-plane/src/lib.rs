//! The control plane: admin REST, actors, gRPC server.
//!
//! Operators change the registry (tenants, buckets, credentials, nodes) through the admin API; nodes hold one config
//! stream each and ask for intermediate keys. Everything durable is in the store; everything secret in it is sealed
//! under a key that the KMS wraps. [`ControlPlane::start`] runs it inside an actix system.

mod actors;
mod admin;
mod clock;
pub mod config;
mod error;
mod grpc;
mod identity;
mod keys;
mod listener;
#[cfg(test)]
#[path = "../../ops/bench/memory.rs"]
mod memory;
pub mod metrics;
mod pki;
pub mod process;
mod recovery;
pub mod registry;
mod server;
pub mod signing;
mod snapshot;
#[cfg(test)]
#[path = "../../ops/bench/timing.rs"]
mod timing;
mod tls;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use error::Error;
pub use pki::{Authority, NodeIdentity};
pub use server::{ControlPlane, Handle, Parts};
