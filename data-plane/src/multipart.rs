//! Multipart uploads without state on any node: what a node needs to know of an upload lies sealed beside it, in hidden
//! objects, so any node serves any part in any order.
//!
//! - the upload record `r` keeps the object's keys from Create to Complete;
//! - a note, an empty object whose name is sealed, says for each stored part which salt and how much plaintext it has;
//! - a stash keeps a second copy of a part that only fits at the end, since the gateway's own part comes last.
//!
//! Uploads in plain prefixes are the backend's own, with nothing hidden beside them.
//!
//! docs/format.md has the bytes, and the order of the steps.

pub mod attempts;
pub mod complete;
pub mod create;
pub mod gateway_part;
pub mod list;
pub mod notes;
pub mod part;
pub mod plain;
pub mod sums;
pub mod uploads;
