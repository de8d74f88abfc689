//! `sealgate admin rewrap`: the work on the envelopes of a bucket's objects, after a key was retired or compromised.

use std::time::Duration;

use clap::{Args, Subcommand};
use sealgate_envelope::IkId;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::bucket::Place;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// How often the work is asked after.
const LOOK: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Rewrap {
    /// Begin: envelopes under retired keys are wrapped anew, objects under compromised ones encrypted anew, each in its place.
    ///
    /// A node does it while clients read and write. Nothing that a client writes meanwhile is lost. With --wait it ends with 1 when
    /// something stays under one of the keys.
    Start(Start),
    /// Show how far it is, and what stays under which key, and why.
    Show(Of),
    /// Stop it for now. What is under way comes to its end.
    Pause(Of),
    /// Let it go on, at another pace if one is given.
    Resume(Resume),
    /// End it before its end.
    Cancel(Of),
}

/// How fast.
#[derive(Args, Debug)]
pub struct Pace {
    /// Objects looked at a second, at most [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Objects at once [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    concurrent: Option<u32>,
}

/// A bucket.
#[derive(Args, Debug)]
pub struct Of {
    /// The bucket's name for clients
    bucket: String,
    /// Who you are, for the audit log
    #[arg(long, env = "USER", default_value = "", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `sealgate admin rewrap start`.
#[derive(Args, Debug)]
pub struct Start {
    #[command(flatten)]
    of: Of,
    /// A key that nothing is to be under any more; may be repeated. Without any: all that are retired or compromised
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<IkId>,
    #[command(flatten)]
    pace: Pace,
    /// Wait until it has ended
    #[arg(long)]
    wait: bool,
}

/// Arguments of `sealgate admin rewrap resume`.
#[derive(Args, Debug)]
pub struct Resume {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    pace: Pace,
    /// Wait until it has ended
    #[arg(long)]
    wait: bool,
}

/// Runs one of the commands.
pub fn run(command: &Rewrap, out: Output) -> Outcome<()> {
    match command {
        Rewrap::Start(Start { of, keys, pace, wait }) => {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            let body = json!({ "keys": keys, "rate": pace.rate, "concurrent": pace.concurrent, "by": of.by });
            begun(of, "", &body, *wait, out)
        }
        Rewrap::Resume(Resume { of, pace, wait }) => {
            let body = json!({ "rate": pace.rate, "concurrent": pace.concurrent, "by": of.by });
            begun(of, "/resume", &body, *wait, out)
        }
        Rewrap::Show(of) => out.fields(&show(&of.place.open()?, &of.bucket)?),
        Rewrap::Pause(of) => begun(of, "/pause", &json!({ "by": of.by }), false, out),
        Rewrap::Cancel(of) => begun(of, "/cancel", &json!({ "by": of.by }), false, out),
    }
}

fn begun(of: &Of, what: &str, body: &Value, wait: bool, out: Output) -> Outcome<()> {
    let admin = of.place.open()?;
    let (_, report) = admin.call("POST", &format!("{}{what}", path(&of.bucket)), Some(body))?;
    if !wait {
        return out.fields(&report);
    }
    let report = ended(&admin, &of.bucket)?;
    out.fields(&report)?;
    match (report["state"].as_str(), report["left"].as_u64()) {
        (Some("done"), Some(0)) => {
            eprintln!(
                "nothing is left under these keys: `sealgate admin key retire {} KEY` takes none away",
                of.bucket
            );
            Ok(())
        }
        (Some("done"), _) => {
            let text = format!("{} objects and uploads stay under these keys", report["left"]);
            Err(Failure::new(Exit::Failure, text).hint("left_why says which, and why"))
        }
        (state, _) => Err(Failure::new(Exit::Failure, format!("the work is {}", state.unwrap_or("?")))),
    }
}

fn show(admin: &Admin, bucket: &str) -> Outcome<Value> {
    Ok(admin.call("GET", &path(bucket), None)?.1)
}

/// Waits until the work has ended, or was stopped; its progress goes to stderr.
fn ended(admin: &Admin, bucket: &str) -> Outcome<Value> {
    let mut told = String::new();
    loop {
        let report = show(admin, bucket)?;
        if matches!(report["state"].as_str(), Some("done" | "paused" | "cancelled")) {
            return Ok(report);
        }
        let text = format!(
            "pass {}: {} looked at, {} wrapped anew, {} encrypted anew, {} changed meanwhile{}",
            report["pass"],
            report["looked_at"],
            report["rewrapped"],
            report["reencrypted"],
            report["changed_meanwhile"],
            report["trouble"].as_str().map(|trouble| format!("; {trouble}")).unwrap_or_default(),
        );
        if text != told {
            eprintln!("{text}");
            told = text;
        }
        std::thread::sleep(LOOK);
    }
}

fn path(bucket: &str) -> String {
    format!("/v1/buckets/{bucket}/rewrap")
}
