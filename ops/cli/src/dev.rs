//! `sealgate dev`: both planes in one process, over the same TLS and certificates as between machines, with everything in
//! one directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
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
use tracing::warn;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Clients presign with SigV4 in any region but us-east-1, so that is not the default.
const REGIONS: [&str; 2] = ["eu-central-1", "us-east-1"];
const TENANT: &str = "dev";
const NODE: &str = "dev";
const ADMIN: &str = "127.0.0.1:9001";

type Failure = Box<dyn std::error::Error>;

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

/// Runs until a signal; the exit code of the process.
pub fn run(arguments: &Arguments) -> ExitCode {
    let filter = EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match actix_rt::System::new().block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealgate dev: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let data = &arguments.data;
    create_directory(data)?;
    let _lock = lock(data)?;
    let control = start_control_plane(arguments).await?;
    let tenant = control.ensure_tenant(TENANT).await?;
    ensure_credentials(&control, tenant, data).await?;
    let identity = control.issue_node(NODE, Tenants::All).await?;
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
        .map_err(|error| format!("the data plane on {}: {error}", arguments.listen))?;
    node.node().wait_applied(0, 1).await;
    write_config(arguments, node.address(), control.admin_addr())?;
    let mut applied = node.node().watch_applied();
    write_card(&control, data)?;
    // Before anybody is told that it is there.
    let mut stop = std::pin::pin!(process::stop_signal()?);
    print_welcome(arguments, &control, &node)?;
    let ended: Result<(), Failure> = loop {
        tokio::select! {
            () = &mut stop => break Ok(()),
            why = node.failed() => break Err(format!("the data plane failed: {why}; see the log above").into()),
            () = control.failed() => break Err("the control plane failed; see the log above".into()),
            changed = applied.changed() => {
                if let Err(error) = changed {
                    break Err(error.into());
                }
                // A bucket came or went: the card names it. Clients are served without it, too: a full disk ends nothing.
                if let Err(error) = write_card(&control, data) {
                    warn!(%error, "the recovery card could not be written; it is tried again at the next change");
                }
            }
        }
    };
    eprintln!("Draining …");
    node.stop().await;
    control.stop().await;
    ended
}

fn write_card(control: &Handle, data: &Path) -> Result<(), Failure> {
    write_whole(&data.join("recovery"), control.recovery_card()?.as_bytes())
}

/// Makes a directory of the owner's alone.
fn create_directory(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| format!("{}: {error}", path.display()).into())
}

/// One `sealgate dev` a directory: held until the process ends.
fn lock(data: &Path) -> Result<fs::File, Failure> {
    let path = data.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(format!(
            "another `sealgate dev` runs over {}; stop it, or give another directory with --data",
            data.display()
        )
        .into()),
        Err(fs::TryLockError::Error(error)) => Err(format!("{}: {error}", path.display()).into()),
    }
}

async fn start_control_plane(arguments: &Arguments) -> Result<Handle, Failure> {
    let regions = REGIONS.map(str::to_owned).to_vec();
    let mut config = ControlConfig::dev(&arguments.data.join("control-plane"), regions)?;
    config.admin_listen = match arguments.admin_listen {
        Some(address) => address,
        None => {
            let default: SocketAddr = ADMIN.parse()?;
            // Another `sealgate dev` on this machine has it: that must not keep this one from starting.
            if TcpListener::bind(default).is_ok() { default } else { SocketAddr::new(default.ip(), 0) }
        }
    };
    Ok(ControlPlane::start(config).await?)
}

/// Writes DIR/credentials once. The secret cannot be had again, so a lost file means a new credential.
async fn ensure_credentials(
    control: &Handle,
    tenant: sealgate_envelope::TenantId,
    data: &Path,
) -> Result<(), Failure> {
    let path = data.join("credentials");
    if path.exists() {
        return Ok(());
    }
    let mut made = control.ensure_credential(tenant, "dev").await?;
    if made.is_none() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        made = control.ensure_credential(tenant, &format!("dev-{now}")).await?;
    }
    let made = made.ok_or("no credential could be made")?;
    let text = Zeroizing::new(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        made.record.access_key_id,
        made.secret.as_str()
    ));
    write_whole(&path, text.as_bytes())
}

fn node_config(arguments: &Arguments, control_plane: ControlPlaneConfig) -> Result<NodeConfig, Failure> {
    let backend = match &arguments.s3_endpoint {
        None => {
            let root = arguments.data.join("backend");
            create_directory(&root)?;
            BackendConfig::Filesystem { root }
        }
        Some(endpoint) => {
            let variable = |name: &str| {
                std::env::var(name)
                    .map_err(|_| format!("--s3-endpoint needs the environment variable {name}"))
            };
            let credentials = StaticCredentials::new(
                variable("SEALGATE_DEV_S3_ACCESS_KEY")?,
                variable("SEALGATE_DEV_S3_SECRET_KEY")?,
                None,
            );
            let mut config = S3Config::new(endpoint, &arguments.s3_region, Arc::new(credentials))
                .map_err(|error| error.to_string())?;
            config.server = match arguments.s3_server.as_str() {
                "aws" => ServerKind::Aws,
                "minio" => ServerKind::Minio,
                "seaweedfs" => ServerKind::SeaweedFs,
                "versitygw" => ServerKind::VersityGw,
                "generic" => ServerKind::Generic,
                other => {
                    return Err(format!(
                        "--s3-server: {other:?} is not known; use aws, minio, seaweedfs, versitygw or generic"
                    )
                    .into());
                }
            };
            config.largest_put = arguments.largest_put;
            BackendConfig::S3(Box::new(config))
        }
    };
    if arguments.tls_certificate.is_none() && !arguments.listen.ip().is_loopback() {
        return Err(format!(
            "--listen {}: plain HTTP is served on loopback only; give --tls-certificate and --tls-key",
            arguments.listen
        )
        .into());
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

/// What AWS tools read, and for `sealgate bucket` the admin API: they pass over names that they do not know.
fn write_config(arguments: &Arguments, address: SocketAddr, admin: SocketAddr) -> Result<(), Failure> {
    let text = format!(
        "[default]\nregion = {}\nendpoint_url = {}\nsealgate_admin_url = http://{admin}\n",
        REGIONS[0],
        endpoint(arguments, address)
    );
    write_whole(&arguments.data.join("config"), text.as_bytes())
}

/// Writes a file of the owner's alone, whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(named)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(named)?;
    fs::rename(&temporary, path).map_err(named)?;
    Ok(())
}

fn print_welcome(arguments: &Arguments, control: &Handle, node: &DataPlane) -> Result<(), Failure> {
    let data = fs::canonicalize(&arguments.data)?;
    let data = data.display();
    let endpoint = endpoint(arguments, node.address());
    let ciphertext = match &arguments.s3_endpoint {
        Some(url) => format!("on {url}"),
        None => format!("in {data}/backend"),
    };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Sealgate is ready at {endpoint}

Next, in another terminal:
  export AWS_SHARED_CREDENTIALS_FILE={data}/credentials AWS_CONFIG_FILE={data}/config
  aws s3 mb s3://demo
  aws s3 cp /etc/hostname s3://demo/
  aws s3 ls s3://demo
  sealgate put --data {data} /etc/hostname s3://demo/again
  python3 -c 'import boto3; print(boto3.client(\"s3\").list_objects_v2(Bucket=\"demo\")[\"Contents\"])'

Ciphertext lies {ciphertext}
Recovery card   {data}/recovery (not secret; keep a copy elsewhere)
Admin API       http://{}  (token in {data}/control-plane/admin-token)
Health, metrics http://{}/healthz /readyz /metrics
Stop with Ctrl-C.",
        control.admin_addr(),
        node.admin_address(),
    )?;
    out.flush()?;
    Ok(())
}
