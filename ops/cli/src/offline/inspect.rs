//! `sealgate inspect`: what can be known without keys. Nothing of it is proved.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_envelope::hidden::{self, HiddenName};
use sealgate_envelope::{Envelope, IkRecord, UploadRecord, size, trailer};
use serde_json::{Map, Value, json};

use super::arguments::{PlaceArguments, read_card};
use super::describe;
use super::keys::MAX_RECORD;
use super::object::{ENVELOPE, METADATA, recovery_block};
use super::source::{Found, Source};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// The largest upload record, in bytes: upload id and key are bounded.
const MAX_UPLOAD_RECORD: u64 = 256 << 10;

/// Arguments of `sealgate inspect`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// An envelope: the value of x-amz-meta-sealgate
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    envelope: Option<String>,
    /// An IK record in a file
    #[arg(long, value_name = "FILE")]
    ik_record: Option<PathBuf>,
    /// An upload record in a file
    #[arg(long, value_name = "FILE")]
    upload_record: Option<PathBuf>,
    /// A hidden key (.sealgate/v1/…) to take apart
    #[arg(long, value_name = "KEY")]
    name: Option<String>,
    /// A recovery card: says whether it admits an IK record
    #[arg(long, value_name = "FILE")]
    recovery_card: Option<PathBuf>,
}

/// Shows what was named.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let mut shown = Map::new();
    if let Some(text) = &arguments.envelope {
        shown.insert(
            "envelope".to_owned(),
            parsed(Envelope::parse_header(text).map(|e| describe::envelope(&e))),
        );
    }
    if let Some(path) = &arguments.ik_record {
        let record = ik_record(&file(path, MAX_RECORD)?, arguments.recovery_card.as_deref())?;
        shown.insert("ik-record".to_owned(), record);
    }
    if let Some(path) = &arguments.upload_record {
        let record = UploadRecord::parse(&file(path, MAX_UPLOAD_RECORD)?);
        shown.insert(
            "upload-record".to_owned(),
            parsed(record.map(|record| describe::upload_record(&record))),
        );
    }
    if let Some(key) = &arguments.name {
        shown.insert("hidden-name".to_owned(), hidden_name(key));
    }
    if shown.is_empty() || arguments.place.body.is_some() || arguments.place.location().is_some() {
        stored(arguments, &mut shown)?;
    }
    let malformed = shown.iter().find_map(|(name, value)| Some((name, value.get("problem")?.as_str()?)));
    let malformed = malformed.map(|(name, problem)| Failure::integrity(name, &problem));
    out.fields(&Value::Object(shown))?;
    malformed.map_or(Ok(()), Err)
}

fn stored(arguments: &Arguments, shown: &mut Map<String, Value>) -> Outcome<()> {
    let (source, key) = arguments.place.open()?;
    if key.is_empty() && arguments.place.body.is_none() {
        return Err(
            Failure::usage("names a bucket, not an object").hint("give s3://BUCKET/KEY, or --key KEY")
        );
    }
    if hidden::is_hidden(key.as_bytes()) {
        shown.insert("hidden-name".to_owned(), hidden_name(&key));
        return hidden_object(source.as_ref(), &key, arguments, shown);
    }
    let found = source.find(&key)?;
    if !found.key.is_empty() {
        shown.insert("key".to_owned(), json!(found.key));
    }
    shown.insert("body".to_owned(), describe::body(&found));
    let envelope = found.metadata.get(ENVELOPE).map(|header| Envelope::parse_header(header));
    if let Some(envelope) = &envelope {
        shown.insert(
            "envelope".to_owned(),
            parsed(envelope.as_ref().map(describe::envelope).map_err(Clone::clone)),
        );
    }
    shown.insert(
        "sealed-metadata-characters".to_owned(),
        json!(found.metadata.get(METADATA).map(String::len)),
    );
    let envelope = envelope.and_then(Result::ok);
    let problems = problems(source.as_ref(), &found, envelope.as_ref(), shown);
    shown.insert("problems".to_owned(), json!(problems));
    if !found.metadata.contains_key(ENVELOPE) && found.size > 0 {
        shown.insert("next".to_owned(), json!(recovering(&arguments.place)));
    }
    shown.insert(
        "note".to_owned(),
        json!("nothing here is proved: `sealgate decrypt` and `sealgate verify` prove it"),
    );
    Ok(())
}

/// The command that recovers a body without its envelope; what is in capitals is the operator's to name.
fn recovering(place: &PlaceArguments) -> String {
    let mut words = vec!["sealgate decrypt --without-envelope".to_owned(), place.words()];
    if place.data.is_none() {
        words.push("--recovery-card CARD --keyring KEYRING --key-file KEY-FILE".to_owned());
    }
    if place.body.is_some() && place.data.is_none() {
        words.push("--ik-record RECORDS".to_owned());
    }
    words.push("-o OUTPUT".to_owned());
    words.join(" ")
}

/// Looks at the trailer, and says what does not fit together.
fn problems(
    source: &dyn Source,
    found: &Found,
    envelope: Option<&Envelope>,
    shown: &mut Map<String, Value>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if envelope.is_none() {
        problems.push(
            "envelope lost: whoever moved this object left its metadata behind, so the gateway answers 422. Copy it again with \
             its metadata; or recover the body with `sealgate decrypt --without-envelope`, the IK record named below, the \
             recovery card and the keyring: name and metadata are not proved then"
                .to_owned(),
        );
    }
    if let Some(envelope) = envelope
        && envelope.has_metadata() != found.metadata.contains_key(METADATA)
    {
        problems.push("sealed metadata and the envelope's flag for it disagree".to_owned());
    }
    if found.size == 0 {
        return problems;
    }
    match recovery_block(source, found) {
        Err(failure) => problems.push(failure.what().to_owned()),
        Ok((block, suffix)) => {
            shown.insert("recovery-block".to_owned(), describe::recovery(&block));
            if size::plaintext_size(found.size).is_some() {
                match trailer::split(&suffix) {
                    Ok((_, bytes)) => drop(shown.insert("trailer-bytes".to_owned(), json!(bytes.len()))),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            if let Some(envelope) = envelope
                && (envelope.kind(), envelope.suite(), envelope.object_id())
                    != (block.kind(), block.suite(), block.object_id())
            {
                problems.push("envelope and body belong to different objects".to_owned());
            }
        }
    }
    if let Some(len) = envelope.and_then(Envelope::plaintext_len)
        && size::plaintext_size(found.size) != Some(len)
    {
        problems.push(format!("the envelope says {len} plaintext bytes, the body's size does not"));
    }
    problems
}

fn hidden_object(
    source: &dyn Source,
    key: &str,
    arguments: &Arguments,
    shown: &mut Map<String, Value>,
) -> Outcome<()> {
    match HiddenName::parse(key) {
        Ok(HiddenName::Bucket) => {
            let id = hidden::parse_bucket_marker(&source.small(key, MAX_RECORD)?);
            shown.insert("logical-bucket".to_owned(), parsed(id.map(|id| json!(id.to_string()))));
        }
        Ok(HiddenName::IkRecord { .. }) => {
            let bytes = source.small(key, MAX_RECORD)?;
            shown.insert("ik-record".to_owned(), ik_record(&bytes, arguments.recovery_card.as_deref())?);
        }
        Ok(HiddenName::UploadRecord(_)) => {
            let record = UploadRecord::parse(&source.small(key, MAX_UPLOAD_RECORD)?);
            shown.insert(
                "upload-record".to_owned(),
                parsed(record.map(|record| describe::upload_record(&record))),
            );
        }
        Ok(HiddenName::Note(_) | HiddenName::Stash { .. } | HiddenName::Gone { .. }) | Err(_) => {
            shown.insert("stored-bytes".to_owned(), json!(source.find(key)?.size));
        }
    }
    Ok(())
}

fn ik_record(bytes: &[u8], card: Option<&Path>) -> Outcome<Value> {
    let record = match IkRecord::parse(bytes) {
        Ok(record) => record,
        Err(error) => return Ok(json!({"problem": error.to_string()})),
    };
    let mut shown = describe::ik_record(&record);
    if let Ok(name) = hidden::ik_record_name(&record) {
        shown["name"] = json!(name);
    }
    if let Some(card) = card {
        let admitted = read_card(card)?.admit(&record.context);
        shown["on-card"] = json!(admitted.map_or_else(|error| format!("no: {error}"), |()| "yes".to_owned()));
    }
    Ok(shown)
}

fn hidden_name(key: &str) -> Value {
    match HiddenName::parse(key) {
        Err(error) => json!({"problem": error.to_string()}),
        Ok(HiddenName::Bucket) => json!({"is": "bucket marker"}),
        Ok(HiddenName::IkRecord { ik, digest }) => {
            json!({"is": "IK record", "ik-id": ik.to_string(), "digest": hex::encode(digest)})
        }
        Ok(HiddenName::UploadRecord(record)) => json!({"is": "upload record", "upload": record.to_string()}),
        Ok(HiddenName::Note(note)) => json!({
            "is": "note of an uploaded part", "upload": note.record().to_string(), "part": note.part(),
            "backend-etag": note.backend_etag(),
        }),
        Ok(HiddenName::Stash { record, part, salt }) => json!({
            "is": "stash of a part", "upload": record.to_string(), "part": part, "salt": hex::encode(salt),
        }),
        Ok(HiddenName::Gone { record, at }) => json!({
            "is": "mark of a sweep that found the upload gone", "upload": record.to_string(),
            "seen": describe::seconds(at),
        }),
    }
}

fn parsed(result: Result<Value, sealgate_envelope::Error>) -> Value {
    result.unwrap_or_else(|error| json!({"problem": error.to_string()}))
}

fn file(path: &Path, limit: u64) -> Outcome<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::file(path, &error))?;
    Ok(bytes)
}
