//! `sealgate verify`: opens every object below a prefix and says which are not what was written.

use clap::Args;
use sealgate_data_plane::backend::fs::offline;
use sealgate_envelope::{IkRecord, hidden};
use serde_json::json;

use super::arguments::{KeyArguments, PlaceArguments};
use super::keys::{Keys, MAX_RECORD};
use super::object::{self, Proof};
use super::source::Source;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, one_line};
use crate::target::Target;

/// Arguments of `sealgate verify`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    keys: KeyArguments,
    /// Only envelopes, metadata and trailers, not the bytes between: fast, finds what is cut or swapped
    #[arg(long)]
    quick: bool,
}

#[derive(Default)]
struct Summary {
    objects: u64,
    bytes: u64,
    ik_records: u64,
    other_hidden: u64,
    failures: u64,
}

/// Verifies; the summary is the result, and a failure when one object failed.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let mut summary = Summary::default();
    if arguments.place.body.is_some() {
        let (source, key) = arguments.place.open()?;
        let keys = arguments
            .keys
            .keys(arguments.place.data.as_deref(), source.as_ref())?
            .with_buckets(arguments.place.beside_body());
        let checked = object(source.as_ref(), &key, &keys, arguments.quick);
        summary.count(&source.name(&key), checked, out)?;
    } else if let Some(location) = arguments.place.location() {
        bucket(arguments, &location.bucket, &location.key, &mut summary, out)?;
    } else if let Some(root) = arguments.place.directory() {
        for name in offline::buckets(&root).map_err(|error| Failure::file(&root, &error))? {
            bucket(arguments, &name, arguments.place.key.as_deref().unwrap_or_default(), &mut summary, out)?;
        }
    } else {
        arguments.place.open()?;
    }
    let objects = summary.objects;
    summary.report(arguments.quick, out)?;
    let prefix = arguments.place.location().map(|location| location.key).or(arguments.place.key.clone());
    match prefix {
        // A mistyped prefix would pass for a sound backup for ever.
        Some(prefix) if objects == 0 && !prefix.is_empty() => {
            Err(Failure::new(Exit::NotFound, format!("no object's key begins with {prefix:?}"))
                .hint("`sealgate ls` shows what is there; without a prefix the whole bucket is verified"))
        }
        _ => Ok(()),
    }
}

fn bucket(
    arguments: &Arguments,
    bucket: &str,
    prefix: &str,
    summary: &mut Summary,
    out: Output,
) -> Outcome<()> {
    let source = arguments.place.bucket(bucket)?;
    let source = source.as_ref();
    let keys = arguments.keys.keys(arguments.place.data.as_deref(), source)?;
    source.list(prefix, &mut |key| match key {
        Err(failure) => summary.count(&source.name(prefix), Err(failure), out),
        Ok(key) if key.starts_with(hidden::IK_PREFIX) => {
            summary.ik_records += 1;
            let checked = ik_record(source, &key, &keys);
            if checked.is_err() { summary.count(&key, checked.map(|()| 0), out) } else { Ok(()) }
        }
        Ok(key) if hidden::is_hidden(key.as_bytes()) => {
            summary.other_hidden += 1;
            Ok(())
        }
        Ok(key) => {
            let checked = object(source, &key, &keys, arguments.quick);
            summary.count(&key, checked, out)
        }
    })
}

/// A record that the card admits opens.
fn ik_record(source: &dyn Source, key: &str, keys: &Keys<'_>) -> Outcome<()> {
    let bytes = source.small(key, MAX_RECORD)?;
    let name = source.name(key);
    let record = IkRecord::parse(&bytes).map_err(|error| Failure::integrity(&name, &error))?;
    if hidden::ik_record_name(&record).ok().as_deref() != Some(key) {
        return Err(Failure::integrity(&name, &"lies under another record's name"));
    }
    keys.find(record.context.ik).map(drop)
}

/// Opens an object whole; gives its plaintext's length.
fn object(source: &dyn Source, key: &str, keys: &Keys<'_>, quick: bool) -> Outcome<u64> {
    let found = source.find(key)?;
    let is_bare = key.is_empty() && found.metadata.is_empty();
    let proof = if is_bare { Proof::Recovery } else { Proof::Envelope };
    let opened = object::open(source, &found, keys, proof)?;
    if !quick {
        object::copy(source, &found, &opened, &mut Target::Nowhere, |_| Ok(()))?;
    }
    Ok(opened.plaintext_len())
}

impl Summary {
    /// Counts an object, and says what is wrong with it. Ends the run where no other object can fare better.
    fn count(&mut self, key: &str, checked: Outcome<u64>, out: Output) -> Outcome<()> {
        self.objects += u64::from(!key.starts_with(hidden::PREFIX));
        match checked {
            Ok(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(failure) if matches!(failure.exit(), Exit::Unavailable | Exit::Usage) => Err(failure),
            Err(failure) => {
                self.failures += 1;
                let (error, what) = (failure.exit().word(), one_line(failure.what()));
                out.line(
                    &format!("FAILED {error}: {what}"),
                    &json!({"failed": key, "error": error, "message": failure.what(), "help": failure.advice()}),
                )
            }
        }
    }

    fn report(self, quick: bool, out: Output) -> Outcome<()> {
        let Self { objects, bytes, ik_records, other_hidden, failures } = self;
        let depth = if quick { "envelopes and trailers only" } else { "every byte" };
        out.line(
            &format!(
                "{objects} objects, {bytes} plaintext bytes, {ik_records} IK records: {failures} failed ({depth}; \
                 {other_hidden} other hidden objects not looked at)"
            ),
            &json!({
                "objects": objects, "plaintext-bytes": bytes, "ik-records": ik_records,
                "other-hidden": other_hidden, "failures": failures, "quick": quick,
            }),
        )?;
        if failures > 0 {
            return Err(Failure::new(Exit::Integrity, format!("{failures} of {objects} objects did not verify"))
                .hint("`sealgate inspect` shows what is left of one; `sealgate decrypt --without-envelope` may recover it"));
        }
        Ok(())
    }
}
