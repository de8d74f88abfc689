//! What objects and records say, as JSON: one description for people and scripts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{
    ChecksumCode, Envelope, IkRecord, Kind, Metadata, Recovery, Suite, UploadRecord, size,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::keys::Keys;
use super::object::{Opened, Proof};
use super::source::Found;

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Single => "single PUT",
        Kind::Multipart => "multipart upload",
    }
}

fn suite(suite: Suite) -> &'static str {
    match suite {
        Suite::Aes256Gcm => "AES-256-GCM",
        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
    }
}

fn algorithm(code: ChecksumCode) -> &'static str {
    match code {
        ChecksumCode::Crc32 => "CRC32",
        ChecksumCode::Crc32c => "CRC32C",
        ChecksumCode::Crc64Nvme => "CRC64NVME",
        ChecksumCode::Sha1 => "SHA1",
        ChecksumCode::Sha256 => "SHA256",
        ChecksumCode::Md5 => "MD5",
        ChecksumCode::Sha512 => "SHA512",
        ChecksumCode::Xxh64 => "XXH64",
        ChecksumCode::Xxh3 => "XXH3",
        ChecksumCode::Xxh128 => "XXH128",
    }
}

pub fn seconds(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{unix} s after 1970"))
}

/// What an envelope says by itself.
pub fn envelope(envelope: &Envelope) -> Value {
    json!({
        "kind": kind(envelope.kind()),
        "suite": suite(envelope.suite()),
        "object-id": envelope.object_id().to_string(),
        "ik-id": envelope.ik_id().to_string(),
        "plaintext-bytes": envelope.plaintext_len(),
        "has-metadata": envelope.has_metadata(),
    })
}

/// What a recovery block says by itself.
pub fn recovery(block: &Recovery) -> Value {
    json!({
        "kind": kind(block.kind()),
        "suite": suite(block.suite()),
        "object-id": block.object_id().to_string(),
        "ik-id": block.ik_id().to_string(),
    })
}

/// What an IK record says by itself.
pub fn ik_record(record: &IkRecord) -> Value {
    let context = &record.context;
    json!({
        "ik-id": context.ik.to_string(),
        "tenant": context.tenant.to_string(),
        "logical-bucket": context.bucket.to_string(),
        "created": seconds(context.created),
        "kek": context.kek,
        "kek-version": context.kek_version,
        "wrapped-bytes": record.wrapped.len(),
    })
}

/// What an upload record says by itself.
pub fn upload_record(record: &UploadRecord) -> Value {
    let name = record.name();
    let checksum = record.checksum().map(|(code, of)| {
        let of = match of {
            ChecksumType::FullObject => "full object",
            ChecksumType::Composite => "composite",
        };
        format!("{}, {of}", algorithm(code))
    });
    json!({
        "key": String::from_utf8_lossy(&name.key),
        "upload-id": name.upload_id,
        "gateway": name.gateway.to_string(),
        "logical-bucket": name.bucket.to_string(),
        "created": seconds(record.created()),
        "checksum": checksum,
        "envelope": envelope(record.envelope()),
    })
}

/// Sealed metadata, opened.
pub fn metadata(metadata: &Metadata) -> Value {
    let text = |value: &Vec<u8>| Value::String(String::from_utf8_lossy(value).into_owned());
    Value::Object(metadata.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

/// What was proved of an object.
pub fn opened(found: &Found, opened: &Opened, keys: &Keys<'_>) -> Value {
    let checksums: Vec<_> = opened.trailer.iter().flat_map(|trailer| trailer.checksums()).collect();
    let checksums: Vec<_> = checksums
        .iter()
        .map(|full| {
            let composite = if full.composite { " (composite)" } else { "" };
            let value = STANDARD.encode(full.checksum.value());
            format!("{} {value}{composite}", algorithm(full.checksum.code()))
        })
        .collect();
    json!({
        "key": found.key,
        "plaintext-bytes": opened.plaintext_len(),
        "stored-bytes": found.size,
        "proved-by": match opened.proof {
            Proof::Envelope => "envelope",
            Proof::Recovery => "recovery block: key name and metadata are not proved",
        },
        "kind": kind(opened.kind),
        "parts": opened.trailer.as_ref().map(|trailer| trailer.entries().len()).filter(|parts| *parts > 0),
        "suite": suite(opened.keys().suite()),
        "object-id": opened.keys().object_id().to_string(),
        "ik-id": opened.ik.to_string(),
        "tenant": opened.tenant.to_string(),
        "logical-bucket": opened.bucket.to_string(),
        "bucket-on-card": keys.bucket_name(opened.tenant, opened.bucket),
        "checksums": checksums,
        "metadata": opened.metadata.as_ref().map(metadata),
    })
}

/// What a body's size says.
pub fn body(found: &Found) -> Value {
    let plain = size::listed_size(found.key.as_bytes(), found.size);
    json!({
        "stored-bytes": found.size,
        "plaintext-bytes": plain,
        "problem": plain.is_none().then_some("no object has this size: the body is cut, or is not Sealgate's"),
    })
}
