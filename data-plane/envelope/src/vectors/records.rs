//! What lies beside objects: IK records and cards, upload records and notes, names; and what has no bytes of its own:
//! sizes, ETags, derived keys.

use super::make::{BUCKET, IK_ID, KEY, TENANT, ik, secret, sum, the_ik};
use super::model::{
    Card, Derivation, Etags, IkRecord, IkRecords, Keys, Name, Names, Note, RefusedBytes, RefusedNote,
    RefusedText, RefusedUpload, Sizes, Upload, Uploads,
};
use super::objects::checksum;
use super::random::seeded;
use crate::hidden;
use crate::ik_record::{IkContext, IkRecord as Record};
use crate::kdf::{self, Secret};
use crate::size::{CHUNK, MAX_PLAINTEXT, MIN_PART, stored_size};
use crate::upload_record::ChecksumType;
use crate::{
    BucketId, ChecksumCode, GatewayId, IkId, NoteName, ObjectKeys, SALT, Suite, TenantId, UploadName,
    UploadRecord, etag, text,
};
use zeroize::Zeroizing;

const HEX: &str = "0123456789abcdef0123456789abcdef";
const GATEWAY: [u8; 16] = [0xD4; 16];

fn refused_bytes(stage: &str, why: &str, bytes: impl AsRef<[u8]>) -> RefusedBytes {
    RefusedBytes { stage: stage.to_owned(), why: why.to_owned(), bytes: hex::encode(bytes) }
}

fn refused_text(stage: &str, why: &str, text: impl Into<String>) -> RefusedText {
    RefusedText { stage: stage.to_owned(), why: why.to_owned(), text: text.into() }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<[String; 2]> {
    pairs.iter().map(|(a, b)| [(*a).to_owned(), (*b).to_owned()]).collect()
}

pub(super) fn sizes() -> Sizes {
    let c = CHUNK as u64;
    let mut plain = vec![0, 1, 2, c - 1, c, c + 1, 2 * c, 2 * c + 1];
    for steps in [1, 2, 9_998, 9_999, 10_000, 10_001] {
        plain.extend([steps * MIN_PART - 1, steps * MIN_PART, steps * MIN_PART + 1]);
    }
    plain.extend([1 << 40, MAX_PLAINTEXT - 1, MAX_PLAINTEXT]);
    let largest = stored_size(MAX_PLAINTEXT).unwrap();
    let (chunk, step) = (stored_size(c).unwrap(), stored_size(MIN_PART).unwrap());
    let mut refused = vec![
        0,
        1,
        319,
        321,
        348,
        chunk + 1,
        chunk + 28,
        step - 1,
        step - 127,
        largest + 1,
        largest + 29,
        1 << 53,
    ];
    refused.extend((1..=28).map(|short| stored_size(2 * c + 1).unwrap() - short));
    Sizes { pairs: plain.into_iter().map(|p| [p, stored_size(p).unwrap()]).collect(), refused }
}

pub(super) fn etags() -> Etags {
    let upper = HEX.to_uppercase();
    let with = |suffix: &str| format!("{HEX}{suffix}");
    let mut pairs = vec![
        [HEX.to_owned(), with("-0")],
        [upper.clone(), format!("{upper}-0")],
        [with("-0"), with("-00")],
        [with("-000"), with("-0000")],
        [with("-1"), with("-1")],
        [with("-2"), with("-2")],
        [with("-01"), with("-01")],
        [with("-10"), with("-10")],
        [with("-10001"), with("-10001")],
        [with("-"), with("-")],
    ];
    pairs.extend(owned(&[("0x8D4BCC2E4835CD0", "0x8D4BCC2E4835CD0"), ("", ""), ("é", "é")]));
    let in_tables = [HEX.to_owned(), upper, with("-1"), "anything else".to_owned(), String::new()];
    let in_tables = in_tables.map(|tag| [tag.clone(), hex::encode(etag::etag16(&tag))]).to_vec();
    Etags { pairs, to_backend: vec![[HEX.to_owned(), with("-0")]], in_tables }
}

pub(super) fn keys() -> Keys {
    let (object, salt12, salt16) = ([0x0B; 16], [0x5A; SALT], [0x5B; 16]);
    let mut derivations = Vec::new();
    for purpose in 1..=3 {
        derivations.push(("wrap", "ik", salt16.to_vec(), [b"sealgate/v1/wrap", &[purpose][..]].concat()));
    }
    for suite in 1..=2 {
        let bound = [&[suite][..], &object].concat();
        let info = |label: &[u8]| [label, &bound].concat();
        derivations.push((
            "commitment",
            "dek",
            Vec::new(),
            [b"sealgate/v1/commit", &[1][..], &bound].concat(),
        ));
        for part in [0_u16, 1, 10_000] {
            let info = [info(b"sealgate/v1/part"), part.to_be_bytes().to_vec()].concat();
            derivations.push(("chunk", "dek", salt12.to_vec(), info));
        }
        for (key, label) in [
            ("trailer", &b"sealgate/v1/trailer"[..]),
            ("metadata", b"sealgate/v1/meta"),
            ("note", b"sealgate/v1/note"),
        ] {
            derivations.push((key, "dek", salt12.to_vec(), info(label)));
        }
    }
    let derivation = |(key, from, salt, info): (&str, &str, Vec<u8>, Vec<u8>)| {
        let from = secret(from);
        let derived = kdf::derive(&Secret::copy_of(&Zeroizing::new(from)), &salt, &[&info]).unwrap();
        let label = info.split(|byte| *byte < 0x20).next().unwrap_or_default();
        Derivation {
            key: key.to_owned(),
            info_label: String::from_utf8_lossy(label).into_owned(),
            salt: hex::encode(salt),
            info: hex::encode(&info),
            from: hex::encode(from),
            derived: hex::encode(derived.expose()),
        }
    };
    Keys { derivations: derivations.into_iter().map(derivation).collect() }
}

fn context(kek: &str, kek_version: &str) -> IkContext {
    IkContext {
        tenant: TenantId::from_bytes(TENANT),
        bucket: BucketId::from_bytes(BUCKET),
        ik: IkId::from_bytes(IK_ID),
        created: 1_800_000_000,
        kek: kek.to_owned(),
        kek_version: kek_version.to_owned(),
    }
}

pub(super) fn ik_records() -> IkRecords {
    let record =
        |kek: &str, version: &str, wrapped: Vec<u8>| Record { context: context(kek, version), wrapped };
    let all = [
        record("local/tenant-a", "1", vec![7; 81]),
        record("local/tenant-b", "4294967295", vec![7; 81]),
        record("arn:aws:kms:eu-central-1:111122223333:key/1", "", vec![1]),
        record(&"ä".repeat(512), &"v".repeat(1024), vec![9; 8192]),
    ];
    let records = all.iter().map(|record| IkRecord {
        record: hex::encode(record.to_bytes().unwrap()),
        name: hidden::ik_record_name(record).unwrap(),
        tenant: record.context.tenant.to_string(),
        bucket: record.context.bucket.to_string(),
        ik_id: record.context.ik.to_string(),
        created: record.context.created,
        kek: record.context.kek.clone(),
        kek_version: record.context.kek_version.clone(),
        wrapped: hex::encode(&record.wrapped),
        context: hex::encode(record.context().unwrap()),
        context_text: record.context.to_text().unwrap(),
    });
    let good = all[0].to_bytes().unwrap();
    let head = &good[..57];
    let with = |fields: &[&[u8]]| {
        let mut bytes = head.to_vec();
        for field in fields {
            crate::wire::put_lp(&mut bytes, field).unwrap();
        }
        bytes
    };
    let mut version = good.clone();
    version[0] = 2;
    let refused = vec![
        refused_bytes("ik-record", "empty", []),
        refused_bytes("ik-record", "format 2", version),
        refused_bytes("ik-record", "a byte less", &good[..good.len() - 1]),
        refused_bytes("ik-record", "a byte more", [&good[..], &[0]].concat()),
        refused_bytes("ik-record", "no KEK", with(&[b"", b"1", b"w"])),
        refused_bytes("ik-record", "a KEK of 1,025 bytes", with(&[&[b'k'; 1025], b"1", b"w"])),
        refused_bytes("ik-record", "a version of 1,025 bytes", with(&[b"k", &[b'1'; 1025], b"w"])),
        refused_bytes("ik-record", "a KEK that is not UTF-8", with(&[b"\xFF", b"1", b"w"])),
        refused_bytes("ik-record", "no wrapped IK", with(&[b"k", b"1", b""])),
        refused_bytes("ik-record", "a wrapped IK of 8,193 bytes", with(&[b"k", b"1", &[0; 8193]])),
    ];
    let (tenant, bucket) = (hex::encode(TENANT), hex::encode(BUCKET));
    let card = |lines: &[String]| format!("sealgate-recovery-card 1\n{}\n", lines.join("\n"));
    let pair = format!("bucket {tenant} {bucket} photos of a cat");
    let cards = [
        (card(&[pair.clone(), "kek local/tenant-a".to_owned()]), vec![0]),
        (
            card(&[
                "# one".to_owned(),
                String::new(),
                pair.clone(),
                "kek local/tenant-a".to_owned(),
                "kek local/tenant-b".to_owned(),
            ]),
            vec![0, 1],
        ),
        (card(&[format!("bucket {tenant} {bucket}"), "kek local/tenant-b".to_owned()]), vec![1]),
        (card(&[format!("bucket {bucket} {tenant} "), "kek local/tenant-a".to_owned()]), vec![]),
        (card(&[pair.clone(), "kek local/tenant-A".to_owned()]), vec![]),
        (format!("sealgate-recovery-card 1\n{pair}\n"), vec![]),
        ("sealgate-recovery-card 1\n".to_owned(), vec![]),
        (card(&[pair.clone(), "kek local/tenant-a".to_owned()]).replace('\n', "\r\n"), vec![0]),
        (card(&[pair.clone(), "kek local/tenant-a".to_owned()]).trim_end().to_owned(), vec![0]),
    ];
    let refused_cards = vec![
        refused_text("card", "empty", ""),
        refused_text("card", "version 2", "sealgate-recovery-card 2\n"),
        refused_text("card", "a comment first", "# card\nsealgate-recovery-card 1\n"),
        refused_text("card", "another word", card(&["vault x".to_owned()])),
        refused_text("card", "a short id", card(&[format!("bucket {} {bucket} x", &tenant[1..])])),
        refused_text(
            "card",
            "an upper-case id",
            card(&[format!("bucket {} {bucket} x", tenant.to_uppercase())]),
        ),
        refused_text("card", "no KEK", card(&["kek ".to_owned()])),
        refused_text("card", "a KEK of 1,025 bytes", card(&[format!("kek {}", "k".repeat(1025))])),
        refused_text("card", "a control character", card(&[format!("{pair}\u{7}")])),
        refused_text("card", "a space before", card(&[format!(" {pair}")])),
    ];
    let cards = cards.into_iter().map(|(card, admits)| Card { card, admits }).collect();
    IkRecords { records: records.collect(), refused, cards, refused_cards }
}

struct Making {
    keys: ObjectKeys,
    name: UploadName,
}

fn making(label: &str, suite: Suite, upload_id: &str) -> Making {
    let name = UploadName {
        gateway: GatewayId::from_bytes(GATEWAY),
        bucket: BucketId::from_bytes(BUCKET),
        upload_id: upload_id.to_owned(),
        key: KEY.as_bytes().to_vec(),
    };
    Making { keys: seeded(label, || ObjectKeys::generate(suite).unwrap()), name }
}

fn record(of: &Making, checksum: Option<(ChecksumCode, ChecksumType)>, flags: bool) -> UploadRecord {
    let (id, ik, tenant) = (IkId::from_bytes(IK_ID), the_ik(), TenantId::from_bytes(TENANT));
    let label = format!("record {}", of.name.upload_id);
    seeded(&label, || {
        UploadRecord::seal(&of.keys, flags, (id, &ik), tenant, of.name.clone(), 1_800_000_001, checksum)
            .unwrap()
    })
}

pub(super) fn uploads() -> Uploads {
    let plans = [
        ("upload-1", Suite::Aes256Gcm, None, false),
        (
            "ü".repeat(30).leak(),
            Suite::ChaCha20Poly1305,
            Some((ChecksumCode::Crc64Nvme, ChecksumType::FullObject)),
            true,
        ),
        ("upload-3", Suite::Aes256Gcm, Some((ChecksumCode::Sha256, ChecksumType::Composite)), true),
    ];
    let (mut records, mut notes) = (Vec::new(), Vec::new());
    for (id, suite, sum_of, flags) in plans {
        let making = making(id, suite, id);
        let record = record(&making, sum_of, flags);
        let (code, form) = sum_of.map_or((0, 0), |(code, form)| {
            (code.code(), if form == ChecksumType::FullObject { 1 } else { 2 })
        });
        records.push(Upload {
            record: hex::encode(record.to_bytes().unwrap()),
            name: making.name.record_name().unwrap().record_key(),
            tenant: hex::encode(TENANT),
            ik: hex::encode(secret("ik")),
            dek: hex::encode(making.keys.dek().expose()),
            suite: suite.code(),
            object_id: making.keys.object_id().to_string(),
            flags: flags.into(),
            gateway: hex::encode(GATEWAY),
            bucket: hex::encode(BUCKET),
            created: 1_800_000_001,
            code,
            form,
            upload_id: id.to_owned(),
            key: KEY.to_owned(),
        });
        for (part, tag, size, sums) in [
            (1, HEX, MIN_PART, &[][..]),
            (10_000, "a0d0", 0, &[ChecksumCode::Crc32]),
            (
                77,
                "0123456789ABCDEF0123456789ABCDEF",
                (1 << 40) - 1,
                &[ChecksumCode::Sha1, ChecksumCode::Sha512],
            ),
            (2, "é\"", 5, &ChecksumCode::ALL),
        ] {
            notes.push(note(&making, part, tag, size, sums));
        }
    }
    let (refused, refused_notes) = (refused_uploads(), refused_notes());
    Uploads { records, refused, notes, refused_notes }
}

fn sealed_note(of: &Making, part: u16, tag: &str, note: &crate::Note) -> NoteName {
    let name = of.name.record_name().unwrap();
    let label = format!("note {} {part}", of.name.upload_id);
    seeded(&label, || NoteName::seal(&of.keys, name, &of.name.upload_id, part, tag, note).unwrap())
}

fn note(of: &Making, part: u16, tag: &str, size: u64, sums: &[ChecksumCode]) -> Note {
    let checksums: Vec<_> = sums.iter().map(|code| checksum(*code)).collect();
    let plain = crate::Note { salt: [part as u8; SALT], size, checksums };
    Note {
        name: sealed_note(of, part, tag, &plain).to_key(),
        dek: hex::encode(of.keys.dek().expose()),
        suite: of.keys.suite().code(),
        object_id: of.keys.object_id().to_string(),
        upload_id: of.name.upload_id.clone(),
        part,
        etag: tag.to_owned(),
        salt: hex::encode(plain.salt),
        size,
        checksums: plain.checksums.iter().map(|each| sum(each, false)).collect(),
    }
}

fn refused_uploads() -> Vec<RefusedUpload> {
    let of = making("upload-1", Suite::Aes256Gcm, "upload-1");
    let good = record(&of, None, false).to_bytes().unwrap();
    let patched = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let mut single = patched(1, 1);
    single[37..45].fill(0);
    let mut refused = Vec::new();
    for (stage, why, record) in [
        ("upload-record", "140 bytes", good[..140].to_vec()),
        ("header", "version 2", patched(0, 2)),
        ("header", "suite 3", patched(2, 3)),
        ("upload-record", "of a single PUT", single),
        ("upload-record", "checksum type without checksum", patched(182, 1)),
        ("upload-record", "checksum without type", patched(181, 1)),
        ("upload-record", "checksum 11", [&good[..181], &[11, 1], &good[183..]].concat()),
        ("upload-record", "type 3", [&good[..181], &[1, 3], &good[183..]].concat()),
        ("upload-record", "an upload id that is not UTF-8", patched(185, 0xFF)),
        ("upload-record", "a byte less", good[..good.len() - 1].to_vec()),
        ("upload-record", "a byte more", [&good[..], &[0]].concat()),
        ("wrap", "another gateway", patched(141, 0)),
        ("wrap", "another time", patched(180, 0)),
        ("wrap", "another flag", patched(4, 1)),
        ("wrap", "another key", patched(good.len() - 1, b'h')),
        ("wrap", "wrapped DEK", patched(61, good[61] ^ 1)),
    ] {
        let (tenant, ik, upload_id) = (hex::encode(TENANT), hex::encode(secret("ik")), "upload-1".to_owned());
        let (stage, why, record) = (stage.to_owned(), why.to_owned(), hex::encode(record));
        refused.push(RefusedUpload { stage, why, record, tenant, ik, upload_id });
    }
    let base = |stage: &str, why: &str| RefusedUpload {
        stage: stage.to_owned(),
        why: why.to_owned(),
        record: hex::encode(&good),
        tenant: hex::encode(TENANT),
        ik: hex::encode(secret("ik")),
        upload_id: "upload-1".to_owned(),
    };
    refused.push(RefusedUpload {
        upload_id: "upload-2".to_owned(),
        ..base("upload-record", "found under another upload's name")
    });
    refused.push(RefusedUpload { tenant: "00".repeat(16), ..base("wrap", "another tenant") });
    refused.push(RefusedUpload { ik: hex::encode(ik("another ik").expose()), ..base("wrap", "another IK") });
    refused
}

fn refused_notes() -> Vec<RefusedNote> {
    let of = making("upload-1", Suite::Aes256Gcm, "upload-1");
    let plain = crate::Note { salt: [1; SALT], size: 9, checksums: Vec::new() };
    let good = sealed_note(&of, 1, HEX, &plain).to_key();
    let (front, payload) = good.rsplit_once('/').unwrap();
    let mut flipped = text::decode(payload).unwrap();
    flipped[20] ^= 1;
    let sealed = |stage: &'static str, why: &'static str, after: &[u8]| {
        let aad = [b"sealgate", &[0, 8][..], b"upload-1", &[0, 1, 0, 32], HEX.as_bytes()].concat();
        let plain = [&[1; SALT][..], &[0, 0, 0, 0, 9], after].concat();
        let salt = [0x5C; SALT];
        let sealed = of.keys.one_shot("sealgate/v1/note", &salt).unwrap().seal(&aad, plain).unwrap();
        (stage, why, format!("{front}/{}", text::encode(&[&salt[..], &sealed].concat())), "upload-1")
    };
    [
        ("note", "another upload", good.clone(), "upload-2"),
        ("note", "another part", good.replace("/n/00001/", "/n/00002/"), "upload-1"),
        ("note", "another ETag", good.replace(HEX, &HEX.replace('0', "1")), "upload-1"),
        ("note", "flipped", format!("{front}/{}", text::encode(&flipped)), "upload-1"),
        ("note", "27 bytes", format!("{front}/{}", text::encode(&[0; 27])), "upload-1"),
        ("note", "part 0", good.replace("/n/00001/", "/n/00000/"), "upload-1"),
        ("note", "part 10,001", good.replace("/n/00001/", "/n/10001/"), "upload-1"),
        ("note", "a part of four digits", good.replace("/n/00001/", "/n/0001/"), "upload-1"),
        ("note", "padding", format!("{good}="), "upload-1"),
        ("note", "an upper-case ETag as it stands", good.replace(HEX, &HEX.to_uppercase()), "upload-1"),
        (
            "note",
            "the other form of the ETag",
            good.replace(HEX, &format!("_{}", text::encode(HEX.as_bytes()))),
            "upload-1",
        ),
        (
            "note",
            "an ETag of 256 bytes",
            good.replace(HEX, &format!("_{}", text::encode(&[b'e'; 256]))),
            "upload-1",
        ),
        sealed("note", "a composite checksum", &[1, 0x81, 1, 2, 3, 4]),
        sealed("note", "bytes after it", &[0, 0]),
        sealed("checksum", "checksum 0", &[1, 0, 1, 2, 3, 4]),
        sealed("checksum", "descending checksums", &[2, 2, 1, 2, 3, 4, 1, 1, 2, 3, 4]),
        sealed("checksum", "a checksum that ends early", &[1, 1, 2, 3]),
    ]
    .into_iter()
    .map(|(stage, why, name, upload_id)| RefusedNote {
        stage: stage.to_owned(),
        why: why.to_owned(),
        name,
        dek: hex::encode(of.keys.dek().expose()),
        suite: of.keys.suite().code(),
        object_id: of.keys.object_id().to_string(),
        upload_id: upload_id.to_owned(),
    })
    .collect()
}

pub(super) fn names() -> Names {
    let upload = making("upload-1", Suite::Aes256Gcm, "upload-1").name.record_name().unwrap();
    let record = upload.to_string();
    let (salt, ik) = ([0x5A; SALT], hex::encode(IK_ID));
    let name = |name: String, kind: &str, fields: &[&str]| Name {
        name,
        kind: kind.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let names = vec![
        name(hidden::BUCKET.to_owned(), "bucket", &[]),
        name(format!("{}{HEX}", hidden::ik_records_prefix(IkId::from_bytes(IK_ID))), "ik", &[&ik, HEX]),
        name(upload.record_key(), "upload", &[&record]),
        name(upload.stash_key(1, &salt), "stash", &[&record, "1", &hex::encode(salt)]),
        name(upload.stash_key(10_000, &salt), "stash", &[&record, "10000", &hex::encode(salt)]),
        name(upload.gone_key(1_800_000_000), "gone", &[&record, "1800000000"]),
        name(format!("{}{HEX}/AAAA", upload.part_notes_prefix(12)), "note", &[&record, "12", HEX, "000000"]),
        name(format!("{}_YTA/AA", upload.part_notes_prefix(12)), "note", &[&record, "12", "a0", "00"]),
        name(format!("{}_/AA", upload.part_notes_prefix(12)), "note", &[&record, "12", "", "00"]),
    ];
    let under = |rest: &str| format!("{}{rest}", hidden::PREFIX);
    let stash = upload.stash_key(1, &salt);
    let refused = vec![
        refused_text("name", "a client's", "photos/a.jpg"),
        refused_text("name", "the prefix alone", hidden::PREFIX),
        refused_text("name", "version 2", ".sealgate/v2/bucket"),
        refused_text("name", "a slash more", under("/bucket")),
        refused_text("name", "something below the marker", under("bucket/x")),
        refused_text("name", "an upper-case IK", under(&format!("ik/{}/{HEX}", ik.to_uppercase()))),
        refused_text("name", "a short digest", under(&format!("ik/{ik}/{}", &HEX[1..]))),
        refused_text("name", "a short record", under(&format!("u/{}/r", &record[1..]))),
        refused_text("name", "a mark of eleven digits", upload.gone_key(1).replace("/0", "/")),
        refused_text("name", "another letter", under(&format!("u/{record}/x"))),
        refused_text("name", "a stash of part 0", stash.replace("/00001/", "/00000/")),
        refused_text(
            "name",
            "a stash with a salt of 11 bytes",
            format!("{}/00001/{}", under(&format!("u/{record}/s")), text::encode(&[1; 11])),
        ),
        refused_text("note", "trailing bits", format!("{}_YTB/AA", upload.part_notes_prefix(12))),
    ];
    let marker = hidden::bucket_marker(BucketId::from_bytes(BUCKET));
    let markers = vec![[hex::encode(marker), hex::encode(BUCKET)]];
    let refused_markers = vec![
        refused_bytes("name", "empty", []),
        refused_bytes("name", "version 2", [&[2], &BUCKET[..]].concat()),
        refused_bytes("name", "a byte less", &marker[..16]),
        refused_bytes("name", "a byte more", [&marker[..], &[0]].concat()),
    ];
    Names { names, refused, markers, refused_markers }
}
