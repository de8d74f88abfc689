//! Several providers as one [`Kms`]: the KEK's reference says which of them is asked.
//!
//! Policy. A KEK stays where it was made: `default` and `system` only say where *new* ones go, so either may be changed while
//! others are in use, and a tenant moves by re-wrapping. A reference to a provider that is not configured is an error which names
//! those that are; it is never looked for elsewhere.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sealgate_envelope::Ik;

use crate::{Kms, KmsError, Resilient, SYSTEM_KEK};

/// See the module.
pub struct Router {
    providers: BTreeMap<String, Arc<dyn Kms>>,
    default: Arc<dyn Kms>,
    system: Arc<dyn Kms>,
}

impl Router {
    /// A router over providers of different names. New KEKs are made at `default`, the system's at `system`.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] when one of the two is none of them; [`KmsError::Unsupported`] when two have one name.
    pub fn new(
        providers: impl IntoIterator<Item = Arc<dyn Kms>>,
        default: &str,
        system: &str,
    ) -> Result<Self, KmsError> {
        let mut named = BTreeMap::new();
        for provider in providers {
            let name = provider.provider().to_owned();
            if named.insert(name.clone(), provider).is_some() {
                return Err(KmsError::Unsupported(format!("two providers are called {name}")));
            }
        }
        let (default, system) = (find(&named, default)?, find(&named, system)?);
        Ok(Self { providers: named, default, system })
    }

    /// A router over one provider, for everything.
    #[must_use]
    pub fn only(provider: Arc<dyn Kms>) -> Self {
        let (default, system) = (Arc::clone(&provider), Arc::clone(&provider));
        Self { providers: BTreeMap::from([(provider.provider().to_owned(), provider)]), default, system }
    }

    /// The names of all providers, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// [`KmsError::NotFound`], which names those that there are.
    pub fn at(&self, provider: &str) -> Result<&Arc<dyn Kms>, KmsError> {
        self.providers.get(provider).ok_or_else(|| unknown(&self.providers, provider))
    }

    /// Makes a KEK at a provider of one's choice, unless one of this name exists there, and gives its reference.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] without such a provider, else the provider's own.
    pub async fn create_kek_at(&self, provider: &str, name: &str) -> Result<String, KmsError> {
        self.at(provider)?.create_kek(name).await
    }

    /// Makes the KEK that wraps the control plane's store key, where the configuration wants it, and gives its reference.
    ///
    /// # Errors
    /// The provider's.
    pub async fn create_system_kek(&self) -> Result<String, KmsError> {
        self.system.create_kek(SYSTEM_KEK).await
    }

    /// The provider that a KEK's reference names.
    fn of(&self, kek: &str) -> Result<&Arc<dyn Kms>, KmsError> {
        match kek.split_once('/') {
            Some((provider, name)) if !name.is_empty() => self.at(provider),
            _ => Err(KmsError::NotFound(format!("{kek} (a reference is <provider>/<name in the KMS>)"))),
        }
    }
}

fn find(providers: &BTreeMap<String, Arc<dyn Kms>>, name: &str) -> Result<Arc<dyn Kms>, KmsError> {
    providers.get(name).map(Arc::clone).ok_or_else(|| unknown(providers, name))
}

fn unknown(providers: &BTreeMap<String, Arc<dyn Kms>>, name: &str) -> KmsError {
    let there: Vec<&str> = providers.keys().map(String::as_str).collect();
    KmsError::NotFound(format!("the provider {name:?} (there are: {})", there.join(", ")))
}

#[async_trait]
impl Kms for Router {
    /// The default's: of references that [`Kms::create_kek`] gives.
    fn provider(&self) -> &str {
        self.default.provider()
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.default.create_kek(name).await
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.of(kek)?.current_version(kek).await
    }

    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.of(kek)?.wrap(kek, version, context, ik).await
    }

    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.of(kek)?.unwrap(kek, version, context, wrapped).await
    }

    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.of(kek).map_or_else(|_| version.to_owned(), |kms| kms.version_of(kek, version, wrapped))
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.of(kek)?.rotate(kek).await
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        // A provider that is not configured says nothing about its keys.
        let kms = self.of(kek).map_err(|error| KmsError::local(error.to_string()))?;
        kms.destroy(kek).await
    }

    /// Of all providers; the first that would not answer says why.
    async fn ready(&self) -> Result<(), KmsError> {
        for kms in self.providers.values() {
            kms.ready().await?;
        }
        Ok(())
    }

    fn resilient(&self) -> Vec<Resilient> {
        self.providers.values().flat_map(|kms| kms.resilient()).collect()
    }
}
