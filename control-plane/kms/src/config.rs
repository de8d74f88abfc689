//! The `[kms]` table: which providers there are, where new KEKs are made, where the control plane's own is.
//!
//! The control plane's file has it, and the offline tools read it from there. No value is a secret: secrets are in files that it names.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::{Kms, KmsError, LocalKms, Resilient, Router, Settings, Silent, Unlock, aws, vault};

/// The name that the local keyring has in references.
pub const LOCAL: &str = "local";

/// The longest name of a provider, in bytes: it is part of every KEK's reference.
const MAX_NAME: usize = 32;

/// The table as it is written; [`Self::check`] makes a [`Config`] of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    default: Option<String>,
    system: Option<String>,
    local: Option<LocalTable>,
    #[serde(default)]
    vault: BTreeMap<String, vault::Config>,
    #[serde(default)]
    aws: BTreeMap<String, aws::Config>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalTable {
    keyring: PathBuf,
    passphrase_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// Where the local keyring's secret comes from.
#[derive(Clone, Debug)]
pub enum UnlockFrom {
    /// A file with an operator's passphrase of at least 12 bytes.
    PassphraseFile(PathBuf),
    /// A file with 32 random bytes.
    KeyFile(PathBuf),
}

impl UnlockFrom {
    /// Reads the secret.
    ///
    /// # Errors
    /// When the file cannot be read or is too short.
    pub fn read(&self) -> Result<Unlock, KmsError> {
        match self {
            Self::PassphraseFile(path) => Unlock::passphrase_file(path),
            Self::KeyFile(path) => Unlock::key_file(path),
        }
    }
}

/// The local keyring's file, and what opens it.
#[derive(Clone, Debug)]
pub struct Local {
    /// The file; made on the first start.
    pub keyring: PathBuf,
    /// What opens it.
    pub unlock: UnlockFrom,
}

/// The checked table: at least one provider, and `default` and `system` are among them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where new tenants' KEKs are made.
    pub default: String,
    /// Where the KEK is that wraps the control plane's store key.
    pub system: String,
    /// The local keyring, if it is used.
    pub local: Option<Local>,
    /// OpenBao and Vault, by provider name.
    pub vault: BTreeMap<String, vault::Config>,
    /// AWS KMS, by provider name.
    pub aws: BTreeMap<String, aws::Config>,
}

impl Config {
    /// The local keyring alone.
    #[must_use]
    pub fn local(keyring: PathBuf, unlock: UnlockFrom) -> Self {
        let local = Some(Local { keyring, unlock });
        Self {
            default: LOCAL.to_owned(),
            system: LOCAL.to_owned(),
            local,
            vault: BTreeMap::new(),
            aws: BTreeMap::new(),
        }
    }

    /// The names of all providers, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.local.iter().map(|_| LOCAL).collect();
        names.extend(self.vault.keys().chain(self.aws.keys()).map(String::as_str));
        names.sort_unstable();
        names
    }

    /// Opens all providers. A remote one need not answer now: what it is asked for later then fails.
    ///
    /// # Errors
    /// When a file that the table names cannot be read, a setting cannot be used, or the keyring does not open.
    pub async fn open(&self) -> Result<Router, KmsError> {
        let mut providers: Vec<Arc<dyn Kms>> = Vec::new();
        if let Some(Local { keyring, unlock }) = self.local.clone() {
            // Argon2id takes its time.
            let opened =
                tokio::task::spawn_blocking(move || LocalKms::open_or_create(&keyring, &unlock.read()?));
            let opened = opened.await.map_err(|_| KmsError::local("the keyring's thread ended"))??;
            // It does not fail as a server does; so that all providers are seen in one way.
            providers.push(resilient(LOCAL, vec![Arc::new(opened)], &[]));
        }
        for (name, config) in &self.vault {
            providers.push(resilient(name, vault::open(name, config)?, &config.addresses));
        }
        for (name, config) in &self.aws {
            let replicas = config.replicas.iter().map(|replica| (&replica.region, &replica.endpoint));
            let places = std::iter::once((&config.region, &config.endpoint)).chain(replicas);
            let labels: Vec<String> =
                places.map(|(region, endpoint)| endpoint.as_ref().unwrap_or(region).clone()).collect();
            providers.push(resilient(name, aws::open(name, config)?, &labels));
        }
        Router::new(providers, &self.default, &self.system)
    }
}

/// A provider behind what makes it bearable when it fails. Who watches it says so later ([`Resilient::observe`]).
fn resilient(name: &str, addresses: Vec<Arc<dyn Kms>>, labels: &[String]) -> Arc<dyn Kms> {
    Arc::new(Resilient::new(name, addresses, labels, Settings::default(), Arc::new(Silent)))
}

impl Table {
    /// Checks the table. Errors name the key and what is allowed.
    ///
    /// # Errors
    /// Without any provider, with a name that cannot stand in a reference, or with a `default` or `system` that is no provider's.
    pub fn check(self) -> Result<Config, String> {
        let local = self.local.map(LocalTable::check).transpose()?;
        let mut config =
            Config { default: String::new(), system: String::new(), local, vault: self.vault, aws: self.aws };
        config.vault.keys().try_for_each(|name| check_name("vault", name))?;
        config.aws.keys().try_for_each(|name| check_name("aws", name))?;
        if let Some(name) = config.vault.keys().find(|name| config.aws.contains_key(*name)) {
            return Err(format!("kms.vault.{name} and kms.aws.{name}: each provider has a name of its own"));
        }
        let names: Vec<String> = config.names().into_iter().map(str::to_owned).collect();
        if names.is_empty() {
            return Err("kms: at least one of kms.local, kms.vault.<name>, kms.aws.<name>".to_owned());
        }
        let among = |key: &str, given: String| {
            if names.contains(&given) {
                Ok(given)
            } else {
                Err(format!("kms.{key}: one of {}", names.join(", ")))
            }
        };
        config.default = among("default", self.default.unwrap_or_else(|| LOCAL.to_owned()))?;
        let system = if config.local.is_some() { LOCAL.to_owned() } else { config.default.clone() };
        config.system = among("system", self.system.unwrap_or(system))?;
        Ok(config)
    }
}

fn check_name(kind: &str, name: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name == LOCAL {
        return Err(format!("kms.{kind}.{name}: that name is the keyring's; take another"));
    }
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(valid) {
        Ok(())
    } else {
        Err(format!("kms.{kind}.{name}: a provider's name has 1 to {MAX_NAME} of a-z 0-9 -"))
    }
}

impl LocalTable {
    fn check(self) -> Result<Local, String> {
        let unlock = match (self.passphrase_file, self.key_file) {
            (Some(path), None) => UnlockFrom::PassphraseFile(path),
            (None, Some(path)) => UnlockFrom::KeyFile(path),
            _ => return Err("kms.local: exactly one of passphrase_file and key_file".to_owned()),
        };
        Ok(Local { keyring: self.keyring, unlock })
    }
}
