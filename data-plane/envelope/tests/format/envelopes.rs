//! Envelopes, upload records and recovery blocks: bound to their place, and to every bit.

use crate::setup::{Bucket, KEY, SUITES, keys};
use proptest::prelude::{any, prop_assert_eq, proptest};
use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{
    BucketId, ChecksumCode, Envelope, Error, GatewayId, Ik, IkId, Kind, ObjectKeys, Recovery, Scope, Suite,
    TenantId, UploadName, UploadRecord, size,
};

fn same_dek(a: &ObjectKeys, b: &ObjectKeys, bucket: &Bucket) -> bool {
    // The commitment is a function of DEK, suite and object id, and stands in every envelope.
    bucket.envelope(a, Some(1), false).to_bytes()[109..]
        == bucket.envelope(b, Some(1), false).to_bytes()[109..]
}

fn upload(key: &[u8]) -> UploadName {
    UploadName {
        gateway: GatewayId::from_bytes([3; 16]),
        bucket: BucketId::from_bytes([4; 16]),
        upload_id: "upload~1".into(),
        key: key.into(),
    }
}

fn record(bucket: &Bucket, keys: &ObjectKeys) -> UploadRecord {
    let checksum = Some((ChecksumCode::Crc64Nvme, ChecksumType::FullObject));
    UploadRecord::seal(
        keys,
        true,
        (bucket.ik_id, &bucket.ik),
        bucket.tenant,
        upload(KEY),
        1_764_000_000,
        checksum,
    )
    .unwrap()
}

proptest! {
    #[test]
    fn headers_round_trip(p in 0..=size::MAX_PLAINTEXT, multipart in any::<bool>(), metadata in any::<bool>(), chacha in any::<bool>()) {
        let bucket = Bucket::new();
        let keys = keys(SUITES[usize::from(chacha)]);
        let len = (!multipart).then_some(p);
        let envelope = bucket.envelope(&keys, len, metadata);
        let header = envelope.to_header();
        prop_assert_eq!(header.len(), 188);
        let parsed = Envelope::parse_header(&header).unwrap();
        prop_assert_eq!(&parsed, &envelope);
        prop_assert_eq!((parsed.plaintext_len(), parsed.has_metadata(), parsed.suite()), (len, metadata, keys.suite()));
        prop_assert_eq!((parsed.ik_id(), parsed.object_id()), (bucket.ik_id, keys.object_id()));
        let opened = parsed.open(&bucket.ik, &bucket.scope(KEY)).unwrap();
        assert!(same_dek(&opened, &keys, &bucket));
    }
}

#[test]
fn every_bit_of_an_envelope_counts() {
    let bucket = Bucket::new();
    for (suite, len) in [(Suite::Aes256Gcm, Some(0)), (Suite::ChaCha20Poly1305, None)] {
        let bytes = bucket.envelope(&keys(suite), len, false).to_bytes();
        for at in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[at / 8] ^= 1 << (at % 8);
            let result =
                Envelope::parse(&bytes).and_then(|envelope| envelope.open(&bucket.ik, &bucket.scope(KEY)));
            let stage = result.err().map(|e| e.stage());
            assert!(matches!(stage, Some("header" | "wrap")), "bit {at}: {stage:?}");
        }
    }
}

#[test]
fn an_envelope_opens_at_its_place_only() {
    let bucket = Bucket::new();
    let envelope = bucket.envelope(&keys(Suite::Aes256Gcm), Some(5), false);
    let scope = bucket.scope(KEY);
    assert!(envelope.open(&bucket.ik, &scope).is_ok());
    let elsewhere = [
        Scope { tenant: TenantId::random().unwrap(), ..scope },
        Scope { bucket: BucketId::random().unwrap(), ..scope },
        Scope { key: b"photos/2026/a.jpg", ..scope },
        Scope { key: b"", ..scope },
    ];
    for place in elsewhere {
        assert_eq!(envelope.open(&bucket.ik, &place).err(), Some(Error::Wrap));
    }
    assert_eq!(envelope.open(&Ik::generate().unwrap(), &scope).err(), Some(Error::Wrap));
    assert!(bucket.ik.expose().iter().all(|b| *b == 0x42));
}

#[test]
fn every_seal_draws_a_fresh_salt() {
    let bucket = Bucket::new();
    let keys = keys(Suite::Aes256Gcm);
    let (a, b) = (bucket.envelope(&keys, Some(1), true), bucket.envelope(&keys, Some(1), true));
    assert_ne!(a.to_bytes()[45..109], b.to_bytes()[45..109]);
    let (a, b) = (bucket.recovery(&keys, Kind::Single), bucket.recovery(&keys, Kind::Single));
    assert_ne!(a.to_bytes()[35..], b.to_bytes()[35..]);
    let bytes = |record: UploadRecord| record.to_bytes().unwrap();
    assert_ne!(bytes(record(&bucket, &keys))[45..109], bytes(record(&bucket, &keys))[45..109]);
}

#[test]
fn a_rewrap_keeps_the_dek_and_leaves_the_old_place() {
    let (old, mut new) = (Bucket::new(), Bucket::new());
    new.ik = Ik::generate().unwrap();
    let keys = keys(Suite::Aes256Gcm);
    let envelope = old.envelope(&keys, None, true);
    let target = new.scope(b"copy");
    let (copy, opened) = envelope.rewrap(&old.ik, &old.scope(KEY), new.ik_id, &new.ik, &target).unwrap();
    assert!(same_dek(&opened, &keys, &old));
    assert!(same_dek(&copy.open(&new.ik, &target).unwrap(), &keys, &old));
    assert_eq!((copy.plaintext_len(), copy.has_metadata(), copy.ik_id()), (None, true, new.ik_id));
    assert_eq!(copy.open(&old.ik, &old.scope(KEY)).err(), Some(Error::Wrap));
    assert!(envelope.rewrap(&old.ik, &target, new.ik_id, &new.ik, &target).is_err());
}

#[test]
fn headers_have_one_spelling() {
    let bucket = Bucket::new();
    let header = bucket.envelope(&keys(Suite::Aes256Gcm), Some(5), false).to_header();
    for other in [
        format!("{header}="),
        format!(" {header}"),
        header[..187].to_owned(),
        format!("{}+", &header[..187]),
        format!("{}ü", &header[..186]),
    ] {
        assert!(matches!(Envelope::parse_header(&other), Err(Error::Header(_))), "{other}");
    }
}

#[test]
fn limits_are_refused_when_sealing() {
    let bucket = Bucket::new();
    let keys = keys(Suite::Aes256Gcm);
    let seal = |len, key: &[u8]| {
        Envelope::seal_object(&keys, len, false, bucket.ik_id, &bucket.ik, &bucket.scope(key))
            .err()
            .map(|e| e.stage())
    };
    assert_eq!(seal(Some(size::MAX_PLAINTEXT), b"k"), None);
    assert_eq!(seal(Some(size::MAX_PLAINTEXT + 1), b"k"), Some("seal"));
    assert_eq!(seal(None, &[b'k'; 65_535]), None);
    assert_eq!(seal(None, &[b'k'; 65_536]), Some("seal"));
}

#[test]
fn upload_records_round_trip_and_open_nothing_else() {
    let bucket = Bucket::new();
    let keys = keys(Suite::ChaCha20Poly1305);
    let sealed = record(&bucket, &keys);
    let bytes = sealed.to_bytes().unwrap();
    let parsed = UploadRecord::parse(&bytes).unwrap();
    assert_eq!(parsed, sealed);
    assert_eq!(
        (parsed.created(), parsed.ik_id(), parsed.name()),
        (1_764_000_000, bucket.ik_id, &upload(KEY))
    );
    assert_eq!(parsed.checksum(), Some((ChecksumCode::Crc64Nvme, ChecksumType::FullObject)));
    let opened = parsed.open(&bucket.ik, bucket.tenant, &upload(KEY)).unwrap();
    assert!(same_dek(&opened, &keys, &bucket));
    // Its first 141 bytes are nobody's envelope, and an envelope is no record.
    let scope = Scope { tenant: bucket.tenant, bucket: upload(KEY).bucket, key: KEY };
    assert_eq!(parsed.envelope().open(&bucket.ik, &scope).err(), Some(Error::Wrap));
    assert!(matches!(
        parsed.open(&bucket.ik, bucket.tenant, &upload(b"other")),
        Err(Error::UploadRecord("belongs to another upload"))
    ));
    let object = bucket.envelope(&keys, None, true).to_bytes();
    let spliced = UploadRecord::parse(&[&object[..], &bytes[141..]].concat()).unwrap();
    assert_eq!(spliced.open(&bucket.ik, bucket.tenant, &upload(KEY)).err(), Some(Error::Wrap));
    assert!(UploadRecord::parse(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn every_byte_of_an_upload_record_counts() {
    let bucket = Bucket::new();
    let bytes = record(&bucket, &keys(Suite::Aes256Gcm)).to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let result = UploadRecord::parse(&bytes).and_then(|record| {
            // Also under the name that the altered record claims.
            let claimed = record.name().clone();
            record.open(&bucket.ik, bucket.tenant, &claimed)
        });
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn recovery_blocks_open_with_their_pair_only() {
    let bucket = Bucket::new();
    let keys = keys(Suite::Aes256Gcm);
    let bytes = bucket.recovery(&keys, Kind::Multipart).to_bytes();
    let parsed = Recovery::parse(&bytes).unwrap();
    assert_eq!(parsed.to_bytes(), bytes);
    assert_eq!((parsed.kind(), parsed.ik_id()), (Kind::Multipart, bucket.ik_id));
    assert!(same_dek(&parsed.open(&bucket.ik, bucket.tenant, bucket.bucket).unwrap(), &keys, &bucket));
    let refused = Some(Error::Recovery("does not open"));
    assert_eq!(parsed.open(&bucket.ik, TenantId::random().unwrap(), bucket.bucket).err(), refused);
    assert_eq!(parsed.open(&bucket.ik, bucket.tenant, BucketId::random().unwrap()).err(), refused);
    assert_eq!(parsed.open(&Ik::generate().unwrap(), bucket.tenant, bucket.bucket).err(), refused);
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes;
        bytes[at / 8] ^= 1 << (at % 8);
        let opened =
            Recovery::parse(&bytes).and_then(|block| block.open(&bucket.ik, bucket.tenant, bucket.bucket));
        assert_eq!(opened.err().map(|e| e.stage()), Some("recovery"), "bit {at}");
    }
}

#[test]
fn ids_have_one_spelling() {
    let id = IkId::random().unwrap();
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(format!("{id:?}"), id.to_string());
    for text in ["", "00", &"0".repeat(33), &"A".repeat(32), &"g".repeat(32), &"é".repeat(16)] {
        assert_eq!(text.parse::<IkId>(), Err(Error::Id));
    }
}
