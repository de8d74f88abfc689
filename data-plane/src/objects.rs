//! Objects as a whole: PutObject and POST object, GetObject, HeadObject, GetObjectAttributes, DeleteObject and DeleteObjects.

pub mod attributes;
pub mod delete;
pub mod demanded;
pub mod described;
pub mod get;
pub mod head;
pub mod plain;
pub mod plans;
pub mod post;
pub mod put;
pub mod ranges;
pub mod sealed;
