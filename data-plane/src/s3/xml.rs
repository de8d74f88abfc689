//! S3's XML documents: the few that clients send, read within bounds, and those of the answers.

pub mod attributes;
pub mod complete;
pub mod copy;
pub mod cors;
pub mod delete;
pub mod forwarded;
pub mod lists;
pub mod location;
pub mod post;
pub(crate) mod reader;
pub mod tags;
pub mod uploads;
pub mod versions;
pub mod writer;

pub use complete::{CompletedPart, parse_complete};
pub use delete::{DeleteRequest, Deleted, ObjectId, delete_result, parse_delete};
pub use location::{location_constraint, parse_create_bucket};
