//! The shape of the file, and the way from it to a checked [`Config`].

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{Config, unique};
use crate::registry::Defaults;

pub(super) const KEY_RATE: u64 = 200;
pub(super) const KEY_BURST: u64 = 2_000;
pub(super) const DRAIN_SECONDS: u64 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    data_dir: PathBuf,
    #[serde(default)]
    drain_seconds: Option<u64>,
    grpc: RawGrpc,
    #[serde(default)]
    admin: RawAdmin,
    kms: sealgate_kms::config::Table,
    buckets: RawBuckets,
    backends: Vec<RawBackend>,
    #[serde(default)]
    keys: RawKeys,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrpc {
    listen: SocketAddr,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    listen: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuckets {
    regions: Vec<String>,
    default_backend: String,
    #[serde(default)]
    prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
    name: String,
    #[serde(default)]
    work_bucket: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    rate_per_second: Option<u64>,
    burst: Option<u64>,
}

/// What the server's certificate always names.
pub(super) fn local_names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

impl RawConfig {
    /// Errors name the key and what is allowed.
    pub(super) fn check(self) -> Result<Config, String> {
        let admin_listen = self.admin.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9001)));
        let admin_tls = match (self.admin.certificate, self.admin.private_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) if admin_listen.ip().is_loopback() => None,
            (None, None) => {
                return Err(
                    "admin.listen: beyond loopback admin.certificate and admin.private_key are needed".into(),
                );
            }
            _ => return Err("admin.certificate and admin.private_key: both, or none".into()),
        };
        let admin_token_file =
            self.admin.token_file.ok_or("admin.token_file: missing; a file of 32 or more characters")?;
        let kms = self.kms.check()?;
        let regions = self.buckets.regions;
        let region = |text: &String| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !(1..=16).contains(&regions.len()) || !regions.iter().all(region) || !unique(&regions) {
            return Err("buckets.regions: 1 to 16 names of a-z 0-9 -, each once".into());
        }
        let names: Vec<String> = self.backends.iter().map(|backend| backend.name.clone()).collect();
        if names.is_empty() || names.iter().any(String::is_empty) || !unique(&names) {
            return Err("backends: at least one, each with a name of its own".into());
        }
        if !names.contains(&self.buckets.default_backend) {
            return Err(format!("buckets.default_backend: one of {}", names.join(", ")));
        }
        for backend in self.backends.iter().filter(|backend| !backend.work_bucket.is_empty()) {
            sealgate_policies::check_bucket_name(&backend.work_bucket)
                .map_err(|error| format!("backends.{}.work_bucket: {error}", backend.name))?;
        }
        let (key_rate, key_burst) =
            (self.keys.rate_per_second.unwrap_or(KEY_RATE), self.keys.burst.unwrap_or(KEY_BURST));
        if !(1..=1_000_000).contains(&key_rate) || !(1..=1_000_000).contains(&key_burst) {
            return Err("keys.rate_per_second and keys.burst: 1 to 1000000".into());
        }
        let drain_seconds = self.drain_seconds.unwrap_or(DRAIN_SECONDS);
        if drain_seconds > 600 {
            return Err("drain_seconds: 0 to 600".into());
        }
        let mut grpc_names = local_names();
        grpc_names.extend(self.grpc.names);
        grpc_names.sort();
        grpc_names.dedup();
        Ok(Config {
            dev: false,
            data_dir: self.data_dir,
            grpc_listen: self.grpc.listen,
            grpc_names,
            admin_listen,
            admin_token_file,
            admin_tls,
            kms,
            defaults: Defaults {
                regions,
                backends: self
                    .backends
                    .into_iter()
                    .map(|backend| (backend.name, backend.work_bucket))
                    .collect(),
                default_backend: self.buckets.default_backend,
                backend_prefix: self.buckets.prefix,
            },
            key_rate,
            key_burst,
            drain_seconds,
        })
    }
}
