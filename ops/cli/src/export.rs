//! `sealgate export --decrypt`: the way out. Reads a bucket through the gateway, which proves every byte, and writes it in plain:
//! into a directory, or to an S3 server that is no gateway.
//!
//! What was written stands in a manifest, a line an object, added when the object is whole in its place. So an export that was
//! interrupted goes on where it was, and one that is run again brings what has changed. An object that cannot be exported is named,
//! and the others go on; what fails for all of them ends the run: listings, credentials, a server that is away.

mod directory;
mod manifest;
mod server;
mod versions;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, Method};
use sealgate_data_plane::backend::{Backend as _, Forward, ListEntry, ListFrom, ListOptions, ObjectMeta};
use sealgate_data_plane::s3::headers::metadata::SYSTEM;
use sealgate_data_plane::s3::xml::tags::parse_tags;
use serde_json::json;

use self::directory::Directory;
use self::manifest::{Line, Manifest, Of};
use self::server::Server;
use crate::connection::{Client, ConnectionArguments, Settings};
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::output::{Output, one_line};
use crate::transfer::ServerArguments;

/// Objects on their way at a time.
const IN_FLIGHT: usize = 8;
/// So many objects in a row for which nothing can be reached end the run: it would be so for the others too.
const MOST_UNAVAILABLE: u32 = 20;
/// Between two words about how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Arguments of `sealgate export`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What: s3://BUCKET or s3://BUCKET/PREFIX, through the gateway
    from: Location,
    /// Where to: a directory, or s3://BUCKET[/PREFIX] on the server that --to-endpoint-url names
    to: String,
    /// Yes, what is written is plaintext
    #[arg(long, required = true)]
    decrypt: bool,
    /// The S3 server to write to. Its credentials: SEALGATE_TO_ACCESS_KEY_ID and SEALGATE_TO_SECRET_ACCESS_KEY, or --to-profile
    #[arg(long, value_name = "URL")]
    to_endpoint_url: Option<String>,
    /// The region that requests to it are signed for
    #[arg(long, value_name = "REGION")]
    to_region: Option<String>,
    /// The profile with its credentials in the files that AWS tools share
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,
    /// Certificates (PEM) to trust for it instead of the system's
    #[arg(long, value_name = "FILE")]
    to_ca_bundle: Option<PathBuf>,
    /// Every version and delete marker, to an S3 server whose bucket has versions; else the current ones only
    #[arg(long)]
    all_versions: bool,
    /// Where the manifest lies [default: DIRECTORY/manifest.jsonl; needed for a server]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

/// Where it goes.
enum Target {
    Directory(Directory),
    Server(Box<Server>),
}

/// What an object is beside its bytes.
pub struct About {
    meta: ObjectMeta,
    /// Names and values in the order of the server.
    tags: Vec<(String, String)>,
}

#[derive(Default)]
struct Summary {
    objects: u64,
    bytes: u64,
    there: u64,
    failed: u64,
    damaged: u64,
}

struct Export<'a> {
    client: &'a Client,
    bucket: &'a str,
    target: Target,
    manifest: RefCell<Manifest>,
    summary: RefCell<Summary>,
    /// Objects since the last one for which all could be reached.
    unavailable: Cell<u32>,
    /// When it was last said how far it is.
    told: Cell<Instant>,
    out: Output,
}

/// Exports; a failure when one object was not.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let client = arguments.server.client()?;
    let (target, manifest) = target(arguments)?;
    let manifest = RefCell::new(open(arguments, &manifest)?);
    if let Target::Directory(directory) = &target {
        directory.tidy()?;
    }
    let (summary, unavailable, told) = (RefCell::default(), Cell::new(0), Cell::new(Instant::now()));
    let export = Export {
        client: &client,
        bucket: &arguments.from.bucket,
        target,
        manifest,
        summary,
        unavailable,
        told,
        out,
    };
    let ended = match arguments.all_versions {
        true => client.run_until_signal(export.all_versions(&arguments.from)),
        false => client.run_until_signal(export.all(&arguments.from)),
    };
    export.manifest.borrow_mut().sync()?;
    export.report(ended)
}

fn open(arguments: &Arguments, manifest: &Path) -> Outcome<Manifest> {
    Manifest::open(manifest, &arguments.from.to_string(), &arguments.to, arguments.all_versions)
}

fn target(arguments: &Arguments) -> Outcome<(Target, PathBuf)> {
    if !arguments.to.starts_with("s3://") {
        let root = PathBuf::from(&arguments.to);
        let manifest = arguments.manifest.clone().unwrap_or_else(|| root.join("manifest.jsonl"));
        return Ok((Target::Directory(Directory::open(&root)?), manifest));
    }
    let to: Location =
        arguments.to.parse().map_err(|why| Failure::usage(format!("{}: {why}", arguments.to)))?;
    let manifest = arguments.manifest.clone().ok_or_else(|| {
        Failure::usage("no manifest: what was exported must be written down somewhere")
            .hint("give --manifest FILE")
    })?;
    let endpoint_url = arguments.to_endpoint_url.clone();
    if endpoint_url.is_none() && arguments.to_profile.is_none() {
        return Err(Failure::usage("no server to write to").hint("give --to-endpoint-url URL"));
    }
    let connection = ConnectionArguments {
        endpoint_url,
        region: arguments.to_region.clone(),
        profile: arguments.to_profile.clone(),
        ca_bundle: arguments.to_ca_bundle.clone(),
    };
    let settings = Settings::find_target(&connection)?;
    let (backend, once) = (Client::beside(&settings)?, Client::once(&settings)?);
    Ok((Target::Server(Box::new(Server { backend, once, to })), manifest))
}

impl Export<'_> {
    async fn all(&self, from: &Location) -> Outcome<()> {
        let mut next = ListFrom::Start;
        loop {
            let options =
                ListOptions { prefix: from.key.clone(), delimiter: None, from: next, max_keys: 1000 };
            let page = self.client.backend.list_v2(&from.bucket, options).await;
            let page = page.map_err(|error| Failure::s3(from, &error))?;
            let objects = stream::iter(page.entries).map(|entry| self.one(entry));
            objects.buffer_unordered(IN_FLIGHT).try_for_each(|()| std::future::ready(Ok(()))).await?;
            self.tell();
            match page.next {
                Some(token) => next = ListFrom::Token(token),
                None => return Ok(()),
            }
        }
    }

    /// Says now and then how far it is.
    fn tell(&self) {
        if self.told.get().elapsed() < PROGRESS {
            return;
        }
        self.told.set(Instant::now());
        let Summary { objects, bytes, there, failed, .. } = &*self.summary.borrow();
        self.out.note(
            &format!("{objects} objects ({bytes} bytes) so far, {there} were there, {failed} failed"),
            &json!({"progress": {"objects": objects, "bytes": bytes, "there": there, "failed": failed}}),
        );
    }

    /// One object; an error ends the run.
    async fn one(&self, entry: ListEntry) -> Outcome<()> {
        let key = entry.key.clone();
        self.count(&key, self.export(entry).await)
    }

    /// Counts what became of an object; an error that ends the run comes back.
    fn count(&self, key: &str, exported: Outcome<Option<Line>>) -> Outcome<()> {
        match exported {
            Ok(Some(line)) => {
                self.unavailable.set(0);
                let mut summary = self.summary.borrow_mut();
                summary.objects += 1;
                summary.bytes += line.size;
                self.out.is_json().then(|| self.out.line("", &line.to_json())).transpose().map(drop)
            }
            Ok(None) => {
                self.summary.borrow_mut().there += 1;
                Ok(())
            }
            Err(failure) if failure.is_of_credentials() => Err(failure),
            Err(failure) => {
                let unavailable = failure.exit() == Exit::Unavailable;
                self.unavailable.set(if unavailable { self.unavailable.get() + 1 } else { 0 });
                let mut summary = self.summary.borrow_mut();
                summary.failed += 1;
                summary.damaged += u64::from(failure.exit() == Exit::Integrity);
                let error = failure.exit().word();
                self.out.line(
                    &format!("FAILED {error}: {}", one_line(failure.what())),
                    &json!({"failed": key, "error": error, "message": failure.what(), "help": failure.advice()}),
                )?;
                if self.unavailable.get() >= MOST_UNAVAILABLE { Err(failure) } else { Ok(()) }
            }
        }
    }

    /// Brings an object to its place; nothing when it is there.
    async fn export(&self, entry: ListEntry) -> Outcome<Option<Line>> {
        let from = Location { bucket: self.bucket.to_owned(), key: entry.key };
        let (was_here, same) = match self.manifest.borrow().known(&from.key, &Of::Current) {
            Some(known) => (true, known.is(&entry.etag, entry.last_modified)),
            None => (false, false),
        };
        if same && self.is_there(&from.key, entry.size)? {
            return Ok(None);
        }
        let line = match &self.target {
            Target::Directory(directory) => {
                directory.export(self.client, &from, was_here, &self.manifest).await?
            }
            Target::Server(server) => server.export(self.client, &from, Of::Current).await?,
        };
        self.manifest.borrow_mut().add(&line)?;
        Ok(Some(line))
    }

    /// Whether what the manifest says still holds; on a server it is believed.
    fn is_there(&self, key: &str, size: u64) -> Outcome<bool> {
        match &self.target {
            Target::Directory(directory) => directory.has(key, size),
            Target::Server(_) => Ok(true),
        }
    }

    fn report(self, ended: Outcome<()>) -> Outcome<()> {
        let Summary { objects, bytes, there, failed, damaged } = self.summary.into_inner();
        self.out.line(
            &format!(
                "{objects} objects exported ({bytes} bytes), {there} were there already, {failed} failed"
            ),
            &json!({"objects": objects, "bytes": bytes, "there": there, "failed": failed}),
        )?;
        ended.map_err(|failure| failure.hint("run the same command again: it goes on where it was"))?;
        let exit = if damaged > 0 { Exit::Integrity } else { Exit::Failure };
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(exit, format!("{failed} objects were not exported"))
                .hint("the lines above say why; the same command again tries only those")),
        }
    }
}

/// The tags of an object.
async fn tags(
    client: &Client,
    from: &Location,
    meta: &ObjectMeta,
    of: &Of,
) -> Outcome<Vec<(String, String)>> {
    if !meta.headers.contains_key("x-amz-tagging-count") {
        return Ok(Vec::new());
    }
    let version = of.version_id().map(|id| ("versionId".to_owned(), id.to_owned()));
    let asked = Forward {
        method: Method::GET,
        bucket: from.bucket.clone(),
        key: Some(from.key.clone()),
        query: [("tagging".to_owned(), String::new())].into_iter().chain(version).collect(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let answer = client.backend.forward(asked).await.map_err(|error| Failure::s3(from, &error))?;
    parse_tags(&answer.body)
        .map_err(|_| Failure::new(Exit::Failure, format!("{from}: its tags cannot be read")))
}

impl About {
    /// What is told of an object.
    ///
    /// # Errors
    /// For metadata that is not UTF-8: neither a manifest nor a signed request can carry it as it is.
    fn new(from: &Location, meta: ObjectMeta, tags: Vec<(String, String)>) -> Outcome<Self> {
        let odd = meta.unreadable().next().map(|(name, _)| {
            Failure::new(Exit::Failure, format!("{from}: its {name} is not UTF-8 and cannot be written down"))
                .hint("get the object by itself, or write its metadata anew")
        });
        odd.map_or(Ok(Self { meta, tags }), Err)
    }

    /// The headers that go along.
    fn headers(&self) -> HeaderMap {
        let own = self.meta.headers.iter().filter(|(name, _)| SYSTEM.contains(&name.as_str()));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Its line in the manifest.
    fn line(&self, key: &str, of: Of, sha256: Option<String>) -> Line {
        let headers = self.headers();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Line {
            key: key.to_owned(),
            of,
            size: self.meta.size,
            etag: self.meta.etag.clone(),
            modified: self.meta.last_modified,
            sha256,
            metadata: self.meta.metadata.clone(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            tags: self.tags.clone(),
        }
    }
}
