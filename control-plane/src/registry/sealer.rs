//! The store's secrets: sealed under a store key that the system KEK wraps, with the record's key as context.

use std::time::Duration;

use sealgate_envelope::{GatewayId, Ik};
use sealgate_kms::{Cause, Kms as _, KmsError, Router, open, seal};
use sealgate_store::{Compare, Op, Store, decode, encode};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::records::{SYSTEM, SystemRecord};
use crate::Error;

/// How long a start waits for its KMS, and between two requests.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);

/// Seals and opens the store's secrets. The key inside zeroizes on drop; shared by `Arc`, never cloned.
pub struct Sealer {
    key: Ik,
    kek: String,
}

impl Sealer {
    /// Loads the store key through the KMS, or makes the gateway's identity on the first start.
    ///
    /// # Errors
    /// When the KMS is not there or denies the system KEK: without the store key nothing can be served.
    pub async fn load(store: &dyn Store, kms: &Router) -> Result<Self, Error> {
        if let Some(found) = store.get(SYSTEM)? {
            let record: SystemRecord = decode(&found.value)?;
            let context = context(record.gateway_id);
            let unwrap = || kms.unwrap(&record.kek, &record.kek_version, &context, &record.wrapped_store_key);
            let key = patiently(unwrap).await?;
            return Ok(Self { key, kek: record.kek });
        }
        let gateway_id = GatewayId::random()?;
        let key = Ik::generate()?;
        let kek = patiently(|| kms.create_system_kek()).await?;
        let kek_version = kms.current_version(&kek).await?;
        let wrapped_store_key = kms.wrap(&kek, &kek_version, &context(gateway_id), &key).await?;
        let record = SystemRecord { gateway_id, kek: kek.clone(), kek_version, wrapped_store_key };
        store
            .txn(&[Compare::Absent(SYSTEM.to_owned())], vec![Op::Put(SYSTEM.to_owned(), encode(&record)?)])?;
        Ok(Self { key, kek })
    }

    /// The reference of the KEK that wraps the store key.
    #[must_use]
    pub fn kek(&self) -> &str {
        &self.kek
    }

    /// Seals a secret that will be stored under `key`.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, key: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(seal(self.key.expose(), key.as_bytes(), secret)?)
    }

    /// Opens what was sealed for `key`.
    ///
    /// # Errors
    /// When the sealed bytes are another key's, or were changed.
    pub fn open(&self, key: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        open(self.key.expose(), key.as_bytes(), sealed)
            .map_err(|_| Error::Internal(format!("the secret stored under {key:?} does not open")))
    }
}

/// Asks again what fails for a moment: a start that gave up at once would fail again and again, while nothing else is served.
async fn patiently<T, F: Future<Output = Result<T, KmsError>>>(call: impl Fn() -> F) -> Result<T, KmsError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(KmsError::Unavailable(Cause::Local, text)) => {
                return Err(KmsError::Unavailable(Cause::Local, text));
            }
            Err(error) if error.is_transient() && Instant::now() + PAUSE < deadline => {
                tracing::warn!(%error, "the KMS does not give the store key yet");
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

fn context(gateway: GatewayId) -> Vec<u8> {
    [&b"sealgate/v1/store-key"[..], gateway.as_bytes()].concat()
}
