//! Both planes together, as clients and operators meet them: real gRPC over mTLS, real sockets, real files. What must
//! survive a kill runs in processes of its own, which are this test program started once more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod adoption;
mod answers;
mod balance;
mod certificates;
mod commits;
mod completes;
mod copies;
mod cors;
mod creation;
mod descriptors;
mod drain;
mod fetches;
mod forwarding;
mod freeze;
mod heads;
mod ik_order;
mod keys;
mod kms;
mod landings;
mod large;
mod life;
mod many_parts;
mod plain;
mod pressure;
mod process;
mod pushes;
mod refused;
mod relay;
mod removal;
mod replaced;
mod requests;
mod rules;
mod s3;
mod secrets;
mod stashes;
mod steered;
mod steering;
mod storage;
mod sweep;
mod work;
mod world;
