//! Tools that need no gateway: what lies on a backend, the recovery card and the keyring are enough.

pub mod arguments;
pub mod decrypt;
mod describe;
pub mod inspect;
mod keys;
mod object;
mod source;
pub mod verify;
