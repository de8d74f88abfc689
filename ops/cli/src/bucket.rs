//! `sealgate bucket`: buckets into the registry that are there already, and out of it without being deleted.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::StatusCode;
use sealgate_envelope::{BucketId, RecoveryCard};
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArguments};
use crate::failure::{Exit, Failure, Outcome};
use crate::offline::arguments::read_card;
use crate::output::{Output, printable};

/// What to do with a bucket.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Take over a bucket of the backend: as a plain one, or one of a known logical id (a replica, a restore).
    Adopt(Box<Adopt>),
    /// Take a bucket out of the registry; nothing in it changes.
    Release(Release),
}

/// Arguments of `sealgate bucket adopt`.
#[derive(Args, Debug)]
pub struct Adopt {
    /// The bucket's name for clients
    name: String,
    /// Its name on the backend [default: NAME]
    #[arg(long, value_name = "BUCKET")]
    backend_bucket: Option<String>,
    /// The backend, as the control plane's configuration names it [default: that of new buckets]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The region that clients see [default: the first one]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The tenant: whose it becomes, or the name for one that the new store does not know yet
    #[arg(long, value_name = "NAME", required_unless_present = "recovery_card")]
    tenant: Option<String>,
    /// It never was a gateway's: its objects are, and stay, plain
    #[arg(long, required_unless_present = "recovery_card", conflicts_with_all = ["recovery_card", "id", "kek", "plain_prefix"])]
    plain: bool,
    /// The recovery card that names the bucket
    #[arg(long, value_name = "FILE", requires = "id")]
    recovery_card: Option<PathBuf>,
    /// The logical id that the bucket must carry: from the card
    #[arg(long, value_name = "ID", requires = "recovery_card")]
    id: Option<BucketId>,
    /// The KEK of a tenant that the new store does not know yet [default: the one on the card that has its id]
    #[arg(long, value_name = "REFERENCE", requires = "recovery_card")]
    kek: Option<String>,
    /// A prefix that was plain; may be repeated. Rules are lost with the store
    #[arg(long, value_name = "PREFIX")]
    plain_prefix: Vec<String>,
    /// What a policy of the backend demands of every write, the adoption's own among them: AES256 or aws:kms
    #[arg(long, value_name = "ALGORITHM")]
    backend_sse: Option<String>,
    /// The key of the backend's KMS that goes with aws:kms
    #[arg(long, value_name = "KEY", requires = "backend_sse")]
    backend_sse_key: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `sealgate bucket release`.
#[derive(Args, Debug)]
pub struct Release {
    /// The bucket's name for clients
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Which control plane.
#[derive(Args, Debug)]
pub struct Place {
    #[command(flatten)]
    admin: AdminArguments,
    /// The directory of a `sealgate dev` that runs: takes URL and token from there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The way to it; connects to nothing yet.
    ///
    /// # Errors
    /// When URL or token are missing, or cannot be read.
    pub fn open(&self) -> Outcome<Admin> {
        self.admin.open(self.data.as_deref())
    }
}

/// Runs one of the commands.
pub fn run(command: &Command, out: Output) -> Outcome<()> {
    match command {
        Command::Adopt(arguments) => adopt(arguments, out),
        Command::Release(arguments) => release(arguments, out),
    }
}

fn adopt(arguments: &Adopt, out: Output) -> Outcome<()> {
    let admin = arguments.place.open()?;
    let mut adopt = json!({
        "backend_bucket": arguments.backend_bucket.as_deref().unwrap_or(&arguments.name),
        "backend": arguments.backend.clone().unwrap_or_default(),
        "plain": arguments.plain,
    });
    if let Some(algorithm) = &arguments.backend_sse {
        adopt["backend_sse"] = json!({ "algorithm": algorithm, "kms_key_id": arguments.backend_sse_key });
    }
    let tenant = match (&arguments.recovery_card, arguments.id) {
        (Some(path), Some(id)) => {
            let card = read_card(path)?;
            let (tenant, card) = of_bucket(&card, id)?;
            adopt["id"] = json!(id.to_string());
            adopt["recovery_card"] = json!(card.to_string());
            let rules = arguments.plain_prefix.iter().map(|prefix| json!({"prefix": prefix, "plain": true}));
            adopt["rules"] = rules.collect();
            known_tenant(&admin, arguments, &tenant, &card)?
        }
        _ => arguments.tenant.clone().unwrap_or_default(),
    };
    let body = json!({
        "name": arguments.name, "tenant": tenant, "region": arguments.region.clone().unwrap_or_default(), "adopt": adopt,
    });
    let (status, bucket) = admin.call("POST", "/v1/buckets", Some(&body))?;
    if status == StatusCode::ACCEPTED {
        return Err(Failure::new(
            Exit::Unavailable,
            "no node has taken the bucket over yet; the intent stays",
        )
        .hint("GET /v1/buckets shows what becomes of it; DELETE /v1/buckets/NAME?abort=true takes it back"));
    }
    print(bucket, out)
}

/// A bucket with its recovery card, which is lines of its own: to be kept.
fn print(mut bucket: Value, out: Output) -> Outcome<()> {
    if out.is_json() {
        return out.fields(&bucket);
    }
    let card = bucket["recovery_card"].take();
    out.fields(&bucket)?;
    show_card(card.as_str().unwrap_or_default(), out)
}

/// Tells people what to do with a recovery card, and shows it.
///
/// # Errors
/// When stdout cannot be written.
pub fn show_card(card: &str, out: Output) -> Outcome<()> {
    if card.is_empty() {
        return Ok(());
    }
    eprintln!("keep the card below, apart from the control plane: without it the offline tools open nothing");
    out.line(&printable(card.trim_end()), &Value::Null)
}

/// The recovery card of one bucket.
///
/// # Errors
/// What the control plane says is wrong.
pub fn card_of(admin: &Admin, bucket: &str) -> Outcome<String> {
    let (_, answer) = admin.call("GET", &format!("/v1/buckets/{bucket}/recovery-card"), None)?;
    Ok(answer["recovery_card"].as_str().unwrap_or_default().to_owned())
}

/// The tenant of a bucket on a card, and of the card what is that tenant's.
fn of_bucket(card: &RecoveryCard, id: BucketId) -> Outcome<(String, RecoveryCard)> {
    let Some(entry) = card.buckets().iter().find(|entry| entry.bucket == id) else {
        let known = card.buckets().iter().map(|entry| format!("{} ({})", entry.bucket, entry.name));
        let known: Vec<_> = known.take(20).collect();
        return Err(Failure::new(
            Exit::Denied,
            format!("the recovery card does not name the logical bucket {id}"),
        )
        .hint(format!("it names {}", known.join(", "))));
    };
    let own = card.buckets().iter().filter(|other| other.tenant == entry.tenant).cloned().collect();
    let narrowed = RecoveryCard::new(own, card.keks().to_vec());
    let narrowed = narrowed.map_err(|error| Failure::usage(format!("the recovery card: {error}")))?;
    Ok((entry.tenant.to_string(), narrowed))
}

/// The name of the tenant that the card means; registered again when the store does not know it.
fn known_tenant(admin: &Admin, arguments: &Adopt, id: &str, card: &RecoveryCard) -> Outcome<String> {
    let (_, tenants) = admin.call("GET", "/v1/tenants", None)?;
    let known = tenants.as_array().into_iter().flatten().find(|tenant| tenant["id"] == id);
    if let Some(name) = known.and_then(|tenant| tenant["name"].as_str()) {
        return match &arguments.tenant {
            Some(wanted) if wanted != name => Err(Failure::usage(format!(
                "the bucket is the tenant {name:?}'s (id {id}), not {wanted:?}'s: keys are bound to the tenant"
            ))),
            _ => Ok(name.to_owned()),
        };
    }
    let name = arguments.tenant.clone().ok_or_else(|| {
        Failure::usage(format!("the control plane does not know the tenant {id}"))
            .hint("give the name that it is to have: --tenant NAME")
    })?;
    let kek = arguments.kek.clone().or_else(|| newest_kek(card, id));
    let kek = kek.ok_or_else(|| {
        Failure::usage(format!("no KEK on the card has the tenant's id {id}"))
            .hint("give the KEK that wrapped its keys: --kek REFERENCE")
    })?;
    admin.call("POST", "/v1/tenants", Some(&json!({"name": name, "id": id, "kek": kek})))?;
    Ok(name)
}

/// The KEK on a card that was made for a tenant: of several, after moves, the one that was made last.
fn newest_kek(card: &RecoveryCard, id: &str) -> Option<String> {
    let own = card.keks().iter().filter_map(|kek| {
        let (_, name) = kek.split_once('/')?;
        let made = name.strip_prefix("tenant-")?.strip_prefix(id)?;
        let generation = if made.is_empty() { 0 } else { made.strip_prefix('-')?.parse::<u64>().ok()? };
        Some((generation, kek.clone()))
    });
    own.max().map(|(_, kek)| kek)
}

fn release(arguments: &Release, out: Output) -> Outcome<()> {
    let path = format!("/v1/buckets/{}/release", arguments.name);
    let (_, mut released) = arguments.place.open()?.call("POST", &path, Some(&json!({})))?;
    if !out.is_json() {
        eprintln!("released; keep the card below: it is what adopts the bucket again");
        let card = released["recovery_card"].take();
        let id = released["id"].as_str().unwrap_or_default();
        let text = format!("{}\n# --id {id}", card.as_str().unwrap_or_default().trim_end());
        return out.line(&text, &Value::Null);
    }
    out.fields(&released)
}
