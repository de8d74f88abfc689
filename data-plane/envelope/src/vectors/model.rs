//! What the files hold. Bytes are lower-case hex.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! model {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }
    )*};
}

/// How a body is put together: literally, as the chunks that belong there, or from another vector's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Piece {
    Hex(String),
    Chunks(Chunks),
    Slice(Slice),
}

model! {
    /// Bytes `from..to` of the plaintext stream SHA-256(u64 0) ‖ SHA-256(u64 1) ‖ …, sealed as all chunks of a part.
    struct Chunks { dek: String, suite: u8, object_id: String, part: u16, salt: String, from: u64, to: u64, }
    /// Bytes `from..to` of the body of the object `of`.
    struct Slice { of: String, from: u64, to: u64, }
    struct Body { size: u64, sha256: String, pieces: Vec<Piece>, }
    struct Place { tenant: String, bucket: String, key: String, ik: String, }
    struct Sum { code: u8, composite: bool, value: String, }
    struct Part { number: u16, size: u64, salt: String, etag: String, checksum: Option<Sum>, }
    struct Object {
        name: String, place: Place, ik_id: String, dek: String, envelope: String, metadata_header: Option<String>, body: Body,
        size: u64, sha256: String, metadata: BTreeMap<String, String>, checksums: Vec<Sum>, parts: Vec<Part>,
    }
    /// Without `envelope` it is read by its recovery block.
    struct RefusedObject {
        stage: String, why: String, place: Place, envelope: Option<String>, metadata_header: Option<String>, body: Body,
    }
    struct Objects { objects: Vec<Object>, refused: Vec<RefusedObject>, }

    /// An object whose body is that of the object `of` in `objects`. By its recovery block it opens at `recovered`, with the IK named there.
    struct CopiedObject {
        name: String, of: String, place: Place, ik_id: String, envelope: String, metadata_header: Option<String>, recovery_ik_id: String,
        recovered: Place,
    }
    /// Without `envelope` it is read by its recovery block.
    struct RefusedCopy {
        stage: String, why: String, of: String, place: Place, envelope: Option<String>, metadata_header: Option<String>,
    }
    struct Copies { copies: Vec<CopiedObject>, refused: Vec<RefusedCopy>, }

    struct Sizes { pairs: Vec<[u64; 2]>, refused: Vec<u64>, }
    struct Etags { pairs: Vec<[String; 2]>, to_backend: Vec<[String; 2]>, in_tables: Vec<[String; 2]>, }
    struct Derivation { key: String, info_label: String, salt: String, info: String, from: String, derived: String, }
    struct Keys { derivations: Vec<Derivation>, }

    struct IkRecord {
        record: String, name: String, tenant: String, bucket: String, ik_id: String, created: u64, kek: String, kek_version: String,
        wrapped: String, context: String, context_text: String,
    }
    struct RefusedBytes { stage: String, why: String, bytes: String, }
    /// `admits`: places of records in `records`.
    struct Card { card: String, admits: Vec<usize>, }
    struct RefusedText { stage: String, why: String, text: String, }
    struct IkRecords {
        records: Vec<IkRecord>, refused: Vec<RefusedBytes>, cards: Vec<Card>, refused_cards: Vec<RefusedText>,
    }

    struct Upload {
        record: String, name: String, tenant: String, ik: String, dek: String, suite: u8, object_id: String, flags: u8, gateway: String,
        bucket: String, created: u64, code: u8, form: u8, upload_id: String, key: String,
    }
    struct RefusedUpload { stage: String, why: String, record: String, tenant: String, ik: String, upload_id: String, }
    struct Note {
        name: String, dek: String, suite: u8, object_id: String, upload_id: String, part: u16, etag: String, salt: String, size: u64,
        checksums: Vec<Sum>,
    }
    struct RefusedNote { stage: String, why: String, name: String, dek: String, suite: u8, object_id: String, upload_id: String, }
    struct Uploads { records: Vec<Upload>, refused: Vec<RefusedUpload>, notes: Vec<Note>, refused_notes: Vec<RefusedNote>, }

    /// `fields`: what the name says, as text.
    struct Name { name: String, kind: String, fields: Vec<String>, }
    struct Names { names: Vec<Name>, refused: Vec<RefusedText>, markers: Vec<[String; 2]>, refused_markers: Vec<RefusedBytes>, }
}
