//! Keyrings that another implementation made from docs/keyring.md: ours opens them, and what was wrapped under their KEKs.
//! `ops/decryptor/vectors.py` opens the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use sealgate_envelope::IkRecord;
use sealgate_kms::{Keyring, KmsError, Unlock};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    key_file: String,
    passphrase: String,
    ik: String,
    records: Vec<String>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn keyrings_made_from_the_document_open() {
    let text = std::fs::read_to_string(path("records.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let key = hex::decode(&golden.key_file).unwrap().try_into().unwrap();
    let passphrase = Zeroizing::new(golden.passphrase.clone().into_bytes());
    for (file, unlock) in [
        ("key-file.json", Unlock::Key(Zeroizing::new(key))),
        ("passphrase.json", Unlock::Passphrase(passphrase)),
    ] {
        let keyring = Keyring::open(&path(file), &unlock).unwrap();
        let listed = keyring.list();
        let found: Vec<_> =
            listed.iter().map(|kek| (kek.reference.as_str(), kek.version, kek.created)).collect();
        let wanted = [
            ("local/tenant-a", 1, 1_800_000_000),
            ("local/tenant-a", 2, 1_800_000_001),
            ("local/system", 1, 1_800_000_002),
        ];
        assert_eq!(found, wanted);
        for record in &golden.records {
            let mut record = IkRecord::parse(&hex::decode(record).unwrap()).unwrap();
            let unwrap = |record: &IkRecord| {
                let context = record.context().unwrap();
                let ik = keyring.unwrap(
                    &record.context.kek,
                    &record.context.kek_version,
                    &context,
                    &record.wrapped,
                );
                ik.map(|ik| hex::encode(ik.expose()))
            };
            assert_eq!(unwrap(&record).unwrap(), golden.ik);
            // Another bucket's, another time's: the context is bound.
            record.context.created += 1;
            assert!(matches!(unwrap(&record), Err(KmsError::BadCiphertext)));
        }
    }
}
