//! `sealgate put` and `sealgate mb`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use sealgate_data_plane::backend::{Backend as _, PutOptions};
use serde_json::json;

use super::{ServerArguments, upload};
use crate::admin::AdminArguments;
use crate::bucket;
use crate::failure::{Failure, Outcome};
use crate::location::Location;
use crate::output::Output;
use crate::progress;

/// Above this many bytes a file goes up in parts.
const ONE_PUT: u64 = 64 << 20;

/// Arguments of `sealgate put`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file to store
    file: PathBuf,
    /// Where: s3://BUCKET/KEY; a key that ends in / gets the file's name added
    to: Location,
    /// The object's Content-Type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// User metadata; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    server: ServerArguments,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not NAME=VALUE")?;
    let name = name.to_ascii_lowercase();
    http::HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes())
        .map_err(|_| "the name is not made of letters, digits and hyphens")?;
    Ok((name, value.to_owned()))
}

/// Stores a file.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let to = with_name(&arguments.to, &arguments.file)?;
    let about = std::fs::metadata(&arguments.file).map_err(|error| Failure::file(&arguments.file, &error))?;
    if !about.is_file() {
        return Err(Failure::usage(format!("{}: not a regular file", arguments.file.display())));
    }
    let size = about.len();
    let client = arguments.server.client()?;
    let bar = progress::bar(size);
    let source = upload::Source { path: arguments.file.clone().into(), size, bar: bar.clone() };
    let options = options(arguments)?;
    let stored = if size > ONE_PUT {
        upload::in_parts(&client, &to, &source, options)
    } else {
        upload::whole(&client, &to, &source, options)
    };
    bar.finish_and_clear();
    let etag = stored?;
    let text = format!("{} -> {to} ({size} bytes)", arguments.file.display());
    out.line(&text, &json!({"bucket": to.bucket, "key": to.key, "size": size, "etag": etag}))
}

fn with_name(to: &Location, file: &Path) -> Outcome<Location> {
    let mut to = to.clone();
    if to.key.is_empty() || to.key.ends_with('/') {
        let name = file.file_name().and_then(|name| name.to_str());
        to.key.push_str(name.ok_or_else(|| {
            Failure::usage(format!("{}: has no name that could be a key", file.display()))
                .hint("give a whole key")
        })?);
    }
    Ok(to)
}

fn options(arguments: &Arguments) -> Outcome<PutOptions> {
    let mut headers = HeaderMap::new();
    if let Some(text) = &arguments.content_type {
        let value = HeaderValue::from_str(text)
            .map_err(|_| Failure::usage(format!("--content-type {text:?}: not a header value")))?;
        headers.insert(CONTENT_TYPE, value);
    }
    let metadata: BTreeMap<_, _> = arguments.metadata.iter().cloned().collect();
    Ok(PutOptions { metadata, headers, ..PutOptions::default() })
}

/// Arguments of `sealgate mb`.
#[derive(Args, Debug)]
pub struct BucketArguments {
    /// s3://BUCKET
    bucket: Location,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Makes a bucket. An operator, who has the way to the control plane, is shown its recovery card.
pub fn make_bucket(arguments: &BucketArguments, out: Output) -> Outcome<()> {
    let Location { bucket: name, key } = &arguments.bucket;
    if !key.is_empty() {
        return Err(Failure::usage(format!("{}: a bucket is s3://BUCKET", arguments.bucket)));
    }
    let client = arguments.server.client()?;
    let made = client.run(client.backend.create_bucket(name));
    made.map_err(|error| Failure::s3(&arguments.bucket, &error))?;
    let card = match arguments.admin.is_given() || arguments.server.data().is_some() {
        true => {
            let admin = arguments.admin.open(arguments.server.data());
            admin.and_then(|admin| bucket::card_of(&admin, name)).map(Some)
        }
        false => Ok(None),
    };
    // The bucket is made, whatever becomes of its card.
    let card = card.unwrap_or_else(|failure| {
        let text = format!("its recovery card is not shown: {}", failure.what());
        out.note(&text, &json!({"bucket": name, "recovery_card": null, "message": text}));
        None
    });
    out.line(&format!("made s3://{name}"), &json!({"bucket": name, "recovery_card": card}))?;
    match card.filter(|_| !out.is_json()) {
        Some(card) => bucket::show_card(&card, out),
        None => Ok(()),
    }
}
