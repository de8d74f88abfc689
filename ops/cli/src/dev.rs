//! `sealgate dev`: both planes in one process, over the same TLS and certificates as between machines, with everything in
//! one directory.

mod files;
mod welcome;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sealgate_control_plane::registry::records::Tenants;
use sealgate_control_plane::{Config as ControlConfig, ControlPlane, Handle};
use sealgate_data_plane::backend::s3::{S3Config, ServerKind, StaticCredentials};
use sealgate_data_plane::clock::SystemClock;
use sealgate_data_plane::config::{
    BackendConfig, Config as NodeConfig, ControlPlaneConfig, TlsFiles, default_workers,
};
use sealgate_data_plane::control::NodeIdentity;
use sealgate_data_plane::plane::DataPlane;
use sealgate_data_plane::process;
use serde_json::json;
use tracing::warn;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use self::files::{create_directory, lock, write_whole};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Clients presign with SigV4 in any region but us-east-1, so that is not the default.
const REGIONS: [&str; 2] = ["eu-central-1", "us-east-1"];
const TENANT: &str = "dev";
const NODE: &str = "dev";
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9001);

/// Arguments of `sealgate dev`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Where everything lies: credentials, config, recovery card, keys, store and (in backend/) ciphertext.
    #[arg(long, default_value = ".dev", value_name = "DIR")]
    data: PathBuf,
    /// Where S3 clients connect.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the admin API listens [default: 127.0.0.1:9001, or a free port when that is taken].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Serve TLS with this certificate chain (PEM).
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, requires = "tls_certificate", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Another base domain for virtual-host-style requests; localhost is one.
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Keep ciphertext on this S3 server instead of in DIR/backend.
    #[arg(long, env = "SEALGATE_DEV_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Region that requests to the S3 server are signed for.
    #[arg(long, env = "SEALGATE_DEV_S3_REGION", default_value = "us-east-1", value_name = "REGION")]
    s3_region: String,
    /// Which server it is: aws, minio, seaweedfs, versitygw or generic.
    #[arg(long, env = "SEALGATE_DEV_S3_SERVER", default_value = "generic", value_name = "KIND")]
    s3_server: String,
    /// Take the S3 server for one whose largest PUT has so many bytes (10 MiB or more): to try what is beyond without 5 GiB.
    #[arg(long, hide = true, requires = "s3_endpoint", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(10 << 20..))]
    largest_put: Option<u64>,
}

/// Anything that has no exit code of its own.
fn failed(error: impl Display) -> Failure {
    Failure::new(Exit::Failure, error.to_string())
}

/// Runs until a signal.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let filter = EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // With --json everything on stderr is, a line each.
    if out.is_json() {
        logs.json().init()
    } else {
        logs.init()
    }
    actix_rt::System::new().block_on(serve(arguments, out))
}

async fn serve(arguments: &Arguments, out: Output) -> Outcome<()> {
    let data = &arguments.data;
    create_directory(data)?;
    let _lock = lock(data)?;
    let control = start_control_plane(arguments).await?;
    let tenant = control.ensure_tenant(TENANT).await.map_err(failed)?;
    files::ensure_credentials(&control, tenant, data).await?;
    let identity = control.issue_node(NODE, Tenants::All).await.map_err(failed)?;
    let config = node_config(
        arguments,
        ControlPlaneConfig {
            endpoint: format!("https://{}", control.grpc_addr()),
            server_name: control.grpc_addr().ip().to_string(),
            identity: NodeIdentity {
                ca: identity.ca_pem.clone(),
                certificate: identity.cert_pem.clone(),
                key: Zeroizing::new(identity.key_pem.as_str().to_owned()),
            },
            // Each start issues another.
            files: None,
        },
    )?;
    let node = DataPlane::start(config, SystemClock::shared())
        .map_err(|error| failed(format!("the data plane on {}: {error}", arguments.listen)))?;
    node.node().wait_applied(0, 1).await;
    let endpoint = endpoint(arguments, node.address());
    files::write_config(data, REGIONS[0], &endpoint, control.admin_addr())?;
    let mut applied = node.node().watch_applied();
    write_card(&control, data)?;
    // Before anybody is told that it is there.
    let mut stop = std::pin::pin!(process::stop_signal().map_err(failed)?);
    welcome::print(arguments, &endpoint, (control.admin_addr(), node.admin_address()), out)?;
    let ended: Outcome<()> = loop {
        tokio::select! {
            () = &mut stop => break Ok(()),
            () = control.failed() => break Err(failed("the control plane failed; see the log above")),
            why = node.failed() => break Err(failed(format!("the data plane failed: {why}; see the log above"))),
            changed = applied.changed() => {
                if let Err(error) = changed {
                    break Err(failed(error));
                }
                // A bucket came or went: the card names it. Clients are served without it, too: a full disk ends nothing.
                if let Err(error) = write_card(&control, data) {
                    warn!(%error, "the recovery card could not be written; it is tried again at the next change");
                }
            }
        }
    };
    out.note("Draining …", &json!({ "draining": true }));
    node.stop().await;
    control.stop().await;
    ended
}

fn write_card(control: &Handle, data: &Path) -> Outcome<()> {
    write_whole(&data.join(files::CARD), control.recovery_card().map_err(failed)?.as_bytes())
}

async fn start_control_plane(arguments: &Arguments) -> Outcome<Handle> {
    let regions = REGIONS.map(str::to_owned).to_vec();
    let mut config = ControlConfig::dev(&arguments.data.join("control-plane"), regions).map_err(failed)?;
    config.admin_listen = match arguments.admin_listen {
        Some(address) => address,
        None => {
            let default = SocketAddr::from(ADMIN);
            // Another `sealgate dev` on this machine has it: that must not keep this one from starting.
            if TcpListener::bind(default).is_ok() { default } else { SocketAddr::new(default.ip(), 0) }
        }
    };
    ControlPlane::start(config).await.map_err(failed)
}

fn node_config(arguments: &Arguments, control_plane: ControlPlaneConfig) -> Outcome<NodeConfig> {
    let backend = match &arguments.s3_endpoint {
        None => {
            let root = arguments.data.join("backend");
            create_directory(&root)?;
            BackendConfig::Filesystem { root }
        }
        Some(endpoint) => {
            let variable = |name: &str| {
                std::env::var(name).map_err(|_| {
                    Failure::usage(format!("--s3-endpoint needs the environment variable {name}"))
                })
            };
            let credentials = StaticCredentials::new(
                variable("SEALGATE_DEV_S3_ACCESS_KEY")?,
                variable("SEALGATE_DEV_S3_SECRET_KEY")?,
                None,
            );
            let mut config = S3Config::new(endpoint, &arguments.s3_region, Arc::new(credentials))
                .map_err(|error| Failure::usage(error.to_string()))?;
            config.server = match arguments.s3_server.as_str() {
                "aws" => ServerKind::Aws,
                "minio" => ServerKind::Minio,
                "seaweedfs" => ServerKind::SeaweedFs,
                "versitygw" => ServerKind::VersityGw,
                "generic" => ServerKind::Generic,
                other => {
                    return Err(Failure::usage(format!("--s3-server: {other:?} is not known"))
                        .hint("use aws, minio, seaweedfs, versitygw or generic"));
                }
            };
            config.largest_put = arguments.largest_put;
            BackendConfig::S3(Box::new(config))
        }
    };
    if arguments.tls_certificate.is_none() && !arguments.listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "--listen {}: plain HTTP is served on loopback only",
            arguments.listen
        ))
        .hint("give --tls-certificate and --tls-key"));
    }
    let tls = match (&arguments.tls_certificate, &arguments.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let mut domains = vec!["localhost".to_owned()];
    domains.extend(arguments.domain.iter().map(|domain| domain.to_ascii_lowercase()));
    Ok(NodeConfig {
        listen: arguments.listen,
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: default_workers(),
        domains,
        tls,
        // No balancer stands before it.
        drain_wait: Duration::ZERO,
        drain_seconds: 30,
        control_plane,
        backends: BTreeMap::from([("default".to_owned(), backend)]),
    })
}

fn endpoint(arguments: &Arguments, address: SocketAddr) -> String {
    let scheme = if arguments.tls_certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}
