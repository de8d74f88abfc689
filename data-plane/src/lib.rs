//! The data plane: S3 front end, pipeline, backends.
//!
//! A node is stateless: what it needs it gets from the control plane (config, signing keys, intermediate keys) or finds
//! sealed in the backend. A request passes [`gate`], an operation, [`pipeline`] and a [`backend`], in that order.

pub mod access_log;
pub mod auth;
pub mod backend;
pub mod body;
pub mod buckets;
pub mod clock;
pub mod config;
pub mod control;
pub mod copy;
pub mod cors;
pub mod descriptors;
pub mod etags;
pub mod flights;
pub mod forwarding;
pub mod gate;
pub mod health;
pub mod identity;
pub mod keys;
pub mod landings;
pub mod large;
pub mod late;
pub mod listing;
#[cfg(test)]
#[path = "../../ops/bench/memory.rs"]
mod memory;
pub mod metrics;
pub mod multipart;
pub mod node;
pub mod objects;
pub mod pipeline;
pub mod plane;
pub mod process;
pub mod refusal;
pub mod reply;
pub mod rewrap;
pub mod s3;
pub mod server;
pub mod snapshot;
pub mod subscriber;
pub mod sweep;
#[cfg(test)]
#[path = "../../ops/bench/timing.rs"]
mod timing;
pub mod tls;
pub mod versions;
pub mod worker;
pub mod writes;
