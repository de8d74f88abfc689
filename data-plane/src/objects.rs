//! Objects as a whole: PutObject, GetObject, HeadObject, DeleteObject and DeleteObjects.

pub mod delete;
pub mod described;
pub mod get;
pub mod head;
pub mod plain;
pub mod put;
pub mod ranges;
pub mod sealed;
