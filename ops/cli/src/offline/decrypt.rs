//! `sealgate decrypt`: one object, from whatever is left of it.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{KeyArguments, PlaceArguments};
use super::object::{self, Proof};
use super::{describe, object::ENVELOPE};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;
use crate::target::Target;

/// Arguments of `sealgate decrypt`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    keys: KeyArguments,
    /// Where the plaintext goes: a file, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Use the body's recovery block: for objects that lost their envelope or their name
    #[arg(long)]
    without_envelope: bool,
}

/// Decrypts an object; a file appears only when everything was proved.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let (source, key) = arguments.place.open()?;
    if key.is_empty() && arguments.place.body.is_none() {
        return Err(
            Failure::usage("names a bucket, not an object").hint("give s3://BUCKET/KEY, or --key KEY")
        );
    }
    let keys = arguments
        .keys
        .keys(arguments.place.data.as_deref(), source.as_ref())?
        .with_buckets(arguments.place.beside_body());
    let found = source.find(&key)?;
    let bare = arguments.place.body.is_some() && !found.metadata.contains_key(ENVELOPE);
    let proof = if arguments.without_envelope || bare { Proof::Recovery } else { Proof::Envelope };
    let opened = object::open(source.as_ref(), &found, &keys, proof)?;
    let interrupt = Interrupt::watch()?;
    let mut target = Target::open(&arguments.output)?;
    let (name, is_stdout) = (target.name(), target.is_stdout());
    let bar = progress::bar(opened.plaintext_len());
    let copied = object::copy(source.as_ref(), &found, &opened, &mut target, |bytes| {
        bar.inc(bytes);
        interrupt.check()
    });
    bar.finish_and_clear();
    if let Err(failure) = copied {
        let fate = if is_stdout {
            "what was printed is genuine but incomplete: do not use it as the whole"
        } else {
            "nothing was written to the output"
        };
        return Err(failure.hint(fate));
    }
    target.commit()?;
    let described = describe::opened(&found, &opened, &keys);
    if is_stdout {
        if out.is_json() {
            out.note("", &described);
        }
        return Ok(());
    }
    if !out.is_json() {
        out.note(&format!("wrote {name}; every byte was proved"), &described);
    }
    out.fields(&described)
}
