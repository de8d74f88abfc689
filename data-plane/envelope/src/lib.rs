//! The Sealgate object format, version 1: every byte that lies on a backend, and nothing else.
//!
//! Synchronous, without I/O, HTTP or a runtime, so that it can be fuzzed and mutation-tested alone and be reused by
//! the offline tools. `docs/format.md` is the normative text.
//!
//! The order of use, writing: [`ObjectKeys::generate`] → [`Envelope::seal_object`] → [`PartSealer`] →
//! [`TrailerPlain::seal`]. Reading: [`Envelope::parse_header`] → [`Envelope::open`] (which is where the DEK is proved) →
//! [`PartOpener`] → [`Trailer::open`]. Whoever holds an [`ObjectKeys`] has passed the commitment check; plaintext comes
//! out of an opener only after its tag was verified.

mod aead;
pub mod checksum;
pub mod chunk;
pub mod envelope;
pub mod error;
pub mod etag;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod hidden;
pub mod ids;
pub mod ik_record;
mod kdf;
pub mod keys;
pub mod metadata;
pub mod note;
pub mod recovery;
pub mod recovery_card;
pub mod size;
pub mod suite;
pub mod table;
mod text;
#[cfg(test)]
#[path = "../../../ops/bench/timing.rs"]
mod timing;
pub mod trailer;
pub mod transfer;
pub mod upload_record;
#[cfg(test)]
mod vectors;
mod wire;
mod wrap;

pub use checksum::{Checksum, ChecksumCode, FullChecksum};
pub use chunk::{PartOpener, PartReader, PartSealer};
pub use envelope::Envelope;
pub use error::Error;
pub use ids::{BucketId, GatewayId, IkId, ObjectId, TenantId};
pub use ik_record::{IkContext, IkRecord};
pub use keys::{Ik, ObjectKeys, Scope};
pub use metadata::Metadata;
pub use note::{Note, NoteName};
pub use recovery::Recovery;
pub use recovery_card::RecoveryCard;
pub use suite::{Kind, Suite};
pub use table::{PartEntry, PartTable};
pub use trailer::{Trailer, TrailerPlain};
pub use upload_record::{UploadName, UploadRecord};

/// Salt of a chunk, trailer, metadata or note key, in bytes.
pub const SALT: usize = 12;
/// Authentication tag of both suites, in bytes.
pub const TAG: usize = 16;
/// The format version that this crate writes, and the only one that it reads.
pub const VERSION: u8 = 1;
