//! Configuration: a TOML file, `SEALGATE_` variables over it, checked once into [`Config`].
//!
//! Variables use `__` between levels: `SEALGATE_GRPC__LISTEN`. Unknown keys are errors. No value is a secret: secrets
//! come from files that the config names.

mod raw;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use sealgate_kms::config::{Config as KmsConfig, UnlockFrom};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::registry::Defaults;
use raw::RawConfig;

/// The shortest admin token, in bytes.
const MIN_TOKEN: usize = 32;

/// Top-level keys of the file. Variables that begin otherwise belong to other parts of Sealgate.
const SECTIONS: [&str; 8] =
    ["data_dir", "drain_seconds", "grpc", "admin", "kms", "buckets", "backends", "keys"];

/// The file, and the variables over it.
fn figment(path: &Path) -> Result<Figment, ConfigError> {
    if !path.is_file() {
        return Err(ConfigError(format!("{}: no such file", path.display())));
    }
    let variables = Env::prefixed("SEALGATE_")
        .filter(|key| {
            SECTIONS.iter().any(|known| {
                key.as_str().strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
            })
        })
        .split("__");
    Ok(Figment::new().merge(Toml::file_exact(path)).merge(variables))
}

/// All that is wrong, with the file's name.
fn in_file(path: &Path, error: figment::Error) -> ConfigError {
    let all: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
    ConfigError(format!("{}: {}", path.display(), all.join("; ")))
}

/// The KMS providers of a control plane's file, whatever else it says or lacks: for tools that work without a control plane.
///
/// # Errors
/// Names the file, the key and what is allowed.
pub fn kms(path: &Path) -> Result<KmsConfig, ConfigError> {
    let table: sealgate_kms::config::Table =
        figment(path)?.extract_inner("kms").map_err(|error| in_file(path, error))?;
    table.check().map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

/// What is wrong with a configuration: which file, which key, and what is allowed.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `sealgate dev`: generated secrets are allowed.
    pub dev: bool,
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// Where nodes connect; port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// DNS names and addresses in the server's certificate.
    pub grpc_names: Vec<String>,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// The file with the admin API's bearer token.
    pub admin_token_file: PathBuf,
    /// Certificate chain and key (PEM) of the admin API; none: plain HTTP, on loopback only.
    pub admin_tls: Option<(PathBuf, PathBuf)>,
    /// The KMS providers.
    pub kms: KmsConfig,
    /// Regions, backends and what new buckets get.
    pub defaults: Defaults,
    /// Keys that one node may fetch a second.
    pub key_rate: u64,
    /// Keys that one node may fetch at once.
    pub key_burst: u64,
    /// Seconds that running requests get when the control plane stops.
    pub drain_seconds: u64,
}

impl Config {
    /// Reads a file and the environment.
    ///
    /// # Errors
    /// Names the file, the key and what is allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let raw: RawConfig = figment(path)?.extract().map_err(|error| in_file(path, error))?;
        raw.check().map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// The configuration of `sealgate dev`: everything in one directory, loopback, generated secrets (made on the
    /// first call, kept after).
    ///
    /// # Errors
    /// When the directory or a secret cannot be written.
    pub fn dev(data_dir: &Path, regions: Vec<String>) -> Result<Self, ConfigError> {
        let failed = |error: std::io::Error| ConfigError(format!("{}: {error}", data_dir.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
        let (key, token) = (data_dir.join("keyring.key"), data_dir.join("admin-token"));
        let mut random = Zeroizing::new([0_u8; 32]);
        generate(&key, &mut random, |random| Zeroizing::new(random.to_vec())).map_err(failed)?;
        generate(&token, &mut random, |random| Zeroizing::new(hex::encode(random).into_bytes()))
            .map_err(failed)?;
        let loopback = IpAddr::from([127, 0, 0, 1]);
        Ok(Self {
            dev: true,
            data_dir: data_dir.to_owned(),
            grpc_listen: SocketAddr::new(loopback, 0),
            grpc_names: raw::local_names(),
            admin_listen: SocketAddr::new(loopback, 9001),
            admin_token_file: token,
            admin_tls: None,
            kms: KmsConfig::local(data_dir.join("keyring.json"), UnlockFrom::KeyFile(key)),
            defaults: Defaults {
                regions,
                backends: vec![("default".to_owned(), String::new())],
                default_backend: "default".to_owned(),
                backend_prefix: String::new(),
            },
            key_rate: raw::KEY_RATE,
            key_burst: raw::KEY_BURST,
            drain_seconds: raw::DRAIN_SECONDS,
        })
    }

    /// The admin API's token.
    ///
    /// # Errors
    /// When the file cannot be read, or the token has fewer than 32 bytes.
    pub fn admin_token(&self) -> Result<Zeroizing<String>, ConfigError> {
        let path = &self.admin_token_file;
        let failed = |error: std::io::Error| ConfigError(format!("{}: {error}", path.display()));
        let mut text = Zeroizing::new(String::with_capacity(4096));
        fs::File::open(path).map_err(failed)?.take(4096).read_to_string(&mut text).map_err(failed)?;
        let token = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let path = path.display();
            return Err(ConfigError(format!(
                "{path}: an admin token has at least {MIN_TOKEN} printable characters"
            )));
        }
        Ok(token)
    }
}

/// Makes a secret file, mode 0600, unless there is one.
fn generate(
    path: &Path,
    random: &mut [u8; 32],
    form: impl Fn(&[u8; 32]) -> Zeroizing<Vec<u8>>,
) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    getrandom::fill(random).map_err(|_| std::io::Error::other("no randomness"))?;
    // Written aside first: a crash must not leave half a secret that is then believed.
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&form(random))?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn unique(texts: &[String]) -> bool {
    texts.iter().collect::<BTreeSet<_>>().len() == texts.len()
}
