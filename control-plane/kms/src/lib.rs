//! Key management: one trait, and the local keyring behind it.
//!
//! A KEK never leaves its KMS; what goes in and out are intermediate keys (IKs), bound to a context that the KMS
//! authenticates. The control plane uses [`Kms`]; the offline tools open a [`Keyring`] directly, without tokio running.

mod keyring;
mod local;
mod sealed;
mod unlock;

use async_trait::async_trait;
pub use keyring::{KekInfo, Keyring};
pub use local::LocalKms;
pub use sealed::{SEAL_OVERHEAD, open, seal};
use sealgate_envelope::Ik;
use thiserror::Error;
pub use unlock::Unlock;

/// The name of the KEK that wraps the store key of a control plane.
pub const SYSTEM_KEK: &str = "system";

/// Why a KMS did not do what it was asked. No variant carries key material or ciphertext.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KmsError {
    /// The KMS cannot be reached or does not work; the same call may succeed later.
    #[error("the KMS is unavailable: {0}")]
    Unavailable(String),
    /// The KMS refuses this key: access taken away, key disabled or destroyed. Caches of it must go at once.
    #[error("the KMS denies the use of the key {0}")]
    Denied(String),
    /// The ciphertext was not made by this KEK version for this context.
    #[error("the wrapped key does not open under its KEK and context")]
    BadCiphertext,
    /// No such KEK or version.
    #[error("no such KEK or version: {0}")]
    NotFound(String),
}

/// A key management service. Implementations bound each call's time themselves.
#[async_trait]
pub trait Kms: Send + Sync + 'static {
    /// The provider's name in KEK references and metrics, a constant such as `local`.
    fn provider(&self) -> &'static str;

    /// Makes a KEK unless one of this name exists, and gives its reference: `<provider>/<name>`.
    async fn create_kek(&self, name: &str) -> Result<String, KmsError>;

    /// The version that [`Self::wrap`] is to use now; empty where the KMS chooses by itself and finds it again from
    /// the ciphertext. It is part of the context, so it is asked for first.
    async fn current_version(&self, kek: &str) -> Result<String, KmsError>;

    /// Wraps an intermediate key. `context` is authenticated, not stored.
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError>;

    /// Opens what [`Self::wrap`] made with the same arguments.
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError>;

    /// Proves that this KEK version may still be used for decryption, at the price of one Decrypt.
    async fn prove(&self, kek: &str, version: &str) -> Result<(), KmsError>;
}
