//! The two choices that an envelope records: how bytes are sealed, and how the body was written.

/// The AEAD of chunks, trailer, metadata and notes. The DEK wrap is AES-256-GCM whatever the suite.
///
/// Reserved: 3 AES-256-GCM-SIV, 4 a FIPS-approved random-nonce mode of the same size; both are refused by version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suite {
    /// AES-256-GCM, the default.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439), for machines without AES instructions.
    ChaCha20Poly1305,
}

impl Suite {
    /// The suite with this code; `None` for reserved and unknown ones.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its code in every record and key derivation.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }
}

/// How the body came into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One PUT: one part with number 0, no part table, P in the envelope.
    Single,
    /// A multipart upload: P and the parts stand in the trailer.
    Multipart,
}

impl Kind {
    /// The kind with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Single),
            2 => Some(Self::Multipart),
            _ => None,
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Single => 1,
            Self::Multipart => 2,
        }
    }
}
