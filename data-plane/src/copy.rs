//! CopyObject and UploadPartCopy.
//!
//! Where source and target are encrypted, and lie on the same backend, no byte of the object moves: the storage copies the
//! stored body as it is, and the envelope is wrapped anew for the target (docs/format.md, section 7). Everywhere else the
//! source is opened and written anew, and parts always are: a part is sealed under its upload's keys.
//!
//! A stored body that was copied keeps its recovery block, which names the key and the bucket that it was first written in. So
//! before it goes to another bucket, that key's record is placed there ([`records`]).

pub mod asked;
pub mod object;
pub mod part;
pub mod records;
pub mod source;
pub mod tags;
