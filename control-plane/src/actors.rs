//! Actors, and what keeps them alive.
//!
//! An actix actor is dead after a panic while the process lives on. A [`Slot`] holds an actor's address; the watchdog
//! finds it dead, and rebuilds it from the store. Messages go by `send` with a timeout, or by `try_send`: both respect
//! the mailbox's bound.

mod acks;
mod fanout;
mod frozen;
mod kms;
mod kms_news;
mod registry;
mod slot;

pub(crate) use acks::Acks;
#[cfg(test)]
pub(crate) use fanout::testing;
pub(crate) use fanout::{Fanout, Outgoing, Pending, Report, Status, Subscribe, Unaware, Unsubscribe};
pub(crate) use frozen::{FrozenReport, Holding, Unconfirmed, Unsettled, Unsettling};
pub(crate) use kms::{Degraded, Examined, Health, Patient, Watched, look_after};
pub(crate) use kms_news::KeyReport;
pub(crate) use registry::{RegistryActor, Run};
pub(crate) use slot::{Slot, watch};
