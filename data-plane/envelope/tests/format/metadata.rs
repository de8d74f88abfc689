//! Sealed metadata.

use crate::setup::{Bucket, KEY, SUITES, keys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use sealgate_envelope::metadata::{MAX_VALUE, Metadata, open, seal, sealed_len};
use sealgate_envelope::{Error, Suite};
use sha2::Digest as _;

fn map(pairs: &[(&str, &str)]) -> Metadata {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

proptest! {
    #[test]
    fn round_trips(
        pairs in proptest::collection::btree_map("x-amz-meta-[a-z0-9._-]{1,20}", proptest::collection::vec(32..=255u8, 0..60), 0..12),
        chacha in any::<bool>(),
    ) {
        let (bucket, keys) = (Bucket::new(), keys(SUITES[usize::from(chacha)]));
        let envelope = bucket.envelope(&keys, Some(1), true);
        let value = seal(&keys, &envelope, &pairs).unwrap();
        prop_assert_eq!(value.len(), sealed_len(&pairs).unwrap());
        prop_assert_eq!(open(&keys, &envelope, Some(&value)).unwrap(), pairs);
    }

    #[test]
    fn a_changed_character_is_refused(at in any::<usize>(), to in "[A-Za-z0-9_-]") {
        let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
        let envelope = bucket.envelope(&keys, Some(1), true);
        let value = seal(&keys, &envelope, &map(&[("content-type", "text/plain")])).unwrap();
        let at = at % value.len();
        let changed = format!("{}{to}{}", &value[..at], &value[at + 1..]);
        let result = open(&keys, &envelope, Some(&changed));
        prop_assert!(changed == value || matches!(result, Err(Error::Metadata(_))));
    }
}

#[test]
fn it_is_bound_to_the_whole_envelope() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let envelope = bucket.envelope(&keys, Some(1), true);
    let metadata = map(&[("content-type", "text/plain"), ("x-amz-meta-a", "b")]);
    let value = seal(&keys, &envelope, &metadata).unwrap();
    assert_ne!(value, seal(&keys, &envelope, &metadata).unwrap(), "a key seals once");
    let (again, opened) = envelope
        .rewrap(&bucket.ik, &bucket.scope(KEY), bucket.ik_id, &bucket.ik, &bucket.scope(KEY))
        .unwrap();
    assert_eq!(open(&opened, &again, Some(&value)), Err(Error::Metadata("does not open")));
    let bare = bucket.envelope(&keys, Some(1), false);
    assert_eq!(open(&keys, &bare, Some(&value)), Err(Error::Metadata("header without its flag")));
    assert_eq!(open(&keys, &envelope, None), Err(Error::Metadata("flag without its header")));
    assert_eq!(open(&keys, &bare, None), Ok(Metadata::new()));
    assert!(matches!(seal(&keys, &bare, &metadata), Err(Error::Seal(_))));
}

#[test]
fn the_budget_is_the_backends_two_kilobytes() {
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let envelope = bucket.envelope(&keys, Some(1), true);
    assert_eq!(MAX_VALUE, 1818);
    // What deflate cannot shorten.
    let noise: Vec<u8> = (0..4000u32)
        .map(|i| sha2::Sha256::digest(i.to_be_bytes())[0])
        .filter(|b| *b > b'\r')
        .take(2000)
        .collect();
    let with = |len: usize| Metadata::from([("x-amz-meta-a".to_owned(), noise[..len].to_vec())]);
    let fits = (0..2000).filter(|len| sealed_len(&with(*len)).unwrap() <= MAX_VALUE).max().unwrap();
    assert!((1310..1400).contains(&fits), "{fits}");
    let value = seal(&keys, &envelope, &with(fits)).unwrap();
    assert!(value.len() + "x-amz-meta-sealgate".len() + 188 + "x-amz-meta-sealgatemeta".len() <= 2048);
    match seal(&keys, &envelope, &with(fits + 8)) {
        Err(Error::MetadataTooLarge { needed, limit }) => assert!(needed > limit && limit == MAX_VALUE),
        other => panic!("{other:?}"),
    }
    // What deflate shortens goes in whole.
    let long = map(&[("x-amz-meta-a", &"a".repeat(60_000))]);
    assert_eq!(open(&keys, &envelope, Some(&seal(&keys, &envelope, &long).unwrap())).unwrap(), long);
}

#[test]
fn texts_end_at_64_kib_and_headers_at_a_third_more() {
    // Two names of one byte, and four lengths of two.
    let text = |len: usize| map(&[("a", &"a".repeat(65_000)), ("b", &"b".repeat(len - 65_000 - 10))]);
    assert!(sealed_len(&text(65_536)).is_ok());
    assert_eq!(sealed_len(&text(65_537)), Err(Error::Seal("metadata above 64 KiB")));

    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let envelope = bucket.envelope(&keys, Some(1), true);
    let read = |len: usize| open(&keys, &envelope, Some(&"A".repeat(len)));
    assert_eq!(read(87_380), Err(Error::Metadata("does not open")));
    assert_eq!(
        read(87_381),
        Err(Error::Metadata("not canonical base64url")),
        "a character too many, not too long"
    );
    assert_eq!(read(87_382), Err(Error::Metadata("too long")));
}

#[test]
fn illegal_names_and_values_are_refused() {
    for pair in [
        ("Content-Type", "a"),
        ("", "a"),
        ("a b", "c"),
        ("ä", "c"),
        ("a:", "c"),
        ("a", "b\r\nset-cookie: x"),
        ("a", "\0"),
    ] {
        assert!(matches!(sealed_len(&map(&[pair])), Err(Error::Seal(_))), "{pair:?}");
    }
}

#[test]
fn hostile_texts_are_refused() {
    // Whoever holds the DEK can seal anything: the reader is bounded all the same.
    let (bucket, keys) = (Bucket::new(), keys(Suite::Aes256Gcm));
    let envelope = bucket.envelope(&keys, Some(1), true);
    let dek = crate::differential::dek_of(&bucket, &envelope.to_bytes());
    let read = |text: &[u8]| {
        let key = crate::reference::hkdf(
            &dek,
            &[1; 12],
            &crate::reference::info("meta", keys.object_id().as_bytes()),
        );
        let sealed = crate::reference::seal(&key, [0; 12], &envelope.to_bytes(), text);
        open(&keys, &envelope, Some(&URL_SAFE_NO_PAD.encode([&[1; 12][..], &sealed].concat())))
    };
    let stored = |len: usize| {
        // One raw deflate stream of zeros, made by the library that a client would use.
        let mut out = Vec::with_capacity(len + 100);
        let mut deflater = flate2::Compress::new(flate2::Compression::best(), false);
        deflater.compress_vec(&vec![0; len], &mut out, flate2::FlushCompress::Finish).unwrap();
        [&[1][..], &out].concat()
    };
    assert_eq!(read(&[0]).unwrap(), Metadata::new());
    assert_eq!(read(&[0, 0, 1, b'a', 0, 1, b'b']).unwrap(), map(&[("a", "b")]));
    let why = |text: &[u8]| match read(text) {
        Err(Error::Metadata(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&[]), "empty text");
    assert_eq!(why(&[2]), "unknown coding");
    assert_eq!(why(&[0, 0, 1]), "text ends early");
    assert_eq!(why(&[0, 0, 1, b'A', 0, 0]), "not a lower-case header name or not a header value");
    assert_eq!(why(&[0, 0, 1, b'a', 0, 1, b'\n']), "not a lower-case header name or not a header value");
    let (a, b) = ([0, 1, b'a', 0, 0], [0, 1, b'b', 0, 0]);
    assert_eq!(why(&[&[0][..], &b, &a].concat()), "names not sorted, each once");
    assert_eq!(why(&[&[0][..], &a, &a].concat()), "names not sorted, each once");
    assert_eq!(why(&stored(65_537)), "does not inflate to at most 64 KiB");
    assert_eq!(why(&stored(10_000_000)), "does not inflate to at most 64 KiB");
    assert_eq!(why(&stored(65_536)), "not a lower-case header name or not a header value", "64 KiB inflate");
    assert_eq!(why(&[&stored(10)[..], &[0]].concat()), "bytes after the deflate stream");
    assert_eq!(why(&[1, 0xFF, 0xFF]), "does not inflate to at most 64 KiB");
}
