//! `sealgate ls`: buckets, or the objects of one. Printed page by page, so that a bucket of any size can be listed.

use std::time::SystemTime;

use clap::Args;
use sealgate_data_plane::backend::{Backend as _, ListFrom, ListOptions};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ServerArguments;
use crate::connection::Client;
use crate::failure::{Failure, Outcome};
use crate::location::Location;
use crate::output::{Output, one_line};

/// Arguments of `sealgate ls`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// s3://BUCKET or s3://BUCKET/PREFIX; without it, the buckets
    of: Option<Location>,
    /// All keys below, not only those up to the next /
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Lists.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let client = arguments.server.client()?;
    match &arguments.of {
        None => buckets(&client, out),
        Some(of) => objects(&client, of, arguments.recursive, out),
    }
}

fn buckets(client: &Client, out: Output) -> Outcome<()> {
    let listed = client.run(client.backend.list_buckets());
    for (name, created) in listed.map_err(|error| Failure::s3(&client.endpoint, &error))? {
        let created = time(created);
        out.line(
            &format!("{created}  s3://{}", one_line(&name)),
            &json!({"bucket": name, "created": created}),
        )?;
    }
    Ok(())
}

fn objects(client: &Client, of: &Location, recursive: bool, out: Output) -> Outcome<()> {
    let mut from = ListFrom::Start;
    loop {
        let options = ListOptions {
            prefix: of.key.clone(),
            delimiter: (!recursive).then(|| "/".to_owned()),
            from,
            max_keys: 1000,
        };
        let page = client.run(client.backend.list_v2(&of.bucket, options));
        let page = page.map_err(|error| Failure::s3(of, &error))?;
        for prefix in &page.common_prefixes {
            out.line(&format!("{:>20}  {:>15}  {}", "", "", one_line(prefix)), &json!({"prefix": prefix}))?;
        }
        for entry in page.entries {
            let modified = time(entry.last_modified);
            out.line(
                &format!("{modified:>20}  {:>15}  {}", entry.size, one_line(&entry.key)),
                &json!({"key": entry.key, "size": entry.size, "etag": entry.etag, "modified": modified}),
            )?;
        }
        match page.next {
            Some(token) => from = ListFrom::Token(token),
            None => return Ok(()),
        }
    }
}

fn time(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}
