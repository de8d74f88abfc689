//! One error type whose variants name the stage that failed, so that a test vector can say what must go wrong.

/// Why bytes were refused, or could not be made.
///
/// No variant carries a secret, plaintext or a key name. All but [`Error::Seal`], [`Error::MetadataTooLarge`],
/// [`Error::Exhausted`], [`Error::Random`] and [`Error::Crypto`] mean: the bytes at hand are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An identifier is not 32 lower-case hex digits.
    #[error("identifier: not 32 lower-case hex digits")]
    Id,
    /// The envelope header is malformed or of another version.
    #[error("envelope header: {0}")]
    Header(&'static str),
    /// The wrapped DEK does not open: wrong key, name, bucket, tenant or purpose, or altered bytes.
    #[error("wrapped DEK does not open")]
    Wrap,
    /// The DEK is not the one that the envelope commits to.
    #[error("key commitment does not match")]
    Commitment,
    /// The sealed metadata is missing, unasked for, malformed or does not open.
    #[error("sealed metadata: {0}")]
    Metadata(&'static str),
    /// The client's metadata does not fit into the backend's.
    #[error("metadata needs {needed} characters sealed, {limit} fit")]
    MetadataTooLarge {
        /// Characters that the sealed header value would have.
        needed: usize,
        /// Characters that it may have, [`crate::metadata::MAX_VALUE`].
        limit: usize,
    },
    /// A chunk does not open, or is not what belongs at this place.
    #[error("chunk {index}: {why}")]
    Chunk {
        /// Index in the part, from 0.
        index: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A stored size is not one that this format gives.
    #[error("stored size: {0}")]
    Size(&'static str),
    /// The trailer is malformed or does not open.
    #[error("trailer: {0}")]
    Trailer(&'static str),
    /// The trailer opens, but its contents break a rule.
    #[error("part table: {0}")]
    Table(&'static str),
    /// A checksum field is malformed.
    #[error("checksum: {0}")]
    Checksum(&'static str),
    /// The recovery block is malformed, disagrees with the object, or does not open.
    #[error("recovery block: {0}")]
    Recovery(&'static str),
    /// The upload record is malformed or belongs to another upload.
    #[error("upload record: {0}")]
    UploadRecord(&'static str),
    /// The name of a note is malformed, or the note does not open.
    #[error("note: {0}")]
    Note(&'static str),
    /// The IK record is malformed.
    #[error("IK record: {0}")]
    IkRecord(&'static str),
    /// A hidden name is malformed.
    #[error("hidden name: {0}")]
    Name(&'static str),
    /// The recovery card is malformed, or does not admit a record.
    #[error("recovery card, line {line}: {why}")]
    Card {
        /// Line from 1; 0 where no line is to blame.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The caller asked for bytes that the format does not allow: a defect of the caller, not of stored data.
    #[error("cannot seal: {0}")]
    Seal(&'static str),
    /// No nonce is left under this key.
    #[error("nonces are used up")]
    Exhausted,
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Random,
    /// A primitive refused inputs of the right size.
    #[error("cryptographic primitive failed")]
    Crypto,
}

impl Error {
    /// The stage that failed, as test vectors name it.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Header(_) => "header",
            Self::Wrap => "wrap",
            Self::Commitment => "commitment",
            Self::Metadata(_) | Self::MetadataTooLarge { .. } => "metadata",
            Self::Chunk { .. } => "chunk",
            Self::Size(_) => "size",
            Self::Trailer(_) => "trailer",
            Self::Table(_) => "table",
            Self::Checksum(_) => "checksum",
            Self::Recovery(_) => "recovery",
            Self::UploadRecord(_) => "upload-record",
            Self::Note(_) => "note",
            Self::IkRecord(_) => "ik-record",
            Self::Name(_) => "name",
            Self::Card { .. } => "card",
            Self::Seal(_) => "seal",
            Self::Exhausted => "nonce",
            Self::Random => "random",
            Self::Crypto => "crypto",
        }
    }
}
