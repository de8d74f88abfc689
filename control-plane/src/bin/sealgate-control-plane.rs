//! `sealgate-control-plane --config FILE`: logs → config → start → wait for a signal → bounded drain.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use sealgate_control_plane::{Config, ControlPlane, process};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of Sealgate.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (docs/examples/control-plane.toml shows every key).
    #[arg(long)]
    config: PathBuf,
    /// Logs as JSON lines.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for terminals, not for log files.
    let colours = std::io::stderr().is_terminal();
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if arguments.log_json {
        logs.json().init();
    } else {
        logs.init();
    }
    match actix_rt::System::new().block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    process::forbid_core_dumps()?;
    process::use_small_pages();
    process::lock_memory();
    let config = Config::load(&arguments.config)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = ControlPlane::start(config).await?;
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = running.failed() => true,
    };
    tracing::info!("stopping");
    running.stop().await;
    if failed { Err("an actor could not be kept alive".into()) } else { Ok(()) }
}
