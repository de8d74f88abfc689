//! Hidden names, notes, IK records and recovery cards.

use crate::setup::keys;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use sealgate_envelope::hidden::{self, HiddenName, RecordName, is_hidden};
use sealgate_envelope::recovery_card::CardBucket;
use sealgate_envelope::{
    BucketId, Checksum, ChecksumCode, Error, GatewayId, IkContext, IkId, IkRecord, Note, NoteName,
    RecoveryCard, Suite, TenantId,
};

fn record_name() -> RecordName {
    RecordName::new(GatewayId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]), "id", b"key").unwrap()
}

fn note() -> Note {
    Note {
        salt: [8; 12],
        size: 6 << 20,
        checksums: vec![Checksum::new(ChecksumCode::Crc32, &[1; 4]).unwrap()],
    }
}

fn ik_record() -> IkRecord {
    let context = IkContext {
        tenant: TenantId::from_bytes([1; 16]),
        bucket: BucketId::from_bytes([2; 16]),
        ik: IkId::from_bytes([3; 16]),
        created: 1_764_000_000,
        kek: "local:main".into(),
        kek_version: String::new(),
    };
    IkRecord { context, wrapped: vec![9; 60] }
}

proptest! {
    #[test]
    fn notes_round_trip_with_any_etag(etag in "[0-9a-f]{32}|[0-9a-f]{32}-[0-9]{1,5}|[ -~]{0,60}|[ai-z]{24}", part in 1..=10_000u16) {
        let keys = keys(Suite::Aes256Gcm);
        let sealed = NoteName::seal(&keys, record_name(), "id", part, &etag, &note()).unwrap();
        let key = sealed.to_key();
        prop_assert!(is_hidden(key.as_bytes()) && key.len() < 1024);
        let parsed = NoteName::parse(&key).unwrap();
        prop_assert_eq!((parsed.part(), parsed.backend_etag(), parsed.record()), (part, &etag[..], record_name()));
        prop_assert_eq!(parsed.open(&keys, "id").unwrap(), note());
        prop_assert_eq!(parsed.to_key(), key);
    }
}

#[test]
fn an_etag_whose_base64_is_hex_keeps_its_meaning() {
    // 24 bytes whose base64url is 32 lower-case hex digits: without a mark both would have the same name.
    let (odd, hex) = ("kGt".repeat(8), "a0d0".repeat(8));
    assert_eq!(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &odd), hex);
    let keys = keys(Suite::Aes256Gcm);
    let name = |etag: &str| NoteName::seal(&keys, record_name(), "id", 1, etag, &note()).unwrap().to_key();
    assert_eq!(NoteName::parse(&name(&odd)).unwrap().backend_etag(), odd);
    assert_eq!(NoteName::parse(&name(&hex)).unwrap().backend_etag(), hex);
}

#[test]
fn a_note_opens_for_its_upload_part_and_etag_only() {
    let keys = keys(Suite::ChaCha20Poly1305);
    let etag = "0123456789abcdef0123456789abcdef";
    let name = NoteName::seal(&keys, record_name(), "id", 7, etag, &note()).unwrap();
    assert_ne!(name, NoteName::seal(&keys, record_name(), "id", 7, etag, &note()).unwrap());
    assert!(name.open(&keys, "other").is_err());
    assert!(name.open(&crate::setup::keys(Suite::ChaCha20Poly1305), "id").is_err());
    let key = name.to_key();
    for other in [key.replace("/00007/", "/00008/"), key.replace("/0123", "/1123")] {
        assert_ne!(other, key);
        assert_eq!(NoteName::parse(&other).unwrap().open(&keys, "id"), Err(Error::Note("does not open")));
    }
    for at in key.rfind('/').unwrap() + 1..key.len() {
        let mut bytes = key.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(NoteName::parse(&changed).and_then(|name| name.open(&keys, "id")).is_err(), "character {at}");
    }
    assert!(NoteName::seal(&keys, record_name(), "id", 0, etag, &note()).is_err());
    assert!(NoteName::seal(&keys, record_name(), "id", 10_001, etag, &note()).is_err());
    assert!(NoteName::seal(&keys, record_name(), "id", 1, etag, &Note { size: 1 << 40, ..note() }).is_err());
}

#[test]
fn the_longest_note_and_etag_are_taken() {
    let keys = keys(Suite::Aes256Gcm);
    let checksums = ChecksumCode::ALL.map(|code| Checksum::new(code, &vec![3; code.value_len()]).unwrap());
    let longest = Note { checksums: checksums.into(), ..note() };
    let seal = |part, etag: &str| NoteName::seal(&keys, record_name(), "id", part, etag, &longest);
    let key = seal(10_000, &"e".repeat(255)).unwrap().to_key();
    assert_eq!(NoteName::parse(&key).unwrap().open(&keys, "id"), Ok(longest.clone()));
    assert_eq!(NoteName::parse(&format!("{key}A")), Err(Error::Note("too long")));
    let long = seal(1, &"e".repeat(256));
    assert_eq!(long, Err(Error::Seal("upload id or ETag too long")));
    // A hex ETag of another length is not one that stands as it is.
    assert!(seal(1, "abc").unwrap().to_key().contains("/_YWJj/"));
}

#[test]
fn hidden_names_round_trip() {
    let record = record_name();
    let ik = ik_record();
    let name = hidden::ik_record_name(&ik).unwrap();
    assert!(name.starts_with(".sealgate/v1/ik/03030303030303030303030303030303/"));
    assert_eq!(
        HiddenName::parse(&name),
        Ok(HiddenName::IkRecord { ik: ik.context.ik, digest: ik.digest().unwrap() })
    );
    assert_eq!(HiddenName::parse(hidden::BUCKET), Ok(HiddenName::Bucket));
    assert_eq!(HiddenName::parse(&record.record_key()), Ok(HiddenName::UploadRecord(record)));
    assert_eq!(record.prefix(), format!(".sealgate/v1/u/{record}/"));
    assert_eq!(record.notes_prefix(), format!("{}n/", record.prefix()));
    assert_eq!(record.stashes_prefix(), format!("{}s/", record.prefix()));
    assert_eq!(record.gone_prefix(), format!("{}gone/", record.prefix()));
    assert_eq!(format!("{record:?}"), record.to_string());
    let stash = record.stash_key(12, &[4; 12]);
    assert!(stash.starts_with(&record.stashes_prefix()) && stash.contains("/s/00012/"));
    assert_eq!(HiddenName::parse(&stash), Ok(HiddenName::Stash { record, part: 12, salt: [4; 12] }));
    let gone = record.gone_key(1_763_870_000);
    assert_eq!(gone, format!("{}gone/001763870000", record.prefix()));
    assert!(gone.starts_with(&record.gone_prefix()));
    assert_eq!(HiddenName::parse(&gone), Ok(HiddenName::Gone { record, at: 1_763_870_000 }));
    for other in [
        &gone.replace("/0017", "/17"),
        &gone.replace("/0017", "/+017"),
        &format!("{gone}0"),
        &record.gone_prefix(),
        "",
        ".sealgate/v1/",
        ".sealgate/v2/bucket",
        ".sealgate/v1/bucket/x",
        ".sealgate/v1/u/00/r",
        &format!("{}/x", record.record_key()),
        &stash.replace("/00012/", "/12/"),
        &stash.replace("/00012/", "/+0012/"),
        &stash.replace("/00012/", "/10001/"),
        &record.to_string().to_uppercase(),
    ] {
        assert!(HiddenName::parse(other).is_err(), "{other}");
    }
}

#[test]
fn clients_cannot_name_what_is_hidden() {
    for key in [".sealgate/v1/ik/x", ".sealgate/v1/", ".sealgate/v9/x", ".sealgate/"] {
        assert!(is_hidden(key.as_bytes()), "{key}");
    }
    for key in [".sealgate", ".sealgatex/v1/a", "a/.sealgate/v1/x", "", "sealgate/v1/x"] {
        assert!(!is_hidden(key.as_bytes()), "{key}");
    }
}

#[test]
fn bucket_markers() {
    let bucket = BucketId::random().unwrap();
    assert_eq!(hidden::parse_bucket_marker(&hidden::bucket_marker(bucket)), Ok(bucket));
    assert!(hidden::parse_bucket_marker(&[2; 17]).is_err() && hidden::parse_bucket_marker(&[1; 16]).is_err());
}

#[test]
fn ik_records_round_trip() {
    let record = ik_record();
    let bytes = record.to_bytes().unwrap();
    assert_eq!(IkRecord::parse(&bytes), Ok(record.clone()));
    let context = record.context().unwrap();
    assert_eq!(bytes, [&context[..], &[0, 60], &[9; 60]].concat());
    assert_eq!(context.len(), 1 + 48 + 8 + 2 + 10 + 2);
    assert_eq!(record.context.to_text().unwrap().len(), (context.len() * 4).div_ceil(3));
    for len in 0..bytes.len() {
        assert!(matches!(IkRecord::parse(&bytes[..len]), Err(Error::IkRecord(_))));
    }
    assert!(IkRecord::parse(&[&bytes[..], &[0]].concat()).is_err());
    assert!(IkRecord::parse(&[&[2], &bytes[1..]].concat()).is_err());
    let with = |wrapped: usize, kek: usize| {
        let context = IkContext { kek: "k".repeat(kek), ..record.context.clone() };
        IkRecord { context, wrapped: vec![1; wrapped] }.to_bytes().is_ok()
    };
    assert!(with(8192, 1024) && !with(8193, 1) && !with(0, 1) && !with(1, 0) && !with(1, 1025));
    let version =
        |len: usize| IkContext { kek_version: "v".repeat(len), ..record.context.clone() }.to_bytes().is_ok();
    assert!(version(1024) && !version(1025));
}

#[test]
fn recovery_cards_admit_what_they_list() {
    let context = ik_record().context;
    let entry = CardBucket { tenant: context.tenant, bucket: context.bucket, name: "photos of 2026".into() };
    let unnamed = CardBucket { name: String::new(), ..entry.clone() };
    let card = RecoveryCard::new(vec![entry.clone(), unnamed], vec!["local:main".into()]).unwrap();
    let text = card.to_string();
    assert_eq!(text.parse(), Ok(card.clone()));
    assert_eq!((card.buckets().len(), card.buckets()[0].clone()), (2, entry.clone()));
    assert_eq!(card.keks(), ["local:main"]);
    assert_eq!(format!("{text}# more\n\n").parse(), Ok(card.clone()));
    assert_eq!(card.admit(&context), Ok(()));
    let refused = |context: IkContext| matches!(card.admit(&context), Err(Error::Card { .. }));
    assert!(refused(IkContext { tenant: TenantId::from_bytes([7; 16]), ..context.clone() }));
    assert!(refused(IkContext { bucket: BucketId::from_bytes([7; 16]), ..context.clone() }));
    assert!(refused(IkContext { kek: "local:other".into(), ..context }));
    for (line, bad) in [
        (1, ""),
        (1, "sealgate-recovery-card 2"),
        (2, "sealgate-recovery-card 1\nkek "),
        (3, "sealgate-recovery-card 1\n\nbucket 00 11 a"),
        (2, "sealgate-recovery-card 1\nfoo bar"),
    ] {
        let error = bad.parse::<RecoveryCard>().unwrap_err();
        assert!(matches!(error, Error::Card { line: at, .. } if at == line), "{bad:?}: {error}");
    }
    assert!(RecoveryCard::new(vec![CardBucket { name: "a\nkek evil".into(), ..entry }], vec![]).is_err());
    for kek in ["", "a\nb", &"k".repeat(1025)] {
        assert!(RecoveryCard::new(vec![], vec![kek.into()]).is_err(), "{kek:?}");
        let text = format!("sealgate-recovery-card 1\nkek {kek}");
        let why = "KEK reference out of bounds";
        // The second line of `a\nb` is no reference at all.
        let wanted = if kek.contains('\n') { None } else { Some(Error::Card { line: 2, why }) };
        let refused = text.parse::<RecoveryCard>().unwrap_err();
        assert!(wanted.is_none_or(|wanted| wanted == refused), "{kek:?}: {refused}");
    }
    assert!(RecoveryCard::new(vec![], vec!["k".repeat(1024)]).is_ok());
    // 16 MiB, most of it a comment.
    let mut text = "sealgate-recovery-card 1\n#".to_owned();
    text.push_str(&"-".repeat((16 << 20) - text.len()));
    assert_eq!(text.parse(), Ok(RecoveryCard::default()));
    text.push('-');
    assert_eq!(text.parse::<RecoveryCard>(), Err(Error::Card { line: 0, why: "above 16 MiB" }));
}
