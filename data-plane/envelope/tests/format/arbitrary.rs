//! Arbitrary bytes never panic a reader, and what a reader takes it writes back the same.

use crate::setup::{Bucket, KEY, SUITES, keys};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use sealgate_envelope::hidden::{HiddenName, RecordName, parse_bucket_marker};
use sealgate_envelope::{
    Envelope, IkRecord, Kind, PartOpener, Recovery, RecoveryCard, Trailer, UploadRecord, metadata, size,
    trailer,
};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xFF), any::<u8>()], 0..500)
}

proptest! {
    #[test]
    fn envelopes(mut raw in bytes(), shaped in any::<bool>()) {
        if shaped {
            raw.resize(141, 1);
            raw[..5].copy_from_slice(&[1, 2, 1, 16, 1]);
            raw[37..45].fill(0xFF);
        }
        if let Ok(envelope) = Envelope::parse(&raw) {
            prop_assert_eq!(&envelope.to_bytes()[..], &raw[..]);
            let bucket = Bucket::new();
            assert!(envelope.open(&bucket.ik, &bucket.scope(KEY)).is_err());
        }
    }

    #[test]
    fn headers(text in ".{0,200}") {
        assert!(Envelope::parse_header(&text).is_err());
    }

    #[test]
    fn upload_records(mut raw in bytes(), shaped in any::<bool>()) {
        if shaped {
            raw.resize(300, 0);
            raw[..5].copy_from_slice(&[1, 2, 1, 16, 1]);
            raw[37..45].fill(0xFF);
        }
        if let Ok(record) = UploadRecord::parse(&raw) {
            prop_assert_eq!(record.to_bytes().unwrap(), raw);
        }
    }

    #[test]
    fn ik_records(mut raw in bytes()) {
        if let Some(first) = raw.first_mut() {
            *first = 1;
        }
        if let Ok(record) = IkRecord::parse(&raw) {
            prop_assert_eq!(record.to_bytes().unwrap(), raw);
        }
    }

    #[test]
    fn trailers(mut raw in bytes(), p in 0..1_000_000u64, total in any::<u64>(), shaped in any::<bool>()) {
        let keys = keys(SUITES[0]);
        if shaped {
            raw.resize(320, 0);
            raw[316..].copy_from_slice(&320u32.to_be_bytes());
            raw[217..220].copy_from_slice(&[1, 1, 1]);
            raw[236..252].copy_from_slice(keys.object_id().as_bytes());
        }
        let _ = trailer::split(&raw);
        let _ = trailer::recovery_of(&raw);
        for kind in [Kind::Single, Kind::Multipart] {
            assert!(Trailer::open(&keys, kind, size::stored_size(p).unwrap(), &raw).is_err());
            assert!(Trailer::open(&keys, kind, total, &raw).is_err());
        }
    }

    #[test]
    fn recovery_blocks(raw in any::<[[u8; 33]; 3]>(), head in any::<bool>()) {
        let mut raw: [u8; 99] = raw.concat().try_into().unwrap();
        if head {
            raw[..3].copy_from_slice(&[1, 1, 1]);
        }
        if let Ok(recovery) = Recovery::parse(&raw) {
            prop_assert_eq!(recovery.to_bytes(), raw);
        }
    }

    #[test]
    fn chunks(mut raw in bytes(), index in any::<u32>(), last in any::<bool>()) {
        let mut opener = PartOpener::new(&keys(SUITES[0]), 0, None).unwrap();
        assert!(opener.open_at_into(index, last, &raw, &mut [0; 100]).is_err());
        assert!(opener.open_at(index, last, &mut raw).is_err());
    }

    #[test]
    fn metadata_values(text in "[A-Za-z0-9_-]{0,200}|.{0,100}") {
        let (bucket, keys) = (Bucket::new(), keys(SUITES[0]));
        assert!(metadata::open(&keys, &bucket.envelope(&keys, None, true), Some(&text)).is_err());
    }

    #[test]
    fn names(text in "(\\.sealgate/v1/)?(u/[0-9a-f]{64}/[rns]|ik)?(/[0-9]{5})?(/[0-9a-f_]{0,40}){0,3}(/.{0,20})?") {
        let _ = HiddenName::parse(&text);
        let _ = text.parse::<RecordName>();
        let _ = parse_bucket_marker(text.as_bytes());
    }

    #[test]
    fn cards(text in "(sealgate-recovery-card 1\n)?((bucket|kek|#|) ?.{0,90}\n){0,5}") {
        if let Ok(card) = text.parse::<RecoveryCard>() {
            prop_assert_eq!(card.to_string().parse(), Ok(card));
        }
    }

    #[test]
    fn sizes(a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), index in any::<u64>()) {
        let _ = (size::stored_size(a), size::plaintext_size(a), size::chunks_size(a), size::chunk_len(a, index));
        let _ = (size::listed_size(&a.to_be_bytes(), b), size::suffix_len(a), size::least_trailer_len(a));
        let _ = size::chunk_range(a, b, c);
    }
}
