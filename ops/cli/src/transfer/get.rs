//! `sealgate get`: streams an object into a file that appears when it is complete.
//!
//! An answer that breaks off is continued from where it stopped, on condition that the object is still the same one.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, GetOptions, GetOutcome, StoredRange, StreamError,
};
use serde_json::json;

use super::ServerArguments;
use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::output::Output;
use crate::progress;
use crate::target::Target;

/// How often in a row an answer may break off without a byte having come.
const ATTEMPTS: u32 = 4;

/// Arguments of `sealgate get`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What: s3://BUCKET/KEY
    from: Location,
    /// The file to write, or - for stdout
    file: PathBuf,
    #[command(flatten)]
    server: ServerArguments,
}

/// Fetches an object.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let from = arguments.from.object()?;
    let client = arguments.server.client()?;
    let mut target = Target::open(&arguments.file)?;
    let (name, is_stdout) = (target.name(), target.is_stdout());
    let (size, etag) = client.run_until_signal(fetch(&client, from, &mut target))?;
    target.commit()?;
    let text = format!("{from} -> {name} ({size} bytes)");
    let value = json!({"bucket": from.bucket, "key": from.key, "size": size, "etag": etag});
    if is_stdout {
        if out.is_json() {
            out.note(&text, &value);
        }
        return Ok(());
    }
    out.line(&text, &value)
}

async fn fetch(client: &Client, from: &Location, target: &mut Target) -> Outcome<(u64, String)> {
    let failed = |error| Failure::s3(from, &error);
    let first = open(client, from, GetOptions::default()).await.map_err(failed)?;
    let (size, etag) = (first.meta.size, first.meta.etag.clone());
    let bar = progress::bar(size);
    let mut answer = Some(first);
    let (mut done, mut attempts) = (0, 0);
    loop {
        let before = done;
        let broke = match answer.take() {
            Some(answer) => receive(answer, target, &mut done, &bar).await?,
            None => None,
        };
        if done == size {
            bar.finish_and_clear();
            return Ok((size, etag));
        }
        attempts = if done > before { 0 } else { attempts + 1 };
        if attempts == ATTEMPTS {
            let why = broke.unwrap_or_else(|| "ended early".to_owned());
            return Err(Failure::new(Exit::Unavailable, format!("{from}: broke off at byte {done}: {why}"))
                .hint("try again; if it always breaks off there, `sealgate verify` tells whether the object is damaged"));
        }
        tokio::time::sleep(Duration::from_millis(200 << (2 * attempts))).await;
        let conditions = Conditions { if_match: Some(format!("\"{etag}\"")), ..Conditions::default() };
        let range = (done > 0).then_some(StoredRange::From(done));
        match open(client, from, GetOptions { range, conditions, version_id: None }).await {
            Ok(next) if next.meta.etag == etag && next.meta.size == size => answer = Some(next),
            Ok(_) => return Err(changed(from)),
            Err(error) if error.is("PreconditionFailed") => return Err(changed(from)),
            Err(BackendError::Unavailable(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

async fn open(client: &Client, from: &Location, options: GetOptions) -> Result<GetOutcome, BackendError> {
    client.backend.get(&from.bucket, &from.key, options).await
}

/// Writes what comes; gives why it broke off.
async fn receive(
    mut answer: GetOutcome,
    target: &mut Target,
    done: &mut u64,
    bar: &ProgressBar,
) -> Outcome<Option<String>> {
    while let Some(piece) = answer.body.next().await {
        match piece {
            Ok(piece) => {
                target.write_all(&piece).map_err(|error| Failure::io(&target.name(), &error))?;
                *done += piece.len() as u64;
                bar.set_position(*done);
            }
            Err(StreamError::Truncated(why)) => return Ok(Some(why)),
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}

fn changed(from: &Location) -> Failure {
    Failure::new(Exit::Failure, format!("{from}: was overwritten while it was read"))
        .hint("run the command again")
}
