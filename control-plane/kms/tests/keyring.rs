//! The keyring as an operator and an attacker meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use sealgate_envelope::Ik;
use sealgate_kms::{Keyring, Kms as _, KmsError, LocalKms, Unlock, open, seal};
use zeroize::Zeroizing;

fn key(byte: u8) -> Unlock {
    Unlock::Key(Zeroizing::new([byte; 32]))
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

fn refused(path: &Path, unlock: &Unlock) -> KmsError {
    Keyring::open(path, unlock).map(|_| ()).unwrap_err()
}

#[test]
fn a_keyring_survives_closing_and_opens_only_with_its_own_secret() {
    let dir = tempfile::tempdir().unwrap();
    for (file, right, wrong, other_kind) in [
        ("key", key(1), key(2), passphrase("correct horse battery")),
        ("phrase", passphrase("correct horse battery"), passphrase("correct horse batterz"), key(1)),
    ] {
        let path = dir.path().join(file);
        let mut keyring = Keyring::create(&path, &right).unwrap();
        let kek = keyring.create_kek("tenant-1", 7).unwrap();
        assert_eq!(kek, "local/tenant-1");
        let wrapped = keyring.wrap(&kek, "1", b"context", &Ik::from_bytes(&Zeroizing::new([9; 32]))).unwrap();
        drop(keyring);
        assert!(matches!(refused(&path, &wrong), KmsError::Denied(_)));
        assert!(matches!(refused(&path, &other_kind), KmsError::Denied(_)));
        let keyring = Keyring::open(&path, &right).unwrap();
        assert_eq!(keyring.unwrap(&kek, "1", b"context", &wrapped).unwrap().expose(), &[9; 32]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_is_wrapped_opens_under_its_own_kek_version_and_context_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut keyring = Keyring::create(&dir.path().join("k"), &key(1)).unwrap();
    let a = keyring.create_kek("a", 0).unwrap();
    let b = keyring.create_kek("b", 0).unwrap();
    assert_eq!(keyring.rotate(&a, 0).unwrap(), 2);
    let ik = Ik::from_bytes(&Zeroizing::new([3; 32]));
    let wrapped = keyring.wrap(&a, "1", b"context", &ik).unwrap();
    assert_ne!(wrapped, keyring.wrap(&a, "1", b"context", &ik).unwrap(), "each wrap is fresh");
    let bad = |kek: &str, version: &str, context: &[u8], wrapped: &[u8]| {
        keyring.unwrap(kek, version, context, wrapped).map(|_| ()).unwrap_err()
    };
    assert_eq!(bad(&a, "2", b"context", &wrapped), KmsError::BadCiphertext);
    assert_eq!(bad(&b, "1", b"context", &wrapped), KmsError::BadCiphertext);
    assert_eq!(bad(&a, "1", b"contexu", &wrapped), KmsError::BadCiphertext);
    assert!(matches!(bad(&a, "3", b"context", &wrapped), KmsError::NotFound(_)));
    assert!(matches!(bad(&a, "01", b"context", &wrapped), KmsError::NotFound(_)));
    assert!(matches!(bad("aws/a", "1", b"context", &wrapped), KmsError::NotFound(_)));
    for i in 0..wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped[i] ^= 1;
        assert_eq!(bad(&a, "1", b"context", &flipped), KmsError::BadCiphertext, "byte {i}");
        assert_eq!(bad(&a, "1", b"context", &wrapped[..i]), KmsError::BadCiphertext, "cut at {i}");
    }
    assert!(
        keyring.unwrap(&a, "1", b"context", &wrapped).is_ok(),
        "after a rotation the old version still opens"
    );
}

#[test]
fn a_changed_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let mut keyring = Keyring::create(&path, &key(1)).unwrap();
    keyring.create_kek("victim", 1234).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [("victim", "attack"), ("\"version\": 1", "\"version\": 2"), ("1234", "1235")] {
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(refused(&path, &key(1)), KmsError::BadCiphertext, "{from} to {to}");
    }
    fs::write(&path, text.replace("\"keks\"", "\"more\": 1, \"keks\"")).unwrap();
    assert!(matches!(refused(&path, &key(1)), KmsError::Unavailable(..)), "unknown fields are refused");
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(refused(&path, &key(1)).to_string().contains("format 2"));
}

#[test]
fn a_keyring_is_never_made_over_another_and_names_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let mut keyring = Keyring::create(&path, &key(1)).unwrap();
    assert!(Keyring::create(&path, &key(1)).is_err());
    for name in ["", "A", "a/b", "..", "a b", &"x".repeat(129)] {
        assert!(keyring.create_kek(name, 0).is_err(), "{name}");
    }
    keyring.create_kek("same", 0).unwrap();
    keyring.create_kek("same", 0).unwrap();
    assert_eq!(keyring.list().len(), 1, "making a KEK twice makes one");
    fs::write(path.with_extension("tmp"), "left by a crash").unwrap();
    keyring.create_kek("more", 0).unwrap();
    assert_eq!(Keyring::open(&path, &key(1)).unwrap().list().len(), 2);
}

#[test]
fn secrets_from_files_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    for (content, good) in [(&[1_u8; 31][..], false), (&[1; 33], false), (&[1; 32], true)] {
        fs::write(&path, content).unwrap();
        assert_eq!(Unlock::key_file(&path).is_ok(), good);
    }
    for (content, good) in [("short\n", false), ("eleven char\n", false), ("twelve chars\n", true)] {
        fs::write(&path, content).unwrap();
        assert_eq!(Unlock::passphrase_file(&path).is_ok(), good, "{content}");
    }
}

#[test]
fn sealing_binds_the_context() {
    let sealed = seal(&[1; 32], b"a", b"secret").unwrap();
    assert_eq!(open(&[1; 32], b"a", &sealed).unwrap().as_slice(), b"secret");
    assert!(open(&[1; 32], b"b", &sealed).is_err());
    assert!(open(&[2; 32], b"a", &sealed).is_err());
    assert!(open(&[1; 32], b"a", &[]).is_err());
}

#[tokio::test]
async fn the_async_side_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let kms = LocalKms::open_or_create(&path, &key(1)).unwrap();
    let kek = kms.create_kek("a").await.unwrap();
    let version = kms.current_version(&kek).await.unwrap();
    let wrapped = kms.wrap(&kek, &version, b"c", &Ik::from_bytes(&Zeroizing::new([5; 32]))).await.unwrap();
    let again = LocalKms::open_or_create(&path, &key(1)).unwrap();
    assert_eq!(again.unwrap(&kek, &version, b"c", &wrapped).await.unwrap().expose(), &[5; 32]);
    kms.rotate(&kek).await.unwrap();
    assert_eq!(kms.current_version(&kek).await.unwrap(), "2");
    assert_eq!(
        kms.unwrap(&kek, &version, b"c", &wrapped).await.unwrap().expose(),
        &[5; 32],
        "the old version"
    );
    kms.destroy(&kek).await.unwrap();
    assert!(matches!(kms.destroy(&kek).await, Err(KmsError::NotFound(_))));
    assert!(matches!(kms.destroy("local/never").await, Err(KmsError::NotFound(_))));
    let again = LocalKms::open_or_create(&path, &key(1)).unwrap();
    for kms in [kms, again] {
        assert!(matches!(kms.unwrap(&kek, &version, b"c", &wrapped).await, Err(KmsError::NotFound(_))));
    }
}
