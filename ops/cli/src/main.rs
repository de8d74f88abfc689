//! The `sealgate` command.

mod dev;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sealgate: plain S3 in, ciphertext behind.
#[derive(Parser)]
#[command(name = "sealgate", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run both planes on this machine, with everything in one directory.
    Dev(dev::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Dev(arguments) => dev::run(&arguments),
    }
}
