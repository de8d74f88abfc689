//! The local keyring as a [`Kms`]: for development, single machines, and air-gapped sites.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use sealgate_envelope::Ik;

use crate::{Keyring, Kms, KmsError, Unlock};

/// A keyring that the control plane uses. Wrapping is pure computation; making a KEK waits for the disk, on a thread
/// that may block.
pub struct LocalKms {
    keyring: Arc<RwLock<Keyring>>,
}

impl LocalKms {
    /// Opens the keyring, or makes it when the file does not exist. Takes about 0.1 s with a passphrase: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// As [`Keyring::open`] and [`Keyring::create`].
    pub fn open_or_create(path: &Path, unlock: &Unlock) -> Result<Self, KmsError> {
        let keyring =
            if path.exists() { Keyring::open(path, unlock)? } else { Keyring::create(path, unlock)? };
        Ok(Self { keyring: Arc::new(RwLock::new(keyring)) })
    }

    fn read<T>(&self, f: impl FnOnce(&Keyring) -> T) -> T {
        f(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Kms for LocalKms {
    fn provider(&self) -> &'static str {
        "local"
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        let (keyring, name) = (Arc::clone(&self.keyring), name.to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let made = tokio::task::spawn_blocking(move || {
            keyring.write().unwrap_or_else(PoisonError::into_inner).create_kek(&name, now)
        });
        made.await.map_err(|_| KmsError::Unavailable("the keyring's thread ended".to_owned()))?
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.read(|keyring| keyring.current_version(kek)).map(|version| version.to_string())
    }

    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.read(|keyring| keyring.wrap(kek, version, context, ik))
    }

    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.read(|keyring| keyring.unwrap(kek, version, context, wrapped))
    }

    async fn prove(&self, kek: &str, version: &str) -> Result<(), KmsError> {
        self.read(|keyring| keyring.prove(kek, version))
    }
}
