//! Pure decisions, without I/O: which objects are encrypted, who may do what, and the limits of names.
//!
//! Both planes use this crate, so that they cannot decide differently. It knows nothing of the wire, of HTTP or of a
//! clock: callers hand in plain values. Whatever is missing or unclear is decided as the closed case.

mod access;
mod encryption;
mod names;

pub use access::{Action, Allowed, Denied, Grant, Subject, Target, authorize};
pub use encryption::{Encryption, EncryptionRule, encryption};
pub use names::{InvalidBucketName, InvalidKey, MAX_KEY_BYTES, check_bucket_name, check_key};
