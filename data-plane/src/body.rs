//! An object's body on its way in: framing, checksums and the proof that all of it is what was sent.

pub mod checksum;
pub mod chunked;
pub mod client;
pub mod form;
pub mod plan;
pub mod upload;
pub mod verify;

pub use checksum::{Algorithm, Checksum, Hasher};
pub use chunked::ChunkedDecoder;
pub use client::ClientBody;
pub use form::FormFile;
pub use plan::{BodyPlan, object_checksum};
pub use upload::{ChecksumType, UploadChecksum};
pub use verify::{BodyVerifier, Verified};
