//! Request headers that S3's operations read, and those that answers carry.

pub mod acl;
pub mod attributes;
pub mod conditions;
pub mod created;
pub mod encryption;
pub mod hoisted;
pub mod metadata;
pub mod overrides;
pub mod range;
pub mod tags;

pub use conditions::{Conditions, Outcome};
pub use metadata::ObjectHeaders;
pub use overrides::response_overrides;
pub use range::{ByteRange, Satisfied};
