//! Key management: one trait; behind it the local keyring, OpenBao or Vault, and AWS KMS; the layer that makes a remote KMS
//! bearable when it fails; and the router over several of them.
//!
//! A KEK never leaves its KMS; what goes in and out are intermediate keys (IKs), bound to a context that the KMS
//! authenticates. The control plane uses [`Kms`]; the offline tools open a [`Keyring`] directly, without tokio running.

pub mod aws;
mod breaker;
pub mod config;
mod connecting;
mod keyring;
mod local;
mod resilience;
mod router;
mod sealed;
mod unlock;
pub mod vault;

use std::time::Duration;

use async_trait::async_trait;
pub use breaker::{Breaker, BreakerSettings, Pass, Phase, Verdict};
pub use keyring::{KekInfo, Keyring};
pub use local::LocalKms;
pub use resilience::{
    AddressView, BreakerView, Kind, Observer, Operation, Outcome, ProviderView, Resilient, Sample, Settings,
    Silent,
};
pub use router::Router;
pub use sealed::{SEAL_OVERHEAD, open, seal};
use sealgate_envelope::Ik;
use thiserror::Error;
pub use unlock::Unlock;

/// The name of the KEK that wraps the store key of a control plane.
pub const SYSTEM_KEK: &str = "system";

/// Where an [`KmsError::Unavailable`] comes from: what a breaker counts, and what another address may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection.
    Connect,
    /// No answer within the time, or a connection that broke before it was whole.
    Timeout,
    /// An answer which says that it does not work (5xx), or that is none.
    Server,
    /// Sealed, or not initialized.
    Sealed,
    /// A standby that does not serve: another address does.
    Standby,
    /// It works, but has not this KEK, which another address may have.
    Elsewhere,
    /// Not asked: its breaker is open, or too many calls wait. After so long it will be asked again.
    Refused(Duration),
    /// Of this side: a file, a setting, randomness.
    Local,
}

/// Why a KMS did not do what it was asked. No variant carries key material or ciphertext.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KmsError {
    /// The KMS cannot be reached or does not work; the same call may succeed later.
    #[error("the KMS is unavailable: {1}")]
    Unavailable(Cause, String),
    /// The KMS has too much to do. Its word on when to come again, if it gave one.
    #[error("the KMS throttles: {1}")]
    Throttled(Option<Duration>, String),
    /// The KMS refuses this key: access taken away, key disabled or destroyed. Caches of it must go at once.
    #[error("the KMS denies the use of the key {0}")]
    Denied(String),
    /// The ciphertext was not made by this KEK version for this context.
    #[error("the wrapped key does not open under its KEK and context")]
    BadCiphertext,
    /// No such KEK or version.
    #[error("no such KEK or version: {0}")]
    NotFound(String),
    /// This kind of KMS cannot do that.
    #[error("this KMS cannot do that: {0}")]
    Unsupported(String),
}

impl KmsError {
    /// Of this side: a file, a setting, randomness.
    pub(crate) fn local(text: impl Into<String>) -> Self {
        Self::Unavailable(Cause::Local, text.into())
    }

    /// When to come again, as far as anybody knows: the KMS's own word, or when its breaker lets a call through.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(Cause::Refused(after), _) => Some(*after),
            Self::Throttled(after, _) => *after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody's doing: then what is held goes on within its life.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(..) | Self::Throttled(..))
    }
}

/// A key management service, or one address of it. A call is one request, or a few, to it: what bounds its time and repeats it is
/// [`Kms`] too, around this one.
///
/// KEKs are named by their reference, `<provider>/<name in the KMS>`.
#[async_trait]
pub trait Kms: Send + Sync + 'static {
    /// The provider's name in KEK references, from the configuration: `local`, `vault-eu`.
    fn provider(&self) -> &str;

    /// Makes a KEK unless one of this name exists, and gives its reference.
    async fn create_kek(&self, name: &str) -> Result<String, KmsError>;

    /// The version that [`Self::wrap`] is to use now; empty where the KMS chooses by itself and finds it again from
    /// the ciphertext. It is part of the context, so it is asked for first. [`KmsError::NotFound`] without such a KEK.
    async fn current_version(&self, kek: &str) -> Result<String, KmsError>;

    /// Wraps an intermediate key. `context` is authenticated, not stored. Never makes a KEK that is not there.
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError>;

    /// Opens what [`Self::wrap`] made with the same arguments.
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError>;

    /// The version that wrapped these bytes, as far as they tell: what one unwrap proves access to. `version` is the record's.
    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String;

    /// Makes a new version of a KEK, which wraps from now on; what was wrapped under older ones still opens.
    async fn rotate(&self, kek: &str) -> Result<(), KmsError>;

    /// Destroys a KEK and all its versions, for good; Unix seconds at which it is gone.
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError>;

    /// Whether it would answer; opens a connection where there is none. No key is touched.
    async fn ready(&self) -> Result<(), KmsError>;

    /// The resilience layers in it, one a provider: what health is told from. One address has none, a router those of its
    /// providers.
    fn resilient(&self) -> Vec<Resilient> {
        Vec::new()
    }
}
