//! The offline tools against a filesystem backend that no gateway has ever touched: objects are built with the envelope
//! crate, so what is tested is the format, not one implementation against itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod decrypt;
mod inspect;
mod refusals;
mod remote;
mod server;
mod verify;
mod world;
