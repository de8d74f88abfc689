//! A node's own config file: parsed into checked types, or refused with the file, the key and what is allowed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::backend::fs::FsBackend;
use crate::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use crate::control::NodeIdentity;

/// A checked config.
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin_listen: SocketAddr,
    /// Threads that serve clients.
    pub workers: usize,
    /// Base domains of virtual-host-style requests: `<bucket>.<domain>`.
    pub domains: Vec<String>,
    /// Certificate and key for clients; none: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long the node goes on accepting, not ready any more, when it is stopped.
    pub drain_wait: Duration,
    /// Seconds that requests in flight have when the listener is closed.
    pub drain_seconds: u64,
    /// The control plane.
    pub control_plane: ControlPlaneConfig,
    /// Backends by the names that buckets refer to.
    pub backends: BTreeMap<String, BackendConfig>,
}

/// Certificate chain and private key, PEM files; read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How the control plane is reached.
pub struct ControlPlaneConfig {
    /// `https://host:port`
    pub endpoint: String,
    /// The name in its certificate.
    pub server_name: String,
    /// What the node proves itself with at its start.
    pub identity: NodeIdentity,
    /// Where that was read from, to be read again when it changes; none: it is in memory only.
    pub files: Option<IdentityFiles>,
}

/// The node's identity as files, PEM.
pub struct IdentityFiles {
    /// The authority that signed the control plane's certificate.
    pub ca: PathBuf,
    /// The node's certificate. Replaced when it is renewed.
    pub certificate: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads all three.
    ///
    /// # Errors
    /// What is wrong, with key and file.
    pub fn read(&self) -> Result<NodeIdentity, String> {
        let read = |key: &str, path: &Path| {
            std::fs::read_to_string(path).map_err(|error| format!("{key}: {}: {error}", path.display()))
        };
        Ok(NodeIdentity {
            ca: read("ca", &self.ca)?,
            certificate: read("certificate", &self.certificate)?,
            key: Zeroizing::new(read("key", &self.key)?),
        })
    }
}

/// A backend and its credentials.
pub enum BackendConfig {
    /// A directory.
    Filesystem {
        /// The directory.
        root: PathBuf,
    },
    /// An S3 server.
    S3(Box<S3Config>),
}

impl BackendConfig {
    /// Opens the backend for one thread.
    ///
    /// # Errors
    /// What the backend says.
    pub fn open(&self) -> Result<Rc<dyn Backend>, String> {
        match self {
            Self::Filesystem { root } => {
                Ok(Rc::new(FsBackend::open(root.clone()).map_err(|error| error.to_string())?))
            }
            Self::S3(config) => {
                Ok(Rc::new(S3Backend::new((**config).clone()).map_err(|error| error.to_string())?))
            }
        }
    }
}

/// Why a config was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: SocketAddr,
    #[serde(default = "default_admin_listen")]
    admin_listen: SocketAddr,
    workers: Option<usize>,
    #[serde(default)]
    domains: Vec<String>,
    tls: Option<TlsFiles>,
    #[serde(default)]
    plain_http: bool,
    #[serde(default = "default_drain_wait_seconds")]
    drain_wait_seconds: u64,
    #[serde(default = "default_drain_seconds")]
    drain_seconds: u64,
    control_plane: RawControlPlane,
    backends: BTreeMap<String, RawBackend>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawControlPlane {
    endpoint: String,
    server_name: Option<String>,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum RawBackend {
    Filesystem {
        root: PathBuf,
    },
    S3 {
        endpoint: String,
        region: String,
        #[serde(default = "default_path_style")]
        path_style: bool,
        #[serde(default = "default_server")]
        server: ServerKind,
        ca: Option<PathBuf>,
        bucket_owner: Option<String>,
        access_key_env: String,
        secret_key_env: String,
    },
}

/// The longest `drain_wait_seconds`: service managers lose patience.
const MAX_DRAIN_WAIT: u64 = 600;

/// Top-level keys of the file. Variables that begin otherwise belong to other parts of Sealgate.
const KEYS: &[&str] = &[
    "listen",
    "admin_listen",
    "workers",
    "domains",
    "tls",
    "plain_http",
    "drain_wait_seconds",
    "drain_seconds",
    "control_plane",
    "backends",
];

fn default_admin_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9002)
}

/// Two looks of a balancer that looks every other second, and one to spare.
fn default_drain_wait_seconds() -> u64 {
    5
}

fn default_drain_seconds() -> u64 {
    30
}

fn default_path_style() -> bool {
    true
}

fn default_server() -> ServerKind {
    ServerKind::Generic
}

/// Threads that serve clients when the config names no number: one a core.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Config {
    /// Reads a TOML file, with `SEALGATE_` variables over it (`SEALGATE_LISTEN`, `SEALGATE_CONTROL_PLANE__ENDPOINT`).
    ///
    /// # Errors
    /// What is wrong, with file and key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let named = |error: String| ConfigError(format!("{}: {error}", path.display()));
        if !path.is_file() {
            return Err(named("no such file".to_owned()));
        }
        let raw: Raw = Figment::new()
            .merge(Toml::file_exact(path))
            .merge(
                Env::prefixed("SEALGATE_")
                    .filter(|key| {
                        KEYS.iter().any(|known| {
                            key.as_str()
                                .strip_prefix(known)
                                .is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
                        })
                    })
                    .split("__"),
            )
            .extract()
            .map_err(|error| named(error.to_string()))?;
        raw.check().map_err(named)
    }
}

impl Raw {
    fn check(self) -> Result<Config, String> {
        if self.tls.is_none() && !self.plain_http && !self.listen.ip().is_loopback() {
            return Err(format!(
                "tls: none is configured and listen = {} is not loopback; give [tls] certificate and key, or set plain_http = true when something in front ends TLS",
                self.listen
            ));
        }
        if self.workers == Some(0) {
            return Err("workers: must be at least 1".to_owned());
        }
        if self.drain_wait_seconds > MAX_DRAIN_WAIT {
            return Err(format!("drain_wait_seconds: 0 to {MAX_DRAIN_WAIT}"));
        }
        if self.backends.is_empty() {
            return Err("backends: at least one [backends.<name>] is needed".to_owned());
        }
        let mut backends = BTreeMap::new();
        for (name, backend) in self.backends {
            let checked = backend.check().map_err(|error| format!("backends.{name}.{error}"))?;
            backends.insert(name, checked);
        }
        Ok(Config {
            listen: self.listen,
            admin_listen: self.admin_listen,
            workers: self.workers.unwrap_or_else(default_workers),
            domains: self.domains.into_iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            tls: self.tls,
            drain_wait: Duration::from_secs(self.drain_wait_seconds),
            drain_seconds: self.drain_seconds,
            control_plane: self.control_plane.check().map_err(|error| format!("control_plane.{error}"))?,
            backends,
        })
    }
}

impl RawControlPlane {
    fn check(self) -> Result<ControlPlaneConfig, String> {
        let uri: http::Uri =
            self.endpoint.parse().map_err(|_| "endpoint: must be https://host:port".to_owned())?;
        if uri.scheme_str() != Some("https") {
            return Err("endpoint: must begin with https://, since keys cross it".to_owned());
        }
        let host = uri.host().ok_or_else(|| "endpoint: has no host".to_owned())?.to_owned();
        let files = IdentityFiles { ca: self.ca, certificate: self.certificate, key: self.key };
        Ok(ControlPlaneConfig {
            identity: files.read()?,
            files: Some(files),
            server_name: self.server_name.unwrap_or(host),
            endpoint: self.endpoint,
        })
    }
}

impl RawBackend {
    fn check(self) -> Result<BackendConfig, String> {
        match self {
            Self::Filesystem { root } => Ok(BackendConfig::Filesystem { root }),
            Self::S3 {
                endpoint,
                region,
                path_style,
                server,
                ca,
                bucket_owner,
                access_key_env,
                secret_key_env,
            } => {
                if let Some(owner) = &bucket_owner
                    && !(owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit()))
                {
                    return Err(format!("bucket_owner: {owner:?}: must be an account's id, 12 digits"));
                }
                let variable = |key: &str, name: &str| {
                    std::env::var(name).map_err(|_| format!("{key}: the variable {name} is not set"))
                };
                let access_key = variable("access_key_env", &access_key_env)?;
                let secret_key = variable("secret_key_env", &secret_key_env)?;
                let credentials = Arc::new(StaticCredentials::new(access_key, secret_key, None));
                let mut config =
                    S3Config::new(&endpoint, &region, credentials).map_err(|error| error.to_string())?;
                config.path_style = path_style;
                config.server = server;
                config.bucket_owner = bucket_owner;
                if let Some(ca) = ca {
                    let pem = std::fs::read(&ca).map_err(|error| format!("ca: {}: {error}", ca.display()))?;
                    config.ca_pem = Some(pem);
                }
                Ok(BackendConfig::S3(Box::new(config)))
            }
        }
    }
}
