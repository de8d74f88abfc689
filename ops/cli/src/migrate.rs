//! `sealgate migrate`: copies a bucket into another one while clients write to it, and then gives the copy its name.
//!
//! Passes copy what differs until they get no shorter. Then the bucket is frozen, so that the last pass sees all that was
//! ever acknowledged; when both listings agree, the two buckets exchange their names in one step. It may be killed at any
//! point and started again.

mod about;
mod admin;
mod copy;
mod listing;
mod pass;
pub mod retry;
mod state;
mod switch;
mod uploads;

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Method};
use indicatif::ProgressBar;
use sealgate_data_plane::backend::s3::S3Backend;
use sealgate_data_plane::backend::{Backend as _, BackendError, Forward};
use serde_json::json;

use self::admin::Bucket;
use self::copy::Copier;
use self::pass::{Counts, Pass};
use self::retry::persist;
use self::state::{About, State};
use crate::admin::{Admin, AdminArguments};
use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::output::Output;
use crate::transfer::ServerArguments;

/// What no listing of uploads shows. Neither the registry nor the gateway says which server a storage is.
const UNLISTED: &str = "where the source's storage is MinIO: uploads that were begun before MinIO was started last are not listed, and are not \
                        seen here; let such uploads be completed before the switch";

/// Arguments of `sealgate migrate`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The bucket that clients use: s3://BUCKET
    #[arg(long, value_name = "BUCKET")]
    from: Location,
    /// The bucket that takes over its name: s3://BUCKET, empty at first
    #[arg(long, value_name = "BUCKET")]
    to: Location,
    #[command(flatten)]
    admin: AdminArguments,
    /// Most passes before the freeze
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// Keys that are copied at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Where it keeps what it has done [default: sealgate-migrate-BUCKET]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How long to wait, frozen, for writes that are in flight
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain: u64,
    /// Abort uploads that are still in progress at the freeze: they cannot be moved
    #[arg(long)]
    abort_uploads: bool,
    /// Do not look at tags, locks and metadata of each object again in the freeze: nobody has changed them since the last pass
    #[arg(long)]
    tags_unchanged: bool,
    /// The target is not empty: what is in it beyond the source is deleted
    #[arg(long)]
    overwrite: bool,
    /// Only the passes before the freeze
    #[arg(long, conflicts_with = "unfreeze")]
    prepare: bool,
    /// Only check and count
    #[arg(long)]
    dry_run: bool,
    /// Only end the freeze that a migration left behind
    #[arg(long)]
    unfreeze: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Migrates.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    for bucket in [&arguments.from, &arguments.to] {
        if !bucket.key.is_empty() {
            return Err(Failure::usage(format!("{bucket}: a bucket is s3://BUCKET")));
        }
    }
    if arguments.from == arguments.to {
        return Err(Failure::usage("--from and --to are one bucket"));
    }
    let (client, admin) = (arguments.server.client()?, arguments.admin.open(arguments.server.data())?);
    let freeze = Cell::new(Freeze::Nobodys);
    let migration = Migration { arguments, client: &client, admin: &admin, out, freeze: &freeze };
    let done = client.run_until_signal(async {
        match arguments.unfreeze {
            true => migration.unfreeze().await,
            false => migration.run().await,
        }
    });
    let Err(failure) = done else { return Ok(()) };
    let from = &*arguments.from.bucket;
    // Nobody waits behind a migration that is over.
    let left = match freeze.get() {
        Freeze::Nobodys => false,
        Freeze::Own => client.run(admin::freeze(&admin, from, false)).is_err(),
        Freeze::PastSwitch => true,
    };
    if !left {
        return Err(failure);
    }
    let advice = failure.advice().map_or_else(String::new, |advice| format!("{advice}; "));
    Err(Failure::new(failure.exit(), format!("{}; and s3://{from} is still frozen", failure.what()))
        .hint(format!("{advice}run the command again, or end the freeze with --unfreeze")))
}

/// Whose the freeze of the source is, when the migration ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freeze {
    /// None, or not of this migration.
    Nobodys,
    /// Its own, this time's or that of a run that was killed: the bucket may be given back to its clients.
    Own,
    /// The names may have been exchanged. What ends the freeze must wait for every node then, so it is named and left.
    PastSwitch,
}

struct Migration<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    admin: &'a Admin,
    out: Output,
    freeze: &'a Cell<Freeze>,
}

impl Migration<'_> {
    async fn run(&self) -> Outcome<()> {
        let arguments = self.arguments;
        let backend = &self.client.backend;
        let (from, to) = (&*arguments.from.bucket, &*arguments.to.bucket);
        let (source, target) = (admin::bucket(self.admin, from).await?, admin::bucket(self.admin, to).await?);
        let default = || PathBuf::from(format!("sealgate-migrate-{from}"));
        let path = arguments.state.clone().unwrap_or_else(default);
        // A dry run leaves nothing behind.
        let state = (!arguments.dry_run || path.exists()).then(|| State::open(&path)).transpose()?;
        let known = state.as_ref().map(State::about).transpose()?.flatten();
        if let Some(known) = &known
            && (&known.to_id, &known.from_id) == (&source.id, &target.id)
        {
            if arguments.dry_run {
                return Err(Failure::usage(format!(
                    "s3://{from} and s3://{to}: have exchanged their names already"
                ))
                .hint("run the command without --dry-run: it ends the freeze if there still is one"));
            }
            if source.frozen {
                self.freeze.set(Freeze::PastSwitch);
            }
            return self.end().await;
        }
        let goes_on = known.as_ref().is_some_and(|known| known.is_of(&source, &target) && known.pass > 0);
        if source.frozen && goes_on && !arguments.dry_run {
            self.freeze.set(Freeze::Own);
        }
        check(&source, &target, known.as_ref())?;
        let versioned = self.versions(backend, from, to).await?;
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let copier = Copier { backend, from, to, versioned, bar };
        let open = uploads::open(backend, from).await?;
        if open.found > 0 {
            self.say(&format!(
                "{open} uploads are in progress in s3://{from}; they cannot be moved, and must end before the switch"
            ));
        }
        if !arguments.prepare {
            self.say(UNLISTED);
        }
        let empty = match known {
            Some(_) => true,
            None => is_empty(backend, to, versioned).await?,
        };
        if !empty && !arguments.overwrite {
            return Err(Failure::new(Exit::Failure, format!("s3://{to}: is not empty"))
                .hint("name an empty bucket; or, if what is in it is of an earlier run, give --overwrite: what is the same stays, everything else in it is deleted"));
        }
        let Some(state) = state.filter(|_| !arguments.dry_run) else {
            return self.count(&copier, open.found).await;
        };
        let about = known.unwrap_or(About {
            from_id: source.id.clone(),
            to_id: target.id.clone(),
            pass: 0,
            adopting: !empty,
        });
        state.set_about(&about)?;
        let mut passes =
            Passes { state: &state, about, copier: &copier, jobs: arguments.jobs.into(), out: self.out };
        if passes.about.pass == 0 && !empty && versioned {
            passes.next(false, false).clear_unknown().await?;
        }
        if source.frozen && arguments.prepare {
            self.unfreeze().await?;
        }
        // One that was killed in its freeze goes on there: clients are waiting.
        if !source.frozen || arguments.prepare {
            passes.until_short(arguments.passes).await?;
        }
        if arguments.prepare {
            return Ok(());
        }
        self.switch(&mut passes, &source).await
    }

    /// Whether versions are to be copied: both buckets must agree on it.
    async fn versions(&self, backend: &S3Backend, from: &str, to: &str) -> Outcome<bool> {
        let (one, other) = (versioning(backend, from).await?, versioning(backend, to).await?);
        match (one, other) {
            (Versioning::Never, Versioning::Never) => Ok(false),
            (Versioning::Enabled | Versioning::Suspended, Versioning::Enabled) => Ok(true),
            (Versioning::Never, _) => Err(Failure::usage(format!(
                "s3://{to}: has versioning, and s3://{from} never had: overwriting would leave versions that never were"
            ))
            .hint("name a bucket without versioning, and enable it after the switch")),
            _ => Err(Failure::usage(format!("s3://{from}: has versions, and s3://{to} takes none"))
                .hint("enable versioning on the target first (PutBucketVersioning)")),
        }
    }

    async fn count(&self, copier: &Copier<'_>, uploads: usize) -> Outcome<()> {
        let mut source = listing::Walk::new(copier.backend, copier.from, copier.versioned);
        let mut counts = Counts::default();
        while let Some(groups) = source.page().await? {
            for group in groups {
                counts.keys += 1;
                counts.versions += group.versions.len() as u64;
                counts.bytes += group.versions.iter().map(|version| version.size).sum::<u64>();
            }
        }
        let text =
            format!("{} keys, {} versions, {} bytes to copy", counts.keys, counts.versions, counts.bytes);
        let value = json!({"keys": counts.keys, "versions": counts.versions, "bytes": counts.bytes, "uploads": uploads});
        self.out.line(&text, &value)
    }

    fn say(&self, text: &str) {
        self.out.note(text, &json!({ "note": text }));
    }
}

/// The passes of a migration, one after the other.
struct Passes<'a> {
    state: &'a State,
    about: About,
    copier: &'a Copier<'a>,
    jobs: usize,
    out: Output,
}

impl Passes<'_> {
    /// Until nothing differs, or a pass has hardly less to do than the one before: then clients write as fast as it copies.
    async fn until_short(&mut self, most: u32) -> Outcome<()> {
        let mut before = u64::MAX;
        for _ in 0..most {
            let work = self.run(false, false).await?.work();
            if work == 0 || work.saturating_mul(2) > before {
                break;
            }
            before = work;
        }
        Ok(())
    }

    async fn run(&mut self, frozen: bool, deep: bool) -> Outcome<Counts> {
        self.about.pass += 1;
        self.state.set_about(&self.about)?;
        let began = Instant::now();
        let counts = self.next(frozen, deep).run().await?;
        let text = format!(
            "pass {}{}: {} keys, {} bytes; copied {}, deleted {}, to do again {}; {:.1} s",
            self.about.pass,
            if frozen { " (frozen)" } else { "" },
            counts.keys,
            counts.bytes,
            counts.copied,
            counts.deleted,
            counts.changed + counts.repaired,
            began.elapsed().as_secs_f64()
        );
        self.out.line(&text, &json!({"pass": self.about.pass, "frozen": frozen, "counts": counts}))?;
        Ok(counts)
    }

    fn next(&self, frozen: bool, deep: bool) -> Pass<'_> {
        let Self { state, copier, jobs, .. } = *self;
        Pass { state, copier, number: self.about.pass, frozen, deep, adopting: self.about.adopting, jobs }
    }
}

fn check(source: &Bucket, target: &Bucket, known: Option<&About>) -> Outcome<()> {
    let refused = |what: String| Err(Failure::usage(what));
    for bucket in [source, target] {
        if bucket.state != "active" {
            return refused(format!("s3://{}: is {}", bucket.name, bucket.state));
        }
    }
    if source.tenant != target.tenant || source.region != target.region {
        return refused(format!(
            "s3://{} and s3://{}: are not of one tenant and region",
            source.name, target.name
        ));
    }
    match known {
        Some(known) if !known.is_of(source, target) => {
            Err(Failure::usage("--state: belongs to a migration of two other buckets")
                .hint("name another directory"))
        }
        _ if target.frozen => Err(Failure::usage(format!("s3://{}: is frozen", target.name))
            .hint("if the two have exchanged their names already, end the freeze with --unfreeze")),
        _ if source.frozen && known.is_none_or(|known| known.pass == 0) => {
            Err(Failure::usage(format!("s3://{}: is frozen, and not by this migration", source.name))
                .hint("end the freeze with --unfreeze"))
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Versioning {
    Never,
    Suspended,
    Enabled,
}

async fn versioning(backend: &S3Backend, bucket: &str) -> Outcome<Versioning> {
    let asked = || Forward {
        method: Method::GET,
        bucket: bucket.to_owned(),
        key: None,
        query: vec![("versioning".to_owned(), String::new())],
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    match persist(async || backend.forward(asked()).await).await {
        Ok(told) => {
            let text = String::from_utf8_lossy(&told.body);
            Ok(if text.contains("<Status>Enabled<") {
                Versioning::Enabled
            } else if text.contains("<Status>Suspended<") {
                Versioning::Suspended
            } else {
                Versioning::Never
            })
        }
        Err(BackendError::S3 { code, .. }) if code == "NotImplemented" => Ok(Versioning::Never),
        Err(error) => Err(Failure::s3(&format!("s3://{bucket}"), &error)),
    }
}

async fn is_empty(backend: &S3Backend, bucket: &str, versioned: bool) -> Outcome<bool> {
    Ok(listing::Walk::new(backend, bucket, versioned).first().await?.is_none())
}

/// How long between two looks at what cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
