//! The control plane as nodes and operators meet it: real sockets, TLS, sled and keyring in a temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod admin;
mod buckets;
mod certificates;
mod destruction;
mod keys;
mod kms;
mod lent;
mod life;
mod push;
mod sigv2;
mod store;
mod support;
mod tenants;
mod transport;
