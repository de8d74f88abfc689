//! `sealgate-data-plane`: a node as a program of its own.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sealgate_data_plane::clock::SystemClock;
use sealgate_data_plane::config::Config;
use sealgate_data_plane::plane::DataPlane;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Sealgate data-plane node: clients speak plain S3 to it, the backend holds ciphertext.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The config file (docs/examples/data-plane.toml shows every key).
    #[arg(long)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("SEALGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for terminals, not for log files.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    if let Err(error) = sealgate_data_plane::process::harden() {
        eprintln!("sealgate-data-plane: core dumps cannot be turned off: {error}");
        return ExitCode::FAILURE;
    }
    sealgate_data_plane::process::use_small_pages();
    sealgate_data_plane::process::lock_memory();
    match actix_rt::System::new().block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealgate-data-plane: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&arguments.config)?;
    let stop = sealgate_data_plane::process::stop_signal()?;
    Ok(DataPlane::start(config, SystemClock::shared())?.run(stop).await?)
}
