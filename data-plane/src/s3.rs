//! S3's protocol without I/O: requests, routing, errors, headers and XML.
//!
//! Nothing here waits, reads a clock or touches a socket, so that every parser can be fuzzed alone.

pub mod cors;
pub mod error;
pub mod form;
pub mod headers;
pub mod request;
pub mod route;
pub mod timestamp;
pub mod uri;
pub mod xml;

pub use error::{Code, S3Error};
pub use request::{Addressing, Query, S3Request};
pub use route::{Access, Operation, route};
