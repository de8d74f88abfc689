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

    /// A change, which waits for the disk, at a time in Unix seconds.
    async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Keyring, u64) -> Result<T, KmsError> + Send + 'static,
    ) -> Result<T, KmsError> {
        let keyring = Arc::clone(&self.keyring);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let done = tokio::task::spawn_blocking(move || {
            f(&mut keyring.write().unwrap_or_else(PoisonError::into_inner), now)
        });
        done.await.map_err(|_| KmsError::local("the keyring's thread ended"))?
    }

    fn read<T>(&self, f: impl FnOnce(&Keyring) -> T) -> T {
        f(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Kms for LocalKms {
    fn provider(&self) -> &str {
        "local"
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        let name = name.to_owned();
        self.write(move |keyring, now| keyring.create_kek(&name, now)).await
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

    fn version_of(&self, _: &str, version: &str, _: &[u8]) -> String {
        version.to_owned()
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        let kek = kek.to_owned();
        self.write(move |keyring, now| keyring.rotate(&kek, now).map(drop)).await
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        let kek = kek.to_owned();
        self.write(move |keyring, now| keyring.destroy(&kek).map(|()| now)).await
    }

    async fn ready(&self) -> Result<(), KmsError> {
        Ok(())
    }
}
