//! Our crate against the reference, both ways: aws-lc-rs opens what aes-gcm sealed, and the reverse.

use crate::reference::{
    Place, hkdf, info, lp, open, open_chunks, open_envelope, open_recovery, open_trailer, seal, seal_chunks,
    seal_envelope, seal_trailer, seal_with_commitment,
};
use crate::setup::{Bucket, IK, KEY, entry, keys, plaintext, seal_part};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealgate_envelope::hidden::RecordName;
use sealgate_envelope::size::{MIN_PART, chunks_size, stored_size};
use sealgate_envelope::{
    Checksum, ChecksumCode, Envelope, Error, GatewayId, Kind, Note, NoteName, ObjectKeys, PartOpener,
    PartReader, PartSealer, Suite, Trailer, TrailerPlain, UploadName, UploadRecord, metadata,
};
use std::sync::Arc;

fn place(bucket: &Bucket) -> Place<'static> {
    Place { tenant: *bucket.tenant.as_bytes(), bucket: *bucket.bucket.as_bytes(), key: KEY }
}

/// The DEK of an envelope, unwrapped by the reference.
pub fn dek_of(bucket: &Bucket, envelope: &[u8]) -> [u8; 32] {
    open_envelope(envelope, &IK, 1, &place(bucket), b"")
}

fn ours(bucket: &Bucket) -> (Arc<ObjectKeys>, [u8; 32]) {
    let keys = keys(Suite::Aes256Gcm);
    let dek = dek_of(bucket, &bucket.envelope(&keys, None, true).to_bytes());
    (keys, dek)
}

fn their_clear(bucket: &Bucket) -> [u8; 61] {
    let mut clear = [0xFF; 61];
    clear[..5].copy_from_slice(&[1, 2, 1, 16, 1]);
    clear[5..21].copy_from_slice(bucket.ik_id.as_bytes());
    clear[21..37].copy_from_slice(&[0x0B; 16]);
    clear[45..].copy_from_slice(&[0x5A; 16]);
    clear
}

#[test]
fn a_dek_that_is_not_committed_to_is_refused() {
    let bucket = Bucket::new();
    let (clear, place) = (their_clear(&bucket), place(&bucket));
    let envelope = |commitment: [u8; 32]| {
        let bytes = seal_with_commitment(&[0xD1; 32], &commitment, &clear, &IK, 1, &place, b"");
        Envelope::parse(&bytes).unwrap().open(&bucket.ik, &bucket.scope(KEY)).err()
    };
    let right = seal_envelope(&[0xD1; 32], &clear, &IK, 1, &place, b"");
    let mut commitment = *right.last_chunk().unwrap();
    assert_eq!(envelope(commitment), None);
    commitment[31] ^= 1;
    assert_eq!(envelope(commitment), Some(Error::Commitment), "it unwraps, but another DEK was promised");
}

/// An object whose DEK and envelope the reference made.
fn theirs(bucket: &Bucket) -> (Arc<ObjectKeys>, [u8; 32], [u8; 16]) {
    let (dek, object) = ([0xD1; 32], [0x0B; 16]);
    let clear = their_clear(bucket);
    let envelope = Envelope::parse(&seal_envelope(&dek, &clear, &IK, 1, &place(bucket), b"")).unwrap();
    (Arc::new(envelope.open(&bucket.ik, &bucket.scope(KEY)).unwrap()), dek, object)
}

#[test]
fn chunks() {
    let bucket = Bucket::new();
    for len in [1, 65_535, 65_536, 65_537, 200_000] {
        let plain = plaintext(len);
        let (keys, dek) = ours(&bucket);
        let stored = seal_part(&mut PartSealer::new(&keys, 7).unwrap(), &plain);
        assert_eq!(open_chunks(&dek, keys.object_id().as_bytes(), 7, &stored), plain);

        let (keys, dek, object) = theirs(&bucket);
        let mut stored = seal_chunks(&dek, &object, 7, [1; 12], &plain);
        let mut reader = PartReader::new(PartOpener::new(&keys, 7, None).unwrap(), len as u64).unwrap();
        let mut got = Vec::new();
        for chunk in stored.chunks_mut(65_564) {
            got.extend_from_slice(reader.open_next(chunk).unwrap());
        }
        assert_eq!(got, plain);
    }
}

#[test]
fn trailers_and_recovery() {
    let bucket = Bucket::new();
    let entries = vec![entry(2, MIN_PART + 1, true), entry(5, 3, false)];
    let len = MIN_PART + 4;
    let total = stored_size(len).unwrap();
    let text = |entries: &[sealgate_envelope::PartEntry]| {
        let mut text = [&len.to_be_bytes()[..], &[0, 2], &[1, 0x82, 8, 8, 8, 8]].concat();
        for part in entries {
            text.extend_from_slice(&part.number.to_be_bytes());
            text.extend_from_slice(&part.size.to_be_bytes()[3..]);
            text.push(part.checksum.as_ref().map_or(0, |_| 7));
            text.extend_from_slice(&part.salt);
            text.extend_from_slice(&part.etag);
            text.extend_from_slice(part.checksum.as_ref().map_or(&[], Checksum::value));
        }
        text
    };
    let checksum = Checksum::new(ChecksumCode::Crc32c, &[8; 4]).unwrap();
    let checksums = vec![sealgate_envelope::FullChecksum { checksum, composite: true }];
    let plain = TrailerPlain { plaintext_len: len, parts: entries.clone(), checksums };

    let (keys, dek) = ours(&bucket);
    let recovery = bucket.recovery(&keys, Kind::Multipart);
    assert_eq!(open_recovery(&recovery.to_bytes(), &IK, &place(&bucket)), dek);
    let sealed = plain.seal(&keys, &recovery).unwrap();
    let mut got = open_trailer(&dek, (2, keys.object_id().as_bytes()), total, &sealed);
    let padding = got.split_off(text(&entries).len());
    assert_eq!(got, text(&entries));
    assert!(padding.iter().all(|byte| *byte == 0));

    let (keys, dek, object) = theirs(&bucket);
    let recovery = bucket.recovery(&keys, Kind::Multipart).to_bytes();
    let parts = chunks_size(MIN_PART + 1).unwrap() + chunks_size(3).unwrap();
    let length = (total - parts) as u32;
    let make = |text: &[u8]| {
        let sealed = seal_trailer(&dek, (2, &object), total, length, &recovery, text);
        Trailer::open(&keys, Kind::Multipart, total, &sealed)
    };
    assert_eq!(make(&text(&entries)).unwrap().entries(), entries);

    // What only a holder of the DEK can write is refused all the same.
    let stage = |text: &[u8]| make(text).err().map(|e| e.stage());
    assert_eq!(stage(&[&text(&entries)[..], &[0, 1]].concat()), Some("table"), "padding");
    let swapped: Vec<_> = entries.iter().rev().cloned().collect();
    assert_eq!(stage(&text(&swapped)), Some("table"), "descending numbers");
    assert_eq!(stage(&text(&[entry(2, MIN_PART, true), entry(5, 4, false)])), Some("table"), "another split");
    assert_eq!(stage(&text(&[entry(2, MIN_PART + 1, true), entry(5, 2, false)])), Some("table"), "sum");
    let mut wrong = text(&entries);
    wrong[7] ^= 1;
    assert_eq!(stage(&wrong), Some("table"), "P");
    let mut wrong = text(&entries);
    wrong[11] = 0x8B;
    assert_eq!(stage(&wrong), Some("checksum"), "code 11");
    let mut wrong = text(&entries);
    wrong[9] = 200;
    assert_eq!(stage(&wrong), Some("table"), "part count");
}

#[test]
fn metadata_both_ways() {
    let bucket = Bucket::new();
    let pairs: metadata::Metadata =
        [("content-type".to_owned(), b"a/b".to_vec()), ("x-amz-meta-q".to_owned(), b"1".to_vec())].into();
    let text = [&[0][..], &lp(b"content-type"), &lp(b"a/b"), &lp(b"x-amz-meta-q"), &lp(b"1")].concat();

    let (keys, dek) = ours(&bucket);
    let envelope = bucket.envelope(&keys, None, true);
    let value = URL_SAFE_NO_PAD.decode(metadata::seal(&keys, &envelope, &pairs).unwrap()).unwrap();
    let key = hkdf(&dek, &value[..12], &info("meta", keys.object_id().as_bytes()));
    assert_eq!(open(&key, [0; 12], &envelope.to_bytes(), &value[12..]), text);

    let (keys, dek, object) = theirs(&bucket);
    let envelope = bucket.envelope(&keys, None, true);
    let key = hkdf(&dek, &[3; 12], &info("meta", &object));
    let sealed = [&[3; 12][..], &seal(&key, [0; 12], &envelope.to_bytes(), &text)].concat();
    assert_eq!(metadata::open(&keys, &envelope, Some(&URL_SAFE_NO_PAD.encode(sealed))).unwrap(), pairs);
}

#[test]
fn upload_records_and_notes() {
    let bucket = Bucket::new();
    let (keys, dek) = ours(&bucket);
    let name = UploadName {
        gateway: GatewayId::from_bytes([3; 16]),
        bucket: bucket.bucket,
        upload_id: "id".into(),
        key: KEY.into(),
    };
    let sealed =
        UploadRecord::seal(&keys, true, (bucket.ik_id, &bucket.ik), bucket.tenant, name.clone(), 258, None)
            .unwrap();
    let bytes = sealed.to_bytes().unwrap();
    let after =
        [&[3; 16][..], bucket.bucket.as_bytes(), &[0, 0, 0, 0, 0, 0, 1, 2], &[0, 0], &lp(b"id"), &lp(KEY)]
            .concat();
    assert_eq!(bytes[141..], after);
    assert_eq!(open_envelope(&bytes[..141], &IK, 2, &place(&bucket), &after), dek);
    let hashed =
        [&b"sealgate/v1/upload"[..], &[3; 16], bucket.bucket.as_bytes(), &lp(b"id"), &lp(KEY)].concat();
    let record = name.record_name().unwrap();
    assert_eq!(record.to_string(), hex::encode(<sha2::Sha256 as sha2::Digest>::digest(hashed)));

    let etag = "0123456789abcdef0123456789abcdef";
    let checksum = Checksum::new(ChecksumCode::Crc32, &[1, 2, 3, 4]).unwrap();
    let note = Note { salt: [5; 12], size: 0x01_0203_0405, checksums: vec![checksum] };
    let text = [&[5; 12][..], &[1, 2, 3, 4, 5], &[1, 1, 1, 2, 3, 4]].concat();
    let aad = [b"sealgate", &lp(b"id")[..], &[0, 9], &lp(etag.as_bytes())].concat();
    let name = NoteName::seal(&keys, record, "id", 9, etag, &note).unwrap().to_key();
    let payload = URL_SAFE_NO_PAD.decode(name.rsplit('/').next().unwrap()).unwrap();
    let key = hkdf(&dek, &payload[..12], &info("note", keys.object_id().as_bytes()));
    assert_eq!(open(&key, [0; 12], &aad, &payload[12..]), text);

    let (keys, dek, object) = theirs(&bucket);
    let key = hkdf(&dek, &[6; 12], &info("note", &object));
    let payload = URL_SAFE_NO_PAD.encode([&[6; 12][..], &seal(&key, [0; 12], &aad, &text)].concat());
    let name = format!(".sealgate/v1/u/{record}/n/00009/{etag}/{payload}");
    assert_eq!(NoteName::parse(&name).unwrap().open(&keys, "id").unwrap(), note);
    let _: RecordName = record;
}
