//! `sealgate admin kek`, `key`, `rewrap`, `tenant`: the life of keys, as an operator steers it through the admin API.

use std::time::Duration;

use clap::{Args, Subcommand};
use sealgate_envelope::IkId;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::bucket::Place;
use crate::envelopes::{self, Rewrap};
use crate::failure::{Exit, Failure, Outcome};
use crate::kms;
use crate::output::{Output, one_line};

/// How often the work is asked after.
const LOOK: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show the KMS providers: whether each works, its addresses and breakers, what waits, what failed last.
    ///
    /// Ends with 6 when one of them does not work.
    Kms(kms::Kms),
    /// A tenant's KEK in the KMS: shown, rotated, replaced, destroyed.
    #[command(subcommand)]
    Kek(Kek),
    /// A bucket's intermediate keys: listed, rotated, retired, taken back.
    #[command(subcommand)]
    Key(Key),
    /// Objects under keys that are retired or compromised: their envelopes wrapped anew, or they encrypted anew.
    #[command(subcommand)]
    Rewrap(Rewrap),
    /// A tenant as a whole: shown and changed; its keys disabled, enabled, shredded.
    #[command(subcommand)]
    Tenant(Tenant),
}

/// Commands on a tenant's KEK.
#[derive(Subcommand, Debug)]
pub enum Kek {
    /// Show which KEK versions key records name, what was seen of their copies, and the work on them.
    Show(OfTenant),
    /// Make a new version of the KEK, and wrap all of the tenant's keys anew under it.
    Rotate(Work),
    /// Wrap all keys anew under the newest version: where the KMS rotates by itself.
    Rewrap(Work),
    /// Change over to another KEK, here or in another KMS, and wrap all keys anew under it. The tenant is in use all the while.
    Move(Move),
    /// Destroy a KEK of old that nothing needs any more.
    Destroy(Destroy),
}

/// A tenant.
#[derive(Args, Debug)]
pub struct OfTenant {
    /// The tenant's name
    tenant: String,
    #[command(flatten)]
    place: Place,
}

/// Work on a tenant's keys.
#[derive(Args, Debug)]
pub struct Work {
    /// The tenant's name
    tenant: String,
    /// Records wrapped anew a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: Option<u32>,
    /// Wait until every copy was seen in its bucket
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `sealgate admin kek move`.
#[derive(Args, Debug)]
pub struct Move {
    #[command(flatten)]
    work: Work,
    /// A KEK that is there already, and no other tenant's
    #[arg(long, value_name = "REFERENCE", required_unless_present = "to_kms", conflicts_with = "to_kms")]
    to_kek: Option<String>,
    /// The KMS, by its name in the configuration, that makes one
    #[arg(long, value_name = "NAME")]
    to_kms: Option<String>,
}

/// Arguments of `sealgate admin kek destroy`.
#[derive(Args, Debug)]
pub struct Destroy {
    /// The tenant's name
    tenant: String,
    /// The KEK's reference
    kek: String,
    #[command(flatten)]
    place: Place,
}

/// Commands on a bucket's intermediate keys.
#[derive(Subcommand, Debug)]
pub enum Key {
    /// List them with their states.
    List(OfBucket),
    /// Have the next write make another.
    Rotate(OfBucket),
    /// Refuse one for good, since nothing online is sealed under it any more.
    Retire(Judge),
    /// Refuse some at once, on every node: they count as disclosed.
    Compromised(Judge),
    /// Allow some for reading again.
    Reinstate(Judge),
}

/// A bucket.
#[derive(Args, Debug)]
pub struct OfBucket {
    /// The bucket's name for clients
    bucket: String,
    #[command(flatten)]
    place: Place,
}

/// A word on some keys.
#[derive(Args, Debug)]
pub struct Judge {
    /// The bucket's name for clients
    bucket: String,
    /// The keys' ids
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<IkId>,
    /// Also where something speaks against it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

/// Commands on a tenant.
#[derive(Subcommand, Debug)]
pub enum Tenant {
    /// Show what it is set to.
    Show(OfTenant),
    /// Give it another name, or its keys another unproved life.
    Set(Set),
    /// Cut its keys off on every node; `enable` gives them back.
    Disable(OfTenant),
    /// Give its keys back.
    Enable(OfTenant),
    /// Make all of its data unreadable, for good: cut its keys off, and destroy every KEK that ever wrapped one.
    Shred(Shred),
    /// Show how far a shredding is.
    ShredReport(OfTenant),
}

/// Arguments of `sealgate admin tenant set`.
#[derive(Args, Debug)]
pub struct Set {
    /// The tenant's name
    tenant: String,
    /// Its name from now on
    #[arg(long, value_name = "NAME", required_unless_present = "unproved_life")]
    name: Option<String>,
    /// How long its keys go on beyond their hour when the KMS cannot be reached, 0 to 604800
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=604_800))]
    unproved_life: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `sealgate admin tenant shred`.
#[derive(Args, Debug)]
pub struct Shred {
    /// The tenant's name
    tenant: String,
    /// Its name once more
    #[arg(long, value_name = "TENANT")]
    confirm: String,
    #[command(flatten)]
    place: Place,
}

/// Runs one of the commands.
pub fn run(command: &Command, out: Output) -> Outcome<()> {
    match command {
        Command::Kms(arguments) => kms::run(arguments, out),
        Command::Kek(command) => kek(command, out),
        Command::Key(command) => key(command, out),
        Command::Rewrap(command) => envelopes::run(command, out),
        Command::Tenant(command) => tenant(command, out),
    }
}

fn kek(command: &Kek, out: Output) -> Outcome<()> {
    match command {
        Kek::Show(OfTenant { tenant, place }) => {
            let (_, report) = place.open()?.call("GET", &path(tenant, "kek"), None)?;
            out.fields(&report)
        }
        Kek::Rotate(work) => begin(work, "POST", "kek/rotate", json!({}), out),
        Kek::Rewrap(work) => begin(work, "POST", "kek/rewrap", json!({}), out),
        Kek::Move(Move { work, to_kek, to_kms }) => {
            let to = match (to_kek, to_kms) {
                (Some(kek), _) => json!({ "kek": kek }),
                (None, kms) => json!({ "kms": kms }),
            };
            begin(work, "PUT", "kek", to, out)
        }
        Kek::Destroy(Destroy { tenant, kek, place }) => {
            let body = json!({ "kek": kek });
            let (_, gone) = place.open()?.call("POST", &path(tenant, "kek/destroy"), Some(&body))?;
            out.fields(&gone)
        }
    }
}

fn begin(work: &Work, method: &str, what: &str, mut body: Value, out: Output) -> Outcome<()> {
    if let Some(rate) = work.rate {
        body["rate"] = json!(rate);
    }
    let admin = work.place.open()?;
    let (_, begun) = admin.call(method, &path(&work.tenant, what), Some(&body))?;
    let report = if work.wait { wait(&admin, &work.tenant, &begun["generation"])? } else { begun };
    out.fields(&report)
}

/// Waits until the work of a generation has ended; its progress goes to stderr.
fn wait(admin: &Admin, tenant: &str, generation: &Value) -> Outcome<Value> {
    let mut told = String::new();
    loop {
        let (_, report) = admin.call("GET", &path(tenant, "kek"), None)?;
        if report["generation"] != *generation {
            return Err(Failure::new(Exit::Failure, "another rotation or move has begun meanwhile")
                .hint("`sealgate admin kek show` shows it"));
        }
        let work = &report["work"];
        if work["state"] == "done" {
            return Ok(report);
        }
        let unseen = report["buckets_unseen"].as_array().map_or(0, Vec::len);
        let text = format!(
            "{}: {} wrapped anew, {} left; {unseen} buckets to be looked at{}",
            work["state"].as_str().unwrap_or("?"),
            work["rewrapped"],
            work["left"],
            work["trouble"].as_str().map(|trouble| format!("; {trouble}")).unwrap_or_default(),
        );
        if text != told {
            eprintln!("{text}");
            told = text;
        }
        std::thread::sleep(LOOK);
    }
}

fn key(command: &Key, out: Output) -> Outcome<()> {
    let (judge, what) = match command {
        Key::List(OfBucket { bucket, place }) => {
            let (_, keys) = place.open()?.call("GET", &format!("/v1/buckets/{bucket}/keys"), None)?;
            if out.is_json() {
                return out.line("", &keys);
            }
            let line = |key: &Value| {
                let text = |field: &str| one_line(key[field].as_str().unwrap_or_default());
                let (ik, state, kek) = (text("ik"), text("state"), text("kek"));
                format!("{ik}  {state:<12}  made {}  under {kek} {}", key["created"], text("kek_version"))
            };
            let lines: Vec<_> = keys.as_array().into_iter().flatten().map(line).collect();
            return out.line(&lines.join("\n"), &Value::Null);
        }
        Key::Rotate(OfBucket { bucket, place }) => {
            let path = format!("/v1/buckets/{bucket}/key/rotate");
            let (_, rotated) = place.open()?.call("POST", &path, Some(&json!({})))?;
            return out.fields(&rotated);
        }
        Key::Retire(judge) => (judge, "retire"),
        Key::Compromised(judge) => (judge, "compromised"),
        Key::Reinstate(judge) => (judge, "reinstate"),
    };
    let admin = judge.place.open()?;
    for ik in &judge.keys {
        let path = format!("/v1/buckets/{}/keys/{ik}/{what}", judge.bucket);
        let (_, told) = admin.call("POST", &path, Some(&json!({ "force": judge.force })))?;
        out.fields(&told)?;
    }
    Ok(())
}

fn tenant(command: &Tenant, out: Output) -> Outcome<()> {
    let (place, method, path, body) = match command {
        Tenant::Show(of) => (&of.place, "GET", format!("/v1/tenants/{}", of.tenant), Value::Null),
        Tenant::Set(Set { tenant, name, unproved_life, place }) => {
            let mut change = json!({});
            if let Some(name) = name {
                change["name"] = json!(name);
            }
            if let Some(seconds) = unproved_life {
                change["unproved_life"] = json!(seconds);
            }
            (place, "PATCH", format!("/v1/tenants/{tenant}"), change)
        }
        Tenant::Disable(of) => (&of.place, "POST", path(&of.tenant, "disable"), json!({})),
        Tenant::Enable(of) => (&of.place, "POST", path(&of.tenant, "enable"), json!({})),
        Tenant::Shred(Shred { tenant, confirm, place }) => {
            (place, "POST", path(tenant, "shred"), json!({ "confirm": confirm }))
        }
        Tenant::ShredReport(of) => (&of.place, "GET", path(&of.tenant, "shred"), Value::Null),
    };
    let body = if body.is_null() { None } else { Some(&body) };
    let (_, told) = place.open()?.call(method, &path, body)?;
    out.fields(&told)
}

fn path(tenant: &str, what: &str) -> String {
    format!("/v1/tenants/{tenant}/{what}")
}
