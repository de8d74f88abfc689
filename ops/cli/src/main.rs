//! The `sealgate` command.

mod admin;
mod bucket;
mod connection;
mod dev;
mod envelopes;
mod export;
mod failure;
mod interrupt;
mod kms;
mod life;
mod location;
#[cfg(test)]
#[path = "../../bench/memory.rs"]
mod memory;
mod migrate;
mod offline;
mod output;
mod profile;
mod progress;
mod target;
mod transfer;
mod usage;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::failure::{Exit, Failure};
use crate::offline::{decrypt, inspect, verify};
use crate::output::Output;
use crate::transfer::{get, list, presign, put};
use crate::usage::parse;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sealgate: plain S3 in, ciphertext behind.
///
/// Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 integrity failure, 5 access denied, 6 unavailable.
#[derive(Parser)]
#[command(name = "sealgate", version)]
struct Arguments {
    /// Print JSON: results on stdout, errors on stderr
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run both planes on this machine, with everything in one directory.
    Dev(dev::Arguments),
    /// Store a file as an object.
    Put(put::Arguments),
    /// Fetch an object into a file.
    Get(get::Arguments),
    /// List buckets or objects.
    Ls(list::Arguments),
    /// Make a bucket.
    Mb(put::BucketArguments),
    /// Make a URL that allows one request for a while.
    Presign(presign::Arguments),
    /// Copy a bucket into another one while it is in use, and give the copy its name.
    Migrate(migrate::Arguments),
    /// Write out a bucket, or what lies below a prefix, in plain.
    Export(export::Arguments),
    /// Take buckets that are there already into the registry, or out of it.
    #[command(subcommand)]
    Bucket(bucket::Command),
    /// Ask a control plane how things are, or tell it what to do.
    #[command(subcommand)]
    Admin(life::Command),
    /// Show what is known of stored objects and records without keys (offline).
    Inspect(inspect::Arguments),
    /// Decrypt an object from the backend itself: no gateway is needed (offline).
    Decrypt(decrypt::Arguments),
    /// Prove every object below a prefix (offline).
    Verify(verify::Arguments),
    /// Print completions for a shell.
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let Arguments { json, command } = match parse() {
        Ok(arguments) => arguments,
        Err(ended) => return ended,
    };
    let out = Output::new(json);
    // Before anything secret is read: whichever command it is, it may meet keys, tokens or plaintext.
    if let Err(failure) = harden() {
        return out.finish(Err(failure));
    }
    out.finish(match command {
        Command::Dev(arguments) => dev::run(&arguments, out),
        Command::Put(arguments) => put::run(&arguments, out),
        Command::Get(arguments) => get::run(&arguments, out),
        Command::Ls(arguments) => list::run(&arguments, out),
        Command::Mb(arguments) => put::make_bucket(&arguments, out),
        Command::Presign(arguments) => presign::run(&arguments, out),
        Command::Migrate(arguments) => migrate::run(&arguments, out),
        Command::Export(arguments) => export::run(&arguments, out),
        Command::Bucket(command) => bucket::run(&command, out),
        Command::Admin(command) => life::run(&command, out),
        Command::Inspect(arguments) => inspect::run(&arguments, out),
        Command::Decrypt(arguments) => decrypt::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sealgate", &mut script);
            io::stdout().write_all(&script).map_err(|error| Failure::io(&"stdout", &error))
        }
    })
}

/// No core file, no debugger of the same user, and no huge pages, as in the planes' own programs.
fn harden() -> Result<(), Failure> {
    sealgate_data_plane::process::use_small_pages();
    sealgate_data_plane::process::harden()
        .map_err(|error| Failure::new(Exit::Failure, format!("core files cannot be switched off: {error}")))
}
