//! `sealgate get`: streams an object into a file that appears when it is complete.
//!
//! An answer that breaks off is continued from where it stopped, on condition that the object is still the same one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, GetOptions, GetOutcome, ObjectMeta, StoredRange, StreamError,
};
use sealgate_envelope::size::CHUNK;
use serde_json::json;

use super::ServerArguments;
use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::output::Output;
use crate::progress;
use crate::target::Target;

/// How often in a row an answer may break off without a byte having come.
const ATTEMPTS: u32 = 3;

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
    let done = fetch(&client, from, None, &mut target, progress::bar);
    let ObjectMeta { size, etag, .. } = client.run_until_signal(done)?;
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

/// Writes all of an object, or of a version of it, to a target; says what it is. `bar` makes what shows how far it is.
pub async fn fetch(
    client: &Client,
    from: &Location,
    version_id: Option<&str>,
    target: &mut impl Write,
    bar_of: fn(u64) -> ProgressBar,
) -> Outcome<ObjectMeta> {
    let mut known: Option<ObjectMeta> = None;
    let mut bar = ProgressBar::hidden();
    let (mut done, mut attempts) = (0, 0);
    loop {
        let before = done;
        let mut options = wanted(known.as_ref(), done, attempts);
        options.version_id = version_id.map(str::to_owned);
        let broke = match open(client, from, options).await {
            Ok(answer) => {
                let first = known.get_or_insert_with(|| {
                    bar = bar_of(answer.meta.size);
                    answer.meta.clone()
                });
                if (answer.meta.size, &answer.meta.etag) != (first.size, &first.etag) {
                    return Err(changed(from));
                }
                receive(answer, target, &mut done, &bar).await?
            }
            Err(error) if error.is("PreconditionFailed") => return Err(changed(from)),
            Err(BackendError::Unavailable(why)) => Some(why),
            Err(error) => return Err(Failure::s3(from, &error)),
        };
        if let Some(meta) = known.take_if(|meta| meta.size == done) {
            bar.finish_and_clear();
            return Ok(meta);
        }
        if done > before && broke.is_none() {
            attempts = 0;
            continue;
        }
        attempts = if done > before { 0 } else { attempts + 1 };
        if attempts == ATTEMPTS {
            let why = broke.unwrap_or_else(|| "nothing came".to_owned());
            return Err(Failure::new(Exit::Unavailable, format!("{from}: broke off at byte {done}: {why}"))
                .hint("check the endpoint, or try again later"));
        }
        tokio::time::sleep(Duration::from_millis(200 << attempts)).await;
    }
}

/// All that is missing; after attempts that brought nothing, less and less of it. A gateway that meets a damaged chunk
/// cuts the connection, and what it had sent before may be lost with it: only a request that begins there is told why.
fn wanted(known: Option<&ObjectMeta>, done: u64, attempts: u32) -> GetOptions {
    let to_multiple = |step: u64| StoredRange::Inclusive(done, (done / step + 1) * step - 1);
    let range = match attempts {
        0 => (done > 0).then_some(StoredRange::From(done)),
        1 => Some(to_multiple(1 << 20)),
        _ => Some(to_multiple(CHUNK as u64)),
    };
    let if_match = known.map(|meta| format!("\"{}\"", meta.etag));
    GetOptions {
        range,
        conditions: Conditions { if_match, ..Conditions::default() },
        version_id: None,
        ..GetOptions::default()
    }
}

async fn open(client: &Client, from: &Location, options: GetOptions) -> Result<GetOutcome, BackendError> {
    client.backend.get(&from.bucket, &from.key, options).await
}

/// Writes what comes; gives why it broke off.
async fn receive(
    mut answer: GetOutcome,
    target: &mut impl Write,
    done: &mut u64,
    bar: &ProgressBar,
) -> Outcome<Option<String>> {
    while let Some(piece) = answer.body.next().await {
        match piece {
            Ok(piece) => {
                target.write_all(&piece).map_err(|error| Failure::io(&"the output", &error))?;
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
